"""Clients that are wrong, greedy or unlucky: what is refused and bounded, and what is not."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
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
    fail,
    framed,
    get,
    post,
    split,
    status_of,
)
from hypothesis import given
from hypothesis import strategies as st
from wire import Wire

from fasthttpserver.httpserver import HTTPRequest

Serve = Callable[..., Served]
Wired = Callable[..., Wire]


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
        end = wire(lambda request: answer(request, b""))
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
    assert end.connection.parser.unread == 0
    assert end.transport.unread == 0
    assert not end.transport.closing
    end.half_close()
    assert end.transport.closing
    assert not end.transport.aborted
    assert len(logs.refusals()) == 1


def test_control_characters_of_the_peer_are_escaped_in_every_log_line(
    serve: Serve, logs: Logs
) -> None:
    served = serve(fail)
    for data in (
        get("/\x1b[31m\n"),
        get("/", "X\x1b: y"),
        get("/", "X: \x00\x1b[31m"),
        get("/", "Transfer-Encoding: \x1b[31m"),
        get("/", "X: \x9b31m\x85"),
        get("/\x9b31m\x85"),
        get("/%0d%0a%1b"),
    ):
        client = served.connect()
        client.send(data)
        client.read_to_end()
    messages = logs.refusals() + logs.errors()
    assert len(messages) == 7
    assert all(message.isprintable() and "\x9b" not in message for message in messages)


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
    assert served.connection.parser.unread < 1_000_000


def test_input_that_waits_is_bounded_while_a_request_runs(wire: Wired) -> None:
    slow = Slow()
    end = wire(slow)
    end.send(get("/1"))
    for _ in range(100):
        end.send(get() * 1000)
    assert end.transport.paused
    assert end.connection.parser.unread < 200_000
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
    assert end.connection.parser.unread < 200_000


def test_input_that_waits_is_bounded_when_it_comes_faster_than_it_is_served(
    wire: Wired,
) -> None:
    end = wire(echo)
    most = 0
    for _ in range(20):
        end.transport.peer_sends(get() * 4000)
    for _ in range(100):
        end.turn(1)
        most = max(most, end.connection.parser.unread)
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


@pytest.mark.parametrize("last", [100_000, 1], ids=["large chunk last", "small chunk last"])
def test_unread_answers_are_bounded_while_pipelined_requests_are_served(
    wire: Wired, last: int
) -> None:
    body = bytes(100_000)
    calls = itertools.count()

    def callback(request: HTTPRequest) -> None:
        next(calls)
        request.write(framed(body)[:-last])
        request.write(body[:last])
        request.finish()

    end = wire(callback, window=100)
    end.send(get() * 100)
    assert next(calls) <= 2
    assert end.stream.write_buffer_size < 300_000
    end.take(100 * len(framed(body)))
    end.turn(200)
    assert end.sent() == framed(body) * 100


# --- All of it at random ----------------------------------------------------------------


async def answer_async(request: HTTPRequest, body: bytes) -> None:
    request.write(framed(body)[:9])
    await asyncio.sleep(0)
    await request.write(framed(body)[9:])
    request.finish()


def answer_late(request: HTTPRequest, body: bytes) -> None:
    answer(request, body)
    request.write(b"too late")
    request.finish()


def answer_in_pieces(request: HTTPRequest, body: bytes) -> None:
    for part in split(framed(body), range(7, 50, 7)):
        request.write(part)
    request.finish()


def answer_soon(request: HTTPRequest, body: bytes) -> None:
    asyncio.get_running_loop().call_soon(answer, request, body)


def answer_later(request: HTTPRequest, body: bytes) -> None:
    asyncio.get_running_loop().call_later(0.3, answer, request, body)


def answer_and_finish_when_written(request: HTTPRequest, body: bytes) -> None:
    request.write(framed(body), request.finish)


def answer_with_a_write_callback(request: HTTPRequest, body: bytes) -> None:
    request.write(framed(body), lambda: None)
    request.finish()


def answer_with_a_close_callback(request: HTTPRequest, body: bytes) -> None:
    request.connection.set_close_callback(lambda: None)
    answer(request, body)


def answer_much(request: HTTPRequest, body: bytes) -> None:
    answer(request, body.ljust(100_000))


ANSWERS: list[Callable[[HTTPRequest, bytes], object]] = [
    answer,
    answer_async,
    answer_late,
    answer_in_pieces,
    answer_soon,
    answer_later,
    answer_and_finish_when_written,
    answer_with_a_write_callback,
    answer_with_a_close_callback,
    answer_much,
    fail,
]


def answer_as_asked(request: HTTPRequest) -> object:
    """Answer ``/number/way``."""
    _, number, way = request.uri.split("/")
    return ANSWERS[int(way)](request, b"number " + number.encode())


def expected_answer(number: int, way: int) -> bytes:
    """What the client then gets."""
    body = b"number %d" % number
    return framed(body.ljust(100_000) if ANSWERS[way] is answer_much else body)


EVENTS = st.one_of(
    st.tuples(st.just("send"), st.integers(1, 120)),
    st.tuples(st.just("take"), st.integers(1, 50_000)),
    st.tuples(st.just("pass"), st.sampled_from([0.1, 0.5])),
)


@given(
    # The way to answer, and whether it is the last request, if the client says so.
    asked=st.lists(
        st.tuples(st.integers(0, len(ANSWERS) - 1), st.integers(0, 9).map(lambda i: i == 9)),
        min_size=1,
        max_size=8,
    ),
    events=st.lists(EVENTS, max_size=25),
    end=st.sampled_from(["stays", "shuts its side", "shuts its side early", "is reset"]),
    window=st.sampled_from([0, 1000, 10_000_000]),
)
def test_whatever_happens_requests_are_answered_whole_and_in_order(
    asked: list[tuple[int, bool]], events: list[tuple[str, Any]], end: str, window: int
) -> None:
    logs = Logs()
    logging.getLogger().addHandler(logs)
    try:
        play(asked, events, end, window)
    finally:
        logging.getLogger().removeHandler(logs)
    logs.warnings()
    logs.errors()
    assert logs.records == []


def play(
    asked: list[tuple[int, bool]], events: list[tuple[str, Any]], end: str, window: int
) -> None:
    requests = [
        get(f"/{number}/{way}", "Connection: close" if last else "X: y")
        for number, (way, last) in enumerate(asked)
    ]
    unsent = b"".join(requests)
    with Wire(answer_as_asked, window=window) as wire:
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
        else:
            if unsent and end != "shuts its side early":
                wire.send(unsent)
                unsent = b""
            if end != "stays":
                wire.half_close()
            wire.take(10_000_000)
        wire.pass_time(0.5 * len(asked) + 0.5)

        sent = wire.sent()
        complete = len(b"".join(requests)) - len(unsent)
        for number, (way, last) in enumerate(asked):
            complete -= len(requests[number])
            if complete < 0 or (end == "is reset" and not sent):
                assert not sent
                break
            if ANSWERS[way] is fail:
                assert end == "is reset" or status_of(sent) == 500
                assert wire.ended
                return
            expected = expected_answer(number, way)
            if end == "is reset" and len(sent) < len(expected):
                assert expected.startswith(sent)
                return
            assert sent.startswith(expected)
            sent = sent[len(expected) :]
            if last:
                assert not sent
                assert wire.ended
                return
        assert wire.ended == (end != "stays")
