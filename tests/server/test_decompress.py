"""Bodies that come in gzip."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable

import pytest
from helpers import Served, answer, post, status_of
from hypothesis import given
from hypothesis import strategies as st

from fasthttpserver._server.decompress import gunzip
from fasthttpserver._server.request import HTTPRequest
from fasthttpserver.errors import HTTPInputError

NOISE = random.Random(1).randbytes(100_000)


@given(st.lists(st.binary() | st.integers(0, 100_000).map(lambda size: NOISE[:size])))
def test_members_are_unpacked_and_joined(contents: list[bytes]) -> None:
    packed = b"".join(gzip.compress(content, 1) for content in contents)
    whole = b"".join(contents)
    assert gunzip(packed, len(whole)) == whole
    if whole:
        with pytest.raises(HTTPInputError, match="too large") as raised:
            gunzip(packed, len(whole) - 1)
        assert raised.value.status == 413


@pytest.mark.parametrize("content", [b"", b"x", b"x" * 100_000, NOISE[:255], NOISE])
def test_a_member_that_ends_early_is_refused(content: bytes) -> None:
    first, packed = gzip.compress(b"first"), gzip.compress(content)
    for size in 1, 9, 10, len(packed) // 2, len(packed) - 8, len(packed) - 1:
        for before in b"", first:
            with pytest.raises(HTTPInputError, match="Truncated") as raised:
                gunzip(before + packed[:size], 1 << 20)
            assert raised.value.status == 400


@pytest.mark.parametrize("rubbish", [b"x", b"\0", b"\0" * 10_000, b"\x1f\x8bx", b"\x1f\x8b\x07"])
def test_what_is_no_gzip_is_refused(rubbish: bytes) -> None:
    for before in b"", gzip.compress(b"a"), gzip.compress(NOISE):
        with pytest.raises(HTTPInputError, match="^(Invalid|Truncated) gzip data") as raised:
            gunzip(before + rubbish, 1 << 20)
        assert raised.value.status == 400


def test_a_bomb_is_not_unpacked_further_than_allowed() -> None:
    bomb = gzip.compress(bytes(100_000_000))
    with pytest.raises(HTTPInputError, match="too large"):
        gunzip(bomb, 1000)


def test_a_callback_sees_unpacked_bodies(serve: Callable[..., Served]) -> None:
    def tell(request: HTTPRequest) -> None:
        coding = request.headers.get("X-Consumed-Content-Encoding", "")
        assert "Content-Encoding" not in request.headers or not coding
        answer(request, coding.encode() + b" " + request.body)

    served = serve(tell, decompress_request=True, max_body_size=1000)
    client = served.connect()
    for data, expected in [
        (post(gzip.compress(b"a") + gzip.compress(b"b"), "Content-Encoding: GZip"), b"GZip ab"),
        (post(b"a", "Content-Encoding: identity"), b" a"),
        (post(b"a"), b" a"),
        (post(b"", "Content-Encoding: gzip"), b" "),
    ]:
        client.send(data)
        assert client.read_response().body == expected
    for body, status in [(gzip.compress(bytes(1001)), 413), (b"x", 400)]:
        client = served.connect()
        client.send(post(body, "Content-Encoding: gzip"))
        assert status_of(client.read_to_end()) == status
