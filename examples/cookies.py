"""A cookie counts the visits of a browser.

Run `python examples/cookies.py` (PORT=... for another port), then reload its URL in a browser
or try `curl -c jar -b jar http://127.0.0.1:8888/` several times.
"""

import contextlib
import os

from fasthttpserver.httpserver import HTTPServer
from fasthttpserver.ioloop import IOLoop
from fasthttpserver.netutil import bind_sockets


def handle_request(request):
    visits = 1
    cookie = request.cookies.get("visits")  # a Morsel, as in http.cookies
    if cookie is not None and cookie.value.isdecimal() and len(cookie.value) < 10:
        visits += int(cookie.value)
    cookie = f"visits={visits}; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax"
    request.respond(200, f"Visit number {visits}\n", {"Set-Cookie": cookie})


if __name__ == "__main__":
    server = HTTPServer(handle_request)
    [sock] = bind_sockets(int(os.environ.get("PORT", "8888")), "127.0.0.1")
    server.add_socket(sock)
    print(f"http://127.0.0.1:{sock.getsockname()[1]}/", flush=True)
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C
        IOLoop.current().start()
