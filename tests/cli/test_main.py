"""The command line: python -m fasthttpserver [package.module:application]."""

from __future__ import annotations

import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers import Client, Process, address_in, answer, get

import fasthttpserver
from fasthttpserver.__main__ import main
from fasthttpserver._cli.application import load_application

Start = Callable[..., Process]

posix = pytest.mark.skipif(sys.platform == "win32", reason="no such signals between processes")

APPLICATION = """
import asyncio

def callback(request):
    body = b"mine " + request.body
    request.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
    request.finish()

async def coroutine(request):
    await asyncio.sleep(0)
    callback(request)

class Handler:
    def __call__(self, request):
        callback(request)

    @staticmethod
    def method(request):
        callback(request)

handler = Handler()
number = 5
"""


@pytest.fixture
def start(start: Start, tmp_path: Path) -> Start:
    """Run the command line in a folder that has a module ``application``."""
    (tmp_path / "application.py").write_text(APPLICATION)
    return start


def connect(process: Process) -> Client:
    """Connect to the address that the process prints."""
    return Client(address_in(process.line()))


def one_line_error(process: Process) -> str:
    """What it says on stderr, which must be one line, and its end."""
    ended = process.end()
    assert ended.returncode == 1
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith("fasthttpserver: ")
    return line


def test_echo_by_default(start: Start) -> None:
    with connect(start("--port", "0")) as client:
        assert client.ask(get("/hello?x=y")) == b"You requested /hello?x=y\n"
        assert client.ask(get("/again")) == b"You requested /again\n"


def test_browser_gets_a_page_by_default(start: Start) -> None:
    with connect(start("--port", "0")) as client:
        client.send(get("/<b>?x=&amp;", "Accept: text/html,*/*;q=0.8"))
        response = client.read_response()
        assert response.fields["content-type"] == "text/html; charset=utf-8"
        assert b"You requested <code>/&lt;b&gt;?x=&amp;amp;</code>" in response.body
        assert client.ask(get("/", "Accept: */*")) == b"You requested /\n"


@pytest.mark.parametrize("application", [None, "application:callback"])
def test_what_it_prints_can_be_tried(start: Start, application: str | None) -> None:
    process = start("--port", "0", *filter(None, [application]))
    first, second = process.line(), process.line()
    match = re.fullmatch(r"Serving on (http://127\.0\.0\.1:\d+/) .*Ctrl-C.*\n", first)
    assert match is not None
    assert second == f"Try: curl -i {match[1]}hello\n"
    if application is None:
        assert process.line().startswith("No application is named")
        assert process.line().startswith("To serve yours: fasthttpserver ")
    if sys.platform != "win32":
        process.send_signal(signal.SIGTERM)
        assert process.end().stdout == ""


@pytest.mark.parametrize("name", ["callback", "coroutine", "handler", "Handler.method"])
def test_callback_of_the_user(start: Start, name: str) -> None:
    with connect(start(f"application:{name}", "--port", "0")) as client:
        assert client.ask(get()) == b"mine "


def test_address_and_port(start: Start) -> None:
    with socket.socket() as sock:
        # Linux has all of 127.0.0.0/8.
        sock.bind(("127.0.0.2" if sys.platform == "linux" else "127.0.0.1", 0))
        host, port = sock.getsockname()
    process = start("--address", host, "--port", str(port))
    assert f"http://{host}:{port}/" in process.line()
    with Client((host, port)) as client:
        assert client.ask(get("/x")) == b"You requested /x\n"


def test_wrong_name_is_one_line(start: Start) -> None:
    assert "nosuchmodule" in one_line_error(start("nosuchmodule:callback", "--port", "0"))


def test_module_that_misses_a_module_says_which(start: Start, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import nosuchmodule\n")
    assert "nosuchmodule" in one_line_error(start("broken:callback", "--port", "0"))


def test_error_in_the_users_module_keeps_its_traceback(start: Start, tmp_path: Path) -> None:
    # It is the user's own code that has to be mended.
    (tmp_path / "broken.py").write_text("def callback(request):\n    pass\n1 / 0\n")
    ended = start("broken:callback", "--port", "0").end()
    assert ended.returncode == 1
    assert "broken.py" in ended.stderr
    assert "ZeroDivisionError" in ended.stderr


def test_port_in_use_is_one_line(start: Start) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        line = one_line_error(start("--port", str(sock.getsockname()[1])))
    assert "in use" in line


@pytest.mark.parametrize(
    "arguments", [("--port", "70000"), ("--port", "-1"), ("--address", "192.0.2.1")]
)
def test_address_that_is_not_to_be_had_is_one_line(start: Start, arguments: tuple[str]) -> None:
    assert one_line_error(start(*arguments))


@posix
@pytest.mark.parametrize(
    "arguments", [("--certfile", "/nosuch"), ("--certfile", __file__), ("--max-header-size", "1")]
)
def test_what_no_worker_could_do_is_one_line(start: Start, arguments: tuple[str]) -> None:
    assert one_line_error(start("--port", "0", "--processes", "2", *arguments))


@pytest.mark.parametrize("arguments", [("--port", "many"), ("--nosuch",), ("a:b", "c:d")])
def test_wrong_usage_is_explained(start: Start, arguments: tuple[str]) -> None:
    ended = start(*arguments).end()
    assert ended.returncode == 2
    assert ended.stderr.startswith("usage: ")
    assert "Traceback" not in ended.stderr


def test_help_and_version(start: Start) -> None:
    helped = start("--help").end()
    assert helped.returncode == 0
    assert "package.module:application" in helped.stdout
    versioned = start("--version").end()
    assert versioned.returncode == 0
    assert versioned.stdout == f"fasthttpserver {fasthttpserver.__version__}\n"


@posix
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_signals_end_it_with_status_0(start: Start, number: int, loop: str) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop", reason="uvloop is not installed")
    process = start("--port", "0", FASTHTTPSERVER_LOOP=loop)
    process.line()
    process.line()
    process.send_signal(number)
    ended = process.end()
    assert ended.returncode == 0
    assert "Traceback" not in ended.stderr
    assert "Warning" not in ended.stderr


@posix
def test_signal_ends_it_while_clients_are_connected(start: Start) -> None:
    process = start("--port", "0")
    with connect(process) as idle, Client(idle.socket.getpeername()) as begun:
        assert idle.ask(get()) == b"You requested /\n"
        begun.send(b"GET / HT")
        process.send_signal(signal.SIGTERM)
        begun.send(b"TP/1.1\r\nHost: a\r\n\r\n")
        # What has been asked is answered.
        assert begun.read_response().body == b"You requested /\n"
        assert idle.read_to_end() == b""
        ended = process.end()
    assert ended.returncode == 0
    assert "Traceback" not in ended.stderr
    assert "Warning" not in ended.stderr


@posix
def test_refusals_are_seen_on_stderr(start: Start) -> None:
    process = start("--port", "0")
    with connect(process) as client:
        client.send(b"nonsense \x1b[31m\r\n\r\n")
        assert client.read_response().status == 400
    process.send_signal(signal.SIGTERM)
    stderr = process.end().stderr
    assert "Malformed HTTP request from" in stderr
    assert "\x1b" not in stderr


# --- In this process --------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A current folder with a module ``application``, and one process, as on Windows."""
    monkeypatch.delattr(os, "fork", raising=False)
    (tmp_path / "application.py").write_text(APPLICATION)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    yield
    sys.modules.pop("application", None)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nosuchmodule:callback", "nosuchmodule"),
        ("application.nosuch:callback", "application.nosuch"),
        ("application", "package.module:application"),
        ("application:", "package.module:application"),
        (":callback", "package.module:application"),
        ("application:nosuch", "nosuch"),
        ("application:handler.nosuch", "handler.nosuch"),
        ("application:number", "int cannot be called"),
        ("application:callback.", "callback."),
        (".application:callback", ".application"),
        ("..:callback", ".."),
        ("application.py:callback", "application.py"),
        ("./application.py:callback", "application"),
        ("appl ication:callback", "appl ication"),
    ],
)
def test_wrong_names_are_refused_in_one_line(
    here: None, capsys: pytest.CaptureFixture[str], name: str, said: str
) -> None:
    assert main([name, "--port", "0"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("fasthttpserver: ")
    assert said in line


def test_application_is_found_by_its_name(here: None) -> None:
    assert load_application("helpers:answer").target is answer
    assert load_application("application:Handler.method").interface == "callback"
    assert type(load_application("application:handler").target).__name__ == "Handler"
