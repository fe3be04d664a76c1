"""The second way to start a server: bind, then fork processes that share the port.

Run `python examples/bind_start.py` (PORT=..., PROCESSES=... to choose), then try
`curl http://127.0.0.1:8888/` several times: the kernel chooses a process for each connection.
Kill one of them: it is replaced. Ctrl-C or SIGTERM to the first process ends them all.
"""

import os

from fasthttpserver.httpserver import HTTPServer
from fasthttpserver.ioloop import IOLoop
from fasthttpserver.process import task_id


def handle_request(request):
    request.respond(200, f"task {task_id()} process {os.getpid()}\n")


if __name__ == "__main__":
    port = int(os.environ.get("PORT", "8888"))
    server = HTTPServer(handle_request)  # without io_loop: there must be none before the fork
    server.bind(port, "127.0.0.1")
    print(f"http://127.0.0.1:{port}/", flush=True)  # flushed, or each child would print it too
    server.start(int(os.environ.get("PROCESSES", "0")))  # 0: one for each CPU
    IOLoop.instance().start()  # only children get here
