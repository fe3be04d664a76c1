"""A lock, so that only one process measures at a time.

Two benchmarks at once, pinned to the same cores, would spoil each other's figures unseen.
"""

import fcntl
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.root import ROOT

__all__ = ["alone"]


@contextmanager
def alone() -> Iterator[None]:
    """Hold the right for a with block; end the program if another process has it."""
    path = ROOT / "build" / "bench.lock"
    path.parent.mkdir(exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit("another benchmark is running")
        yield  # the lock ends with the file, however this process ends
