"""The parser's behaviour, one sentence a test; conformance/ has what is accepted and refused."""

from __future__ import annotations

import contextlib
import copy
import gc
import pickle
import subprocess
import sys
import time
import tracemalloc
import weakref
from collections.abc import Iterator
from typing import Any, get_origin

import pytest
from helpers import split
from parser_runs import Seen, parse, parse_one

from fasthttpserver._parser import (
    END_OF_MESSAGE,
    TALLY_FIELDS,
    EndOfMessage,
    RequestMessage,
    RequestParser,
    Tally,
)
from fasthttpserver.errors import HTTPInputError
from fasthttpserver.limits import Limits

H = b"Host: a\r\n"
GET = b"GET / HTTP/1.1\r\n" + H
POST = b"POST / HTTP/1.1\r\n" + H
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
LAST = b"5\r\nhello\r\n0\r\n"

# A generous bound for what takes a fraction of it; quadratic work would take minutes.
SECONDS = 10.0


def bytewise(data: bytes) -> list[bytes]:
    return split(data, range(len(data)))


def fed(*pieces: Any, **arguments: Any) -> RequestParser[RequestMessage]:
    """A parser that was given some pieces."""
    parser: RequestParser[RequestMessage] = RequestParser(**arguments)
    for piece in pieces:
        parser.receive_data(piece)
    return parser


def refusal(data: bytes, **arguments: Any) -> HTTPInputError:
    """What some bytes are refused with."""
    with pytest.raises(HTTPInputError) as caught:
        parser = fed(data, **arguments)
        while parser.next_request() is not None:
            pass
    return caught.value


def head(*fields: bytes, line: bytes = b"GET / HTTP/1.1") -> bytes:
    return b"\r\n".join([line, b"Host: a", *fields, b"", b""])


# --- Limits -------------------------------------------------------------------------------


def limit_cases() -> Iterator[tuple[Any, ...]]:
    """Name, limits, what just passes, what does not, its status, the offset of the byte."""

    def filled(size: int) -> bytes:
        return head(b"X: " + b"a" * (size - len(head(b"X: "))))

    yield "head", {"max_header_size": 100}, filled(100), filled(101), 431, 100

    def line(size: int, before: bytes = b"") -> bytes:
        return before + head(line=b"GET /" + b"a" * (size - 14) + b" HTTP/1.1")

    limit = {"max_request_line": 40}
    yield "request line", limit, line(40), line(41), 414, 31
    yield "empty lines", limit, line(36, b"\r\n\r\n"), line(37, b"\r\n\r\n"), 414, 31
    method = b"M" * 29 + b" / HTTP/1.1"
    yield "method", limit, head(line=method), head(line=b"M" + method), 501, 29
    yield "endless method", limit, head(line=method), b"M" * 30, 501, 29
    lines = b"\r\n" * 6
    yield "method and empty lines", limit, head(line=method), lines + b"M" * 29, 414, 40
    in_block = {"max_header_size": 64, "max_request_line": 8190}
    fits, long_line = b"GET /" + b"a" * 37 + b" HTTP/1.1", b"GET /" + b"a" * 60
    yield "line fills block", in_block, head(line=fits), long_line, 414, 55

    limit = {"max_field_size": 30}
    start = len(GET)
    yield "value", limit, head(b"X: " + b"a" * 29), head(b"X: " + b"a" * 30), 431, start + 3 + 29
    name = b"N" * 30
    yield "name", limit, head(name + b":"), head(b"N" + name + b":"), 431, start + 30

    limit = {"max_header_count": 4}
    fields = [b"a: b", b"c: d", b"e: f"]
    more = head(*fields, b"g: h")
    yield "fields", limit, head(*fields), more, 431, more.index(b"g: h")

    limit = {"max_body_size": 20}
    lengths = [head(b"Content-Length: %d" % size) + b"b" * size for size in (20, 21)]
    yield "body", limit, *lengths, 413, len(head(b"Content-Length: 20"))
    chunks = [CHUNKED + b"a\r\n0123456789\r\n%x\r\n" % size for size in (10, 11)]
    yield "chunks", limit, chunks[0] + b"0123456789\r\n0\r\n\r\n", chunks[1], 413, len(chunks[1])

    trailers = CHUNKED + LAST
    size = len(trailers)
    room = {"max_header_size": 100}
    section = b"X: " + b"a" * 93 + b"\r\n\r\n"
    yield "trailer section", room, trailers + section, trailers + b"Y" + section, 431, size + 100
    ok, long = b"X: " + b"a" * 29 + b"\r\n\r\n", b"X: " + b"a" * 30 + b"\r\n\r\n"
    room = {"max_field_size": 40, "max_header_size": 200}
    ok, long = (b"X: " + b"a" * count + b"\r\n\r\n" for count in (39, 40))
    yield "trailer value", room, trailers + ok, trailers + long, 431, size + 3 + 39
    ok, long = (b"N" * count + b":\r\n\r\n" for count in (40, 41))
    yield "trailer name", room, trailers + ok, trailers + long, 431, size + 40
    ok, long = (b"a: b\r\n" * count + b"\r\n" for count in (4, 5))
    yield "trailer fields", {"max_header_count": 4}, trailers + ok, trailers + long, 431, size + 24

    size = len(CHUNKED)
    ok, long = (CHUNKED + b"0" * count + LAST + b"\r\n" for count in (15, 16))
    yield "chunk size", {}, ok, long, 400, size + 16
    ok, long = (
        CHUNKED + b"5;" + b"x" * count + b"\r\nhello\r\n0\r\n\r\n" for count in (4096, 4097)
    )
    yield "extension", {}, ok, long, 400, size + 2 + 4096
    quoted = CHUNKED + b'5;a="%b"\r\nhello\r\n0\r\n\r\n'
    ok, long = (quoted % (b"x" * count) for count in (4092, 4093))
    yield "quoted extension", {}, ok, long, 400, size + 2 + 4096
    lines = CHUNKED + (b"1;" + b"x" * 4000 + b"\r\nh\r\n") * 4
    ok, long = (lines + b"0;" + b"x" * count + b"\r\n\r\n" for count in (384, 385))
    yield "extensions", {}, ok, long, 400, len(lines) + 2 + 384


LIMIT_CASES = list(limit_cases())


@pytest.mark.parametrize("case", LIMIT_CASES, ids=lambda case: case[0])
def test_at_a_limit_is_accepted_and_one_more_is_not(case: tuple[Any, ...]) -> None:
    _, limits, fits, exceeds, status, offset = case
    for way in (lambda data: [data], bytewise):
        assert parse(way(fits), limits).end == "open"
        seen = parse(way(exceeds), limits)
        assert seen.requests == []
        assert seen.error is not None
        assert (seen.error[0], seen.error[2]) == (status, offset)


@pytest.mark.parametrize("case", LIMIT_CASES, ids=lambda case: case[0])
def test_limit_counts_afresh_for_each_request(case: tuple[Any, ...]) -> None:
    _, limits, fits, exceeds, status, offset = case
    seen = parse([fits * 3 + exceeds], limits)
    assert len(seen.requests) == 3
    assert seen.error is not None
    assert (seen.error[0], seen.error[2]) == (status, 3 * len(fits) + offset)


def test_limit_that_is_crossed_comes_before_a_fault_behind_it() -> None:
    for data, limits, status in [
        (b"GET /" + b"a" * 60 + b"\x00", {"max_request_line": 40}, 414),
        (GET + b"N" * 60 + b"\x00", {"max_field_size": 30}, 431),
        (GET + b"X: " + b"a" * 60 + b"\x00", {"max_field_size": 30}, 431),
        (GET + b"X: y\r\n" * 9 + b"\x00", {"max_header_count": 4}, 431),
        (GET + b"X: " + b"a" * 90 + b"\x00", {"max_header_size": 64}, 431),
    ]:
        whole = parse([data], limits)
        assert whole.error is not None and whole.error[0] == status
        assert parse(bytewise(data), limits) == whole


def test_body_is_refused_before_any_of_it_has_come() -> None:
    data = POST + b"Content-Length: 21\r\n\r\n"
    assert refusal(data, max_body_size=20).status == 413
    assert refusal(CHUNKED + b"15\r\n", max_body_size=20).status == 413


@pytest.mark.parametrize("limit", [0, 20, 1 << 62])
def test_lengths_near_2_to_the_64_are_lengths_like_others(limit: int) -> None:
    for size in (2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1):
        announced = POST + b"Content-Length: %d\r\n\r\n" % size
        assert refusal(announced, max_body_size=limit).status == 413
        assert refusal(CHUNKED + b"%x\r\n" % size, max_body_size=limit).status == 413
        if limit:
            # The sum of both sizes is 2^64 or more, and must not wrap.
            second = CHUNKED + b"2\r\nab\r\n%x\r\n" % size
            assert refusal(second, max_body_size=limit).status == 413


def test_no_body_is_allowed_where_the_limit_is_0() -> None:
    assert parse_one(POST + b"Content-Length: 0\r\n\r\n", max_body_size=0).body == b""
    assert parse_one(CHUNKED + b"0\r\n\r\n", max_body_size=0).body == b""


def test_defaults_are_the_servers_limits() -> None:
    size = Limits().max_body_size
    parser = fed(POST + b"Content-Length: %d\r\n\r\n" % size)
    assert parser.next_request() is None and parser.receiving_body
    assert refusal(POST + b"Content-Length: %d\r\n\r\n" % (size + 1)).status == 413


# --- The constructor ------------------------------------------------------------------------

SIZES = [
    "max_header_size",
    "max_request_line",
    "max_field_size",
    "max_header_count",
    "max_body_size",
]


@pytest.mark.parametrize("name", SIZES)
def test_limit_of_a_wrong_type_or_out_of_range_is_the_callers_fault(name: str) -> None:
    for wrong in ("100", 100.0, None, True, b"1"):
        with pytest.raises(TypeError, match=name):
            fed(**{name: wrong})
    for wrong in (-1, 1 << 63, 1 << 70):
        with pytest.raises(ValueError, match=name):
            fed(**{name: wrong})


@pytest.mark.parametrize("wrong", [str, object, RequestMessage("GET", "/"), "RequestMessage", None])
def test_message_class_has_to_be_one(wrong: Any) -> None:
    with pytest.raises(TypeError, match="message_class"):
        RequestParser(message_class=wrong)


def test_arguments_are_keywords_that_exist() -> None:
    with pytest.raises(TypeError):
        RequestParser(100)  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        fed(max_size=100)


def test_parser_is_not_initialised_twice() -> None:
    parser = fed(GET + b"X: " + b"a" * 100)
    assert parser.next_request() is None
    with pytest.raises(RuntimeError, match="once"):
        parser.__init__(max_header_size=64)
    parser.receive_data(b"\r\n\r\n")
    assert parser.next_request() is not None


def test_parser_that_was_never_initialised_refuses_everything() -> None:
    for data in (GET + b"\r\n", b"\r\n", b"\x00"):
        parser = RequestParser.__new__(RequestParser)
        parser.receive_data(data)
        with pytest.raises(HTTPInputError):
            parser.next_request()


@pytest.mark.parametrize("case", LIMIT_CASES, ids=lambda case: case[0])
def test_new_parser_has_the_limits_of_the_one_that_made_it(case: tuple[Any, ...]) -> None:
    _, limits, passes, too_much, status, offset = case
    for parser in (RequestParser(**limits).new(), RequestParser(**limits).new().new()):
        assert parser.next_request(passes) is not None
        with pytest.raises(HTTPInputError) as caught:
            parser.new().next_request(too_much)
        assert (caught.value.status, caught.value.offset) == (status, offset)


def test_new_parser_asks_for_a_host_as_the_one_that_made_it() -> None:
    data = b"GET / HTTP/1.1\r\n\r\n"
    tolerant = RequestParser(require_host=False).new()
    assert tolerant.next_request(data) is not None
    with pytest.raises(HTTPInputError):
        RequestParser().new().next_request(data)


def test_new_parser_makes_messages_of_the_same_class() -> None:
    class Message(RequestMessage):
        pass

    parser = RequestParser(message_class=Message).new()
    assert type(parser.next_request(GET + b"\r\n")) is Message
    with pytest.raises(RuntimeError, match="once"):
        parser.__init__()  # type: ignore[call-arg]


@pytest.mark.parametrize("before", [
    b"",
    b"\r",
    b"GE",
    GET + b"X: y",
    POST + b"Content-Length: 9\r\n\r\nbody",
    CHUNKED + b"5\r\nbo",
    CHUNKED + b"0\r\nX: y",
    GET + b"Connection: close\r\n\r\n" + GET,
    b"\x00",
])  # fmt: skip
def test_new_parser_is_unused_whatever_the_other_one_has_read(before: bytes) -> None:
    asked = fed(before)
    with contextlib.suppress(HTTPInputError):
        while asked.next_request() is not None:
            pass
    received = asked.received
    parser = asked.new()
    assert not parser and not parser.closed and not parser.receiving_head
    assert (parser.received, parser.unread, parser.messages, parser.body_received) == (0, 0, 0, 0)
    message = parser.next_request(GET + b"X: y\r\n\r\n")
    assert message is not None and message.fields[-1] == ("X", "y")
    assert asked.received == received


def test_parsers_that_take_turns_do_not_disturb_each_other() -> None:
    messages = [
        GET + b"X: 1\r\n\r\n",
        POST + b"Content-Length: 5\r\n\r\nhello",
        CHUNKED + LAST + b"X: 2\r\n\r\n",
        b"HEAD /" + b"a" * 50 + b" HTTP/1.1\r\n" + H + b"\r\n",
    ]

    def content(message: Any) -> tuple[Any, ...]:
        return message.method, message.uri, message.fields, message.body, message.trailers

    parsers = [fed() for _ in messages]
    alone = [fed(message).next_request() for message in messages]
    for _ in range(2):
        taken: list[Any] = [None] * len(messages)
        for at in range(max(map(len, messages))):
            for number, message in enumerate(messages):
                parsers[number].receive_data(message[at : at + 1])
                taken[number] = parsers[number].next_request() or taken[number]
        assert list(map(content, taken)) == list(map(content, alone))
    assert [parser.is_head for parser in parsers] == [False, False, False, True]
    assert [parser.body_received for parser in parsers] == [0, 5, 5, 0]


def test_parser_between_messages_is_small() -> None:
    tracemalloc.start()
    try:
        parser = fed(tally=Tally(bytearray(8 * len(TALLY_FIELDS))))  # as a server's have it
        before, _ = tracemalloc.get_traced_memory()
        idle = [parser.new() for _ in range(1000)]
        for each in idle:
            each.receive_data(POST + b"Content-Length: 5\r\n\r\nhello")
            assert each.next_request() is not None
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / len(idle) < 320  # 600, with all that is known of a message


def test_types_may_be_written_with_brackets() -> None:
    assert get_origin(RequestParser[RequestMessage]) is RequestParser


# --- Input --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_input_may_be_of_any_bytes_like_type(kind: Any) -> None:
    data = GET + b"X: y\r\n\r\n"
    parser = RequestParser()
    parser.receive_data(kind(data[:20]))
    parser.receive_data(kind(data[20:]))
    message = parser.next_request()
    assert message is not None
    assert message.fields == [("Host", "a"), ("X", "y")]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_next_request_may_be_given_the_input(kind: Any) -> None:
    data = POST + b"Content-Length: 5\r\n\r\nhello"
    parser = fed(data[:3])
    assert parser.next_request(kind(data[3:-1])) is None
    message = parser.next_request(kind(data[-1:] + GET))
    assert message is not None and message.body == b"hello"
    assert parser.unread == len(GET)
    assert parser.next_request(b"") is None
    with pytest.raises(TypeError):
        parser.next_request("\r\n")  # type: ignore[arg-type]
    assert parser.next_request(b"\r\n") is not None
    with pytest.raises(HTTPInputError):
        parser.next_request(b"\x00")
    with pytest.raises(HTTPInputError):
        parser.next_request(data)


def test_input_that_changes_afterwards_changes_nothing() -> None:
    data = bytearray(GET + b"\r\n")
    parser = fed(data)
    data[:] = b"\x00" * len(data)
    message = parser.next_request()
    assert message is not None and message.authority == "a"


def test_view_with_strides_is_read_as_it_looks() -> None:
    data = GET + b"\r\n"
    spread = bytearray(2 * len(data))
    spread[::2] = data
    assert fed(memoryview(spread)[::2]).next_request() is not None


@pytest.mark.parametrize("wrong", ["GET / HTTP/1.1\r\n", 5, None, [1, 2], object()])
def test_input_that_is_no_bytes_is_the_callers_fault(wrong: Any) -> None:
    parser = fed(GET)
    with pytest.raises(TypeError):
        parser.receive_data(wrong)
    parser.receive_data(b"\r\n")
    assert parser.next_request() is not None


def test_no_input_and_empty_input_are_no_request() -> None:
    parser = RequestParser()
    assert parser.next_request() is None
    parser.receive_data(b"")
    assert parser.next_request() is None
    assert parser.next_event() is None
    assert not parser.receiving_head and not parser.closed


# --- Any token is a method ----------------------------------------------------------------

TOKEN = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def test_every_token_character_makes_a_method_and_no_other_byte_does() -> None:
    for byte in range(256):
        for method in (bytes([byte]), b"G" + bytes([byte]) + b"T"):
            seen = parse([method + b" / HTTP/1.1\r\n" + H + b"\r\n"], {})
            if byte in TOKEN:
                assert seen.requests[0]["method"] == method.decode()
            else:
                assert seen.error is not None and seen.error[0] == 400
                # Empty lines are another matter, and a SP ends a method.
                assert byte in b"\r\n " or seen.error[1:] == ("Invalid method", len(method) // 2)


def test_method_is_kept_as_it_came() -> None:
    for method in ("GET", "HEAD", "POST", "PUT", "get", "Post", "PROPFIND", "X", "GETS", "PU"):
        data = f"{method} / HTTP/1.1\r\nHost: a\r\n\r\n".encode()
        assert parse_one(data).method == method
        assert [request["method"] for request in parse(bytewise(data), {}).requests] == [method]


@pytest.mark.parametrize("method", ["GET", "POST", "SOURCE", "DESCRIBE", "OPTIONS", "X"])
def test_no_method_makes_another_protocol(method: str) -> None:
    for protocol in ("RTSP/1.0", "ICE/1.0", "HTTQ/1.1", "http/1.1", "HTTP1.1", "HTTP/"):
        error = refusal(f"{method} / {protocol}\r\nHost: a\r\n\r\n".encode())
        assert error.status == 400


# --- How the bytes were cut ---------------------------------------------------------------


SPLIT = b"\r\nOPTIONS /path HTTP/1.1\r\nhost: Example:80\r\nx-empty:\r\nA: b \r\n\r\n"


@pytest.mark.parametrize("at", range(1, len(SPLIT)))
def test_head_may_be_cut_anywhere(at: int) -> None:
    data = SPLIT
    parser = fed(data[:at])
    assert parser.next_request() is None
    assert parser.receiving_head is (at > 2)
    parser.receive_data(data[at:])
    message = parser.next_request()
    assert message is not None
    assert (message.method, message.uri, message.version) == ("OPTIONS", "/path", "HTTP/1.1")
    assert message.authority == "Example:80"
    assert message.fields == [("Host", "Example:80"), ("X-Empty", ""), ("A", "b")]


def test_pieces_may_come_before_anyone_asks() -> None:
    data = GET + b"X: y\r\n\r\n"
    parser = fed(*bytewise(data * 2))
    assert parser.unread == 2 * len(data)
    assert parser.next_request() is not None
    assert parser.next_request() is not None
    assert parser.next_request() is None


# --- What a message tells -------------------------------------------------------------------


def test_field_names_get_their_canonical_form() -> None:
    for raw, canonical in [
        ("host", "Host"),
        ("HOST", "Host"),
        ("content-type", "Content-Type"),
        ("Content-Type", "Content-Type"),
        ("cONTENT-tYPE", "Content-Type"),
        ("etag", "Etag"),
        ("x", "X"),
        ("X", "X"),
        ("-", "-"),
        ("a--b", "A--B"),
        ("x_forwarded_for", "X_forwarded_for"),
        ("123-abc", "123-Abc"),
        ("sec-ch-ua", "Sec-Ch-Ua"),
        ("dnt", "Dnt"),
        ("!#$%&'*+.^_`|~Z", "!#$%&'*+.^_`|~z"),
    ]:
        message = parse_one(f"GET / HTTP/1.0\r\n{raw}: a\r\n\r\n".encode())
        assert message.fields == [(canonical, "a")]


@pytest.mark.parametrize("letter", "abcxyzABCXYZ09~")
def test_names_of_one_character_leave_the_interpreter_alone(letter: str) -> None:
    # One-byte bytes objects are shared by everybody.
    before = [bytes([code]) for code in range(256)]
    message = parse_one(head(f"{letter}: y".encode()))
    assert message.fields[-1] == (letter.upper(), "y")
    assert [ord(item) for item in before] == list(range(256))
    assert letter.encode()[0] == ord(letter)


def test_values_are_latin_1_and_lose_blanks_around_them() -> None:
    for raw, value in [
        (b"a", "a"),
        (b"", ""),
        (b" \t ", ""),
        (b" \t a \t b \t ", "a \t b"),
        (b"\xe9\xff\x80\xa0", "\xe9\xff\x80\xa0"),
        (b"\xa0a\x85", "\xa0a\x85"),  # blank to Unicode, not to HTTP
        (b'"quoted"', '"quoted"'),
    ]:
        assert parse_one(head(b"X:" + raw)).fields[-1] == ("X", value)


def test_fields_are_a_new_list_each_time() -> None:
    message = parse_one(head(b"X:  a  "))
    first = message.fields
    first.clear()
    assert message.fields == message.fields == [("Host", "a"), ("X", "a")]


@pytest.mark.parametrize(
    ("target", "host", "authority"),
    [
        ("/", "a", "a"),
        ("/x?y", " a:80 ", "a:80"),
        ("*", "a", "a"),
        ("http://b", "a", "b"),
        ("http://b:8/x?y", "a", "b:8"),
        ("HTTPS://B?http://c/", "a", "B"),
        ("http://[::1]:8/", "a", "[::1]:8"),
    ],
)
def test_authority_is_the_targets_else_hosts(target: str, host: str, authority: str) -> None:
    message = parse_one(f"OPTIONS {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert message.uri == target
    assert message.authority == authority
    assert message.fields == [("Host", host.strip())]


def test_authority_is_empty_without_host() -> None:
    assert parse_one(b"GET / HTTP/1.0\r\n\r\n").authority == ""
    assert parse_one(b"GET / HTTP/1.1\r\n\r\n", require_host=False).authority == ""


def test_authority_of_one_request_is_not_that_of_the_next() -> None:
    data = b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n" + GET + b"\r\n"
    data += b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    assert [request["authority"] for request in parse([data], {}).requests] == ["b", "a", ""]


VALID_HOSTS = [
    *("a", "A.b-c_d~e", "1.2.3.4", "1.2.3.4:80", "a:", "a%2db", "x!$&'()*+;=y", "a" * 255),
    *("[::]", "[::1]", "[1::]", "[1:2:3:4:5:6:7:8]", "[1::8]:80", "[::1.2.3.4]", "[::255.0.0.1]:"),
    *("[1:2:3:4:5:6:1.2.3.4]", "[1:2:3:4:5:6:7::]", "[::ABCD:abcd]", "[fe80::0001]"),
]
INVALID_HOSTS = [
    *("", ":80", "a b", "a,b", "a/b", "u@a", "a:b", "a:80:80", "a%", "a%2", "a%zz", "a\tb", "\xe9"),
    *("[", "[]", "[]:80", "[:]", "[:::]", "[1:2:3:4:5:6:7]", "[1:2:3:4:5:6:7:8:9]", "[1::2::3]"),
    *("[::12345]", "[::g]", "[1:]", "[:1]", "[1:2:3:4:5:6:7:8::]", "[::1", "::1", "[::1]a"),
    *("[::1]80", "[::1.2.3]", "[::1.2.3.4.5]", "[::1.2.3.256]", "[::01.2.3.4]", "[::1.2.3.4:5]"),
    *("[1:2:3:4:5:6:7:1.2.3.4]", "[fe80::1%25eth0]", "[v1.a]", "[a]", "[....]", "[::1.2.3.]"),
]


@pytest.mark.parametrize("host", VALID_HOSTS)
def test_host_that_is_one_is_accepted(host: str) -> None:
    assert parse_one(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()).authority == host


@pytest.mark.parametrize("host", INVALID_HOSTS)
def test_host_that_is_none_is_refused_where_it_stands(host: str) -> None:
    error = refusal(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("latin-1"))
    assert (error.status, error.reason) == (400, "Invalid Host header")
    assert error.offset == 22 or host == ""


@pytest.mark.parametrize("port", ["1", "443", "65535", "0"])
def test_connect_needs_a_port(port: str) -> None:
    for host in ("a", "1.2.3.4", "[::1]"):
        for target, good in [(f"{host}:{port}", True), (host, False), (f"{host}:", False)]:
            seen = parse([f"CONNECT {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode()], {})
            assert seen.end == ("close" if good else "refused"), target


def test_message_outlives_the_parser_and_its_input() -> None:
    for data in (
        [CHUNKED + LAST + b"X-A: y\r\n\r\n"],
        bytewise(CHUNKED + LAST + b"X-A: y\r\n\r\n"),
    ):
        parser = fed(*data)
        message = parser.next_request()
        assert message is not None
        for _ in range(100):
            parser.receive_data(b"GET /other HTTP/1.1\r\nHost: other\r\n\r\n")
            assert parser.next_request() is not None
        del parser, data
        gc.collect()
        assert (message.method, message.uri, message.authority) == ("POST", "/", "a")
        assert message.fields == [("Host", "a"), ("Transfer-Encoding", "chunked")]
        assert (message.body, message.trailers) == (b"hello", [("X-A", "y")])


def test_attributes_that_may_be_assigned_and_those_that_may_not() -> None:
    message = parse_one(GET + b"\r\n")
    message.method, message.uri, message.version = "X", "/other", "HTTP/1.0"
    message.body = b"other"
    assert (message.method, message.uri, message.version) == ("X", "/other", "HTTP/1.0")
    assert message.body == b"other"
    for name in ("keep_alive", "upgrade", "expect_continue", "authority", "fields", "trailers"):
        with pytest.raises(AttributeError):
            setattr(message, name, True)
    with pytest.raises(TypeError):
        message.method = b"GET"  # type: ignore[assignment]


def test_message_may_be_made_by_hand() -> None:
    message = RequestMessage("GET", "/")
    assert (message.method, message.uri, message.version) == ("GET", "/", "HTTP/1.0")
    assert (message.body, message.fields, message.trailers) == (b"", [], [])
    assert message.authority == ""
    assert not (message.keep_alive or message.upgrade or message.expect_continue)
    assert repr(message) == "<RequestMessage 'GET' '/' 'HTTP/1.0' 0 body bytes>"
    assert repr(RequestMessage.__new__(RequestMessage))


@pytest.mark.parametrize("action", [copy.copy, copy.deepcopy, pickle.dumps])
def test_parser_and_message_refuse_to_be_copied(action: Any) -> None:
    for thing in (RequestParser(), parse_one(GET + b"\r\n"), RequestMessage("GET", "/")):
        with pytest.raises(TypeError, match="pickled"):
            action(thing)


def test_end_of_message_is_one_object() -> None:
    assert repr(END_OF_MESSAGE) == "END_OF_MESSAGE"
    assert isinstance(END_OF_MESSAGE, EndOfMessage)
    assert copy.deepcopy(END_OF_MESSAGE) is copy.copy(END_OF_MESSAGE) is END_OF_MESSAGE
    assert pickle.loads(pickle.dumps(END_OF_MESSAGE)) is END_OF_MESSAGE


# --- Subclasses ---------------------------------------------------------------------------


class Slotted(RequestMessage):
    __slots__ = ("mark",)

    def __new__(cls, *args: object) -> Slotted:
        raise AssertionError("it is not called")

    def __init__(self, *args: object) -> None:
        raise AssertionError("it is not called")


class Open(RequestMessage):
    __slots__ = ("__dict__", "__weakref__")
    kind = "of the class"


class Plain(Open):
    pass


@pytest.mark.parametrize("cls", [Slotted, Open, Plain])
def test_message_class_is_what_is_made(cls: type[Any]) -> None:
    parser = RequestParser(message_class=cls)
    for data in (GET + b"\r\n", CHUNKED + LAST + b"\r\n"):
        parser.receive_data(data)
        message: Any = parser.next_request()
        assert type(message) is cls
        message.mark = 1
        assert message.mark == 1
        assert message.authority == "a"
    parser.receive_data(GET + b"\r\n")
    assert type(parser.next_event()) is cls


def test_what_new_of_the_message_class_returns_does_not_matter() -> None:
    class Strange(RequestMessage):
        def __new__(cls) -> Any:
            return None

    message = fed(GET + b"\r\n", message_class=Strange).next_request()
    assert type(message) is Strange


# --- Keep-alive ---------------------------------------------------------------------------

KEEP_ALIVE = [
    # version, method, Connection fields, Content-Length, kept
    ("1.1", "GET", [], False, True),
    ("1.1", "DELETE", [], False, True),
    ("1.1", "GET", ["close"], False, False),
    ("1.1", "GET", ["Close"], False, False),
    ("1.1", "GET", ["keep-alive"], False, True),
    ("1.1", "GET", ["close, foo"], False, False),
    ("1.1", "GET", ["foo, close"], False, False),
    ("1.1", "GET", ["foo ,\tCLOSE\t"], False, False),
    ("1.1", "GET", ["keep-alive, close"], False, False),
    ("1.1", "GET", ["keep-alive", "close"], False, False),
    ("1.1", "GET", ["close", "keep-alive"], False, False),
    ("1.1", "GET", ["closed"], False, True),
    ("1.1", "GET", ["disclose"], False, True),
    ("1.1", "GET", ["close x"], False, True),
    ("1.1", "GET", ["close;x"], False, True),
    ("1.1", "GET", ['"close"'], False, True),
    ("1.1", "GET", [""], False, True),
    ("1.1", "GET", [",,close,,"], False, False),
    ("1.1", "POST", ["close"], True, False),
    ("1.0", "GET", [], False, False),
    ("1.0", "GET", ["keep-alive"], False, True),
    ("1.0", "GET", ["Keep-Alive"], False, True),
    ("1.0", "HEAD", ["keep-alive"], False, True),
    ("1.0", "GET", ["keep-alive, foo"], False, True),
    ("1.0", "GET", ["foo", "keep-alive"], False, True),
    ("1.0", "GET", ["keep-alive, close"], False, False),
    ("1.0", "GET", ["close", "keep-alive"], False, False),
    ("1.0", "GET", ["keep-alives"], False, False),
    ("1.0", "DELETE", ["keep-alive"], False, False),
    ("1.0", "POST", ["keep-alive"], False, False),
    ("1.0", "POST", ["keep-alive"], True, True),
    ("1.0", "POST", [], True, False),
    ("1.0", "get", ["keep-alive"], False, False),
]


@pytest.mark.parametrize(("version", "method", "connection", "length", "kept"), KEEP_ALIVE)
def test_keep_alive(
    version: str, method: str, connection: list[str], length: bool, kept: bool
) -> None:
    lines = [f"{method} / HTTP/{version}", "Host: a"]
    lines += [f"Connection: {value}" for value in connection]
    lines += ["Content-Length: 2"] if length else []
    data = "\r\n".join([*lines, "", "ab" if length else ""]).encode()
    for pieces in ([data], bytewise(data)):
        seen = parse(pieces, {})
        assert seen.requests[0]["keep_alive"] is kept
        assert seen.end == ("open" if kept else "close")


def test_bytes_behind_the_last_request_are_dropped() -> None:
    data = head(b"Connection: close")
    for behind in (GET + b"\r\n", b"\x00\n\xff", b"\r\n"):
        for pieces in ([data + behind], [data, behind], bytewise(data + behind)):
            parser = fed(*pieces)
            assert parser.next_request() is not None
            assert parser.closed
            for _ in range(3):
                assert parser.next_request() is None
                assert parser.next_event() is None
                parser.receive_data(behind)
            assert parser.next_request() is None
            assert parser.unread == 0
            assert parser.messages == 1


# --- Upgrade, CONNECT, detach ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "upgrade"),
    [
        ([b"Upgrade: x", b"Connection: upgrade"], True),
        ([b"Connection: Upgrade", b"Upgrade: x"], True),
        ([b"Connection: foo, UPGRADE", b"upgrade: x/1, y"], True),
        ([b"Upgrade: x"], False),
        ([b"Connection: upgrade"], False),
        ([b"Upgrade:", b"Connection: upgrade"], False),
        ([b"Upgrade: x", b"Connection: upgraded"], False),
    ],
)
def test_upgrade_takes_two_fields(fields: list[bytes], upgrade: bool) -> None:
    message = parse_one(head(*fields))
    assert message.upgrade is upgrade
    assert message.keep_alive
    old = head(*fields, line=b"GET / HTTP/1.0")
    assert parse([old], {}).requests[0]["upgrade"] is False


UPGRADE = head(b"Connection: Upgrade", b"Upgrade: x")
CONNECT = b"CONNECT a:1 HTTP/1.1\r\n" + H + b"\r\n"


@pytest.mark.parametrize("data", [UPGRADE, CONNECT, GET + b"\r\n"])
def test_detach_gives_back_exactly_the_bytes_behind(data: bytes) -> None:
    for behind in (b"", b"\x00", b"\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", bytes(range(256)) * 9):
        for cuts in ([], [len(data)], range(10**4), [5, len(data) + 1, len(data) + 2]):
            parser = RequestParser()
            message = None
            for piece in split(data + behind, cuts):
                parser.receive_data(piece)
                if message is None:
                    message = parser.next_request()
            assert message is not None and message.upgrade is (
                data[:5] != b"GET /" or b"Upgrade" in data
            )
            assert parser.unread == len(behind)
            assert parser.detach() == behind
            assert parser.closed and parser.unread == 0
            parser.receive_data(b"more")
            assert parser.next_request() is None


def test_detach_in_a_head_gives_back_the_part_that_came() -> None:
    for part in (b"G", b"GET", b"GET ", b"GET /", GET, GET + b"X: y\r\n"):
        for pieces in ([part], bytewise(part)):
            parser = fed(*pieces)
            assert parser.next_request() is None
            parser.receive_data(b"more")
            assert parser.detach() == part + b"more"
        assert fed(part, b"more").detach() == part + b"more"


def test_detach_in_a_body_is_the_callers_fault() -> None:
    for data in (POST + b"Content-Length: 5\r\n\r\nhe", CHUNKED + b"5\r\nhe", CHUNKED):
        parser = fed(data)
        assert parser.next_request() is None
        with pytest.raises(RuntimeError):
            parser.detach()
        assert parser.receiving_body


def test_detach_behind_a_refusal_gives_nothing() -> None:
    parser = fed(b"\x00 and more")
    with pytest.raises(HTTPInputError):
        parser.next_request()
    assert parser.detach() == b""


# --- Refusal ------------------------------------------------------------------------------


def test_refused_parser_refuses_everything() -> None:
    for data in (b"\x00", GET + b"X : y\r\n", CHUNKED + b"x", CHUNKED + LAST + b":"):
        parser = fed(data)
        errors = []
        for step in (parser.next_request, parser.next_event, parser.next_request):
            with pytest.raises(HTTPInputError) as caught:
                step()
            errors.append((caught.value.status, caught.value.reason, caught.value.offset))
            parser.receive_data(GET + b"\r\n")
        assert len(set(errors)) == 1
        assert parser.closed
        assert not parser.receiving_head and not parser.receiving_body
        assert not parser.awaiting_continue
        assert (parser.unread, parser.messages) == (0, 0)


def test_requests_before_a_fault_are_served_first() -> None:
    parser = fed(GET + b"\r\n" + GET + b"\r\n" + b"\x00")
    assert parser.next_request() is not None
    assert parser.next_request() is not None
    with pytest.raises(HTTPInputError) as caught:
        parser.next_request()
    assert caught.value.offset == 2 * len(GET + b"\r\n")


def test_offset_counts_from_the_first_byte_of_all() -> None:
    good = CHUNKED + LAST + b"X: y\r\n\r\n"
    for bad, at in [
        (b"\x00", 0),
        (b"\r\n\r\n\x00", 4),
        (b"\r\n\rG", 3),
        (b"GE\x00", 2),
        (GET + b"X y: z\r\n", len(GET) + 1),
        (POST + b"Content-Length: 5x\r\n", len(POST) + 17),
        (CHUNKED + b"5\r\nhello\r\nx", len(CHUNKED) + 10),
        (CHUNKED + LAST + b"X y", len(CHUNKED + LAST) + 1),
    ]:
        for pieces in ([good + bad], [good, bad], bytewise(good + bad)):
            seen: Seen = parse(pieces, {})
            assert seen.error is not None
            assert seen.error[2] == len(good) + at, (bad, seen.error)


def test_input_error_can_be_sent_to_another_process() -> None:
    error = refusal(b"GET / HTTP/3.0\r\n\r\n")
    twin = pickle.loads(pickle.dumps(error))
    assert (twin.status, twin.reason, twin.offset) == (505, error.reason, 6)
    assert str(twin) == error.reason


def test_is_head_tells_of_the_latest_request_and_not_of_the_one_before() -> None:
    parser = fed(b"HEAD / HTTP/1.1\r\n" + H + b"\r\n")
    assert not parser.is_head
    assert parser.next_request() is not None
    assert parser.is_head
    assert parser.next_request() is None
    assert parser.is_head  # it is the latest still
    parser.receive_data(b"G")
    assert parser.next_request() is None
    assert not parser.is_head
    parser.receive_data(b"@")
    with pytest.raises(HTTPInputError):
        parser.next_request()
    assert not parser.is_head
    for bad in (b"HEAD / HTTP/1.1\r\n\r\n", b"HEAD / HTTP/1.1\r\nX : y"):
        parser = fed(bad)
        with pytest.raises(HTTPInputError):
            parser.next_request()
        assert parser.is_head


# --- How far it is ------------------------------------------------------------------------


def test_receiving_head_is_true_from_the_first_byte_to_the_last() -> None:
    parser = RequestParser()
    data = b"\r\n" + GET + b"\r\n"
    for at, piece in enumerate(bytewise(data)):
        assert parser.receiving_head is (at > 2)
        parser.receive_data(piece)
        message = parser.next_request()
    assert message is not None
    assert not parser.receiving_head


def test_a_parser_is_false_between_requests_only() -> None:
    parser = RequestParser()
    assert not parser
    for piece, idle in [
        (b"\r", False),
        (b"\n", True),
        (b"G", False),
        (GET[1:], False),
        (b"\r\n", True),
        (POST + b"Content-Length: 1\r\n\r\n", False),
        (b"x", True),
        (CHUNKED, False),
        (b"0\r\n", False),
        (b"\r\n", True),
        (GET + b"\r\n" + GET, False),
    ]:
        parser.receive_data(piece)
        assert parser  # nobody has looked at it yet
        parser.next_request()
        assert bool(parser) is not idle, piece
    parser.receive_data(head(b"Connection: close")[len(GET) :])
    assert parser.next_request() is not None
    assert parser.closed and parser


def test_start_time_is_when_the_head_was_complete() -> None:
    parser = fed(GET)
    assert parser.next_request() is None
    before = time.time()
    parser.receive_data(b"\r\n")
    message = parser.next_request()
    assert message is not None
    # Two clocks of one system, which need not be read with the same resolution.
    assert before - 0.1 <= message.start_time <= time.time() + 0.1


@pytest.mark.parametrize(
    "data", [POST + b"Content-Length: 5\r\n\r\nhello", CHUNKED + LAST + b"X: y\r\n\r\n"]
)
def test_receiving_body_is_true_from_the_head_to_the_last_byte(data: bytes) -> None:
    parser = RequestParser()
    body_at = data.index(b"\r\n\r\n") + 4
    for at, piece in enumerate(bytewise(data)):
        assert parser.receiving_body is (at >= body_at)
        parser.receive_data(piece)
        message = parser.next_request()
    assert message is not None
    assert not parser.receiving_body


def test_body_received_counts_content_only() -> None:
    parser = RequestParser()
    for data, counts in [
        (POST + b"Content-Length: 5\r\n\r\n", [0, 1, 2, 3, 4, 5]),
        (CHUNKED, [0, 0, 0, 0, 1, 2, 2, 2, 2, 2, 2, 2, 2]),
    ]:
        rest = b"hello" if data is not CHUNKED else b"2\r\nhi\r\n0\r\n\r\n"
        parser.receive_data(data)
        assert parser.next_request() is None
        seen = [parser.body_received]
        for piece in bytewise(rest):
            parser.receive_data(piece)
            parser.next_request()
            seen.append(parser.body_received)
        assert seen == counts
    parser.receive_data(GET)
    assert parser.next_request() is None
    assert parser.body_received == 0  # the latest request has none


@pytest.mark.parametrize("framing", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
def test_awaiting_continue_until_the_body_begins(framing: bytes) -> None:
    data = POST + b"Expect: 100-Continue\r\n" + framing + b"\r\n\r\n"
    parser = RequestParser()
    for piece in bytewise(data):
        assert not parser.awaiting_continue
        parser.receive_data(piece)
        assert parser.next_request() is None
    assert parser.awaiting_continue
    parser.receive_data(b"5")
    assert parser.next_request() is None
    assert not parser.awaiting_continue
    parser.receive_data(b"\r\nhello\r\n0\r\n\r\n" if b"chunked" in framing else b"6789")
    message = parser.next_request()
    assert message is not None and message.expect_continue
    assert not parser.awaiting_continue
    parser.receive_data(POST + framing + b"\r\n\r\n")
    assert parser.next_request() is None
    assert not parser.awaiting_continue  # the next request does not wait


@pytest.mark.parametrize("framing", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
def test_client_that_was_told_to_continue_awaits_it_no_more(framing: bytes) -> None:
    data = POST + b"Expect: 100-continue\r\n" + framing + b"\r\n\r\n"
    body = b"5\r\nhello\r\n0\r\n\r\n" if b"chunked" in framing else b"hello"
    parser = RequestParser()
    parser.told_to_continue()  # without a message that is nothing
    for _ in range(2):
        assert parser.next_request(data) is None
        assert parser.awaiting_continue
        parser.told_to_continue()
        assert not parser.awaiting_continue
        message = parser.next_request(body)
        assert message is not None and message.body == b"hello" and message.expect_continue


@pytest.mark.parametrize("before", [GET + b"\r\n", CHUNKED + LAST + b"\r\n", b"\r\n"])
@pytest.mark.parametrize("framing", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
def test_awaiting_continue_has_nothing_to_do_with_the_message_before(
    before: bytes, framing: bytes
) -> None:
    parser = fed(before)
    parser.next_request()
    parser.receive_data(POST + b"Expect: 100-continue\r\n" + framing + b"\r\n\r\n")
    assert parser.next_request() is None
    assert parser.awaiting_continue


@pytest.mark.parametrize(
    "data",
    [
        head(b"Expect: 100-continue"),
        head(b"Expect: 100-continue", b"Content-Length: 0"),
        POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\nh",
        b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
        POST + b"Content-Length: 5\r\n\r\n",
    ],
)
def test_nobody_waits_for_100_continue(data: bytes) -> None:
    parser = fed(data)
    parser.next_request()
    assert not parser.awaiting_continue


def test_messages_counts_whole_ones() -> None:
    parser = fed(GET + b"\r\n" + CHUNKED + LAST + b"\r\n" + GET)
    assert parser.messages == 0
    for count in (1, 2, 2):
        parser.next_request()
        assert parser.messages == count
    assert parser.messages == 2
    parser.receive_data(b"\r\n")
    for _ in range(2):
        parser.next_event()
    assert parser.messages == 3


def test_unread_is_what_waits_behind_the_message() -> None:
    parser = fed(GET + b"\r\n")
    assert parser.unread == len(GET) + 2
    parser.receive_data(GET)
    parser.receive_data(b"\r\n" + b"abc")
    assert parser.next_request() is not None
    assert parser.unread == len(GET) + 2 + 3
    assert parser.next_request() is not None
    assert parser.unread == 3
    assert parser.next_request() is None
    assert parser.unread == 0  # part of a head, and looked at
    assert parser.receiving_head


@pytest.mark.parametrize("name", ["A", "a", "X-Odd", "x-oDD", "Content-Type", "content-type"])
def test_raw_fields_have_names_in_lower_case_and_values_as_they_came(name: str) -> None:
    message = parse_one(GET + name.encode() + b": \tA\xe9b \r\n\r\n")
    assert message.raw_fields == [(b"host", b"a"), (name.lower().encode(), b"A\xe9b")]
    assert RequestMessage("GET", "/").raw_fields == []


# --- Piece by piece -----------------------------------------------------------------------


def test_events_come_in_order() -> None:
    parser = fed(POST + b"Content-Length: 5\r\n\r\nhel")
    message = parser.next_event()
    assert isinstance(message, RequestMessage)
    assert (message.method, message.body) == ("POST", b"")
    assert parser.next_event() == b"hel"
    assert parser.next_event() is None
    parser.receive_data(b"lo" + GET + b"\r\n")
    assert parser.next_event() == b"lo"
    assert parser.messages == 0
    assert parser.next_event() is END_OF_MESSAGE
    assert parser.messages == 1
    assert isinstance(parser.next_event(), RequestMessage)
    assert parser.next_event() is END_OF_MESSAGE
    assert parser.next_event() is None


def test_events_of_chunks_are_their_data() -> None:
    parser = fed(CHUNKED + b"3\r\nabc\r\n2;x\r\nde\r\n0\r\nX-A: y\r\n\r\n")
    message = parser.next_event()
    assert isinstance(message, RequestMessage)
    assert [parser.next_event() for _ in range(2)] == [b"abc", b"de"]
    assert message.trailers == []
    assert parser.next_event() is END_OF_MESSAGE
    assert message.trailers == [("X-A", "y")]


def test_piece_that_is_all_body_is_not_copied() -> None:
    piece = b"x" * 1000
    for framing, before in (
        (b"Content-Length: 2000", b""),
        (b"Transfer-Encoding: chunked", b"3e8\r\n"),
    ):
        parser = fed(POST + framing + b"\r\n\r\n" + before)
        assert isinstance(parser.next_event(), RequestMessage)
        assert parser.next_event() is None
        parser.receive_data(piece)
        assert parser.next_event() is piece


def test_ways_of_reading_may_alternate_between_messages_and_not_inside() -> None:
    data = POST + b"Content-Length: 5\r\n\r\nhe"
    parser = fed(data)
    assert isinstance(parser.next_event(), RequestMessage)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="next_event"):
            parser.next_request()
    parser.receive_data(b"llo" + data)
    assert [parser.next_event() for _ in range(3)] == [b"he", b"llo", END_OF_MESSAGE]
    assert parser.next_request() is None
    for _ in range(2):
        with pytest.raises(RuntimeError, match="next_request"):
            parser.next_event()
    parser.receive_data(b"llo" + GET + b"\r\n")
    message = parser.next_request()
    assert message is not None and message.body == b"hello"
    assert isinstance(parser.next_event(), RequestMessage)


@pytest.mark.parametrize(
    "data, body",
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b""),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", b""),
    ],
)
def test_next_message_is_whole_if_all_of_it_is_here(data: bytes, body: bytes) -> None:
    for cut in range(len(data) - len(body)):  # the head may come in pieces
        parser = RequestParser()
        parser.receive_data(data[:cut])
        assert parser.next_message() is None
        message = parser.next_message(data[cut:] + data)
        assert message is not None
        assert message.body == body
        assert not parser.receiving_body
        assert parser.messages == 1
        message = parser.next_message()
        assert message is not None and message.body == body


def test_next_message_counts_what_came_in_several_pieces() -> None:
    parser = RequestParser()
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
    for piece in (head, b"he", b"llo"):
        parser.receive_data(piece)
    message = parser.next_message()
    assert message is not None and message.body == b"hello"


@pytest.mark.parametrize(
    "field, rest, pieces",
    [
        (b"Content-Length: 5", b"hell", [b"hell", None, b"o"]),
        (b"Transfer-Encoding: chunked", b"4\r\nhell\r\n", [b"hell", None, b"o"]),
    ],
)
def test_next_message_is_the_head_if_not_all_is_here(
    field: bytes, rest: bytes, pieces: list[bytes | None]
) -> None:
    parser = RequestParser()
    head = b"POST / HTTP/1.1\r\nHost: a\r\n" + field + b"\r\n\r\n"
    message = parser.next_message(head + rest)
    assert message is not None and message.body == b""
    assert parser.receiving_body
    for step in (parser.next_message, parser.next_request):
        with pytest.raises(RuntimeError, match="begun"):
            step()
    assert [parser.next_event(), parser.next_event()] == pieces[:2]
    parser.receive_data(b"1\r\no\r\n0\r\n\r\n" if b"chunked" in field else b"o")
    assert [parser.next_event(), parser.next_event()] == [pieces[2], END_OF_MESSAGE]
    assert parser.next_message() is None


def test_next_message_does_not_go_on_with_what_next_request_has_begun() -> None:
    parser = RequestParser()
    parser.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhell")
    assert parser.next_request() is None
    with pytest.raises(RuntimeError, match="begun"):
        parser.next_message()


def test_fault_in_a_body_comes_behind_what_was_good_of_it() -> None:
    parser = fed(CHUNKED + b"2\r\nab\r\n2\r\ncdx")
    assert isinstance(parser.next_event(), RequestMessage)
    assert parser.next_event() == b"ab"
    events = []
    with pytest.raises(HTTPInputError):
        while True:
            events.append(parser.next_event())
    assert events in ([], [b"cd"])
    with pytest.raises(HTTPInputError):
        parser.next_request()  # the message is over, so this is no mistake


# --- Trailers -----------------------------------------------------------------------------

NOT_IN_TRAILERS = [
    *("Host", "host", "Connection", "Keep-Alive", "Proxy-Connection", "Upgrade", "TE", "Trailer"),
    *("Authorization", "Proxy-Authorization", "Cookie", "Forwarded", "X-Forwarded-For"),
    *("x-forwarded-host", "X-Forwarded-Proto", "X-Real-Ip", "X-Scheme", "Content-Encoding"),
    *("Content-Type", "Content-Range", "Expect", "Cache-Control", "Max-Forwards"),
]


@pytest.mark.parametrize("name", NOT_IN_TRAILERS)
def test_trailer_that_would_change_the_request_is_dropped(name: str) -> None:
    section = f"A: 1\r\n{name}: close\r\nB: 2\r\n\r\n".encode()
    for pieces in ([CHUNKED + LAST + section], bytewise(CHUNKED + LAST + section)):
        seen = parse(pieces, {})
        (request,) = seen.requests
        assert request["trailers"] == [("A", "1"), ("B", "2")]
        assert request["fields"] == [("Host", "a"), ("Transfer-Encoding", "chunked")]
        assert seen.end == "open"


@pytest.mark.parametrize("name", ["Content-Length", "content-length", "Transfer-Encoding"])
@pytest.mark.parametrize("value", ["", "5", "chunked", "x"])
def test_trailer_that_frames_is_refused(name: str, value: str) -> None:
    for section in (f"{name}: {value}\r\n\r\n", f"A: 1\r\n{name}:{value}\r\n\r\n"):
        assert refusal(CHUNKED + LAST + section.encode()).status == 400


def test_trailers_of_one_request_are_not_those_of_the_next() -> None:
    data = CHUNKED + LAST + b"A: 1\r\n\r\n" + CHUNKED + LAST + b"\r\n" + GET + b"\r\n"
    seen = parse([data], {})
    assert [request["trailers"] for request in seen.requests] == [[("A", "1")], [], []]


# --- Work and memory ----------------------------------------------------------------------


@pytest.mark.untraced
def test_a_million_small_chunks_take_linear_time() -> None:
    count = 1_000_000
    data = CHUNKED + b"1\r\nx\r\n" * count + b"0\r\n\r\n"
    for size in (len(data), 65_536):
        start = time.perf_counter()
        parser = fed(*(data[at : at + size] for at in range(0, len(data), size)))
        message = parser.next_request()
        assert time.perf_counter() - start < SECONDS
        assert message is not None and message.body == b"x" * count


@pytest.mark.untraced
def test_many_small_pieces_take_linear_time() -> None:
    data = POST + b"Content-Length: 200000\r\n\r\n" + b"ab" * 100_000
    start = time.perf_counter()
    parser = RequestParser()
    for at in range(0, len(data), 2):
        parser.receive_data(data[at : at + 2])
        assert parser.unread == min(at + 2, len(data))
    message = parser.next_request()
    assert message is not None and message.body == b"ab" * 100_000
    for at in range(0, len(data), 2):
        parser.receive_data(data[at : at + 2])
        message = parser.next_request()
    assert message is not None and message.body == b"ab" * 100_000
    assert time.perf_counter() - start < SECONDS


@pytest.mark.untraced
def test_many_requests_in_one_piece_take_linear_time() -> None:
    count = 100_000
    parser = fed((GET + b"\r\n") * count)
    start = time.perf_counter()
    while parser.next_request() is not None:
        parser.receive_data(b"\r\n" if parser.messages < 1000 else b"")
    assert parser.messages == count
    assert time.perf_counter() - start < SECONDS


def test_big_body_is_held_once() -> None:
    size = 4_000_000
    piece = b"x" * 50_000
    parser = fed(POST + b"Content-Length: %d\r\n\r\n" % size)
    tracemalloc.start()
    try:
        for _ in range(size // len(piece)):
            parser.receive_data(piece)
            message = parser.next_request()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert message is not None and message.body == piece * (size // len(piece))
    assert peak < 1.1 * size


def test_announced_body_takes_no_memory_before_it_comes() -> None:
    tracemalloc.start()
    try:
        parser = fed(POST + b"Content-Length: 100000000\r\n\r\nhello")
        assert parser.next_request() is None
        assert tracemalloc.get_traced_memory()[1] < 10_000
    finally:
        tracemalloc.stop()


def test_messages_and_refusals_need_no_garbage_collector() -> None:
    def refuse(data: bytes) -> tuple[HTTPInputError, list[weakref.ref[Any]]]:
        parser = fed(data, message_class=Open)
        references = []
        try:
            while (event := parser.next_event()) is not None:
                if isinstance(event, Open):
                    references.append(weakref.ref(event))
        except HTTPInputError as error:
            assert not any(isinstance(item, Exception) for item in gc.get_referents(parser))
            return error.with_traceback(None), references
        raise AssertionError(data)

    gc.collect()
    gc.disable()
    try:
        for data in (b"\x00", GET + b"\r\n\x00", CHUNKED + b"5\r\nhello\r\nx"):
            _error, references = refuse(data)
            assert [reference() for reference in references] == [None] * len(references)
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_cycle_through_a_message_is_collected() -> None:
    parser = fed(POST + b"Content-Length: 5\r\n\r\n", message_class=Open)
    message = parser.next_event()
    assert isinstance(message, Open)
    message.parser = parser  # type: ignore[attr-defined]
    reference = weakref.ref(message)
    del message, parser
    gc.collect()
    assert reference() is None


NO_MEMORY = """
import _testcapi
from fasthttpserver._parser import RequestParser
from fasthttpserver.errors import HTTPInputError

HEAD = b"POST / HTTP/1.1\\r\\nHost: a\\r\\n"
BODY = b"Transfer-Encoding: chunked\\r\\n\\r\\n5\\r\\nhello\\r\\n0\\r\\nx: y\\r\\n\\r\\n"
DATA = HEAD + BODY + HEAD + b"Content-Length: 3\\r\\n\\r\\nabc"
failures = 0
EXPECTED = [[None, None], [b"hello", None], [b"hello", b"abc"]]
for step in (len(DATA), 7):
    pieces = [DATA[at : at + step] for at in range(0, len(DATA), step)]
    for count in range(150):
        parser = RequestParser()
        bodies = [None, None]  # so that nothing but the parser needs memory
        inside = failed = False
        _testcapi.set_nomemory(count, count + 1)
        try:
            for piece in pieces:
                parser.receive_data(piece)
                inside = True
                while (message := parser.next_request()) is not None:
                    bodies[parser.messages - 1] = message.body
                inside = False
        except MemoryError:
            failed = True
        finally:
            _testcapi.remove_mem_hooks()
        assert bodies in EXPECTED
        if not failed:
            assert None not in bodies
        elif inside:
            failures += 1
            # What comes now may not be taken for a request of its own.
            parser.receive_data(b"GET /smuggled HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n" * 2)
            try:
                parser.next_request()
            except (RuntimeError, MemoryError):
                continue
            raise AssertionError(count)
assert failures > 20
"""


@pytest.mark.untraced
def test_parser_that_ran_out_of_memory_reads_no_further() -> None:
    pytest.importorskip("_testcapi", reason="the interpreter came without its test modules")
    subprocess.run([sys.executable, "-c", NO_MEMORY], check=True, timeout=60)


@pytest.mark.untraced
@pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="collects garbage between bytecodes only, not in C"
)
def test_finalizer_that_asks_the_parser_in_the_middle_is_turned_away() -> None:
    said: list[object] = []
    inside = False

    class Meddler:
        def __init__(self) -> None:
            self.cycle = self

        def __del__(self) -> None:
            if not inside:
                return
            for call in calls:
                try:
                    said.append(call())
                except RuntimeError as error:
                    said.append(str(error))

    parser = fed((GET + b"\r\n") * 500, message_class=Open)
    calls = next_request, _, _ = parser.next_request, parser.next_event, parser.detach
    messages: list[object] = [None] * 500
    threshold = gc.get_threshold()
    gc.collect()
    try:
        for number in range(500):
            Meddler()
            gc.set_threshold(gc.get_count()[0])
            inside = True
            messages[number] = next_request()
            inside = False
            gc.set_threshold(0)
    finally:
        gc.set_threshold(*threshold)
    assert None not in messages
    assert set(said) <= {"an earlier call is still running, or was cut short"}
    if not said:
        pytest.skip("this interpreter collects no garbage there")
