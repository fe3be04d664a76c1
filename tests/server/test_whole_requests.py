"""Delegates that take a request whole where all of it is here, and in pieces otherwise."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from helpers import Logs, Served, fail, framed, get, post, split, status_of
from wire import Wire

from fasthttpserver import HTTPRequest
from fasthttpserver.httputil import (
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    ResponseStartLine,
)

Wired = Callable[..., Wire]
Serve = Callable[..., Served]

CHUNKED = b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKS = CHUNKED + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"


def echo(request: HTTPRequest) -> None:
    request.write(framed(request.uri.encode() + request.body))
    request.finish()


class Both(HTTPServerConnectionDelegate):
    """Answers with the target and the body, however they come.

    Args:
        whole: What answers whole requests.
    """

    def __init__(self, whole: Callable[[HTTPRequest], Any] = echo) -> None:
        self.events: list[str] = []
        self.whole = whole

    def whole_request(self, request: HTTPRequest) -> Any:
        self.events.append("whole")
        return self.whole(request)

    def start_request(self, server_conn: object, request_conn: Any) -> Message:
        self.events.append("start")
        return Message(self, request_conn)

    def on_close(self, server_conn: object) -> None:
        self.events.append("closed")


class Message(HTTPMessageDelegate):
    def __init__(self, both: Both, connection: Any) -> None:
        self.both = both
        self.connection = connection
        self.body = connection.request.uri.encode()

    def data_received(self, chunk: bytes) -> None:
        self.body += chunk

    def finish(self) -> None:
        headers = {"Content-Length": len(self.body)}
        self.connection.write_headers(ResponseStartLine("", 200, "OK"), headers, self.body)
        self.connection.finish()

    def on_connection_close(self) -> None:
        self.both.events.append("cut")


@pytest.mark.parametrize(
    "pieces, events, answer",
    [
        ([get("/1")], ["whole"], framed(b"/1")),
        ([get("/1") + get("/2")], ["whole", "whole"], framed(b"/1") + framed(b"/2")),
        ([get("/1")[:20], get("/1")[20:]], ["whole"], framed(b"/1")),
        ([post(b"body")], ["whole"], framed(b"/body")),
        ([post(b"body")[:-1], b"y"], ["start"], framed(b"/body")),
        ([CHUNKS], ["start"], framed(b"/cabcde")),
        (
            [CHUNKS + get("/1") + post(b"b") + CHUNKS],
            ["start", "whole", "whole", "start"],
            framed(b"/cabcde") + framed(b"/1") + framed(b"/b") + framed(b"/cabcde"),
        ),
    ],
)
def test_request_is_whole_if_all_of_it_is_here(
    wire: Wired, pieces: list[bytes], events: list[str], answer: bytes
) -> None:
    delegate = Both()
    end = wire(delegate)
    end.send(*pieces)
    assert end.sent() == answer
    assert delegate.events == events
    end.half_close()
    assert delegate.events == [*events, "closed"]


@pytest.mark.parametrize("size", [1, 7, 50, 1000])
def test_any_cut_gives_the_same_answers(wire: Wired, size: int) -> None:
    body = bytes(range(100))
    requests = post(body) + get("/x") + CHUNKS + get("/y") + post(b"") + post(b"a", uri="/z")
    end = wire(Both())
    end.send(*split(requests, range(0, len(requests), size)))
    bodies = [b"/" + body, b"/x", b"/cabcde", b"/y", b"/", b"/za"]
    assert end.sent() == b"".join(map(framed, bodies))


def test_whole_requests_take_the_fast_path(wire: Wired) -> None:
    paths = []

    def whole(request: HTTPRequest) -> None:
        paths.append(request.connection.response is None)
        echo(request)

    end = wire(Both(whole))
    end.send(get(), CHUNKS, get() + post(b"a"))
    assert paths == [True, True, True]


def test_whole_requests_may_be_answered_later(wire: Wired) -> None:
    requests: list[HTTPRequest] = []
    end = wire(Both(requests.append))
    end.send(get("/1") + CHUNKS + get("/2"))
    assert end.sent() == b""
    end.call(echo, requests[0])
    assert end.sent() == framed(b"/1") + framed(b"/cabcde")
    end.call(echo, requests[1])
    assert end.sent() == framed(b"/2")


def test_whole_requests_may_be_answered_by_a_coroutine(wire: Wired) -> None:
    async def whole(request: HTTPRequest) -> None:
        await asyncio.sleep(0)
        echo(request)

    end = wire(Both(whole))
    end.send(get("/1") + post(b"a"), CHUNKS + get("/2"))
    end.turn(30)
    assert end.sent() == framed(b"/1") + framed(b"/a") + framed(b"/cabcde") + framed(b"/2")


def test_exceptions_are_those_of_any_callback(wire: Wired, logs: Logs) -> None:
    end = wire(Both(fail))
    end.send(get("/1"))
    assert status_of(end.sent()) == 500
    assert len(logs.errors()) == 1


@pytest.mark.parametrize("cut", [5, None])
def test_bodies_over_the_limit_are_refused(wire: Wired, logs: Logs, cut: int | None) -> None:
    delegate = Both()
    end = wire(delegate, max_body_size=9)
    request = post(bytes(10))
    end.send(*split(request, [len(request) - 5] if cut else []))
    assert status_of(end.sent()) == 413
    assert logs.refusals() == ["Malformed HTTP request from ('192.0.2.7', 4711): Body is too large"]


def test_disconnect_inside_a_body_is_told_once(wire: Wired) -> None:
    delegate = Both()
    end = wire(delegate)
    end.send(get(), post(b"body")[:-1])
    end.reset()
    assert delegate.events == ["whole", "start", "cut", "closed"]


def test_client_is_told_to_go_on_if_its_body_is_not_here(wire: Wired) -> None:
    request = post(b"body", "Expect: 100-continue")
    end = wire(Both())
    end.send(request)
    assert end.sent() == framed(b"/body")
    end.send(request[:-4])
    assert end.sent() == b"HTTP/1.1 100 Continue\r\n\r\n"
    end.send(request[-4:])
    assert end.sent() == framed(b"/body")


def test_closed_connection_leaves_no_cycle(serve: Serve) -> None:
    served = serve(Both())
    client = served.connect()
    client.send(get() + CHUNKS)
    assert client.read_response().body == b"/"
    assert client.read_response().body == b"/cabcde"
    connection = weakref.ref(served.connection)
    gc.disable()
    try:
        client.close()
        served.all_closed()
        served.settle()
        assert connection() is None
    finally:
        gc.enable()


def test_draining_server_answers_both_kinds(serve: Serve) -> None:
    def answer_whole(request: HTTPRequest) -> None:
        headers = {"Content-Length": 2}
        request.connection.write_headers(ResponseStartLine("", 200, "OK"), headers, b"ok")
        request.finish()

    served = serve(Both(answer_whole))
    whole, pieces = served.connect(), served.connect()
    whole.send(get())
    assert whole.read_response().body == b"ok"
    pieces.send(CHUNKS[:-1])
    served.settle()
    draining = asyncio.run_coroutine_threadsafe(served.server.drain(), served.loop)
    served.settle()
    pieces.send(CHUNKS[-1:])
    response = pieces.read_response()
    assert (response.body, response.fields["connection"]) == (b"/cabcde", "close")
    pieces.close()
    whole.send(get())
    assert whole.read_response().fields["connection"] == "close"
    whole.close()
    assert draining.result(10)["aborted"] == 0


def test_ordinary_delegates_get_all_in_pieces(wire: Wired) -> None:
    class InPieces(Both):
        whole_request = None  # type: ignore[assignment]

    delegate = InPieces()
    end = wire(delegate)
    end.send(get() + post(b"a"))
    assert end.sent() == framed(b"/") + framed(b"/a")
    assert delegate.events == ["start", "start"]


# --- What goes wrong ----------------------------------------------------------------------------


class Early(Message):
    """Begins the response before the request is whole."""

    def headers_received(self, start_line: object, headers: object) -> None:
        self.connection.write_headers(ResponseStartLine("", 200, "OK"), [], b"begun")

    def finish(self) -> None:
        self.connection.finish()


class InPieces(HTTPServerConnectionDelegate):
    def start_request(self, server_conn: object, request_conn: Any) -> Message:
        return Early(Both(), request_conn)


class Whole(InPieces):
    def whole_request(self, request: HTTPRequest) -> None:
        raise AssertionError


@pytest.mark.parametrize("delegate", [InPieces, Whole])
@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize(
    "head, body, what",
    [
        (CHUNKED, b"no size\r\n", "Malformed"),
        (CHUNKED, b"65\r\n" + bytes(101) + b"\r\n", "too large"),
        (post(bytes(9), "Content-Encoding: gzip")[:-9], bytes(9), "gzip"),
    ],
)
def test_bad_body_of_a_request_that_is_being_answered_is_the_clients_fault(
    wire: Wired, logs: Logs, delegate: Any, cut: bool, head: bytes, body: bytes, what: str
) -> None:
    connection = wire(delegate(), max_body_size=100, decompress_request=True)
    connection.send(*([head, body] if cut else [head + body[:-1], body[-1:]]))
    (refusal,) = logs.refusals()
    assert what in refusal
    assert connection.sent().endswith(b"\r\n\r\n5\r\nbegun\r\n")
    assert connection.ended


class Refusing(HTTPServerConnectionDelegate):
    """Raises an exception where others return a delegate.

    Args:
        error: Which one.
    """

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def start_request(self, server_conn: object, request_conn: Any) -> HTTPMessageDelegate:
        raise self.error


class RefusingParts(Refusing):
    def whole_request(self, request: HTTPRequest) -> None:
        raise self.error


@pytest.mark.parametrize("delegate", [Refusing, RefusingParts])
@pytest.mark.parametrize("request_", [get(), post(b"ab"), post(b"ab")[:-1]])
def test_exception_of_a_delegate_that_begins_is_a_500(
    wire: Wired, logs: Logs, delegate: Any, request_: bytes
) -> None:
    connection = wire(delegate(ZeroDivisionError("of the application")))
    connection.send(request_)
    assert status_of(connection.sent()) == 500
    assert connection.ended
    assert len(logs.errors()) == 1
