"""HTTPHeaders: a dict of joined values that keeps the single ones."""

import copy
import json
import pickle
import pprint
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasthttpserver._http.fields import canonical_names
from fasthttpserver.errors import HTTPInputError
from fasthttpserver.httputil import HTTPHeaders

# So long that further values of its name are not joined before somebody looks.
LONG = "x" * 20_000

TOKEN = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
NAMES = st.text(TOKEN, min_size=1, max_size=12)
VALUES = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f")
).map(lambda text: text.strip(" \t"))


class Logged(HTTPHeaders):
    """What an application may do: a subclass without slots, with a method of its own."""

    def shout(self) -> list[str]:
        return [name.upper() for name in self]


def repeated(cls: type[HTTPHeaders] = HTTPHeaders, *, long: bool = False) -> HTTPHeaders:
    headers = cls()
    headers.add("X-Before", "1")
    headers.add("Set-Cookie", LONG if long else "a")
    headers.add("set-cookie", "b")
    headers.add("SET-COOKIE", "c")
    headers.add("X-After", "2")
    return headers


def joined(*, long: bool = False) -> dict[str, str]:
    first = LONG if long else "a"
    return {"X-Before": "1", "Set-Cookie": f"{first},b,c", "X-After": "2"}


# Making


@pytest.mark.parametrize(
    "headers",
    [
        HTTPHeaders({"content-type": "a", "b_c": "d"}),
        HTTPHeaders([("CONTENT-TYPE", "a"), ("b_c", "d")]),
        HTTPHeaders(iter([("Content-type", "a"), ("b_c", "d")])),
        HTTPHeaders({"content-type": "a"}, b_c="d"),
        HTTPHeaders(HTTPHeaders({"content-type": "a"}), b_c="d"),
    ],
    ids=["mapping", "pairs", "iterator", "mapping and names", "headers and names"],
)
def test_headers_are_made_of_mappings_pairs_and_names(headers: HTTPHeaders) -> None:
    assert list(headers.items()) == [("Content-Type", "a"), ("B_c", "d")]


def test_of_one_name_in_several_forms_the_last_value_wins() -> None:
    headers = HTTPHeaders({"a": "1", "b": "2", "A": "3"})
    assert list(headers.get_all()) == [("A", "3"), ("B", "2")]


def test_headers_made_of_headers_keep_repeated_values_to_themselves() -> None:
    first = repeated()
    second = HTTPHeaders(first)
    second.add("Set-Cookie", "d")
    assert second.get_list("Set-Cookie") == ["a", "b", "c", "d"]
    assert first.get_list("Set-Cookie") == ["a", "b", "c"]
    assert first == joined()


def test_only_one_positional_argument_is_taken() -> None:
    with pytest.raises(TypeError):
        HTTPHeaders({}, {})  # type: ignore[call-arg]


def test_canonical_pairs_without_repeats_are_just_a_dict() -> None:
    headers = HTTPHeaders._from_canonical_pairs([("Host", "a"), ("Accept", "b")])
    assert type(headers) is HTTPHeaders
    assert list(headers.get_all()) == [("Host", "a"), ("Accept", "b")]
    assert headers._multi is None


def test_canonical_pairs_with_repeats_keep_the_place_of_the_first() -> None:
    pairs = [("A", "1"), ("B", "2"), ("A", "3"), ("C", "4"), ("A", "")]
    headers = HTTPHeaders._from_canonical_pairs(pairs)
    assert list(headers.items()) == [("A", "1,3,"), ("B", "2"), ("C", "4")]
    assert headers.get_list("A") == ["1", "3", ""]
    assert headers.get_list("B") == ["2"]


# Single values


def test_add_joins_values_with_a_comma() -> None:
    headers = repeated()
    assert headers["set-cookie"] == "a,b,c"
    assert headers.get_list("SET-cookie") == ["a", "b", "c"]
    assert list(headers.get_all()) == [
        ("X-Before", "1"),
        ("Set-Cookie", "a"),
        ("Set-Cookie", "b"),
        ("Set-Cookie", "c"),
        ("X-After", "2"),
    ]


def test_add_takes_bytes_for_latin_1() -> None:
    headers = HTTPHeaders()
    headers.add("A", b"\xe9")
    headers["B"] = b"\xe9"  # type: ignore[assignment]  # assignment checks nothing
    headers.add("B", "c")
    assert headers == {"A": "é", "B": "é,c"}


def test_add_joins_what_assignment_let_in() -> None:
    headers: Any = HTTPHeaders()
    headers["Content-Length"] = 5
    assert headers["content-length"] == 5
    headers.add("Content-Length", "6")
    assert headers["content-length"] == "5,6"


def test_add_refuses_what_could_not_stand_in_a_message() -> None:
    headers = HTTPHeaders()
    for name, value in [("a b", "c"), ("", "c"), ("a", "b\r\nc: d"), ("a", " b"), ("a", "\u20ac")]:
        with pytest.raises(HTTPInputError):
            headers.add(name, value)
    assert not headers


def test_get_list_gives_a_list_of_its_own() -> None:
    headers = repeated()
    headers.get_list("Set-Cookie").append("d")
    headers.get_list("X-After").append("d")
    headers.get_list("None").append("d")
    assert headers.get_list("Set-Cookie") == ["a", "b", "c"]
    assert headers == joined()


# Parsing


def test_parse_ends_lines_as_http_does() -> None:
    headers = HTTPHeaders.parse("a: b\r\nC: d\ne: \x85f\x80\r\n\r\na: g\r\n")
    assert list(headers.get_all()) == [("A", "b"), ("A", "g"), ("C", "d"), ("E", "\x85f\x80")]


@pytest.mark.parametrize("text", ["a\r\n", "a: b\r\n c\r\n", " a: b", "a: b\rc: d", "a: b\x0bc: d"])
def test_parse_refuses_malformed_lines(text: str) -> None:
    with pytest.raises(HTTPInputError):
        HTTPHeaders.parse(text)


def test_parse_line_adds_one_field() -> None:
    headers = HTTPHeaders()
    for line in ["a: b", "A:  c \r\n", "d: e\n", "", "\r\n"]:
        headers.parse_line(line)
    assert list(headers.get_all()) == [("A", "b"), ("A", "c"), ("D", "e")]


def test_parse_makes_the_class_that_it_is_asked_of() -> None:
    headers = Logged.parse("a: b\r\n")
    assert type(headers) is Logged
    assert headers.shout() == ["A"]


# The dictionary


def test_every_way_to_a_name_ignores_its_case() -> None:
    headers = repeated()
    for name in ["Set-Cookie", "set-cookie", "SET-COOKIE"]:
        assert name in headers
        assert headers[name] == headers.get(name) == headers.setdefault(name, "z") == "a,b,c"
    assert headers.get("None") is None
    assert headers.get("None", default="x") == headers.get("None", "x") == "x"


def test_a_missing_name_is_reported_in_its_canonical_form() -> None:
    headers = HTTPHeaders()
    for missing in [headers.__getitem__, headers.__delitem__, headers.pop]:
        with pytest.raises(KeyError) as raised:
            missing("content-TYPE")
        assert raised.value.args == ("Content-Type",)
    with pytest.raises(KeyError):
        headers.popitem()


def test_what_is_no_name_is_not_there() -> None:
    headers: Any = HTTPHeaders(a="b")
    for key in [5, None, b"A", ("A",)]:
        assert key not in headers
        assert headers.get(key) is None
        with pytest.raises(KeyError):
            headers[key]
        with pytest.raises(TypeError):
            headers[key] = "c"


def test_assignment_replaces_all_values_in_place() -> None:
    headers = repeated()
    headers["set-cookie"] = "z"
    assert list(headers.get_all()) == [("X-Before", "1"), ("Set-Cookie", "z"), ("X-After", "2")]
    headers.add("Set-Cookie", "y")
    assert headers.get_list("Set-Cookie") == ["z", "y"]


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize(
    "remove",
    [
        lambda headers: headers.__delitem__("set-cookie"),
        lambda headers: headers.pop("set-COOKIE"),
        lambda headers: headers.pop("set-COOKIE", None),
        lambda headers: headers.clear(),
        lambda headers: (headers.popitem(), headers.popitem()),
    ],
    ids=["del", "pop", "pop with default", "clear", "popitem"],
)
def test_what_is_removed_leaves_no_single_values(
    remove: Callable[[HTTPHeaders], object], long: bool
) -> None:
    headers = repeated(long=long)
    remove(headers)
    assert "Set-Cookie" not in headers
    assert headers.get_list("Set-Cookie") == []
    headers.add("Set-Cookie", "new")
    assert headers["Set-Cookie"] == "new"
    assert headers.get_list("Set-Cookie") == ["new"]


def test_pop_gives_the_joined_values_or_the_default() -> None:
    assert repeated().pop("set-cookie") == "a,b,c"
    assert repeated().pop("none", None) is None
    assert repeated().popitem() == ("X-After", "2")


def test_update_assigns_and_joins() -> None:
    headers = HTTPHeaders({"set-cookie": "old"})
    headers.update(repeated(), x_y="3")
    assert headers.get_list("Set-Cookie") == ["a,b,c"]
    assert headers["X_Y"] == "3"
    headers.update([("a", "1"), ("A", "2")])
    assert headers["a"] == "2"


def test_operators_keep_the_class_and_normalise() -> None:
    headers = repeated(Logged)
    merged = headers | {"x-after": "3", "new": "4"}
    assert type(merged) is Logged
    assert merged.get_list("Set-Cookie") == ["a", "b", "c"]
    assert merged == joined() | {"X-After": "3", "New": "4"}
    assert headers == joined()
    merged = {"x-after": "3", "new": "4"} | headers
    assert type(merged) is Logged
    assert merged == {"X-After": "2", "New": "4", "X-Before": "1", "Set-Cookie": "a,b,c"}
    headers |= [("x-after", "3")]
    assert headers["X-After"] == "3"
    number: Any = 5
    with pytest.raises(TypeError):
        headers | number
    with pytest.raises(TypeError):
        number | headers


def test_text_has_a_line_for_each_value() -> None:
    assert str(repeated()) == (
        "X-Before: 1\nSet-Cookie: a\nSet-Cookie: b\nSet-Cookie: c\nX-After: 2\n"
    )
    assert repr(repeated()) == repr(joined())


def test_headers_are_a_dict_that_cannot_be_hashed() -> None:
    assert isinstance(HTTPHeaders(), dict)
    assert not HTTPHeaders()
    assert len(repeated()) == 3
    with pytest.raises(TypeError):
        hash(HTTPHeaders())


# Every reader sees the joined values, also those that do not ask the class


def match(headers: Mapping[str, str]) -> dict[str, str]:
    match headers:
        case {"Set-Cookie": cookie, **others}:
            return {"Set-Cookie": cookie, **others}
    raise AssertionError


def updated(headers: Mapping[str, str]) -> dict[str, str]:
    plain: dict[str, str] = {}
    plain.update(headers)
    return plain


READERS: dict[str, Callable[[HTTPHeaders], object]] = {
    "dict()": dict,
    "{**}": lambda headers: {**headers},
    "f(**)": lambda headers: dict(**headers),
    "dict.update": updated,
    "dict |": lambda headers: dict({} | headers),
    "| dict": lambda headers: dict(headers | {}),
    "dict.copy": dict.copy,
    "json": lambda headers: json.loads(json.dumps(headers)),
    "json with indent": lambda headers: json.loads(json.dumps(headers, indent=1)),
    "items": lambda headers: dict(headers.items()),
    "values": lambda headers: dict(zip(headers, headers.values(), strict=True)),
    "[]": lambda headers: {name: headers[name] for name in headers},
    "[] in lower case": lambda headers: {name: headers[name.lower()] for name in headers},
    "get": lambda headers: {name: headers.get(name) for name in headers},
    "setdefault": lambda headers: {name: headers.setdefault(name) for name in [*headers]},
    "pop": lambda headers: {name: headers.pop(name) for name in [*headers]},
    "popitem": lambda headers: dict(headers.popitem() for _ in [*headers]),
    "match": match,
    "%": lambda headers: {name: f"%({name})s" % headers for name in headers},
    "format_map": lambda headers: {name: f"{{{name}}}".format_map(headers) for name in headers},
    "repr": lambda headers: eval(repr(headers)),
    "pprint": lambda headers: eval(pprint.pformat(headers)),
    "copy": lambda headers: dict(headers.copy()),
    "copy.copy": lambda headers: dict(copy.copy(headers)),
    "deepcopy": lambda headers: dict(copy.deepcopy(headers)),
    "pickle": lambda headers: dict(pickle.loads(pickle.dumps(headers))),
    "HTTPHeaders()": lambda headers: dict(HTTPHeaders(headers)),
}


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize("cls", [HTTPHeaders, Logged])
@pytest.mark.parametrize("reader", READERS)
def test_every_reader_sees_joined_values(reader: str, cls: type[HTTPHeaders], long: bool) -> None:
    headers = repeated(cls, long=long)
    assert READERS[reader](headers) == joined(long=long)
    headers.add("X-Last", "3")
    assert type(headers) is cls


@pytest.mark.parametrize("long", [False, True])
def test_single_values_are_there_before_and_after_joining(long: bool) -> None:
    first = LONG if long else "a"
    for headers in [repeated(long=long), copy.copy(repeated(long=long))]:
        assert headers.get_list("Set-Cookie") == [first, "b", "c"]
        assert headers["Set-Cookie"] == f"{first},b,c"
        headers.add("Set-Cookie", "d")
        assert list(headers) == ["X-Before", "Set-Cookie", "X-After"]
        assert headers.get_list("Set-Cookie") == [first, "b", "c", "d"]
        assert headers["Set-Cookie"] == f"{first},b,c,d"


@pytest.mark.parametrize("long", [False, True])
def test_equality_compares_joined_values(long: bool) -> None:
    plain = joined(long=long)
    assert repeated(long=long) == plain
    assert plain == repeated(long=long)
    assert repeated(long=long) == repeated(long=long)
    assert repeated(Logged, long=long) == repeated(long=long)
    assert repeated(long=long) == repeated(Logged, long=long)
    assert not (plain != repeated(long=long))
    assert not (repeated(long=long) != repeated(Logged, long=long))
    assert repeated(long=long) != {}
    assert repeated(long=long) != 5


@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize(
    "duplicate",
    [
        lambda headers: headers.copy(),
        copy.copy,
        copy.deepcopy,
        lambda headers: pickle.loads(pickle.dumps(headers)),
        lambda headers: pickle.loads(pickle.dumps(headers, 0)),
    ],
    ids=["copy", "copy.copy", "deepcopy", "pickle", "pickle 0"],
)
def test_copies_have_the_single_values_to_themselves(
    duplicate: Callable[[HTTPHeaders], HTTPHeaders], long: bool
) -> None:
    headers = repeated(Logged, long=long)
    twin = duplicate(headers)
    assert type(twin) is Logged
    assert list(twin.get_all()) == list(headers.get_all())
    twin.add("Set-Cookie", "d")
    del twin["X-After"]
    assert headers == joined(long=long)


def test_usual_sizes_are_joined_in_the_storage_itself() -> None:
    headers = HTTPHeaders()
    for number in range(100):
        headers.add("X", f"value-{number:03}")
    assert dict.__getitem__(headers, "X") == ",".join(headers.get_list("X"))


@pytest.mark.untraced
def test_repeats_cost_linear_time() -> None:
    # Joining at each addition would copy 150 GB.
    headers = HTTPHeaders()
    for _ in range(250_000):
        headers.add("X", "four")
    assert len(headers["X"]) == 5 * 250_000 - 1
    parsed = HTTPHeaders.parse("X: four\r\n" * 250_000)
    assert parsed == headers


# Properties


@given(st.lists(st.tuples(NAMES, VALUES)))
def test_serialized_headers_parse_back(fields: list[tuple[str, str]]) -> None:
    headers = HTTPHeaders()
    for name, value in fields:
        headers.add(name, value)
    parsed = HTTPHeaders.parse(str(headers).replace("\n", "\r\n"))
    assert list(parsed.get_all()) == list(headers.get_all())
    pairs = [(canonical_names[name], value) for name, value in fields]
    fast = HTTPHeaders._from_canonical_pairs(pairs)
    assert list(fast.get_all()) == list(headers.get_all())
    assert list(fast.items()) == list(headers.items())


@given(st.text())
def test_arbitrary_text_parses_or_is_an_input_error(text: str) -> None:
    try:
        headers = HTTPHeaders.parse(text)
    except HTTPInputError:
        return
    assert list(HTTPHeaders.parse(str(headers)).get_all()) == list(headers.get_all())


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["add", "set", "delete", "read", "copy", "popitem"]),
        st.sampled_from(["a", "A", "b-c", "B-C"]),
        st.sampled_from(["1", "", LONG]),
    ),
    max_size=20,
)


@given(OPERATIONS)
def test_headers_behave_as_a_dict_of_lists(operations: list[tuple[str, str, str]]) -> None:
    headers = HTTPHeaders()
    model: dict[str, list[str]] = {}
    for operation, name, value in operations:
        key = name.title()
        if operation == "add":
            headers.add(name, value)
            model.setdefault(key, []).append(value)
        elif operation == "set":
            headers[name] = value
            model[key] = [value]
        elif operation == "delete":
            headers.pop(name, None)
            model.pop(key, None)
        elif operation == "read":
            assert headers.get(name) == (",".join(model[key]) if key in model else None)
        elif operation == "copy":
            headers = headers.copy()
        elif model:
            assert headers.popitem()[0] == model.popitem()[0]
        assert list(headers) == list(model)
        assert headers.get_list(name) == model.get(key, [])
    assert list(headers.get_all()) == [(name, v) for name, vs in model.items() for v in vs]
    assert dict(headers) == {name: ",".join(values) for name, values in model.items()}


def test_value_of_another_type_is_named() -> None:
    with pytest.raises(TypeError, match="header 'X' is a str or bytes, not int"):
        HTTPHeaders().add("X", 5)  # type: ignore[arg-type]
