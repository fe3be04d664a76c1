"""A body that an application reads in one thread while it arrives in another."""

from __future__ import annotations

import asyncio
import io
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from fasthttpserver.errors import StreamClosedError
from fasthttpserver.wsgi._pool import Pool

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

__all__ = ["BUFFER_SIZE", "Body"]

# Bytes of a body that wait for the application before its client has to: a piece of the
# server's. As many again may be in the reader.
BUFFER_SIZE = 65_536


class Body(io.RawIOBase):
    """What is between the loop, which feeds it, and the thread that reads it.

    Args:
        pool: Whose thread it is.
        ask: Called in the loop when the application reads for the first time.
    """

    def __init__(self, pool: Pool, ask: Callable[[], object]) -> None:
        self._pool = pool
        self._ask: Callable[[], object] | None = ask
        self._changed = threading.Condition()
        self._pieces: deque[memoryview] = deque()
        self._size = 0
        self._whole = False  # nothing follows
        self._failed = False  # and never will
        self._room: asyncio.Future[None] | None = None  # done when more may come

    # --- In the loop ----------------------------------------------------------------------

    def feed(self, piece: bytes) -> asyncio.Future[None] | None:
        """Add a piece; the future, if any, is done when the next one may come."""
        with self._changed:
            self._pieces.append(memoryview(piece))
            self._size += len(piece)
            self._room = self._pool.loop.create_future() if self._size >= BUFFER_SIZE else None
            self._changed.notify()
            return self._room

    def end(self) -> None:
        """All has come."""
        with self._changed:
            self._whole = True
            self._changed.notify()

    def fail(self) -> None:
        """The rest will not come."""
        with self._changed:
            self._failed = True
            self._changed.notify()

    # --- In the thread --------------------------------------------------------------------

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Wait for some of the body; 0 at its end.

        Raises:
            StreamClosedError: The client has gone, or was too slow.
        """
        target = memoryview(buffer).cast("B")
        with self._changed:
            if self._ask is not None:
                self._pool.post(self._ask)
                self._ask = None
            while not (self._pieces or self._whole or self._failed):
                self._changed.wait()
            if not self._pieces:
                if self._failed:
                    raise StreamClosedError(None)
                return 0
            piece = self._pieces.popleft()
            size = min(len(piece), len(target))
            target[:size] = piece[:size]
            if size < len(piece):
                self._pieces.appendleft(piece[size:])
            self._size -= size
            if self._room is not None and self._size < BUFFER_SIZE:
                self._pool.post(partial(_resolve, self._room))
                self._room = None
        return size


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
