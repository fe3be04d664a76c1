"""How workers that accept from the same sockets leave each other a fair part of the clients.

The kernel wakes all workers for a client, and who is fastest takes it: of a crowd, everybody. So
each worker says in shared memory how many connections it has, and one that is well ahead of
another lets that one go first.
"""

from __future__ import annotations

import mmap
import time

__all__ = ["Board", "Place", "join", "place"]

_WORD = 8  # bytes; processors write as many at once
# A worker may be ahead by so many connections, and by this share of what the other has: to be
# exact would make it wait where connections are short.
_LEAD = 4
_LEAD_SHARE = 8
_NOT_ACCEPTING = -1


class Board:
    """Memory that the processes of a service share: a row of numbers for each.

    Args:
        rows: How many processes there may be at a time.

    Attributes:
        beats: When each has shown last that its loop runs, by the monotonic clock.
        woken: When each has looked last whether there is a client to accept.
        connections: How many each has, -1 for one that does not accept.
    """

    def __init__(self, rows: int) -> None:
        self.rows = rows
        memory = memoryview(mmap.mmap(-1, (3 * rows + 1) * _WORD))
        columns = [memory[i * rows * _WORD : (i + 1) * rows * _WORD] for i in range(3)]
        self.beats = columns[0].cast("d")
        self.woken = columns[1].cast("d")
        self.connections = columns[2].cast("q")
        self._used = memory[3 * rows * _WORD :].cast("q")  # no row from here on is in use
        for row in range(rows):
            self.connections[row] = _NOT_ACCEPTING

    def place(self, row: int) -> Place:
        """Give a row to a process that is about to be forked."""
        self.beats[row] = time.monotonic()
        self.clear(row)
        self._used[0] = max(self._used[0], row + 1)
        return Place(self, row)

    def clear(self, row: int) -> None:
        """Forget the connections of a process that has ended."""
        self.connections[row] = _NOT_ACCEPTING

    def least(self, since: float) -> int | None:
        """The connections of who has the fewest, of those that have looked since then."""
        used = self._used[0]
        rows = zip(self.connections[:used], self.woken[:used], strict=True)
        return min((count for count, woken in rows if count >= 0 and woken >= since), default=None)


class Place:
    """The row of this process."""

    __slots__ = ("_board", "_row")

    def __init__(self, board: Board, row: int) -> None:
        self._board = board
        self._row = row

    def beat(self) -> None:
        """Show that the loop runs."""
        self._board.beats[self._row] = time.monotonic()

    def is_ahead(self, connections: int, since: float) -> bool:
        """Say how many connections there are; tell whether another worker should accept.

        Args:
            connections: Of this process.
            since: Those who have not looked since then do not count: they are stuck.
        """
        self._board.connections[self._row] = connections
        self._board.woken[self._row] = time.monotonic()
        least = self._board.least(since)
        return least is not None and connections > least + _LEAD + least // _LEAD_SHARE

    def leave(self) -> None:
        """Say that this process accepts no more."""
        self._board.clear(self._row)


_place: Place | None = None


def join(own: Place | None) -> None:
    """Share fairly, from now on, with the other processes that have a row on its board."""
    global _place
    _place = own


def place() -> Place | None:
    """Return the place of this process; None if it does not share."""
    return _place
