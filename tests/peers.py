"""Other readers of HTTP/1, and what each of them makes of a client's bytes.

For the tests and fuzzers that compare our parser with its peers. A peer is given all bytes
at once, and is answered 200 where it wants an answer before it reads on.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import h11

from fasthttpserver._parser import RequestMessage, RequestParser
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
    heads: list[RequestMessage] = field(default_factory=list)  # only from our parser


def read_ours(data: bytes, **limits: Any) -> Read:
    """Read with ``RequestParser``."""
    parser = RequestParser(**limits)
    parser.receive_data(data)
    read = Read()
    try:
        while (message := parser.next_request()) is not None:
            method, uri = message.method.encode("latin-1"), message.uri.encode("latin-1")
            read.requests.append(Request(method, uri, message.body))
            read.heads.append(message)
    except HTTPInputError as error:
        read.end, read.reason = "refused", error.reason
    else:
        read.end = "closed" if parser.closed else "waiting"
    return read


def read_h11(data: bytes) -> Read:
    """Read with h11: RFC 9112 as regular expressions, in Python."""
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
        self.requests: list[Request] = []
        self.target = self.body = b""
        self.parser: Any = None

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.requests.append(Request(self.parser.get_method(), self.target, self.body))
        self.target = self.body = b""


def read_httptools(data: bytes) -> Read:
    """Read with httptools: strict llhttp, and nothing more."""
    import httptools

    protocol = _HttptoolsProtocol()
    protocol.parser = httptools.HttpRequestParser(protocol)
    read = Read(protocol.requests)
    try:
        protocol.parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        read.end = "closed"
    except httptools.HttpParserError as error:
        read.end, read.reason = "refused", str(error)
    return read


def read_aiohttp(data: bytes) -> Read:
    """Read with the compiled parser of aiohttp: strict llhttp, and checks around it."""
    from aiohttp.base_protocol import BaseProtocol
    from aiohttp.http_exceptions import HttpProcessingError
    from aiohttp.http_parser import HttpRequestParser

    loop = asyncio.new_event_loop()
    loop.close()  # the parser keeps it, for a connection that there is none of here
    parser = HttpRequestParser(
        BaseProtocol(loop),
        loop,
        limit=1 << 30,
        max_line_size=8190,
        max_headers=100,
        max_field_size=16_384,
        auto_decompress=False,
    )
    read = Read()
    messages: list[Any] = []
    try:
        # An error takes the requests of its own piece with it, so byte by byte.
        for i in range(len(data)):
            more, upgraded, _ = parser.feed_data(data[i : i + 1])
            messages += more
            if upgraded:
                read.end = "closed"
                break
    except HttpProcessingError as error:
        read.end, read.reason = "refused", str(error)
    for message, payload in messages:
        if payload.exception() is not None:
            read.end, read.reason = "refused", str(payload.exception())
            break
        if not payload.is_eof():
            break  # more of its body is to come
        method, target = message.method.encode("latin-1"), message.path.encode("latin-1")
        read.requests.append(Request(method, target, payload.read_nowait()))
    return read
