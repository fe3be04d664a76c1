"""What a connection waits for comes in, again and again; whether it waits too long goes out.

Serving stores nothing for this. The sweep asks each connection what it waits for and how far
that has come, and compares the answer with the one before: no change means silence.
"""

from __future__ import annotations

import enum
import math

from fasthttpserver._limits import Limits

__all__ = ["Deadlines", "Waiting"]


class Waiting(enum.Enum):
    """What a connection can wait for."""

    FIRST_HEAD = "the first request, from the accept on"
    HEAD = "the rest of a head"
    BODY = "the rest of a body"
    IDLE = "the next request"
    APPLICATION = "a response"
    LEFT = "a response, by an application that was told that the client has gone"
    WRITING = "the client, to take what was written"
    LINGERING = "the client's end, after ours"


class Deadlines:
    """Since when one connection has been waiting for the same thing.

    Args:
        now: Seconds on the sweep's clock.
    """

    __slots__ = ("_message", "_progress", "_since", "_started", "_waiting")

    def __init__(self, now: float) -> None:
        self._waiting = Waiting.FIRST_HEAD
        self._message = 0
        self._progress = 0
        self._since = self._started = now

    @property
    def since(self) -> float:
        """When there was progress last, in seconds on the sweep's clock."""
        return self._since

    def overdue(
        self, waiting: Waiting, message: int, progress: int, limits: Limits, now: float
    ) -> bool:
        """Tell whether a deadline has passed.

        Args:
            waiting: What the connection waits for.
            message: The number of the message that it belongs to; each has its own time.
            progress: A number that changes with every progress in that.
            limits: The deadlines.
            now: Seconds on the sweep's clock.
        """
        if waiting is not self._waiting or message != self._message:
            self._waiting = waiting
            self._message = message
            self._started = now
            self._progress = -1
        if progress != self._progress:
            self._progress = progress
            self._since = now
        if now - self._since >= _allowed_silence(waiting, limits):
            return True
        elapsed = now - self._started
        if waiting is Waiting.BODY:
            too_slow = elapsed > limits.body_grace and progress < limits.body_min_rate * elapsed
            too_long = limits.body_timeout is not None and elapsed >= limits.body_timeout
            return too_slow or too_long
        return waiting is Waiting.LINGERING and elapsed >= limits.linger_timeout


def _allowed_silence(waiting: Waiting, limits: Limits) -> float:
    match waiting:
        case Waiting.FIRST_HEAD | Waiting.HEAD:
            return limits.header_timeout
        case Waiting.BODY:
            return limits.body_stall_timeout
        case Waiting.IDLE | Waiting.LEFT:
            return limits.idle_connection_timeout
        case Waiting.WRITING:
            return limits.write_timeout
        case Waiting.LINGERING:
            return limits.linger_silence
        case Waiting.APPLICATION:
            return math.inf
