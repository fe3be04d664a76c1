"""Finished and failed exchanges come in; their ends, and the connection's, go out.

What a connection knows is here too: the classes above it, for what the application writes
(``_responding``) and for what is read (``_serving``), have little of their own.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Container
from enum import Enum
from typing import Any

from fasthttpserver._http.forwarded import forwarded_ip, forwarded_protocol
from fasthttpserver._http.framing import ResponseFraming
from fasthttpserver._http.replies import error_reply, one_line
from fasthttpserver._net.iostream import IOStream
from fasthttpserver._net.stream import run_close_callback
from fasthttpserver._parser import RequestParser
from fasthttpserver._server.access import Access, AccessLog
from fasthttpserver._server.request import HTTPRequest, RequestCallback
from fasthttpserver._server.sweep import Sweep
from fasthttpserver.errors import HTTPInputError, StreamClosedError
from fasthttpserver.log import app_log, gen_log

__all__ = [
    "ANNOUNCING",
    "CLOSED",
    "DETACHED",
    "LAST_CALL",
    "LINGERING",
    "NOT_DRAINING",
    "OPEN",
    "Ending",
]


class State(Enum):
    """What a connection is good for; the table in ``_connection`` tells more."""

    OPEN = 0
    LINGERING = 1
    DETACHED = 2
    CLOSED = 3


class Draining(Enum):
    """How near the end of the server is."""

    NO = 0
    ANNOUNCING = 1
    LAST_CALL = 2


# A global is found much faster than a member: 3.11 looks for that one by Python code.
OPEN, LINGERING, DETACHED, CLOSED = State
NOT_DRAINING, ANNOUNCING, LAST_CALL = Draining


class Ending:
    """The current exchange of a connection, and how it and the connection end.

    Args, beside those of ``HTTPConnection``:
        sweep: The server's connections and their limits.
        parser: Of this connection.
        trusted: Proxies that may stand in X-Forwarded-For.
        access_log: Logs each exchange, if not None.
    """

    __slots__ = (
        "_access",
        "_access_log",
        "_announced",
        "_close_callback",
        "_draining",
        "_ending",
        "_eof",
        "_framing",
        "_mark",
        "_no_keep_alive",
        "_parser",
        "_paused",
        "_request",
        "_simple",
        "_state",
        "_sweep",
        "_trusted",
        "_write_callback",
        "_wrote",
        "address",
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
        no_keep_alive: bool,
        xheaders: bool,
        protocol: str | None,
        sweep: Sweep[Any],
        parser: RequestParser[HTTPRequest],
        trusted: Container[str],
        access_log: AccessLog | None,
    ) -> None:
        self.stream = stream
        self.address = address
        self.request_callback = request_callback
        self._no_keep_alive = no_keep_alive
        self.xheaders = xheaders
        self.protocol = protocol
        self._trusted = trusted
        self._access_log = access_log
        self._access: Access | None = None  # of the current exchange, if it is logged
        self._sweep = sweep
        self._parser = parser
        self._request: HTTPRequest | None = None
        self._write_callback: Callable[[], object] | None = None
        self._close_callback: Callable[[], object] | None = None
        # Nothing special is known of this connection and its current exchange.
        self._simple = not no_keep_alive and access_log is None
        self._mark = 0  # how many chunks there were before the current exchange
        self._wrote = False  # in the current exchange
        self._framing: ResponseFraming | None = None  # of the latest exchange, if any
        self._ending = False  # finish() was called, something has to leave first
        self._eof = False
        self._paused = False  # reading, until what is here has been parsed
        self._state = OPEN
        self._draining = NOT_DRAINING
        self._announced = False  # a response told the client that the connection ends

    def _emit(self, data: bytes) -> None:
        """Send what belongs to the current exchange."""
        if self._access is not None:
            self._access.wrote(data)
        self.stream.send(data)

    def _demote(self) -> None:
        """Have the current request, if any, go the careful way from here."""
        self._simple = False
        request = self._request
        if request is not None and request._corked is not None:
            # The loop in data_received() is running, and uncorks when it ends.
            stream = self.stream
            stream.corked = True
            self._mark = len(stream.chunks)
            if request._corked:
                self._wrote = True
                stream.chunks.append(request._corked)
            request._corked = None

    # --- Ending an exchange ---------------------------------------------------------------

    def _end_exchange(self, request: HTTPRequest) -> None:
        """Forget the request; serve the next one, or close."""
        self._clear()
        if self._state is OPEN:
            self._end_connection(request)
            if self._has_to_go_on():
                self.stream.wake_receiver()

    def _has_to_go_on(self) -> bool:
        """Whether a finished exchange leaves the loop of ``_serving`` something to do."""
        return self._eof or self._paused or self._parser.unread > 0

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
            return None if goes_on and self._draining is not LAST_CALL else True
        if self._draining is ANNOUNCING and not self._announced:
            return None  # a close would meet the client's next request on the way
        return True if self._no_keep_alive else None

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

    def _note_disconnect(self) -> None:
        """Have the access log say that the client did not wait for its answer."""
        if self._access is not None and self._access.status is None:
            self._access.status = 499  # nginx's, for just this

    def set_close_callback(self, callback: Callable[[], object] | None) -> None:
        """Have `callback` run when the client has gone before the response was finished.

        Args:
            callback: Called without arguments, once, from the loop; None takes it back.
        """
        self._demote()
        self._close_callback = callback
        if self._eof and callback is not None:
            self.stream.loop.call_soon(self._tell_disconnect)

    def _tell_disconnect(self) -> None:
        request = self._request
        if request is not None and self._state is OPEN:
            self._demote()
            self._run_close_callback()
            self.stream.run_close_callback()

    def _run_close_callback(self) -> None:
        """Run the close callback, if there is one and it has not run."""
        callback, self._close_callback = self._close_callback, None
        run_close_callback(callback, self.close)

    # --- Closing ------------------------------------------------------------------------

    @property
    def no_keep_alive(self) -> bool:
        """Whether the connection is closed behind the current response; may be assigned."""
        return self._no_keep_alive

    @no_keep_alive.setter
    def no_keep_alive(self, value: bool) -> None:
        self._demote()
        self._no_keep_alive = value

    def close(self) -> None:
        """Close the connection; what was written arrives, the close callback does not run."""
        self._demote()
        # A client that waits for this answer may have sent more behind the request.
        linger = self._request is not None or self._parser.unread > 0
        self._clear()
        if self._state is OPEN:
            self._close_gently(linger)

    def close_idle(self) -> None:
        """Close a connection from which no answer is under way."""
        self._demote()
        self._clear()
        self._close_gently(linger=False)

    def _close_gently(self, linger: bool) -> None:
        """Close so that the last answer arrives, even if the client is still sending.

        Args:
            linger: Whether it may be sending; what the kernel has of it already is seen here.
        """
        self._simple = False
        linger = linger or self.stream.unread > 0
        if linger and not self._eof and self.stream.shutdown_write():
            self._state = LINGERING
            self.stream.resume_reading()
        else:
            self._state = CLOSED
            self.stream.close()

    def _refuse(self, error: HTTPInputError) -> None:
        """Answer a request that is refused, and close; nothing behind it is read."""
        self._sweep.refusals[error.status] += 1
        where = f" (byte {error.offset})" if error.offset >= 0 else ""
        gen_log.info(
            "Malformed HTTP request from %r: %s%s", self.address, one_line(error.reason), where
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
        if self._state is DETACHED and (current or self._request is None):
            self.stream.close()  # nobody else will
        if self._state is not OPEN:
            return
        if unanswered:
            self._reply_and_close(500, "Internal server error", request.method == "HEAD")
        elif current or self._request is None:
            self._clear()
            self._close_gently(linger=True)

    def _reply_and_close(self, status: int, reason: str, head_only: bool) -> None:
        if self._state is OPEN and not self.stream.closed():
            if self._access_log is not None and self._access is None:
                self._access = Access(None)
            self._emit(error_reply(status, reason, head_only))
            self._clear()
            self._close_gently(linger=True)

    # --- What a request asks of its connection ----------------------------------------------

    def remote_ip_of(self, request: HTTPRequest) -> str:
        """The client's address for one request."""
        remote_ip = self._peer_ip()
        if self.xheaders:
            remote_ip = forwarded_ip(request.headers, remote_ip, self._trusted)
        return remote_ip

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

    def protocol_of(self, request: HTTPRequest) -> str:
        """``http`` or ``https`` for one request."""
        protocol = self.protocol or ("https" if self.stream.is_tls else "http")
        if not self.xheaders:
            return protocol
        return forwarded_protocol(request.headers, protocol, self._trusted)
