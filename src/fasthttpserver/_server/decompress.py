"""How request bodies with gzip coding are unpacked before the callback sees them."""

from __future__ import annotations

import functools
import zlib

from fasthttpserver._server.request import HTTPRequest, RequestCallback
from fasthttpserver.errors import HTTPInputError

__all__ = ["decompressing", "gunzip"]

# zlib's way of asking for the gzip format with its largest window.
_GZIP = 16 + zlib.MAX_WBITS
# A member is given to zlib in pieces that double, beginning with so many bytes: what comes
# after its end is copied, and were that all the rest, n members would cost n copies of it.
_FIRST_PIECE = 256


def decompressing(callback: RequestCallback, max_body_size: int) -> RequestCallback:
    """Wrap a callback so that it sees bodies with ``Content-Encoding: gzip`` unpacked.

    The field is renamed to X-Consumed-Content-Encoding, as in Tornado.

    Args:
        callback: The application's.
        max_body_size: Bytes that a body may have when it is unpacked.
    """

    @functools.wraps(callback)
    def unpack(request: HTTPRequest) -> object:
        if request.body and request.headers.get("Content-Encoding", "").lower() == "gzip":
            request.body = gunzip(request.body, max_body_size)
            coding = request.headers.pop("Content-Encoding")
            request.headers.add("X-Consumed-Content-Encoding", coding)
        return callback(request)

    return unpack


def gunzip(data: bytes, max_size: int) -> bytes:
    """Unpack the members of a gzip stream.

    Raises:
        HTTPInputError: It is no gzip data (400), or gives more than `max_size` bytes (413),
            counted as they are made.
    """
    view = memoryview(data)
    pieces = []
    room = max_size
    at = 0
    while at < len(data):
        unpacker = zlib.decompressobj(_GZIP)
        size = _FIRST_PIECE
        while not unpacker.eof:
            packed = view[at : at + size]
            if not packed:
                raise HTTPInputError("Truncated gzip data in body")
            try:
                # One byte more than allowed tells that there is more.
                piece = unpacker.decompress(packed, room + 1)
            except zlib.error as error:
                raise HTTPInputError("Invalid gzip data in body") from error
            room -= len(piece)
            if room < 0:
                raise HTTPInputError("Decompressed body is too large", 413)
            if piece:
                pieces.append(piece)
            at += len(packed)
            size *= 2
        at -= len(unpacker.unused_data)
    return b"".join(pieces)
