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
import socket
from collections.abc import Awaitable, Callable, Container, Coroutine, Generator
from time import time
from typing import Any

from fasthttpserver._access import Access, AccessLog
from fasthttpserver._deadlines import Deadlines, Waiting
from fasthttpserver._forwarded import forwarded_ip, forwarded_protocol
from fasthttpserver._framing import ResponseFraming
from fasthttpserver._limits import Limits
from fasthttpserver._parser import RequestParser
from fasthttpserver._replies import CONTINUE, error_reply, one_line
from fasthttpserver._request import HTTPRequest, RequestCallback, encode_chunk
from fasthttpserver._sweep import Sweep
from fasthttpserver.errors import HTTPInputError, HTTPOutputError, StreamClosedError
from fasthttpserver.iostream import IOStream
from fasthttpserver.log import app_log, gen_log

__all__ = ["HTTPConnection"]

# While requests are pipelined: how many are served in one turn of the loop, before others get
# theirs, and a chunk of how many bytes has to be sent before the next request is served.
_FAIR_SHARE = 64
_LARGE_CHUNK = 16_384

_OPEN, _LINGERING, _DETACHED, _CLOSED = range(4)

# How near the server's end is.
_NOT_DRAINING, _ANNOUNCING, _LAST_CALL = range(3)


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
        "__dict__",  # applications keep their own things here
        "__weakref__",
        "_access",
        "_access_log",
        "_announced",
        "_close_callback",
        "_continued",
        "_deadlines",
        "_draining",
        "_dropped",
        "_ending",
        "_eof",
        "_flushed",
        "_framing",
        "_left",
        "_mark",
        "_next_request",
        "_parser",
        "_paused",
        "_request",
        "_send",
        "_simple",
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
        request_callback: RequestCallback,
        no_keep_alive: bool = False,
        xheaders: bool = False,
        protocol: str | None = None,
        *,
        _sweep: Sweep[HTTPConnection] | None = None,
        _parser: RequestParser[HTTPRequest] | None = None,
        _trusted: Container[str] = (),
        _access_log: AccessLog | None = None,
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
        self._access_log = _access_log
        self._access: Access | None = None  # of the current exchange, if it is logged
        loop = stream.loop
        self._sweep = Sweep[HTTPConnection](loop, Limits()) if _sweep is None else _sweep
        self._parser = RequestParser(message_class=HTTPRequest) if _parser is None else _parser
        # Bound once, for every read and write to come.
        self._next_request = self._parser.next_request
        self._send = stream.transport_write
        self._request: HTTPRequest | None = None
        self._task: asyncio.Task[Any] | None = None
        self._write_callback: Callable[[], object] | None = None
        self._close_callback: Callable[[], object] | None = None
        # Nothing special is known of this connection and its current exchange.
        self._simple = not no_keep_alive and _access_log is None
        self._mark = 0  # how many chunks there were before the current exchange
        self._wrote = False  # in the current exchange
        self._flushed = _Flushed(stream)
        self._framing: ResponseFraming | None = None  # of the latest exchange, if any
        self._ending = False  # finish() was called, something has to leave first
        self._eof = False
        self._paused = False  # reading, until what is here has been parsed
        self._left = False  # the application was told that the client has gone
        self._continued = -1  # the number of the message that was asked to continue
        self._state = _OPEN
        self._dropped = 0  # bytes, while lingering
        self._deadlines = Deadlines(self._sweep.now)
        self._draining = _NOT_DRAINING
        self._announced = False  # a response told the client that the connection ends
        stream.set_receiver(self)
        self._sweep.add(self)

    # --- What the stream tells ----------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Run the callback for every request that is here, until one stays unfinished.

        What is written meanwhile is corked in ``stream.chunks`` and leaves at the end. While
        its callback runs, a request of which nothing special is known has that list itself:
        it appends what it writes, and drops the list when it finishes. ``_demote`` takes it
        away as soon as something else is asked for, and the careful way is gone from there.
        """
        if self._state != _OPEN:
            self._dropped += len(data)
            return
        stream = self.stream
        if self._request is not None or stream.waiting:
            self._parser.receive_data(data)
            self._hold_back()
            return
        chunks = stream.chunks
        share = _FAIR_SHARE
        stream.corked = True
        try:
            request = self._next_request(data)
            while request is not None:
                request.connection = self
                request._finish_time = None
                request._chunks = chunks if self._simple else self._begin(request)
                self._request = request
                self._mark = len(chunks)
                try:
                    result = self.request_callback(request)
                except (Exception, asyncio.CancelledError) as error:
                    self._callback_failed(error, request)
                    return
                if result is not None and inspect.iscoroutine(result):
                    self._start_task(result, request)
                if request._finish_time is None:
                    self._demote()
                    self._hold_back()
                    return  # its finish() goes on from here
                if self._simple and request.keep_alive:
                    self._request = None
                elif not self._may_go_on(request):
                    return
                if self._parser.idle:
                    break
                share -= 1
                if share == 0 or max(map(len, chunks[self._mark :]), default=0) > _LARGE_CHUNK:
                    # Others get their turn, and the client has to take this first.
                    stream.flush()
                    stream.wake_receiver()
                    self._hold_back()
                    return
                request = self._next_request()
            if request is None or not self._simple:
                self._wait_for_more()
        except HTTPInputError as error:
            self._refuse(error)
        except (KeyboardInterrupt, SystemExit) as error:
            # uvloop would log it and go on; out of a callback of its own it ends the loop.
            stream.loop.call_soon(_raise, error)
            stream.abort()
        finally:
            stream.corked = False
            if len(chunks) == 1 and self._simple:
                self._send(chunks.pop())
            elif chunks:
                stream.flush()

    def _begin(self, request: HTTPRequest) -> list[bytes] | None:
        """Prepare for an exchange behind, or in the midst of, something special."""
        if self._access_log is not None:
            self._access = Access(request)
        self._framing = None
        self._wrote = False
        self._simple = not (
            self._close_callback is not None
            or self._draining
            or self._eof
            or self._paused
            or self.no_keep_alive
            or self._access_log is not None
        )
        return self.stream.chunks if self._simple else None

    def _demote(self) -> None:
        """Have the current request, if any, go the careful way from here."""
        self._simple = False
        request = self._request
        if request is not None and request._chunks is not None:
            request._chunks = None
            if any(self.stream.chunks[self._mark :]):
                self._wrote = True

    def _may_go_on(self, request: HTTPRequest) -> bool:
        """Whether the loop in ``data_received`` may, behind a finished `request`."""
        if self._ending:
            self._hold_back()
            return False  # _written() goes on
        self._request = None
        if self._state == _OPEN:
            self._end_connection(request)
        if self.stream.waiting:
            self._hold_back()
            return False  # drained() goes on
        return self._state == _OPEN

    def eof_received(self) -> bool:
        self._eof = True
        self._demote()
        if self._request is not None and self._state == _OPEN:
            # Long-polling applications want to know; the answer may still be written.
            self._tell_left()
            return True
        if self._state == _OPEN and (self._parser.unread or self.stream.waiting):
            # What came before it is answered; then _wait_for_more() closes.
            self.stream.wake_receiver()
            return True
        # Nothing to answer: a request that was cut is never run.
        self._state = _CLOSED
        self.stream.close()
        return False

    def blocked(self) -> None:
        self.bypassed()

    def bypassed(self) -> None:
        self._demote()
        self._wrote = True

    def closing(self) -> None:
        self._demote()
        self._state = _CLOSED

    def drained(self) -> None:
        if self._ending or self._write_callback is not None:
            self._written()
        elif self._request is None and self._state == _OPEN:
            self.stream.wake_receiver()

    def release(self) -> bytes:
        """Let the application have the stream, and what was not parsed yet."""
        self._sweep.discard(self)
        self._demote()
        self._state = _DETACHED
        self.stream.set_default_close_callback(self._close_callback)
        self._close_callback = None
        callback, self._write_callback = self._write_callback, None
        if callback is not None and not self.stream.closed():
            self.stream.write(b"", callback)
        return self._parser.detach()

    def connection_lost(self, error: Exception | None) -> None:
        self._sweep.discard(self)
        self._state = _CLOSED
        self._run_close_callback()
        self._clear()

    # --- Serving ------------------------------------------------------------------------

    def _wait_for_more(self) -> None:
        parser = self._parser
        if self._paused:
            self._paused = False
            self.stream.resume_reading()
        if self._eof:
            self._close_gently(linger=False)
        elif parser.awaiting_continue and self._continued != parser.messages:
            self._continued = parser.messages
            self.stream.send(CONTINUE)
        elif self._draining == _LAST_CALL and self.idle_since is not None:
            self.close()

    def _hold_back(self) -> None:
        """Let the client wait if more of it is here than can be dealt with now (BE05)."""
        if self._state != _OPEN or self._paused:
            return
        if self._parser.unread > self._sweep.limits.read_ahead:
            self._paused = True
            self._simple = False
            self.stream.pause_reading()

    def _start_task(self, coroutine: Coroutine[Any, Any, Any], request: HTTPRequest) -> None:
        """Run what an ``async def`` callback returned; its exception is the callback's."""

        def done(task: asyncio.Task[Any]) -> None:
            if self._task is task:
                self._task = None
            error = asyncio.CancelledError() if task.cancelled() else task.exception()
            if error is not None:
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
        if type(chunk) is not bytes:
            chunk = encode_chunk(chunk)
        request = self._request
        if request is not None and request._chunks is not None and callback is None:
            request._chunks.append(chunk)
            return self._flushed
        self._demote()
        if self.stream.closed() or self._state in (_LINGERING, _CLOSED):
            return self._flushed
        if request is None or request._finish_time is not None:
            self._too_late("write")
            return self._flushed
        if self._state == _DETACHED:
            self.stream.write(chunk, callback)  # taken over by a read, as Tornado 3 code does
            return self._flushed
        if self._framing is not None:
            return self._write_framed(chunk, callback)
        if self._draining and not self._wrote:
            self._announced = _announces_close(chunk)
        if chunk:
            self._wrote = True
            self._emit(chunk)
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
        self._demote()
        request = self._request
        if self.stream.closed() or self._state in (_LINGERING, _CLOSED):
            return self.stream.drained_future()
        if request is None or request._finish_time is not None or self._wrote:
            raise RuntimeError("write_headers() after the response was begun or finished")
        framing = ResponseFraming(
            request.method,
            request.version,
            request.keep_alive and not self.no_keep_alive,
            start_line,
            headers,
        )
        if framing.informational and request.version == "HTTP/1.0":
            return self._flushed  # RFC 9110 section 15.2: it does not know them
        self._emit(framing.head)
        if not framing.informational:
            self._framing = framing
            self._wrote = request._framed = True
        return self._write_framed(chunk or b"", None)

    def _write_framed(self, chunk: bytes, callback: Callable[[], object] | None) -> Awaitable[None]:
        framing = self._framing
        if framing is not None and chunk:
            try:
                self._emit(framing.frame(chunk))
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
        if request is not None and request._chunks is not None:
            # The loop in data_received() goes on with the next request.
            request._chunks = None
            request._finish_time = time()
            return
        if request is None or request._finish_time is not None:
            if self._state == _OPEN and not self.stream.closed():
                self._too_late("finish")
            return
        if self._framing is not None and self._state == _OPEN:
            try:
                self._emit(self._framing.end())
            except HTTPOutputError:
                self.close()
                raise
        request._finish_time = time()
        if self._write_callback is not None or self.stream.waiting:
            self._ending = True  # _written() ends the exchange
        elif self.stream.corked:
            self._clear()  # the loop in data_received() goes on
        else:
            # From a task or a timer. What is left to do waits for the next turn of the event
            # loop, since detach() may follow.
            self.stream.flush()
            if self._eof or self._parser.unread or self._lingering_end(request) is not None:
                self._ending = True
                self.stream.loop.call_soon(self._written)
            else:
                self._clear()

    def _too_late(self, what: str) -> None:
        """Refuse what would land in another exchange (CVE-2023-46137's family)."""
        if self._framing is not None:
            raise RuntimeError(f"{what}() after finish()")
        gen_log.warning("%s() without a current request on %r is ignored", what, self.address)

    def detach(self) -> IOStream:
        """Give the stream to the application, with what came behind the request.

        Nothing is parsed any more, and neither does this connection write or close.
        """
        self._close_callback = None
        self.stream.flush()
        self.stream.take_over()
        self._clear()
        return self.stream

    def _emit(self, data: bytes) -> None:
        """Send what belongs to the current exchange."""
        if self._access is not None:
            self._access.wrote(data)
        self.stream.send(data)

    def _expect_written(self, callback: Callable[[], object] | None) -> None:
        """Take a write's callback, in the place of an earlier one's."""
        self._write_callback = callback
        if callback is not None:
            self.stream.loop.call_soon(self._written)

    def _written(self) -> None:
        """Run the write callback if all has left; end the exchange that waited for that."""
        self.stream.flush()
        if self.stream.waiting:
            return  # drained() comes here again
        callback, self._write_callback = self._write_callback, None
        request = self._request
        if callback is not None and request is not None and self._state == _OPEN:
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
        if self._state == _OPEN:
            self._end_connection(request)
            if self._eof or self._parser.unread:
                self.stream.wake_receiver()

    def _end_connection(self, request: HTTPRequest) -> None:
        """Close if `request` was the last one of this connection."""
        linger = self._lingering_end(request)
        if linger is not None:
            self._close_gently(linger)

    def _lingering_end(self, request: HTTPRequest) -> bool | None:
        """Whether to linger in the close behind `request`; None for no close."""
        if not request.keep_alive:
            # The client knows, so it is not sending unless it has done so already.
            return self._parser.unread > 0
        if self._framing is not None:
            goes_on = self._framing.keep_alive and not self._framing.switches
            return None if goes_on and self._draining != _LAST_CALL else True
        if self._draining == _ANNOUNCING and not self._announced:
            return None  # a close would meet the client's next request on the way
        return True if self.no_keep_alive else None

    def _clear(self) -> None:
        """Forget the current exchange."""
        access, self._access = self._access, None
        if access is not None and self._access_log is not None:
            request = access.request
            remote_ip = self._peer_ip() if request is None else request.remote_ip
            self._access_log.log(access, remote_ip or "-")
        self._request = None
        self._write_callback = None
        self._close_callback = None
        self._ending = False
        self._left = False

    def set_close_callback(self, callback: Callable[[], object] | None) -> None:
        """Have `callback` run when the client has gone before the response was finished.

        Args:
            callback: Called without arguments, once, from the loop; None takes it back.
        """
        self._demote()
        self._close_callback = callback
        if self._eof and callback is not None:
            self.stream.loop.call_soon(self._tell_left)

    def _tell_left(self) -> None:
        request = self._request
        if request is not None and self._state == _OPEN:
            self._demote()
            told = self._run_close_callback() | self.stream.run_close_callback()
            if self._request is request:  # not finished by what was just told
                self._left = told

    def _run_close_callback(self) -> bool:
        """Run the close callback, if there is one and it has not run; tell whether."""
        callback, self._close_callback = self._close_callback, None
        if callback is None:
            return False
        try:
            callback()
        except Exception:
            app_log.error("Uncaught exception in close callback", exc_info=True)
            if self._state == _OPEN:
                self.close()
        return True

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
        self._sweep.refusals[error.status] += 1
        gen_log.info(
            "Malformed HTTP request from %r: %s (byte %d)",
            self.address,
            one_line(error.reason),
            error.offset,
        )
        self._reply_and_close(error.status, error.reason, self._parser.is_head)

    def _callback_failed(self, error: BaseException, request: HTTPRequest) -> None:
        """Log what the application let escape; end its exchange and the connection."""
        self._demote()
        if self._request is request and not self._ending and request._finish_time is not None:
            self._request = None
        current = self._request is request
        unanswered = current and not self._wrote and not self._ending
        if isinstance(error, HTTPInputError) and unanswered:
            self._refuse(error)  # for instance too many arguments: the client's fault
            return
        if isinstance(error, StreamClosedError) and self.stream.closed():
            return  # awaiting a write to a client that left
        if isinstance(error, asyncio.CancelledError):
            app_log.warning("Callback was cancelled, closing connection: %r", request)
        else:
            app_log.error("Uncaught exception, closing connection: %r", request, exc_info=error)
        if self._state == _DETACHED and (current or self._request is None):
            self.stream.close()  # nobody else will
        if self._state != _OPEN:
            return
        if unanswered:
            self._reply_and_close(500, "Internal server error", request.method == "HEAD")
        elif current or self._request is None:
            self._clear()
            self._close_gently(linger=True)

    def _reply_and_close(self, status: int, reason: str, head_only: bool) -> None:
        if self._state == _OPEN and not self.stream.closed():
            if self._access_log is not None and self._access is None:
                self._access = Access(None)
            self._emit(error_reply(status, reason, head_only))
            self._clear()
            self._close_gently(linger=True)

    # --- Deadlines, and what the server wants of its connections ----------------------------

    def check_deadlines(self, now: float) -> None:
        """Close, or answer 408, if something takes too long; called by the sweep."""
        parser = self._parser
        message = parser.messages
        progress = 0
        if self.stream.waiting:
            waiting, progress = Waiting.WRITING, self.stream.bytes_taken
        elif self._state != _OPEN:
            waiting, progress = Waiting.LINGERING, self._dropped
        elif self._request is not None:
            # An application that was told that its client left may never finish.
            waiting = Waiting.LEFT if self._left else Waiting.APPLICATION
            if self._paused and self.stream.has_failed():
                # Nobody listens while reading is paused; a long poll would wait for ever.
                self.stream.abort()
                return
        elif parser.receiving_body:
            waiting, progress = Waiting.BODY, parser.body_received
        elif message == 0:
            waiting = Waiting.FIRST_HEAD
        else:
            waiting = Waiting.HEAD if parser.receiving_head else Waiting.IDLE
        if not self._deadlines.overdue(waiting, message, progress, self._sweep.limits, now):
            return
        self._sweep.timeouts[waiting.name.lower()] += 1
        if waiting is Waiting.BODY:
            self._refuse(HTTPInputError("Timeout reading body", 408))
        elif parser.receiving_head and waiting in (Waiting.FIRST_HEAD, Waiting.HEAD):
            self._refuse(HTTPInputError("Timeout reading headers", 408))
        elif waiting is Waiting.WRITING:
            self.stream.reset()
        elif waiting is Waiting.LINGERING:
            self.stream.abort()
        else:
            self.close()

    @property
    def requests(self) -> int:
        """How many whole requests it has received and answered."""
        return self._parser.messages - (self._request is not None)

    @property
    def bytes_received(self) -> int:
        """How many bytes have come."""
        return self._parser.received

    @property
    def idle_since(self) -> float | None:
        """Since when nothing has come or gone, in seconds on the sweep's clock.

        None while there is something to do.
        """
        parser = self._parser
        if (
            self._state != _OPEN
            or self._request is not None
            or parser.receiving_head
            or parser.receiving_body
            or parser.unread
            or self.stream.waiting
        ):
            return None
        return self._deadlines.since

    def refuse_service(self, reason: str) -> None:
        """Answer 503 to whatever comes, and close."""
        self._sweep.refusals[503] += 1
        self._reply_and_close(503, reason, head_only=False)

    def drain(self, last_call: bool) -> None:
        """Prepare for the end of the server.

        From now on ``no_keep_alive`` is true, so that applications can announce the close.
        A response that does ends the connection.

        Args:
            last_call: End it after any response, and now if no request is here.
        """
        self.no_keep_alive = True
        self._draining = _LAST_CALL if last_call else _ANNOUNCING
        self._demote()
        if last_call and self.idle_since is not None:
            self.close()

    def cut_off(self) -> bool:
        """End it at once, as the server does not wait any longer; tell whether that hurts.

        A half-sent request is answered 408. An answer that is under way must not look
        complete.
        """
        parser = self._parser
        if self._state == _OPEN and (self._request is not None or self.stream.waiting):
            self.stream.reset()
        elif self._state == _OPEN and (parser.receiving_head or parser.receiving_body):
            self._refuse(HTTPInputError("Timeout reading the request", 408))
            self.stream.abort()
        else:
            self.stream.abort()
            return False
        return True

    # --- What a request asks of its connection ----------------------------------------------

    def remote_ip_of(self, request: HTTPRequest) -> str:
        """The client's address for one request."""
        remote_ip = self._peer_ip()
        if self.xheaders:
            remote_ip = forwarded_ip(request.headers, remote_ip, self._trusted)
        return remote_ip

    def _peer_ip(self) -> str:
        if self.address_family in (socket.AF_INET, socket.AF_INET6):
            return str(self.address[0])
        return "0.0.0.0"  # Tornado's, for Unix sockets

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


def _raise(error: BaseException) -> None:
    raise error


def _announces_close(chunk: bytes) -> bool:
    """Whether the head that an application writes by itself says ``Connection: close``."""
    head = chunk.partition(b"\r\n\r\n")[0].lower().replace(b" ", b"")
    return b"\r\nconnection:close" in head
