"""Threads: calls at the same time, their number, their end, and how they wake the loop."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from helpers import TIMEOUT, Logs, Served, eventually, get, post

from fasthttpserver.wsgi import WSGIContainer
from fasthttpserver.wsgi._pool import Mailbox, Pool

Serve = Callable[..., Served]


class Gate:
    """An application that waits, and notes how many calls of it run."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)
        self.running = 0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        if environ["PATH_INFO"] == "/free":
            start_response("200 OK", [])
            return [b"free"]
        self.running += 1
        self.entered.release()
        assert self.open.wait(TIMEOUT)
        start_response("200 OK", [])
        return [b"waited"]

    def wait(self, calls: int) -> None:
        """Wait until so many more calls have begun."""
        for _ in range(calls):
            assert self.entered.acquire(timeout=TIMEOUT)


def test_blocking_call_delays_nobody(wsgi: Serve) -> None:
    gate = Gate()
    served = wsgi(gate, 3)
    waiting = [served.connect() for _ in range(2)]
    for client in waiting:
        client.send(get("/wait"))
    gate.wait(2)
    assert served.connect().ask(get("/free")) == b"free"
    gate.open.set()
    for client in waiting:
        assert client.read_response().body == b"waited"


def test_no_more_calls_run_than_there_are_threads(wsgi: Serve) -> None:
    gate = Gate()
    served = wsgi(gate, 2)
    clients = [served.connect() for _ in range(4)]
    for client in clients:
        client.send(get("/wait"))
    gate.wait(2)
    served.settle()
    assert gate.running == 2
    gate.open.set()
    for client in clients:
        assert client.read_response().body == b"waited"
    assert gate.running == 4


def test_pipelined_requests_are_answered_in_order(wsgi: Serve, threads: int) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode() + environ["wsgi.input"].read()]

    client = wsgi(app, threads).connect()
    client.send(get("/1") + post(b"a", uri="/2") + get("/3"))
    assert [client.read_response().body for _ in range(3)] == [b"/1", b"/2a", b"/3"]


def test_drain_waits_for_calls_that_run(wsgi: Serve) -> None:
    gate = Gate()
    served = wsgi(gate, 1)
    client = served.connect()
    client.send(get("/wait"))
    gate.wait(1)
    draining = asyncio.run_coroutine_threadsafe(served.server.drain(grace=0), served.loop)
    served.settle()
    gate.open.set()
    response = client.read_response()
    assert (response.body, response.fields["connection"]) == (b"waited", "close")
    client.close()
    assert draining.result(TIMEOUT)["aborted"] == 0
    eventually(lambda: not served_threads())


def served_threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "fasthttpserver.wsgi"]


def test_call_that_outlives_its_client_harms_nobody(wsgi: Serve) -> None:
    gate = Gate()
    served = wsgi(gate, 2)
    client = served.connect()
    client.send(get("/wait"))
    gate.wait(1)
    client.reset()
    served.all_closed()
    gate.open.set()
    assert served.connect().ask(get("/free")) == b"free"


def test_server_goes_on_after_a_drain(wsgi: Serve) -> None:
    served = wsgi(Gate(), 1)
    assert served.connect().ask(get("/free")) == b"free"
    container = served.server.request_callback
    assert isinstance(container, WSGIContainer)
    served.call(container.on_stop)
    eventually(lambda: not served_threads())
    assert served.connect().ask(get("/free")) == b"free"


def test_access_log_has_the_status(wsgi: Serve, threads: int) -> None:
    lines: list[Any] = []

    def log(access: Any, ip: str) -> str:
        lines.append(access.status)
        return ""

    client = wsgi(Gate(), threads, access_log=log).connect()
    for _ in range(2):
        assert client.ask(get("/free")) == b"free"
    eventually(lambda: len(lines) == 2)
    assert lines == [200, 200]


@pytest.mark.parametrize(
    "arguments, error",
    [
        ({"app": None}, TypeError),
        ({"threads": -1}, ValueError),
        ({"threads": 1.5}, TypeError),
        ({"threads": True}, TypeError),
        ({"root_path": "app"}, ValueError),
        ({"root_path": "/app/"}, ValueError),
        ({"root_path": "/"}, ValueError),
    ],
)
def test_arguments_are_checked(arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        WSGIContainer(**({"app": Gate()} | arguments))


def test_threads_are_four_for_each_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fasthttpserver.wsgi._container.cpu_count", lambda: 3)
    pool = WSGIContainer(Gate())._pool
    assert pool is not None and pool._size == 12


def test_pool_starts_a_thread_only_when_all_are_busy() -> None:
    pool = Pool(2)
    over = threading.Semaphore(0)
    go_on = threading.Event()

    def job() -> None:
        assert go_on.wait(TIMEOUT)
        over.release()

    for threads in (1, 2, 2):
        pool.submit(job)
        assert pool._threads == threads
    go_on.set()
    for _ in range(3):
        assert over.acquire(timeout=TIMEOUT)
    eventually(lambda: len(pool._over) == 3)
    pool.submit(over.release)
    assert pool._running == 1
    pool.stop()
    eventually(lambda: not served_threads())


def test_loop_is_woken_once_for_all_that_was_posted() -> None:
    class Loop:
        woken: list[Callable[[], None]] = []

        def call_soon_threadsafe(self, call: Callable[[], None]) -> None:
            self.woken.append(call)

    loop, calls = Loop(), []  # type: ignore[var-annotated]
    mailbox = Mailbox(loop)  # type: ignore[arg-type]
    for number in range(3):
        mailbox.post(lambda number=number: calls.append(number))  # type: ignore[misc]
    (wake,) = loop.woken
    wake()
    assert calls == [0, 1, 2]
    mailbox.post(lambda: None)
    assert len(loop.woken) == 2


def test_what_is_posted_to_a_closed_loop_is_dropped() -> None:
    loop = asyncio.SelectorEventLoop()
    mailbox = Mailbox(loop)
    loop.close()
    mailbox.post(lambda: None)


def test_unix_socket(wsgi: Serve, threads: int, tmp_path: Any) -> None:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(tmp_path / "socket"))
    sock.listen()
    assert wsgi(Gate(), threads, address=sock).connect().ask(get("/free")) == b"free"


def test_error_is_logged_with_its_request(wsgi: Serve, threads: int, logs: Logs) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        raise ZeroDivisionError

    client = wsgi(app, threads).connect()
    client.send(get("/secret"))
    assert client.read_response().status == 500
    (error,) = logs.errors()
    assert "uri='/secret'" in error
