"""Applications of Tornado 6 on ``fasthttpserver.tornado``, seen by clients."""

from __future__ import annotations

import ast
import asyncio
import base64
import contextlib
import gzip
import json
import logging
import ssl
import threading
from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest
import tornado.httpserver
import tornado.httputil
import tornado.iostream
import tornado.netutil
import tornado.routing
import tornado.web
import tornado.websocket
import tornado.wsgi
import websockets.sync.client as websockets
from helpers import TIMEOUT, Certificates, Client, Logs, LoopThread, eventually, get, post, split
from tornado.httputil import HTTPServerRequest
from tornado.ioloop import IOLoop
from tornado.web import Application, RequestHandler
from websockets.exceptions import ConnectionClosed

import fasthttpserver.tornado as door
from fasthttpserver import errors, log, testing

CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


class Served(LoopThread):
    """A server of an application on 127.0.0.1, in a thread and a loop of its own.

    Args:
        new_loop: Makes the loop.
        application: Or a delegate, or a function.
        options: Of the server.
    """

    def __init__(
        self, new_loop: Callable[[], AbstractEventLoop], application: Any, **options: Any
    ) -> None:
        super().__init__(new_loop)
        self._application, self._options = application, options
        self._clients = contextlib.ExitStack()

    def __enter__(self) -> Self:
        super().__enter__()
        self.server: door.HTTPServer = self.call(self._listen)
        ((_, sock),) = self.server._sockets.items()
        self.address = sock.getsockname()
        return self

    def _listen(self) -> door.HTTPServer:
        server = door.HTTPServer(self._application, **self._options)
        server.listen(0, "127.0.0.1")
        return server

    def __exit__(self, *exc_info: object) -> None:
        self.call(self._shut_down)
        self._clients.close()
        super().__exit__(*exc_info)

    async def _shut_down(self) -> None:
        self.server.stop()
        await self.server.close_all_connections()
        IOLoop.current()  # the same object for as long as the loop lives
        await asyncio.sleep(0)

    def connect(self, **kwargs: Any) -> Client:
        """Connect a client, which is closed at the end of the test."""
        return self._clients.enter_context(Client(self.address, **kwargs))

    def ask(self, request: bytes) -> bytes:
        """The body of the answer to a request on a connection of its own."""
        return self.connect().ask(request)

    def websocket(self, path: str = "/", **options: Any) -> websockets.ClientConnection:
        """Connect a client of a library that knows nothing of Tornado or us."""
        host, port = self.address
        connection: websockets.ClientConnection = self._clients.enter_context(
            websockets.connect(
                f"ws://{host}:{port}{path}",
                proxy=None,
                open_timeout=TIMEOUT,
                ping_interval=None,  # it would take a thread
                **options,
            )
        )
        return connection


Serve = Callable[..., Served]


@pytest.fixture
def serve(
    new_loop: Callable[[], AbstractEventLoop], logs: Logs, nothing_left: None
) -> Iterator[Serve]:
    with contextlib.ExitStack() as stack:
        yield lambda *args, **kwargs: stack.enter_context(Served(new_loop, *args, **kwargs))


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have servers speak our own language again at the end."""
    monkeypatch.setattr(errors, "_KIN", {})
    access = logging.getLogger("tornado.access")
    level = access.level
    access.setLevel(logging.CRITICAL)  # tornado.web's own log, a WARNING for each 4xx
    yield
    access.setLevel(level)
    log.redirect(None)
    door.uninstall()


def logged(logs: Logs, name: str, level: int) -> list[str]:
    """Take what ``tornado.<name>`` has logged of this level."""
    taken = [
        each for each in logs.records if (each.name, each.levelno) == (f"tornado.{name}", level)
    ]
    for record in taken:
        logs.records.remove(record)
    return [record.getMessage() for record in taken]


def handling(handler: type[RequestHandler], **settings: Any) -> Application:
    return Application([("/.*", handler)], **settings)


def answering(answer: Callable[[RequestHandler], Any]) -> Application:
    """An application that answers all GETs and POSTs by a function of the handler."""

    class Handler(RequestHandler):
        async def get(self) -> None:
            result = answer(self)
            self.finish(await result if isinstance(result, Awaitable) else result)

        post = get

    return handling(Handler)


class Hello(RequestHandler):
    def get(self) -> None:
        self.write("Hello")


# --- Requests and responses ---------------------------------------------------------------------


def test_an_application_is_served_unchanged(serve: Serve) -> None:
    class Form(RequestHandler):
        def post(self) -> None:
            self.set_header("X-Two", "2")
            self.write({"path": self.request.path, "a": self.get_arguments("a")})

    class Nothing(RequestHandler):
        def get(self) -> None:
            self.set_status(204)

    served = serve(Application([("/", Hello), ("/form", Form), ("/nothing", Nothing)]))
    client = served.connect()
    assert client.ask(get()) == b"Hello"
    client.send(
        post(b"a=2&a=3", "Content-Type: application/x-www-form-urlencoded", uri="/form?a=1")
    )
    response = client.read_response()
    assert json.loads(response.body) == {"path": "/form", "a": ["1", "2", "3"]}
    assert response.fields["x-two"] == "2"
    client.send(get("/nothing") + get("/missing") + get("/form"))
    assert [client.read_response().status for _ in range(3)] == [204, 404, 405]
    client.send(get().replace(b"GET", b"HEAD"))
    assert client.read_response("HEAD").status == 405


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_any_cut_of_a_request_gives_the_same_answers(serve: Serve, size: int) -> None:
    served = serve(answering(lambda handler: handler.request.body + b"."))
    client = served.connect()
    requests = post(bytes(range(100))) + get() + CHUNKED + b"3\r\nabc\r\n0\r\n\r\n" + get()
    for piece in split(requests, range(0, len(requests), size)):
        client.send(piece)
    bodies = [client.read_response().body for _ in range(4)]
    assert bodies == [bytes(range(100)) + b".", b".", b"abc.", b"."]


def test_what_applications_read_of_a_request_is_there(serve: Serve) -> None:
    def tell(handler: RequestHandler) -> str:
        request = handler.request
        connection: Any = request.connection  # Tornado's type of it is only what it writes to
        stream = connection.stream
        connection.set_close_callback(lambda: None)
        connection.set_body_timeout(60)
        connection.set_max_body_size(1000)
        assert type(request) is HTTPServerRequest
        assert isinstance(request.headers, tornado.httputil.HTTPHeaders)
        assert stream.io_loop is IOLoop.current()
        assert stream.max_buffer_size == 12_345
        assert not stream.closed()
        stream.set_nodelay(True)
        stream.set_close_callback(None)
        assert str(connection.context) == connection.context.remote_ip == request.remote_ip
        assert connection.context.address == stream.socket.getpeername()
        assert connection.context.protocol == request.protocol == "http"
        assert not connection.no_keep_alive
        assert not connection.is_client
        assert connection.params.max_body_size == 12_345
        assert request.get_ssl_certificate is not None
        return f"{request.remote_ip} {request.host} {request.full_url()} {request.version}"

    served = serve(answering(tell), max_buffer_size=12_345)
    assert served.ask(get("/x?y")) == b"127.0.0.1 a http://a/x?y HTTP/1.1"


def test_header_fields_are_tornados_in_every_way(serve: Serve) -> None:
    def tell(handler: RequestHandler) -> dict[str, Any]:
        headers = handler.request.headers
        copy = tornado.httputil.HTTPHeaders(headers)
        assert copy == headers.copy() == headers
        headers.add("X-New", "1")
        headers["x-new-too"] = "2"
        del headers["X-Gone"]
        assert "x-gone" not in headers
        with pytest.raises(tornado.httputil.HTTPInputError):
            headers.add("a b", "1")
        return {
            "all": sorted(headers.get_all()),
            "list": headers.get_list("x-two"),
            "joined": headers["X-TWO"],
            "get": [headers.get("host"), headers.get("none"), headers.get("none", "x")],
            "names": sorted(headers),
            "size": len(headers),
            "copy": sorted(copy),
            "text": str(copy),
        }

    told = json.loads(serve(answering(tell)).ask(get("/", "X-Gone: 0", "X-Two: 1", "x-two: 2")))
    assert told == {
        "all": [["Host", "a"], ["X-New", "1"], ["X-New-Too", "2"], ["X-Two", "1"], ["X-Two", "2"]],
        "list": ["1", "2"],
        "joined": "1,2",
        "get": ["a", None, "x"],
        "names": ["Host", "X-New", "X-New-Too", "X-Two"],
        "size": 4,
        "copy": ["Host", "X-Gone", "X-Two"],
        "text": "Host: a\nX-Gone: 0\nX-Two: 1\nX-Two: 2\n",
    }


def test_a_response_may_be_flushed_in_parts(serve: Serve) -> None:
    class Parts(RequestHandler):
        async def get(self) -> None:
            for part in "abc":
                self.write(part)
                await self.flush()

    client = serve(handling(Parts)).connect()
    client.send(get())
    assert client.read_until(b"0\r\n\r\n").endswith(
        b"\r\n\r\n1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n"
    )
    client.send(get(version="HTTP/1.0"))
    assert client.read_to_end().endswith(b"\r\n\r\nabc")


def test_a_client_that_reads_slowly_keeps_a_handler_waiting(serve: Serve) -> None:
    flushed: list[int] = []

    class Endless(RequestHandler):
        async def get(self) -> None:
            with contextlib.suppress(tornado.iostream.StreamClosedError):
                while True:
                    self.write(bytes(1 << 20))
                    await self.flush()
                    flushed.append(1)
            flushed.append(0)

    served = serve(handling(Endless))
    client = served.connect(receive_buffer=4096)
    client.send(get())
    client.read(1000)
    written = len(flushed)
    served.settle()
    assert len(flushed) < 50  # of the kernel's buffers, and not of an endless answer
    client.read((written + 5) << 20)
    assert len(flushed) > written
    client.reset()
    eventually(lambda: flushed[-1] == 0)


@pytest.mark.parametrize("early", [False, True])
def test_on_connection_close_tells_of_a_client_that_has_gone(serve: Serve, early: bool) -> None:
    closed, waiting = threading.Event(), threading.Event()

    @tornado.web.stream_request_body
    class Upload(RequestHandler):
        def prepare(self) -> None:
            waiting.set()

        def data_received(self, chunk: bytes) -> None:
            pass

        def on_connection_close(self) -> None:
            super().on_connection_close()
            closed.set()

    class Wait(RequestHandler):
        async def get(self) -> None:
            waiting.set()
            await self.gone.wait()

        def prepare(self) -> None:
            self.gone = asyncio.Event()

        def on_connection_close(self) -> None:
            self.gone.set()
            closed.set()

    client = serve(handling(Upload if early else Wait)).connect()
    client.send(post(bytes(10))[:-1] if early else get())
    assert waiting.wait(TIMEOUT)
    client.close()
    assert closed.wait(TIMEOUT)


def test_an_exception_of_a_handler_is_answered_and_logged(serve: Serve, logs: Logs) -> None:
    client = serve(answering(lambda handler: 1 // 0)).connect()
    client.send(get() + get())
    assert [client.read_response().status for _ in range(2)] == [500, 500]
    assert len(logged(logs, "application", logging.ERROR)) == 2


def test_a_response_that_is_not_as_long_as_it_says_closes(serve: Serve, logs: Logs) -> None:
    class Wrong(RequestHandler):
        def get(self) -> None:
            self.set_header("Content-Length", self.get_argument("size"))
            self.finish("12345")

    served = serve(handling(Wrong))
    for size, words in (4, "more data than"), (6, "1 bytes less than"):
        client = served.connect()
        client.send(get(f"/?size={size}"))
        client.read_to_end()
        served.settle()  # it is logged after that
        (error,) = [each for each in logs.records if each.exc_info]
        assert len(logged(logs, "application", logging.ERROR)) == 1
        logged(logs, "general", logging.ERROR)  # that nothing can be answered any more
        assert error.exc_info is not None
        assert error.exc_info[0] is door.HTTPOutputError
        assert f"Tried to write {words}" in str(error.exc_info[1])


# --- Bodies in pieces ---------------------------------------------------------------------------


def test_a_streaming_handler_gets_pieces_one_after_the_other(serve: Serve) -> None:
    @tornado.web.stream_request_body
    class Upload(RequestHandler):
        async def prepare(self) -> None:
            connection: Any = self.request.connection
            connection.set_max_body_size(1 << 30)
            self.sizes: list[int] = []
            self.busy = False
            await asyncio.sleep(0)

        async def data_received(self, chunk: bytes) -> None:
            assert not self.busy
            self.busy = True
            await asyncio.sleep(0)
            self.sizes.append(len(chunk))
            self.busy = False

        def post(self) -> None:
            self.write({"size": sum(self.sizes), "largest": max(self.sizes)})

    client = serve(handling(Upload), chunk_size=10_000, max_body_size=10).connect()
    for _ in range(2):
        told = json.loads(
            client.ask(post(bytes(1_000_000), "Expect: 100-continue")[:0] or post(bytes(1_000_000)))
        )
        assert told == {"size": 1_000_000, "largest": 10_000}


def test_a_handler_that_answers_early_ends_the_connection(serve: Serve) -> None:
    @tornado.web.stream_request_body
    class Refuse(RequestHandler):
        def prepare(self) -> None:
            self.set_status(403)
            self.finish("no")

        def data_received(self, chunk: bytes) -> None:
            raise AssertionError("nobody asked for it")

    client = serve(handling(Refuse)).connect()
    client.send(post(bytes(100))[:-1])
    response = client.read_response()
    assert (response.status, response.body) == (403, b"no")
    assert client.read_to_end() == b""


def test_bodies_are_unpacked(serve: Serve) -> None:
    served = serve(answering(lambda handler: handler.request.body), decompress_request=True)
    assert served.ask(post(gzip.compress(b"packed"), "Content-Encoding: gzip")) == b"packed"


@pytest.mark.parametrize("where", ["head", "data", "awaited", "finish"])
def test_a_delegate_may_refuse_a_request(serve: Serve, logs: Logs, where: str) -> None:
    class Message(tornado.httputil.HTTPMessageDelegate):
        def headers_received(self, start_line: Any, headers: Any) -> None:
            self.refuse_in("head")

        def data_received(self, chunk: bytes) -> Awaitable[None] | None:
            self.refuse_in("data")
            return self.later() if where == "awaited" else None

        async def later(self) -> None:
            await asyncio.sleep(0)
            self.refuse_in("awaited")

        def finish(self) -> None:
            self.refuse_in("finish")

        def on_connection_close(self) -> None:
            closed.set()

        def refuse_in(self, place: str) -> None:
            if place == where:
                raise tornado.httputil.HTTPInputError("not 'this'")

    class Delegate(tornado.httputil.HTTPServerConnectionDelegate):
        def start_request(self, server_conn: object, request_conn: Any) -> Message:
            return Message()

    closed = threading.Event()
    client = serve(Delegate()).connect()
    client.send(post(b"body"))
    assert client.read_to_end() == b"HTTP/1.1 400 Bad Request\r\n\r\n"
    line = "Malformed HTTP message from 127.0.0.1: not 'this'"
    assert logged(logs, "general", logging.INFO) == [line]
    assert closed.wait(0 if where == "finish" else TIMEOUT) == (where != "finish")


def test_a_delegate_may_pass_on_what_our_code_refuses(serve: Serve, logs: Logs) -> None:
    class Message(tornado.httputil.HTTPMessageDelegate):
        def headers_received(self, start_line: Any, headers: Any) -> None:
            headers.add("a b", "1")

    class Delegate(tornado.httputil.HTTPServerConnectionDelegate):
        def start_request(self, server_conn: object, request_conn: Any) -> Message:
            return Message()

    client = serve(Delegate()).connect()
    client.send(get())
    assert client.read_to_end() == b"HTTP/1.1 400 Bad Request\r\n\r\n"
    (line,) = logged(logs, "general", logging.INFO)
    assert line.startswith("Malformed HTTP message from 127.0.0.1: ")


# --- Other applications -------------------------------------------------------------------------


def test_a_function_may_write_as_it_likes(serve: Serve) -> None:
    def raw(request: HTTPServerRequest) -> None:
        connection = request.connection
        assert connection is not None
        body = request.body + b"!"
        connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
        connection.write(body)
        connection.finish()

    client = serve(raw).connect()
    assert [client.ask(post(b"a")), client.ask(get())] == [b"a!", b"!"]


def test_wsgi_and_fallback_handlers_are_served(serve: Serve) -> None:
    def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", [("X-Path", environ["PATH_INFO"])])
        return [environ["REQUEST_METHOD"].encode(), environ["wsgi.input"].read()]

    container = tornado.wsgi.WSGIContainer(wsgi)
    rules: list[Any] = [
        ("/t", Hello),
        ("/.*", tornado.web.FallbackHandler, {"fallback": container}),
    ]
    for application in container, Application(rules):
        client = serve(application).connect()
        assert client.ask(post(b"body")) == b"POSTbody"
    assert client.ask(get("/t")) == b"Hello"


def test_a_delegate_is_told_when_its_connection_closes(serve: Serve) -> None:
    closed = threading.Event()

    class Router(tornado.routing.Router):
        def find_handler(self, request: Any, **kwargs: Any) -> None:
            return None  # its answer is 404

        def on_close(self, server_conn: object) -> None:
            closed.set()

    client = serve(Router()).connect()
    client.send(get())
    assert client.read_until(b"0\r\n\r\n").startswith(b"HTTP/1.1 404 ")
    client.close()
    assert closed.wait(TIMEOUT)


# --- Streams that are detached ------------------------------------------------------------------


def test_a_handler_may_detach_the_stream(serve: Serve) -> None:
    raised: list[BaseException] = []
    done = threading.Event()

    class Detach(RequestHandler):
        async def get(self) -> None:
            stream: Any = self.detach()
            await stream.write(b"go\n")
            await stream.write(await stream.read_until(b"\n") + await stream.read_bytes(3))
            attempts: list[Callable[[], Awaitable[object]]] = [
                lambda: stream.read_bytes(1),
                lambda: stream.read_until(b"x"),
                lambda: stream.read_until_regex(b"x"),
                lambda: stream.write(b"x"),
            ]
            for attempt in attempts:
                try:
                    await attempt()
                except tornado.iostream.StreamClosedError as error:
                    raised.append(error)
            done.set()

    client = serve(handling(Detach)).connect()
    client.send(get() + b"early\n")
    assert client.read_until(b"\n") == b"go\n"
    client.send(b"123")
    assert client.read(9) == b"early\n123"
    client.close()
    assert done.wait(TIMEOUT)
    assert len(raised) == 4
    assert all(isinstance(error, errors.StreamClosedError) for error in raised)


# --- WebSocket ----------------------------------------------------------------------------------


class Echo(tornado.websocket.WebSocketHandler):
    closes: list[tuple[int | None, str | None]]
    pongs: list[bytes]

    def initialize(self, closes: list[Any] | None = None, pongs: list[Any] | None = None) -> None:
        self.closes = [] if closes is None else closes
        self.pongs = [] if pongs is None else pongs

    def check_origin(self, origin: str) -> bool:
        return True

    def get_compression_options(self) -> dict[str, Any] | None:
        return {} if self.get_argument("compress", "") else None

    async def on_message(self, message: str | bytes) -> None:
        if message == "close":
            self.close(4001, "as asked")
        elif message == "ping":
            self.ping(b"1")
        else:
            await self.write_message(message, binary=isinstance(message, bytes))

    def on_pong(self, data: bytes) -> None:
        self.pongs.append(data)

    def on_close(self) -> None:
        self.closes.append((self.close_code, self.close_reason))


@pytest.mark.parametrize("path", ["/", "/?compress=1"])
def test_websocket_messages_are_echoed(serve: Serve, path: str) -> None:
    client = serve(handling(Echo)).websocket(path, max_size=None)
    assert bool(client.protocol.extensions) == (path != "/")
    for message in "text", b"binary", "", "x" * 200, b"y" * 70_000, bytes(range(256)) * 4000:
        client.send(message)
        assert client.recv(TIMEOUT) == message
    client.send(["in ", "three ", "fragments"])
    assert client.recv(TIMEOUT) == "in three fragments"


def test_websocket_pings_are_answered_both_ways(serve: Serve) -> None:
    pongs: list[bytes] = []
    client = serve(Application([("/", Echo, {"pongs": pongs})])).websocket()
    assert client.ping(b"2").wait(TIMEOUT)
    client.send("ping")
    eventually(lambda: pongs)
    assert pongs == [b"1"]


def test_websocket_close_codes_arrive_both_ways(serve: Serve) -> None:
    closes: list[tuple[int, str]] = []
    served = serve(Application([("/", Echo, {"closes": closes})]))
    client = served.websocket()
    client.send("close")
    with pytest.raises(ConnectionClosed) as raised:
        client.recv(TIMEOUT)
    assert raised.value.rcvd is not None
    assert (raised.value.rcvd.code, raised.value.rcvd.reason) == (4001, "as asked")
    served.websocket().close(4002, "by the client")
    eventually(lambda: len(closes) == 2)
    assert closes[1] == (4002, "by the client")


def test_websocket_writes_wait_for_a_slow_client(serve: Serve) -> None:
    written: list[int] = []
    failed: list[BaseException] = []

    class Flood(Echo):
        async def on_message(self, message: str | bytes) -> None:
            try:
                while True:
                    await self.write_message(bytes(1 << 20), binary=True)
                    written.append(1)
            except tornado.websocket.WebSocketClosedError as error:
                failed.append(error)

    served = serve(handling(Flood))
    client = served.connect(receive_buffer=4096)
    client.send(
        get(
            "/",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version: 13",
        )
        + b"\x81\x80\0\0\0\0"  # an empty message, with the handshake
    )
    assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in client.read_until(b"\r\n\r\n")
    client.read(1000)
    served.settle()
    assert len(written) < 50
    client.reset()
    eventually(lambda: failed)


def test_websocket_handshake_that_is_none_is_refused(serve: Serve) -> None:
    client = serve(handling(Echo)).connect()
    client.send(get())
    assert client.read_response().status == 400


# --- Options ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "fields", "expected"),
    [
        ({}, ("X-Real-Ip: 203.0.113.5", "X-Scheme: https"), "127.0.0.1 http"),
        ({"xheaders": True}, ("X-Real-Ip: 203.0.113.5", "X-Scheme: https"), "203.0.113.5 https"),
        ({"xheaders": True}, ("X-Forwarded-For: x, 203.0.113.5",), "203.0.113.5 http"),
        (
            {"xheaders": True, "trusted_downstream": ["203.0.113.5"]},
            ("X-Forwarded-For: 203.0.113.9, 203.0.113.5", "X-Forwarded-Proto: https"),
            "203.0.113.9 https",
        ),
        ({"protocol": "https"}, (), "127.0.0.1 https"),
    ],
)
def test_the_client_is_who_the_options_say(
    serve: Serve, options: dict[str, Any], fields: tuple[str, ...], expected: str
) -> None:
    def tell(handler: RequestHandler) -> str:
        return f"{handler.request.remote_ip} {handler.request.protocol}"

    client = serve(answering(tell), **options).connect()
    assert client.ask(get("/", *fields)) == expected.encode()
    assert client.ask(get()).startswith(b"127.0.0.1 ")


def test_client_certificates_are_tornados(serve: Serve, tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    options = {
        "certfile": certificates.certfile,
        "keyfile": certificates.keyfile,
        "ca_certs": certificates.ca_certs,
        "cert_reqs": ssl.CERT_REQUIRED,
    }

    def tell(handler: RequestHandler) -> str:
        request = handler.request
        certificate = request.get_ssl_certificate()
        assert isinstance(certificate, dict)
        assert isinstance(request.get_ssl_certificate(binary_form=True), bytes)
        return f"{request.protocol} {certificate['subjectAltName']}"

    served = serve(answering(tell), ssl_options=options)
    client = served.connect(context=certificates.client_context("ada@example.org"))
    assert client.ask(get()) == b"https (('email', 'ada@example.org'),)"


def test_client_certificates_are_those_that_a_trusted_proxy_tells(
    serve: Serve, tmp_path: Path
) -> None:
    certificates = Certificates(tmp_path)
    der = ssl.PEM_cert_to_DER_cert(Path(certificates.certfile).read_text())
    field = f"Client-Cert: :{base64.b64encode(der).decode()}:"

    def tell(handler: RequestHandler) -> str:
        request = handler.request
        return ascii((request.get_ssl_certificate(), request.get_ssl_certificate(True)))

    trusting: dict[str, Any] = {"client_cert_header": True, "trusted_peers": ["127.0.0.1"]}
    client = serve(answering(tell), **trusting).connect()
    told, binary = ast.literal_eval(client.ask(get("/", field)).decode())
    assert (told["version"], binary) == (3, der)
    assert client.ask(get()) == b"(None, None)"
    # With TLS it is not that of the proxy.
    options = {
        "certfile": certificates.certfile,
        "keyfile": certificates.keyfile,
        "ca_certs": certificates.ca_certs,
        "cert_reqs": ssl.CERT_REQUIRED,
    }
    served = serve(answering(tell), ssl_options=options, **trusting)
    client = served.connect(context=certificates.client_context("proxy@example.org"))
    assert client.ask(get()) == b"(None, None)"
    assert ast.literal_eval(client.ask(get("/", field)).decode()) == (told, der)
    distrusting = trusting | {"trusted_peers": ["192.0.2.1"]}
    client = serve(answering(tell), **distrusting).connect()
    assert client.ask(get("/", "X: y")) == b"(None, None)"
    client.send(get("/", field))
    assert client.read_response().status == 400


def test_handlers_find_the_id_that_the_access_log_has(serve: Serve, logs: Logs) -> None:
    def tell(handler: RequestHandler) -> str:
        connection: Any = handler.request.connection
        return str(connection.request.request_id)

    served = serve(answering(tell), access_log=logging.getLogger("of.test"))
    told = served.ask(get()).decode()
    eventually(lambda: [each for each in logs.records if each.name == "of.test"])
    (record,) = (each for each in logs.records if each.name == "of.test")
    assert record.__dict__["request_id"] == told


LONG = "x" * 20_000


@pytest.mark.parametrize(
    ("options", "request_bytes", "answer", "line"),
    [
        (
            {},
            b"x\r\n\r\n",
            b"HTTP/1.1 400 ",
            "Malformed HTTP message from {}: Malformed HTTP request",
        ),
        (
            {},
            get("/", "Host: b"),
            b"HTTP/1.1 400 ",
            "Malformed HTTP message from {}: Multiple host",
        ),
        (
            {"require_host": False},
            b"GET / HTTP/1.1\r\n\r\n",
            b"HTTP/1.1 400 ",
            "Malformed HTTP message from {}: Missing Host header",
        ),
        (
            {},
            get("/?" + "a&" * 1001),
            b"HTTP/1.1 400 ",
            "Malformed HTTP message from {}: Invalid query",
        ),
        (
            {"max_header_size": 1000},
            get(f"/{LONG}"),
            b"HTTP/1.1 400 ",
            "Malformed HTTP message from {}: Malformed HTTP request line",
        ),
        (
            {"max_header_size": 1000},
            get("/", f"X: {LONG}"),
            b"HTTP/1.1 431 ",
            "Unsatisfiable read, closing connection: ",
        ),
        (
            {"max_body_size": 3},
            post(b"long"),
            b"HTTP/1.1 400 ",
            "Malformed HTTP message from {}: Content-Length too long",
        ),
        (
            {"idle_connection_timeout": 0.01},
            b"GET",
            b"HTTP/1.1 408 ",
            "Timeout reading headers from {}",
        ),
    ],
    ids=["line", "two hosts", "no host", "query", "target", "field", "body", "time"],
)
def test_what_is_refused_is_logged_in_tornados_words(
    serve: Serve,
    logs: Logs,
    options: dict[str, Any],
    request_bytes: bytes,
    answer: bytes,
    line: str,
) -> None:
    client = serve(handling(Hello), **options).connect()
    client.send(request_bytes)
    assert client.read_to_end().startswith(answer)
    (message,) = logged(logs, "general", logging.INFO)
    assert message.startswith(line.format("127.0.0.1"))
    assert "x" * 100 not in message


def test_heads_are_as_long_as_in_tornado(serve: Serve) -> None:
    served = serve(answering(lambda handler: str(len(handler.request.uri))))
    assert served.ask(get(f"/{LONG}", f"X: {LONG}")) == b"20001"


def test_options_of_ours_count_too(serve: Serve, logs: Logs) -> None:
    logging.getLogger("tornado.access").setLevel(logging.INFO)
    served = serve(
        handling(Hello, log_function=lambda handler: None), access_log="common", no_keep_alive=True
    )
    client = served.connect()
    client.send(get("/logged"))
    assert client.read_response().fields["connection"] == "close"
    served.settle()
    (line,) = logged(logs, "access", logging.INFO)
    assert '"GET /logged HTTP/1.1" 200' in line
    with pytest.raises(TypeError, match="no_such_option"):
        door.HTTPServer(handling(Hello), no_such_option=1)
    with pytest.raises(KeyError):
        door.HTTPServer(handling(Hello), ssl_options={})


def test_development_mode_names_the_application(
    serve: Serve, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fasthttpserver._server.debug._UNANSWERED", 0.01)
    answered = asyncio.Event()

    async def wait(handler: RequestHandler) -> str:
        await answered.wait()
        return "ok"

    served = serve(answering(wait), debug=True)
    client = served.connect()
    client.send(get())
    eventually(lambda: any(each.levelno == logging.WARNING for each in logs.records))
    (text,) = logged(logs, "application", logging.WARNING)
    assert "has not been answered for 0.01 s by tornado.web.Application (" in text
    served.loop.call_soon_threadsafe(answered.set)
    assert client.read_response().body == b"ok"


def test_arguments_have_tornados_order() -> None:
    application = handling(Hello)
    server = door.HTTPServer(application, True, True, None, "https", True, 10, 1000, 5, 6, 7, 8, [])
    assert server.request_callback is application
    assert (server.xheaders, server.protocol, server.ssl_options) == (True, "https", None)
    assert server.conn_params.no_keep_alive
    assert server.conn_params.chunk_size == 10
    limits = server.engine.limits
    assert limits.max_header_size == limits.max_request_line == limits.max_field_size == 1000
    assert limits.idle_connection_timeout == limits.header_timeout == 5
    assert (limits.body_timeout, limits.max_body_size) == (6, 7)
    assert server.engine.max_buffer_size == 8


# --- A server's methods -------------------------------------------------------------------------


def test_sockets_are_found_where_programs_look_for_them(
    run: Callable[[Any], Any], nothing_left: None
) -> None:
    async def main() -> None:
        server = door.HTTPServer(handling(Hello))
        server.bind(0, "127.0.0.1")
        server.start()
        server.listen(0, "127.0.0.1")
        (sock,) = tornado.netutil.bind_sockets(0, "127.0.0.1")
        server.add_socket(sock)
        assert len(server._sockets) == 3
        for number, each in server._sockets.items():
            assert number == each.fileno()
            reader, writer = await asyncio.open_connection(*each.getsockname())
            writer.write(get())
            assert await reader.readuntil(b"Hello")
            writer.close()
            await writer.wait_closed()
        server.stop()
        server.stop()
        assert not server._sockets
        await server.close_all_connections()
        with pytest.raises(OSError):
            sock.getsockname()

    run(main())


def test_a_unix_socket_has_no_address(serve: Serve, tmp_path: Path) -> None:
    def tell(handler: RequestHandler) -> str:
        connection: Any = handler.request.connection
        return f"{handler.request.remote_ip} {connection.context}"

    served = serve(answering(tell))
    path = str(tmp_path / "socket")
    served.call(lambda: served.server.add_socket(tornado.netutil.bind_unix_socket(path)))
    with Client(path) as client:
        assert client.ask(get()) == b"0.0.0.0 "


def test_drain_answers_what_is_under_way(serve: Serve) -> None:
    begun, go_on = threading.Event(), asyncio.Event()

    async def wait(handler: RequestHandler) -> str:
        begun.set()
        await go_on.wait()
        return "answered"

    served = serve(answering(wait))
    client = served.connect()
    client.send(get())
    assert begun.wait(TIMEOUT)
    draining = asyncio.run_coroutine_threadsafe(served.server.drain(TIMEOUT, 0), served.loop)
    served.settle()
    served.call(go_on.set)
    response = client.read_response()
    assert (response.body, response.fields["connection"]) == (b"answered", "close")
    client.close()
    assert draining.result(TIMEOUT)["served"] == 1
    assert served.server.stats()["requests"] == 1
    # Nothing is left of the sockets where another one with their numbers would find it.
    assert not served.server._sockets
    assert not served.call(lambda: IOLoop.current().handlers)  # type: ignore[attr-defined]


# --- In the place of Tornado's ------------------------------------------------------------------


def test_installed_every_server_is_ours(run: Callable[[Any], Any]) -> None:
    class Own(tornado.httpserver.HTTPServer):
        pass

    async def main() -> None:
        application = handling(Hello)
        door.install(max_connections=7)
        for server in (
            application.listen(0, "127.0.0.1", max_body_size=5),
            tornado.httpserver.HTTPServer(application, max_body_size=5),
        ):
            assert isinstance(server, door.HTTPServer)
            assert server.engine.limits.max_connections == 7
            assert server.engine.limits.max_body_size == 5
            server.stop()
        own = Own(application)
        assert not isinstance(own, door.HTTPServer)
        door.uninstall()
        assert not isinstance(tornado.httpserver.HTTPServer(application), door.HTTPServer)

    run(main())


def test_a_subclass_may_say_what_becomes_of_a_request(serve: Serve) -> None:
    class Counting(door.HTTPServer):
        requests = 0

        def start_request(self, server_conn: object, request_conn: Any) -> Any:
            self.requests += 1
            return super().start_request(server_conn, request_conn)

    class ServedCounting(Served):
        def _listen(self) -> door.HTTPServer:
            server = Counting(self._application, **self._options)
            server.listen(0, "127.0.0.1")
            return server

    with ServedCounting(asyncio.new_event_loop, handling(Hello)) as served:
        client = served.connect()
        assert [client.ask(get()) for _ in range(2)] == [b"Hello"] * 2
        assert served.server.requests == 2  # type: ignore[attr-defined]


def test_exceptions_are_of_both_kinds() -> None:
    for name in (
        "HTTPInputError",
        "HTTPOutputError",
        "StreamClosedError",
        "UnsatisfiableReadError",
    ):
        ours = getattr(door, name)
        theirs = getattr(tornado.httputil, name, None) or getattr(tornado.iostream, name)
        assert issubclass(ours, (theirs,))
        assert issubclass(ours, (getattr(errors, name),))
    error = door.StreamClosedError(ZeroDivisionError("why"))
    assert repr(error.real_error) == "ZeroDivisionError('why')"
    assert str(error) == "Stream is closed"


# --- In memory ------------------------------------------------------------------------------


def test_application_runs_in_memory(logs: Logs, nothing_left: None) -> None:
    class Slow(RequestHandler):
        async def post(self) -> None:
            await asyncio.sleep(50)
            self.write(self.request.body.upper())

        def get(self) -> None:
            raise ZeroDivisionError

    class Echo(tornado.websocket.WebSocketHandler):
        def on_message(self, message: str | bytes) -> None:
            self.write_message(message, binary=isinstance(message, bytes))

    application = Application([("/", Slow), ("/echo", Echo)])
    with testing.Client(application, max_body_size=10) as client:
        assert client.request("POST", "/", body=b"body").body == b"BODY"
        assert client.request("GET", "/").status == 500
        assert [type(error) for error in client.errors] == [ZeroDivisionError]
        assert [request.method for request in client.requests] == ["POST", "GET"]
        assert client.connect().request("POST", "/", body=b"more than 10").status == 400
        websocket = client.connect().websocket("/echo")
        for message in "text", b"bytes":
            websocket.send(message)
            assert websocket.receive() == message
    assert len(logged(logs, "application", logging.ERROR)) == 1
