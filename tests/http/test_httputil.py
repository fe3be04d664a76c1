"""The module that gathers the parts, and the small ones that live in it."""

import doctest
import time
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasthttpserver import httputil
from fasthttpserver._http import headers as _headers
from fasthttpserver.httputil import (
    RequestStartLine,
    ResponseStartLine,
    format_timestamp,
    url_concat,
)


def test_every_public_name_is_there() -> None:
    assert list(httputil.__all__) == sorted(httputil.__all__, key=lambda n: (not n.isupper(), n))
    for name in httputil.__all__:
        assert getattr(httputil, name) is not None


@pytest.mark.parametrize("module", [httputil, _headers])
def test_examples_in_docstrings_hold(module: Any) -> None:
    results = doctest.testmod(module)
    assert results.attempted
    assert not results.failed


def test_start_lines_are_tuples_with_names() -> None:
    method, path, version = request = RequestStartLine("GET", "/a", "HTTP/1.1")
    assert (request.method, request.path, request.version) == (method, path, version)
    response = ResponseStartLine(version="HTTP/1.1", code=200, reason="OK")
    assert response == ("HTTP/1.1", 200, "OK")


@pytest.mark.parametrize(
    "moment",
    [
        1359312200,
        1359312200.9,
        time.gmtime(1359312200),
        (2013, 1, 27, 18, 43, 20, 0, 0, 0),
        datetime(2013, 1, 27, 18, 43, 20),
        datetime(2013, 1, 27, 18, 43, 20, tzinfo=UTC),
        datetime(2013, 1, 27, 20, 43, 20, tzinfo=timezone(timedelta(hours=2))),
    ],
)
def test_a_moment_is_formatted_for_http(moment: Any) -> None:
    assert format_timestamp(moment) == "Sun, 27 Jan 2013 18:43:20 GMT"


@pytest.mark.parametrize("moment", [None, "1359312200", [2013, 1, 27]])
def test_what_is_no_moment_is_refused(moment: Any) -> None:
    with pytest.raises(TypeError, match=r"^unknown timestamp type"):
        format_timestamp(moment)


@given(st.integers(0, 253402300799))
def test_a_formatted_moment_parses_back(moment: int) -> None:
    assert parsedate_to_datetime(format_timestamp(moment)).timestamp() == moment


@pytest.mark.parametrize(
    ("url", "args", "expected"),
    [
        ("/p", {"y": "y", "z": "z"}, "/p?y=y&z=z"),
        ("/p", [("y", "1"), ("y", "2")], "/p?y=1&y=2"),
        ("/p", (("y", "/y"),), "/p?y=%2Fy"),
        ("/p?", {"y": "y"}, "/p?y=y"),
        ("/p?x", {"y": "y"}, "/p?x&y=y"),
        ("/p?x=%C3%A9", {"y": b"\xc3\xa9"}, "/p?x=%C3%A9&y=%C3%A9"),
        ("/p?x&", {"y": "y"}, "/p?x&y=y"),
        ("/p#f", {"y": 1}, "/p?y=1#f"),
        ("/p?x#f?g", {"y": "y"}, "/p?x&y=y#f?g"),
        ("http://h", {"y": "y"}, "http://h?y=y"),
        ("/p?x#f", None, "/p?x#f"),
        ("/p?x#f", {}, "/p?x#f"),
        ("/p?x#f", [], "/p?x#f"),
    ],
)
def test_arguments_are_added_to_the_query(url: str, args: Any, expected: str) -> None:
    assert url_concat(url, args) == expected


@pytest.mark.parametrize("args", ["y=y", b"y=y", 5, {"y"}])
def test_what_is_no_arguments_is_refused(args: Any) -> None:
    with pytest.raises(TypeError):
        url_concat("/p", args)


def test_date_value_is_that_of_its_second() -> None:
    assert httputil.date_value(1359312200.9) == httputil.format_timestamp(1359312200)
    assert httputil.date_value(1359312201.0) == httputil.format_timestamp(1359312201)
