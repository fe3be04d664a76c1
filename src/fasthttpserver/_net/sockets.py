"""A server's sockets, and what the kernel knows of them and asyncio does not tell."""

from __future__ import annotations

import socket
import sys
from typing import Any

__all__ = ["ServerSocket", "accept_bare", "has_failed", "is_settled", "unacknowledged", "unread"]

if sys.platform != "win32":
    import fcntl
    import termios

_NONE = bytes(4)  # the number 0, as ioctl gives it

# Of macOS: what is left in the socket's send buffer.
_SO_NWRITE = 0x1024


class ServerSocket(socket.socket):
    """A listening socket, or one that it has accepted, which remembers its family and type.

    They are asked for five times while a connection is made, by ``accept`` and by the loop, and
    ``socket.socket`` looks for the member of an enumeration each time.

    Args:
        family, type, proto, fileno: As for ``socket.socket``.
    """

    __slots__ = ("family", "type")

    def __init__(
        self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None
    ) -> None:
        super().__init__(family, type, proto, fileno)
        # Where mypy sees the read-only properties of socket.socket are slots of this class.
        self.family = (  # type: ignore[misc]
            family if isinstance(family, socket.AddressFamily) else super().family
        )
        self.type = (  # type: ignore[misc]
            type if isinstance(type, socket.SocketKind) else super().type
        )

    def accept(self) -> tuple[socket.socket, Any]:
        # As socket.socket does it, but for the class; typeshed does not know _accept().
        fileno, address = self._accept()  # type: ignore[attr-defined]
        connection = ServerSocket.__new__(ServerSocket)
        family = connection.family = self.family  # type: ignore[misc]
        kind = connection.type = self.type  # type: ignore[misc]
        socket.socket.__init__(connection, family, kind, self.proto, fileno)
        if self.gettimeout() and socket.getdefaulttimeout() is None:
            connection.setblocking(True)  # where it inherits from this one that it is not
        return connection, address


def accept_bare(sock: socket.socket) -> tuple[socket.SocketType, Any]:
    """Accept a client for a loop that needs no more than the descriptor.

    Returns:
        The connection and the peer's address, as ``accept()``. The connection may block, and it
        is of the base class in C of ``socket.socket``, without what the class in Python adds.
    """
    fileno, address = sock._accept()  # type: ignore[attr-defined]
    return socket.SocketType(sock.family, sock.type, sock.proto, fileno), address


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


def is_settled(sock: Any) -> bool:
    """Whether nothing is under way: ``unacknowledged`` and ``unread`` are both 0.

    Args:
        sock: As for ``unacknowledged``.
    """
    if sys.platform != "linux" or sock is None:
        return unacknowledged(sock) == 0 and unread(sock) == 0
    try:
        fileno = sock.fileno()
        left = bytearray(4)
        fcntl.ioctl(fileno, termios.TIOCOUTQ, left)
        if left == _NONE:
            fcntl.ioctl(fileno, termios.FIONREAD, left)
    except (OSError, ValueError):  # it does not tell of one of the two, or is closed
        return unread(sock) == 0
    return left == _NONE


def has_failed(sock: Any) -> bool:
    """Whether the peer has reset it, which is not heard of while reading is paused."""
    if sock is None:
        return False
    try:
        return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0)
    except OSError:
        return True


def _ask(sock: Any, what: int) -> int:
    answer = bytearray(4)  # not bytes: that costs an exception, which fcntl catches
    fcntl.ioctl(sock.fileno(), what, answer)
    return int.from_bytes(answer, sys.byteorder)
