"""A download of any size from an `async def`, at the speed of its client.

Run `python examples/streaming.py` (PORT=... for another port), then try
`curl -o /dev/null --limit-rate 100M 'http://127.0.0.1:8888/?megabytes=1000'` and watch that
its memory does not grow.
"""

import contextlib
import os

from fasthttpserver.errors import StreamClosedError
from fasthttpserver.httpserver import HTTPServer
from fasthttpserver.httputil import HTTPHeaders, ResponseStartLine
from fasthttpserver.ioloop import IOLoop
from fasthttpserver.netutil import bind_sockets

PIECE = bytes(65536)


async def handle_request(request):
    megabytes = request.arguments.get("megabytes", [b"10"])[0]
    pieces = int(megabytes) * 16 if megabytes.isdigit() else 0
    headers = HTTPHeaders({"Content-Type": "application/octet-stream"})
    headers["Content-Length"] = str(pieces * len(PIECE))  # without it: chunked
    request.connection.write_headers(ResponseStartLine("HTTP/1.1", 200, "OK"), headers)
    try:
        for _ in range(pieces):
            await request.write(PIECE)  # until the kernel has taken it
    except StreamClosedError:
        return  # the client left
    request.finish()


if __name__ == "__main__":
    server = HTTPServer(handle_request)
    [sock] = bind_sockets(int(os.environ.get("PORT", "8888")), "127.0.0.1")
    server.add_socket(sock)
    print(f"http://127.0.0.1:{sock.getsockname()[1]}/", flush=True)
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C
        IOLoop.current().start()
