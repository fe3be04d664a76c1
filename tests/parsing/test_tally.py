"""Numbers that are counted in C."""

from __future__ import annotations

import pytest
from helpers import OK, get, post

from fasthttpserver._parser import TALLY_FIELDS, RequestMessage, RequestParser, Tally
from fasthttpserver.errors import HTTPInputError

SIZE = 8 * len(TALLY_FIELDS)


def numbers(memory: bytearray) -> dict[str, int]:
    """What is not 0."""
    return {
        name: count
        for name, count in zip(TALLY_FIELDS, memoryview(memory).cast("Q"), strict=True)
        if count
    }


def test_parsers_of_a_tally_count_together() -> None:
    memory = bytearray(SIZE)
    first: RequestParser[RequestMessage] = RequestParser(tally=Tally(memory))
    second = first.new()
    assert first.next_request(get()) is not None
    second.receive_data(get()[:5])
    assert second.next_request() is None
    size = len(get()) + 5
    assert numbers(memory) == {"begun": 1, "receiving": 1, "bytes_received": size}
    second.receive_data(get()[5:])
    assert second.next_event() is not None
    assert numbers(memory) == {"begun": 2, "bytes_received": 2 * len(get())}


@pytest.mark.parametrize("data", [get()[:3], get()[:-2], post(b"body")[:-1], b"\r\n\r"])
@pytest.mark.parametrize("take", ["next_request", "next_event"])
def test_part_of_a_request_is_counted_until_somebody_leaves(data: bytes, take: str) -> None:
    memory = bytearray(SIZE)
    parser: RequestParser[RequestMessage] = RequestParser(tally=Tally(memory))
    parser.receive_data(data)
    while getattr(parser, take)():
        pass
    is_streamed = take == "next_event" and data == post(b"body")[:-1]
    assert numbers(memory).get("receiving", 0) == (not is_streamed)
    for _ in range(2):
        parser.leave()
        assert "receiving" not in numbers(memory)


def test_refused_request_is_no_part_of_one() -> None:
    memory = bytearray(SIZE)
    parser: RequestParser[RequestMessage] = RequestParser(tally=Tally(memory))
    assert parser.next_request(b"GET") is None
    assert "receiving" in numbers(memory)
    with pytest.raises(HTTPInputError):
        parser.next_request(b"@")
    assert "receiving" not in numbers(memory)


def test_tally_goes_on_in_other_memory() -> None:
    old, new = bytearray(SIZE), bytearray(SIZE + 8)
    tally = Tally(old)
    tally.add_sent(5)
    tally.move(new)
    tally.add_sent(2)
    assert numbers(old) == {"bytes_sent": 5}
    assert memoryview(new).cast("Q")[TALLY_FIELDS.index("bytes_sent")] == 7
    old.clear()  # nobody holds it any more


@pytest.mark.parametrize(
    ("memory", "error"),
    [
        (None, TypeError),
        (bytearray(SIZE - 1), ValueError),
        (memoryview(bytearray(SIZE + 8))[1:], ValueError),
        (bytes(SIZE), BufferError),
    ],
)
def test_memory_that_cannot_be_counted_in_is_refused(
    memory: bytearray, error: type[Exception]
) -> None:
    with pytest.raises(error):
        Tally(memory)
    tally = Tally(bytearray(SIZE))
    with pytest.raises(error):
        tally.move(memory)
    tally.end(200, 0.1)


@pytest.mark.parametrize(
    ("status", "field"),
    [(200, "2xx"), (399, "3xx"), (404, "4xx"), (599, "5xx"), (101, None), (0, None), (777, None)],
)
def test_status_has_a_class_or_none(status: int, field: str | None) -> None:
    memory = bytearray(SIZE)
    Tally(memory).end(status, 0.0)
    expected = {"ended": 1, "duration_0": 1}
    assert numbers(memory) == (expected if field is None else expected | {field: 1})


CLOSING = OK.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)


def finished(
    memory: bytearray, response: bytes, *fields: str, checked: bool = True
) -> tuple[RequestMessage, RequestParser[RequestMessage]]:
    """A request that was answered, and its parser, which counts in this memory."""
    parser = RequestParser(tally=Tally(memory), check_responses=checked)
    request = parser.next_request(get("/", *fields))
    assert request is not None
    request.write(response)
    request.finish()
    return request, parser


def ended(memory: bytearray) -> dict[str, int]:
    """What is not 0 of responses, but for the time that they took."""
    of_requests = {"begun", "receiving", "bytes_received", "nanoseconds"}
    return {name: count for name, count in numbers(memory).items() if name not in of_requests}


@pytest.mark.parametrize("pipelined", [0, 1])
@pytest.mark.parametrize("follows", [b"", b"G"])
def test_response_that_is_taken_is_counted(pipelined: int, follows: bytes) -> None:
    memory = bytearray(SIZE)
    request, parser = finished(memory, OK)
    parser.receive_data(follows)
    assert parser._take_response(request, pipelined) == OK
    leaves = {"bytes_sent": len(OK)} if not pipelined and not follows else {}
    assert ended(memory) == {"ended": 1, "2xx": 1, "duration_0": 1} | leaves


def test_framed_response_that_comes_late_ends_its_request_and_is_counted() -> None:
    memory = bytearray(SIZE)
    request = RequestParser().next_request(get())
    assert request is not None
    Tally(memory).take_late(request, OK)
    found = numbers(memory)
    assert found.pop("nanoseconds", 0) < 1e9
    assert found == {"ended": 1, "2xx": 1, "duration_0": 1, "bytes_sent": len(OK)}
    assert request._finish_time is not None
    assert request._framed
    assert request._corked is None


@pytest.mark.parametrize("response", [OK[:-1], CLOSING, b"HTTP/1.1 101 Switching\r\n\r\n"])
def test_response_that_is_not_taken_is_not_counted(response: bytes) -> None:
    memory = bytearray(SIZE)
    request, parser = finished(memory, response)
    assert parser._take_response(request, 0) is None
    assert ended(memory) == {}


@pytest.mark.parametrize(
    ("response", "checked", "taken"),
    [(CLOSING, True, True), (OK, True, True), (OK[:-1], True, False), (OK[:-1], False, True)],
)
def test_last_response_is_taken_if_it_is_right(response: bytes, checked: bool, taken: bool) -> None:
    memory = bytearray(SIZE)
    request, parser = finished(memory, response, "Connection: close", checked=checked)
    assert parser._take_last_response(request) == (response if taken else None)
    assert ended(memory).get("2xx", 0) == ended(memory).get("ended", 0) == taken
    assert parser._take_last_response(request) is None or not taken


def test_what_nobody_checks_is_counted_as_it_is() -> None:
    memory = bytearray(SIZE)
    for response in (b"?", b"HTTP/1.1 ", OK):
        request, parser = finished(memory, response, checked=False)
        assert parser._take_response(request, 0) == response
    assert ended(memory) == {"ended": 3, "2xx": 1, "duration_0": 3, "bytes_sent": 10 + len(OK)}


@pytest.mark.parametrize(("gives_heads", "given"), [(False, None), (True, b"")])
def test_parser_of_a_server_gives_what_that_wants(gives_heads: bool, given: bytes | None) -> None:
    parser = RequestParser(gives_heads=gives_heads).new()
    request = parser._serve(post(b"body")[:-1], None)
    assert (None if request is None else request.body) == given
