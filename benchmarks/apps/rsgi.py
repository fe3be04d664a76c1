"""RSGI applications, granian's own interface."""

from typing import Any

from benchmarks.apps.options import DOWNLOAD_PIECES, DOWNLOAD_SIZE, HELLO, LARGE


async def hello(scope: Any, protocol: Any) -> None:
    protocol.response_bytes(200, [], HELLO)


closing = coroutine = logged = respond = hello


async def large(scope: Any, protocol: Any) -> None:
    protocol.response_bytes(200, [], LARGE)


async def stream(scope: Any, protocol: Any) -> None:
    size = 0
    async for piece in protocol:
        size += len(piece)
    protocol.response_bytes(200, [], b"%d" % size)


async def download(scope: Any, protocol: Any) -> None:
    transport = protocol.response_stream(200, [("content-length", str(DOWNLOAD_SIZE))])
    for _ in range(DOWNLOAD_PIECES):
        await transport.send_bytes(LARGE)


async def body(scope: Any, protocol: Any) -> None:
    protocol.response_bytes(200, [], b"%d" % len(await protocol()))
