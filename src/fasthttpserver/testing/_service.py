"""What serves the application of a client in memory, and knows when it is at work."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from fasthttpserver._net.ioloop import IOLoop
from fasthttpserver._server.request import HTTPRequest
from fasthttpserver._server.server import HTTPServer
from fasthttpserver._server.wrapping import WrappingDelegate
from fasthttpserver.httputil import HTTPMessageDelegate
from fasthttpserver.log import app_log, target_of
from fasthttpserver.testing._loop import PatientLoop

__all__ = ["Service"]


class Service:
    """An application, its server and their loop.

    Args:
        application: A callback or a delegate.
        timeout: Seconds, of the loop's time, for its start and its end.
        options: Of ``HTTPServer``.
    """

    def __init__(self, application: Any, timeout: float, options: dict[str, Any]) -> None:
        self._application = application
        self.timeout = timeout
        self.errors: list[BaseException] = []
        self.running = 0  # coroutines of the callback
        self._requests: dict[object, list[HTTPRequest]] = {}  # by connection, for its client
        self.loop = PatientLoop(self._has_work_elsewhere, self._watching)
        self.loop.set_exception_handler(self._failed)
        try:
            self._server = self._make_server(options)
            if hasattr(application, "__aenter__"):
                self.loop.run(application.__aenter__(), timeout)
        except BaseException:
            self.loop.close()
            raise

    def _make_server(self, options: dict[str, Any]) -> HTTPServer:
        # What is wrong with a response is told here, as an exception that says more.
        options.setdefault("check_responses", False)
        httputil = sys.modules.get("tornado.httputil")
        application = self._application
        if httputil is not None and isinstance(application, httputil.HTTPServerConnectionDelegate):
            import fasthttpserver.tornado

            server: HTTPServer = fasthttpserver.tornado.HTTPServer(application, **options).engine
        elif hasattr(application, "start_request"):
            io_loop = IOLoop.from_asyncio(self.loop)
            server = HTTPServer(application, io_loop=io_loop, **options)
        else:
            io_loop = IOLoop.from_asyncio(self.loop)
            return HTTPServer(self._run, io_loop=io_loop, **options)
        settings = server._settings
        settings.delegate = _Recorder(settings.delegate, self._record)
        return server

    def new_connection(self, address: Any, requests: list[HTTPRequest]) -> asyncio.Protocol:
        """Make the protocol of a connection.

        Args:
            address: The client's.
            requests: Gets the requests of this connection as they reach the application.
        """
        connection = self._server.new_protocol(self.loop, address)
        self._requests[connection] = requests
        return connection

    def _record(self, request: HTTPRequest) -> None:
        self._requests[request.connection].append(request)

    # --- The callback -----------------------------------------------------------------------

    def _run(self, request: HTTPRequest) -> object:
        self._record(request)
        try:
            result = self._application(request)
        except Exception as error:
            self._raised(error)
            raise
        return self._await(result) if inspect.iscoroutine(result) else result

    async def _await(self, coroutine: Coroutine[Any, Any, object]) -> None:
        self.running += 1
        try:
            await coroutine
        except Exception as error:
            self._raised(error)
            raise
        finally:
            self.running -= 1

    # --- What was raised --------------------------------------------------------------------

    def _raised(self, error: BaseException) -> None:
        if not any(error is each for each in self.errors):
            self.errors.append(error)

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # Only what a call of the loop raised: that a task failed unseen is told at some time.
        if "handle" in context and "exception" in context:
            self._raised(context["exception"])
        loop.default_exception_handler(context)

    @contextlib.contextmanager
    def _watching(self) -> Iterator[None]:
        """See what is logged of the application: there is no other sign of some of it.

        Such as of what an application of ASGI raises when it has answered already.
        """

        def look(record: logging.LogRecord) -> bool:
            if record.exc_info and record.exc_info[1] is not None:
                self._raised(record.exc_info[1])
            return True

        logger = target_of(app_log)
        logger.addFilter(look)
        try:
            yield
        finally:
            logger.removeFilter(look)

    # --- Its threads and its end ------------------------------------------------------------

    def _has_work_elsewhere(self) -> bool:
        """Whether threads are at work that the loop has not started."""
        if getattr(self._application, "is_busy", False):
            return True
        return any(map(_works_for_anyio, threading.enumerate()))

    def close(self) -> None:
        """Shut the application down, and end what still runs."""
        try:
            if hasattr(self._application, "__aexit__"):
                self.loop.run(self._application.__aexit__(None, None, None), self.timeout)
        finally:
            self.loop.run_until(lambda: not self._has_work_elsewhere(), self.timeout)
            self.loop.run(self._server.close_all_connections(), self.timeout)
            self.loop.close()


class _Recorder(WrappingDelegate):
    """Tells of the requests of a delegate."""

    def __init__(self, delegate: Any, record: Callable[[HTTPRequest], None]) -> None:
        super().__init__(delegate)
        self._record = record
        # A delegate that has this gets most requests by it.
        if getattr(delegate, "whole_request", None) is not None:
            self.whole_request = self._whole_request

    def _whole_request(self, request: HTTPRequest) -> object:
        self._record(request)
        result: object = self._delegate.whole_request(request)
        return result

    def start_request(self, server_conn: object, request_conn: Any) -> HTTPMessageDelegate:
        self._record(request_conn.request)
        return super().start_request(server_conn, request_conn)


def _works_for_anyio(thread: threading.Thread) -> bool:
    """Whether it runs what Starlette and FastAPI do not run in the loop: plain functions.

    These threads are AnyIO's, and there is no other sign of their work.
    """
    idle = getattr(thread, "idle_workers", ())
    return thread.name == "AnyIO worker thread" and thread not in idle
