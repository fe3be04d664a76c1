"""A real server for tests of HTTP clients: it answers as it is told, rightly or wrongly.

It runs in a thread, on a loop and a port of its own, and starts in milliseconds. The functions
below it make answers that clients have to live with, and that no usual server gives.
"""

from __future__ import annotations

import asyncio
import inspect
import ssl
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from functools import partial
from typing import Any, Literal, Self

from fasthttpserver._http.fields import Fields
from fasthttpserver._http.whole import Body
from fasthttpserver._net.loops import new_asyncio_loop
from fasthttpserver._net.netutil import bind_sockets
from fasthttpserver._net.sockets import unacknowledged
from fasthttpserver._server.request import HTTPRequest, RequestCallback
from fasthttpserver._server.server import HTTPServer
from fasthttpserver.errors import HTTPInputError, StreamClosedError

__all__ = ["LiveServer", "endless", "raw", "silent", "slow", "whole"]

# Seconds between two looks whether the client's kernel has what was sent.
_PAUSE = 0.001

Then = Literal["keep", "close", "reset"]


class LiveServer:
    """A server on a port of its own, in a thread of its own, for tests of HTTP clients.

    Use it in a ``with`` statement. At its end, an exception of a callback is raised again, so
    that a callback may have assertions.

    >>> import urllib.request
    >>> with LiveServer() as server:
    ...     server.answer(whole(200, "hello"))
    ...     with urllib.request.urlopen(f"{server.url}/path") as response:
    ...         response.read()
    b'hello'
    >>> server.requests[0].path
    '/path'

    Args:
        callback: Answers each request; None for an empty 200.
        tls: Serve HTTPS, with a certificate that is made for it: needs ``trustme``.
        host: Where to listen.
        **options: Of ``HTTPServer``. Responses are not checked: they may be wrong.
    """

    def __init__(
        self,
        callback: RequestCallback | None = None,
        *,
        tls: bool = False,
        host: str = "127.0.0.1",
        **options: Any,
    ) -> None:
        self.requests: list[HTTPRequest] = []
        """The requests that have come, in their order."""
        self.errors: list[BaseException] = []
        """What callbacks have raised; the first one is raised at the end."""
        self.refused: list[HTTPInputError] = []
        """Why requests were refused: the client has sent what is none."""
        self.ca_pem = b""
        """The certificate of the authority that clients have to trust; empty without TLS."""
        self._answers = [callback or whole(200)]
        if tls:
            options["ssl_options"] = self._make_certificate(host)
        options.setdefault("check_responses", False)
        options.setdefault("on_refusal", self._refused)
        self._server = HTTPServer(self._run, **options)
        self._is_tls = tls or "ssl_options" in options
        self._host = host
        self._started: Future[int] = Future()
        self._thread = threading.Thread(target=self._serve, name="LiveServer", daemon=True)

    def _make_certificate(self, host: str) -> ssl.SSLContext:
        import trustme

        authority = trustme.CA()
        self.ca_pem = authority.cert_pem.bytes()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(host, "localhost").configure_cert(context)
        return context

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.close()
        if self.errors and kind is None:
            raise self.errors[0]

    def start(self) -> None:
        """Listen, and serve until ``close``."""
        self._thread.start()
        self.port = self._started.result()

    def close(self) -> None:
        """Close all connections, and listen no longer; clients are refused from then on."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    # --- What a test knows and says -----------------------------------------------------------

    @property
    def url(self) -> str:
        """``http://127.0.0.1:12345``, without a slash at the end."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'https' if self._is_tls else 'http'}://{host}:{self.port}"

    def client_context(self) -> ssl.SSLContext:
        """Return a client's TLS context that trusts the server, and nobody else."""
        return ssl.create_default_context(cadata=self.ca_pem.decode())

    def answer(self, *callbacks: RequestCallback) -> None:
        """Have the next requests answered by these, one each, and by the last all that follow.

        Args:
            callbacks: Plain or ``async def``; ``whole``, ``raw``, ``slow``, ``endless`` and
                ``silent`` make some.
        """
        if not callbacks:
            raise ValueError("answer() needs a callback")
        self._answers = list(callbacks)

    # --- In the thread ------------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            # Not uvloop, whose first loop keeps two descriptors until the process ends.
            with asyncio.Runner(loop_factory=partial(new_asyncio_loop, "asyncio")) as runner:
                runner.run(self._main())
        except BaseException as error:
            if self._started.done():
                raise
            self._started.set_exception(error)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        sockets = bind_sockets(0, self._host)
        self._server.add_sockets(sockets)
        self._started.set_result(sockets[0].getsockname()[1])
        await self._stop.wait()
        self._server.stop()
        await self._server.close_all_connections()

    def _run(self, request: HTTPRequest) -> object:
        self.requests.append(request)
        callback = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        try:
            result = callback(request)
        except Exception as error:
            self.errors.append(error)
            raise
        return self._await(result) if inspect.iscoroutine(result) else result

    async def _await(self, result: Coroutine[Any, Any, object]) -> None:
        try:
            await result
        except StreamClosedError:
            raise  # the client has gone, as clients do
        except asyncio.CancelledError:
            if not self._stop.is_set():
                raise
        except Exception as error:
            self.errors.append(error)
            raise

    def _refused(self, error: HTTPInputError, address: object) -> None:
        self.refused.append(error)


# --- Answers ------------------------------------------------------------------------------


def whole(
    status: int,
    body: Body = b"",
    headers: Fields | None = None,
    content_type: str | None = None,
) -> RequestCallback:
    """Answer as ``HTTPRequest.respond`` does."""

    def callback(request: HTTPRequest) -> None:
        request.respond(status, body, headers, content_type)

    return callback


def raw(data: bytes, then: Then = "keep") -> RequestCallback:
    """Answer with bytes as they are: malformed, too short, none.

    Args:
        data: What is sent.
        then: ``keep`` the connection for a further request, ``close`` it, or ``reset`` it, as a
            server that crashes does; the client's system has got all of the data first.
    """
    return slow(data, size=max(1, len(data)), pause=0, then=then)


def slow(
    data: bytes, *, size: int = 1, pause: float = 0.01, then: Then = "keep"
) -> RequestCallback:
    """Answer piece by piece.

    Args:
        data: What is sent in all, head and body.
        size: Bytes of a piece.
        pause: Seconds after each piece.
        then: As for ``raw``.
    """
    if then not in ("keep", "close", "reset"):
        raise ValueError(f"then is 'keep', 'close' or 'reset', not {then!r}")

    async def callback(request: HTTPRequest) -> None:
        for start in range(0, len(data), size):
            await request.write(data[start : start + size])
            await asyncio.sleep(pause)
        if then == "keep":
            if data:
                request.finish()
        elif then == "close":
            request.connection.close()
        else:
            while unacknowledged(request.connection.get_extra_info("socket")):
                await asyncio.sleep(_PAUSE)
            request.connection.reset()

    return callback


def endless(
    head: bytes = b"HTTP/1.1 200 OK\r\n\r\n", piece: bytes = bytes(65_536)
) -> RequestCallback:
    """Answer without an end, as fast as the client takes it.

    Args:
        head: What is sent first. By default it is one of a response that the end of the
            connection ends.
        piece: What is sent again and again. After a head without its empty line, fields make
            a head without an end.
    """

    async def callback(request: HTTPRequest) -> None:
        await request.write(head)
        while True:
            await request.write(piece)

    return callback


def silent(request: HTTPRequest) -> None:
    """Answer nothing, and keep the connection."""
