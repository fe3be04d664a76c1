"""The parsers that are measured, each as a function that parses a request n times.

Each parser is written down as the statements that its users write, and ``timeit`` makes the
loop around them, so that nobody pays for a call more than the others. A parser lives as
long as its connection: one for all requests, except where it takes an answer to go on.
"""

import importlib.util
import os
import time
import timeit
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks import raw_llhttp
from benchmarks.apps.options import attributes_of
from benchmarks.corpus import CORPUS, SEARCH_ATTRIBUTES, Request

__all__ = ["MODES", "PARSERS", "Code", "Parser", "check", "timer"]

MODES = {
    "request": "to a request object",
    "headers": "to a request object, and every header read as a pair of str",
    "attributes": "to a request object, and path, arguments, 3 headers and a cookie read",
    "exchange": "request to answer through all layers, without loop and kernel",
    "whole": "the same for other kinds of applications, with their turns of asyncio's loop",
}


@dataclass(frozen=True)
class Code:
    """The statements of one parser.

    Args:
        names: What they use.
        feed: For each piece; ``{piece}`` is its name. Makes ``request``.
        headers: Makes ``pairs``, a list of all header fields as str.
        body: Size of the body, as an expression, for the check.
        finish: Once, after the last piece.
        begin: Once, before the first piece.
    """

    names: dict[str, Any]
    feed: str
    headers: str
    body: str
    finish: str = "pass"
    begin: str = "pass"


@dataclass(frozen=True)
class Parser:
    """One contender; ``code`` is None for raw llhttp, which runs in C."""

    title: str
    kind: str
    package: str | None
    code: Callable[[Request], Code] | None
    modes: tuple[str, ...] = ("request", "headers")

    def measures(self, request: Request, mode: str) -> bool:
        """Tell whether this request is measured in this mode."""
        # One request has all that is read there, and is of no use elsewhere.
        if (mode == "attributes") != (request == CORPUS["attributes"]):
            return False
        # Who waits for an answer to each piece wants whole requests.
        return mode in self.modes and (mode != "whole" or request.reads == 1)

    def missing(self) -> str | None:
        """Say why this parser cannot run here; None if it can."""
        if self.package is not None and importlib.util.find_spec(self.package) is None:
            from benchmarks.contenders import why_not_installed  # see benchmarks/root.py

            return why_not_installed(self.package)
        return None


def timer(name: str, request: Request, mode: str) -> Callable[[int], float]:
    """Return a function that parses the request n times and returns the CPU seconds."""
    parser = PARSERS[name]
    if parser.code is None:
        return raw_llhttp.timer(request)
    code = parser.code(request)
    statement = "\n".join(_statements(code, request, mode))
    # CPU time: what else runs on the machine is not the parser's.
    return timeit.Timer(statement, timer=time.process_time, globals=_names(code, request)).timeit


def check(name: str, request: Request) -> None:
    """Raise ValueError if the parser does not find what is in the request."""
    parser = PARSERS[name]
    if parser.code is None:
        raw_llhttp.check(request)
        return
    code = parser.code(request)
    names = _names(code, request)
    if "attributes" in parser.modes and request == CORPUS["attributes"]:
        exec("\n".join(_statements(code, request, "attributes")), names)
        if names["message"] != SEARCH_ATTRIBUTES:
            raise ValueError(f"{name} read {names['message']!r}")
    for _ in range(2):
        exec("\n".join(_statements(code, request, "headers")), names)
    if "sink" in names:
        if not names["sink"].latest.startswith(b"HTTP/1.1 200"):
            raise ValueError(f"{name} answered {names['sink'].latest!r}")
        return
    found = (len(names["pairs"]), eval(code.body, names))
    if found != (request.fields, request.body_size):
        raise ValueError(f"{name} parsed {request.title} wrongly: {found}")
    if not all(isinstance(part, str) for pair in names["pairs"] for part in pair):
        raise ValueError(f"{name} does not make str of the header fields")


def _statements(code: Code, request: Request, mode: str) -> list[str]:
    feeds = [code.feed.format(piece=f"piece{n}") for n in range(len(request.pieces))]
    reads = {"headers": [code.headers], "attributes": ["message = attributes_of(request)"]}
    return [code.begin, *feeds, code.finish, *reads.get(mode, [])]


def _names(code: Code, request: Request) -> dict[str, Any]:
    pieces = {f"piece{n}": piece for n, piece in enumerate(request.pieces)}
    return {"attributes_of": attributes_of, **code.names, **pieces}


def _ours(request: Request) -> Code:
    from fasthttpserver.httpserver import HTTPRequest
    from fasthttpserver.parser import RequestParser

    parser = RequestParser(message_class=HTTPRequest)
    return Code(
        {"next_request": parser.next_request},  # as our own connections call it
        "request = next_request({piece})",
        "pairs = request.fields",
        "len(request.body)",
    )


def _our_headers(request: Request) -> Code:
    ours = _ours(request)
    return Code(ours.names, ours.feed, "pairs = list(request.headers.get_all())", ours.body)


def _httptools(request: Request) -> Code:
    import httptools

    class Request:
        __slots__ = ("body", "headers", "method", "url", "version")
        body: bytes
        headers: list[tuple[bytes, bytes]]
        method: bytes
        url: bytes
        version: str

    class Protocol:
        """The least that makes a request object of the callbacks."""

        def on_message_begin(self) -> None:
            self.url = b""
            self.headers: list[tuple[bytes, bytes]] = []
            self.body: list[bytes] = []

        def on_url(self, url: bytes) -> None:
            self.url += url

        def on_header(self, name: bytes, value: bytes) -> None:
            self.headers.append((name, value))

        def on_body(self, body: bytes) -> None:
            self.body.append(body)

        def on_message_complete(self) -> None:
            request = self.request = Request()
            request.method = parser.get_method()
            request.version = parser.get_http_version()
            request.url = self.url
            request.headers = self.headers
            request.body = b"".join(self.body)

    protocol = Protocol()
    parser = httptools.HttpRequestParser(protocol)
    decoded = "(name.decode('latin-1'), value.decode('latin-1'))"
    return Code(
        {"feed_data": parser.feed_data, "protocol": protocol},
        "feed_data({piece})",
        f"pairs = [{decoded} for name, value in request.headers]",
        "len(request.body)",
        finish="request = protocol.request",
    )


def _aiohttp(request: Request) -> Code:
    import asyncio

    from aiohttp.base_protocol import BaseProtocol
    from aiohttp.http_parser import HttpRequestParserC

    loop = asyncio.new_event_loop()
    parser = HttpRequestParserC(BaseProtocol(loop), loop, 2**16)
    loop.close()  # it is not used, only asked for
    finish = "request, payload = messages[0]"
    if request.body_size:
        finish += "\nbody = payload.read_nowait()"
    return Code(
        {"feed_data": parser.feed_data, "body": b""},
        "messages, upgraded, tail = feed_data({piece})",
        "pairs = list(request.headers.items())",
        "len(body)",
        finish=finish,
    )


def _h11(request: Request) -> Code:
    import h11

    decoded = "(name.decode('latin-1'), value.decode('latin-1'))"
    return Code(
        {"h11": h11},
        "receive_data({piece}); request = next_event()",
        f"pairs = [{decoded} for name, value in request.headers]",
        "len(body)",
        # A connection that has not answered takes no second request.
        begin="connection = h11.Connection(h11.SERVER)\n"
        "receive_data, next_event = connection.receive_data, connection.next_event",
        finish="parts = []\n"
        "while type(event := next_event()) is h11.Data: parts.append(event.data)\n"
        "body = b''.join(parts)",
    )


def _zttp(request: Request) -> Code:
    import zttp

    connection = zttp.Connection(zttp.SERVER)
    decoded = "(name.decode('latin-1'), value.decode('latin-1'))"
    finish = "start_next_cycle()"
    if request.body_size:
        finish = (
            "parts = []\n"
            "while type(event := next_event()) is Data: parts.append(event.data)\n"
            "body = b''.join(parts)\n" + finish
        )
    return Code(
        {
            "Data": zttp.Data,
            "body": b"",
            "next_event": connection.next_event,
            "receive_event": connection.receive_event,
            "start_next_cycle": connection.start_next_cycle,
        },
        "request = receive_event({piece})",
        f"pairs = [{decoded} for name, value in request.headers]",
        "len(body)",
        finish=finish,
    )


def _tornado(request: Request) -> Code:
    from tornado.httputil import HTTPHeaders, HTTPServerRequest, parse_request_start_line

    # What Tornado's HTTP1Connection does with a head, from its bytes to the request.
    return Code(
        {
            "HTTPHeaders": HTTPHeaders,
            "HTTPServerRequest": HTTPServerRequest,
            "parse_request_start_line": parse_request_start_line,
        },
        "head = {piece}.decode('latin-1').lstrip('\\r\\n')",
        "pairs = list(request.headers.get_all())",
        "len(request.body)",
        finish="end = head.find('\\n')\n"
        "line = parse_request_start_line(head[:end].rstrip('\\r'))\n"
        "request = HTTPServerRequest(start_line=line, headers=HTTPHeaders.parse(head[end:]))",
    )


def _our_exchange(request: Request) -> Code:
    from benchmarks.exchange import callback

    return _exchange(*callback("hello").connection())


def _our_respond(request: Request) -> Code:
    from benchmarks.exchange import callback

    return _exchange(*callback("respond").connection())


def _our_logged_exchange(request: Request) -> Code:
    from benchmarks.exchange import callback

    return _exchange(*callback("hello", os.devnull).connection())


def _limit_exchange(request: Request) -> Code:
    from benchmarks.exchange import limit_protocol

    return _exchange(*limit_protocol())


def _in_turns(make: str, *arguments: str) -> Callable[[Request], Code]:
    """What may take a few turns of the loop to be answered."""

    def code(request: Request) -> Code:
        from benchmarks import exchange

        served = getattr(exchange, make)(*arguments)
        names = {"exchange": served.exchange, "sink": served.connection()[1]}
        return Code(names, "exchange({piece})", "pass", "0")

    return code


def _new_connection(request: Request) -> Code:
    from benchmarks.exchange import callback

    served = callback("hello")
    names = {"connect": served.connect, "sink": served.connection()[1]}
    return Code(names, "connect({piece})", "pass", "0")


def _exchange(protocol: Any, sink: Any) -> Code:
    names = {"data_received": protocol.data_received, "sink": sink}
    return Code(names, "data_received({piece})", "pass", "0")


_WHOLE = ("whole",)

PARSERS = {
    "ours": Parser("fasthttpserver", "ours", None, _ours, ("request", "headers", "attributes")),
    "ours-headers": Parser("fasthttpserver, HTTPHeaders", "ours", None, _our_headers, ("headers",)),
    "raw-llhttp": Parser("llhttp alone, in C", "limit", None, None, ("request",)),
    "httptools": Parser("httptools", "peer", "httptools", _httptools),
    "aiohttp": Parser("aiohttp's C parser", "peer", "aiohttp", _aiohttp),
    "zttp": Parser("zttp", "peer", "zttp", _zttp),
    "h11": Parser("h11", "peer", "h11", _h11),
    "tornado": Parser("tornado", "peer", "tornado", _tornado, ("attributes",)),
    "ours-exchange": Parser("fasthttpserver", "ours", None, _our_exchange, ("exchange",)),
    "ours-respond": Parser(
        "fasthttpserver, request.respond", "ours", None, _our_respond, ("exchange",)
    ),
    "ours-logged": Parser(
        "fasthttpserver, access log", "ours", None, _our_logged_exchange, ("exchange",)
    ),
    "ours-coroutine": Parser(
        "fasthttpserver, async def", "ours", None, _in_turns("callback", "coroutine"), _WHOLE
    ),
    "ours-connect": Parser(
        "fasthttpserver, a connection for each request", "ours", None, _new_connection, _WHOLE
    ),
    "ours-tls": Parser(
        "fasthttpserver, TLS, with its client", "ours", None, _in_turns("tls"), _WHOLE
    ),
    "ours-asgi": Parser("fasthttpserver, ASGI", "ours", None, _in_turns("asgi_door"), _WHOLE),
    "ours-wsgi": Parser(
        "fasthttpserver, WSGI in the loop", "ours", None, _in_turns("wsgi_door"), _WHOLE
    ),
    "ours-tornado": Parser(
        "fasthttpserver, tornado.web", "ours", "tornado", _in_turns("tornado_door"), _WHOLE
    ),
    "limit-exchange": Parser(
        "limit, a constant for each read", "limit", None, _limit_exchange, ("exchange",)
    ),
}
