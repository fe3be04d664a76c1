"""Names and lines of header fields."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasthttpserver._http.fields import canonical_names, check_field, parse_field_line
from fasthttpserver.errors import HTTPInputError

TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("content-type", "Content-Type"),
        ("ETag", "Etag"),
        ("WWW-Authenticate", "Www-Authenticate"),
        ("DNT", "Dnt"),
        ("x_y-Z", "X_y-Z"),
        ("x--y", "X--Y"),
        ("-a-", "-A-"),
        ("Content-md5", "Content-Md5"),
        ("3com-a1b", "3com-A1b"),
        ("", ""),
    ],
)
def test_names_take_the_form_of_tornado(name: str, canonical: str) -> None:
    assert canonical_names[name] == canonical
    assert canonical_names[canonical] == canonical


def test_what_cannot_be_a_name_is_left_as_it_is() -> None:
    # "ß".capitalize() is "Ss"; a name and its canonical form would not be of one length.
    assert canonical_names["ßa-ŉb"] == "ßa-ŉb"


def test_the_table_of_names_is_bounded_in_number_and_size() -> None:
    for number in range(5000):
        canonical_names[f"x-{number}"]
    assert len(canonical_names) <= 1000
    canonical_names["x" * 65]
    assert "x" * 65 not in canonical_names


@given(st.text(TOKEN))
def test_canonical_names_are_stable_and_of_the_same_length(name: str) -> None:
    canonical = canonical_names[name]
    assert canonical.lower() == name.lower()
    assert canonical_names[canonical] == canonical


@pytest.mark.parametrize(
    "name",
    ["", " ", "a b", "a ", " a", "a:", "a\t", "a\x00", "a\r", "a\n", "(", "a,b", "é", "a\x7f"],
)
def test_names_that_are_not_tokens_are_refused(name: str) -> None:
    with pytest.raises(HTTPInputError, match=r"^Invalid header name$"):
        check_field(name, "value")


@pytest.mark.parametrize("value", ["", "a", "a b\tc", "a\x80\xff", '"a, b"', "\xa0", "a" * 70_000])
def test_values_of_visible_characters_are_taken(value: str) -> None:
    assert check_field("name", value) == ("Name", value)


@pytest.mark.parametrize(
    "value", [" a", "a ", "\ta", "a\t", " ", "a\rb", "a\nb", "a\r\n", "\x00", "\x7f", "a\x0bb", "☃"]
)
def test_values_that_cannot_be_sent_are_refused(value: str) -> None:
    with pytest.raises(HTTPInputError, match=r"^Invalid header value$"):
        check_field("name", value)


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("a: b", ("A", "b")),
        ("a:b", ("A", "b")),
        ("a:\t b \t", ("A", "b")),
        ("a:", ("A", "")),
        ("a: b: c", ("A", "b: c")),
        # Unicode takes these for blanks and line ends; HTTP does not.
        ("a: \xa0b\x85", ("A", "\xa0b\x85")),
    ],
)
def test_a_line_is_split_at_the_first_colon(line: str, field: tuple[str, str]) -> None:
    assert parse_field_line(line) == field


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("a", "no colon in header line"),
        (" a: b", "header line cannot start with whitespace"),
        ("\ta: b", "header line cannot start with whitespace"),
        ("a : b", "Invalid header name"),
        (": b", "Invalid header name"),
        ("a: b\rc: d", "Invalid header value"),
        ("a: b\x0bc", "Invalid header value"),
    ],
)
def test_a_bad_line_is_refused_with_a_reason(line: str, reason: str) -> None:
    with pytest.raises(HTTPInputError, match=f"^{reason}") as raised:
        parse_field_line(line)
    assert raised.value.status == 400
