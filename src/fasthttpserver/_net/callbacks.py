"""What a loop calls: functions soon, at a time, or when a descriptor is ready.

This is the half of ``IOLoop`` that an application uses from inside its loop. A function
that raises is logged and the loop goes on; one that returns an awaitable is awaited.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import functools
import inspect
import os
import time
import traceback
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable
from types import FrameType
from typing import Any, Protocol

from fasthttpserver._net.loops import running_loop
from fasthttpserver.log import app_log, gen_log

__all__ = ["HasFileno", "LoopCallbacks"]


class HasFileno(Protocol):
    """A socket, a file, an end of a pipe."""

    def fileno(self) -> int: ...
    def close(self) -> None: ...


class LoopCallbacks:
    """What an asyncio loop calls, and what happens when that raises."""

    NONE = 0
    READ = 0x001
    WRITE = 0x004
    # Always implied: asyncio reports an error condition as READ, WRITE or both.
    ERROR = 0x018

    def __init__(self, asyncio_loop: AbstractEventLoop) -> None:
        self.asyncio_loop = asyncio_loop
        self._handlers: dict[int, tuple[int | HasFileno, Callable[[Any, int], object]]] = {}
        self._pending: set[asyncio.Future[Any]] = set()

    # Callbacks and timers

    def add_callback(self, callback: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        """Call a function on the next iteration of the loop; any thread may do this.

        Raises:
            RuntimeError: The loop is closed.
        """
        if running_loop() is self.asyncio_loop:
            self.asyncio_loop.call_soon(self.run_callback, callback, args, kwargs)
        else:
            self.asyncio_loop.call_soon_threadsafe(self.run_callback, callback, args, kwargs)

    spawn_callback = add_callback

    def add_callback_from_signal(
        self, callback: Callable[..., object], *args: Any, **kwargs: Any
    ) -> None:
        """Do the same from a signal handler: wakes the loop, whichever thread it runs in."""
        self.asyncio_loop.call_soon_threadsafe(self.run_callback, callback, args, kwargs)

    def add_future(self, future: Any, callback: Callable[[Any], object]) -> None:
        """Call ``callback(future)`` on this loop when the future is done.

        Args:
            future: One of asyncio's or of ``concurrent.futures``.
        """
        future.add_done_callback(lambda done: self.add_callback(callback, done))

    def time(self) -> float:
        """Return the time on which deadlines are given, in seconds since the epoch."""
        return time.time()

    def add_timeout(
        self,
        deadline: float | datetime.timedelta,
        callback: Callable[..., object],
        *args: Any,
        **kwargs: Any,
    ) -> TimerHandle:
        """Call a function at a time; one in the past means the next iteration.

        Args:
            deadline: A point on the scale of ``time()``, or a timedelta from now.

        Returns:
            A handle for ``remove_timeout``.

        Raises:
            TypeError: The deadline is neither a number nor a timedelta.
        """
        if isinstance(deadline, datetime.timedelta):
            return self.call_later(deadline.total_seconds(), callback, *args, **kwargs)
        if not isinstance(deadline, (int, float)):
            raise TypeError(f"expected a number or a timedelta as deadline, got {deadline!r}")
        return self.call_at(deadline, callback, *args, **kwargs)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, **kwargs: Any
    ) -> TimerHandle:
        """Call a function at a point on the scale of ``time()``."""
        return self.call_later(when - self.time(), callback, *args, **kwargs)

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, **kwargs: Any
    ) -> TimerHandle:
        """Call a function after a delay in seconds."""
        return self.asyncio_loop.call_later(
            max(0, delay), self.run_callback, callback, args, kwargs
        )

    def remove_timeout(self, timeout: TimerHandle) -> None:
        """Forget a timer; harmless when it has fired or was removed."""
        timeout.cancel()

    # File descriptors

    def add_handler(
        self, fd: int | HasFileno, handler: Callable[[Any, int], object], events: int
    ) -> None:
        """Call ``handler(fd, events)`` whenever, and as long as, a descriptor is ready.

        Args:
            fd: A number, or an object with ``fileno()``; the handler gets what was given.
            events: ``READ``, ``WRITE`` or both.

        Raises:
            ValueError: It has a handler already.
        """
        number = _fileno(fd)
        if number in self._handlers:
            raise ValueError(f"file descriptor {number} has a handler already")
        self._watch(number, events)  # first: a regular file, for instance, cannot be
        self._handlers[number] = fd, handler

    def update_handler(self, fd: int | HasFileno, events: int) -> None:
        """Wait for other events from now on; ValueError for a descriptor without handler."""
        number = _fileno(fd)
        if number not in self._handlers:
            raise ValueError(f"file descriptor {number} has no handler")
        self._watch(number, events)

    def remove_handler(self, fd: int | HasFileno) -> None:
        """Forget a descriptor, before it is closed; harmless for an unknown one."""
        number = _fileno(fd)
        if self._handlers.pop(number, None) and not self.asyncio_loop.is_closed():
            self._watch(number, self.NONE)

    def _remove_handlers(self, close: bool) -> None:
        for number, (fd, _) in list(self._handlers.items()):
            self.remove_handler(number)
            if close:
                _close_fd(fd)

    def _watch(self, number: int, events: int) -> None:
        # By number: uvloop keeps a socket object that it was given from being closed.
        loop = self.asyncio_loop
        if events & self.READ:
            loop.add_reader(number, self._on_ready, number, self.READ)
        else:
            loop.remove_reader(number)
        if events & self.WRITE:
            loop.add_writer(number, self._on_ready, number, self.WRITE)
        else:
            loop.remove_writer(number)

    def _on_ready(self, number: int, events: int) -> None:
        fd, handler = self._handlers[number]
        try:
            handler(fd, events)
        except BrokenPipeError:
            pass  # a peer that went away; its handler learns that by reading
        except Exception:
            self.handle_callback_exception(handler)

    # Failures

    def run_callback(
        self,
        callback: Callable[..., object],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> asyncio.Future[Any] | None:
        """Call a function now; whatever it raises, now or awaited, is logged.

        Returns:
            The task or future that is under way, if the function returned an awaitable.
        """
        try:
            result = callback(*args, **kwargs) if kwargs else callback(*args)
            if result is None or not inspect.isawaitable(result):
                return None
            future = asyncio.ensure_future(result, loop=self.asyncio_loop)
        except Exception:
            self.handle_callback_exception(callback)
            return None
        self._pending.add(future)  # asyncio itself holds tasks weakly
        future.add_done_callback(functools.partial(self._on_done, callback))
        return future

    def _on_done(self, callback: Callable[..., object], future: asyncio.Future[Any]) -> None:
        self._pending.discard(future)
        try:
            future.result()
        except asyncio.CancelledError:
            pass
        except Exception:
            self.handle_callback_exception(callback)

    def handle_callback_exception(self, callback: Callable[..., object]) -> None:
        """Log the exception that a callback raised; the loop goes on.

        A subclass may do something else; the exception is in ``sys.exc_info()``.
        """
        app_log.error("Exception in callback %r", callback, exc_info=True)

    def log_stack(self, signum: int, frame: FrameType | None) -> None:
        """Log where the program is: a signal handler for one that seems to hang."""
        gen_log.warning("Stack on signal %d:\n%s", signum, "".join(traceback.format_stack(frame)))

    def set_blocking_log_threshold(self, seconds: float | None) -> None:
        """Do nothing but say what to use instead: asyncio's debug mode logs slow callbacks."""
        gen_log.warning("Blocking thresholds are not supported; set PYTHONASYNCIODEBUG=1 instead")

    def set_blocking_signal_threshold(self, seconds: float | None, action: object = None) -> None:
        """Do the same; signals would interrupt system calls in the application."""
        self.set_blocking_log_threshold(seconds)


def _fileno(fd: int | HasFileno) -> int:
    return fd if isinstance(fd, int) else fd.fileno()


def _close_fd(fd: int | HasFileno) -> None:
    if isinstance(fd, int):
        with contextlib.suppress(OSError):  # closed by its owner
            os.close(fd)
    else:
        fd.close()
