"""Programs that use the package, as type checkers see them: without a complaint.

Nothing in here is run: ``make lint`` checks it. ``assert_type`` holds what is inferred.
"""

from __future__ import annotations

import asyncio
import http
import ssl
from collections.abc import Awaitable
from http.cookies import Morsel
from pathlib import Path
from types import MappingProxyType
from typing import Any, assert_type

from hypothesis import given
from hypothesis import strategies as st

from fasthttpserver import (
    HTTPConnection,
    HTTPHeaders,
    HTTPInputError,
    HTTPRequest,
    HTTPServer,
    IOLoop,
    RequestCallback,
)
from fasthttpserver.httputil import HTTPFile, HTTPServerRequest, ResponseStartLine
from fasthttpserver.ioloop import PeriodicCallback
from fasthttpserver.iostream import IOStream, StreamClosedError
from fasthttpserver.parser import END_OF_MESSAGE, EndOfMessage, RequestMessage, RequestParser
from fasthttpserver.tcpserver import TCPServer
from fasthttpserver.testing import Client, Request, Response, check_callback, pipelines, requests

# --- Callbacks ----------------------------------------------------------------------------


def plain(request: HTTPRequest) -> None:
    message = f"You requested {request.uri}\n"
    request.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(message)}\r\n\r\n{message}")
    request.finish()


async def coroutine(request: HTTPRequest) -> None:
    await request.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    await asyncio.sleep(1)
    await request.write(b"0\r\n\r\n")
    request.finish()


class Application:
    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, request: HTTPRequest) -> None:
        headers = HTTPHeaders({"Content-Type": "text/plain"}, server=self.name)
        connection = request.connection
        assert_type(connection, HTTPConnection)
        connection.write_headers(ResponseStartLine("", 200, "OK"), headers, b"hello")
        connection.set_close_callback(lambda: None)
        connection.finish()


class Routes:
    def __init__(self, routes: dict[str, RequestCallback], otherwise: RequestCallback) -> None:
        self._routes = routes
        self._otherwise = otherwise

    def handle(self, request: HTTPRequest) -> object:
        return self._routes.get(request.path, self._otherwise)(request)


routes = Routes({"/": plain, "/slow": coroutine, "/app": Application("a")}, lambda r: r.finish())
callback: RequestCallback = routes.handle


def attributes(request: HTTPRequest) -> None:
    assert_type(request.method, str)
    assert_type(request.uri, str)
    assert_type(request.path, str)
    assert_type(request.query, str)
    assert_type(request.version, str)
    assert_type(request.body, bytes)
    assert_type(request.remote_ip, str | None)
    assert_type(request.protocol, str)
    assert_type(request.host, str)
    assert_type(request.headers, HTTPHeaders)
    assert_type(request.headers["Host"], str)
    assert_type(request.headers.get("Accept"), str | None)
    assert_type(request.headers.get("Accept", "*/*"), str)
    assert_type(request.headers.get_list("Accept"), list[str])
    assert_type(request.arguments, dict[str, list[bytes]])
    assert_type(request.files, dict[str, list[HTTPFile]])
    assert_type(request.cookies, dict[str, Morsel[str]])
    assert_type(request.full_url(), str)
    assert_type(request.request_time(), float)
    assert_type(request.keep_alive, bool)
    assert_type(request.write(b""), Awaitable[None])
    assert_type(request.connection, HTTPConnection)
    assert_type(request.connection.write_headers(("", 200, "OK"), []), Awaitable[None])
    assert_type(request.connection.send_informational(103, {}), Awaitable[None])
    assert_type(request.connection.respond(("", 200, "OK"), {}, b""), bool)
    assert_type(request.connection.stream, IOStream)
    assert_type(request.connection.detach(), IOStream)
    assert_type(request.connection.no_keep_alive, bool)
    assert_type(request.connection.get_extra_info("peername"), Any)
    request.remote_ip = "192.0.2.1"  # of a test
    upload = request.files["file"][0]
    assert_type(upload.filename, str)
    assert_type(upload.body, bytes)


def whole(request: HTTPServerRequest) -> None:
    if request.method == "HEAD":
        request.respond(http.HTTPStatus.OK)
    elif request.path == "/json":
        request.respond(200, {"a": [1, None]}, HTTPHeaders({"X-A": "b"}))
    elif request.path == "/list":
        request.respond(200, ["a"], [("X-A", "b"), ("X-A", "c")])
    elif request.path == "/html":
        request.respond(200, "<p>", headers={"X-A": "b"}, content_type="text/html")
    else:
        request.respond(404, b"no", MappingProxyType({"X-A": 1}))


async def files(request: HTTPRequest) -> None:
    await request.send_file("a.txt", root=Path("folder"), headers={"Cache-Control": "no-cache"})


async def pieces(request: HTTPRequest) -> None:
    request.send_informational(103, {"Link": "</style.css>; rel=preload"})
    await request.connection.write_headers(("", 200, "OK"), [("Content-Type", "text/plain")])
    await request.write(b"piece")
    request.finish()


server_of_aliases = HTTPServer(whole, max_header_count=50, body_timeout=None)
made = HTTPRequest("GET", "/", headers=HTTPHeaders(), remote_ip="127.0.0.1")


# --- Servers ------------------------------------------------------------------------------


def serve() -> None:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server = HTTPServer(
        Application("a"),
        no_keep_alive=True,
        xheaders=True,
        ssl_options=tls,
        max_body_size=1 << 20,
        idle_connection_timeout=30.0,
        trusted_downstream=["10.0.0.0/8"],
    )
    server.bind(443, address="::")
    server.start(0)
    HTTPServer(plain, ssl_options={"certfile": "a", "keyfile": "b"}).listen(8443)
    loop = IOLoop.instance()
    assert_type(loop, IOLoop)
    loop.add_callback(print, "serving")
    timeout = loop.add_timeout(loop.time() + 5, loop.stop)
    loop.remove_timeout(timeout)
    PeriodicCallback(lambda: None, 1000).start()
    loop.start()


async def main() -> None:
    server = HTTPServer(coroutine)
    server.listen(8888, "127.0.0.1")
    try:
        await asyncio.Event().wait()
    finally:
        report = await server.drain(timeout=10)
        assert_type(report, dict[str, int])


class Lines(TCPServer):
    async def handle_stream(self, stream: IOStream, address: Any) -> None:
        try:
            while True:
                line = await stream.read_until(b"\n")
                assert_type(line, bytes)
                await stream.write(line)
        except StreamClosedError:
            pass


# --- Streams ------------------------------------------------------------------------------


async def tunnel(request: HTTPRequest) -> None:
    await request.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n")
    stream: IOStream = request.connection.detach()
    assert_type(await stream.read_bytes(2), bytes)
    assert_type(await stream.read_bytes(100, partial=True), bytes)
    assert_type(await stream.read_until_regex(rb"\r?\n"), bytes)
    assert_type(await stream.read_until_close(), bytes)
    stream.close()


def tunnel_of_callbacks(request: HTTPRequest) -> None:
    stream: IOStream = request.connection.stream

    def received(data: bytes) -> None:
        stream.write(data, lambda: stream.close())

    stream.set_close_callback(lambda: None)
    stream.read_until(b"\r\n", received)
    stream.read_bytes(5, callback=received, streaming_callback=received)
    stream.read_until_close(received)


# --- The parser ---------------------------------------------------------------------------


class Message(RequestMessage):
    __slots__ = ("answer",)

    answer: bytes


def parse(data: bytes | bytearray | memoryview) -> None:
    parser = RequestParser(max_body_size=1000)
    assert_type(parser, RequestParser[RequestMessage])
    own = RequestParser(message_class=Message)
    assert_type(own, RequestParser[Message])
    try:
        own.receive_data(data)
        while (message := own.next_request()) is not None:
            assert_type(message, Message)
            assert_type(message.fields, list[tuple[str, str]])
            message.answer = message.method.encode("ascii") + message.body
    except HTTPInputError as error:
        assert_type(error.status, int)
        assert_type(error.reason, str)
        assert_type(error.offset, int)
    assert_type(own.next_event(), Message | bytes | EndOfMessage | None)
    if own.next_event() is END_OF_MESSAGE:
        assert_type(own.detach(), bytes)


# --- The test kit -------------------------------------------------------------------------


def test_in_memory() -> None:
    with Client(plain, max_body_size=10) as client:
        response = client.request("POST", "/", {"Accept": "*/*"}, b"body")
        assert_type(response, Response)
        assert_type(response.status, int)
        assert_type(response.headers, HTTPHeaders)
        assert_type(response.body, bytes)
        client.send(b"GET / HTTP/1.1\r\n", b"Host: a\r\n\r\n")
        assert_type(client.peek(), Response | None)
        assert_type(client.receive(), Response)
        assert_type(client.call(lambda: 5), int)
    check_callback(coroutine, xheaders=True)
    check_callback(plain, pipelines=pipelines(method=st.just("GET"), target=st.just("/")))


@given(request=requests(method=st.sampled_from(["GET", "PUT"])))
def test_of_a_strategy(request: Request) -> None:
    assert_type(request.wire, bytes)
