"""A server's TLS transport and its client, both in memory."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable

from fasthttpserver._net.tls_transport import TLSTransport

__all__ = ["Below", "TLSPair"]


class Below(asyncio.Transport):
    """A transport that keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = bytearray()
        self.reading = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.sent += data

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return False


class TLSPair:
    """Both ends of a connection whose handshake is done.

    Args:
        contexts: The server's and the client's.
        loop: That of the server's side.
        above: Makes the protocol above the transport.
    """

    def __init__(
        self,
        contexts: tuple[ssl.SSLContext, ssl.SSLContext],
        loop: asyncio.AbstractEventLoop,
        above: Callable[[], asyncio.Protocol],
    ) -> None:
        server, client = contexts
        self.below = Below()
        self.tls = TLSTransport(loop, server, above)
        self.tls.connection_made(self.below)
        self._incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = client.wrap_bio(self._incoming, self.outgoing, server_hostname="127.0.0.1")
        for _ in range(3):
            with contextlib.suppress(ssl.SSLWantReadError):
                self.client.do_handshake()
            self.exchange()

    def exchange(self) -> None:
        """Bring what each has said to the other."""
        if self.outgoing.pending:
            self.tls.data_received(self.outgoing.read())
        self._incoming.write(bytes(self.below.sent))
        self.below.sent.clear()

    def encrypt(self, data: bytes) -> bytes:
        """What the client sends to say this."""
        self.client.write(data)
        return self.outgoing.read()
