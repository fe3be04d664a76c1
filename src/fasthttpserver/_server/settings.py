"""What all connections of one server share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container
from contextvars import Context
from typing import TYPE_CHECKING, Any

from fasthttpserver._server.clock import Clock
from fasthttpserver._server.context import ConnectionParameters
from fasthttpserver._server.counters import Counters
from fasthttpserver._server.eviction import Eviction
from fasthttpserver._server.pool import Pool
from fasthttpserver._server.request import HTTPRequest, RequestCallback
from fasthttpserver.errors import HTTPInputError
from fasthttpserver.httputil import HTTPServerConnectionDelegate
from fasthttpserver.limits import Limits
from fasthttpserver.parser import RequestParser

if TYPE_CHECKING:
    from fasthttpserver._server.access import AccessLog
    from fasthttpserver._server.connection import HTTPConnection

__all__ = ["OnRefusal", "Settings"]

# Takes what refuses a request, and the client's address; returns the answer or None.
OnRefusal = Callable[[HTTPInputError, Any], bytes | None]

# The parser's largest size: the body of a streamed request may be bounded by the application,
# after the head has come.
_UNBOUNDED = 1 << 62


def _nothing(connection: HTTPConnection) -> None:
    """Nothing is to be done for a new connection."""


def _no_more(request: HTTPRequest) -> str:
    """Nothing more is known of a response that is framed wrongly."""
    return ""


class Settings:
    """The options of one server, checked, and what counts and limits its connections.

    Args:
        callback: Called with each request.
        no_keep_alive, xheaders, protocol: As for ``HTTPServer``.
        limits: Its limits.
        require_host: As for ``HTTPServer``.
        trusted: Proxies that may stand in X-Forwarded-For.
        trusted_peers: Addresses of peers whose fields are believed; None for all.
        client_cert_header: Whether they tell the certificates of clients.
        access_log: Logs each exchange, if not None.
        check_responses: Whether the framing of applications is checked.
        delegate: Gets requests in pieces instead of the callback, if not None.
        chunk_size: Bytes of such a piece.
        decompress: Whether bodies are unpacked.
        on_refusal: As for ``HTTPServer``.
        explain: Says more of a request whose response is framed wrongly.
        connected: Called with each new connection.
    """

    __slots__ = (
        "access_log",
        "add_sent",
        "callback",
        "check_responses",
        "chunk_size",
        "client_cert_header",
        "clock",
        "connected",
        "context",
        "counters",
        "delegate",
        "eviction",
        "explain",
        "io_loop",
        "limits",
        "loop",
        "max_buffer_size",
        "new_parser",
        "no_keep_alive",
        "on_refusal",
        "params",
        "pool",
        "protocol",
        "take_late",
        "tasks",
        "trusted",
        "trusted_peers",
        "xheaders",
    )

    def __init__(
        self,
        callback: RequestCallback,
        *,
        no_keep_alive: bool = False,
        xheaders: bool = False,
        protocol: str | None = None,
        limits: Limits | None = None,
        require_host: bool = True,
        trusted: Container[str] = (),
        trusted_peers: Container[Any] | None = None,
        client_cert_header: bool = False,
        access_log: AccessLog | None = None,
        check_responses: bool = True,
        delegate: HTTPServerConnectionDelegate | None = None,
        chunk_size: int = 65_536,
        decompress: bool = False,
        on_refusal: OnRefusal | None = None,
        explain: Callable[[HTTPRequest], str] | None = None,
        connected: Callable[[HTTPConnection], None] = _nothing,
    ) -> None:
        self.callback = callback
        self.no_keep_alive = no_keep_alive
        self.xheaders = xheaders
        self.protocol = protocol
        self.limits = limits = Limits() if limits is None else limits
        self.trusted = trusted
        self.trusted_peers = trusted_peers
        self.client_cert_header = client_cert_header
        self.access_log = access_log
        self.check_responses = check_responses
        self.delegate = delegate
        self.chunk_size = chunk_size
        self.on_refusal = on_refusal
        self.explain = explain or _no_more
        self.connected = connected
        self.params = ConnectionParameters(
            no_keep_alive=no_keep_alive,
            chunk_size=chunk_size,
            max_header_size=limits.max_header_size,
            header_timeout=limits.header_timeout,
            max_body_size=limits.max_body_size,
            body_timeout=limits.body_timeout,
            decompress=decompress,
        )
        self.io_loop: Any = None
        self.loop: asyncio.AbstractEventLoop  # of all connections
        # Of callbacks, by what they returned, while it runs: a loop refers to its tasks weakly.
        self.tasks: dict[object, asyncio.Future[Any]] = {}
        # The context in which the first client was accepted: without what any request has set.
        self.context: Context | None = None
        self.max_buffer_size = limits.max_body_size
        self.counters = Counters()
        tally = self.counters.tally
        # Of these, once for all connections: a bound method is an object.
        self.add_sent = tally.add_sent
        self.take_late = tally.take_late
        self.clock = Clock(limits)
        self.pool = self.clock.pool = Pool(self.clock, self.counters)
        self.eviction = Eviction(self.pool, self.clock)
        # Checked once: connections get parsers that are made from this one.
        self.new_parser: Callable[[], RequestParser[HTTPRequest]] = RequestParser(
            max_header_size=limits.max_header_size,
            max_request_line=limits.max_request_line,
            max_field_size=limits.max_field_size,
            max_header_count=limits.max_header_count,
            max_body_size=limits.max_body_size if delegate is None else _UNBOUNDED,
            require_host=require_host,
            message_class=HTTPRequest,
            tally=tally,
            check_responses=check_responses,
            gives_heads=delegate is not None,
        ).new
