"""The HTTP server: its options, its connections, and their end."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import math
import socket
import ssl
from collections import deque
from collections.abc import Callable, Iterable
from contextvars import copy_context
from typing import Any
from weakref import WeakSet

from fasthttpserver._http.networks import parse_networks, parse_peers
from fasthttpserver._net import processes as process
from fasthttpserver._net.accepting import DESCRIPTORS
from fasthttpserver._net.ioloop import IOLoop
from fasthttpserver._net.streams import IOStream
from fasthttpserver._net.tcpserver import TELLING, TCPServer
from fasthttpserver._server.access import AccessLog, as_access_log
from fasthttpserver._server.access_record import AccessRecord
from fasthttpserver._server.applications import check_callback
from fasthttpserver._server.client_certificates import RefusingDelegate, refusing
from fasthttpserver._server.connection import HTTPConnection
from fasthttpserver._server.counters import Counters
from fasthttpserver._server.debug import BlockWatch, Debugging
from fasthttpserver._server.decompress import DecompressingDelegate, decompressing
from fasthttpserver._server.persistence import ANNOUNCING, LAST_CALL
from fasthttpserver._server.request import HTTPRequest, RequestCallback
from fasthttpserver._server.settings import OnRefusal, Settings
from fasthttpserver._server.shutdown import drain_on_sigterm
from fasthttpserver._server.streaming import CallbackDelegate
from fasthttpserver.httputil import HTTPServerConnectionDelegate
from fasthttpserver.limits import Limits, Rule, check_number

__all__ = ["HTTPServer", "counters_of"]

# Connections over the limit that are open for their 503 to be read: as many as may be
# accepted in one go.
_MAX_TURNED_AWAY = 128

_DEFAULTS = Limits()
_CHUNK_SIZE = Rule(0, math.inf, whole=True, optional=True)
_SECONDS = Rule(0, math.inf)
_SECONDS_OR_NONE = _SECONDS._replace(optional=True)
# What comes before an end has to be over at some time.
_PAUSE = Rule(0, 86_400.0)


def _in_own_context(callback: RequestCallback) -> RequestCallback:
    """Wrap a callback so that no context variable that it sets outlives its call."""

    @functools.wraps(callback)
    def isolated(request: HTTPRequest) -> object:
        return copy_context().run(callback, request)

    return isolated


class HTTPServer(TCPServer):
    """A non-blocking, single-threaded HTTP/1.1 server.

    The callback is called with each ``HTTPRequest``, whole, and writes the response with
    ``request.write`` exactly as it goes on the wire; ``request.finish`` ends it. So a
    response has to be framed by the application, with Content-Length or chunked. One that
    cannot do so sends ``Connection: close`` and passes ``no_keep_alive=True``.

    Args:
        request_callback: Called with an ``HTTPRequest``; may be an ``async def``. Or a delegate,
            an object with ``start_request`` as ``httputil.HTTPServerConnectionDelegate`` has it:
            it gets requests in pieces.
        no_keep_alive: Close each connection after one response.
        io_loop: The loop to serve on, see ``TCPServer``.
        xheaders: Take the client's address and protocol from X-Real-Ip, X-Forwarded-For,
            X-Scheme and X-Forwarded-Proto. Only behind a proxy that sets them.
        ssl_options: Serve HTTPS, see ``TCPServer``.
        protocol: ``https`` if a proxy in front decrypts and does not say so.
        max_buffer_size: The largest body in bytes, as in Tornado 3; ``max_body_size`` is
            the name since Tornado 4.
        require_host: Refuse an HTTP/1.1 request without Host (RFC 9112 section 3.2).
        decompress_request: Unpack bodies with ``Content-Encoding: gzip``, those in pieces too.
        trusted_downstream: Addresses and networks of proxies that may stand in
            X-Forwarded-For, as strings such as ``10.0.0.0/8``. Given them, X-Real-Ip and
            X-Scheme count only where X-Forwarded-For and X-Forwarded-Proto are missing.
        trusted_peers: Who is believed with ``xheaders`` at all: addresses and networks, ``unix``
            for everybody on a Unix socket, ``*`` for everybody. None for ``*``, as in Tornado.
        client_cert_header: Have ``request.get_ssl_certificate()`` return what proxies in
            ``trusted_peers``, which are needed then, tell in Client-Cert (RFC 9440). That field
            from anybody else is refused.
        proxy_protocol: Proxies that begin each connection with a PROXY header, see ``TCPServer``.
            What X-Forwarded-For says comes on top of that.
        chunk_size: Bytes of a piece in which a body is delivered to delegates and by
            ``request.stream()``, at most; None and 0 for 64 KiB. Callbacks get it whole otherwise.
        access_log: Log each exchange: True or ``common``, ``combined``, ``json``, a format with
            gunicorn's atoms, or a function that makes the line of an ``AccessRecord`` and the
            client's address; a logger of the logging module; or an ``AccessLog``, which
            may have a file. The lines go to the logger ``fasthttpserver.access``, or to stderr
            where nobody has set up the logging.
        check_responses: Check that a response which the application frames itself ends where its
            client will see the end: a body shorter or longer than its Content-Length, for
            instance, gives the next response to the wrong request. What is wrong is logged
            as an ERROR, and the connection closed before the next response.
        stream_request_body: Run the callback when the head of a request is complete;
            ``request.stream()`` and ``request.read()`` give it the body, and its client has to
            wait while nobody reads.
        isolate_context: Run each call of a plain callback in a copy of the context. Otherwise
            context variables that it sets are seen by the next request of the connection,
            which behind a proxy is another client's. What is awaited has a context of its
            own in any case.
        on_refusal: Called with the ``HTTPInputError`` that refuses a request and the client's
            address, in the place of the line in the log. What it returns, a whole response as
            bytes, is sent before the connection closes; None for the usual answer.
        shutdown_delay: Seconds for which ``drain`` goes on accepting clients, so that a load
            balancer sees that this server is about to end before it refuses anybody.
        debug: Development mode. A WARNING tells, with its name and place, of an ``async def``
            that has returned without ``finish()``, of a request that is not answered after 5 s
            and of code that has blocked the loop for more than 100 ms; the error about a wrong
            framing says more. Not for production, since it costs time.
        max_header_size: Bytes of request line and header block together.
        max_request_line: Bytes of the request line.
        max_field_size: Bytes of one header field.
        max_header_count: Header fields of a request.
        max_body_size: Bytes of a body; None for ``max_buffer_size``, or 100 MiB.
        header_timeout: Seconds for a request's header block; None is off.
        body_stall_timeout: Seconds of silence inside a body; None is off.
        body_min_rate: Bytes a second that a body has to come at; None and 0 are off.
        body_grace: Seconds before that is judged.
        body_timeout: Seconds for a whole body; None is off.
        idle_connection_timeout: Seconds between requests. None and 0 are the default, as in
            Tornado; ``math.inf`` is off.
        write_timeout: Seconds in which a client takes nothing of what waits for it; None
            is off.
        tls_handshake_timeout: Seconds for a TLS handshake, and as many for a PROXY header.
        read_ahead: Bytes that may wait unread while a request runs.
        linger_silence: Seconds of silence after which a refused client's connection is closed.
        linger_timeout: Seconds after which it is closed in any case.
        max_connections: Connections at a time; None is off.

    Raises:
        TypeError: An argument is unknown, or of the wrong type.
        ValueError: One is out of its range; for limits see ``docs/limits.md``.
        KeyError: ``ssl_options`` has no ``certfile``.
    """

    _tls_protocols = ("http/1.1",)

    def __init__(
        self,
        request_callback: RequestCallback | HTTPServerConnectionDelegate,
        no_keep_alive: bool = False,
        io_loop: Any = None,
        xheaders: bool = False,
        ssl_options: dict[str, Any] | ssl.SSLContext | None = None,
        protocol: str | None = None,
        *,
        max_buffer_size: int | None = None,
        require_host: bool = True,
        decompress_request: bool = False,
        trusted_downstream: Iterable[str] | None = None,
        trusted_peers: Iterable[str] | None = None,
        client_cert_header: bool = False,
        proxy_protocol: Iterable[str] | None = None,
        chunk_size: int | None = None,
        access_log: bool
        | str
        | Callable[[AccessRecord, str], str]
        | logging.Logger
        | AccessLog
        | None = None,
        check_responses: bool = True,
        stream_request_body: bool = False,
        isolate_context: bool = False,
        on_refusal: OnRefusal | None = None,
        shutdown_delay: float = 0.0,
        debug: bool = False,
        max_header_size: int = 65_536,
        max_request_line: int = 8190,
        max_field_size: int = 16_384,
        max_header_count: int = 100,
        max_body_size: int | None = None,
        header_timeout: float | None = 60.0,
        body_stall_timeout: float | None = 60.0,
        body_min_rate: float | None = 240.0,
        body_grace: float = 10.0,
        body_timeout: float | None = None,
        idle_connection_timeout: float | None = 75.0,
        write_timeout: float | None = 60.0,
        tls_handshake_timeout: float = 10.0,
        read_ahead: int = 65_536,
        linger_silence: float = 2.0,
        linger_timeout: float = 10.0,
        max_connections: int | None = None,
    ) -> None:
        check_callback(request_callback)
        is_delegate = hasattr(request_callback, "start_request")
        if not (protocol is None or isinstance(protocol, str)):
            raise TypeError(f"protocol must be a str or None, not {type(protocol).__name__}")
        if protocol and protocol not in ("http", "https"):
            raise ValueError(f"protocol must be 'http' or 'https', not {protocol!r}")
        if client_cert_header and trusted_peers is None:
            raise ValueError("client_cert_header needs trusted_peers, whose word is to be taken")
        check_number("chunk_size", chunk_size, _CHUNK_SIZE)
        check_number("shutdown_delay", shutdown_delay, _PAUSE)
        super().__init__(io_loop, ssl_options, max_buffer_size, proxy_protocol=proxy_protocol)
        if max_body_size is None:
            max_body_size = _DEFAULTS.max_body_size if max_buffer_size is None else max_buffer_size
        check_number("idle_connection_timeout", idle_connection_timeout, _SECONDS_OR_NONE)
        if not idle_connection_timeout:  # Tornado's words for the default
            idle_connection_timeout = _DEFAULTS.idle_connection_timeout
        self.limits = Limits(
            max_header_size=max_header_size,
            max_request_line=max_request_line,
            max_field_size=max_field_size,
            max_header_count=max_header_count,
            max_body_size=max_body_size,
            header_timeout=header_timeout,
            body_stall_timeout=body_stall_timeout,
            body_min_rate=body_min_rate,
            body_grace=body_grace,
            body_timeout=body_timeout,
            idle_connection_timeout=idle_connection_timeout,
            write_timeout=write_timeout,
            tls_handshake_timeout=tls_handshake_timeout,
            read_ahead=read_ahead,
            linger_silence=linger_silence,
            linger_timeout=linger_timeout,
            max_connections=max_connections,
        )
        self.request_callback = request_callback
        callback: Any = request_callback
        delegate: Any = request_callback if is_delegate else None
        if isolate_context:
            callback = _in_own_context(callback)
        debugging = Debugging(request_callback) if debug else None
        if debugging is not None and delegate is None:
            callback = debugging.callback(callback)
        elif debugging is not None:
            delegate = debugging.delegate(delegate)
        chunk_size = chunk_size or 65_536
        if delegate is None and stream_request_body:
            delegate = CallbackDelegate(callback)
        if decompress_request and delegate is not None:
            delegate = DecompressingDelegate(delegate, chunk_size, self.limits.max_body_size)
        elif decompress_request:
            callback = decompressing(callback, self.limits.max_body_size)
        if client_cert_header and delegate is not None:
            delegate = RefusingDelegate(delegate)
        elif client_cert_header:
            callback = refusing(callback)
        self.require_host = require_host
        self._settings = Settings(
            callback,
            no_keep_alive=no_keep_alive,
            xheaders=xheaders,
            protocol=protocol,
            limits=self.limits,
            require_host=require_host,
            trusted=parse_networks(trusted_downstream or ()),
            trusted_peers=None if trusted_peers is None else parse_peers(trusted_peers),
            client_cert_header=client_cert_header,
            access_log=as_access_log(access_log),
            check_responses=check_responses,
            delegate=delegate,
            chunk_size=chunk_size,
            decompress=decompress_request,
            on_refusal=on_refusal,
            explain=None if debugging is None else debugging.explain,
            connected=self._connected,
        )
        self._settings.max_buffer_size = self.max_buffer_size
        self._tls_handshake_timeout = tls_handshake_timeout
        if max_connections is not None:
            self._max_handshakes = max(max_connections, _MAX_TURNED_AWAY)
        self._debug = debug
        self._block_watch: BlockWatch | None = None
        # Whether somebody else wants the stream first; then HTTP is served when he says so.
        self._streams = type(self).handle_stream is not HTTPServer.handle_stream
        self._shutdown_delay = shutdown_delay
        self._draining = False
        self._delay_over = asyncio.Event()
        self._turned_away: deque[HTTPConnection] = deque()
        # Those for which there was no file descriptor; None while there was one for each.
        self._without_room: WeakSet[HTTPConnection] | None = None

    @property
    def no_keep_alive(self) -> bool:
        """Whether each connection is closed after one response; may be assigned."""
        return self._settings.no_keep_alive

    @no_keep_alive.setter
    def no_keep_alive(self, value: bool) -> None:
        self._settings.no_keep_alive = value

    @property
    def xheaders(self) -> bool:
        """Whether a proxy's fields are believed; may be assigned."""
        return self._settings.xheaders

    @xheaders.setter
    def xheaders(self, value: bool) -> None:
        self._settings.xheaders = value

    @property
    def protocol(self) -> str | None:
        """What ``request.protocol`` is to be; may be assigned."""
        return self._settings.protocol

    @protocol.setter
    def protocol(self, value: str | None) -> None:
        self._settings.protocol = value

    def add_sockets(self, sockets: Iterable[socket.socket]) -> None:
        """Serve listening sockets, as ``netutil.bind_sockets`` returns them.

        In a forked worker SIGTERM drains the server from now on and then stops the loop,
        unless the application handles that signal by itself.
        """
        super().add_sockets(sockets)
        if self._debug and self._block_watch is None:
            assert self._loop is not None
            self._block_watch = BlockWatch(self._loop)
        self._settings.io_loop = self.io_loop
        if process.task_id() is not None and isinstance(self.io_loop, IOLoop):
            drain_on_sigterm(self, self.io_loop)

    def stop(self) -> None:
        super().stop()
        watch, self._block_watch = self._block_watch, None
        if watch is not None:
            watch.end()

    def handle_stream(self, stream: IOStream, address: Any) -> None:
        """Serve HTTP on a stream; to be called by those that override it."""
        self._settings.io_loop = stream.io_loop
        HTTPConnection.on_stream(self._settings, stream, address)

    def new_protocol(
        self, loop: asyncio.AbstractEventLoop, address: Any, room: bool = True
    ) -> asyncio.Protocol:
        if self._streams:
            return super().new_protocol(loop, address, room)
        connection = HTTPConnection.of_server(self._settings, loop, address)
        if not room:
            if self._without_room is None:
                self._without_room = WeakSet()
            self._without_room.add(connection)
        return connection

    def _connected(self, connection: HTTPConnection) -> None:
        """Serve a new connection, or tell it that there is no room."""
        if self._without_room is not None and connection in self._without_room:
            self._turn_away(connection, min(_MAX_TURNED_AWAY, DESCRIPTORS.kept // TELLING))
        elif self.limits.max_connections is not None and self._is_full(self.limits.max_connections):
            self._turn_away(connection, _MAX_TURNED_AWAY)
        elif self._draining:
            connection.drain(ANNOUNCING)

    def _is_full(self, limit: int) -> bool:
        """Whether there are too many with a new one, after making room if that can be done."""
        pool = self._settings.pool
        if len(pool) - len(pool.turned_away) <= limit:
            return False
        longest_idle = self._settings.eviction.longest_idle()
        if longest_idle is None:
            return True
        self._settings.counters.add("evictions")
        longest_idle.close_idle()
        return False

    def _count_connections(self) -> int:
        return super()._count_connections() + len(self._settings.pool)

    def _evict_idle(self) -> bool:
        longest_idle = self._settings.eviction.longest_idle()
        if longest_idle is None:
            return False
        self._settings.counters.add("evictions")
        # Not close_idle(): TLS would wait for the client's word, and keep the descriptor.
        longest_idle.abort()
        return True

    def _connect_failed(self, connection: socket.socket, address: Any, error: OSError) -> None:
        super()._connect_failed(connection, address, error)
        if self.ssl_options is not None:
            self._settings.counters.add("tls_handshake_failures")

    def _refuse(self, connection: socket.socket, why: str) -> None:
        super()._refuse(connection, why)
        self._settings.counters.add("refused_connections")

    def _turn_away(self, connection: HTTPConnection, most: int) -> None:
        connection.refuse_service("Too many connections")
        self._settings.pool.turned_away.add(connection)
        self._turned_away.append(connection)
        while len(self._turned_away) > most:
            # Its reply was sent before those of all others.
            self._turned_away.popleft().abort()

    @property
    def requests(self) -> int:
        """How many requests were answered in this process; ``stats()`` tells more, for more."""
        return self._settings.counters.requests

    def stats(self) -> dict[str, Any]:
        """Count what this server has done in this process.

        It costs little, however many connections there are, and is exact when it is asked for.

        Returns:
            ``started``: when, in seconds since the epoch. ``connections``: a dict of those
            ``accepted`` ever, ``active`` now (with a request or a part of one) and ``idle``
            now. ``refused_connections``: how many were closed as ``proxy_protocol`` demands,
            and are not among these. ``requests``: how many were answered, ``in_flight``: how
            many are not yet, ``cut``: of how many the connection was lost before all of the
            response was sent.
            ``responses`` by class of status, ``2xx`` to ``5xx``. ``durations``: how many
            requests took so many seconds, from the end of the head to ``finish``, by the upper
            bound of each class as a string, ``inf`` the last one; ``seconds``: all of them
            together. ``bytes_received`` and ``bytes_sent``, without TLS. ``refusals`` by
            status code. ``timeouts`` by what was waited for, see ``docs/limits.md``.
            ``tls_handshake_failures``. ``evictions``: connections that were closed to make
            room. ``aborts``: connections that were closed at once. ``resident_memory``: of
            this process, in bytes; None where the system does not tell.
        """
        return self._settings.counters.stats()

    async def close_all_connections(self) -> None:
        """Close every connection at once, and wait until they are closed."""
        await self._stop_connecting()
        pool = self._settings.pool
        for connection in pool:
            connection.abort()
        await pool.wait_empty()
        self._stopped()

    @property
    def is_draining(self) -> bool:
        """Whether ``drain`` was called: clients should go elsewhere, though they are served."""
        return self._draining

    async def drain(
        self, timeout: float = 30.0, grace: float = 1.0, *, delay: float | None = None
    ) -> dict[str, int]:
        """Stop serving without losing an answer.

        After the delay nothing new is accepted. Requests that run go on. Connections without
        a request are served on for the grace time, so that a request which is on its way is
        answered, and then closed. From the beginning on, responses that the server frames say
        ``Connection: close``; an application that writes its own head finds
        ``request.connection.no_keep_alive`` true and should say so.

        Args:
            timeout: Seconds, after the delay, after which what still runs is aborted.
            grace: Seconds, after the delay, for which connections without a request stay open.
            delay: Seconds for which clients are accepted as before; None for the server's
                ``shutdown_delay``. A later call with 0 ends the delay of one before.

        Returns:
            How many requests were ``served`` in the time, and how many connections were
            ``closed`` in good order and ``aborted`` because time was over.

        Raises:
            TypeError: A time is not a number.
            ValueError: A time is negative, or not a number (NaN); or grace or delay are more
                than a day.
        """
        check_number("timeout", timeout, _SECONDS)
        check_number("grace", grace, _PAUSE)
        check_number("delay", delay, _PAUSE._replace(optional=True))
        if delay is None:
            delay = self._shutdown_delay
        self._draining = True
        pool, counters = self._settings.pool, self._settings.counters
        requests = counters.requests
        closed = counters["closed"]
        for connection in pool:
            connection.drain(ANNOUNCING)
        if delay:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._delay_over.wait()
        self._delay_over.set()
        self.accept_waiting()
        self.stop()
        await self._wait_gone(min(grace, timeout))
        for _ in range(3):  # what came while the loop was busy is read first
            await asyncio.sleep(0)
        await self._stop_connecting()  # handshakes that take longer
        for connection in pool:
            connection.drain(LAST_CALL)
        await self._wait_gone(timeout - grace)
        aborted = sum([connection.cut() for connection in pool])
        await pool.wait_empty()
        self._stopped()
        return {
            "served": counters.requests - requests,
            "closed": counters["closed"] - closed - aborted,
            "aborted": aborted,
        }

    def _stopped(self) -> None:
        if self._settings.access_log is not None:
            self._settings.access_log.flush()
        # What was written for Tornado has no such method.
        on_stop = getattr(self._settings.delegate, "on_stop", None)
        if on_stop is not None:
            on_stop()

    async def _wait_gone(self, timeout: float) -> None:
        """Wait until no connection is left or being made, or for `timeout` seconds."""
        pool = self._settings.pool
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        while self._connecting or pool:
            left = end - loop.time()
            if left <= 0:
                return
            if self._connecting:
                await asyncio.wait(self._connecting, timeout=left)
            else:
                await pool.wait_empty(left)


def counters_of(server: HTTPServer) -> Counters:
    """Return where a server counts, for callers that move them."""
    return server._settings.counters
