"""How workers share their clients fairly."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from helpers import Client, Process, eventually, get

from fasthttpserver._net import accepting as _accepting
from fasthttpserver._net import sharing as _sharing
from fasthttpserver.ioloop import IOLoop

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


@pytest.mark.parametrize(
    ("own", "others", "is_due"),
    [
        (0, [], False),
        (1000, [], False),
        (4, [0], False),
        (5, [0], True),
        (5, [0, 100], True),
        (5, [1, 100], False),
        (40, [32], False),
        (41, [32], True),
        (1000, [-1, -1], False),  # who do not accept
    ],
)
def test_worker_that_is_well_ahead_of_another_lets_it_go_first(
    own: int, others: list[int], is_due: bool
) -> None:
    board = _sharing.Board(4)
    for row, connections in enumerate(others):
        board.place(row).look(connections)
    courtesy = _sharing.Courtesy(board.place(3), lambda: own)
    assert courtesy.is_due() is is_due
    assert board.connections[3] == own


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_worker_that_looks_no_more_gets_less_and_less_time(clock: list[float]) -> None:
    board = _sharing.Board(2)
    stuck, place = board.place(0), board.place(1)
    stuck.look(0)
    clock[0] += 50
    courtesy = _sharing.Courtesy(place, lambda: 100)
    answers = []
    for _ in range(200):
        answers.append(courtesy.is_due())
        if not answers[-1]:
            courtesy.took()
        clock[0] += 0.001
    # One client in ten milliseconds, and after a hundred all of them.
    assert answers[:11] == [True] * 10 + [False]
    assert 5 <= answers[:110].count(False) <= 20
    assert answers[-80:] == [False] * 80
    stuck.look(0)  # it is back
    assert courtesy.is_due()
    stuck.leave()
    assert not courtesy.is_due()


def test_old_numbers_of_others_are_believed_for_few_clients_only(clock: list[float]) -> None:
    board = _sharing.Board(2)
    other, place = board.place(0), board.place(1)
    other.look(32)
    clock[0] += 1
    courtesy = _sharing.Courtesy(place, lambda: 0)

    def take() -> int:
        taken = 0
        while not courtesy.is_due():
            courtesy.took()
            taken += 1
        return taken

    assert take() == 5
    other.look(32)
    assert take() == 36
    other.look(0)
    assert courtesy.is_due()
    clock[0] += 1  # they are counted anew
    assert not courtesy.is_due()


def test_connections_that_have_ended_are_not_counted_until_the_next_look() -> None:
    board = _sharing.Board(1)
    place = board.place(0)
    place.look(1)
    place.lose_one()
    assert board.connections[0] == 0
    for state in (0, -1):
        board.connections[0] = state
        place.lose_one()
        assert board.connections[0] == state


def test_client_is_not_left_for_ever_to_a_worker_that_is_stuck(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    board = _sharing.Board(2)
    board.place(0).look(0)
    monkeypatch.setattr(_sharing, "_place", board.place(1))
    monkeypatch.setattr(_accepting.DESCRIPTORS, "connections", lambda: 100)
    io_loop = IOLoop()
    accepted = []
    with socket.create_server(("127.0.0.1", 0)) as listener, contextlib.ExitStack() as stack:
        listener.setblocking(False)

        def take(connection: socket.socket, address: object) -> None:
            accepted.append(stack.enter_context(connection))
            if len(accepted) == 3:
                io_loop.stop()

        acceptor = _accepting.Acceptor(listener, take, io_loop)
        assert board.connections[1] == 100
        for _ in range(3):
            stack.enter_context(socket.create_connection(listener.getsockname()))
        io_loop.start()
        acceptor.remove()
        assert board.connections[1] == -1
    io_loop.close()


PROGRAM = """
import os
from fasthttpserver._net import sharing
from fasthttpserver.httpserver import HTTPServer
from fasthttpserver.ioloop import IOLoop, PeriodicCallback

# Where other tests keep both processors busy, a worker may not run for longer than a client would
# be left to it.
sharing.PATIENCE = 5.0
sharing.STUCK = 30.0

told = True

def callback(request):
    global told
    told = False
    body = b"%d" % os.getpid()
    request.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
    request.finish()

def tell():
    global told
    connections = server.stats()["connections"]
    if not told and not connections["active"] + connections["idle"]:
        told = True
        os.write(1, b"%d rests\\n" % os.getpid())

server = HTTPServer(callback)
server.bind(0, "127.0.0.1")
port = server._pending_sockets[0].getsockname()[1]
server.start(2)
loop = IOLoop.instance()
PeriodicCallback(tell, 10).start()
loop.add_callback(lambda: os.write(1, f"{os.getpid()} on :{port}/\\n".encode()))
loop.start()
"""


@pytest.fixture
def workers() -> Iterator[Process]:
    with Process(["-c", PROGRAM]) as process:
        yield process


@needs_fork
def test_none_of_two_workers_gets_less_than_its_part_also_after_a_restart(
    workers: Process,
) -> None:
    before, ports = set(), set()
    for _ in range(2):
        match = re.fullmatch(r"(\d+) on :(\d+)/\n", workers.line())
        assert match
        before.add(int(match[1]))
        ports.add(int(match[2]))
    (port,) = ports
    for _ in range(3):  # those that are gone do not count
        assert set(crowd(workers, port)) == before
    workers.send_signal(signal.SIGHUP)
    after = {int(workers.line().split()[0]) for _ in range(2)}
    assert after.isdisjoint(before)
    eventually(lambda: set(crowd(workers, port)) == after)


def crowd(workers: Process, port: int) -> Counter[int]:
    """Connect 64 clients at a time; count who answers them, and wait until they are forgotten."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(("127.0.0.1", port))) for _ in range(64)]
        for client in clients:
            client.send(get())
        answers = Counter(int(client.read_response().body) for client in clients)
        for client in clients:  # so that none of them is left in the next crowd
            client.send(get("/", "Connection: close"))
            client.read_to_end()
    assert {int(workers.line().split()[0]) for _ in answers} == set(answers)
    assert min(answers.values()) >= 0.35 * 64, answers
    return answers
