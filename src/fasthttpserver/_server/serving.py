"""What the stream tells comes in; calls of the application, one request after the other, go out."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

from fasthttpserver._http.replies import CONTINUE
from fasthttpserver._server.access import Access
from fasthttpserver._server.ending import CLOSED, DETACHED, LAST_CALL, NOT_DRAINING, OPEN
from fasthttpserver._server.request import NOTHING_YET, TOO_LATE, HTTPRequest
from fasthttpserver._server.responding import Responding
from fasthttpserver.errors import HTTPInputError

__all__ = ["Serving"]

# While requests are pipelined: how many are served in one turn of the loop, and for how many
# seconds, before others get theirs; and a chunk of how many bytes has to be sent before the
# next request is served.
_FAIR_SHARE = 64
_FAIR_TIME = 0.005
_LARGE_CHUNK = 16_384


class Serving(Responding):
    """The loop of a connection: next request, callback, until a request stays unfinished."""

    __slots__ = (
        "_continued",
        "_dropped",
        "_next_request",
        "_send",
        "_task",
    )

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        # Bound once, for every read to come.
        self._next_request = self._parser.next_request
        self._send = self.stream.transport_write
        self._task: asyncio.Future[Any] | None = None
        self._continued = -1  # the number of the message that was asked to continue
        self._dropped = 0  # bytes, while lingering
        self.stream.set_receiver(self)

    def data_received(self, data: bytes) -> None:
        """Run the callback for every request that is here, until one stays unfinished.

        A request of which nothing special is known goes the short way: it corks what it
        writes by itself, and that is sent here when it has finished. ``_demote`` takes it
        from there as soon as anything else is asked for; then everything is told to this
        connection, and what is written is corked in ``stream.chunks`` until this loop ends.
        """
        if (self._request is not None or not self._simple) and not self._may_begin(data):
            return
        pipelined = 0
        started = 0.0
        try:
            # Local, here and below: a call of an attribute that is no method costs more.
            next_request = self._next_request
            request = next_request(data)
            while request is not None:
                request.connection = self
                request._finish_time = None
                request._corked = NOTHING_YET if self._simple else self._begin(request)
                self._request = request
                try:
                    callback = self.request_callback
                    result = callback(request)
                except (Exception, asyncio.CancelledError) as error:
                    self._callback_failed(error, request)
                    break
                if result is not None:
                    self._follow(result, request)
                if request._finish_time is None:
                    self._demote()
                    self._hold_back()
                    break  # its finish() goes on from here
                alone = not self._parser  # nothing follows yet, but something may
                if self._simple and (alone or request.keep_alive):
                    self._request = None
                    response = request._corked
                    request._corked = None  # the application may keep the request
                    if alone and not pipelined:
                        send = self._send
                        send(response)
                        return
                    self.stream.chunks.append(response)
                    if alone:
                        break
                    large = len(response) > _LARGE_CHUNK
                elif not self._may_go_on(request):
                    break
                else:
                    large = self._wrote_much()
                pipelined += 1
                if pipelined == 1:
                    started = request.start_time
                spent = request._finish_time - started
                if large or pipelined == _FAIR_SHARE or spent > _FAIR_TIME:
                    # Others get their turn, and the client has to take this first.
                    self.stream.flush()
                    self.stream.wake_receiver()
                    self._hold_back()
                    break
                request = next_request()
            else:
                self._wait_for_more()
        except HTTPInputError as error:
            self._refuse(error)
        except (KeyboardInterrupt, SystemExit) as error:
            # uvloop would log it and go on; out of a callback of its own it ends the loop.
            self.stream.loop.call_soon(_raise, error)
            self.stream.abort()
        finally:
            if pipelined or not self._simple:
                self.stream.corked = False
                self.stream.flush()

    def _may_begin(self, data: bytes) -> bool:
        """Whether a request may be served now; if not, `data` is kept or dropped."""
        if self._state is not OPEN:
            self._dropped += len(data)
            return False
        if self._request is not None or self.stream.waiting:
            self._parser.receive_data(data)
            self._hold_back()
            return False
        return True

    def _begin(self, request: HTTPRequest) -> Any:
        """Prepare for an exchange behind something special; return what it has corked."""
        if self._access_log is not None:
            self._access = Access(request)
        self._framing = None
        self._wrote = False
        stream = self.stream
        self._mark = len(stream.chunks)
        self._simple = not (
            self._close_callback is not None
            or self._draining is not NOT_DRAINING
            or self._eof
            or self._paused
            or self._no_keep_alive
            or self._access_log is not None
            or stream.chunks
        )
        if self._simple:
            return NOTHING_YET
        stream.corked = True
        return None

    def _may_go_on(self, request: HTTPRequest) -> bool:
        """Whether the loop in ``data_received`` may, behind a finished `request`."""
        self._demote()
        if self._ending:
            self._hold_back()
            return False  # _written() goes on
        self._request = None
        if self._state is OPEN:
            self._end_connection(request)
        if self.stream.waiting:
            self._hold_back()
            return False  # drained() goes on
        return self._state is OPEN

    def _wrote_much(self) -> bool:
        """Whether the exchange that has just ended wrote a large chunk, and another follows."""
        if not self._parser:
            return False
        chunks = self.stream.chunks
        if len(chunks) <= self._mark:
            return True  # it has left already
        return max(map(len, chunks[self._mark :])) > _LARGE_CHUNK

    def eof_received(self) -> bool:
        self._eof = True
        self._demote()
        if self._request is not None and self._state is OPEN:
            # Long-polling applications want to know; the answer may still be written.
            self._tell_disconnect()
            if self._request is not None and self._framing is not None and self._framing.silent:
                self.close()  # but nothing more of it is sent
            return True
        if self._state is OPEN and (self._parser.unread or self.stream.waiting):
            # What came before it is answered; then _wait_for_more() closes.
            self.stream.wake_receiver()
            return True
        # Nothing to answer: a request that was cut is never run.
        self._state = CLOSED
        self.stream.close()
        return False

    def blocked(self) -> None:
        self._demote()

    def bypassed(self) -> None:
        self._demote()
        self._wrote = True

    def hand_over(self) -> None:
        self._demote()

    def closing(self) -> None:
        self._demote()
        self._state = CLOSED

    def drained(self) -> None:
        if self._ending or self._write_callback is not None:
            self._written()
        elif self._request is None and self._state is OPEN:
            self.stream.wake_receiver()

    def release(self) -> bytes:
        """Let the application have the stream, and what was not parsed yet."""
        rest = self._parser.detach()  # first: it may refuse, inside of a body
        self._sweep.discard(self)
        self._demote()
        self._state = DETACHED
        self.stream.set_default_close_callback(self._close_callback)
        self._close_callback = None
        callback, self._write_callback = self._write_callback, None
        if callback is not None and not self.stream.closed():
            self.stream.write(b"", callback)
        return rest

    def connection_lost(self, error: Exception | None) -> None:
        self._sweep.discard(self)
        self._simple = False
        self._state = CLOSED
        self._run_close_callback()
        self._note_disconnect()
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
        elif self._draining is LAST_CALL and self.idle:
            self.close_idle()

    @property
    def idle(self) -> bool:
        """Whether there is nothing to do until something comes."""
        parser = self._parser
        return not (
            self._state is not OPEN
            or self._request is not None
            or parser.receiving_head
            or parser.receiving_body
            or parser.unread
            or self.stream.waiting
        )

    def _hold_back(self) -> None:
        """Let the client wait if more of it is here than can be dealt with now (BE05)."""
        if self._state is not OPEN or self._paused:
            return
        if self._parser.unread > self._sweep.limits.read_ahead:
            self._paused = True
            self._simple = False
            self.stream.pause_reading()

    def _follow(self, result: object, request: HTTPRequest) -> None:
        """Await what the callback returned, if it can be; its exception is the callback's."""
        if inspect.iscoroutine(result):
            task: asyncio.Future[Any] = self.stream.loop.create_task(result)
        elif inspect.isawaitable(result) and result is not self and result is not TOO_LATE:
            # What write() returns is no work of the application's.
            try:
                task = asyncio.ensure_future(result, loop=self.stream.loop)
            except ValueError as error:  # it belongs to another loop
                self._callback_failed(error, request)
                return
        else:
            return

        def done(task: asyncio.Future[Any]) -> None:
            if self._task is task:
                self._task = None
            error = asyncio.CancelledError() if task.cancelled() else task.exception()
            if error is not None:
                self._callback_failed(error, request)

        self._task = task  # keeps it alive; the loop itself has a weak reference
        task.add_done_callback(done)


def _raise(error: BaseException) -> None:
    raise error
