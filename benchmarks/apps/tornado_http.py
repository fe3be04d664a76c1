"""Tornado's HTTPServer with a callback, as its documentation shows it."""

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, HTTPServerRequest, ResponseStartLine
from tornado.netutil import bind_sockets
from tornado.process import fork_processes

from benchmarks.apps.options import HELLO, HOST, LARGE, Options, attributes_of, parse_options


def respond(request: HTTPServerRequest, message: bytes) -> None:
    request.connection.write_headers(
        ResponseStartLine("HTTP/1.1", 200, "OK"),
        HTTPHeaders({"Content-Length": str(len(message))}),
        message,
    )
    request.connection.finish()


def hello(request: HTTPServerRequest) -> None:
    respond(request, HELLO)


closing = hello  # Tornado says Connection: close by itself


def large(request: HTTPServerRequest) -> None:
    respond(request, LARGE)


def body(request: HTTPServerRequest) -> None:
    respond(request, b"%d" % len(request.body))


def attributes(request: HTTPServerRequest) -> None:
    respond(request, attributes_of(request))


async def serve(options: Options, sockets: list) -> None:
    server = HTTPServer(globals()[options.answer], ssl_options=options.tls_context)
    server.add_sockets(sockets)


if __name__ == "__main__":
    parsed = parse_options()
    bound = bind_sockets(parsed.port, HOST, backlog=4096)
    if parsed.processes > 1:
        fork_processes(parsed.processes)
    parsed.run(serve(parsed, bound))
