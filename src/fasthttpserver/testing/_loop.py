"""An event loop whose time passes only as far as somebody waits for it.

An application that sleeps for a minute should not be tested for a minute. This loop looks
what is ready, and when nothing is, it puts its clock forward to the next timer. As long as
threads or sockets of the application are at work it waits for them as any other loop does.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from typing import Any, TypeVar, TypeVarTuple

__all__ = ["PatientLoop"]

# Seconds between two looks at threads, as work may end without waking the loop.
_GLANCE = 0.01

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class _Selector(selectors.DefaultSelector):
    loop: PatientLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        return super().select(self.loop.patience(timeout))


class PatientLoop(asyncio.SelectorEventLoop):
    """An asyncio loop that tells when it is idle, and does not wait for time to pass.

    Args:
        has_work_elsewhere: Tells whether threads are at work for it, besides those of its
            executors.
        watching: Makes a context for it to run in.
    """

    def __init__(
        self,
        has_work_elsewhere: Callable[[], bool],
        watching: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self._has_work_elsewhere = has_work_elsewhere
        self._watching = watching
        self._skipped = 0.0
        self._waits = 0  # how often it may still wait until it stops
        self._threads: set[asyncio.Future[Any]] = set()
        self._files = selector = _Selector()
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

    def patience(self, timeout: float | None) -> float | None:
        """Be told that nothing is ready; return how many seconds to wait for something else.

        Args:
            timeout: Seconds to the next timer; None if there is none.
        """
        if self._waits == 0:
            self.stop()
            return 0
        self._waits -= 1
        if self._has_work_elsewhere():
            return _GLANCE if timeout is None else min(timeout, _GLANCE)
        if timeout is None or self._threads or len(self._files.get_map()) > self._own_files:
            return timeout
        self._skipped += timeout
        return 0

    def run_forever(self) -> None:
        with self._watching():
            super().run_forever()

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

    def run(self, coroutine: Coroutine[Any, Any, T], timeout: float) -> T:
        """Run a coroutine, and return what it returns.

        Raises:
            TimeoutError: It takes longer than so many seconds of this loop's time.
        """
        task = self.create_task(coroutine)
        if not self.run_until(task.done, timeout):
            name = getattr(coroutine, "__qualname__", coroutine)
            raise TimeoutError(f"{name} takes longer than {timeout:g} seconds")
        return task.result()

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
