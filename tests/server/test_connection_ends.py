"""How a connection ends: the client disconnects, in half or whole, or the application fails."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import weakref
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
    status_of,
)
from wire import Wire

from fasthttpserver.errors import HTTPInputError
from fasthttpserver.httpserver import HTTPRequest

Serve = Callable[..., Served]
Wired = Callable[..., Wire]


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
        slow.request.connection.set_close_callback(functools.partial(slow.events.append, "idle"))
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
    end = wire(lambda request: request.connection.set_close_callback(lambda: 1 / 0))
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
    client = serve(lambda request: request.write(OK, callback=request.finish)).connect()
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
    missed: list[bool] = []

    async def callback(request: HTTPRequest) -> None:
        request.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not request.connection.stream.closed():
            request.write(bytes(1000))
            await asyncio.sleep(0.001)
        missed.append(True)

    served = serve(callback)
    client = served.connect()
    client.send(get())
    client.read(10)
    client.reset()
    eventually(lambda: missed)
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
    served.settle()  # what follows in the same call of the loop
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


def test_async_callback_whose_task_is_cancelled_is_as_one_that_fails(
    wire: Wired, logs: Logs
) -> None:
    async def callback(request: HTTPRequest) -> None:
        await asyncio.sleep(0)  # before Python 3.12 it has not even begun

    end = wire(callback)

    def request_and_cancel() -> None:
        end.connection.data_received(get())
        (task,) = asyncio.all_tasks()
        assert callback.__qualname__ in repr(task)
        task.cancel()

    end.call(request_and_cancel)
    assert status_of(end.sent()) == 500
    assert len(logs.take("application", logging.WARNING)) == 1
    assert not end.connection._settings.tasks


def test_task_is_forgotten_whatever_the_factory_of_tasks_returns(wire: Wired) -> None:
    def factory(loop: Any, coroutine: Any, **options: Any) -> Any:
        outcome = loop.create_future()
        task = asyncio.Task(coroutine, loop=loop)
        task.add_done_callback(lambda _: outcome.set_result(None))
        return outcome

    async def callback(request: HTTPRequest) -> None:
        await asyncio.sleep(0)
        answer(request)

    end = wire(callback)
    end.loop.set_task_factory(factory)
    end.send(get())
    assert end.sent().startswith(b"HTTP/1.1 200 ")
    assert not end.connection._settings.tasks


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


# --- Close callbacks and the application's own failures ------------------------------------


@pytest.mark.parametrize("written", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"])
@pytest.mark.parametrize("is_async", [False, True])
def test_close_callback_runs_when_the_callback_fails(
    wire: Callable[..., Wire], logs: Logs, written: bytes, is_async: bool
) -> None:
    events: list[str] = []

    def callback(request: HTTPRequest) -> Any:
        async def in_task() -> None:
            raise ZeroDivisionError("of the application")

        request.connection.set_close_callback(lambda: events.append("closed"))
        request.write(written)
        if is_async:
            return in_task()
        raise ZeroDivisionError("of the application")

    end = wire(callback)
    end.send(get())
    assert events == ["closed"]
    assert end.ended
    end.half_close()
    assert events == ["closed"]
    assert len(logs.errors()) == 1


def test_close_callback_does_not_run_when_the_callback_fails_after_finish(
    wire: Callable[..., Wire], logs: Logs
) -> None:
    events: list[str] = []

    def callback(request: HTTPRequest) -> None:
        request.connection.set_close_callback(lambda: events.append("closed"))
        answer(request)
        raise ZeroDivisionError("of the application")

    end = wire(callback)
    end.send(get())
    end.half_close()
    assert events == []
    assert end.sent() == OK
    assert len(logs.errors()) == 1
