"""What tests of the ASGI door share: applications, and how to ask them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

Scope = dict[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


def start(status: int = 200, *headers: tuple[bytes, bytes], **more: Any) -> Message:
    """The message that begins a response."""
    return {"type": "http.response.start", "status": status, "headers": list(headers), **more}


def body(data: bytes = b"", more: bool = False) -> Message:
    """The message with a piece of a body."""
    return {"type": "http.response.body", "body": data, "more_body": more}


async def respond(send: Send, data: bytes = b"ok", status: int = 200) -> None:
    """Send a whole response."""
    await send(start(status))
    await send(body(data))


def saying(*messages: Message) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """An application that sends these messages."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return application


async def read_body(receive: Receive) -> bytes:
    """All of a request's body."""
    pieces = []
    more = True
    while more:
        message = await receive()
        assert message["type"] == "http.request"
        pieces.append(message["body"])
        more = message["more_body"]
    return b"".join(pieces)


class Recorder:
    """Keeps the scopes, messages and exceptions of an application.

    Args:
        application: Is run.
    """

    def __init__(self, application: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self.application = application
        self.scopes: list[Scope] = []
        self.received: list[Message] = []
        self.errors: list[BaseException] = []
        self.tasks: list[asyncio.Task[Any] | None] = []
        self.done = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def recorded() -> Message:
            message = await receive()
            self.received.append(message)
            return message

        self.scopes.append(scope)
        self.tasks.append(asyncio.current_task())
        try:
            await self.application(scope, recorded, send)
        except BaseException as error:
            self.errors.append(error)
            raise
        finally:
            self.done += 1
