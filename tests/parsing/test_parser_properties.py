"""What is true of the parser for all requests, all bytes, all cuts and all limits."""

from __future__ import annotations

import tracemalloc
from typing import Any

import h11
import reference
from hypothesis import assume, event, example, given
from hypothesis import strategies as st
from parser_runs import Events, parse, whole_requests
from strategies import Request, bodies, headers, limits, mutations, pipelines, requests, splits

from fasthttpserver._parser import RequestMessage, RequestParser
from fasthttpserver.errors import HTTPInputError

STATUSES = {400, 413, 414, 417, 431, 501, 505}


def wire(sequence: list[Request]) -> bytes:
    return b"".join(request.wire for request in sequence)


def canonical(name: str) -> str:
    return "-".join(part.capitalize() for part in name.split("-"))


# Bytes that are requests, or nearly, or not at all.
valid_streams = pipelines().map(wire)
streams = valid_streams | valid_streams.flatmap(mutations)


@st.composite
def cut_streams(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    data = draw(streams)
    return data, draw(splits(data))


# --- Any split ----------------------------------------------------------------------------


@given(cut=cut_streams(), limits=limits(), events=st.booleans())
def test_any_split_gives_same_result(
    cut: tuple[bytes, list[bytes]], limits: dict[str, Any], events: bool
) -> None:
    data, pieces = cut
    whole = parse([data], limits)
    event(whole.end if whole.error is None else f"{whole.error[0]} {whole.error[1]}")
    assert parse(pieces, limits, events) == whole


@given(cut=cut_streams(), events=st.booleans())
def test_any_split_with_tiny_limits(cut: tuple[bytes, list[bytes]], events: bool) -> None:
    data, pieces = cut
    tiny = {
        "max_header_size": 200,
        "max_request_line": 40,
        "max_field_size": 30,
        "max_header_count": 4,
        "max_body_size": 20,
    }
    assert parse(pieces, tiny, events) == parse([data], tiny)


# --- Any bytes ----------------------------------------------------------------------------


@given(
    pieces=st.lists(st.binary(max_size=200) | streams, max_size=4),
    limits=limits(),
    events=st.booleans(),
)
@example(pieces=[b"t: x"], limits={}, events=False)
def test_arbitrary_bytes_parse_or_raise_input_error(
    pieces: list[bytes], limits: dict[str, Any], events: bool
) -> None:
    seen = parse(pieces, limits, events)  # any other exception fails the test
    if seen.error is not None:
        status, reason, offset = seen.error
        assert status in STATUSES
        assert reason.isascii() and reason.isprintable()
        assert 0 <= offset <= sum(map(len, pieces))


@given(data=streams, limits=limits())
def test_agrees_with_the_reference_reader(data: bytes, limits: dict[str, Any]) -> None:
    sizes = {key: value for key, value in limits.items() if key != "require_host"}
    host = limits.get("require_host", True)
    expected = reference.read(data, {**reference.DEFAULT_LIMITS, **sizes}, host)
    seen = parse([data], limits)
    assert [comparable(request) for request in seen.requests] == [
        comparable(as_seen(request)) for request in expected.requests
    ]
    # Of what is not whole the reference reader does not know whether it can become right.
    ends = {
        "refused": ["refused"],
        "closed": ["close"],
        "open": ["open"],
        "unread": ["refused", "incomplete"],
        "body": ["refused", "incomplete"],
    }
    assert seen.end in ends[expected.outcome]
    event(expected.outcome)


def as_seen(request: reference.Request) -> dict[str, Any]:
    def decoded(fields: list[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
        return [(canonical(name.decode()), value.decode("latin-1")) for name, value in fields]

    return {
        "method": request.method.decode(),
        "uri": request.uri.decode(),
        "version": f"HTTP/1.{request.minor}",
        "keep_alive": request.keep_alive,
        "upgrade": request.upgrade,
        "authority": request.authority.decode(),
        "fields": decoded(request.fields),
        "trailers": decoded(request.trailers),
        "body": request.body,
    }


def comparable(request: dict[str, Any]) -> dict[str, Any]:
    # Which trailers are dropped is a table, tested as one; those that begin so are kept.
    trailers = [item for item in request["trailers"] if item[0].startswith("Y-")]
    kept = {name: value for name, value in request.items() if name != "expect_continue"}
    return {**kept, "trailers": trailers}


# --- Valid requests -----------------------------------------------------------------------


def check(seen: dict[str, Any], request: Request) -> None:
    assert seen["method"] == request.method
    assert seen["uri"] == request.target
    assert seen["version"] == request.version
    assert seen["body"] == request.body
    assert seen["keep_alive"] is request.keep_alive
    assert seen["fields"] == [(canonical(name), value) for name, value in request.headers]
    assert seen["trailers"] == [(canonical(name), value) for name, value in request.trailers]


@given(request=requests())
def test_serialized_request_parses_back(request: Request) -> None:
    seen = parse([request.wire], {})
    assert seen.end == ("open" if request.keep_alive else "close"), seen.error
    (only,) = seen.requests
    check(only, request)


@given(sequence=pipelines())
def test_pipelined_equals_separate(sequence: list[Request]) -> None:
    together = parse([wire(sequence)], {})
    separate = [parse([request.wire], {}) for request in sequence]
    assert together.requests == [request for seen in separate for request in seen.requests]
    assert len(together.requests) == len(sequence)
    assert together.end == separate[-1].end


EXPECTING = headers().flatmap(
    lambda fields: st.sampled_from([fields, [*fields, ("Expect", "100-continue")]])
)
LATER = requests(headers=EXPECTING).map(lambda request: request.wire)


@given(
    first=requests(keep_alive=True, headers=EXPECTING),
    second=LATER | LATER.flatmap(mutations) | streams,
    limits=limits(),
    events=st.booleans(),
    data=st.data(),
)
def test_a_message_behaves_after_another_as_it_does_alone(
    first: Request, second: bytes, limits: dict[str, Any], events: bool, data: st.DataObject
) -> None:
    parser: RequestParser[RequestMessage] = RequestParser(**limits)
    before = data.draw(splits(first.wire) | st.just([first.wire]))
    assume(trace(parser, before, events)[-1][1] is None)  # no limit refuses the first
    pieces = data.draw(splits(second) | st.just([bytes([byte]) for byte in second]))
    alone = trace(RequestParser(**limits), pieces, not events)
    shift = len(first.wire)
    assert trace(parser, pieces, events, shift) == alone
    event("expecting" if any(looks["awaiting_continue"] for _, _, looks in alone) else "other")


LOOKS = (
    "receiving_head",
    "receiving_body",
    "awaiting_continue",
    "is_head",
    "body_received",
    "unread",
    "closed",
)


def trace(
    parser: RequestParser[RequestMessage], pieces: list[bytes], events: bool, shift: int = 0
) -> list[tuple[list[Any], tuple[int, str, int] | None, dict[str, Any]]]:
    """What comes out of a parser after each piece, a refusal, and all that the parser tells."""
    read = Events() if events else whole_requests
    messages, received = parser.messages, parser.received
    steps = []
    for piece in pieces:
        if not piece:
            continue
        requests: list[Any] = []
        refusal = None
        try:
            parser.receive_data(piece)
            for request in read(parser):
                requests.append(request)
        except HTTPInputError as error:
            refusal = error.status, error.reason, error.offset - shift
        looks = {
            "bool": bool(parser),
            "messages": parser.messages - messages,
            "received": parser.received - received,
        }
        looks |= {name: getattr(parser, name) for name in LOOKS}
        steps.append((requests, refusal, looks))
    return steps


@given(request=requests())
def test_agrees_with_h11_on_valid_requests(request: Request) -> None:
    peer = h11.Connection(h11.SERVER)
    peer.receive_data(request.wire)
    head = peer.next_event()
    assert isinstance(head, h11.Request)
    body = b""
    while isinstance(part := peer.next_event(), h11.Data):
        body += part.data
    assert isinstance(part, h11.EndOfMessage)

    (seen,) = parse([request.wire], {}).requests
    assert seen["method"].encode() == head.method
    assert seen["uri"].encode() == head.target
    assert seen["version"].encode() == b"HTTP/" + head.http_version
    assert seen["body"] == body
    assert [lowered(name, value) for name, value in seen["fields"]] == [
        (name.decode(), value) for name, value in head.headers
    ]


def lowered(name: str, value: str) -> tuple[str, bytes]:
    """A field as h11 shows it."""
    name = name.lower()
    return name, (value.lower() if name == "transfer-encoding" else value).encode("latin-1")


# --- Framing ------------------------------------------------------------------------------

AMBIGUOUS = [
    ["Content-Length: 5", "Transfer-Encoding: chunked"],
    ["Content-Length: 5", "Content-Length: 5"],
    ["Content-Length: 5", "Content-Length: 6"],
    ["Content-Length: 5, 5"],
    ["Content-Length: +5"],
    ["Content-Length: 5_0"],
    ["Content-Length: 0x5"],
    ["Content-Length:"],
    ["Content-Length : 5"],
    ["Content-Length: 5\n X: y"],
    ["X: y\nContent-Length: 5"],
    ["X: y\rContent-Length: 5"],
    ["Transfer-Encoding: chunked, gzip"],
    ["Transfer-Encoding: gzip, chunked"],
    ["Transfer-Encoding: gzip"],
    ["Transfer-Encoding: chunked, chunked"],
    ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
    ["Transfer-Encoding: xchunked"],
    ["Transfer-Encoding: chunked;q=1"],
    ["Transfer-Encoding:"],
    ["Transfer-Encoding:\r\n chunked"],
    ["Transfer-Encoding : chunked"],
    ["Transfer-Encoding: \x0bchunked"],
    ["Transfer-Encoding: chunked\x00"],
]


@given(
    ambiguous=st.sampled_from(AMBIGUOUS),
    fields=st.lists(st.sampled_from(["Host: a", "X: y", "Accept: */*", "Connection: close"])),
    body=st.sampled_from([b"hello", b"0\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n"]) | bodies(),
    data=st.data(),
)
def test_ambiguous_framing_is_rejected(
    ambiguous: list[str], fields: list[str], body: bytes, data: st.DataObject
) -> None:
    assume("Host: a" in fields)
    lines = ambiguous + fields
    if len({line.partition(":")[0] for line in ambiguous}) > 1 or len(ambiguous) == 1:
        lines = data.draw(st.permutations(lines))
    cased = data.draw(st.sampled_from([lines, [line.lower() for line in lines]]))
    text = "\r\n".join(["POST / HTTP/1.1", *cased, "", ""])
    seen = parse(data.draw(splits(text.encode("latin-1") + body)), {})
    assert seen.requests == []
    assert seen.error is not None and seen.error[0] in (400, 501)


# --- Memory -------------------------------------------------------------------------------

SMALL: dict[str, Any] = {
    "max_header_size": 1000,
    "max_request_line": 500,
    "max_field_size": 400,
    "max_header_count": 10,
    "max_body_size": 2000,
}
# Buffers double, so each may be twice its limit. Fields are 16 bytes each and 32 at least;
# the rest is the parser, a message and an exception.
BOUND = 2 * (1000 + 1000 + 2000) + 16 * 32 + 4000
FLOODS = [
    b"",
    b"GET /",
    b"GET / HTTP/1.1\r\n",
    b"GET / HTTP/1.1\r\nX",
    b"GET / HTTP/1.1\r\nX: ",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2000\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
]
UNITS = [b"a", b"\r\n", b"a: b\r\n", b"1\r\nx\r\n", b"1;a\r\nx\r\n", b"7d0\r\n", b" ", b"/", b","]


@given(
    start=st.sampled_from(FLOODS) | streams,
    unit=st.sampled_from(UNITS) | st.binary(min_size=1, max_size=20),
    events=st.booleans(),
)
def test_limits_bound_memory(start: bytes, unit: bytes, events: bool) -> None:
    pieces = [start, *[unit * (500 // len(unit))] * 100]
    parser: RequestParser[RequestMessage] = RequestParser(**SMALL)
    step = parser.next_event if events else parser.next_request
    tracemalloc.start()
    try:
        for piece in pieces:
            parser.receive_data(piece)
            while step() is not None:
                pass
    except HTTPInputError:
        pass
    finally:
        _held, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < BOUND
