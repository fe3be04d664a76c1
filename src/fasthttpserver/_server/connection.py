"""One client's connection, from the first byte to the last.

The transport calls it, it calls the application. What it is about is told by a few variables,
of which no other file writes any:

============  =======================  =======================================================
variable      value                    what ends it
============  =======================  =======================================================
`lifecycle`   OPEN                     the last response, a refusal -> LINGERING or CLOSED;
                                       ``detach()``, a read -> DETACHED; the peer,
                                       ``close()``, a deadline -> CLOSED
              LINGERING                the client's end, silence or a deadline -> CLOSED. Our
                                       side is shut; the client's is read and dropped, or the
                                       kernel's reset would destroy the last answer.
              DETACHED                 nothing: the application has the stream
              CLOSED                   nothing
`input`       READING                  more waits than ``read_ahead`` -> PAUSED; FIN -> EOF
              PAUSED                   enough of it has been served -> READING
              EOF                      nothing: the client sends no more, and may read on
`shutdown`    NO, ANNOUNCING,          the server's ``drain()``: in this order
              LAST_CALL
`request`     None, or a request       ``finish()``, once all of the response has left
`response`    None, or a `Response`    the end of the exchange; it exists off the fast path
============  =======================  =======================================================

On the **fast path** are a connection and a request of which nothing special is known: then the
request corks what it writes by itself (`HTTPRequest._corked`), `finish` only notes the time, and
``data_received`` sends that when the callback has returned. An answer that comes later is still
on it while it is one write, one ``write_headers`` with all of the body, or one ``respond``.
`_fast` says so; it is what `_may_be_fast` derives from the variables above, kept so that a read
asks once. Whatever is special leaves the fast path (`leave_fast_path`): the corked bytes go to
the writer, a `Response` is made, and the same request goes on from there, with every check.
Both give the same bytes.

One read is served in one loop: request, callback, finish, next request. The loop stops at a
request that is not finished yet, and the end of its response starts it again; so requests are
answered in order and nothing recurses. The parser holds what has not been looked at.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import copy_context
from enum import Enum
from http.client import responses
from time import time
from types import CoroutineType
from typing import IO, TYPE_CHECKING, Any

from fasthttpserver._http.fields import Fields, StartLine
from fasthttpserver._http.forwarded import forwarded_id, forwarded_ip, forwarded_protocol
from fasthttpserver._http.framing import ResponseFraming
from fasthttpserver._http.replies import CONTINUE, error_reply, one_line
from fasthttpserver._http.request_ids import new_id
from fasthttpserver._net.loops import bound_reads
from fasthttpserver._net.sockets import has_failed, is_settled, unread
from fasthttpserver._net.streams import IOStream, run_close_callback
from fasthttpserver._net.writer import Writer
from fasthttpserver._parser import NOTHING_YET, check_response, frame_response, measure_response
from fasthttpserver._server.client_certificates import forwarded_certificate
from fasthttpserver._server.context import ConnectionContext, ConnectionParameters
from fasthttpserver._server.deadlines import Deadlines, Waiting
from fasthttpserver._server.persistence import (
    KEEP_ALIVE,
    LAST_CALL,
    LINGER,
    NO_SHUTDOWN,
    Persistence,
    Shutdown,
    persistence,
)
from fasthttpserver._server.request import TOO_LATE, HTTPRequest, encode_chunk
from fasthttpserver._server.response import Response
from fasthttpserver._server.settings import Settings
from fasthttpserver._server.streaming import StreamedRequests
from fasthttpserver.errors import HTTPInputError, StreamClosedError
from fasthttpserver.log import app_log, gen_log

if TYPE_CHECKING:
    from fasthttpserver._server.request import RequestCallback

__all__ = ["HTTPConnection"]

# How many pipelined requests of one client are served in one turn of the loop, and for how many
# seconds, before other clients get theirs. A response larger than the last number, in bytes, is
# sent before the next request is served.
_FAIR_SHARE = 64
_FAIR_TIME = 0.005
_LARGE_CHUNK = 16_384


class Lifecycle(Enum):
    """What a connection is good for."""

    OPEN = 0
    LINGERING = 1
    DETACHED = 2
    CLOSED = 3


class Input(Enum):
    """What may still come from the client."""

    READING = 0
    PAUSED = 1
    EOF = 2


# A global is found much faster than a member: 3.11 looks for that one by Python code.
OPEN, LINGERING, DETACHED, CLOSED = Lifecycle
READING, PAUSED, EOF = Input


class HTTPConnection(asyncio.Protocol):
    """One client's connection; it runs the callback for each request on it, in order.

    Args:
        stream: The connected stream.
        address: The peer's address as ``accept()`` gives it.
        request_callback: Called with each ``HTTPRequest``.
        no_keep_alive: Close after one response.
        xheaders: Believe a proxy's header fields about address and protocol.
        protocol: What ``request.protocol`` is to be; None to find out.
    """

    __slots__ = (
        "__dict__",  # applications keep their own things here
        "__weakref__",
        "_close_callback",
        "_context",
        "_deadlines",
        "_dropped",
        "_fast",
        "_framed",
        "_input",
        "_late",
        "_lifecycle",
        "_no_keep_alive",
        "_own_writer",
        "_request",
        "_settings",
        "_shutdown",
        "_stream",
        "_streamed",
        "_transport",
        "_wakes",
        "address",
        "parser",
        "request_callback",
        "response",
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
    ) -> None:
        settings = Settings(
            request_callback, no_keep_alive=no_keep_alive, xheaders=xheaders, protocol=protocol
        )
        self._take_stream(settings, stream, address)

    @classmethod
    def of_server(
        cls, settings: Settings, loop: asyncio.AbstractEventLoop, address: Any
    ) -> HTTPConnection:
        """Make the protocol of a connection that is about to be made.

        Args:
            settings: The server's.
            loop: That of the transport.
            address: As ``accept()`` gives it.
        """
        connection = cls.__new__(cls)
        connection._prepare(settings, loop, address)
        return connection

    @classmethod
    def on_stream(cls, settings: Settings, stream: IOStream, address: Any) -> HTTPConnection:
        """Serve HTTP on a stream that has been in other hands until now."""
        connection = cls.__new__(cls)
        connection._take_stream(settings, stream, address)
        return connection

    def _prepare(self, settings: Settings, loop: asyncio.AbstractEventLoop, address: Any) -> None:
        self._settings = settings
        settings.loop = loop
        self.address = address
        self.request_callback = settings.callback
        peers = settings.trusted_peers
        self.xheaders = settings.xheaders and (peers is None or address in peers)
        self._no_keep_alive = settings.no_keep_alive
        self._lifecycle = OPEN
        self._input = READING
        self._shutdown = NO_SHUTDOWN
        self._request: HTTPRequest | None = None
        self.response: Response | None = None
        # The one write so far after the callback returned: as it is, or a whole framed response.
        self._late: bytes | ResponseFraming | None = None
        self._stream: IOStream | None = None
        self._streamed: StreamedRequests | None = None  # if the application gets them in pieces
        if settings.delegate is not None:
            most, chunk_size = settings.limits.max_body_size, settings.chunk_size
            self._streamed = StreamedRequests(self, settings.delegate, most, chunk_size)
            self.request_callback = self._streamed.take
        self._close_callback: Callable[[], object] | None = None
        self._context: ConnectionContext | None = None  # if it is the same for all requests
        # While it is new, and while it rests, the time since when it waits is all there is.
        self._deadlines: Deadlines | float = settings.clock.now
        self._wakes = False  # what is here will be looked at in a later turn of the loop
        self._dropped = 0  # bytes, while lingering
        self._framed = False  # the response before this one had write_headers()

    def _take_stream(self, settings: Settings, stream: IOStream, address: Any) -> None:
        self._prepare(settings, stream.loop, address)
        self._stream = stream
        transport, writer, ahead = stream.give_to(self, self)
        writer.count_sent = settings.add_sent
        if writer.closed:
            self._lifecycle = CLOSED
        self._connect(transport, writer)
        if ahead:
            self.parser.receive_data(ahead)
            self._wake_later()

    def _connect(self, transport: Any, writer: Writer | None) -> None:
        settings = self._settings
        self._transport = transport
        self._own_writer = writer
        self.parser = settings.new_parser()
        if settings.context is None:
            settings.context = copy_context()
        self._fast = self._may_be_fast()
        if writer is None or not writer.gone:
            settings.pool.add(self)
            settings.connected(self)

    @property
    def _writer(self) -> Writer:
        """Its writing side, made when something leaves the fast path: most never need it."""
        writer = self._own_writer
        if writer is None:
            settings = self._settings
            writer = self._own_writer = Writer(self.loop, self._transport)
            writer.count_sent = settings.add_sent
            writer.closed = self._lifecycle is CLOSED
            writer.gone = self not in settings.pool
        return writer

    @property
    def _waits(self) -> bool:
        """Whether the kernel takes no more of what was written, for now."""
        return self._own_writer is not None and self._own_writer.waiting

    # --- What the transport tells -------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        if isinstance(self.loop, asyncio.BaseEventLoop):
            bound_reads(transport)
            # The transport's own tuple rather than accept()'s equal one: 150 bytes a connection.
            # If they differ, the peer is a proxy, and ours is the address of its client. Transports
            # of uvloop keep no tuple.
            peername = transport.get_extra_info("peername")
            if peername == self.address:
                self.address = peername
        transport.set_write_buffer_limits(high=0, low=0)  # as a writer needs them
        self._connect(transport, None)

    def data_received(self, data: bytes) -> None:
        """Run the callback for every request that is here, until one stays unfinished."""
        if (self._request is not None or not self._fast) and not self._may_begin(data):
            return
        pipelined = 0
        started = 0.0
        try:
            parser = self.parser
            request = parser._serve(data, self)
            while request is not None:
                if not self._fast:
                    self._begin(request)
                self._request = request
                try:
                    # Local: calling an attribute that is not a method costs more.
                    callback = self.request_callback
                    result = callback(request)
                except (Exception, asyncio.CancelledError) as error:
                    self.callback_failed(error, request)
                    break
                if result is not None:
                    self.follow(result, request)
                if self._close_callback is not None and request._finish_time is not None:
                    self.leave_fast_path()  # see _end_slow()
                # Of what has left the fast path there is none.
                response = parser._take_response(request, pipelined)
                if response is not None:
                    self._request = None
                    if self._settings.access_log is not None:
                        self._log_whole(request, response)
                    if not (pipelined or parser):  # nothing follows yet, but something may
                        self._transport.write(response)
                        return
                    (self._own_writer or self._writer).chunks.append(response)
                    if not parser:
                        break
                    large = len(response) > _LARGE_CHUNK
                elif request._finish_time is None:
                    if request._corked is NOTHING_YET:
                        request._corked = None  # respond() may be all that it still does
                    else:
                        self.leave_fast_path()
                    self.apply_back_pressure()
                    break  # the end of its response goes on from here
                elif not request.keep_alive and self._fast and self._end_fast(request):
                    break
                else:
                    goes_on, large = self._end_slow(request)
                    if not goes_on:
                        break
                pipelined += 1
                if pipelined == 1:
                    started = request.start_time
                spent = time() - started
                if large or pipelined == _FAIR_SHARE or spent > _FAIR_TIME:
                    # Others get their turn, and the client has to take this first.
                    self._writer.flush()
                    self._wake_later()
                    self.apply_back_pressure()
                    break
                request = parser._serve(b"", self)
            else:
                self.wait_for_more()
        except HTTPInputError as error:
            self.refuse(error)
        except (KeyboardInterrupt, SystemExit) as error:
            # uvloop would log it and go on; out of a callback of its own it ends the loop.
            self.loop.call_soon(_raise, error)
            self.abort()
        except BaseException:  # of a test framework, for instance
            self._leave_loop()
            raise
        if pipelined or not self._fast:
            self._leave_loop()

    def _leave_loop(self) -> None:
        writer = self._own_writer
        if writer is not None:
            writer.corked = False
            writer.flush()
        self._fast = self._may_be_fast()

    def eof_received(self) -> bool:
        self._input = EOF
        self._fast = False
        self.leave_fast_path()
        if self._lifecycle is OPEN:
            if self._streamed is not None and self._streamed.owes_body:
                # The rest may be here, and the application busy.
                self._wake_later()
                return True
            if self._request is not None:
                # Long-polling applications want to know; the answer may still be written.
                self._tell_disconnect()
                if self.response is not None and not self.parser.unread:
                    framing = self.response.framing
                    if framing is not None and framing.silent:
                        self.close()  # nothing more of it is sent, and nothing follows
                return True
            if self.parser.unread or self._waits:
                # What came before it is answered; then wait_for_more() closes.
                self._wake_later()
                return True
        # Nothing to answer: a request that was cut is never run.
        self._lifecycle = CLOSED
        self._close_now()
        return False

    def pause_writing(self) -> None:
        self._settings.pool.wake(self)  # an application may write while it rests
        self._writer.pause()
        self._fast = False
        self.leave_fast_path()

    def resume_writing(self) -> None:
        self._writer.resume(self._flushed)

    def _flushed(self) -> None:
        response = self.response
        if response is not None and response.awaits_flush:
            response.written()
        elif self._request is None and self._lifecycle is OPEN:
            self._wake_later()

    def connection_lost(self, exc: Exception | None) -> None:
        self._settings.pool.discard(self)
        self._fast = False
        self.leave_fast_path()  # what was asked has an end, too
        self._lifecycle = CLOSED
        if self._own_writer is not None or exc is not None:
            self._writer.lost(exc)
        if self._close_callback is not None or self._request is not None:
            self._note_disconnect()
            callback, self._close_callback = self._close_callback, None
            run_close_callback(callback, self.close)
            self._forget_exchange()
        if self._streamed is not None:
            self._streamed.connection_lost()
            self._streamed = None  # no cycle
            self.request_callback = self._settings.callback
        if self._stream is not None:
            self._stream.connection_lost(exc)

    # --- Serving ------------------------------------------------------------------------

    def _may_begin(self, data: bytes) -> bool:
        """Whether a request may be served now; if not, `data` is kept or dropped."""
        if self._lifecycle is not OPEN:
            self._dropped += len(data)
            return False
        if self._streamed is not None and self._streamed.wants_reads:
            self._streamed.data_received(data)
            return False
        if self._request is not None or self._wakes or self._waits:
            self.parser.receive_data(data)
            self.apply_back_pressure()
            return False
        return True

    def _begin(self, request: HTTPRequest) -> None:
        """Prepare for an exchange after something special."""
        self._fast = self._may_be_fast()
        if not self._fast:
            request._corked = None
            self._make_response(request)
            self._writer.corked = True

    def _may_be_fast(self) -> bool:
        """Whether nothing special is known: what `_fast` has to be."""
        writer = self._own_writer
        return not (
            self._lifecycle is not OPEN
            or (self._streamed is not None and self._streamed.wants_reads)
            or self._input is not READING
            or self._shutdown is not NO_SHUTDOWN
            or self.response is not None
            or self._wakes
            or self._no_keep_alive
            or (
                writer is not None
                and (writer.waiting or (len(writer.chunks) > 0 and self._late is None))
            )
        )

    def _renew_fast(self) -> None:
        """Find out, between requests, whether something special is known."""
        if self._request is None:
            self._fast = self._may_be_fast()

    def _make_response(self, request: HTTPRequest) -> Response:
        settings = self._settings
        logs = settings.access_log is not None
        self.response = Response(self, self._writer, request, logs, settings.check_responses)
        return self.response

    def leave_fast_path(self) -> Response | None:
        """Have the current request, if any, go the slow path from here.

        Returns:
            Its response; None if there is no request.
        """
        request = self._request
        if request is None:
            return None  # between requests it is for whatever makes something special
        self._fast = False
        if self.response is not None:
            return self.response
        response = self._make_response(request)
        if request._corked is not None:
            # The loop in data_received() is running, and uncorks when it ends.
            self._writer.corked = True
            if request._corked:
                response.take(request._corked)
                self._writer.chunks.append(request._corked)
            request._corked = None
        elif self._late is not None:
            if isinstance(self._late, ResponseFraming):
                response.begin(self._late)
            else:
                response.take(self._late)
            self._late = None
        return response

    def _end_fast(self, request: HTTPRequest) -> bool:
        """Close after the last response of a client; False if there is more to it than that."""
        if self.parser.unread:
            return False
        settings = self._settings
        response = self.parser._take_last_response(request)
        if response is None:
            return False
        self._request = None
        if settings.access_log is not None:
            self._log_whole(request, response)
        if self._own_writer is None:
            settings.add_sent(len(response))
            self._transport.write(response)
        else:
            self._own_writer.chunks.append(response)
        self._close_gently(linger=False)
        return True

    def _end_slow(self, request: HTTPRequest) -> tuple[bool, bool]:
        """End a finished exchange of the loop in ``data_received``.

        Returns:
            Whether the loop may go on; and if so, whether a large chunk was written and
            another request follows.
        """
        response = self.leave_fast_path()
        large = False
        if response is not None and response.request is request:
            if self._close_callback is not None and not response.ending:
                # It may run until all of the response has left.
                self._writer.flush()
                response.ending = self._writer.waiting
            if response.ending:
                self.apply_back_pressure()
                return False, False  # response_over() goes on
            if self.parser:
                chunks = self._writer.chunks[response.mark :]
                # None: it has left already, as large ones do.
                large = max(map(len, chunks), default=_LARGE_CHUNK + 1) > _LARGE_CHUNK
            self._end_exchange(response)
        if self._writer.waiting:
            self.apply_back_pressure()
            return False, False  # _flushed() goes on
        return self._lifecycle is OPEN, large

    def wait_for_more(self) -> None:
        """Nothing that is here can be served."""
        parser = self.parser
        if self._input is PAUSED:
            self.resume_reading()
        if self._input is EOF:
            self._close_gently(linger=False)
        elif parser.awaiting_continue:
            parser.told_to_continue()
            self._writer.send(CONTINUE)
            self._writer.flush()
        elif self._shutdown is LAST_CALL and self.idle:
            self.close_idle()

    def apply_back_pressure(self) -> None:
        """Pause reading while more is here than can be dealt with now: back-pressure."""
        if self._lifecycle is not OPEN or self._input is EOF:
            return
        much = self.parser.unread > self._settings.limits.read_ahead
        if much and self._input is READING:
            self._input = PAUSED
            self._fast = False
            self._transport.pause_reading()
        elif not much and self._input is PAUSED:
            self.resume_reading()  # or nobody would hear of a disconnect

    def resume_reading(self) -> None:
        """Read again, if reading was paused."""
        if self._input is not PAUSED:
            return
        self._input = READING
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def _wake_later(self) -> None:
        """Look at what is here in a later turn of the loop, as if something had come."""
        self._fast = False
        if not self._wakes:
            self._wakes = True
            # Not in the context of the task that has just finished its response.
            context = self._settings.context
            assert context is not None
            self.loop.call_soon(self._wake, context=context.copy())

    def _wake(self) -> None:
        self._wakes = False
        if self._lifecycle is OPEN:
            self.data_received(b"")

    def follow(self, result: object, request: HTTPRequest) -> None:
        """Await what the callback returned, if it can be; its exception is the callback's."""
        if type(result) is CoroutineType:
            running: Any = self._run(result, request)
            running.__qualname__ = result.__qualname__  # what asyncio calls the task
            running.send(None)  # to its first await: from here on it catches what comes
            task = self.start_task(running)
            if not task.done():
                self._settings.tasks[result] = task
        elif inspect.isawaitable(result) and result is not self and result is not TOO_LATE:
            # What write() returns is not work of the application's.
            try:
                future = asyncio.ensure_future(result, loop=self.loop)
            except ValueError as error:  # it belongs to another loop
                self.callback_failed(error, request)
                return

            def done(future: asyncio.Future[Any]) -> None:
                self._settings.tasks.pop(future, None)
                error = asyncio.CancelledError() if future.cancelled() else future.exception()
                if error is not None:
                    self.callback_failed(error, request)

            if future.done():
                done(future)
            else:
                self._settings.tasks[future] = future
                future.add_done_callback(done)

    async def _run(self, work: Coroutine[Any, Any, object], request: HTTPRequest) -> None:
        """Await a coroutine of the application's.

        A done callback of its task would cost a call from the loop for each request.
        """
        try:
            await TOO_LATE  # a task that is cancelled before its first step is so in here
            await work
        except GeneratorExit:
            work.close()
            raise
        except BaseException as error:
            work.close()  # if it has not begun, Python would warn
            self._settings.tasks.pop(work, None)
            self.callback_failed(error, request)
            if not isinstance(error, Exception):
                raise
        else:
            self._settings.tasks.pop(work, None)

    def start_task(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run a coroutine of the application as a task.

        Python 3.12 and later do its first step now: what does not wait is done at once, and
        stays on the fast path.
        """
        loop = self.loop
        if sys.version_info >= (3, 12) and loop.get_task_factory() is None:
            # Not loop.create_task(): it knows no eager_start before Python 3.14.
            return asyncio.Task(coroutine, loop=loop, eager_start=True)
        return loop.create_task(coroutine)

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do until something comes."""
        parser = self.parser
        return not (
            self._lifecycle is not OPEN
            or self._request is not None
            or parser.receiving_head
            or parser.receiving_body
            or parser.unread
            or self._waits
        )

    @property
    def input_waits(self) -> bool:
        """Whether the kernel has bytes of the client that the loop has not read yet."""
        return unread(self._transport.get_extra_info("socket")) > 0

    # --- What the application does ------------------------------------------------------

    def __await__(self) -> Generator[Any, None, None]:
        """Wait until all that was written has left; what ``write`` returns is awaited.

        Most writes are not, so there is no object for each. With nothing to wait for it
        still lets others have a turn.

        Raises:
            StreamClosedError: The client has gone.
        """
        return (yield from self._writer.flushed().__await__())

    def write(
        self, chunk: bytes | str, callback: Callable[[], object] | None = None
    ) -> Awaitable[None]:
        """Write a part of the response; see ``HTTPRequest.write``.

        After ``write_headers`` it is a part of the body, and framed. On a closed connection
        nothing happens, and the callback never runs.

        Raises:
            RuntimeError: The exchange is over, and had ``write_headers``.
            HTTPOutputError: It is more than Content-Length announced.
        """
        if type(chunk) is not bytes:
            chunk = encode_chunk(chunk)
        request = self._late_request(len(chunk))
        if request is not None and callback is None and chunk:
            if check_response(chunk, request) == 0:
                self._send_late(chunk, chunk)
            else:
                self._late = chunk
                self._writer.send(chunk)  # in the next turn, with what may follow
            return self
        response = self.leave_fast_path()
        if self._ends():
            return self
        if response is None or response.request._finish_time is not None:
            self._too_late("write", response)
        elif self._lifecycle is DETACHED:
            self.stream.write(chunk, callback)  # detached by a read, as Tornado 3 code does
        else:
            response.write(chunk, callback)
            if response.framing is not None:
                return self._writer.flushed()
        return self

    def write_headers(
        self, start_line: StartLine, headers: Fields, chunk: bytes | str | None = None
    ) -> Awaitable[None]:
        """Begin a response whose framing the server does.

        Args:
            start_line: An ``httputil.ResponseStartLine``, or a version, a code and a reason.
            headers: An ``HTTPHeaders``, in which what delimits the body is set; or any other
                mapping, or pairs. Names are strings or bytes, values may be ints too.
            chunk: The first part of the body, as for ``write``.

        Returns:
            A future that is done when all that was written has left.

        Raises:
            ValueError: Something in the head would end it early.
            TypeError: A header or the chunk is of another type.
            RuntimeError: The exchange is over, or has begun otherwise.
        """
        self._write_headers(start_line, headers, chunk)
        return self._writer.flushed()

    def _write_headers(
        self, start_line: StartLine, headers: Fields, chunk: bytes | str | None
    ) -> None:
        if chunk is not None and type(chunk) is not bytes:
            chunk = encode_chunk(chunk)
        request = self._late_request(len(chunk or b""))
        if request is not None:
            usual = ResponseFraming.of_usual(request, start_line, headers, chunk or b"")
            if usual is not None:
                self._send_late(usual, usual.head)
                return
        response = self.leave_fast_path()
        if self._ends():
            return
        if response is None or response.request._finish_time is not None:
            raise RuntimeError("write_headers() after the response was finished")
        keep_alive = response.request.keep_alive and not self.no_keep_alive
        response.write_headers(start_line, headers, keep_alive, chunk or b"")

    def respond(self, start_line: StartLine, headers: Fields, body: bytes) -> bool:
        """Send a whole response whose framing the server does, and end the exchange.

        It does what ``write_headers`` and ``finish`` do, at less cost: the request stays on the
        fast path, and a list of pairs makes the least work. Nothing is sent if it raises.

        Args:
            start_line, headers: As for ``write_headers``; without a Content-Length it is that
                of the body.
            body: All of it.

        Returns:
            False if nothing can be sent any more, for instance as the client has gone.

        Raises:
            ValueError, TypeError: As for ``write_headers``; or the response is interim.
            HTTPOutputError: The body is longer or shorter than Content-Length says.
            RuntimeError: The exchange is over, or has begun otherwise.
        """
        request = self._request
        if (
            self._fast
            and request is not None
            and not request._corked
            and self._late is None
            and (self._close_callback is None or len(body) <= _LARGE_CHUNK)
        ):
            data = frame_response(request, start_line[1], start_line[2], headers, body)
            if data is not None:
                if request._corked is None:
                    self._end_late(data, request)
                else:
                    request._finish_framed(data)
                return True
        if request is None or request._corked is not NOTHING_YET:
            response = self.leave_fast_path()
            if self._ends():
                return False
            if response is None or response.request._finish_time is not None:
                raise RuntimeError("respond() after the response was finished")
            response.check_unbegun("respond")
            request = response.request
        keep_alive = request.keep_alive and not self.no_keep_alive
        if self._streamed is not None and not self._streamed.is_whole:
            keep_alive = False  # what is left of the body is not waited for, see _end_exchange()
        framing = ResponseFraming(
            request.method,
            request.version,
            keep_alive,
            start_line,
            headers,
            len(body),
        )
        if framing.informational:
            raise ValueError("an interim response (1xx) does not end an exchange")
        data = framing.head + framing.frame(body)
        end = framing.end()
        # A close that only the response tells of is found by the check of it, if there is one.
        told = framing.keep_alive == request.keep_alive or self._settings.check_responses
        if told and not framing.switches and request._corked is NOTHING_YET:
            request._finish_framed(data + end)
        else:
            response = self.leave_fast_path()
            assert response is not None
            response.begin(framing)
            response.emit(data)
            self.finish()
        return True

    @property
    def has_written(self) -> bool:
        """Whether anything of the current response was written, and is not only corked."""
        return self._late is not None or (self.response is not None and self.response.wrote)

    def _late_request(self, size: int) -> HTTPRequest | None:
        """Return the request of which `size` bytes may be the whole answer, and leave at once.

        Its callback has returned, and nothing special is known of it yet.
        """
        request = self._request
        if request is None or not self._fast or size > _LARGE_CHUNK:
            return None
        return request if request._corked is None and self._late is None else None

    def _send_late(self, late: bytes | ResponseFraming, data: bytes) -> None:
        """Send what is the whole response, as far as one can see before ``finish``."""
        self._late = late
        self._settings.add_sent(len(data))
        self._transport.write(data)

    def _end_written(self) -> bool:
        """End the exchange of a late answer that was one write; False if there is more to it."""
        request = self._request
        late = self._late
        assert request is not None
        if self._waits or self._has_to_go_on():
            return False
        request._finish_time = time()
        if isinstance(late, ResponseFraming):
            request._framed = True
            response: bytes | None = late.head
            self._count_exchange(request, late.code)
        else:
            request._corked = late
            response = self.parser._take_response(request, True)  # as data_received() does
        if response is None:
            request._corked, request._finish_time = None, 0.0
            return False
        self._framed = request._framed
        self._request = self._late = self._close_callback = None
        if self._settings.access_log is not None:
            self._log_whole(request, response)
        if self._own_writer is not None:
            self._own_writer.flush()
        return True

    def _end_late(self, data: bytes, request: HTTPRequest) -> None:
        """Send the response to a request that has not left the fast path, after its callback."""
        self._settings.take_late(request, data)
        self._request = self._close_callback = None
        self._framed = True
        if self._settings.access_log is not None:
            self._log_whole(request, data)
        self._transport.write(data)
        if self.parser.unread:
            self._wake_later()

    async def send_file(self, file: IO[bytes], offset: int = 0, count: int | None = None) -> None:
        """Send a part of a file as a part of the body, after ``write_headers``.

        The kernel sends it by itself where it can: a file of the system's, larger than a few
        pieces of a body, on plain TCP and asyncio. Otherwise it is read in pieces, each when
        the one before has left. It is to be awaited before anything else is written.

        Args:
            file: Open for reading, binary; its position is moved.
            offset: Where to begin.
            count: How many bytes; None for all that follow.

        Raises:
            ValueError: A number is negative.
            RuntimeError: The exchange is over, or has not begun with ``write_headers``.
            HTTPOutputError: It is more than Content-Length announced; or more than the file
                has, and the connection is aborted.
            StreamClosedError: The client has gone.
        """
        if offset < 0 or (count is not None and count < 0):
            raise ValueError("offset and count must not be negative")
        if count is None:
            count = max(0, file.seek(0, os.SEEK_END) - offset)
        response = self.leave_fast_path()
        if self._ends():
            await self._writer.flushed()  # which raises
        elif (
            response is None
            or response.request._finish_time is not None
            or response.framing is None
        ):
            raise RuntimeError("send_file() without a response that write_headers() has begun")
        else:
            context = self._settings.context
            assert context is not None
            await response.send_file(file, offset, count, self._flushed, context.copy())

    def send_informational(self, code: int, headers: Fields) -> Awaitable[None]:
        """Send an interim response, for instance 103 Early Hints (RFC 9110 section 15.2).

        Nothing is sent to a client of HTTP/1.0, which does not know them.

        Args:
            code: 102 to 199. The server sends 100 by itself, and 101 is the end of HTTP.
            headers: As for ``write_headers``.

        Returns:
            As ``write_headers``.

        Raises:
            ValueError: The status is another, or something in the head would end it early.
            RuntimeError: The response has begun.
        """
        if not 102 <= code <= 199:
            raise ValueError(f"An informational status is 102 to 199, not {code!r}")
        return self.write_headers(("HTTP/1.1", code, responses.get(code, "Unknown")), headers)

    def finish(self, trailers: Fields | None = None) -> None:
        """End the current exchange: the next request is served, or the connection closed.

        Args:
            trailers: Fields to follow the body (RFC 9110 section 6.5), as the headers of
                ``write_headers``. They are left out where the body is not chunked.

        Raises:
            RuntimeError: The exchange is over, and had ``write_headers``; or it had none, and
                there are trailers.
            HTTPOutputError: The body is shorter than Content-Length announced.
            ValueError: A trailer would end early, or change how the response is read.
        """
        if self._late is not None and not trailers and self._end_written():
            return
        response = self.leave_fast_path()
        if response is None or response.request._finish_time is not None:
            if self._lifecycle is OPEN and not self._writer.closed:
                self._too_late("finish", response)
        elif self._lifecycle is not OPEN or self._writer.closed:
            response.request._finish_time = time()
            self._forget_exchange()
        elif not response.wrote:
            self._finish_unanswered(response.request)
        else:
            response.finish(trailers)

    def _finish_unanswered(self, request: HTTPRequest) -> None:
        """End an exchange without a response, so that the next one is not taken for it."""
        request._finish_time = time()
        if self._input is EOF:
            self._note_disconnect()
            self.close_idle()  # nobody waits for one
            return
        app_log.error("finish() of %r without a response", request, stack_info=True)
        self._reply_and_close(500, "Internal server error", request.method == "HEAD")

    def _too_late(self, what: str, response: Response | None) -> None:
        """Refuse what would land in another exchange (CVE-2023-46137's family)."""
        framed = self._framed if response is None else response.framing is not None
        if framed:
            raise RuntimeError(f"{what}() after finish()")
        gen_log.warning("%s() without a current request on %r is ignored", what, self.address)

    def _ends(self) -> bool:
        """Whether what the application writes from now on is dropped."""
        return self._writer.closed or self._lifecycle is LINGERING or self._lifecycle is CLOSED

    def set_close_callback(self, callback: Callable[[], object] | None) -> None:
        """Have `callback` run when the exchange ends before the response was finished.

        That is when the client has gone, or an exception of the application ends it. On a
        connection that is closed already it never runs, as in Tornado; ``stream.closed()`` tells.

        Args:
            callback: Called without arguments, once, from the loop; None removes it.
        """
        self._close_callback = callback
        if callback is not None and self._input is EOF:
            self.loop.call_soon(self._tell_disconnect)

    def _tell_disconnect(self) -> None:
        if self._request is None or self._lifecycle is not OPEN:
            return
        if self._streamed is not None and self._streamed.owes_body:
            return  # request_ended() does it
        self.leave_fast_path()
        callback, self._close_callback = self._close_callback, None
        run_close_callback(callback, self.close)
        if self._stream is not None:
            self._stream.run_close_callback()

    @property
    def no_keep_alive(self) -> bool:
        """Whether the connection is closed after the current response; may be assigned."""
        return self._no_keep_alive or self._shutdown is not NO_SHUTDOWN

    @no_keep_alive.setter
    def no_keep_alive(self, value: bool) -> None:
        self.leave_fast_path()
        self._no_keep_alive = value
        self._renew_fast()

    @property
    def stream(self) -> IOStream:
        """The stream that this connection reads from and writes to."""
        if self._stream is None:
            settings = self._settings
            self._stream = IOStream.of_owner(
                None if self._writer.gone else self,  # no cycle that nobody takes away
                self._transport,
                self._writer,
                self.loop,
                self.address,
                settings.io_loop,
                settings.max_buffer_size,
            )
        return self._stream

    def detach(self) -> IOStream:
        """Give the stream to the application, with what came after the request.

        From now on this connection parses, writes and closes nothing.
        """
        self.leave_fast_path()
        self._close_callback = None
        self._writer.flush()
        stream = self.stream
        stream.take_over()
        self._forget_exchange()
        return stream

    def is_current(self, request: HTTPRequest) -> bool:
        """Whether a request is served here, and not over yet."""
        return self._request is request and self._lifecycle is OPEN

    # --- What is streamed to the application ------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether requests are served."""
        return self._lifecycle is OPEN

    def cork(self) -> None:
        """Have what is written wait for ``uncork``."""
        self._writer.corked = True

    def uncork(self) -> None:
        """Send what was written since ``cork``."""
        self._writer.corked = False
        self._writer.flush()
        self._renew_fast()

    def write_headers_now(
        self, start_line: StartLine, headers: Fields, chunk: bytes | str | None
    ) -> asyncio.Future[None]:
        """As ``write_headers``, but do not wait for a later turn of the loop.

        Most responses of delegates are whole with this one write.
        """
        if self._request is not None and self._request._corked is not None:
            self.leave_fast_path()  # which corks until the loop in data_received() ends
        writer = self._writer
        corked, writer.corked = writer.corked, True
        try:
            self._write_headers(start_line, headers, chunk)
        finally:
            writer.corked = corked
        return writer.flush_now()

    def end_streamed(self, request: HTTPRequest) -> bool:
        """End a finished exchange; tell whether the next request may be served now."""
        goes_on, _ = self._end_slow(request)
        if goes_on and self.parser.unread:
            self._wake_later()  # others get their turn
            return False
        return goes_on

    def request_ended(self, request: HTTPRequest) -> None:
        """The application has been told all of a request: tell it if the client has ended, too."""
        if self._input is EOF and self._request is request:
            self._tell_disconnect()

    def wait_for_body(self) -> None:
        """More of the current request has to come: read on; close if none will."""
        if self._input is EOF:
            self._note_disconnect()
            self.close_idle()
        else:
            self.resume_reading()

    def send_continue(self) -> None:
        """Have a client that waits for it send the body of the current request."""
        if self._streamed is not None and self._lifecycle is OPEN:
            self._streamed.send_continue()

    def send_interim(self, response: bytes) -> None:
        """Send what is not part of the application's response."""
        if not self._writer.closed:
            self._writer.send(response)
            self._writer.flush()

    # --- What its stream tells -----------------------------------------------------------

    def stream_writes(self) -> None:
        """The application is about to write to the stream itself."""
        response = self.leave_fast_path()
        if response is not None:
            response.take_stream()
        elif self._lifecycle is OPEN:
            self._wake_later()  # a response must not overtake it

    def stream_closes(self) -> None:
        """The application closes the stream; ``connection_lost`` follows."""
        self._fast = False
        self.leave_fast_path()
        self._lifecycle = CLOSED

    def release(self) -> tuple[bytes, bool]:
        """Detach the stream: the application has it from now on.

        Returns:
            What was not parsed yet, and whether nothing more will come.

        Raises:
            RuntimeError: Inside of a body.
        """
        rest = self.parser.detach()  # first: it may refuse
        self._settings.pool.discard(self)
        self._fast = False
        response = self.leave_fast_path()
        if response is not None:
            self._count_exchange(response.request, response.status)
        self._lifecycle = DETACHED
        stream = self.stream
        stream.set_default_close_callback(self._close_callback)
        self._close_callback = None
        callback = None if response is None else response.take_write_callback()
        if callback is not None and not self._writer.closed:
            stream.write(b"", callback)
        return rest, self._input is EOF

    # --- Ending an exchange ---------------------------------------------------------------

    def response_over(self, response: Response) -> None:
        """All of a finished response has left: serve the next request, or close."""
        self._end_exchange(response)
        if self._lifecycle is OPEN and self._has_to_go_on():
            self._wake_later()
        self._renew_fast()

    def _end_exchange(self, response: Response) -> None:
        """Forget a finished exchange; close if its request was the last one."""
        what = self._persistence(response)
        if response.framing is None:
            expected = what
            if response.announced:  # would it go on, had it not said so?
                expected = self._persistence(response, announced=False)
            fault = response.fault(keep_alive=expected is KEEP_ALIVE)
            if fault is not None:
                # The client would take the next one for a part of this, or wait for ever.
                more = self._settings.explain(response.request)
                app_log.error(
                    "The response to %r %s%s", response.request, fault, more, stack_info=True
                )
                what = LINGER
        if self._streamed is not None and not self._streamed.is_whole:
            what = LINGER  # what is left of the body is read and dropped
        self._forget_exchange()
        if what is not KEEP_ALIVE and self._lifecycle is OPEN:
            self._close_gently(linger=what is LINGER)

    def end_at_rest(self, response: Response) -> bool:
        """End an exchange of which all has left, if nothing is to be done then.

        Returns:
            Whether it has ended; otherwise ``response_over`` has to be called.
        """
        if self._has_to_go_on() or self._persistence(response) is not KEEP_ALIVE:
            return False
        if self._streamed is not None and not self._streamed.is_whole:
            return False
        if response.framing is None and response.fault(keep_alive=True) is not None:
            return False
        self._forget_exchange()
        self._fast = self._may_be_fast()
        return True

    def _has_to_go_on(self) -> bool:
        """Whether a finished exchange leaves the loop of ``data_received`` something to do."""
        return self._input is not READING or self.parser.unread > 0

    def _persistence(self, response: Response, announced: bool | None = None) -> Persistence:
        framing = response.framing
        return persistence(
            requested=response.request.keep_alive,
            framed=None if framing is None else framing.keep_alive and not framing.switches,
            announced=response.announced if announced is None else announced,
            no_keep_alive=self._no_keep_alive,
            shutdown=self._shutdown,
            unread=self.parser.unread > 0,
        )

    def _forget_exchange(self) -> None:
        response, self.response = self.response, None
        if self._request is not None and self._lifecycle is not DETACHED:
            self._count_exchange(self._request, 0 if response is None else response.status)
        self._request = self._late = None
        self._close_callback = None
        if self._streamed is not None:
            self._streamed.exchange_over(detached=self._lifecycle is DETACHED)
        if response is not None:
            self._framed = response.framing is not None
            if self._settings.access_log is not None:
                self._log(
                    response.request, response.logged_status, response.body_size, response.head
                )

    def _count_exchange(self, request: HTTPRequest, status: int) -> None:
        tally = self._settings.counters.tally
        if self._lifecycle is CLOSED:
            tally.end_cut()
        else:
            finished = request._finish_time
            tally.end(status, (time() if finished is None else finished) - request.start_time)

    def _log(
        self, request: HTTPRequest | None, status: int | None, size: int, response: bytes
    ) -> None:
        """Log an exchange that is over, or a refusal."""
        log = self._settings.access_log
        assert log is not None
        remote_ip = self._peer_ip() if request is None else request.remote_ip
        log.log(self.loop, request, remote_ip or "-", status, size, response)

    def _log_whole(self, request: HTTPRequest, response: bytes) -> None:
        """Log an exchange of the fast path, as ``_log`` would, at less cost."""
        log = self._settings.access_log
        assert log is not None
        status, size = measure_response(response, request)
        if self.xheaders or "remote_ip" in request.__dict__:
            remote_ip = request.remote_ip or "-"
        else:
            remote_ip = self._peer_ip()
        log.log(self.loop, request, remote_ip, status or None, size, response)

    def _note_disconnect(self) -> None:
        """Have the access log say that the client did not wait for its answer."""
        if self.response is not None:
            self.response.unheard = True

    def callback_failed(self, error: BaseException, request: HTTPRequest) -> None:
        """Log what the application let escape; end its exchange and the connection."""
        response = self.leave_fast_path()
        current = response is not None and response.request is request
        finished = request._finish_time is not None
        if response is not None and current and finished and not response.ending:
            self._forget_exchange()  # it is over, and the loop in data_received() ends here
            current = False
        unanswered = response is not None and current and not response.wrote and not finished
        close_callback = self._close_callback if current else None
        if isinstance(error, HTTPInputError) and current and not finished:
            self.refuse(error)  # for instance too many arguments: the client's fault
            return
        disconnected = isinstance(error, StreamClosedError)
        if disconnected and self._writer.closed:
            return  # awaiting a write to a client that has disconnected
        if isinstance(error, asyncio.CancelledError):
            app_log.warning("Callback was cancelled, closing connection: %r", request)
        elif not (disconnected and self._input is EOF):  # reading from one that sends no more
            app_log.error("Uncaught exception, closing connection: %r", request, exc_info=error)
        alone = current or self._request is None
        if self._lifecycle is DETACHED and alone:
            self.stream.close()  # nobody else will
        if self._lifecycle is not OPEN:
            return
        if close_callback is not None:
            # Whoever waits for the end of this exchange will not see finish().
            self.loop.call_soon(run_close_callback, close_callback, self.close)
        if unanswered:
            self._reply_and_close(500, "Internal server error", request.method == "HEAD")
        elif alone:
            self._forget_exchange()
            self._close_gently(linger=True)

    def refuse(self, error: HTTPInputError) -> None:
        """Answer a request that is refused, and close; nothing after it is read."""
        self._settings.counters.add(error.status)
        reply = None
        if self._settings.on_refusal is None:
            where = f" (byte {error.offset})" if error.offset >= 0 else ""
            gen_log.info(
                "Malformed HTTP request from %r: %s%s", self.address, one_line(error.reason), where
            )
        else:
            try:
                reply = self._settings.on_refusal(error, self.address)
            except Exception:
                app_log.error("Uncaught exception in on_refusal", exc_info=True)
        self._reply_and_close(error.status, error.reason, self.parser.is_head, reply)

    def refuse_service(self, reason: str) -> None:
        """Answer 503 to whatever comes, and close."""
        self._settings.counters.add(503)
        self._reply_and_close(503, reason, head_only=False)

    def _reply_and_close(
        self, status: int, reason: str, head_only: bool, reply: bytes | None = None
    ) -> None:
        if self._lifecycle is not OPEN or self._writer.closed:
            return
        if reply is None:
            reply = error_reply(status, reason, head_only)
        if self.response is not None:
            if not self.response.wrote:  # or it would be taken for a part of that answer
                self.response.reply(reply)
        else:
            self._writer.send(reply)
            if self._settings.access_log is not None:
                size = 0 if head_only else len(reply.partition(b"\r\n\r\n")[2])
                self._log(None, status, size, reply)
        self._forget_exchange()
        self._close_gently(linger=True)

    # --- Closing ------------------------------------------------------------------------

    def close(self) -> None:
        """Close the connection; what was written arrives, the close callback does not run."""
        self.leave_fast_path()
        # A client that waits for this answer may have sent more after the request.
        linger = self._request is not None or self.parser.unread > 0
        self._forget_exchange()
        if self._lifecycle is OPEN:
            self._close_gently(linger)
        elif self._lifecycle is DETACHED:
            self.stream.close()

    def close_idle(self) -> None:
        """Close a connection from which no answer is under way."""
        self.leave_fast_path()
        self._forget_exchange()
        self._close_gently(linger=False)

    def abort(self) -> None:
        """Close at once; what was not handed to the kernel is dropped."""
        self._cut_off()
        self._writer.abort()

    def reset(self) -> None:
        """Abort, and let the client see that what it has is not all."""
        self._cut_off()
        self._writer.reset()

    def _cut_off(self) -> None:
        self._fast = False
        self.leave_fast_path()
        if self._lifecycle is OPEN:  # the end of a client that lingers is no loss
            self._settings.counters.add("aborts")
        if self._lifecycle is not DETACHED:
            self._lifecycle = CLOSED

    def _close_gently(self, linger: bool) -> None:
        """Close so that the last answer arrives, even if the client is still sending.

        Args:
            linger: Whether it may be sending. What it has sent already is seen here, and
                whether it has got what we sent: until then a reset would destroy that.
        """
        self._fast = False
        if self._own_writer is not None:
            self._own_writer.flush()
        linger = linger or not is_settled(self._transport.get_extra_info("socket"))
        if linger and self._input is not EOF and self._writer.end():
            self._lifecycle = LINGERING
            self.parser.leave()
            self._settings.pool.wake(self)  # its deadlines are others, if it has been idle
            if self._input is PAUSED:
                self.resume_reading()
        else:
            self._lifecycle = CLOSED
            self._close_now()

    def _close_now(self) -> None:
        if self._own_writer is None:
            self._transport.close()
        else:
            self._own_writer.close()

    # --- The end of the server -----------------------------------------------------------

    def drain(self, shutdown: Shutdown) -> None:
        """Prepare for the end of the server.

        From now on ``no_keep_alive`` is true, so that applications can announce the close.

        Args:
            shutdown: ANNOUNCING, and later LAST_CALL: then it ends now if no request is here.
        """
        self._fast = False
        self.leave_fast_path()
        self._shutdown = shutdown
        if shutdown is LAST_CALL and self.idle and not self.input_waits:
            self.close_idle()

    def cut(self) -> bool:
        """Abort, as the server waits no longer; tell whether an exchange was under way.

        A half-sent request is answered 408. An answer that is under way must not look
        complete.
        """
        parser = self.parser
        if self._lifecycle is OPEN and (self._request is not None or self._waits):
            self.reset()
        elif self._lifecycle is OPEN and (parser.receiving_head or parser.receiving_body):
            self.refuse(HTTPInputError("Timeout reading the request", 408))
            self.abort()
        else:
            self.abort()
            return False
        return True

    # --- Deadlines ------------------------------------------------------------------------

    def check_deadlines(self, now: float) -> bool:
        """Close, or answer 408, if something takes too long; called by the clock.

        Returns:
            Whether it rests: until a byte comes or time is over there is nothing to see.
        """
        parser = self.parser
        message = parser.messages
        progress = 0
        deadlines = self._deadlines
        if not isinstance(deadlines, Deadlines):  # it is new
            deadlines = self._deadlines = Deadlines(deadlines)
        taking = self._lifecycle is LINGERING or deadlines.waiting is Waiting.WRITING
        if self._waits or (taking and self._writer.unacknowledged):
            waiting, progress = Waiting.WRITING, self._writer.bytes_taken
        elif self._lifecycle is not OPEN:
            waiting, progress = Waiting.LINGERING, self._dropped
        elif self._streamed is not None and self._streamed.awaits_body:
            waiting, progress = Waiting.BODY, parser.body_received
        elif self._request is not None:
            # The application may never finish then.
            waiting = Waiting.DISCONNECTED if self._input is EOF else Waiting.APPLICATION
            if self._input is PAUSED and has_failed(self._transport.get_extra_info("socket")):
                # Nobody listens while reading is paused; a long poll would wait for ever.
                self.abort()
                return False
        elif parser.receiving_body:
            waiting, progress = Waiting.BODY, parser.body_received
        elif message == 0:
            waiting = Waiting.FIRST_HEAD
        else:
            waiting = Waiting.HEAD if parser.receiving_head else Waiting.IDLE
        limits = self._settings.limits
        if not deadlines.overdue(waiting, message, progress, limits, now):
            return waiting is Waiting.IDLE and deadlines.since < now
        if waiting is Waiting.IDLE and self.input_waits:
            return False  # its next request is here
        if waiting is Waiting.IDLE and self._writer.unacknowledged:
            # It takes its time for what our kernel holds; from now on that is looked at.
            deadlines.overdue(Waiting.WRITING, message, self._writer.bytes_taken, limits, now)
            return False
        if waiting is Waiting.BODY:
            self.time_out_body()
            return False
        self._settings.counters.add(waiting.name.lower())
        if parser.receiving_head and waiting in (Waiting.FIRST_HEAD, Waiting.HEAD):
            self.refuse(HTTPInputError("Timeout reading headers", 408))
        elif waiting is Waiting.WRITING:
            self.reset()
        elif waiting is Waiting.LINGERING:
            self.abort()
        else:
            if waiting is Waiting.DISCONNECTED:
                self._note_disconnect()
            self.close_idle()
        return False

    def time_out_body(self) -> None:
        """Answer 408, as the body of a request takes too long."""
        self._settings.counters.add("body")
        self.refuse(HTTPInputError("Timeout reading body", 408))

    @property
    def idle_since(self) -> float:
        """Since when nothing has come or gone, in seconds on the server's clock."""
        deadlines = self._deadlines
        return deadlines.since if isinstance(deadlines, Deadlines) else deadlines

    def rest(self) -> None:
        """Take note that it is idle, and is not looked at until it wakes."""
        self._deadlines = self.idle_since

    def wake(self, received: int) -> None:
        """Take note that it is looked at again.

        Args:
            received: What ``bytes_received`` was when it began to rest.
        """
        moved = received != self.parser.received
        since = self._settings.clock.now if moved else self.idle_since
        self._deadlines = Deadlines(since, Waiting.IDLE, self.parser.messages)

    # --- What there is to know ----------------------------------------------------------

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that serves it."""
        return self._settings.loop

    @property
    def protocol(self) -> str | None:
        """What ``request.protocol`` is to be; None finds out."""
        return self._settings.protocol

    @property
    def requests(self) -> int:
        """How many whole requests it has received and answered."""
        streamed = self._streamed
        counted = self._request is not None and (streamed is None or streamed.has_come)
        return self.parser.messages - counted

    @property
    def bytes_received(self) -> int:
        """How many bytes have come."""
        return self.parser.received

    @property
    def is_tls(self) -> bool:
        """Whether the bytes go through TLS."""
        return self._transport.get_extra_info("ssl_object") is not None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Ask the transport, as ``asyncio.BaseTransport.get_extra_info``.

        Args:
            name: For instance ``sockname``, ``peername`` or ``ssl_object``.
            default: What to return if the transport does not know.
        """
        if name == "peername":
            return self.address  # a proxy may have told another one than the transport knows
        return self._transport.get_extra_info(name, default)

    @property
    def address_family(self) -> socket.AddressFamily:
        """The kind of socket, from the shape of the address, so that a closed one tells too."""
        if isinstance(self.address, tuple):
            return socket.AF_INET6 if len(self.address) == 4 else socket.AF_INET
        return getattr(socket, "AF_UNIX", socket.AF_UNSPEC)

    def _peer_ip(self) -> str:
        if isinstance(self.address, tuple):
            return str(self.address[0])
        return "0.0.0.0"  # Tornado's, for Unix sockets

    def request_id_of(self, request: HTTPRequest) -> str:
        """The id of one request: that of the proxy, or a new one."""
        return (forwarded_id(request._named_fields()) if self.xheaders else None) or new_id()

    def context_of(self, request: HTTPRequest) -> ConnectionContext:
        """Where a request comes from; the same object for all of them without ``xheaders``."""
        if self._context is not None:
            return self._context
        context = ConnectionContext(
            self.remote_ip_of(request),
            self.protocol_of(request),
            self.address,
            self.address_family,
        )
        if not self.xheaders:
            self._context = context
        return context

    @property
    def params(self) -> ConnectionParameters:
        """The options of the server, as delegates see them."""
        return self._settings.params

    def remote_ip_of(self, request: HTTPRequest) -> str:
        """The client's address for one request."""
        remote_ip = self._peer_ip()
        if self.xheaders:
            remote_ip = forwarded_ip(request._named_fields(), remote_ip, self._settings.trusted)
        return remote_ip

    @property
    def is_trusted(self) -> bool:
        """Whether the peer is a proxy in ``trusted_peers``."""
        peers = self._settings.trusted_peers
        return peers is not None and self.address in peers

    def certificate_of(self, request: HTTPRequest, binary_form: bool) -> Any:
        """The client's certificate, as ``HTTPRequest.get_ssl_certificate`` returns it."""
        if self._settings.client_cert_header and self.is_trusted:
            return forwarded_certificate(request.headers, binary_form)
        return self.stream.getpeercert(binary_form)

    def protocol_of(self, request: HTTPRequest) -> str:
        """``http`` or ``https`` for one request."""
        protocol = self.protocol or ("https" if self.is_tls else "http")
        if self.xheaders:
            protocol = forwarded_protocol(request._named_fields(), protocol, self._settings.trusted)
        return protocol


def _raise(error: BaseException) -> None:
    raise error
