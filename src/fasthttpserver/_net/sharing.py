"""How workers that accept from the same sockets share the clients fairly.

The kernel wakes all workers for a client, and the fastest takes it; in a burst it takes them all.
So each worker writes to shared memory how many connections it has, and one that is well ahead of
another lets that one go first.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable

__all__ = [
    "ACCEPTS_PER_TURN",
    "GLANCE",
    "PATIENCE",
    "STUCK",
    "Board",
    "Courtesy",
    "Place",
    "join",
    "place",
]

_WORD = 8  # bytes; processors write as many at once
# How far a worker may be ahead: by so many connections, and by this share of the other's. With an
# exact balance workers would wait for each other where connections are short.
_LEAD = 4
_LEAD_SHARE = 8
# Clients accepted in one turn: in between, a worker sees which connections have ended.
ACCEPTS_PER_TURN = 8
# Seconds after which a worker that leaves a client to others checks whether one has taken it;
# after which it takes the client itself, which does not notice ten milliseconds; and after which
# a worker that has not looked counts as stuck: on a busy machine a process may wait for long.
GLANCE = 0.001
PATIENCE = 0.01
STUCK = 0.1
# Seconds without a client after which the next one begins another burst, and connections are
# counted anew.
_PAUSE = 0.1
# Seconds for which a number in shared memory is taken as current.
_FRESH = 0.01
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

    def least(self, alive: float, fresh: float) -> int | None:
        """Return the number of connections of the worker with the fewest; None without any.

        Args:
            alive: Workers that have not looked since then do not count.
            fresh: Workers that have not looked since then may have none any more.
        """
        least: int | None = None
        for row in range(self._used[0]):  # a generator would take three times as long
            connections, woken = self.connections[row], self.woken[row]
            if connections != _NOT_ACCEPTING and woken >= alive:
                if woken < fresh:
                    return 0
                if least is None or connections < least:
                    least = connections
        return least


class Place:
    """The row of this process."""

    __slots__ = ("board", "row")

    def __init__(self, board: Board, row: int) -> None:
        self.board = board
        self.row = row

    def beat(self) -> None:
        """Show that the loop runs."""
        self.board.beats[self.row] = time.monotonic()

    def look(self, connections: int) -> None:
        """Say that this process looks for clients, and how many connections it has."""
        self.board.connections[self.row] = connections
        self.board.woken[self.row] = time.monotonic()

    def lose_one(self) -> None:
        """Say that a connection has ended, so that others see the current number."""
        connections = self.board.connections
        if connections[self.row] > 0:
            connections[self.row] -= 1

    def leave(self) -> None:
        """Say that this process accepts no more."""
        self.board.clear(self.row)


class Courtesy:
    """Tells a worker, for one listening socket, when another one should have the next client.

    Args:
        place: Of this worker.
        count: Returns how many connections it has. Only asked now and then: between, those that
            come and go are counted.
    """

    __slots__ = (
        "_burst_since",
        "_count",
        "_counted_at",
        "_held_at",
        "_held_since",
        "_stuck_before",
        "_taken",
        "_taken_at",
        "_waiting_since",
        "place",
    )

    def __init__(self, place: Place, count: Callable[[], int]) -> None:
        self.place = place
        place.look(count())  # to be seen by others
        self._count = count
        self._counted_at = time.monotonic()
        self._held_since = 0.0  # since when clients are left to others
        self._held_at = 0.0  # when that was decided last
        self._waiting_since = 0.0  # since when none was taken
        self._stuck_before = 0.0  # workers that have not looked since then are stuck
        self._burst_since = 0.0  # since when clients come one after the other
        self._taken = 0  # how many of these were accepted here
        self._taken_at = 0.0  # when the last one was

    def is_due(self) -> bool:
        """Whether to leave the next client to others."""
        place = self.place
        board = place.board
        now = board.woken[place.row] = time.monotonic()
        if now - self._counted_at > _PAUSE:
            self._counted_at = now
            board.connections[place.row] = self._count()
        if now - self._taken_at > _PAUSE:
            self._burst_since = now
            self._taken = 0
        connections = board.connections[place.row]
        if connections <= _LEAD:
            return False
        # Of a burst only the first few are taken before the other workers have looked too: their
        # numbers may be those of an earlier burst, whose clients have left since.
        fresh = max(self._burst_since, now - _FRESH) if self._taken >= _LEAD else 0.0
        least = board.least(self._stuck_before, fresh)
        if least is not None and connections > least + _LEAD + least // _LEAD_SHARE:
            return self._may_wait(now)
        self._held_since = 0.0
        return False

    def took(self) -> None:
        """Count a client that was accepted."""
        place = self.place
        self._taken += 1
        self._taken_at = place.board.woken[place.row]
        place.board.connections[place.row] += 1

    def _may_wait(self, now: float) -> bool:
        if not self._held_since or now - self._held_at > _PAUSE:  # it is another client
            self._held_since = self._waiting_since = now
        self._held_at = now
        if now - self._waiting_since < PATIENCE:
            return True
        self._waiting_since = now
        if now - self._held_since >= STUCK:
            self._stuck_before = self._held_since
        return False


_place: Place | None = None


def join(own: Place | None) -> None:
    """Share fairly, from now on, with the other processes that have a row on its board."""
    global _place
    _place = own


def place() -> Place | None:
    """Return the place of this process; None if it does not share."""
    return _place
