"""One connection of a server without a socket: its other end, and its clock, are the test."""

from __future__ import annotations

import asyncio
import errno
import socket
from asyncio import AbstractEventLoop
from collections.abc import Callable
from typing import Any, Self

from states import TRANSITIONS, Transition, WatchedConnection

from fasthttpserver._server.connection import HTTPConnection
from fasthttpserver._server.request import HTTPRequest
from fasthttpserver._server.server import HTTPServer
from fasthttpserver.iostream import IOStream
from fasthttpserver.testing._transport import MemoryTransport


class FakeSocket:
    """What a connection wants of its socket.

    Args:
        family: The kind of socket.
    """

    def __init__(self, family: int) -> None:
        self.family = family
        self.options: list[tuple[Any, ...]] = []

    def fileno(self) -> int:
        return 99

    def setsockopt(self, *option: Any) -> None:
        self.options.append(option)


class FakeTransport(MemoryTransport):
    """The test kit's transport, with a client that takes what it is told to, and can be gone.

    Args:
        loop: Calls the protocol.
        protocol: Whose transport it is.
        window: Bytes that the peer takes before it has to be told to take more; None is
            all.
        family: The kind of socket.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        protocol: asyncio.Protocol,
        window: int | None = None,
        family: int = socket.AF_INET,
    ) -> None:
        super().__init__(loop, protocol, address="")  # what accept() gave stands
        self.socket = FakeSocket(family)
        self._waiting = bytearray()  # written, and not taken by the peer
        self.window = window
        self.writes: list[bytes] = []
        self.taken = bytearray()
        self.aborted = False
        self.eof_written = False
        self.reset_unseen = False  # the peer has reset it, and nothing was read since

    @property
    def paused(self) -> bool:
        """Whether what the peer sends is left with it."""
        return self._paused

    @property
    def closing(self) -> bool:
        return self._closing

    @property
    def unread(self) -> int:
        """Bytes that the peer has sent and that were not read, as it is paused."""
        return sum(map(len, self._unread))

    # What the protocol does

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self.socket if name == "socket" else super().get_extra_info(name, default)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high == 0

    def get_write_buffer_size(self) -> int:
        return len(self._waiting)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.eof_written
        if self.closing or not data:
            return
        self.writes.append(bytes(data))
        was_empty = not self._waiting
        self._waiting += data
        self._push()
        if was_empty and self._waiting:
            self._protocol.pause_writing()

    def write_eof(self) -> None:
        if self.reset_unseen:
            raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")
        self.eof_written = True

    def close(self) -> None:
        if not self.closing:
            self._closing = True
            self._push()

    def abort(self) -> None:
        self.aborted = True
        self.lose(None)

    # What the peer does

    def peer_sends(self, data: bytes) -> None:
        """Send bytes; ``b""`` ends the stream."""
        self.feed(data)

    def peer_takes(self, size: int) -> None:
        """Take so many bytes more than before."""
        assert self.window is not None
        self.window += size
        was_waiting = bool(self._waiting)
        self._push()
        if was_waiting and not self._waiting:
            self._loop.call_soon(self._protocol.resume_writing)

    def lose(self, error: Exception | None) -> None:
        """End it: by the peer's RST, by an abort or by a close that is through."""
        self._waiting.clear()
        super().lose(error)

    def _push(self) -> None:
        size = len(self._waiting) if self.window is None else min(self.window, len(self._waiting))
        self.taken += self._waiting[:size]
        del self._waiting[:size]
        if self.window is not None:
            self.window -= size
        if self.closing and not self._waiting:
            self.lose(None)


class SetClock(asyncio.SelectorEventLoop):
    """A loop whose clock goes on when it is told to."""

    now = 1000.0

    def time(self) -> float:
        return self.now


class Wire:
    """One connection of a server whose other end is the test.

    Args:
        callback: The application.
        window: As for ``FakeTransport``.
        address: The peer's.
        family: The kind of socket.
        options: Of ``HTTPServer``.
    """

    def __init__(
        self,
        callback: Callable[[HTTPRequest], object],
        *,
        window: int | None = None,
        address: Any = ("192.0.2.7", 4711),
        family: int = socket.AF_INET,
        **options: Any,
    ) -> None:
        self.loop = SetClock()
        self.server = HTTPServer(callback, io_loop=self.loop, **options)
        protocol = self.server.new_protocol(self.loop, address)
        assert isinstance(protocol, HTTPConnection)
        self.connection = WatchedConnection.watch(protocol)
        self.transport = FakeTransport(self.loop, protocol, window, family)
        protocol.connection_made(self.transport)

    @property
    def stream(self) -> IOStream:
        """What the application reads from and writes to by itself."""
        return self.connection.stream

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.transport.lose(None)
        self.turn()
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        self.turn()
        self.loop.close()
        assert self.connections == 0
        assert self.transitions <= TRANSITIONS

    @property
    def connections(self) -> int:
        """How many connections the server has."""
        return len(self.server._settings.pool)

    @property
    def transitions(self) -> set[Transition]:
        """What the variables of the connection have been through."""
        transitions: set[Transition] = self.connection.__dict__["transitions"]
        return transitions

    def turn(self, times: int = 10) -> None:
        """Let the loop go round."""
        for _ in range(times):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()
            # The flag that is kept says what the states say.
            assert self.connection._fast == self.connection._may_be_fast()
            self._check_counters()

    def _check_counters(self) -> None:
        """The numbers that are kept say what a look at the connection says."""
        counters = self.server._settings.counters
        in_flight = counters["begun"] - counters["ended"]
        if not self.connections:
            assert in_flight == counters["receiving"] == 0
            return
        connection = self.connection
        part = connection.parser.receiving_head or connection.parser.receiving_body
        assert in_flight == (connection._request is not None)
        if part and connection.is_open and not in_flight:
            assert counters["receiving"] == 1
        elif connection._lifecycle.name == "LINGERING":
            assert counters["receiving"] == 0

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function in the loop, and let it go round."""
        self.loop.call_soon(function, *args)
        self.turn()

    def send(self, *pieces: bytes) -> None:
        """Be a client that sends these, each of them one read."""
        for piece in pieces:
            self.transport.peer_sends(piece)
        self.turn()

    def half_close(self) -> None:
        """Be a client that sends nothing more."""
        self.transport.peer_sends(b"")
        self.turn()

    def reset(self) -> None:
        """Be a client that is gone."""
        self.transport.lose(ConnectionResetError("reset by the test"))
        self.turn()

    def take(self, size: int) -> None:
        """Be a client that reads so many bytes more."""
        self.transport.peer_takes(size)
        self.turn()

    def sent(self) -> bytes:
        """What the client has got since it was asked last."""
        taken = bytes(self.transport.taken)
        self.transport.taken.clear()
        return taken

    def pass_time(self, seconds: float, step: float = 0.25) -> None:
        """Let time go on; the server looks at its deadlines by its own clock."""
        end = self.loop.now + seconds
        while self.loop.now < end:
            self.loop.now = min(self.loop.now + step, end)
            self.turn(3)

    @property
    def ended(self) -> bool:
        """Whether the client sees the end of the stream."""
        return self.transport.eof_written or self.transport.closing
