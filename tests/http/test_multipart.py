"""Multipart bodies."""

import copy
import logging
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasthttpserver.errors import HTTPInputError
from fasthttpserver.httputil import HTTPFile, parse_multipart_form_data

Forms = tuple[dict[str, list[bytes]], dict[str, list[HTTPFile]]]


def parse(data: bytes, boundary: bytes = b"b", **limits: int) -> Forms:
    arguments: dict[str, list[bytes]] = {}
    files: dict[str, list[HTTPFile]] = {}
    parse_multipart_form_data(boundary, data, arguments, files, **limits)
    return arguments, files


def part(disposition: str, value: bytes = b"v", *fields: str) -> bytes:
    head = "\r\n".join([f"Content-Disposition: {disposition}", *fields]).encode()
    return b"--b\r\n" + head + b"\r\n\r\n" + value + b"\r\n"


def test_a_part_is_an_argument_or_a_file() -> None:
    arguments, files = parse(
        part('form-data; name="a"', b"1")
        + part('form-data; name="a"', b"2")
        + part('form-data; name="f"; filename="x.png"', b"\x89\r\n\r\n", "Content-Type: image/png")
        + part('form-data; name="f"; filename="y"', b"")
        + b"--b--\r\n"
    )
    assert arguments == {"a": [b"1", b"2"]}
    assert files == {
        "f": [
            {"filename": "x.png", "body": b"\x89\r\n\r\n", "content_type": "image/png"},
            {"filename": "y", "body": b"", "content_type": "application/unknown"},
        ]
    }
    assert files["f"][0].filename == "x.png"


@pytest.mark.parametrize(
    ("disposition", "name", "filename"),
    [
        ('form-data; name="a"; filename="ab.txt"', "a", "ab.txt"),
        ("form-data; name=a; filename=ab.txt", "a", "ab.txt"),
        ('FORM-DATA; NAME="a"; FileName="ab.txt"', "a", "ab.txt"),
        ('form-data;name="a";filename="ab.txt"', "a", "ab.txt"),
        ('form-data ; name = "a" ; filename = "ab.txt" ;', "a", "ab.txt"),
        (';; form-data; name="a"; filename="x"', None, None),
        ('form-data; odd; name="a";; filename="ab.txt"', "a", "ab.txt"),
        # What quotes and backslashes mean
        ('form-data; name="a"; filename="a;b.txt"', "a", "a;b.txt"),
        (r'form-data; name="a"; filename="a\"b.txt"', "a", 'a"b.txt'),
        (r'form-data; name="a"; filename="a\\b.txt"', "a", r"a\b.txt"),
        (r'form-data; name="a"; filename="a\";b.txt"', "a", 'a";b.txt'),
        (r'form-data; name="a"; filename="C:\dir\b.txt"', "a", r"C:\dir\b.txt"),
        ('form-data; name="a"; filename="a"b.txt"', "a", 'a"b.txt'),
        ('form-data; name="a"; filename="b.txt', "a", '"b.txt'),
        ('form-data; name="a"; filename="', "a", '"'),
        ('form-data; name="a"; filename="b.txt\\', "a", '"b.txt\\'),
        # As it came, never a path
        ('form-data; name="a"; filename="../../x"', "a", "../../x"),
        ('form-data; name="a"; filename="%41%00"', "a", "%41%00"),
        # UTF-8, as browsers send it
        ('form-data; name="é☃"; filename="日本.txt"', "é☃", "日本.txt"),
        # RFC 5987, better than a plain name of whatever place
        ("form-data; name=a; filename*=utf-8''%E6%97%A5.txt", "a", "日.txt"),
        ("form-data; name=a; filename*=UTF-8'en'b%20c; filename=x", "a", "b c"),
        ("form-data; name=a; filename=x; filename*=iso-8859-1''%E9", "a", "é"),
        ("form-data; name=a; filename=x; filename*=\"utf-8''b\"", "a", "b"),
        # Malformed: the plain name, else as it came
        ("form-data; name=a; filename*=utf-8''%FF; filename=x", "a", "x"),
        ("form-data; name=a; filename*=utf-8''%FF", "a", "utf-8''%FF"),
        ("form-data; name=a; filename*=utf-8''%4", "a", "utf-8''%4"),
        ("form-data; name=a; filename*=utf-8''é", "a", "utf-8''é"),
        ("form-data; name=a; filename*=utf-8'x", "a", "utf-8'x"),
        ("form-data; name=a; filename*=x", "a", "x"),
        ("form-data; name=a; filename*=idna''xn--a", "a", "idna''xn--a"),
        ("form-data; name=a; filename*=nosuch''b", "a", "nosuch''b"),
        ("form-data; name=a; filename*=utf-8''b%0D%0Ac; filename=x", "a", "x"),
    ],
)
def test_file_names(disposition: str, name: str | None, filename: str | None) -> None:
    arguments, files = parse(part(disposition) + b"--b--")
    assert arguments == {}
    assert {key: [file.filename for file in value] for key, value in files.items()} == (
        {} if name is None else {name: [filename]}
    )


@pytest.mark.parametrize("filename", ['filename=""', "filename=", "filename*=", 'filename*=""'])
def test_an_empty_file_name_makes_an_argument(filename: str) -> None:
    assert parse(part(f"form-data; name=a; {filename}") + b"--b--") == ({"a": [b"v"]}, {})


@pytest.mark.parametrize("boundary", [b"b", b'"b"'])
def test_a_boundary_may_be_quoted(boundary: bytes) -> None:
    assert parse(part("form-data; name=a") + b"--b--", boundary) == ({"a": [b"v"]}, {})


@pytest.mark.parametrize("epilogue", [b"", b"\r\n", b"--", b"\r\nepilogue", b"x" * 100_000])
@pytest.mark.parametrize("preamble", [b"", b"\r\n", b"a preamble\r\n"])
def test_what_is_around_the_parts_is_ignored(
    preamble: bytes, epilogue: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    data = preamble + part("form-data; name=a") + b"--b--" + epilogue
    assert parse(data) == ({"a": [b"v"]}, {})
    assert not caplog.records


def test_the_first_boundary_may_be_missing() -> None:
    # Tornado's own test of uploads sends this.
    data = part('form-data; name="a"').removeprefix(b"--b\r\n")
    assert parse(data + part('form-data; name="c"') + b"--b--") == ({"a": [b"v"], "c": [b"v"]}, {})


@pytest.mark.parametrize(
    "value",
    [
        b"x" + part("form-data; name=admin", b"1") + b"y",
        b"x--b--",
        b"x--b--\r\n",
        b"--b",
        b"-\r\n-b\r\n",
        b"\r\n --b\r\n",
        b"\r\n-----b\r\n",
        b"\r\n--B\r\n",
    ],
)
def test_a_boundary_inside_a_line_is_a_part_of_the_value(
    value: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    value = b"x" + value
    assert parse(part("form-data; name=comment", value) + b"--b--") == ({"comment": [value]}, {})
    assert not caplog.records


@pytest.mark.parametrize(
    "epilogue",
    [b"\r\n", b"", b" \r\n", b"--\r\n", b"\r\n--b--\r\n", b"\r\nx\r--b", b"\r\n--bX\r\n"],
)
def test_the_first_final_boundary_ends_the_body(
    epilogue: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    behind = part("form-data; name=admin", b"1") * 200 + b"--b--\r\n"
    data = part("form-data; name=comment", b"x") + b"--b--" + epilogue + behind
    assert parse(data) == ({"comment": [b"x"]}, {})
    assert not caplog.records


# What test_multipart_peers.py found that others cut otherwise, or among each other.
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"x\n--b\r\n", "CR or LF alone before a boundary"),
        (b"x\r--b\r\n", "CR or LF alone before a boundary"),
        (b"x\n\r--b\r\n", "CR or LF alone before a boundary"),
        (b"x\n--b--\r\n", "CR or LF alone before a boundary"),
        (b"x\r--bX", "CR or LF alone before a boundary"),
        (b"x\r\n--b\n", "a line like a boundary"),
        (b"x\r\n--b\r", "a line like a boundary"),
        (b"x\r\n--b \t\r\n", "a line like a boundary"),
        (b"x\r\n--bX\r\n", "a line like a boundary"),
        (b"x\r\n--b-\r\n", "a line like a boundary"),
        (b"--b\r\n", "no value before a boundary"),
        (b"--b--\r\n", "no value before a boundary"),
    ],
)
def test_a_line_that_only_some_take_for_a_boundary_is_refused(value: bytes, reason: str) -> None:
    value += part("form-data; name=admin", b"1")[5:]
    for data in [part("form-data; name=a", value), part("form-data; name=a; filename=f", value)]:
        with pytest.raises(HTTPInputError, match=f"^multipart/form-data.*{reason}") as raised:
            parse(data + b"--b--\r\n")
        assert raised.value.status == 400


@pytest.mark.parametrize("preamble", [b"\n", b"\r", b"x\n", b" ", b"\r\n ", b"-", b"x--b\r\n"])
def test_a_first_boundary_that_does_not_begin_a_line_is_refused(preamble: bytes) -> None:
    with pytest.raises(HTTPInputError, match="boundary"):
        parse(preamble + part("form-data; name=a") * 2 + b"--b--")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "Invalid multipart/form-data: no final boundary"),
        (b"--b\r\n", "Invalid multipart/form-data: no final boundary"),
        (b"x--b--\r\n", "Invalid multipart/form-data: no final boundary"),
        (part("form-data; name=a")[:-2] + b"--b--\r\n", "Invalid multipart/form-data: no final"),
        (b"--b\r\n\r\nv\r\n--b--", "multipart/form-data missing headers"),
        (b"--b\r\nv\r\n--b--", "multipart/form-data missing headers"),
        (b"--b\r\n--b--", "multipart/form-data missing headers"),
        (b"--b\r\nA: b\r\n\r\nv\r\n--b--", "Invalid multipart/form-data"),
        (part("attachment; name=a") + b"--b--", "Invalid multipart/form-data"),
        (part("form-data") + b"--b--", "multipart/form-data value missing name"),
        (part('form-data; name=""') + b"--b--", "multipart/form-data value missing name"),
        (part("form-data; name=a; name=b") + b"--b--", "Invalid multipart/form-data"),
        (part("form-data; name=a", b"v", "no colon") + b"--b--", "Invalid multipart/form-data"),
        (part("form-data; name=a", b"v", "a b: c") + b"--b--", "Invalid multipart/form-data"),
        (part("form-data; name=a", b"v", " folded: c") + b"--b--", "Invalid multipart/form-data"),
        (part("form-data; name=a", b"v", "a: \x00") + b"--b--", "Invalid multipart/form-data"),
        (part("form-data; name=a", b"v", "a: b\nc: d") + b"--b--", "Invalid multipart/form-data"),
        (
            part("form-data; name=a", b"v", "content-disposition: form-data; name=b") + b"--b--",
            "Invalid multipart/form-data",
        ),
        (b"--b\r\nA: \xff\r\n\r\nv\r\n--b--", "Invalid multipart/form-data: headers are not UTF-8"),
    ],
)
def test_what_is_malformed_is_left_out_with_one_warning(
    data: bytes, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    if data.endswith(b"--b--"):
        # The good part before it stays.
        assert parse(part("form-data; name=good") + data) == ({"good": [b"v"]}, {})
    else:
        assert parse(data) == ({}, {})
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("fasthttpserver.general", logging.WARNING)
    assert record.getMessage().startswith(message)


def test_many_malformed_parts_make_one_line(caplog: pytest.LogCaptureFixture) -> None:
    assert parse(b"--b\r\nx\r\n" * 50 + part("form-data; name=a") + b"--b--") == ({"a": [b"v"]}, {})
    assert [record.getMessage() for record in caplog.records] == [
        "multipart/form-data missing headers (parts left out: 50)"
    ]


def test_no_boundary_is_malformed(caplog: pytest.LogCaptureFixture) -> None:
    for boundary in [b"", b'""', b'"']:
        parse(b"--b--", boundary)
    assert len(caplog.records) == 3


@pytest.mark.parametrize(
    ("data", "boundary", "reason"),
    [
        (part("form-data; name=a") * 101 + b"--b--", b"b", "Too many parts"),
        (b"--b\r\n" * 100_000 + b"--b--", b"b", "Too many parts"),
        (b"--" + b"b" * 257 + b"--", b"b" * 257, "multipart/form-data boundary too long"),
        (b"--b--", b"b" * 5000, "multipart/form-data boundary too long"),
        (
            part("form-data", b"v", "A: " + "x" * 1_000_000) + b"--b--",
            b"b",
            "multipart/form-data part",
        ),
        (b"--b\r\n" + b"x" * 1_000_000 + b"\r\n--b--", b"b", "multipart/form-data part header"),
        (part("form-data; name=a", b"v", "A: b\rc") + b"--b--", b"b", "CR in a multipart"),
        (part("form-data; name=a", b"v", "A: b\r\r\nC: d") + b"--b--", b"b", "CR in a multipart"),
    ],
    ids=["parts", "empty parts", "boundary", "long boundary", "head", "no head", "CR", "CR at end"],
)
def test_what_passes_a_limit_is_refused(data: bytes, boundary: bytes, reason: str) -> None:
    with pytest.raises(HTTPInputError, match=f"^{reason}") as raised:
        parse(data, boundary)
    assert raised.value.status == 400


def test_limits_are_reached_without_being_passed() -> None:
    arguments, _ = parse(part("form-data; name=a") * 100 + b"--b--")
    assert len(arguments["a"]) == 100
    boundary = b"b" * 256
    parse(b"--" + boundary + b"--", boundary)
    data = part("form-data; name=a", b"v") + b"--b--"
    size = len(b"Content-Disposition: form-data; name=a")
    assert parse(data, max_parts=1, max_part_header_size=size) == ({"a": [b"v"]}, {})
    with pytest.raises(HTTPInputError, match="header too large"):
        parse(part("form-data; name=a", b"v" * 9) + b"--b--", max_part_header_size=size - 1)
    with pytest.raises(HTTPInputError, match="Too many parts"):
        parse(data, max_parts=0)


class Watched(bytes):
    """Bytes that count how many of them are looked through."""

    looked_at = 0

    def find(self, needle: bytes, start: int, end: int | None = None) -> int:  # type: ignore[override]
        end = len(self) if end is None else end
        found = super().find(needle, start, end)
        self.looked_at += (end if found == -1 else found + len(needle)) - start
        return found

    def rfind(self, *_: object) -> Any:
        raise AssertionError("bytes.rfind compares the whole needle at every byte")

    count = index = split = rfind  # type: ignore[assignment]


@pytest.mark.parametrize(
    "value",
    [b"-", b"--b", b"--b--", b"\r\n--", b"\r\n--a", b"\r--a", b"\n--a", b"\r\n", b"\r\n\r\n"],
)
def test_parts_are_found_in_linear_time(value: bytes) -> None:
    value = b"x" + value * (1_000_000 // len(value))
    data = Watched(part("form-data; name=a", value) * 2 + b"--b--" + value)
    assert parse(data) == ({"a": [value, value]}, {})
    assert data.looked_at < 2.01 * len(data)


@pytest.mark.parametrize("unit", [';a="', ';a="\\', '";', '\\"', ";", '"', "\\", ";a*=utf-8''%"])
def test_parameters_are_split_in_linear_time(unit: str) -> None:
    # Hopeless if the megabyte were read once for each of its quotes.
    disposition = "form-data; name=v" + unit * (1_000_000 // len(unit))
    parse(part(disposition) + b"--b--", max_part_header_size=1_100_000)


def test_a_file_is_a_dict_with_attributes() -> None:
    file = HTTPFile(filename="a", body=b"b", content_type="c")
    assert isinstance(file, dict)
    assert (file.filename, file["body"], file.content_type) == ("a", b"b", "c")
    file.filename = "d"
    assert file["filename"] == "d"
    for twin in [copy.copy(file), copy.deepcopy(file), pickle.loads(pickle.dumps(file))]:
        assert type(twin) is HTTPFile
        assert twin == file
    with pytest.raises(AttributeError, match=r"^size$"):
        file.size  # noqa: B018


TEXT = st.text(st.characters(min_codepoint=0x20, exclude_characters="\x7f", codec="utf-8"))


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@given(st.lists(st.tuples(TEXT.filter(bool), TEXT, st.binary()), max_size=5))
def test_serialized_parts_parse_back(parts: list[tuple[str, str, bytes]]) -> None:
    data = b""
    arguments: dict[str, list[bytes]] = {}
    files: dict[str, list[tuple[str, bytes]]] = {}
    for name, filename, value in parts:
        disposition = f"form-data; name={quoted(name)}"
        if filename:
            disposition += f"; filename={quoted(filename)}"
            files.setdefault(name, []).append((filename, value))
        else:
            arguments.setdefault(name, []).append(value)
        data += part(disposition, value).replace(b"--b", b"--boundary", 1)
    parsed_arguments, parsed_files = parse(data + b"--boundary--\r\n", b"boundary")
    assert parsed_arguments == arguments
    assert {
        name: [(file.filename, file.body) for file in value] for name, value in parsed_files.items()
    } == files


FRAGMENTS = st.lists(
    st.sampled_from(
        [b"--b", b"--", b"\r\n", b"\r", b"\n", b"\r\n\r\n", b"x", b"\xff", b"Content-Disposition:"]
        + [
            b"form-data",
            b";",
            b"name",
            b"filename",
            b"=",
            b'"',
            b"\\",
            b"*",
            b"utf-8''",
            b"%",
            b" ",
        ]
    )
).map(b"".join)


@given(FRAGMENTS | st.binary(), st.sampled_from([b"b", b"", b'"', b"\r\n"]) | st.binary())
def test_arbitrary_bytes_parse_or_are_an_input_error(data: bytes, boundary: bytes) -> None:
    for wrapped in [data, b"--b\r\n" + data + b"\r\n--b--"]:
        try:
            parse(wrapped, boundary, max_parts=5, max_part_header_size=100)
        except HTTPInputError as error:
            assert error.status == 400
