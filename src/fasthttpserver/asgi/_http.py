"""One HTTP request and its response, between the connection and the application.

https://asgi.readthedocs.io/en/stable/specs/www.html

The head of a response is held back until the first piece of its body comes, as the
specification asks. If that is all of the body, the engine sends both at once (`respond`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from functools import lru_cache
from http.client import responses
from time import time

from fasthttpserver.asgi._types import Event, Message
from fasthttpserver.errors import StreamClosedError
from fasthttpserver.httpserver import HTTPConnection, HTTPRequest
from fasthttpserver.httputil import HTTPMessageDelegate, date_value
from fasthttpserver.log import app_log

__all__ = ["HTTPExchange"]

# What the application may send next.
_START, _BODY, _MORE_BODY, _TRAILERS, _NOTHING = range(5)

# The first lines of responses, by status.
_LINES = {code: ("HTTP/1.1", code, responses.get(code, "")) for code in range(200, 1000)}

_EXPECTED = {
    _START: "'http.response.start'",
    _BODY: "'http.response.body'",
    _MORE_BODY: "'http.response.body'",
    _TRAILERS: "'http.response.trailers'",
    _NOTHING: "nothing, as the response is complete",
}


class HTTPExchange(HTTPMessageDelegate):
    """One request and its response.

    Args:
        request: Which one; whole, or a head to which the rest is still to come.
        whole: Which of these.
    """

    asks_for_body = False  # of a client that waits for 100 Continue: when the application does

    # Most requests change few of these.
    _state = _START
    _line: tuple[str, int, str]  # the head that is held back
    _headers: list[tuple[bytes, bytes | str]]
    _trailers: list[tuple[bytes, bytes]] | None = None  # None: there will be none
    _end_told = False  # the application has received all of the body
    _taken: asyncio.Future[None] | None = None  # done when the piece is received
    _gone = False  # the client has disconnected
    _watches = False  # we are told if it does
    _event: asyncio.Event | None = None  # set when something has happened that is waited for

    def __init__(self, request: HTTPRequest, whole: bool) -> None:
        self._request = request
        self._connection: HTTPConnection = request.connection
        self._piece = request.body if whole else None  # of the body, not received yet
        self._ended = whole  # nothing follows it

    # --- The request ------------------------------------------------------------------------

    def data_received(self, chunk: bytes) -> Awaitable[None]:
        self._piece = chunk
        self._taken = asyncio.get_running_loop().create_future()
        self._wake()
        return self._taken

    def finish(self) -> None:
        self._ended = True
        self._wake()

    def on_connection_close(self) -> None:
        self._gone = True
        self._wake()

    def _wake(self) -> None:
        if self._event is not None:
            self._event.set()

    async def receive(self) -> Event:
        """Return a piece of the body; after its end, and that of the response, the disconnect."""
        while self._state is not _NOTHING:
            # Also after the disconnect: a client may send all and then say that this was all.
            if not self._end_told and (self._piece is not None or self._ended):
                piece, self._piece = self._piece, None
                self._end_told = self._ended
                if self._taken is not None and not self._taken.done():
                    self._taken.set_result(None)
                return {
                    "type": "http.request",
                    "body": piece or b"",
                    "more_body": not self._ended,
                }
            if self._gone:
                break
            await self._wait()
        return {"type": "http.disconnect"}

    async def _wait(self) -> None:
        """Wait until something happens."""
        if not self._connection.is_open:
            self._gone = True  # before it was watched, and nobody tells of it any more
            return
        if not self._watches:
            self._watches = True
            self._connection.set_close_callback(self.on_connection_close)
        self._connection.send_continue()
        if self._event is None:
            self._event = asyncio.Event()
        self._event.clear()
        await self._event.wait()

    # --- The response -----------------------------------------------------------------------

    async def send(self, message: Message) -> None:
        """Send a part of the response.

        Raises:
            RuntimeError: It is not its turn.
            OSError: The client has gone.
            ValueError, TypeError: It makes no sense in HTTP.
            HTTPOutputError: The body is longer or shorter than Content-Length says.
        """
        kind = message["type"]
        state = self._state
        if state is _START and kind == "http.response.start":
            self._begin(message)
        elif (
            state is _BODY
            and kind == "http.response.body"
            and not message.get("more_body")
            and self._trailers is None
        ):
            if not self._connection.respond(self._line, self._headers, _to_bytes(message)):
                raise StreamClosedError()
            self._end()
        else:
            await self._send(kind, message)

    async def _send(self, kind: str, message: Message) -> None:
        """Send what is not most of all responses: a head, and all of the body."""
        connection = self._connection
        state = self._state
        if state is not _NOTHING and not connection.is_open:
            raise StreamClosedError()
        if kind == "http.response.body" and (state is _BODY or state is _MORE_BODY):
            await self._write(_to_bytes(message))
            if not message.get("more_body"):
                if self._trailers is None:
                    self._finish()
                else:
                    self._state = _TRAILERS
        elif kind == "http.response.pathsend" and state is _BODY:
            await self._send_file(message["path"])
        elif kind == "http.response.trailers" and state is _TRAILERS:
            assert self._trailers is not None
            self._trailers += message.get("headers", ())
            if not message.get("more_trailers"):
                self._finish()
        elif kind == "http.response.early_hint" and state is _START:
            links = [("Link", link) for link in message["links"]]
            await connection.send_informational(103, links)
        else:
            raise RuntimeError(f"ASGI message {kind!r} where {_EXPECTED[state]} is expected")

    def _begin(self, message: Message) -> None:
        """Keep a head until there is a body."""
        status = message["status"]
        try:
            self._line = _LINES[status]
        except LookupError:
            raise ValueError(f"The status of a response is 200 to 999, not {status!r}") from None
        headers = list(message.get("headers", ()))
        for name, _ in headers:
            if len(name) == 4 and name.lower() == b"date":
                break
        else:
            headers.append(_date_field(time() // 1))
        self._headers = headers
        if message.get("trailers"):
            self._trailers = []
        self._state = _BODY

    async def _write(self, body: bytes) -> None:
        """Send a piece of the body, with the head before it that was held back."""
        if self._state is _BODY:
            written = self._connection.write_headers(self._line, self._headers, body)
            self._state = _MORE_BODY
        else:
            written = self._connection.write(body)
        await written

    async def _send_file(self, path: str) -> None:
        with open(path, "rb") as file:
            await self._write(b"")
            await self._connection.send_file(file)
        self._finish()

    def _finish(self) -> None:
        self._connection.finish(self._trailers)
        self._end()

    def _end(self) -> None:
        self._state = _NOTHING
        if self._event is not None:
            self._event.set()

    # --- The end of the application ---------------------------------------------------------

    @property
    def gone(self) -> bool:
        """Whether the client has gone, or sends nothing more, and the application may know."""
        return self._gone or not self._connection.is_open

    def returned(self) -> None:
        """The application has returned."""
        if self._state is _NOTHING or not self._connection.is_open:
            return
        if not self._gone:
            self.failed(RuntimeError("The ASGI application returned without a whole response"))
            return
        # Nobody waits for more, but the connection would.
        begun = self._begun
        self._end()
        if begun:
            self._connection.reset()
        else:
            self._connection.close()

    def failed(self, error: BaseException) -> None:
        """Answer for an application that let an exception escape."""
        request = self._request
        if self._state is _NOTHING:
            app_log.error("Uncaught exception after the response to %r", request, exc_info=error)
            return
        begun = self._begun
        self._end()
        if begun:
            self._connection.reset()  # its client must not take for whole what it has
        self._connection.callback_failed(error, request)

    @property
    def _begun(self) -> bool:
        return self._state is _MORE_BODY or self._state is _TRAILERS

    def stop(self) -> None:
        """The server ends; it has waited for the response already."""
        self._gone = True
        self._wake()


@lru_cache(maxsize=2)
def _date_field(second: float) -> tuple[bytes, str]:
    return b"date", date_value(second)


def _to_bytes(message: Message) -> bytes:
    body = message.get("body", b"")
    return body if type(body) is bytes else bytes(body)
