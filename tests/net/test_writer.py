"""Writer: when bytes leave, who is told that they have left, and how it ends."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable

import pytest
from helpers import Logs, fail
from wire import FakeTransport

from fasthttpserver._net.writer import Writer
from fasthttpserver.errors import StreamClosedError

# As in the source: more in one chunk, or more chunks, leave at once.
LARGE = 65_536
MANY = 64


class End(asyncio.Protocol):
    """A writer and its transport, whose peer is the test; passes on what the transport tells.

    Args:
        loop: Theirs.
        window: Bytes that the peer takes; None is all.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, window: int | None = None) -> None:
        self.loop = loop
        self.transport = FakeTransport(loop, self, window)
        self.writer = Writer(loop, self.transport)
        self.events: list[str] = []

    def pause_writing(self) -> None:
        self.writer.pause()

    def resume_writing(self) -> None:
        self.writer.resume(lambda: self.events.append("resumed"))

    def connection_lost(self, exc: Exception | None) -> None:
        self.writer.lost(exc)

    def note(self, event: str) -> Callable[[], None]:
        """A callback that notes this."""
        return lambda: self.events.append(event)

    def turn(self) -> None:
        for _ in range(3):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()

    def take(self, size: int) -> None:
        self.transport.peer_takes(size)
        self.turn()


@pytest.fixture
def end(loop: asyncio.AbstractEventLoop) -> End:
    return End(loop)


@pytest.fixture
def narrow(loop: asyncio.AbstractEventLoop) -> End:
    """Its peer takes ten bytes."""
    return End(loop, window=10)


# --- Cork and flush -----------------------------------------------------------------------


def test_writes_of_one_callback_of_the_loop_leave_together(end: End) -> None:
    end.loop.call_soon(lambda: [end.writer.send(b"a"), end.writer.send(b"b")])
    end.loop.call_soon(end.writer.send, b"c")
    end.turn()
    assert end.transport.writes == [b"abc"]


def test_writes_of_later_turns_leave_on_their_own(end: End) -> None:
    for data in (b"a", b"b"):
        end.writer.send(data)
        end.turn()
    assert end.transport.writes == [b"a", b"b"]


def test_corked_bytes_leave_when_they_are_flushed_and_not_before(end: End) -> None:
    end.writer.corked = True
    for data in (b"a", b"b", b"c"):
        end.writer.send(data)
    end.turn()
    assert end.transport.writes == []
    end.writer.flush()
    assert end.transport.writes == [b"abc"]


def test_flush_sends_once(end: End) -> None:
    end.writer.send(b"a")
    end.writer.flush()
    assert end.transport.writes == [b"a"]
    end.writer.flush()
    end.turn()  # in which the flush that was planned finds nothing
    assert end.transport.writes == [b"a"]


@pytest.mark.parametrize("corked", [False, True])
def test_large_chunk_leaves_at_once_with_what_was_before_it(end: End, corked: bool) -> None:
    end.writer.corked = corked
    end.writer.send(b"head")
    end.writer.send(bytes(LARGE))
    assert end.transport.writes == []  # it is not larger yet
    end.writer.send(bytes(LARGE + 1))
    assert end.transport.writes == [b"head" + bytes(2 * LARGE + 1)]


def test_lone_large_chunk_is_not_copied(end: End, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[object] = []
    monkeypatch.setattr(end.transport, "write", written.append)
    large = bytes(LARGE + 1)
    end.writer.send(large)
    assert written[0] is large


@pytest.mark.parametrize("corked", [False, True])
def test_a_cork_holds_a_bounded_number_of_chunks(end: End, corked: bool) -> None:
    end.writer.corked = corked
    for _ in range(MANY):
        end.writer.send(b"x")
    assert end.transport.writes == []
    end.writer.send(b"x")
    assert end.transport.writes == [b"x" * (MANY + 1)]


def test_nothing_is_written_to_what_the_peer_has_just_reset(
    end: End, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        end.transport, "write", lambda data: pytest.fail("asyncio would warn of it")
    )
    end.writer.send(b"x")
    end.transport.lose(ConnectionResetError())  # connection_lost() comes in the next turn
    end.writer.flush()
    assert end.writer.size == 0
    end.turn()


# --- Back-pressure ------------------------------------------------------------------------


def test_size_is_what_the_peer_has_not_taken_yet(narrow: End) -> None:
    writer = narrow.writer
    writer.send(bytes(13))
    assert (writer.waiting, writer.size) == (False, 13)  # corked
    writer.flush()
    assert (writer.waiting, writer.size) == (True, 3)
    narrow.take(2)
    assert (writer.waiting, writer.size) == (True, 1)
    assert narrow.events == []
    narrow.take(1)
    assert (writer.waiting, writer.size) == (False, 0)
    assert narrow.events == ["resumed"]


def test_who_waits_is_told_before_the_protocol_goes_on(narrow: End) -> None:
    writer = narrow.writer
    writer.send(bytes(20))
    future = writer.flushed()
    future.add_done_callback(lambda future: narrow.events.append("future"))
    writer.set_callback(narrow.note("callback"), writer.close)
    narrow.turn()
    assert narrow.events == [] and not future.done()
    narrow.take(10)
    assert narrow.events == ["callback", "resumed", "future"]


def test_resume_is_taken_back_by_the_next_pause(narrow: End) -> None:
    # uvloop resumes and pauses in one turn: the kernel took all, and then no more.
    narrow.writer.pause()
    narrow.writer.resume(narrow.note("resumed"))
    narrow.writer.pause()
    narrow.turn()
    assert narrow.writer.waiting
    assert narrow.events == []


def test_bytes_taken_changes_with_each_byte_that_the_peer_takes(narrow: End) -> None:
    narrow.writer.send(bytes(20))
    narrow.writer.flush()
    seen = [narrow.writer.bytes_taken]
    for _ in range(3):
        narrow.take(2)
        seen.append(narrow.writer.bytes_taken)
    assert seen == sorted(set(seen))
    narrow.turn()
    assert narrow.writer.bytes_taken == seen[-1]


def test_bytes_that_are_written_meanwhile_are_not_taken_for_progress(narrow: End) -> None:
    narrow.writer.send(bytes(20))
    narrow.writer.flush()
    before = narrow.writer.bytes_taken
    narrow.writer.send(bytes(5))
    narrow.writer.flush()
    assert narrow.writer.bytes_taken == before


def test_every_byte_that_is_written_is_counted(narrow: End) -> None:
    counts: list[int] = []
    narrow.writer.count_sent = counts.append
    for size in (3, 4):
        narrow.writer.send(bytes(size))
    narrow.turn()
    narrow.writer.send(bytes(LARGE + 1))
    assert counts == [7, LARGE + 1]
    assert narrow.transport.writes == [bytes(7), bytes(LARGE + 1)]


# --- Futures and callbacks ------------------------------------------------------------------


def test_future_is_done_when_all_has_left(end: End) -> None:
    end.writer.send(b"x")
    futures = [end.writer.flushed(), end.writer.flushed()]
    assert not any(future.done() for future in futures)
    end.turn()
    assert [future.result() for future in futures] == [None, None]
    assert end.transport.taken == b"x"


def test_cancelled_future_hurts_nobody(narrow: End) -> None:
    narrow.writer.send(bytes(20))
    cancelled, other = narrow.writer.flushed(), narrow.writer.flushed()
    narrow.turn()
    cancelled.cancel()
    narrow.take(10)
    assert other.result() is None


def test_callback_runs_from_the_loop_and_replaces_an_earlier_one(end: End) -> None:
    end.writer.set_callback(end.note("first"), end.writer.close)
    end.writer.set_callback(end.note("second"), end.writer.close)
    assert end.events == []
    end.turn()
    assert end.events == ["second"]


def test_callback_that_was_taken_back_does_not_run(end: End) -> None:
    end.writer.set_callback(end.note("it ran"), end.writer.close)
    end.writer.set_callback(None, end.writer.close)
    end.turn()
    assert end.events == []


def test_callback_may_set_the_next_one(end: End) -> None:
    def first() -> None:
        end.events.append("first")
        end.writer.set_callback(end.note("second"), end.writer.close)

    end.writer.set_callback(first, end.writer.close)
    end.turn()
    assert end.events == ["first", "second"]


def test_failing_callback_is_logged_and_closes(end: End, logs: Logs) -> None:
    end.writer.send(b"x")
    end.writer.set_callback(fail, end.writer.close)
    end.turn()
    assert logs.errors() == ["Uncaught exception, closing connection."]
    assert end.transport.taken == b"x"
    assert end.writer.gone


# --- Ending ---------------------------------------------------------------------------------


def test_end_sends_what_was_written_then_the_end(end: End) -> None:
    end.writer.send(b"last")
    assert end.writer.end()
    assert end.transport.taken == b"last"
    assert end.transport.eof_written and not end.transport.closing
    assert end.writer.ended and not end.writer.closed


def test_closed_writer_does_not_end(end: End) -> None:
    end.writer.close()
    assert not end.writer.end()
    assert not end.transport.eof_written
    end.turn()


def test_ending_what_the_peer_has_reset_is_no_error(end: End) -> None:
    end.transport.reset_unseen = True
    assert not end.writer.end()
    assert not end.writer.ended


def test_close_sends_what_was_written(end: End) -> None:
    end.writer.send(b"last")
    end.writer.close()
    end.writer.close()
    end.turn()
    assert end.transport.taken == b"last"
    assert end.writer.gone and end.writer.error is None


def test_close_waits_for_the_peer_to_take_what_was_written(narrow: End) -> None:
    narrow.writer.send(bytes(100))
    narrow.writer.close()
    narrow.turn()
    assert (narrow.writer.closed, narrow.writer.gone, narrow.writer.size) == (True, False, 90)
    narrow.take(30)
    assert (narrow.writer.gone, narrow.writer.size) == (False, 60)
    narrow.take(60)
    assert narrow.writer.gone
    assert len(narrow.transport.taken) == 100


def test_abort_drops_what_was_written(narrow: End) -> None:
    narrow.writer.send(bytes(100))
    narrow.writer.abort()
    assert narrow.writer.closed and narrow.transport.aborted
    narrow.turn()
    assert narrow.transport.writes == []
    assert narrow.writer.gone


def test_reset_is_an_abort_that_the_peer_takes_for_no_orderly_end(end: End) -> None:
    end.writer.send(b"half")
    end.writer.reset()
    # No seconds to linger: the kernel drops what it holds and sends RST.
    linger = (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert end.transport.socket.options == [linger]
    assert end.transport.aborted
    end.turn()
    assert end.transport.writes == []


@pytest.mark.parametrize("how", ["close", "end"])
def test_what_is_ended_refuses_writes_and_keeps_nothing_of_them(end: End, how: str) -> None:
    getattr(end.writer, how)()
    with pytest.raises(StreamClosedError, match="Stream is closed"):
        end.writer.send(b"x")
    assert end.writer.size == 0
    future = end.writer.flushed()
    assert isinstance(future.exception(), StreamClosedError)
    end.turn()


def test_corked_bytes_of_a_closed_connection_are_dropped(end: End) -> None:
    end.writer.corked = True
    end.writer.close()
    end.writer.send(b"x")  # the exchange notices when it is over
    end.writer.flush()
    end.turn()
    assert end.transport.writes == []


def test_loss_fails_who_waits_with_its_reason_and_calls_nobody_back(narrow: End) -> None:
    error = ConnectionResetError()
    narrow.writer.send(bytes(20))
    future = narrow.writer.flushed()
    narrow.writer.set_callback(narrow.note("it ran"), narrow.writer.close)
    narrow.turn()
    narrow.transport.lose(error)
    narrow.turn()
    failure = future.exception()
    assert isinstance(failure, StreamClosedError) and failure.real_error is error
    assert narrow.events == []
    assert narrow.writer.error is error and narrow.writer.gone and not narrow.writer.waiting
    with pytest.raises(StreamClosedError) as caught:
        narrow.writer.send(b"x")
    assert caught.value.real_error is error


def test_error_that_closed_it_stays_when_the_connection_is_lost(end: End) -> None:
    mine = ValueError("mine")
    end.writer.error = mine
    end.writer.lost(ConnectionResetError())
    assert end.writer.error is mine


def test_error_does_not_keep_what_was_there_when_it_happened(end: End) -> None:
    try:
        raise ConnectionResetError
    except ConnectionResetError as error:
        end.writer.lost(error)
        assert end.writer.error is error and error.__traceback__ is None


def test_resume_that_was_planned_does_not_follow_a_loss(narrow: End) -> None:
    narrow.writer.pause()
    narrow.writer.resume(narrow.note("resumed"))
    narrow.writer.lost(None)
    narrow.turn()
    assert narrow.events == []
