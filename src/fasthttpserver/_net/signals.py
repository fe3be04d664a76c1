"""Signals as events that a process waits for, and forking without losing one."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any

from fasthttpserver._net.lines import flush_lines

__all__ = ["SignalPipe", "do_nothing", "flush_output", "has_terminal"]


class SignalPipe:
    """Turns the signals that arrive into bytes in a pipe, until ``restore``.

    Args:
        signals: Which; SIGCHLD is added. One that is ignored remains so, for nohup and for "&"
            in a script.
    """

    def __init__(self, signals: Iterable[int]) -> None:
        self._signals = tuple(signals)
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> SignalPipe:
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        os.set_blocking(self._write_end, False)
        self._wakeup_fd = signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        for signum in (*self._signals, signal.SIGCHLD):
            # SIGCHLD must not be ignored, or the kernel would keep the children's status.
            if signum == signal.SIGCHLD or signal.getsignal(signum) != signal.SIG_IGN:
                self._handlers[signum] = signal.signal(signum, do_nothing) or signal.SIG_DFL
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.restore()

    def fileno(self) -> int:
        """What becomes readable when a signal has come."""
        return self._read_end

    def read(self) -> bytes:
        """Return the numbers of the signals that have come, if any."""
        with contextlib.suppress(BlockingIOError):
            return os.read(self._read_end, 4096)
        return b""

    @contextlib.contextmanager
    def blocked(self) -> Iterator[None]:
        """Block signals until a new child is known, or has its handlers."""
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, self._handlers)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def restore(self) -> None:
        """Bring back the handlers that were there before; twice does no harm."""
        if self._handlers:
            for signum, handler in self._handlers.items():
                signal.signal(signum, handler)
            self._handlers.clear()
            signal.set_wakeup_fd(self._wakeup_fd)
            os.close(self._read_end)
            os.close(self._write_end)


def do_nothing(signum: int, frame: FrameType | None) -> None:
    """Handle a signal by waking up; the interpreter has written its number into the pipe."""


def flush_output() -> None:
    """Write what is buffered, which a forked process would write again, and ``_exit`` lose."""
    flush_lines()
    for stream in sys.stdout, sys.stderr:
        with contextlib.suppress(AttributeError, OSError, ValueError):  # None or closed
            stream.flush()


def has_terminal() -> bool:
    """Tell whether this process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
