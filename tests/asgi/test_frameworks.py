"""Applications of frameworks that are too large for the test group: `make test-frameworks`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from helpers import Served, eventually, get, post
from websockets.sync.client import connect

from fasthttpserver.asgi import ASGIContainer

Serve = Callable[..., Served]

MISSING = "{} is not installed: make test-frameworks"
UPLOAD = bytes(range(256)) * 1000


def talk(server: Served, application: Any, websocket: bool = True) -> None:
    """Ask an application what each of them here answers, and end it."""
    with server.connect() as client:
        assert client.ask(get("/hello/you")) == b"Hello, you!"
        assert client.ask(post(UPLOAD, uri="/upload")) == b"%d" % len(UPLOAD)
        client.send(get("/stream"))
        streamed = client.read_until(b"\r\n0\r\n\r\n")
        assert [streamed.count(b"piece %d\n" % number) for number in range(3)] == [1, 1, 1]
    if websocket:
        host, port = server.address
        with connect(f"ws://{host}:{port}/echo", ping_interval=None, proxy=None) as socket:
            socket.send("hello")
            assert socket.recv() == "hello"
    server.call(application.shutdown)
    # Threads of frameworks end when the tasks do that have used them, by themselves.
    eventually(lambda: not [each for each in threading.enumerate() if _is_of_framework(each)])


def _is_of_framework(thread: threading.Thread) -> bool:
    return "AnyIO" in thread.name or "ThreadPoolExecutor" in thread.name


def test_django(serve: Serve) -> None:
    pytest.importorskip("django", reason=MISSING.format("django"))
    import django
    from django.conf import settings
    from django.core.asgi import get_asgi_application
    from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
    from django.urls import path

    async def hello(request: HttpRequest, name: str) -> HttpResponse:
        return HttpResponse(f"Hello, {name}!")

    def upload(request: HttpRequest) -> HttpResponse:
        return HttpResponse(str(len(request.body)))

    async def stream(request: HttpRequest) -> StreamingHttpResponse:
        async def pieces() -> Any:
            for number in range(3):
                yield f"piece {number}\n".encode()

        return StreamingHttpResponse(pieces())

    class Urls:
        urlpatterns = (
            path("hello/<name>", hello),
            path("upload", upload),
            path("stream", stream),
        )

    if not settings.configured:
        settings.configure(
            ROOT_URLCONF=Urls,
            ALLOWED_HOSTS=["*"],
            SECRET_KEY="x",
            LOGGING_CONFIG=None,  # it would close the handlers of pytest
        )
        django.setup()
    container = ASGIContainer(get_asgi_application())
    server = serve(container)
    server.call(container.startup)
    talk(server, container, websocket=False)


def test_quart(serve: Serve) -> None:
    quart = pytest.importorskip("quart", reason=MISSING.format("quart"))
    app = quart.Quart(__name__)

    @app.get("/hello/<name>")
    async def hello(name: str) -> str:
        return f"Hello, {name}!"

    @app.post("/upload")
    async def upload() -> str:
        return str(len(await quart.request.get_data()))

    @app.get("/stream")
    async def stream() -> Any:
        async def pieces() -> Any:
            for number in range(3):
                yield f"piece {number}\n".encode()

        return pieces(), 200

    @app.websocket("/echo")
    async def echo() -> None:
        while True:
            await quart.websocket.send(await quart.websocket.receive())

    container = ASGIContainer(app, lifespan="on")
    server = serve(container)
    server.call(container.startup)
    talk(server, container)


def test_litestar(serve: Serve) -> None:
    litestar = pytest.importorskip("litestar", reason=MISSING.format("litestar"))
    from litestar.response import Stream

    async def hello(request: Any) -> str:
        return f"Hello, {request.path_params['name']}!"

    async def upload(request: Any) -> str:
        return str(len(await request.body()))

    async def stream() -> Any:
        async def pieces() -> Any:
            for number in range(3):
                yield f"piece {number}\n"

        return Stream(pieces())

    async def echo(data: str) -> str:
        return data

    hello.__annotations__ = upload.__annotations__ = {"request": litestar.Request, "return": str}
    stream.__annotations__ = {"return": Stream}
    echo.__annotations__ = {"data": str, "return": str}
    text = litestar.MediaType.TEXT
    app = litestar.Litestar(
        [
            litestar.get("/hello/{name:str}", media_type=text)(hello),
            litestar.post("/upload", media_type=text, status_code=200)(upload),
            litestar.get("/stream", media_type=text)(stream),
            litestar.websocket_listener("/echo")(echo),
        ],
        logging_config=None,  # its own has a thread for the whole process
    )
    container = ASGIContainer(app, lifespan="on")
    server = serve(container)
    server.call(container.startup)
    talk(server, container)
