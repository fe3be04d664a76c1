"""A raw client, a server in a thread, processes, and what tests say to each other."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import itertools
import logging
import os
import re
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import trustme

import fasthttpserver
from fasthttpserver._server.connection import HTTPConnection
from fasthttpserver._server.request import HTTPRequest
from fasthttpserver._server.server import HTTPServer
from fasthttpserver.tcpserver import TCPServer

# The longest that a test waits for anything; it is over only when something is wrong.
TIMEOUT = 10.0


def split(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """Cut bytes at positions, in any order; no piece is empty."""
    edges = [0, *sorted({cut for cut in cuts if 0 < cut < len(data)}), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges) if a < b]


_held_ports: list[socket.socket] = []


def open_descriptors() -> int:
    """How many there are, without those of ports that are kept for a test."""
    path = Path("/proc/self/fd")
    return len(list(path.iterdir())) - len(_held_ports) if path.exists() else 0


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
    response = framed(body.encode("latin-1") if isinstance(body, str) else body)
    request.write(response[: -len(body)] if request.method == "HEAD" and body else response)
    request.finish()


def echo(request: HTTPRequest) -> None:
    """Answer with the URI and the body."""
    answer(request, request.uri.encode("latin-1") + b" " + request.body)


OK = framed(b"ok")


class Slow:
    """A callback that keeps its requests; the test answers them."""

    def __init__(self) -> None:
        self.requests: list[HTTPRequest] = []
        self.events: list[str] = []

    def __call__(self, request: HTTPRequest) -> None:
        self.requests.append(request)
        request.connection.set_close_callback(lambda: self.events.append("closed"))

    @property
    def request(self) -> HTTPRequest:
        """The latest one."""
        return self.requests[-1]


def status_of(reply: bytes) -> int:
    """The status of what must be exactly one whole response that closes."""
    head, _, body = reply.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    fields = dict(line.split(": ") for line in lines)
    assert fields["Connection"] == "close"
    assert int(fields["Content-Length"]) == len(body)
    return int(first.split(" ")[1])


def fail(*_: object) -> None:
    """Be wrong, as a callback of any kind."""
    raise ZeroDivisionError("of the application")


class Response(NamedTuple):
    """One response as a client sees it."""

    status: int
    fields: dict[str, str]
    body: bytes


# --- Logging ----------------------------------------------------------------------------


def await_threads_of_wsgi() -> None:
    """Wait for threads that were told to end and are about to."""
    names = "fasthttpserver.wsgi"
    eventually(lambda: not any(thread.name == names for thread in threading.enumerate()))


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
            traced = bool(record.exc_info or record.stack_info)
            assert traced == (level == logging.ERROR), record
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
        self.socket: socket.socket = socket.socket(family)
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
        """The address of this end."""
        return self.socket.getsockname()

    @property
    def tls_version(self) -> str:
        """What was agreed on."""
        assert isinstance(self.socket, ssl.SSLSocket)
        version = self.socket.version()
        assert version is not None
        return version

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
        """Exactly one response, by its own framing; an interim one counts.

        A plain reader of its own: the test kit's uses the package's `HTTPHeaders`, and the
        kit and the package are what is tested here.
        """
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
        return list(self.server._settings.pool)

    @property
    def connection(self) -> HTTPConnection:
        """The only open connection."""
        (connection,) = self.connections
        return connection

    def all_closed(self) -> None:
        """Wait until no connection is open."""
        eventually(lambda: not self.connections)


# --- Certificates and processes ---------------------------------------------------------


class Certificates:
    """An authority, a server's certificate and a client's, made on the fly.

    Args:
        folder: For the files that the server's options name.
        names: In the server's certificate, beside 127.0.0.1.
    """

    def __init__(self, folder: Path, *names: str) -> None:
        self.folder = folder
        self.authority = trustme.CA()
        self.ca_certs = str(folder / "ca.crt")
        self.authority.cert_pem.write_to_path(self.ca_certs)
        self.options: dict[str, Any] = self.issue("server", "127.0.0.1", *names)
        self.certfile: str = self.options["certfile"]
        self.keyfile: str = self.options["keyfile"]

    def issue(self, file: str, *names: str) -> dict[str, Any]:
        """Write a certificate and its key; return what names the two files."""
        made = self.authority.issue_cert(*names)
        options = {kind: str(self.folder / f"{file}.{kind}") for kind in ("certfile", "keyfile")}
        made.cert_chain_pems[0].write_to_path(options["certfile"])
        made.private_key_pem.write_to_path(options["keyfile"])
        return options

    def client_context(self, identity: str | None = None, **attributes: Any) -> ssl.SSLContext:
        """A client's side; with a name it has a certificate."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        if identity is not None:
            self.authority.issue_cert(identity).configure_cert(context)
        for name, value in attributes.items():
            setattr(context, name, value)
        return context


class Process:
    """A Python process, which is ended at the end of the test.

    Args:
        arguments: Of the interpreter.
        cwd: Where it starts.
        pass_fds: Descriptors that it inherits.
        env: Beside the environment of the tests, or instead of what is there.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        cwd: Path | None = None,
        pass_fds: Sequence[int] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        # The package that is tested, wherever it is imported from.
        source = str(Path(fasthttpserver.__file__).parents[1])
        self._process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=cwd,
            env=os.environ | {"PYTHONPATH": source, "PYTHONUNBUFFERED": "1"} | dict(env or {}),
            start_new_session=True,
            pass_fds=pass_fds,
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

    @property
    def has_ended(self) -> bool:
        """Whether it is no more."""
        return self._process.poll() is not None

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


def finish_handshakes(ends: Sequence[ssl.SSLObject | ssl.SSLSocket]) -> None:
    """Let both ends of a connection go on, each as far as it can, until they are done."""
    waiting = list(ends)
    while waiting:
        for end in list(waiting):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
                waiting.remove(end)


def shake_hands(
    server: ssl.SSLContext,
    client: ssl.SSLContext,
    name: str | None = "127.0.0.1",
    session: ssl.SSLSession | None = None,
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Do a handshake in memory and send a byte each way; return client and server."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname=name, session=session),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    finish_handshakes(ends)
    for end in ends:
        end.write(b"x")
    assert [end.read(1) for end in ends] == [b"x", b"x"]
    return ends[0], ends[1]


def address_in(line: str) -> tuple[str, int]:
    """The address in a line in which a process says where it listens."""
    match = re.search(r"://([\d.]+|\[[\da-f:]+\]):(\d+)/", line)
    assert match is not None, line
    assert match[2] != "0"
    return match[1].strip("[]"), int(match[2])


def end_by_ctrl_c(process: Process) -> None:
    """Press Ctrl-C: the program ends well, and says nothing of it.

    Windows does not have that signal for one process alone; there it is ended.
    """
    is_posix = os.name == "posix"
    process.send_signal(signal.SIGINT if is_posix else signal.SIGTERM)
    ended = process.end()
    assert ended.stderr == ""
    assert ended.returncode == (0 if is_posix else 1)


def free_port() -> int:
    """A port that nobody listens on, for what cannot be told to choose one.

    Until the end of the test nobody else gets it.
    """
    sock = socket.socket()
    if sys.platform == "linux":
        # Who says so too, as servers do, may listen where a socket is bound that does not.
        # The system gives its port to nobody.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _held_ports.append(sock)
    sock.bind(("127.0.0.1", 0))
    port: int = sock.getsockname()[1]
    if sys.platform != "linux":
        sock.close()
    return port


def release_ports() -> None:
    """Let others have the ports of the test that ends."""
    while _held_ports:
        _held_ports.pop().close()


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


def most_backlog() -> int:
    """How many clients the kernel lets wait at most; of Linux."""
    return int(Path("/proc/sys/net/core/somaxconn").read_text())


def backlog_of(sock: socket.socket) -> int:
    """How many clients may wait at a listening socket; of Linux."""
    if sock.family == socket.AF_UNIX:
        clients = []
        try:
            while True:  # one more than that is let in
                client = socket.socket(socket.AF_UNIX)
                clients.append(client)
                client.setblocking(False)
                client.connect(sock.getsockname())
        except BlockingIOError:
            return len(clients) - 2
        finally:
            for client in clients:
                client.close()
    # tcpi_sacked of a socket that listens.
    (most,) = struct.unpack_from("I", sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32), 28)
    return int(most)


def address_of(server: TCPServer) -> Any:
    """Where a server listens, the first of it."""
    return next(iter(server._sockets.values())).getsockname()
