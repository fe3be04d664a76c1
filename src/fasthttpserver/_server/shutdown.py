"""How a process that serves ends on a signal: its servers drain, then its loop stops."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Protocol

from fasthttpserver._net import processes as process
from fasthttpserver._net.ioloop import IOLoop
from fasthttpserver._net.lines import flush_lines
from fasthttpserver.log import gen_log

__all__ = ["SAME_SIGNAL", "Shutdown", "drain_on_sigterm"]

# A service manager signals the whole process group, and the parent of forked workers passes the
# signal on too: what comes within this many seconds is the same request.
SAME_SIGNAL = 0.5


class Drained(Protocol):
    """A server that has to end in good order."""

    async def drain(self, timeout: float = ..., *, delay: float | None = ...) -> dict[str, int]: ...


class Shutdown:
    """Ends a process that serves on an ``IOLoop``.

    The first signal drains the servers and then stops the loop, so that ``IOLoop.start``
    returns. A later one ends the process at once.

    Args:
        io_loop: The loop.
        timeout: Seconds for the draining.
        on_begin: Called when the servers have begun to drain: nothing is accepted any more,
            unless they have a delay.
    """

    def __init__(
        self, io_loop: IOLoop, timeout: float = 30.0, on_begin: Callable[[], object] | None = None
    ) -> None:
        self.servers: list[Drained] = []
        self._io_loop = io_loop
        self._timeout = timeout
        self._on_begin = on_begin
        self._first: float | None = None
        self._task: asyncio.Task[None] | None = None
        # Drains without a delay, which end that of those before.
        self._hurried: list[asyncio.Task[dict[str, int]]] = []

    def install(self, *signals: int) -> None:
        """Handle these signals from now on, in the main thread."""
        for number in signals:
            with contextlib.suppress(NotImplementedError):  # on Windows
                # Has each signal wake the loop: one that comes to another thread, or just before
                # the loop begins to wait, interrupts nothing.
                self._io_loop.asyncio_loop.add_signal_handler(number, _wake)
            signal.signal(number, self._on_signal)

    def watch_parent(self) -> None:
        """Begin when the parent of this forked child is gone, too."""
        lifeline = process.lifeline()
        if lifeline is not None:
            self._io_loop.add_handler(lifeline, self._on_orphaned, IOLoop.READ)

    def _on_orphaned(self, lifeline: int, _events: int) -> None:
        self._io_loop.remove_handler(lifeline)
        gen_log.error("The parent of this process is gone, ending")
        self.begin(delay=0.0)  # whoever killed it may want the port

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        relayed = process.told_by_parent()  # maybe for the second time
        if self._first is None:
            self._first = now
            process.told_to_end()
        elif not relayed:
            if now - self._first > SAME_SIGNAL:
                flush_lines()
                os._exit(128 + number)
            return
        # No delay where it is replaced: others accept.
        delay = 0.0 if process.is_replaced() else None
        self._io_loop.add_callback_from_signal(self.begin, delay)

    def begin(self, delay: float | None = None) -> None:
        """Drain from now on; in the loop. More than once does no harm.

        Args:
            delay: As for ``HTTPServer.drain``; 0 ends that of a call before.
        """
        if self._task is None:
            self._task = self._io_loop.asyncio_loop.create_task(self._end(delay))
        elif delay == 0:
            self._hurried += self._drain(delay)

    def _drain(self, delay: float | None) -> list[asyncio.Task[dict[str, int]]]:
        loop = self._io_loop.asyncio_loop
        return [
            loop.create_task(server.drain(self._timeout, delay=delay)) for server in self.servers
        ]

    async def _end(self, delay: float | None) -> None:
        drains = self._drain(delay)
        await asyncio.sleep(0)  # in which each begins
        if self._on_begin is not None:
            self._on_begin()
        reports = await asyncio.gather(*drains, return_exceptions=True)
        await asyncio.gather(*self._hurried, return_exceptions=True)
        for report in reports:
            if isinstance(report, BaseException):
                gen_log.error("Draining failed", exc_info=report)
            else:
                gen_log.info("Drained: %s", _text(report))
        self._io_loop.stop()


def _wake() -> None:
    """Run in the loop for a signal that was handled already."""


def _text(report: dict[str, int]) -> str:
    if not any(report.values()):
        return "no client was connected"
    served, closed = _count(report["served"], "request"), _count(report["closed"], "connection")
    return f"{served} answered, {closed} closed, {report['aborted']} aborted"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


_of_process: Shutdown | None = None


def drain_on_sigterm(server: Drained, io_loop: IOLoop) -> None:
    """Have SIGTERM, and the end of the parent, drain a server in a forked worker.

    Does nothing where the application handles the signal by itself.
    """
    global _of_process
    if _of_process is None:
        if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
            return
        _of_process = Shutdown(io_loop)
        _of_process.install(signal.SIGTERM)
        _of_process.watch_parent()
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            _of_process.install(signal.SIGINT)  # Ctrl-C reaches all of the group
    if server not in _of_process.servers:
        _of_process.servers.append(server)
