"""A command line comes in; a running server for the named callback goes out."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

from fasthttpserver import __version__
from fasthttpserver._shutdown import Shutdown
from fasthttpserver.httpserver import HTTPRequest, HTTPServer
from fasthttpserver.ioloop import IOLoop

__all__ = ["main"]


def echo(request: HTTPRequest) -> None:
    """Answer with the URI that was asked for: what runs when no callback is named."""
    message = f"You requested {request.uri}\n"
    connection = "Connection: close\r\n" if request.connection.no_keep_alive else ""
    request.write(
        f"HTTP/1.1 200 OK\r\nContent-Length: {len(message)}\r\n{connection}"
        f"Content-Type: text/plain; charset=iso-8859-1\r\n\r\n{message}"
    )
    request.finish()


def load_callback(name: str) -> Callable[[HTTPRequest], object]:
    """Import what ``package.module:callback`` names.

    Raises:
        ValueError: It is not there, with a message for the person who typed it.
    """
    module_name, _, path = name.partition(":")
    if not path or not module_name or module_name.startswith("."):
        raise ValueError(f"{name!r} is not of the form package.module:callback")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found: Any = importlib.import_module(module_name)
    except ImportError as error:
        raise ValueError(f"cannot import {module_name!r}: {error}") from error
    for part in path.split("."):
        if not hasattr(found, part):
            raise ValueError(f"{module_name!r} has no {path!r}")
        found = getattr(found, part)
    if not callable(found):
        raise ValueError(f"{name!r} is not callable")
    callback: Callable[[HTTPRequest], object] = found
    return callback


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="fasthttpserver", description="Serve HTTP/1.1 with a callback."
    )
    parser.add_argument(
        "callback",
        nargs="?",
        metavar="package.module:callback",
        help="what answers the requests (default: an echo of the request's URI)",
    )
    parser.add_argument("--port", type=int, default=8888, help="default: %(default)s")
    parser.add_argument("--address", default="127.0.0.1", help="default: %(default)s")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    options = parser.parse_args(arguments)

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    callback: Callable[[HTTPRequest], object] = echo
    try:
        if options.callback is not None:
            callback = load_callback(options.callback)
        server = HTTPServer(callback)
        server.listen(options.port, address=options.address)
    except (OSError, OverflowError, ValueError) as error:
        print(f"fasthttpserver: {error}", file=sys.stderr)
        return 1

    loop = IOLoop.current()
    shutdown = Shutdown(loop)
    shutdown.servers.append(server)
    shutdown.install(signal.SIGINT, signal.SIGTERM)
    port = next(iter(server._sockets.values())).getsockname()[1]
    host = f"[{options.address}]" if ":" in options.address else options.address
    url = f"http://{host or 'localhost'}:{port}/"
    print(f"Serving on {url} (process {os.getpid()}); Ctrl-C ends it.")
    print(f"Try: curl -i {url}hello", flush=True)
    loop.start()
    return 0


if __name__ == "__main__":
    sys.exit(main())
