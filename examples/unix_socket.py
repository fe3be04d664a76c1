"""A server on a Unix socket, for a proxy on the same machine.

Run `python examples/unix_socket.py /tmp/example.sock`, then try
`curl --unix-socket /tmp/example.sock http://localhost/`. Only its own user may connect.
"""

import os
import signal
import sys

from fasthttpserver.httpserver import HTTPServer
from fasthttpserver.ioloop import IOLoop
from fasthttpserver.netutil import bind_unix_socket


def handle_request(request):
    # A Unix socket has no addresses; behind a proxy, xheaders tells the client's.
    request.respond(200, f"{request.method} {request.uri} for {request.remote_ip}\n")


if __name__ == "__main__":
    path = sys.argv[1]
    server = HTTPServer(handle_request, xheaders=True, trusted_peers=["unix"])
    server.add_socket(bind_unix_socket(path, mode=0o600))

    loop = IOLoop.current()
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda *_: loop.add_callback_from_signal(loop.stop))
    print(f"unix:{path}", flush=True)
    loop.start()
    server.stop()
    os.remove(path)
