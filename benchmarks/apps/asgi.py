"""Applications of ASGI: raw ones, and the same hello of Starlette and FastAPI."""

from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.apps.options import DOWNLOAD_PIECES, DOWNLOAD_SIZE, HELLO, LARGE

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def _respond(send: Send, message: bytes) -> None:
    headers = [(b"content-length", b"%d" % len(message))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": message})


async def hello(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    await _respond(send, HELLO)


closing = coroutine = logged = respond = hello


async def large(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    await _respond(send, LARGE)


async def echo(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "bytes": message["bytes"]})


def __getattr__(name: str) -> Any:
    # Made when asked for, since the frameworks need not be installed.
    if name == "starlette":
        from starlette.applications import Starlette
        from starlette.responses import PlainTextResponse
        from starlette.routing import Route

        return Starlette(routes=[Route("/{path:path}", lambda request: PlainTextResponse(HELLO))])
    if name == "fastapi":
        from fastapi import FastAPI
        from fastapi.responses import PlainTextResponse

        application = FastAPI()

        @application.get("/{path:path}")
        async def fastapi_hello(path: str) -> Any:
            return PlainTextResponse(HELLO)

        return application
    raise AttributeError(name)


async def stream(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    size = 0
    more = True
    while more:
        event = await receive()
        size += len(event.get("body", b""))
        more = event.get("more_body", False)
    await _respond(send, b"%d" % size)


async def download(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    headers = [(b"content-length", b"%d" % DOWNLOAD_SIZE)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for _ in range(DOWNLOAD_PIECES):
        await send({"type": "http.response.body", "body": LARGE, "more_body": True})
    await send({"type": "http.response.body"})


async def body(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    parts = []
    more = True
    while more:
        event = await receive()
        parts.append(event.get("body", b""))
        more = event.get("more_body", False)
    await _respond(send, b"%d" % len(b"".join(parts)))
