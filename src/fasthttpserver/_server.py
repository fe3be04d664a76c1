"""Connections come in; an ``HTTPConnection`` with this server's settings is made for each."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import ssl
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from fasthttpserver import process
from fasthttpserver._access import Access, AccessLog
from fasthttpserver._connection import HTTPConnection
from fasthttpserver._decompress import decompressing
from fasthttpserver._forwarded import parse_networks
from fasthttpserver._limits import Limits
from fasthttpserver._parser import RequestParser
from fasthttpserver._request import HTTPRequest, RequestCallback
from fasthttpserver._shutdown import drain_on_sigterm
from fasthttpserver._sweep import Sweep
from fasthttpserver.ioloop import IOLoop
from fasthttpserver.iostream import IOStream
from fasthttpserver.tcpserver import TCPServer

__all__ = ["HTTPServer"]

# Connections over the limit that are open for their 503 to be read: as many as may be
# accepted in one go.
_MAX_TURNED_AWAY = 128

_LIMITS = {field.name for field in dataclasses.fields(Limits)}


class HTTPServer(TCPServer):
    """A non-blocking, single-threaded HTTP/1.1 server.

    The callback is called with each ``HTTPRequest``, whole, and writes the response with
    ``request.write`` exactly as it goes on the wire; ``request.finish`` ends it. So a
    response has to be framed by the application, with Content-Length or chunked. One that
    cannot do so sends ``Connection: close`` and passes ``no_keep_alive=True``.

    Args:
        request_callback: Called with an ``HTTPRequest``; may be an ``async def``.
        no_keep_alive: Close each connection after one response.
        io_loop: The loop to serve on, see ``TCPServer``.
        xheaders: Take the client's address and protocol from X-Real-Ip, X-Forwarded-For,
            X-Scheme and X-Forwarded-Proto. Only behind a proxy that sets them.
        ssl_options: Serve HTTPS, see ``TCPServer``.
        protocol: ``https`` if a proxy in front decrypts and does not say so.
        max_buffer_size: The largest body in bytes, as in Tornado 3; ``max_body_size`` is
            the name since Tornado 4.
        require_host: Refuse an HTTP/1.1 request without Host (RFC 9112 section 3.2).
        decompress_request: Unpack bodies with ``Content-Encoding: gzip``.
        trusted_downstream: Addresses and networks of proxies that may stand in
            X-Forwarded-For, as strings such as ``10.0.0.0/8``. Given them, X-Real-Ip and
            X-Scheme count only where X-Forwarded-For and X-Forwarded-Proto are missing.
        chunk_size: Taken for the sake of code written for Tornado 4 and later, where it
            bounds the pieces that a body is delivered in. Here a body is delivered whole.
        access_log: Log each exchange on the logger ``fasthttpserver.access``: ``common`` or
            ``json``, or a function that makes the line. It costs a part of the speed.
        count_bytes_sent: Have ``stats()`` tell them. It is the one counter that costs
            something with every response.
        limits: Any field of ``fasthttpserver._limits.Limits`` by its name.

    Raises:
        TypeError: An argument is unknown, or of the wrong type.
        ValueError: A limit is out of its range.
        KeyError: ``ssl_options`` has no ``certfile``.
    """

    def __init__(
        self,
        request_callback: RequestCallback,
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
        chunk_size: int | None = None,
        access_log: str | Callable[[Access, str], str] | None = None,
        count_bytes_sent: bool = False,
        **limits: Any,
    ) -> None:
        if not callable(request_callback):
            raise TypeError(f"request_callback must be callable, not {request_callback!r}")
        unknown = sorted(limits.keys() - _LIMITS)
        if unknown:
            raise TypeError(f"HTTPServer() got an unexpected keyword argument {unknown[0]!r}")
        super().__init__(io_loop, ssl_options, max_buffer_size)
        if max_buffer_size is not None:
            limits.setdefault("max_body_size", max_buffer_size)
        # Tornado takes 0 and None for its default here.
        if not limits.get("idle_connection_timeout", 1):
            del limits["idle_connection_timeout"]
        self.limits = Limits(**limits)
        self.request_callback = request_callback
        self._callback = request_callback
        if decompress_request:
            self._callback = decompressing(request_callback, self.limits.max_body_size)
        self._trusted = parse_networks(trusted_downstream or ())
        self._access_log = None if access_log is None else AccessLog(access_log)
        self._count_bytes_sent = count_bytes_sent
        self.no_keep_alive = no_keep_alive
        self.xheaders = xheaders
        self.protocol = protocol
        self.require_host = require_host
        self._new_parser()  # says now what is wrong with a limit
        self._sweep: Sweep[HTTPConnection] | None = None
        self._draining = False
        self._turned_away: deque[HTTPConnection] = deque()

    def _new_parser(self) -> RequestParser[HTTPRequest]:
        limits = self.limits
        return RequestParser(
            max_header_size=limits.max_header_size,
            max_request_line=limits.max_request_line,
            max_field_size=limits.max_field_size,
            max_header_count=limits.max_header_count,
            max_body_size=limits.max_body_size,
            require_host=self.require_host,
            message_class=HTTPRequest,
        )

    def add_sockets(self, sockets: Iterable[socket.socket]) -> None:
        """Serve listening sockets, as ``netutil.bind_sockets`` returns them.

        In a forked worker SIGTERM drains the server from now on and then stops the loop,
        unless the application handles that signal by itself.
        """
        super().add_sockets(sockets)
        if process.task_id() is not None and isinstance(self.io_loop, IOLoop):
            drain_on_sigterm(self, self.io_loop)

    def handle_stream(self, stream: IOStream, address: Any) -> None:
        """Serve HTTP on a new connection."""
        if self._sweep is None:
            self._sweep = Sweep(stream.loop, self.limits)
        if self._count_bytes_sent:
            stream.count_writes(self._sweep.add_sent)
        full = self._is_full(self._sweep)
        connection = HTTPConnection(
            stream,
            address,
            self._callback,
            self.no_keep_alive,
            self.xheaders,
            self.protocol,
            _sweep=self._sweep,
            _parser=self._new_parser(),
            _trusted=self._trusted,
            _access_log=self._access_log,
        )
        if full:
            self._turn_away(connection, self._sweep)
        elif self._draining:
            connection.drain(last_call=False)

    def _is_full(self, sweep: Sweep[HTTPConnection]) -> bool:
        """Whether there is no room for one more, after making some if that can be done."""
        limit = self.limits.max_connections
        if limit is None or len(sweep.connections) - len(sweep.refused) < limit:
            return False
        longest_idle = sweep.longest_idle()
        if longest_idle is None:
            return True
        longest_idle.close_idle()
        return False

    def _turn_away(self, connection: HTTPConnection, sweep: Sweep[HTTPConnection]) -> None:
        connection.refuse_service("Too many connections")
        sweep.refused.add(connection)
        self._turned_away.append(connection)
        if len(self._turned_away) > _MAX_TURNED_AWAY:
            # Its reply was sent before those of all others.
            self._turned_away.popleft().stream.abort()

    def stats(self) -> dict[str, Any]:
        """Count what this server has done in this process.

        Returns:
            ``connections``: a dict of those ``accepted`` ever, ``active`` now (with a request
            or a part of one) and ``idle`` now. ``requests``: how many were answered.
            ``bytes_received``, and ``bytes_sent`` or None where that is not counted; both
            without TLS. ``refusals`` by status code. ``timeouts`` by what was waited for,
            see ``docs/limits.md``.
        """
        sweep = self._sweep
        if sweep is None:
            connections = {"accepted": 0, "active": 0, "idle": 0}
            requests = received = sent = 0
            refusals: dict[int, int] = {}
            timeouts: dict[str, int] = {}
        else:
            now = len(sweep.connections)
            idle = sum(each.idle_since is not None for each in sweep.connections)
            connections = {"accepted": sweep.closed + now, "active": now - idle, "idle": idle}
            requests, received, sent = sweep.requests, sweep.bytes_received, sweep.bytes_sent
            refusals, timeouts = dict(sweep.refusals), dict(sweep.timeouts)
        return {
            "connections": connections,
            "requests": requests,
            "bytes_received": received,
            "bytes_sent": sent if self._count_bytes_sent else None,
            "refusals": refusals,
            "timeouts": timeouts,
        }

    async def close_all_connections(self) -> None:
        """Close every connection at once, and wait until they are closed."""
        await self._stop_connecting()
        if self._sweep is not None:
            for connection in list(self._sweep.connections):
                connection.stream.abort()
            await self._sweep.wait_empty()

    async def drain(self, timeout: float = 30.0, grace: float = 1.0) -> dict[str, int]:
        """Stop serving without losing an answer.

        Nothing new is accepted. Requests that run go on. Connections without a request are
        served on for the grace time, so that a request which is on its way is answered, and
        then closed. Responses that the server frames say ``Connection: close``; an
        application that writes its own head finds ``request.connection.no_keep_alive`` true
        and should say so.

        Args:
            timeout: Seconds after which what still runs is cut off.
            grace: Seconds for which connections without a request stay open.

        Returns:
            How many requests were ``served`` in the time, and how many connections were
            ``closed`` in good order and ``aborted`` because time was over.
        """
        self._draining = True
        self.accept_waiting()
        self.stop()
        if self._sweep is None:
            if not self._connecting:
                return {"served": 0, "closed": 0, "aborted": 0}
            self._sweep = Sweep(asyncio.get_running_loop(), self.limits)
        sweep = self._sweep
        requests = sweep.requests
        connections = sweep.closed
        for connection in list(sweep.connections):
            connection.drain(last_call=False)
        await self._wait_gone(min(grace, timeout))
        for _ in range(3):  # what came while the loop was busy is read first
            await asyncio.sleep(0)
        await self._stop_connecting()  # handshakes that take longer
        for connection in list(sweep.connections):
            connection.drain(last_call=True)
        await self._wait_gone(timeout - grace)
        aborted = sum([connection.cut_off() for connection in list(sweep.connections)])
        await sweep.wait_empty()
        return {
            "served": sweep.requests - requests,
            "closed": sweep.closed - connections - aborted,
            "aborted": aborted,
        }

    async def _wait_gone(self, timeout: float) -> None:
        """Wait until no connection is left or being made, or for `timeout` seconds."""
        assert self._sweep is not None
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        while self._connecting or self._sweep.connections:
            left = end - loop.time()
            if left <= 0:
                return
            if self._connecting:
                await asyncio.wait(self._connecting, timeout=left)
            else:
                await self._sweep.wait_empty(left)
