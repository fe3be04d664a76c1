"""Whether strict peers read the same requests as the parser."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

import peers
import reference

__all__ = ["LIMITS", "check"]

# The first byte of an input chooses one, so that limits are met by short inputs too. The
# default must be the first: the seeds are vectors after a NUL.
LIMITS: list[dict[str, Any]] = [
    {},
    {"require_host": False},
    {"max_body_size": 5},
    {"max_header_count": 2},
    {"max_field_size": 16},
    {"max_request_line": 32},
    {"max_header_size": 64},
    {"max_header_size": 100, "max_request_line": 64, "max_field_size": 32, "max_body_size": 0},
]


def check(data: bytes, limits: dict[str, Any], take_over: bool, whole: tuple[Any, ...]) -> None:
    """Compare with h11 and with the plain reader of the tests.

    Raises:
        AssertionError: They see other requests.
    """
    requests, end, _ = whole
    _compare_with_reference(data, limits, requests, end)
    if end != "taken over":
        _compare_with_h11(data, requests, end)


def _compare_with_reference(
    data: bytes, limits: dict[str, Any], requests: list[Any], end: str
) -> None:
    bounds = {**reference.DEFAULT_LIMITS, **limits}
    require_host = bounds.pop("require_host", True)
    answer = reference.read(data, bounds, require_host)
    expected = [
        (request.method, request.uri, request.body, request.keep_alive, request.upgrade)
        for request in answer.requests
    ]
    got = [
        (seen[0].encode("latin-1"), seen[1].encode("latin-1"), seen[9], seen[3], seen[4])
        for seen in requests
    ]
    if end == "taken over":
        expected = expected[: len(got)]
    assert got == expected, (got, expected)
    ends = {
        "refused": ("refused", "unread", "body"),
        "closed": ("closed",),
        "open": ("open",),
        "head": ("unread",),
        "body": ("body",),
        "taken over": ("open", "closed", "unread", "body", "refused"),
    }
    assert answer.outcome in ends[end], (end, answer.outcome)


def _compare_with_h11(data: bytes, requests: list[Any], end: str) -> None:
    read = peers.read_h11(data)
    got = [(seen[0].encode("latin-1"), seen[1].encode("latin-1"), seen[9]) for seen in requests]
    both = min(len(got), len(read.requests))
    assert got[:both] == read.requests[:both], (got, read)
    # Where h11 refuses what we accept, or ends a connection that we keep, it reads nothing
    # else than we do. Where it waits for more of a request that is whole to us, it does.
    if read.end == "waiting":
        assert len(got) <= len(read.requests), (got, read)
    # And we never wait inside a body that is whole to h11.
    if end in ("body", "open"):
        assert len(read.requests) <= len(got), (got, read)
