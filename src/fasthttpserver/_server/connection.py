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

from collections.abc import Container
from typing import Any

from fasthttpserver._net.iostream import IOStream
from fasthttpserver._parser import RequestParser
from fasthttpserver._server.access import AccessLog
from fasthttpserver._server.deadlines import Deadlines, Waiting
from fasthttpserver._server.ending import ANNOUNCING, LAST_CALL, LINGERING, OPEN
from fasthttpserver._server.request import HTTPRequest, RequestCallback
from fasthttpserver._server.serving import Serving
from fasthttpserver._server.sweep import Sweep
from fasthttpserver.errors import HTTPInputError
from fasthttpserver.limits import Limits

__all__ = ["HTTPConnection"]


class HTTPConnection(Serving):
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
        "_deadlines",
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
        super().__init__(
            stream,
            address,
            request_callback,
            no_keep_alive,
            xheaders,
            protocol,
            Sweep[HTTPConnection](stream.loop, Limits()) if _sweep is None else _sweep,
            RequestParser(message_class=HTTPRequest) if _parser is None else _parser,
            _trusted,
            _access_log,
        )
        self._deadlines = Deadlines(self._sweep.now)
        self._sweep.add(self)

    def check_deadlines(self, now: float) -> None:
        """Close, or answer 408, if something takes too long; called by the sweep."""
        parser = self._parser
        message = parser.messages
        progress = 0
        if self.stream.waiting or (self._state is LINGERING and self.stream.unacknowledged):
            waiting, progress = Waiting.WRITING, self.stream.bytes_taken
        elif self._state is not OPEN:
            waiting, progress = Waiting.LINGERING, self._dropped
        elif self._request is not None:
            # The application may never finish then.
            waiting = Waiting.DISCONNECTED if self._eof else Waiting.APPLICATION
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
            if waiting is Waiting.DISCONNECTED:
                self._note_disconnect()
            self.close_idle()

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
        return self._deadlines.since if self.idle else None

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
        self._draining = LAST_CALL if last_call else ANNOUNCING
        if last_call and self.idle_since is not None:
            self.close_idle()

    def cut_off(self) -> bool:
        """End it at once, as the server does not wait any longer; tell whether that hurts.

        A half-sent request is answered 408. An answer that is under way must not look
        complete.
        """
        parser = self._parser
        if self._state is OPEN and (self._request is not None or self.stream.waiting):
            self.stream.reset()
        elif self._state is OPEN and (parser.receiving_head or parser.receiving_body):
            self._refuse(HTTPInputError("Timeout reading the request", 408))
            self.stream.abort()
        else:
            self.stream.abort()
            return False
        return True
