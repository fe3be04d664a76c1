"""The test kit: what a client in memory gets, and which callbacks the check finds."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import OK, answer, echo, framed, get, post
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import fasthttpserver
from fasthttpserver import HTTPHeaders, HTTPInputError, HTTPRequest, HTTPServer, IOLoop
from fasthttpserver.testing import Client, Request, RuleBroken, check_callback, pipelines, requests

pytestmark = pytest.mark.usefixtures("nothing_left")

FEW = settings(max_examples=25, derandomize=True, database=None, deadline=None)
# Shrinking takes longer than finding.
FIRST = settings(FEW, max_examples=100, phases=[Phase.generate], report_multiple_bugs=False)

GETS = pipelines(method=st.just("GET"))


def write(data: bytes) -> Callable[[HTTPRequest], None]:
    """A callback that answers everything with the same bytes."""

    def callback(request: HTTPRequest) -> None:
        request.write(data)
        request.finish()

    return callback


def careful(request: HTTPRequest) -> None:
    """A callback that minds the method."""
    body = request.uri.encode("latin-1") + request.body
    head = b"HTTP/1.1 200 OK\r\n"
    if request.method != "CONNECT":
        head += b"Content-Length: %d\r\n" % len(body)
    request.write(head + b"\r\n")
    if request.method not in ("CONNECT", "HEAD"):
        request.write(body)
    request.finish()


async def careful_later(request: HTTPRequest) -> None:
    await asyncio.sleep(59)
    careful(request)


def framed_by_the_server(request: HTTPRequest) -> None:
    request.connection.write_headers(("HTTP/1.1", 200, "OK"), HTTPHeaders(), b"hello")
    request.connection.finish()


# --- The client -----------------------------------------------------------------------------


def test_response_is_parsed() -> None:
    data = b"HTTP/1.1 404 Not Here\r\nX: 1\r\nx: 2\r\nContent-Length: 2\r\n\r\nno"
    with Client(write(data)) as client:
        response = client.request("GET", "/")
    assert (response.version, response.status, response.reason) == ("HTTP/1.1", 404, "Not Here")
    assert response.headers.get_list("X") == ["1", "2"]
    assert response.body == b"no"
    assert response.complete and not response.closed
    assert response.interim == () and response.trailers == []


def test_callback_sees_the_request() -> None:
    with Client(echo, address=("192.0.2.7", 1), xheaders=True) as client:
        response = client.request("PUT", "/a?b=c", {"X-Real-Ip": "198.51.100.1"}, b"body")
        (request,) = client.requests
    assert response.body == b"/a?b=c body"
    assert (request.method, request.query) == ("PUT", "b=c")
    assert request.remote_ip == "198.51.100.1"
    assert request.headers["Host"] == "localhost"


def test_one_connection_answers_many_requests() -> None:
    with Client(echo) as client:
        assert [client.request("GET", f"/{i}").body for i in range(3)] == [b"/0 ", b"/1 ", b"/2 "]
        assert not client.closed


def test_bytes_may_come_in_any_pieces() -> None:
    with Client(echo) as client:
        for data in post(b"body"), get("/2"):
            client.send(*(data[i : i + 1] for i in range(len(data))))
        assert [client.receive().body, client.receive().body] == [b"/ body", b"/2 "]
        assert client.sent == post(b"body") + get("/2")


def test_pipelined_requests_are_answered_in_order() -> None:
    with Client(careful_later) as client:
        client.send(get("/1") + get("/2") + get("/3"))
        assert [client.receive().body for _ in range(3)] == [b"/1", b"/2", b"/3"]


def test_time_does_not_have_to_pass() -> None:
    async def slow(request: HTTPRequest) -> None:
        await asyncio.sleep(59)
        IOLoop.current().call_later(0.9, answer, request)

    with Client(slow) as client:
        assert client.request().body == b"ok"


def test_threads_are_waited_for() -> None:
    async def threaded(request: HTTPRequest) -> None:
        answer(request, await asyncio.to_thread(lambda: "from a thread"))

    with Client(threaded) as client:
        assert client.request().body == b"from a thread"


def test_response_can_be_read_while_it_is_written() -> None:
    waiting: list[HTTPRequest] = []

    def begin(request: HTTPRequest) -> None:
        request.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        waiting.append(request)

    with Client(begin) as client:
        assert client.peek() is None
        client.send(get())
        response = client.peek()
        assert response is not None and response.body == b"" and not response.complete
        client.call(waiting[0].write, b"5;x=y\r\nhello\r\n")
        response = client.peek()
        assert response is not None and response.body == b"hello" and not response.complete
        client.call(waiting[0].write, b"0\r\nX-End: yes\r\n\r\n")
        client.call(waiting[0].finish)
        response = client.receive()
        assert response.body == b"hello" and response.complete
        assert response.trailers == [("X-End", "yes")]


def test_interim_response_belongs_to_the_final_one() -> None:
    with Client(echo) as client:
        data = post(b"body", "Expect: 100-continue")
        client.send(data[:-4])
        assert client.received == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(data[-4:])
        response = client.receive()
    assert [interim.status for interim in response.interim] == [100]
    assert response.body == b"/ body"


def test_half_closed_client_gets_its_answer() -> None:
    with Client(careful_later) as client:
        client.send(get())
        client.half_close()
        assert client.receive().closed
        assert client.closed


def test_end_of_the_connection_ends_a_body() -> None:
    with Client(write(b"HTTP/1.1 200 OK\r\n\r\nall"), no_keep_alive=True) as client:
        response = client.request()
    assert response.body == b"all" and response.closed


@pytest.mark.parametrize("method", ["HEAD", "CONNECT"])
def test_method_decides_about_the_body(method: str) -> None:
    with Client(careful) as client:
        response = client.request(method, "a:1" if method == "CONNECT" else "/")
    assert response.body == b"" and response.complete


def test_refusal_of_the_server_is_a_response() -> None:
    with Client(echo, max_body_size=3) as client:
        response = client.request("POST", "/", body=b"four")
        assert response.status == 413 and response.closed
        assert client.requests == []
    with Client(echo) as client:
        client.send(b"HEAD / HTTP/3.0\r\nHost: a\r\n\r\n")
        assert client.receive().status == 505


def test_callback_that_raises_is_answered_with_500(logs: Any) -> None:
    def fail(request: HTTPRequest) -> None:
        raise ZeroDivisionError

    async def fail_later(request: HTTPRequest) -> None:
        await asyncio.sleep(1)
        raise ZeroDivisionError

    for callback in fail, fail_later:
        with Client(callback) as client:
            assert client.request().status == 500
            assert [type(error) for error in client.errors] == [ZeroDivisionError]
    assert len(logs.records) == 2
    logs.records.clear()


def test_client_that_leaves_is_noticed() -> None:
    told: list[str] = []

    def wait(request: HTTPRequest) -> None:
        request.connection.set_close_callback(lambda: told.append("left"))

    with Client(wait) as client:
        client.send(get())
        client.reset()
        assert told == ["left"]


def test_hijacked_stream_goes_on() -> None:
    async def tunnel(request: HTTPRequest) -> None:
        request.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n")
        stream = request.connection.detach()
        stream.write((await stream.read_bytes(3)).upper())

    with Client(tunnel) as client:
        client.send(get("/", "Upgrade: x", "Connection: upgrade") + b"ab")
        assert client.receive().status == 101
        assert client.receive_bytes() == b""
        client.send(b"c")
        assert client.receive_bytes() == b"ABC"


def test_deadlines_of_the_server_pass() -> None:
    with Client(echo, idle_connection_timeout=75.0) as client:
        client.request()
        client.wait(70)
        assert not client.closed
        client.wait(10)
        assert client.closed


def test_callback_that_never_answers_is_told_of() -> None:
    with Client(lambda request: None, timeout=5) as client:
        client.send(get("/here"))
        with pytest.raises(RuleBroken, match="5 seconds have passed, and the client lacks a resp"):
            client.receive()


def test_what_still_runs_is_ended() -> None:
    ended: list[str] = []

    async def forever(request: HTTPRequest) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    with Client(forever) as client:
        client.send(get())
    assert ended == ["cancelled"]
    client.close()


def test_client_is_not_for_running_loops() -> None:
    def ask() -> bytes:
        with Client(echo) as client:
            return client.request().body

    async def inside() -> None:
        with pytest.raises(RuntimeError, match="to_thread"):
            Client(echo)
        assert await asyncio.to_thread(ask) == b"/ "

    asyncio.run(inside())


def test_options_are_those_of_the_server() -> None:
    with pytest.raises(TypeError, match="max_body_sise"):
        Client(echo, max_body_sise=1)


# --- What is no response --------------------------------------------------------------------

HEAD = b"HTTP/1.1 200 OK\r\n"
BROKEN = {
    # what is written, and what is said of it
    b"hello": "no status line",
    b"HTTP/1.1 200\r\n\r\n": "no status line",
    b"HTTP/2 200 OK\r\n\r\n": "no status line",
    b"HTTP/1.1 600 OK\r\n\r\n": "no status line",
    b"HTTP/1.1 200 OK\nContent-Length: 0\n\n": "does not end with CRLF",
    HEAD: "lacks the rest of the head",
    HEAD + b"Content-Length : 0\r\n\r\n": "is not a field",
    HEAD + b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n": "is not a field",
    HEAD + b"X: a\0\r\nContent-Length: 0\r\n\r\n": "is not a field",
    HEAD + b"\r\nhello": "the end of the connection",
    HEAD + b"Content-Length: 6\r\n\r\nhello": "lacks 1 of 6 bytes",
    HEAD + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello": "is not a number",
    HEAD + b"Content-Length: +5\r\n\r\nhello": "is not a number",
    HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n": "both",
    HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n": "not chunked",
    HEAD.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n": "of or to HTTP",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n": "lacks the last chunk",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n": "lacks the last chunk",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhell": "lacks 1 of 5 bytes",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\nhello\r\n0\r\n\r\n": "no CRLF behind a chunk",
    HEAD + b"Transfer-Encoding: chunked\r\n\r\nhello\r\n": "no chunk size",
    b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n": "a 204 response has Content-Length",
    b"HTTP/1.1 205 Reset\r\nContent-Length: 1\r\n\r\na": "a 205 response has a body",
    b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n": "101 without Upgrade",
}


@pytest.mark.parametrize("data", BROKEN, ids=lambda data: repr(data)[2:-1])
def test_what_is_no_response_is_refused(data: bytes) -> None:
    with Client(write(data)) as client:
        client.send(get("/this"))
        with pytest.raises(RuleBroken) as raised:
            client.receive()
    assert BROKEN[data] in raised.value.rule
    assert raised.value.sent == get("/this")
    assert raised.value.written == data
    assert "b'GET /this HTTP/1.1\\r\\n'" in str(raised.value)


BEHIND = {
    ("GET", framed(b"hello") + b"!"): "more than the 5 bytes of Content-Length",
    ("HEAD", framed(b"hello")): "a body behind the response to HEAD",
    ("GET", b"HTTP/1.1 304 Same\r\n\r\nhello"): "a body behind a 304 response",
    ("GET", HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n0\r\n\r\n"): "bytes behind",
}


@pytest.mark.parametrize(("method", "data"), BEHIND, ids=BEHIND.values())
def test_bytes_behind_a_response_are_told_of(method: str, data: bytes) -> None:
    with Client(write(data)) as client:
        client.request(method)
        with pytest.raises(RuleBroken, match=BEHIND[method, data]):
            client.request(method)


def test_long_bytes_are_shortened_in_the_message() -> None:
    with Client(write(b"x" * 100_000)) as client, pytest.raises(RuleBroken) as raised:
        client.request()
    assert len(str(raised.value)) < 5000
    assert "bytes ...]" in str(raised.value)


# --- The check ------------------------------------------------------------------------------


@pytest.mark.parametrize("callback", [careful, careful_later, framed_by_the_server])
def test_good_callback_passes(callback: Callable[[HTTPRequest], object]) -> None:
    check_callback(callback, settings=FEW)


def test_callback_may_refuse_a_request() -> None:
    def refuse(request: HTTPRequest) -> None:
        raise HTTPInputError("I do not like it", 403)

    check_callback(refuse, settings=FEW)


def test_callback_that_needs_get_passes_with_gets() -> None:
    check_callback(write(OK), pipelines=GETS, settings=FEW)


def test_callback_that_closes_passes() -> None:
    def callback(request: HTTPRequest) -> None:
        request.write(HEAD + b"Connection: close\r\n\r\n")
        if request.method != "HEAD":
            request.write(b"all")
        request.finish()

    without_connect = pipelines(method=st.sampled_from(["GET", "HEAD", "POST"]))
    check_callback(callback, pipelines=without_connect, settings=FEW, no_keep_alive=True)
    with pytest.raises(RuleBroken, match="the end of the connection"):
        check_callback(callback, pipelines=GETS, settings=FIRST)


def raises(request: HTTPRequest) -> None:
    if b"\x80" <= request.body[:1]:
        raise ZeroDivisionError("a byte")
    careful(request)


async def raises_later(request: HTTPRequest) -> None:
    await asyncio.sleep(1)
    raises(request)


def raises_in_write_callback(request: HTTPRequest) -> None:
    request.write(framed(b""), lambda: 1 // 0)
    request.finish()


def raises_in_close_callback(request: HTTPRequest) -> None:
    request.connection.set_close_callback(lambda: 1 // 0)
    IOLoop.current().call_later(1, careful, request)


def raises_in_the_loop(request: HTTPRequest) -> None:
    asyncio.get_running_loop().call_soon(lambda: 1 // 0)
    careful(request)


@pytest.mark.parametrize(
    "callback",
    [
        raises,
        raises_later,
        raises_in_write_callback,
        raises_in_close_callback,
        raises_in_the_loop,
    ],
)
def test_callback_that_raises_is_found(callback: Callable[[HTTPRequest], object]) -> None:
    with pytest.raises(RuleBroken, match="the callback raised ZeroDivisionError") as raised:
        check_callback(callback, settings=FIRST)
    assert isinstance(raised.value.__cause__, ZeroDivisionError)


def says_close(request: HTTPRequest) -> None:
    request.write(HEAD + b"Connection: close\r\nContent-Length: 0\r\n\r\n")
    request.finish()


def writes_twice(request: HTTPRequest) -> None:
    request.write(OK + OK)
    request.finish()


def writes_later(request: HTTPRequest) -> None:
    careful(request)
    request.write(b"more")


def never_finishes(request: HTTPRequest) -> None:
    request.write(OK)


def counts_characters(request: HTTPRequest) -> None:
    text = "é"  # which is two bytes
    request.write(HEAD + b"Content-Length: %d\r\n\r\n" % len(text) + text.encode())
    request.finish()


WRONG: dict[Callable[[HTTPRequest], object], str] = {
    says_close: "says Connection: close",
    writes_twice: "a response to no request",
    writes_later: "write\\(\\) after finish\\(\\)",
    never_finishes: "finish\\(\\) was not called",
    counts_characters: "more than the 1 bytes of Content-Length",
}


@pytest.mark.parametrize("callback", WRONG)
def test_wrong_response_is_found(callback: Callable[[HTTPRequest], object]) -> None:
    with pytest.raises(RuleBroken, match=WRONG[callback]):
        check_callback(callback, pipelines=GETS, settings=FIRST)


@pytest.mark.parametrize("method", ["HEAD", "CONNECT"])
def test_callback_that_minds_no_method_is_found(method: str) -> None:
    with pytest.raises(RuleBroken, match=f"to {method}"):
        check_callback(
            write(OK), pipelines=pipelines(method=st.just(method), max_size=1), settings=FIRST
        )


def test_message_shows_the_shortest_request_and_what_was_written() -> None:
    shrunk = settings(FIRST, phases=[Phase.generate, Phase.shrink])
    with pytest.raises(RuleBroken) as raised:
        check_callback(write(HEAD + b"\r\n"), pipelines=GETS, settings=shrunk)
    assert "the end of the connection" in raised.value.rule
    assert raised.value.sent.startswith((b"GET / HTTP/1.1\r\nHost: 0", b"GET / HTTP/1.0"))
    assert len(raised.value.sent) < 80
    assert "b'HTTP/1.1 200 OK\\r\\n'" in str(raised.value)


# --- The strategies -------------------------------------------------------------------------


@given(
    request=requests(
        method=st.just("PUT"),
        target=st.just("/here"),
        headers=st.just([("Accept", "*/*")]),
        body=st.just(b"body"),
    )
)
def test_parts_of_requests_can_be_chosen(request: Request) -> None:
    assert (request.method, request.target) == ("PUT", "/here")
    assert ("Accept", "*/*") in request.headers
    assert request.body in (b"", b"body")


@given(pipeline=pipelines(max_size=2, method=st.sampled_from(["GET", "CONNECT"])))
def test_nothing_follows_connect(pipeline: list[Request]) -> None:
    assert len(pipeline) <= 2
    assert "CONNECT" not in [request.method for request in pipeline[:-1]]


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [
        ("requests", "hypothesis", "testing"),
        ("check_callback", "hypothesis", "testing"),
        ("mutations", "hypothesis", "testing"),
        ("WebSocket", "websockets", "websocket"),
    ],
)
def test_without_a_package_the_client_works_and_the_rest_says_what_is_missing(
    name: str, package: str, extra: str
) -> None:
    program = f"""
import sys
sys.modules["hypothesis"] = sys.modules["websockets"] = None
from fasthttpserver.testing import Client
def callback(request):
    request.write({OK!r})
    request.finish()
with Client(callback) as client:
    assert client.request().body == b"ok"
from fasthttpserver.testing import {name}
"""
    environment = os.environ | {"PYTHONPATH": str(Path(fasthttpserver.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last == (
        f"ImportError: fasthttpserver.testing.{name} needs {package}: "
        f"pip install 'fasthttpserver-llhttp[{extra}]'"
    )


def test_unknown_name_is_an_attribute_error() -> None:
    from fasthttpserver import testing

    assert not hasattr(testing, "request")
    assert {"Client", "requests"} <= set(dir(testing))


def test_server_of_the_client_is_the_real_one() -> None:
    seen: list[object] = []

    def look(request: HTTPRequest) -> None:
        seen.append(request.connection)
        answer(request)

    with Client(look) as client:
        client.request()
    server = HTTPServer(look)
    assert type(seen[0]).__module__ == "fasthttpserver._server.connection"
    assert server.request_callback is look
