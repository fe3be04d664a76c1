"""`request.respond`: whole responses in an application's words, on every path that there is."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

import pytest
from helpers import OK, Logs, Served, get, post
from wire import Wire

from fasthttpserver._server.persistence import ANNOUNCING
from fasthttpserver.errors import HTTPOutputError
from fasthttpserver.httpserver import HTTPRequest
from fasthttpserver.httputil import HTTPHeaders

Wired = Callable[..., Wire]
Answer = Callable[[HTTPRequest], None]

DATE = re.compile(rb"Date: (?:\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT)\r\n")


def dateless(sent: bytes) -> bytes:
    """What was sent without the Date that each response has to have."""
    left, count = DATE.subn(b"", sent)
    assert count == sent.count(b"HTTP/1.1 ")
    return left


async def after_an_await(request: HTTPRequest, respond: Answer) -> None:
    await asyncio.sleep(0)
    respond(request)


def in_the_callback(request: HTTPRequest, respond: Answer) -> None:
    respond(request)


def with_a_close_callback(request: HTTPRequest, respond: Answer) -> None:
    request.connection.set_close_callback(lambda: None)
    respond(request)


# How a request comes to be answered, and the options of its server.
WAYS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "fast": (in_the_callback, {}),
    "slow": (with_a_close_callback, {}),
    "logged": (in_the_callback, {"access_log": lambda access, ip: ""}),
    "later": (after_an_await, {}),
    "streamed": (after_an_await, {"stream_request_body": True}),
    "unchecked": (in_the_callback, {"check_responses": False}),
}


@pytest.fixture(params=WAYS)
def ways(request: pytest.FixtureRequest, wire: Wired) -> Callable[[Answer], Wire]:
    """Make a connection on which an answer is given in one of these ways."""
    way, options = WAYS[request.param]
    return lambda respond, **more: wire(lambda asked: way(asked, respond), **options, **more)


def head(uri: str = "/", *fields: str) -> bytes:
    return get(uri, *fields).replace(b"GET", b"HEAD", 1)


# --- What is sent -------------------------------------------------------------------------

TEXT = b"Content-Type: text/plain; charset=utf-8\r\n"
JSON = b"Content-Type: application/json\r\n"
PAIRS = [("X-A", "1"), ("X-A", "2")]


class Pairs:
    """Pairs that are made when they are asked for, with bytes for names."""

    def __iter__(self) -> Iterator[tuple[bytes, str]]:
        return iter([(b"x-a", "\xe9")] * 99)


SENT: dict[str, tuple[tuple[Any, ...], dict[str, Any], bytes]] = {
    "a status": ((200,), {}, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    "an enum": (
        (HTTPStatus.NOT_FOUND,),
        {},
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    ),
    "a status of this RFC": (
        (413,),
        {},
        b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n",
    ),
    "a status of nobody": ((599,), {}, b"HTTP/1.1 599 \r\nContent-Length: 0\r\n\r\n"),
    "bytes": ((200, b"a\xff"), {}, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na\xff"),
    "bytearray": (
        (200, bytearray(b"ab")),
        {},
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab",
    ),
    "memoryview": (
        (200, memoryview(b"ab")),
        {},
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab",
    ),
    "bytes of a type": (
        (200, b"ab"),
        {"content_type": "text/html"},
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nab",
    ),
    "str": (
        (200, "\xfc\u20ac"),
        {},
        b"HTTP/1.1 200 OK\r\n" + TEXT + b"Content-Length: 5\r\n\r\n\xc3\xbc\xe2\x82\xac",
    ),
    "str of a type": (
        (200, "<p>"),
        {"content_type": "text/html"},
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n"
        b"Content-Length: 3\r\n\r\n<p>",
    ),
    "str of a type with charset": (
        (200, "<p>"),
        {"content_type": 'text/html;CHARSET="UTF-8"'},
        b'HTTP/1.1 200 OK\r\nContent-Type: text/html;CHARSET="UTF-8"\r\n'
        b"Content-Length: 3\r\n\r\n<p>",
    ),
    "str that is no text": (
        (200, "<svg>"),
        {"content_type": "image/svg+xml"},
        b"HTTP/1.1 200 OK\r\nContent-Type: image/svg+xml\r\nContent-Length: 5\r\n\r\n<svg>",
    ),
    "str of a type among the headers": (
        (200, "<p>"),
        {"headers": {"content-type": "text/html"}},
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n"
        b"Content-Length: 3\r\n\r\n<p>",
    ),
    "dict": (
        (200, {"a": ["\xfc", None, 1.5]}),
        {},
        b"HTTP/1.1 200 OK\r\n" + JSON + b'Content-Length: 21\r\n\r\n{"a":["\xc3\xbc",null,1.5]}',
    ),
    "list": (
        (201, []),
        {},
        b"HTTP/1.1 201 Created\r\n" + JSON + b"Content-Length: 2\r\n\r\n[]",
    ),
    "dict of a type": (
        (200, {}),
        {"content_type": "application/problem+json"},
        b"HTTP/1.1 200 OK\r\nContent-Type: application/problem+json\r\nContent-Length: 2\r\n\r\n{}",
    ),
    "dict of headers": (
        (200, b"ab"),
        {"headers": {"x-a": "1", "X-B": 2}},
        b"HTTP/1.1 200 OK\r\nX-A: 1\r\nX-B: 2\r\nContent-Length: 2\r\n\r\nab",
    ),
    "another mapping": (
        (200, b"ab"),
        {"headers": MappingProxyType({"X-A": b"1"})},
        b"HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: 2\r\n\r\nab",
    ),
    "HTTPHeaders": (
        (200, b"ab"),
        {"headers": HTTPHeaders._from_canonical_pairs(PAIRS)},
        b"HTTP/1.1 200 OK\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 2\r\n\r\nab",
    ),
    "pairs": (
        (200, b"ab"),
        {"headers": PAIRS},
        b"HTTP/1.1 200 OK\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 2\r\n\r\nab",
    ),
    "what makes pairs": (
        (200, b"ab", Pairs()),
        {},
        b"HTTP/1.1 200 OK\r\n" + 99 * b"X-A: \xe9\r\n" + b"Content-Length: 2\r\n\r\nab",
    ),
    "the right length": (
        (200, b"ab", {"Content-Length": 2}),
        {},
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab",
    ),
}


@pytest.mark.parametrize("arguments, named, expected", SENT.values(), ids=SENT)
@pytest.mark.parametrize("way", WAYS)
def test_response_has_what_it_needs(
    wire: Wired, way: str, arguments: tuple[Any, ...], named: dict[str, Any], expected: bytes
) -> None:
    answering, options = WAYS[way]

    def respond(request: HTTPRequest) -> None:
        request.respond(*arguments, **named)

    end = wire(lambda request: answering(request, respond), **options)
    for _ in range(2):
        end.send(get())
        assert dateless(end.sent()) == expected
    assert not end.ended


NO_BODY = b"HTTP/1.1 204 No Content\r\n\r\n"
CLOSES = b"HTTP/1.1 200 OK\r\n" + TEXT + b"Content-Length: 2\r\nConnection: close\r\n\r\nok"
CLOSES_1_0 = b"HTTP/1.1 200 OK\r\n" + TEXT + b"Connection: close\r\nContent-Length: 2\r\n\r\nok"

ASKED: dict[str, tuple[bytes, int, bytes, bool]] = {
    "HEAD": (head(), 200, b"HTTP/1.1 200 OK\r\n" + TEXT + b"Content-Length: 2\r\n\r\n", False),
    "204": (get(), 204, NO_BODY, False),
    "204 of HEAD": (head(), 204, NO_BODY, False),
    "205": (get(), 205, b"HTTP/1.1 205 Reset Content\r\nContent-Length: 0\r\n\r\n", False),
    "304": (get(), 304, b"HTTP/1.1 304 Not Modified\r\n\r\n", False),
    "the client closes": (get("/", "Connection: close"), 200, CLOSES, True),
    "HTTP/1.0": (get(version="HTTP/1.0"), 200, CLOSES_1_0, True),
    "HTTP/1.0, kept alive": (
        get("/", "Connection: keep-alive", version="HTTP/1.0"),
        200,
        CLOSES.replace(b"close", b"Keep-Alive"),
        False,
    ),
}


@pytest.mark.parametrize("asked, status, expected, ended", ASKED.values(), ids=ASKED)
def test_request_and_status_decide_how_it_is_framed(
    ways: Callable[[Answer], Wire], asked: bytes, status: int, expected: bytes, ended: bool
) -> None:
    end = ways(lambda request: request.respond(status, "ok"))
    end.send(asked)
    assert dateless(end.sent()) == expected
    assert end.ended == ended


KEPT: dict[str, tuple[bytes, bytes]] = {
    "HTTP/1.1": (get(), CLOSES),
    "HTTP/1.0": (get("/", "Connection: keep-alive", version="HTTP/1.0"), CLOSES_1_0),
}


@pytest.mark.parametrize("asked, expected", KEPT.values(), ids=KEPT)
@pytest.mark.parametrize("drains", [True, False], ids=["draining", "no_keep_alive"])
def test_end_of_the_connection_is_announced(
    ways: Callable[..., Wire], asked: bytes, expected: bytes, drains: bool
) -> None:
    end = ways(lambda request: request.respond(200, "ok"), no_keep_alive=not drains)
    if drains:
        end.connection.drain(ANNOUNCING)
    end.send(asked)
    assert dateless(end.sent()) == expected
    assert end.ended


def test_answer_before_the_end_of_a_streamed_request_announces_the_close(wire: Wired) -> None:
    end = wire(lambda request: request.respond(200, "ok"), stream_request_body=True)
    end.send(post(b"x" * 100)[:-1])
    assert dateless(end.sent()) == CLOSES
    assert end.ended


def test_answer_to_a_streamed_request_that_was_read_keeps_the_connection(wire: Wired) -> None:
    async def callback(request: HTTPRequest) -> None:
        request.respond(200, await request.read())

    end = wire(callback, stream_request_body=True)
    end.send(*[post(b"body")[:-1], b"y"])
    assert dateless(end.sent()) == b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody"
    assert not end.ended


def test_usual_response_stays_on_the_fast_path(wire: Wired) -> None:
    def callback(request: HTTPRequest) -> None:
        request.respond(200, {"a": 1}, {"X-A": "b"})
        assert request.connection.response is None
        assert request._corked

    end = wire(callback)
    end.send(get() * 3)
    assert len(end.transport.writes) == 1
    assert end.connection._fast


def test_date_is_that_of_now_and_an_applications_own_stays(wire: Wired) -> None:
    own = "Sun, 06 Nov 1994 08:49:37 GMT"
    end = wire(lambda request: request.respond(200, b"", {"date": own} if request.query else ()))
    dates = []
    for target in "/", "/?own":
        end.send(get(target))
        (field,) = DATE.findall(end.sent())
        dates.append(field.decode()[len("Date: ") :].strip())
    assert dates[1] == own
    assert datetime.now(UTC) - parsedate_to_datetime(dates[0]) < timedelta(minutes=1)


def test_application_may_announce_the_close_itself(ways: Callable[..., Wire]) -> None:
    end = ways(lambda request: request.respond(200, "ok", {"connection": "close"}))
    end.send(get(version="HTTP/1.0"))
    assert dateless(end.sent()) == CLOSES_1_0
    assert end.ended


@pytest.mark.parametrize("kind", [dict, HTTPHeaders, list])
def test_headers_stay_as_they_are(ways: Callable[..., Wire], kind: type[Any]) -> None:
    fields = {"Content-Type": "text/html", "X-A": "b"}
    headers = kind(fields.items())
    end = ways(lambda request: request.respond(200, "ok", headers))
    end.send(get("/", "Connection: close"))
    assert end.ended
    assert headers == (list(fields.items()) if kind is list else fields)


def test_over_a_socket_an_answer_may_come_late_and_pipelined(serve: Callable[..., Served]) -> None:
    async def callback(request: HTTPRequest) -> None:
        if request.path == "/late":
            await asyncio.sleep(0)
        request.respond(200, {"path": request.path})

    client = serve(callback).connect()
    client.send(get("/") + get("/late") + get("/"))
    bodies = [client.read_response().body for _ in range(3)]
    assert bodies == [b'{"path":"/"}', b'{"path":"/late"}', b'{"path":"/"}']


# --- What is refused ----------------------------------------------------------------------


WRONG: dict[str, tuple[type[Exception], str, tuple[Any, ...], dict[str, Any]]] = {
    "status of another type": (TypeError, "status", ("200",), {}),
    "no status": (TypeError, "status", (None,), {}),
    "body first": (TypeError, "status", (b"hello", 200), {}),
    "a truth": (TypeError, "status", (True,), {}),
    "interim status": (ValueError, "status", (103,), {}),
    "switching protocols": (ValueError, "status", (101,), {}),
    "status that is none": (ValueError, "status", (1000,), {}),
    "body of another type": (TypeError, "body", (200, 5), {}),
    "no body": (TypeError, "body", (200, None), {}),
    "tuple for a list": (TypeError, "body", (200, (1, 2)), {}),
    "what is no JSON": (TypeError, "JSON", (200, {"a": b"b"}), {}),
    "a number that is none": (ValueError, "JSON", (200, [float("nan")]), {}),
    "headers of another type": (TypeError, "headers", (200, b"", 5), {}),
    "headers as text": (TypeError, "headers", (200, b"", "X-A: b"), {}),
    "headers that are no pairs": (TypeError, "headers", (200, b"", ["X-A: b"]), {}),
    "name of another type": (TypeError, "header", (200, b"", {5: "b"}), {}),
    "value of another type": (TypeError, "header", (200, b"", {"X-A": None}), {}),
    "name that is none": (ValueError, "header", (200, b"", {"X A": "b"}), {}),
    "value that ends early": (ValueError, "header", (200, b"", {"X-A": "a\r\nX-B: c"}), {}),
    "value beyond the wire": (UnicodeEncodeError, "latin-1", (200, b"", {"X-A": "\u20ac"}), {}),
    "content type of another type": (TypeError, "content_type", (200, b""), {"content_type": 5}),
    "content type that ends early": (
        ValueError,
        "header",
        (200, "a"),
        {"content_type": "text/html\r\nX-A: b"},
    ),
    "two content types": (
        ValueError,
        "Content-Type",
        (200, b"", {"content-type": "text/html"}),
        {"content_type": "text/plain"},
    ),
    "another charset": (
        ValueError,
        "UTF-8",
        (200, "a"),
        {"content_type": "text/html; charset=iso-8859-1"},
    ),
    "another length": (HTTPOutputError, "Content-Length", (200, b"ab", {"Content-Length": 3}), {}),
}


@pytest.mark.parametrize("error, words, arguments, named", WRONG.values(), ids=WRONG)
def test_mistake_is_told_and_another_answer_may_follow(
    ways: Callable[..., Wire],
    error: type[Exception],
    words: str,
    arguments: tuple[Any, ...],
    named: dict[str, Any],
) -> None:
    def respond(request: HTTPRequest) -> None:
        with pytest.raises(error, match=words):
            request.respond(*arguments, **named)
        request.respond(500, b"")

    end = ways(respond)
    end.send(get())
    expected = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
    assert dateless(end.sent()) == expected


def respond_ok(request: HTTPRequest) -> None:
    request.respond(200, b"ok")


def begin_framed(request: HTTPRequest) -> None:
    request.connection.write_headers(("", 200, "OK"), {"Content-Length": 2}, b"ok")


def write_ok(request: HTTPRequest) -> None:
    request.write(OK)


MORE = {
    "respond": respond_ok,
    "write": lambda request: request.write(b"more"),
    "finish": lambda request: request.finish(),
    "write_headers": begin_framed,
}


@pytest.mark.parametrize("more", MORE.values(), ids=MORE)
def test_nothing_may_follow(ways: Callable[..., Wire], more: Answer) -> None:
    def respond(request: HTTPRequest) -> None:
        respond_ok(request)
        with pytest.raises(RuntimeError, match=r"after|finished"):
            more(request)

    end = ways(respond)
    end.send(get(), get())
    assert dateless(end.sent()) == 2 * OK


@pytest.mark.parametrize("before", [write_ok, begin_framed])
def test_nothing_may_have_been_written(ways: Callable[..., Wire], before: Answer) -> None:
    def respond(request: HTTPRequest) -> None:
        before(request)
        with pytest.raises(RuntimeError, match=r"respond\(\) after"):
            request.respond(200, b"more")
        request.finish()

    end = ways(respond)
    end.send(get(), get())
    assert end.sent() == 2 * OK


def test_late_one_never_answers_another_request(wire: Wired) -> None:
    requests: list[HTTPRequest] = []
    end = wire(requests.append)
    end.send(get("/1"))
    end.call(requests[0].respond, 200, b"1")
    end.send(get("/2"))

    def again() -> None:
        with pytest.raises(RuntimeError):
            requests[0].respond(200, b"not yours")

    end.call(again)
    end.call(requests[1].respond, 200, b"2")
    expected = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"
    assert dateless(end.sent()) == expected + b"1" + expected + b"2"


GONE: dict[str, Callable[[Wire], object]] = {
    "reset": lambda end: end.reset(),
    "closed by the application": lambda end: end.call(end.connection.close),
    "aborted": lambda end: end.call(end.connection.abort),
    "lingering": lambda end: end.call(end.connection.refuse_service, "test"),
}


@pytest.mark.parametrize("options", [{}, {"stream_request_body": True}], ids=["whole", "streamed"])
@pytest.mark.parametrize("go", GONE.values(), ids=GONE)
def test_answer_to_a_client_that_has_gone_is_dropped(
    wire: Wired, logs: Logs, go: Callable[[Wire], object], options: Mapping[str, Any]
) -> None:
    requests: list[HTTPRequest] = []
    end = wire(requests.append, **options)
    end.send(get())
    go(end)
    before = end.sent()
    end.call(requests[0].respond, 200, "late")
    assert end.sent() == b""
    assert b"late" not in before


def test_after_detach_it_is_a_mistake(wire: Wired) -> None:
    def callback(request: HTTPRequest) -> None:
        stream = request.connection.detach()
        with pytest.raises(RuntimeError):
            request.respond(200, b"ok")
        stream.close()

    end = wire(callback)
    end.send(get())
    assert end.sent() == b""
