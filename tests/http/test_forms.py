"""Which bodies are forms, and of what kind."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasthttpserver.errors import HTTPInputError
from fasthttpserver.httputil import HTTPFile, HTTPHeaders, parse_body_arguments

URLENCODED = "application/x-www-form-urlencoded"
PART = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nv\r\n--b--\r\n'

Forms = tuple[dict[str, list[bytes]], dict[str, list[HTTPFile]]]


def parse(
    content_type: str, body: bytes, headers: HTTPHeaders | None = None, **limits: int
) -> Forms:
    arguments: dict[str, list[bytes]] = {}
    files: dict[str, list[HTTPFile]] = {}
    parse_body_arguments(content_type, body, arguments, files, headers, **limits)
    return arguments, files


@pytest.mark.parametrize(
    "content_type", [URLENCODED, f"{URLENCODED}; charset=utf-8", URLENCODED.title()]
)
def test_an_urlencoded_form_is_parsed(content_type: str) -> None:
    assert parse(content_type, b"a=1&b=%FF&a=2") == ({"a": [b"1", b"2"], "b": [b"\xff"]}, {})


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data; boundary=b",
        'multipart/form-data; boundary="b"',
        'Multipart/Form-Data; charset=utf-8; Boundary = "b" ; boundary=b',
        "multipart/form-data;boundary=;boundary=b",
        'multipart/form-data; x="; boundary=evil"; boundary=b',
        "multipart/form-data; boundary*=utf-8''c; boundary=b",
    ],
)
def test_a_multipart_form_is_parsed(content_type: str) -> None:
    assert parse(content_type, PART) == ({"a": [b"v"]}, {})


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "multipart/mixed; boundary=b", " " + URLENCODED]
)
def test_any_other_body_is_let_alone(content_type: str, caplog: pytest.LogCaptureFixture) -> None:
    assert parse(content_type, b"a=1&" * 2000) == ({}, {})
    assert not caplog.records


def test_values_are_appended_to_those_of_the_query() -> None:
    arguments = {"a": [b"0"]}
    parse_body_arguments(URLENCODED, b"a=1", arguments, {})
    parse_body_arguments("multipart/form-data; boundary=b", PART, arguments, {})
    assert arguments == {"a": [b"0", b"1", b"v"]}


def test_raw_utf_8_stays_as_it_is() -> None:
    assert parse(URLENCODED, "a=é☃".encode()) == ({"a": ["é☃".encode()]}, {})


@pytest.mark.parametrize("body", [b"a=\xe9", b"ok=1&a=\xff", b"\xc3", b"a=1&" * 2000 + b"\xff"])
def test_a_form_that_is_not_utf_8_has_no_arguments(
    body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    assert parse(URLENCODED, body) == ({}, {})
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("fasthttpserver.general", logging.WARNING)
    assert record.getMessage().startswith("Invalid x-www-form-urlencoded body")


def test_no_boundary_is_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    assert parse("multipart/form-data", PART) == ({}, {})
    assert parse("multipart/form-data; boundary=", PART) == ({}, {})
    assert [record.getMessage() for record in caplog.records] == [
        "Invalid multipart/form-data: no boundary"
    ] * 2


@pytest.mark.parametrize("content_type", [URLENCODED, "multipart/form-data; boundary=b"])
def test_a_compressed_form_is_not_parsed(
    content_type: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert parse(content_type, PART, HTTPHeaders({"Content-Encoding": "x\x1b[0m"})) == ({}, {})
    (record,) = caplog.records
    assert record.getMessage() == "Unsupported Content-Encoding: 'x\\x1b[0m'"
    assert parse(content_type, b"", HTTPHeaders({"Content-Encoding": "Identity"})) == ({}, {})
    assert parse("text/plain", b"", HTTPHeaders({"Content-Encoding": "gzip"})) == ({}, {})


@pytest.mark.parametrize("second", ["boundary=c", 'BOUNDARY = "c"', r'boundary="\"b"'])
def test_two_boundaries_are_refused(second: str) -> None:
    # Some take the first and others the last.
    for content_type in f"boundary=b; {second}", f"{second}; boundary=b":
        with pytest.raises(HTTPInputError, match="two boundaries") as raised:
            parse(f"multipart/form-data; {content_type}", PART)
        assert raised.value.status == 400


def test_limits_reach_both_kinds() -> None:
    with pytest.raises(HTTPInputError, match="Too many arguments"):
        parse(URLENCODED, b"a=1&" * 100_000)
    with pytest.raises(HTTPInputError, match="Too many arguments"):
        parse(URLENCODED, b"a=1&b=2", max_arguments=1)
    with pytest.raises(HTTPInputError, match="Too many parts"):
        parse("multipart/form-data; boundary=b", PART, max_parts=0)
    with pytest.raises(HTTPInputError, match="header too large"):
        parse("multipart/form-data; boundary=b", PART, max_part_header_size=10)
    with pytest.raises(HTTPInputError, match="boundary too long"):
        parse("multipart/form-data; boundary=" + "b" * 5000, PART)


@given(
    st.sampled_from([URLENCODED, "multipart/form-data; boundary=", "multipart/form-data;"]),
    st.text(),
    st.binary(),
)
def test_arbitrary_forms_parse_or_are_an_input_error(kind: str, rest: str, body: bytes) -> None:
    try:
        parse(kind + rest, body)
    except HTTPInputError as error:
        assert error.status == 400
