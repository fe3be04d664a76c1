"""fasthttpserver: a callback writes the response as it goes on the wire."""

import os

from benchmarks.apps.options import HELLO, HOST, LARGE, attributes_of, parse_options
from fasthttpserver.access import AccessLog
from fasthttpserver.httpserver import HTTPRequest, HTTPServer
from fasthttpserver.ioloop import IOLoop

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
HELLO_RESPONSE = HEAD % len(HELLO) + HELLO
LARGE_RESPONSE = HEAD % len(LARGE) + LARGE
CLOSING_RESPONSE = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 13\r\n\r\n" + HELLO


def hello(request: HTTPRequest) -> None:
    request.write(HELLO_RESPONSE)
    request.finish()


def respond(request: HTTPRequest) -> None:
    request.respond(200, HELLO, content_type="text/plain")


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


def attributes(request: HTTPRequest) -> None:
    message = attributes_of(request)
    request.write(HEAD % len(message) + message)
    request.finish()


logged = hello


if __name__ == "__main__":
    options = parse_options()
    os.environ["FASTHTTPSERVER_LOOP"] = options.loop
    server = HTTPServer(
        globals()[options.answer],
        ssl_options=options.tls_context,
        access_log=AccessLog("combined", os.devnull) if options.answer == "logged" else None,
    )
    server.bind(options.port, HOST, backlog=4096)
    server.start(options.processes)
    IOLoop.instance().start()
