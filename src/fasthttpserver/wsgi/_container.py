"""What serves a WSGI application: it gets requests from the server, and calls the application."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING, Any

from fasthttpserver.httpserver import HTTPRequest
from fasthttpserver.httputil import (
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    RequestStartLine,
)
from fasthttpserver.process import cpu_count
from fasthttpserver.wsgi._environ import Environs
from fasthttpserver.wsgi._input import BUFFER_SIZE, Body
from fasthttpserver.wsgi._pool import Pool
from fasthttpserver.wsgi._response import InLoop, InThread

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

__all__ = ["WSGIContainer"]

# gunicorn's documentation recommends 2 to 4 threads for each core.
_THREADS_PER_CORE = 4


class WSGIContainer(HTTPServerConnectionDelegate):
    """Serves a WSGI application: ``HTTPServer(WSGIContainer(app))``.

    The application runs in threads, so that what one request waits for delays no other. Its
    response is sent as it comes; while the client is far behind, the application waits. The body
    of a request that takes its time does so before the application is called, up to 64 KiB of
    it; the rest is read as the application reads ``wsgi.input``.

    Args:
        app: The application (PEP 3333).
        threads: How many of its calls may run at a time. None is four for each core. 0 runs
            it in the loop: for applications that wait for nothing, since everybody else has to
            wait then, and cheapest. A body is received whole before it is called, in a
            temporary file if it is large.
        root_path: The path that the application is mounted at, its SCRIPT_NAME. It is taken away
            from the path of a request that begins with it; a proxy may have done so already.

    Raises:
        TypeError: ``app`` cannot be called, or ``threads`` is not a number.
        ValueError: ``threads`` is negative, or ``root_path`` does not begin with a slash, or
            ends with one.
    """

    def __init__(
        self, app: WSGIApplication, threads: int | None = None, *, root_path: str = ""
    ) -> None:
        if not callable(app):
            raise TypeError(f"app must be callable, not {app!r}")
        if threads is None:
            threads = _THREADS_PER_CORE * cpu_count()
        if type(threads) is not int:
            raise TypeError(f"threads must be an int or None, not {type(threads).__name__}")
        if threads < 0:
            raise ValueError(f"threads must not be negative, but is {threads}")
        if root_path and (root_path[0] != "/" or root_path[-1] == "/"):
            raise ValueError(f"root_path must be like '/app' or '', not {root_path!r}")
        self._app = app
        self.__wrapped__ = app  # for inspect.unwrap(), as warnings name it
        self._environs = Environs(root_path, multithread=threads > 1)
        self._threads = threads
        self._pool: Pool | None = None

    def whole_request(self, request: HTTPRequest) -> Awaitable[None] | None:
        """Answer a request of which all is here."""
        return self.answer(request, io.BytesIO(request.body), len(request.body))

    def start_request(self, server_conn: object, request_conn: Any) -> HTTPMessageDelegate:
        """Return what takes the body of a request that is not here yet."""
        return (
            ThreadedBody(self, request_conn) if self._threads else SpooledBody(self, request_conn)
        )

    def on_stop(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.stop()

    @property
    def is_busy(self) -> bool:
        """Whether a thread runs the application, or is about to."""
        return self._pool is not None and self._pool.is_busy

    def answer(
        self, request: HTTPRequest, body: Any, size: int | None = None
    ) -> Awaitable[None] | None:
        """Call the application; return what is to be awaited if it has not answered then.

        Args:
            body: Its ``wsgi.input``.
            size: Bytes of it, if all are here.
        """
        environ = self._environs.make(request, body, size)
        if not self._threads:
            return InLoop(self._app, request, environ).run()
        pool = self.pool_of(request)
        pool.submit(InThread(self._app, request, environ, pool).run)
        return None

    def pool_of(self, request: HTTPRequest) -> Pool:
        """Return the threads, for the loop that serves a request."""
        loop = request.connection.loop
        if self._pool is None or self._pool.loop is not loop:
            self.on_stop()
            self._pool = Pool(loop, self._threads)
        return self._pool


class ThreadedBody(HTTPMessageDelegate):
    """A body that arrives, for an application in a thread.

    The application is called when all of it is here, or so much that the client has to wait; a
    client that is slow to send a little costs no thread. One that asks whether to send it
    (``Expect: 100-continue``) is told so when the application reads.

    Args:
        container: Calls the application.
        connection: Answers the request.
    """

    def __init__(self, container: WSGIContainer, connection: Any) -> None:
        self._container = container
        self._connection = connection
        self._request: HTTPRequest = connection.request
        self._pieces: list[bytes] = []
        self._size = 0
        self._body: Body | None = None  # what the application reads, once it is called
        self.asks_for_body = not self._request.expect_continue

    def headers_received(self, start_line: RequestStartLine, headers: HTTPHeaders) -> None:
        if not self.asks_for_body:
            self._call()

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        if self._body is not None:
            return self._body.feed(chunk)
        self._pieces.append(chunk)
        self._size += len(chunk)
        return self._call().feed(b"".join(self._pieces)) if self._size >= BUFFER_SIZE else None

    def finish(self) -> None:
        if self._body is None:
            body = io.BytesIO(b"".join(self._pieces))
            self._container.answer(self._request, body, self._size)
        else:
            self._body.end()

    def on_connection_close(self) -> None:
        if self._body is not None:
            self._body.fail()

    def _call(self) -> Body:
        pool = self._container.pool_of(self._request)
        self._body = Body(pool, self._connection.send_continue)
        self._container.answer(self._request, io.BufferedReader(self._body, BUFFER_SIZE))
        return self._body


class SpooledBody(HTTPMessageDelegate):
    """A body that arrives, for an application in the loop: it cannot wait for it.

    Args:
        container, connection: As for ``ThreadedBody``.
    """

    def __init__(self, container: WSGIContainer, connection: Any) -> None:
        self._container = container
        self._request: HTTPRequest = connection.request
        self._file: IO[bytes] = SpooledTemporaryFile(max_size=BUFFER_SIZE)
        self._task: asyncio.Future[None] | None = None

    def data_received(self, chunk: bytes) -> None:
        self._file.write(chunk)

    def finish(self) -> None:
        size = self._file.tell()
        self._file.seek(0)
        later = self._container.answer(self._request, self._file, size)
        if later is None:
            self._file.close()
        else:
            self._task = asyncio.ensure_future(later, loop=self._request.connection.loop)
            self._task.add_done_callback(lambda task: self._file.close())

    def on_connection_close(self) -> None:
        self._file.close()
