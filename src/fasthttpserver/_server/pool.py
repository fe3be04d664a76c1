"""The open connections of one server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fasthttpserver._server.counters import Counters

if TYPE_CHECKING:
    from fasthttpserver._server.clock import Clock
    from fasthttpserver._server.connection import HTTPConnection

__all__ = ["Pool"]


class Pool:
    """The connections that are open.

    Args:
        clock: Runs while there are any, and then once more.
        counters: Get what a connection has counted, when it is closed.
    """

    def __init__(self, clock: Clock, counters: Counters) -> None:
        # In the order in which they were made.
        self.connections: dict[HTTPConnection, float] = {}
        self.turned_away: set[HTTPConnection] = set()  # of these; there for their 503 only
        self._clock = clock
        self._counters = counters
        self._empty: asyncio.Future[None] | None = None

    def add(self, connection: HTTPConnection) -> None:
        """Take in a new connection."""
        self.connections[connection] = self._clock.start(connection.loop)

    def discard(self, connection: HTTPConnection) -> None:
        """Forget a connection that is closed or detached; more than once does no harm."""
        if self.connections.pop(connection, None) is None:
            return
        self.turned_away.discard(connection)
        counters = self._counters
        counters.closed += 1
        counters.requests += connection.requests
        counters.bytes_received += connection.bytes_received
        if not self.connections and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)

    @property
    def requests(self) -> int:
        """How many whole requests were received and answered."""
        return self._counters.requests + sum([each.requests for each in self.connections])

    @property
    def bytes_received(self) -> int:
        """How many bytes have come from clients."""
        received = [each.bytes_received for each in self.connections]
        return self._counters.bytes_received + sum(received)

    async def wait_empty(self, timeout: float | None = None) -> None:
        """Wait until no connection is left, or for `timeout` seconds."""
        if self.connections:
            if self._empty is None or self._empty.done():
                self._empty = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._empty], timeout=timeout)
