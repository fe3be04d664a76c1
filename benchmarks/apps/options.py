"""The command line that all benchmark servers share.

What a server answers has a name, the same for all of them:

* ``hello``: 13 bytes, the request is not looked at;
* ``respond``: the same by ``request.respond``, with Date and Content-Type;
* ``closing``: the same to a request with ``Connection: close``;
* ``large``: 64 KiB;
* ``body``: the number of bytes in the request's body, which was received whole;
* ``stream``: the same, received in pieces of which none was kept;
* ``download``: 100 MiB in pieces, the next one when the last one has gone out;
* ``coroutine``: ``hello`` by an ``async def``, of servers that take plain functions as well;
* ``delegate``: ``hello`` by Tornado's interface of delegates;
* ``logged``: ``hello``, and a line of the access log to stderr, which is a file;
* ``attributes``: what ``attributes_of`` makes of a request;
* ``json``: a dictionary, as JSON;
* ``flask``: ``hello`` of a Flask application;
* ``echo``: each message of a WebSocket;
* ``starlette``, ``fastapi``: as ``hello``, by a handler of that framework.
"""

import argparse
import asyncio
import ssl
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

__all__ = [
    "DOWNLOAD_PIECES",
    "DOWNLOAD_SIZE",
    "HELLO",
    "HOST",
    "JSON",
    "LARGE",
    "Options",
    "attributes_of",
    "parse_options",
]

HOST = "127.0.0.1"
HELLO = b"Hello, World!"
LARGE = b"x" * 65536
DOWNLOAD_PIECES = 1600  # each as LARGE
DOWNLOAD_SIZE = DOWNLOAD_PIECES * len(LARGE)
JSON = {"message": "Hello, World!"}


@dataclass
class Options:
    """What one benchmark server shall do."""

    port: int
    answer: str
    loop: str
    processes: int
    certificate: str | None
    key: str | None
    request_size: int

    @property
    def tls_context(self) -> ssl.SSLContext | None:
        """A context with the certificate; None for plain HTTP."""
        if self.certificate is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key)
        return context

    def run(self, main: Coroutine[Any, Any, Any]) -> None:
        """Run a coroutine, and then for ever, on the loop that was asked for."""
        asyncio.set_event_loop(None)
        with asyncio.Runner(loop_factory=self._new_loop) as runner:
            runner.run(_for_ever(main))

    def _new_loop(self) -> asyncio.AbstractEventLoop:
        if self.loop == "uvloop":
            import uvloop

            return uvloop.new_event_loop()
        return asyncio.new_event_loop()


async def _for_ever(main: Coroutine[Any, Any, Any]) -> None:
    await main
    await asyncio.Event().wait()


def parse_options() -> Options:
    """Read the options from the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--answer", default="hello")
    parser.add_argument("--loop", default="asyncio")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--certificate")
    parser.add_argument("--key")
    parser.add_argument(
        "--request-size", type=int, default=0, help="for the limit, which cannot find it out"
    )
    known, _ = parser.parse_known_args()
    return Options(**vars(known))


def attributes_of(request: Any) -> bytes:
    """Read path, arguments, three headers and a cookie; ours and tornado's names agree."""
    arguments, headers = request.arguments, request.headers
    parts = [
        request.path,
        arguments["q"][0].decode(),
        arguments["page"][0].decode(),
        headers["Host"],
        headers["Accept-Language"],
        headers["User-Agent"],
        request.cookies["session"].value,
    ]
    return "|".join(parts).encode()
