"""TLSTransport with a client in memory: how bytes are cut, and what is asked of the transport."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest
from tls_pair import TLSPair


class Kept(asyncio.Protocol):
    """Keeps what it is given; may pause after each piece."""

    transport: Any = None

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.pauses = False
        self.fails = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.pieces.append(data)
        if self.pauses:
            self.transport.pause_reading()
        if self.fails:
            raise ZeroDivisionError


def turn(loop: asyncio.AbstractEventLoop) -> None:
    """Run what is due."""
    loop.call_soon(loop.stop)
    loop.run_forever()


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def pair(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], loop: asyncio.AbstractEventLoop, kept: Kept
) -> TLSPair:
    return TLSPair(contexts, loop, lambda: kept)


# How many bytes come in the last piece: of the record's end, which says nothing, and more.
CUTS = [1, 16, 17, 5000, 16_000]


@pytest.mark.parametrize("last", CUTS)
@pytest.mark.parametrize("size", [100, 16_384, 40_000])
def test_record_is_read_whole_as_soon_as_its_last_piece_is_here(
    pair: TLSPair, kept: Kept, size: int, last: int
) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    record = pair.encrypt(body[:size])
    last = min(last, len(record) - 1)
    for piece in record[:-last], record[-last:]:
        pair.tls.data_received(piece)
    assert b"".join(kept.pieces) == body[:size]
    assert len(kept.pieces) <= 5  # none of them is small for no reason


@pytest.mark.parametrize("last", CUTS)
def test_record_is_read_whole_by_a_protocol_that_pauses(
    pair: TLSPair, kept: Kept, loop: asyncio.AbstractEventLoop, last: int
) -> None:
    kept.pauses = True
    body = bytes(range(256)) * 200
    record = pair.encrypt(body)
    pair.tls.data_received(record[:-last])
    pair.tls.data_received(record[-last:])
    for _ in range(20):
        assert not pair.below.reading
        seen = len(kept.pieces)
        pair.tls.resume_reading()
        turn(loop)
        if len(kept.pieces) == seen:
            break
    assert b"".join(kept.pieces) == body


def test_records_of_one_piece_are_all_read(pair: TLSPair, kept: Kept) -> None:
    pair.tls.data_received(b"".join(pair.encrypt(b"%d" % number) for number in range(9)))
    assert kept.pieces == [b"%d" % number for number in range(9)]


@pytest.mark.parametrize("size", [1, 16_384, 32_768, 32_769, 100_000])
def test_write_of_any_size_arrives(pair: TLSPair, size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    pair.tls.write(body[:size])
    pair.exchange()
    got = b""
    while len(got) < size:
        got += pair.client.read(65_536)
    assert got == body[:size]
    assert pair.tls.get_write_buffer_size() == 0


def test_what_comes_after_a_protocol_has_raised_is_read_in_order(
    pair: TLSPair, kept: Kept, loop: asyncio.AbstractEventLoop
) -> None:
    body = bytes(range(256)) * 2000
    large, small = pair.encrypt(body), pair.encrypt(b"end")
    kept.fails = True
    with pytest.raises(ZeroDivisionError):
        pair.tls.data_received(large)
    kept.fails = False
    pair.tls.data_received(small)
    for _ in range(50):
        turn(loop)
    assert b"".join(kept.pieces) == body + b"end"
