"""Field sections of responses, serialized in C."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasthttpserver._http.fields import canonical_names
from fasthttpserver._parser import serialize_fields

TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
WHOLE = re.compile(r"[^\r\n\0\u0100-\U0010ffff]*")

# More of what matters than arbitrary text has.
texts = st.text(st.characters(max_codepoint=255)) | st.text() | st.text("a-\r\n\0:\xff\u0100 ")
names = texts | st.text("aZ09-_!~", min_size=1)


@given(texts, st.lists(st.tuples(names, texts)))
def test_head_is_what_its_parts_are_or_refused(
    first_line: str, fields: list[tuple[str, str]]
) -> None:
    head = serialize_fields(first_line, fields)
    legal = WHOLE.fullmatch(first_line) and all(
        TOKEN.fullmatch(name) and WHOLE.fullmatch(value) for name, value in fields
    )
    if legal:
        named = ((canonical_names[name], value) for name, value in fields)
        lines = [first_line, *(f"{name}: {value}" for name, value in named), "", ""]
        assert head == "\r\n".join(lines).encode("latin-1")
    else:
        assert head is None


@pytest.mark.parametrize(
    "field",
    [("a", 1), ("a", None), ["a", "1"], ("a",), ("a", "1", "2"), "ab", None],
)
def test_what_is_no_pair_of_strings_is_left_to_others(field: Any) -> None:
    assert serialize_fields("x", [("Fine", "yes"), field]) is None


def test_names_and_values_may_be_bytes() -> None:
    assert (
        serialize_fields("x", [(b"a-b", "1"), ("c", b"\xff")]) == b"x\r\nA-B: 1\r\nC: \xff\r\n\r\n"
    )


def test_fields_may_be_any_iterable() -> None:
    pairs = {"A": "1", "B": "2"}
    for fields in pairs.items(), iter(pairs.items()), tuple(pairs.items()):
        assert serialize_fields("x", fields) == b"x\r\nA: 1\r\nB: 2\r\n\r\n"
    with pytest.raises(TypeError):
        serialize_fields("x", 1)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        serialize_fields(b"x", [])  # type: ignore[arg-type]
