"""Connections that have been idle for a while: they cost nothing, and nothing of them is missed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from helpers import OK, Served, answer, eventually, get, status_of
from wire import Wire

from fasthttpserver import HTTPRequest
from fasthttpserver._server.connection import HTTPConnection

Serve = Callable[..., Served]
Wired = Callable[..., Wire]


def rest(end: Wire) -> None:
    """Have the clock find that it is idle."""
    for _ in range(3):
        end.pass_time(1)
    assert end.connection in end.server._settings.pool.resting


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[HTTPConnection]:
    """The connections that the clock has looked at."""
    looked: list[HTTPConnection] = []
    check = HTTPConnection.check_deadlines

    def noted(self: HTTPConnection, now: float) -> bool:
        looked.append(self)
        return check(self, now)

    monkeypatch.setattr(HTTPConnection, "check_deadlines", noted)
    return looked


def test_clock_does_not_look_at_who_rests(wire: Wired, looks: list[HTTPConnection]) -> None:
    end = wire(answer)
    end.send(get())
    rest(end)
    looks.clear()
    for _ in range(10):
        end.pass_time(1)
    assert looks == []
    assert end.server.stats()["connections"] == {"accepted": 1, "active": 0, "idle": 1}


def test_who_rests_is_given_up_in_time(wire: Wired) -> None:
    end = wire(answer, idle_connection_timeout=10)
    end.send(get())
    rest(end)
    for _ in range(5):
        end.pass_time(1)
    assert end.connections == 1
    for _ in range(4):
        end.pass_time(1)
    assert end.connections == 0
    assert end.server.stats()["timeouts"] == {"idle": 1}


def test_each_request_begins_the_time_anew(wire: Wired) -> None:
    end = wire(answer, idle_connection_timeout=10)
    for _ in range(4):
        end.send(get())
        rest(end)
        for _ in range(4):
            end.pass_time(1)
    assert end.connections == 1
    assert end.sent() == OK * 4


def test_half_a_request_wakes_who_rests(wire: Wired) -> None:
    end = wire(answer, header_timeout=5, idle_connection_timeout=1000)
    end.send(get())
    rest(end)
    assert end.sent() == OK
    end.send(b"GET / HT")
    for _ in range(8):
        end.pass_time(1)
    assert status_of(end.sent()) == 408


def test_client_that_takes_nothing_is_given_up_though_it_rested(wire: Wired) -> None:
    requests: list[Any] = []

    def keep(request: Any) -> None:
        requests.append(request)
        answer(request)

    end = wire(keep, window=len(OK), write_timeout=5, idle_connection_timeout=1000)
    end.send(get())
    rest(end)
    end.call(end.stream.write, bytes(100_000))  # by itself, between requests
    for _ in range(8):
        end.pass_time(1)
    assert end.connections == 0
    assert end.server.stats()["timeouts"] == {"writing": 1}


def test_who_was_woken_by_a_write_is_idle_since_its_last_request(wire: Wired) -> None:
    end = wire(answer, window=len(OK), idle_connection_timeout=10)
    end.send(get())
    rest(end)
    end.pass_time(4)
    end.call(end.stream.write, bytes(100))
    assert end.connection in end.server._settings.pool.active
    end.take(len(OK) + 100)
    end.send(get())
    end.pass_time(8)
    assert end.connections == 1
    end.pass_time(4)
    assert end.connections == 0


def test_who_rests_holds_only_what_it_needs(wire: Wired) -> None:
    end = wire(answer)
    end.send(get(), get())
    rest(end)
    assert end.sent() == OK * 2
    assert end.connection._own_writer is None
    assert isinstance(end.connection._deadlines, float)


def test_more_than_are_looked_at_in_one_turn_are_given_up(serve: Serve) -> None:
    served = serve(answer, idle_connection_timeout=0.2)
    clients = [served.connect() for _ in range(300)]
    for client in clients:
        client.ask(get())
    for client in clients:
        assert client.read_to_end() == b""
    served.all_closed()


def test_the_longest_idle_makes_room_though_it_rests(wire: Wired) -> None:
    end = wire(answer)
    end.send(get())
    rest(end)
    assert end.server._settings.eviction.longest_idle() is end.connection


def test_who_rested_and_is_closed_has_the_time_of_who_is_closed(serve: Serve) -> None:
    connections: list[HTTPConnection] = []

    def callback(request: HTTPRequest) -> None:
        connections.append(request.connection)
        answer(request, bytes(400_000))

    server = serve(callback, write_timeout=0.2, linger_silence=0.2, linger_timeout=0.4)
    client = server.connect(receive_buffer=4096)  # it takes less than that for now
    client.send(get())
    eventually(lambda: server.call(lambda: len(server.server._settings.pool.resting)))
    server.call(connections[0].close)
    server.all_closed()  # and not when an idle connection would be
