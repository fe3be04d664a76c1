"""Arguments of a query."""

import urllib.parse
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasthttpserver._parser import unescape
from fasthttpserver.errors import HTTPInputError
from fasthttpserver.httputil import count_arguments, parse_query


@pytest.mark.parametrize(
    ("query", "arguments"),
    [
        ("", {}),
        ("a=1", {"a": [b"1"]}),
        ("a=1&b=2", {"a": [b"1"], "b": [b"2"]}),
        ("a=1&b=2&a=3", {"a": [b"1", b"3"], "b": [b"2"]}),
        # Fields without a value, without a name, and empty ones
        ("a", {"a": [b""]}),
        ("a=", {"a": [b""]}),
        ("=v", {"": [b"v"]}),
        ("=", {"": [b""]}),
        ("&", {}),
        ("&&a=1&&", {"a": [b"1"]}),
        # Only the first equals sign ends a name
        ("a=b=c", {"a": [b"b=c"]}),
        ("a==", {"a": [b"="]}),
        # Only & separates
        ("a=1;b=2", {"a": [b"1;b=2"]}),
        ("?a=1", {"?a": [b"1"]}),
        # Spaces and escapes, in names and values
        ("a+b=c+d", {"a b": [b"c d"]}),
        ("a%20b=c%20d", {"a b": [b"c d"]}),
        ("a=%2B+%26%3d", {"a": [b"+ &="]}),
        ("a%3Db=c", {"a=b": [b"c"]}),
        ("a=%00%0a%0D", {"a": [b"\x00\n\r"]}),
        ("a=%C3%A9%c3%a9", {"a": [b"\xc3\xa9\xc3\xa9"]}),
        ("a=%FF", {"a": [b"\xff"]}),
        # Names are latin-1, whatever was meant
        ("%C3%A9=1", {"\xc3\xa9": [b"1"]}),
        ("\xe9=\xe9", {"\xe9": [b"\xe9"]}),
        # A percent sign that begins no escape stands for itself
        ("a=%", {"a": [b"%"]}),
        ("a=%4", {"a": [b"%4"]}),
        ("a=%4G", {"a": [b"%4G"]}),
        ("a=%%41", {"a": [b"%A"]}),
        ("a=%2541", {"a": [b"%41"]}),
        ("a=100%&b=%zz", {"a": [b"100%"], "b": [b"%zz"]}),
        ("%=%", {"%": [b"%"]}),
        ("a=%\n%\r%=", {"a": [b"%\n%\r%="]}),
        # An application's own characters are sent as a browser would
        ("a=\u20ac", {"a": [b"\xe2\x82\xac"]}),
    ],
)
def test_a_query_is_split_as_tornado_does(query: str, arguments: dict[str, list[bytes]]) -> None:
    assert parse_query(query) == arguments
    if max(query, default="") <= "\xff":
        assert parse_query(query.encode("latin-1")) == arguments


@pytest.mark.parametrize("query", ["a=1&b=2&c=3", "&&", "a&a&a"])
def test_fields_are_counted_before_they_are_split(query: str) -> None:
    assert count_arguments(query) == count_arguments(query.encode()) == 3
    parse_query(query, 3)
    with pytest.raises(HTTPInputError, match=r"^Too many arguments$") as raised:
        parse_query(query, 2)
    assert raised.value.status == 400


def test_no_query_has_no_arguments() -> None:
    assert count_arguments("") == count_arguments(b"") == 0
    assert parse_query("", 0) == parse_query(b"", 0) == {}


def test_a_thousand_arguments_are_the_default_limit() -> None:
    assert len(parse_query("&".join(f"a{number}=1" for number in range(1000)))) == 1000
    with pytest.raises(HTTPInputError):
        parse_query("&".join(f"a{number}=1" for number in range(1001)))
    with pytest.raises(HTTPInputError):
        parse_query("a=1&" * 100_000)


@pytest.mark.parametrize("unit", [b"%41", b"%", b"%4", b"%x", b"a%41", b"=", b"%3D%", b"\xff%"])
def test_long_values_are_decoded_to_their_end(unit: bytes) -> None:
    for shift in range(4):
        data = b"." * shift + unit * (200_000 // len(unit))
        assert unescape(data) == urllib.parse.unquote_to_bytes(data)


def test_megabytes_of_escapes_are_decoded_in_linear_time() -> None:
    assert parse_query(b"a=" + b"%41" * 3_000_000) == {"a": [b"A" * 3_000_000]}
    assert parse_query(b"a=" + b"+" * 3_000_000) == {"a": [b" " * 3_000_000]}


class Text(str):
    """What libraries make of texts that need no quoting, for instance."""


@pytest.mark.parametrize("query", [Text("a=%41&\xe9"), Text("a=%41&\u20ac"), Text("")])
def test_a_query_may_be_of_a_subclass_of_str(query: str) -> None:
    assert parse_query(query) == parse_query(query[:])


@pytest.mark.parametrize("query", [bytearray(b"a=1"), memoryview(b"a=1"), 5, ["a=1"]])
def test_nothing_else_is_a_query(query: Any) -> None:
    with pytest.raises(TypeError):
        parse_query(query)


def test_decoding_leaves_the_single_bytes_of_the_interpreter_alone() -> None:
    # bytes of one byte are shared by all that have the same value.
    assert parse_query("a=%41&b=%42&%43=%44&c=+") == {
        "a": [b"A"],
        "b": [b"B"],
        "C": [b"D"],
        "c": [b" "],
    }
    assert [bytes([number])[0] for number in range(256)] == list(range(256))


BYTES_WITH_ESCAPES = st.lists(
    st.sampled_from([b"%", b"=", b"+", b"&", b"\r", b"\n", b"4", b"1", b"F", b"g", b"\xe9", b"%3d"])
).map(b"".join)


@given(BYTES_WITH_ESCAPES | st.binary())
def test_escapes_mean_what_they_mean_to_urllib(data: bytes) -> None:
    assert unescape(data) == urllib.parse.unquote_to_bytes(data)
    expected: dict[str, list[bytes]] = {}
    for field in data.replace(b"+", b" ").split(b"&"):
        if field:
            name, _, value = map(urllib.parse.unquote_to_bytes, field.partition(b"="))
            expected.setdefault(name.decode("latin-1"), []).append(value)
    assert parse_query(data) == expected
    assert parse_query(data.decode("latin-1")) == expected


@given(st.lists(st.tuples(st.text(st.characters(max_codepoint=0xFF)), st.binary())))
def test_serialized_arguments_parse_back(pairs: list[tuple[str, bytes]]) -> None:
    query = urllib.parse.urlencode([(name.encode("latin-1"), value) for name, value in pairs])
    expected: dict[str, list[bytes]] = {}
    for name, value in pairs:
        expected.setdefault(name, []).append(value)
    assert parse_query(query) == expected


@given(st.text(), st.integers(0, 5))
def test_arbitrary_text_parses_or_is_an_input_error(query: str, limit: int) -> None:
    try:
        arguments = parse_query(query, limit)
    except HTTPInputError:
        assert count_arguments(query) > limit
    else:
        assert sum(map(len, arguments.values())) <= limit
