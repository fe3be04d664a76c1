"""The response of an application: what it starts, returns and writes (PEP 3333)."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from functools import lru_cache, partial
from typing import IO, TYPE_CHECKING, Any
from wsgiref.util import FileWrapper

from fasthttpserver.errors import HTTPOutputError, StreamClosedError
from fasthttpserver.httpserver import HTTPRequest
from fasthttpserver.httputil import ResponseStartLine, date_value
from fasthttpserver.log import app_log
from fasthttpserver.wsgi._pool import Pool

if TYPE_CHECKING:
    from _typeshed import OptExcInfo
    from _typeshed.wsgi import WSGIApplication

__all__ = ["InLoop", "InThread"]

# Bytes of a streamed response that an application in a thread is ahead of its client.
_WINDOW = 65_536

# RFC 9110 section 7.6.1, and the others that PEP 3333 keeps from applications.
_HOP_BY_HOP = {
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "trailers",
    "transfer-encoding",
    "upgrade",
}
_LOOKED_AT = _HOP_BY_HOP | {"content-length", "date"}

# An application has few, and they are constants.
_MOST_STATUSES = 1000
_start_lines: dict[str, ResponseStartLine] = {}


class Response:
    """What is common to applications in the loop and in threads.

    Args:
        app: The application.
        request: What it is to answer.
        environ: Its environ.
    """

    __slots__ = (
        "_app",
        "_begun",
        "_connection",
        "_environ",
        "_headers",
        "_length",
        "_over",
        "_request",
        "_sent",
        "_start_line",
    )

    def __init__(self, app: WSGIApplication, request: HTTPRequest, environ: dict[str, Any]) -> None:
        self._app = app
        self._request = request
        self._environ = environ
        self._connection = request.connection
        self._start_line: ResponseStartLine | None = None
        self._headers: list[tuple[str, str]] = []
        self._length = -1  # what Content-Length says
        self._begun = False  # the application has given the first bytes
        self._sent = False  # and the connection has the head
        self._over = False  # and all of it

    # --- Where the application is called ------------------------------------------------------

    def start_response(
        self,
        status: str,
        headers: list[tuple[str, str]],
        exc_info: OptExcInfo | None = None,
        /,
    ) -> Callable[[bytes], object]:
        """Take the head, which is sent with the first bytes of the body.

        Raises:
            AssertionError: It was called before, and not for an error.
            TypeError, ValueError: Something in the head is not what it may be.
            BaseException: That of ``exc_info``, as the head has left.
        """
        if exc_info is not None:
            try:
                if self._begun and exc_info[1] is not None:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # no cycle
        elif self._start_line is not None:
            raise AssertionError("start_response() was called before")
        self._length = -1
        has_date = False
        if not isinstance(headers, list):
            raise TypeError(f"headers must be a list, not {type(headers).__name__}")
        for name, value in headers:
            if type(name) is not str or type(value) is not str:
                raise TypeError(f"a header is two strings, not {name!r} and {value!r}")
            lower = name.lower()
            if lower in _LOOKED_AT:
                if lower in _HOP_BY_HOP:
                    raise ValueError(f"{name} is for servers only: it is about one connection")
                if lower == "date":
                    has_date = True
                elif value.isdecimal():
                    self._length = int(value)
        self._start_line = _start_lines.get(status) or _parse_status(status)
        # RFC 9110 section 6.6.1: with a clock, a server has to.
        self._headers = (
            headers if has_date else [*headers, _date_field(self._request.start_time // 1)]
        )
        return self.write

    def write(self, chunk: bytes) -> None:
        """Send a part of the body before what is returned; what ``start_response`` returns."""
        raise NotImplementedError

    def _joined(self, result: Any) -> bytes | None:
        """Return the body if all of it is here; None if it has to be asked for piece by piece."""
        kind = type(result)
        if self._begun or not (kind is list or kind is tuple):
            return None
        if len(result) == 1 and type(result[0]) is bytes:
            return result[0]
        return b"".join(result)

    def _first(self, chunks: Iterator[bytes]) -> tuple[bytes, bool]:
        """Ask for the first bytes; return them, and whether nothing more may follow."""
        for chunk in chunks:
            if chunk:
                if self._request.method == "HEAD":
                    return b"", True  # nothing of it is sent, so nothing more is asked for
                return _bytes(chunk), len(chunk) == self._length
        return b"", True

    def _exhaust(self, chunks: Iterator[bytes]) -> None:
        """Ask for what follows a whole body: nothing."""
        if self._request.method != "HEAD":
            for chunk in chunks:
                if chunk:
                    raise HTTPOutputError("more than Content-Length says")

    def _close(self, result: object) -> None:
        close = getattr(result, "close", None)
        if close is not None:
            try:
                close()
            except Exception:
                app_log.error("Uncaught exception in close() for %r", self._request, exc_info=True)

    # --- In the loop --------------------------------------------------------------------------

    def _respond(self, body: bytes) -> None:
        """Send a whole response."""
        try:
            start_line = self._start_line or self._start()
            self._connection.respond(start_line, self._headers, body)
            self._over = True
        except Exception as error:
            self._fail(error)

    def _send(self, chunk: bytes) -> Awaitable[None]:
        """Send a part of the body, with the head if it is the first.

        Raises:
            RuntimeError: The response is over: it would be in the next one's place.
        """
        if self._over:
            raise RuntimeError("write() after the end of the response")
        connection = self._connection
        if self._sent:
            return connection.write(chunk)
        if 0 <= self._length < len(chunk):
            raise HTTPOutputError("more than Content-Length says")  # before the head says so
        flushed = connection.write_headers(self._start(), self._headers, chunk)
        self._sent = True
        return flushed

    def _finish(self) -> None:
        """End a response that was sent in pieces."""
        try:
            self._connection.finish()
            self._over = True
        except Exception as error:
            self._fail(error)

    async def _send_file(self, file: IO[bytes]) -> None:
        """Send the file, from where it is; as much as Content-Length says, or all of it."""
        offset = file.tell()
        count = self._length
        if count < 0:
            count = max(0, file.seek(0, io.SEEK_END) - offset)
            self._headers = [*self._headers, ("Content-Length", str(count))]
        connection = self._connection
        connection.write_headers(self._start(), self._headers)
        self._sent = True
        await connection.send_file(file, offset, count)
        self._finish()

    def _start(self) -> ResponseStartLine:
        if self._start_line is None:
            raise AssertionError("the application did not call start_response()")
        return self._start_line

    def _fail(self, error: BaseException) -> None:
        """Log what was wrong, and see to it that no half of a response looks whole."""
        if not isinstance(error, StreamClosedError):  # a client that has gone is not a mistake
            app_log.error("Uncaught exception for %r", self._request, exc_info=error)
        connection = self._connection
        if self._over:
            return
        self._over = True
        if self._sent:
            connection.reset()
            return
        headers = [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Connection", "close"),
            ("Date", date_value(self._request.start_time)),
        ]
        start_line = ResponseStartLine("", 500, "Internal Server Error")
        connection.respond(start_line, headers, b"Internal server error\n")


class InLoop(Response):
    """The response of an application that is called in the loop."""

    __slots__ = ()

    def run(self) -> Coroutine[Any, Any, None] | None:
        """Call the application; return what is to be awaited if its response takes time."""
        result: Any = None
        later = None
        try:
            result = self._app(self._environ, self.start_response)
            body = self._joined(result)
            if body is not None:
                self._respond(body)
            elif _real_file(result) is not None and not self._begun:
                later = self._stream_file(result)
            else:
                later = self._take(result)
        except Exception as error:
            self._fail(error)
        finally:
            if later is None and type(result) is not list:  # which has no close()
                self._close(result)
        return later

    def write(self, chunk: bytes) -> None:
        # It cannot wait here: what the client does not take waits in memory.
        if chunk:
            self._begun = True
            self._send(_bytes(chunk))

    def _take(self, result: Iterable[bytes]) -> Coroutine[Any, Any, None] | None:
        chunks = iter(result)
        if self._begun:
            return self._stream(b"", chunks, result)
        first, whole = self._first(chunks)
        self._begun = True
        if not whole:
            return self._stream(first, chunks, result)
        self._exhaust(chunks)
        self._respond(first)
        return None

    async def _stream(self, first: bytes, chunks: Iterator[bytes], result: object) -> None:
        try:
            if first:
                await self._send(first)
            for chunk in chunks:
                if chunk:
                    await self._send(_bytes(chunk))
            self._finish()
        except Exception as error:
            self._fail(error)
        finally:
            self._close(result)

    async def _stream_file(self, result: FileWrapper) -> None:
        try:
            await self._send_file(result.filelike)
        except Exception as error:
            self._fail(error)
        finally:
            self._close(result)


class InThread(Response):
    """The response of an application that is called in a thread of the pool.

    Args:
        app, request, environ: As for ``Response``.
        pool: Whose thread it is.
    """

    __slots__ = ("_chunks", "_error", "_pool", "_taken", "_waiting")

    def __init__(
        self,
        app: WSGIApplication,
        request: HTTPRequest,
        environ: dict[str, Any],
        pool: Pool,
    ) -> None:
        super().__init__(app, request, environ)
        self._pool = pool
        # Of a response in pieces: what the loop has not looked at, how many bytes the client has
        # not taken, and why it takes no more.
        self._chunks: list[bytes] = []
        self._waiting = 0
        self._error: BaseException | None = None
        self._taken: threading.Condition | None = None

    # --- In the thread ------------------------------------------------------------------------

    def run(self) -> None:
        """Call the application, and have the loop send what it says."""
        post = self._pool.post
        result: Any = None
        try:
            result = self._app(self._environ, self.start_response)
            body = self._joined(result)
            if body is not None:
                post(partial(self._respond, body))
                return  # a list has no close()
            file = None if self._begun else _real_file(result)
            if file is not None:
                self._begun = True
                sending = self._send_file(file)
                asyncio.run_coroutine_threadsafe(sending, self._pool.loop).result()
            else:
                self._pass_on(result)
        except BaseException as error:  # SystemExit too: it would end a thread and answer nobody
            post(partial(self._fail, error))
        self._close(result)

    def _pass_on(self, result: Iterable[bytes]) -> None:
        chunks = iter(result)
        if not self._begun:
            first, whole = self._first(chunks)
            self._begun = True
            if whole:
                self._pool.post(partial(self._respond, first))
                self._exhaust(chunks)
                return
            self._pass(first)
        for chunk in chunks:
            if chunk:
                self._pass(_bytes(chunk))
        self._pool.post(self._finish_all)

    def write(self, chunk: bytes) -> None:
        if chunk:
            self._begun = True
            self._pass(_bytes(chunk))

    def _pass(self, chunk: bytes) -> None:
        """Give a chunk to the loop, and wait while the client is too far behind."""
        taken = self._taken
        if taken is None:
            taken = self._taken = threading.Condition()
        with taken:
            self._waiting += len(chunk)
            self._chunks.append(chunk)
            if len(self._chunks) == 1:
                self._pool.post(self._send_chunks)
            while self._waiting > _WINDOW and self._error is None:
                taken.wait()
            if self._error is not None:
                raise self._error

    # --- In the loop --------------------------------------------------------------------------

    def _send_chunks(self) -> None:
        assert self._taken is not None
        with self._taken:
            chunks, self._chunks = self._chunks, []
            if self._error is not None or not chunks:
                return
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        try:
            flushed = asyncio.ensure_future(self._send(data), loop=self._pool.loop)
        except Exception as error:
            self._stop(error)
        else:
            flushed.add_done_callback(partial(self._flushed, len(data)))

    def _flushed(self, size: int, flushed: asyncio.Future[None]) -> None:
        error = StreamClosedError(None) if flushed.cancelled() else flushed.exception()
        if error is not None:
            self._stop(error)
            return
        assert self._taken is not None
        with self._taken:
            self._waiting -= size
            self._taken.notify()

    def _stop(self, error: BaseException) -> None:
        """Have the application's next chunk meet an error, as nobody takes it."""
        assert self._taken is not None
        with self._taken:
            self._error = error
            self._taken.notify()

    def _finish_all(self) -> None:
        self._send_chunks()
        if self._error is None:
            self._finish()
        elif not isinstance(self._error, StreamClosedError):
            self._fail(self._error)


@lru_cache(maxsize=2)
def _date_field(second: float) -> tuple[str, str]:
    return "Date", date_value(second)


def _bytes(chunk: object) -> bytes:
    if not isinstance(chunk, bytes):
        raise TypeError(f"the body must be of bytes, not {type(chunk).__name__}")
    return chunk


def _real_file(result: object) -> IO[bytes] | None:
    """Return the file of a ``wsgi.file_wrapper``, if the system knows it."""
    if type(result) is not FileWrapper:
        return None
    file: Any = result.filelike
    return file if isinstance(getattr(file, "raw", file), io.FileIO) and file.seekable() else None


def _parse_status(status: str) -> ResponseStartLine:
    """Return what a status such as ``200 OK`` says.

    Raises:
        TypeError: It is not a string.
        ValueError: It is not a status that an application may send: interim ones are not.
    """
    if not isinstance(status, str):
        raise TypeError(f"status must be a str, not {type(status).__name__}")
    code, space, reason = status[:3], status[3:4], status[4:]
    if not (code.isascii() and code.isdigit() and len(code) == 3 and space in ("", " ")):
        raise ValueError(f"status must be like '200 OK', not {status!r}")
    if int(code) < 200:
        raise ValueError(f"an application cannot answer {code}: it would not be a response")
    start_line = ResponseStartLine("", int(code), reason)
    if len(_start_lines) < _MOST_STATUSES:
        _start_lines[status] = start_line
    return start_line
