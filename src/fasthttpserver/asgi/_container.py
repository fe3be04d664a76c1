"""Runs an ASGI application for the requests of a server."""

from __future__ import annotations

import asyncio
import math
from types import TracebackType
from typing import Any, Literal, Self

from fasthttpserver.asgi._http import HTTPExchange
from fasthttpserver.asgi._lifespan import Lifespan, end_tasks
from fasthttpserver.asgi._options import WebSocketOptions
from fasthttpserver.asgi._scope import ConnectionScope
from fasthttpserver.asgi._types import Application, Exchange, Scope
from fasthttpserver.errors import StreamClosedError
from fasthttpserver.httpserver import HTTPConnection, HTTPRequest
from fasthttpserver.httputil import HTTPMessageDelegate, HTTPServerConnectionDelegate
from fasthttpserver.limits import Rule, check_number
from fasthttpserver.log import gen_log

__all__ = ["ASGIContainer"]

_SIZE = Rule(0, math.inf, whole=True, optional=True)
_SECONDS_OR_NONE = Rule(0, math.inf, optional=True)
_CLOSE_TIMEOUT = Rule(0, 86_400.0)  # a client that does not answer has to go at some time


class ASGIContainer(HTTPServerConnectionDelegate):
    """Runs an ASGI application, as the delegate of an ``HTTPServer``.

    ``HTTPServer(ASGIContainer(application))`` serves HTTP and, if the package ``websockets`` is
    installed, WebSocket. The application's start and end are those of the container: ``async
    with container:``, or ``startup`` and ``shutdown``.

    Args:
        application: An ASGI 3.0 application: ``async def application(scope, receive, send)``.
        root_path: Where it is mounted, for a proxy in front that takes that off the path.
        lifespan: ``on``: it has to support lifespan. ``auto``: one that raises an exception does
            without. ``off``: it is not told of its start and end.
        websocket_max_size: Bytes of a message that a client sends; None is off.
        websocket_ping_interval: Seconds between pings of a client; None is off.
        websocket_ping_timeout: Seconds in which it has to answer one; None is off.
        websocket_compression: Compress messages (``permessage-deflate``) if a client can.
        websocket_close_timeout: Seconds for a client to answer a close, a day at most.

    Raises:
        TypeError: A limit is not a number.
        ValueError: ``lifespan`` is something else, ``root_path`` no path, or a limit is out
            of its range.
    """

    def __init__(
        self,
        application: Application,
        *,
        root_path: str = "",
        lifespan: Literal["auto", "on", "off"] = "auto",
        websocket_max_size: int | None = 16_777_216,
        websocket_ping_interval: float | None = 20.0,
        websocket_ping_timeout: float | None = 20.0,
        websocket_compression: bool = True,
        websocket_close_timeout: float = 10.0,
    ) -> None:
        if lifespan not in ("auto", "on", "off"):
            raise ValueError(f"lifespan must be 'auto', 'on' or 'off', not {lifespan!r}")
        if root_path and not root_path.startswith("/"):
            raise ValueError(f"root_path must begin with a slash: {root_path!r}")
        self._application = application
        self.__wrapped__ = application  # for inspect.unwrap(), as warnings name it
        self._root_path = root_path.rstrip("/")
        self._state: dict[str, Any] = {}
        self._lifespan: Lifespan | None = None
        if lifespan != "off":
            self._lifespan = Lifespan(application, lifespan == "on", self._state)
        check_number("websocket_max_size", websocket_max_size, _SIZE)
        check_number("websocket_ping_interval", websocket_ping_interval, _SECONDS_OR_NONE)
        check_number("websocket_ping_timeout", websocket_ping_timeout, _SECONDS_OR_NONE)
        check_number("websocket_close_timeout", websocket_close_timeout, _CLOSE_TIMEOUT)
        self._websocket = WebSocketOptions(
            websocket_max_size,
            websocket_ping_interval,
            websocket_ping_timeout,
            websocket_compression,
            websocket_close_timeout,
        )
        self._websocket_is_missing = False  # the package, and the log says so
        self._running: dict[Exchange, asyncio.Task[None]] = {}

    # --- Its start and end ------------------------------------------------------------------

    async def startup(self) -> None:
        """Start the application; before the server accepts clients.

        Raises:
            LifespanError: It has failed to, or does not support lifespan and has to.
        """
        if self._lifespan is not None:
            await self._lifespan.startup()

    async def shutdown(self, timeout: float = 10.0) -> None:
        """Shut the application down; after ``HTTPServer.drain()``.

        WebSockets are closed with the code 1012. What still runs is waited for, then cancelled; a
        WARNING tells of what goes on in spite of that for a second.

        Args:
            timeout: Seconds to wait.

        Raises:
            LifespanError: It has failed to.
        """
        for exchange in list(self._running):
            exchange.stop()
        await asyncio.sleep(0)  # for those that return at once
        if self._running:
            await end_tasks(self._running.values(), timeout)
        if self._lifespan is not None:
            await self._lifespan.shutdown(timeout)

    async def __aenter__(self) -> Self:
        await self.startup()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.shutdown()

    # --- Requests ---------------------------------------------------------------------------

    def whole_request(self, request: HTTPRequest) -> None:
        """Run the application for a request that is here as a whole."""
        if request.upgrade and self._open_websocket(request):
            return
        self._start(HTTPExchange(request, True), request)

    def start_request(self, server_conn: object, request_conn: Any) -> HTTPMessageDelegate:
        """Run the application for a request of which the head is here."""
        request: HTTPRequest = request_conn.request
        exchange = HTTPExchange(request, False)
        self._start(exchange, request)
        return exchange

    def _open_websocket(self, request: HTTPRequest) -> bool:
        """Run the application for a WebSocket; False if that is not what the client asks for."""
        if request.method != "GET" or request.headers.get("Upgrade", "").lower() != "websocket":
            return False
        try:
            from fasthttpserver.asgi._websocket import WebSocketExchange
        except ImportError:
            if not self._websocket_is_missing:
                self._websocket_is_missing = True
                gen_log.warning(
                    "A client asks for a WebSocket. For these install the package websockets: "
                    "pip install 'fasthttpserver-llhttp[websocket]'"
                )
            return False
        exchange = WebSocketExchange(request, self._websocket)
        if not exchange.refuse():
            self._start(exchange, request, exchange.subprotocols)
        return True

    def _start(
        self, exchange: Exchange, request: HTTPRequest, subprotocols: list[str] | None = None
    ) -> None:
        connection: HTTPConnection = request.connection
        try:
            # Of this door only: the class says nothing of it.
            about: ConnectionScope = connection.asgi_scope  # type: ignore[attr-defined]
        except AttributeError:
            about = ConnectionScope(connection, self._root_path)
            connection.asgi_scope = about  # type: ignore[attr-defined]
        scope = about.of(request, self._state)
        if subprotocols is not None:
            about.change_to_websocket(scope, subprotocols)
        task = connection.start_task(self._call(exchange, scope))
        if not task.done():
            self._running[exchange] = task

    async def _call(self, exchange: Exchange, scope: Scope) -> None:
        try:
            await self._application(scope, exchange.receive, exchange.send)
            exchange.returned()
        except Exception as error:
            if exchange.gone and _tells_of_disconnect(error):
                exchange.returned()
            else:
                exchange.failed(error)
        except BaseException as error:
            exchange.failed(error)
            raise
        finally:
            self._running.pop(exchange, None)


def _tells_of_disconnect(error: BaseException) -> bool:
    """Whether an exception has come of sending to a client that has gone."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_tells_of_disconnect, error.exceptions))
    if isinstance(error, StreamClosedError):
        return True
    before = error.__cause__ or error.__context__
    return before is not None and _tells_of_disconnect(before)
