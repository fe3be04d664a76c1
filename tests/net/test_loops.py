"""What is asked of the transports of asyncio's own loop."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable

import pytest
from helpers import echo

from fasthttpserver._net.tls_transport import TLSTransport
from fasthttpserver._server.settings import Settings
from fasthttpserver.httpserver import HTTPConnection
from fasthttpserver.iostream import IOStream

ADDRESS = ("192.0.2.7", 4711)


class Noting(socket.socket):
    """A socket that notes how much is read at once."""

    most = 0

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        self.most = max(self.most, size)
        return super().recv(size, flags)


@pytest.mark.parametrize(
    "protocol",
    [
        lambda loop: HTTPConnection.of_server(Settings(echo), loop, ADDRESS),
        lambda loop: IOStream(loop, ADDRESS, lambda stream: None),
        lambda loop: TLSTransport(loop, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), asyncio.Protocol),
    ],
    ids=["HTTP", "stream", "TLS"],
)
def test_read_makes_no_room_that_the_allocator_has_to_ask_for(
    protocol: Callable[[asyncio.AbstractEventLoop], asyncio.Protocol],
) -> None:
    async def main() -> int:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listening:
            client = socket.create_connection(listening.getsockname())
            raw, _ = listening.accept()
        accepted = Noting(fileno=raw.detach())
        accepted.setblocking(False)
        transport, _ = await loop.connect_accepted_socket(lambda: protocol(loop), accepted)
        client.send(b"\x16")
        async with asyncio.timeout(5):
            while not accepted.most:
                await asyncio.sleep(0)
        transport.abort()
        client.close()
        await asyncio.sleep(0)
        return accepted.most

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        assert 0 < runner.run(main()) < 131_072  # from there on glibc's maps memory
