"""What one server has done in this process, as numbers."""

from __future__ import annotations

from collections import Counter

__all__ = ["Counters"]


class Counters:
    """The counters of ``HTTPServer.stats()``.

    Attributes:
        closed: Connections.
        requests: Whole requests that were received and answered, of closed connections.
        bytes_received: Of closed connections.
        bytes_sent: Of all connections, if they are counted.
        refusals: Of all connections, by status code.
        timeouts: Of all connections, by what was waited for.
    """

    def __init__(self) -> None:
        self.closed = 0
        self.requests = 0
        self.bytes_received = 0
        self.bytes_sent = 0
        self.refusals: Counter[int] = Counter()
        self.timeouts: Counter[str] = Counter()

    def add_sent(self, count: int) -> None:
        """Count bytes that are sent."""
        self.bytes_sent += count
