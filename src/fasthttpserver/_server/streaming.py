"""Requests that reach the application in pieces: the head, body data, the end.

This is the delegate interface of Tornado 4 to 6: ``start_request`` of the server's delegate makes
a message delegate for each request, and that is told of the pieces. What it returns may be
awaitable: until it is done nothing more is read, so that a client cannot send faster than the
application takes. ``stream_request_body`` is built on it, for callbacks.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import IO, TYPE_CHECKING, Any

from fasthttpserver._http.fields import Fields, StartLine
from fasthttpserver._http.replies import CONTINUE
from fasthttpserver._server.request import HTTPRequest, RequestCallback
from fasthttpserver.errors import HTTPInputError, StreamClosedError
from fasthttpserver.httputil import (
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    RequestStartLine,
)
from fasthttpserver.log import app_log

if TYPE_CHECKING:
    from fasthttpserver._net.streams import IOStream
    from fasthttpserver._server.connection import HTTPConnection
    from fasthttpserver._server.context import ConnectionContext, ConnectionParameters

__all__ = ["CallbackDelegate", "RequestConnection", "StreamedRequests"]


class RequestConnection:
    """What a message delegate answers its request with.

    Args:
        connection: The client's.
        streamed: Gives it the request.
        request: What is answered.
    """

    is_client = False  # Tornado has the same class for both ends

    def __init__(
        self, connection: HTTPConnection, streamed: StreamedRequests, request: HTTPRequest
    ) -> None:
        self._connection = connection
        self._streamed = streamed
        self._request = request
        self._context: ConnectionContext | None = None

    @property
    def request(self) -> HTTPRequest:
        """What is answered."""
        return self._request

    def _check(self, what: str) -> None:
        # The bytes would land in another request's answer (CVE-2023-46137's family).
        if self._request._finish_time is not None and self._connection.is_open:
            raise RuntimeError(f"{what}() after finish() of {self._request!r}")

    @property
    def context(self) -> ConnectionContext:
        """Where the request comes from; of its own, if ``xheaders`` names the client."""
        context = self._context
        if context is None:
            context = self._context = self._connection.context_of(self._request)
        return context

    @property
    def params(self) -> ConnectionParameters:
        """The options of the server that Tornado lets applications see."""
        return self._connection.params

    @property
    def stream(self) -> IOStream:
        """The stream of the connection."""
        return self._connection.stream

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Ask the transport; see ``HTTPConnection.get_extra_info``."""
        return self._connection.get_extra_info(name, default)

    @property
    def no_keep_alive(self) -> bool:
        """Whether the connection is closed after the response."""
        return self._connection.no_keep_alive

    def write_headers(
        self, start_line: StartLine, headers: Fields, chunk: bytes | str | None = None
    ) -> Awaitable[None]:
        """Begin the response; see ``HTTPConnection.write_headers``.

        It leaves at once, unless it is written while the request is read: what is returned is
        done already then, if the client takes all of it.
        """
        self._check("write_headers")
        return self._connection.write_headers_now(start_line, headers, chunk)

    def send_informational(self, code: int, headers: Fields) -> Awaitable[None]:
        """Send an interim response; see ``HTTPConnection.send_informational``."""
        self._check("send_informational")
        return self._connection.send_informational(code, headers)

    def respond(self, start_line: StartLine, headers: Fields, body: bytes) -> bool:
        """Send a whole response; see ``HTTPConnection.respond``."""
        self._check("respond")
        return self._connection.respond(start_line, headers, body)

    def write(self, chunk: bytes | str) -> Awaitable[None]:
        """Write a part of the response; see ``HTTPConnection.write``."""
        self._check("write")
        return self._connection.write(chunk)

    def send_file(
        self, file: IO[bytes], offset: int = 0, count: int | None = None
    ) -> Awaitable[None]:
        """Send a part of a file as a part of the body; see ``HTTPConnection.send_file``."""
        self._check("send_file")
        return self._connection.send_file(file, offset, count)

    def finish(self, trailers: Fields | None = None) -> None:
        """End the response. If the request is not whole yet, the connection is closed then.

        Args:
            trailers: As for ``HTTPConnection.finish``.
        """
        if self._request._finish_time is None:  # a second time is tolerated, as in Tornado
            self._connection.finish(trailers)

    def set_close_callback(self, callback: Callable[[], object] | None) -> None:
        """Have `callback` run when the client has gone before the response was finished."""
        self._connection.set_close_callback(callback)

    @property
    def max_body_size(self) -> int:
        """Bytes that the body of this request may have."""
        return self._streamed.max_body_size

    def send_continue(self) -> None:
        """Have a client that waits for it send the body; see ``asks_for_body`` of delegates."""
        if self._request._finish_time is None:
            self._connection.send_continue()

    def set_max_body_size(self, size: int) -> None:
        """Bound the body of this request instead of ``max_body_size``; in bytes."""
        self._streamed.max_body_size = size

    def set_body_timeout(self, seconds: float) -> None:
        """Bound the time for the body of this request, from now on, in seconds."""
        self._streamed.set_body_timeout(seconds)

    def detach(self) -> IOStream:
        """Give the stream to the application; see ``HTTPConnection.detach``."""
        return self._connection.detach()

    def close(self) -> None:
        """Close the connection; see ``HTTPConnection.close``."""
        self._connection.close()

    def abort(self) -> None:
        """Close the connection so that the client sees that its answer is not whole."""
        if self._request._finish_time is None:
            self._connection.reset()


class StreamedRequests:
    """The requests of one connection, given to delegates piece by piece.

    Args:
        connection: Whose bytes they are.
        delegate: The server's.
        max_body_size: Bytes of a body, unless the application says otherwise.
        chunk_size: Bytes of a piece at most.
    """

    def __init__(
        self,
        connection: HTTPConnection,
        delegate: HTTPServerConnectionDelegate,
        max_body_size: int,
        chunk_size: int,
    ) -> None:
        self._connection = connection
        self._delegate = delegate
        # What answers whole requests as a callback does, if they need not come in pieces.
        self._whole_request: Any = getattr(delegate, "whole_request", None)
        self._most = max_body_size
        self._chunk_size = chunk_size
        self._message: HTTPMessageDelegate | None = None  # of the current request
        self._request: HTTPRequest | None = None
        self._whole = False  # all of the request has come
        self._told_end = False  # finish() was called, or there is nobody to call
        self._head_taken = False  # the application has dealt with the head
        self._pending: asyncio.Future[Any] | None = None  # what the application is busy with
        self._pieces: list[bytes] = []  # of the body, not given yet
        self._size = 0  # of these
        self._received = 0  # of the body
        self._timer: asyncio.TimerHandle | None = None
        self._continued = False  # the client was told to send the body
        self.max_body_size = max_body_size

    @property
    def awaits_body(self) -> bool:
        """Whether the client is to send more of a body, and nobody else keeps it waiting."""
        return self._request is not None and not self._whole and self._pending is None

    @property
    def has_come(self) -> bool:
        """Whether all of the current request has come."""
        return self._request is None or self._whole

    @property
    def is_whole(self) -> bool:
        """Whether all of the current request has come and was given to the application."""
        return self._request is None or (self._whole and not self._pieces)

    @property
    def owes_body(self) -> bool:
        """Whether the application is still to be told of some of a body, or of its end."""
        return not self.is_whole or (self._received > 0 and not self._told_end)

    @property
    def wants_reads(self) -> bool:
        """Whether reads come here: those within a request in pieces."""
        return self._request is not None

    def take(self, request: HTTPRequest) -> Any:
        """Answer a request, or begin to give it to the application: the connection's callback."""
        connection = self._connection
        self._whole = not connection.parser.receiving_body
        if self._whole and self._whole_request is not None:
            if len(request.body) > self._most:
                raise HTTPInputError("Body is too large", 413)
            return self._whole_request(request)
        if self._whole and not request.body:
            self._begin(request)
            if self._pending is None:
                self._end_at_once(request)
                return None
            connection.leave_fast_path()
        else:
            connection.leave_fast_path()
            if request.body:
                self._pieces = [request.body]
                self._size = len(request.body)
                request.body = b""
            self._begin(request)
            self._received = self._size
        # Until it is answered: then the connection goes on, as after any callback.
        while self._may_advance() and request._finish_time is None and self._advance():
            pass
        return None

    def _end_at_once(self, request: HTTPRequest) -> None:
        """Tell the delegate that a request without a body has ended.

        Nothing of it is still to come, so its answer may stay on the fast path.
        """
        if self._request is not request:
            return  # it is over, or the application has the stream
        if request._finish_time is not None:
            self.exchange_over(detached=False)
            return
        message, self._message, self._request = self._message, None, None
        assert message is not None
        self._told_end = True
        self._call(request, message.finish)

    def data_received(self, data: bytes) -> None:
        """Give the application what is here, until it is busy or something is missing."""
        connection = self._connection
        connection.parser.receive_data(data)
        connection.cork()
        try:
            while self._may_advance() and self._advance():
                pass
        except HTTPInputError as error:
            connection.refuse(error)
        finally:
            connection.apply_back_pressure()
            connection.uncork()

    def _may_advance(self) -> bool:
        return self._connection.is_open and self._pending is None

    def _advance(self) -> bool:
        """Do the next step; tell whether there may be another."""
        connection = self._connection
        parser = connection.parser
        request = self._request
        if request is None:
            connection.wait_for_more()
            return False
        if request._finish_time is not None:
            return connection.end_streamed(request)
        if self._pieces and (self._size >= self._chunk_size or self._whole or not parser.unread):
            self._give_piece(request)
            return True
        if self._whole:
            if self._told_end or self._message is None:
                return False  # the response is still to come, or the application failed
            self._told_end = True
            self._call(request, self._message.finish)
            connection.request_ended(request)
            return request._finish_time is not None
        event = parser.next_event()
        if event is None:
            connection.wait_for_body()
            return False
        if isinstance(event, bytes):
            self._received += len(event)
            if self._received > self.max_body_size:
                raise HTTPInputError("Body is too large", 413)
            self._pieces.append(event)
            self._size += len(event)
        else:
            self._whole = True
        return True

    def _begin(self, request: HTTPRequest) -> None:
        connection = self._connection
        self._request = request
        self._told_end = self._continued = self._head_taken = False
        self._received = 0
        self.max_body_size = self._most
        try:
            message = self._message = self._delegate.start_request(
                connection, RequestConnection(connection, self, request)
            )
        except (Exception, asyncio.CancelledError) as error:
            connection.callback_failed(error, request)
            return
        start_line = RequestStartLine(request.method, request.uri, request.version)
        self._call(request, message.headers_received, start_line, request.headers)
        if self._pending is None and (self._pieces or not self._whole):
            self._after_head(request)

    def _after_head(self, request: HTTPRequest) -> None:
        if self._request is not request:
            return
        self._head_taken = True
        length = request.headers.get("Content-Length")
        if length is not None and int(length) > self.max_body_size:
            raise HTTPInputError("Body is too large", 413)
        if not self._whole and getattr(self._message, "asks_for_body", True):
            self.send_continue()

    def send_continue(self) -> None:
        """Have a client that waits for it send its body (RFC 9110 section 10.1.1)."""
        request = self._request
        if (
            request is not None
            and request._finish_time is None
            and self._connection.parser.awaiting_continue
            and not self._continued
        ):
            self._continued = True
            self._connection.send_interim(CONTINUE)

    def _give_piece(self, request: HTTPRequest) -> None:
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        piece, rest = data[: self._chunk_size], data[self._chunk_size :]
        self._pieces = [rest] if rest else []
        self._size = len(rest)
        message = self._message
        assert message is not None
        self._call(request, message.data_received, piece)

    def _call(self, request: HTTPRequest, step: Callable[..., Any], *args: Any) -> None:
        """Call the application, and wait for what it returns, if that can be awaited."""
        try:
            result = step(*args)
            if result is None or not inspect.isawaitable(result):
                return
            if self._told_end:  # finish(): nothing waits for that, but it may fail
                self._connection.follow(result, request)
                return
            future = asyncio.ensure_future(result, loop=self._connection.loop)
        except (Exception, asyncio.CancelledError) as error:
            self._connection.callback_failed(error, request)
            return
        self._pending = future
        future.add_done_callback(lambda done: self._go_on(done, request))

    def _go_on(self, future: asyncio.Future[Any], request: HTTPRequest) -> None:
        if self._pending is future:
            self._pending = None
        if future.cancelled() and self._request is not request:
            return  # its exchange is over, and it was given up
        error = asyncio.CancelledError() if future.cancelled() else future.exception()
        if error is not None:
            self._connection.callback_failed(error, request)
            return
        if self._request is not request or not self._connection.is_open:
            return  # it has been answered meanwhile, and the next one did not wait
        if not self._head_taken:
            try:
                self._after_head(request)
            except HTTPInputError as refusal:
                self._connection.refuse(refusal)
                return
        self.data_received(b"")

    def set_body_timeout(self, seconds: float) -> None:
        """Answer 408 if the current request is not whole after so many seconds."""
        self._cancel_timer()
        if not self._whole:
            self._timer = self._connection.loop.call_later(seconds, self._is_late)

    def _is_late(self) -> None:
        if not self._whole and self._connection.is_open:
            self._connection.time_out_body()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def exchange_over(self, detached: bool) -> None:
        """Forget the current request; tell its delegate, if it has not been told of the end."""
        message, self._message = self._message, None
        self._request = None
        self._pending = None  # the next request does not wait for it
        if self._pieces:
            self._pieces = []
            self._size = 0
        if self._timer is not None:
            self._cancel_timer()
        if message is not None and not self._told_end and not detached:
            self._told_end = True
            try:
                message.on_connection_close()
            except Exception:
                app_log.error("Uncaught exception in on_connection_close", exc_info=True)

    def connection_lost(self) -> None:
        """Tell the server's delegate that the connection is closed."""
        try:
            self._delegate.on_close(self._connection)
        except Exception:
            app_log.error("Uncaught exception in on_close", exc_info=True)


# --- For callbacks --------------------------------------------------------------------------


class CallbackDelegate(HTTPServerConnectionDelegate):
    """Runs a callback for each request when its head is complete.

    Args:
        callback: Reads the body by ``request.stream()`` or ``request.read()``.
    """

    def __init__(self, callback: RequestCallback) -> None:
        self._callback = callback

    def start_request(self, server_conn: object, request_conn: Any) -> CallbackMessage:
        return CallbackMessage(server_conn, request_conn.request, self._callback)


class CallbackMessage(HTTPMessageDelegate):
    """The body of one request, between the connection and the callback that reads it."""

    asks_for_body = False  # only when the callback does

    def __init__(self, connection: Any, request: HTTPRequest, callback: RequestCallback) -> None:
        self._connection: HTTPConnection = connection
        self._callback = callback
        self._request = request
        self._piece: bytes | None = None
        self._taken: asyncio.Future[None] | None = None  # done when the piece has been read
        self._reader: asyncio.Future[None] | None = None  # of a piece
        self._ended = False
        self._error: StreamClosedError | None = None

    def headers_received(self, start_line: Any, headers: Any) -> None:
        request = self._request
        request.body_reader = self
        result = self._callback(request)
        if result is not None:
            self._connection.follow(result, request)

    def data_received(self, chunk: bytes) -> Awaitable[None]:
        self._piece = chunk
        self._taken = self._connection.loop.create_future()
        self._wake()
        return self._taken

    def finish(self) -> None:
        self._ended = True
        self._wake()

    def on_connection_close(self) -> None:
        self._error = StreamClosedError(None)
        self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def read_piece(self) -> bytes:
        """Return the next piece of the body; ``b""`` at its end.

        Raises:
            StreamClosedError: The client has gone, or the response was finished.
            RuntimeError: Somebody else is reading.
        """
        if self._reader is not None:
            raise RuntimeError("the body of this request is being read already")
        self._connection.send_continue()
        while self._piece is None and not self._ended and self._error is None:
            self._reader = self._connection.loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        piece, self._piece = self._piece, None
        if piece is not None:
            if self._taken is not None and not self._taken.done():
                self._taken.set_result(None)
            return piece
        if self._ended:
            return b""
        assert self._error is not None
        raise self._error

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the pieces of the body."""
        while piece := await self.read_piece():
            yield piece
