"""One connection as applications use it: write to it, read from it, close it.

An ``IOStream`` is the protocol of its transport if a ``TCPServer`` made it or an application has
detached it. While an ``HTTPConnection`` speaks with the client it is a view: the connection is
the protocol, and is told what is done with the stream.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import Callable
from typing import Any, Protocol, Self, overload

from fasthttpserver._net import readers
from fasthttpserver._net.loops import bound_reads
from fasthttpserver._net.writer import Writer
from fasthttpserver.errors import StreamClosedError, UnsatisfiableReadError
from fasthttpserver.log import app_log

__all__ = [
    "IOStream",
    "StreamClosedError",
    "StreamOwner",
    "UnsatisfiableReadError",
    "run_close_callback",
]

# Seconds for a peer to take what is left, after close() of a stream that is detached.
_CLOSE_TIMEOUT = 60.0

# Bytes that are read from the socket while nobody has asked for them.
_READ_AHEAD = 65_536


class StreamOwner(Protocol):
    """The protocol of the transport, while a stream is only a view."""

    def leave_fast_path(self) -> object:
        """Give what is corked to the writer: the application uses the stream itself."""
        ...

    def stream_writes(self) -> None:
        """The application is about to write to the stream."""

    def stream_closes(self) -> None:
        """The application closes the stream."""

    def release(self) -> tuple[bytes, bool]:
        """Detach: the stream is the protocol of the transport from now on.

        Returns:
            What was received and not used, and whether nothing more will come.
        """
        ...


class IOStream(asyncio.Protocol):
    """One connection: write to it, read from it, close it, be told when it is closed.

    Args:
        loop: The asyncio loop that the transport belongs to.
        address: The peer's, as ``accept()`` gives it.
        connected: Called with the stream when its transport is there.
        io_loop: The object to hand out as ``io_loop``, or None for the asyncio loop.
        max_buffer_size: Bytes that a read may make the stream buffer.
    """

    __slots__ = (
        "__dict__",  # applications keep their own things here
        "__weakref__",
        "_close_callback",
        "_close_timer",
        "_connected",
        "_eof",
        "_owner",
        "_reader",
        "_transport",
        "_writer",
        "address",
        "io_loop",
        "loop",
        "max_buffer_size",
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
        self.io_loop: Any = loop if io_loop is None else io_loop  # the caller knows its type
        self.max_buffer_size = max_buffer_size
        self._connected: Callable[[Any], None] | None = connected
        self._transport: Any = None
        self._writer: Writer = _NOT_CONNECTED
        self._owner: StreamOwner | None = None
        self._reader: readers.BufferedReader | None = None
        self._close_callback: Callable[[], object] | None = None
        self._close_timer: asyncio.TimerHandle | None = None
        self._eof = False  # the peer has said that it sends no more

    @classmethod
    def of_owner(
        cls,
        owner: StreamOwner | None,
        transport: Any,
        writer: Writer,
        loop: asyncio.AbstractEventLoop,
        address: Any,
        io_loop: object,
        max_buffer_size: int,
    ) -> Self:
        """Make a view of a connection whose protocol is another object.

        Args:
            owner: The protocol; None if the connection has ended.
            transport, writer, loop, address: Of the connection.
            io_loop, max_buffer_size: As for ``IOStream``.
        """
        stream = cls(loop, address, _do_nothing, io_loop, max_buffer_size)
        stream._transport = transport
        stream._writer = writer
        stream._owner = owner
        return stream

    def give_to(self, owner: StreamOwner, protocol: asyncio.Protocol) -> tuple[Any, Writer, bytes]:
        """Become a view: `protocol` is that of the transport from now on.

        Returns:
            The transport, the writer, and what came already.
        """
        if self._owner is not None:
            self._buffered()  # detaches it from its owner until now
        reader, self._reader = self._reader, None
        ahead = b""
        if reader is not None:
            ahead = reader.release()
            self.resume_reading()  # it may have paused
        if not self._writer.gone:
            self._owner = owner
            self._transport.set_protocol(protocol)
        return self._transport, self._writer, ahead

    # --- What the transport tells -------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        bound_reads(transport)
        # The transport's own tuple rather than accept()'s equal one: 150 bytes a connection.
        # If they differ, the peer is a proxy, and ours is the address of its client.
        peername = transport.get_extra_info("peername")
        if peername == self.address:
            self.address = peername
        self._transport.set_write_buffer_limits(high=0, low=0)  # as a writer needs them
        self._writer = Writer(self.loop, transport)
        connected, self._connected = self._connected, None
        if connected is not None:
            connected(self)

    def data_received(self, data: bytes) -> None:
        # Nobody may have asked yet: a handle_stream() that takes its time.
        self._buffered().data_received(data)

    def eof_received(self) -> bool:
        if self._eof:
            return not self._writer.closed  # uvloop tells of it again when reading is resumed
        self._eof = True
        if self._reader is not None:
            self._reader.eof_received()
        # What is still to be written may be; Tornado closes here, and so do we.
        self.close()
        return False

    def pause_writing(self) -> None:
        self._writer.pause()

    def resume_writing(self) -> None:
        self._writer.resume(_do_nothing)

    def connection_lost(self, exc: Exception | None) -> None:
        """Take note of the end; also called by the owner."""
        self._writer.lost(exc)
        if self._close_timer is not None:
            self._close_timer.cancel()
        self._owner = None  # no cycle
        if self._reader is not None:
            self._reader.connection_lost()
        self.run_close_callback()

    # --- Writing ----------------------------------------------------------------------

    @overload
    def write(self, data: bytes, callback: None = None) -> asyncio.Future[None]: ...
    @overload
    def write(self, data: bytes, callback: Callable[[], object]) -> None: ...
    def write(
        self, data: bytes, callback: Callable[[], object] | None = None
    ) -> asyncio.Future[None] | None:
        """Send bytes, in the order of the calls.

        Args:
            data: The bytes.
            callback: Called from the loop when all that was written has left; it takes the
                place of an earlier write's callback. None to return a future of that.

        Raises:
            StreamClosedError: The stream is closed.
            TypeError: The data is not bytes.
        """
        if type(data) is not bytes:
            if not isinstance(data, (bytes, bytearray, memoryview)):
                raise TypeError(f"write() takes bytes, not {type(data).__name__}")
            data = bytes(data)  # the caller may change it
        writer = self._writer
        if writer.closed or writer.ended:
            raise StreamClosedError(writer.error)
        if data:
            if self._owner is not None:
                self._owner.stream_writes()
            writer.send(data)
        writer.set_callback(callback, self.close)
        return writer.flushed() if callback is None else None

    def writing(self) -> bool:
        """Whether bytes wait to be taken by the kernel."""
        self._leave_fast_path()
        return self._writer.waiting or bool(self._writer.chunks)

    @property
    def write_buffer_size(self) -> int:
        """Bytes that wait to be taken by the kernel."""
        self._leave_fast_path()
        return 0 if self._transport is None else self._writer.size

    def _leave_fast_path(self) -> None:
        if self._owner is not None:
            self._owner.leave_fast_path()

    # --- Reading ----------------------------------------------------------------------

    @overload
    def read_bytes(
        self,
        num_bytes: int,
        callback: None = None,
        streaming_callback: Callable[[bytes], object] | None = None,
        partial: bool = False,
    ) -> asyncio.Future[bytes]: ...
    @overload
    def read_bytes(
        self,
        num_bytes: int,
        callback: Callable[[bytes], object],
        streaming_callback: Callable[[bytes], object] | None = None,
        partial: bool = False,
    ) -> None: ...
    def read_bytes(
        self,
        num_bytes: int,
        callback: Callable[[bytes], object] | None = None,
        streaming_callback: Callable[[bytes], object] | None = None,
        partial: bool = False,
    ) -> asyncio.Future[bytes] | None:
        """Read a number of bytes.

        Like every read, it detaches the stream from an HTTP connection; what came after
        the request is read first.

        Args:
            num_bytes: How many.
            callback: Called from the loop with the bytes; None to return a future of them.
            streaming_callback: Called with every part that comes; the end is told with b"".
            partial: Be content with fewer, but at least one.

        Raises:
            AssertionError: A read is pending.
            StreamClosedError: The stream is closed, and the bytes are not here.
            TypeError, ValueError: What is to be read makes no sense.
        """
        find = readers.count(num_bytes, partial)
        return self._buffered().read(find, callback, streaming_callback, num_bytes)

    @overload
    def read_until(self, delimiter: bytes, callback: None = None) -> asyncio.Future[bytes]: ...
    @overload
    def read_until(self, delimiter: bytes, callback: Callable[[bytes], object]) -> None: ...
    def read_until(
        self, delimiter: bytes, callback: Callable[[bytes], object] | None = None
    ) -> asyncio.Future[bytes] | None:
        """Read up to and with a delimiter; otherwise as ``read_bytes``."""
        find = readers.delimiter(delimiter)
        return self._buffered().read(find, callback)

    @overload
    def read_until_regex(self, regex: bytes, callback: None = None) -> asyncio.Future[bytes]: ...
    @overload
    def read_until_regex(self, regex: bytes, callback: Callable[[bytes], object]) -> None: ...
    def read_until_regex(
        self, regex: bytes, callback: Callable[[bytes], object] | None = None
    ) -> asyncio.Future[bytes] | None:
        """Read up to and with what a regular expression matches; as ``read_bytes``.

        A large buffer is not searched for each small segment that comes, but when it has
        doubled or after a short pause. So what could match more may match more.
        """
        find = readers.pattern(regex)
        return self._buffered().read(find, callback, rescans=True)

    @overload
    def read_until_close(
        self,
        callback: None = None,
        streaming_callback: Callable[[bytes], object] | None = None,
    ) -> asyncio.Future[bytes]: ...
    @overload
    def read_until_close(
        self,
        callback: Callable[[bytes], object],
        streaming_callback: Callable[[bytes], object] | None = None,
    ) -> None: ...
    def read_until_close(
        self,
        callback: Callable[[bytes], object] | None = None,
        streaming_callback: Callable[[bytes], object] | None = None,
    ) -> asyncio.Future[bytes] | None:
        """Read all that comes until the peer closes; as ``read_bytes``."""
        return self._buffered().read(readers.never, callback, streaming_callback, until_close=True)

    def reading(self) -> bool:
        """Whether a read is pending."""
        return self._reader is not None and self._reader.reading

    def take_over(self) -> None:
        """Detach it from its owner: what comes is kept for the ``read_`` methods."""
        self._buffered()

    def _buffered(self) -> readers.BufferedReader:
        reader = self._reader
        if reader is None:
            rest = b""
            if self._owner is not None:
                rest, self._eof = self._owner.release()
                self._owner = None
                if not self._writer.gone:
                    self._transport.set_protocol(self)
            reader = self._reader = readers.BufferedReader(
                self, rest, self.max_buffer_size, _READ_AHEAD, self._eof
            )
            if not self._eof:
                self.resume_reading()
        return reader

    def pause_reading(self) -> None:
        """Read no more, so that the peer has to wait: back-pressure."""
        if not self._writer.closed:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        if not self._writer.closed and not self._transport.is_closing():
            self._transport.resume_reading()

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
            self._writer.error = exc_info
        if not self._writer.closed:
            if self._owner is not None:
                self._owner.stream_closes()
            self._writer.close()
            if self._owner is None and self._writer.waiting:
                # No HTTP connection and its deadlines: a peer that takes nothing and does not
                # disconnect would hold the descriptor for ever.
                self._close_timer = self.loop.call_later(_CLOSE_TIMEOUT, self.abort)

    def abort(self) -> None:
        """Close at once: what was not handed to the kernel is dropped."""
        if self._transport is not None:
            if self._owner is not None:
                self._owner.stream_closes()
            self._writer.abort()

    def closed(self) -> bool:
        """Whether it is closed, or nothing can be written any more."""
        return self._writer.closed or self._writer.ended

    @property
    def error(self) -> BaseException | None:
        """What closed it, or None when that was an orderly close."""
        return self._writer.error

    def set_close_callback(self, callback: Callable[[], object] | None) -> None:
        """Have `callback` run from the loop when the stream has been closed.

        On one that is closed already it never runs; ``closed()`` tells.
        """
        self._close_callback = callback

    def set_default_close_callback(self, callback: Callable[[], object] | None) -> None:
        """Have `callback` run as the close callback, unless another one is set, now or later."""
        if self._close_callback is None:
            self._close_callback = callback

    def run_close_callback(self) -> None:
        """Run the close callback, if there is one and it has not run."""
        callback, self._close_callback = self._close_callback, None
        run_close_callback(callback, self.close)

    # --- The socket -------------------------------------------------------------------

    @property
    def socket(self) -> Any:
        """The socket, for its address and options; None when the stream is closed.

        With TLS it can be asked about that as well, as an ``ssl.SSLSocket``.
        """
        if self._writer.closed:
            return None
        sock = self._transport.get_extra_info("socket")
        return sock if self._ssl_object is None else _TLSSocket(sock, self._ssl_object)

    @property
    def is_tls(self) -> bool:
        """Whether the bytes go through TLS."""
        return self._ssl_object is not None

    @property
    def _ssl_object(self) -> Any:
        return None if self._transport is None else self._transport.get_extra_info("ssl_object")

    def getpeercert(self, binary_form: bool = False) -> Any:
        """The peer's TLS certificate as ``ssl.SSLSocket.getpeercert`` gives it, or None."""
        ssl_object = self._ssl_object
        if ssl_object is None:
            return None
        try:
            return ssl_object.getpeercert(binary_form)
        except (ssl.SSLError, ValueError):
            return None

    def fileno(self) -> int:
        """The socket's file descriptor, or -1 when it is closed."""
        sock = self.socket
        return -1 if sock is None else int(sock.fileno())

    def set_nodelay(self, value: bool) -> None:
        """Do nothing: the server sets TCP_NODELAY, and corking keeps packets whole."""


# What is asked about TLS; nothing that would read or write.
_OF_TLS = frozenset(
    [
        "cipher",
        "compression",
        "context",
        "get_channel_binding",
        "getpeercert",
        "selected_alpn_protocol",
        "session_reused",
        "shared_ciphers",
        "version",
    ]
)


class _TLSSocket:
    """The socket below a connection with TLS, and what is known of the TLS on it."""

    def __init__(self, sock: Any, ssl_object: Any) -> None:
        self._socket = sock
        self._ssl_object = ssl_object

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ssl_object if name in _OF_TLS else self._socket, name)


def run_close_callback(callback: Callable[[], object] | None, close: Callable[[], object]) -> None:
    """Run a close callback, if it is one, and `close` if it fails."""
    if callback is not None:
        try:
            callback()
        except Exception:
            app_log.error("Uncaught exception in close callback", exc_info=True)
            close()


def _do_nothing(*_: object, **__: object) -> None:
    pass


class _NoTransport:
    """What a stream has before its connection is made: nothing can be done with it."""

    write = close = abort = _do_nothing

    def get_write_buffer_size(self) -> int:
        return 0


def _not_connected() -> Writer:
    writer = Writer(None, _NoTransport())  # type: ignore[arg-type]
    writer.closed = True
    return writer


_NOT_CONNECTED = _not_connected()
