"""Hypothesis strategies that cut bytes into pieces, or spoil them."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable

from hypothesis import strategies as st

__all__ = ["POSITION", "POSITIONS", "cut", "mutations", "splits"]

# Places in bytes of any length: to be taken modulo that length.
POSITION = st.integers(0, 1 << 16)
POSITIONS = st.lists(POSITION, max_size=6)


def splits(data: bytes) -> st.SearchStrategy[list[bytes]]:
    """Ways to cut `data` into pieces, which may be empty; single bytes often."""
    places = st.one_of(POSITIONS, POSITIONS, st.just(range(len(data))))
    return places.map(functools.partial(cut, data))


def cut(data: bytes, positions: Iterable[int]) -> list[bytes]:
    """Cut bytes at positions, in any order, which count modulo one more than the length."""
    cuts = sorted(position % (len(data) + 1) for position in positions)
    edges = [0, *cuts, len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


# What turns a valid request into one that is not quite.
SPOILS = [
    *(bytes([byte]) for byte in b'\r\n \t:,;="\\%#*@[]/?+-_\x00\x0b\x7f\x80\xff05a'),
    *(b"\r\n", b"\r\n\r\n", b"\r\n ", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"http://"),
    *(b"Host: a\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"),
    *(b"Transfer-Encoding: gzip\r\n", b"Connection: close\r\n", b"Expect: 100-continue\r\n"),
    *(b"Upgrade: x\r\nConnection: upgrade\r\n", b"Expect: x\r\n", b"CONNECT ", b"OPTIONS "),
    *(b"X: y\r\n", b"chunked", b"close", b"0\r\n\r\n", b"5\r\n", b"ffffffffffffffff\r\n"),
    *(b"a" * 30, b" " * 30, b"\r\n" * 10, b"18446744073709551615"),
]


_EDITS = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "put", "remove", "repeat"]),
        POSITION,
        POSITION,
        st.sampled_from(SPOILS) | st.binary(max_size=3),
    ),
    max_size=4,
)


def mutations(data: bytes) -> st.SearchStrategy[bytes]:
    """`data` with some bytes put in, taken out, changed or repeated; perhaps none."""
    return _EDITS.map(functools.partial(_spoil, data))


def _spoil(data: bytes, edits: list[tuple[str, int, int, bytes]]) -> bytes:
    return functools.reduce(_edit, edits, data)


def _edit(data: bytes, edit: tuple[str, int, int, bytes]) -> bytes:
    kind, position, size, new = edit
    at = position % (len(data) + 1)
    match kind:
        case "put":
            return data[:at] + new + data[at + size % 4 :]
        case "remove":
            return data[:at] + data[at + size % 6 :]
        case _:
            return data[:at] + data[max(at - size % 60, 0) :]
