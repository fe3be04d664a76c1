"""The connections of one server come in; every second each is asked whether it is overdue.

There is no timer for a connection or a request: one callback of the loop looks at all of
them. It sleeps while there are none.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Generic, Protocol, TypeVar

from fasthttpserver.limits import Limits

__all__ = ["Sweep"]

# Seconds for which a new connection is not idle: its first request is on its way.
_FRESH = 0.05
# Looking for idle connections costs as much as this many times asking for one may.
_LOOK_SHARE = 16

# Seconds that let the loop poll once.
_MOMENT = 0.001


class Swept(Protocol):
    """What can be overdue."""

    @property
    def requests(self) -> int:
        """How many whole requests it has received and answered."""
        ...

    @property
    def bytes_received(self) -> int:
        """How many bytes have come."""
        ...

    @property
    def idle_since(self) -> float | None:
        """Since when it has had nothing to do, on the sweep's clock; None if it has."""

    def check_deadlines(self, now: float) -> None:
        """Act if a deadline has passed; `now` is seconds on the sweep's clock."""


C = TypeVar("C", bound=Swept)


class Sweep(Generic[C]):
    """The open connections of one server, and the clock that looks at them.

    Args:
        loop: Whose time counts.
        limits: The deadlines; the shortest decides how often to look.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits) -> None:
        self.limits = limits
        self.connections: set[C] = set()
        self.refused: set[C] = set()  # of these; each is there for its reply only
        # Seconds, in which a loop that stood still counts for little: the bytes that came
        # meanwhile wait to be read, and their senders are not late.
        self.now = 0.0
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._last_run = 0.0
        self._stood_still = False  # the loop, when it was looked last
        self._empty: asyncio.Future[None] | None = None
        self.closed = 0  # connections
        # For HTTPServer.stats(): by status code, and by what was waited for.
        self.refusals: Counter[int] = Counter()
        self.timeouts: Counter[str] = Counter()
        self.bytes_sent = 0
        self._past_bytes = 0
        self._past_requests = 0  # of closed connections
        self._idle: list[C] = []  # at the latest look, the longest idle last
        self._idle_time = -1.0
        self._idle_asked = 0  # how often, since
        self._fresh: dict[C, float] = {}  # on the loop's clock
        # A second is as exact as anybody needs, unless a deadline itself is shorter.
        deadlines = (
            limits.header_timeout,
            limits.body_stall_timeout,
            limits.body_grace,
            limits.body_timeout,
            limits.idle_connection_timeout,
            limits.write_timeout,
            limits.linger_silence,
        )
        # None is off, and what is over at once has no time to look.
        shortest = min(time for time in deadlines if time)
        self._interval = max(_MOMENT, min(1.0, shortest / 4))

    def add(self, connection: C) -> None:
        """Look at a connection from now on."""
        self.connections.add(connection)
        time = self._fresh[connection] = self._loop.time()
        if self._timer is None:
            self._last_run = time
            self._timer = self._loop.call_later(self._interval, self._run)

    def discard(self, connection: C) -> None:
        """Forget a connection that is closed."""
        if connection not in self.connections:
            return
        self.connections.discard(connection)
        self.refused.discard(connection)
        self._fresh.pop(connection, None)
        self.closed += 1
        self._past_requests += connection.requests
        self._past_bytes += connection.bytes_received
        if not self.connections and self._timer is not None:
            self._timer.cancel()
            self._timer = None
            if self._empty is not None and not self._empty.done():
                self._empty.set_result(None)

    def add_sent(self, count: int) -> None:
        """Count bytes that are sent."""
        self.bytes_sent += count

    @property
    def requests(self) -> int:
        """How many whole requests were received and answered."""
        return self._past_requests + sum(each.requests for each in self.connections)

    @property
    def bytes_received(self) -> int:
        """How many bytes have come from clients."""
        return self._past_bytes + sum(each.bytes_received for each in self.connections)

    def longest_idle(self) -> C | None:
        """Return the connection that has been idle for the longest time, or None.

        The order is made once in a turn of the clock, or when enough have asked, so that
        many callers cost little.
        """
        self._idle_asked += 1
        looked = False
        while True:
            while self._idle:
                connection = self._idle.pop()
                if connection in self.connections and connection.idle_since is not None:
                    return connection
            few = self._idle_asked * _LOOK_SHARE < len(self.connections)
            if looked or (few and self._idle_time == self.now):
                return None
            self._look_for_idle()
            looked = True

    def _look_for_idle(self) -> None:
        self._idle_time = self.now
        self._idle_asked = 0
        self._forget_fresh()
        idle = [(each.idle_since, each) for each in self.connections if each not in self._fresh]
        self._idle = [
            each
            for _, each in sorted(
                ((since, each) for since, each in idle if since is not None),
                key=lambda pair: pair[0],
                reverse=True,
            )
        ]

    def _forget_fresh(self) -> None:
        oldest = self._loop.time() - _FRESH
        for connection in [each for each, time in self._fresh.items() if time <= oldest]:
            del self._fresh[connection]

    async def wait_empty(self, timeout: float | None = None) -> None:
        """Wait until no connection is left, or for `timeout` seconds."""
        if self.connections:
            if self._empty is None or self._empty.done():
                self._empty = self._loop.create_future()
            await asyncio.wait([self._empty], timeout=timeout)

    def _run(self) -> None:
        time = self._loop.time()
        passed = time - self._last_run
        self.now += min(passed, 2 * self._interval)
        self._last_run = time
        if passed > 1.25 * self._interval and not self._stood_still:
            # The loop stood still. What came meanwhile is read first, which uvloop would not do;
            # but only once, or a loop that is always busy would keep everybody for ever.
            self._stood_still = True
            self._timer = self._loop.call_later(_MOMENT, self._run)
            return
        self._stood_still = False
        self._timer = self._loop.call_later(self._interval, self._run)
        self._forget_fresh()
        for connection in list(self.connections):
            connection.check_deadlines(self.now)
