"""Which connection makes room for a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fasthttpserver._server.clock import Clock
    from fasthttpserver._server.connection import HTTPConnection
    from fasthttpserver._server.pool import Pool

__all__ = ["Eviction"]

# Seconds for which a new connection is not idle: its first request is on its way.
_FRESH = 0.05
# All connections are looked at again after one call for so many of them: calls stay cheap.
_LOOK_SHARE = 16


class Eviction:
    """The order in which connections of a pool that have nothing to do are given up.

    Args:
        pool: The connections.
        clock: Whose time tells how long they have been idle.
    """

    def __init__(self, pool: Pool, clock: Clock) -> None:
        self._pool = pool
        self._clock = clock
        self._idle: list[HTTPConnection] = []  # at the latest look, the longest idle last
        self._looked = -1.0
        self._asked = 0  # how often, since

    def longest_idle(self) -> HTTPConnection | None:
        """Return the connection that has been idle for the longest time, or None.

        The order is made once in a turn of the clock, or after enough calls, so that many calls
        cost little.
        """
        self._asked += 1
        pool = self._pool
        looked = False
        while True:
            while self._idle:
                connection = self._idle.pop()
                if connection in pool and connection.idle and not connection.input_waits:
                    return connection
            few = self._asked * _LOOK_SHARE < len(pool)
            if looked or (few and self._looked == self._clock.now):
                return None
            self._look()
            looked = True

    def _look(self) -> None:
        self._looked = self._clock.now
        self._asked = 0
        pool = self._pool
        idle = [each for each in pool.resting if each.idle]
        if pool.active:
            oldest = next(iter(pool.active)).loop.time() - _FRESH
            idle += [each for each, made in pool.active.items() if made <= oldest and each.idle]
        idle.sort(key=_idle_since, reverse=True)
        self._idle = idle


def _idle_since(connection: HTTPConnection) -> float:
    return connection.idle_since
