"""Bodies that come in gzip."""

from __future__ import annotations

import asyncio
import gzip
import operator
import random
from collections.abc import Callable
from typing import Any

import pytest
from helpers import Served, answer, framed, post, split, status_of
from hypothesis import given
from hypothesis import strategies as st
from wire import Wire

from fasthttpserver._server.decompress import gunzip
from fasthttpserver._server.request import HTTPRequest
from fasthttpserver.errors import HTTPInputError
from fasthttpserver.httputil import HTTPHeaders, HTTPMessageDelegate, HTTPServerConnectionDelegate

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
        with pytest.raises(HTTPInputError, match=r"^(Invalid|Truncated) gzip data") as raised:
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


# --- In pieces --------------------------------------------------------------------------------


class Pieces(HTTPServerConnectionDelegate):
    """Notes the pieces of bodies and what came of each request, and answers with the coding.

    Args:
        head: Called with the connection when the head has come.
        taken: What ``data_received`` returns.
    """

    def __init__(
        self,
        head: Callable[[Any], object] = lambda connection: None,
        taken: Callable[[], Any] = lambda: None,
    ) -> None:
        self.head = head
        self.taken = taken
        self.pieces: list[bytes] = []
        self.ends: list[str] = []

    def start_request(self, server_conn: object, request_conn: Any) -> HTTPMessageDelegate:
        outer = self

        class Message(HTTPMessageDelegate):
            def headers_received(self, start_line: Any, headers: HTTPHeaders) -> None:
                self.headers = headers
                outer.head(request_conn)

            def data_received(self, chunk: bytes) -> Any:
                outer.pieces.append(chunk)
                return outer.taken()

            def finish(self) -> None:
                outer.ends.append("finish")
                answer(request_conn.request, repr(dict(self.headers)))

            def on_connection_close(self) -> None:
                outer.ends.append("cut")

        return Message()


PACKED = post(gzip.compress(NOISE[:500]) + gzip.compress(bytes(500)), "Content-Encoding: GZip")


@pytest.mark.parametrize("chunk_size", [7, 64, 1000, 10_000])
@pytest.mark.parametrize("size", [1, 100, len(PACKED)])
def test_a_delegate_gets_unpacked_pieces(
    wire: Callable[..., Wire], size: int, chunk_size: int
) -> None:
    delegate = Pieces()
    end = wire(delegate, decompress_request=True, chunk_size=chunk_size)
    end.send(*split(PACKED, range(0, len(PACKED), size)))
    assert b"".join(delegate.pieces) == NOISE[:500] + bytes(500)
    assert 0 < min(map(len, delegate.pieces)) <= max(map(len, delegate.pieces)) <= chunk_size
    assert delegate.ends == ["finish"]
    response = end.sent()
    assert b"'X-Consumed-Content-Encoding': 'GZip'" in response
    assert b"'Content-Encoding'" not in response


@pytest.mark.parametrize(
    ("fields", "body"),
    [((), b"a"), (("Content-Encoding: identity",), b"a"), (("Content-Encoding: gzip",), b"")],
)
def test_other_bodies_reach_a_delegate_as_they_came(
    wire: Callable[..., Wire], fields: tuple[str, ...], body: bytes
) -> None:
    delegate = Pieces()
    end = wire(delegate, decompress_request=True)
    end.send(post(body, *fields))
    assert (b"".join(delegate.pieces), delegate.ends) == (body, ["finish"])


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (gzip.compress(bytes(1001)), 413),
        (b"x", 400),
        (gzip.compress(b"a")[:-1], 400),
        (gzip.compress(b"a") + b"x", 400),
    ],
    ids=["bomb", "no gzip", "cut", "rubbish after it"],  # gzip has the time in it
)
def test_a_body_that_cannot_be_unpacked_is_refused_in_pieces_too(
    wire: Callable[..., Wire], body: bytes, status: int
) -> None:
    delegate = Pieces()
    end = wire(delegate, decompress_request=True, max_body_size=1000)
    end.send(post(body, "Content-Encoding: gzip"))
    assert status_of(end.sent()) == status
    assert delegate.ends == ["cut"]
    assert len(b"".join(delegate.pieces)) <= 1000


def test_the_application_may_bound_the_unpacked_body_itself(wire: Callable[..., Wire]) -> None:
    for bound, status in (500, b"413"), (2000, b"200"):
        end = wire(
            Pieces(head=operator.methodcaller("set_max_body_size", bound)),
            decompress_request=True,
            max_body_size=1000,
        )
        end.send(post(gzip.compress(bytes(1500)), "Content-Encoding: gzip"))
        assert end.sent().split()[1] == status


def test_unpacked_pieces_wait_for_the_application(wire: Callable[..., Wire]) -> None:
    futures: list[asyncio.Future[None]] = []

    def later() -> asyncio.Future[None]:
        futures.append(end.loop.create_future())
        return futures[-1]

    delegate = Pieces(taken=later)
    end = wire(delegate, decompress_request=True, chunk_size=300)
    end.send(PACKED)
    while not delegate.ends:
        assert len(delegate.pieces) == len(futures)
        futures[-1].set_result(None)  # an InvalidStateError, if nothing is waited for
        end.turn()
    assert b"".join(delegate.pieces) == NOISE[:500] + bytes(500)
    assert delegate.ends == ["finish"]


def test_a_callback_reads_an_unpacked_body_piece_by_piece(serve: Callable[..., Served]) -> None:
    async def tell(request: HTTPRequest) -> None:
        answer(request, await request.read())

    served = serve(tell, stream_request_body=True, decompress_request=True)
    client = served.connect()
    client.send(post(gzip.compress(b"packed"), "Content-Encoding: gzip", "Expect: 100-continue"))
    assert client.read_until(b"packed").endswith(b"packed")


def test_memory_of_a_bomb_in_pieces_is_bounded(wire: Callable[..., Wire]) -> None:
    delegate = Pieces()
    end = wire(delegate, decompress_request=True, max_body_size=100_000)
    end.send(post(gzip.compress(bytes(10_000_000)), "Content-Encoding: gzip"))
    assert status_of(end.sent()) == 413
    assert sum(map(len, delegate.pieces)) <= 100_000


def test_whole_requests_of_a_delegate_are_unpacked(wire: Callable[..., Wire]) -> None:
    class Whole(Pieces):
        def whole_request(self, request: HTTPRequest) -> None:
            request.write(framed(request.body))
            request.finish()

        def on_stop(self) -> None:
            self.ends.append("stop")

    delegate = Whole()
    end = wire(delegate, decompress_request=True)
    end.send(post(gzip.compress(b"body"), "Content-Encoding: gzip"))
    assert end.sent() == framed(b"body")
    end.call(end.loop.create_task, end.server.close_all_connections())
    end.turn()
    assert delegate.ends == ["stop"]


def test_client_that_leaves_while_pieces_wait_leaves_no_task(wire: Callable[..., Wire]) -> None:
    end = wire(
        Pieces(taken=lambda: end.loop.create_future()),  # which is never done
        decompress_request=True,
        chunk_size=300,
    )
    end.send(PACKED)
    assert len(asyncio.all_tasks(end.loop)) == 1
    end.reset()
    assert not asyncio.all_tasks(end.loop)  # which would be logged when it is thrown away
