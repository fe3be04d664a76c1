"""One client's connection, from the first byte to the close, seen from the wire."""

from __future__ import annotations

import asyncio
import gc
import itertools
import logging
import socket
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from helpers import Logs, Served, Wire, answer, echo, eventually, framed, get, post, split
from hypothesis import given
from hypothesis import strategies as st

from fasthttpserver.errors import HTTPInputError
from fasthttpserver.httpserver import HTTPConnection, HTTPRequest
from fasthttpserver.iostream import IOStream

Serve = Callable[..., Served]
Wired = Callable[..., Wire]

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
OK = framed(b"ok")


class Slow:
    """A callback that keeps its requests; the test answers them."""

    def __init__(self) -> None:
        self.requests: list[HTTPRequest] = []
        self.events: list[str] = []

    def __call__(self, request: HTTPRequest) -> None:
        self.requests.append(request)
        assert request.connection is not None
        request.connection.set_close_callback(lambda: self.events.append("closed"))

    @property
    def request(self) -> HTTPRequest:
        return self.requests[-1]


def status_of(reply: bytes) -> int:
    """The status of what must be exactly one whole, closing response."""
    head, _, body = reply.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    fields = dict(line.split(": ") for line in lines)
    assert fields["Connection"] == "close"
    assert int(fields["Content-Length"]) == len(body)
    return int(first.split(" ")[1])


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
        assert end.sent() == (first + framed(b"/2 ") if kept else first)
        assert end.ended is not kept


def test_no_keep_alive_closes_after_one_response(wire: Wired) -> None:
    for version, field in [("1.1", "X: y"), ("1.1", "Connection: keep-alive"), ("1.0", "X: y")]:
        end = wire(echo, no_keep_alive=True)
        end.send(get("/1", field, version=f"HTTP/{version}") + get("/2"))
        assert end.sent() == framed(b"/1 ")
        assert end.ended


def test_what_the_response_says_of_the_connection_is_not_looked_at(wire: Wired) -> None:
    end = wire(lambda request: answer_with(request, "Connection: close"))
    end.send(get(), get())
    assert end.sent().count(b"200 OK") == 2
    assert not end.ended


def answer_with(request: HTTPRequest, field: str) -> None:
    request.write(f"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{field}\r\n\r\n")
    request.finish()


def test_response_is_on_the_wire_exactly_as_it_was_written(serve: Serve) -> None:
    odd = b"HTTP/1.1 299 \xff\x00odd\nx:y\r\n\r\nanything"

    def callback(request: HTTPRequest) -> None:
        request.write(odd)
        request.finish()

    client = serve(callback, no_keep_alive=True).connect()
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
    served: list[str] = []
    seen_by_others: list[int] = []

    def callback(request: HTTPRequest) -> None:
        if not served:
            end.loop.call_soon(lambda: seen_by_others.append(len(served)))
        served.append(request.uri)
        answer(request)

    end = wire(callback)
    end.send(get() * 1000)
    assert seen_by_others[0] <= 100
    end.turn(20)
    assert len(served) == 1000
    assert end.sent() == OK * 1000


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
        request.write(chunk)
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
    request.task = task  # type: ignore[attr-defined]


def from_another_thread(request: HTTPRequest) -> None:
    loop = asyncio.get_running_loop()
    loop.run_in_executor(None, loop.call_soon_threadsafe, answer, request)


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


def test_response_without_a_byte_is_up_to_the_application(wire: Wired) -> None:
    end = wire(lambda request: request.finish())
    end.send(get(), get())
    assert end.sent() == b""
    assert not end.ended


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


# --- set_close_callback(), row by row ---------------------------------------------------


def test_close_callback_runs_once_when_the_client_is_gone(wire: Wired) -> None:
    seen: list[tuple[bool, bool]] = []

    def callback(request: HTTPRequest) -> None:
        connection = request.connection
        connection.set_close_callback(
            lambda: seen.append((connection.stream.closed(), connection._request is request))
        )

    end = wire(callback)
    end.send(get())
    end.reset()
    # With the stream closed, and what it was about still there.
    assert seen == [(True, True)]


def test_close_callback_runs_when_the_application_closes_the_stream(wire: Wired) -> None:
    slow = Slow()
    end = wire(slow)
    end.send(get())

    def close() -> None:
        slow.request.connection.stream.close()
        slow.events.append("close returned")

    end.call(close)
    assert slow.events == ["close returned", "closed"]


def test_close_callback_does_not_run_when_the_application_closes_the_connection(
    wire: Wired,
) -> None:
    slow = Slow()
    end = wire(slow)
    end.send(get())
    end.call(slow.request.connection.close)
    assert end.ended
    assert slow.events == []


@pytest.mark.parametrize("field", ["X: y", "Connection: close"])
def test_close_callback_is_dropped_by_finish(wire: Wired, field: str) -> None:
    slow = Slow()
    end = wire(slow)
    end.send(get("/", field))
    end.call(answer, slow.request)
    end.reset()
    assert slow.events == []


def test_close_callback_runs_when_the_client_leaves_before_the_response_has_left(
    wire: Wired,
) -> None:
    slow = Slow()
    end = wire(slow, window=10)
    end.send(get())
    end.call(slow.request.write, OK, lambda: pytest.fail("it was not written"))
    end.call(slow.request.finish)
    end.reset()
    assert slow.events == ["closed"]


def test_close_callback_that_is_set_between_requests_runs_if_the_client_leaves_there(
    wire: Wired,
) -> None:
    for leave in (Wire.reset, Wire.half_close):
        slow = Slow()
        end = wire(slow)
        end.send(get())
        end.call(answer, slow.request)
        slow.request.connection.set_close_callback(lambda slow=slow: slow.events.append("idle"))
        assert slow.events == []
        leave(end)
        assert slow.events == ["idle"]


def test_close_callback_that_is_set_between_requests_is_dropped_by_the_next_finish(
    wire: Wired,
) -> None:
    end = wire(echo)
    end.connection.set_close_callback(lambda: pytest.fail("it ran"))
    end.send(get())
    end.reset()


def test_close_callback_that_is_set_on_a_closed_connection_never_runs(wire: Wired) -> None:
    slow = Slow()
    end = wire(slow)
    end.send(get())
    end.reset()
    slow.request.connection.set_close_callback(lambda: pytest.fail("it ran"))
    end.turn()


def test_close_callback_is_replaced(wire: Wired) -> None:
    slow = Slow()
    end = wire(slow)
    end.send(get())
    slow.request.connection.set_close_callback(lambda: slow.events.append("second"))
    end.reset()
    assert slow.events == ["second"]


def test_close_callback_is_taken_back_with_none(wire: Wired) -> None:
    slow = Slow()
    end = wire(slow)
    end.send(get())
    slow.request.connection.set_close_callback(None)
    end.reset()
    assert slow.events == []


def test_close_callback_runs_after_the_write_callbacks_that_were_due(wire: Wired) -> None:
    slow = Slow()
    end = wire(slow)
    end.send(get())

    def write_and_lose() -> None:
        slow.request.write(OK, lambda: slow.events.append("written"))
        end.transport.lose(None)

    end.call(write_and_lose)
    assert slow.events in (["written", "closed"], ["closed"])


def test_close_callback_that_raises_is_logged(wire: Wired, logs: Logs) -> None:
    end = wire(
        lambda request: request.connection.set_close_callback(lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    )
    end.send(get())
    end.reset()
    assert len(logs.errors()) == 1


def test_close_callback_on_the_stream_works_too(wire: Wired) -> None:
    slow = Slow()
    end = wire(slow)
    end.send(get())
    stream = slow.request.connection.stream
    stream.set_close_callback(lambda: slow.events.append("stream"))
    end.reset()
    assert sorted(slow.events) == ["closed", "stream"]


# --- The client shuts its side ----------------------------------------------------------


def test_half_close_behind_a_request_is_answered(serve: Serve) -> None:
    client = serve(echo).connect()
    client.send(get("/1"))
    client.half_close()
    assert client.read_to_end() == framed(b"/1 ")


def test_half_close_together_with_the_request_is_answered(wire: Wired) -> None:
    end = wire(echo)
    end.transport.peer_sends(get("/1"))
    end.transport.peer_sends(b"")
    end.turn()
    assert end.sent() == framed(b"/1 ")
    assert end.ended


def test_half_close_is_answered_also_when_that_takes_time(serve: Serve) -> None:
    slow = Slow()
    served = serve(slow)
    client = served.connect()
    client.send(get("/1") + get("/2"))
    client.half_close()
    # A long-polling application is told; it may still answer.
    eventually(lambda: slow.events == ["closed"])
    served.call(answer, slow.request)
    eventually(lambda: len(slow.requests) == 2)
    served.settle()
    served.call(answer, slow.request)
    assert client.read_to_end() == OK * 2
    served.all_closed()


def test_half_close_is_answered_by_a_write_callback(serve: Serve) -> None:
    client = serve(in_a_write_callback).connect()
    client.send(get() * 3)
    client.half_close()
    assert client.read_to_end() == OK * 3


@pytest.mark.parametrize("count", [1, 2, 99, 100, 101, 450])
def test_half_close_behind_pipelined_requests_leaves_none_unanswered(
    serve: Serve, count: int
) -> None:
    client = serve(echo).connect()
    client.send(get() * count)
    client.half_close()
    assert client.read_to_end() == framed(b"/ ") * count


def test_half_close_behind_more_requests_than_one_turn_serves(wire: Wired) -> None:
    end = wire(echo)
    end.transport.peer_sends(get() * 450)
    end.transport.peer_sends(b"")
    end.turn(20)
    assert end.sent() == framed(b"/ ") * 450
    assert end.ended


def test_half_close_while_the_client_reads_slowly_leaves_no_request_unanswered(
    wire: Wired,
) -> None:
    end = wire(echo, window=10)
    end.transport.peer_sends(get() * 5)
    end.transport.peer_sends(b"")
    end.turn()
    end.take(10_000)
    assert end.sent() == framed(b"/ ") * 5
    assert end.ended


def test_half_close_of_a_client_that_reads_slowly_leaves_no_request_unanswered(
    serve: Serve,
) -> None:
    large = bytes(3_000_000)
    client = serve(lambda request: answer(request, large)).connect(receive_buffer=4096)
    client.send(get() * 4)
    client.half_close()
    assert len(client.read_to_end()) == 4 * len(framed(large))


def test_half_close_is_answered_when_reading_was_paused(wire: Wired) -> None:
    slow = Slow()
    end = wire(slow)
    end.send(get(), get() * 5000)  # more than is read ahead
    assert end.transport.paused
    end.half_close()
    for _ in range(3):
        end.call(answer, slow.request)
    assert end.sent() == OK * 3
    assert not end.ended


def test_close_callback_on_the_stream_runs_at_a_half_close(wire: Wired) -> None:
    # What Tornado recommended before 3.0; such an application has no other way to notice.
    slow = Slow()
    end = wire(slow)
    end.send(get())
    slow.request.connection.stream.set_close_callback(lambda: slow.events.append("stream"))
    end.half_close()
    assert "stream" in slow.events


def test_close_callback_that_is_set_after_a_half_close_runs(wire: Wired) -> None:
    # Else an application that waits before it sets one would wait for ever afterwards.
    slow = Slow()
    requests: list[HTTPRequest] = []
    end = wire(requests.append)
    end.send(get())
    end.half_close()
    end.call(slow, requests[0])
    assert slow.events == ["closed"]


def test_long_polling_request_that_is_begun_after_a_half_close_is_told_of_it(
    wire: Wired,
) -> None:
    slow = Slow()
    end = wire(slow)
    end.send(get("/1") + get("/2"))
    end.half_close()
    assert slow.events == ["closed"]
    end.call(answer, slow.request)
    assert slow.request.uri == "/2"
    assert slow.events == ["closed", "closed"]


def test_finish_in_a_close_callback_at_a_half_close_ends_the_connection(wire: Wired) -> None:
    def callback(request: HTTPRequest) -> None:
        request.connection.set_close_callback(request.finish)

    end = wire(callback)
    end.send(get())
    end.half_close()
    assert end.ended


def test_close_in_a_close_callback_at_a_half_close_ends_the_connection(wire: Wired) -> None:
    def callback(request: HTTPRequest) -> None:
        request.connection.set_close_callback(request.connection.close)

    end = wire(callback)
    end.send(get())
    end.half_close()
    assert end.ended


# --- The client leaves, in every state --------------------------------------------------

STATES = {
    "before a byte": b"",
    "in the request line": b"GET / HT",
    "in the head": b"GET / HTTP/1.1\r\nHost: a\r\nX",
    "in a body": post(b"abcdef")[:-3],
    "in chunks": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    "between requests": get() + get(),
    "in a second head": get() + b"GET / HT",
}


@pytest.mark.parametrize("how", ["close", "half_close", "reset"])
@pytest.mark.parametrize("state", STATES)
def test_client_that_leaves_is_forgotten(serve: Serve, logs: Logs, state: str, how: str) -> None:
    uris: list[str] = []

    def callback(request: HTTPRequest) -> None:
        uris.append(request.uri)
        answer(request)

    served = serve(callback)
    client = served.connect()
    client.send(STATES[state])
    complete = STATES[state].count(b"\r\n\r\n") if b"GET" in STATES[state] else 0
    for _ in range(complete):
        client.read_response()
    getattr(client, how)()
    if how == "half_close":
        assert client.read_to_end() == b""
    eventually(lambda: served.server._sweep is not None)
    served.all_closed()
    assert len(uris) == complete
    assert logs.records == []


@pytest.mark.parametrize("how", ["close", "reset"])
def test_client_that_leaves_an_active_request_is_forgotten_when_it_is_answered(
    serve: Serve, how: str
) -> None:
    slow = Slow()
    served = serve(slow)
    client = served.connect()
    client.send(get())
    eventually(lambda: slow.requests)
    getattr(client, how)()
    eventually(lambda: slow.events == ["closed"])
    served.call(answer, slow.request)
    served.all_closed()
    assert slow.events == ["closed"]


@pytest.mark.parametrize("how", ["close", "reset"])
def test_client_that_leaves_a_large_response_is_forgotten(serve: Serve, how: str) -> None:
    events: list[str] = []

    def callback(request: HTTPRequest) -> None:
        request.connection.set_close_callback(lambda: events.append("closed"))
        request.write(framed(bytes(20_000_000)), lambda: pytest.fail("it was not written"))
        request.finish()

    served = serve(callback)
    client = served.connect(receive_buffer=4096)
    client.send(get() * 3)
    client.read(1000)
    getattr(client, how)()
    eventually(lambda: events == ["closed"])
    served.all_closed()
    assert events == ["closed"]
    eventually(lambda: not served.connections)


def test_client_that_leaves_a_response_to_a_timer_is_forgotten(serve: Serve) -> None:
    async def callback(request: HTTPRequest) -> None:
        request.write(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(1000):
            if request.connection.stream.closed():
                return
            request.write(bytes(1000))
            await asyncio.sleep(0.001)
        pytest.fail("the client was not missed")

    served = serve(callback)
    client = served.connect()
    client.send(get())
    client.read(10)
    client.reset()
    served.all_closed()


def test_awaited_write_to_a_client_that_left_ends_the_callback_in_silence(wire: Wired) -> None:
    ended: list[bool] = []

    async def callback(request: HTTPRequest) -> None:
        try:
            await request.write(OK)
        finally:
            ended.append(True)

    end = wire(callback, window=10)
    end.send(get())
    end.reset()
    assert ended == [True]


def test_connection_is_freed_without_the_garbage_collector(serve: Serve) -> None:
    served = serve(echo)
    client = served.connect()
    assert client.ask(get()) == b"/ "
    reference = weakref.ref(served.connection)
    gc.disable()
    try:
        client.close()
        served.all_closed()
        eventually(lambda: reference() is None)
    finally:
        gc.enable()


# --- Exceptions of the application ------------------------------------------------------


def fail(*_: object) -> None:
    raise ZeroDivisionError("of the application")


def before_a_byte(request: HTTPRequest) -> None:
    fail()


async def before_a_byte_in_an_async_callback(request: HTTPRequest) -> None:
    fail()


async def before_a_byte_later(request: HTTPRequest) -> None:
    await asyncio.sleep(0)
    fail()


@pytest.mark.parametrize(
    "callback",
    [before_a_byte, before_a_byte_in_an_async_callback, before_a_byte_later],
    ids=lambda function: function.__name__,
)
def test_failing_callback_that_wrote_nothing_is_answered_500(
    serve: Serve, logs: Logs, callback: Callable[[HTTPRequest], object]
) -> None:
    served = serve(callback)
    client = served.connect()
    client.send(get("/1") + get("/2"))
    reply = client.read_to_end()
    assert status_of(reply) == 500
    assert b"division" not in reply and b"application" not in reply
    (error,) = logs.errors()
    assert "/1" in error
    client.close()
    served.all_closed()


def test_failing_callback_for_head_gets_a_500_without_a_body(wire: Wired, logs: Logs) -> None:
    end = wire(fail)
    end.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    reply = end.sent()
    assert reply.startswith(b"HTTP/1.1 500 ")
    assert reply.endswith(b"\r\n\r\n")
    assert len(logs.errors()) == 1


def after_some_bytes(request: HTTPRequest) -> None:
    request.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234")
    fail()


async def after_some_bytes_later(request: HTTPRequest) -> None:
    request.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234")
    await asyncio.sleep(0)
    fail()


def after_some_bytes_in_a_write_callback(request: HTTPRequest) -> None:
    request.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234", fail)


@pytest.mark.parametrize(
    "callback",
    [after_some_bytes, after_some_bytes_later, after_some_bytes_in_a_write_callback],
    ids=lambda function: function.__name__,
)
def test_failing_callback_that_wrote_something_ends_the_connection(
    serve: Serve, logs: Logs, callback: Callable[[HTTPRequest], object]
) -> None:
    client = serve(callback).connect()
    client.send(get() * 2)
    assert client.read_to_end() == b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234"
    assert len(logs.errors()) == 1


def after_finish(request: HTTPRequest) -> None:
    answer(request)
    fail()


async def after_finish_in_an_async_callback(request: HTTPRequest) -> None:
    answer(request)
    fail()


@pytest.mark.parametrize(
    "callback",
    [after_finish, after_finish_in_an_async_callback],
    ids=lambda function: function.__name__,
)
def test_callback_that_fails_after_finish_has_answered(
    serve: Serve, logs: Logs, callback: Callable[[HTTPRequest], object]
) -> None:
    client = serve(callback).connect()
    client.send(get())
    assert client.read_to_end() == OK
    assert len(logs.errors()) == 1


def test_async_callback_that_fails_during_the_next_exchange_does_not_disturb_it(
    wire: Wired, logs: Logs
) -> None:
    released = asyncio.Event()

    async def callback(request: HTTPRequest) -> None:
        if request.uri == "/1":
            answer(request)
            await released.wait()
            fail()
        request.write(b"HTTP/1.1 200 OK\r\n")
        released.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        request.write(b"Content-Length: 2\r\n\r\nok")
        request.finish()

    end = wire(callback)
    end.send(get("/1"), get("/2"))
    assert end.sent() == OK * 2
    assert len(logs.errors()) == 1
    assert not end.ended


def test_failing_write_callback_after_finish_has_answered(wire: Wired, logs: Logs) -> None:
    def callback(request: HTTPRequest) -> None:
        request.write(OK, fail)
        request.finish()

    end = wire(callback)
    end.send(get() * 2)
    assert end.sent() == OK
    assert end.ended
    assert len(logs.errors()) == 1


def test_failing_close_callback_is_logged_and_the_server_goes_on(serve: Serve, logs: Logs) -> None:
    def callback(request: HTTPRequest) -> None:
        request.connection.set_close_callback(fail)
        if request.uri == "/":
            answer(request)

    served = serve(callback)
    client = served.connect()
    client.send(get("/wait"))
    eventually(lambda: served.connections and served.connection._request)
    client.reset()
    served.all_closed()
    assert len(logs.errors()) == 1
    assert served.connect().ask(get()) == b"ok"


def test_failing_close_callback_at_a_half_close_ends_the_connection(
    wire: Wired, logs: Logs
) -> None:
    # Nobody would ever finish that request.
    end = wire(lambda request: request.connection.set_close_callback(fail))
    end.send(get())
    end.half_close()
    assert len(logs.errors()) == 1
    assert end.ended


def test_async_callback_that_is_cancelled_does_not_leave_the_client_waiting(
    serve: Serve, logs: Logs
) -> None:
    async def callback(request: HTTPRequest) -> None:
        raise asyncio.CancelledError

    client = serve(callback).connect()
    client.send(get())
    assert status_of(client.read_to_end()) == 500
    assert len(logs.take("application", logging.WARNING)) == 1


def test_write_of_nothing_does_not_count_as_a_begun_response(wire: Wired, logs: Logs) -> None:
    def callback(request: HTTPRequest) -> None:
        request.write(b"")
        fail()

    end = wire(callback)
    end.send(get())
    assert status_of(end.sent()) == 500
    assert len(logs.errors()) == 1


@pytest.mark.parametrize("status", [400, 403, 409, 413, 422, 451, 500, 503])
def test_application_may_refuse_a_request(wire: Wired, logs: Logs, status: int) -> None:
    def callback(request: HTTPRequest) -> None:
        raise HTTPInputError("That is\nnot \x1b[31mwanted", status)

    end = wire(callback)
    end.send(get() * 2)
    assert status_of(end.sent()) == status
    (message,) = logs.refusals()
    assert message.isprintable()


def test_failing_callbacks_do_not_disturb_other_connections(serve: Serve, logs: Logs) -> None:
    def callback(request: HTTPRequest) -> None:
        if request.uri == "/fail":
            fail()
        answer(request)

    served = serve(callback)
    good = served.connect()
    for _ in range(5):
        bad = served.connect()
        bad.send(get("/fail"))
        assert status_of(bad.read_to_end()) == 500
        assert good.ask(get()) == b"ok"
    assert len(logs.errors()) == 5


def test_calls_after_the_callback_failed_are_ignored(wire: Wired, logs: Logs) -> None:
    requests: list[HTTPRequest] = []

    def callback(request: HTTPRequest) -> None:
        requests.append(request)
        fail()

    end = wire(callback)
    end.send(get())
    reply = end.sent()
    assert status_of(reply) == 500
    end.call(requests[0].write, b"late")
    end.call(requests[0].finish)
    assert end.sent() == b""
    assert len(logs.errors()) == 1


def test_failure_of_a_callback_whose_client_has_reset_unseen_is_only_logged(
    wire: Wired, logs: Logs
) -> None:
    # Reading is paused, so the reset shows when the connection is shut down.
    slow = Slow()
    end = wire(slow, no_keep_alive=True)
    end.send(get() * 5000)
    end.call(slow.request.write, OK)
    end.transport.reset_unseen = True
    end.call(slow.request.finish)
    assert end.transport.closing


def test_reset_while_reading_is_paused_is_no_error(serve: Serve) -> None:
    slow = Slow()
    served = serve(slow, no_keep_alive=True)
    client = served.connect()
    client.send(get() * 8000)
    eventually(lambda: slow.requests)
    served.settle()
    served.call(slow.request.write, OK)
    client.read(len(OK))
    client.reset()
    served.call(slow.request.finish)
    served.all_closed()


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


# --- Refusals ---------------------------------------------------------------------------


def test_bad_request_is_answered_logged_and_the_server_goes_on(serve: Serve, logs: Logs) -> None:
    served = serve(echo)
    client = served.connect()
    client.send(b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n")
    reply = client.read_to_end()
    assert status_of(reply) == 400
    assert reply.startswith(b"HTTP/1.1 400 Bad Request\r\nDate: ")
    assert b"\r\nContent-Type: text/plain; charset=utf-8\r\n" in reply
    (message,) = logs.refusals()
    assert message.startswith(f"Malformed HTTP request from {client.address!r}: ")
    assert "\n" not in message
    assert served.connect().ask(get()) == b"/ "


REFUSED = {
    400: b"nonsense\r\n\r\n",
    413: b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n",
    414: b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    417: get("/", "Expect: rain"),
    431: get("/", *["X: y"] * 200),
    501: post(b"", "Transfer-Encoding: gzip").replace(b"Content-Length: 0\r\n", b""),
    505: b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
}


@pytest.mark.parametrize("status", REFUSED)
def test_refusals_have_their_status(serve: Serve, logs: Logs, status: int) -> None:
    client = serve(lambda request: pytest.fail("it was called")).connect()
    client.send(REFUSED[status])
    assert status_of(client.read_to_end()) == status
    assert len(logs.refusals()) == 1


@pytest.mark.parametrize("status", REFUSED)
def test_refusal_does_not_depend_on_segments(wire: Wired, logs: Logs, status: int) -> None:
    end = wire(echo)
    end.send(*split(get("/1") + REFUSED[status], range(0, 12_000, 7)))
    first = framed(b"/1 ")
    reply = end.sent()
    assert reply.startswith(first)
    assert status_of(reply[len(first) :]) == status
    assert len(logs.refusals()) == 1


def test_refused_head_request_gets_no_text(wire: Wired, logs: Logs) -> None:
    end = wire(echo)
    end.send(b"HEAD / HTTP/1.1\r\n\r\n")
    reply = end.sent()
    assert reply.startswith(b"HTTP/1.1 400 ")
    assert b"\r\nContent-Length: " in reply
    assert reply.endswith(b"\r\n\r\n")
    assert len(logs.refusals()) == 1


def test_refusal_behind_a_head_request_has_its_text(wire: Wired, logs: Logs) -> None:
    for bad in (b"\0\r\n\r\n", b"@ / HTTP/1.1\r\n\r\n", b"GET\r\n\r\n"):
        end = wire(lambda request: answer_with(request, "X: y"))
        end.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        end.sent()
        end.send(bad)
        assert status_of(end.sent()) == 400
        assert len(logs.refusals()) == 1


def test_refusal_waits_for_the_answers_before_it(wire: Wired, logs: Logs) -> None:
    slow = Slow()
    end = wire(slow)
    end.send(get("/1") + get("/2") + b"bad\r\n\r\n" + get("/3"))
    for _ in range(2):
        assert logs.records == []
        end.call(slow.request.write, OK[:10])
        assert end.sent() == OK[:10]
        end.call(slow.request.write, OK[10:])
        assert end.sent() == OK[10:]
        end.call(slow.request.finish)
    assert status_of(end.sent()) == 400
    assert end.ended
    assert len(slow.requests) == 2
    assert len(logs.refusals()) == 1


def test_bytes_that_are_bad_do_not_get_into_a_response_that_is_under_way(
    serve: Serve, logs: Logs
) -> None:
    slow = Slow()
    served = serve(slow)
    client = served.connect()
    client.send(get())
    eventually(lambda: slow.requests)
    served.call(slow.request.write, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
    client.read_until(b"\r\n\r\n")
    client.send(b"\0\0\0 bad\r\n\r\n")
    served.settle()
    served.call(slow.request.write, b"ok")
    served.call(slow.request.finish)
    assert client.read(2) == b"ok"
    assert status_of(client.read_to_end()) == 400
    assert len(logs.refusals()) == 1


def test_there_is_one_error_reply_and_nothing_after_it(wire: Wired, logs: Logs) -> None:
    end = wire(echo)
    end.send(b"bad\r\n\r\n", b"bad\r\n\r\n", get(), b"bad\r\n\r\n")
    assert status_of(end.sent()) == 400
    assert len(logs.refusals()) == 1


BEHIND = {"anything": b"x" * 10_000_000, "good requests": get() * 300_000}


@pytest.mark.parametrize("behind", BEHIND)
def test_client_that_sends_megabytes_behind_a_bad_request_reads_the_reply(
    serve: Serve, logs: Logs, behind: str
) -> None:
    served = serve(echo)
    client = served.connect()
    client.send(b"bad\r\n\r\n" + BEHIND[behind])
    assert status_of(client.read_to_end()) == 400
    client.close()
    served.all_closed()
    assert len(logs.refusals()) == 1


@pytest.mark.parametrize("behind", BEHIND)
@pytest.mark.parametrize("no_keep_alive", [False, True])
def test_client_that_sends_megabytes_behind_its_last_request_reads_the_answer(
    serve: Serve, behind: str, no_keep_alive: bool
) -> None:
    served = serve(echo, no_keep_alive=no_keep_alive)
    client = served.connect()
    client.send(get("/", "X: y" if no_keep_alive else "Connection: close") + BEHIND[behind])
    assert client.read_to_end() == framed(b"/ ")
    client.close()
    served.all_closed()


def test_client_that_sends_megabytes_to_a_failing_callback_reads_the_answer(
    serve: Serve, logs: Logs
) -> None:
    served = serve(fail)
    client = served.connect()
    client.send(get() * 300_000)
    assert status_of(client.read_to_end()) == 500
    client.close()
    served.all_closed()
    assert len(logs.errors()) == 1


def test_client_that_goes_on_sending_a_refused_body_reads_the_reply(
    serve: Serve, logs: Logs
) -> None:
    served = serve(echo, max_body_size=10)
    client = served.connect()
    client.send(post(bytes(10_000_000)))
    assert status_of(client.read_to_end()) == 413
    client.close()
    served.all_closed()
    assert len(logs.refusals()) == 1


def test_bytes_of_a_lingering_client_are_dropped(wire: Wired, logs: Logs) -> None:
    end = wire(echo)
    end.send(b"bad\r\n\r\n")
    for _ in range(100):
        end.send(bytes(100_000))
    assert end.connection._parser.unread == 0
    assert end.transport.unread == 0
    assert not end.transport.closing
    end.half_close()
    assert end.transport.closing
    assert not end.transport.aborted
    assert len(logs.refusals()) == 1


def test_control_characters_of_the_peer_are_escaped_in_every_log_line(
    serve: Serve, logs: Logs
) -> None:
    evil = "/\x7f\x80\x1b[31m%0d%0a"
    served = serve(before_a_byte)
    for data in (
        get("/\x1b[31m\n"),
        get("/", "X\x1b: y"),
        get("/", "X: \x00\x1b[31m"),
        get("/", "Transfer-Encoding: \x1b[31m"),
        get("/", "X: \x9b31m\x85"),
        get("/\x9b31m\x85"),
    ):
        client = served.connect()
        client.send(data)
        client.read_to_end()
    messages = logs.refusals() + logs.errors()
    assert len(messages) == 6
    assert all(message.isprintable() and "\x9b" not in message for message in messages), evil


# --- Clients that take more than their share --------------------------------------------


def test_ten_thousand_pipelined_requests_without_reading_keep_nobody_waiting(
    serve: Serve,
) -> None:
    served = serve(lambda request: answer(request, bytes(10_000)))
    greedy = served.connect(receive_buffer=4096)
    greedy.socket.setblocking(False)
    data = get() * 10_000
    sent = greedy.socket.send(data)
    other = served.connect()
    for _ in range(20):
        assert len(other.ask(get())) == 10_000
    buffered = [connection.stream.write_buffer_size for connection in served.connections]
    assert max(buffered) < 5_000_000
    assert sent


def test_client_that_sends_without_reading_is_made_to_wait(serve: Serve) -> None:
    served = serve(lambda request: answer(request, bytes(1000)))
    client = served.connect(receive_buffer=4096)
    client.socket.settimeout(0.2)
    sent = 0
    with pytest.raises(TimeoutError):
        while sent < 200_000_000:
            sent += client.socket.send(get() * 10_000)
    assert served.connection._parser.unread < 1_000_000


def test_input_that_waits_is_bounded_while_a_request_runs(wire: Wired) -> None:
    slow = Slow()
    end = wire(slow)
    end.send(get("/1"))
    for _ in range(100):
        end.send(get() * 1000)
    assert end.transport.paused
    assert end.connection._parser.unread < 200_000
    # And it is all served in the end.
    for _ in range(100_000):
        end.loop.call_soon(answer, slow.request)
        end.turn(3)
        if len(slow.requests) > 300:
            break
    assert not end.ended


def test_input_that_waits_is_bounded_while_the_client_does_not_read(wire: Wired) -> None:
    end = wire(echo, window=100)
    for _ in range(100):
        end.send(get() * 1000)
    assert end.transport.paused
    assert end.connection._parser.unread < 200_000


def test_input_that_waits_is_bounded_when_it_comes_faster_than_it_is_served(
    wire: Wired,
) -> None:
    end = wire(echo)
    most = 0
    for _ in range(100):
        end.transport.peer_sends(get() * 4000)
    for _ in range(200):
        end.turn(1)
        most = max(most, end.connection._parser.unread)
    assert most < 500_000


def test_all_requests_are_served_after_reading_was_paused(serve: Serve) -> None:
    slow = Slow()
    first: list[HTTPRequest] = []

    def callback(request: HTTPRequest) -> None:
        if request.uri == "/first":
            first.append(request)
            slow(request)
        else:
            answer(request)

    served = serve(callback)
    client = served.connect()
    client.send(get("/first") + get() * 10_000)
    eventually(lambda: first)
    served.call(answer, first[0])
    assert client.read(len(OK) * 10_001) == OK * 10_001
    assert client.ask(get()) == b"ok"


def test_unread_answers_are_bounded_while_pipelined_requests_are_served(wire: Wired) -> None:
    calls = itertools.count()
    end = wire(lambda request: [next(calls), answer(request, bytes(100_000))], window=100)
    end.send(get() * 100)
    assert next(calls) <= 2
    assert end.stream.write_buffer_size < 300_000
    end.take(100 * len(framed(bytes(100_000))))
    end.turn(200)
    assert end.sent() == framed(bytes(100_000)) * 100


# --- The connection object --------------------------------------------------------------


def test_connection_made_by_hand_serves(wire: Wired) -> None:
    # As a subclass of TCPServer makes it, with the documented arguments alone.
    end = wire(echo)
    other = Wire(echo)
    with other:
        stream = other.stream
        other.server._sweep.discard(other.connection)  # type: ignore[union-attr]
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
    assert end.transport.closing


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


# --- All of it at random ----------------------------------------------------------------

ANSWERS = {
    "sync": lambda request, body: answer(request, body),
    "soon": lambda request, body: asyncio.get_running_loop().call_soon(answer, request, body),
    "later": lambda request, body: asyncio.get_running_loop().call_later(
        0.3, answer, request, body
    ),
    "written": lambda request, body: request.write(framed(body), request.finish),
    "written, then finished": lambda request, body: [
        request.write(framed(body), lambda: None),
        request.finish(),
    ],
    "in pieces": lambda request, body: [
        request.write(framed(body)[:7]),
        request.write(framed(body)[7:]),
        request.finish(),
    ],
    "async": lambda request, body: answer_async(request, body),
    "large": lambda request, body: answer(request, body.ljust(100_000)),
}
KINDS = list(ANSWERS)


async def answer_async(request: HTTPRequest, body: bytes) -> None:
    request.write(framed(body)[:9])
    await asyncio.sleep(0)
    await request.write(framed(body)[9:])
    request.finish()


def answer_by_kind(request: HTTPRequest) -> object:
    _, number, kind = request.uri.split("/")
    return ANSWERS[KINDS[int(kind)]](request, b"number " + number.encode())


def expected_for(number: int, kind: int) -> bytes:
    body = b"number %d" % number
    return framed(body.ljust(100_000) if KINDS[kind] == "large" else body)


EVENTS = st.one_of(
    st.tuples(st.just("send"), st.integers(1, 120)),
    st.tuples(st.just("take"), st.integers(1, 50_000)),
    st.tuples(st.just("pass"), st.sampled_from([0.1, 0.5])),
)


@given(
    kinds=st.lists(st.integers(0, len(KINDS) - 1), min_size=1, max_size=8),
    events=st.lists(EVENTS, max_size=25),
    end=st.sampled_from(["stays", "shuts its side", "shuts its side early", "is reset"]),
    window=st.sampled_from([0, 1000, 10_000_000]),
)
def test_whatever_happens_requests_are_answered_whole_and_in_order(
    kinds: list[int], events: list[tuple[str, Any]], end: str, window: int
) -> None:
    logs = Logs()
    logging.getLogger().addHandler(logs)
    requests = [get(f"/{number}/{kind}") for number, kind in enumerate(kinds)]
    unsent = b"".join(requests)
    expected = b"".join(expected_for(number, kind) for number, kind in enumerate(kinds))
    with Wire(answer_by_kind, window=window) as wire:
        for name, value in events:
            if name == "send" and unsent:
                wire.send(unsent[:value])
                unsent = unsent[value:]
            elif name == "take":
                wire.take(value)
            elif name == "pass":
                wire.pass_time(value)
        if end == "is reset":
            wire.reset()
            wire.pass_time(2)
            assert expected.startswith(wire.sent())
        else:
            if unsent and end != "shuts its side early":
                wire.send(unsent)
                unsent = b""
            if end != "stays":
                wire.half_close()
            wire.take(10_000_000)
            wire.pass_time(0.5 * len(kinds) + 0.5)
            complete = len(b"".join(requests)) - len(unsent)
            answered = 0
            for request in requests:
                complete -= len(request)
                answered += complete >= 0
            assert wire.sent() == b"".join(
                expected_for(number, kinds[number]) for number in range(answered)
            )
            assert wire.ended == (end != "stays")
    logging.getLogger().removeHandler(logs)
    assert logs.records == []
