"""What a server counts of what it does."""

from __future__ import annotations

import gc
import logging
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import OK, Certificates, Logs, Served, Slow, answer, echo, eventually, get, post
from wire import Wire

from fasthttpserver import HTTPRequest, HTTPServer

Serve = Callable[..., Served]

NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


def stats(end: Wire) -> dict[str, Any]:
    return end.server.stats()


def test_stats_of_a_server_that_did_nothing() -> None:
    before = time.time()
    found = HTTPServer(answer).stats()
    assert before - 1 <= found.pop("started") <= time.time()
    assert found.pop("resident_memory") > 1_000_000
    assert found == {
        "connections": {"accepted": 0, "active": 0, "idle": 0},
        "requests": 0,
        "in_flight": 0,
        "responses": {"2xx": 0, "3xx": 0, "4xx": 0, "5xx": 0},
        "durations": dict.fromkeys(
            ("0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "5.0")
            + ("10.0", "inf"),
            0,
        ),
        "seconds": 0.0,
        "cut": 0,
        "bytes_received": 0,
        "bytes_sent": 0,
        "refusals": {},
        "timeouts": {},
        "tls_handshake_failures": 0,
        "refused_connections": 0,
        "evictions": 0,
        "aborts": 0,
    }


def test_stats_count(wire: Callable[..., Wire]) -> None:
    requests: list[HTTPRequest] = []
    end = wire(requests.append, header_timeout=5)
    sent = get() + get("/2")[:10]
    end.send(sent)
    assert stats(end)["connections"] == {"accepted": 1, "active": 1, "idle": 0}
    assert (stats(end)["requests"], stats(end)["in_flight"]) == (0, 1)
    assert stats(end)["bytes_received"] == len(sent)
    end.call(answer, requests[0])
    assert stats(end)["requests"] == end.server.requests == 1
    assert stats(end)["in_flight"] == 0
    assert stats(end)["connections"] == {"accepted": 1, "active": 1, "idle": 0}  # has a part
    end.pass_time(8)
    assert stats(end)["timeouts"] == {"head": 1, "lingering": 1}  # the client did not close
    assert stats(end)["refusals"] == {408: 1}


def test_idle_connection_is_counted_as_idle(wire: Callable[..., Wire]) -> None:
    end = wire(answer)
    end.send(get())
    assert stats(end)["connections"] == {"accepted": 1, "active": 0, "idle": 1}


def test_request_sees_itself_in_flight(wire: Callable[..., Wire]) -> None:
    seen: list[dict[str, Any]] = []

    def look(request: HTTPRequest) -> None:
        seen.append(end.server.stats())
        answer(request)

    end = wire(look)
    end.send(get() + get())
    assert [each["in_flight"] for each in seen] == [1, 1]
    assert [each["requests"] for each in seen] == [0, 1]


def respond(status: int) -> Callable[[HTTPRequest], object]:
    return lambda request: request.connection.respond(("", status, "X"), [], b"")


async def respond_late(request: HTTPRequest) -> None:
    respond(200)(request)


def write_headers(request: HTTPRequest) -> None:
    request.connection.write_headers(("", 301, "Moved"), {"Location": "/"}, b"x")
    request.finish()


def raw(*pieces: bytes) -> Callable[[HTTPRequest], None]:
    def write(request: HTTPRequest) -> None:
        for piece in pieces:
            request.write(piece)
        request.finish()

    return write


def fail(request: HTTPRequest) -> None:
    raise ValueError


INTERIM = b"HTTP/1.1 103 Early Hints\r\n\r\n"


@pytest.mark.parametrize("check_responses", [True, False])
@pytest.mark.parametrize("access_log", [None, "common"])
@pytest.mark.parametrize("head", [[], ["Connection: close"]])
@pytest.mark.parametrize(
    ("callback", "status"),
    [
        (answer, "2xx"),
        (raw(OK[:30], OK[30:]), "2xx"),
        (raw(NOT_FOUND), "4xx"),
        (raw(NOT_FOUND[:15], NOT_FOUND[15:]), "4xx"),
        (respond(503), "5xx"),
        (respond_late, "2xx"),
        (write_headers, "3xx"),
        (fail, "5xx"),
    ],
)
def test_response_is_counted_by_its_class(
    wire: Callable[..., Wire],
    logs: Logs,
    callback: Callable[[HTTPRequest], Any],
    status: str,
    head: list[str],
    access_log: str | None,
    check_responses: bool,
) -> None:
    end = wire(callback, access_log=access_log, check_responses=check_responses)
    end.send(get("/", *head))
    logs.errors()
    logs.take("access", logging.INFO)
    found = stats(end)
    assert found["requests"] == sum(found["durations"].values()) == 1
    assert found["responses"] == {"2xx": 0, "3xx": 0, "4xx": 0, "5xx": 0} | {status: 1}
    assert found["bytes_sent"] == len(end.transport.taken)


def test_interim_response_has_no_class(wire: Callable[..., Wire]) -> None:
    end = wire(raw(INTERIM, NOT_FOUND))
    end.send(get())
    assert stats(end)["responses"] == {"2xx": 0, "3xx": 0, "4xx": 1, "5xx": 0}


@pytest.mark.parametrize("check_responses", [True, False])
def test_interim_response_has_no_class_off_the_fast_path(
    wire: Callable[..., Wire], check_responses: bool
) -> None:
    def callback(request: HTTPRequest) -> None:
        request.connection.set_close_callback(lambda: None)
        raw(INTERIM + NOT_FOUND)(request)

    end = wire(callback, check_responses=check_responses)
    end.send(get())
    assert stats(end)["responses"] == {"2xx": 0, "3xx": 0, "4xx": 1, "5xx": 0}


@pytest.mark.parametrize("pipelined", [1, 2, 5])
def test_pipelined_requests_are_counted_one_by_one(
    wire: Callable[..., Wire], pipelined: int
) -> None:
    end = wire(answer)
    end.send(get() * pipelined)
    assert stats(end)["requests"] == stats(end)["responses"]["2xx"] == pipelined
    assert stats(end)["bytes_sent"] == len(end.transport.taken) == pipelined * len(OK)


def test_bytes_sent_are_counted(wire: Callable[..., Wire], logs: Logs) -> None:
    end = wire(echo)
    assert stats(end)["bytes_sent"] == 0
    end.send(get())
    assert stats(end)["bytes_sent"] == len(end.transport.taken) > 0
    end.send(get("/a") + get("/b") + post(b"c"))
    assert stats(end)["bytes_sent"] == len(end.transport.taken)
    end.send(b"@")
    assert stats(end)["bytes_sent"] == len(end.transport.taken)
    assert b"400 Bad Request" in end.transport.taken


@pytest.mark.parametrize(
    ("seconds", "bound"),
    [(-5.0, "0.005"), (0.06, "0.1"), (0.2, "0.25"), (9.5, "10.0"), (11.0, "inf")],
)
def test_duration_is_put_into_its_class(
    wire: Callable[..., Wire], seconds: float, bound: str
) -> None:
    def late(request: HTTPRequest) -> None:
        request.start_time = time.time() - seconds
        answer(request)

    end = wire(late)
    end.send(get())
    found = stats(end)
    assert [name for name, count in found["durations"].items() if count] == [bound]
    assert math.isclose(found["seconds"], max(0.0, seconds), abs_tol=0.5)


def test_request_whose_client_leaves_is_cut(wire: Callable[..., Wire]) -> None:
    end = wire(Slow())
    end.send(get())
    end.reset()
    found = stats(end)
    assert (found["requests"], found["in_flight"], found["cut"]) == (0, 0, 1)
    assert found["connections"] == {"accepted": 1, "active": 0, "idle": 0}
    assert sum(found["durations"].values()) == sum(found["responses"].values()) == 0


def test_body_in_pieces_is_one_request_in_flight(wire: Callable[..., Wire]) -> None:
    async def read(request: HTTPRequest) -> None:
        await request.read()
        answer(request)

    end = wire(read, stream_request_body=True)
    end.send(post(b"1234")[:-2])
    assert (stats(end)["requests"], stats(end)["in_flight"], end.connection.requests) == (0, 1, 0)
    end.send(b"34")
    assert (stats(end)["requests"], stats(end)["in_flight"], end.connection.requests) == (1, 0, 1)


def test_detached_connection_is_no_request_in_flight(wire: Callable[..., Wire]) -> None:
    def switch(request: HTTPRequest) -> None:
        request.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        request.connection.detach()

    end = wire(switch)
    end.send(get())
    found = stats(end)
    assert (found["requests"], found["in_flight"]) == (1, 0)
    assert found["connections"] == {"accepted": 1, "active": 0, "idle": 0}
    assert sum(found["responses"].values()) == 0


def test_request_that_takes_the_stream_and_aborts_is_counted_once(
    wire: Callable[..., Wire],
) -> None:
    def read_and_abort(request: HTTPRequest) -> None:
        def aborted(_: bytes) -> None:
            request.connection.abort()
            request.finish()

        request.connection.stream.read_bytes(3, aborted)

    end = wire(read_and_abort)
    end.send(get() + b"abc")
    assert (stats(end)["requests"], stats(end)["cut"]) == (1, 0)


def test_handshake_that_fails_is_counted(serve: Serve, tmp_path: Path, logs: Logs) -> None:
    certificates = Certificates(tmp_path)
    served = serve(
        answer,
        ssl_options={"certfile": certificates.certfile, "keyfile": certificates.keyfile},
    )
    client = served.connect()
    client.send(b"GET / HTTP/1.1\r\n\r\n")
    eventually(lambda: served.server.stats()["tls_handshake_failures"] == 1)
    assert len(logs.warnings()) == 1


def test_connection_that_makes_room_is_an_eviction(serve: Serve) -> None:
    served = serve(answer, max_connections=1)
    first = served.connect()
    first.send(get())
    assert first.read_response().status == 200

    def has_room() -> bool:  # when the first one has been idle for a moment
        client = served.connect()
        client.send(get())
        return client.read_response().status == 200

    eventually(has_room)
    assert served.server.stats()["evictions"] == 1


def test_abort_is_counted(wire: Callable[..., Wire]) -> None:
    end = wire(Slow())
    end.send(get())
    end.call(end.connection.abort)
    assert (stats(end)["aborts"], stats(end)["cut"]) == (1, 1)


def calls_of(function: Callable[[], object]) -> int:
    """Count the calls that one makes, of C functions too."""
    calls = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    gc.disable()  # others have callbacks there
    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(None)
        gc.enable()
    return calls


def test_stats_ask_no_connection(serve: Serve) -> None:
    """It was 35 ms of a standstill at 9,000 connections."""
    served = serve(answer)
    costs = []
    for number in (1, 20):
        clients = [served.connect() for _ in range(number)]
        for client in clients:
            client.send(get())
            assert client.read_response().status == 200
        costs.append(served.call(calls_of, served.server.stats))
    assert costs[0] == costs[1]
