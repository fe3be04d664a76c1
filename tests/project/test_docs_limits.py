"""The numbers in ``docs/limits.md`` are those of the source."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path
from typing import Any

import pytest

from fasthttpserver._http import multipart as _multipart
from fasthttpserver._http import query as _query
from fasthttpserver._net import proxy_protocol as _proxy_protocol
from fasthttpserver._parser import RequestParser
from fasthttpserver.errors import HTTPInputError
from fasthttpserver.httpserver import HTTPServer
from fasthttpserver.limits import RULES, Limits

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "limits.md").read_text(encoding="utf-8")
# The first table says of each limit what switches it off, too.
ROW = re.compile(
    r"^\| `?([^|`]+)`? \| ([^|]+) \| (?:(no|`[^|]+) \| )?(\w+) \| [^|]+ \|$", re.MULTILINE
)
FIRST, SECOND = TEXT.split("## Fixed")
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def rows(text: str) -> dict[str, tuple[float | None, str]]:
    """Name, value and outcome of each row of a table."""
    found = {name: (value, outcome) for name, value, _, outcome in ROW.findall(text)}
    return {
        name: (None if value == "off" else float(value.replace(" ", "")), outcome)
        for name, (value, outcome) in found.items()
        if value not in ("default", "value")
    }


def test_each_limit_stands_there_with_its_default() -> None:
    documented = {name: value for name, (value, _) in rows(FIRST).items()}
    assert documented == dataclasses.asdict(Limits())


def test_each_limit_says_what_switches_it_off() -> None:
    documented = {
        name: {word.strip("`") for word in off.split(", ")} - {"no"}
        for name, _, off, _ in ROW.findall(FIRST)
    }
    for name, rule in RULES.items():
        assert documented[name] <= {"None", "math.inf", "0"}
        assert ("None" in documented[name]) == rule.optional
        for word in documented[name]:
            value: Any = {"None": None, "math.inf": math.inf, "0": 0}[word]
            found = getattr(HTTPServer(print, **{name: value}).limits, name)
            assert found in (None, 0, math.inf)


def test_fixed_bounds_have_their_values() -> None:
    documented = {name: value for name, (value, _) in rows(SECOND).items()}
    known = {
        "arguments": _query.MAX_ARGUMENTS,
        "parts of a multipart body": _multipart.MAX_MULTIPART_PARTS,
        "header section of a part": _multipart.MAX_PART_HEADER_SIZE,
        "boundary of a multipart body": _multipart._MAX_BOUNDARY_SIZE,
        "header of the PROXY protocol, version 1": _proxy_protocol._MOST_V1,
        "header of the PROXY protocol, version 2": _proxy_protocol._MOST_V2,
    }
    assert documented.items() >= known.items()


def status_of(data: bytes, **limits: Any) -> int:
    parser = RequestParser(**limits)
    parser.receive_data(data)
    try:
        while parser.next_request() is not None:
            pass
    except HTTPInputError as error:
        return error.status
    return 0


@pytest.mark.parametrize(
    "name, within, over",
    [
        ("digits of a chunk size", b"%016x\r\n", b"%017x\r\n"),
        ("chunk extensions in one line", b"1;" + b"x" * 4096, b"1;" + b"x" * 4097),
        (
            "chunk extensions in one body",
            (b"1;" + b"x" * 4096 + b"\r\na\r\n") * 4,
            (b"1;" + b"x" * 4096 + b"\r\na\r\n") * 4 + b"1;x\r\n",
        ),
    ],
)
def test_fixed_bounds_of_chunks_act(name: str, within: bytes, over: bytes) -> None:
    if b"%" in within:
        within, over = within % 1, over % 1
    assert status_of(CHUNKED + within) == 0
    _, outcome = rows(SECOND)[name]
    assert status_of(CHUNKED + over) == int(outcome)


@pytest.mark.parametrize(
    "name, limit, data",
    [
        ("max_header_size", 100, b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a: b\r\n" * 30),
        ("max_request_line", 40, b"GET /" + b"a" * 40 + b" HTTP/1.1\r\n"),
        ("max_field_size", 20, b"GET / HTTP/1.1\r\nHost: a\r\nx: " + b"a" * 40 + b"\r\n"),
        ("max_header_count", 2, b"GET / HTTP/1.1\r\nHost: a\r\na: b\r\na: b\r\n"),
        ("max_body_size", 5, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n"),
    ],
)
def test_limits_of_the_parser_have_their_status(name: str, limit: int, data: bytes) -> None:
    assert status_of(data) == 0
    _, outcome = rows(FIRST)[name]
    assert status_of(data, **{name: limit}) == int(outcome)
