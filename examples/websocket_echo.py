"""A WebSocket echo (RFC 6455), written by hand on the stream that it detaches.

Run `python examples/websocket_echo.py` (PORT=... for another port), then try
`pip install websockets` and `websockets ws://127.0.0.1:8888/`.
"""

import base64
import contextlib
import hashlib
import os
import struct

from fasthttpserver.httpserver import HTTPServer
from fasthttpserver.ioloop import IOLoop
from fasthttpserver.netutil import bind_sockets

HEAD = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
FIN, CLOSE, PING, PONG = 128, 8, 9, 10
MAX_SIZE = 1_000_000


async def handle_request(request):
    key = request.headers.get("Sec-WebSocket-Key", "").encode("latin-1")
    digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    stream = request.connection.detach()  # HTTP ends here
    stream.write(HEAD + b"Sec-WebSocket-Accept: %b\r\n\r\n" % base64.b64encode(digest))
    first = 0
    while first & 15 != CLOSE:  # or until a read raises StreamClosedError: the client left
        first, data = await read_frame(stream)
        if first & 15 == PING:
            await write_frame(stream, FIN | PONG, data)
        elif first & 15 != PONG:  # messages as they come, in fragments or not, and CLOSE
            await write_frame(stream, first, data)
    stream.close()


async def read_frame(stream):
    first, size = await stream.read_bytes(2)
    is_masked, size = size & 128, size & 127
    if size > 125:
        size = int.from_bytes(await stream.read_bytes(2 if size == 126 else 8), "big")
    if size > MAX_SIZE or not is_masked:
        return FIN | CLOSE, (1009 if is_masked else 1002).to_bytes(2, "big")
    mask, data = await stream.read_bytes(4), await stream.read_bytes(size)
    return first, bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))


async def write_frame(stream, first, data):
    size = len(data)
    if size < 126:
        head = struct.pack(">BB", first, size)
    elif size < 65536:
        head = struct.pack(">BBH", first, 126, size)
    else:
        head = struct.pack(">BBQ", first, 127, size)
    await stream.write(head + data)


if __name__ == "__main__":
    server = HTTPServer(handle_request)
    [sock] = bind_sockets(int(os.environ.get("PORT", "8888")), "127.0.0.1")
    server.add_socket(sock)
    print(f"ws://127.0.0.1:{sock.getsockname()[1]}/", flush=True)
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C
        IOLoop.current().start()
