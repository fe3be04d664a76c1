"""A client in memory: it runs an application and reads its responses, without a socket.

Between the two are the server's own ``HTTPServer``, ``HTTPConnection`` and ``RequestParser``;
only the transport below them and the loop are of this package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeAlias, TypeVar

from fasthttpserver._net.loops import running_loop
from fasthttpserver._server.request import HTTPRequest, RequestCallback
from fasthttpserver.testing._responses import Asked, Reading, Response, RuleBroken, read_response
from fasthttpserver.testing._service import Service
from fasthttpserver.testing._transport import MemoryTransport

if TYPE_CHECKING:
    from fasthttpserver.testing._websocket import WebSocket

__all__ = ["Client", "Delegate"]

T = TypeVar("T")

Address: TypeAlias = tuple[str, int] | tuple[str, int, int, int]


class Delegate(Protocol):
    """A delegate of ours or of Tornado: a container or an application is one."""

    def start_request(self, server_conn: Any, request_conn: Any) -> Any: ...


class Client:
    r"""One connection to an application, in memory.

    The application is what ``HTTPServer`` serves: a callback or a delegate, so
    ``WSGIContainer(app)`` and ``ASGIContainer(app)`` too; or what
    ``fasthttpserver.tornado.HTTPServer`` does: an ``Application`` of Tornado. What is started
    and shut down, as an ``ASGIContainer`` is by ``async with``, is so with the client.

    It runs in a loop of its own, which runs while a method of the client does. It does not wait
    for time to pass: a callback that sleeps for a minute answers at once. Use it in a ``with``
    statement, and not inside a running loop.

    >>> def callback(request):
    ...     request.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    ...     request.finish()
    >>> with Client(callback) as client:
    ...     client.request("GET", "/").body
    b'ok'

    Args:
        request_callback: The application: a callback, plain or ``async def``, or a delegate.
        timeout: Seconds, of the loop's time, in which it has to answer.
        address: The client's, as the application sees it.
        **options: Of ``HTTPServer``, its limits too.

    Raises:
        RuntimeError: A loop is running in this thread.
        LifespanError: The application of an ``ASGIContainer`` has failed to start; or in
            ``close``, to shut down.
    """

    def __init__(
        self,
        request_callback: RequestCallback | Delegate,
        *,
        timeout: float = 60.0,
        address: Address = ("127.0.0.1", 50_000),
        **options: Any,
    ) -> None:
        if running_loop() is not None:
            raise RuntimeError("a loop is running in this thread; try asyncio.to_thread()")
        self._owner = self
        self._open(Service(request_callback, timeout, options), address)

    def _open(self, service: Service, address: Address) -> None:
        self._others: list[Client] = []  # that were connected from this one, or from these
        self._service = service
        self._loop = service.loop
        self._timeout = service.timeout
        self.requests: list[HTTPRequest] = []
        """The requests that have reached the application."""
        self.errors = service.errors
        """What the application has raised. The client sees what real ones do: 500."""
        self._address = address
        self._sent = bytearray()
        self._at = 0  # where in what was written the next response begins
        self._read: list[tuple[Asked, Response]] = []
        self._connection: Any = service.new_connection(address, self.requests)
        self._transport = MemoryTransport(self._loop, self._connection, address)
        self.call(self._connection.connection_made, self._transport)

    def connect(self, address: Address | None = None) -> Client:
        """Open another connection to the application, for instance after one was closed.

        Both share ``errors``, the loop and its time. The first client closes all of them.

        Args:
            address: The other client's; None for the same.
        """
        other = object.__new__(type(self))
        other._owner = self._owner
        other._open(self._service, address or self._address)
        self._owner._others.append(other)
        return other

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect, and end what still runs. What is in the attributes stays.

        The application is shut down with the first of its clients, as it is with a server: it
        has time to end what it does in tasks and threads.
        """
        if self._loop.is_closed():
            return
        for client in [self, *self._others]:
            client.reset()
        if self._owner is self:
            self._service.close()

    # --- Sending ----------------------------------------------------------------------------

    def request(
        self,
        method: str = "GET",
        target: str = "/",
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> Response:
        """Send a request and return the response to it.

        Host and Content-Length are added where they are missing.

        Raises:
            RuleBroken: What was written is not a response, or nothing was.
        """
        fields = _pairs(headers)
        names = {name.lower() for name, _ in fields}
        if "host" not in names:
            fields.insert(0, ("Host", "localhost"))
        if body and not names & {"content-length", "transfer-encoding"}:
            fields.append(("Content-Length", str(len(body))))
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields)]
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        return self.receive()

    def send(self, *pieces: bytes) -> None:
        """Send bytes, each argument as one read, and run the loop until it is idle."""
        for piece in pieces:
            if piece:
                self._sent += piece
                self._transport.feed(piece)
                self._loop.run_until_idle()

    def websocket(
        self,
        target: str = "/",
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        subprotocols: Sequence[str] = (),
    ) -> WebSocket:
        """Open a WebSocket, on this connection. It needs the package ``websockets``.

        Raises:
            websockets.exceptions.InvalidStatus: The application refuses it; its ``response``
                has status, headers and body.
            RuleBroken: What was written is not a response, or nothing was.
        """
        from fasthttpserver.testing import WebSocket

        return WebSocket(self, target, _pairs(headers), subprotocols)

    def half_close(self) -> None:
        """Send no more; what the server writes is still received."""
        self._transport.feed(b"")
        self._loop.run_until_idle()

    def reset(self) -> None:
        """Disconnect without a word, as a client does that crashes."""
        self._transport.lose(ConnectionResetError("reset by the client"))
        self._loop.run_until_idle()

    # --- Receiving --------------------------------------------------------------------------

    def receive(self) -> Response:
        """Wait for the next whole response, and return it.

        Raises:
            RuleBroken: What was written is not a response, or is not whole in time.
        """

        def is_here() -> bool:
            return not self._next().missing or self._transport.ended

        self._loop.run_until(is_here, self._timeout)
        return self._take(self._next())

    def _receive_raw(self) -> bytes:
        """Wait for the next whole response, and return it as it came."""
        start = self._at
        self.receive()
        return bytes(self._transport.written[start : self._at])

    def _take(self, reading: Reading) -> Response:
        response = reading.response
        if response is None or reading.missing:
            if self._transport.ended:
                how = "the connection was closed"
            elif self._all_finished():
                how = "finish() was called"
            else:
                how = f"{self._timeout:g} seconds have passed"
            raise self._broken(f"{how}, and the client lacks {reading.missing}")
        self._at += reading.end
        self._read.append((reading.asked, response))
        return response

    def peek(self) -> Response | None:
        """Return the next response as far as it has come; None before its head has.

        ``complete`` tells whether that is all; ``receive`` returns the same one.

        Raises:
            RuleBroken: What was written is not a response.
        """
        return self._next().response

    def receive_bytes(self) -> bytes:
        """Return what was written after the last response: bytes of another protocol."""
        data = bytes(self._transport.written[self._at :])
        self._at += len(data)
        return data

    def _next(self) -> Reading:
        data = bytes(self._transport.written[self._at :])
        if self._read and data and not b"HTTP/1.".startswith(data[:7]):
            raise self._broken(f"{_bytes_behind(*self._read[-1])}: {data[:40]!r}")
        try:
            return read_response(data, self._asked(), self._transport.ended)
        except RuleBroken as error:
            raise self._broken(error.rule) from None

    def _asked(self) -> Asked:
        if len(self._read) < len(self.requests):
            request = self.requests[len(self._read)]
            return Asked(request.method, request.version, request.upgrade)
        # It was refused before it was one.
        return Asked("HEAD" if self._connection.parser.is_head else "GET")

    def _finished(self) -> int:
        return sum(request._finish_time is not None for request in self.requests)

    def _all_finished(self) -> bool:
        return self._finished() == len(self.requests)

    def _wait_for_callback(self) -> None:
        """Wait until the callback has done with what it has got; each request has its time."""
        finished = -1

        def is_done() -> bool:
            return not self._service.running and self._all_finished()

        def goes_on() -> bool:
            return is_done() or self._finished() > finished

        while not is_done() and self._finished() > finished:
            finished = self._finished()
            self._loop.run_until(goes_on, self._timeout)

    def _broken(self, rule: str) -> RuleBroken:
        return RuleBroken(rule, self.sent, self.received)

    # --- The loop, and what is known --------------------------------------------------------

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function of the application in the loop, and run it until it is idle.

        For what happens without the client: an event that a long poll waits for.

        Raises:
            Exception: What the function raises.
        """
        future = self._loop.create_future()

        def run() -> None:
            try:
                future.set_result(function(*args))
            except Exception as error:
                future.set_exception(error)

        self._loop.call_soon(run)
        self._loop.run_until_idle()
        result: T = future.result()
        return result

    def wait(self, seconds: float) -> None:
        """Let time pass for the server and the callback; it takes none."""
        self._loop.run_until(lambda: False, seconds)

    @property
    def sent(self) -> bytes:
        """All that was sent."""
        return bytes(self._sent)

    @property
    def received(self) -> bytes:
        """All that was written, as it came."""
        return bytes(self._transport.written)

    @property
    def closed(self) -> bool:
        """Whether the server has ended the connection."""
        return self._transport.ended


def _pairs(headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    pairs: Any = headers.items() if isinstance(headers, Mapping) else headers
    return list(pairs)


def _bytes_behind(asked: Asked, response: Response) -> str:
    """Say of which response the bytes are too many."""
    if asked.method == "HEAD":
        return "a body behind the response to HEAD (RFC 9110 section 9.3.2)"
    if response.status in (204, 304):
        return f"a body behind a {response.status} response (RFC 9112 section 6.3)"
    length = response.headers.get("Content-Length")
    if length is not None:
        return f"more than the {length} bytes of Content-Length (RFC 9112 section 6.3)"
    return "bytes behind the response"
