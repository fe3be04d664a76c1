"""fasthttpserver: bodies are read in pieces, and none is kept."""

import os

from benchmarks.apps.options import HOST, parse_options
from benchmarks.apps.ours import HEAD
from fasthttpserver.httpserver import HTTPRequest, HTTPServer
from fasthttpserver.ioloop import IOLoop


async def body(request: HTTPRequest) -> None:
    size = 0
    async for piece in request.stream():
        size += len(piece)
    message = b"%d" % size
    request.write(HEAD % len(message) + message)
    request.finish()


if __name__ == "__main__":
    options = parse_options()
    os.environ["FASTHTTPSERVER_LOOP"] = options.loop
    server = HTTPServer(body, ssl_options=options.tls_context, stream_request_body=True)
    server.bind(options.port, HOST, backlog=4096)
    server.start(options.processes)
    IOLoop.instance().start()
