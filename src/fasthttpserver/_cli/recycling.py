"""When a worker is to be replaced: it has served, grown or lived enough."""

from __future__ import annotations

import argparse
import random
import time
from typing import Any

from fasthttpserver._net.processes import resident_memory

__all__ = ["Recycling"]

# Limits are raised at random by up to this share, so that workers that were started together do
# not reach them together.
_JITTER = 0.1


class Recycling:
    """Tells when a worker is to be replaced.

    Args:
        options: Have ``max_requests``, ``max_requests_jitter``, ``max_rss``, ``max_lifetime``.
        server: Counts its requests.
    """

    def __init__(self, options: argparse.Namespace, server: Any) -> None:
        self._server = server
        self._max_rss = options.max_rss
        self._end: float | None = None
        if options.max_lifetime:
            lifetime = options.max_lifetime * random.uniform(1, 1 + _JITTER)
            self._end = time.monotonic() + lifetime
        self._max_requests: int | None = None
        if options.max_requests:
            jitter = options.max_requests_jitter
            if jitter is None:
                jitter = int(options.max_requests * _JITTER)
            self._max_requests = options.max_requests + random.randint(0, jitter)

    @property
    def is_needed(self) -> bool:
        """Whether there is any limit."""
        return bool(self._max_rss or self._max_requests or self._end)

    def reason(self) -> str | None:
        """Return why it is to be replaced now; None if it is not."""
        if self._end is not None and time.monotonic() >= self._end:
            return "it has reached --max-lifetime"
        if self._max_requests and self._server.requests >= self._max_requests:
            return "it has served --max-requests"
        if self._max_rss and (resident_memory() or 0) >= self._max_rss:
            return "it has reached --max-rss"
        return None
