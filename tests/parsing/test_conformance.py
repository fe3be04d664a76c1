"""Every vector of ``conformance/``, given to the parser in every way that bytes can come."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from helpers import split
from parser_runs import parse
from vectors import ExpectedRequest, Vector, load

from fasthttpserver._parser import RequestParser
from fasthttpserver.errors import HTTPInputError

VECTORS = load()
NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
# Cutting at every position is quadratic.
LONG = 500


def check(got: dict[str, Any], expected: ExpectedRequest) -> None:
    assert (got["method"], got["uri"], got["body"]) == (
        expected.method,
        expected.uri,
        expected.body,
    )
    for name, values in expected.fields.items():
        assert [value for key, value in got["fields"] if key == name] == values, name
    assert got["trailers"] == expected.trailers
    if expected.authority is not None:
        assert got["authority"] == expected.authority
    assert got["upgrade"] is (expected.upgrade or expected.method == "CONNECT")


def ways(data: bytes) -> Iterator[list[bytes]]:
    """Ways to cut `data`: not at all, everywhere, at each single position."""
    yield [data]
    yield split(data, range(len(data)))
    if len(data) < LONG:
        yield from (split(data, [cut]) for cut in range(1, len(data)))


def each(*ends: str) -> pytest.MarkDecorator:
    """Run a test for the vectors that end in one of these ways."""
    vectors = [vector for vector in VECTORS if vector.end in ends]
    return pytest.mark.parametrize("vector", vectors, ids=lambda vector: vector.id)


@each("open", "close", "refused", "incomplete")
def test_vector(vector: Vector) -> None:
    seen = parse([vector.data], vector.limits)
    assert (seen.end, len(seen.requests)) == (vector.end, len(vector.requests)), seen
    for got, expected in zip(seen.requests, vector.requests, strict=True):
        check(got, expected)
    if vector.end == "refused":
        assert seen.error is not None
        assert seen.error[0] == vector.status
        assert 0 <= seen.error[2] <= len(vector.data)
        assert seen.is_head is vector.to_head


@each("open", "close", "refused", "incomplete")
def test_vector_does_not_depend_on_how_it_comes(vector: Vector) -> None:
    expected = parse([vector.data], vector.limits)
    for pieces in ways(vector.data):
        for events in (False, True):
            assert parse(pieces, vector.limits, events) == expected, (pieces, events)


@each("open", "close", "refused")  # an incomplete one they would complete
def test_vector_with_bytes_behind_it(vector: Vector) -> None:
    expected = parse([vector.data], vector.limits)
    if vector.end == "open":
        # Another request is served, and nothing of this one has stayed behind.
        expected.requests += parse([NEXT], vector.limits).requests
    together = vector.data + NEXT
    for pieces in ([together], [vector.data, NEXT], split(together, range(len(together)))):
        for events in (False, True):
            assert parse(pieces, vector.limits, events) == expected, (pieces, events)


@each("refused")
def test_refusal_is_final(vector: Vector) -> None:
    parser = RequestParser(**vector.limits)
    parser.receive_data(vector.data)
    errors = set()
    for _ in range(len(vector.requests) + 3):
        try:
            parser.next_request()
        except HTTPInputError as error:
            errors.add((error.status, error.reason, error.offset))
            parser.receive_data(NEXT)
            assert parser.closed and parser.unread == 0
    assert len(errors) == 1
