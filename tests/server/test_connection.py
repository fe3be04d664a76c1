"""One client's connection: requests in, answers out, seen from the wire."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import socket
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from helpers import (
    OK,
    Logs,
    Served,
    Slow,
    answer,
    echo,
    eventually,
    framed,
    get,
    post,
    split,
    status_of,
)
from hypothesis import given
from hypothesis import strategies as st
from wire import Wire

from fasthttpserver.httpserver import HTTPConnection, HTTPRequest
from fasthttpserver.iostream import IOStream

Serve = Callable[..., Served]
Wired = Callable[..., Wire]

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


# --- Whether the connection goes on -----------------------------------------------------

KEEP_ALIVE = [
    # version, method, Connection fields, kept
    ("HTTP/1.1", "GET", [], True),
    ("HTTP/1.1", "GET", ["close"], False),
    ("HTTP/1.1", "GET", ["Close"], False),
    ("HTTP/1.1", "GET", ["CLOSE"], False),
    ("HTTP/1.1", "GET", ["x, close"], False),
    ("HTTP/1.1", "GET", ["close, x"], False),
    ("HTTP/1.1", "GET", ["x,close,y"], False),
    ("HTTP/1.1", "GET", ["x", "close"], False),
    ("HTTP/1.1", "GET", ["close", "x"], False),
    ("HTTP/1.1", "GET", ["keep-alive, close"], False),
    ("HTTP/1.1", "GET", ["keep-alive"], True),
    ("HTTP/1.1", "GET", ["closed"], True),
    ("HTTP/1.1", "GET", ["x"], True),
    ("HTTP/1.1", "GET", [""], True),
    ("HTTP/1.1", "DELETE", [], True),
    ("HTTP/1.1", "POST", [], True),
    ("HTTP/1.1", "POST", ["close"], False),
    ("HTTP/1.0", "GET", [], False),
    ("HTTP/1.0", "GET", ["close"], False),
    ("HTTP/1.0", "GET", ["x"], False),
    ("HTTP/1.0", "GET", ["keep-alive"], True),
    ("HTTP/1.0", "GET", ["Keep-Alive"], True),
    ("HTTP/1.0", "GET", ["x, keep-alive"], True),
    ("HTTP/1.0", "GET", ["keep-alive, close"], False),
    ("HTTP/1.0", "GET", ["keep-alive", "close"], False),
    ("HTTP/1.0", "HEAD", ["keep-alive"], True),
    ("HTTP/1.0", "POST", ["keep-alive"], True),
    ("HTTP/1.0", "POST", [], False),
    ("HTTP/1.0", "DELETE", ["keep-alive"], False),
]


@pytest.mark.parametrize(("version", "method", "fields", "kept"), KEEP_ALIVE)
def test_keep_alive(wire: Wired, version: str, method: str, fields: list[str], kept: bool) -> None:
    lines = [f"{method} /1 {version}", "Host: a", *(f"Connection: {value}" for value in fields)]
    request = "\r\n".join(lines).encode() + b"\r\n"
    request += b"Content-Length: 3\r\n\r\nabc" if method == "POST" else b"\r\n"
    for pieces in ([request + get("/2")], [request, get("/2")]):
        end = wire(echo)
        end.send(*pieces)
        first = framed(b"/1 abc" if method == "POST" else b"/1 ")
        first = first[: -len(b"/1 ")] if method == "HEAD" else first
        assert end.sent() == (first + framed(b"/2 ") if kept else first)
        assert end.ended is not kept


def test_no_keep_alive_closes_after_one_response(wire: Wired) -> None:
    for version, field in [("1.1", "X: y"), ("1.1", "Connection: keep-alive"), ("1.0", "X: y")]:
        end = wire(echo, no_keep_alive=True)
        end.send(get("/1", field, version=f"HTTP/{version}") + get("/2"))
        assert end.sent() == framed(b"/1 ")
        assert end.ended


CLOSING = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


@pytest.mark.parametrize("pieces", [[CLOSING], [CLOSING[:20], CLOSING[20:50], CLOSING[50:]]])
@pytest.mark.parametrize("is_async", [False, True])
def test_what_the_response_says_of_the_connection_is_done(
    wire: Wired, pieces: list[bytes], is_async: bool
) -> None:
    # RFC 9112 section 9.6: whoever sends "close" closes after that message.
    def callback(request: HTTPRequest) -> Any:
        async def in_task() -> None:
            for piece in pieces:
                await request.write(piece)
            request.finish()

        if is_async:
            return in_task()
        for piece in pieces:
            request.write(piece)
        return request.finish()

    end = wire(callback)
    end.send(get() * 2)
    assert end.sent() == CLOSING
    assert end.ended


def test_response_that_the_end_of_the_connection_ends_ends_it(wire: Wired, logs: Logs) -> None:
    response = b"HTTP/1.0 200 OK\r\n\r\nhello"
    end = wire(lambda request: (request.write(response), request.finish())[1])
    end.send(get() * 2)
    assert end.sent() == response
    assert end.ended
    assert logs.errors() == []


# What is written, to what; and what is said of it.
WRONG_FRAMING = {
    "short": (get(), OK[:-1], "is shorter than its Content-Length by 1 bytes"),
    "long": (get(), OK + b"!", "is longer than its Content-Length by 1 bytes"),
    "no length": (
        get(),
        b"HTTP/1.1 200 OK\r\n\r\nhello",
        "has no length, and the connection is kept alive",
    ),
    "HEAD": (get().replace(b"GET", b"HEAD"), OK, "has a body, but the request is HEAD"),
    "204": (get(), OK.replace(b"200", b"204"), "has a body, but its status is 204"),
    "304": (get(), OK.replace(b"200", b"304"), "has a body, but its status is 304"),
    "no head": (get(), b"hello", "is not HTTP"),
    "half a head": (get(), OK[:20], "has no complete head"),
    "interim only": (get(), b"HTTP/1.1 103 Early Hints\r\n\r\n", "has no complete head"),
    "no last chunk": (
        get(),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n",
        "ends before its last chunk does",
    ),
}


@pytest.mark.parametrize("what", WRONG_FRAMING)
@pytest.mark.parametrize("before", [0, 2])
@pytest.mark.parametrize("how", ["at once", "in pieces", "in a task", "later"])
def test_wrong_framing_is_one_error_and_the_next_response_is_not_sent(
    wire: Wired, logs: Logs, what: str, before: int, how: str
) -> None:
    request_bytes, response, fault = WRONG_FRAMING[what]

    def callback(request: HTTPRequest) -> Any:
        def respond() -> None:
            size = 1 if how == "in pieces" else len(response)
            for at in range(0, len(response), size):
                request.write(response[at : at + size])
            request.finish()

        async def in_task() -> None:
            respond()

        if request.uri == "/right":
            return answer(request)
        if how == "in a task":
            return in_task()
        if how == "later":
            return request.connection.stream.loop.call_later(1, respond) and None
        return respond()

    end = wire(callback)
    end.send(get("/right") * before + request_bytes + get("/right"))
    end.pass_time(2)
    assert end.sent() == OK * before + response
    assert end.ended
    (line,) = logs.errors()
    assert line.startswith("The response to HTTPRequest(method=")
    assert fault.split(",")[0] in line


def test_wrong_framing_is_the_applications_matter_if_it_wants(wire: Wired) -> None:
    end = wire(lambda request: answer_with(request, "X: y"), check_responses=False)
    end.send(get() * 2)
    assert end.sent().count(b"X: y") == 2
    assert not end.ended


def answer_with(request: HTTPRequest, field: str) -> None:
    request.write(f"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n{field}\r\n\r\n")
    request.finish()


def test_response_is_on_the_wire_exactly_as_it_was_written(serve: Serve) -> None:
    odd = b"HTTP/1.1 299 \xff\x00odd\nx:y\r\n\r\nanything"

    def callback(request: HTTPRequest) -> None:
        request.write(odd)
        request.finish()

    client = serve(callback, no_keep_alive=True, check_responses=False).connect()
    client.send(get())
    assert client.read_to_end() == odd


def test_hundreds_of_requests_on_one_connection(serve: Serve) -> None:
    client = serve(echo).connect()
    for i in range(300):
        assert client.ask(get(f"/{i}")) == b"/%d " % i


def test_blank_lines_between_requests_are_skipped(wire: Wired) -> None:
    end = wire(echo)
    end.send(b"\r\n" + get("/1") + b"\r\n\r\n" + get("/2"))
    assert end.sent() == framed(b"/1 ") + framed(b"/2 ")


# --- Pipelining -------------------------------------------------------------------------


def test_pipelined_requests_are_answered_in_order(serve: Serve) -> None:
    client = serve(echo).connect()
    client.send(b"".join(get(f"/{i}") for i in range(250)))
    for i in range(250):
        assert client.read_response().body == b"/%d " % i


def test_pipelined_requests_of_all_kinds_are_answered_in_order(wire: Wired) -> None:
    end = wire(echo)
    chunked = (
        b"POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\n"
    )
    end.send(get("/1") + post(b"abc", uri="/2") + chunked + get("/4"))
    assert end.sent() == b"".join(map(framed, [b"/1 ", b"/2 abc", b"/3 de", b"/4 "]))


def test_next_request_is_not_started_before_the_response_is_finished(wire: Wired) -> None:
    slow = Slow()
    end = wire(slow)
    end.send(get("/1") + get("/2") + get("/3"))
    for i in range(3):
        assert [request.uri for request in slow.requests] == [f"/{n + 1}" for n in range(i + 1)]
        end.call(answer, slow.request)
    assert end.sent() == OK * 3


def test_async_callbacks_that_would_end_in_another_order_answer_in_order(serve: Serve) -> None:
    delays = {"/1": 0.02, "/2": 0.0, "/3": 0.01}
    begun: list[str] = []

    async def callback(request: HTTPRequest) -> None:
        begun.append(request.uri)
        await asyncio.sleep(delays[request.uri])
        answer(request, request.uri)

    client = serve(callback).connect()
    client.send(b"".join(map(get, delays)))
    assert [client.read_response().body for _ in delays] == [b"/1", b"/2", b"/3"]
    assert begun == ["/1", "/2", "/3"]


def test_sync_and_async_answers_mix(serve: Serve) -> None:
    async def later(request: HTTPRequest) -> None:
        await asyncio.sleep(0)
        answer(request, request.uri)

    def callback(request: HTTPRequest) -> Any:
        if request.uri.endswith("0"):
            return later(request)
        return answer(request, request.uri)

    client = serve(callback).connect()
    client.send(b"".join(get(f"/{i}") for i in range(200)))
    assert [client.read_response().body for _ in range(200)] == [b"/%d" % i for i in range(200)]


def test_clients_that_pipeline_do_not_keep_others_waiting(wire: Wired) -> None:
    served = itertools.count()
    in_turns: list[int] = []

    def callback(request: HTTPRequest) -> None:
        next(served)
        answer(request)

    def other() -> None:
        in_turns.append(next(served))
        if len(in_turns) < 500:
            end.loop.call_soon(other)

    end = wire(callback)
    end.loop.call_soon(other)
    for _ in range(3):
        end.transport.peer_sends(get() * 3000)
    end.turn(500)
    assert end.sent() == OK * 9000
    assert max(b - a for a, b in itertools.pairwise(in_turns)) <= 100


@given(cuts=st.lists(st.integers(0, 200), max_size=12))
def test_any_split_of_the_input_gives_the_same_answers(cuts: list[int]) -> None:
    data = get("/1") + post(b"abc", uri="/2") + get("/3", "Connection: close") + get("/4")
    with Wire(echo) as end:
        end.send(*split(data, cuts))
        assert end.sent() == framed(b"/1 ") + framed(b"/2 abc") + framed(b"/3 ")
        assert end.ended


# --- Bodies -----------------------------------------------------------------------------

BODIES = {
    "none": (get(), b""),
    "length 0": (post(b""), b""),
    "length 3": (post(b"abc"), b"abc"),
    "any bytes": (post(bytes(range(256))), bytes(range(256))),
    "GET with a body": (post(b"abc", method="GET"), b"abc"),
    "chunked": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n",
        b"abc0123456789",
    ),
    "chunked, empty": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"",
    ),
}


@pytest.mark.parametrize("kind", BODIES)
def test_bodies(wire: Wired, kind: str) -> None:
    data, body = BODIES[kind]
    for pieces in ([data], split(data, range(len(data))), [data[:-1], data[-1:]]):
        bodies: list[bytes] = []

        def callback(request: HTTPRequest, bodies: list[bytes] = bodies) -> None:
            bodies.append(request.body)
            answer(request)

        end = wire(callback)
        end.send(*pieces)
        assert bodies == [body]
        assert end.sent() == OK


def test_callback_runs_when_the_whole_body_is_there(wire: Wired) -> None:
    slow = Slow()
    end = wire(slow)
    end.send(post(b"abc")[:-1])
    assert slow.requests == []
    end.send(b"c")
    assert slow.request.body == b"abc"


def test_large_body(serve: Serve) -> None:
    body = bytes(range(256)) * 20_000
    client = serve(lambda request: answer(request, request.body[::-1])).connect()
    assert client.ask(post(body)) == body[::-1]
    assert client.ask(get()) == b""


# --- Expect: 100-continue ---------------------------------------------------------------


def expecting(body: bytes, value: str = "100-continue") -> tuple[bytes, bytes]:
    data = post(body, f"Expect: {value}")
    return data[: len(data) - len(body)], body


def test_continue_is_sent_once_when_the_body_is_awaited(wire: Wired) -> None:
    end = wire(echo)
    head, body = expecting(b"abc")
    end.send(*split(head, range(len(head))))
    assert end.sent() == CONTINUE
    end.send(body[:1], body[1:])
    assert end.sent() == framed(b"/ abc")
    end.send(head)
    assert end.sent() == CONTINUE
    end.send(body)
    assert end.sent() == framed(b"/ abc")


@pytest.mark.parametrize("value", ["100-continue", "100-Continue", "100-CONTINUE"])
def test_case_of_the_expectation_does_not_matter(wire: Wired, value: str) -> None:
    end = wire(echo)
    end.send(expecting(b"abc", value)[0])
    assert end.sent() == CONTINUE


def test_continue_is_sent_for_a_chunked_body(wire: Wired) -> None:
    end = wire(echo)
    fields = "Transfer-Encoding: chunked", "Expect: 100-continue"
    end.send(get("/", *fields).replace(b"GET", b"PUT"))
    assert end.sent() == CONTINUE
    end.send(b"3\r\n", b"abc\r\n0\r\n", b"\r\n")
    assert end.sent() == framed(b"/ abc")


def test_continue_is_sent_for_a_length_after_chunks(wire: Wired) -> None:
    end = wire(echo)
    end.send(get("/", "Transfer-Encoding: chunked").replace(b"GET", b"PUT"))
    end.send(b"1\r\nx\r\n0\r\n\r\n")
    assert end.sent() == framed(b"/ x")
    head, body = expecting(b"abc")
    end.send(head)
    assert end.sent() == CONTINUE
    end.send(body)
    assert end.sent() == framed(b"/ abc")


def test_no_continue_when_the_body_is_there(wire: Wired) -> None:
    end = wire(echo)
    end.send(b"".join(expecting(b"abc")))
    assert end.sent() == framed(b"/ abc")


def test_no_continue_when_some_of_the_body_is_there(wire: Wired) -> None:
    end = wire(echo)
    end.send(*split(b"".join(expecting(b"abc")), [-1, len(expecting(b"")[0]) + 1]))
    assert end.sent() == framed(b"/ abc")


def test_no_continue_without_a_body(wire: Wired) -> None:
    end = wire(echo)
    end.send(get("/", "Expect: 100-continue"))
    end.send(b"".join(expecting(b"")))
    assert end.sent() == framed(b"/ ") * 2


def test_no_continue_for_http_1_0(wire: Wired) -> None:
    end = wire(echo)
    head, body = expecting(b"abc")
    end.send(head.replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert end.sent() == b""
    end.send(body)
    assert end.sent() == framed(b"/ abc")


def test_no_continue_for_a_body_that_is_refused(wire: Wired, logs: Logs) -> None:
    end = wire(echo, max_body_size=2)
    end.send(expecting(b"abc")[0])
    assert status_of(end.sent()) == 413
    assert len(logs.refusals()) == 1


def test_other_expectations_are_refused(wire: Wired, logs: Logs) -> None:
    end = wire(echo)
    end.send(expecting(b"abc", "200-ok")[0])
    assert status_of(end.sent()) == 417
    assert end.ended
    assert len(logs.refusals()) == 1


def test_continue_waits_for_the_answers_before_it(wire: Wired) -> None:
    slow = Slow()
    end = wire(slow)
    end.send(get() + expecting(b"abc")[0])
    assert end.sent() == b""
    end.call(answer, slow.request)
    assert end.sent() == OK + CONTINUE


# --- write() and its callback -----------------------------------------------------------


def test_text_is_sent_as_latin_1(wire: Wired) -> None:
    def callback(request: HTTPRequest) -> None:
        message = f"You are {request.headers['User-Agent']}\n"
        request.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(message)}\r\n\r\n{message}")
        request.finish()

    end = wire(callback)
    end.send(get("/", "User-Agent: \xe4\xff"))
    assert end.sent() == framed(b"You are \xe4\xff\n")


@pytest.mark.parametrize("chunk", [bytearray(b"ok"), memoryview(b"ok"), "ok"])
def test_bytes_like_chunks_are_sent(wire: Wired, chunk: Any) -> None:
    def callback(request: HTTPRequest) -> None:
        request.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        request.write(chunk)
        request.finish()

    end = wire(callback)
    end.send(get())
    assert end.sent() == OK


def test_changing_a_chunk_afterwards_does_not_change_what_is_sent(wire: Wired) -> None:
    def callback(request: HTTPRequest) -> None:
        chunk = bytearray(OK)
        request.write(chunk)  # type: ignore[arg-type]  # not documented, and taken
        chunk[:] = bytes(len(chunk))
        request.finish()

    end = wire(callback)
    end.send(get())
    assert end.sent() == OK


@pytest.mark.parametrize("chunk", [None, 5, 1.5, [b"x"], {"a": 1}, object()])
def test_other_types_raise_type_error_in_the_application(wire: Wired, chunk: Any) -> None:
    slow = Slow()
    end = wire(slow)
    end.send(get())
    with pytest.raises(TypeError, match="bytes or str"):
        slow.request.write(chunk)
    end.call(answer, slow.request)
    assert end.sent() == OK


def test_text_beyond_latin_1_raises_in_the_application(wire: Wired) -> None:
    slow = Slow()
    end = wire(slow)
    end.send(get())
    with pytest.raises(UnicodeEncodeError):
        slow.request.write("\u20ac")
    end.call(answer, slow.request)
    assert end.sent() == OK


def test_text_beyond_latin_1_that_is_not_caught_is_a_failed_callback(
    wire: Wired, logs: Logs
) -> None:
    end = wire(lambda request: request.write("\u20ac"))
    end.send(get())
    assert status_of(end.sent()) == 500
    assert len(logs.errors()) == 1


def test_empty_write_sends_nothing_and_is_called_back(wire: Wired) -> None:
    slow = Slow()
    end = wire(slow)
    end.send(get())
    end.call(slow.request.write, b"", lambda: slow.events.append("written"))
    assert slow.events == ["written"]
    assert end.transport.writes == []


def test_write_callback_does_not_run_inside_write(wire: Wired) -> None:
    slow = Slow()
    end = wire(slow)
    end.send(get())

    def write() -> None:
        slow.request.write(OK, lambda: slow.events.append("called back"))
        slow.events.append("write returned")

    end.call(write)
    assert slow.events == ["write returned", "called back"]


def test_write_callback_runs_when_all_has_left(wire: Wired) -> None:
    slow = Slow()
    end = wire(slow, window=10)
    end.send(get())
    end.call(slow.request.write, OK, lambda: slow.events.append("written"))
    assert slow.events == []
    end.take(5)
    assert slow.events == []
    end.take(len(OK))
    assert slow.events == ["written"]
    assert end.sent() == OK


def test_there_is_one_slot_for_a_write_callback(wire: Wired) -> None:
    slow = Slow()
    end = wire(slow)
    end.send(get())

    def write() -> None:
        slow.request.write(b"a", lambda: slow.events.append("a"))
        slow.request.write(b"b", lambda: slow.events.append("b"))

    end.call(write)
    assert slow.events == ["b"]


def test_write_without_a_callback_takes_the_earlier_one_away(wire: Wired) -> None:
    slow = Slow()
    end = wire(slow)
    end.send(get())

    def write() -> None:
        slow.request.write(b"a", lambda: slow.events.append("a"))
        slow.request.write(b"")

    end.call(write)
    assert slow.events == []


def test_write_callbacks_of_separate_writes_all_run(wire: Wired) -> None:
    slow = Slow()
    end = wire(slow)
    end.send(get())
    for name in "abc":
        end.call(slow.request.write, name, lambda name=name: slow.events.append(name))
    assert slow.events == ["a", "b", "c"]


@pytest.mark.parametrize("window", [None, 10])
def test_last_write_callback_runs_once_when_finish_follows_at_once(
    wire: Wired, window: int | None
) -> None:
    events: list[str] = []

    def callback(request: HTTPRequest) -> None:
        events.append(f"begin {request.uri}")
        request.write(b"", lambda: events.append("never"))
        request.write(OK, lambda: events.append(f"written {request.uri}"))
        request.finish()

    end = wire(callback, window=window)
    end.send(get("/1") + get("/2"))
    if window:
        assert events == ["begin /1"]
        end.take(10_000)
    # Before the next request, so that the callback belongs to one exchange.
    assert events == ["begin /1", "written /1", "begin /2", "written /2"]
    assert end.sent() == OK * 2


def test_write_callback_that_writes_goes_on_until_it_finishes(serve: Serve) -> None:
    def callback(request: HTTPRequest) -> None:
        parts = iter([b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", b"01234", b"56789"])

        def go_on() -> None:
            part = next(parts, None)
            if part is None:
                request.finish()
            else:
                request.write(part, go_on)

        go_on()

    client = serve(callback).connect()
    for _ in range(2):
        assert client.ask(get()) == b"0123456789"


def test_awaiting_a_write_waits_until_the_client_has_taken_it(wire: Wired) -> None:
    events: list[str] = []

    async def callback(request: HTTPRequest) -> None:
        await request.write(OK)
        events.append("written")
        request.finish()

    end = wire(callback, window=10)
    end.send(get())
    assert events == []
    end.take(1000)
    assert events == ["written"]
    assert end.sent() == OK


# --- Where finish() may be called -------------------------------------------------------


def in_the_callback(request: HTTPRequest) -> None:
    answer(request)


def in_a_write_callback(request: HTTPRequest) -> None:
    request.write(OK, callback=request.finish)


def from_a_timer(request: HTTPRequest) -> None:
    asyncio.get_running_loop().call_later(0.001, answer, request)


def from_call_soon(request: HTTPRequest) -> None:
    asyncio.get_running_loop().call_soon(answer, request)


async def in_an_async_callback(request: HTTPRequest) -> None:
    answer(request)


async def in_an_async_callback_that_waited(request: HTTPRequest) -> None:
    await asyncio.sleep(0.001)
    answer(request)


def from_a_task(request: HTTPRequest) -> None:
    task = asyncio.ensure_future(in_an_async_callback_that_waited(request))
    request.task = task  # type: ignore[attr-defined]  # somebody has to keep it


def from_another_thread(request: HTTPRequest) -> None:
    loop = asyncio.get_running_loop()
    loop.run_in_executor(None, lambda: loop.call_soon_threadsafe(answer, request))


async def written_first_and_finished_later(request: HTTPRequest) -> None:
    request.write(OK)
    await asyncio.sleep(0.001)
    request.finish()


def on_the_connection(request: HTTPRequest) -> None:
    request.connection.write(OK)
    request.connection.finish()


FINISHERS = [
    in_the_callback,
    in_a_write_callback,
    from_a_timer,
    from_call_soon,
    in_an_async_callback,
    in_an_async_callback_that_waited,
    from_a_task,
    from_another_thread,
    written_first_and_finished_later,
    on_the_connection,
]


@pytest.mark.parametrize("callback", FINISHERS, ids=lambda function: function.__name__)
def test_finish(serve: Serve, callback: Callable[[HTTPRequest], object]) -> None:
    served = serve(callback)
    client = served.connect()
    for _ in range(3):
        assert client.ask(get()) == b"ok"
    client.send(get() * 3)
    assert [client.read_response().body for _ in range(3)] == [b"ok"] * 3
    eventually(lambda: served.connection._request is None)


def test_finish_in_a_close_callback_is_harmless(serve: Serve, logs: Logs) -> None:
    closed: list[HTTPRequest] = []

    def callback(request: HTTPRequest) -> None:
        def on_close() -> None:
            request.write(OK)
            request.finish()
            closed.append(request)

        request.connection.set_close_callback(on_close)

    served = serve(callback)
    client = served.connect()
    client.send(get())
    eventually(lambda: served.connections and served.connection._request)
    client.reset()
    served.all_closed()
    eventually(lambda: closed)
    assert closed[0].request_time() >= 0


def finish_at_once(request: HTTPRequest) -> None:
    request.finish()


def finish_in_a_later_turn(request: HTTPRequest) -> None:
    request.connection.stream.loop.call_soon(request.finish)


async def finish_in_a_task(request: HTTPRequest) -> None:
    request.finish()


def write_nothing(request: HTTPRequest) -> None:
    request.write(b"")
    request.finish()


@pytest.mark.parametrize(
    "callback", [finish_at_once, finish_in_a_later_turn, finish_in_a_task, write_nothing]
)
@pytest.mark.parametrize("before", [0, 2])
def test_finish_without_a_response_is_answered_500_and_closes(
    wire: Wired, logs: Logs, callback: Callable[[HTTPRequest], Any], before: int
) -> None:
    # Or the client would take the next response for this one.
    def some(request: HTTPRequest) -> Any:
        return callback(request) if request.uri == "/nothing" else answer(request)

    end = wire(some)
    end.send(get() * before + get("/nothing") + get())
    answers = end.sent()
    assert answers.startswith(OK * before)
    assert status_of(answers[len(OK) * before :]) == 500
    assert end.ended
    (line,) = logs.errors()
    assert line.startswith("finish() of HTTPRequest(")
    assert line.endswith(" without a response")


def test_finish_without_a_response_of_a_client_that_has_gone_closes(wire: Wired) -> None:
    end = wire(lambda request: request.connection.set_close_callback(request.finish))
    end.send(get())
    end.half_close()
    assert end.sent() == b""
    assert end.transport.closing


def test_finish_without_a_response_after_detach_is_the_applications_matter(wire: Wired) -> None:
    def callback(request: HTTPRequest) -> None:
        request.connection.detach()
        request.finish()

    end = wire(callback)
    end.send(get())
    assert end.sent() == b""
    assert not end.ended


# --- What a callback returns --------------------------------------------------------------


class Awaitable:
    """What is none of asyncio's own kinds."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine

    def __await__(self) -> Any:
        return self._coroutine.__await__()


AWAITABLES: dict[str, Callable[[Coroutine[Any, Any, Any]], Any]] = {
    "coroutine": lambda coroutine: coroutine,
    "task": asyncio.ensure_future,
    "future": asyncio.gather,
    "other": Awaitable,
}


@pytest.mark.parametrize("kind", AWAITABLES)
@pytest.mark.parametrize("turns", [0, 1])
def test_whatever_awaitable_fails_is_answered_500_and_logged(
    serve: Callable[..., Served], logs: Logs, kind: str, turns: int
) -> None:
    async def failing() -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        raise ZeroDivisionError("of the application")

    client = serve(lambda request: AWAITABLES[kind](failing())).connect()
    client.send(get())
    assert status_of(client.read_to_end()) == 500
    (line,) = logs.errors()
    assert line.startswith("Uncaught exception, closing connection: ")


@pytest.mark.parametrize("kind", AWAITABLES)
def test_whatever_awaitable_answers_is_kept_alive(serve: Callable[..., Served], kind: str) -> None:
    async def answering(request: HTTPRequest) -> None:
        await asyncio.sleep(0)
        gc.collect()
        answer(request)

    client = serve(lambda request: AWAITABLES[kind](answering(request))).connect()
    for _ in range(2):
        assert client.ask(get()) == b"ok"


def test_future_of_another_loop_is_the_applications_mistake(
    serve: Callable[..., Served], logs: Logs
) -> None:
    other = asyncio.new_event_loop()
    try:
        client = serve(lambda request: other.create_future()).connect()
        client.send(get())
        assert status_of(client.read_to_end()) == 500
        assert len(logs.errors()) == 1
    finally:
        other.close()


def test_tornado_coroutine_that_fails_is_answered_500(
    serve: Callable[..., Served], logs: Logs
) -> None:
    gen = pytest.importorskip("tornado.gen", reason="tornado is not installed")

    @gen.coroutine
    def callback(request: HTTPRequest) -> Any:
        yield gen.moment
        raise ZeroDivisionError("of the application")

    client = serve(callback).connect()
    client.send(get())
    assert status_of(client.read_to_end()) == 500
    assert len(logs.errors()) == 1


def test_what_write_returns_may_be_returned(wire: Wired) -> None:
    def callback(request: HTTPRequest) -> Any:
        if request.uri == "/late":
            answer(request)
            return request.write(b"late")
        awaitable = request.write(OK)
        request.finish()
        return awaitable

    end = wire(callback)
    end.send(get(), get())
    assert end.sent() == OK * 2


# --- Too late ---------------------------------------------------------------------------


def test_write_and_finish_after_finish_are_ignored_with_one_warning_each(
    wire: Wired, logs: Logs
) -> None:
    def callback(request: HTTPRequest) -> None:
        answer(request)
        request.write(b"late")
        request.finish()

    end = wire(callback)
    end.send(get())
    assert end.sent() == OK
    assert not end.ended
    first, second = logs.warnings()
    assert first.startswith("write() after finish() of HTTPRequest(")
    assert second.startswith("finish() after finish() of HTTPRequest(")
    end.send(get("/", "Connection: close"))
    assert end.sent() == OK
    logs.warnings()


def test_late_calls_do_not_touch_the_exchange_that_follows(wire: Wired, logs: Logs) -> None:
    slow = Slow()
    end = wire(slow)
    end.send(get("/1") + get("/2"))
    first = slow.request
    end.call(answer, first)
    second = slow.request
    assert second is not first
    end.call(second.write, b"HTTP/1.1 200 OK\r\n")
    end.call(first.write, b"injected: yes\r\n", lambda: pytest.fail("it was called"))
    end.call(first.finish)
    end.call(second.write, b"Content-Length: 2\r\n\r\nok")
    end.call(second.finish)
    assert end.sent() == OK + OK
    assert len(logs.warnings()) == 2
    assert not end.ended


def test_late_calls_while_the_response_is_still_leaving_are_ignored(
    wire: Wired, logs: Logs
) -> None:
    slow = Slow()
    end = wire(slow, window=10)
    end.send(get())
    end.call(answer, slow.request)
    end.call(slow.request.write, b"late")
    end.call(slow.request.finish)
    assert len(logs.warnings()) == 2
    end.take(1000)
    assert end.sent() == OK
    end.send(get())
    end.call(answer, slow.request)
    assert end.sent() == OK


def test_late_calls_after_the_client_left_are_silent(serve: Serve) -> None:
    slow = Slow()
    served = serve(slow)
    client = served.connect()
    client.send(get())
    eventually(lambda: slow.requests)
    client.reset()
    served.all_closed()
    for _ in range(2):
        served.call(slow.request.write, OK)
        served.call(slow.request.finish)


def test_late_write_that_is_awaited_is_ignored_too(wire: Wired, logs: Logs) -> None:
    ended: list[bool] = []

    async def callback(request: HTTPRequest) -> None:
        answer(request)
        await request.write(b"late")
        ended.append(True)

    end = wire(callback)
    end.send(get(), get())
    assert end.sent() == OK * 2
    assert ended == [True, True]
    assert len(logs.warnings()) == 2
    assert not end.ended


def test_write_after_the_client_left_is_silent_and_never_called_back(wire: Wired) -> None:
    slow = Slow()
    end = wire(slow)
    end.send(get())
    end.reset()
    end.call(slow.request.write, OK, lambda: pytest.fail("it was called"))
    end.call(slow.request.finish)
    assert end.sent() == b""


def test_types_are_checked_after_the_client_left(wire: Wired) -> None:
    slow = Slow()
    end = wire(slow)
    end.send(get())
    end.reset()
    with pytest.raises(TypeError):
        slow.request.write(None)  # type: ignore[arg-type]


# --- What leaves together ---------------------------------------------------------------


def test_writes_of_one_callback_leave_in_one_send(wire: Wired) -> None:
    def callback(request: HTTPRequest) -> None:
        for byte in OK:
            request.write(bytes([byte]))
        request.finish()

    end = wire(callback)
    end.send(get())
    assert end.transport.writes == [OK]


@pytest.mark.parametrize("callback", [from_call_soon, from_a_timer, in_an_async_callback])
def test_writes_of_one_later_callback_leave_in_one_send(
    wire: Wired, callback: Callable[[HTTPRequest], object]
) -> None:
    def write_in_pieces(request: HTTPRequest) -> None:
        for byte in OK:
            request.write(bytes([byte]))
        request.finish()

    end = wire(write_in_pieces)
    end.send(get())
    end.pass_time(0.01)
    assert end.transport.writes == [OK]
    end = wire(callback)
    end.send(get())
    end.pass_time(0.01)
    assert end.transport.writes == [OK]


def test_answers_to_pipelined_requests_of_one_read_leave_together(wire: Wired) -> None:
    end = wire(echo)
    end.send(get() * 16)
    assert end.transport.writes == [framed(b"/ ") * 16]
    end.send(get(), get())
    assert end.transport.writes[1:] == [framed(b"/ ")] * 2


def test_answers_to_pipelined_requests_are_one_recv_of_the_client(serve: Serve) -> None:
    client = serve(echo).connect()
    for _ in range(5):
        client.send(get() * 16)
        assert client.receive() == framed(b"/ ") * 16


@pytest.mark.untraced
def test_answers_behind_one_that_took_its_time_leave_together(wire: Wired) -> None:
    slow = Slow()

    def callback(request: HTTPRequest) -> None:
        if request.uri == "/slow":
            slow(request)
        else:
            answer(request)

    end = wire(callback)
    end.send(get("/slow") + get() * 15)
    end.call(answer, slow.request)
    assert b"".join(end.transport.writes) == OK * 16
    assert len(end.transport.writes) <= 2


def test_error_reply_leaves_with_the_answers_before_it(wire: Wired, logs: Logs) -> None:
    end = wire(echo)
    end.send(get() * 2 + b"bad\r\n\r\n")
    (write,) = end.transport.writes
    assert write.startswith(framed(b"/ ") * 2 + b"HTTP/1.1 400 ")
    assert len(logs.refusals()) == 1


def test_continue_leaves_with_the_answers_before_it(wire: Wired) -> None:
    end = wire(echo)
    end.send(get() + expecting(b"abc")[0])
    assert end.transport.writes == [framed(b"/ ") + CONTINUE]


@pytest.mark.parametrize("pieces", [1, 1000])
def test_big_responses_to_slow_readers_are_complete(serve: Serve, pieces: int) -> None:
    body = bytes(range(250)) * 40_000

    def callback(request: HTTPRequest) -> None:
        data = framed(body)
        size = -(-len(data) // pieces)
        for i in range(0, len(data), size):
            request.write(data[i : i + size])
        request.finish()

    client = serve(callback).connect(receive_buffer=65_536)
    client.send(get() + get("/", "Connection: close"))
    for _ in range(2):
        assert client.read_until(b"\r\n\r\n") == framed(body)[: -len(body)]
        for i in range(0, len(body), 100_000):
            assert client.read(100_000) == body[i : i + 100_000]
    assert client.read_to_end() == b""


# --- The connection object --------------------------------------------------------------


def test_connection_made_by_hand_serves(wire: Wired) -> None:
    # As a subclass of TCPServer makes it, with the documented arguments alone.
    end = wire(echo)
    other = Wire(echo)
    with other:
        stream = other.stream
        stream.take_over()
        connection = HTTPConnection(stream, stream.address, echo, True, False, "https")
        other.send(get("/mine"))
        assert other.sent() == framed(b"/mine ")
        assert other.ended
        assert connection.no_keep_alive
        assert connection.protocol == "https"
    assert end.connections == 1


def test_attributes_of_a_connection(wire: Wired) -> None:
    end = wire(echo, no_keep_alive=True, xheaders=True, protocol="https")
    connection = end.connection
    assert connection.stream is end.stream
    assert isinstance(connection.stream, IOStream)
    assert connection.address == ("192.0.2.7", 4711)
    assert connection.request_callback is echo
    assert connection.no_keep_alive is True
    assert connection.xheaders is True
    assert connection.protocol == "https"


def test_address_family_survives_the_close(wire: Wired) -> None:
    end = wire(echo)
    connection = end.connection
    end.reset()
    assert connection.address_family == socket.AF_INET
    assert connection.address == ("192.0.2.7", 4711)


def test_close_sends_what_was_written(wire: Wired) -> None:
    slow = Slow()
    end = wire(slow)
    end.send(get())

    def write_and_close() -> None:
        slow.request.write(OK)
        slow.request.connection.close()

    end.call(write_and_close)
    assert end.sent() == OK
    assert end.ended


@pytest.mark.parametrize("which", ["connection", "stream"])
def test_no_request_is_run_behind_a_close(wire: Wired, which: str) -> None:
    uris: list[str] = []

    def callback(request: HTTPRequest) -> None:
        uris.append(request.uri)
        connection = request.connection
        request.write(OK)
        (connection if which == "connection" else connection.stream).close()
        request.finish()

    end = wire(callback)
    end.send(get("/1") + get("/2") + get("/3"), get("/4"))
    assert uris == ["/1"]
    assert end.sent() == OK


def test_callback_that_goes_on_after_its_response_is_kept(wire: Callable[..., Wire]) -> None:
    async def callback(request: HTTPRequest) -> None:
        current = asyncio.current_task()
        assert current is not None
        tasks.add(current)
        answer(request)
        with contextlib.suppress(asyncio.CancelledError):  # at the end of the test
            await asyncio.get_running_loop().create_future()  # nobody else refers to it

    tasks: weakref.WeakSet[asyncio.Task[None]] = weakref.WeakSet()
    end = wire(callback)
    end.send(get())
    end.send(get())
    gc.collect()
    assert end.sent() == OK * 2
    assert len(tasks) == 2
