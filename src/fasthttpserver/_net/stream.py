"""Events of one asyncio transport come in; bytes to one receiver, and to the peer, go out.

A ``Stream`` is the asyncio protocol of one connection, and what the server needs of it.
What it hears it tells its receiver, most often an ``HTTPConnection``. Writes that are made
while a read is being dealt with, or in one callback of the loop, are corked: they leave
together.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any, Protocol

from fasthttpserver._net import readers as _reader
from fasthttpserver._net.sockets import unacknowledged, unread
from fasthttpserver.errors import StreamClosedError
from fasthttpserver.log import app_log

__all__ = ["Receiver", "Stream", "run_close_callback"]

# A corked chunk of this size, or this many of them, leave at once: joining large chunks
# costs a copy of them, and a cork must not hold more than the client may take.
_LARGE_CHUNK = 65_536
_MANY_CHUNKS = 64

# Seconds for a peer to take what is left, behind close() of a stream that was taken over.
_CLOSE_TIMEOUT = 60.0

# Bytes that are read from the socket while nobody has asked for them.
_READ_AHEAD = 65_536


class Receiver(Protocol):
    """What a stream tells of its peer. Calls come from the event loop."""

    def data_received(self, data: bytes) -> None: ...

    def eof_received(self) -> bool:
        """The peer will send no more. True keeps the stream open for writing."""
        ...

    def blocked(self) -> None:
        """The kernel takes no more of what was written for now."""

    def bypassed(self) -> None:
        """The application is about to write to the stream itself."""

    def hand_over(self) -> None:
        """Write what is held back: the application is about to use the stream itself."""

    def closing(self) -> None:
        """The stream was closed from our side; ``connection_lost`` follows."""

    def drained(self) -> None:
        """All that was written has been handed to the kernel, after it had to wait."""

    def connection_lost(self, error: Exception | None) -> None: ...

    def release(self) -> bytes:
        """The stream is taken over: return what was received and not used, and let go."""
        ...


class Stream(asyncio.Protocol):
    """One connection: write to it, close it, be told what its peer does.

    Its arguments are those of ``IOStream``.
    """

    # What came before the receiver and was not told it yet; few need a place for it.
    _ahead = b""

    __slots__ = (
        "__dict__",  # applications keep their own things here
        "__weakref__",
        "_close_callback",
        "_close_timer",
        "_drain_callback",
        "_drain_futures",
        "_eof",
        "_closed",
        "_connected",
        "_receiver",
        "_resume",
        "_shut",
        "_transport",
        "_written_waiting",
        "address",
        "chunks",
        "corked",
        "data_received",
        "error",
        "io_loop",
        "loop",
        "max_buffer_size",
        "transport_write",
        "waiting",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        address: Any,
        connected: Callable[[Any], None],
        io_loop: object = None,
        max_buffer_size: int = 104_857_600,
    ) -> None:
        self.loop = loop
        self.address = address
        self.io_loop = loop if io_loop is None else io_loop
        self._written_waiting = 0
        self.error: BaseException | None = None
        self._connected: Callable[[Any], None] | None = connected
        self._receiver: Receiver | None = None
        # A method of the protocol, of which each stream has its own.
        self.data_received: Callable[[bytes], None] = _not_connected  # type: ignore[assignment]
        self._transport: Any = None
        # Takes bytes, while the stream is open, nothing waits and nothing is in `chunks`.
        self.transport_write: Callable[[bytes], None] = _not_connected
        self._close_callback: Callable[[], object] | None = None
        self._eof = False  # the peer has said that it sends no more
        self._drain_callback: Callable[[], object] | None = None
        self._drain_futures: list[asyncio.Future[None]] | None = None  # few need it
        self.max_buffer_size = max_buffer_size
        # What was written and not handed to the transport yet. A receiver may cork it, append
        # to it, and flush it.
        self.chunks: list[bytes] = []
        self.corked = False
        # The kernel takes no more for now; Receiver.drained tells when it has taken all.
        self.waiting = False
        self._resume: asyncio.Handle | None = None  # the call that ends the waiting
        self._close_timer: asyncio.TimerHandle | None = None
        self._closed = True
        self._shut = False  # nothing is written any more, and the peer is told so

    def wake_receiver(self) -> None:
        """Have the receiver deal, in a later turn of the loop, with a read of no bytes."""
        self.loop.call_soon(self._wake)

    def _wake(self) -> None:
        if not self._closed:
            self.data_received(b"")

    def set_receiver(self, receiver: Receiver) -> None:
        """Say who is told from now on; of what came before too, once this has returned."""
        before = self._receiver
        if isinstance(before, _reader.BufferedReader):
            self._ahead = before.release()
            self.resume_reading()  # it may have paused
        self._tell(receiver)
        if self._ahead:
            self._hear(self._tell_ahead)
            self.wake_receiver()

    def _tell(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._hear(receiver.data_received)

    def _hear(self, data_received: Callable[[bytes], None]) -> None:
        # The transport calls the receiver itself: one call less for each read.
        self.data_received = data_received
        if not self._closed:
            self._transport.set_protocol(self)  # uvloop has kept the method

    def _tell_ahead(self, data: bytes) -> None:
        """Tell the receiver what came before it, and what comes now."""
        assert self._receiver is not None
        ahead, self._ahead = self._ahead, b""
        self._hear(self._receiver.data_received)
        self.data_received(ahead + data)

    def _buffer_data(self, data: bytes) -> None:
        # Nobody is told yet: a handle_stream() that takes its time.
        self._buffered().data_received(data)

    # --- What the transport tells -------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        # The transport's own tuple rather than accept()'s equal one: 150 bytes a connection.
        self.address = transport.get_extra_info("peername") or self.address
        self.transport_write = self._transport.write
        self._closed = False
        # High: we are told at once that bytes wait. Low: that the last one has left.
        self._transport.set_write_buffer_limits(high=0, low=0)
        connected, self._connected = self._connected, None
        if connected is not None:
            connected(self)
        if self._receiver is None:
            self._hear(self._buffer_data)

    def eof_received(self) -> bool:
        if self._ahead:
            self.data_received(b"")
        self._eof = True
        keep_open = self._receiver is not None and self._receiver.eof_received()
        if not keep_open:
            self.close()  # as the transport will be, so that closed() tells
        return not self._closed

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed = True
        self.waiting = False
        self._cancel_resume()
        if self._close_timer is not None:
            self._close_timer.cancel()
        self.chunks.clear()
        if self.error is None:
            # Without the traceback: its frames would hold all that was there at the write.
            self.error = exc and exc.with_traceback(None)
        receiver = self._receiver
        if receiver is not None:
            receiver.connection_lost(exc)
        if not isinstance(receiver, _reader.BufferedReader):
            # No cycle; what was read ahead may still be asked for.
            self._receiver = None
            self.data_received = _not_connected
        self._drain_callback = None
        for future in self._take_futures():
            future.set_exception(StreamClosedError(exc))
            future.exception()  # writing to a client that left is no mistake
        self.run_close_callback()

    def pause_writing(self) -> None:
        self.waiting = True
        self._cancel_resume()
        if self._receiver is not None:
            self._receiver.blocked()

    def resume_writing(self) -> None:
        # Not now: asyncio looks at its own state again behind this call, and would close
        # twice what is closed in here.
        self._resume = self.loop.call_soon(self._resumed)

    def _cancel_resume(self) -> None:
        if self._resume is not None:
            self._resume.cancel()
            self._resume = None

    def _resumed(self) -> None:
        self._resume = None
        self.waiting = False
        if self._drain_callback is not None or self._drain_futures:
            self._drained()
        if self._receiver is not None:
            self._receiver.drained()

    # --- Writing ----------------------------------------------------------------------

    def drained_future(self) -> asyncio.Future[None]:
        """Return a future that is done when all that was written has left.

        Its exception, if the stream is closed before, is a ``StreamClosedError``.
        """
        future: asyncio.Future[None] = self.loop.create_future()
        if self.closed():
            future.set_exception(StreamClosedError(self.error))
            future.exception()  # writing to a client that left is no mistake
        else:
            if self._drain_futures is None:
                self._drain_futures = []
            self._drain_futures.append(future)
            self.loop.call_soon(self._drained)
        return future

    def _drained(self) -> None:
        self.flush()
        if self.waiting or self._closed:
            return
        for future in self._take_futures():
            future.set_result(None)
        callback, self._drain_callback = self._drain_callback, None
        if callback is not None:
            try:
                callback()
            except Exception:
                app_log.error("Uncaught exception, closing connection.", exc_info=True)
                self.close()

    def _take_held_back(self) -> None:
        if self._receiver is not None:
            self._receiver.hand_over()

    def _take_futures(self) -> list[asyncio.Future[None]]:
        futures, self._drain_futures = self._drain_futures, None
        return [future for future in futures or () if not future.done()]

    def send(self, data: bytes) -> None:
        """Send bytes, in the order of the calls, and never mind when they leave.

        Raises:
            StreamClosedError: The stream is closed. While a read is dealt with, the bytes
                may be dropped without it.
        """
        chunks = self.chunks
        chunks.append(data)
        if not self.corked or len(data) > _LARGE_CHUNK or len(chunks) > _MANY_CHUNKS:
            self._send_soon()

    def _send_soon(self) -> None:
        if self._closed or self._shut:
            self.chunks.clear()
            raise StreamClosedError(self.error)
        if len(self.chunks[-1]) > _LARGE_CHUNK or len(self.chunks) > _MANY_CHUNKS:
            self.flush()
        elif len(self.chunks) == 1:
            self.loop.call_soon(self.flush)

    def count_writes(self, add: Callable[[int], None]) -> None:
        """Have `add` called with the number of bytes of each write, from now on."""
        write = self.transport_write

        def counted(data: bytes) -> None:
            add(len(data))
            write(data)

        self.transport_write = counted

    def flush(self) -> None:
        """Hand what is corked to the transport now."""
        chunks = self.chunks
        if chunks and not self._closed:
            data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            chunks.clear()
            if self._transport.is_closing():
                return  # the peer has reset it just now; asyncio would warn of each write
            if self.waiting:
                self._written_waiting += len(data)
            self.transport_write(data)

    @property
    def bytes_taken(self) -> int:
        """A number that changes with each byte that the peer takes while the stream waits."""
        waiting = int(self._transport.get_write_buffer_size()) + self.unacknowledged
        return self._written_waiting - waiting

    @property
    def unacknowledged(self) -> int:
        """How many bytes the kernel holds that have not arrived; see ``_sockets``."""
        return unacknowledged(self._transport.get_extra_info("socket"))

    @property
    def unread(self) -> int:
        """How many bytes of the peer's the kernel holds; see ``_sockets``."""
        return unread(self._transport.get_extra_info("socket"))

    # --- Reading ----------------------------------------------------------------------

    def pause_reading(self) -> None:
        """Leave what the peer sends in the kernel, so that it has to wait."""
        if not self._closed:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        if not self._closed and not self._transport.is_closing():
            self._transport.resume_reading()

    def _buffered(self) -> _reader.BufferedReader:
        receiver = self._receiver
        if isinstance(receiver, _reader.BufferedReader):
            return receiver
        rest = b"" if receiver is None else receiver.release()
        rest += self._ahead
        self._ahead = b""
        reader = _reader.BufferedReader(self, rest, self.max_buffer_size, _READ_AHEAD, self._eof)
        self._tell(reader)
        self.resume_reading()
        return reader

    # --- Closing ----------------------------------------------------------------------

    def close(self, exc_info: Any = False) -> None:
        """Send what was written, then close. The close callback runs from the loop.

        Args:
            exc_info: Why, for ``error``: an exception, what ``sys.exc_info()`` returns, or
                True for the exception that is being handled.
        """
        if exc_info is True:
            exc_info = sys.exception()
        elif isinstance(exc_info, tuple):
            exc_info = exc_info[1]
        if isinstance(exc_info, BaseException):
            self.error = exc_info
        if not self._closed:
            self._take_held_back()
            self.flush()
            self._close(self._transport.close)
            if self.waiting and isinstance(self._receiver, _reader.BufferedReader):
                # No HTTP connection and its deadlines: a peer that takes nothing and does not
                # leave would hold the descriptor for ever.
                self._close_timer = self.loop.call_later(_CLOSE_TIMEOUT, self.abort)

    def abort(self) -> None:
        """Close at once: what was not handed to the kernel is dropped."""
        if self._transport is not None:
            self.chunks.clear()
            self._close(self._transport.abort)

    def reset(self) -> None:
        """Close at once, and let the peer see that it was no orderly end."""
        sock = None if self._transport is None else self._transport.get_extra_info("socket")
        if sock is not None:
            # The kernel would go on delivering what it holds, and then send FIN: a response
            # that ends with the connection would look complete.
            shape = "hh" if sys.platform == "win32" else "ii"
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack(shape, 1, 0))
        self.abort()

    def has_failed(self) -> bool:
        """Whether the peer has reset it, which is not heard of while reading is paused."""
        sock = self.socket
        return sock is not None and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0

    def _close(self, close: Callable[[], None]) -> None:
        self._closed = True
        if self._receiver is not None:
            self._receiver.closing()
        close()

    def shutdown_write(self) -> bool:
        """Send what was written, then the end of it; False if the peer has reset it."""
        if self._closed:
            return False
        self.flush()
        try:
            self._transport.write_eof()
        except OSError:
            return False
        self._shut = True
        return True

    def closed(self) -> bool:
        """Whether it is closed, or nothing can be written any more."""
        return self._closed or self._shut

    def run_close_callback(self) -> bool:
        """Run the close callback, if there is one and it has not run; tell whether."""
        callback, self._close_callback = self._close_callback, None
        return run_close_callback(callback, self.close)

    def set_default_close_callback(self, callback: Callable[[], object] | None) -> None:
        """Have `callback` run as the close callback, unless there is one or comes one."""
        if self._close_callback is None:
            self._close_callback = callback

    # --- The socket -------------------------------------------------------------------

    @property
    def socket(self) -> Any:
        """The socket, for its address and options; None when the stream is closed."""
        return None if self._closed else self._transport.get_extra_info("socket")

    @property
    def is_tls(self) -> bool:
        """Whether the bytes go through TLS."""
        return self._ssl_object is not None

    @property
    def _ssl_object(self) -> Any:
        return None if self._transport is None else self._transport.get_extra_info("ssl_object")


def run_close_callback(callback: Callable[[], object] | None, close: Callable[[], object]) -> bool:
    """Run a close callback, if it is one, and `close` if it fails; tell whether it is one."""
    if callback is None:
        return False
    try:
        callback()
    except Exception:
        app_log.error("Uncaught exception in close callback", exc_info=True)
        close()
    return True


def _not_connected(data: bytes) -> None:
    raise StreamClosedError
