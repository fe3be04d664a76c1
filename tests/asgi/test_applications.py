"""Applications of Starlette on this server; one of FastAPI is in test_examples.py."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import Client, Served, eventually, get, post
from websockets.sync.client import connect

from fasthttpserver.asgi import ASGIContainer

starlette = pytest.importorskip("starlette", reason="starlette is not installed")

from starlette.applications import Starlette  # noqa: E402
from starlette.background import BackgroundTask  # noqa: E402
from starlette.middleware import Middleware  # noqa: E402
from starlette.middleware.base import BaseHTTPMiddleware  # noqa: E402
from starlette.requests import Request  # noqa: E402
from starlette.responses import FileResponse, PlainTextResponse, StreamingResponse  # noqa: E402
from starlette.routing import Mount, Route, WebSocketRoute  # noqa: E402
from starlette.staticfiles import StaticFiles  # noqa: E402
from starlette.websockets import WebSocket  # noqa: E402

Serve = Callable[..., Served]

UPLOAD = (
    b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n'
    b"Content-Type: text/plain\r\n\r\ncontent of the file\r\n--x--\r\n"
)
MULTIPART = "Content-Type: multipart/form-data; boundary=x"


@pytest.fixture
def done() -> list[str]:
    """What the application has done besides answering."""
    return []


@pytest.fixture(params=["plain", "behind a middleware"])
def application(request: pytest.FixtureRequest, tmp_path: Path, done: list[str]) -> Starlette:
    """An application of Starlette with a bit of everything."""
    (tmp_path / "file.txt").write_bytes(bytes(200_000))

    async def hello(request: Request) -> PlainTextResponse:
        return PlainTextResponse(f"Hello, {request.path_params['name']}!")

    def in_a_thread(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.url.path)

    async def upload(request: Request) -> PlainTextResponse:
        async with request.form() as form:
            file = form["file"]
            assert not isinstance(file, str)
            return PlainTextResponse(f"{file.filename}: {(await file.read()).decode()}")

    async def background(request: Request) -> PlainTextResponse:
        async def work() -> None:
            await asyncio.sleep(0)
            done.append("background")

        return PlainTextResponse("later", background=BackgroundTask(work))

    async def pieces() -> AsyncIterator[str]:
        for number in range(3):
            yield f"piece {number}\n"
            await asyncio.sleep(0)

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(10_000)

    async def echo(websocket: WebSocket) -> None:
        await websocket.accept(subprotocol="echo")
        async for text in websocket.iter_text():
            await websocket.send_text(text)
        done.append("closed")

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
        done.append("startup")
        yield {"pool": "a pool"}
        done.append("shutdown")

    async def pass_on(request: Request, call_next: Any) -> Any:
        response = await call_next(request)
        response.headers["X-Middleware"] = "yes"
        return response

    middleware = [Middleware(BaseHTTPMiddleware, dispatch=pass_on)]
    return Starlette(
        routes=[
            Route("/hello/{name}", hello),
            Route("/thread", in_a_thread),
            Route("/state", lambda request: PlainTextResponse(request.state.pool)),
            Route("/upload", upload, methods=["POST"]),
            Route("/background", background),
            Route("/pieces", lambda request: StreamingResponse(pieces())),
            Route("/endless", lambda request: StreamingResponse(endless())),
            Route("/file", lambda request: FileResponse(tmp_path / "file.txt")),
            WebSocketRoute("/echo", echo),
            Mount("/static", StaticFiles(directory=tmp_path)),
        ],
        middleware=middleware if request.param != "plain" else [],
        lifespan=lifespan,
    )


@pytest.fixture
def server(serve: Serve, application: Starlette) -> Iterator[Served]:
    """That application, served."""
    container = ASGIContainer(application, lifespan="on")
    server = serve(container)
    server.call(container.startup)
    yield server
    server.call(container.shutdown)
    # anyio's threads end when the tasks do that have used them, by themselves.
    eventually(lambda: not [each for each in threading.enumerate() if "AnyIO" in each.name])


def read_chunks(client: Client) -> bytes:
    """The body of a chunked response."""
    assert b"Transfer-Encoding: chunked\r\n" in client.read_until(b"\r\n\r\n")
    data = b""
    while size := int(client.read_until(b"\r\n"), 16):
        data += client.read(size)
        client.read_until(b"\r\n")
    client.read_until(b"\r\n")
    return data


def test_starlette(server: Served, done: list[str]) -> None:
    client = server.connect()
    assert client.ask(get("/hello/world")) == b"Hello, world!"
    assert client.ask(get("/thread")) == b"/thread"
    assert client.ask(get("/state")) == b"a pool"
    assert client.ask(post(UPLOAD, MULTIPART, uri="/upload")) == b"a.txt: content of the file"
    assert client.ask(get("/background")) == b"later"
    eventually(lambda: "background" in done)
    client.send(get("/pieces"))
    assert read_chunks(client) == b"piece 0\npiece 1\npiece 2\n"
    assert client.ask(get("/file")) == client.ask(get("/static/file.txt")) == bytes(200_000)
    client.send(get("/nothing"))
    assert client.read_response().status == 404
    client.send(get("/static/file.txt").replace(b"GET", b"HEAD", 1))
    assert client.read_response("HEAD").fields["content-length"] == "200000"
    assert done[0] == "startup"


def test_starlette_ends_a_stream_that_nobody_reads(server: Served) -> None:
    client = server.connect()
    client.send(get("/endless"))
    client.read(100_000)
    client.reset()
    # Only the loop's own tasks and that of the lifespan are left.
    eventually(lambda: server.call(lambda: len(asyncio.all_tasks()) == 2))
    server.all_closed()
    server.settle()


def test_websocket_of_starlette(server: Served, done: list[str]) -> None:
    host, port = server.address
    # With pings of its own it has a thread that ends at its leisure.
    options: dict[str, Any] = {"proxy": None, "ping_interval": None, "subprotocols": ["echo"]}
    with connect(f"ws://{host}:{port}/echo", **options) as client:
        for text in "one", "two":
            client.send(text)
            assert client.recv() == text
        assert client.subprotocol == "echo"
    eventually(lambda: "closed" in done)
