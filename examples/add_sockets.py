"""The third way to start a server: sockets first, then processes, then a server in each.

This leaves open when to fork, and what else each process sets up. Run
`python examples/add_sockets.py` (PORT=..., PROCESSES=... to choose), then try
`curl http://127.0.0.1:8888/` several times. Ctrl-C or SIGTERM ends all processes.
"""

import os

from fasthttpserver.httpserver import HTTPServer
from fasthttpserver.ioloop import IOLoop
from fasthttpserver.netutil import bind_sockets
from fasthttpserver.process import fork_processes, task_id


def handle_request(request):
    request.respond(200, f"task {task_id()} process {os.getpid()}\n")


if __name__ == "__main__":
    sockets = bind_sockets(int(os.environ.get("PORT", "8888")), "127.0.0.1")
    print(f"http://127.0.0.1:{sockets[0].getsockname()[1]}/", flush=True)
    fork_processes(int(os.environ.get("PROCESSES", "0")))  # 0: one for each CPU
    # Only children get here, each with its number.
    server = HTTPServer(handle_request)
    server.add_sockets(sockets)
    IOLoop.instance().start()
