"""What happens to clients when a server runs out of file descriptors: in processes with few."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from helpers import Certificates, Client, Process, Response, eventually, get

from fasthttpserver._net import accepting as _accepting

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")

LIMIT = 64
# More than that, and not more than may wait to be accepted: the kernel would take its time.
CROWD = 120

# Serves on the ports that it prints. The command line has the kind of loop and the options of
# each server. /hold is never answered, /take takes all the descriptors that are left,
# /give gives them back.
PROGRAM = f"""
import json, os, resource, sys
from fasthttpserver.httpserver import HTTPServer
from fasthttpserver.ioloop import IOLoop

resource.setrlimit(resource.RLIMIT_NOFILE, ({LIMIT}, {LIMIT}))
held, taken = [], []

def callback(request):
    body = "ok"
    if request.path == "/hold":
        held.append(request)
        return
    if request.path == "/take":
        try:
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            body = str(len(taken))
    while request.path == "/give" and taken:
        os.close(taken.pop())
    request.write(f"HTTP/1.1 200 OK\\r\\nContent-Length: {{len(body)}}\\r\\n\\r\\n{{body}}")
    request.finish()

kind, *all_options = sys.argv[1:]
IOLoop.configure(kind)
servers = [HTTPServer(callback, **json.loads(options)) for options in all_options]
for server in servers:
    server.listen(0, "127.0.0.1")
    (sock,) = server._sockets.values()
    print(sock.getsockname()[1])
IOLoop.current().start()
"""


class Program:
    """One such process, its clients, and what it logs."""

    def __init__(self, kind: str, folder: Path, *options: dict[str, Any]) -> None:
        file = folder / "program.py"
        file.write_text(PROGRAM)
        words = [str(file), kind, *map(json.dumps, options or ({},))]
        self._stack = contextlib.ExitStack()
        self._process = self._stack.enter_context(Process(words))
        self._ports = [int(self._process.line()) for _ in options or ({},)]

    def connect(self, server: int = 0, **kwargs: Any) -> Client:
        return self._stack.enter_context(Client(("127.0.0.1", self._ports[server]), **kwargs))

    def ask(self, uri: str = "/", server: int = 0, **kwargs: Any) -> Response:
        """What a new client gets, which is served, or told that it is not, and then leaves."""
        client = self.connect(server, **kwargs)
        with client:
            client.send(get(uri))
            return client.read_response()

    def is_served(self, **kwargs: Any) -> bool:
        return self.ask(**kwargs).status == 200

    def end(self) -> list[str]:
        """What it has logged."""
        self._process.send_signal(15)
        return self._process.end().stderr.splitlines()

    def close(self) -> None:
        self._stack.close()


Start = Callable[..., Program]


@pytest.fixture
def start(loop_kind: str, tmp_path: Path) -> Iterator[Start]:
    with contextlib.ExitStack() as stack:

        def start(*options: dict[str, Any]) -> Program:
            program = Program(loop_kind, tmp_path, *options)
            stack.callback(program.close)
            return program

        yield start


class Pool:
    """A server as the others know it; its connections are a number."""

    _loop = None

    def __init__(self, connections: int, idle: int = 0) -> None:
        self.connections = connections
        self.idle = idle

    def _count_connections(self) -> int:
        return self.connections

    def _evict_idle(self) -> bool:
        self.idle -= 1
        return self.idle >= 0


def descriptors(
    monkeypatch: pytest.MonkeyPatch, limit: int | None, taken: int = 10, *pools: Pool
) -> _accepting.Descriptors:
    """Those of a process with that limit, of which so many are taken when it starts."""
    monkeypatch.setattr(_accepting, "_limit", lambda: limit)
    monkeypatch.setattr(_accepting, "_lowest_free", lambda otherwise: taken)
    made = _accepting.Descriptors()
    for pool in pools or (Pool(0),):
        made.add_server(cast(_accepting.Server, pool))
    return made


@pytest.mark.parametrize(
    ("limit", "taken", "kept"),
    [
        (256, 10, 32),
        (1024, 10, 128),
        (8192, 10, 1024),
        (1_000_000, 10, 1024),
        (64, 10, 27),
        (1024, 1000, 12),
        (1024, 1024, 0),
        (None, 10, 0),
    ],
)
def test_so_many_are_kept(
    monkeypatch: pytest.MonkeyPatch, limit: int | None, taken: int, kept: int
) -> None:
    assert descriptors(monkeypatch, limit, taken).kept == kept


def test_number_tells_how_many_are_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(886)
    made = descriptors(monkeypatch, 1024, 10, pool)  # 896 are for clients, and what is there
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert made.excess(500) == 0  # whatever the server says: there are some below 896
    assert made.excess(896) == 1
    pool.connections = 880
    assert made.excess(500) == -5  # so few have ended
    pool.connections = 890
    assert made.excess(500) == 5  # although it is a low number, and the others are high ones
    assert made.short
    now = 61.0  # the application may have closed what it had
    assert made.excess(500) == 0
    assert not made.short


def test_server_with_the_most_connections_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    few, many = Pool(10, idle=1), Pool(20, idle=1)
    made = descriptors(monkeypatch, 1024, 10, few, many)
    assert made.evict_idle(None)
    assert (few.idle, many.idle) == (1, 0)
    assert made.evict_idle(None)
    assert few.idle == 0
    assert not made.evict_idle(None)


@pytest.mark.parametrize("says", [b"", get()], ids=["silent", "idle"])
def test_client_with_all_the_connections_does_not_lock_others_out(
    start: Start, says: bytes
) -> None:
    program = start()
    for _ in range(CROWD):
        program.connect().send(says)
    for _ in range(5):
        eventually(program.is_served)  # 503 as long as those that came last are new


def test_descriptors_are_left_for_the_application(start: Start) -> None:
    program = start()
    for _ in range(CROWD):
        program.connect().send(get())
    taken: list[Response] = []

    def take() -> bool:
        taken.append(program.ask("/take"))
        return taken[-1].status == 200

    eventually(take)
    assert int(taken[-1].body) >= LIMIT // 6


def test_client_whose_request_runs_stays(start: Start) -> None:
    program = start()
    busy = program.connect()
    busy.send(get("/hold"))
    for _ in range(CROWD):
        program.connect()
    for _ in range(5):
        eventually(program.is_served)
    assert not at_end(busy)


def test_where_nobody_is_idle_clients_are_answered_503(start: Start) -> None:
    program = start()
    for _ in range(CROWD):
        program.connect().send(get("/hold"))
    for _ in range(CROWD):
        assert program.ask().status == 503


def test_one_server_makes_room_for_another_one(start: Start) -> None:
    program = start({}, {})
    for _ in range(CROWD):
        program.connect(0)
    for _ in range(5):
        eventually(lambda: program.is_served(server=1))


@pytest.mark.parametrize("what", ["handshakes", "idle"])
def test_tls_does_not_lock_others_out_either(start: Start, tmp_path: Path, what: str) -> None:
    made = Certificates(tmp_path)
    context = made.client_context()
    program = start({"ssl_options": {"certfile": made.certfile, "keyfile": made.keyfile}})
    for _ in range(CROWD):
        if what == "handshakes":
            program.connect()
        else:
            with contextlib.suppress(OSError, AssertionError):  # 503: all of them are new
                program.connect(context=context).ask(get())
    for _ in range(5):
        eventually(lambda: program.is_served(context=context))


# --- The application has taken what was kept for it ---------------------------------------


def test_idle_connections_make_room_when_the_last_descriptor_is_gone(start: Start) -> None:
    program = start()
    idle = [program.connect() for _ in range(5)]
    for client in idle:
        client.ask(get())
    taker = program.connect()
    taker.ask(get("/take"))
    taker.send(get("/hold"))
    eventually(lambda: accepts(program))  # at first, those that are idle are new
    eventually(lambda: any(map(at_end, idle)))
    assert sum("Too many open files" in line for line in program.end()) == 1


def test_client_does_not_wait_for_long_when_nothing_can_make_room(start: Start) -> None:
    program = start()
    busy = [program.connect() for _ in range(5)]
    taker = program.connect()
    for client in busy:
        client.send(get("/hold"))
    taker.ask(get("/take"))
    taker.send(get("/hold"))
    for _ in range(20):
        with pytest.raises((AssertionError, ConnectionError)):  # closed, or reset
            program.ask()
    busy[0].reset()
    eventually(lambda: accepts(program))
    assert sum("Too many open files" in line for line in program.end()) == 1


def at_end(client: Client) -> bool:
    """Whether the client sees the end of the stream now, without having to wait."""
    readable, _, _ = select.select([client.socket], [], [], 0)
    return bool(readable) and not client.socket.recv(1, socket.MSG_PEEK)


def accepts(program: Program) -> bool:
    """Whether a client gets an answer, even if it is 503."""
    try:
        return bool(program.ask())
    except (AssertionError, ConnectionError):
        return False
