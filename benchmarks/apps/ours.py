"""fasthttpserver: a callback writes the response as it goes on the wire."""

import os
from typing import Any

from benchmarks.apps.options import (
    DOWNLOAD_PIECES,
    DOWNLOAD_SIZE,
    HELLO,
    HOST,
    LARGE,
    attributes_of,
    parse_options,
)
from fasthttpserver.httpserver import HTTPRequest, HTTPServer
from fasthttpserver.httputil import HTTPHeaders, HTTPMessageDelegate, ResponseStartLine
from fasthttpserver.ioloop import IOLoop

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
HELLO_RESPONSE = HEAD % len(HELLO) + HELLO
LARGE_RESPONSE = HEAD % len(LARGE) + LARGE
CLOSING_RESPONSE = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 13\r\n\r\n" + HELLO


def hello(request: HTTPRequest) -> None:
    request.write(HELLO_RESPONSE)
    request.finish()


logged = hello


def respond(request: HTTPRequest) -> None:
    request.respond(200, HELLO, content_type="text/plain")


async def coroutine(request: HTTPRequest) -> None:
    request.write(HELLO_RESPONSE)
    request.finish()


def large(request: HTTPRequest) -> None:
    request.write(LARGE_RESPONSE)
    request.finish()


def closing(request: HTTPRequest) -> None:
    request.write(CLOSING_RESPONSE)
    request.finish()


def body(request: HTTPRequest) -> None:
    message = b"%d" % len(request.body)
    request.write(HEAD % len(message) + message)
    request.finish()


async def stream(request: HTTPRequest) -> None:
    size = 0
    async for piece in request.stream():
        size += len(piece)
    message = b"%d" % size
    request.write(HEAD % len(message) + message)
    request.finish()


async def download(request: HTTPRequest) -> None:
    request.write(HEAD % DOWNLOAD_SIZE)
    for _ in range(DOWNLOAD_PIECES):
        await request.write(LARGE)
    request.finish()


def attributes(request: HTTPRequest) -> None:
    message = attributes_of(request)
    request.write(HEAD % len(message) + message)
    request.finish()


class Message(HTTPMessageDelegate):
    """One request; this and ``Delegate`` are the same for Tornado, in tornado_http.py."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def finish(self) -> None:
        headers = HTTPHeaders({"Content-Length": str(len(HELLO))})
        self.connection.write_headers(ResponseStartLine("HTTP/1.1", 200, "OK"), headers, HELLO)
        self.connection.finish()


class Delegate:
    def start_request(self, server_conn: object, request_conn: Any) -> Message:
        return Message(request_conn)

    def on_close(self, server_conn: object) -> None: ...


delegate = Delegate()


if __name__ == "__main__":
    options = parse_options()
    os.environ["FASTHTTPSERVER_LOOP"] = options.loop
    server = HTTPServer(
        globals()[options.answer],
        ssl_options=options.tls_context,
        access_log="common" if options.answer == "logged" else None,
        stream_request_body=options.answer == "stream",
    )
    server.bind(options.port, HOST, backlog=4096)
    server.start(options.processes)
    IOLoop.instance().start()
