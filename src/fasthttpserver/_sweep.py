"""The connections of one server come in; every second each is asked whether it is overdue.

There is no timer for a connection or a request: one callback of the loop looks at all of
them. It sleeps while there are none.
"""

from __future__ import annotations

import asyncio
import math
from typing import Protocol

from fasthttpserver._limits import Limits

__all__ = ["Sweep"]


class Swept(Protocol):
    """What can be overdue."""

    def check_deadlines(self, now: float) -> None:
        """Act if a deadline has passed; `now` is the loop's time in seconds."""


class Sweep:
    """The open connections of one server, and the clock that looks at them.

    Args:
        loop: Whose time counts.
        limits: The deadlines; the shortest decides how often to look.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: Limits) -> None:
        self.limits = limits
        self.connections: set[Swept] = set()
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        # A second is as exact as anybody needs, unless a deadline itself is shorter.
        self._interval = min(
            1.0,
            min(
                limits.header_timeout,
                limits.body_stall_timeout,
                limits.body_grace,
                limits.idle_connection_timeout,
                limits.write_timeout,
                limits.linger_silence,
                limits.body_timeout or math.inf,
            )
            / 4,
        )

    def add(self, connection: Swept) -> None:
        """Look at a connection from now on."""
        self.connections.add(connection)
        if self._timer is None:
            self._timer = self._loop.call_later(self._interval, self._run)

    def discard(self, connection: Swept) -> None:
        """Forget a connection that is closed."""
        self.connections.discard(connection)
        if not self.connections and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run(self) -> None:
        self._timer = self._loop.call_later(self._interval, self._run)
        now = self._loop.time()
        for connection in list(self.connections):
            connection.check_deadlines(now)
