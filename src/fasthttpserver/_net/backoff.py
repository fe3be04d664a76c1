"""How long to wait before a process that has failed is started again."""

from __future__ import annotations

import time
from collections import deque

__all__ = ["Backoff"]

# Seconds after the first failure, which double with each that follows it within the window: what
# cannot work does not use up a CPU, and what works again is soon started.
_FIRST = 0.1
_LONGEST = 5.0
_WINDOW = 60.0
# A process that lived for so many seconds has not failed to start.
_SHORT_LIFE = 1.0


class Backoff:
    """Counts failures in the last minute."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def __len__(self) -> int:
        """How many there were."""
        while self._times and self._times[0] < time.monotonic() - _WINDOW:
            self._times.popleft()
        return len(self._times)

    def failed(self, lifetime: float = 0.0) -> float:
        """Count a failure, and return how many seconds to wait.

        Args:
            lifetime: Seconds for which the process did its work.
        """
        if lifetime >= _SHORT_LIFE:
            return 0.0
        self._times.append(time.monotonic())
        return float(min(_FIRST * 2 ** (len(self) - 1), _LONGEST))

    def reset(self) -> None:
        """Forget them: somebody has changed what was wrong."""
        self._times.clear()
