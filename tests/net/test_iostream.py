"""IOStream: what it makes of a transport's events, and what it asks of the transport."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest
from wire import FakeTransport

from fasthttpserver.iostream import IOStream, StreamClosedError

ADDRESS = ("192.0.2.7", 4711)


class Recorder:
    """A receiver that notes what it is told."""

    def __init__(self) -> None:
        self.events: list[object] = []
        self.keep_open = False
        self.on_data = lambda: None

    def data_received(self, data: bytes) -> None:
        self.events.append(data)
        self.on_data()

    def eof_received(self) -> bool:
        self.events.append("eof")
        return self.keep_open

    def drained(self) -> None:
        self.events.append("drained")

    def blocked(self) -> None:
        self.events.append("blocked")

    def bypassed(self) -> None:
        """Of interest to those who count what is written through them."""

    def hand_over(self) -> None:
        """Nothing is held back here."""

    def closing(self) -> None:
        self.events.append("closing")

    def release(self) -> bytes:
        return b""

    def connection_lost(self, error: Exception | None) -> None:
        self.events.append(("lost", error))


class Ends:
    """A stream, its receiver, and the transport below it."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        window: int | None = None,
        received: bool = True,
    ) -> None:
        self.loop = loop
        self.connected: list[IOStream] = []
        self.stream = IOStream(loop, ADDRESS, self.connected.append)
        self.transport = FakeTransport(loop, self.stream, window)
        self.receiver = Recorder()
        self.stream.connection_made(self.transport)
        if received:
            self.stream.set_receiver(self.receiver)

    def turn(self) -> None:
        for _ in range(3):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def ends(loop: asyncio.AbstractEventLoop) -> Ends:
    return Ends(loop)


@pytest.fixture
def narrow(loop: asyncio.AbstractEventLoop) -> Ends:
    """A peer that takes ten bytes."""
    return Ends(loop, window=10)


# --- Life -------------------------------------------------------------------------------


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
    with pytest.raises(StreamClosedError):
        stream.write(b"x")


def test_io_loop_is_the_object_that_was_given(loop: asyncio.AbstractEventLoop) -> None:
    mine = object()
    assert IOStream(loop, ADDRESS, lambda stream: None, mine).io_loop is mine
    assert IOStream(loop, ADDRESS, lambda stream: None).io_loop is loop
    assert IOStream(loop, ADDRESS, lambda stream: None, mine).loop is loop


def test_data_goes_to_the_receiver(ends: Ends) -> None:
    ends.transport.peer_sends(b"one")
    ends.transport.peer_sends(b"two")
    ends.turn()
    assert ends.receiver.events == [b"one", b"two"]


def test_receiver_can_be_replaced(ends: Ends) -> None:
    second = Recorder()
    ends.stream.set_receiver(second)
    ends.transport.peer_sends(b"x")
    ends.turn()
    assert (ends.receiver.events, second.events) == ([], [b"x"])


def read_ahead(loop: asyncio.AbstractEventLoop, data: bytes) -> Ends:
    """A stream that nobody is told of yet, and what came meanwhile."""
    ends = Ends(loop, received=False)
    ends.transport.peer_sends(data)
    ends.turn()
    return ends


def test_what_came_before_its_receiver_comes_before_what_follows(
    loop: asyncio.AbstractEventLoop,
) -> None:
    ends = read_ahead(loop, b"one")
    ends.stream.set_receiver(ends.receiver)
    assert ends.receiver.events == []  # not before set_receiver() has returned
    ends.stream.data_received(b"two")  # in the same turn, as uvloop may
    ends.turn()
    ends.transport.peer_sends(b"three")
    ends.turn()
    assert b"".join(ends.receiver.events) == b"onetwothree"  # type: ignore[arg-type]


def test_what_came_before_its_receiver_comes_before_the_end(
    loop: asyncio.AbstractEventLoop,
) -> None:
    ends = read_ahead(loop, b"one")
    ends.stream.set_receiver(ends.receiver)
    ends.stream.eof_received()
    assert ends.receiver.events[:2] == [b"one", "eof"]


def test_what_came_before_its_receiver_can_be_read_by_who_takes_over(
    loop: asyncio.AbstractEventLoop,
) -> None:
    ends = read_ahead(loop, b"one")
    ends.stream.set_receiver(ends.receiver)
    ends.stream.take_over()
    ends.transport.peer_sends(b"two")
    future = ends.stream.read_bytes(6)
    ends.turn()
    assert future.result() == b"onetwo"
    assert b"one" not in ends.receiver.events


def test_reading_goes_on_when_there_is_a_receiver(loop: asyncio.AbstractEventLoop) -> None:
    ends = read_ahead(loop, bytes(70_000))
    assert ends.transport.paused  # more than is read ahead
    ends.stream.set_receiver(ends.receiver)
    assert not ends.transport.paused


def test_end_of_stream_closes_unless_the_receiver_wants_to_write(ends: Ends) -> None:
    ends.transport.peer_sends(b"")
    ends.turn()
    assert ends.receiver.events[0] == "eof"
    assert ends.receiver.events[-1] == ("lost", None)
    assert ends.stream.closed()


def test_end_of_stream_leaves_open_what_the_receiver_wants_to_write_to(ends: Ends) -> None:
    ends.receiver.keep_open = True
    ends.transport.peer_sends(b"")
    ends.turn()
    assert ends.receiver.events == ["eof"]
    ends.stream.write(b"answer")
    ends.turn()
    assert ends.transport.taken == b"answer"


def test_end_of_stream_without_receiver_closes(loop: asyncio.AbstractEventLoop) -> None:
    ends = Ends(loop, received=False)
    ends.transport.peer_sends(b"")
    ends.turn()
    assert ends.stream.closed()


def test_reset_is_told_with_its_error(ends: Ends) -> None:
    error = ConnectionResetError()
    ends.transport.lose(error)
    ends.turn()
    assert ends.receiver.events == [("lost", error)]
    assert ends.stream.error is error
    with pytest.raises(StreamClosedError) as caught:
        ends.stream.write(b"x")
    assert caught.value.real_error is error


# --- Writing ----------------------------------------------------------------------------


def test_writes_of_one_read_leave_together(ends: Ends) -> None:
    ends.receiver.on_data = lambda: [ends.stream.write(b"%d" % i) for i in range(9)]
    ends.transport.peer_sends(b"x")
    ends.turn()
    assert ends.transport.writes == [b"012345678"]


def test_writes_leave_although_the_receiver_fails(ends: Ends) -> None:
    def fail() -> None:
        ends.stream.write(b"before")
        raise ZeroDivisionError

    ends.receiver.on_data = fail
    with pytest.raises(ZeroDivisionError):
        ends.stream.data_received(b"x")
    ends.turn()
    assert ends.transport.writes == [b"before"]


def test_writes_of_one_callback_of_the_loop_leave_together(ends: Ends) -> None:
    ends.loop.call_soon(lambda: [ends.stream.write(b"a"), ends.stream.write(b"b")])
    ends.loop.call_soon(lambda: ends.stream.write(b"c"))
    ends.turn()
    assert ends.transport.writes == [b"abc"]


def test_writes_of_later_iterations_leave_on_their_own(ends: Ends) -> None:
    ends.stream.write(b"a")
    ends.turn()
    ends.stream.write(b"b")
    ends.turn()
    assert ends.transport.writes == [b"a", b"b"]


def test_large_chunk_leaves_at_once_with_what_was_before_it(ends: Ends) -> None:
    large = bytes(100_000)
    ends.stream.write(b"head")
    ends.stream.write(large)
    assert ends.transport.writes == [b"head" + large]


def test_lone_large_chunk_is_not_copied(ends: Ends) -> None:
    written: list[object] = []
    ends.stream.transport_write = written.append
    large = bytes(100_000)
    ends.stream.write(large)
    assert written[0] is large


def test_cork_does_not_hold_more_than_a_few_chunks(ends: Ends) -> None:
    for _ in range(200):
        ends.stream.write(bytes(60_000))
        assert ends.stream.write_buffer_size < 5_000_000
    assert len(ends.transport.writes) > 2


def test_flush_sends_now(ends: Ends) -> None:
    ends.stream.write(b"a")
    ends.stream.flush()
    assert ends.transport.writes == [b"a"]
    ends.stream.flush()
    ends.turn()
    assert ends.transport.writes == [b"a"]


def test_writing_tells_whether_bytes_wait(narrow: Ends) -> None:
    stream = narrow.stream
    assert not stream.writing()
    stream.write(b"0123456789abc")
    assert (stream.writing(), stream.waiting, stream.write_buffer_size) == (True, False, 13)
    stream.flush()
    assert (stream.writing(), stream.waiting, stream.write_buffer_size) == (True, True, 3)
    narrow.transport.peer_takes(2)
    narrow.turn()
    assert (stream.writing(), stream.waiting, stream.write_buffer_size) == (True, True, 1)
    assert narrow.receiver.events == ["blocked"]
    narrow.transport.peer_takes(1)
    narrow.turn()
    assert (stream.writing(), stream.waiting, stream.write_buffer_size) == (False, False, 0)
    assert narrow.receiver.events == ["blocked", "drained"]


# --- Reading ----------------------------------------------------------------------------


def test_paused_stream_leaves_data_with_the_peer(ends: Ends) -> None:
    ends.stream.pause_reading()
    ends.transport.peer_sends(b"x")
    ends.turn()
    assert ends.receiver.events == []
    ends.stream.resume_reading()
    ends.turn()
    assert ends.receiver.events == [b"x"]


def test_pausing_and_resuming_a_closed_stream_does_nothing(ends: Ends) -> None:
    ends.stream.close()
    ends.turn()
    ends.stream.pause_reading()
    ends.stream.resume_reading()
    assert not ends.transport.paused


# --- Closing ----------------------------------------------------------------------------


def test_close_sends_what_was_written(ends: Ends) -> None:
    ends.stream.write(b"last")
    ends.stream.close()
    assert ends.stream.closed()
    ends.turn()
    assert ends.transport.taken == b"last"
    assert ends.receiver.events == ["closing", ("lost", None)]


def test_close_waits_for_the_peer_to_take_what_was_written(narrow: Ends) -> None:
    narrow.stream.write(bytes(100))
    narrow.stream.close()
    narrow.turn()
    assert narrow.receiver.events == ["blocked", "closing"]
    narrow.transport.peer_takes(90)
    narrow.turn()
    assert len(narrow.transport.taken) == 100
    assert narrow.receiver.events[-1] == ("lost", None)


def test_what_a_closing_stream_has_to_send_still_counts(narrow: Ends) -> None:
    narrow.stream.write(bytes(100))
    narrow.stream.close()
    assert narrow.stream.write_buffer_size == 90
    narrow.transport.peer_takes(30)
    assert narrow.stream.write_buffer_size == 60
    narrow.transport.peer_takes(60)
    narrow.turn()


def test_abort_drops_what_was_written(narrow: Ends) -> None:
    narrow.stream.write(bytes(100))
    narrow.stream.abort()
    assert narrow.stream.closed()
    narrow.turn()
    assert narrow.transport.aborted
    assert narrow.transport.writes == []
    assert narrow.receiver.events == ["closing", ("lost", None)]


def test_closing_again_and_aborting_after_the_end_are_harmless(ends: Ends) -> None:
    ends.stream.close()
    ends.stream.close()
    ends.turn()
    ends.stream.close()
    ends.stream.abort()
    ends.turn()
    assert ends.receiver.events.count(("lost", None)) == 1


def test_closed_stream_refuses_writes(ends: Ends) -> None:
    ends.stream.close()
    with pytest.raises(StreamClosedError, match="Stream is closed"):
        ends.stream.write(b"x")
    assert issubclass(StreamClosedError, IOError)
    ends.turn()


def test_close_with_an_error_keeps_it(ends: Ends) -> None:
    error = ValueError("mine")
    ends.stream.close(exc_info=error)
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


def test_close_callback_is_replaced_or_taken_back(ends: Ends) -> None:
    seen: list[str] = []
    ends.stream.set_close_callback(lambda: seen.append("first"))
    ends.stream.set_close_callback(lambda: seen.append("second"))
    ends.transport.lose(None)
    ends.turn()
    assert seen == ["second"]


def test_close_callback_that_was_taken_back_does_not_run(ends: Ends) -> None:
    ends.stream.set_close_callback(lambda: pytest.fail("it ran"))
    ends.stream.set_close_callback(None)
    ends.stream.close()
    ends.turn()


def test_shutdown_sends_what_was_written_then_the_end(ends: Ends) -> None:
    ends.stream.write(b"last")
    assert ends.stream.shutdown_write()
    assert ends.transport.taken == b"last"
    assert ends.transport.eof_written
    assert not ends.transport.closing


def test_closed_stream_cannot_be_shut_down(ends: Ends) -> None:
    ends.stream.close()
    assert not ends.stream.shutdown_write()
    assert not ends.transport.eof_written
    ends.turn()


def test_shutdown_of_a_socket_that_the_peer_has_reset_is_no_error(ends: Ends) -> None:
    ends.transport.reset_unseen = True
    assert not ends.stream.shutdown_write()


# --- The socket -------------------------------------------------------------------------


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


def test_set_nodelay_is_accepted(ends: Ends) -> None:
    ends.stream.set_nodelay(True)
    ends.stream.set_nodelay(False)
