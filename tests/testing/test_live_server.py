"""The server for tests of HTTP clients, which has to be as wrong as it is told to be."""

from __future__ import annotations

import doctest
import os
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from http.client import BadStatusLine, HTTPConnection, IncompleteRead
from pathlib import Path
from typing import Any

import pytest
from helpers import Client, Logs, eventually, get

import fasthttpserver
from fasthttpserver.httpserver import HTTPRequest
from fasthttpserver.testing import LiveServer, _live, endless, raw, silent, slow, whole

pytestmark = pytest.mark.usefixtures("nothing_left", "logs")

WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


def connect(server: LiveServer, **kwargs: Any) -> Client:
    return Client(("127.0.0.1", server.port), **kwargs)


def test_examples_in_docstrings_hold() -> None:
    assert doctest.testmod(_live).attempted
    assert not doctest.testmod(_live).failed


def test_it_answers_and_records() -> None:
    with LiveServer() as server:
        connection = HTTPConnection("127.0.0.1", server.port)
        for path in "/a", "/b?c=d":
            connection.request("PUT", path, b"body", {"X-A": "b"})
            response = connection.getresponse()
            assert (response.status, response.read()) == (200, b"")
        connection.close()
        assert server.url == f"http://127.0.0.1:{server.port}"
    assert [request.uri for request in server.requests] == ["/a", "/b?c=d"]
    request = server.requests[0]
    assert (request.method, request.body, request.headers["X-A"]) == ("PUT", b"body", "b")


def test_answers_follow_one_another_and_the_last_one_stays() -> None:
    with LiveServer() as server:
        server.answer(whole(503), raw(b"", "reset"), whole(200, {"a": 1}))
        bodies = []
        for _ in range(4):
            try:
                with urllib.request.urlopen(server.url, timeout=10) as response:
                    bodies.append(response.read())
            except (urllib.error.HTTPError, ConnectionResetError) as error:
                bodies.append(type(error))
                if isinstance(error, urllib.error.HTTPError):
                    error.close()
    assert bodies == [urllib.error.HTTPError, ConnectionResetError, b'{"a":1}', b'{"a":1}']
    with pytest.raises(ValueError, match="callback"):
        server.answer()


async def fails_later(request: HTTPRequest) -> None:
    raise AssertionError("of the callback")


def fails(request: HTTPRequest) -> None:
    raise AssertionError("of the callback")


@pytest.mark.parametrize("callback", [fails, fails_later])
def test_assertions_in_callbacks_count(logs: Logs, callback: Any) -> None:
    with pytest.raises(AssertionError, match="of the callback"), LiveServer(callback) as server:
        with connect(server) as client:
            client.send(get())
            assert client.read_response().status == 500
    assert len(logs.errors()) == 1
    # The test's own failure goes before.
    with pytest.raises(ZeroDivisionError), LiveServer(callback) as server:
        with connect(server) as client:
            client.send(get())
            client.read_response()
        raise ZeroDivisionError
    assert len(logs.errors()) == 1


def test_requests_that_are_none_are_told() -> None:
    with LiveServer() as server, connect(server) as client:
        client.send(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n")
        assert client.read_response().status == 400
        (refused,) = server.refused
        assert refused.status == 400
        assert not server.requests


def test_options_are_those_of_a_server() -> None:
    with LiveServer(max_body_size=3) as server, connect(server) as client:
        client.send(get("/", "Content-Length: 4"))
        assert client.read_response().status == 413


# --- What no usual server does ------------------------------------------------------------

WRONG = {
    "no status line": (b"hello\r\n\r\n", BadStatusLine),
    "too short a body": (WHOLE[:-1], IncompleteRead),
    "no end of chunks": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
        IncompleteRead,
    ),
}


@pytest.mark.parametrize("data, error", WRONG.values(), ids=WRONG)
def test_malformed_and_cut_responses(data: bytes, error: type[Exception]) -> None:
    with LiveServer(raw(data, "close")) as server:
        with pytest.raises(error), urllib.request.urlopen(server.url, timeout=10) as response:
            response.read()


def test_too_much_is_sent_and_the_connection_kept() -> None:
    with LiveServer(raw(WHOLE + b" more")) as server, connect(server) as client:
        for _ in range(2):
            assert client.ask(get()) == b"hello"
            assert client.read(5) == b" more"


@pytest.mark.parametrize("size", [len(WHOLE), 1 << 20])
def test_reset_comes_after_all_that_was_sent(size: int) -> None:
    data = WHOLE.ljust(size, b"x")
    with LiveServer(raw(data, "reset")) as server, connect(server) as client:
        client.send(get())
        assert client.read(size) == data
        with pytest.raises(ConnectionResetError):
            client.receive()


def test_slow_one_comes_piece_by_piece() -> None:
    with LiveServer(slow(WHOLE, size=10, pause=0)) as server, connect(server) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        assert client.ask(get()) == b"hello"
        assert client.ask(get()) == b"hello"
    with pytest.raises(ValueError, match="then"):
        slow(WHOLE, then="later")  # type: ignore[arg-type]


def test_server_that_is_slow_for_an_hour_ends_with_the_test() -> None:
    with LiveServer(slow(WHOLE, pause=3600)) as server, connect(server) as client:
        client.send(get())
        assert client.read(1) == b"H"


def test_endless_one_goes_on_while_it_is_read() -> None:
    with LiveServer(endless()) as server, connect(server) as client:
        client.send(get())
        client.read_until(b"\r\n\r\n")
        assert client.read(10_000_000) == bytes(10_000_000)
        client.close()
        with connect(server) as other:
            server.answer(whole(200, b"still here"))
            assert other.ask(get()) == b"still here"


@pytest.mark.parametrize("answer", [silent, raw(b"")], ids=["silent", "nothing"])
def test_silent_one_keeps_the_connection(answer: Any) -> None:
    with LiveServer(answer) as server:
        client = connect(server)
        client.send(get())
        eventually(lambda: server.requests)
        client.socket.settimeout(0.01)
        with pytest.raises(TimeoutError):
            client.receive()
    client.socket.settimeout(10)
    with client:
        assert client.read_to_end() == b""


def test_after_its_end_clients_are_refused() -> None:
    with LiveServer() as server:
        pass
    server.close()
    with pytest.raises(ConnectionRefusedError):
        connect(server)


def test_what_keeps_it_from_starting_is_told() -> None:
    with pytest.raises(OSError), LiveServer(host="192.0.2.1"):
        pass


def test_with_tls_it_has_a_certificate_of_its_own(logs: Logs) -> None:
    with LiveServer(tls=True) as server:
        server.answer(whole(200, "hello"), raw(WHOLE[:-1], "reset"))
        context = server.client_context()
        with urllib.request.urlopen(server.url, context=context, timeout=10) as response:
            assert response.read() == b"hello"
        # What a client is told of a reset depends on its version of OpenSSL.
        cut = pytest.raises((ConnectionResetError, ssl.SSLError, IncompleteRead))
        with cut, urllib.request.urlopen(server.url, context=context, timeout=10) as response:
            response.read()
        with pytest.raises(urllib.error.URLError, match="certificate verify failed"):
            urllib.request.urlopen(server.url, timeout=10)
        eventually(logs.warnings)  # the server is told why the client has gone


# --- The plugin -----------------------------------------------------------------------------

PROGRAM = """
def test_fixture(http_server):
    import urllib.request
    http_server.answer(lambda request: request.respond(200, request.path))
    assert urllib.request.urlopen(http_server.url + "/x").read() == b"/x"

def test_each_has_its_own(http_server):
    assert not http_server.requests

def test_tls(https_server):
    import urllib.request
    context = https_server.client_context()
    assert urllib.request.urlopen(https_server.url, context=context).read() == b""

def test_assertion(http_server):
    import urllib.error, urllib.request
    def callback(request):
        assert request.path == "/right"
    http_server.answer(callback)
    try:
        urllib.request.urlopen(http_server.url + "/wrong")
    except urllib.error.HTTPError as error:
        error.close()
"""


def test_pytest_has_the_fixtures(tmp_path: Path) -> None:
    (tmp_path / "test_client.py").write_text(PROGRAM)
    source = str(Path(fasthttpserver.__file__).parents[1])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"]
    ended = subprocess.run(
        [*command, "-p", "fasthttpserver.testing.pytest_plugin", "--noconftest", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": source, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
    )
    assert "4 passed, 1 error" in ended.stdout, ended.stdout
    assert "ERROR at teardown of test_assertion" in ended.stdout
