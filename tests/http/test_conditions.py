"""Conditions and ranges: the order of RFC 9110 section 13.2.2, as a table of its steps."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from email.utils import format_datetime, formatdate
from typing import NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fasthttpserver._http.conditions import Version, failed_condition, parse_range, wanted_range

MODIFIED = 784_111_777  # Sun, 06 Nov 1994 08:49:37 GMT
SIZE = 1000
BEFORE, SAME, AFTER = (formatdate(MODIFIED + n, usegmt=True) for n in (-1, 0, 1))
STRONG, WEAK = Version('"a"', MODIFIED), Version('W/"a"', MODIFIED)

# --- The order, as a table ---------------------------------------------------------------

TAGS = {
    None: None,
    "*": "*",
    "strong": '"a"',
    "weak": 'W/"a"',
    "other": '"b"',
    "list": '"b", , W/"c" ,"a"',
    "malformed": "a",
}
DATES = {None: None, "before": BEFORE, "same": SAME, "after": AFTER, "malformed": "yesterday"}
RANGES = {None: None, "some": "bytes=1-2", "none": "bytes=1000-", "malformed": "bytes=2-1"}
IF_RANGES = {None: None, "strong": '"a"', "weak": 'W/"a"', "other": '"b"'} | {
    name: DATES[name] for name in ("before", "same", "after", "malformed")
}

# What each state of a field makes of its condition; None: it is as if it was not there.
STRONG_MATCH: dict[str, bool | None] = {"*": True, "strong": True, "list": True, "weak": False}
STRONG_MATCH |= {"other": False, "malformed": False}
WEAK_MATCH = STRONG_MATCH | {"weak": True}
UNMODIFIED = {"before": False, "same": True, "after": True, "malformed": None}


class Step(NamedTuple):
    """One step of section 13.2.2, for a GET.

    Args:
        field: Whose condition it is.
        holds: What each state of the field says.
        true: What follows if it holds, or the field is not there: a step, or an answer.
        false: And if it does not.
        absent: If the field is not there.
    """

    field: str
    holds: dict[str, bool | None]
    true: int | str
    false: int | str
    absent: int


STEPS = {
    1: Step("If-Match", STRONG_MATCH, 3, "412", 2),
    2: Step("If-Unmodified-Since", UNMODIFIED, 3, "412", 3),
    3: Step("If-None-Match", {key: not match for key, match in WEAK_MATCH.items()}, 5, "304", 4),
    4: Step(
        "If-Modified-Since",
        {"before": True, "same": False, "after": False, "malformed": None},
        5,
        "304",
        5,
    ),
}


def follow_the_steps(states: dict[str, str | None]) -> str:
    """What RFC 9110 section 13.2.2 answers a GET for a file with a strong tag."""
    step: int | str = 1
    while isinstance(step, int) and step in STEPS:
        field, holds, true, false, absent = STEPS[step]
        state = states[field]
        outcome = None if state is None else holds[state]
        step = absent if outcome is None else true if outcome else false
    if isinstance(step, str):
        return step
    if states["Range"] in (None, "malformed"):
        return "200"
    if states["If-Range"] not in (None, "strong", "same"):
        return "200"
    return "206" if states["Range"] == "some" else "416"


def answer(get: Callable[[str], str | None], version: Version) -> str:
    """What the functions say, in the order in which they are called."""
    failed = failed_condition(get, version)
    if failed is not None:
        return str(failed)
    wanted = wanted_range(get, version, SIZE)
    return "200" if wanted is None else "206" if wanted else "416"


def test_conditions_are_evaluated_in_their_order() -> None:
    names = ("If-Match", "If-Unmodified-Since", "If-None-Match", "If-Modified-Since")
    answers = set()
    for states in itertools.product(TAGS, DATES, TAGS, DATES, RANGES, IF_RANGES):
        state = dict(zip((*names, "Range", "If-Range"), states, strict=True))
        values = {
            "If-Match": TAGS[state["If-Match"]],
            "If-Unmodified-Since": DATES[state["If-Unmodified-Since"]],
            "If-None-Match": TAGS[state["If-None-Match"]],
            "If-Modified-Since": DATES[state["If-Modified-Since"]],
            "Range": RANGES[state["Range"]],
            "If-Range": IF_RANGES[state["If-Range"]],
        }
        found = answer(values.get, STRONG)
        assert found == follow_the_steps(state), state
        answers.add(found)
    assert answers == {"200", "206", "304", "412", "416"}


@pytest.mark.parametrize(
    "field, value, expected",
    [
        ("If-None-Match", '"a"', 304),
        ("If-None-Match", 'W/"a"', 304),
        ("If-None-Match", '"b"', None),
        ("If-Match", 'W/"a"', 412),
        ("If-Match", '"a"', 412),
        ("If-Match", "*", None),
    ],
)
def test_weak_tag_matches_weakly_only(field: str, value: str, expected: int | None) -> None:
    assert failed_condition({field: value}.get, WEAK) == expected


@pytest.mark.parametrize("condition", ['"a"', 'W/"a"', SAME])
def test_weak_tag_and_its_date_do_not_tell_whether_parts_fit(condition: str) -> None:
    fields = {"Range": "bytes=0-1", "If-Range": condition}
    assert wanted_range(fields.get, WEAK, SIZE) is None


@pytest.mark.parametrize("field", ["If-Unmodified-Since", "If-Modified-Since"])
def test_file_without_a_date_has_no_condition_on_it(field: str) -> None:
    assert failed_condition({field: BEFORE}.get, Version('"a"', None)) is None
    assert failed_condition({field: AFTER}.get, Version('"a"', None)) is None


@pytest.mark.parametrize(
    "date",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
    ],
)
def test_all_three_forms_of_a_date_are_read(date: str) -> None:
    get = {"If-Modified-Since": date}.get
    assert failed_condition(get, STRONG) == 304
    assert failed_condition(get, Version('"a"', MODIFIED + 1)) is None


@given(st.text(max_size=40), st.datetimes().map(format_datetime) | st.text(max_size=40))
@example("", "Sun, 06 Nov 99999999999999999999 08:49:37 GMT")
@example("", "Sun, 99 Nov 1994 08:49:37 +9999999999")
def test_any_text_is_a_condition_or_none(tags: str, date: str) -> None:
    fields = {"If-None-Match": tags, "If-Modified-Since": date, "If-Unmodified-Since": date}
    assert failed_condition(fields.get, STRONG) in (None, 304, 412)
    del fields["If-None-Match"]
    assert failed_condition(fields.get, STRONG) in (None, 304, 412)


# --- Ranges -------------------------------------------------------------------------------

RANGES_OF_TEN: dict[str, range | None] = {
    "bytes=0-0": range(1),
    "bytes=0-": range(10),
    "bytes=3-5": range(3, 6),
    "bytes=9-9": range(9, 10),
    "bytes=5-99": range(5, 10),
    "bytes=-3": range(7, 10),
    "bytes=-99": range(10),
    "BYTES= 1-2 ": range(1, 3),
    "bytes=0000000000000000000000001-2": range(1, 3),
    "bytes=1-" + "9" * 5000: range(1, 10),
    # Of none of these there is a byte.
    "bytes=10-": range(0),
    "bytes=10-20": range(0),
    "bytes=-0": range(0),
    "bytes=" + "9" * 5000 + "-": range(0),
    # These are ignored.
    "bytes=5-3": None,
    "bytes=-": None,
    "bytes=": None,
    "bytes": None,
    "bytes=a-b": None,
    "bytes=1-2x": None,
    "bytes=+1-2": None,
    "bytes=1 -2": None,
    "bytes=\u0661-": None,
    "bytes 1-2": None,
    "lines=1-2": None,
    "bytes=0-1,3-4": None,
    "bytes=0-1, bytes=3-4": None,
    "": None,
}


@pytest.mark.parametrize("field, expected", RANGES_OF_TEN.items(), ids=lambda x: str(x)[:30])
def test_range_of_ten_bytes(field: str, expected: range | None) -> None:
    found = parse_range(field, 10)
    assert found == expected  # empty ranges are equal


@pytest.mark.parametrize("field, expected", [("bytes=0-", range(0)), ("bytes=-1", None)])
def test_range_of_nothing(field: str, expected: range | None) -> None:
    assert parse_range(field, 0) == expected


@given(st.integers(0, 20), st.integers(0, 25) | st.none(), st.integers(0, 25) | st.none())
def test_range_is_a_part_of_the_file(size: int, first: int | None, last: int | None) -> None:
    content = bytes(range(size))
    found = parse_range(
        f"bytes={'' if first is None else first}-{'' if last is None else last}", size
    )
    if found is None:
        return
    # Python's slices have the same meaning, but for the end.
    if first is None:
        assert last is not None
        expected = content[-last:] if last else b""
    else:
        expected = content[first:] if last is None else content[first : last + 1]
    assert content[found.start : found.stop] == expected
