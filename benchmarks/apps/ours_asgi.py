"""fasthttpserver with an ASGI application."""

from benchmarks.apps import asgi
from benchmarks.apps.options import HOST, Options, parse_options
from fasthttpserver.asgi import ASGIContainer
from fasthttpserver.httpserver import HTTPServer
from fasthttpserver.netutil import bind_sockets


async def serve(options: Options) -> None:
    application = getattr(asgi, options.answer)
    container = ASGIContainer(application, lifespan="off")
    server = HTTPServer(container, ssl_options=options.tls_context)
    server.add_sockets(bind_sockets(options.port, HOST, backlog=4096))


if __name__ == "__main__":
    parsed = parse_options()
    parsed.run(serve(parsed))
