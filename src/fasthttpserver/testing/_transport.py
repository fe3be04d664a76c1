"""A transport in memory, between a client's bytes and a server's protocol."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Iterable
from typing import Any

__all__ = ["MemoryTransport"]


class MemoryTransport(asyncio.Transport):
    """A transport between a protocol and a client in the same program.

    The client takes whatever is written at once.

    Args:
        loop: Calls the protocol.
        protocol: Whose transport it is.
        address: The client's.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, protocol: asyncio.Protocol, address: Any
    ) -> None:
        super().__init__({"peername": address, "socket": _NoSocket(address)})
        self._loop = loop
        self._protocol = protocol
        self._unread: deque[bytes] = deque()  # b"" is the end
        self._paused = False
        self._closing = False
        self.written = bytearray()
        self.ended = False
        """Whether the client sees the end after what was written."""
        self.lost = False

    # --- What the client does -------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Send bytes, which are one read; none are the end of what is sent."""
        self._unread.append(data)
        self._loop.call_soon(self._deliver)

    def lose(self, error: Exception | None) -> None:
        """End it for both sides."""
        self._closing = self.ended = True
        if not self.lost:
            self.lost = True
            self._loop.call_soon(self._protocol.connection_lost, error)

    def _deliver(self) -> None:
        while self._unread and not self._paused and not self._closing:
            data = self._unread.popleft()
            if data:
                self._protocol.data_received(data)
            elif not self._protocol.eof_received():
                self.close()

    # --- What the protocol does -----------------------------------------------------------

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if self.ended and not self._closing:
            raise RuntimeError("Cannot call write() after write_eof()")
        if not self._closing:
            self.written += data

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview[Any]]) -> None:
        for data in list_of_data:
            self.write(data)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        self._loop.call_soon(self._deliver)

    def is_reading(self) -> bool:
        return not self._paused and not self._closing

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self.lose(None)

    def abort(self) -> None:
        self.lose(None)


class _NoSocket:
    """What applications ask a socket for, where there is none."""

    def __init__(self, address: Any) -> None:
        self._address = address
        self.family = socket.AF_INET6 if len(address) == 4 else socket.AF_INET

    def fileno(self) -> int:
        return -1

    def getpeername(self) -> Any:
        return self._address

    def setsockopt(self, *option: Any) -> None:
        pass
