"""How long a connection may wait for what it waits for.

Serving stores nothing for this. The clock asks each connection what it waits for and how far
that has come, and compares the answer with the one before: no change means silence.
"""

from __future__ import annotations

import enum

from fasthttpserver.limits import Limits

__all__ = ["Deadlines", "Waiting"]


class Waiting(enum.Enum):
    """What a connection can wait for."""

    FIRST_HEAD = "the first request, from the accept on"
    HEAD = "the rest of a head"
    BODY = "the rest of a body"
    IDLE = "the next request"
    APPLICATION = "a response"
    DISCONNECTED = "a response to a client that sends no more, and may have gone"
    WRITING = "the client, to take what was written"
    LINGERING = "the client's end, after ours"


class Deadlines:
    """Since when one connection has been waiting for the same thing.

    Args:
        since: When that began, in seconds on the server's clock.
        waiting: What it waits for.
        message: The number of the message that this belongs to.
    """

    __slots__ = (
        "_judged_at",
        "_judged_progress",
        "_message",
        "_progress",
        "_since",
        "_started",
        "_waiting",
    )

    def __init__(
        self, since: float, waiting: Waiting = Waiting.FIRST_HEAD, message: int = 0
    ) -> None:
        self._waiting = waiting
        self._message = message
        self._progress = 0
        self._since = self._started = since
        # When the rate of a body was judged last, and its progress then.
        self._judged_at = since
        self._judged_progress = 0

    @property
    def waiting(self) -> Waiting:
        """What it waited for when it was asked last."""
        return self._waiting

    @property
    def since(self) -> float:
        """When there was progress last, in seconds on the server's clock."""
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
            now: Seconds on the server's clock.
        """
        if waiting is not self._waiting or message != self._message:
            self._waiting = waiting
            self._message = message
            self._started = now
            self._judged_at = now
            self._judged_progress = progress
            self._progress = -1
        if progress != self._progress:
            self._progress = progress
            self._since = now
        allowed = _allowed_silence(waiting, limits)
        if allowed is not None and now - self._since >= allowed:
            return True
        elapsed = now - self._started
        if waiting is Waiting.BODY:
            too_long = limits.body_timeout is not None and elapsed >= limits.body_timeout
            return too_long or self._is_too_slow(progress, limits, now)
        return waiting is Waiting.LINGERING and elapsed >= limits.linger_timeout

    def _is_too_slow(self, progress: int, limits: Limits, now: float) -> bool:
        """Judge the rate of a body, each time for the time since it was judged last.

        So bytes that came in a burst do not buy the right to trickle for days.
        """
        seconds = now - self._judged_at
        if seconds <= limits.body_grace:
            return False
        received = progress - self._judged_progress
        self._judged_at = now
        self._judged_progress = progress
        return received < (limits.body_min_rate or 0.0) * seconds


def _allowed_silence(waiting: Waiting, limits: Limits) -> float | None:
    match waiting:
        case Waiting.FIRST_HEAD | Waiting.HEAD:
            return limits.header_timeout
        case Waiting.BODY:
            return limits.body_stall_timeout
        case Waiting.IDLE | Waiting.DISCONNECTED:
            return limits.idle_connection_timeout
        case Waiting.WRITING:
            return limits.write_timeout
        case Waiting.LINGERING:
            return limits.linger_silence
        case Waiting.APPLICATION:
            return None
