"""An event loop whose time passes only as far as somebody waits for it.

An application that sleeps for a minute should not be tested for a minute. This loop looks
what is ready, and when nothing is, it puts its clock forward to the next timer. As long as
threads or sockets of the application are at work it waits for them as any other loop does.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple

__all__ = ["PatientLoop"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class _Selector(selectors.DefaultSelector):
    loop: PatientLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        return super().select(timeout) if self.loop.is_idle(timeout) else []


class PatientLoop(asyncio.SelectorEventLoop):
    """An asyncio loop that tells when it is idle, and does not wait for time to pass."""

    def __init__(self) -> None:
        self._skipped = 0.0
        self._waits = 0  # how often it may still wait until it stops
        self._threads: set[asyncio.Future[Any]] = set()
        self._watching = selector = _Selector()
        selector.loop = self
        super().__init__(selector)
        self._own_files = len(selector.get_map())

    def time(self) -> float:
        return super().time() + self._skipped

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        future = super().run_in_executor(executor, func, *args)
        self._threads.add(future)
        future.add_done_callback(self._threads.discard)
        return future

    def is_idle(self, timeout: float | None) -> bool:
        """Be told that nothing is ready; True if something else is to be waited for."""
        if self._waits == 0:
            self.stop()
            return False
        self._waits -= 1
        if timeout is None or self._threads or len(self._watching.get_map()) > self._own_files:
            return True
        self._skipped += timeout
        return False

    def run_until_idle(self, waits: int = 0) -> None:
        """Run until nothing is ready; wait so often for a timer or for others before."""
        self._waits = waits
        self.run_forever()

    def run_until(self, condition: Callable[[], object], timeout: float) -> bool:
        """Run until a condition holds when nothing is ready; tell whether it does.

        Args:
            condition: Called without arguments.
            timeout: Seconds of this loop's time.
        """
        deadline = self.time() + timeout
        timer = self.call_at(deadline, bool)  # so that there is always an end to wait for
        self.run_until_idle()
        while not (holds := bool(condition())) and self.time() < deadline:
            self.run_until_idle(waits=1)
        timer.cancel()
        return holds

    def close(self) -> None:
        """Cancel what still runs, and close."""
        if not self.is_closed() and not self.is_running():
            tasks = asyncio.all_tasks(self)
            for task in tasks:
                task.cancel()
            self.run_until(lambda: all(task.done() for task in tasks), 60.0)
            self._waits = 1 << 30  # the last ones have to end by themselves
            self.run_until_complete(self.shutdown_asyncgens())
            self.run_until_complete(self.shutdown_default_executor())
        super().close()
