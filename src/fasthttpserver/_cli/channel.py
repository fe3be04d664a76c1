"""Messages between the supervisor and a worker; its end tells each that the other is gone."""

from __future__ import annotations

import contextlib
import json
import socket
from typing import Any

__all__ = ["Channel"]


class Channel:
    """One end of a pair of sockets. A message is a list that JSON can express, on a line.

    Attributes:
        at_end: Whether the other process has closed its end, or is no more.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.at_end = False
        self._socket = sock
        self._unread = b""

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Make both ends."""
        first, second = socket.socketpair()
        return cls(first), cls(second)

    def fileno(self) -> int:
        """What becomes readable when there is a message or the end."""
        return self._socket.fileno()

    def send(self, *message: Any) -> None:
        """Send a message; nothing happens if the other process is gone."""
        # A message is far smaller than what the kernel buffers for a busy process.
        with contextlib.suppress(OSError):
            self._socket.send(json.dumps(message).encode() + b"\n")

    def receive(self) -> list[list[Any]]:
        """Return the messages that have come."""
        with contextlib.suppress(BlockingIOError):
            while not self.at_end:
                try:
                    data = self._socket.recv(65536)
                except ConnectionResetError:
                    data = b""
                self._unread += data
                self.at_end = not data
        *lines, self._unread = self._unread.split(b"\n")
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        """Close this end."""
        self._socket.close()
