"""How request bodies with gzip coding are unpacked before the application sees them."""

from __future__ import annotations

import asyncio
import functools
import zlib
from collections.abc import Awaitable, Iterator
from typing import Any

from fasthttpserver._server.request import HTTPRequest, RequestCallback
from fasthttpserver._server.wrapping import WrappingDelegate
from fasthttpserver.errors import HTTPInputError
from fasthttpserver.httputil import (
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
)

__all__ = ["DecompressingDelegate", "decompressing", "gunzip"]

# zlib's way of asking for the gzip format with its largest window.
_GZIP = 16 + zlib.MAX_WBITS
# A member is given to zlib in pieces that double, beginning with so many bytes: zlib copies what
# comes after its end, and if that were always all the rest, n members would cost n copies of it.
_FIRST_PIECE = 256
# Bytes that are unpacked at a time, of a body that is whole.
_PIECE = 65_536
_TOO_LARGE = "Decompressed body is too large"


def decompressing(callback: RequestCallback, max_body_size: int) -> RequestCallback:
    """Wrap a callback so that it sees bodies with ``Content-Encoding: gzip`` unpacked.

    The field is renamed to X-Consumed-Content-Encoding, as in Tornado.

    Args:
        callback: The application's.
        max_body_size: Bytes that a body may have when it is unpacked.
    """

    @functools.wraps(callback)
    def unpack(request: HTTPRequest) -> object:
        if request.body and _is_packed(request.headers):
            request.body = gunzip(request.body, max_body_size)
            request.is_unpacked = True
            _note_unpacked(request.headers)
        return callback(request)

    return unpack


def _is_packed(headers: HTTPHeaders) -> bool:
    return headers.get("Content-Encoding", "").lower() == "gzip"


def _note_unpacked(headers: HTTPHeaders) -> None:
    headers.add("X-Consumed-Content-Encoding", headers.pop("Content-Encoding"))


def gunzip(data: bytes, max_size: int) -> bytes:
    """Unpack the members of a gzip stream.

    Raises:
        HTTPInputError: It is not gzip data (400), or gives more than `max_size` bytes (413),
            counted as they are made.
    """
    unpacker = _Unpacker()
    pieces = []
    room = max_size
    for piece in unpacker.unpack(data, _PIECE):
        room -= len(piece)
        if room < 0:
            raise HTTPInputError(_TOO_LARGE, 413)
        pieces.append(piece)
    unpacker.end()
    return b"".join(pieces)


class _Unpacker:
    """Unpacks the members of a gzip stream that comes in pieces."""

    def __init__(self) -> None:
        self._member: Any = None
        self._size = 0  # of the next piece that it is given

    def unpack(self, data: bytes, most: int) -> Iterator[bytes]:
        """Yield what `data` gives, at most so many bytes at a time.

        Raises:
            HTTPInputError: It is not gzip data.
        """
        view = memoryview(data)
        at = 0
        while at < len(view):
            if self._member is None:
                self._member = zlib.decompressobj(_GZIP)
                self._size = _FIRST_PIECE
            packed: Any = view[at : at + self._size]
            at += len(packed)
            self._size *= 2
            more = True
            while more:
                try:
                    piece = self._member.decompress(packed, most)
                except zlib.error as error:
                    raise HTTPInputError("Invalid gzip data in body") from error
                if piece:
                    yield piece
                packed = self._member.unconsumed_tail
                more = bool(packed) or len(piece) == most
            if self._member.eof:
                at -= len(self._member.unused_data)
                self._member = None

    def end(self) -> None:
        """Take note that nothing more comes.

        Raises:
            HTTPInputError: A member is not whole.
        """
        if self._member is not None:
            raise HTTPInputError("Truncated gzip data in body")


# --- Requests in pieces ---------------------------------------------------------------------


class DecompressingDelegate(WrappingDelegate):
    """Wraps a delegate so that it gets bodies with ``Content-Encoding: gzip`` unpacked.

    Args:
        delegate: The application's.
        chunk_size: Bytes of a piece of the body that it gets, at most.
        max_body_size: Bytes that the body of a whole request may have, unpacked.
    """

    def __init__(
        self, delegate: HTTPServerConnectionDelegate, chunk_size: int, max_body_size: int
    ) -> None:
        super().__init__(delegate)
        self._chunk_size = chunk_size
        whole_request = getattr(delegate, "whole_request", None)
        if whole_request is not None:
            self.whole_request = decompressing(whole_request, max_body_size)

    def start_request(self, server_conn: object, request_conn: Any) -> HTTPMessageDelegate:
        request = request_conn.request
        request.is_unpacked = _is_packed(request.headers)  # the delegate may want to know
        message = super().start_request(server_conn, request_conn)
        if not request.is_unpacked:
            return message
        return _Decompressing(message, request_conn, self._chunk_size)


class _Decompressing(HTTPMessageDelegate):
    """Wraps the delegate of one request whose body is packed."""

    def __init__(self, message: HTTPMessageDelegate, connection: Any, chunk_size: int) -> None:
        self._message = message
        self._connection = connection
        self._chunk_size = chunk_size
        self._unpacker = _Unpacker()
        self._size = 0
        self._rest: asyncio.Future[None] | None = None  # of a chunk, as the application is busy
        self.asks_for_body = getattr(message, "asks_for_body", True)

    def headers_received(self, start_line: Any, headers: Any) -> Awaitable[None] | None:
        _note_unpacked(headers)
        return self._message.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        pieces = self._unpacker.unpack(chunk, self._chunk_size)
        for piece in pieces:
            taken = self._give(piece)
            if taken is not None:
                self._rest = asyncio.ensure_future(self._give_rest(taken, pieces))
                return self._rest
        return None

    async def _give_rest(self, taken: Awaitable[None], pieces: Iterator[bytes]) -> None:
        """Go on when the application has taken a piece."""
        await taken
        for piece in pieces:
            again = self._give(piece)
            if again is not None:
                await again

    def _give(self, piece: bytes) -> Awaitable[None] | None:
        self._size += len(piece)
        if self._size > self._connection.max_body_size:
            raise HTTPInputError(_TOO_LARGE, 413)
        return self._message.data_received(piece)

    def finish(self) -> Any:
        try:
            self._unpacker.end()
        except HTTPInputError:
            self._message.on_connection_close()
            raise
        finish: Any = self._message.finish  # which may be a coroutine function all the same
        return finish()

    def on_connection_close(self) -> None:
        if self._rest is not None:
            self._rest.cancel()  # nobody will take a piece
        self._message.on_connection_close()
