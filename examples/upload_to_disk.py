"""An upload that goes to disk as it comes; a client faster than the disk has to wait.

Run `python examples/upload_to_disk.py` (PORT=... for another port), then try
`curl -T FILE http://127.0.0.1:8888/`.
"""

import asyncio
import contextlib
import os
import tempfile

from fasthttpserver.httpserver import HTTPServer
from fasthttpserver.ioloop import IOLoop
from fasthttpserver.netutil import bind_sockets


async def handle_request(request):
    size = 0
    with tempfile.TemporaryFile() as file:
        async for piece in request.stream():
            await asyncio.to_thread(file.write, piece)  # others are served meanwhile
            size += len(piece)
    request.respond(200, f"{size} bytes\n")


if __name__ == "__main__":
    # The callback runs when the head is complete, and reads the body by itself.
    server = HTTPServer(handle_request, stream_request_body=True, max_body_size=10 << 30)
    [sock] = bind_sockets(int(os.environ.get("PORT", "8888")), "127.0.0.1")
    server.add_socket(sock)
    print(f"http://127.0.0.1:{sock.getsockname()[1]}/", flush=True)
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C
        IOLoop.current().start()
