"""Shows what the HTTPServer of a package gives to a callback.

Runs in a process of its own: ``python wire_server.py tornado|fasthttpserver``. Only the names
that both packages have are used. The first line of output says on which ports there are
servers; each line of input is answered with what the callbacks saw since the one before, by
server and client's port. The end of the input ends the process.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
import time
from typing import Any

_PACKAGE = sys.argv[1]
_OURS = _PACKAGE == "fasthttpserver"
httpserver: Any = importlib.import_module(f"{_PACKAGE}.httpserver")
ioloop: Any = importlib.import_module(f"{_PACKAGE}.ioloop")
netutil: Any = importlib.import_module(f"{_PACKAGE}.netutil")

# Of our options, the one that makes it accept what Tornado 3 accepts.
_LENIENT: dict[str, Any] = {"require_host": False} if _OURS else {}
_SERVERS: dict[str, dict[str, Any]] = {
    "plain": _LENIENT,
    "default": {},
    "xheaders": {"xheaders": True, **_LENIENT},
    "no_keep_alive": {"no_keep_alive": True, **_LENIENT},
    "https": {"protocol": "https", **_LENIENT},
    "small": {"max_buffer_size": 1000, **_LENIENT},
}

_ATTRIBUTES = (
    *("method", "uri", "path", "query", "version", "body", "remote_ip", "protocol", "host"),
    *("arguments", "query_arguments", "body_arguments", "files"),
)
# Not __repr__: ours keeps header fields out of the log (difference 35).
_METHODS = ("supports_http_1_1", "full_url")

_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def look(request: Any) -> dict[str, str]:
    """Return all that the documentation says of a request, as text."""
    seen = {name: repr(getattr(request, name)) for name in _ATTRIBUTES}
    seen |= {name: repr(getattr(request, name)()) for name in _METHODS}
    seen["headers"] = repr(list(request.headers.get_all()))
    seen["cookies"] = repr(
        sorted((name, morsel.value, morsel.coded_value) for name, morsel in request.cookies.items())
    )
    seen["request_time"] = repr(0 <= request.request_time() < 60)
    connection = request.connection
    for name in ("xheaders", "no_keep_alive", "protocol", "address_family"):
        seen[f"connection.{name}"] = repr(getattr(connection, name))
    return seen


def answer(request: Any, events: list[str]) -> None:
    """Answer a request in the way that its path asks for."""
    io_loop = ioloop.IOLoop.instance()
    deed = request.path.strip("/")

    def soon(function: Any) -> None:
        io_loop.add_timeout(time.time() + 0.05, function)

    def note(what: str) -> Any:
        return lambda: events.append(what)

    def written_finish() -> None:
        events.append("written")
        request.finish()

    def closed() -> None:
        events.append("closed")
        if deed == "finish-on-close":
            request.finish()

    if deed == "busy":
        time.sleep(0.3)
    elif deed == "later":
        soon(lambda: (request.write(_OK), request.finish()))
        return
    elif deed == "raise":
        raise RuntimeError("as asked for")
    elif deed == "write-raise":
        request.write(_OK)
        raise RuntimeError("as asked for")
    elif deed == "written-finish":
        request.write(_OK, written_finish)
        return
    elif deed in ("never", "finish-on-close"):
        request.connection.set_close_callback(closed)
        request.write(_OK)
        return
    elif deed == "certificate":
        try:
            events.append(repr(request.get_ssl_certificate()))
        except AttributeError:
            events.append("AttributeError")
    elif deed == "text":
        try:
            request.write(_OK.decode())
        except AssertionError:
            events.append("AssertionError")
            request.write(_OK)
        request.finish()
        return
    elif deed in ("close", "stream-close"):
        request.connection.set_close_callback(note("closed"))
        connection = request.connection
        (connection if deed == "close" else connection.stream).close()
        return
    elif deed == "large":
        request.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        request.write(b"x" * 1_000_000, note("written"))
        request.finish()
        return
    elif deed == "finish-without-write":
        request.finish()
        return
    if deed == "written-then-finish":
        request.write(_OK, note("written"))
    elif deed == "empty-written":
        request.write(_OK)
        request.write(b"", note("written"))
    elif deed == "two-written":
        request.write(_OK[:9], note("first written"))
        request.write(_OK[9:], note("second written"))
    elif deed == "connection-write":
        request.connection.write(_OK)
    else:
        request.write(_OK)
    if deed == "two-written":
        soon(request.finish)
        return
    request.finish()
    if deed == "finish-twice":
        request.finish()
    elif deed == "write-after-finish":
        request.write(_OK)


def main() -> None:
    logging.basicConfig(level=logging.INFO)
    records: list[dict[str, Any]] = []
    ports = {}
    for name, options in _SERVERS.items():

        def callback(request: Any, name: str = name) -> None:
            events: list[str] = []
            record = {"server": name, "port": request.connection.address[1], "events": events}
            records.append(record)
            try:
                record["seen"] = look(request)
            except Exception as error:
                record["seen"] = {"uri": repr(request.uri), "raises": type(error).__name__}
                raise
            answer(request, events)

        server = httpserver.HTTPServer(callback, **options)
        (sock,) = netutil.bind_sockets(0, "127.0.0.1")
        server.add_sockets([sock])
        ports[name] = sock.getsockname()[1]
    io_loop = ioloop.IOLoop.instance()

    def on_input(fd: int, events: int) -> None:
        if not os.read(fd, 100):
            io_loop.stop()
        else:
            print(json.dumps(records), flush=True)
            records.clear()

    io_loop.add_handler(sys.stdin.fileno(), on_input, ioloop.IOLoop.READ)
    print(json.dumps(ports), flush=True)
    io_loop.start()


if __name__ == "__main__":
    main()
