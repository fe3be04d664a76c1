"""One WebSocket, between the connection and the application.

https://asgi.readthedocs.io/en/stable/specs/www.html#websocket

Frames, compression and the closing handshake (RFC 6455) are those of the package ``websockets``,
whose protocol does no I/O; this module imports it, and is imported when there is one to open.
"""

from __future__ import annotations

import asyncio
from collections import deque

from websockets.datastructures import Headers
from websockets.exceptions import ProtocolError
from websockets.extensions.permessage_deflate import enable_server_permessage_deflate
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from fasthttpserver.asgi._http import HTTPExchange
from fasthttpserver.asgi._options import WebSocketOptions
from fasthttpserver.asgi._types import Event, Message
from fasthttpserver.errors import StreamClosedError
from fasthttpserver.httpserver import HTTPConnection, HTTPRequest
from fasthttpserver.iostream import IOStream
from fasthttpserver.log import app_log

__all__ = ["WebSocketExchange"]

# What the application does next.
_CONNECT, _ACCEPT, _DENY, _TALK, _NOTHING = range(5)

_EXPECTED = {
    _CONNECT: "'websocket.accept', 'websocket.close' or 'websocket.http.response.start'",
    _ACCEPT: "'websocket.accept', 'websocket.close' or 'websocket.http.response.start'",
    _TALK: "'websocket.send' or 'websocket.close'",
    _NOTHING: "nothing, as the WebSocket is closed",
}

# How many messages wait for the application, and bytes for it or for the client, before the other
# side has to: those of websockets and of asyncio.
_MOST_MESSAGES = 16
_MOST_BYTES = 65_536

# So many bytes of the client are looked at before it is asked whether it has to wait: they may be
# hundreds of messages, or a thousand times as long when they are unpacked.
_PIECE = 4096

# Seconds for a client that did something wrong to read why.
_LINGER = 1.0


class WebSocketExchange:
    """One WebSocket, from its handshake on.

    Args:
        request: What asks for it.
        options: What it may do.
    """

    def __init__(self, request: HTTPRequest, options: WebSocketOptions) -> None:
        self._request = request
        self._connection: HTTPConnection = request.connection
        self._options = options
        # OPEN: the request has been read already.
        self._protocol = ServerProtocol(
            state=State.OPEN,
            extensions=enable_server_permessage_deflate(None) if options.compression else None,
            max_size=options.max_size,
        )
        headers = Headers()
        for name, value in request.fields:
            headers[name] = value
        self._response = self._protocol.accept(Request(request.uri, headers))
        self._state = _CONNECT
        self._stream: IOStream | None = None  # from the handshake on
        self._denial: HTTPExchange | None = None  # an ordinary response in its place
        self._unread = memoryview(b"")  # what has come, and was not looked at
        self._messages: deque[Event] = deque()  # for the application
        self._size = 0  # of these
        self._floods = False  # the client takes no answers to its pings
        self._paused = False  # for one of these
        self._part = bytearray()  # of a message that is not whole; a list of parts has no bound
        self._is_text = False
        self._disconnect: Event | None = None  # it is over
        self._event: asyncio.Event | None = None
        self._ping: asyncio.TimerHandle | None = None
        self._end: asyncio.TimerHandle | None = None

    def refuse(self) -> bool:
        """Answer a request whose handshake is wrong; tell whether it was."""
        response = self._response
        if response.status_code == 101:
            return False
        fields = [(name, value) for name, value in response.headers.raw_items()]
        start_line = ("HTTP/1.1", response.status_code, response.reason_phrase)
        self._connection.respond(start_line, fields, bytes(response.body or b""))
        self._state = _NOTHING
        return True

    @property
    def subprotocols(self) -> list[str]:
        """What the client offers to speak."""
        offers = ",".join(self._request.headers.get_list("Sec-WebSocket-Protocol"))
        return [each.strip() for each in offers.split(",") if each.strip()]

    # --- What the application does ----------------------------------------------------------

    async def receive(self) -> Event:
        """Return the connect, then the messages of the client, then the disconnect."""
        if self._state is _CONNECT:
            self._state = _ACCEPT
            self._connection.set_close_callback(self._lost)
            if not self._connection.is_open:
                self._over(1006, "")  # it has gone before, and nobody tells of it any more
            return {"type": "websocket.connect"}
        while not self._messages:
            if self._denial is not None:
                return await self._denial.receive()
            if self._disconnect is not None:
                return self._disconnect
            if self._event is None:
                self._event = asyncio.Event()
            self._event.clear()
            await self._event.wait()
        message = self._messages.popleft()
        self._size -= _size_of(message)
        self._read_on()
        return message

    async def send(self, message: Message) -> None:
        """Accept or deny the WebSocket, send a message to the client, or close.

        Raises:
            RuntimeError: It is not its turn.
            OSError: The client has gone.
            ValueError, TypeError: It makes no sense.
        """
        kind = message["type"]
        if self._denial is not None:
            await self._denial.send({**message, "type": kind.removeprefix("websocket.")})
        elif self._disconnect is not None or (self._stream is None and self.gone):
            raise StreamClosedError()
        elif kind == "websocket.send" and self._state is _TALK:
            await self._send(message)
        elif kind == "websocket.close" and self._state is _TALK:
            self._close(message.get("code") or 1000, message.get("reason") or "")
        elif self._state is _CONNECT or self._state is _ACCEPT:
            await self._answer(kind, message)
        else:
            raise RuntimeError(f"ASGI message {kind!r} where {_EXPECTED[self._state]} is expected")

    async def _answer(self, kind: str, message: Message) -> None:
        if kind == "websocket.accept":
            self._accept(message)
        elif kind == "websocket.close":
            self._state = _NOTHING
            self._disconnect = _disconnected(1006, "")
            self._connection.respond(("HTTP/1.1", 403, "Forbidden"), [], b"")
        elif kind == "websocket.http.response.start":
            self._state = _DENY
            self._connection.set_close_callback(None)
            self._denial = HTTPExchange(self._request, True)
            await self._denial.send({**message, "type": "http.response.start"})
        else:
            raise RuntimeError(f"ASGI message {kind!r} where {_EXPECTED[self._state]} is expected")

    def _accept(self, message: Message) -> None:
        connection = self._connection
        fields: list[tuple[str | bytes, str | bytes]] = list(self._response.headers.raw_items())
        subprotocol = message.get("subprotocol")
        if subprotocol is not None:
            fields.append(("Sec-WebSocket-Protocol", subprotocol))
        for name, value in message.get("headers", ()):
            if name.lower() == b"sec-websocket-protocol":
                raise ValueError("the subprotocol is told by 'subprotocol'")
            fields.append((name, value))
        connection.set_close_callback(None)
        connection.write_headers(("HTTP/1.1", 101, "Switching Protocols"), fields)
        stream = self._stream = connection.detach()
        self._state = _TALK
        stream.set_close_callback(self._lost)
        stream.read_until_close(self._ended, self._data_received)
        self._ping_later()

    async def _send(self, message: Message) -> None:
        stream = self._stream
        assert stream is not None
        if stream.closed():
            raise StreamClosedError()
        data = message.get("bytes")
        if data is not None:
            self._protocol.send_binary(data)
        else:
            self._protocol.send_text(message["text"].encode())
        self._flush()
        if stream.write_buffer_size > _MOST_BYTES:
            await stream.write(b"")  # until all of it has left

    def _close(self, code: int, reason: str) -> None:
        """Begin the closing handshake."""
        try:
            self._protocol.send_close(code, reason)
        except ProtocolError as error:
            raise ValueError(str(error)) from error
        self._state = _NOTHING
        self._flush()
        self._close_later(self._options.close_timeout)

    # --- What the client does ---------------------------------------------------------------

    def _data_received(self, data: bytes) -> None:
        if self._stream is None or not data:
            return
        self._unread = memoryview(bytes(self._unread) + data if self._unread else data)
        self._look()
        if self._paused:
            self._stream.pause_reading()

    def _look(self) -> None:
        """Look at what has come, until somebody has to do something before the rest."""
        while self._unread and not self._paused:
            piece, self._unread = bytes(self._unread[:_PIECE]), self._unread[_PIECE:]
            self._piece_received(piece)

    def _piece_received(self, data: bytes) -> None:
        assert self._stream is not None
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            assert isinstance(event, Frame)
            self._frame_received(event)
        if self._flush() and not self._floods and self._stream.write_buffer_size > _MOST_BYTES:
            # With what it sends it would fill the memory, and the application has no part in it.
            self._floods = True
            self._stream.write(b"").add_done_callback(self._answers_left)
        close = self._protocol.close_rcvd
        if close is not None:
            self._over(close.code, close.reason)
        elif self._protocol.parser_exc is not None and self._protocol.close_sent is not None:
            self._over(self._protocol.close_sent.code, self._protocol.close_sent.reason)
        talks = self._state is _TALK  # else only the client's close is waited for
        many = len(self._messages) >= _MOST_MESSAGES or self._size > _MOST_BYTES
        if self._floods or (talks and many):
            self._paused = True

    def _answers_left(self, _: object) -> None:
        self._floods = False
        self._read_on()

    def _read_on(self) -> None:
        """Go on, if nothing speaks against it, after others had a turn."""
        if self._paused and self._may_go_on():
            self._connection.loop.call_soon(self._go_on_if_it_may)

    def _may_go_on(self) -> bool:
        few = len(self._messages) < _MOST_MESSAGES // 2 and self._size <= _MOST_BYTES // 2
        return few and not self._floods

    def _go_on_if_it_may(self) -> None:
        if self._may_go_on():  # another call may have found many again
            self._go_on()

    def _go_on(self) -> None:
        """Look at what is left, and read again."""
        assert self._stream is not None
        if not self._paused:
            return
        self._paused = False
        self._look()
        if not self._paused:
            self._stream.resume_reading()

    def _frame_received(self, frame: Frame) -> None:
        if frame.opcode is Opcode.PONG:
            self._ping_later()
            return
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return
        if frame.opcode is not Opcode.CONT:
            self._is_text = frame.opcode is Opcode.TEXT
        if not frame.fin:
            self._part += frame.data
            return
        data = bytes(self._part + frame.data if self._part else frame.data)
        self._part.clear()
        if self._state is not _TALK:
            return  # nobody reads after a close
        if not self._is_text:
            self._put({"type": "websocket.receive", "bytes": data})
            return
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            self._protocol.fail(1007, f"{error.reason} at position {error.start}")
            self._over(1007, "")
        else:
            self._put({"type": "websocket.receive", "text": text})

    def _put(self, message: Event) -> None:
        self._messages.append(message)
        self._size += _size_of(message)
        if self._event is not None:
            self._event.set()

    def _flush(self) -> bool:
        """Send what the protocol has to say; tell whether the stream has taken anything."""
        stream = self._stream
        assert stream is not None
        written = False
        for data in self._protocol.data_to_send():
            if stream.closed():
                return False
            if data:
                stream.write(data)
                written = True
            elif self._protocol.close_rcvd is not None:
                stream.close()
            else:  # a close at once might destroy what says why
                self._close_later(_LINGER)
        return written and not stream.closed()

    def _close_later(self, seconds: float) -> None:
        assert self._stream is not None
        if self._end is None:
            self._end = self._connection.loop.call_later(seconds, self._stream.close)
        self._go_on()  # or the client's close would not be seen

    def _ended(self, data: bytes) -> None:
        """The client sends nothing more; and may have said so before the stream was ours."""
        assert self._stream is not None
        self._stream.close()

    def _lost(self) -> None:
        self._over(1006, "")
        if self._stream is None:
            self._connection.close()  # a client that sends no more cannot talk
        for timer in (self._ping, self._end):
            if timer is not None:
                timer.cancel()

    def _over(self, code: int, reason: str) -> None:
        """Tell the application that it is over."""
        self._state = _NOTHING
        if self._disconnect is None:
            self._disconnect = _disconnected(code, reason)
        if self._event is not None:
            self._event.set()

    # --- Pings ------------------------------------------------------------------------------

    def _ping_later(self) -> None:
        """Ask the client after some time whether it is there; it has just been."""
        if self._ping is not None:
            self._ping.cancel()
            self._ping = None
        if self._options.ping_interval is not None and self._disconnect is None:
            self._ping = self._connection.loop.call_later(
                self._options.ping_interval, self._send_ping
            )

    def _send_ping(self) -> None:
        self._ping = None
        if self._protocol.state is not State.OPEN:
            return
        self._protocol.send_ping(b"")
        self._flush()
        if self._options.ping_timeout is not None:
            self._ping = self._connection.loop.call_later(
                self._options.ping_timeout, self._does_not_answer
            )
        else:
            self._ping_later()

    def _does_not_answer(self) -> None:
        self._ping = None
        if self._paused:  # the answer may be here
            self._ping_later()
            return
        self._protocol.fail(1011, "keepalive ping timeout")
        self._flush()
        self._over(1011, "keepalive ping timeout")

    # --- The end of the application ---------------------------------------------------------

    @property
    def gone(self) -> bool:
        """Whether the client has gone, and the application may know."""
        if self._denial is not None:
            return self._denial.gone
        return self._disconnect is not None or (
            not self._connection.is_open if self._stream is None else self._stream.closed()
        )

    def returned(self) -> None:
        """The application has returned."""
        if self._denial is not None:
            self._denial.returned()
        elif self._state is _TALK:
            self._close(1000, "")
        elif self._state is not _NOTHING and self._connection.is_open:
            self.failed(RuntimeError("The ASGI application returned without an answer"))

    def failed(self, error: BaseException) -> None:
        """Close for an application that let an exception escape."""
        if self._denial is not None:
            self._denial.failed(error)
        elif self._stream is None and self._state is not _NOTHING:
            self._state = _NOTHING
            self._connection.callback_failed(error, self._request)
        else:
            if not isinstance(error, asyncio.CancelledError):
                app_log.error("Uncaught exception, closing %r", self._request, exc_info=error)
            if self._state is _TALK:
                self._close(1011, "")

    def stop(self) -> None:
        """The server ends."""
        if self._state is _TALK:
            self._close(1012, "")
            self._over(1012, "")


def _size_of(message: Event) -> int:
    return len(message["bytes"] if "bytes" in message else message["text"])


def _disconnected(code: int, reason: str) -> Event:
    return {"type": "websocket.disconnect", "code": code, "reason": reason}
