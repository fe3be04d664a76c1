"""The open connections of one server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fasthttpserver._net import sharing
from fasthttpserver._server.counters import Counters

if TYPE_CHECKING:
    from fasthttpserver._server.clock import Clock
    from fasthttpserver._server.connection import HTTPConnection

__all__ = ["Pool"]


class Pool:
    """The connections that are open; ``len``, ``in`` and iteration work on all of them.

    Those that have been idle for a while rest: the clock does not look at them, unless something
    has come. Each connection is in one of the two dicts.

    Args:
        clock: Runs while there are any, and then once more.
        counters: Count those that come and go.
    """

    def __init__(self, clock: Clock, counters: Counters) -> None:
        # With the time when it was made, in the order in which they were made or woke.
        self.active: dict[HTTPConnection, float] = {}
        # With the bytes it had received, the longest idle first.
        self.resting: dict[HTTPConnection, int] = {}
        self.turned_away: set[HTTPConnection] = set()  # of these; there for their 503 only
        self._clock = clock
        self._counters = counters
        self._empty: asyncio.Future[None] | None = None

    def add(self, connection: HTTPConnection) -> None:
        """Take in a new connection."""
        self._counters.add_accepted()
        self.active[connection] = self._clock.start(connection.loop)

    def rest(self, connection: HTTPConnection) -> None:
        """Take note that a connection is idle."""
        del self.active[connection]
        self.resting[connection] = connection.bytes_received
        connection.rest()

    def settle(self) -> None:
        """Give back the memory that the active ones needed when they were many."""
        self.active = dict(self.active)

    def wake(self, connection: HTTPConnection) -> None:
        """Have a connection looked at again, if it rests."""
        received = self.resting.pop(connection, None)
        if received is not None:
            self.active[connection] = 0.0  # it is not new
            connection.wake(received)

    def __len__(self) -> int:
        return len(self.active) + len(self.resting)

    def __contains__(self, connection: object) -> bool:
        return connection in self.active or connection in self.resting

    def __iter__(self) -> Iterator[HTTPConnection]:
        """Iterate over those that there are now; they may be closed meanwhile."""
        return iter([*self.resting, *self.active])

    def discard(self, connection: HTTPConnection) -> None:
        """Forget a connection that is closed or detached; more than once does no harm."""
        if self.active.pop(connection, None) is None and self.resting.pop(connection, None) is None:
            return
        if self.turned_away:
            self.turned_away.discard(connection)
        place = sharing.place()
        if place is not None:
            place.lose_one()
        connection.parser.leave()
        self._counters.add_closed()
        if self._empty is not None and not self and not self._empty.done():
            self._empty.set_result(None)

    async def wait_empty(self, timeout: float | None = None) -> None:
        """Wait until no connection is left, or for `timeout` seconds."""
        if self:
            if self._empty is None or self._empty.done():
                self._empty = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._empty], timeout=timeout)
