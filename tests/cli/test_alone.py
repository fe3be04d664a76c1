"""The command line where there is no way to fork, as on Windows: here, it is taken away."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import sys
from pathlib import Path

import pytest
from helpers import Client, Process, Response, eventually, get

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="the other tests of the command line do the same there"
)

RUN = """
import os, sys
del os.fork
from fasthttpserver.__main__ import main
sys.exit(main())
"""
MODULE = """
import os
def callback(request):
    body = "VAL %d" % os.getpid()
    close = "Connection: close\\r\\n" if request.connection.no_keep_alive else ""
    head = "HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n%s\\r\\n" % (len(body), close)
    request.write(head + body)
    request.finish()
"""


def run(folder: Path, *words: str) -> Process:
    command = ["-c", RUN, "served:callback", "--port=0", *words]
    return Process(command, cwd=folder)


def address_of(process: Process) -> tuple[str, int]:
    while not (match := re.search(r"Serving on http://127\.0\.0\.1:(\d+)/", process.line())):
        pass
    return "127.0.0.1", int(match[1])


def ask(process: Process) -> str:
    with Client(address_of(process)) as client:
        return client.ask(get()).decode()


def test_one_process_serves_and_ends_in_good_order(tmp_path: Path) -> None:
    (tmp_path / "served.py").write_text(MODULE)
    with run(tmp_path) as process:
        assert ask(process) == f"VAL {process.pid}"
        process.send_signal(signal.SIGTERM)
        ended = process.end()
    assert ended.returncode == 0
    assert ended.stderr.count("Drained") == 1


def test_clients_are_served_for_the_delay(tmp_path: Path) -> None:
    (tmp_path / "served.py").write_text(MODULE)
    with run(tmp_path, "--shutdown-delay=60") as process:
        address = address_of(process)

        def is_announced() -> bool:
            with Client(address) as client:
                client.send(get())
                return client.read_response().fields.get("connection") == "close"

        assert not is_announced()
        process.send_signal(signal.SIGTERM)
        eventually(is_announced)
        # Those that come shortly after the first one are the same wish.
        eventually(lambda: process.send_signal(signal.SIGTERM) or process.has_ended)
        assert process.end().returncode == 128 + signal.SIGTERM


def test_application_that_cannot_be_imported_is_told(tmp_path: Path) -> None:
    (tmp_path / "served.py").write_text("1 / 0\n")
    with run(tmp_path) as process:
        ended = process.end()
    assert ended.returncode == 1
    assert re.fullmatch("fasthttpserver: .*ZeroDivisionError.*\n", ended.stderr)


def test_it_starts_again_when_a_module_changes(tmp_path: Path) -> None:
    module = tmp_path / "served.py"
    module.write_text(MODULE)
    with contextlib.ExitStack() as stack:
        process = stack.enter_context(run(tmp_path, "--reload"))
        assert ask(process) == f"VAL {process.pid}"
        new = tmp_path / "new"
        new.write_text(MODULE.replace("VAL", "new"))
        os.utime(new, ns=(0, 1_000_000_000))  # whatever the clock of the file system tells apart
        new.replace(module)
        assert ask(process).startswith("new ")
        process.send_signal(signal.SIGTERM)
        assert process.end().returncode == 0


HELD = """
import asyncio, os
def callback(request):
    async def answer():
        while request.uri == "/held" and not os.path.exists("release"):
            await asyncio.sleep(0.005)
        request.connection.respond(("", 200, "OK"), [], b"held")
    return answer()
"""


def test_admin_address_is_served_beside_it(tmp_path: Path) -> None:
    (tmp_path / "served.py").write_text(HELD)
    with run(tmp_path, "--admin=127.0.0.1:0") as process:
        assert process._process.stderr is not None
        (port,) = re.findall(r"admin address is .*:(\d+)/", process._process.stderr.readline())
        admin = ("127.0.0.1", int(port))
        while not (match := re.search(r"Serving on http://127\.0\.0\.1:(\d+)/", process.line())):
            pass

        def look(page: str) -> Response:
            with Client(admin) as client:
                client.send(get(page))
                return client.read_response()

        assert look("/healthz").status == look("/readyz").status == 200
        with Client(("127.0.0.1", int(match[1]))) as client:
            assert client.ask(get("/")) == b"held"
            assert b"\nfasthttpserver_requests_total 1\n" in look("/metrics").body
            client.send(get("/held"))
            eventually(lambda: json.loads(look("/stats").body)["total"]["in_flight"] == 1)
            process.send_signal(signal.SIGTERM)
            eventually(lambda: look("/readyz").status == 503)
            assert look("/healthz").status == 200
            (tmp_path / "release").touch()
            assert client.read_response().body == b"held"
        ended = process.end()
    assert ended.returncode == 0
    assert "ERROR" not in ended.stderr
