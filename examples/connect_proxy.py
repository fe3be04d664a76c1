"""A CONNECT proxy: it takes the stream over and copies bytes both ways.

Run `python examples/connect_proxy.py` (PORT=... for another port), then try
`curl -x http://127.0.0.1:8888 https://example.com/`. It connects to whatever it is told to:
do not let strangers use it.
"""

import asyncio
import contextlib
import os

from fasthttpserver.httpserver import HTTPServer
from fasthttpserver.ioloop import IOLoop
from fasthttpserver.netutil import bind_sockets


async def handle_request(request):
    host, _, port = request.uri.rpartition(":")
    try:
        reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
    except (OSError, ValueError):  # also for a request that is no CONNECT
        request.respond(502)
        return
    stream = request.connection.detach()  # HTTP ends here
    stream.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
    await asyncio.gather(upload(stream, writer), download(reader, stream))


async def upload(stream, writer):
    # StreamClosedError is an OSError: one of the two has left.
    with contextlib.closing(writer), contextlib.suppress(OSError):
        while True:
            writer.write(await stream.read_bytes(65536, partial=True))
            await writer.drain()


async def download(reader, stream):
    with contextlib.closing(stream), contextlib.suppress(OSError):
        while data := await reader.read(65536):
            await stream.write(data)


if __name__ == "__main__":
    server = HTTPServer(handle_request)
    [sock] = bind_sockets(int(os.environ.get("PORT", "8888")), "127.0.0.1")
    server.add_socket(sock)
    print(f"http://127.0.0.1:{sock.getsockname()[1]}/", flush=True)
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C
        IOLoop.current().start()
