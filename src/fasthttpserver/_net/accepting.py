"""How connections are accepted, and what happens when file descriptors run out.

Some descriptors are kept back: for the application's files and its own connections, and for
telling clients that there is no room. The kernel gives out the lowest free number, so all
numbers below a new one are in use, for whatever. As long as no client gets one of the last
numbers, nothing has to be counted.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
import time
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable
from typing import Any, Protocol
from weakref import WeakSet

from fasthttpserver._net import sharing
from fasthttpserver._net.ioloop import IOLoop
from fasthttpserver._net.sockets import accept_bare
from fasthttpserver.log import gen_log

__all__ = ["DESCRIPTORS", "Acceptor", "Descriptors"]

# Descriptors that are kept free: an eighth of those that the process may have, as 128 of the
# usual 1024. A process that may have a million needs no more than a thousand for itself.
_KEPT_SHARE = 8
_KEPT_LEAST = 32
_KEPT_MOST = 1024

# Connections accepted in one turn of the loop, so that a burst of new clients does not starve
# those that are connected.
_ACCEPTS_PER_TURN = 128
# An accept() that finds nobody costs as much as one that does. So one client is accepted in a turn,
# as libuv does, and twice as many after this number of turns in which each accept() found one.
_FULL_TURNS = 16
# Seconds to wait after accept() has failed for a reason that nothing here can remedy: the
# listening socket stays readable, and retrying at once would use all the CPU. Clients also wait
# that long for a descriptor before they are turned away.
_ACCEPT_PAUSE = 1.0
_SHORT_PAUSE = 0.05
# Seconds for which nothing more is logged about descriptors, and for which the number that the
# application uses is taken as known.
_WHILE = 60.0

_NO_DESCRIPTOR = {errno.EMFILE, errno.ENFILE}


class Server(Protocol):
    """One of the servers of this process, whose loops may run in several threads."""

    _loop: AbstractEventLoop | None

    def _count_connections(self) -> int: ...

    def _evict_idle(self) -> bool:
        """Close the connection that has been idle for the longest time; tell if there is one."""
        ...


class Descriptors:
    """The file descriptors of this process, which all its servers share.

    Attributes:
        limit: How many there may be, as of the last start of a server; None for no limit.
        kept: How many of these are not for clients.
        short: Whether the newest connection was one too many.
    """

    def __init__(self) -> None:
        self.limit: int | None = None
        self.kept = 0
        self.short = False
        self._servers: WeakSet[Server] = WeakSet()
        self._lock = threading.Lock()  # of that set
        # In use for anything but connections; known for a while after a high number was seen.
        self._others: int | None = None
        self._known_until = 0.0
        self._silent_until = 0.0

    def add_server(self, server: Server) -> None:
        """Have a server share them, and take the limit as it is now."""
        with self._lock:
            self._servers.add(server)
        self.limit = _limit()
        if self.limit is not None:
            kept = min(max(self.limit // _KEPT_SHARE, _KEPT_LEAST), _KEPT_MOST)
            # If most are in use already, clients get half of those that are left.
            self.kept = min(kept, max(0, self.limit - _lowest_free(self.limit)) // 2)

    def excess(self, newest: int) -> int:
        """Return how many connections are too many, with a new one that has this number."""
        if self.limit is None:
            return 0
        allowed = self.limit - self.kept
        if newest < allowed:
            if self._others is not None and time.monotonic() > self._known_until:
                self._others = None
            if self._others is None:
                self.short = False
                return 0
        connections = 1 + self.connections()
        if newest >= allowed:
            self._others = newest + 1 - connections
            self._known_until = time.monotonic() + _WHILE
        assert self._others is not None
        excess = connections + self._others - allowed
        self.short = excess > 0
        return excess

    def connections(self) -> int:
        """How many connections there are, of all servers."""
        return sum([each._count_connections() for each in self._shared()])

    def evict_idle(self, loop: AbstractEventLoop | None) -> bool:
        """Close a connection that has nothing to do; tell if there is one.

        The server with the most of them gives it, of those on the loop that asks.
        """
        servers = [each for each in self._shared() if each._loop is loop]
        servers.sort(key=lambda each: each._count_connections(), reverse=True)
        return any(each._evict_idle() for each in servers)

    def _shared(self) -> list[Server]:
        with self._lock:
            return list(self._servers)

    def may_say(self) -> bool:
        """Whether the log may have another line: many clients must not make many."""
        now = time.monotonic()
        if now < self._silent_until:
            return False
        self._silent_until = now + _WHILE
        return True


# Of this process, and all its servers.
DESCRIPTORS = Descriptors()


def _limit() -> int | None:
    try:
        import resource
    except ImportError:  # Windows, which has no such bound
        return None
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def _lowest_free(otherwise: int) -> int:
    spare = _open_spare()
    if spare is None:
        return otherwise
    os.close(spare)
    return spare


def _open_spare() -> int | None:
    with contextlib.suppress(OSError):
        return os.open(os.devnull, os.O_RDONLY)
    return None


class Acceptor:
    """Calls ``callback(connection, address)`` for each client of one listening socket.

    Args:
        sock: The listening, non-blocking socket.
        callback: May be a coroutine function.
        io_loop: Watches the socket.
        make_room: Called when there is no descriptor for a waiting client; closes a connection
            that can be spared, and tells whether there was one.
        bare: Whether the callback gets connections of ``accept_bare``, which may block; otherwise
            they are ``socket.socket`` and do not.
    """

    __slots__ = (
        "_at_once",
        "_bare",
        "_callback",
        "_courtesy",
        "_fd",
        "_full_turns",
        "_io_loop",
        "_make_room",
        "_pause",
        "_removed",
        "_short_since",
        "_silent_until",
        "_sock",
        "_spare",
    )

    def __init__(
        self,
        sock: socket.socket,
        callback: Callable[[Any, Any], object],
        io_loop: IOLoop,
        make_room: Callable[[], bool] = lambda: False,
        bare: bool = False,
    ) -> None:
        self._sock = sock
        self._bare = bare
        self._fd = sock.fileno()
        self._callback = callback
        self._io_loop = io_loop
        self._make_room = make_room
        self._pause: TimerHandle | None = None
        self._removed = False
        self._at_once = 1  # clients that are accepted in one turn
        self._full_turns = 0  # turns in a row with as many
        self._silent_until = 0.0
        self._short_since: float | None = None  # since when no descriptor is free
        # Given up when no other is left: to accept a client, and turn it away by closing.
        self._spare: int | None = None
        place = sharing.place()
        self._courtesy: sharing.Courtesy | None = None
        if place is not None:
            self._courtesy = sharing.Courtesy(place, DESCRIPTORS.connections)
        self._resume()

    def remove(self) -> None:
        """Accept no more, before the socket is closed; more than once does no harm."""
        if not self._removed:
            self._removed = True
            if self._courtesy is not None:
                self._courtesy.place.leave()
            if self._pause is not None:
                self._pause.cancel()
            else:
                self._io_loop.remove_handler(self._fd)
            self._close_spare()

    def _resume(self) -> None:
        self._pause = None
        if self._sock.fileno() >= 0:  # not closed meanwhile
            self._io_loop.add_handler(self._fd, self._on_readable, IOLoop.READ)
            if self._spare is None:
                self._spare = _open_spare()
        else:
            self._close_spare()

    def _on_readable(self, _fd: int, _events: int) -> None:
        courtesy = self._courtesy
        for taken in range(self._at_once):
            if self._removed:  # by the callback
                return
            if courtesy is not None and courtesy.is_due():
                self._stop_for(sharing.GLANCE)
                return
            try:
                connection: socket.SocketType
                if self._bare:
                    connection, address = accept_bare(self._sock)
                else:
                    connection, address = self._sock.accept()
                    connection.setblocking(False)
            except BlockingIOError:
                self._at_once = max(1, taken)
                self._full_turns = 0
                return
            except ConnectionAbortedError:
                continue  # the client did not wait
            except OSError as error:
                self._failed(error)
                return
            if courtesy is not None:
                courtesy.took()
            self._short_since = None
            self._io_loop.run_callback(self._callback, (connection, address))
            if DESCRIPTORS.short:
                return  # what was closed to make room is free in the next turn
        self._full_turns += 1
        if self._full_turns == _FULL_TURNS:
            most = _ACCEPTS_PER_TURN if courtesy is None else sharing.ACCEPTS_PER_TURN
            self._at_once = min(2 * self._at_once, most)
            self._full_turns = 0

    def _failed(self, error: OSError) -> None:
        """Do what can be done about an accept that failed; the next turn tries again."""
        now = time.monotonic()
        if now >= self._silent_until:
            gen_log.error("Cannot accept on %r: %s", self._sock, error)
            self._silent_until = now + _WHILE
        pause = _ACCEPT_PAUSE
        if error.errno in _NO_DESCRIPTOR:
            if self._make_room():
                return
            if self._short_since is None:
                self._short_since = now
            if now - self._short_since >= _ACCEPT_PAUSE and self._turn_away():
                return
            pause = _SHORT_PAUSE  # connections end, and those that are new become idle
        self._stop_for(pause)

    def _stop_for(self, pause: float) -> None:
        self._io_loop.remove_handler(self._fd)
        self._pause = self._io_loop.call_later(pause, self._resume)

    def _turn_away(self) -> bool:
        """Accept one waiting client and close it, so that it does not wait in vain."""
        if self._spare is None:
            return False
        self._close_spare()
        try:
            self._sock.accept()[0].close()
        except BlockingIOError:
            pass  # without a descriptor, accept had not looked whether anybody waits
        except OSError:
            return False  # somebody else was faster to take the descriptor
        finally:
            self._spare = _open_spare()
        return True

    def _close_spare(self) -> None:
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None
