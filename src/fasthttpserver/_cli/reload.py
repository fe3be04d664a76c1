"""How a change of a module's file is noticed, for ``--reload``."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import sysconfig
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fasthttpserver._net.ioloop import IOLoop

__all__ = ["Watch"]

_INTERVAL = 0.5  # seconds


class Watch:
    """Calls a function once, when the file of an imported module has changed.

    With the package ``watchfiles`` the system tells of changes; without it, the times of the
    files are looked at twice a second.

    Args:
        io_loop: Where it is called.
        changed: The function.
        error: What importing has failed with: the files that it names count, too.
    """

    def __init__(
        self, io_loop: IOLoop, changed: Callable[[], None], error: BaseException | None = None
    ) -> None:
        self._io_loop = io_loop
        self._changed = changed
        self._named = _files_of(error)
        if error is not None:
            self._named.add(os.getcwd())  # or a file is missing
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._before = self._times()
        if importlib.util.find_spec("watchfiles") is None:
            io_loop.call_later(_INTERVAL, self._look)
        else:
            watchfiles = importlib.import_module("watchfiles")
            self._thread = threading.Thread(
                target=self._wait, args=(watchfiles,), name="reload", daemon=True
            )
            self._thread.start()

    def end(self) -> None:
        """Stop watching."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def _look(self) -> None:
        if self._ended.is_set():
            return
        if self._has_changed():
            self._changed()
            return
        self._io_loop.call_later(_INTERVAL, self._look)

    def _wait(self, watchfiles: Any) -> None:
        folders = {str(Path(name).resolve().parent) for name in self._before if _is_own(name)}
        begun = False
        for changes in watchfiles.watch(
            *folders | {os.getcwd()},
            stop_event=self._ended,
            recursive=False,
            raise_interrupt=False,
            watch_filter=watchfiles.PythonFilter(),
            rust_timeout=100,
            yield_on_timeout=True,
        ):
            # At first, for what has changed before the system began to watch.
            if (changes or not begun) and self._has_changed():
                self._io_loop.add_callback(self._changed)
                return
            begun = True

    def _has_changed(self) -> bool:
        before, self._before = self._before, self._times()  # with new modules
        return any(
            self._before[name] != time for name, time in before.items() if name in self._before
        )

    def _times(self) -> dict[str, int]:
        files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
        times = {}
        for name in files | self._named:
            if name is not None:
                try:
                    times[name] = os.stat(name).st_mtime_ns
                except OSError:
                    continue  # gone, or being written
        return times


def _files_of(error: BaseException | None) -> set[str]:
    """The files that an exception comes from, and those that made it."""
    found: set[str] = set()
    while error is not None:
        if isinstance(error, SyntaxError) and error.filename:
            found.add(error.filename)
        found.update(frame.filename for frame in traceback.extract_tb(error.__traceback__))
        error = error.__cause__ or error.__context__
    return found


def _is_own(name: str) -> bool:
    """Whether this is neither a file of Python nor of an installed package."""
    path = Path(name).resolve()
    paths = sysconfig.get_paths()
    return not any(path.is_relative_to(paths[each]) for each in ("stdlib", "purelib", "platlib"))
