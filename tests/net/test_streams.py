"""IOStream: the protocol of its transport, a view of a connection, and given to one.

What it reads is told by ``test_takeover.py``, with real sockets.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest
from helpers import OK, Logs, Slow, answer, echo, fail, framed, get
from wire import FakeTransport, Wire

from fasthttpserver.httpserver import HTTPConnection, HTTPRequest
from fasthttpserver.iostream import IOStream, StreamClosedError

ADDRESS = ("192.0.2.7", 4711)
Wired = Callable[..., Wire]


class Ends:
    """A stream that is the protocol of its transport, whose peer is the test."""

    def __init__(self, loop: asyncio.AbstractEventLoop, window: int | None = None) -> None:
        self.loop = loop
        self.connected: list[IOStream] = []
        self.stream = IOStream(loop, ADDRESS, self.connected.append)
        self.transport = FakeTransport(loop, self.stream, window)
        self.stream.connection_made(self.transport)

    def turn(self) -> None:
        for _ in range(4):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()

    def send(self, data: bytes) -> None:
        self.transport.peer_sends(data)
        self.turn()

    def take(self, size: int) -> None:
        self.transport.peer_takes(size)
        self.turn()


@pytest.fixture
def ends(loop: asyncio.AbstractEventLoop) -> Ends:
    return Ends(loop)


@pytest.fixture
def narrow(loop: asyncio.AbstractEventLoop) -> Ends:
    """A peer that takes ten bytes."""
    return Ends(loop, window=10)


# --- Its life -----------------------------------------------------------------------------


def test_stream_is_handed_over_when_its_transport_is_there(ends: Ends) -> None:
    assert ends.connected == [ends.stream]
    assert not ends.stream.closed()


def test_stream_without_a_transport_is_closed(loop: asyncio.AbstractEventLoop) -> None:
    stream = IOStream(loop, ADDRESS, lambda stream: None)
    assert stream.closed()
    assert stream.socket is None
    assert stream.fileno() == -1
    assert stream.getpeercert() is None
    assert not stream.is_tls
    assert not stream.writing() and stream.write_buffer_size == 0
    with pytest.raises(StreamClosedError):
        stream.write(b"x")
    stream.close()
    stream.abort()


def test_io_loop_is_the_object_that_was_given(loop: asyncio.AbstractEventLoop) -> None:
    mine = object()
    assert IOStream(loop, ADDRESS, lambda stream: None, mine).io_loop is mine
    assert IOStream(loop, ADDRESS, lambda stream: None).io_loop is loop
    assert IOStream(loop, ADDRESS, lambda stream: None, mine).loop is loop


def test_reset_is_told_with_its_error(ends: Ends) -> None:
    error = ConnectionResetError()
    ends.transport.lose(error)
    ends.turn()
    assert ends.stream.closed()
    assert ends.stream.error is error
    with pytest.raises(StreamClosedError) as caught:
        ends.stream.write(b"x")
    assert caught.value.real_error is error


# --- What comes ---------------------------------------------------------------------------


def test_what_came_before_anybody_asked_is_read_first(ends: Ends) -> None:
    ends.send(b"one")
    future = ends.stream.read_bytes(9)
    ends.send(b"two")
    assert not future.done()
    ends.send(b"three")
    assert future.result() == b"onetwothr"
    rest = ends.stream.read_bytes(2)
    ends.turn()
    assert rest.result() == b"ee"


def test_stream_that_nobody_reads_leaves_the_rest_with_the_peer(ends: Ends) -> None:
    ends.send(bytes(65_537))  # more than is read ahead
    assert ends.transport.paused
    future = ends.stream.read_bytes(65_537)
    ends.turn()
    assert len(future.result()) == 65_537
    assert not ends.transport.paused


def test_paused_stream_leaves_data_with_the_peer(ends: Ends) -> None:
    future = ends.stream.read_bytes(1)
    ends.stream.pause_reading()
    ends.send(b"x")
    assert not future.done()
    ends.stream.resume_reading()
    ends.turn()
    assert future.result() == b"x"


def test_pausing_and_resuming_a_closed_stream_does_nothing(ends: Ends) -> None:
    ends.stream.close()
    ends.turn()
    ends.stream.pause_reading()
    ends.stream.resume_reading()
    assert not ends.transport.paused


@pytest.mark.parametrize("asked", [False, True])
def test_end_of_what_comes_closes_after_what_was_written(narrow: Ends, asked: bool) -> None:
    # As Tornado's does; an HTTP connection answers what came before the end.
    if asked:
        future = narrow.stream.read_until_close()
    narrow.stream.write(bytes(15), lambda: None)
    narrow.send(b"")
    assert narrow.stream.closed()
    narrow.take(10)
    assert len(narrow.transport.taken) == 15
    assert narrow.stream.error is None
    if asked:
        assert future.result() == b""


# --- Writing ------------------------------------------------------------------------------


def test_writing_tells_whether_bytes_wait(narrow: Ends) -> None:
    stream = narrow.stream
    assert (stream.writing(), stream.write_buffer_size) == (False, 0)
    stream.write(b"0123456789abc")
    assert (stream.writing(), stream.write_buffer_size) == (True, 13)
    narrow.turn()
    assert (stream.writing(), stream.write_buffer_size) == (True, 3)
    narrow.take(2)
    assert (stream.writing(), stream.write_buffer_size) == (True, 1)
    narrow.take(1)
    assert (stream.writing(), stream.write_buffer_size) == (False, 0)


def test_future_of_a_write_is_done_when_all_has_left(narrow: Ends) -> None:
    future = narrow.stream.write(bytes(13))
    narrow.turn()
    assert not future.done()
    narrow.take(3)
    assert future.result() is None


def test_callback_of_a_write_takes_the_place_of_an_earlier_one(narrow: Ends) -> None:
    events: list[str] = []
    assert narrow.stream.write(bytes(13), lambda: events.append("first")) is None
    narrow.stream.write(b"", lambda: events.append("second"))
    narrow.turn()
    assert events == []
    narrow.take(3)
    assert events == ["second"]


def test_buffers_that_the_caller_may_change_are_copied(ends: Ends) -> None:
    data = bytearray(b"abc")
    ends.stream.write(data)  # type: ignore[call-overload]
    ends.stream.write(memoryview(data)[1:])  # type: ignore[call-overload]
    data[:] = b"xyz"
    ends.turn()
    assert ends.transport.taken == b"abcbc"


@pytest.mark.parametrize("data", ["text", None, 5, [b"x"]], ids=repr)
def test_write_takes_nothing_but_bytes(ends: Ends, data: object) -> None:
    with pytest.raises(TypeError, match=rf"not {type(data).__name__}$"):
        ends.stream.write(data)  # type: ignore[call-overload]
    ends.turn()
    assert ends.transport.writes == []


# --- Closing ------------------------------------------------------------------------------


def test_close_sends_what_was_written(ends: Ends) -> None:
    ends.stream.write(b"last")
    ends.stream.close()
    assert ends.stream.closed()
    ends.turn()
    assert ends.transport.taken == b"last"


def test_what_a_closing_stream_has_to_send_still_counts(narrow: Ends) -> None:
    narrow.stream.write(bytes(100), lambda: None)
    narrow.stream.close()
    assert narrow.stream.write_buffer_size == 90
    narrow.take(30)
    assert narrow.stream.write_buffer_size == 60
    narrow.take(60)
    assert narrow.stream.write_buffer_size == 0


def test_abort_drops_what_was_written(narrow: Ends) -> None:
    future = narrow.stream.write(bytes(100))
    narrow.stream.abort()
    assert narrow.stream.closed()
    narrow.turn()
    assert narrow.transport.aborted
    assert narrow.transport.writes == []
    assert isinstance(future.exception(), StreamClosedError)


def test_peer_that_takes_nothing_after_close_is_not_waited_for(wire: Wired, logs: Logs) -> None:
    end = wire(
        lambda request: request.connection.detach().write(bytes(100), lambda: None), window=10
    )
    end.send(get())
    end.stream.close()
    end.pass_time(59)
    assert not end.transport.aborted
    end.pass_time(2)
    assert end.transport.aborted


def test_closing_again_and_aborting_after_the_end_are_harmless(ends: Ends) -> None:
    closed: list[int] = []
    ends.stream.set_close_callback(lambda: closed.append(1))
    ends.stream.close()
    ends.stream.close()
    ends.turn()
    ends.stream.close()
    ends.stream.abort()
    ends.turn()
    assert closed == [1]


def test_closed_stream_refuses_writes(ends: Ends) -> None:
    ends.stream.close()
    with pytest.raises(StreamClosedError, match="Stream is closed"):
        ends.stream.write(b"x")
    assert issubclass(StreamClosedError, IOError)
    ends.turn()


def being_handled(error: Exception, stream: IOStream) -> None:
    try:
        raise error
    except Exception:
        stream.close(exc_info=True)


@pytest.mark.parametrize(
    "close",
    [
        lambda error, stream: stream.close(exc_info=error),
        lambda error, stream: stream.close(exc_info=(type(error), error, None)),
        being_handled,
    ],
    ids=["exception", "sys.exc_info()", "True"],
)
def test_close_with_an_error_keeps_it(
    ends: Ends, close: Callable[[Exception, IOStream], None]
) -> None:
    error = ValueError("mine")
    close(error, ends.stream)
    ends.turn()
    assert ends.stream.error is error


def test_close_callback_runs_once_from_the_loop_with_the_stream_closed(ends: Ends) -> None:
    seen: list[bool] = []
    ends.stream.set_close_callback(lambda: seen.append(ends.stream.closed()))
    ends.stream.close()
    assert seen == []
    ends.turn()
    assert seen == [True]
    ends.stream.close()
    ends.turn()
    assert seen == [True]


def test_close_callback_is_replaced(ends: Ends) -> None:
    seen: list[str] = []
    ends.stream.set_close_callback(lambda: seen.append("first"))
    ends.stream.set_close_callback(lambda: seen.append("second"))
    ends.stream.set_default_close_callback(lambda: seen.append("third"))
    ends.transport.lose(None)
    ends.turn()
    assert seen == ["second"]


def test_default_close_callback_runs_if_there_is_no_other(ends: Ends) -> None:
    seen: list[str] = []
    ends.stream.set_default_close_callback(lambda: seen.append("default"))
    ends.transport.lose(None)
    ends.turn()
    assert seen == ["default"]


def test_close_callback_that_was_taken_back_does_not_run(ends: Ends) -> None:
    ends.stream.set_close_callback(lambda: pytest.fail("it ran"))
    ends.stream.set_close_callback(None)
    ends.stream.close()
    ends.turn()


def test_failing_close_callback_is_logged(ends: Ends, logs: Logs) -> None:
    ends.stream.set_close_callback(fail)
    ends.stream.close()
    ends.turn()
    assert logs.errors() == ["Uncaught exception in close callback"]


# --- The socket ---------------------------------------------------------------------------


def test_socket_is_there_until_it_is_closed(ends: Ends) -> None:
    assert ends.stream.socket.family == socket.AF_INET
    assert ends.stream.fileno() == 99
    ends.stream.close()
    assert ends.stream.socket is None
    assert ends.stream.fileno() == -1
    ends.turn()


def test_address_is_what_accept_gave(ends: Ends) -> None:
    assert ends.stream.address == ADDRESS


def test_no_certificate_without_tls(ends: Ends) -> None:
    assert not ends.stream.is_tls
    assert ends.stream.getpeercert() is None
    assert ends.stream.getpeercert(binary_form=True) is None


def test_set_nodelay_is_accepted_and_changes_nothing(ends: Ends) -> None:
    ends.stream.set_nodelay(True)
    ends.stream.set_nodelay(False)
    assert ends.transport.socket.options == []


# --- A view of a connection ---------------------------------------------------------------


def test_view_is_made_once_and_knows_what_the_connection_knows(wire: Wired) -> None:
    slow = Slow()
    end = wire(slow, address=ADDRESS)
    end.send(get())
    stream = slow.request.connection.stream
    assert stream is slow.request.connection.stream
    assert stream.address == ADDRESS
    assert stream.fileno() == 99
    assert not stream.closed() and not stream.reading() and not stream.writing()
    end.call(answer, slow.request)
    assert end.sent() == OK


def test_view_is_not_made_unless_it_is_asked_for(wire: Wired) -> None:
    end = wire(echo)
    end.send(get())
    end.half_close()
    assert end.connection._stream is None


def test_writes_to_a_view_leave_after_and_with_those_of_the_request(wire: Wired) -> None:
    def callback(request: HTTPRequest) -> None:
        request.write(OK)
        stream = request.connection.stream
        assert stream.writing() and stream.write_buffer_size == len(OK)
        stream.write(b"more", lambda: None)
        request.finish()

    end = wire(callback)
    end.send(get())
    assert end.transport.writes == [OK + b"more"]


@pytest.mark.parametrize("how", ["close", "abort"])
def test_closing_a_view_ends_its_connection_with_both_close_callbacks(
    wire: Wired, how: str
) -> None:
    slow = Slow()
    end = wire(slow)
    end.send(get())
    stream = slow.request.connection.stream
    stream.set_close_callback(lambda: slow.events.append("stream"))
    end.call(getattr(stream, how))
    assert sorted(slow.events) == ["closed", "stream"]
    assert end.connections == 0 and stream.closed()
    assert end.transport.aborted == (how == "abort")


def test_view_of_a_connection_that_answers_its_last_request_is_closed(wire: Wired) -> None:
    # Half-closed: nothing can be written any more, and what the client sends is dropped.
    end = wire(echo, no_keep_alive=True)
    stream = end.stream
    end.send(get() + get())
    assert end.transport.eof_written and not end.transport.closing
    assert stream.closed()
    with pytest.raises(StreamClosedError):
        stream.write(b"x")


def test_read_makes_the_view_the_protocol_and_gives_it_what_follows(wire: Wired) -> None:
    taken: list[bytes] = []
    end = wire(lambda request: request.connection.stream.read_bytes(6, taken.append))
    end.send(get() + b"abc")
    assert end.transport.get_protocol() is end.stream
    assert end.connections == 0
    end.send(b"def")
    assert taken == [b"abcdef"]


# --- Given to a connection ------------------------------------------------------------------


def serve_on(ends: Ends) -> HTTPConnection:
    return HTTPConnection(ends.stream, ADDRESS, echo)


def test_connection_on_a_stream_serves_what_comes(ends: Ends) -> None:
    connection = serve_on(ends)
    assert connection.stream is ends.stream
    assert ends.transport.get_protocol() is connection
    ends.send(get("/1"))
    ends.send(get("/2"))
    assert ends.transport.taken == framed(b"/1 ") + framed(b"/2 ")


def test_what_came_before_the_connection_is_served_in_a_later_turn(ends: Ends) -> None:
    ends.send(get("/1") + get("/2")[:9])
    serve_on(ends)
    assert ends.transport.taken == b""  # not before the constructor has returned
    ends.send(get("/2")[9:])
    assert ends.transport.taken == framed(b"/1 ") + framed(b"/2 ")


def test_what_came_before_the_connection_is_served_before_what_follows_at_once(
    ends: Ends,
) -> None:
    ends.send(get("/1"))
    connection = serve_on(ends)
    connection.data_received(get("/2"))  # in the same turn, as uvloop may
    ends.turn()
    assert ends.transport.taken == framed(b"/1 ") + framed(b"/2 ")


def test_what_came_before_the_connection_is_answered_although_the_end_follows(
    ends: Ends,
) -> None:
    ends.send(get("/1"))
    connection = serve_on(ends)
    assert connection.eof_received()
    ends.turn()
    assert ends.transport.taken == framed(b"/1 ")
    assert ends.transport.closing


def test_reading_goes_on_when_a_connection_has_the_stream(ends: Ends) -> None:
    ends.send(bytes(70_000))
    assert ends.transport.paused
    serve_on(ends)
    assert not ends.transport.paused
    ends.turn()


def test_reading_back_what_came_before_the_connection(ends: Ends) -> None:
    ends.send(b"one")
    serve_on(ends)
    ends.stream.take_over()
    future = ends.stream.read_bytes(6)
    ends.send(b"two")
    assert future.result() == b"onetwo"
    assert ends.transport.get_protocol() is ends.stream


def test_connection_on_a_lost_stream_is_closed(ends: Ends) -> None:
    ends.transport.lose(None)
    ends.turn()
    connection = serve_on(ends)
    connection.write(b"x")
    connection.close()
    ends.turn()
    assert ends.transport.writes == []


def test_a_read_of_what_is_here_is_done_at_once(ends: Ends) -> None:
    ends.send(b"12\n345")
    stream = ends.stream
    read = [stream.read_bytes(1), stream.read_until(b"\n"), stream.read_bytes(0)]
    read.append(stream.read_bytes(100, partial=True))
    assert [future.result() for future in read] == [b"1", b"2\n", b"", b"345"]
    assert not stream.reading()
    pending = stream.read_bytes(1)
    assert stream.reading()
    ends.send(b"6")
    assert pending.result() == b"6"


def test_a_callback_of_a_read_is_called_after_it_although_all_is_here(ends: Ends) -> None:
    ends.send(b"1")
    got: list[bytes] = []
    ends.stream.read_bytes(1, got.append)
    assert not got
    ends.turn()
    assert got == [b"1"]
