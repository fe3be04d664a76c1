"""A door for Tornado 6: its applications on this server, unchanged, WebSocket included.

``install()`` before the application starts, and every ``tornado.httpserver.HTTPServer`` that is
made from then on is this module's::

    import fasthttpserver.tornado

    fasthttpserver.tornado.install()
    tornado.web.Application([...]).listen(8888)

Or make one: ``fasthttpserver.tornado.HTTPServer(application, max_connections=1000)``. It needs
Tornado 6.5 or later (``fasthttpserver-llhttp[tornado]``), and runs on Tornado's ``IOLoop``,
whichever asyncio loop is below that.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Iterable, Iterator
from typing import Any

import tornado.httpserver
import tornado.httputil
import tornado.iostream
from tornado.ioloop import IOLoop
from tornado.log import gen_log
from tornado.routing import AnyMatches, Rule, RuleRouter

from fasthttpserver import errors, httpserver, httputil, log

__all__ = [
    "HTTPInputError",
    "HTTPOutputError",
    "HTTPServer",
    "StreamClosedError",
    "UnsatisfiableReadError",
    "install",
    "uninstall",
]

# Tornado's default. There it bounds each line of a head as well, since nothing else does.
_MAX_HEADER_SIZE = 65_536


# --- What Tornado's code and its applications catch -----------------------------------------


class HTTPInputError(errors.HTTPInputError, tornado.httputil.HTTPInputError):
    """A client sent something that is refused."""


class HTTPOutputError(errors.HTTPOutputError, tornado.httputil.HTTPOutputError):
    """A response does not keep the framing that it announced."""


class StreamClosedError(errors.StreamClosedError, tornado.iostream.StreamClosedError):
    """The stream was closed before what was asked of it could be done."""


class UnsatisfiableReadError(
    errors.UnsatisfiableReadError, tornado.iostream.UnsatisfiableReadError
):
    """A read cannot end: the piece that it waits for is longer than may be buffered."""


def _speak_tornado() -> None:
    """Raise and log what Tornado's applications expect, in this process, from now on."""
    errors.raise_as(errors.HTTPInputError, HTTPInputError)
    errors.raise_as(errors.HTTPOutputError, HTTPOutputError)
    errors.raise_as(errors.StreamClosedError, StreamClosedError)
    errors.raise_as(errors.UnsatisfiableReadError, UnsatisfiableReadError)
    log.redirect("tornado")


# --- The server -----------------------------------------------------------------------------


class HTTPServer(tornado.httpserver.HTTPServer):
    """Tornado's ``HTTPServer``, with this library's parser and connections.

    As in Tornado, subclasses override ``initialize`` and not ``__init__``. ``handle_stream`` is
    not called: nothing is between a client and its connection.

    Args:
        request_callback: A ``tornado.web.Application``, another
            ``tornado.httputil.HTTPServerConnectionDelegate``, or a function of an
            ``HTTPServerRequest``.
        no_keep_alive: This and the following as in Tornado.
        options: Those of ``fasthttpserver.httpserver.HTTPServer`` that Tornado has not:
            limits, deadlines, the access log.

    Attributes:
        engine: The ``fasthttpserver.httpserver.HTTPServer`` below.
    """

    engine: httpserver.HTTPServer

    def initialize(
        self,
        request_callback: Any,
        no_keep_alive: bool = False,
        xheaders: bool = False,
        ssl_options: dict[str, Any] | ssl.SSLContext | None = None,
        protocol: str | None = None,
        decompress_request: bool = False,
        chunk_size: int | None = None,
        max_header_size: int | None = None,
        idle_connection_timeout: float | None = None,
        body_timeout: float | None = None,
        max_body_size: int | None = None,
        max_buffer_size: int | None = None,
        trusted_downstream: list[str] | None = None,
        **options: Any,
    ) -> None:
        common: dict[str, Any] = {
            "no_keep_alive": no_keep_alive,
            "xheaders": xheaders,
            "ssl_options": ssl_options,
            "protocol": protocol,
            "decompress_request": decompress_request,
            "chunk_size": chunk_size,
            "idle_connection_timeout": idle_connection_timeout,
            "body_timeout": body_timeout,
            "max_body_size": max_body_size,
            "max_buffer_size": max_buffer_size,
            "trusted_downstream": trusted_downstream,
        }
        super().initialize(request_callback, max_header_size=max_header_size, **common)
        if isinstance(request_callback, tornado.httputil.HTTPServerConnectionDelegate):
            self._delegate = request_callback
        else:
            self._delegate = RuleRouter([Rule(AnyMatches(), request_callback)])
        size = max_header_size or _MAX_HEADER_SIZE
        for name in "max_header_size", "max_request_line", "max_field_size":
            options.setdefault(name, size)
        if idle_connection_timeout:  # Tornado's is for waiting and for reading the head
            options.setdefault("header_timeout", min(idle_connection_timeout, 60.0))
        options.setdefault("on_refusal", _refuse)
        door = _Door(self, request_callback, bool(options.get("client_cert_header")))
        self.engine = httpserver.HTTPServer(door, **common, **options)
        _speak_tornado()

    # --- Tornado's methods

    def add_sockets(self, sockets: Iterable[socket.socket]) -> None:
        if self.engine.io_loop is None:
            self.engine.io_loop = IOLoop.current()
        sockets = list(sockets)
        self.engine.add_sockets(sockets)
        for sock in sockets:
            self._sockets[sock.fileno()] = sock
            # For no event, but so that IOLoop.close(all_fds=True) closes it.
            self.engine.io_loop.add_handler(sock, _never_called, 0)

    def stop(self) -> None:
        self._forget_sockets()
        self.engine.stop()

    def _forget_sockets(self) -> None:
        self._stopped = True
        sockets, self._sockets = self._sockets, {}
        for sock in sockets.values():
            self.engine.io_loop.remove_handler(sock)

    async def close_all_connections(self) -> None:
        await self.engine.close_all_connections()

    def start_request(
        self, server_conn: object, request_conn: Any
    ) -> tornado.httputil.HTTPMessageDelegate:
        return self._delegate.start_request(server_conn, request_conn)

    def on_close(self, server_conn: object) -> None:
        self._delegate.on_close(server_conn)

    # --- Ours

    async def drain(
        self, timeout: float = 30.0, grace: float = 1.0, *, delay: float | None = None
    ) -> dict[str, int]:
        """Stop serving without losing an answer; see ``httpserver.HTTPServer.drain``."""
        self._forget_sockets()
        return await self.engine.drain(timeout, grace, delay=delay)

    def stats(self) -> dict[str, Any]:
        """Count what this server has done; see ``httpserver.HTTPServer.stats``."""
        return self.engine.stats()


def _never_called(sock: socket.socket, events: int) -> None:
    """Stand for a socket that the engine listens to."""


# --- Requests on their way to Tornado -------------------------------------------------------


class _Door(httputil.HTTPServerConnectionDelegate):
    """Hands the engine's requests to a server's delegate.

    Args:
        server: Has the delegate.
        application: What is served.
        certified: Whether proxies tell the certificates of clients.
    """

    def __init__(self, server: HTTPServer, application: Any, certified: bool) -> None:
        self._server = server
        self._certified = certified
        self.__wrapped__ = application  # for inspect.unwrap(), as warnings name it

    def start_request(self, server_conn: object, request_conn: Any) -> _Message:
        if self._certified:
            request_conn = _Certified(request_conn)
        return _Message(self._server.start_request(server_conn, request_conn))

    def on_close(self, server_conn: object) -> None:
        self._server.on_close(server_conn)


class _View:
    """Something as it is, but for some attributes."""

    def __init__(self, target: Any, **others: Any) -> None:
        self._target = target
        self.__dict__.update(others)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target, name)


class _Certified(_View):
    """The connection of a request whose certificate a proxy may tell.

    ``get_ssl_certificate()`` of Tornado's request asks ``connection.stream.socket``.
    """

    @property
    def stream(self) -> Any:
        stream = self._target.stream
        certificate_of = self._target.request.get_ssl_certificate
        return _View(stream, socket=_View(stream.socket, getpeercert=certificate_of))


class _Message(httputil.HTTPMessageDelegate):
    """Tells Tornado's delegate of one request, in Tornado's terms."""

    def __init__(self, message: tornado.httputil.HTTPMessageDelegate) -> None:
        self._message = message

    def headers_received(
        self, start_line: httputil.RequestStartLine, headers: httputil.HTTPHeaders
    ) -> Awaitable[None] | None:
        try:
            taken = self._message.headers_received(
                tornado.httputil.RequestStartLine(*start_line), _Headers(headers)
            )
        except tornado.httputil.HTTPInputError as error:
            raise _in_our_terms(error) from None
        return None if taken is None else _taken(taken)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        try:
            taken = self._message.data_received(chunk)
        except tornado.httputil.HTTPInputError as error:
            raise _in_our_terms(error) from None
        return None if taken is None else _taken(taken)

    def finish(self) -> None:
        try:
            self._message.finish()
        except tornado.httputil.HTTPInputError as error:
            raise _in_our_terms(error) from None

    def on_connection_close(self) -> None:
        self._message.on_connection_close()


async def _taken(taken: Awaitable[None]) -> None:
    """Wait until the application has taken something."""
    try:
        await taken
    except tornado.httputil.HTTPInputError as error:
        raise _in_our_terms(error) from None


def _in_our_terms(error: tornado.httputil.HTTPInputError) -> HTTPInputError:
    return error if isinstance(error, HTTPInputError) else _Refused(str(error))


class _Refused(HTTPInputError):
    """An application refuses a request.

    Args:
        text: It may have bytes of the client's: it gets into the log, and not into an answer.
    """

    def __init__(self, text: str) -> None:
        super().__init__(_MALFORMED)
        self.text = text


class _Headers(tornado.httputil.HTTPHeaders):
    """Header fields of a request under Tornado's class.

    The parser has checked them, and made no object for each yet. Tornado's class would do both.
    """

    def __init__(self, headers: httputil.HTTPHeaders) -> None:
        self._headers = headers

    def add(self, name: str, value: str, **_: Any) -> None:
        self._headers.add(name, value)

    def get(self, name: str, default: Any = None) -> Any:
        return self._headers.get(name, default)

    def get_list(self, name: str) -> list[str]:
        return self._headers.get_list(name)

    def get_all(self) -> Iterable[tuple[str, str]]:
        return self._headers.get_all()

    def __setitem__(self, name: str, value: str) -> None:
        self._headers[name] = value

    def __contains__(self, name: object) -> bool:
        return name in self._headers

    def __getitem__(self, name: str) -> str:
        return self._headers[name]

    def __delitem__(self, name: str) -> None:
        del self._headers[name]

    def __len__(self) -> int:
        return len(self._headers)

    def __iter__(self) -> Iterator[str]:
        return iter(self._headers)


# --- Requests that are refused --------------------------------------------------------------

_MALFORMED = "Malformed HTTP message"
# Tornado answers all that it refuses with this line, and closes.
_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\n\r\n"


def _refuse(error: errors.HTTPInputError, address: Any) -> bytes | None:
    """Log and answer as Tornado does, where it does."""
    client = address[0] if isinstance(address, tuple) else address
    if error.status == 408:
        gen_log.info("%s from %s", error.reason, client)
        return None
    if error.status == 431:
        gen_log.info("Unsatisfiable read, closing connection: %s", error.reason)
        return None
    reason = error.text if isinstance(error, _Refused) else _in_words_of_tornado(error)
    gen_log.info("%s from %s: %s", _MALFORMED, client, reason)
    return _BAD_REQUEST


# What Tornado says, for which words of ours it is said, and where there is more than one thing
# that it may say, all of that: people search logs for it.
_LOGGED = {
    "Content-Length too long, or chunked body too large": ["Body is too large"],
    "decompressed body too large": ["Decompressed body is too large"],
    "invalid gzip data": ["Invalid gzip data in body", "Truncated gzip data in body"],
    "Malformed HTTP request line": [
        "Invalid method",
        "Invalid request target",
        "Method is too long",
        "Request line has no HTTP version",
        "Request line is not split by single spaces",
        "Request line is too long",
    ],
    "Message with both Transfer-Encoding and Content-Length": [
        "Content-Length can't be present with Transfer-Encoding",
        "Transfer-Encoding can't be present with Content-Length",
    ],
    "Multiple host headers not allowed": ["Multiple Host headers"],
    "no colon in header line": ["Invalid header token"],
    "Only integer Content-Length is allowed, or Multiple unequal Content-Lengths": [
        "Invalid character in Content-Length",
    ],
    "Unsupported Transfer-Encoding": [
        "Invalid Transfer-Encoding",
        "Transfer coding is not implemented",
    ],
    "invalid chunk size": ["Chunk size has too many digits", "Invalid character in chunk size"],
}
_WORDS = {ours: theirs for theirs, several in _LOGGED.items() for ours in several}


def _in_words_of_tornado(error: errors.HTTPInputError) -> str:
    where = f" (byte {error.offset})" if error.offset >= 0 else ""
    words = _WORDS.get(error.reason)
    return f"{error.reason}{where}" if words is None else f"{words}: {error.reason}{where}"


# --- In the place of Tornado's --------------------------------------------------------------


def install(**options: Any) -> None:
    """Have every ``tornado.httpserver.HTTPServer`` that is made from now on be this module's.

    Subclasses of Tornado's class stay what they are.

    Args:
        options: For all of them, such as ``max_connections=1000``; those that a server is made
            with count more.
    """
    tornado.httpserver.HTTPServer.configure(HTTPServer, **options)


def uninstall() -> None:
    """Have them be Tornado's own again."""
    tornado.httpserver.HTTPServer.configure(None)
