"""aiohttp's low-level server: one handler, no router."""

import asyncio

from aiohttp import web

from benchmarks.apps.options import HELLO, HOST, LARGE, Options, parse_options


async def hello(request: web.BaseRequest) -> web.Response:
    return web.Response(body=HELLO)


closing = hello


async def large(request: web.BaseRequest) -> web.Response:
    return web.Response(body=LARGE)


async def body(request: web.BaseRequest) -> web.Response:
    # request.read() stops at 1 MiB, which a low-level server cannot change.
    return web.Response(body=b"%d" % len(await request.content.read()))


async def serve(options: Options) -> None:
    server = web.Server(globals()[options.answer])
    await asyncio.get_running_loop().create_server(
        server, HOST, options.port, ssl=options.tls_context, backlog=4096
    )


if __name__ == "__main__":
    parsed = parse_options()
    parsed.run(serve(parsed))
