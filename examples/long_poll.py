"""Long polling: a GET waits for the next message, a POST sends it to all who wait.

Run `python examples/long_poll.py` (PORT=... for another port), then try
`curl http://127.0.0.1:8888/` in one terminal and `curl -d hello http://127.0.0.1:8888/` in
another. `curl http://127.0.0.1:8888/waiting` tells how many wait.
"""

import contextlib
import os

from fasthttpserver.httpserver import HTTPServer
from fasthttpserver.ioloop import IOLoop
from fasthttpserver.netutil import bind_sockets

waiting = set()


def handle_request(request):
    if request.method == "POST":
        request.respond(200, f"sent to {len(waiting)}\n")
        while waiting:
            waiting.pop().respond(200, request.body)
    elif request.path == "/waiting":
        request.respond(200, f"{len(waiting)}\n")
    else:
        waiting.add(request)
        request.connection.set_close_callback(lambda: forget(request))


def forget(request):
    # The client has left. Else the set would only grow, and the connection stay half open.
    waiting.discard(request)
    request.connection.close()


if __name__ == "__main__":
    server = HTTPServer(handle_request)
    [sock] = bind_sockets(int(os.environ.get("PORT", "8888")), "127.0.0.1")
    server.add_socket(sock)
    print(f"http://127.0.0.1:{sock.getsockname()[1]}/", flush=True)
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C
        IOLoop.current().start()
