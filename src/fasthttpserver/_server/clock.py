"""When the connections of one server are asked whether they are overdue.

There is no timer for a connection or a request: one callback of the loop looks at all of
them. It sleeps while there are none.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fasthttpserver.limits import Limits

if TYPE_CHECKING:
    from fasthttpserver._server.connection import HTTPConnection
    from fasthttpserver._server.pool import Pool

__all__ = ["Clock"]

# Seconds that let the loop poll once.
_MOMENT = 0.001
# Connections that are looked at in one turn of the loop; they take about a millisecond.
_FEW = 256


class Clock:
    """The time that counts for deadlines.

    Args:
        limits: The deadlines; the shortest decides how often to look.

    Attributes:
        pool: The connections to look at.
    """

    pool: Pool

    def __init__(self, limits: Limits) -> None:
        # In seconds. Time in which the loop was blocked hardly counts: the bytes that came
        # meanwhile wait to be read, and their senders are not late.
        self.now = 0.0
        self._idle_timeout = limits.idle_connection_timeout or math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._last_run = 0.0
        self._stood_still = False  # whether the loop was blocked at the last run
        deadlines = (
            limits.header_timeout,
            limits.body_stall_timeout,
            limits.body_grace,
            limits.body_timeout,
            limits.idle_connection_timeout,
            limits.write_timeout,
            limits.linger_silence,
        )
        # A resolution of a second is enough, unless a deadline itself is shorter. None is off,
        # and 0 needs none.
        shortest = min(time for time in deadlines if time)
        self._interval = max(_MOMENT, min(1.0, shortest / 4))

    def start(self, loop: asyncio.AbstractEventLoop) -> float:
        """Start, unless it is running.

        Args:
            loop: Whose time counts; the same for all connections.

        Returns:
            The time now, of the loop.
        """
        time = loop.time()
        if self._timer is None:
            self._last_run = time
            self._timer = loop.call_later(self._interval, self._run, loop)
        return time

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        pool = self.pool
        if not pool:
            self._timer = None  # until the next start
            return
        time = loop.time()
        passed = time - self._last_run
        self.now += min(passed, 2 * self._interval)
        self._last_run = time
        if passed > 1.25 * self._interval and not self._stood_still:
            # The loop was blocked. What came meanwhile is read first, which uvloop would not do;
            # but only once, or no deadline would ever pass in a loop that is always busy.
            self._stood_still = True
            self._timer = loop.call_later(_MOMENT, self._run, loop)
            return
        self._stood_still = False
        self._timer = loop.call_later(self._interval, self._run, loop)
        self._wake_resting(pool)
        self._look_at(iter(list(pool.active)), loop)

    def _look_at(
        self, connections: Iterator[HTTPConnection], loop: asyncio.AbstractEventLoop
    ) -> None:
        pool = self.pool
        looked = 0
        for connection in itertools.islice(connections, _FEW):
            looked += 1
            # One that was closed meanwhile is no longer there.
            if connection in pool.active and connection.check_deadlines(self.now):
                pool.rest(connection)
        if looked == _FEW:
            loop.call_soon(self._look_at, connections, loop)
        elif len(pool.active) < len(pool.resting):
            pool.settle()

    def _wake_resting(self, pool: Pool) -> None:
        """Wake connections that have received something, and those that have rested too long.

        There may be ten thousand, so nothing more is done for each.
        """
        resting = pool.resting
        woken = [each for each, received in resting.items() if each.parser.received != received]
        for connection in woken:
            pool.wake(connection)
        while resting:
            longest = next(iter(resting))
            if self.now - longest.idle_since < self._idle_timeout:
                break
            pool.wake(longest)
