"""What is written to one transport: corked, flushed, and waiting for the kernel.

Writes that are made while a read is dealt with, or in one callback of the loop, are corked:
they leave in one ``transport.write``.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import socket
import struct
import sys
from collections.abc import Callable
from contextvars import Context
from typing import IO, Any

from fasthttpserver._net.sockets import unacknowledged
from fasthttpserver.errors import StreamClosedError
from fasthttpserver.log import app_log

__all__ = ["Writer"]

# A corked chunk of this size, or this many of them, leave at once: joining large chunks
# costs a copy of them, and a cork must not hold more than the client may take.
_LARGE_CHUNK = 65_536
_MANY_CHUNKS = 64
# A file is sent in pieces of so many bytes, each of which is progress for the deadline.
_FILE_PIECE = 1 << 20


class Writer:
    """The writing side of one connection.

    The protocol of the transport passes ``pause_writing``, ``resume_writing`` and
    ``connection_lost`` on to it.

    Args:
        loop: That of the transport.
        transport: Where the bytes go. Its limits are 0, ``set_write_buffer_limits(0, 0)``. High:
            we are told at once that bytes wait. Low: that the last one has left.
    """

    __slots__ = (
        "_callback",
        "_file",
        "_futures",
        "_loop",
        "_resume",
        "_scheduled",
        "_transport",
        "_written",
        "chunks",
        "closed",
        "corked",
        "count_sent",
        "ended",
        "error",
        "gone",
        "waiting",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: Any) -> None:
        self._loop = loop
        self._transport = transport
        # What was written and not handed to the transport yet.
        self.chunks: list[bytes] = []
        self.corked = False  # somebody will flush
        self.waiting = False  # the kernel takes no more for now
        self.ended = False  # nothing is written any more, and the peer is told so
        self.closed = False
        self.gone = False  # the connection has ended
        self.error: BaseException | None = None  # that ended it
        # What runs when all has left, and what closes if that fails.
        self._callback: tuple[Callable[[], object], Callable[[], object]] | None = None
        self._futures: list[asyncio.Future[None]] | None = None  # few need it
        self._resume: asyncio.Handle | None = None  # the call that ends the waiting
        self._scheduled = False  # _tell_flushed() will be called
        self._written = 0
        # Is told of bytes that are sent, but for those that others give to the transport.
        self.count_sent: Callable[[int], None] | None = None
        self._file: asyncio.Future[int] | None = None  # what the kernel sends by itself

    # --- Sending ------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Send bytes, in the order of the calls, and never mind when they leave.

        Raises:
            StreamClosedError: It is closed. While it is corked, the bytes may be dropped
                without it.
        """
        chunks = self.chunks
        chunks.append(data)
        if not self.corked or len(data) > _LARGE_CHUNK or len(chunks) > _MANY_CHUNKS:
            self._send_soon()

    def _send_soon(self) -> None:
        if self.closed or self.ended:
            self.chunks.clear()
            raise StreamClosedError(self.error)
        if len(self.chunks[-1]) > _LARGE_CHUNK or len(self.chunks) > _MANY_CHUNKS:
            self.flush()
        elif not self._scheduled:
            self._tell_soon()

    def flush(self) -> None:
        """Hand what is corked to the transport now."""
        chunks = self.chunks
        if chunks and not self.closed and self._file is None:
            data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            chunks.clear()
            if self._transport.is_closing():
                return  # the peer has reset it just now; asyncio would warn of each write
            self._add_written(len(data))
            self._transport.write(data)

    def _add_written(self, size: int) -> None:
        self._written += size
        if self.count_sent is not None:
            self.count_sent(size)

    # --- Files ----------------------------------------------------------------------------

    async def send_file(
        self,
        file: IO[bytes],
        offset: int,
        count: int,
        then: Callable[[], None],
        context: Context,
    ) -> int:
        """Send a part of a file, and wait until it has left.

        What is written meanwhile leaves after it.

        Args:
            file: With a position that may be set.
            offset, count: Which bytes of it.
            then: As for ``resume``.
            context: In which the kernel is asked: asyncio pauses reading for that, and then
                reads in the context in which it goes on.

        Returns:
            How many bytes were sent: fewer if the file has no more.

        Raises:
            StreamClosedError: The peer has gone.
        """
        sent = 0
        # A small one leaves together with its head. And what has the descriptor of a file need
        # not have its bytes: gzip.GzipFile has not.
        if count > _LARGE_CHUNK and isinstance(getattr(file, "raw", file), io.FileIO):
            sent = await self._send_by_kernel(file, offset, count, then, context)
        file.seek(offset + sent)
        while sent < count and (piece := file.read(min(_LARGE_CHUNK, count - sent))):
            self.send(piece)
            await self.flushed()
            sent += len(piece)
        return sent

    async def _send_by_kernel(
        self,
        file: IO[bytes],
        offset: int,
        count: int,
        then: Callable[[], None],
        context: Context,
    ) -> int:
        """Send what can be sent without being read: of a real file, on plain TCP and asyncio."""
        await self.flushed()
        sent = 0
        self.pause()
        try:
            while sent < count:
                self._file = context.run(
                    self._loop.create_task,
                    self._loop.sendfile(
                        self._transport,
                        file,
                        offset + sent,
                        min(count - sent, _FILE_PIECE),
                        fallback=False,
                    ),
                )
                piece = await self._file
                if not piece:
                    break
                sent += piece
                self._add_written(piece)
        except (NotImplementedError, RuntimeError):
            pass  # uvloop, TLS, a file that the system does not know
        except ConnectionError as error:
            raise StreamClosedError(error) from error
        except asyncio.CancelledError:
            if self.closed:
                raise StreamClosedError(self.error) from None
            raise
        finally:
            self._file = None
            if not self.closed:
                self.flush()
                if not self._transport.get_write_buffer_size():  # or the transport will say so
                    self.resume(then)
        return sent

    def _stop_file(self) -> None:
        # It has to be over when the transport closes its socket, or it would never be.
        if self._file is not None:
            self._file.cancel()

    # --- Back-pressure --------------------------------------------------------------------

    def pause(self) -> None:
        """Take note that the kernel takes no more: the transport's ``pause_writing``."""
        self.waiting = True
        self._cancel_resume()

    def resume(self, then: Callable[[], None]) -> None:
        """Take note that all has been taken: the transport's ``resume_writing``.

        Args:
            then: Called when those that wait for it have been told.
        """
        # Not now: asyncio looks at its own state again after this call, and would close
        # twice what is closed in here.
        self._resume = self._loop.call_soon(self._resumed, then)

    def _resumed(self, then: Callable[[], None]) -> None:
        self._resume = None
        self.waiting = False
        if self.ended and not self.closed and not self._send_eof():
            self.abort()
        if self._callback is not None or self._futures:
            self._tell_flushed()
        then()

    def _cancel_resume(self) -> None:
        if self._resume is not None:
            self._resume.cancel()
            self._resume = None

    def flushed(self) -> asyncio.Future[None]:
        """Return a future that is done when all that was written has left.

        Its exception, if it is closed before, is a ``StreamClosedError``.
        """
        future: asyncio.Future[None] = self._loop.create_future()
        if self.closed or self.ended:
            _fail(future, self.error)
        else:
            if self._futures is None:
                self._futures = []
            self._futures.append(future)
            if not self._scheduled:
                self._tell_soon()
        return future

    def flush_now(self) -> asyncio.Future[None]:
        """Flush, unless it is corked, and return a future as ``flushed`` does.

        It is done already if the kernel has taken everything.
        """
        if self.corked or self.closed or self.ended:
            return self.flushed()
        self.flush()
        if self.waiting or self.closed:
            return self.flushed()
        future: asyncio.Future[None] = self._loop.create_future()
        future.set_result(None)
        return future

    def set_callback(
        self, callback: Callable[[], object] | None, close: Callable[[], object]
    ) -> None:
        """Have `callback` called from the loop when all has left; it replaces an earlier one.

        Args:
            callback: None for none.
            close: Called if it raises.
        """
        self._callback = None if callback is None else (callback, close)
        if callback is not None and not self._scheduled:
            self._tell_soon()

    def _tell_soon(self) -> None:
        """Flush in the next turn of the loop, and tell those that wait for that."""
        self._scheduled = True
        self._loop.call_soon(self._tell_flushed)

    def _tell_flushed(self) -> None:
        self._scheduled = False
        if self.chunks:
            self.flush()
        if self.waiting or self.closed:
            return
        if self._futures is not None:
            for future in self._take_futures():
                future.set_result(None)
        waiting, self._callback = self._callback, None
        if waiting is not None:
            callback, close = waiting
            try:
                callback()
            except Exception:
                app_log.error("Uncaught exception, closing connection.", exc_info=True)
                close()

    def _take_futures(self) -> list[asyncio.Future[None]]:
        futures, self._futures = self._futures, None
        return [future for future in futures or () if not future.done()]

    @property
    def bytes_taken(self) -> int:
        """A number that changes with each byte that the peer takes while some wait."""
        waiting = int(self._transport.get_write_buffer_size()) + self.unacknowledged
        return self._written - waiting

    @property
    def unacknowledged(self) -> int:
        """How many bytes the kernel holds that have not arrived; see ``sockets``."""
        return unacknowledged(self._transport.get_extra_info("socket"))

    @property
    def size(self) -> int:
        """How many bytes wait to be taken by the kernel."""
        return int(self._transport.get_write_buffer_size()) + sum(map(len, self.chunks))

    # --- Ending -------------------------------------------------------------------------

    def end(self) -> bool:
        """Send what was written, then the end of it; False if the peer has reset it."""
        if self.closed:
            return False
        self.flush()
        # Not yet, if some waits: asyncio would do it later, and log that the peer has reset it.
        self.ended = self.waiting or self._send_eof()
        return self.ended

    def _send_eof(self) -> bool:
        try:
            self._transport.write_eof()
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Send what was written, then close."""
        if not self.closed:
            self.flush()
            self.closed = True
            self._stop_file()
            self._transport.close()

    def abort(self) -> None:
        """Close at once: what was not handed to the kernel is dropped."""
        self.chunks.clear()
        self.closed = True
        self._stop_file()
        self._transport.abort()

    def reset(self) -> None:
        """Close at once, and let the peer see that it was not an orderly end."""
        sock = self._transport.get_extra_info("socket")
        if sock is not None:
            # The kernel would go on delivering what it holds, and then send FIN: a response
            # that ends with the connection would look complete.
            shape = "hh" if sys.platform == "win32" else "ii"
            with contextlib.suppress(OSError, ValueError):  # it is closed: asyncio's, uvloop's
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack(shape, 1, 0))
        self.abort()

    def lost(self, error: Exception | None) -> None:
        """Take note of the end: the transport's ``connection_lost``."""
        self.closed = self.gone = True
        self._stop_file()
        self.waiting = False
        self._cancel_resume()
        self.chunks.clear()
        if self.error is None:
            # Without the traceback: its frames would hold all that was there at the write.
            self.error = error and error.with_traceback(None)
        self._callback = None
        for future in self._take_futures():
            _fail(future, error)


def _fail(future: asyncio.Future[None], error: BaseException | None) -> None:
    future.set_exception(StreamClosedError(error))
    future.exception()  # writing to a client that has disconnected is not a mistake
