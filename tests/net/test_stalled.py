"""Servers that listen on a loop which nobody runs, and those whose loop only starts later."""

from __future__ import annotations

import asyncio
import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import Client, Logs, Process, address_of, answer, ask, echo, eventually, framed, get

from fasthttpserver._net import stalled as _stalled
from fasthttpserver.httpserver import HTTPRequest, HTTPServer

NewLoop = Callable[[], AbstractEventLoop]

HERE = "127.0.0.1"

# Logs to where it prints.
PROGRAM = """
import asyncio, logging, sys
from fasthttpserver.httpserver import HTTPServer
from fasthttpserver.ioloop import IOLoop
from fasthttpserver.netutil import bind_sockets

logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s")
IOLoop.configure(sys.argv[1])
server = HTTPServer(print)
{start}
(sock,) = server._sockets.values()
print(sock.getsockname()[1])
asyncio.run(asyncio.Event().wait())
"""
LINE = 1 + PROGRAM.split("\n").index("{start}")


@pytest.mark.parametrize(
    "start",
    [
        "server.listen(0, '127.0.0.1')",
        "server.bind(0, '127.0.0.1'); server.start()",
        "server.add_sockets(bind_sockets(0, '127.0.0.1'))",
    ],
)
def test_client_that_waits_for_a_loop_that_nobody_runs_is_told_of(
    tmp_path: Path, loop_kind: str, start: str
) -> None:
    (tmp_path / "program.py").write_text(PROGRAM.format(start=start))
    with Process(["program.py", loop_kind], cwd=tmp_path) as process:
        port = int(process.line())
        with Client((HERE, port)) as client:
            client.send(get())
            line = process.line()
    assert line.startswith(f"WARNING A client waits on {HERE}:{port}, ")
    assert f"program.py:{LINE}" in line
    assert "asyncio.run()" in line


def test_loop_that_was_given_and_is_not_run_is_named(
    new_loop: NewLoop, logs: Logs, nothing_left: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_stalled, "_PATIENCE", 0.01)
    loop = new_loop()
    server = HTTPServer(echo, io_loop=loop)
    server.listen(0, HERE)
    with Client(address_of(server)):
        taken: list[str] = []
        eventually(lambda: taken.extend(logs.warnings()) or taken)
    (line,) = taken
    assert repr(loop) in line
    assert "test_stalled.py:" in line
    server.stop()
    loop.close()


def test_loop_that_starts_later_has_no_thread_beside_it(
    new_loop: NewLoop, logs: Logs, nothing_left: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_stalled, "_PATIENCE", 1000.0)
    threads = threading.enumerate()
    seen: list[list[threading.Thread]] = []

    def callback(request: HTTPRequest) -> None:
        seen.append(threading.enumerate())
        answer(request)

    loop = new_loop()
    server = HTTPServer(callback, io_loop=loop)
    server.listen(0, HERE)
    server.listen(0, HERE)
    with Client(address_of(server)) as client:  # who waits for it already
        client.send(get("/", "Connection: close"))
        assert loop.run_until_complete(ask(address_of(server))) == framed(b"ok")
        assert client.read_response().status == 200
    assert seen == [threads] * 2
    server.stop()
    loop.run_until_complete(server.close_all_connections())
    loop.close()


def test_server_that_stops_before_its_loop_runs_is_not_watched(
    new_loop: NewLoop, logs: Logs, nothing_left: None
) -> None:
    loop = new_loop()
    server = HTTPServer(echo, io_loop=loop)
    server.listen(0, HERE)
    server.stop()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def test_loop_that_runs_is_not_watched(run: Callable[..., None]) -> None:
    async def main() -> None:
        threads = threading.enumerate()
        server = HTTPServer(echo)
        server.listen(0, HERE)
        assert threading.enumerate() == threads
        server.stop()

    run(main())
