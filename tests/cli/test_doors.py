"""Applications of each kind from the command line, in real processes."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import Client, Process, address_in, eventually, get

Start = Callable[..., Process]

posix = pytest.mark.skipif(sys.platform == "win32", reason="no such signals between processes")

APPLICATIONS = """
import tornado.web

class Handler(tornado.web.RequestHandler):
    def get(self, path):
        self.write(f"tornado {path}")

tornado_application = tornado.web.Application([("(.*)", Handler)])

def wsgi(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    where = environ["SCRIPT_NAME"] + " " + environ["PATH_INFO"]
    return [f"wsgi {where} {environ['wsgi.multithread']}".encode()]

async def asgi(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            phase = (await receive())["type"].removeprefix("lifespan.")
            print(phase, flush=True)
            await send({"type": f"lifespan.{phase}.complete"})
            if phase == "shutdown":
                return
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"asgi " + scope["path"].encode()})

async def broken(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "no database"})

async def breaks(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.failed", "message": "cannot save"})
"""


@pytest.fixture
def start(start: Start, tmp_path: Path) -> Start:
    """Run the command line in a folder that has a module ``served``."""
    (tmp_path / "served.py").write_text(APPLICATIONS)
    return start


def connect(process: Process, line: str) -> Client:
    """Connect to the address in a line that the process has printed."""
    return Client(address_in(line))


@posix
@pytest.mark.parametrize("name", ["tornado_application", "wsgi", "asgi"])
def test_application_is_served_for_the_delay_and_each_answer_says_that_it_ends(
    start: Start, name: str
) -> None:
    process = start(f"served:{name}", "--port=0", "--shutdown-delay=60")
    while "Serving" not in (line := process.line()):
        pass

    def is_announced() -> bool:
        with Client(address_in(line)) as client:
            client.send(get("/a"))
            response = client.read_response()
            assert response.status == 200
            return response.fields.get("connection") == "close"

    assert not is_announced()
    process.send_signal(signal.SIGTERM)
    eventually(is_announced)


@pytest.mark.parametrize(
    ("arguments", "name", "body"),
    [
        (("served:tornado_application",), "Tornado", b"tornado /path"),
        (("served:wsgi", "--threads", "2"), "WSGI", b"wsgi  /path True"),
        (("served:wsgi", "--threads", "0", "--root-path", "/path"), "WSGI", b"wsgi /path  False"),
        (("served:asgi", "--lifespan", "off"), "ASGI", b"asgi /path"),
        (("served:asgi", "--lifespan", "off", "--root-path", "/shop"), "ASGI", b"asgi /shop/path"),
    ],
)
def test_each_kind_is_served(
    start: Start, arguments: tuple[str, ...], name: str, body: bytes
) -> None:
    process = start(*arguments, "--port", "0", "--access-log")
    line = process.line()
    assert f"({name}, " in line
    with connect(process, line) as client:
        assert client.ask(get("/path")) == body


@posix
def test_asgi_application_is_told_of_its_start_and_its_end(start: Start) -> None:
    process = start("served:asgi", FASTHTTPSERVER_PORT="0")
    assert process.line() == "startup\n"  # before anybody can connect
    with connect(process, process.line()) as client:
        assert client.ask(get("/x")) == b"asgi /x"
    process.send_signal(signal.SIGTERM)
    ended = process.end()
    assert (ended.returncode, ended.stdout.splitlines()[-1]) == (0, "shutdown")


def test_asgi_application_that_does_not_start_ends_the_program(start: Start) -> None:
    ended = start("served:broken", "--port", "0").end()
    assert (ended.returncode, ended.stdout) == (3, "")
    assert "no database" in ended.stderr
    assert "Traceback" not in ended.stderr


@posix
def test_asgi_application_that_does_not_shut_down_is_told_in_a_line(start: Start) -> None:
    process = start("served:breaks", "--port", "0")
    process.line()
    process.send_signal(signal.SIGTERM)
    ended = process.end()
    assert ended.returncode == 0
    (line,) = [line for line in ended.stderr.splitlines() if " ERROR " in line]
    assert line.endswith("The application failed in shutdown: cannot save")
    assert "Traceback" not in ended.stderr
