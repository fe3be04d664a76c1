"""A raw client, a server in a thread, and a connection without a socket."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import inspect
import logging
import os
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import trustme

import fasthttpserver
from fasthttpserver._connection import HTTPConnection
from fasthttpserver._request import HTTPRequest
from fasthttpserver._server import HTTPServer
from fasthttpserver.iostream import IOStream
from fasthttpserver.tcpserver import TCPServer

# The longest that a test waits for anything; it is over only when something is wrong.
TIMEOUT = 10.0


def split(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """Cut bytes at positions, in any order; no piece is empty."""
    edges = [0, *sorted({cut for cut in cuts if 0 < cut < len(data)}), len(data)]
    return [data[a:b] for a, b in zip(edges, edges[1:], strict=False) if a < b]


def eventually(condition: Callable[[], object]) -> None:
    """Wait for what another thread or process does and does not tell."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.001)


# --- Messages ---------------------------------------------------------------------------


def get(uri: str = "/", *fields: str, version: str = "HTTP/1.1") -> bytes:
    """Bytes of a GET request."""
    lines = [f"GET {uri} {version}", "Host: a", *fields, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def post(body: bytes, *fields: str, uri: str = "/", method: str = "POST") -> bytes:
    """Bytes of a request with a body and a Content-Length."""
    lines = [f"{method} {uri} HTTP/1.1", "Host: a", f"Content-Length: {len(body)}", *fields]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def framed(body: bytes) -> bytes:
    """Bytes of a response with a Content-Length."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def answer(request: HTTPRequest, body: bytes | str = b"ok") -> None:
    """Answer a request, whole."""
    request.write(framed(body.encode("latin-1") if isinstance(body, str) else body))
    request.finish()


def echo(request: HTTPRequest) -> None:
    """Answer with the URI and the body."""
    answer(request, request.uri.encode("latin-1") + b" " + request.body)


class Response(NamedTuple):
    """One response as a client sees it."""

    status: int
    fields: dict[str, str]
    body: bytes


# --- Logging ----------------------------------------------------------------------------


class Logs(logging.Handler):
    """Keeps what is logged, for a test to take what it expects."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def take(self, name: str, level: int) -> list[str]:
        """The messages of ``fasthttpserver.<name>`` of this level; they were expected."""
        taken = [
            record
            for record in self.records
            if record.name == f"fasthttpserver.{name}" and record.levelno == level
        ]
        for record in taken:
            self.records.remove(record)
            # As the application's own errors have to, and nothing else may.
            assert bool(record.exc_info) == (level == logging.ERROR), record
        return [record.getMessage() for record in taken]

    def errors(self) -> list[str]:
        """What the application did wrong, each with its traceback."""
        return self.take("application", logging.ERROR)

    def warnings(self) -> list[str]:
        """What the application should know."""
        return self.take("general", logging.WARNING)

    def refusals(self) -> list[str]:
        """What peers did wrong."""
        return self.take("general", logging.INFO)


# --- A client ---------------------------------------------------------------------------


class Client:
    """A socket that speaks HTTP as the test says, right or wrong.

    Args:
        address: Where to: a tuple for TCP, a path for a Unix socket.
        receive_buffer: Bytes that the kernel takes for it, for a client that reads slowly.
        context: For TLS.
    """

    def __init__(
        self,
        address: tuple[Any, ...] | str,
        receive_buffer: int | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        if isinstance(address, str):
            family = socket.AF_UNIX
        else:
            family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.socket = socket.socket(family)
        self.socket.settimeout(TIMEOUT)
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            self.socket.connect(address)
            if context is not None:
                self.socket = context.wrap_socket(self.socket, server_hostname="127.0.0.1")
        except BaseException:
            self.socket.close()
            raise
        self._read = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def address(self) -> Any:
        """This end's own address."""
        return self.socket.getsockname()

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self.socket.sendall(data)

    def half_close(self) -> None:
        """Say that nothing more will be sent."""
        self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close both ways."""
        self.socket.close()

    def reset(self) -> None:
        """Close by RST."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def receive(self) -> bytes:
        """What one recv() gives; ``b""`` is the end."""
        data, self._read = self._read, b""
        return data or self.socket.recv(1 << 20)

    def read(self, size: int) -> bytes:
        """Exactly so many bytes."""
        while len(self._read) < size:
            self._more()
        data, self._read = self._read[:size], self._read[size:]
        return data

    def read_until(self, end: bytes) -> bytes:
        """Bytes up to the first `end`, with it."""
        while end not in self._read:
            self._more()
        return self.read(self._read.index(end) + len(end))

    def read_to_end(self) -> bytes:
        """Bytes up to the end of the stream; ConnectionResetError instead of an end by RST."""
        pieces = [self._read]
        self._read = b""
        while piece := self.socket.recv(1 << 20):
            pieces.append(piece)
        return b"".join(pieces)

    def _more(self) -> None:
        data = self.socket.recv(1 << 20)
        assert data, f"the stream ended behind {self._read!r}"
        self._read += data

    def read_response(self, method: str = "GET") -> Response:
        """Exactly one response, by its own framing; an interim one counts."""
        first, *lines = self.read_until(b"\r\n\r\n").decode("latin-1").split("\r\n")[:-2]
        version, status, _reason = first.split(" ", 2)
        assert version == "HTTP/1.1"
        fields = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        assert len(fields) == len(lines)
        if method == "HEAD" or status[0] == "1" or status in ("204", "304"):
            body = b""
        elif "content-length" in fields:
            body = self.read(int(fields["content-length"]))
        else:
            body = self.read_to_end()
        return Response(int(status), fields, body)

    def ask(self, request: bytes) -> bytes:
        """The body of the answer, which must be a 200."""
        self.send(request)
        response = self.read_response(request.split(b" ", 1)[0].decode())
        assert response.status == 200
        return response.body


# --- A server in a thread ---------------------------------------------------------------


class LoopThread:
    """A loop that runs in a thread of its own.

    Args:
        new_loop: Makes the loop.
    """

    def __init__(self, new_loop: Callable[[], AbstractEventLoop]) -> None:
        self.loop = new_loop()
        self._thread = threading.Thread(target=self._run, name="server")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        left = self.call(self._cancel_tasks)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(TIMEOUT)
        assert not self._thread.is_alive()
        assert not left, f"tasks left: {left}"

    def _run(self) -> None:
        try:
            self.loop.run_forever()
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
        finally:
            self.loop.close()

    async def _cancel_tasks(self) -> list[str]:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return [repr(task) for task in tasks]

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function in the loop, coroutine or plain; return its result."""

        async def run() -> Any:
            result = function(*args)
            return await result if inspect.iscoroutine(result) else result

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(TIMEOUT)

    def settle(self) -> None:
        """Wait until the loop has been through what it had to do."""
        for _ in range(3):
            self.call(lambda: None)


class Served(LoopThread):
    """A server on 127.0.0.1 in a thread and a loop of its own.

    Args:
        new_loop: Makes the loop.
        args: Of ``HTTPServer``; keywords too.
        address: Where to listen: a host, or a listening socket.
    """

    def __init__(
        self,
        new_loop: Callable[[], AbstractEventLoop],
        *args: Any,
        address: str | socket.socket = "127.0.0.1",
        **kwargs: Any,
    ) -> None:
        super().__init__(new_loop)
        self.server = HTTPServer(*args, **kwargs)
        self._listen_at = address
        self._clients = contextlib.ExitStack()

    def __enter__(self) -> Self:
        super().__enter__()
        self.call(self._listen)
        self.address = address_of(self.server)
        return self

    def _listen(self) -> None:
        if isinstance(self._listen_at, str):
            self.server.listen(0, self._listen_at)
        else:
            self.server.add_socket(self._listen_at)

    def __exit__(self, *exc_info: object) -> None:
        try:
            self.call(self._shut_down)
        finally:
            self._clients.close()
            super().__exit__(*exc_info)
        assert not self.connections

    async def _shut_down(self) -> None:
        self.server.stop()
        for _ in range(3):  # for clients that have just been accepted
            await asyncio.sleep(0)
        await self.server.close_all_connections()
        await asyncio.sleep(0)  # for what closing has scheduled

    def connect(self, **kwargs: Any) -> Client:
        """Connect a client, which is closed at the end of the test."""
        return self._clients.enter_context(Client(self.address, **kwargs))

    @property
    def connections(self) -> list[HTTPConnection]:
        """The open connections."""
        sweep = self.server._sweep
        return [] if sweep is None else list(sweep.connections)  # type: ignore[arg-type]

    @property
    def connection(self) -> HTTPConnection:
        """The only open connection."""
        (connection,) = self.connections
        return connection

    def all_closed(self) -> None:
        """Wait until no connection is open."""
        eventually(lambda: not self.connections)


# --- A connection without a socket ------------------------------------------------------


class FakeSocket:
    """What a connection wants of its socket.

    Args:
        family: The kind of socket.
    """

    def __init__(self, family: int) -> None:
        self.family = family
        self.options: list[tuple[Any, ...]] = []

    def fileno(self) -> int:
        return 99

    def setsockopt(self, *option: Any) -> None:
        self.options.append(option)


class FakeTransport(asyncio.Transport):
    """A transport whose peer is the test; it keeps count of what it is told to do.

    Args:
        loop: Calls the protocol.
        protocol: Whose transport it is.
        window: Bytes that the peer takes before it has to be told to take more; None is
            all.
        family: The kind of socket.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        protocol: asyncio.Protocol,
        window: int | None = None,
        family: int = socket.AF_INET,
    ) -> None:
        self.socket = FakeSocket(family)
        super().__init__({"socket": self.socket})
        self._loop = loop
        self._protocol = protocol
        self._waiting = b""  # written, and not taken by the peer
        self._unread: deque[bytes] = deque()  # sent by the peer, and not read; b"" is EOF
        self._lost = False
        self.window = window
        self.writes: list[bytes] = []
        self.taken = b""
        self.paused = False
        self.closing = False
        self.aborted = False
        self.eof_written = False
        self.reset_unseen = False  # the peer has reset it, and nothing was read since

    # What the protocol does

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high == 0

    def get_write_buffer_size(self) -> int:
        return len(self._waiting)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.eof_written
        if self.closing or not data:
            return
        self.writes.append(bytes(data))
        was_empty = not self._waiting
        self._waiting += data
        self._push()
        if was_empty and self._waiting:
            self._protocol.pause_writing()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if self.reset_unseen:
            raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")
        self.eof_written = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False
        self._loop.call_soon(self._deliver)

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            self._push()

    def abort(self) -> None:
        self.aborted = True
        self.lose(None)

    # What the peer does

    def peer_sends(self, data: bytes) -> None:
        """Send bytes; ``b""`` ends the stream."""
        self._unread.append(data)
        self._loop.call_soon(self._deliver)

    def peer_takes(self, size: int) -> None:
        """Take so many bytes more than before."""
        assert self.window is not None
        self.window += size
        was_waiting = bool(self._waiting)
        self._push()
        if was_waiting and not self._waiting:
            self._loop.call_soon(self._protocol.resume_writing)

    def lose(self, error: Exception | None) -> None:
        """End it: by the peer's RST, by an abort or by a close that is through."""
        if not self._lost:
            self.closing = self._lost = True
            self._waiting = b""
            self._loop.call_soon(self._protocol.connection_lost, error)

    @property
    def unread(self) -> int:
        """Bytes that the peer has sent and that were not read, as it is paused."""
        return sum(map(len, self._unread))

    def _push(self) -> None:
        size = len(self._waiting) if self.window is None else self.window
        taken, self._waiting = self._waiting[:size], self._waiting[size:]
        self.taken += taken
        if self.window is not None:
            self.window -= len(taken)
        if self.closing and not self._waiting:
            self.lose(None)

    def _deliver(self) -> None:
        while self._unread and not self.paused and not self.closing:
            data = self._unread.popleft()
            if data:
                self._protocol.data_received(data)
            elif not self._protocol.eof_received():
                self.close()


class SetClock(asyncio.SelectorEventLoop):
    """A loop whose clock goes on when it is told to."""

    now = 1000.0

    def time(self) -> float:
        return self.now


class Wire:
    """One connection of a server whose other end is the test.

    Args:
        callback: The application.
        window: As for ``FakeTransport``.
        address: The peer's.
        family: The kind of socket.
        options: Of ``HTTPServer``.
    """

    def __init__(
        self,
        callback: Callable[[HTTPRequest], object],
        *,
        window: int | None = None,
        address: Any = ("192.0.2.7", 4711),
        family: int = socket.AF_INET,
        **options: Any,
    ) -> None:
        self.loop = SetClock()
        self.server = HTTPServer(callback, io_loop=self.loop, **options)
        self.stream = IOStream(self.loop, address, self._connected)
        self.transport = FakeTransport(self.loop, self.stream, window, family)
        self.stream.connection_made(self.transport)
        assert self.server._sweep is not None
        (self.connection,) = self.server._sweep.connections

    def _connected(self, stream: IOStream) -> None:
        self.server.handle_stream(stream, stream.address)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.transport.lose(None)
        self.turn()
        tasks = asyncio.all_tasks(self.loop)
        for task in tasks:
            task.cancel()
        self.turn()
        self.loop.close()
        assert self.connections == 0

    @property
    def connections(self) -> int:
        """How many connections the server has."""
        assert self.server._sweep is not None
        return len(self.server._sweep.connections)

    def turn(self, times: int = 10) -> None:
        """Let the loop go round."""
        for _ in range(times):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()

    def call(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function in the loop, and let it go round."""
        self.loop.call_soon(function, *args)
        self.turn()

    def send(self, *pieces: bytes) -> None:
        """Be a client that sends these, each of them one read."""
        for piece in pieces:
            self.transport.peer_sends(piece)
        self.turn()

    def half_close(self) -> None:
        """Be a client that sends nothing more."""
        self.transport.peer_sends(b"")
        self.turn()

    def reset(self) -> None:
        """Be a client that is gone."""
        self.transport.lose(ConnectionResetError("reset by the test"))
        self.turn()

    def take(self, size: int) -> None:
        """Be a client that reads so many bytes more."""
        self.transport.peer_takes(size)
        self.turn()

    def sent(self) -> bytes:
        """What the client has got since it was asked last."""
        taken, self.transport.taken = self.transport.taken, b""
        return taken

    def pass_time(self, seconds: float, step: float = 0.25) -> None:
        """Let time go on; the server looks at its deadlines by its own clock."""
        end = self.loop.now + seconds
        while self.loop.now < end:
            self.loop.now = min(self.loop.now + step, end)
            self.turn(3)

    @property
    def ended(self) -> bool:
        """Whether the client sees the end of the stream."""
        return self.transport.eof_written or self.transport.closing


# --- Certificates and processes ---------------------------------------------------------


class Certificates:
    """An authority, a server's certificate and a client's, made on the fly.

    Args:
        folder: For the files that the server's options name.
    """

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        server = self.authority.issue_cert("127.0.0.1")
        self.certfile = str(folder / "server.crt")
        self.keyfile = str(folder / "server.key")
        self.ca_certs = str(folder / "ca.crt")
        server.cert_chain_pems[0].write_to_path(self.certfile)
        server.private_key_pem.write_to_path(self.keyfile)
        self.authority.cert_pem.write_to_path(self.ca_certs)

    def client_context(self, identity: str | None = None) -> ssl.SSLContext:
        """A client's side; with a name it has a certificate."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        if identity is not None:
            self.authority.issue_cert(identity).configure_cert(context)
        return context


class Process:
    """A Python process, which is ended at the end of the test.

    Args:
        arguments: Of the interpreter.
        cwd: Where it starts.
    """

    def __init__(self, arguments: Sequence[str], cwd: Path | None = None, **env: str) -> None:
        # The package that is tested, wherever it is imported from.
        source = str(Path(fasthttpserver.__file__).parents[1])
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
            env=os.environ | {"PYTHONPATH": source, "PYTHONUNBUFFERED": "1"} | env,
            start_new_session=True,
        )
        self.send_signal = self._process.send_signal
        self.pid = self._process.pid
        self._watchdog = threading.Timer(3 * TIMEOUT, self._kill)
        self._watchdog.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._watchdog.cancel()
        self._watchdog.join()
        with self._process:
            self._kill()

    def _kill(self) -> None:
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # its children too
        else:
            self._process.kill()

    def line(self) -> str:
        """The next line that it prints."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, self.end().stderr
        return line

    def end(self) -> subprocess.CompletedProcess[str]:
        """Wait until it has ended by itself."""
        stdout, stderr = self._process.communicate(timeout=TIMEOUT)
        return subprocess.CompletedProcess(
            self._process.args, self._process.returncode, stdout, stderr
        )


def free_port() -> int:
    """A port that nobody listens on, for what cannot be told to choose one."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def connect_when_up(port: int) -> Client:
    """Connect to a server that is about to start."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            return Client(("127.0.0.1", port))
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, "it did not start"
            time.sleep(0.005)


async def ask(address: Any, request: bytes | None = None, **kwargs: Any) -> bytes:
    """All that a server in this loop answers until it closes; 'Connection: close' by default."""
    if isinstance(address, str):
        reader, writer = await asyncio.open_unix_connection(address, **kwargs)
    else:
        reader, writer = await asyncio.open_connection(address[0], address[1], **kwargs)
    writer.write(get("/", "Connection: close") if request is None else request)
    try:
        return await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def address_of(server: TCPServer) -> Any:
    """Where a server listens, the first of it."""
    return next(iter(server._sockets.values())).getsockname()
