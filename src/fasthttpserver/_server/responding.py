"""What an application says of one request comes in; the bytes of its response go out.

This is the application's side of a connection: ``write``, ``finish``, and the framing for
those who leave it to the server. How things end is in ``_ending``, what is read and served
in ``_serving``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from time import time
from typing import Any

from fasthttpserver._http.framing import ResponseFraming
from fasthttpserver._net.iostream import IOStream
from fasthttpserver._server.ending import CLOSED, DETACHED, LINGERING, NOT_DRAINING, OPEN, Ending
from fasthttpserver._server.request import HTTPRequest, encode_chunk
from fasthttpserver.errors import HTTPOutputError
from fasthttpserver.log import app_log, gen_log

__all__ = ["Responding"]

# Nothing that an application writes goes anywhere then.
_ENDED = (LINGERING, CLOSED)

# Seconds until the callback of a write that sends nothing, for instance behind HEAD.
_SILENT_PAUSE = 0.001


class Responding(Ending):
    """The current exchange of a connection, as the application answers it."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, None]:
        """Wait until all that was written has left; what ``write`` returns is awaited.

        Most writes are not, so there is no object for each. With nothing to wait for it
        still lets others have a turn.

        Raises:
            StreamClosedError: The client has gone.
        """
        return (yield from self.stream.drained_future().__await__())

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
        self._demote()
        request = self._request
        if self.stream.closed() or self._state in _ENDED:
            return self
        if request is None or request._finish_time is not None:
            self._too_late("write")
            return self
        if self._state is DETACHED:
            self.stream.write(chunk, callback)  # taken over by a read, as Tornado 3 code does
            return self
        if self._framing is not None:
            return self._write_framed(chunk, callback)
        if self._draining is not NOT_DRAINING and not self._wrote:
            self._announced = _announces_close(chunk)
        if chunk:
            self._wrote = True
            self._emit(chunk)
        self._expect_written(callback)
        return self

    def write_headers(
        self, start_line: Any, headers: Any, chunk: bytes | str | None = None
    ) -> Awaitable[None]:
        """Begin a response whose framing the server does.

        Args:
            start_line: An ``httputil.ResponseStartLine``, or three such things.
            headers: An ``HTTPHeaders``, in which what delimits the body is set; or any other
                mapping, or pairs. Values are strings or numbers.
            chunk: The first part of the body, as for ``write``.

        Returns:
            A future that is done when all that was written has left.

        Raises:
            ValueError: Something in the head would end it early.
            TypeError: A header or the chunk is of another type.
            RuntimeError: The exchange is over, or has begun otherwise.
        """
        if chunk is not None and type(chunk) is not bytes:
            chunk = encode_chunk(chunk)
        self._demote()
        request = self._request
        if self.stream.closed() or self._state in _ENDED:
            return self.stream.drained_future()
        if request is None or request._finish_time is not None or self._wrote:
            raise RuntimeError("write_headers() after the response was begun or finished")
        framing = ResponseFraming(
            request.method,
            request.version,
            request.keep_alive and not self._no_keep_alive,
            start_line,
            headers,
        )
        if framing.informational and request.version == "HTTP/1.0":
            return self  # RFC 9110 section 15.2: it does not know them
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
        if request is None or request._finish_time is not None:
            if self._state is OPEN and not self.stream.closed():
                self._too_late("finish")
            return
        self._demote()
        if self._framing is not None and self._state is OPEN:
            try:
                self._emit(self._framing.end())
            except HTTPOutputError:
                self.close()
                raise
        request._finish_time = time()
        if not self._wrote and self._state is OPEN and not self.stream.closed():
            self._finish_unanswered(request)
        elif self._write_callback is not None or self.stream.waiting:
            self._ending = True  # _written() ends the exchange
        elif self.stream.corked:
            self._clear()  # the loop in data_received() goes on
        else:
            # From a task or a timer. What is left to do waits for the next turn of the event
            # loop, since detach() may follow.
            self.stream.flush()
            if self._has_to_go_on() or self._lingering_end(request) is not None:
                self._ending = True
                self.stream.loop.call_soon(self._written)
            else:
                self._clear()

    def _finish_unanswered(self, request: HTTPRequest) -> None:
        """End an exchange without an answer, so that the next one is not taken for it."""
        if self._eof:
            self.close_idle()  # nobody waits for one
            return
        app_log.error("finish() of %r without a response", request, stack_info=True)
        self._reply_and_close(500, "Internal server error", request.method == "HEAD")

    def _too_late(self, what: str) -> None:
        """Refuse what would land in another exchange (CVE-2023-46137's family)."""
        if self._framing is not None:
            raise RuntimeError(f"{what}() after finish()")
        gen_log.warning("%s() without a current request on %r is ignored", what, self.address)

    def detach(self) -> IOStream:
        """Give the stream to the application, with what came behind the request.

        Nothing is parsed any more, and neither does this connection write or close.
        """
        self._demote()
        self._close_callback = None
        self.stream.flush()
        self.stream.take_over()
        self._clear()
        return self.stream

    def _expect_written(self, callback: Callable[[], object] | None) -> None:
        """Take a write's callback, in the place of an earlier one's."""
        self._write_callback = callback
        if callback is None:
            return
        if self._framing is not None and self._framing.silent:
            # There is no client whose taking would slow down an application that goes on and on.
            self.stream.loop.call_later(_SILENT_PAUSE, self._written)
        else:
            self.stream.loop.call_soon(self._written)

    def _written(self) -> None:
        """Run the write callback if all has left; end the exchange that waited for that."""
        self.stream.flush()
        if self.stream.waiting:
            return  # drained() comes here again
        callback, self._write_callback = self._write_callback, None
        request = self._request
        if callback is not None and request is not None and self._state is OPEN:
            try:
                callback()
            except Exception as error:
                self._callback_failed(error, request)
                return
        if self._ending and self._write_callback is None and self._request is not None:
            self._end_exchange(self._request)


def _announces_close(chunk: bytes) -> bool:
    """Whether the head that an application writes by itself says ``Connection: close``."""
    head = chunk.partition(b"\r\n\r\n")[0].lower().replace(b" ", b"")
    return b"\r\nconnection:close" in head
