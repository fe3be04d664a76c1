"""The first way to start a server: one process, which ends cleanly on Ctrl-C and SIGTERM.

Run `python examples/single_process.py` (PORT=... for another port), then try
`curl http://127.0.0.1:8888/`.
"""

import os
import signal

from fasthttpserver.httpserver import HTTPServer
from fasthttpserver.ioloop import IOLoop


def handle_request(request):
    request.respond(200, f"process {os.getpid()}\n")


if __name__ == "__main__":
    port = int(os.environ.get("PORT", "8888"))
    server = HTTPServer(handle_request)
    server.listen(port, "127.0.0.1")

    loop = IOLoop.instance()
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda *_: loop.add_callback_from_signal(loop.stop))
    print(f"http://127.0.0.1:{port}/", flush=True)
    loop.start()
    server.stop()
    print("stopped")
