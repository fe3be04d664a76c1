"""Servers that end: by ``drain()``, by a signal to a process, to its workers and to all of them."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import (
    TIMEOUT,
    Certificates,
    Client,
    Process,
    Served,
    answer,
    echo,
    eventually,
    get,
    post,
)

from fasthttpserver.httpserver import HTTPRequest, HTTPServer
from fasthttpserver.httputil import HTTPHeaders

Serve = Callable[..., Served]
Run = Callable[[Any], Any]
Report = dict[str, int]

needs_signals = pytest.mark.skipif(
    sys.platform == "win32", reason="this system has no signals between processes"
)
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
# What nothing but its end by another cause takes.
LONG = TIMEOUT


def announced(request: HTTPRequest, body: bytes = b"ok") -> None:
    """Answer as an application should that writes its own heads."""
    close = b"Connection: close\r\n" if request.connection.no_keep_alive else b""
    head = b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n" % (close, len(body))
    request.write(head + body)
    request.finish()


def by_server(request: HTTPRequest, body: bytes = b"ok") -> None:
    """Answer with the server's framing."""
    headers = HTTPHeaders({"Content-Length": str(len(body))})
    request.connection.write_headers(("HTTP/1.1", 200, "OK"), headers, body)
    request.finish()


class Held:
    """Holds requests for ``/held``, and answers the others.

    Args:
        respond: Answers.
    """

    def __init__(self, respond: Callable[[HTTPRequest], object] = answer) -> None:
        self.respond = respond
        self.requests: list[HTTPRequest] = []

    def __call__(self, request: HTTPRequest) -> None:
        if request.uri == "/held":
            self.requests.append(request)
        else:
            self.respond(request)

    def release(self) -> None:
        for request in self.requests:
            self.respond(request)


def begin_drain(
    served: Served, timeout: float = LONG, grace: float = LONG, delay: float | None = None
) -> concurrent.futures.Future[Report]:
    """Drain from now on; a grace time of 0 gives no time to connections without a request."""
    drain = served.server.drain(timeout, grace, delay=delay)
    future = asyncio.run_coroutine_threadsafe(drain, served.loop)
    served.settle()
    return future


def report(served: int = 0, closed: int = 0, aborted: int = 0) -> Report:
    return {"served": served, "closed": closed, "aborted": aborted}


def at_end(client: Client) -> bool:
    """Whether the client sees the end of the stream now, without having to wait."""
    readable, _, _ = select.select([client.socket], [], [], 0)
    return bool(readable) and not client.socket.recv(1, socket.MSG_PEEK)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("timeout", None, TypeError),
        ("grace", None, TypeError),
        *((name, "5", TypeError) for name in ("timeout", "grace", "delay")),
        *((name, True, TypeError) for name in ("timeout", "grace", "delay")),
        *((name, -1, ValueError) for name in ("timeout", "grace", "delay")),
        *((name, float("nan"), ValueError) for name in ("timeout", "grace", "delay")),
        *((name, float("inf"), ValueError) for name in ("grace", "delay")),
    ],
)
def test_time_that_is_none_is_refused_before_anything_ends(
    serve: Serve, name: str, value: Any, error: type[Exception]
) -> None:
    served = serve(echo)
    drained = asyncio.run_coroutine_threadsafe(served.server.drain(**{name: value}), served.loop)
    with pytest.raises(error, match=f"^{name} must be"):
        drained.result(TIMEOUT)
    assert served.connect().ask(get()) == b"/ "


def test_drain_may_wait_for_ever(serve: Serve) -> None:
    held = Held()
    served = serve(held)
    client = served.connect()
    client.send(get("/held"))
    eventually(lambda: held.requests)
    drained = begin_drain(served, timeout=float("inf"), grace=0)
    assert not drained.done()
    served.call(held.release)
    assert client.read_response().status == 200
    client.close()  # or the end lingers for it
    assert drained.result(TIMEOUT) == report(served=1, closed=1)


# --- drain(): the delay -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("respond", "connection"),
    [(announced, "close"), (by_server, "close"), (answer, None)],
)
def test_in_the_delay_clients_are_served_and_told_to_go_elsewhere(
    serve: Serve, respond: Callable[[HTTPRequest], None], connection: str | None
) -> None:
    served = serve(respond)
    old = served.connect()
    old.ask(get())
    assert not served.server.is_draining
    drained = begin_drain(served, grace=0, delay=LONG)
    assert served.server.is_draining
    for client in old, served.connect(), served.connect():
        client.send(get())
        response = client.read_response()
        assert (response.status, response.fields.get("connection")) == (200, connection)
        if connection is None:
            client.ask(get())  # what is raw is the application's, and this one says nothing
        else:
            assert client.read_to_end() == b""
    drained.cancel()


def test_idle_connections_stay_open_for_the_delay(serve: Serve) -> None:
    served = serve(by_server)
    client = served.connect()
    client.ask(get())
    drained = begin_drain(served, grace=0, delay=LONG)
    assert not at_end(client)
    drained.cancel()


@pytest.mark.parametrize(("option", "argument"), [(0.0, 0.1), (0.1, None)])
def test_after_the_delay_it_drains(serve: Serve, option: float, argument: float | None) -> None:
    served = serve(by_server, shutdown_delay=option)
    client = served.connect()
    client.ask(get())
    begun = time.monotonic()
    drained = begin_drain(served, grace=0, delay=argument)
    assert client.read_to_end() == b""
    client.close()
    assert drained.result(TIMEOUT) == report(closed=1)
    assert time.monotonic() - begun > 0.05  # uvloop counts from the beginning of its turn
    with pytest.raises(ConnectionRefusedError):
        served.connect()


def test_drain_without_a_delay_ends_that_of_one_before(serve: Serve) -> None:
    served = serve(by_server, shutdown_delay=LONG)
    first = begin_drain(served)
    assert begin_drain(served, delay=0).result(TIMEOUT) == report()
    with pytest.raises(ConnectionRefusedError):
        served.connect()
    assert first.result(TIMEOUT) == report()


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf")])
def test_option_for_the_delay_is_checked(value: float) -> None:
    with pytest.raises(ValueError, match=r"^shutdown_delay must be"):
        HTTPServer(echo, shutdown_delay=value)


# --- drain(): requests that run ---------------------------------------------------------


@pytest.mark.parametrize("respond", [announced, by_server])
def test_running_request_is_answered_with_an_announced_close(
    serve: Serve, respond: Callable[[HTTPRequest], None]
) -> None:
    held = Held(respond)
    served = serve(held)
    client = served.connect()
    client.send(get("/held"))
    eventually(lambda: held.requests)
    drained = begin_drain(served)
    assert not drained.done()
    served.call(held.release)
    response = client.read_response()
    assert response.fields["connection"] == "close"
    client.close()  # as a client does that has read that
    assert drained.result(TIMEOUT) == report(served=1, closed=1)


def test_answer_that_does_not_announce_the_close_leaves_the_connection_open_for_the_grace_time(
    serve: Serve,
) -> None:
    held = Held()
    served = serve(held)
    client = served.connect()
    client.send(get("/held"))
    eventually(lambda: held.requests)
    drained = begin_drain(served)
    served.call(held.release)
    assert client.read_response().body == b"ok"
    # The client could not know, and may have sent the next one already.
    assert client.ask(get()) == b"ok"
    assert not drained.done()
    client.close()
    assert drained.result(TIMEOUT) == report(served=2, closed=1)


@pytest.mark.parametrize("respond", [answer, announced, by_server])
def test_connection_is_closed_behind_any_answer_after_the_grace_time(
    serve: Serve, respond: Callable[[HTTPRequest], None]
) -> None:
    held = Held(respond)
    served = serve(held)
    client = served.connect()
    client.send(get("/held"))
    eventually(lambda: held.requests)
    drained = begin_drain(served, grace=0)
    assert not drained.done()
    served.call(held.release)
    assert client.read_response().body == b"ok"
    assert client.read_to_end() == b""
    client.close()
    assert drained.result(TIMEOUT) == report(served=1, closed=1)


def test_answer_whose_head_was_written_before_is_the_last_one_too(serve: Serve) -> None:
    requests: list[HTTPRequest] = []

    def callback(request: HTTPRequest) -> None:
        request.connection.write_headers(("HTTP/1.1", 200, "OK"), HTTPHeaders(), b"begin")
        requests.append(request)

    served = serve(callback)
    client = served.connect()
    client.send(get())
    client.read_until(b"5\r\nbegin\r\n")
    drained = begin_drain(served, grace=0)
    served.call(requests[0].finish)
    assert client.read_to_end() == b"0\r\n\r\n"
    client.close()
    assert drained.result(TIMEOUT) == report(served=1, closed=1)


def test_answer_whose_head_was_written_before_does_not_end_the_connection_in_the_grace_time(
    serve: Serve,
) -> None:
    requests: list[HTTPRequest] = []

    def callback(request: HTTPRequest) -> None:
        requests.append(request)
        request.connection.write_headers(("HTTP/1.1", 200, "OK"), HTTPHeaders(), b"begin")

    served = serve(callback)
    client = served.connect()
    client.send(get())
    client.read_until(b"5\r\nbegin\r\n")
    drained = begin_drain(served)
    served.call(requests[0].finish)
    client.read_until(b"0\r\n\r\n")
    client.send(get())
    assert b"Connection: close\r\n" in client.read_until(b"5\r\nbegin\r\n")
    served.call(requests[1].finish)
    client.read_until(b"0\r\n\r\n")
    client.close()
    assert drained.result(TIMEOUT) == report(served=2, closed=1)


def test_requests_that_wait_behind_a_running_one_are_answered(serve: Serve) -> None:
    held = Held(lambda request: answer(request, request.uri))
    served = serve(held)
    client = served.connect()
    client.send(get("/held") + get("/2") + get("/3"))
    eventually(lambda: held.requests)
    drained = begin_drain(served)
    served.call(held.release)
    assert [client.read_response().body for _ in range(3)] == [b"/held", b"/2", b"/3"]
    client.close()
    assert drained.result(TIMEOUT) == report(served=3, closed=1)


def test_nothing_is_run_behind_an_answer_that_announces_the_close(serve: Serve) -> None:
    uris: list[str] = []

    def respond(request: HTTPRequest) -> None:
        uris.append(request.uri)
        announced(request)

    held = Held(respond)
    served = serve(held)
    client = served.connect()
    client.send(get("/held") + get("/2"))
    eventually(lambda: held.requests)
    drained = begin_drain(served)
    served.call(held.release)
    assert client.read_response().fields["connection"] == "close"
    assert client.read_to_end() == b""
    client.close()
    assert drained.result(TIMEOUT) == report(served=1, closed=1)
    assert uris == ["/held"]


def test_coroutine_goes_on(serve: Serve) -> None:
    events: list[asyncio.Event] = []

    async def callback(request: HTTPRequest) -> None:
        event = asyncio.Event()
        events.append(event)
        await event.wait()
        by_server(request)

    served = serve(callback)
    client = served.connect()
    client.send(get())
    eventually(lambda: events)
    drained = begin_drain(served, grace=0)
    served.call(events[0].set)
    assert client.read_response().fields["connection"] == "close"
    client.close()
    assert drained.result(TIMEOUT) == report(served=1, closed=1)


def test_large_answer_to_a_client_that_reads_late_is_whole(serve: Serve) -> None:
    body = bytes(range(256)) * 80_000  # more than sockets hold
    served = serve(lambda request: answer(request, body))
    witness = served.connect()
    client = served.connect()
    client.send(get())
    eventually(lambda: any(each.stream.writing() for each in served.connections))
    drained = begin_drain(served, grace=0)
    eventually(lambda: at_end(witness))
    assert client.read_response().body == body
    # There is nothing to do any more, so that it ends here.
    assert client.read_to_end() == b""
    client.close()
    assert drained.result(TIMEOUT)["aborted"] == 0


def test_large_answer_that_is_begun_while_draining_is_whole(serve: Serve) -> None:
    body = bytes(range(256)) * 80_000
    held = Held(lambda request: announced(request, body))
    served = serve(held)
    client = served.connect()
    client.send(get("/held"))
    eventually(lambda: held.requests)
    drained = begin_drain(served, grace=0)
    served.call(held.release)
    assert client.read_response().body == body
    assert client.read_to_end() == b""
    client.close()
    assert drained.result(TIMEOUT) == report(served=1, closed=1)


# --- drain(): connections without a request ---------------------------------------------


def test_idle_connections_are_served_in_the_grace_time_and_then_closed(serve: Serve) -> None:
    held = Held(announced)
    served = serve(held)
    clients = [served.connect() for _ in range(3)]
    for client in clients[:2]:
        client.ask(get())  # the third one has never sent a byte
    eventually(lambda: len(served.connections) == 3)
    drained = begin_drain(served, grace=0.3)
    clients[0].send(get())
    assert clients[0].read_response().fields["connection"] == "close"
    assert [client.read_to_end() for client in clients] == [b"", b"", b""]
    for client in clients:
        client.close()
    assert drained.result(TIMEOUT) == report(served=1, closed=3)


def test_requests_that_came_while_the_application_blocked_the_loop_are_served(
    serve: Serve,
) -> None:
    entered, leave = threading.Event(), threading.Event()

    def callback(request: HTTPRequest) -> None:
        if request.uri == "/block":
            entered.set()
            leave.wait(TIMEOUT)
        announced(request)

    served = serve(callback)
    clients = [served.connect() for _ in range(3)]
    for client in clients:
        client.ask(get())
    drained = begin_drain(served, grace=0.1)
    clients[0].send(get("/block"))
    entered.wait(TIMEOUT)
    begun = time.monotonic()
    for client in clients[1:]:
        client.send(get())
    eventually(lambda: time.monotonic() > begun + 0.2)  # the grace time passes
    leave.set()
    for client in clients:
        assert client.read_response().status == 200
        client.close()
    assert drained.result(TIMEOUT) == report(served=3, closed=3)


def test_connection_that_was_handed_over_is_not_waited_for(serve: Serve) -> None:
    streams: list[Any] = []
    served = serve(lambda request: streams.append(request.connection.detach()))
    client = served.connect()
    client.send(get())
    eventually(lambda: streams)
    assert begin_drain(served).result(TIMEOUT) == report()
    served.call(streams[0].write, b"still here")
    assert client.read(10) == b"still here"
    served.call(streams[0].close)
    assert client.read_to_end() == b""


# --- drain(): half-sent requests --------------------------------------------------------

HALVES = {
    "head": (b"GET / HTTP/1.1\r\nHo", b"st: a\r\n\r\n"),
    "length": (post(b"12345")[:-2], b"45"),
    "chunks": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n123",
        b"45\r\n0\r\n\r\n",
    ),
}


@pytest.mark.parametrize("half", HALVES)
def test_half_sent_request_is_served_when_the_rest_comes(serve: Serve, half: str) -> None:
    first, rest = HALVES[half]
    served = serve(announced)
    witness = served.connect()
    client = served.connect()
    client.send(first)
    eventually(lambda: any(not each.idle for each in served.connections))
    drained = begin_drain(served, grace=0)
    eventually(lambda: at_end(witness))
    witness.close()
    client.send(rest)
    response = client.read_response()
    assert (response.status, response.fields["connection"]) == (200, "close")
    assert client.read_to_end() == b""
    client.close()
    assert drained.result(TIMEOUT) == report(served=1, closed=2)


@pytest.mark.parametrize("half", HALVES)
def test_half_sent_request_is_answered_408_at_its_deadline(
    serve: Serve, logs: Any, half: str
) -> None:
    served = serve(announced, header_timeout=0.2, body_stall_timeout=0.2)
    client = served.connect()
    client.send(HALVES[half][0])
    eventually(lambda: any(not each.idle for each in served.connections))
    drained = begin_drain(served, grace=0)
    assert client.read_response().status == 408
    assert client.read_to_end() == b""
    client.close()
    assert drained.result(TIMEOUT) == report(closed=1)
    assert len(logs.refusals()) == 1


@pytest.mark.parametrize("half", HALVES)
def test_half_sent_request_is_answered_408_when_time_is_over(
    serve: Serve, logs: Any, half: str
) -> None:
    served = serve(announced)
    client = served.connect()
    client.send(HALVES[half][0])
    eventually(lambda: any(not each.idle for each in served.connections))
    drained = begin_drain(served, timeout=0.1, grace=0)
    assert client.read_response().status == 408
    assert client.read_to_end() == b""
    assert drained.result(TIMEOUT) == report(aborted=1)
    assert len(logs.refusals()) == 1


# --- drain(): who comes now -------------------------------------------------------------


def test_new_connections_are_refused(serve: Serve) -> None:
    held = Held()
    served = serve(held)
    client = served.connect()
    client.send(get("/held"))
    eventually(lambda: held.requests)
    drained = begin_drain(served, grace=0)
    with pytest.raises(ConnectionRefusedError):
        served.connect()
    served.call(held.release)
    client.read_to_end()
    client.close()
    assert drained.result(TIMEOUT) == report(served=1, closed=1)


@pytest.mark.parametrize("used", [True, False], ids=["used", "unused"])
@pytest.mark.parametrize("count", [1, 100])
def test_connections_that_wait_to_be_accepted_are_served(
    serve: Serve, count: int, used: bool
) -> None:
    served = serve(announced)
    if used:
        with Client(served.address) as first:
            first.ask(get())
        served.all_closed()
    clients: list[Client] = []

    async def queue_and_drain() -> Report:
        # In the loop's own thread, which does not accept meanwhile.
        for _ in range(count):
            clients.append(served.connect())
            clients[-1].send(get())
        return await served.server.drain(LONG, 0.5)

    drained = asyncio.run_coroutine_threadsafe(queue_and_drain(), served.loop)
    for number in range(count):
        eventually(lambda number=number: len(clients) > number)  # type: ignore[misc]
        assert clients[number].read_response().fields["connection"] == "close"
        clients[number].close()
    assert drained.result(TIMEOUT) == report(served=count, closed=count)


def test_tls_handshake_that_goes_on_is_waited_for(serve: Serve, tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    options = {"certfile": certificates.certfile, "keyfile": certificates.keyfile}
    served = serve(announced, ssl_options=options)
    client = served.connect()  # without a hello so far
    eventually(lambda: served.server._connecting)
    drained = begin_drain(served)
    context = certificates.client_context()
    client.socket = context.wrap_socket(client.socket, server_hostname="127.0.0.1")
    client.send(get())
    assert client.read_response().fields["connection"] == "close"
    client.close()
    assert drained.result(TIMEOUT) == report(served=1, closed=1)


def test_tls_handshake_that_ends_after_the_grace_time_holds_nothing_up(
    serve: Serve, tmp_path: Path
) -> None:
    certificates = Certificates(tmp_path)
    options = {"certfile": certificates.certfile, "keyfile": certificates.keyfile}
    served = serve(announced, ssl_options=options)
    client = served.connect()
    eventually(lambda: served.server._connecting)
    assert begin_drain(served, grace=0.05).result(TIMEOUT) == report()
    with contextlib.suppress(ConnectionResetError):
        assert client.read_to_end() == b""


# --- drain(): its end -------------------------------------------------------------------


def test_requests_that_still_run_when_time_is_over_are_aborted(serve: Serve) -> None:
    held = Held()
    served = serve(held)
    client = served.connect()
    client.send(get("/held"))
    eventually(lambda: held.requests)
    begun = time.monotonic()
    assert begin_drain(served, timeout=0.2, grace=0.1).result(TIMEOUT) == report(aborted=1)
    assert 0.2 <= time.monotonic() - begun < TIMEOUT / 2
    with contextlib.suppress(ConnectionResetError):
        assert client.read_to_end() == b""
    served.call(held.release)  # too late, and harmless


def test_answer_that_is_aborted_does_not_look_complete(serve: Serve) -> None:
    def callback(request: HTTPRequest) -> None:
        request.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto be continued")

    served = serve(callback)
    client = served.connect()
    client.send(get())
    client.read_until(b"continued")
    assert begin_drain(served, timeout=0.1, grace=0).result(TIMEOUT) == report(aborted=1)
    with pytest.raises(ConnectionResetError):
        client.read_to_end()


def test_grace_time_is_not_longer_than_all_the_time(serve: Serve) -> None:
    served = serve(echo)
    client = served.connect()
    client.ask(get())
    assert begin_drain(served, timeout=0.1, grace=LONG).result(TIMEOUT / 2) == report(closed=1)
    assert client.read_to_end() == b""


def test_draining_without_a_connection_returns_at_once(serve: Serve) -> None:
    served = serve(echo)
    assert begin_drain(served).result(TIMEOUT / 2) == report()
    assert begin_drain(served).result(TIMEOUT / 2) == report()


def test_draining_after_the_last_connection_returns_at_once(serve: Serve) -> None:
    served = serve(echo)
    with Client(served.address) as client:
        client.ask(get())
    served.all_closed()
    assert begin_drain(served).result(TIMEOUT / 2) == report()


def test_draining_a_server_that_never_listened_returns_at_once(run: Run) -> None:
    async def main() -> None:
        assert await HTTPServer(echo).drain() == report()

    run(main())


def test_draining_twice_at_once(serve: Serve) -> None:
    held = Held()
    served = serve(held)
    client = served.connect()
    client.send(get("/held"))
    eventually(lambda: held.requests)
    first, second = begin_drain(served), begin_drain(served, grace=0)
    served.call(held.release)
    assert client.read_response().body == b"ok"
    assert client.read_to_end() == b""
    client.close()
    assert first.result(TIMEOUT) == second.result(TIMEOUT) == report(served=1, closed=1)


def test_draining_again_with_less_time_cuts_off_what_runs(serve: Serve) -> None:
    held = Held()
    served = serve(held)
    client = served.connect()
    client.send(get("/held"))
    eventually(lambda: held.requests)
    first = begin_drain(served)
    assert begin_drain(served, timeout=0, grace=0).result(TIMEOUT / 2) == report(aborted=1)
    assert first.result(TIMEOUT / 2)["served"] == 0


def test_draining_after_stop_serves_what_was_accepted(serve: Serve) -> None:
    held = Held()
    served = serve(held)
    client = served.connect()
    client.send(get("/held"))
    eventually(lambda: held.requests)
    served.call(served.server.stop)
    drained = begin_drain(served, grace=0)
    served.call(held.release)
    assert client.read_response().body == b"ok"
    client.close()
    assert drained.result(TIMEOUT) == report(served=1, closed=1)


def test_draining_counts_what_happens_in_its_time_only(serve: Serve) -> None:
    held = Held()
    served = serve(held)
    with Client(served.address) as gone:
        for _ in range(5):
            gone.ask(get())
    served.all_closed()
    client = served.connect()
    for _ in range(5):
        client.ask(get())
    left = served.connect()
    left.send(get("/held"))
    eventually(lambda: held.requests)
    drained = begin_drain(served)
    client.ask(get())
    left.reset()  # without its answer
    client.close()
    assert drained.result(TIMEOUT) == report(served=1, closed=2)


def test_client_that_lingers_is_waited_for(serve: Serve, logs: Any) -> None:
    served = serve(echo, linger_silence=0.2)
    client = served.connect()
    client.send(b"nonsense\r\n\r\n")
    assert client.read_response().status == 400
    assert begin_drain(served, grace=0).result(TIMEOUT) == report(closed=1)
    assert len(logs.refusals()) == 1


# --- A process ---------------------------------------------------------------------------

# Answers /held when the client has shut its side, so that the client says when.
APPLICATION = """
import os

def callback(request):
    def finish():
        text = str(os.getpid())
        close = "Connection: close\\r\\n" if request.connection.no_keep_alive else ""
        head = f"HTTP/1.1 200 OK\\r\\n{close}Content-Length: {len(text)}\\r\\n\\r\\n"
        request.write(head + text)
        request.finish()

    if request.uri == "/held":
        request.connection.set_close_callback(finish)
    else:
        finish()
"""


@pytest.fixture
def launch(tmp_path: Path, loop_kind: str) -> Iterator[Callable[..., Process]]:
    """Start a program, given as arguments of the interpreter, on this kind of loop."""
    (tmp_path / "application.py").write_text(APPLICATION)
    with contextlib.ExitStack() as stack:
        yield lambda *arguments: stack.enter_context(
            Process(
                ["-X", "dev", "-W", "error", *arguments],
                cwd=tmp_path,
                env={"FASTHTTPSERVER_LOOP": loop_kind},
            )
        )


class Clients:
    """One running request, three idle connections and a half-sent request of a server.

    Args:
        stack: Closes them.
        address: The server's.
    """

    def __init__(self, stack: contextlib.ExitStack, address: tuple[str, int]) -> None:
        clients = [stack.enter_context(Client(address)) for _ in range(5)]
        *self.idle, self.half, self.running = clients
        for client in clients:
            client.ask(get())
        self.half.send(get()[:-2])
        self.running.send(get("/held"))

    def end_well(self) -> None:
        """See that each of them gets what it should of a server that ends."""
        for client in self.idle:
            assert client.read_to_end() == b""
            client.close()
        self.half.send(b"\r\n")
        self.running.half_close()
        for client in (self.half, self.running):
            response = client.read_response()
            assert (response.status, response.fields["connection"]) == (200, "close")
            client.close()


def port_in(line: str) -> int:
    match = re.search(r":(\d+)/", line)
    assert match, line
    return int(match[1])


@pytest.fixture
def clients() -> Iterator[Callable[[int], Clients]]:
    with contextlib.ExitStack() as stack:
        yield lambda port: Clients(stack, ("127.0.0.1", port))


COMMAND_LINE = ["-m", "fasthttpserver", "application:callback", "--port", "0"]


@needs_signals
def test_command_line_ends_in_good_order(
    launch: Callable[..., Process], clients: Callable[[int], Clients]
) -> None:
    process = launch(*COMMAND_LINE)
    crowd = clients(port_in(process.line()))
    process.send_signal(signal.SIGTERM)
    crowd.end_well()
    ended = process.end()
    assert ended.returncode == 0
    (line,) = ended.stderr.splitlines()  # and no traceback, and no warning
    assert line.endswith("Drained: 2 requests answered, 5 connections closed, 0 aborted")


@needs_signals
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_command_line_without_connections_ends_at_once(
    launch: Callable[..., Process], name: str
) -> None:
    process = launch(*COMMAND_LINE)
    process.line()
    begun = time.monotonic()
    process.send_signal(getattr(signal, name))
    ended = process.end()
    assert ended.returncode == 0
    assert time.monotonic() - begun < TIMEOUT / 2
    (line,) = ended.stderr.splitlines()
    assert line.endswith("Drained: no client was connected")


@needs_signals
def test_second_signal_ends_the_command_line_at_once(launch: Callable[..., Process]) -> None:
    process = launch(*COMMAND_LINE)
    with Client(("127.0.0.1", port_in(process.line()))) as client:
        client.ask(get())
        client.send(get("/held"))
        begun = time.monotonic()
        # Those that come shortly after the first one are the same wish.
        while not select.select([client.socket], [], [], 0.02)[0]:
            process.send_signal(signal.SIGTERM)
        assert 0.5 < time.monotonic() - begun < TIMEOUT / 2
    assert process.end().returncode == 128 + signal.SIGTERM


# --- Workers ------------------------------------------------------------------------------

BIND_AND_START = """
import os
from application import callback
from fasthttpserver.httpserver import HTTPServer
from fasthttpserver.ioloop import IOLoop

server = HTTPServer(callback)
server.bind(0, "127.0.0.1")
port = server._pending_sockets[0].getsockname()[1]
server.start(2)
"""

ADD_SOCKETS = """
import atexit, os
from application import callback
from fasthttpserver.httpserver import HTTPServer
from fasthttpserver.ioloop import IOLoop
from fasthttpserver.netutil import bind_sockets
from fasthttpserver.process import fork_processes

sockets = bind_sockets(0, "127.0.0.1")
atexit.register(sockets[0].close)
port = sockets[0].getsockname()[1]
fork_processes(2)
server = HTTPServer(callback)
server.add_sockets(sockets)
"""

RUN = """
loop = IOLoop.instance()
loop.add_callback(lambda: os.write(1, f"worker {os.getpid()} on :{port}/\\n".encode()))
loop.start()
os.write(1, f"{os.getpid()} ended\\n".encode())
"""

PATTERNS = {"start": BIND_AND_START + RUN, "add_sockets": ADD_SOCKETS + RUN}


def worker_in(line: str) -> int:
    match = re.match(r"worker (\d+) on", line)
    assert match, line
    return int(match[1])


@needs_fork
@pytest.mark.parametrize(("pattern", "whom"), [("start", "parent"), ("add_sockets", "group")])
def test_workers_end_in_good_order(
    launch: Callable[..., Process],
    clients: Callable[[int], Clients],
    pattern: str,
    whom: str,
) -> None:
    process = launch("-c", PATTERNS[pattern])
    lines = [process.line(), process.line()]
    crowd = clients(port_in(lines[0]))
    if whom == "parent":
        process.send_signal(signal.SIGTERM)
    else:
        os.killpg(process._process.pid, signal.SIGTERM)
    crowd.end_well()
    ended = process.end()
    assert ended.returncode == 0, ended.stderr
    # The code after the loop's start() runs, too.
    assert set(ended.stdout.split()) == {"ended", *(str(worker_in(line)) for line in lines)}
    assert not re.search("Traceback|Warning|ERROR", ended.stderr), ended.stderr


def is_refused(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # in the moment in which the socket was closed
        return False
    return False


@needs_fork
@pytest.mark.parametrize(
    "arguments", [("-c", BIND_AND_START + RUN), (*COMMAND_LINE, "--processes=2")]
)
def test_new_clients_are_refused_at_once_when_the_parent_is_told_to_end(
    launch: Callable[..., Process], clients: Callable[[int], Clients], arguments: tuple[str, ...]
) -> None:
    process = launch(*arguments)
    port = port_in(process.line())
    process.line()
    crowd = clients(port)
    process.send_signal(signal.SIGTERM)
    eventually(lambda: is_refused(("127.0.0.1", port)))  # long before the last worker ends
    crowd.end_well()
    assert process.end().returncode == 0


@needs_fork
def test_worker_ends_in_good_order_while_the_other_one_goes_on(
    launch: Callable[..., Process],
) -> None:
    process = launch("-c", ADD_SOCKETS + RUN)
    first, second = process.line(), process.line()
    address = ("127.0.0.1", port_in(first))
    worker = worker_in(first)
    with contextlib.ExitStack() as stack:
        mine: list[Client] = []

        def connect() -> bool:
            client = stack.enter_context(Client(address))
            if int(client.ask(get())) == worker:
                mine.append(client)
            return len(mine) == 2

        eventually(connect)
        idle, running = mine
        running.send(get("/held"))
        os.kill(worker, signal.SIGTERM)
        assert idle.read_to_end() == b""
        with Client(address) as client:
            assert int(client.ask(get())) == worker_in(second)
        running.half_close()
        response = running.read_response()
        assert (int(response.body), response.fields["connection"]) == (worker, "close")
    assert process.line() == f"{worker} ended\n"
    process.send_signal(signal.SIGTERM)
    assert process.end().returncode == 0


@needs_fork
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc")
def test_signal_that_the_parent_passes_on_late_is_no_second_one(
    launch: Callable[..., Process], clients: Callable[[int], Clients]
) -> None:
    process = launch("-c", ADD_SOCKETS + RUN)
    lines = [process.line(), process.line()]
    crowd = clients(port_in(lines[0]))
    parent = process._process.pid
    os.kill(parent, signal.SIGSTOP)
    os.killpg(parent, signal.SIGTERM)
    for client in crowd.idle:
        assert client.read_to_end() == b""  # after the grace time, a second
    os.kill(parent, signal.SIGCONT)
    stat = Path(f"/proc/{parent}/stat")
    eventually(lambda: ") S " in stat.read_text())  # it waits for its children again
    crowd.end_well()
    assert process.end().returncode == 0


@needs_fork
def test_worker_that_is_told_to_end_is_replaced(launch: Callable[..., Process]) -> None:
    process = launch("-c", BIND_AND_START + RUN)
    workers = [worker_in(process.line()) for _ in range(2)]
    os.kill(workers[0], signal.SIGTERM)
    assert process.line() == f"{workers[0]} ended\n"
    assert worker_in(process.line()) not in workers
    process.send_signal(signal.SIGTERM)
    assert process.end().returncode == 0


@needs_fork
def test_worker_that_ends_by_itself_is_not_replaced_also_after_a_restart(
    launch: Callable[..., Process], tmp_path: Path
) -> None:
    leave = "if os.path.exists('leave'): loop.add_callback(loop.stop)\n"
    process = launch("-c", BIND_AND_START + RUN.replace("loop.start", leave + "loop.start"))
    for _ in range(2):
        process.line()
    (tmp_path / "leave").touch()
    process.send_signal(signal.SIGHUP)
    lines = [process.line() for _ in range(6)]
    assert sum("ended" in line for line in lines) == 4
    ended = process.end()
    assert (ended.returncode, ended.stdout) == (0, "")  # as nobody is left


@needs_fork
def test_worker_that_is_told_to_end_does_all_that_is_done_at_an_exit(
    launch: Callable[..., Process],
) -> None:
    source = """
import atexit, sys
sys.stdout = open(1, "w", buffering=4096)
atexit.register(lambda: print("at exit", flush=True))
"""
    process = launch("-c", source + BIND_AND_START + RUN + 'print("behind the loop")')
    for _ in range(2):
        process.line()
    process.send_signal(signal.SIGTERM)
    lines = process.end().stdout.splitlines()
    assert lines.count("behind the loop") == 2
    assert lines.count("at exit") == 3  # the parent, too


# Time for the next answer that announces the end; then all ends.
DELAYED = BIND_AND_START.replace("callback)", "callback, shutdown_delay=60)") + RUN


def announces(address: tuple[str, int]) -> bool:
    with Client(address) as client:
        client.send(get())
        return client.read_response().fields.get("connection") == "close"


@needs_fork
def test_workers_serve_on_for_the_delay_of_their_server(launch: Callable[..., Process]) -> None:
    process = launch("-c", DELAYED)
    address = ("127.0.0.1", port_in(process.line()))
    process.line()
    process.send_signal(signal.SIGTERM)
    eventually(lambda: announces(address))
    process.send_signal(signal.SIGTERM)
    assert process.end().returncode == 1


@needs_fork
def test_worker_that_is_replaced_has_no_delay(launch: Callable[..., Process]) -> None:
    process = launch("-c", DELAYED)
    old = {worker_in(process.line()) for _ in range(2)}
    process.send_signal(signal.SIGHUP)
    lines = [process.line() for _ in range(4)]
    assert {int(line.split()[0]) for line in lines if "ended" in line} == old


@needs_fork
def test_worker_whose_parent_is_gone_has_no_delay(launch: Callable[..., Process]) -> None:
    process = launch("-c", DELAYED)
    for _ in range(2):
        process.line()
    process.send_signal(signal.SIGKILL)
    assert process.end().stdout.count("ended") == 2


@needs_fork
def test_delay_of_a_worker_ends_with_its_parent(launch: Callable[..., Process]) -> None:
    process = launch("-c", DELAYED)
    address = ("127.0.0.1", port_in(process.line()))
    process.line()
    process.send_signal(signal.SIGTERM)
    eventually(lambda: announces(address))
    process.send_signal(signal.SIGKILL)
    assert process.end().stdout.count("ended") == 2


@needs_fork
def test_delay_of_a_worker_ends_when_it_is_replaced(launch: Callable[..., Process]) -> None:
    process = launch("-c", DELAYED)
    line = process.line()
    address, old = ("127.0.0.1", port_in(line)), worker_in(line)
    process.line()
    os.kill(old, signal.SIGTERM)
    eventually(lambda: announces(address))
    process.send_signal(signal.SIGHUP)
    while process.line().split() != [str(old), "ended"]:
        pass


@needs_fork
def test_interrupt_from_the_terminal_ends_all_in_good_order(
    launch: Callable[..., Process], clients: Callable[[int], Clients]
) -> None:
    default = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    process = launch("-c", default + ADD_SOCKETS + RUN)
    lines = [process.line(), process.line()]
    crowd = clients(port_in(lines[0]))
    os.killpg(process._process.pid, signal.SIGINT)
    crowd.end_well()
    ended = process.end()
    assert ended.returncode == 0
    assert not re.search("Traceback|Warning|ERROR", ended.stderr), ended.stderr


@needs_fork
def test_second_signal_kills_the_workers(launch: Callable[..., Process]) -> None:
    process = launch("-c", BIND_AND_START + RUN)
    address = ("127.0.0.1", port_in(process.line()))
    process.line()
    with Client(address) as client:
        client.ask(get())
        client.send(get("/held"))
        begun = time.monotonic()
        while not select.select([client.socket], [], [], 0.02)[0]:
            process.send_signal(signal.SIGTERM)
        assert time.monotonic() - begun < TIMEOUT / 2
    assert process.end().returncode == 1


@needs_fork
@pytest.mark.parametrize("pattern", PATTERNS)
def test_workers_end_in_good_order_when_their_parent_is_gone(
    launch: Callable[..., Process], clients: Callable[[int], Clients], pattern: str
) -> None:
    process = launch("-c", PATTERNS[pattern])
    lines = [process.line(), process.line()]
    crowd = clients(port_in(lines[0]))
    process.send_signal(signal.SIGKILL)
    crowd.end_well()
    ended = process.end()  # of all who hold its output
    assert set(ended.stdout.split()) == {"ended", *(str(worker_in(line)) for line in lines)}
    assert ended.stderr.count("The parent of this process is gone, ending") == 2


UNSEEN = """
import asyncio, selectors, signal, threading
from fasthttpserver._net.ioloop import IOLoop
from fasthttpserver._server.shutdown import Shutdown

waits = threading.Event()

class Selector(selectors.DefaultSelector):
    def select(self, timeout=None):
        if timeout is None:
            waits.set()
        return super().select(timeout)

def send():
    waits.wait()
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

loop = IOLoop.from_asyncio(asyncio.SelectorEventLoop(Selector()))
Shutdown(loop).install(signal.SIGTERM)
threading.Thread(target=send).start()
loop.start()
print("ended")
"""


@needs_signals
def test_signal_is_seen_also_if_it_interrupts_no_call_of_the_loop() -> None:
    # It comes to another thread, or just before the loop begins to wait.
    command = [sys.executable, "-c", UNSEEN]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=True)
    assert ended.stdout == "ended\n"


@needs_fork
def test_worker_that_handles_the_signal_by_itself_is_left_alone(
    launch: Callable[..., Process],
) -> None:
    own = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: os._exit(os.write(1, b"mine\\n") and 0))
"""
    source = ADD_SOCKETS.replace("server = ", own + "server = ", 1) + RUN
    process = launch("-c", source)
    lines = [process.line(), process.line()]
    os.kill(worker_in(lines[0]), signal.SIGTERM)
    assert process.line() == "mine\n"
    process.send_signal(signal.SIGTERM)
    ended = process.end()
    assert (ended.returncode, set(ended.stdout.split())) == (0, {"mine"})


# --- Workers that are replaced, under load --------------------------------------------------


class Load:
    """Clients with keep-alive that ask without a pause, in a thread of their own.

    Args:
        port: The server's.
        connections: How many clients there are.
    """

    def __init__(self, port: int, connections: int = 8) -> None:
        self.answers: Counter[int] = Counter()  # by the process that gave them
        self.failures: list[tuple[int | None, str]] = []  # that process, and what happened
        self.connects = 0
        self._port = port
        self._connections = connections
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="load")

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(TIMEOUT)
        assert not self._thread.is_alive()

    @property
    def requests(self) -> int:
        """How many were sent."""
        return self.answers.total() + len(self.failures)

    async def _run(self) -> None:
        await asyncio.gather(*(self._client() for _ in range(self._connections)))

    async def _client(self) -> None:
        while not self._over.is_set():
            worker: int | None = None
            writer: asyncio.StreamWriter | None = None
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                self.connects += 1
                # Others want their turn: the kernel may have given all to one worker.
                for _ in range(50):
                    writer.write(get())
                    head = await reader.readuntil(b"\r\n\r\n")
                    match = re.search(rb"Content-Length: (\d+)", head)
                    assert match and head.startswith(b"HTTP/1.1 200 OK\r\n"), head
                    worker = int(await reader.readexactly(int(match[1])))
                    self.answers[worker] += 1
                    if b"Connection: close" in head or self._over.is_set():
                        break
            except (OSError, EOFError, AssertionError) as error:
                self.failures.append((worker, repr(error)))
            finally:
                if writer is not None:
                    writer.close()
                    with contextlib.suppress(OSError):
                        await writer.wait_closed()


@needs_fork
def test_rolling_restart_under_load_fails_no_request(launch: Callable[..., Process]) -> None:
    process = launch("-c", BIND_AND_START + RUN)
    lines = [process.line(), process.line()]
    before = {worker_in(line) for line in lines}
    with Load(port_in(lines[0])) as load:
        eventually(lambda: set(load.answers) == before)
        process.send_signal(signal.SIGHUP)
        news = [process.line() for _ in range(4)]
        after = {worker_in(line) for line in news if "worker" in line}
        eventually(lambda: after <= set(load.answers))
    ended = {int(line.split()[0]) for line in news if "ended" in line}
    assert ended == before
    assert len(after) == 2
    assert not before & after
    assert load.failures == [], load.requests
    assert load.connects >= 16  # each client came to each generation
    process.send_signal(signal.SIGTERM)
    assert process.end().returncode == 0


@needs_fork
@pytest.mark.slow
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_rolling_restart_fails_no_request_of_wrk(launch: Callable[..., Process]) -> None:
    process = launch("-c", BIND_AND_START + RUN)
    lines = [process.line(), process.line()]
    url = f"http://127.0.0.1:{port_in(lines[0])}/"
    with subprocess.Popen(
        ["wrk", "-t1", "-c16", f"-d{TIMEOUT:.0f}s", url], stdout=subprocess.PIPE, text=True
    ) as wrk:
        for _ in range(2):
            process.send_signal(signal.SIGHUP)
            news = [process.line() for _ in range(4)]
            assert sum("ended" in line for line in news) == 2
        assert wrk.poll() is None
        wrk.send_signal(signal.SIGINT)  # it reports on what it has done so far
        output, _ = wrk.communicate(timeout=TIMEOUT)
    match = re.search(r"(\d+) requests in", output)
    assert match and int(match[1]) > 16, output
    assert "Socket errors" not in output, output
    assert "Non-2xx" not in output, output
    process.send_signal(signal.SIGTERM)
    assert process.end().returncode == 0


@needs_fork
def test_worker_that_is_killed_under_load_is_replaced_and_the_other_one_goes_on(
    launch: Callable[..., Process],
) -> None:
    process = launch("-c", BIND_AND_START + RUN)
    lines = [process.line(), process.line()]
    killed, other = (worker_in(line) for line in lines)
    address = ("127.0.0.1", port_in(lines[0]))
    connections = 8
    with Load(address[1], connections) as load, contextlib.ExitStack() as stack:
        eventually(lambda: set(load.answers) == {killed, other})
        clients: dict[int, Client] = {}

        def connect() -> bool:
            client = stack.enter_context(Client(address))
            clients[int(client.ask(get()))] = client
            return set(clients) == {killed, other}

        eventually(connect)
        for client in clients.values():
            client.send(get("/held"))
        answered = load.answers[other]
        os.kill(killed, signal.SIGKILL)
        with contextlib.suppress(ConnectionResetError):
            assert clients[killed].read_to_end() == b""
        clients[other].half_close()
        assert int(clients[other].read_response().body) == other
        replacement = worker_in(process.line())
        eventually(lambda: load.answers[other] > answered and load.answers[replacement])
    assert replacement not in (killed, other)
    # One request on each of its connections at the most; None is one without an answer so far.
    assert {worker for worker, _ in load.failures} <= {killed, None}
    assert len(load.failures) <= connections
    process.send_signal(signal.SIGTERM)
    assert process.end().returncode == 0
