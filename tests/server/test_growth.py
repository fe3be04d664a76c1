"""A hundred times the input costs about a hundred times the work, for all that peers can send.

What grows with the square costs ten thousand times as much. In between is room for a busy
machine: what is measured is processor time, the best of a few runs, and of the small input so
many runs together that a clock tells them.
"""

from __future__ import annotations

import asyncio
import gzip
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from helpers import get
from wire import FakeTransport, Wire

from fasthttpserver._parser import RequestParser
from fasthttpserver._server.decompress import gunzip
from fasthttpserver._server.request import HTTPRequest
from fasthttpserver.errors import HTTPInputError
from fasthttpserver.httputil import (
    HTTPHeaders,
    ResponseStartLine,
    forwarded_ip,
    forwarded_protocol,
    parse_body_arguments,
    parse_cookie,
    parse_multipart_form_data,
    parse_networks,
    parse_query,
)
from fasthttpserver.iostream import IOStream

TIMES = 100
MOST = 1000
pytestmark = pytest.mark.untraced

# Of the small input: what a clock tells from nothing, in seconds of processor time.
ENOUGH = 0.002

NO_LIMITS: dict[str, Any] = {
    "max_header_size": 1 << 30,
    "max_request_line": 1 << 30,
    "max_field_size": 1 << 30,
    "max_header_count": 1 << 20,
}


def cost(work: Callable[[], object], enough: float) -> float:
    """Return the seconds of processor time that it takes, the best of some runs."""
    best, spent = math.inf, 0.0
    while spent < enough or best == math.inf:
        began = time.process_time()
        work()
        took = time.process_time() - began
        best, spent = min(best, took or best), spent + took
    return best


def check(prepare: Callable[[int], Callable[[], object]], size: int) -> None:
    """Compare what an input of some size costs with what one of a hundred times that does."""
    small, large = prepare(size), prepare(size * TIMES)
    before = cost(small, ENOUGH)
    after = cost(large, 0)
    if after > MOST * before:  # something else may have run just then
        before, after = max(before, cost(small, ENOUGH)), min(after, cost(large, 0))
    assert after < MOST * before


# --- Functions of a text --------------------------------------------------------------------


def multipart(body: bytes) -> object:
    return parse_multipart_form_data(b"b", body, {}, {}, max_parts=1 << 20)


def part(disposition: str, value: bytes = b"v") -> bytes:
    return f"--b\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + value + b"\r\n"


def upload(disposition: str) -> object:
    body = part(disposition) + b"--b--"
    return parse_multipart_form_data(b"b", body, {}, {}, max_part_header_size=1 << 30)


def query(text: str) -> object:
    return parse_query(text, 1 << 30)


def form(text: str) -> object:
    kind = "application/x-www-form-urlencoded"
    return parse_body_arguments(kind, text.encode(), {}, {}, max_arguments=1 << 30)


def content_type(text: str) -> object:
    return parse_body_arguments("multipart/form-data" + text + "; boundary=b", b"--b--", {}, {})


TRUSTED = parse_networks(["10.0.0.0/8", "fd00::/8"])


def forwarded(text: str) -> object:
    fields = {"X-Forwarded-For": text, "X-Forwarded-Proto": text}
    return forwarded_ip(fields, "::1", TRUSTED), forwarded_protocol(fields, "http", TRUSTED)


def request_line(uri: str) -> object:
    request = HTTPRequest("GET", "/" + uri)
    return request.path, request.query, request.full_url(), repr(request)


TEXTS: list[tuple[Callable[[Any], object], list[Any]]] = [
    # what reads it, and what is repeated in it
    (query, ["a=b&", "&", "=", "%41", "%", "%4", "+", "a", "a=%41&", "é"]),
    (form, ["a=b&", "%", "+", "é=é&"]),
    (parse_cookie, ["a=b; ", 'a="b"; ', ";", "=", '"', "\\", 'a="\\"', "\\101", "a", " "]),
    (HTTPHeaders.parse, ["A: b\r\n", "A: \r\n", "\r\n", "\n", "A:" + " " * 50 + "\n"]),
    (forwarded, ["10.0.0.1,", "10.0.0.1:80,", "[fd00::1]:1, ", ",", " ", ":", "[", "1.", "http,"]),
    (upload, [';a="', ';a="\\', '";', '\\"', ";", '"', "\\", ";a*=utf-8''%", ";a*=utf-8''%41"]),
    (content_type, ["; a=b", ';a="', '";', '\\"', ";", '"', "\\", "=", "; boundary="]),
    (request_line, ["a", "?", "/", "%2e", "?a=b&"]),
    (
        multipart,
        [part("form-data; name=a"), part("form-data; name=a; filename=b"), b"--b\r\n", b"--b"]
        + [part("form-data"), b"--b\r\nA: b\r\n", b"A: b\r\n", b"\r\n", b"\r", b"-", b"\r\n--"]
        + [part("form-data; name=a", b"\r\n\r\n" * 50)],
    ),
]


@pytest.mark.parametrize(
    ("read", "unit"),
    [(read, unit) for read, units in TEXTS for unit in units],
    ids=lambda value: getattr(value, "__qualname__", None) or repr(value)[:30],
)
def test_text_is_read_in_linear_time(read: Callable[[Any], object], unit: str | bytes) -> None:
    def prepare(size: int) -> Callable[[], object]:
        text: Any = unit * (size // len(unit) + 1)
        if isinstance(text, bytes):
            text += b"\r\n--b--\r\n"

        def work() -> None:
            try:
                read(text)
            except HTTPInputError:  # that too is to be found in time
                pass

        return work

    check(prepare, 2000)


def test_names_of_fields_are_collected_in_linear_time() -> None:
    def prepare(size: int) -> Callable[[], object]:
        text = "".join(f"Name-{i}: value\r\n" for i in range(size))
        return lambda: dict(HTTPHeaders.parse(text).get_all())

    check(prepare, 100)


def test_fields_are_added_in_linear_time() -> None:
    def prepare(size: int) -> Callable[[], object]:
        def work() -> None:
            headers = HTTPHeaders()
            for _ in range(size):
                headers.add("Set-Cookie", "a=b; Path=/")
            assert headers["Set-Cookie"]

        return work

    check(prepare, 100)


@pytest.mark.parametrize("content", [b"", b"x"])
def test_gzip_members_are_unpacked_in_linear_time(content: bytes) -> None:
    member = gzip.compress(content)

    def prepare(size: int) -> Callable[[], object]:
        data = member * size
        return lambda: gunzip(data, 1 << 30)

    check(prepare, 500)


# --- The parser -----------------------------------------------------------------------------


CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

MESSAGES: dict[str, tuple[bytes, bytes, bytes]] = {
    # before, repeated, behind
    "target": (b"GET /", b"x", b" HTTP/1.1\r\nHost: a\r\n\r\n"),
    "empty lines": (b"", b"\r\n", get()),
    "one field": (b"GET / HTTP/1.1\r\nHost: a\r\nA: ", b"x", b"\r\n\r\n"),
    "fields": (b"GET / HTTP/1.1\r\nHost: a\r\n", b"A: b\r\n", b"\r\n"),
    "body": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n", b"x", b""),
    "chunks": (CHUNKED, b"1\r\nx\r\n", b"0\r\n\r\n"),
    "one chunk": (CHUNKED + b"f4240\r\n", b"x", b""),
    "extensions": (CHUNKED, b"1;a=b\r\nx\r\n", b"0\r\n\r\n"),
    "trailers": (CHUNKED + b"0\r\n", b"A: b\r\n", b"\r\n"),
    "one trailer": (CHUNKED + b"0\r\nA: ", b"x", b"\r\n\r\n"),
    "requests": (b"", get(), b""),
    "requests with bodies": (b"", CHUNKED + b"1\r\nx\r\n0\r\n\r\n", b""),
}


@pytest.mark.parametrize("cut", [1, 7, 1 << 30])
@pytest.mark.parametrize("name", MESSAGES)
def test_messages_are_parsed_in_linear_time(name: str, cut: int) -> None:
    before, unit, behind = MESSAGES[name]

    def prepare(size: int) -> Callable[[], object]:
        data = before + unit * (size // len(unit) + 1) + behind

        def work() -> None:
            parser = RequestParser(**NO_LIMITS)
            try:
                for at in range(0, len(data), cut):
                    parser.receive_data(data[at : at + cut])
                    while parser.next_request() is not None:
                        pass
            except HTTPInputError:
                pass

        return work

    check(prepare, 2000)


def test_pipelined_requests_in_small_segments_are_answered_in_linear_time(
    wire: Callable[..., Wire],
) -> None:
    def respond(request: HTTPRequest) -> None:
        request.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        request.finish()

    def prepare(size: int) -> Callable[[], object]:
        data = get() * size

        def work() -> None:
            end = wire(respond)
            for at in range(0, len(data), 100):
                end.transport.peer_sends(data[at : at + 100])

        return work

    check(prepare, 10)


# --- Streams --------------------------------------------------------------------------------


class Stream:
    """An ``IOStream`` without a socket, and what sends to it."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.stream = IOStream(self.loop, None, lambda stream: None, None, 1 << 30)
        self.transport = FakeTransport(self.loop, self.stream)
        self.stream.connection_made(self.transport)

    def turn(self) -> None:
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()

    def close(self) -> None:
        self.transport.lose(None)
        self.turn()
        self.loop.close()


@pytest.fixture
def streams() -> Iterator[Callable[[], Stream]]:
    made: list[Stream] = []

    def make() -> Stream:
        while made:
            made.pop().close()
        made.append(Stream())
        return made[-1]

    yield make
    while made:
        made.pop().close()


READS: dict[str, Callable[[IOStream, int], object]] = {
    "bytes": lambda stream, size: stream.read_bytes(size),
    "streamed": lambda stream, size: stream.read_bytes(size, streaming_callback=len),
    "until": lambda stream, size: stream.read_until(b"\r\n" + b"x" * 50),
    "until_regex": lambda stream, size: stream.read_until_regex(rb"\r?\n"),
    "until_close": lambda stream, size: stream.read_until_close(),
}


@pytest.mark.parametrize("name", READS)
def test_a_piece_in_small_segments_is_read_in_linear_time(
    streams: Callable[[], Stream], name: str
) -> None:
    def prepare(size: int) -> Callable[[], object]:
        def work() -> None:
            end = streams()
            future = READS[name](end.stream, size * 4)
            for _ in range(size):
                end.stream.data_received(b"xxx\r")
            end.turn()
            del future

        return work

    check(prepare, 1000)


def test_many_small_pieces_of_one_segment_are_read_in_linear_time(
    streams: Callable[[], Stream],
) -> None:
    def prepare(size: int) -> Callable[[], object]:
        def work() -> None:
            end = streams()

            async def read_all() -> None:
                for _ in range(size // 4):
                    await end.stream.read_bytes(2)
                    await end.stream.read_until(b"\n")
                    await end.stream.read_until_regex(b"\r?\n")
                    await end.stream.read_bytes(5, partial=True)

            end.stream.data_received(b"xx\r\n\r\nabcde" * (size // 4))
            end.loop.run_until_complete(read_all())

        return work

    check(prepare, 80)


def test_many_small_writes_take_linear_time(streams: Callable[[], Stream]) -> None:
    def prepare(size: int) -> Callable[[], object]:
        def work() -> None:
            end = streams()
            for _ in range(size):
                end.stream.write(b"x", list)
            end.turn()
            assert len(end.transport.taken) == size

        return work

    check(prepare, 1000)


@pytest.mark.parametrize("framed", [False, True])
def test_many_small_writes_of_a_response_take_linear_time(
    wire: Callable[..., Wire], framed: bool
) -> None:
    def prepare(size: int) -> Callable[[], object]:
        def respond(request: HTTPRequest) -> None:
            if framed:
                start_line = ResponseStartLine("HTTP/1.1", 200, "OK")
                request.connection.write_headers(start_line, HTTPHeaders())
            else:
                request.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            for _ in range(size):
                request.write(b"x")
            request.finish()

        return lambda: wire(respond).send(get())

    check(prepare, 200)
