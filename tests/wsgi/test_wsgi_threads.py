"""Threads: calls at the same time, their number, their end, and how they wake the loop."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from helpers import TIMEOUT, Logs, Served, eventually, get, post

from fasthttpserver.wsgi import WSGIContainer
from fasthttpserver.wsgi._pool import Pool

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
    assert WSGIContainer(Gate())._threads == 12


class FakeLoop:
    """A loop that is turned by hand, and counts how often threads wake it."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], object]] = []
        self.woken = 0
        self.closed = False

    def call_soon(self, call: Callable[[], object]) -> None:
        self.soon.append(call)

    def call_soon_threadsafe(self, call: Callable[[], object]) -> None:
        if self.closed:
            raise RuntimeError("closed")
        self.woken += 1
        self.soon.append(call)

    def turn(self) -> None:
        soon, self.soon = self.soon, []
        for call in soon:
            call()


@pytest.fixture
def loop() -> FakeLoop:
    return FakeLoop()


@pytest.fixture
def pool(nothing_left: None, loop: FakeLoop) -> Iterator[Pool]:
    pool = Pool(loop, 2)  # type: ignore[arg-type]
    yield pool
    pool.stop()
    eventually(lambda: not served_threads())


def test_pool_starts_a_thread_only_when_all_are_busy(loop: FakeLoop, pool: Pool) -> None:
    go_on = threading.Event()
    for threads in (1, 2, 2):
        pool.submit(lambda: go_on.wait(TIMEOUT))
        loop.turn()
        assert len(served_threads()) == threads
    go_on.set()
    eventually(lambda: len(pool._calls) == 3)
    pool.submit(lambda: None)
    loop.turn()
    assert pool._running <= 1  # the others have been seen to be over
    assert len(served_threads()) == 2


def test_pool_is_busy_until_its_last_job_is_over(loop: FakeLoop, pool: Pool) -> None:
    go_on = threading.Event()
    assert not pool.is_busy
    pool.submit(lambda: go_on.wait(TIMEOUT))
    assert pool.is_busy
    loop.turn()
    assert pool.is_busy
    go_on.set()
    eventually(lambda: not pool.is_busy)
    assert pool._running == 1  # as the loop does not know yet


def test_quick_answers_need_not_wake_the_loop(
    loop: FakeLoop, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fasthttpserver.wsgi._pool._PATIENCE", TIMEOUT)
    answers: list[int] = []
    for number in range(3):
        pool.submit(lambda number=number: pool.post(lambda: answers.append(number)))  # type: ignore[misc]
    assert len(loop.soon) == 1  # all together
    loop.turn()
    assert sorted(answers) == [0, 1, 2]
    assert loop.woken == 0


def test_slow_answers_wake_the_loop_once_and_are_not_waited_for(loop: FakeLoop, pool: Pool) -> None:
    answers: list[int] = []
    go_on = threading.Event()

    def slow() -> None:
        go_on.wait(TIMEOUT)
        for number in range(3):
            pool.post(lambda number=number: answers.append(number))  # type: ignore[misc]

    pool.submit(slow)
    loop.turn()  # comes back although nothing has been answered
    go_on.set()
    eventually(lambda: len(pool._calls) == 4)
    assert (answers, loop.woken) == ([], 1)
    loop.turn()
    assert answers == [0, 1, 2]
    pool._patient_at = float("inf")  # as it is for a while after waiting in vain
    pool.submit(slow)
    loop.turn()
    eventually(lambda: len(pool._calls) == 4)
    assert loop.woken == 2


def test_job_behind_one_that_blocks_gets_another_thread(loop: FakeLoop, pool: Pool) -> None:
    go_on, over = threading.Event(), threading.Semaphore(0)

    def blocking() -> None:
        over.acquire(timeout=TIMEOUT)  # by the job that comes after it
        go_on.set()

    for _ in range(2):  # the second time the loop does not wait any more
        pool.submit(blocking)
        pool.submit(over.release)
        loop.turn()
        assert go_on.wait(TIMEOUT)
        go_on.clear()
        eventually(lambda: (pool._look(), pool._running == 0)[1])


def test_job_that_ends_meanwhile_is_not_taken_for_one_that_has_begun(
    loop: FakeLoop, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fasthttpserver.wsgi._pool._PATIENCE", 0.02)
    first, second = threading.Event(), threading.Event()
    pool.submit(lambda: first.wait(TIMEOUT))
    loop.turn()
    pool._patient_at = 0.0

    def blocking() -> None:
        first.set()  # the job before ends while the loop waits
        assert second.wait(TIMEOUT)

    pool.submit(blocking)
    pool.submit(second.set)
    loop.turn()
    assert second.wait(TIMEOUT)
    eventually(lambda: (pool._look(), pool._running == 0)[1])


def test_job_after_the_end_does_not_wait_for_one_that_hangs(
    nothing_left: None, loop: FakeLoop
) -> None:
    pool = Pool(loop, 1)  # type: ignore[arg-type]
    hangs, done = threading.Event(), threading.Event()
    pool.submit(lambda: hangs.wait(TIMEOUT))
    loop.turn()
    pool.stop()
    pool.submit(done.set)
    loop.turn()
    try:
        assert done.wait(1)
    finally:
        hangs.set()
        pool.stop()
        eventually(lambda: not served_threads())


def test_what_is_posted_to_a_closed_loop_is_dropped(loop: FakeLoop, pool: Pool) -> None:
    loop.closed = True
    pool.post(lambda: None)


def test_container_may_serve_on_one_loop_after_another(threads_end: None, new_loop: Any) -> None:
    container = WSGIContainer(Gate(), 1)
    for _ in range(2):
        with Served(new_loop, container) as served:
            assert served.connect().ask(get("/free")) == b"free"


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


def test_thread_survives_whatever_an_application_raises(wsgi: Serve, logs: Logs) -> None:
    class Exiting(list[bytes]):
        def close(self) -> None:
            raise SystemExit

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Length", "2")])
        return Exiting([b"o", b"k"])

    client = wsgi(app, 1).connect()
    for _ in range(3):
        assert client.ask(get()) == b"ok"
    eventually(lambda: len(logs.records) == 3)
    assert len(logs.errors()) == 3
