"""What an application asks of one connection comes in; its bytes, read and written, go out.

``IOStream`` has the methods that Tornado documents for a stream. What the server itself
needs is in ``_stream``.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, overload

from fasthttpserver._net import readers as _reader
from fasthttpserver._net.stream import Stream
from fasthttpserver.errors import StreamClosedError, UnsatisfiableReadError

__all__ = ["IOStream", "StreamClosedError", "UnsatisfiableReadError"]


class IOStream(Stream):
    """One connection: write to it, read from it, close it, be told when it is closed.

    Args:
        loop: The asyncio loop that the transport belongs to.
        address: The peer's, as ``accept()`` gives it.
        connected: Called with the stream when its transport is there.
        io_loop: The object to hand out as ``io_loop``, or None for the asyncio loop.
        max_buffer_size: Bytes that a read may make the stream buffer.
    """

    __slots__ = ()

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
            TypeError: It is no bytes.
        """
        if type(data) is not bytes:
            if not isinstance(data, (bytes, bytearray, memoryview)):
                raise TypeError(f"write() takes bytes, not {type(data).__name__}")
            data = bytes(data)  # the caller may change it
        if self.closed():
            raise StreamClosedError(self.error)
        if data:
            if self._receiver is not None:
                self._receiver.bypassed()
            self.send(data)
        self._drain_callback = callback
        if callback is None:
            return self.drained_future()
        self.loop.call_soon(self._drained)
        return None

    def writing(self) -> bool:
        """Whether bytes wait to be taken by the kernel."""
        self._take_held_back()
        return self.waiting or bool(self.chunks)

    @property
    def write_buffer_size(self) -> int:
        """Bytes that wait to be taken by the kernel."""
        self._take_held_back()
        size: int = 0 if self._transport is None else self._transport.get_write_buffer_size()
        return size + sum(map(len, self.chunks))

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

        Like every read, it takes the stream over from an HTTP connection, and what came
        behind the request comes out of it first.

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
        find = _reader.count(num_bytes, partial)
        return self._buffered().read(find, callback, streaming_callback, num_bytes)

    @overload
    def read_until(self, delimiter: bytes, callback: None = None) -> asyncio.Future[bytes]: ...
    @overload
    def read_until(self, delimiter: bytes, callback: Callable[[bytes], object]) -> None: ...
    def read_until(
        self, delimiter: bytes, callback: Callable[[bytes], object] | None = None
    ) -> asyncio.Future[bytes] | None:
        """Read up to and with a delimiter; otherwise as ``read_bytes``."""
        find = _reader.delimiter(delimiter)
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
        find = _reader.pattern(regex)
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
        return self._buffered().read(_reader.never, callback, streaming_callback, until_close=True)

    def reading(self) -> bool:
        """Whether a read is pending."""
        receiver = self._receiver
        return isinstance(receiver, _reader.BufferedReader) and receiver.reading

    def take_over(self) -> None:
        """Keep what comes from now on for the ``read_`` methods; the receiver lets go."""
        self._buffered()

    # --- Closing and the socket -------------------------------------------------------

    def set_close_callback(self, callback: Callable[[], object] | None) -> None:
        """Have `callback` run from the loop when the stream has been closed."""
        self._close_callback = callback

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
        """Do nothing: asyncio sets TCP_NODELAY, and corking keeps packets whole."""
