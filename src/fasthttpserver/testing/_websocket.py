"""A WebSocket of a client in memory: messages in the place of bytes.

Frames are those of the package ``websockets``, whose protocol does no I/O; this module imports it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import cast

from websockets.client import ClientProtocol
from websockets.extensions.permessage_deflate import enable_client_permessage_deflate
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from fasthttpserver.testing._client import Client

__all__ = ["WebSocket"]


class WebSocket:
    """A WebSocket to an application, in memory, as ``Client.websocket`` opens it.

    Pings are answered when the client reads or sends.
    """

    def __init__(
        self,
        client: Client,
        target: str,
        headers: Iterable[tuple[str, str]],
        subprotocols: Sequence[str],
    ) -> None:
        self._client = client
        self._messages: deque[str | bytes] = deque()
        self._part = b""  # of a message that is not whole
        self._is_text = False
        self._protocol = ClientProtocol(
            parse_uri(f"ws://localhost{target}"),
            subprotocols=[cast(Subprotocol, each) for each in subprotocols] or None,
            extensions=enable_client_permessage_deflate(None),
            max_size=None,
        )
        request = self._protocol.connect()
        fields = list(headers)
        for name, _ in fields:
            request.headers.pop(name, None)
        for name, value in fields:
            request.headers[name] = value
        self._protocol.send_request(request)
        self._flush()
        self._protocol.receive_data(client._receive_raw())
        if self._protocol.handshake_exc is not None:
            raise self._protocol.handshake_exc
        self._protocol.events_received()  # the response

    @property
    def subprotocol(self) -> str | None:
        """What the application has chosen of the subprotocols."""
        return self._protocol.subprotocol

    @property
    def close_code(self) -> int | None:
        """Why it was closed, 1000 in good order; None while it is open."""
        self._read()
        return self._protocol.close_code

    def send(self, message: str | bytes) -> None:
        """Send a message.

        Raises:
            websockets.exceptions.ConnectionClosed: It is closed.
        """
        self._read()
        self._check_open()
        if isinstance(message, str):
            self._protocol.send_text(message.encode())
        else:
            self._protocol.send_binary(message)
        self._flush()

    def receive(self) -> str | bytes:
        """Wait for the next message.

        Raises:
            websockets.exceptions.ConnectionClosed: It is closed, and there is none.
            TimeoutError: None has come in time.
        """
        self._wait(lambda: bool(self._messages), "a message")
        if not self._messages:
            self._check_open()
        return self._messages.popleft()

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close it, and wait for the other side to do so.

        Raises:
            TimeoutError: That has not come in time.
        """
        self._read()
        if self._protocol.state is State.OPEN:
            self._protocol.send_close(code, reason)
            self._flush()
        self._wait(lambda: False, "the end")

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until a condition holds or it is closed."""

        def is_over() -> bool:
            self._read()
            return condition() or self._protocol.state is State.CLOSED

        client = self._client
        if not client._loop.run_until(is_over, client._timeout):
            raise TimeoutError(f"{client._timeout:g} seconds have passed without {what}")

    def _check_open(self) -> None:
        if self._protocol.state is State.CLOSED:
            raise self._protocol.close_exc

    def _read(self) -> None:
        protocol = self._protocol
        if protocol.state is State.CLOSED:
            return
        protocol.receive_data(self._client.receive_bytes())
        if self._client.closed:
            protocol.receive_eof()
        for event in protocol.events_received():
            assert isinstance(event, Frame)
            if event.opcode in (Opcode.TEXT, Opcode.BINARY):
                self._is_text = event.opcode is Opcode.TEXT
                self._part = b""
            elif event.opcode is not Opcode.CONT:
                continue
            self._part += event.data
            if event.fin:
                self._messages.append(self._part.decode() if self._is_text else self._part)
        self._flush()

    def _flush(self) -> None:
        self._client.send(*self._protocol.data_to_send())
