"""Lines that are collected, and appended to a file with one write."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable, Iterator
from contextvars import Context
from typing import Any
from weakref import WeakSet, finalize

from fasthttpserver.log import gen_log

__all__ = ["FileOutput", "Output", "StreamOutput", "flush_lines", "reopen_files"]

# Seconds between two writes, and bytes after which one comes sooner: a line is on disk
# soon, and a busy server makes few writes.
_INTERVAL = 0.25
_ENOUGH = 65_536

# A FIFO that nobody reads would be waited for, by the whole loop when it is opened anew.
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)

_outputs: WeakSet[Output] = WeakSet()


class Output:
    """Takes lines, and writes those of one turn of the loop, or of a quarter of a second, at once.

    It may be shared by servers whose loops run in one thread. What cannot be written is lost:
    a WARNING says so once, until it works again.
    """

    def __init__(self) -> None:
        self.lines: list[bytes] = []  # that wait
        self._size = 0
        self._loop: Any = None  # that will flush
        self._written_at = -_INTERVAL
        self._lost = 0
        self._is_cut = False  # what was written may end within a line
        _outputs.add(self)

    def add(self, line: bytes, loop: Any) -> None:
        """Write a line, soon.

        Args:
            line: Without its end.
            loop: The asyncio loop that runs.
        """
        self.lines.append(line)
        self._size += len(line)
        if self._loop is not loop:
            self._loop = loop
            wait = self._written_at + _INTERVAL - loop.time()
            if wait <= 0:
                loop.call_soon(self._flush_in_time, loop, context=Context())
            else:
                loop.call_later(min(wait, _INTERVAL), self._flush_in_time, loop, context=Context())
        elif self._size > _ENOUGH:
            self.flush()

    def _flush_in_time(self, loop: Any) -> None:
        if self._loop is loop:
            self._loop = None
        self._written_at = loop.time()
        self.flush()

    def flush(self) -> None:
        """Write what waits, now."""
        lines, self.lines = self.lines, []
        self._size = 0
        if not lines:
            return
        lines.append(b"")
        try:
            self.write((b"\n" if self._is_cut else b"") + b"\n".join(lines))
        except OSError as error:
            self._is_cut = self._is_cut or isinstance(error, _CutError)
            if not self._lost:
                gen_log.warning("Cannot write the access log, lines are lost: %s", error)
            self._lost += len(lines) - 1
        else:
            self._is_cut = False
            if self._lost:
                gen_log.warning("The access log is written again, %d lines are lost", self._lost)
                self._lost = 0

    def write(self, data: bytes) -> None:
        """Write whole lines.

        Raises:
            OSError: It cannot be done.
        """
        raise NotImplementedError

    def reopen(self) -> None:
        """Go on in a new file, if it is one and has been moved away."""
        self.flush()


class _CutError(OSError):
    """Some of it was written."""


class FileOutput(Output):
    """Appends to a file, which other processes may append to as well.

    Args:
        path: Of the file; it is made if it is not there.

    Raises:
        OSError: It cannot be opened.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = self._open()
        super().__init__()
        # Not at exit, when what waits is still written.
        finalize(self, os.close, self._fd).atexit = False

    def _open(self) -> int:
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _NONBLOCK, 0o666)
        if _NONBLOCK:
            os.set_blocking(fd, True)
        return fd

    def write(self, data: bytes) -> None:
        _write_all(self._fd, data)

    def reopen(self) -> None:
        super().reopen()
        try:
            new = self._open()
        except OSError as error:
            gen_log.warning("Cannot reopen the access log, going on with the old file: %s", error)
            return
        os.dup2(new, self._fd, inheritable=False)
        os.close(new)
        self._is_cut = False


class StreamOutput(Output):
    """Writes to ``sys.stderr`` or ``sys.stdout``, whatever that is at the time.

    Args:
        name: Of it.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def write(self, data: bytes) -> None:
        stream = getattr(sys, self._name)
        if stream is None:
            return  # a program without a console
        try:
            fd = stream.fileno()
        except (AttributeError, OSError, ValueError):  # not a file: in a notebook, for instance
            try:
                stream.write(data.decode())
                stream.flush()
            except ValueError as error:  # closed
                raise OSError(str(error)) from error
        else:
            stream.flush()  # what was written before comes before
            _write_all(fd, data)


def _write_all(fd: int, data: bytes) -> None:
    # One write, so that lines of several processes do not mix; more only if the disk is full,
    # or a pipe does not take all.
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except OSError as error:
            if len(view) < len(data):
                raise _CutError(*error.args) from error
            raise


def _for_all(do: Callable[[Output], None]) -> None:
    outputs: Iterator[Output] = iter(list(_outputs))
    for output in outputs:
        do(output)


def flush_lines() -> None:
    """Write what waits, as the process may end now."""
    _for_all(lambda output: output.flush())


def reopen_files() -> None:
    """Have all access logs go on in new files, as the old ones have been moved away."""
    _for_all(lambda output: output.reopen())


atexit.register(flush_lines)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=flush_lines)  # or the child would write the same lines again
