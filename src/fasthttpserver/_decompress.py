"""A callback comes in; one that gets request bodies without their gzip coding goes out."""

from __future__ import annotations

import functools
import zlib

from fasthttpserver._request import HTTPRequest, RequestCallback
from fasthttpserver.errors import HTTPInputError

__all__ = ["decompressing", "gunzip"]

# zlib's way of asking for the gzip format with its largest window.
_GZIP = 16 + zlib.MAX_WBITS


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
    pieces = []
    room = max_size
    while data:
        unpacker = zlib.decompressobj(_GZIP)
        try:
            # One byte more than allowed tells that there is more.
            piece = unpacker.decompress(data, room + 1)
        except zlib.error as error:
            raise HTTPInputError("Invalid gzip data in body") from error
        room -= len(piece)
        if room < 0:
            raise HTTPInputError("Decompressed body is too large", 413)
        if not unpacker.eof:
            raise HTTPInputError("Truncated gzip data in body")
        pieces.append(piece)
        data = unpacker.unused_data
    return b"".join(pieces)
