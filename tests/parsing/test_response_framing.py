"""Responses that an application writes itself: what is one, where it ends, and what is none."""

from __future__ import annotations

import pickle
from typing import Any, NamedTuple

import h11
import pytest
from helpers import split
from hypothesis import HealthCheck, assume, event, example, given, settings
from hypothesis import strategies as st
from parser_runs import parse_one
from strategies import mutations, splits, tokens

from fasthttpserver._parser import (
    RequestMessage,
    RequestParser,
    ResponseChecker,
    check_response,
    frame_response,
)
from fasthttpserver.testing._responses import Asked, RuleBroken, read_response

GET_REQUEST = RequestMessage("GET", "/", "HTTP/1.1")
HEAD_REQUEST = RequestMessage("HEAD", "/", "HTTP/1.1")
OK = b"HTTP/1.1 200 OK\r\n"
OLD = b"HTTP/1.0 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
FIVE = OK + b"Content-Length: 5\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


class Verdict(NamedTuple):
    """What a checker says."""

    fault: str | None
    status: int
    close: bool
    switched: bool


def check(
    *pieces: bytes,
    method: str = "GET",
    version: str = "HTTP/1.1",
    keep_alive: bool = True,
    checker: ResponseChecker | None = None,
) -> Verdict:
    """Give pieces to a checker."""
    checker = checker or ResponseChecker()
    checker.start(method == "HEAD", method == "CONNECT", version == "HTTP/1.1")
    for piece in pieces:
        checker.feed(piece)
    fault = checker.finish(keep_alive)
    return Verdict(fault, checker.status, checker.close, checker.switched)


HEAD: dict[str, Any] = {"method": "HEAD"}
CONNECT: dict[str, Any] = {"method": "CONNECT"}
OF_1_0: dict[str, Any] = {"version": "HTTP/1.0"}
LAST: dict[str, Any] = {"keep_alive": False}

# The response, what it answers, its status, and whether the connection has to end after it.
RIGHT: list[tuple[bytes, dict[str, Any], int, bool]] = [
    (FIVE + b"hello", {}, 200, False),
    (OK + b"Content-Length: 0\r\n\r\n", {}, 200, False),
    (OK + b"content-length:5\r\n\r\nhello", {}, 200, False),
    (OK + b"CONTENT-LENGTH:  \t005 \t\r\n\r\nhello", {}, 200, False),
    (OK + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", {}, 200, False),
    (OK + b"X-Content-Length: 6\r\nContent-Length: 5\r\n\r\nhello", {}, 200, False),
    (OK + b"A:\r\nX: a\x00\xff: b\r\nContent-Length: 5\r\n\r\nhello", {}, 200, False),
    (b"HTTP/1.1 999 \r\nContent-Length: 5\r\n\r\nhello", {}, 999, False),
    (b"HTTP/1.1 404\r\nContent-Length: 5\r\n\r\nhello", {}, 404, False),
    (OLD + b"Content-Length: 5\r\n\r\nhello", {}, 200, False),
    # Chunks.
    (CHUNKED + b"0\r\n\r\n", {}, 200, False),
    (CHUNKED + b"5\r\nhello\r\n0\r\n\r\n", {}, 200, False),
    (CHUNKED + b'00a;x="y"\r\n0123456789\r\n1 \r\n\r\r\n0 ;x\r\n\r\n', {}, 200, False),
    (CHUNKED + b"0\r\nX: y\r\nContent-Length: 5\r\nConnection: close\r\n\r\n", {}, 200, False),
    (OK + b"transfer-encoding: Chunked ,\r\n\r\n0\r\n\r\n", {}, 200, False),
    # No body, whatever the fields say.
    (FIVE, HEAD, 200, False),
    (CHUNKED, HEAD, 200, False),
    (OK + b"\r\n", HEAD, 200, False),
    (b"HTTP/1.1 204 No Content\r\n\r\n", {}, 204, False),
    (b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", {}, 204, False),
    (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", {}, 304, False),
    (b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", {}, 304, False),
    # The connection ends.
    (FIVE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + b"hello", {}, 200, True),
    (OK + b"connection: x,\tCLOSE \r\nContent-Length: 0\r\n\r\n", {}, 200, True),
    (OK + b"Connection: keep-alive\r\nConnection: close\r\n\r\nany", {}, 200, True),
    (OK + b"Connection: closed, not close\r\nContent-Length: 0\r\n\r\n", {}, 200, False),
    (OK + b"\r\nany", LAST, 200, True),
    (OLD + b"\r\nany", {}, 200, True),
    (OLD + b"\r\nany", OF_1_0, 200, True),
    (OLD + b"Connection: keep-alive\r\n\r\nany", LAST, 200, True),
    (OK + b"\r\nany", {**OF_1_0, **LAST}, 200, True),
    # Interim responses.
    (CONTINUE + FIVE + b"hello", {}, 200, False),
    (CONTINUE * 3 + CHUNKED + b"0\r\n\r\n", {}, 200, False),
    (
        b"HTTP/1.1 103 Early Hints\r\nConnection: close\r\nContent-Length: 9\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n" + FIVE + b"hello",
        {},
        200,
        False,
    ),
    # Another protocol.
    (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n\x00any", {}, 101, True),
    (OK + b"\r\n\x00any", CONNECT, 200, True),
    (b"HTTP/1.1 204 OK\r\nContent-Length: 1\r\n\r\nany", CONNECT, 204, True),
    (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\nhello", CONNECT, 403, False),
]

LINE_END = "has a line in its head that does not end with CRLF"
FIELD = "has a line in its head that is not a field"
DIFFER = "has several Content-Lengths that differ"
LENGTH = "has a Content-Length that is not a number"
CODING = "has another Transfer-Encoding than chunked"
SIZE = "has a chunk whose size is not a number"
CUT_CHUNK = "has a chunk that is not as long as its size"
NO_LAST_CHUNK = "ends before its last chunk does"
NO_HEAD = "has no complete head"
NO_LENGTH = "has no length, and the connection is kept alive"

WRONG: list[tuple[bytes, dict[str, Any], str]] = [
    (b"", {}, "is empty"),
    (FIVE + b"hel", {}, "is shorter than its Content-Length by 2 bytes"),
    (FIVE, {}, "is shorter than its Content-Length by 5 bytes"),
    (FIVE + b"hello\n", {}, "is longer than its Content-Length by 1 bytes"),
    (FIVE + b"hello" + FIVE, {}, f"is longer than its Content-Length by {len(FIVE)} bytes"),
    (OK + b"\r\nany", {}, NO_LENGTH),
    (OK + b"\r\n", {}, NO_LENGTH),
    (OK + b"\r\nany", OF_1_0, NO_LENGTH),
    (OLD + b"Connection: Keep-Alive\r\n\r\nany", {}, NO_LENGTH),
    (OK + b"Connection: closed\r\n\r\nany", {}, NO_LENGTH),
    (OK + b"Connection: close x\r\n\r\nany", {}, NO_LENGTH),
    (FIVE + b"hello", HEAD, "has a body, but the request is HEAD"),
    (b"HTTP/1.1 204 OK\r\n\r\nx", HEAD, "has a body, but the request is HEAD"),
    (b"HTTP/1.1 204 OK\r\nContent-Length: 1\r\n\r\nx", {}, "has a body, but its status is 204"),
    (b"HTTP/1.1 304 OK\r\n\r\nx", {}, "has a body, but its status is 304"),
    # The head.
    (b"hello", {}, "is not HTTP"),
    (b"H", {}, NO_HEAD),
    (b"\r\n" + FIVE + b"hello", {}, "is not HTTP"),
    (b"http/1.1 200 OK\r\n\r\n", {}, "is not HTTP"),
    (b"HTTP/2.0 200 OK\r\n\r\n", {}, "is not HTTP"),
    (b"HTTP/1.2 200 OK\r\n\r\n", {}, "is not HTTP"),
    (b"HTTP/1.1  200 OK\r\n\r\n", {}, "is not HTTP"),
    (b"HTTP/1.1 20 OK\r\n\r\n", {}, "is not HTTP"),
    (b"HTTP/1.1 099 OK\r\n\r\n", {}, "is not HTTP"),
    (b"HTTP/1.1 2000 OK\r\n\r\n", {}, "is not HTTP"),
    (b"HTTP/1.1 200\tOK\r\n\r\n", {}, "is not HTTP"),
    (OK, {}, NO_HEAD),
    (OK + b"Content-Length: 0\r\n", {}, NO_HEAD),
    (OK + b"Content-Length: 0\r\n\r", {}, NO_HEAD),
    (CONTINUE, {}, NO_HEAD),
    (CONTINUE + b"hello", {}, "is not HTTP"),
    (CONTINUE + FIVE + b"hello", OF_1_0, "has a status below 200, which HTTP/1.0 does not know"),
    (b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n", {}, LINE_END),
    (b"HTTP/1.1 200\nContent-Length: 0\r\n\r\n", {}, LINE_END),
    (b"HTTP/1.1 200 OK\n\n", {}, LINE_END),
    (OK + b"Content-Length: 5\n\r\nhello", {}, LINE_END),
    (OK + b"Content-Length: 5\r\r\nhello", {}, LINE_END),
    (OK + b"Content-Length: 5\r\n\nhello", {}, LINE_END),
    (OK + b"Content-Length: 5\r\n\rhello", {}, LINE_END),
    (OK + b"X: y\nContent-Length: 5\r\n\r\nhello", {}, LINE_END),
    (OK + b"X: y\rContent-Length: 5\r\n\r\nhello", {}, LINE_END),
    (OK + b"Connection: close\n\r\n", {}, LINE_END),
    (OK + b"X: " + b"y" * 1000 + b"\n", {}, LINE_END),
    (OK + b"Content-Length : 5\r\n\r\nhello", {}, FIELD),
    (OK + b"Content-Length\r\n\r\n", {}, FIELD),
    (OK + b": 5\r\n\r\n", {}, FIELD),
    (OK + b" X: y\r\n\r\n", {}, FIELD),
    (OK + b"X: y\r\n Content-Length: 5\r\n\r\nhello", {}, FIELD),
    (OK + b"Content\x00-Length: 5\r\n\r\nhello", {}, FIELD),
    # Lengths and codings.
    (OK + b"Content-Length:\r\n\r\n", {}, LENGTH),
    (OK + b"Content-Length: five\r\n\r\nhello", {}, LENGTH),
    (OK + b"Content-Length: -5\r\n\r\nhello", {}, LENGTH),
    (OK + b"Content-Length: 5.0\r\n\r\nhello", {}, LENGTH),
    (OK + b"Content-Length: 5 5\r\n\r\nhello", {}, LENGTH),
    (OK + b"Content-Length: 5, 5\r\n\r\nhello", {}, LENGTH),
    (OK + b"Content-Length: %d\r\n\r\n" % 2**64, {}, LENGTH),
    (OK + b"Content-Length: %d\r\n\r\nhello" % (2**64 + 5), {}, LENGTH),
    (OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", {}, DIFFER),
    (OK + b"Content-Length: 5\r\n" * 2 + b"Content-Length: 6\r\n\r\nhello", {}, DIFFER),
    (
        OK + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        {},
        "has both Content-Length and Transfer-Encoding",
    ),
    (OK + b"Transfer-Encoding: gzip\r\n\r\n", {}, CODING),
    (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", {}, CODING),
    (OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", {}, CODING),
    (OK + 2 * b"Transfer-Encoding: chunked\r\n" + b"\r\n0\r\n\r\n", {}, CODING),
    (OK + b"Transfer-Encoding: identity\r\n\r\n", {}, CODING),
    (OK + b"Transfer-Encoding: chunked x\r\n\r\n", {}, CODING),
    (OK + b"Transfer-Encoding:\r\n\r\n", {}, CODING),
    (
        CHUNKED + b"0\r\n\r\n",
        OF_1_0,
        "has Transfer-Encoding, which HTTP/1.0 does not know",
    ),
    (
        CHUNKED.replace(OK, OLD) + b"0\r\n\r\n",
        {},
        "has Transfer-Encoding, which HTTP/1.0 does not know",
    ),
    # Chunks.
    (CHUNKED, {}, NO_LAST_CHUNK),
    (CHUNKED + b"5\r\nhello\r\n", {}, NO_LAST_CHUNK),
    (CHUNKED + b"5\r\nhel", {}, NO_LAST_CHUNK),
    (CHUNKED + b"0\r\n", {}, NO_LAST_CHUNK),
    (CHUNKED + b"0\r\nX: y\r\n", {}, NO_LAST_CHUNK),
    (CHUNKED + b"0;x", {}, NO_LAST_CHUNK),
    (CHUNKED + b"hello", {}, SIZE),
    (CHUNKED + b"\r\n", {}, SIZE),
    (CHUNKED + b";x\r\n", {}, SIZE),
    (CHUNKED + b"0x5\r\nhello", {}, SIZE),
    (CHUNKED + b"-5\r\nhello", {}, SIZE),
    (CHUNKED + b"5\nhello", {}, SIZE),
    (CHUNKED + b"0" * 17 + b"\r\n\r\n", {}, SIZE),
    (CHUNKED + b"5;x\nhello", {}, LINE_END),
    (CHUNKED + b"4\r\nhello\r\n0\r\n\r\n", {}, CUT_CHUNK),
    (CHUNKED + b"6\r\nhello\r\n0\r\n\r\n", {}, CUT_CHUNK),
    (CHUNKED + b"5\r\nhello\n0\r\n\r\n", {}, CUT_CHUNK),
    (CHUNKED + b"5\r\nhello\r0\r\n\r\n", {}, CUT_CHUNK),
    (CHUNKED + b"0\r\nX: y\n\r\n", {}, LINE_END),
    (CHUNKED + b"0\r\n X: y\r\n\r\n", {}, FIELD),
    (CHUNKED + b"0\r\n\r\nx", {}, "goes on after its last chunk"),
]


def bytewise(data: bytes) -> list[bytes]:
    return split(data, range(len(data)))


@pytest.mark.parametrize(("data", "asked", "status", "close"), RIGHT)
def test_what_is_a_response(data: bytes, asked: dict[str, Any], status: int, close: bool) -> None:
    verdict = check(data, **asked)
    assert verdict[:3] == (None, status, close)
    assert verdict.switched is (b"\x00any" in data or b"204 OK" in data)


@pytest.mark.parametrize(("data", "asked", "fault"), WRONG)
def test_what_is_none(data: bytes, asked: dict[str, Any], fault: str) -> None:
    assert check(data, **asked).fault == fault


@pytest.mark.parametrize(("data", "asked"), [case[:2] for case in [*RIGHT, *WRONG]])
def test_cuts_change_nothing(data: bytes, asked: dict[str, Any]) -> None:
    whole = check(data, **asked)
    assert check(*bytewise(data), **asked) == whole
    for at in range(len(data)):
        assert check(data[:at], b"", data[at:], **asked) == whole


@pytest.mark.parametrize(("data", "asked"), [case[:2] for case in [*RIGHT, *WRONG]])
def test_a_checker_forgets_the_response_before(data: bytes, asked: dict[str, Any]) -> None:
    alone = check(data, **asked)
    checker = ResponseChecker()
    cases: list[tuple[Any, ...]] = [*RIGHT, *WRONG]
    for before, before_asked, *_ in cases:
        check(before, **before_asked, checker=checker)
        assert check(data, **asked, checker=checker) == alone


def test_every_token_character_is_one_of_a_name_and_no_other_byte() -> None:
    token = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    for byte in range(256):
        data = OK + b"A%cb: c\r\nContent-Length: 0\r\n\r\n" % byte
        for pieces in ([data], bytewise(data)):
            right = byte in token or byte in b":"
            assert (check(*pieces).fault is None) is right, byte


def test_lengths_near_2_to_the_64_are_numbers_or_none() -> None:
    for size in (2**31, 2**32 + 5, 2**62):
        fault = f"is shorter than its Content-Length by {size - 5} bytes"
        assert check(OK + b"Content-Length: %d\r\n\r\nhello" % size).fault == fault
    for size in (2**64 - 1, 2**64, 2**64 + 5, 10**30):
        assert check(OK + b"Content-Length: %d\r\n\r\nhello" % size).fault == LENGTH
    for size in (2**63, 2**64 - 1):
        assert check(CHUNKED + b"%x\r\nhello" % size).fault == NO_LAST_CHUNK


def test_arguments_are_of_their_types() -> None:
    checker = ResponseChecker()
    for wrong in ("x", bytearray(b"x"), memoryview(b"x"), None, 5):
        with pytest.raises(TypeError):
            checker.feed(wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            check_response(wrong, GET_REQUEST)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        pickle.dumps(checker)


CLOSING_GET = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("asked", "written", "finished", "taken", "taken_if_checked"),
    [
        (GET, FIVE + b"hello", True, True, True),
        (GET, FIVE + b"hell", True, True, False),
        (GET, OK + b"\r\n", True, True, False),
        (GET, OK + b"Connection: close\r\n\r\n", True, True, False),
        (GET, FIVE + b"hello", False, False, False),
        (CLOSING_GET, FIVE + b"hello", True, False, False),
    ],
)
def test_a_response_is_taken_once_if_it_is_whole_and_another_may_follow(
    asked: bytes, written: bytes, finished: bool, taken: bool, taken_if_checked: bool
) -> None:
    for checked, wanted in ((False, taken), (True, taken_if_checked)):
        parser = RequestParser(check_responses=checked)
        request = parser.next_request(asked, "the connection")
        assert request is not None
        flushed: object = request.write(written)
        assert flushed == "the connection"
        if finished:
            request.finish()
        assert parser._take_response(request, False) == (written if wanted else None)
        assert request._corked == (None if wanted else written)
        assert parser._take_response(request, False) is None


def test_a_checker_that_was_not_started_expects_an_answer_to_a_get() -> None:
    checker = ResponseChecker()
    assert (checker.status, checker.close, checker.switched) == (0, False, False)
    checker.feed(CHUNKED + b"0\r\n\r\n")
    assert checker.finish(True) is None


# --- All responses ------------------------------------------------------------------------

FIELDS = st.sampled_from(
    [
        b"Connection: close",
        b"Connection: keep-alive",
        b"connection:\tx , Close",
        b"Date: Thu, 01 Jan 1970 00:00:00 GMT",
        b"Content-Type: text/plain",
        b"X:",
    ]
) | tokens().map(lambda name: b"y-%b: z" % name.encode())
STATUSES = st.sampled_from([200, 200, 200, 204, 304, 404, 500])
DATA = st.binary(max_size=20) | st.sampled_from([b"\r\n", b"0\r\n\r\n", FIVE])


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    """Responses that are right for a GET, and others whose fields and body disagree."""
    fields = draw(st.lists(FIELDS, max_size=4))
    data = draw(DATA)
    framing = draw(st.sampled_from(["length", "length", "chunked", "none"]))
    if framing == "length":
        off = draw(st.sampled_from([0, 0, 0, 1, -1, 9]))
        fields.append(b"Content-Length: %d" % max(0, len(data) + off))
    elif framing == "chunked":
        fields.append(b"Transfer-Encoding: chunked")
        pieces = draw(splits(data))
        trailers = draw(st.sampled_from([b"", b"y-t: z\r\n"]))
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece)
        data = chunks + b"0\r\n" + trailers + b"\r\n"
    version = draw(st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0"]))
    line = b"%b %d Reason" % (version, draw(STATUSES))
    interim = draw(st.sampled_from([b"", b"", CONTINUE]))
    fields = draw(st.permutations(fields))
    return interim + b"\r\n".join([line, *fields, b"", b""]) + data


ANY = responses() | responses().flatmap(mutations) | st.binary(max_size=60)
# For what is only to be asked of responses that are right: most others are passed over.
MOSTLY_RIGHT = responses() | responses() | responses() | ANY
# Of these nearly half are right; a run that is out of luck is not to fail.
PASSES_OVER = settings(suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
ASKED = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["GET", "GET", "HEAD", "CONNECT"]),
        "version": st.sampled_from(["HTTP/1.1", "HTTP/1.1", "HTTP/1.0"]),
        "keep_alive": st.booleans(),
    }
)


@given(data=ANY, asked=ASKED, rest=st.data())
def test_any_cut_gives_the_same_verdict(
    data: bytes, asked: dict[str, Any], rest: st.DataObject
) -> None:
    whole = check(data, **asked)
    event(str(whole.fault))
    assert check(*rest.draw(splits(data)), **asked) == whole
    assert check(*bytewise(data), **asked) == whole


@given(data=ANY, is_head=st.booleans())
@example(data=b"HTTP/1.1 101 Switching Protocols\r\n\r\n", is_head=False)
def test_the_fast_answer_is_that_of_the_checker(data: bytes, is_head: bool) -> None:
    verdict = check(data, method="HEAD" if is_head else "GET")
    wrong = verdict.fault is not None or verdict.switched
    assert check_response(data, HEAD_REQUEST if is_head else GET_REQUEST) == (
        2 if wrong else verdict.close
    )


@PASSES_OVER
@given(data=MOSTLY_RIGHT, asked=ASKED)
def test_what_the_strict_reader_takes_is_right(data: bytes, asked: dict[str, Any]) -> None:
    keep_alive = asked.pop("keep_alive")
    try:
        reading = read_response(data, Asked(**asked, upgrade=True), ended=not keep_alive)
    except RuleBroken:
        assume(False)
    verdict = check(data, **asked, keep_alive=keep_alive)
    if reading.missing.startswith("the end of the connection"):
        assert verdict.close and verdict.fault in (None, NO_LENGTH)
    else:
        whole = not reading.missing and (reading.end == len(data) or reading.switched)
        assert (verdict.fault is None) is whole, (verdict, reading)
    if reading.response is not None:
        assert verdict.status == reading.response.status
        assert verdict.switched is reading.switched


@PASSES_OVER
@given(data=MOSTLY_RIGHT, method=st.sampled_from(["GET", "HEAD"]))
def test_what_is_right_has_the_same_end_for_a_client(data: bytes, method: str) -> None:
    verdict = check(data, method=method)
    assume(verdict.fault is None and not verdict.switched)
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    if verdict.close:
        client.receive_data(b"")
    seen: list[type[Any]] = []
    try:
        while (got := client.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
            seen.append(type(got))
            if isinstance(got, (h11.EndOfMessage, h11.ConnectionClosed)):
                break
    except h11.RemoteProtocolError as error:
        event(f"h11 refuses: {error}")
        return
    assert seen[-1] is h11.EndOfMessage, seen
    assert client.trailing_data[0] == b""


# --- Responses that the server frames ---------------------------------------------------------


def test_framed_response_has_canonical_names_and_its_length_at_the_end() -> None:
    request = parse_one(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    fields = [("x-ab", "1"), (b"CONTENT-length", b"4"), (b"X", "\xe9"), ("x", b"")]
    assert frame_response(request, 201, "So it is", fields, b"body") == (
        b"HTTP/1.1 201 So it is\r\nX-Ab: 1\r\nX: \xe9\r\nX: \r\nContent-Length: 4\r\n\r\nbody"
    )
    assert frame_response(request, 999, "", [], b"") == (
        b"HTTP/1.1 999 \r\nContent-Length: 0\r\n\r\n"
    )


@pytest.mark.parametrize(
    "start",
    [
        "HEAD / HTTP/1.1",
        "GET / HTTP/1.0",
        "CONNECT a:1 HTTP/1.1",
        "GET / HTTP/1.1\r\nConnection: close",
    ],
)
def test_response_to_a_special_request_is_not_framed_here(start: str) -> None:
    request = parse_one(start.encode() + b"\r\nHost: a:1\r\n\r\n")
    assert frame_response(request, 200, "OK", [], b"") is None


@pytest.mark.parametrize(
    "code, reason, fields",
    [
        (101, "X", []),
        (204, "X", []),
        (304, "X", []),
        (1000, "X", []),
        ("200", "X", []),
        (200, "a\r\nb", []),
        (200, "\u20ac", []),
        (200, "X", ()),
        (200, "X", [["a", "b"]]),
        (200, "X", [("a", "b", "c")]),
        (200, "X", [("a",)]),
        (200, "X", [("a", 1)]),
        (200, "X", [("a", "\u20ac")]),
        (200, "X", [("a", "b\nc")]),
        (200, "X", [("a", b"b\rc")]),
        (200, "X", [("a", "b\0")]),
        (200, "X", [("a b", "c")]),
        (200, "X", [("", "c")]),
        (200, "X", [("Connection", "c")]),
        (200, "X", [("UPGRADE", "c")]),
        (200, "X", [("trailer", "c")]),
        (200, "X", [("Transfer-Encoding", "c")]),
        (200, "X", [("Content-Length", "5")]),
        (200, "X", [("Content-Length", "")]),
        (200, "X", [("Content-Length", "0x4")]),
        (200, "X", [("Content-Length", "18446744073709551620")]),
        (200, "X", [("Content-Length", "4"), ("Content-Length", "4")]),
    ],
)
def test_response_of_a_special_kind_is_not_framed_here(code: Any, reason: str, fields: Any) -> None:
    request = parse_one(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert frame_response(request, code, reason, fields, b"body") is None
