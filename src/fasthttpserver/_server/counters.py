"""What one server has done in this process, as numbers.

They are a row of 64-bit integers, so that they may be in memory shared with other processes. Those
of the command line are, so whoever reads them does not have to wait for a worker.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from fasthttpserver._net.processes import resident_memory
from fasthttpserver._parser import DURATION_BOUNDS, TALLY_FIELDS, Tally
from fasthttpserver._server.deadlines import Waiting

__all__ = ["SIZE", "Counters", "add_up", "describe", "retire"]

# The status codes that a request can be refused with.
_REFUSALS = range(400, 600)
_TIMEOUTS = [each.name.lower() for each in Waiting]
_FIELDS = (
    *TALLY_FIELDS,
    "accepted",
    "closed",
    "evictions",
    "aborts",
    "tls_handshake_failures",
    "refused_connections",
    "started",  # nanoseconds since the epoch
    *_TIMEOUTS,
    *_REFUSALS,
)
_INDEX = {name: index for index, name in enumerate(_FIELDS)}
_ACCEPTED, _CLOSED = _INDEX["accepted"], _INDEX["closed"]
_MODULUS = 1 << 64  # so that no number that a broken process has left is too large
# Bytes of the row.
SIZE = 8 * len(_FIELDS)


class Counters:
    """The counters of ``HTTPServer.stats()``.

    Attributes:
        tally: Those that are counted in C.
    """

    def __init__(self) -> None:
        memory = bytearray(SIZE)
        self.tally = Tally(memory)
        self._numbers = memoryview(memory).cast("Q")
        self._numbers[_INDEX["started"]] = time.time_ns()

    def move(self, memory: memoryview) -> None:
        """Go on counting in other memory, of ``SIZE`` bytes."""
        numbers = memory.cast("Q")
        numbers[:] = self._numbers
        self.tally.move(memory)
        self._numbers = numbers

    def add(self, name: str | int) -> None:
        """Count one more: of a field, a ``Waiting`` in lower case, or a status that refuses."""
        index = _INDEX.get(name)
        if index is not None:  # an application may refuse with any status
            self._numbers[index] += 1

    def add_accepted(self) -> None:
        """Count a connection that begins."""
        self._numbers[_ACCEPTED] += 1

    def add_closed(self) -> None:
        """Count a connection that has ended."""
        self._numbers[_CLOSED] += 1

    def __getitem__(self, name: str) -> int:
        return self._numbers[_INDEX[name]]

    @property
    def requests(self) -> int:
        """How many requests were answered."""
        return self["ended"] - self["cut"]

    def stats(self) -> dict[str, Any]:
        """Return what ``HTTPServer.stats()`` does."""
        return describe(list(self._numbers), resident_memory())


def retire(numbers: Sequence[int]) -> list[int]:
    """Return what is left of the row of a process that has ended, in whatever way."""
    left = list(numbers)
    unfinished = max(0, left[_INDEX["begun"]] - left[_INDEX["ended"]])
    left[_INDEX["cut"]] += unfinished
    left[_INDEX["ended"]] += unfinished
    left[_INDEX["closed"]] = left[_INDEX["accepted"]]
    left[_INDEX["receiving"]] = 0
    return left


def add_up(rows: Iterable[Sequence[int]], started: int) -> list[int]:
    """Return one row for several.

    Args:
        rows: At least one.
        started: When all of them began, in nanoseconds since the epoch.
    """
    total = [sum(column) % _MODULUS for column in zip(*rows, strict=True)]
    total[_INDEX["started"]] = started
    return total


def describe(numbers: Sequence[int], resident: int | None) -> dict[str, Any]:
    """Return the dict of ``HTTPServer.stats()``.

    Args:
        numbers: A row, or several ones added up.
        resident: Bytes of memory.
    """

    def of(name: str) -> int:
        return numbers[_INDEX[name]]

    # The two numbers are not read at the same moment, if another process counts.
    in_flight = max(0, of("begun") - of("ended"))
    active = in_flight + of("receiving")
    bounds = (*map(str, DURATION_BOUNDS), "inf")
    refusals = zip(_REFUSALS, numbers[_INDEX[_REFUSALS[0]] :], strict=True)
    return {
        "started": of("started") / 1e9,
        "connections": {
            "accepted": of("accepted"),
            "active": active,
            "idle": max(0, of("accepted") - of("closed") - active),
        },
        "requests": of("ended") - of("cut"),
        "in_flight": in_flight,
        "responses": {name: of(name) for name in ("2xx", "3xx", "4xx", "5xx")},
        "durations": {bound: of(f"duration_{i}") for i, bound in enumerate(bounds)},
        "seconds": of("nanoseconds") / 1e9,
        "cut": of("cut"),
        "bytes_received": of("bytes_received"),
        "bytes_sent": of("bytes_sent"),
        "refusals": {status: count for status, count in refusals if count},
        "timeouts": {name: count for name in _TIMEOUTS if (count := of(name))},
        "tls_handshake_failures": of("tls_handshake_failures"),
        "refused_connections": of("refused_connections"),
        "evictions": of("evictions"),
        "aborts": of("aborts"),
        "resident_memory": resident,
    }
