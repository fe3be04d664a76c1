"""How a process starts again when a file of its modules has changed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from fasthttpserver._net.ioloop import IOLoop

__all__ = ["watch_modules"]

_INTERVAL = 0.5  # seconds


def watch_modules(io_loop: IOLoop, restart: Callable[[], None]) -> None:
    """Call `restart` once when the file of an imported module has changed."""
    before = _times()

    def look() -> None:
        nonlocal before
        now = _times()
        if any(now[name] != time for name, time in before.items() if name in now):
            restart()
            return
        before = now  # with modules that were imported meanwhile
        io_loop.call_later(_INTERVAL, look)

    io_loop.call_later(_INTERVAL, look)


def _times() -> dict[str, int]:
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    times = {}
    for name in files:
        if name is not None:
            try:
                times[name] = os.stat(name).st_mtime_ns
            except OSError:
                continue  # gone, or being written
    return times
