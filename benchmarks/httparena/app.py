"""The entry of fasthttpserver on the HttpArena board: all endpoints of its HTTP/1.1 profiles.

README.md says what the board is and how the entry gets there. PORT and TLS_PORT (8080, 8081),
WORKERS (one for each CPU that the container may use), DATASET_PATH, STATIC_PATH, TLS_CERT and
TLS_KEY change where things are.
"""

import gzip
import json
import mimetypes
import os
import ssl
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from fasthttpserver.httpserver import HTTPRequest, HTTPServer
from fasthttpserver.ioloop import IOLoop
from fasthttpserver.process import cpu_count, fork_processes

try:
    import brotli
except ImportError:
    brotli = None
try:
    from orjson import dumps
except ImportError:

    def dumps(value: object) -> bytes:
        return json.dumps(value, separators=(",", ":")).encode()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
COMPRESSED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: %b\r\n"
    b"Vary: Accept-Encoding\r\nContent-Length: %d\r\n\r\n"
)
EMPTY = b"HTTP/1.1 %b\r\nContent-Length: 0\r\n\r\n"
# The codings that files may be there in, the best one first, and what their names end with then.
CODINGS = (("br", ".br"), ("gzip", ".gz"))
# Thousands connect at once; the kernel bounds it by net.core.somaxconn.
BACKLOG = 4096
# What a container may use of the CPUs, which the affinity of its processes does not show.
QUOTA = Path("/sys/fs/cgroup/cpu.max")


class Entry:
    """The callback.

    Args:
        items: What /json/{count} is about.
        files: The folder of /static/{name}.
    """

    def __init__(self, items: list[dict[str, Any]], files: Path) -> None:
        self._items = items
        self._files = files
        self._answers: dict[str, Callable[[HTTPRequest], None]] = {
            "/baseline11": baseline,
            "/pipeline": pipeline,
            "/upload": upload,
            "/echo": echo,
        }

    def __call__(self, request: HTTPRequest) -> Awaitable[None] | None:
        """Answer a request, or return what does."""
        path = request.path
        answer = self._answers.get(path)
        try:
            if answer is not None:
                answer(request)
            elif path.startswith("/json/"):
                self._json(request, int(path[6:]))
            elif path.startswith("/static/"):
                return self._file(request, path[8:])
            elif path.startswith("/delay/"):
                delay(request, int(path[7:]))
            else:
                respond(request, EMPTY % b"404 Not Found")
        except (KeyError, ValueError, OverflowError):  # a number is missing, or is none
            respond(request, EMPTY % b"400 Bad Request")
        return None

    def _json(self, request: HTTPRequest, count: int) -> None:
        factor = numbers(request.query).get("m", 1)
        items = [
            {**item, "total": item["price"] * item["quantity"] * factor}
            for item in self._items[:count]
        ]
        body = dumps({"items": items, "count": len(items)})
        accepted = request.headers.get("Accept-Encoding", "")
        if brotli is not None and "br" in accepted:
            # The board squares the size and counts the time: beyond 3 it takes more than it saves.
            body = brotli.compress(body, quality=3)
            respond(request, COMPRESSED % (b"br", len(body)), body)
        elif "gzip" in accepted:
            body = gzip.compress(body, 1)
            respond(request, COMPRESSED % (b"gzip", len(body)), body)
        else:
            respond(request, HEAD % (b"application/json", len(body)), body)

    async def _file(self, request: HTTPRequest, name: str) -> None:
        """A file as it is now on the disk, compressed if it is there compressed."""
        accepted = request.headers.get("Accept-Encoding", "")
        content_type = mimetypes.guess_type(name)[0]
        headers = {"Vary": "Accept-Encoding"}
        for coding, ending in CODINGS:
            if coding in accepted and (self._files / (name + ending)).is_file():
                headers["Content-Encoding"] = coding
                name += ending
                break
        await request.send_file(name, self._files, headers, content_type)


def baseline(request: HTTPRequest) -> None:
    """The sum of two parameters, and of the body if there is one."""
    given = numbers(request.query)
    text(request, b"%d" % (given["a"] + given["b"] + int(request.body or 0)))


def pipeline(request: HTTPRequest) -> None:
    """As little as possible."""
    text(request, b"ok")


def upload(request: HTTPRequest) -> None:
    """The size of the body, which was received whole."""
    text(request, b"%d" % len(request.body))


def echo(request: HTTPRequest) -> None:
    """The body, which is not copied behind the head."""
    request.write(HEAD % (b"application/octet-stream", len(request.body)))
    request.write(request.body)
    request.finish()


def delay(request: HTTPRequest, milliseconds: int) -> None:
    """The number of milliseconds, when they are over."""
    answer = partial(text, request, b"%d" % milliseconds)
    IOLoop.current().add_timeout(timedelta(milliseconds=milliseconds), answer)


def numbers(query: str) -> dict[str, int]:
    """The parameters of a query, all of which have to be whole numbers."""
    pairs = (part.partition("=") for part in query.split("&") if part)
    return {name: int(value) for name, _, value in pairs}


def text(request: HTTPRequest, body: bytes) -> None:
    respond(request, HEAD % (b"text/plain", len(body)), body)


def respond(request: HTTPRequest, head: bytes, body: bytes = b"") -> None:
    request.write(head + body)
    request.finish()


def workers() -> int:
    """As many as CPUs may be used: by affinity, and by the quota of the container."""
    count = cpu_count()
    try:
        quota, period = QUOTA.read_text().split()
    except (OSError, ValueError):
        return count
    return count if quota == "max" else max(1, min(count, int(quota) // int(period)))


def tls_context(certificate: str, key: str) -> ssl.SSLContext:
    """TLS as the board wants it: no HTTP/2."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["http/1.1"])
    return context


def main() -> None:
    """Serve until SIGTERM."""
    environment = os.environ.get
    items = json.loads(Path(environment("DATASET_PATH", "/data/dataset.json")).read_bytes())
    count = int(environment("WORKERS", "0")) or workers()
    if count > 1:
        fork_processes(count)
    entry = Entry(items, Path(environment("STATIC_PATH", "/data/static")))
    # A socket for each process: the kernel shares connections out by their hash.
    listen = {"address": "0.0.0.0", "backlog": BACKLOG, "reuse_port": True}
    HTTPServer(entry).listen(int(environment("PORT", "8080")), **listen)
    certificate = environment("TLS_CERT", "/certs/server.crt")
    # There is one only where a profile wants it.
    if Path(certificate).exists():
        context = tls_context(certificate, environment("TLS_KEY", "/certs/server.key"))
        tls_port = int(environment("TLS_PORT", "8081"))
        HTTPServer(entry, ssl_options=context).listen(tls_port, **listen)
    IOLoop.current().start()


if __name__ == "__main__":
    main()
