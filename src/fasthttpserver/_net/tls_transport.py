"""TLS on one accepted connection: a protocol to the transport below, a transport to the one above.

The loops' own TLS transports hold bytes that the protocol above them is not told of, know no
half-closed connection, and end a close after a time of their own. A server that must neither
cut an answer nor wait for ever has to see what waits, so this one encrypts no more than the
kernel takes: ``pause_writing`` means what it means on plain TCP, and so do ``write_eof`` and
the end of what the peer sends.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any

from fasthttpserver._net.loops import bound_reads

__all__ = ["TLSTransport"]

# The largest record (RFC 8446 section 5.1): more than one read never gives.
_RECORD = 16_384

# What is encrypted, or put before OpenSSL to be decrypted, in one go. Its buffers keep the size
# that they once had, for as long as the connection lives.
_BATCH = 32_768


class TLSTransport(asyncio.Transport, asyncio.Protocol):
    """The server's side of TLS between a transport and a protocol.

    It is the protocol of the transport below; when the handshake is done it makes the
    protocol above and is its transport.

    Args:
        loop: That of the transport.
        context: The server's.
        new_protocol: Makes the protocol above.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        context: ssl.SSLContext,
        new_protocol: Callable[[], asyncio.Protocol],
    ) -> None:
        super().__init__()
        self._loop = loop
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._ssl = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._context = context
        self._new_protocol = new_protocol
        self._waiter: asyncio.Future[None] | None = None  # of the handshake
        self._failure: Exception | None = None  # that ended the handshake
        self._given_up = False  # nobody waits for it any longer
        self._below: Any = None  # the transport
        self._above: Any = None  # the protocol
        self._received: deque[bytes] = deque()  # and not yet given to OpenSSL
        self._read_on_soon = False
        self._paused = False  # reading, by the protocol above
        self._eof = False  # the peer sends no more
        self._eof_told = False
        self._waiting: deque[memoryview] = deque()  # to be encrypted
        self._waiting_size = 0
        self._full = False  # the kernel takes no more for now
        self._resume: asyncio.Handle | None = None  # the call that ends this
        self._pause_told = False
        self._shutting = False  # nothing may be written any more
        self._shut = False  # and all that was written is encrypted
        self._notified = False  # the peer has been told, by close_notify
        self._closing = False

    async def handshake(self, timeout: float | None) -> None:
        """Wait for the end of the handshake.

        Args:
            timeout: Seconds.

        Raises:
            ConnectionResetError: The peer has disconnected.
            TimeoutError: It did not go on.
            ssl.SSLError: It failed.
        """
        try:
            if self._above is None and self._failure is None:
                self._waiter = self._loop.create_future()
                async with asyncio.timeout(timeout):
                    await self._waiter
        except TimeoutError:
            raise TimeoutError(f"the handshake took longer than {timeout} s") from None
        finally:
            self._waiter = None
            if self._above is None:
                self._given_up = True
                if not self._below.is_closing():
                    self.abort()
        if self._failure is not None:
            try:
                raise self._failure
            finally:
                self._failure = None  # its traceback has this frame, and so this object

    # --- What the transport below tells ---------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._below = transport
        self._below.set_write_buffer_limits(high=0, low=0)
        bound_reads(transport)

    def data_received(self, data: bytes) -> None:
        # After close_notify nothing is to come (RFC 8446 section 6.1).
        if self._eof_told or self._closing:
            return
        if self._shut:
            # It is dropped there, and only how much it is matters; so it stays as it is.
            self._above.data_received(data)
        elif self._paused or self._read_on_soon:
            self._received.append(data)
        elif self._received or len(data) > _BATCH:
            self._received.append(data)
            self._read_on()
        else:
            self._decrypt(data)

    def eof_received(self) -> bool:
        self._eof = True
        if not (self._paused or self._read_on_soon):
            self._read_on()
        return True  # close() ends it

    def pause_writing(self) -> None:
        self._full = True
        if self._resume is not None:
            self._resume.cancel()
            self._resume = None

    def resume_writing(self) -> None:
        # Not now: asyncio looks at its own state again after this call, and if a write in here
        # failed it would lose the connection twice.
        self._resume = self._loop.call_soon(self._resumed)

    def _resumed(self) -> None:
        self._resume = None
        if self._closing and self._above is None:
            return  # it is lost
        self._full = False
        if self._notified:
            self._end_below()
        self._push()
        if self._pause_told and not self._full and not self._waiting and self._above is not None:
            self._pause_told = False
            self._above.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self._waiting.clear()
        self._received.clear()
        if self._above is None:
            self._fail_handshake(exc or ConnectionResetError("the peer has left"))
        else:
            above, self._above = self._above, None  # no cycle
            above.connection_lost(exc)

    # --- Handshake and reading ------------------------------------------------------------

    def _read_on(self) -> None:
        """Decrypt what has come, until the protocol above pauses or ends it."""
        self._read_on_soon = False
        if not self._shut and (self._incoming.pending or self._ssl.pending()):
            self._decrypt(b"")  # what a pause left there
        while self._received and not (self._paused or self._closing):
            data = self._received.popleft()
            if self._shut:
                self._above.data_received(data)  # as in data_received()
                continue
            if len(data) > _BATCH:
                self._received.appendleft(data[_BATCH:])
                data = data[:_BATCH]
            self._decrypt(data)
        if self._eof and not (self._paused or self._closing):
            self._tell_eof()

    def _decrypt(self, data: bytes) -> None:
        """Put bytes before OpenSSL, and give what it makes of them to the protocol above."""
        incoming = self._incoming
        incoming.write(data)
        # A record is longer than what it says, so for a small piece there need not be room for
        # the largest one. But OpenSSL may have the begin of a longer record, of which this is
        # the end.
        size = len(data) if 0 < len(data) < _RECORD else _RECORD
        try:
            connected = self._above is not None
            if not connected:
                if self._given_up:
                    return
                self._shake_hands()
            read = self._ssl.read
            while not (self._paused or self._closing or self._eof_told):
                data = read(size)
                if not data:
                    self._tell_eof()  # close_notify
                    return
                self._above.data_received(data)
                # A read that finds nothing raises, which costs as much as one that does. One
                # that gives less than it might has come to the end of a record.
                if len(data) < size and not incoming.pending:
                    break
                size = _RECORD
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._tell_eof()
        except ssl.SSLError as error:
            self._flush()  # the alert that says what was wrong
            self._fail(error)
            return
        if self._outgoing.pending:
            self._flush()

    def _shake_hands(self) -> None:
        self._ssl.do_handshake()
        self._flush()
        self._above = self._new_protocol()
        self._wake_waiter()
        self._above.connection_made(self)

    def _fail(self, error: Exception) -> None:
        if self._above is None:
            self._fail_handshake(error)
            self._below.close()
        else:
            # What was sent cannot be trusted, and no more can be understood.
            self.abort()

    def _fail_handshake(self, error: Exception) -> None:
        if self._failure is None and not self._given_up:
            self._failure = error.with_traceback(None)
            self._wake_waiter()

    def _wake_waiter(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _tell_eof(self) -> None:
        if self._eof_told or self._closing:
            return
        self._eof_told = True
        if self._above is None:
            self._fail_handshake(ConnectionResetError("the peer has left"))
            self._below.close()
        elif not self._above.eof_received():
            self.close()

    def pause_reading(self) -> None:
        self._paused = True
        self._below.pause_reading()

    def resume_reading(self) -> None:
        self._paused = False
        self._below.resume_reading()
        if not self._read_on_soon:
            self._read_on_soon = True
            self._loop.call_soon(self._read_on)

    def is_reading(self) -> bool:
        return not (self._paused or self._closing)

    # --- Writing ------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send, or keep what the kernel does not take for now."""
        if self._shutting or not data:
            return
        at_once = not (self._full or self._waiting) and len(data) <= _BATCH
        if not (at_once and self._encrypt(data)):
            self._waiting.append(memoryview(data))
            self._waiting_size += len(data)
            self._push()
        if (self._full or self._waiting) and not self._pause_told and self._above is not None:
            self._pause_told = True
            self._above.pause_writing()

    def _encrypt(self, data: bytes | bytearray | memoryview) -> bool:
        """Encrypt and send at most a batch; return False if OpenSSL has to read before."""
        try:
            self._ssl.write(data)
        except ssl.SSLWantReadError:  # a renegotiation, of TLS 1.2
            return False
        except ssl.SSLError as error:
            self._fail(error)
        else:
            self._below.write(self._outgoing.read())
        return True

    def _push(self) -> None:
        """Encrypt what waits, as far as the kernel takes it."""
        while self._waiting and not (self._full or self._below.is_closing()):
            data = self._waiting.popleft()
            if len(data) > _BATCH:
                self._waiting.appendleft(data[_BATCH:])
                data = data[:_BATCH]
            if not self._encrypt(data):
                self._waiting.appendleft(data)
                break
            self._waiting_size -= len(data)
        if self._shutting and not self._shut and not self._waiting:
            # Not now: the transport below may be in the middle of its own write.
            self._shut = True
            self._loop.call_soon(self._shut_down)

    def _flush(self) -> None:
        if self._outgoing.pending and not self._below.is_closing():
            self._below.write(self._outgoing.read())

    def _shut_down(self) -> None:
        """Say that nothing follows, in TLS's words (RFC 8446 section 6.1) and in TCP's."""
        if self._below.is_closing():
            return
        with contextlib.suppress(ssl.SSLError):  # the peer's own end is not here yet
            self._ssl.unwrap()
        self._flush()
        self._notified = True
        self._end_below()

    def _end_below(self) -> None:
        if self._closing:
            self._below.close()
        elif not self._full:  # or asyncio would log it if the peer has reset it until then
            with contextlib.suppress(OSError):  # the peer has reset it
                self._below.write_eof()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """Send what waits, then the end of it; what the peer sends is read on, undeciphered."""
        if not self._shutting:
            self._shutting = True
            self._push()

    def close(self) -> None:
        """Send what waits, then the end of it, and close."""
        if self._closing:
            return
        self._closing = True
        self._below.pause_reading()
        if self._shut:
            self._loop.call_soon(self._below.close)  # after _shut_down()
        else:
            self._shutting = True
            self._push()

    def abort(self) -> None:
        """Close at once; what waits is dropped."""
        self._closing = self._shutting = True
        if self._below is not None:
            self._below.abort()

    def is_closing(self) -> bool:
        return self._closing or bool(self._below.is_closing())

    # --- What there is to know ---------------------------------------------------------

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Do nothing: the protocol is told when anything waits, and when nothing does."""

    def get_write_buffer_size(self) -> int:
        return self._waiting_size + int(self._below.get_write_buffer_size())

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._above = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._above  # type: ignore[no-any-return]

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        match name:
            case "ssl_object":
                return self._ssl
            case "sslcontext":
                return self._context
            case "peercert":
                return self._ssl.getpeercert()
            case "cipher":
                return self._ssl.cipher()
            case "compression":
                return self._ssl.compression()
        return default if self._below is None else self._below.get_extra_info(name, default)
