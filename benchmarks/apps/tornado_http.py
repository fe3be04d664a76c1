"""Tornado's HTTPServer with a callback, as its documentation shows it."""

import asyncio
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.httputil import (
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    HTTPServerRequest,
    ResponseStartLine,
)
from tornado.netutil import bind_sockets
from tornado.process import fork_processes

from benchmarks.apps.options import (
    DOWNLOAD_PIECES,
    DOWNLOAD_SIZE,
    HELLO,
    HOST,
    LARGE,
    Options,
    attributes_of,
    parse_options,
)


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


class Message(HTTPMessageDelegate):
    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def finish(self) -> None:
        headers = HTTPHeaders({"Content-Length": str(len(HELLO))})
        self.connection.write_headers(ResponseStartLine("HTTP/1.1", 200, "OK"), headers, HELLO)
        self.connection.finish()


class Delegate(HTTPServerConnectionDelegate):
    message: type[HTTPMessageDelegate] = Message

    def start_request(self, server_conn: object, request_conn: Any) -> Any:
        return self.message(request_conn)

    def on_close(self, server_conn: object) -> None: ...


delegate = Delegate()


class Counting(Message):
    """Receives in pieces."""

    size = 0

    def data_received(self, chunk: bytes) -> None:
        self.size += len(chunk)

    def finish(self) -> None:
        message = b"%d" % self.size
        headers = HTTPHeaders({"Content-Length": str(len(message))})
        self.connection.write_headers(ResponseStartLine("HTTP/1.1", 200, "OK"), headers, message)
        self.connection.finish()


stream = Delegate()
stream.message = Counting


class Sending(Message):
    """Sends in pieces."""

    async def send(self) -> None:
        headers = HTTPHeaders({"Content-Length": str(DOWNLOAD_SIZE)})
        self.connection.write_headers(ResponseStartLine("HTTP/1.1", 200, "OK"), headers)
        for _ in range(DOWNLOAD_PIECES):
            await self.connection.write(LARGE)
        self.connection.finish()

    def finish(self) -> None:
        self.task = asyncio.ensure_future(self.send())


download = Delegate()
download.message = Sending


async def serve(options: Options, sockets: list) -> None:
    server = HTTPServer(globals()[options.answer], ssl_options=options.tls_context)
    server.add_sockets(sockets)


if __name__ == "__main__":
    parsed = parse_options()
    bound = bind_sockets(parsed.port, HOST, backlog=4096)
    if parsed.processes > 1:
        fork_processes(parsed.processes)
    parsed.run(serve(parsed, bound))
