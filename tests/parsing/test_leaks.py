"""Parsing leaves nothing behind: not in Python's memory, not in the parser's own."""

from __future__ import annotations

import gc
import subprocess
import sys
import tracemalloc
from collections.abc import Callable

import pytest

from fasthttpserver._parser import END_OF_MESSAGE, RequestMessage, RequestParser
from fasthttpserver.errors import HTTPInputError

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nX-Odd-Name: y\r\nt: u\r\n"
CHUNKS = HEAD + b"Transfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n3\r\nabc\r\n0\r\n"
GOOD = [
    HEAD + b"\r\n",
    HEAD + b"Content-Length: 5\r\n\r\nhello",
    CHUNKS + b"A: b\r\nHost: c\r\n\r\n",
    HEAD.replace(b"/", b"http://b/", 1) + b"f: g\r\n" * 60 + b"\r\n",
]
BAD = [
    b"\x00",
    b"GET /" + b"a" * 9000,
    HEAD + b"X : y",
    HEAD + b"f: g\r\n" * 120,
    CHUNKS + b"A: b\r\nX : y",
    CHUNKS + b"f: g\r\n" * 120,
    CHUNKS + b"Content-Length: 5\r\n",
    HEAD + b"Transfer-Encoding: gzip\r\n\r\n",
]


class Message(RequestMessage):
    __slots__ = ("__dict__",)
    note: object


def whole(data: bytes, step: int) -> None:
    parser = RequestParser(message_class=Message)
    for _ in range(2):
        for at in range(0, len(data), step):
            parser.receive_data(data[at : at + step])
            message = parser.next_request()
        assert message is not None
        message.note = (message.uri, message.authority, message.fields, message.trailers)
        message.uri = "/other"


def streamed(data: bytes, step: int) -> None:
    parser = RequestParser()
    parser.receive_data(data[:step])
    while (event := parser.next_event()) is not END_OF_MESSAGE:
        if event is None:
            parser.receive_data(data[step:])


def refused(data: bytes, step: int) -> None:
    parser = RequestParser()
    for at in range(0, len(data), step):
        parser.receive_data(data[at : at + step])
        for _ in range(2):
            try:
                parser.next_request()
            except HTTPInputError as error:
                assert repr(error)


def abandoned(data: bytes, step: int) -> None:
    for end in (step, len(data) - 1):
        parser = RequestParser()
        parser.receive_data(data[:end])
        parser.next_request()
        parser.receive_data(data)
        if not parser.receiving_body:
            parser.detach()


def everything() -> None:
    uses: list[tuple[Callable[[bytes, int], None], list[bytes]]] = [
        (whole, GOOD),
        (streamed, GOOD),
        (abandoned, GOOD),
        (refused, BAD),
    ]
    for use, streams in uses:
        for data in streams:
            for step in (10**6, 50):
                use(data, step)
    try:
        RequestParser(max_body_size=-1)
    except ValueError:
        pass


def growth(measure: Callable[[], int], rounds: int) -> int:
    """How much `measure` grows over some rounds, once everything is warm."""
    for _ in range(20):
        everything()
    gc.collect()
    before = measure()
    for _ in range(rounds):
        everything()
    gc.collect()
    return measure() - before


def main() -> None:
    blocks = growth(sys.getallocatedblocks, 500)  # 500 * 40 parsers
    assert blocks < 50, f"{blocks} blocks more"
    tracemalloc.start()  # knows what the parser allocates by itself, too
    size = growth(lambda: tracemalloc.get_traced_memory()[0], 50)
    assert size < 2000, f"{size} bytes more"


@pytest.mark.untraced
def test_twenty_thousand_parsers_leave_nothing_behind() -> None:
    # By itself, so that nothing else allocates.
    subprocess.run([sys.executable, "-W", "error", __file__], check=True, timeout=120)


if __name__ == "__main__":
    main()
