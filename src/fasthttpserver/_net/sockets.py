"""What the kernel knows of a connected socket and asyncio does not tell."""

from __future__ import annotations

import socket
import struct
import sys
from typing import Any

__all__ = ["has_failed", "unacknowledged", "unread"]

if sys.platform != "win32":
    import fcntl
    import termios

# Of macOS: what is left in the socket's send buffer.
_SO_NWRITE = 0x1024


def unacknowledged(sock: Any) -> int:
    """Return how many bytes were handed to the kernel and have not arrived at the peer's.

    Args:
        sock: A connected socket, or anything that has its ``fileno``; None if there is none.

    Returns:
        0 too where the system does not tell: it is Linux's ``SIOCOUTQ`` and macOS's
        ``SO_NWRITE``.
    """
    if sock is None:
        return 0
    try:
        if sys.platform == "linux":
            return _ask(sock, termios.TIOCOUTQ)  # the same number as SIOCOUTQ, tcp(7)
        if sys.platform == "darwin":
            return int(sock.getsockopt(socket.SOL_SOCKET, _SO_NWRITE))
    except (OSError, ValueError):  # ValueError: it is closed
        pass
    return 0


def unread(sock: Any) -> int:
    """Return how many bytes have come and were not read; 0 too where the system does not tell.

    Args:
        sock: As for ``unacknowledged``.
    """
    if sys.platform != "win32" and sock is not None:
        try:
            return _ask(sock, termios.FIONREAD)
        except (OSError, ValueError):
            pass
    return 0


def has_failed(sock: Any) -> bool:
    """Whether the peer has reset it, which is not heard of while reading is paused."""
    if sock is None:
        return False
    try:
        return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0)
    except OSError:
        return True


def _ask(sock: Any, what: int) -> int:
    (answer,) = struct.unpack("i", fcntl.ioctl(sock.fileno(), what, bytes(4)))
    return int(answer)
