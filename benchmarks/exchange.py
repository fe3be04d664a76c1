"""A connection of a server on a transport that sends nothing.

So the way of a request through our layers, and of the answer back, can be measured without
the loop and the kernel, which take most of the time of a small request and differ from run
to run.
"""

import asyncio
import socket
from typing import Any

__all__ = ["Sink", "limit_protocol", "our_protocol"]


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


def our_protocol(callback: Any, **options: Any) -> tuple[asyncio.Protocol, Sink]:
    """Return the protocol of a connection to a server, and its transport.

    Args:
        callback, options: Of the server.
    """
    from fasthttpserver.httpserver import HTTPServer

    loop = _SinkLoop()
    asyncio.set_event_loop(loop)
    server = HTTPServer(callback, **options)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server.add_sockets([listener])
        with socket.create_connection(listener.getsockname()):
            while loop.made is None:
                loop.run_until_complete(asyncio.sleep(0))
            for _ in range(5):  # for what follows the making of the transport
                loop.run_until_complete(asyncio.sleep(0))
    # The server belongs to the loop, and both have to live as long as the protocol.
    sink = loop.made[1]
    sink.keep = (loop, server)  # type: ignore[attr-defined]
    return loop.made


def limit_protocol() -> tuple[asyncio.Protocol, Sink]:
    """Return the protocol that answers a constant, and its transport."""
    from benchmarks.apps.limit import Hello

    protocol, sink = Hello(), Sink()
    protocol.connection_made(sink)
    return protocol, sink
