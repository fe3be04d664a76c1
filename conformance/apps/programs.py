"""Programs that stand on Tornado, and clients that do not, with our server below."""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.request
from typing import Any

import aiohttp
import tornado.web
import tornado.websocket
import websockets
from bokeh.application import Application
from bokeh.application.handlers.function import FunctionHandler
from bokeh.client import pull_session
from bokeh.plotting import figure
from bokeh.server.server import Server
from distributed import Client, LocalCluster

import fasthttpserver.tornado as door


def fetch(port: int, path: str) -> bytes:
    """The body of a page."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as response:
        body: bytes = response.read()
        return body


def bokeh() -> None:
    """A page, and a session over a WebSocket, which changes the document."""

    def document(doc: Any) -> None:
        plot = figure()
        plot.line([1, 2], [3, 4])
        doc.add_root(plot)
        doc.title = "served"

    servers: list[Server] = []
    up = threading.Event()

    def serve() -> None:
        asyncio.set_event_loop(asyncio.new_event_loop())
        server = Server(
            {"/app": Application(FunctionHandler(document))}, port=0, address="127.0.0.1"
        )
        server.start()
        servers.append(server)
        up.set()
        server.io_loop.start()

    thread = threading.Thread(target=serve)
    thread.start()
    up.wait(30)
    (server,) = servers
    try:
        assert isinstance(server._http, door.HTTPServer)
        url = f"http://127.0.0.1:{server.port}/app"
        assert b"bokeh" in fetch(server.port, "/app")
        session = pull_session(url=url)
        assert session.document.title == "served"
        session.document.title = "changed"
        session.force_roundtrip()
        session.close()
    finally:
        server.io_loop.add_callback(server.io_loop.stop)
        thread.join(30)
    print("bokeh: a page and a session")


def dask() -> None:
    """The pages of the dashboard, while there is something to see."""
    pages = "/status /health /info/main/workers.html /metrics /json/counts.json".split()
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster) as client,
    ):
        assert isinstance(cluster.scheduler.http_server, door.HTTPServer)
        port = cluster.scheduler.http_server.port
        assert client.submit(lambda: 2).result() == 2
        bodies = [fetch(port, page) for page in pages]
    assert json.loads(bodies[-1])["workers"] == 1
    print(f"dask: {len(pages)} pages of the dashboard")


async def clients() -> None:
    """Clients of WebSockets that nobody here or at Tornado wrote."""

    class Echo(tornado.websocket.WebSocketHandler):
        def get_compression_options(self) -> dict[str, Any]:
            return {}

        async def on_message(self, message: str | bytes) -> None:
            await self.write_message(message, binary=isinstance(message, bytes))

    server = tornado.web.Application([("/", Echo)]).listen(0, "127.0.0.1")
    # Tornado's type has no engine; the server is ours.
    port = server.engine.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    messages: list[str | bytes] = ["text", bytes(1_000_000), "x" * 70_000]
    async with websockets.connect(f"ws://127.0.0.1:{port}/", proxy=None, max_size=None) as client:
        for message in messages:
            await client.send(message)
            assert await client.recv() == message
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://127.0.0.1:{port}/", compress=15, max_msg_size=0) as socket,
    ):
        for message in messages:
            if isinstance(message, str):
                await socket.send_str(message)
            else:
                await socket.send_bytes(message)
            assert (await socket.receive()).data == message
    server.stop()
    print("clients: websockets and aiohttp")


if __name__ == "__main__":
    door.install()
    bokeh()
    dask()
    asyncio.run(clients())
