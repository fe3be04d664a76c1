"""How a stream reads: up to a number of bytes, a delimiter, a pattern or the end.

This is the reading half of ``IOStream`` for code that detaches a connection, in Tornado's
two styles: with a callback, or with a future to await. One read is pending at a time, and a
callback never runs before the call that gave it returns.
"""

from __future__ import annotations

import asyncio
import functools
import math
import operator
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fasthttpserver.errors import StreamClosedError, UnsatisfiableReadError
from fasthttpserver.log import app_log, gen_log

if TYPE_CHECKING:
    from fasthttpserver._net.streams import IOStream

__all__ = ["BufferedReader"]

# A regular expression may match anything, so a search of it begins at the start of the buffer.
# Were that done for each segment, n bytes in small ones would cost n². So a buffer of more than
# so many bytes is searched when it is twice as long as at the last search. Otherwise what is
# there is searched after a pause, as nothing more may come: so many times as long as the last
# search took, but at most so many seconds.
_SEARCHED_AT_ONCE = 4096
_PAUSE = 9
_LONGEST_PAUSE = 0.25

# Finds where the piece that is wanted ends: (bytes, how far they were searched) to the
# length of the piece, or None while it is not all there.
Finder = Callable[[bytearray, int], int | None]


class BufferedReader:
    """What was received and not read yet, and the read that waits for more.

    Args:
        stream: Where the bytes come from; reading pauses while nobody wants them.
        data: What came before.
        max_size: Bytes that may be buffered; a read that needs more cannot be satisfied.
        read_ahead: Bytes that may be buffered while no read is pending.
        eof: Whether nothing more will come.
    """

    def __init__(
        self, stream: IOStream, data: bytes, max_size: int, read_ahead: int, eof: bool = False
    ) -> None:
        self._stream = stream
        self._buffer = bytearray(data)
        self._max_size = max_size
        self._read_ahead = read_ahead
        self._find: Finder | None = None
        self._searched = 0
        self._rescans = False
        self._pause: asyncio.TimerHandle | None = None  # when a regex is searched again
        self._deliver: Callable[[bytes], object] | None = None
        self._future: asyncio.Future[bytes] | None = None
        self._streaming: Callable[[bytes], object] | None = None
        self._wanted: float = 0  # bytes that a streaming read still wants
        self._until_close = False
        self._eof = eof
        self._paused = False  # reading from the transport

    # --- What the stream tells ----------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._advance()

    def eof_received(self) -> None:
        self._eof = True
        self._advance()

    def connection_lost(self) -> None:
        self._eof = True
        self._advance()

    def release(self) -> bytes:
        """Return what was received and not read."""
        return self._take(len(self._buffer))

    # --- Reading ------------------------------------------------------------------------

    @property
    def reading(self) -> bool:
        """Whether a read is pending."""
        if self._future is not None and self._future.cancelled():
            self._forget()  # by asyncio.wait_for(), for instance; the bytes stay here
        return self._find is not None

    def read(
        self,
        find: Finder,
        callback: Callable[[bytes], object] | None,
        streaming: Callable[[bytes], object] | None = None,
        wanted: float = math.inf,
        until_close: bool = False,
        rescans: bool = False,
    ) -> asyncio.Future[bytes] | None:
        """Begin a read.

        Args:
            find: Finds the end of the piece.
            callback: Called with it; None to return a future.
            streaming: Called with every part that comes instead; the end is told with b"".
            wanted: How many bytes a streaming read wants.
            until_close: The end of the connection ends the piece too.
            rescans: `find` begins at the start of the buffer each time.

        Raises:
            AssertionError: A read is pending.
            StreamClosedError: The stream is closed and the piece is not here.
        """
        if self._find is not None and self.reading:
            raise AssertionError("Already reading")
        if self._paused:
            self._paused = False
            self._stream.resume_reading()
        future = None
        if callback is None:
            future = self._stream.loop.create_future()
            if streaming is None and not rescans:
                size = find(self._buffer, 0)
                if size is not None:  # it is here, and nobody has to be called
                    future.set_result(self._take(size))
                    return future
            self._future = future
        self._find, self._deliver, self._streaming = find, callback, streaming
        self._wanted = wanted
        self._until_close = until_close
        self._rescans = rescans
        if self._closed and find(self._buffer, 0) is None and not until_close:
            error = StreamClosedError(self._stream.error)
            self._forget()
            if future is None:
                raise error
            future.set_exception(error)
            future.exception()  # the caller may not care
            return future
        if future is None or streaming is not None or rescans or self._closed or self._is_full:
            self._stream.loop.call_soon(self._advance)  # it may be here, or no bytes be wanted
        else:
            self._searched = len(self._buffer)
        return future

    @property
    def _is_full(self) -> bool:
        most = self._read_ahead if self._find is None else self._max_size
        return len(self._buffer) > most

    @property
    def _closed(self) -> bool:
        return self._eof or self._stream.closed()

    def _advance(self) -> None:
        """Deliver what the pending read wants, if it is here."""
        if self.reading:
            self._satisfy()
        if self._is_full:
            if self._find is None:
                self._paused = True
                self._stream.pause_reading()
            else:
                gen_log.info("Reached maximum read buffer size")
                self._stream.close(UnsatisfiableReadError("the wanted piece is too long"))
                self._fail()

    def _satisfy(self) -> None:
        assert self._find is not None
        if self._streaming is not None:
            part = self._take(int(min(self._wanted, len(self._buffer))))
            self._wanted -= len(part)
            if part:
                self._run(self._streaming, part)
            size = None if self._wanted else 0
        elif self._pause is not None and not self._is_time_to_search():
            return
        else:
            size = self._search()
        if size is not None:
            self._hand_over(size)
        elif not self._closed:
            self._searched = len(self._buffer)
        elif self._until_close:
            self._hand_over(len(self._buffer))
        else:
            self._fail()

    def _search(self) -> int | None:
        assert self._find is not None
        began = time.perf_counter()
        size = self._find(self._buffer, self._searched)
        if size is None and self._rescans and len(self._buffer) > _SEARCHED_AT_ONCE:
            pause = min(_PAUSE * (time.perf_counter() - began), _LONGEST_PAUSE)
            self._end_pause()
            self._pause = self._stream.loop.call_later(pause, self._pause_is_over)
        return size

    def _is_time_to_search(self) -> bool:
        size = len(self._buffer)
        return size >= 2 * self._searched or size > self._max_size or self._closed

    def _pause_is_over(self) -> None:
        self._pause = None
        if len(self._buffer) > self._searched:
            self._advance()

    def _end_pause(self) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None

    def _hand_over(self, size: int) -> None:
        data = self._take(size)
        callback, future = self._deliver, self._future
        self._forget()
        if future is not None:
            if not future.done():
                future.set_result(data)
        elif callback is not None:
            self._run(callback, data)

    def _fail(self) -> None:
        future = self._future
        self._forget()
        if future is not None and not future.done():
            future.set_exception(StreamClosedError(self._stream.error))
            future.exception()  # the caller may not care

    def _forget(self) -> None:
        self._find = self._deliver = self._future = self._streaming = None
        self._until_close = self._rescans = False
        self._start_over()

    def _start_over(self) -> None:
        self._searched = 0
        self._end_pause()

    def _take(self, size: int) -> bytes:
        data = bytes(memoryview(self._buffer)[:size])
        del self._buffer[:size]
        self._start_over()
        return data

    def _run(self, callback: Callable[[bytes], object], data: bytes) -> None:
        try:
            callback(data)
        except Exception:
            app_log.error("Uncaught exception, closing connection.", exc_info=True)
            self._stream.close()


# --- Finders ------------------------------------------------------------------------------


@functools.lru_cache(maxsize=256, typed=True)  # one protocol reads few sizes, again and again
def count(size: int, partial: bool = False) -> Finder:
    """Find a number of bytes; with `partial`, up to that many but at least one."""
    if operator.index(size) < 0:
        raise ValueError(f"cannot read {size} bytes")

    def find(buffer: bytearray, searched: int) -> int | None:
        if partial and buffer:
            return min(size, len(buffer))
        return size if len(buffer) >= size else None

    return find


def delimiter(mark: bytes) -> Finder:
    """Find up to and with a mark."""
    if not isinstance(mark, bytes):
        raise TypeError(f"a delimiter is bytes, not {type(mark).__name__}")
    if not mark:
        raise ValueError("an empty delimiter")

    def find(buffer: bytearray, searched: int) -> int | None:
        at = buffer.find(mark, max(0, searched - len(mark) + 1))
        return None if at < 0 else at + len(mark)

    return find


def pattern(regex: bytes | re.Pattern[bytes]) -> Finder:
    """Find up to and with what a regular expression matches."""
    compiled: Any = re.compile(regex)
    if not isinstance(compiled.pattern, bytes):
        raise TypeError("a regular expression for bytes is needed, not one for text")

    def find(buffer: bytearray, searched: int) -> int | None:
        match = compiled.search(buffer)
        return None if match is None else int(match.end())

    return find


def never(buffer: bytearray, searched: int) -> int | None:
    """Find nothing: the end of the connection is the end of the piece."""
    return None
