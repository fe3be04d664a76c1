"""aiohttp's low-level server: one handler, no router."""

import asyncio
import logging

from aiohttp import web

from benchmarks.apps.options import (
    DOWNLOAD_PIECES,
    DOWNLOAD_SIZE,
    HELLO,
    HOST,
    LARGE,
    Options,
    parse_options,
)


async def hello(request: web.BaseRequest) -> web.Response:
    return web.Response(body=HELLO)


closing = coroutine = logged = respond = hello


async def large(request: web.BaseRequest) -> web.Response:
    return web.Response(body=LARGE)


async def stream(request: web.BaseRequest) -> web.Response:
    size = 0
    async for piece in request.content.iter_any():
        size += len(piece)
    return web.Response(body=b"%d" % size)


async def download(request: web.BaseRequest) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": str(DOWNLOAD_SIZE)})
    await response.prepare(request)
    for _ in range(DOWNLOAD_PIECES):
        await response.write(LARGE)
    return response


async def body(request: web.BaseRequest) -> web.Response:
    # request.read() stops at 1 MiB, which a low-level server cannot change.
    return web.Response(body=b"%d" % len(await request.content.read()))


async def serve(options: Options) -> None:
    log = {"access_log": None}
    if options.answer == "logged":
        logging.basicConfig(format="%(message)s", level=logging.INFO)
        log = {"access_log": logging.getLogger("aiohttp.access")}
    server = web.Server(globals()[options.answer], **log)
    await asyncio.get_running_loop().create_server(
        server, HOST, options.port, ssl=options.tls_context, backlog=4096
    )


if __name__ == "__main__":
    parsed = parse_options()
    parsed.run(serve(parsed))
