"""Bytes of a client come in; what each of several readers of HTTP/1 makes of them goes out.

For the tests and fuzzers that compare our parser with its peers. A peer is given all bytes
at once, and is answered 200 where it wants an answer before it reads on.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import h11

from fasthttpserver._parser import RequestParser
from fasthttpserver.errors import HTTPInputError

__all__ = ["Read", "Request", "read_aiohttp", "read_h11", "read_httptools", "read_ours"]


class Request(NamedTuple):
    """What two readers have to agree about."""

    method: bytes
    target: bytes
    body: bytes


@dataclass
class Read:
    """What a reader made of some bytes.

    ``end`` is ``refused``, ``closed`` (it reads no further request) or ``waiting`` (for more
    bytes: of a next request, or of one that is not counted in ``requests``).
    """

    requests: list[Request] = field(default_factory=list)
    end: str = "waiting"
    reason: str = ""
    partial: bool = False
    """Whether it waits inside a request whose head it has accepted."""


def read_ours(data: bytes, **limits: Any) -> Read:
    """Read with ``RequestParser``."""
    parser = RequestParser(**limits)
    parser.receive_data(data)
    read = Read()
    try:
        while (message := parser.next_request()) is not None:
            method, uri = message.method.encode("latin-1"), message.uri.encode("latin-1")
            read.requests.append(Request(method, uri, message.body))
    except HTTPInputError as error:
        read.end, read.reason = "refused", error.reason
    else:
        read.end = "closed" if parser.closed else "waiting"
        read.partial = parser.receiving_body
    return read


def read_h11(data: bytes) -> Read:
    """Read with h11: no lenient rule but those of RFC 9112, written without a C parser."""
    peer = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 30)
    peer.receive_data(data)
    read = Read()
    body = b""
    request: h11.Request | None = None
    while True:
        try:
            event = peer.next_event()
        except h11.RemoteProtocolError as error:
            read.end, read.reason = "refused", str(error)
            return read
        if event is h11.NEED_DATA:
            read.partial = request is not None
            return read
        if event is h11.PAUSED:
            # For the answer, or because the connection is the application's from now on.
            read.end = "closed"
            return read
        if isinstance(event, h11.Request):
            request, body = event, b""
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            assert request is not None
            read.requests.append(Request(request.method, request.target, body))
            request = None
            peer.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
            if peer.our_state is h11.SWITCHED_PROTOCOL:
                read.end = "closed"  # what follows CONNECT is the tunnel's
                return read
            peer.send(h11.EndOfMessage())
            if peer.our_state is not h11.DONE or peer.their_state is not h11.DONE:
                read.end = "closed"
                return read
            peer.start_next_cycle()


class _HttptoolsProtocol:
    def __init__(self) -> None:
        self.read = Read()
        self.target = self.body = b""
        self.begun = False
        self.parser: Any = None

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_headers_complete(self) -> None:
        self.begun = True

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.read.requests.append(Request(self.parser.get_method(), self.target, self.body))
        self.target = self.body = b""
        self.begun = False


def read_httptools(data: bytes) -> Read:
    """Read with httptools: strict llhttp, and nothing more."""
    import httptools

    protocol = _HttptoolsProtocol()
    protocol.parser = httptools.HttpRequestParser(protocol)
    read = protocol.read
    try:
        protocol.parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        read.end = "closed"
    except httptools.HttpParserError as error:
        read.end, read.reason = "refused", str(error)
    read.partial = protocol.begun
    return read


def read_aiohttp(data: bytes) -> Read:
    """Read with the compiled parser of aiohttp: strict llhttp and checks in Cython."""
    import asyncio
    from unittest.mock import Mock

    from aiohttp import http_exceptions
    from aiohttp.base_protocol import BaseProtocol
    from aiohttp.http_parser import HttpRequestParser

    loop = Mock(spec=asyncio.AbstractEventLoop)
    protocol = BaseProtocol(loop)
    parser = HttpRequestParser(
        protocol, loop, 2**16, max_line_size=8190, max_headers=100, max_field_size=16_384
    )
    read = Read()
    pairs: list[Any] = []
    try:
        pairs, upgraded, _ = parser.feed_data(data)
        read.end = "closed" if upgraded else "waiting"
    except http_exceptions.HttpProcessingError as error:
        read.end, read.reason = "refused", str(error)
    for message, payload in pairs:
        exception = payload.exception()
        if exception is not None:
            read.end, read.reason = "refused", str(exception)
            break
        if not payload.is_eof():
            read.partial = True
            break
        body = b"".join(payload._buffer) if hasattr(payload, "_buffer") else b""
        method, target = message.method.encode("latin-1"), message.path.encode("latin-1")
        read.requests.append(Request(method, target, body))
    return read
