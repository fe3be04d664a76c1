"""The client in memory with applications of WSGI and ASGI."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from asgi_apps import Receive, Scope, Send, body, read_body, respond, start
from helpers import Logs, await_threads_of_wsgi, echo, get
from hypothesis import Phase, settings
from hypothesis import strategies as st

from fasthttpserver import HTTPRequest
from fasthttpserver.asgi import ASGIContainer, LifespanError
from fasthttpserver.httputil import HTTPMessageDelegate, HTTPServerConnectionDelegate
from fasthttpserver.testing import Client, RuleBroken, check_callback, pipelines
from fasthttpserver.testing._loop import PatientLoop
from fasthttpserver.wsgi import WSGIContainer

# Shrinking takes longer than finding.
FIRST = settings(
    max_examples=15, derandomize=True, database=None, deadline=None, phases=[Phase.generate]
)


@pytest.fixture(autouse=True)
def nothing_is_left(logs: Logs, nothing_left: None) -> Iterator[None]:
    yield
    await_threads_of_wsgi()


# --- WSGI -----------------------------------------------------------------------------------


@pytest.fixture(params=[0, 2], ids=["in-loop", "threads"])
def wsgi_threads(request: pytest.FixtureRequest) -> int:
    """How many threads the application runs in; 0 is the loop."""
    number: int = request.param
    return number


@pytest.fixture
def wsgi(wsgi_threads: int) -> Callable[..., Client]:
    """Make a client of an application; options are those of ``Client``."""
    return lambda app, **options: Client(WSGIContainer(app, wsgi_threads), **options)


def wsgi_app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answer with the body in upper case, or as the path says."""
    path = environ["PATH_INFO"]
    if path == "/broken":
        raise ZeroDivisionError
    data = environ["wsgi.input"].read()
    start_response("200 OK", [("X-From", environ["REMOTE_ADDR"])])
    if path == "/pieces":
        return (f"{number}\n".encode() for number in range(3))
    return [path.encode() + data.upper()]


def test_application_of_wsgi_is_asked(wsgi: Callable[..., Client]) -> None:
    with wsgi(wsgi_app, address=("192.0.2.7", 1)) as client:
        response = client.request("POST", "/here?a=b", body=b"body")
        assert (response.status, response.body) == (200, b"/hereBODY")
        assert response.headers["X-From"] == "192.0.2.7"
        pieces = client.request("GET", "/pieces")
        assert (pieces.body, pieces.headers["Transfer-Encoding"]) == (b"0\n1\n2\n", "chunked")
        assert client.request("HEAD", "/pieces").body == b""
        assert [request.query for request in client.requests] == ["a=b", "", ""]
        assert client.errors == [] and not client.closed


def test_application_of_wsgi_reads_a_body_that_comes_in_pieces(
    wsgi: Callable[..., Client],
) -> None:
    data = bytes(range(97, 123)) * 10_000
    head = get("/", f"Content-Length: {len(data)}")
    with wsgi(wsgi_app) as client:
        client.send(head, *(data[i : i + 50_000] for i in range(0, len(data), 50_000)))
        assert client.receive().body == b"/" + data.upper()


def test_what_an_application_of_wsgi_raises_is_kept(
    wsgi: Callable[..., Client], logs: Logs
) -> None:
    with wsgi(wsgi_app) as client:
        assert client.request("GET", "/broken").status == 500
        assert [type(error) for error in client.errors] == [ZeroDivisionError]
        assert client.closed
        assert client.connect().request("GET", "/next").body == b"/next"
    assert len(logs.errors()) == 1


def test_thread_that_works_is_waited_for() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        time.sleep(0.05)  # of which the loop does not know
        start_response("200 OK", [])
        return [b"done"]

    with Client(WSGIContainer(app, 1), timeout=30) as client:
        assert client.request().body == b"done"


def test_thread_that_has_nothing_to_do_is_not_waited_for() -> None:
    before = time.monotonic()
    with Client(WSGIContainer(wsgi_app, 1), idle_connection_timeout=75.0) as client:
        client.request()
        client.wait(80)
        assert client.closed
    assert time.monotonic() - before < 40


def test_nothing_of_the_application_runs_when_the_client_is_closed() -> None:
    ended: list[str] = []
    begun = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        begun.set()
        time.sleep(0.05)
        ended.append("thread")
        start_response("200 OK", [])
        return [b""]

    with Client(WSGIContainer(app, 1)) as client:
        client.send(get())
        assert begun.wait(30)
    assert ended == ["thread"]


def test_application_can_be_checked(wsgi_threads: int, logs: Logs) -> None:
    container = WSGIContainer(wsgi_app, wsgi_threads)
    check_callback(container, settings=FIRST)
    with pytest.raises(RuleBroken, match="the callback raised ZeroDivisionError"):
        broken = pipelines(method=st.just("GET"), target=st.just("/broken"), max_size=1)
        check_callback(container, pipelines=broken, settings=FIRST)


# --- ASGI: start and end --------------------------------------------------------------------


class Living:
    """An application with a lifespan.

    Args:
        fails_in: ``startup``, ``shutdown`` or nothing.
    """

    def __init__(self, fails_in: str = "") -> None:
        self.fails_in = fails_in
        self.told: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await respond(send, scope["state"]["name"])
            return
        for phase in "startup", "shutdown":
            assert await receive() == {"type": f"lifespan.{phase}"}
            self.told.append(phase)
            await asyncio.sleep(30)
            scope["state"]["name"] = b"state"
            failed = phase == self.fails_in
            await send({"type": f"lifespan.{phase}.{'failed' if failed else 'complete'}"})


def test_application_of_asgi_is_started_and_shut_down() -> None:
    app = Living()
    with Client(ASGIContainer(app)) as client:
        assert app.told == ["startup"]
        assert client.request().body == b"state"
    assert app.told == ["startup", "shutdown"]
    client.close()
    assert app.told == ["startup", "shutdown"]


def test_application_that_fails_to_start_is_told_of() -> None:
    with pytest.raises(LifespanError, match="startup"):
        Client(ASGIContainer(Living("startup")))


def test_application_that_fails_to_shut_down_is_told_of() -> None:
    client = Client(ASGIContainer(Living("shutdown")))
    with pytest.raises(LifespanError, match="shutdown"):
        client.close()
    client.close()


def test_application_that_takes_too_long_to_start_is_told_of() -> None:
    with pytest.raises(TimeoutError, match="__aenter__ takes longer than 29 seconds"):
        Client(ASGIContainer(Living()), timeout=29)


# --- ASGI: requests -------------------------------------------------------------------------


async def asgi_app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the body, or as the path says."""
    if scope["type"] == "lifespan":
        raise NotImplementedError
    path = scope["path"]
    if path == "/broken":
        raise ZeroDivisionError
    data = await read_body(receive)
    await asyncio.sleep(10)
    await send(start(200, (b"x-from", scope["client"][0].encode())))
    for number in range(3 if path == "/pieces" else 0):
        await send(body(b"%d\n" % number, more=True))
        await asyncio.sleep(10)
    await send(body(data))
    if path == "/breaks-later":
        raise ZeroDivisionError


def test_application_of_asgi_is_asked() -> None:
    with Client(ASGIContainer(asgi_app), address=("192.0.2.7", 1)) as client:
        response = client.request("POST", "/here?a=b", body=b"body")
        assert (response.status, response.body) == (200, b"body")
        assert response.headers["X-From"] == "192.0.2.7"
        pieces = client.request("GET", "/pieces")
        assert (pieces.body, pieces.headers["Transfer-Encoding"]) == (b"0\n1\n2\n", "chunked")
        assert [request.query for request in client.requests] == ["a=b", ""]
        assert client.errors == [] and not client.closed


def test_application_of_asgi_reads_a_body_that_comes_in_pieces() -> None:
    pieces = [bytes([i]) * 50_000 for i in range(5)]
    with Client(ASGIContainer(asgi_app)) as client:
        client.send(get("/", "Content-Length: 250000"), *pieces)
        assert client.receive().body == b"".join(pieces)


@pytest.mark.parametrize(("path", "status"), [("/broken", 500), ("/breaks-later", 200)])
def test_what_an_application_of_asgi_raises_is_kept(path: str, status: int, logs: Logs) -> None:
    with Client(ASGIContainer(asgi_app)) as client:
        assert client.request("GET", path).status == status
        assert [type(error) for error in client.errors] == [ZeroDivisionError]
    assert len(logs.errors()) == 1


def test_task_in_the_background_ends_before_the_client_does() -> None:
    ended: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await respond(send)
            await asyncio.sleep(5)
            ended.append("task")

    with Client(ASGIContainer(app)) as client:
        assert client.request().body == b"ok"
        assert ended == []
    assert ended == ["task"]


def test_view_of_starlette_in_a_thread_is_waited_for() -> None:
    applications = pytest.importorskip("starlette.applications", reason="needs starlette")
    routing = pytest.importorskip("starlette.routing")
    responses = pytest.importorskip("starlette.responses")
    background = pytest.importorskip("starlette.background")
    ended: list[str] = []

    def later() -> None:
        time.sleep(0.05)
        ended.append("background")

    def view(request: Any) -> Any:
        time.sleep(0.05)
        return responses.PlainTextResponse("done", background=background.BackgroundTask(later))

    async def sleeps_too(request: Any) -> Any:
        await asyncio.to_thread(time.sleep, 0.01)
        await asyncio.sleep(10)
        return responses.PlainTextResponse("slept")

    app = applications.Starlette(
        routes=[routing.Route("/", view), routing.Route("/sleeps", sleeps_too)]
    )
    with Client(ASGIContainer(app)) as client:
        assert client.request().body == b"done"
        assert client.connect().request("GET", "/sleeps").body == b"slept"
    assert ended == ["background"]


# --- WebSocket ------------------------------------------------------------------------------


async def websocket_app(scope: Scope, receive: Receive, send: Send) -> None:
    """Send messages back; refuse, fail or say nothing as the path says."""
    if scope["type"] != "websocket":
        raise NotImplementedError
    await receive()
    if scope["path"] == "/refuse":
        await send({"type": "websocket.close"})
        return
    await send({"type": "websocket.accept", "subprotocol": next(iter(scope["subprotocols"]), None)})
    if scope["path"] == "/broken":
        raise ZeroDivisionError
    while (message := await receive())["type"] == "websocket.receive":
        await asyncio.sleep(10)
        await send({**message, "type": "websocket.send"})


def websocket_client() -> Client:
    pytest.importorskip("websockets", reason="websockets is not installed")
    return Client(ASGIContainer(websocket_app, websocket_ping_interval=None))


@pytest.mark.parametrize("message", ["text é", b"bytes", "", b"long" * 50_000])
def test_messages_go_both_ways(message: str | bytes) -> None:
    with websocket_client() as client:
        websocket = client.websocket("/", subprotocols=["first", "second"])
        assert websocket.subprotocol == "first"
        websocket.send(message)
        assert websocket.receive() == message
        assert websocket.close_code is None
        websocket.close()
        assert websocket.close_code == 1000 and client.closed
        websocket.close()


def test_message_in_fragments_is_whole() -> None:
    pytest.importorskip("websockets", reason="websockets is not installed")
    from websockets.exceptions import ConnectionClosedError
    from websockets.utils import accept_key

    async def callback(request: HTTPRequest) -> None:
        accept = accept_key(request.headers["Sec-WebSocket-Key"])
        request.write(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n\r\n"
        )
        stream = request.connection.detach()
        stream.write(b"\x01\x02ab\x89\x00\x80\x01c")  # a ping in between
        assert (await stream.read_bytes(1)) == b"\x8a"  # a pong
        stream.close()

    with Client(callback) as client:
        websocket = client.websocket()
        assert websocket.receive() == "abc"
        with pytest.raises(ConnectionClosedError):
            websocket.receive()
        with pytest.raises(ConnectionClosedError):
            websocket.send("late")
        assert websocket.close_code == 1006
    assert client.errors == []


def test_application_may_refuse_a_websocket() -> None:
    with websocket_client() as client:
        from websockets.exceptions import InvalidStatus

        with pytest.raises(InvalidStatus) as raised:
            client.websocket("/refuse", {"Origin": "https://example.com"})
        assert raised.value.response.status_code == 403
        assert client.requests[0].headers["Origin"] == "https://example.com"


def test_application_that_raises_closes_its_websocket(logs: Logs) -> None:
    with websocket_client() as client:
        from websockets.exceptions import ConnectionClosedError

        websocket = client.websocket("/broken")
        with pytest.raises(ConnectionClosedError, match="1011"):
            websocket.receive()
        assert [type(error) for error in client.errors] == [ZeroDivisionError]
    assert len(logs.errors()) == 1


def test_message_that_does_not_come_is_told_of() -> None:
    with websocket_client() as client:
        websocket = client.websocket()
        with pytest.raises(TimeoutError, match="60 seconds have passed without a message"):
            websocket.receive()


# --- More than one connection ---------------------------------------------------------------


def test_connections_share_the_application() -> None:
    waiting: list[HTTPRequest] = []

    def callback(request: HTTPRequest) -> None:
        if request.path == "/wait":
            waiting.append(request)
        else:
            waiting.pop().respond(200, request.body)
            request.respond(204)

    with Client(callback) as first:
        second = first.connect(("192.0.2.7", 1))
        first.send(get("/wait"))
        assert first.peek() is None
        assert second.request("POST", "/say", body=b"hello").status == 204
        assert first.receive().body == b"hello"
        assert [request.path for request in first.requests] == ["/wait"]
        assert [request.remote_ip for request in second.requests] == ["192.0.2.7"]
        second.close()
        assert second.closed and not first.closed


def test_closing_the_first_closes_the_others() -> None:
    told: list[str] = []

    def callback(request: HTTPRequest) -> None:
        request.connection.set_close_callback(lambda: told.append("left"))

    with Client(callback) as first:
        second = first.connect()
        second.send(get())
        third = second.connect()
        third.send(get())
        second.close()
        assert told == ["left"] and not third.closed
    assert third.closed and told == ["left", "left"]
    third.close()


# --- Delegates of one's own -----------------------------------------------------------------


class Asked(HTTPServerConnectionDelegate):
    """A delegate that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def start_request(self, server_conn: object, request_conn: Any) -> HTTPMessageDelegate:
        told = self.told

        class Answer(HTTPMessageDelegate):
            def data_received(self, chunk: bytes) -> None:
                told.append(chunk)

            def finish(self) -> None:
                request_conn.respond(("HTTP/1.1", 200, "OK"), [], b"done")

        return Answer()

    def on_close(self, server_conn: object) -> None:
        self.told.append("close")

    def on_stop(self) -> None:
        self.told.append("stop")


def test_delegate_gets_requests_in_pieces() -> None:
    delegate = Asked()
    with Client(delegate) as client:
        client.send(get("/", "Content-Length: 4"), b"bo", b"dy")
        assert client.receive().body == b"done"
        assert [request.uri for request in client.requests] == ["/"]
    assert delegate.told == [b"bo", b"dy", "close", "stop"]


def test_delegate_that_has_only_what_it_needs_will_do() -> None:
    class Bare:
        def start_request(self, server_conn: object, request_conn: Any) -> HTTPMessageDelegate:
            return Asked().start_request(server_conn, request_conn)

        def on_close(self, server_conn: object) -> None:
            pass

    with Client(Bare()) as client:
        assert client.request().body == b"done"


def test_work_that_ends_without_a_word_is_not_waited_for_any_longer() -> None:
    looks = iter([True, True])  # and then it has ended
    loop = PatientLoop(lambda: next(looks, False), contextlib.nullcontext)
    before = time.monotonic()
    assert not loop.run_until(lambda: False, 30)
    assert time.monotonic() - before < 20
    loop.close()


def test_callback_still_gets_whole_requests() -> None:
    with Client(echo) as client:
        client.send(get("/", "Content-Length: 4"), b"bo", b"dy")
        assert client.receive().body == b"/ body"
