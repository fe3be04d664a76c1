"""Connections of a server on a transport that sends nothing.

So the way of a request through our layers, and of the answer back, can be measured without
the loop and the kernel, which take most of the time of a small request and differ from run
to run.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import Any

__all__ = [
    "Served",
    "ServedTLS",
    "Sink",
    "asgi_door",
    "callback",
    "limit_protocol",
    "tls",
    "tornado_door",
    "wsgi_door",
]


class Sink(asyncio.Transport):
    """A transport that keeps the latest bytes written to it, and nothing else.

    Not the test kit's: what a transport does is measured along with the way of a request.
    """

    def __init__(self, sock: socket.socket | None = None) -> None:
        extra = {} if sock is None else {"socket": sock, "peername": sock.getpeername()}
        super().__init__(extra)
        self.latest = b""

    def write(self, data: Any) -> None:
        self.latest = data

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def is_reading(self) -> bool:
        return True

    def write_eof(self) -> None:
        pass

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass


class _SinkLoop(asyncio.SelectorEventLoop):
    """A loop that gives sinks to the connections it accepts."""

    made: tuple[asyncio.Protocol, Sink] | None = None

    # asyncio's own hook: whichever way a connection is accepted, it comes through here.
    def _make_socket_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.Protocol,
        waiter: asyncio.Future[None] | None = None,
        **options: Any,
    ) -> Sink:
        sink = Sink(sock)
        self.call_soon(protocol.connection_made, sink)
        if waiter is not None:
            self.call_soon(waiter.set_result, None)
        self.made = protocol, sink
        return sink

    def turn(self) -> None:
        """Run what is due, once, and wait for nothing."""
        self.call_soon(_nothing)
        # run_forever() does this after what it does for signals and generators each time.
        self._run_once()  # type: ignore[attr-defined]


class Served:
    """A server whose connections end in sinks.

    Args:
        make: Makes the server; runs in the loop.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._loop = _SinkLoop()
        asyncio.set_event_loop(self._loop)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._server = self._loop.run_until_complete(self._begin(make))
        self._protocol, self._sink = self._accept()

    async def _begin(self, make: Callable[[], Any]) -> Any:
        server = make()
        server.add_sockets([self._listener])
        return server

    def _accept(self) -> tuple[asyncio.Protocol, Sink]:
        asyncio._set_running_loop(self._loop)
        loop, loop.made = self._loop, None
        with socket.socket() as client:
            client.connect(self._listener.getsockname())
            while loop.made is None:
                loop.turn()
        for _ in range(2):  # for what follows the making of the transport
            loop.turn()
        asyncio._set_running_loop(None)
        return loop.made

    def connection(self) -> tuple[asyncio.Protocol, Sink]:
        """Return the protocol of a connection, and its transport."""
        self._sink.keep = self  # type: ignore[attr-defined]  # both have to live as long
        return self._protocol, self._sink

    def exchange(self, data: bytes) -> None:
        """Have a request answered on that connection, in as many turns of the loop as it takes."""
        self._answer(self._protocol, self._sink, data)

    def connect(self, data: bytes) -> None:
        """Accept a connection, have its one request answered, and lose it."""
        protocol, sink = self._accept()
        self._answer(protocol, sink, data)
        protocol.connection_lost(None)
        sink.get_extra_info("socket").close()
        self._sink.latest = sink.latest

    def _answer(self, protocol: asyncio.Protocol, sink: Sink, data: bytes) -> None:
        asyncio._set_running_loop(self._loop)
        sink.latest = b""
        protocol.data_received(data)
        while not sink.latest:
            self._loop.turn()
        asyncio._set_running_loop(None)


class ServedTLS(Served):
    """A server with TLS, and its client, which is in memory too.

    Args:
        make: Makes the server with a context; runs in the loop.
    """

    def __init__(self, make: Callable[[ssl.SSLContext], Any]) -> None:
        import trustme

        authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        trusting = ssl.create_default_context()
        authority.configure_trust(trusting)
        super().__init__(lambda: make(context))
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._client = trusting.wrap_bio(
            self._incoming, self._outgoing, server_hostname="127.0.0.1"
        )
        for _ in range(2):
            with contextlib.suppress(ssl.SSLWantReadError):
                self._client.do_handshake()
            super().exchange(self._outgoing.read())
            self._incoming.write(self._sink.latest)

    def exchange(self, data: bytes) -> None:
        """Have the client ask, and understand the answer."""
        self._client.write(data)
        super().exchange(self._outgoing.read())
        self._incoming.write(self._sink.latest)
        self._sink.latest = self._client.read(65_536)


def _nothing() -> None:
    pass


def callback(name: str, log: str | None = None) -> Served:
    """A server with a callback of apps/ours.py, and an access log in the file `log`."""
    from benchmarks.apps import ours
    from fasthttpserver._server import connection
    from fasthttpserver.access import AccessLog
    from fasthttpserver.httpserver import HTTPServer

    # valgrind takes longer than a client's turn may: the rest would be a later turn's.
    connection._FAIR_TIME = float("inf")
    access_log = None if log is None else AccessLog("common", log)
    return Served(lambda: HTTPServer(getattr(ours, name), access_log=access_log))


def tls() -> Served:
    """A server with TLS."""
    from benchmarks.apps.ours import hello
    from fasthttpserver.httpserver import HTTPServer

    return ServedTLS(lambda context: HTTPServer(hello, ssl_options=context))


def asgi_door() -> Served:
    """A server with a raw ASGI application."""
    from benchmarks.apps import asgi
    from fasthttpserver.asgi import ASGIContainer
    from fasthttpserver.httpserver import HTTPServer

    return Served(lambda: HTTPServer(ASGIContainer(asgi.hello, lifespan="off")))


def wsgi_door() -> Served:
    """A server with a WSGI application that runs in the loop."""
    from benchmarks.apps import wsgi
    from fasthttpserver.httpserver import HTTPServer
    from fasthttpserver.wsgi import WSGIContainer

    return Served(lambda: HTTPServer(WSGIContainer(wsgi.hello, 0)))


def tornado_door() -> Served:
    """A server with a handler of tornado.web."""
    import logging

    from tornado.web import Application

    from benchmarks.apps.tornado_web import Hello
    from fasthttpserver.tornado import HTTPServer

    logging.getLogger("tornado.access").setLevel(logging.CRITICAL)
    return Served(lambda: HTTPServer(Application([("/.*", Hello)])))


def limit_protocol() -> tuple[asyncio.Protocol, Sink]:
    """Return the protocol that answers a constant, and its transport."""
    from benchmarks.apps.limit import Hello

    protocol, sink = Hello(), Sink()
    protocol.connection_made(sink)
    return protocol, sink
