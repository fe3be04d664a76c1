"""Server-sent events, each written when the one before has left: no client is too slow.

Run `python examples/server_sent_events.py` (PORT=... for another port), then try
`curl -N 'http://127.0.0.1:8888/?count=5'`, or without a count and with `--limit-rate 1000`:
memory stays flat. In a browser: `new EventSource("/").onmessage = (e) => console.log(e.data)`.
"""

import contextlib
import itertools
import os

from fasthttpserver.httpserver import HTTPServer
from fasthttpserver.httputil import HTTPHeaders, ResponseStartLine
from fasthttpserver.ioloop import IOLoop
from fasthttpserver.netutil import bind_sockets


def handle_request(request):
    count = request.arguments.get("count", [b""])[0]
    numbers = iter(range(int(count))) if count.isdigit() else itertools.count()

    def send_next():
        number = next(numbers, None)
        if number is None:
            request.finish()
        else:
            # The callback runs when the kernel has taken the bytes; never if the client left.
            request.write(b"data: %d\n\n" % number, callback=send_next)

    headers = HTTPHeaders({"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    # The server does the framing after write_headers(): chunked, for HTTP/1.1.
    request.connection.write_headers(ResponseStartLine("HTTP/1.1", 200, "OK"), headers)
    send_next()


if __name__ == "__main__":
    server = HTTPServer(handle_request)
    [sock] = bind_sockets(int(os.environ.get("PORT", "8888")), "127.0.0.1")
    server.add_socket(sock)
    print(f"http://127.0.0.1:{sock.getsockname()[1]}/", flush=True)
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C
        IOLoop.current().start()
