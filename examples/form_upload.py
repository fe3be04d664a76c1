"""A form with an upload; the answer tells which arguments and files came.

Run `python examples/form_upload.py` (PORT=... for another port), then open its URL in a
browser or try `curl -F name=Ada -F files=@README.md http://127.0.0.1:8888/`.
"""

import contextlib
import os

from fasthttpserver.httpserver import HTTPServer
from fasthttpserver.ioloop import IOLoop
from fasthttpserver.netutil import bind_sockets

FORM = """<!doctype html>
<form method="post" enctype="multipart/form-data">
<input name="name"> <input name="files" type="file" multiple> <button>Send</button>
</form>
"""


def report(request):
    for name, values in request.arguments.items():
        for value in values:
            yield f"{name} = {value.decode('utf-8', 'replace')}\n"
    for name, files in request.files.items():
        for file in files:
            # A file name is what the client says: show it, never open it.
            yield f"{name}: {file.filename!r}, {file.content_type}, {len(file.body)} bytes\n"


def handle_request(request):
    if request.method == "POST":
        request.respond(200, "".join(report(request)))
    else:
        request.respond(200, FORM, content_type="text/html")


if __name__ == "__main__":
    server = HTTPServer(handle_request, max_body_size=10_000_000)
    [sock] = bind_sockets(int(os.environ.get("PORT", "8888")), "127.0.0.1")
    server.add_socket(sock)
    print(f"http://127.0.0.1:{sock.getsockname()[1]}/", flush=True)
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C
        IOLoop.current().start()
