"""What Tornado 3's documentation of its HTTP server says: each signature, each example.

The texts below are that page's; only the word ``tornado`` is replaced, and what a test
cannot do without: a port that is free, an application to serve.
"""

from __future__ import annotations

import contextlib
import http.client
import importlib
import inspect
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import TIMEOUT, Client, Process, connect_when_up, eventually, framed, free_port, get

# --- Signatures -------------------------------------------------------------------------

CLASSES = """
tornado.httpserver.HTTPRequest(method, uri, version='HTTP/1.0', headers=None, body=None, \
remote_ip=None, protocol=None, host=None, files=None, connection=None)
tornado.httpserver.HTTPServer(request_callback, no_keep_alive=False, io_loop=None, \
xheaders=False, ssl_options=None, protocol=None, **kwargs)
tornado.httpserver.HTTPConnection(stream, address, request_callback, no_keep_alive=False, \
xheaders=False, protocol=None)
"""
METHODS = """
tornado.httpserver.HTTPRequest.supports_http_1_1()
tornado.httpserver.HTTPRequest.write(chunk, callback=None)
tornado.httpserver.HTTPRequest.finish()
tornado.httpserver.HTTPRequest.full_url()
tornado.httpserver.HTTPRequest.request_time()
tornado.httpserver.HTTPRequest.get_ssl_certificate(binary_form=False)
tornado.httpserver.HTTPConnection.set_close_callback(callback)
tornado.httpserver.HTTPConnection.write(chunk, callback=None)
tornado.httpserver.HTTPConnection.finish()
"""
# Mentioned in the text, and documented on the pages of their own modules. There the backlog is 128:
# difference 52.
OTHERS = """
tornado.tcpserver.TCPServer(io_loop=None, ssl_options=None)
tornado.tcpserver.TCPServer.listen(port, address='')
tornado.tcpserver.TCPServer.add_sockets(sockets)
tornado.tcpserver.TCPServer.bind(port, address=None, family=0, backlog=511)
tornado.tcpserver.TCPServer.start(num_processes=1)
tornado.tcpserver.TCPServer.stop()
tornado.tcpserver.TCPServer.handle_stream(stream, address)
tornado.netutil.bind_sockets(port, address=None, family=0, backlog=511, flags=None)
tornado.process.fork_processes(num_processes, max_restarts=100)
tornado.ioloop.IOLoop.instance()
tornado.ioloop.IOLoop.start()
"""
ATTRIBUTES = """
method uri path query version headers body remote_ip protocol host arguments files connection
cookies
"""


def ours(text: str) -> list[str]:
    """The lines of a text, about this package."""
    return text.replace("tornado", "fasthttpserver").strip().splitlines()


def find(path: str) -> Any:
    """The object of a dotted path."""
    package, module, *names = path.split(".")
    found: Any = importlib.import_module(f"{package}.{module}")
    for name in names:
        found = getattr(found, name)
    return found


NAMED = ours(CLASSES + METHODS[1:] + OTHERS[1:])


def parameters_of(function: Any) -> list[inspect.Parameter]:
    """What a caller passes by position or by name, in order."""
    every = inspect.signature(function).parameters.values()
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [each for each in every if each.kind not in variable and each.name != "self"]


@pytest.mark.parametrize("line", NAMED)
def test_signature_is_as_documented(line: str) -> None:
    path, _, arguments = line.partition("(")
    namespace: dict[str, Any] = {}
    exec(f"def documented({arguments}: pass", namespace)
    documented = parameters_of(namespace["documented"])
    actual = parameters_of(find(path))
    for ours, theirs in zip(actual, documented, strict=False):
        assert (ours.name, ours.kind, ours.default) == (theirs.name, theirs.kind, theirs.default)
    # What is there besides is optional: code that was written by the page goes on working.
    assert len(actual) >= len(documented)
    assert all(each.default is not each.empty for each in actual[len(documented) :])


@pytest.mark.parametrize("name", ATTRIBUTES.split())
def test_documented_attribute_exists(name: str) -> None:
    request = find("fasthttpserver.httpserver.HTTPRequest")("GET", "/")
    assert hasattr(request, name)


@pytest.mark.parametrize("line", NAMED)
def test_documented_name_has_a_docstring(line: str) -> None:
    assert inspect.getdoc(find(line.partition("(")[0]))


# --- The example, as printed ------------------------------------------------------------

EXAMPLE = r"""
import tornado.httpserver
import tornado.ioloop

def handle_request(request):
   message = "You requested %s\n" % request.uri
   request.write("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (
                 len(message), message))
   request.finish()

http_server = tornado.httpserver.HTTPServer(handle_request)
http_server.listen(8888)
tornado.ioloop.IOLoop.instance().start()
"""

LOOPS = [
    "asyncio",
    pytest.param(
        "uvloop",
        marks=pytest.mark.skipif(
            importlib.util.find_spec("uvloop") is None, reason="uvloop is not installed"
        ),
    ),
]


@pytest.fixture(scope="module", params=LOOPS)
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    """The port of the running example."""
    port = free_port()
    program = EXAMPLE.replace("tornado", "fasthttpserver").replace("8888", str(port))
    command = ["-W", "error", "-c", program]
    with Process(command, env={"FASTHTTPSERVER_LOOP": request.param}):
        connect_when_up(port).close()
        yield port


def test_example_answers_curl(port: int) -> None:
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    url = f"http://127.0.0.1:{port}"
    command = [curl, "--silent", "--show-error", "--include", "--noproxy", "*"]
    command += [f"{url}/hello?a=b", f"{url}/again"]
    # Two requests on one connection.
    done = subprocess.run(command, capture_output=True, timeout=TIMEOUT, check=True)
    assert done.stdout == framed(b"You requested /hello?a=b\n") + framed(b"You requested /again\n")


def test_example_answers_curl_with_a_large_body(port: int, tmp_path: Path) -> None:
    # For which curl says Expect: 100-continue.
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("curl is not installed")
    upload = tmp_path / "upload"
    upload.write_bytes(bytes(3_000_000))
    command = [curl, "--silent", "--show-error", "--noproxy", "*", "--data-binary"]
    command += [f"@{upload}", "-H", "Expect: 100-continue", f"http://127.0.0.1:{port}/upload"]
    done = subprocess.run(command, capture_output=True, timeout=TIMEOUT, check=True)
    assert done.stdout == b"You requested /upload\n"


def test_example_answers_http_client(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    with contextlib.closing(connection):
        for uri in ("/", "/a/b?c=d", "/%20"):
            connection.request("GET", uri)
            response = connection.getresponse()
            assert response.status == 200
            assert response.read() == f"You requested {uri}\n".encode()


def test_example_answers_raw_sockets(port: int) -> None:
    with Client(("127.0.0.1", port)) as client:
        client.send(get("/1") + get("/2"))
        assert client.read(2 * len(framed(b"You requested /1\n"))) == (
            framed(b"You requested /1\n") + framed(b"You requested /2\n")
        )
        for byte in get("/3", "Connection: close"):
            client.send(bytes([byte]))
        assert client.read_to_end() == framed(b"You requested /3\n")


def test_example_serves_all_interfaces(port: int) -> None:
    with contextlib.suppress(OSError), Client(("::1", port)) as client:
        assert client.ask(get("/6")) == b"You requested /6\n"


def test_example_goes_on_after_a_bad_request(port: int) -> None:
    with Client(("127.0.0.1", port)) as client:
        client.send(b"bad\r\n\r\n")
        assert client.read_response().status == 400
    with Client(("127.0.0.1", port)) as client:
        assert client.ask(get("/good")) == b"You requested /good\n"


def test_readme_shows_the_same_example() -> None:
    readme = Path(__file__).resolve().parents[2] / "README.md"
    blocks = re.findall(r"```python\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)
    # But for its indentation.
    assert EXAMPLE.replace("tornado", "fasthttpserver").split() in map(str.split, blocks)


# --- The three patterns of starting -----------------------------------------------------

APP = """
import os
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
import tornado.netutil
import tornado.process

def app(request):
    message = str(os.getpid())
    request.write("HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n%s" % (
                  len(message), message))
    request.finish()

"""

PATTERNS = {
    "listen": """
server = HTTPServer(app)
server.listen(8888)
IOLoop.instance().start()
""",
    "bind and start": """
server = HTTPServer(app)
server.bind(8888)
server.start(0)  # Forks multiple sub-processes
IOLoop.instance().start()
""",
    "add_sockets": """
sockets = tornado.netutil.bind_sockets(8888)
tornado.process.fork_processes(0)
server = HTTPServer(app)
server.add_sockets(sockets)
IOLoop.instance().start()
""",
}

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


def processes_that_answer(port: int, count: int) -> set[int]:
    """The numbers of processes that answer, once there are so many."""
    found: set[int] = set()

    def ask() -> bool:
        with Client(("127.0.0.1", port)) as client:
            found.add(int(client.ask(get())))
        return len(found) >= count

    connect_when_up(port).close()
    eventually(ask)
    return found


@pytest.mark.parametrize(
    ("pattern", "children"),
    [
        ("listen", 0),
        pytest.param("bind and start", 2, marks=needs_fork),
        pytest.param("add_sockets", 2, marks=needs_fork),
    ],
)
def test_pattern(pattern: str, children: int) -> None:
    port = free_port()
    program = (APP + PATTERNS[pattern]).replace("tornado", "fasthttpserver")
    program = program.replace("8888", str(port))
    # Two children on any machine, instead of one for each processor.
    program = program.replace("start(0)", "start(2)").replace("processes(0)", "processes(2)")
    with Process(["-W", "error", "-c", program]) as process:
        found = processes_that_answer(port, max(1, children))
        assert (process.pid in found) == (children == 0)
        assert len(found) == max(1, children)
        if children and sys.platform != "win32":
            process.send_signal(signal.SIGTERM)
            ended = process.end()
            assert "Traceback" not in ended.stderr
            for number in found:
                with pytest.raises(ProcessLookupError):
                    os.kill(number, 0)


def test_options_of_the_page() -> None:
    # "Applications that are unable to frame their responses properly …"
    server_class: Callable[..., Any] = find("fasthttpserver.httpserver.HTTPServer")
    server = server_class(print, no_keep_alive=True, xheaders=True, protocol="https")
    assert (server.no_keep_alive, server.xheaders, server.protocol) == (True, True, "https")
