"""Raw ASGI applications for uvicorn and granian: no framework."""

from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.apps.options import HELLO, LARGE

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def _respond(send: Send, message: bytes) -> None:
    headers = [(b"content-length", b"%d" % len(message))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": message})


async def hello(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    await _respond(send, HELLO)


closing = hello


async def large(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    await _respond(send, LARGE)


async def body(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    parts = []
    more = True
    while more:
        event = await receive()
        parts.append(event.get("body", b""))
        more = event.get("more_body", False)
    await _respond(send, b"%d" % len(b"".join(parts)))
