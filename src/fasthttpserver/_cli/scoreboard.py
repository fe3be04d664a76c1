"""What the workers and their supervisor show to others, in shared memory.

The supervisor writes how each worker is, and each worker counts in a row of its own. So whoever
looks waits for nobody, and a worker that hangs shows its numbers too. When a worker has ended, the
supervisor adds its numbers to those of all that have: counters never go back.
"""

from __future__ import annotations

import mmap
import time
from array import array
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from fasthttpserver._net import sharing
from fasthttpserver._server.counters import SIZE, add_up, retire

__all__ = ["STATES", "Scoreboard", "View", "WorkerView"]

_WORD = 8  # bytes
# Of the service.
_VERSION, _STARTED, _STOPPING, _WANTED, _RESTARTS, _KILLED, _SERVICE_WORDS = range(7)
# Of a worker; without a state there is none.
_STATE, _NUMBER, _PID, _WORKER_WORDS = range(4)
STATES = ("", "starting", "accepting", "draining", "failed", "killed")
# How often a reader that sees the supervisor write looks again: it may have been killed meanwhile.
_LOOKS = 1000


class WorkerView(NamedTuple):
    """A worker at one moment.

    Attributes:
        number: That its successors have, too.
        state: One of ``STATES``.
        silent: Seconds since it has shown that its loop runs.
        numbers: A row of ``Counters``.
    """

    number: int
    pid: int
    state: str
    silent: float
    numbers: Sequence[int]


class View(NamedTuple):
    """The service at one moment.

    Attributes:
        stopping: Whether its end has begun.
        wanted: How many workers there are to be.
        restarts: Workers that were started in the place of one that failed.
        killed: Workers that the supervisor has killed.
        workers: Those that there are, also those that drain.
        total: Their row and that of all that have ended, added up.
    """

    stopping: bool
    wanted: int
    restarts: int
    killed: int
    workers: list[WorkerView]
    total: list[int]


class Scoreboard:
    """Memory for a service.

    Args:
        board: Of the same workers; they beat there.
    """

    def __init__(self, board: sharing.Board) -> None:
        self._board = board
        self._rows = rows = board.rows
        words = _SERVICE_WORDS + rows * _WORKER_WORDS
        memory = memoryview(mmap.mmap(-1, words * _WORD + (rows + 1) * SIZE))
        self._service = memory[: _SERVICE_WORDS * _WORD].cast("q")
        self._workers = memory[_SERVICE_WORDS * _WORD : words * _WORD].cast("q")
        self._counters = memory[words * _WORD :]
        self._service[_STARTED] = time.time_ns()

    def memory(self, row: int) -> memoryview:
        """Return where the worker with this row counts; the last row is of those that ended."""
        return self._counters[row * SIZE : (row + 1) * SIZE]

    # --- What the supervisor writes -------------------------------------------------------

    def publish(
        self,
        workers: Iterable[tuple[int, str, int, int]],
        stopping: bool,
        wanted: int,
        restarts: int,
        killed: int,
    ) -> None:
        """Show how things are.

        Args:
            workers: Row, state, number and pid of each.
            stopping, wanted, restarts, killed: As in ``View``.
        """
        for row, state, number, pid in workers:
            self._workers[row * _WORKER_WORDS + _NUMBER] = number
            self._workers[row * _WORKER_WORDS + _PID] = pid
            self._workers[row * _WORKER_WORDS + _STATE] = STATES.index(state)
        self._service[_STOPPING] = stopping
        self._service[_WANTED] = wanted
        self._service[_RESTARTS] = restarts
        self._service[_KILLED] = killed

    def retire(self, row: int) -> None:
        """Keep what a worker has counted that has ended, and free its row for another."""
        numbers = self.memory(row).cast("Q")
        ended = self.memory(self._rows).cast("Q")
        total = add_up([ended, retire(numbers)], started=0)
        self._service[_VERSION] += 1  # odd: a reader has to look again
        ended[:] = memoryview(array("Q", total))
        numbers[:] = memoryview(array("Q", bytes(SIZE)))
        self._workers[row * _WORKER_WORDS + _STATE] = 0
        self._service[_VERSION] += 1

    # --- What others read -------------------------------------------------------------------

    def view(self) -> View:
        """Look at the service."""
        for _ in range(_LOOKS):
            version = self._service[_VERSION]
            view = self._look()
            if version % 2 == 0 and version == self._service[_VERSION]:
                return view
        return self._look()

    def _look(self) -> View:
        now = time.monotonic()
        workers = []
        for row in range(self._rows):
            state = self._workers[row * _WORKER_WORDS + _STATE]
            if state:
                workers.append(
                    WorkerView(
                        self._workers[row * _WORKER_WORDS + _NUMBER],
                        self._workers[row * _WORKER_WORDS + _PID],
                        STATES[state],
                        max(0.0, now - self._board.beats[row]),
                        self.memory(row).cast("Q").tolist(),
                    )
                )
        ended = self.memory(self._rows).cast("Q").tolist()
        return View(
            bool(self._service[_STOPPING]),
            self._service[_WANTED],
            self._service[_RESTARTS],
            self._service[_KILLED],
            workers,
            add_up([ended, *(each.numbers for each in workers)], self._service[_STARTED]),
        )
