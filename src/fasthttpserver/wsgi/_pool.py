"""The threads that applications run in, and their way back to the loop.

Handing a request to a thread and its answer back takes longer than a quick application does, and
most of that is waking one another. So the requests of one turn of the loop are handed to one thread
together, and the loop itself waits a moment for their answers: each side is woken once, by a lock,
and the interpreter's lock changes hands twice for all of them. Where that moment does not suffice,
other threads are woken for what has not begun, and the loop goes on with other work. For a while it
does not wait then: each request wakes a thread, and the answers wake the loop, once for all that
come before it looks.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TypeAlias

from fasthttpserver.log import app_log

__all__ = ["Pool"]

Call: TypeAlias = Callable[[], object]

# Seconds that the loop waits for answers, and after waiting in vain does without that. The first
# delays other clients, as a callback of that length would; by 2 % of the time at most.
_PATIENCE = 0.002
_IMPATIENCE = 0.1


class Pool:
    """At most so many threads, each started when all others are busy.

    Args:
        loop: That of the requests.
        size: How many threads.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, size: int) -> None:
        self.loop = loop
        self._size = size
        self._threads = 0
        self._running = 0  # jobs, those included that wait for a thread
        self._submitted: list[Call] = []  # in this turn of the loop
        self._jobs: deque[Call] = deque()
        self._wakes: SimpleQueue[bool] = SimpleQueue()  # one for each thread to be woken; or ended
        # What threads want the loop to call; None for a job that is over.
        self._calls: deque[Call | None] = deque()
        self._looks = False  # the loop will look at these without being woken
        self._waits = False  # it waits for `_done`
        self._done: SimpleQueue[None] = SimpleQueue()  # a thread has no job any more
        self._patient_at = 0.0

    # --- In the loop --------------------------------------------------------------------------

    @property
    def is_busy(self) -> bool:
        """Whether there are jobs that are not over."""
        return bool(self._submitted) or self._running > self._calls.count(None)

    def submit(self, job: Call) -> None:
        """Run something in a thread; what it raises is logged."""
        self._submitted.append(job)
        if len(self._submitted) == 1:
            self.loop.call_soon(self._hand_over)

    def stop(self) -> None:
        """End the threads, each after what it is doing; the next job starts new ones."""
        for _ in range(self._threads):
            self._wakes.put(False)
        self._threads = 0
        self._wakes = SimpleQueue()  # or a new thread would be ended in the place of a busy one

    def _hand_over(self) -> None:
        jobs, self._submitted = self._submitted, []
        self._look()  # which threads are free
        self._running += len(jobs)
        while self._threads < min(self._running, self._size):
            self._threads += 1
            # A daemon: a view that hangs must not keep the process from ending. What has to be
            # waited for is waited for by drain().
            threading.Thread(
                target=self._work, args=(self._wakes,), name="fasthttpserver.wsgi", daemon=True
            ).start()
        self._jobs.extend(jobs)
        now = monotonic()
        if now >= self._patient_at:
            self._wait(len(jobs), now + _PATIENCE)
        else:
            self._wake_threads(len(jobs))

    def _wake_threads(self, most: int) -> None:
        for _ in range(min(most, self._threads)):
            self._wakes.put(True)

    def _wait(self, jobs: int, end: float) -> None:
        """Wake a thread, and do what threads want until so many jobs are over, or time is."""
        left = self._running - jobs
        self._looks = self._waits = True
        self._wake_threads(1)
        try:
            while self._running > left:
                self._done.get(timeout=max(0.0, end - monotonic()))
                self._do_calls()
        except Empty:
            self._patient_at = end + _IMPATIENCE
        finally:
            # In any case: what has not begun relies on the first, threads on the other.
            self._wake_threads(len(self._jobs))
            self._waits = False
            self._look()

    def _look(self) -> None:
        """Do what threads want by now."""
        self._looks = False  # first: what is posted from here on wakes the loop
        self._do_calls()

    def _do_calls(self) -> None:
        calls = self._calls
        while calls:
            call = calls.popleft()
            if call is None:
                self._running -= 1
            else:
                call()

    # --- In threads -----------------------------------------------------------------------------

    def post(self, call: Call) -> None:
        """Have the loop call something that raises nothing, in the order of the posts."""
        self._calls.append(call)
        # Two threads may both find that it does not look; it is woken twice then, to no harm.
        if not self._looks:
            self._looks = True
            try:
                self.loop.call_soon_threadsafe(self._look)
            except RuntimeError:
                pass  # the loop is closed, and with it all that the call could reach

    def _work(self, wakes: SimpleQueue[bool]) -> None:
        jobs, over = self._jobs, self._calls.append
        while wakes.get():
            while (job := _next(jobs)) is not None:
                try:
                    job()
                except BaseException:
                    # For instance the SystemExit of a close(): fewer threads would be left.
                    app_log.error("Uncaught exception in a thread", exc_info=True)
                del job  # it must not live on until the next one comes
                over(None)
            if self._waits:
                self._done.put(None)


def _next(jobs: deque[Call]) -> Call | None:
    try:
        return jobs.popleft()
    except IndexError:
        return None  # another thread was faster
