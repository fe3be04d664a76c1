"""The response to one request, off the fast path.

A request of which nothing special is known is answered without one: it corks what it writes,
and the connection sends that. A ``Response`` exists from the moment that something else is
asked for: a write callback, ``write_headers`` of a part, a late answer in several writes, a client
that is slow.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from time import time
from typing import IO, TYPE_CHECKING, Any

from fasthttpserver._http.framing import ResponseFraming
from fasthttpserver._parser import ResponseChecker, measure_response
from fasthttpserver.errors import HTTPOutputError

if TYPE_CHECKING:
    from fasthttpserver._net.writer import Writer
    from fasthttpserver._server.connection import HTTPConnection
    from fasthttpserver._server.request import HTTPRequest

__all__ = ["Response"]

# Up to so many bytes of a body are joined to the head, which costs a copy of them.
_LARGE_CHUNK = 65_536
# Seconds until the callback of a write that sends nothing, for instance after HEAD.
_SILENT_PAUSE = 0.001


class Response:
    """What is written for one request, and what is still to happen before it is over.

    Args:
        connection: Is told, by ``response_over``, when all of it has left.
        writer: Of the connection.
        request: What is answered; None for what was refused before it was a request.
        logged: Whether the access log wants to know what was written.
        checked: Whether what the application frames itself is checked.
    """

    __slots__ = (
        "_checked",
        "_checker",
        "_connection",
        "_logged",
        "_raw_head",
        "_sends_file",
        "_status",
        "_write_callback",
        "_writer",
        "ending",
        "framing",
        "mark",
        "request",
        "unheard",
        "wrote",
    )

    def __init__(
        self,
        connection: HTTPConnection,
        writer: Writer,
        request: HTTPRequest,
        logged: bool,
        checked: bool,
    ) -> None:
        self._connection = connection
        self._writer = writer
        self.request = request
        self.unheard = False  # the client has left before there was a response
        self.mark = len(writer.chunks)  # how many chunks were corked before it
        self.wrote = False
        self._sends_file = False
        self._status = 0
        self.framing: ResponseFraming | None = None  # None: the application's own
        self._checked = checked
        self._logged = logged
        self._raw_head = b""
        # Of the application's own, if it is checked or logged.
        self._checker: ResponseChecker | None = None
        self.ending = False  # it is finished, and something has to leave first
        self._write_callback: Callable[[], object] | None = None

    # --- Writing ------------------------------------------------------------------------

    def emit(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._writer.send(data)

    def reply(self, data: bytes) -> None:
        """Send the server's answer in the place of the application's."""
        self.take(data)
        self.emit(data)

    @property
    def status(self) -> int:
        """That of the response, interim ones aside; 0 while it has not come."""
        if self.framing is not None:
            return self.framing.code
        return self._status if self._checker is None else self._checker.status

    def write(self, chunk: bytes, callback: Callable[[], object] | None) -> None:
        """Send a part of the response: framed after ``write_headers``, otherwise as it is.

        Raises:
            HTTPOutputError: It is more than Content-Length announced.
            RuntimeError: A file is being sent.
        """
        framing = self.framing
        self._check_file()
        if framing is None:
            if chunk:
                self.take(chunk)
                self.emit(chunk)
        elif chunk:
            self.emit(self._frame(framing, chunk))
        self._expect_written(callback)

    async def send_file(
        self,
        file: IO[bytes],
        offset: int,
        count: int,
        then: Callable[[], None],
        context: Context,
    ) -> None:
        """Send a part of a file as a part of the body, after ``write_headers``.

        Args:
            file, offset, count, then, context: As for ``Writer.send_file``.

        Raises:
            StreamClosedError: The client has gone.
            HTTPOutputError: It is more than Content-Length announced, or more than the file has.
            RuntimeError: Another one is being sent.
        """
        framing = self.framing
        assert framing is not None
        self._check_file()
        if framing.silent or not count:
            return
        try:
            before, after = framing.around(count)
        except HTTPOutputError:
            self._connection.close()
            raise
        if before:
            self.emit(before)
        sent = 0
        self._sends_file = True
        try:
            sent = await self._writer.send_file(file, offset, count, then, context)
        finally:
            self._sends_file = False
            framing.size -= count - sent
            if sent < count and not self._writer.closed:
                self._connection.reset()  # nothing else tells the client that this is not all
        if sent < count:
            raise HTTPOutputError(f"The file ended {count - sent} bytes early")
        if after and self._connection.response is self:
            self.emit(after)

    def _check_file(self) -> None:
        if self._sends_file:
            raise RuntimeError("send_file() has not been awaited")

    def _frame(self, framing: ResponseFraming, chunk: bytes, before: bytes = b"") -> bytes:
        """Return a piece of the body as it goes on the wire; if it cannot, send `before`."""
        try:
            return framing.frame(chunk)
        except HTTPOutputError:
            if before:
                self.emit(before)
            self._connection.close()  # the client must not take the next one for the rest
            raise

    def take(self, chunk: bytes) -> None:
        """Take note of bytes of the application's own, which are sent by somebody else."""
        if not self.wrote and not self._checked:
            self._status, _ = measure_response(chunk, self.request)
        self.wrote = True
        if self._checked or self._logged:
            checker = self._checker
            if checker is None:
                checker = self._checker = self._new_checker()
            if self._logged and not checker.in_body:
                self._raw_head += chunk
            checker.feed(chunk)

    def _new_checker(self) -> ResponseChecker:
        request = self.request
        checker = ResponseChecker()
        checker.start(
            request.method == "HEAD",
            request.method == "CONNECT",
            request.version == "HTTP/1.1",
        )
        return checker

    def take_stream(self) -> None:
        """Take note that the application writes to the stream, and nobody knows what."""
        self.wrote = True
        self._checked = False

    def fault(self, keep_alive: bool) -> str | None:
        """Say what is wrong with the framing of the application's own response, or None.

        Args:
            keep_alive: Whether the connection would go on.
        """
        if self._checker is None or not self._checked or self.framing is not None:
            return None
        return self._checker.finish(keep_alive)

    @property
    def announced(self) -> bool:
        """Whether the application's own response says that it ends the connection, or does."""
        return self._checked and self._checker is not None and self._checker.close

    @property
    def logged_status(self) -> int | None:
        """What was sent, for the access log; or nginx's 499, if the client did not wait for it."""
        status = self.status
        if status >= 200 or status == 101:
            return status
        return 499 if self.unheard else None

    @property
    def body_size(self) -> int:
        """Bytes of the body that were sent, without their framing, for the access log."""
        if self.framing is not None:
            return self.framing.size
        return 0 if self._checker is None else self._checker.body_size

    @property
    def head(self) -> bytes:
        """The response with all of its head at least, for the access log."""
        return self._raw_head if self.framing is None else self.framing.head

    def write_headers(self, start_line: Any, headers: Any, keep_alive: bool, chunk: bytes) -> None:
        """Send a head, and have the framing done from here.

        Args:
            start_line, headers: As for ``ResponseFraming``.
            keep_alive: Whether the connection may go on.
            chunk: The beginning of the body; none follows an interim response.

        Raises:
            RuntimeError: Something was written before.
            ValueError, TypeError: As for ``ResponseFraming``.
            HTTPOutputError: The chunk is more than Content-Length announced.
        """
        self.check_unbegun("write_headers")
        request = self.request
        if keep_alive and len(chunk) <= _LARGE_CHUNK:
            usual = ResponseFraming.of_usual(request, start_line, headers, chunk)
            if usual is not None:
                self._write_callback = None
                self.begin(usual)
                self.emit(usual.head)
                return
        framing = ResponseFraming(request.method, request.version, keep_alive, start_line, headers)
        head = framing.head
        if framing.informational:
            if request.version != "HTTP/1.0":  # RFC 9110 section 15.2: it does not know them
                self.emit(head)
            return
        self.begin(framing)
        if not chunk or len(chunk) > _LARGE_CHUNK:
            self.emit(head)
            self.write(chunk, None)
        else:
            self._write_callback = None
            self.emit(head + self._frame(framing, chunk, head))

    def begin(self, framing: ResponseFraming) -> None:
        """Take note of the head of a framed response, or more of it, which somebody else sends."""
        self.framing = framing
        self.wrote = self.request._framed = True

    def check_unbegun(self, what: str) -> None:
        """Raise RuntimeError if something was written before a call of `what`."""
        if self.wrote:
            raise RuntimeError(f"{what}() after the response was begun")

    def _expect_written(self, callback: Callable[[], object] | None) -> None:
        """Take a write's callback, in the place of an earlier one's."""
        self._write_callback = callback
        if callback is None:
            return
        loop = self._connection.loop
        if self.framing is not None and self.framing.silent:
            # Nothing is sent, so no client slows down an application that writes on and on.
            loop.call_later(_SILENT_PAUSE, self.written)
        else:
            loop.call_soon(self.written)

    # --- Ending -------------------------------------------------------------------------

    def finish(self, trailers: Any = None) -> None:
        """End it: what was written is all of it.

        Args:
            trailers: As for ``ResponseFraming.end``.

        Raises:
            HTTPOutputError: The body is shorter than Content-Length announced.
            RuntimeError: A file is being sent; or there are trailers, and the framing is the
                application's own.
            ValueError, TypeError: As for ``ResponseFraming.end``.
        """
        if self.framing is None:
            if trailers:
                raise RuntimeError("trailers are for responses that write_headers() has begun")
        else:
            self._check_file()
            try:
                end = self.framing.end(trailers)
            except Exception:
                self._connection.close()  # nothing that was sent may look whole
                raise
            if end:
                self.emit(end)
        self.request._finish_time = time()
        if self._write_callback is not None or self._writer.waiting:
            self.ending = True  # written() goes on
        elif not self._writer.corked:
            # From a task or a timer; within a read, the loop of data_received goes on.
            self._writer.flush()
            if self._writer.waiting:
                self.ending = True
            elif not self._connection.end_at_rest(self):
                # It waits for the next turn of the event loop, since detach() may follow.
                self.ending = True
                self._connection.loop.call_soon(self.written)

    @property
    def awaits_flush(self) -> bool:
        """Whether ``written`` is to be called when all has left."""
        return self.ending or self._write_callback is not None

    def written(self) -> None:
        """If all has left, run the write callback, and tell the connection that it is over."""
        connection = self._connection
        if connection.response is not self or self._writer.closed:
            return  # it has ended otherwise, or will with connection_lost()
        self._writer.flush()
        if self._writer.waiting:
            return  # the connection calls again
        callback, self._write_callback = self._write_callback, None
        if callback is not None:
            try:
                callback()
            except Exception as error:
                connection.callback_failed(error, self.request)
                return
        if self.ending and self._write_callback is None and connection.response is self:
            connection.response_over(self)

    def take_write_callback(self) -> Callable[[], object] | None:
        """Return the callback that waits, for the stream that is detached."""
        callback, self._write_callback = self._write_callback, None
        return callback
