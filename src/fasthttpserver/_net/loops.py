"""Which kind of asyncio loop is made, which loop a thread has, how much one reads at once."""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
from asyncio import AbstractEventLoop
from typing import Any

__all__ = [
    "bound_reads",
    "check_loop_kind",
    "is_uvloop",
    "new_asyncio_loop",
    "running_loop",
    "thread_loop",
]

_KINDS = ("asyncio", "uvloop", "auto")

# Bytes of one read of asyncio's: from 128 KiB on glibc's allocator has the system map the memory.
_MOST_READ = 122_880


def check_loop_kind(kind: str) -> str:
    """Return the name of a kind of loop; ValueError if it is none."""
    if kind not in _KINDS:
        raise ValueError(f"unknown event loop {kind!r}, expected one of {', '.join(_KINDS)}")
    return kind


def new_asyncio_loop(kind: str | None = None) -> AbstractEventLoop:
    """Make the asyncio loop behind an ``IOLoop`` of our own.

    Args:
        kind: ``"asyncio"``, ``"uvloop"``, or ``"auto"``, which is uvloop where it is
            installed. ``None`` asks the environment variable ``FASTHTTPSERVER_LOOP``;
            without it, ``"auto"``.

    Raises:
        ValueError: The kind is none of the three.
        ImportError: uvloop was asked for and is not installed.
    """
    kind = check_loop_kind(kind or os.environ.get("FASTHTTPSERVER_LOOP") or "auto")
    if kind != "asyncio":
        try:
            uvloop = importlib.import_module("uvloop")
        except ImportError as error:
            if kind == "uvloop":
                raise ImportError(
                    f"there is no uvloop ({error}); choose the loop asyncio, or install "
                    "fasthttpserver-llhttp[uvloop]",
                    name="uvloop",
                ) from error
        else:
            loop: AbstractEventLoop = uvloop.new_event_loop()
            return loop
    if sys.platform == "win32":  # the default loop there cannot watch a socket
        return asyncio.SelectorEventLoop()
    return asyncio.new_event_loop()


def is_uvloop(loop: AbstractEventLoop) -> bool:
    """Whether it is a loop of uvloop's."""
    uvloop = sys.modules.get("uvloop")
    return uvloop is not None and isinstance(loop, uvloop.Loop)


def running_loop() -> AbstractEventLoop | None:
    """Return the asyncio loop that runs in this thread."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def thread_loop() -> AbstractEventLoop | None:
    """Return the loop that runs in this thread or was set for it; never make one."""
    running = running_loop()
    if running is not None:
        return running
    loop: AbstractEventLoop | None
    if sys.version_info >= (3, 14):
        try:
            loop = asyncio.get_event_loop()
        except RuntimeError:
            return None
    else:
        # get_event_loop() would make a loop, up to 3.13; its policies keep theirs here.
        local = getattr(asyncio.get_event_loop_policy(), "_local", None)
        loop = getattr(local, "_loop", None)
    return None if loop is None or loop.is_closed() else loop


def bound_reads(transport: Any) -> None:
    """Have a transport of asyncio's read less at once than 256 KiB.

    It makes room for as much before it knows what has come, so the allocator mapped and unmapped
    memory for each read: three system calls and a page fault. uvloop's transports share a buffer.
    """
    if hasattr(transport, "max_size"):
        transport.max_size = _MOST_READ
