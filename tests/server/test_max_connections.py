"""Servers that may have so many connections and no more."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import (
    TIMEOUT,
    Certificates,
    Client,
    Served,
    answer,
    echo,
    eventually,
    get,
    post,
)

from fasthttpserver.httpserver import HTTPRequest

Serve = Callable[..., Served]

# Makes the server look at its connections every 5 ms, and does nothing to those here.
OFTEN = {"linger_silence": 0.02}


class Held:
    """Holds requests for ``/held``, and answers the others."""

    def __init__(self) -> None:
        self.requests: list[HTTPRequest] = []

    def __call__(self, request: HTTPRequest) -> None:
        if request.uri == "/held":
            self.requests.append(request)
        else:
            answer(request)

    def occupy(self, served: Served, count: int) -> list[Client]:
        """Connect clients whose requests run."""
        clients = [served.connect() for _ in range(count)]
        before = len(self.requests)
        for client in clients:
            client.send(get("/held"))
        eventually(lambda: len(self.requests) == before + count)
        return clients

    def release(self) -> None:
        for request in self.requests:
            answer(request)
        self.requests.clear()


def look(served: Served) -> None:
    """Wait until the server has looked at its connections, and none of them is new."""
    clock = served.server._settings.clock
    now = clock.now
    eventually(lambda: clock.now > now + 0.06)


def is_refused(client: Client) -> bool:
    """Whether the client got a whole 503 and nothing else; otherwise it has got a 200."""
    response = client.read_response()
    if response.status == 200:
        return False
    assert response.status == 503
    assert response.fields["connection"] == "close"
    assert response.body == b"Too many connections"
    assert client.read_to_end() == b""
    return True


# --- Who makes room ---------------------------------------------------------------------


def test_up_to_the_limit_all_are_served(serve: Serve) -> None:
    served = serve(echo, max_connections=5)
    clients = [served.connect() for _ in range(5)]
    for _ in range(3):
        for client in clients:
            assert client.ask(get()) == b"/ "


def test_without_a_limit_nobody_makes_room(serve: Serve) -> None:
    served = serve(echo)
    clients = [served.connect() for _ in range(50)]
    for client in clients + clients:
        client.ask(get())


def test_longest_idle_makes_room_first(serve: Serve) -> None:
    served = serve(echo, max_connections=3, **OFTEN)
    first, second, third = clients = [served.connect() for _ in range(3)]
    for client in [*clients, first]:
        client.ask(get())
        look(served)
    for evicted in (second, third, first):
        newcomer = served.connect()
        assert newcomer.ask(get()) == b"/ "
        assert evicted.read_to_end() == b""
        look(served)
    assert len(served.connections) == 3


def test_client_that_never_said_anything_makes_room(serve: Serve) -> None:
    served = serve(echo, max_connections=1, **OFTEN)
    silent = served.connect()
    eventually(lambda: served.connections)
    eventually(lambda: not is_refused(ask_again(served)))
    assert silent.read_to_end() == b""


def ask_again(served: Served) -> Client:
    client = served.connect()
    client.send(get())
    return client


def test_client_that_has_become_idle_just_now_makes_room(serve: Serve) -> None:
    # The server looks once a second here, and is asked more often than that.
    served = serve(Held(), max_connections=2)
    clients = [served.connect() for _ in range(2)]
    for client in clients:
        client.ask(get())
    begun = time.monotonic()

    def comes_in() -> bool:
        clients.append(ask_again(served))
        return not is_refused(clients[-1]) or bool(clients.pop().close())

    for _ in range(8):
        eventually(comes_in)  # those inside are left alone while they are new
    assert time.monotonic() - begun < 4
    for client in clients[:-2]:
        assert client.read_to_end() == b""
    assert len(served.connections) == 2


BUSY = {
    "running": get("/held"),
    "head": get()[:-2],
    "body": post(b"12345")[:-1],
    "chunks": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n123",
}


@pytest.mark.parametrize("what", BUSY)
def test_client_that_is_not_idle_stays(serve: Serve, what: str) -> None:
    held = Held()
    served = serve(held, max_connections=1, **OFTEN)
    client = served.connect()
    client.ask(get())
    client.send(BUSY[what])
    eventually(lambda: not served.connection.idle)
    look(served)
    refused = served.connect()
    assert is_refused(refused)
    if what == "running":
        served.call(held.release)
    else:
        client.send({"head": b"\r\n", "body": b"5", "chunks": b"45\r\n0\r\n\r\n"}[what])
    assert client.read_response().body == b"ok"


def test_client_that_has_still_to_read_its_answer_stays(serve: Serve) -> None:
    body = bytes(20_000_000)
    served = serve(lambda request: answer(request, body), max_connections=1, **OFTEN)
    client = served.connect()
    client.send(get())
    eventually(lambda: any(each.stream.writing() for each in served.connections))
    look(served)
    assert is_refused(served.connect())
    assert client.read_response().body == body


def test_limit_is_each_server_s_own(serve: Serve) -> None:
    held = Held()
    first, second = serve(held, max_connections=1), serve(echo, max_connections=1)
    held.occupy(first, 1)
    assert is_refused(first.connect())
    assert second.connect().ask(get()) == b"/ "


# --- Who is turned away -----------------------------------------------------------------


def test_reply_is_whole_for_a_client_that_asks(serve: Serve) -> None:
    held = Held()
    served = serve(held, max_connections=2)
    held.occupy(served, 2)
    client = served.connect()
    client.send(get())
    assert is_refused(client)


def test_reply_is_whole_for_a_client_that_says_nothing(serve: Serve) -> None:
    held = Held()
    served = serve(held, max_connections=2)
    held.occupy(served, 2)
    assert is_refused(served.connect())


def test_reply_can_be_read_by_a_client_that_sends_megabytes(serve: Serve) -> None:
    held = Held()
    served = serve(held, max_connections=1)
    held.occupy(served, 1)
    client = served.connect()
    client.send(post(bytes(5_000_000)))
    assert is_refused(client)


def test_reply_is_whole_for_a_client_that_has_shut_its_side(serve: Serve) -> None:
    held = Held()
    served = serve(held, max_connections=1)
    held.occupy(served, 1)
    client = served.connect()
    client.send(get())
    client.half_close()
    assert is_refused(client)


def test_client_that_resets_instead_of_reading_is_no_news(serve: Serve) -> None:
    held = Held()
    served = serve(held, max_connections=1)
    (client,) = held.occupy(served, 1)
    for _ in range(20):
        served.connect().reset()
    counters = served.server._settings.counters
    eventually(lambda: counters["closed"] == 20)
    served.call(held.release)
    assert client.read_response().status == 200
    eventually(lambda: len(served.connections) == 1)


def test_reply_goes_through_tls(serve: Serve, tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    held = Held()
    served = serve(
        held,
        max_connections=1,
        ssl_options={"certfile": certificates.certfile, "keyfile": certificates.keyfile},
    )
    context = certificates.client_context()
    client = served.connect(context=context)
    client.send(get("/held"))
    eventually(lambda: held.requests)
    assert is_refused(served.connect(context=context))
    served.call(held.release)
    assert client.read_response().status == 200


def test_place_is_free_again_when_a_client_leaves(serve: Serve) -> None:
    held = Held()
    served = serve(held, max_connections=2)
    clients = held.occupy(served, 2)
    assert is_refused(served.connect())
    served.call(held.release)
    for client in clients:
        assert client.read_response().status == 200
        client.close()
    eventually(lambda: not is_refused(ask_again(served)))


def test_clients_that_were_turned_away_and_stay_take_no_place(serve: Serve) -> None:
    held = Held()
    served = serve(held, max_connections=2)
    clients = held.occupy(served, 2)
    turned_away = [served.connect() for _ in range(10)]
    for client in turned_away:
        assert is_refused(client)  # and stays
    served.call(held.release)
    for client in clients:
        assert client.read_response().status == 200
        client.close()
    eventually(lambda: not any(each.requests for each in served.connections))
    (client,) = held.occupy(served, 1)
    served.call(held.release)
    assert client.read_response().status == 200


# --- Crowds -----------------------------------------------------------------------------


def test_crowd_at_the_door_is_answered_to_the_last_one(serve: Serve) -> None:
    served = serve(echo, max_connections=5)
    clients: list[Client] = []

    def come() -> None:
        # In the loop's own thread, so that they are accepted in one go.
        for _ in range(100):
            clients.append(served.connect())
            clients[-1].send(get())

    served.call(come)
    statuses = Counter(client.read_response().status for client in clients)
    # On a busy machine the first are idle, and make room, before the last have come.
    assert statuses[200] >= 5
    assert statuses[200] + statuses[503] == 100


def test_client_whose_next_request_is_here_does_not_make_room(serve: Serve) -> None:
    served = serve(echo, max_connections=1, **OFTEN)
    client = served.connect()
    assert client.ask(get("/1")) == b"/1 "
    look(served)

    def who_makes_room() -> Any:
        # In the loop's own thread, so that it has not read what comes meanwhile.
        client.send(get("/2"))
        return served.server._settings.eviction.longest_idle()

    assert served.call(who_makes_room) is None
    assert client.read_response().body == b"/2 "


def test_health_check_is_served_while_others_take_all_the_places(serve: Serve) -> None:
    served = serve(echo, max_connections=10, **OFTEN)
    silent = [served.connect() for _ in range(10)]
    for _ in range(10):
        eventually(lambda: not is_refused(ask_again(served)))
        silent += [served.connect() for _ in range(10)]  # they come again
    assert len(silent) == 110


def test_health_check_is_answered_while_all_places_are_busy(serve: Serve) -> None:
    held = Held()
    served = serve(held, max_connections=10)
    held.occupy(served, 10)
    for _ in range(50):
        with Client(served.address) as client:
            client.send(get())
            assert is_refused(client)
    served.call(held.release)
    eventually(lambda: not is_refused(ask_again(served)))


def test_flood_beyond_the_limit_is_bounded(serve: Serve) -> None:
    held = Held()
    served = serve(held, max_connections=2, linger_silence=TIMEOUT)
    occupied = held.occupy(served, 2)
    most = 0
    flood: list[Client] = []
    for number in itertools.count(1):
        flood.append(served.connect())
        if number % 50 == 0:
            assert is_refused(flood[-1])
            most = max(most, len(served.connections))
        if number == 400:
            break
    assert most <= 2 + 128 + 50
    # Those who came last had time, and got their answer; and nobody inside has suffered.
    for client in flood[-100:-51]:
        assert is_refused(client)
    served.call(held.release)
    for client in occupied:
        assert client.read_response().status == 200
    for client in flood:
        client.close()
    eventually(lambda: len(served.connections) == 2)


def test_handshakes_that_never_end_are_bounded(serve: Serve, tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    served = serve(
        echo,
        max_connections=2,
        ssl_options={"certfile": certificates.certfile, "keyfile": certificates.keyfile},
    )
    for number in itertools.count(1):
        served.connect()
        if number % 50 == 0:
            with contextlib.closing(served.connect(context=certificates.client_context())) as good:
                assert good.ask(get()) == b"/ "
            assert len(served.server._connecting) <= 128 + 50
        if number == 400:
            break


@pytest.mark.slow
def test_finding_who_is_idle_takes_little_time_in_a_crowd(serve: Serve) -> None:
    held = Held()
    served = serve(held, max_connections=300)
    held.occupy(served, 300)
    asked = 0

    class Counting(dict[Any, float]):
        def items(self) -> Any:
            nonlocal asked
            asked += 1
            return super().items()

    pool, clock = served.server._settings.pool, served.server._settings.clock
    served.call(lambda: setattr(pool, "active", Counting(pool.active)))
    begun = clock.now
    for _ in range(100):
        with Client(served.address) as client:
            assert is_refused(client)
    seconds = clock.now - begun
    assert asked <= 100 / (300 / 16) + 2 + 2 * seconds
    served.call(held.release)
