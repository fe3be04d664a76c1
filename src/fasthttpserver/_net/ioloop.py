"""``IOLoop`` and ``PeriodicCallback``: Tornado's interface to asyncio loops.

There is one ``IOLoop`` object for each asyncio loop, made when it is first asked for.
Which loop is the current one is asyncio's own knowledge: the running one, else the one
that ``asyncio.set_event_loop`` was told, else the process-wide one, which is made on
demand. So ``asyncio.run(main())``, another library's loop and ours work alike, and
importing this module makes no loop and no thread: a program may still fork.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import datetime
import inspect
import logging
import math
import random
import signal
import threading
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, ClassVar

from fasthttpserver._net.callbacks import LoopCallbacks
from fasthttpserver._net.loops import check_loop_kind, new_asyncio_loop, running_loop, thread_loop
from fasthttpserver.log import app_log, gen_log

__all__ = [
    "IOLoop",
    "PeriodicCallback",
    "TimeoutError",
    "loop_exists",
    "new_asyncio_loop",
    "to_asyncio",
]

# What ``IOLoop.run_sync`` raises; one class with asyncio's, so that either name catches it.
TimeoutError = builtins.TimeoutError

_lock = threading.RLock()  # of the class variables of IOLoop that say which loops exist


class IOLoop(LoopCallbacks):
    """Tornado's interface to one asyncio loop.

    Args:
        asyncio_loop: The loop to drive; ``None`` makes one with ``new_asyncio_loop``.
        make_current: Make it this thread's current loop.

    Raises:
        RuntimeError: The asyncio loop has its IOLoop already; see ``from_asyncio``.
    """

    _singleton: ClassVar[IOLoop | None] = None
    _by_loop: ClassVar[dict[AbstractEventLoop, IOLoop]] = {}
    _kind: ClassVar[str | None] = None

    def __init__(
        self, asyncio_loop: AbstractEventLoop | None = None, *, make_current: bool = False
    ) -> None:
        super().__init__(asyncio_loop or new_asyncio_loop(IOLoop._kind))
        self._stop_asked = False
        with _lock:
            if self.asyncio_loop in IOLoop._by_loop:
                raise RuntimeError(f"{self.asyncio_loop!r} has an IOLoop already")
            IOLoop._forget_closed()
            IOLoop._by_loop[self.asyncio_loop] = self
        if make_current:
            self.make_current()

    # Which loop

    @classmethod
    def current(cls) -> IOLoop:
        """Return this thread's loop: the running one, else the one made current.

        A thread that has neither gets the process-wide loop. That is the one that the
        main thread was first seen with, or is made here, so that another thread can
        reach it with ``IOLoop.instance().add_callback(...)``.
        """
        loop = thread_loop()
        with _lock:
            IOLoop._forget_closed()
            if loop is None and IOLoop._singleton is not None:
                return IOLoop._singleton
            # Made current, lest asyncio.get_event_loop() make a second one.
            found = cls.from_asyncio(loop) if loop else cls(make_current=True)
            in_main_thread = threading.current_thread() is threading.main_thread()
            if IOLoop._singleton is None and (loop is None or in_main_thread):
                IOLoop._singleton = found
            return found

    @classmethod
    def instance(cls) -> IOLoop:
        """Return the process-wide loop, or this thread's own where it has one."""
        return cls.current()

    @classmethod
    def from_asyncio(cls, loop: AbstractEventLoop) -> IOLoop:
        """Return the one IOLoop of an asyncio loop."""
        with _lock:
            return IOLoop._by_loop.get(loop) or cls(loop)

    @staticmethod
    def initialized() -> bool:
        """Tell whether ``instance()`` would return a loop that exists already."""
        with _lock:
            IOLoop._forget_closed()
            return IOLoop._singleton is not None or thread_loop() is not None

    @staticmethod
    def _forget_closed() -> None:
        # Weak keys would not do, as each value holds its key.
        for loop in [loop for loop in IOLoop._by_loop if loop.is_closed()]:
            del IOLoop._by_loop[loop]
        if IOLoop._singleton and IOLoop._singleton.asyncio_loop not in IOLoop._by_loop:
            IOLoop._singleton = None

    @staticmethod
    def configure(impl: str | None) -> None:
        """Choose the kind of the loops that are made from now on.

        Args:
            impl: ``"asyncio"``, ``"uvloop"`` or ``"auto"``; ``None`` is the default again.

        Raises:
            ValueError: There is no such kind, as with Tornado's own poll loops.
        """
        IOLoop._kind = impl and check_loop_kind(impl)

    def install(self) -> None:
        """Make this the process-wide loop, and this thread's.

        Raises:
            AssertionError: There is one already.
        """
        with _lock:
            IOLoop._forget_closed()
            if IOLoop._singleton is not None:
                raise AssertionError("IOLoop instance has already been initialized")
            IOLoop._singleton = self
        self.make_current()

    def make_current(self) -> None:
        """Make this the loop of the calling thread, for asyncio too."""
        asyncio.set_event_loop(self.asyncio_loop)

    @staticmethod
    def clear_current() -> None:
        """Forget the loop that was made current in this thread."""
        asyncio.set_event_loop(None)

    # Running

    def start(self) -> None:
        """Run until ``stop()``; return at once if that was called beforehand.

        ``logging.basicConfig()`` is called if nobody has set up logging, as messages
        would be lost. Ctrl-C ends it with KeyboardInterrupt, when the callback that runs has
        returned; a second one interrupts that.
        """
        loggers = logging.getLogger(), gen_log.parent, app_log
        if not any(logger and logger.handlers for logger in loggers):
            logging.basicConfig()
        if self._stop_asked:
            self._stop_asked = False
        else:
            with self._interrupted_in_order():
                self.asyncio_loop.run_forever()

    @contextlib.contextmanager
    def _interrupted_in_order(self) -> Iterator[None]:
        """Have Ctrl-C stop the loop, and raise KeyboardInterrupt then.

        Python raises it wherever it is; in a method of a protocol, for instance, uvloop would log
        it and go on. A handler of the application's own stays.
        """
        interrupted = False

        def on_signal(signum: int, frame: FrameType | None) -> None:
            nonlocal interrupted
            if interrupted:
                raise KeyboardInterrupt
            interrupted = True
            self.stop()

        is_main = threading.current_thread() is threading.main_thread()
        if not is_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            yield
            return
        signal.signal(signal.SIGINT, on_signal)
        try:
            yield
        except RuntimeError as error:  # what was to be awaited is not done
            if not interrupted:
                raise
            raise KeyboardInterrupt from error
        finally:
            if signal.getsignal(signal.SIGINT) is on_signal:
                signal.signal(signal.SIGINT, signal.default_int_handler)
        if interrupted:
            raise KeyboardInterrupt

    def stop(self) -> None:
        """End ``start()`` after the current iteration, or the next one before it begins.

        Any thread and any signal handler may call this. (uvloop adds one iteration.)
        """
        if self.asyncio_loop.is_closed():
            return
        if running_loop() is self.asyncio_loop:
            self.asyncio_loop.stop()
        else:
            self._stop_asked = True
        # Wakes the loop too, when a signal handler calls this while it waits for events.
        self.asyncio_loop.call_soon_threadsafe(self._stop_if_asked)

    def _stop_if_asked(self) -> None:
        if self._stop_asked:
            self._stop_asked = False
            self.asyncio_loop.stop()

    def close(self, all_fds: bool = False) -> None:
        """Cancel the tasks that are left and free the loop, which must not be running.

        Args:
            all_fds: Close each file descriptor that has a handler, too.
        """
        loop = self.asyncio_loop
        if not loop.is_closed():
            tasks = asyncio.all_tasks(loop)
            for task in tasks:
                task.cancel()
            if tasks:
                loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._remove_handlers(close=all_fds)
        loop.close()
        with _lock:
            IOLoop._forget_closed()

    def run_sync(self, func: Callable[[], Any], timeout: float | None = None) -> Any:
        """Run the loop until a function is done, coroutine or plain; return its result.

        Args:
            func: Called without arguments in the loop; an awaitable result is awaited.
            timeout: Seconds until it is cancelled.

        Raises:
            TimeoutError: It took longer. What the function raises comes out as it is.
        """

        async def run() -> Any:
            deadline = asyncio.timeout(timeout)
            try:
                async with deadline:
                    result = func()
                    return await result if inspect.isawaitable(result) else result
            except TimeoutError:
                if not deadline.expired():
                    raise
                raise TimeoutError(f"Operation timed out after {timeout} seconds") from None

        with self._interrupted_in_order():
            return self.asyncio_loop.run_until_complete(run())


class PeriodicCallback:
    """Call a function again and again.

    The first call is one period after ``start()``. The times lie on a grid: when a call
    takes longer than a period, or is a coroutine that does, the ones that it missed are
    left out. An exception is logged and the timer goes on.

    Args:
        callback: Called without arguments; may be a coroutine function.
        callback_time: The period in milliseconds, or a timedelta.
        io_loop: Anything that ``to_asyncio`` knows; ``None`` is the current loop at
            ``start()``.
        jitter: The share of the period by which each one varies at random, half of it
            either way.

    Raises:
        ValueError: The period is not positive.
    """

    def __init__(
        self,
        callback: Callable[[], object],
        callback_time: float | datetime.timedelta,
        io_loop: object = None,
        *,
        jitter: float = 0.0,
    ) -> None:
        if isinstance(callback_time, datetime.timedelta):
            callback_time = callback_time / datetime.timedelta(milliseconds=1)
        if callback_time <= 0:
            raise ValueError("a periodic callback needs a positive callback_time")
        self.callback = callback
        self.callback_time = callback_time
        self.io_loop = io_loop
        self.jitter = jitter
        self._timer: TimerHandle | None = None

    def start(self) -> None:
        """Start the timer; nothing happens if it runs."""
        if self._timer is None:
            self._loop = IOLoop.from_asyncio(to_asyncio(self.io_loop))
            self._due = self._loop.asyncio_loop.time()
            self._schedule()

    def stop(self) -> None:
        """Stop the timer; a coroutine that is under way goes on."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def is_running(self) -> bool:
        """Tell whether the timer is started."""
        return self._timer is not None

    def _schedule(self) -> None:
        period = self.callback_time / 1000 * (1 + self.jitter * (random.random() - 0.5))
        # On asyncio's clock, which is never set back. A timer may fire a trifle early:
        # that is no reason to take the same point of the grid twice.
        late = self._loop.asyncio_loop.time() - self._due
        self._due += period * (1 + max(0, math.floor(late / period)))
        self._timer = self._loop.asyncio_loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        timer = self._timer
        future = self._loop.run_callback(self.callback)
        if future is None:
            self._go_on(timer)
        else:
            future.add_done_callback(lambda _: self._go_on(timer))

    def _go_on(self, timer: TimerHandle | None) -> None:
        if timer is self._timer is not None:  # neither stopped nor started anew meanwhile
            self._schedule()


def to_asyncio(io_loop: object = None) -> AbstractEventLoop:
    """Return the asyncio loop that is meant.

    Args:
        io_loop: ``None`` for the current loop, an asyncio loop, or an object that has one
            as its ``asyncio_loop``, as our ``IOLoop`` and Tornado's do.

    Raises:
        TypeError: It is none of these.
    """
    if io_loop is None:
        return IOLoop.current().asyncio_loop
    loop = getattr(io_loop, "asyncio_loop", io_loop)
    if not isinstance(loop, AbstractEventLoop):
        raise TypeError(f"expected an IOLoop or an asyncio event loop, got {io_loop!r}")
    return loop


def loop_exists() -> bool:
    """Tell whether this process has a loop, which children would share after a fork."""
    with _lock:
        IOLoop._forget_closed()
        return bool(IOLoop._by_loop) or thread_loop() is not None
