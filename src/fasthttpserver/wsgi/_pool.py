"""The threads that applications run in, and how these wake the loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue

__all__ = ["Mailbox", "Pool"]


class Mailbox:
    """Calls that threads want the loop to make, in the order in which they were posted.

    Waking a loop costs a system call on each side, so it is woken once for all calls that are
    posted before it has looked.

    Args:
        loop: Makes the calls.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._calls: deque[Callable[[], object]] = deque()
        self._woken = False

    def post(self, call: Callable[[], object]) -> None:
        """Have the loop call something that raises nothing; from any thread."""
        self._calls.append(call)
        # Two threads may both find it asleep; it is woken twice then, and no harm is done.
        if not self._woken:
            self._woken = True
            try:
                self.loop.call_soon_threadsafe(self._deliver)
            except RuntimeError:
                pass  # the loop is closed, and with it all that the call could reach

    def _deliver(self) -> None:
        self._woken = False  # first: what is posted from here on wakes it again
        calls = self._calls
        while calls:
            calls.popleft()()


class Pool:
    """At most so many threads, each started when all others are busy.

    Args:
        size: How many threads.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._jobs: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._over: deque[None] = deque()  # one for each job that has ended and is still counted
        self._running = 0
        self._threads = 0

    def submit(self, job: Callable[[], object]) -> None:
        """Run something that raises nothing in a thread; to be called in the loop."""
        over = self._over
        while over:
            over.pop()
            self._running -= 1
        self._running += 1
        if self._running > self._threads and self._threads < self._size:
            self._threads += 1
            # A daemon: a view that hangs must not keep the process from ending. What has to be
            # waited for is waited for by drain().
            threading.Thread(target=self._work, name="fasthttpserver.wsgi", daemon=True).start()
        self._jobs.put(job)

    def stop(self) -> None:
        """End the threads, each after what it is doing; the next job starts new ones."""
        for _ in range(self._threads):
            self._jobs.put(None)
        self._threads = 0

    def _work(self) -> None:
        get, over = self._jobs.get, self._over
        while (job := get()) is not None:
            job()
            del job  # it must not live on until the next one comes
            over.append(None)
