"""A folder as a web site, with ranges and without what the client has already.

Run `python examples/static_files.py FOLDER` (PORT=... for another port), then try
`curl -i -r 0-99 http://127.0.0.1:8888/FILE`; a browser asks for each file once, and then whether
it is still the same.
"""

import contextlib
import os
import sys
from urllib.parse import unquote

from fasthttpserver.httpserver import HTTPServer
from fasthttpserver.ioloop import IOLoop
from fasthttpserver.netutil import bind_sockets

FOLDER = sys.argv[1] if len(sys.argv) > 1 else "."


def handle_request(request):
    path = unquote(request.path)
    if path.endswith("/"):
        path += "index.html"
    # Nothing outside of the folder, whatever the path says.
    return request.send_file(path, root=FOLDER, headers={"Cache-Control": "no-cache"})


if __name__ == "__main__":
    server = HTTPServer(handle_request)
    [sock] = bind_sockets(int(os.environ.get("PORT", "8888")), "127.0.0.1")
    server.add_socket(sock)
    print(f"http://127.0.0.1:{sock.getsockname()[1]}/", flush=True)
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C
        IOLoop.current().start()
