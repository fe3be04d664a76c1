"""Cookies as browsers write them."""

import copy
import pickle
import re
from http.cookies import CookieError, Morsel, SimpleCookie
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasthttpserver.httputil import parse_cookie


def values(header: str) -> dict[str, str]:
    return {name: morsel.value for name, morsel in parse_cookie(header).items()}


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", {}),
        ("a=b", {"a": "b"}),
        ("a=b; c=d", {"a": "b", "c": "d"}),
        ("a=b;c=d;", {"a": "b", "c": "d"}),
        (" a = b ;\tc\t=\td\t", {"a": "b", "c": "d"}),
        ("a=", {"a": ""}),
        ("a=b=c", {"a": "b=c"}),
        ("a=b, c=d", {"a": "b, c=d"}),
        ("a=b c", {"a": "b c"}),
        ("a=[1];b={2}", {"a": "[1]", "b": "{2}"}),
        ("a=\xe9\xa0", {"a": "\xe9\xa0"}),
        ("$Version=1; a=b", {"$Version": "1", "a": "b"}),
        # The last of a name is kept
        ("a=1; b=2; a=3", {"a": "3", "b": "2"}),
        # Quotes
        ('a="b c"', {"a": "b c"}),
        ('a=""', {"a": ""}),
        ('a="', {"a": '"'}),
        ('a="b', {"a": '"b'}),
        ('a=b"', {"a": 'b"'}),
        (r'a="\"b\\c\d"', {"a": r'"b\cd'}),
        (r'a="\054\073\303\251"', {"a": ",;\xc3\xa9"}),
        (r'a="\08\400"', {"a": "08400"}),
        ('a="b\\"', {"a": "b\\"}),
        (r"a=\054", {"a": r"\054"}),
        # A semicolon separates, in quotes too
        ('a="b;c=d"', {"a": '"b', "c": 'd"'}),
        # One bad cookie does not spoil the others
        ("a=b; c; d=e", {"a": "b", "d": "e"}),
        ("a=b; =c; d=e", {"a": "b", "d": "e"}),
        ("a=b; c d=x; d=e", {"a": "b", "d": "e"}),
        ("a=b; /c/=x; d=e", {"a": "b", "d": "e"}),
        ("a=b; \xe9=x; d=e", {"a": "b", "d": "e"}),
        ("a=b; path=/; Expires=x; secure=1; d=e", {"a": "b", "d": "e"}),
        # What newer versions of http.cookies refuse, all do here
        ("a=b; c=x\ty; d=e", {"a": "b", "d": "e"}),
        (r'a=b; c="x\012y"; d=e', {"a": "b", "d": "e"}),
        ('a=b; c="\\\t"; d=e', {"a": "b", "d": "e"}),
        ("a=b; c=\x00; d=\x7f; e=f", {"a": "b", "e": "f"}),
    ],
)
def test_cookies_are_read_as_browsers_write_them(header: str, expected: dict[str, str]) -> None:
    assert values(header) == expected


def test_a_cookie_is_a_morsel_like_those_of_the_standard_library() -> None:
    cookies = parse_cookie('a="b c"')
    assert type(cookies) is SimpleCookie
    expected: Morsel[str] = Morsel()
    expected.set("a", "b c", '"b c"')
    for morsel in [
        cookies["a"],
        copy.copy(cookies["a"]),
        pickle.loads(pickle.dumps(cookies))["a"],
    ]:
        assert type(morsel) is Morsel
        assert morsel == expected
        assert vars(morsel) == vars(expected)
        assert (morsel.key, morsel.value, morsel.coded_value) == ("a", "b c", '"b c"')
    assert cookies.output() == 'Set-Cookie: a="b c"'


def test_attributes_of_one_cookie_are_not_those_of_another() -> None:
    cookies = parse_cookie("a=b; c=d")
    cookies["a"]["path"] = "/"
    assert cookies["c"]["path"] == ""
    assert parse_cookie("e=f")["e"]["path"] == ""


def test_cookies_agree_with_the_standard_library_where_both_can_read() -> None:
    header = 'sid=31d4d96e407aad42; lang=en-US; q="x\\"y"; _ga=GA1.2.3'
    assert parse_cookie(header) == SimpleCookie(header)


@pytest.mark.untraced
def test_quoted_values_are_read_in_linear_time() -> None:
    # The unquoting of Python 3.11.7 needs minutes for this (CVE-2024-7592).
    assert values('a="' + "\\\\" * 2_000_000 + '"') == {"a": "\\" * 2_000_000}
    assert values("a=b;" * 100_000) == {"a": "b"}


def read_slowly(header: str) -> SimpleCookie:
    """What parse_cookie does, each step by the standard library's own means."""
    cookies = SimpleCookie()
    for pair in header.split(";"):
        name, equals, coded = (part.strip(" \t") for part in pair.partition("="))
        value = coded
        if re.fullmatch('".*"', coded, re.DOTALL):
            escaped = re.compile(r"\\(?:([0-3][0-7]{2})|(.))", re.DOTALL)
            value = escaped.sub(lambda pair: pair[2] or chr(int(pair[1], 8)), coded[1:-1])
        morsel: Morsel[str] = Morsel()
        try:
            morsel.set(name, value, coded)
        except CookieError:
            continue
        if equals and not re.search(r"[\0-\x1f\x7f]", value + coded):
            dict.__setitem__(cookies, name, morsel)
    return cookies


# Whatever is special about a character of a name or a value, and those beyond latin-1.
PARTS = st.text('ab=;"\\ \t0123:\x00\x7f\x80\xe9\u0120\u20ac\U0001f36a') | st.sampled_from(
    ["path", "Expires", "max-age", "ſecure"]
)


@given(st.text() | st.lists(PARTS).map("=".join) | st.lists(PARTS).map(";".join))
def test_a_cookie_is_taken_if_a_morsel_takes_it(header: str) -> None:
    expected = read_slowly(header)
    cookies = parse_cookie(header)
    assert list(cookies.items()) == list(expected.items())
    assert [*map(vars, cookies.values())] == [*map(vars, expected.values())]


@pytest.mark.parametrize(
    "character", [chr(number) for number in range(0x100)] + ["\u0130", "\u212a"]
)
def test_names_have_the_characters_that_a_morsel_allows(character: str) -> None:
    for header in [f"a{character}b=c", f"{character}=c", f"max-{character}ge=c"]:
        assert parse_cookie(header) == read_slowly(header)


class Text(str):
    """A str of a library's own."""


def test_a_cookie_field_is_a_str_of_any_class() -> None:
    assert parse_cookie(Text("a=b; c=d")) == parse_cookie("a=b; c=d")
    for header in [b"a=b", None, 5]:
        other: Any = header
        with pytest.raises(TypeError):
            parse_cookie(other)


@given(st.text() | st.text('ab=;"\\ \t0123'))
def test_any_text_gives_cookies_that_can_be_sent(header: str) -> None:
    for name, morsel in parse_cookie(header).items():
        assert morsel.key == name
        assert morsel.coded_value in header
        assert morsel.OutputString() == f"{name}={morsel.coded_value}"


@given(st.dictionaries(st.text("abcXYZ09!#$-_", min_size=3), st.text("ab ,;\\\"=\xe9'(")))
def test_serialized_cookies_parse_back(cookies: dict[str, str]) -> None:
    jar = SimpleCookie(dict(cookies))
    assert values(jar.output(header="", sep=";")) == cookies
