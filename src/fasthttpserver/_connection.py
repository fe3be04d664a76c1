"""Bytes of one client come in; calls of the application, and its answers, go out.

A connection is in one of these states. ``R`` is the current request.

=========  =================================  ==============================================
state      what is going on                   what ends it
=========  =================================  ==============================================
IDLE       no byte of a request is here       first byte -> RECEIVING; EOF, deadline -> close
RECEIVING  a head or a body is incomplete     whole request -> R; fault, deadline -> refusal
R active   the application has R              ``finish()``; EOF is told, the answer goes on
R ending   finished, but bytes or a write     all of it has left -> next request, or close
           callback wait for the kernel
LINGERING  our side is shut, theirs is read   EOF, silence or deadline -> close
           and dropped, so that no RST
           destroys the last answer
DETACHED   the application has the stream     nothing
CLOSED     the stream is closed               nothing
=========  =================================  ==============================================

One read is served in one loop: request, callback, finish, next request. The loop stops
at a request that is not finished yet, and its ``finish()`` starts it again; so requests
are answered in order and nothing recurses. The parser holds what has not been looked at.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import socket
from collections.abc import Awaitable, Callable, Container, Coroutine, Generator
from time import time
from typing import Any

from fasthttpserver._forwarded import forwarded_ip, forwarded_protocol
from fasthttpserver._framing import ResponseFraming
from fasthttpserver._limits import Limits
from fasthttpserver._parser import RequestParser
from fasthttpserver._replies import CONTINUE, error_reply
from fasthttpserver._request import HTTPRequest
from fasthttpserver._sweep import Sweep
from fasthttpserver.errors import HTTPInputError, HTTPOutputError, StreamClosedError
from fasthttpserver.iostream import IOStream
from fasthttpserver.log import app_log, gen_log

__all__ = ["HTTPConnection"]

# Requests that are served in one turn of the loop before others get theirs.
_FAIR_SHARE = 100

_OPEN, _LINGERING, _DETACHED, _CLOSED = range(4)

# What a deadline can be about.
_WRITING, _DROPPING, _FIRST_HEAD, _HEAD, _BODY, _IDLE, _LEFT, _ACTIVE = range(8)


class HTTPConnection:
    """One client's connection; it runs the callback for each request on it, in order.

    Args:
        stream: The connected stream.
        address: The peer's address as ``accept()`` gives it.
        request_callback: Called with each ``HTTPRequest``.
        no_keep_alive: Close after one response.
        xheaders: Believe a proxy's header fields about address and protocol.
        protocol: What ``request.protocol`` is to be; None finds out.
    """

    __slots__ = (
        "__weakref__",
        "_close_callback",
        "_dropped",
        "_continued",
        "_ending",
        "_eof",
        "_flushed",
        "_framing",
        "_left",
        "_next_request",
        "_parser",
        "_plain",
        "_receive_data",
        "_request",
        "_seen",
        "_send",
        "_serving",
        "_since",
        "_started",
        "_state",
        "_sweep",
        "_task",
        "_trusted",
        "_write_callback",
        "_wrote",
        "address",
        "address_family",
        "no_keep_alive",
        "protocol",
        "request_callback",
        "stream",
        "xheaders",
    )

    def __init__(
        self,
        stream: IOStream,
        address: Any,
        request_callback: Callable[[HTTPRequest], object],
        no_keep_alive: bool = False,
        xheaders: bool = False,
        protocol: str | None = None,
        *,
        _sweep: Sweep | None = None,
        _parser: RequestParser[HTTPRequest] | None = None,
        _trusted: Container[str] = (),
    ) -> None:
        self.stream = stream
        self.address = address
        stream_socket = stream.socket
        self.address_family = socket.AF_UNSPEC if stream_socket is None else stream_socket.family
        self.request_callback = request_callback
        self.no_keep_alive = no_keep_alive
        self.xheaders = xheaders
        self.protocol = protocol
        self._trusted = _trusted
        loop = stream.loop
        self._sweep = Sweep(loop, Limits()) if _sweep is None else _sweep
        self._parser = RequestParser(message_class=HTTPRequest) if _parser is None else _parser
        # Bound once, for every read and write to come.
        self._receive_data = self._parser.receive_data
        self._next_request = self._parser.next_request
        self._send = stream.send
        self._request: HTTPRequest | None = None
        self._task: asyncio.Task[Any] | None = None
        self._write_callback: Callable[[], object] | None = None
        self._close_callback: Callable[[], object] | None = None
        # A request is current, and nothing but writes of bytes has happened since.
        self._plain = False
        self._wrote = False  # in the current exchange
        self._flushed = _Flushed(stream)
        self._framing: ResponseFraming | None = None  # of the latest exchange, if any
        self._ending = False  # finish() was called, something has to leave first
        self._serving = False  # inside _serve()
        self._eof = False
        self._left = False  # the application was told that the client has gone
        self._continued = -1  # the number of the message that was asked to continue
        self._state = _OPEN
        self._dropped = 0  # bytes, while lingering
        # What the sweep saw last, since when, and since when it has been of that kind.
        self._seen = (_FIRST_HEAD, 0)
        self._since = self._started = loop.time()
        stream.set_receiver(self)
        self._sweep.add(self)

    # --- What the stream tells ----------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._state != _OPEN:
            self._dropped += len(data)
            return
        self._receive_data(data)
        if self._request is None and not self.stream.waiting:
            self._serve()
        elif self._parser.unread > self._sweep.limits.read_ahead:
            # Enough is here to know that there is more; let the client wait (BE05).
            self.stream.pause_reading()

    def eof_received(self) -> bool:
        self._eof = True
        if self._request is not None and self._state == _OPEN:
            # Long-polling applications want to know; the answer may still be written.
            self._left = self._close_callback is not None
            self._run_close_callback()
            return True
        # Nothing to answer: a request that was cut is never run.
        self._state = _CLOSED
        self.stream.close()
        return False

    def blocked(self) -> None:
        self._plain = False

    def closing(self) -> None:
        self._plain = False
        self._state = _CLOSED

    def drained(self) -> None:
        if self._ending or self._write_callback is not None:
            self._written()
        else:
            self._serve_again()

    def release(self) -> bytes:
        """Let the application have the stream, and what was not parsed yet."""
        self._sweep.discard(self)
        self._plain = False
        self._state = _DETACHED
        self.stream.set_default_close_callback(self._run_close_callback)
        return self._parser.detach()

    def connection_lost(self, error: Exception | None) -> None:
        self._sweep.discard(self)
        self._state = _CLOSED
        self._run_close_callback()
        self._clear()

    # --- Serving ------------------------------------------------------------------------

    def _serve(self) -> None:
        """Run the callback for every request that is here, until one stays unfinished."""
        self._serving = True
        next_request = self._next_request
        try:
            for _ in range(_FAIR_SHARE):
                request = next_request()
                if request is None:
                    self._wait_for_more()
                    return
                request.connection = self
                request._start_time = time()
                request._finish_time = None
                self._request = request
                self._framing = None
                self._wrote = False
                self._plain = True
                try:
                    result = self.request_callback(request)
                except Exception as error:
                    self._callback_failed(error, request)
                    return
                if result is not None and inspect.iscoroutine(result):
                    self._start_task(result, request)
                if self._request is not None:
                    return  # its finish() goes on from here
                if not request.keep_alive or self.no_keep_alive or self._framing is not None:
                    self._end_connection(request)
                if self._state != _OPEN or self.stream.waiting:
                    return  # closed, or the client has to take what it asked for first
            self.stream.loop.call_soon(self._serve_again)
        except HTTPInputError as error:
            self._refuse(error)
        finally:
            self._serving = False

    def _serve_again(self) -> None:
        if self._state == _OPEN and not (self._serving or self._request or self.stream.waiting):
            self._serve()

    def _wait_for_more(self) -> None:
        parser = self._parser
        if self._eof:
            self._close_gently(linger=False)
        elif parser.awaiting_continue and self._continued != parser.messages:
            self._continued = parser.messages
            self.stream.send(CONTINUE)

    def _start_task(self, coroutine: Coroutine[Any, Any, Any], request: HTTPRequest) -> None:
        """Run what an ``async def`` callback returned; its exception is the callback's."""

        def done(task: asyncio.Task[Any]) -> None:
            if self._task is task:
                self._task = None
            if not task.cancelled() and (error := task.exception()) is not None:
                self._callback_failed(error, request)

        # The reference keeps the task alive; the loop itself has a weak one.
        self._task = self.stream.loop.create_task(coroutine)
        self._task.add_done_callback(done)

    # --- The response -------------------------------------------------------------------

    def write(
        self, chunk: bytes | str, callback: Callable[[], object] | None = None
    ) -> Awaitable[None]:
        """Write a part of the response; see ``HTTPRequest.write``.

        Behind ``write_headers`` it is a part of the body, and framed. On a closed connection
        nothing happens, and the callback never runs.

        Raises:
            RuntimeError: The exchange is over, and had ``write_headers``.
            HTTPOutputError: It is more than Content-Length announced.
        """
        if self._plain and callback is None and type(chunk) is bytes:
            self._wrote = True
            self._send(chunk)
            return self._flushed
        if type(chunk) is not bytes:
            chunk = _encode(chunk)
        if self.stream.closed() or self._state in (_LINGERING, _CLOSED):
            return self._flushed
        if self._request is None and self._state == _OPEN:
            self._too_late("write")
            return self._flushed
        if self._framing is not None:
            return self._write_framed(chunk, callback)
        self._wrote = True
        self.stream.send(chunk)
        self._expect_written(callback)
        return self._flushed

    def write_headers(
        self, start_line: Any, headers: Any, chunk: bytes | None = None
    ) -> Awaitable[None]:
        """Begin a response whose framing the server does.

        Args:
            start_line: An ``httputil.ResponseStartLine``, or three such things.
            headers: An ``HTTPHeaders``; what delimits the body is set in it.
            chunk: The first part of the body.

        Returns:
            A future that is done when all that was written has left.

        Raises:
            ValueError: Something in the head would end it early.
            RuntimeError: The exchange is over, or has begun otherwise.
        """
        request = self._request
        if self.stream.closed() or self._state in (_LINGERING, _CLOSED):
            return self.stream.drained_future()
        if request is None or self._wrote:
            raise RuntimeError("write_headers() after the response was begun or finished")
        framing = ResponseFraming(
            request.method,
            request.version,
            request.keep_alive and not self.no_keep_alive,
            start_line,
            headers,
        )
        self.stream.send(framing.head)
        if not framing.informational:
            self._plain = False
            self._framing = framing
            self._wrote = request._framed = True
        return self._write_framed(chunk or b"", None)

    def _write_framed(self, chunk: bytes, callback: Callable[[], object] | None) -> Awaitable[None]:
        framing = self._framing
        if framing is not None and chunk:
            try:
                self.stream.send(framing.frame(chunk))
            except HTTPOutputError:
                self.close()  # the client must not take the next response for the rest
                raise
        self._expect_written(callback)
        return self.stream.drained_future()

    def finish(self) -> None:
        """End the current exchange: the next request is served, or the connection closed.

        Raises:
            RuntimeError: The exchange is over, and had ``write_headers``.
            HTTPOutputError: The body is shorter than Content-Length announced.
        """
        request = self._request
        if self._plain and self._serving and request is not None:
            # The loop in _serve() goes on with the next request.
            self._plain = False
            self._request = None
            request._finish_time = time()
            return
        if request is None:
            if self._state == _OPEN and not self.stream.closed():
                self._too_late("finish")
            return
        if self._framing is not None and self._state == _OPEN and not self._ending:
            try:
                self.stream.send(self._framing.end())
            except HTTPOutputError:
                self.close()
                raise
        request._finish_time = time()
        if self._write_callback is not None or self.stream.waiting:
            self._ending = True
        else:
            self._end_exchange(request)

    def _too_late(self, what: str) -> None:
        """Refuse what would land in another exchange (CVE-2023-46137's family)."""
        if self._framing is not None:
            raise RuntimeError(f"{what}() after finish()")
        gen_log.warning("%s() without a current request on %r is ignored", what, self.address)

    def detach(self) -> IOStream:
        """Give the stream to the application, with what came behind the request.

        Nothing is parsed any more, and neither does this connection write or close.
        """
        self.stream.flush()
        self.stream.take_over()
        self._clear()
        return self.stream

    def _expect_written(self, callback: Callable[[], object] | None) -> None:
        """Take a write's callback, in the place of an earlier one's."""
        self._write_callback = callback
        if callback is not None:
            self._plain = False
            self.stream.loop.call_soon(self._written)

    def _written(self) -> None:
        """Run the write callback if all has left; end the exchange that waited for that."""
        self.stream.flush()
        if self.stream.waiting:
            return  # drained() comes here again
        callback, self._write_callback = self._write_callback, None
        if callback is not None and self._state == _OPEN:
            request = self._request
            try:
                callback()
            except Exception as error:
                self._callback_failed(error, request)
                return
        if self._ending and self._write_callback is None and self._request is not None:
            self._end_exchange(self._request)

    def _end_exchange(self, request: HTTPRequest) -> None:
        """Forget the request; serve the next one, or close."""
        self._clear()
        if self._serving or self._state != _OPEN:
            return  # the loop in _serve() goes on, or nothing does
        # From a task, a timer or a write callback.
        if not self._end_connection(request):
            self.stream.flush()
            self.stream.resume_reading()
            if self._eof or self._parser.unread:
                self.stream.loop.call_soon(self._serve_again)

    def _end_connection(self, request: HTTPRequest) -> bool:
        """Close if `request` was the last one of this connection; tell whether."""
        if self.no_keep_alive or (self._framing is not None and not self._framing.keep_alive):
            self._close_gently(linger=True)
        elif not request.keep_alive:
            # The client knows, so it is not sending unless it has done so already.
            self._close_gently(linger=self._parser.unread > 0)
        else:
            return False
        return True

    def _clear(self) -> None:
        self._request = None
        self._write_callback = None
        self._close_callback = None
        self._ending = False
        self._plain = False

    def set_close_callback(self, callback: Callable[[], object] | None) -> None:
        """Have `callback` run when the client has gone before the response was finished.

        Args:
            callback: Called without arguments, once, from the loop; None takes it back.
        """
        self._plain = False
        self._close_callback = callback

    def _run_close_callback(self) -> None:
        callback, self._close_callback = self._close_callback, None
        if callback is None:
            return
        try:
            callback()
        except Exception:
            app_log.error("Uncaught exception in close callback", exc_info=True)

    # --- Closing ------------------------------------------------------------------------

    def close(self) -> None:
        """Close the connection; what was written is sent, the close callback does not run."""
        self._clear()
        self._state = _CLOSED
        self.stream.close()

    def _close_gently(self, linger: bool) -> None:
        """Close so that the last answer arrives, even if the client is still sending."""
        if linger and not self._eof and self.stream.shutdown_write():
            self._state = _LINGERING
            self.stream.resume_reading()
        else:
            self._state = _CLOSED
            self.stream.close()

    def _refuse(self, error: HTTPInputError) -> None:
        """Answer a request that is refused, and close; nothing behind it is read."""
        gen_log.info(
            "Malformed HTTP request from %r: %s (byte %d)",
            self.address,
            error.reason,
            error.offset,
        )
        self._reply_and_close(error.status, error.reason, self._parser.is_head)

    def _callback_failed(self, error: BaseException, request: HTTPRequest | None) -> None:
        """Log what the application let escape; end its exchange and the connection."""
        current = self._request is not None and self._request is request
        if isinstance(error, HTTPInputError) and current and not self._wrote:
            self._refuse(error)  # for instance too many arguments: the client's fault
            return
        if isinstance(error, StreamClosedError) and self.stream.closed():
            return  # awaiting a write to a client that left
        app_log.error("Uncaught exception, closing connection: %r", request, exc_info=error)
        if self._state != _OPEN:
            return
        if current and not self._wrote and request is not None:
            self._reply_and_close(500, "Internal server error", request.method == "HEAD")
        elif current or self._request is None:
            self._clear()
            self._close_gently(linger=True)

    def _reply_and_close(self, status: int, reason: str, head_only: bool) -> None:
        if self._state == _OPEN and not self.stream.closed():
            self.stream.send(error_reply(status, reason, head_only))
            self._clear()
            self._close_gently(linger=True)

    # --- Deadlines ----------------------------------------------------------------------

    def check_deadlines(self, now: float) -> None:
        """Close or answer 408 if something takes too long; called by the sweep.

        Serving stores nothing for this: the sweep compares what it sees with what it saw.
        """
        kind, progress, allowed = self._waiting_for()
        if kind != self._seen[0]:
            self._started = now
        if (kind, progress) != self._seen:
            self._seen = (kind, progress)
            self._since = now
        elif now - self._since >= allowed:
            self._overdue(kind)
            return
        limits = self._sweep.limits
        if kind == _BODY:
            elapsed = now - self._started
            too_slow = progress < limits.body_min_rate * elapsed
            too_long = limits.body_timeout is not None and elapsed > limits.body_timeout
            if too_long or (too_slow and elapsed > limits.body_grace):
                self._overdue(kind)
        elif kind == _DROPPING and now - self._started >= limits.linger_timeout:
            self._overdue(kind)

    def _waiting_for(self) -> tuple[int, int, float]:
        """What is waited for, a number that changes with every progress, and the limit."""
        limits = self._sweep.limits
        parser = self._parser
        if self.stream.waiting:
            return _WRITING, self.stream.write_buffer_size, limits.write_timeout
        if self._state != _OPEN:
            return _DROPPING, self._dropped, limits.linger_silence
        if self._request is not None:
            # An application that was told that its client left may never finish.
            allowed = limits.idle_connection_timeout if self._left else math.inf
            return (_LEFT if self._left else _ACTIVE), 0, allowed
        if parser.receiving_body:
            return _BODY, parser.body_received, limits.body_stall_timeout
        if parser.messages == 0:
            return _FIRST_HEAD, 0, limits.header_timeout
        if parser.receiving_head:
            return _HEAD, parser.messages, limits.header_timeout
        return _IDLE, parser.messages, limits.idle_connection_timeout

    def _overdue(self, kind: int) -> None:
        if kind == _BODY or (kind in (_FIRST_HEAD, _HEAD) and self._parser.receiving_head):
            what = "body" if kind == _BODY else "headers"
            self._refuse(HTTPInputError(f"Timeout reading {what}", 408))
        elif kind == _WRITING or kind == _DROPPING:
            self.stream.abort()
        else:
            self._state = _CLOSED
            self.stream.close()

    # --- What a request asks of its connection ----------------------------------------------

    def remote_ip_of(self, request: HTTPRequest) -> str:
        """The client's address for one request."""
        remote_ip = "0.0.0.0"  # Tornado's, for Unix sockets
        if self.address_family in (socket.AF_INET, socket.AF_INET6):
            remote_ip = str(self.address[0])
        if self.xheaders:
            remote_ip = forwarded_ip(request.headers, remote_ip, self._trusted)
        return remote_ip

    def protocol_of(self, request: HTTPRequest) -> str:
        """``http`` or ``https`` for one request."""
        protocol = self.protocol or ("https" if self.stream.is_tls else "http")
        return forwarded_protocol(request.headers, protocol) if self.xheaders else protocol


class _Flushed:
    """What ``write`` returns: awaiting it waits until all that was written has left.

    One for a connection, since most writes are not awaited. With nothing to wait for it
    still lets others have a turn.

    Raises:
        StreamClosedError: The client has gone, when it is awaited.
    """

    __slots__ = ("_stream",)

    def __init__(self, stream: IOStream) -> None:
        self._stream = stream

    def __await__(self) -> Generator[Any, None, None]:
        return (yield from self._stream.drained_future().__await__())


def _encode(chunk: object) -> bytes:
    """Bytes of anything that ``write`` takes."""
    if isinstance(chunk, str):
        # The wire's charset, so that len(text) is the number of bytes.
        return chunk.encode("latin-1")
    if isinstance(chunk, (bytes, bytearray, memoryview)):
        return bytes(chunk)
    raise TypeError(f"write() takes bytes or str, not {type(chunk).__name__}")
