"""Long polling: a GET waits for the next message, a POST sends it to all who wait.

Run `python examples/long_poll.py` (PORT=... for another port), then try
`curl http://127.0.0.1:8888/` in one terminal and `curl -d hello http://127.0.0.1:8888/` in
another. `curl http://127.0.0.1:8888/waiting` tells how many wait.
"""

import os

from fasthttpserver.httpserver import HTTPServer
from fasthttpserver.ioloop import IOLoop
from fasthttpserver.netutil import bind_sockets

waiting = set()


def answer(request, body):
    request.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    request.finish()


def handle_request(request):
    if request.method == "POST":
        answer(request, b"sent to %d\n" % len(waiting))
        while waiting:
            answer(waiting.pop(), request.body)
    elif request.path == "/waiting":
        answer(request, b"%d\n" % len(waiting))
    else:
        waiting.add(request)
        request.connection.set_close_callback(lambda: forget(request))


def forget(request):
    # The client has left. Else the set would only grow, and the connection stay half open.
    waiting.discard(request)
    request.connection.close()


server = HTTPServer(handle_request)
[sock] = bind_sockets(int(os.environ.get("PORT", "8888")), "127.0.0.1")
server.add_socket(sock)
print(f"http://127.0.0.1:{sock.getsockname()[1]}/", flush=True)
IOLoop.current().start()
