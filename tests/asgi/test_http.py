"""ASGI applications over HTTP: every message, in its turn and out of it."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gzip
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asgi_apps import (
    Message,
    Receive,
    Recorder,
    Scope,
    Send,
    body,
    read_body,
    respond,
    saying,
    start,
)
from helpers import Client, Logs, Served, eventually, get, post
from wire import Wire

from fasthttpserver.asgi import ASGIContainer
from fasthttpserver.errors import StreamClosedError

Serve = Callable[..., Served]
Wired = Callable[..., Wire]

HEAD = get().replace(b"GET", b"HEAD", 1)
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def served(serve: Serve, application: Any, **options: Any) -> Client:
    """Serve an application and connect a client."""
    return serve(ASGIContainer(application), **options).connect()


def undated(response: bytes) -> bytes:
    """A response without its Date, which it must have."""
    lines = response.split(b"\r\n")
    assert sum(line.lower().startswith(b"date: ") for line in lines) == 1, response
    return b"\r\n".join([line for line in lines if not line.lower().startswith(b"date: ")])


# --- Responses ------------------------------------------------------------------------------

RESPONSES: dict[str, tuple[list[Message], bytes, bytes]] = {
    "whole": (
        [start(200, (b"content-type", b"text/plain")), body(b"hello")],
        get(),
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello",
    ),
    "with a length": (
        [start(200, (b"content-length", b"5")), body(b"hello")],
        get(),
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    ),
    "repeated fields": (
        [start(200, (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")), body()],
        get(),
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n",
    ),
    "nothing but types": (
        [{"type": "http.response.start", "status": 404}, {"type": "http.response.body"}],
        get(),
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    ),
    "of an unknown status": (
        [start(299), body(b"x")],
        get(),
        b"HTTP/1.1 299 \r\nContent-Length: 1\r\n\r\nx",
    ),
    "other kinds of bytes": (
        [start(), {"type": "http.response.body", "body": memoryview(b"view")}],
        get(),
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nview",
    ),
    "lists for pairs": (
        [{"type": "http.response.start", "status": 200, "headers": [[b"x-a", b"b"]]}, body()],
        get(),
        b"HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 0\r\n\r\n",
    ),
    "in pieces": (
        [start(), body(b"ab", True), body(b"", True), body(b"c", True), body()],
        get(),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
    ),
    "in pieces with a length": (
        [start(200, (b"content-length", b"3")), body(b"ab", True), body(b"c")],
        get(),
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
    ),
    "its own Transfer-Encoding": (
        [start(200, (b"transfer-encoding", b"chunked")), body(b"abc", True), body()],
        get(),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ),
    "without a body": ([start(204), body()], get(), b"HTTP/1.1 204 No Content\r\n\r\n"),
    "not modified": ([start(304), body()], get(), b"HTTP/1.1 304 Not Modified\r\n\r\n"),
    "to HEAD": (
        [start(), body(b"hello")],
        HEAD,
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    ),
    "to HEAD in pieces": ([start(), body(b"x", True), body()], HEAD, b"HTTP/1.1 200 OK\r\n\r\n"),
    "to HTTP/1.0": (
        [start(), body(b"x", True), body()],
        get(version="HTTP/1.0"),
        b"HTTP/1.1 200 OK\r\n\r\nx",
    ),
    "that closes": (
        [start(200, (b"connection", b"close")), body(b"x")],
        get(),
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx",
    ),
    "with trailers": (
        [
            start(200, (b"trailer", b"x-sum"), trailers=True),
            body(b"ab"),
            {
                "type": "http.response.trailers",
                "headers": [(b"x-sum", b"3")],
                "more_trailers": True,
            },
            {"type": "http.response.trailers", "headers": [(b"x-more", b"4")]},
        ],
        get(),
        b"HTTP/1.1 200 OK\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\nab\r\n0\r\nX-Sum: 3\r\nX-More: 4\r\n\r\n",
    ),
    "with trailers to HTTP/1.0": (
        [
            start(200, trailers=True),
            body(b"ab"),
            {"type": "http.response.trailers", "headers": [(b"x-sum", b"3")]},
        ],
        get(version="HTTP/1.0"),
        b"HTTP/1.1 200 OK\r\n\r\nab",
    ),
}


@pytest.mark.parametrize("messages, request_, response", RESPONSES.values(), ids=RESPONSES)
def test_response(wire: Wired, messages: list[Message], request_: bytes, response: bytes) -> None:
    end = wire(ASGIContainer(saying(*messages)))
    end.send(request_)
    sent = end.sent()
    first, _, rest = sent.partition(b"\r\n\r\n")
    want, _, content = response.partition(b"\r\n\r\n")
    assert sorted(undated(first).split(b"\r\n")) == sorted(want.split(b"\r\n"))
    assert first.startswith(want.split(b"\r\n")[0])
    assert rest == content
    if b"HTTP/1.0" not in request_ and b"Connection: close" not in response:
        end.send(request_)
        assert undated(end.sent()) == undated(sent)  # which may be of the next second
    else:
        assert end.ended


@pytest.mark.parametrize("name", [b"date", b"Date"])  # the specification wants the first
def test_date_of_the_application_stays(wire: Wired, name: bytes) -> None:
    end = wire(ASGIContainer(saying(start(200, (name, b"today")), body())))
    end.send(get())
    assert end.sent() == b"HTTP/1.1 200 OK\r\nDate: today\r\nContent-Length: 0\r\n\r\n"


def test_head_and_body_leave_together(serve: Serve) -> None:
    client = served(serve, saying(start(), body(b"hello")))
    client.send(get() * 3)
    for _ in range(3):
        assert client.read_response().body == b"hello"


def test_head_is_held_back_until_the_body_comes(wire: Wired) -> None:
    goes_on = asyncio.Event()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await send(start())
        await goes_on.wait()
        await send(body(b"hello"))

    end = wire(ASGIContainer(application))
    end.send(get())
    assert end.sent() == b""
    end.call(goes_on.set)
    assert end.sent().endswith(b"hello")


def test_early_hints_precede_the_response(wire: Wired) -> None:
    hint = {"type": "http.response.early_hint", "links": [b"</a>; rel=preload", b"</b>"]}
    end = wire(ASGIContainer(saying(hint, start(), body(b"x"))))
    end.send(get())
    assert end.sent().startswith(
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nLink: </b>\r\n\r\nHTTP/1.1 200 "
    )
    end = wire(ASGIContainer(saying(hint, start(), body(b"x"))))
    end.send(get(version="HTTP/1.0"))
    assert end.sent().startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("size", [0, 10, 1_000_000])
@pytest.mark.parametrize("length", [False, True])
def test_file_is_sent_by_its_path(serve: Serve, tmp_path: Path, size: int, length: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(size))
    headers = [(b"content-length", str(size).encode())] if length else []
    client = served(
        serve,
        saying(start(200, *headers), {"type": "http.response.pathsend", "path": str(path)}),
    )
    client.send(get(version="HTTP/1.0"))
    head, _, content = client.read_to_end().partition(b"\r\n\r\n")
    assert content == bytes(size)
    assert (b"Content-Length" in head) == length


def test_file_that_is_not_there_is_an_error(serve: Serve, logs: Logs) -> None:
    client = served(
        serve, saying(start(), {"type": "http.response.pathsend", "path": "/nowhere/at/all"})
    )
    client.send(get())
    assert client.read_response().status == 500
    assert len(logs.errors()) == 1


# --- Messages out of their turn ---------------------------------------------------------------

PUSH: Message = {"type": "http.response.push"}
TRAILERS: Message = {"type": "http.response.trailers", "headers": []}
HINT: Message = {"type": "http.response.early_hint", "links": []}

# What was sent before the mistake decides: nothing but a 500, a part that looks like one, or all.
WRONG: dict[str, list[Message]] = {
    "body first": [body(b"x")],
    "started twice": [start(), start()],
    "trailers first": [TRAILERS],
    "unknown": [start(), PUSH],
    "hint too late": [start(), HINT],
    "unannounced trailers": [start(), TRAILERS],
    "status 101": [start(101)],
    "status 1000": [start(1000)],
    "status of text": [{**start(), "status": "200"}],
    "no status": [{"type": "http.response.start"}],
    "header that splits": [start(200, (b"a", b"b\r\nc: d")), body()],
    "header without a name": [start(200, (b"", b"b")), body()],
    "body too long": [start(200, (b"content-length", b"1")), body(b"ab")],
    "body too short": [start(200, (b"content-length", b"3")), body(b"ab")],
    "length that is none": [start(200, (b"content-length", b"x")), body(b"ab")],
    "started only": [start()],
    "nothing": [],
}


@pytest.mark.parametrize("messages", WRONG.values(), ids=WRONG)
def test_mistake_before_anything_was_sent_is_a_500(
    wire: Wired, logs: Logs, messages: list[Message]
) -> None:
    end = wire(ASGIContainer(saying(*messages)))
    end.send(get())
    assert end.sent().startswith(b"HTTP/1.1 500 ")
    assert end.ended
    assert len(logs.errors()) == 1


PARTLY: dict[str, list[Message]] = {
    "not ended": [start(), body(b"x", True)],
    "started twice": [start(), body(b"x", True), start()],
    "too short": [start(200, (b"content-length", b"9")), body(b"x", True), body(b"y")],
    "trailers missing": [start(200, trailers=True), body(b"x")],
    "hint": [start(), body(b"x", True), HINT],
}


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
@pytest.mark.parametrize("messages", PARTLY.values(), ids=PARTLY)
def test_half_response_does_not_look_whole(
    serve: Serve, logs: Logs, messages: list[Message], version: str
) -> None:
    client = served(serve, saying(*messages))
    client.send(get(version=version))
    with contextlib.suppress(ConnectionResetError):
        # An orderly end is good enough where the length tells.
        assert client.read_to_end().endswith(b"\r\n\r\nxy")
    eventually(lambda: logs.records)
    assert len(logs.errors()) == 1


def test_body_that_is_too_long_is_cut_where_it_was_to_end(serve: Serve, logs: Logs) -> None:
    length = start(200, (b"content-length", b"1"))
    client = served(serve, saying(length, body(b"x", True), body(b"y")))
    client.send(get())
    assert client.read_response().body == b"x"
    assert client.read_to_end() == b""
    eventually(lambda: logs.records)
    assert len(logs.errors()) == 1


def test_trailers_that_would_frame_leave_the_response_without_its_end(
    serve: Serve, logs: Logs
) -> None:
    trailers = {**TRAILERS, "headers": [(b"content-length", b"5")]}
    client = served(serve, saying(start(200, trailers=True), body(b"x"), trailers))
    client.send(get())
    client.read_until(b"1\r\nx\r\n")
    with contextlib.suppress(ConnectionResetError):
        assert client.read_to_end() == b""
    eventually(lambda: logs.records)
    assert len(logs.errors()) == 1


@pytest.mark.parametrize("message", [start(), body(b"x"), PUSH, TRAILERS])
def test_nothing_can_be_sent_after_the_response(serve: Serve, logs: Logs, message: Message) -> None:
    recorder = Recorder(saying(start(), body(b"ok"), message))
    client = served(serve, recorder)
    assert client.ask(get()) == b"ok"
    eventually(lambda: recorder.done == 1)
    assert isinstance(recorder.errors[0], RuntimeError)
    assert client.ask(get()) == b"ok"  # the connection goes on
    eventually(lambda: recorder.done == 2)
    eventually(lambda: len(logs.records) == 2)
    assert len(logs.errors()) == 2


def test_exception_is_a_500_and_is_logged(serve: Serve, logs: Logs) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError("on purpose")

    client = served(serve, application)
    client.send(get())
    assert client.read_response().status == 500
    assert client.read_to_end() == b""
    assert len(logs.errors()) == 1


# --- Requests ---------------------------------------------------------------------------------


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send, await read_body(receive))


@pytest.mark.parametrize("size", [0, 1, 1000, 300_000])
def test_body_is_received(serve: Serve, size: int) -> None:
    client = served(serve, echo)
    for _ in range(2):
        assert client.ask(post(bytes(size))) == bytes(size)
    client.send(CHUNKED + b"3\r\nabc\r\n0\r\n\r\n" + get())
    assert client.read_response().body == b"abc"
    assert client.read_response().body == b""


def test_body_is_received_as_it_comes(serve: Serve) -> None:
    recorder = Recorder(echo)
    client = served(serve, recorder)
    client.send(post(b"")[:-4].replace(b"Length: 0", b"Length: 4") + b"\r\n\r\nab")
    eventually(lambda: recorder.received)
    assert recorder.received[0] == {"type": "http.request", "body": b"ab", "more_body": True}
    client.send(b"cd")
    assert client.read_response().body == b"abcd"


def test_client_is_told_to_continue_when_the_application_receives(wire: Wired) -> None:
    goes_on = asyncio.Event()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await goes_on.wait()
        await echo(scope, receive, send)

    end = wire(ASGIContainer(application))
    end.send(post(b"body", "Expect: 100-continue")[:-4])
    assert end.sent() == b""
    end.call(goes_on.set)
    assert end.sent() == b"HTTP/1.1 100 Continue\r\n\r\n"
    end.send(b"body")
    assert end.sent().endswith(b"body")


def test_client_has_to_wait_while_nobody_receives(serve: Serve) -> None:
    goes_on = asyncio.Event()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await goes_on.wait()
        size = len(await read_body(receive))
        await respond(send, str(size).encode())

    server = serve(ASGIContainer(application))
    client = server.connect()
    client.socket.settimeout(0.3)
    data = post(bytes(50_000_000))
    sent = 0
    with pytest.raises(TimeoutError):
        while sent < len(data):
            sent += client.socket.send(data[sent : sent + 100_000])
    client.socket.settimeout(10)
    server.call(goes_on.set)
    client.send(data[sent:])
    assert client.read_response().body == b"50000000"


def test_application_has_to_wait_for_a_client_that_reads_slowly(serve: Serve) -> None:
    sent = 0

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent
        await send(start())
        for _ in range(1000):
            await send(body(bytes(100_000), True))
            sent += 1
        await send(body())

    server = serve(ASGIContainer(application))
    client = server.connect(receive_buffer=4096)
    client.send(get())
    eventually(lambda: server.connections)
    eventually(lambda: server.call(lambda: server.connection.stream.writing()))
    assert server.call(lambda: server.connection.stream.write_buffer_size) < 300_000
    assert sent < 1000  # it could not have gone anywhere
    client.read_until(b"\r\n\r\n")
    client.close()


# --- Disconnects ------------------------------------------------------------------------------


async def wait_for_disconnect(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@pytest.mark.parametrize("leave", [Client.close, Client.reset])
@pytest.mark.parametrize("request_", [get(), post(b"body"), post(b"body")[:-1]])
def test_application_is_told_of_the_disconnect(
    serve: Serve, request_: bytes, leave: Callable[[Client], None]
) -> None:
    recorder = Recorder(wait_for_disconnect)
    client = served(serve, recorder)
    client.send(request_)
    eventually(lambda: recorder.scopes)
    leave(client)
    eventually(lambda: recorder.done)
    assert recorder.received[-1] == {"type": "http.disconnect"}
    assert not recorder.errors


@pytest.mark.parametrize("first", ["start", "whole", "piece"])
def test_sending_to_a_client_that_has_gone_raises(serve: Serve, first: str) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if first == "piece":
            await send(start())
            await send(body(b"x", True))
        await wait_for_disconnect(scope, receive, send)
        await asyncio.sleep(0)
        if first != "piece":
            await send(start())
        await send(body(b"x", first == "piece"))

    recorder = Recorder(application)
    client = served(serve, recorder)
    client.send(get())
    eventually(lambda: recorder.received)
    client.reset()
    eventually(lambda: recorder.done)
    (error,) = recorder.errors
    assert isinstance(error, OSError)


@pytest.mark.parametrize("wrap", ["raise", "from", "group", "while handling"])
def test_exception_that_a_disconnect_has_caused_is_no_fault(serve: Serve, wrap: str) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await wait_for_disconnect(scope, receive, send)
        try:
            await send(start())
            await send(body())
        except OSError as error:
            if wrap == "raise":
                raise
            if wrap == "from":
                raise ValueError("gone") from error
            if wrap == "group":
                raise ExceptionGroup("several", [error, error]) from None
            raise ValueError("gone")  # noqa: B904

    recorder = Recorder(application)
    client = served(serve, recorder)
    client.send(get())
    eventually(lambda: recorder.received)
    client.reset()
    eventually(lambda: recorder.done)
    assert recorder.errors


def test_receive_tells_of_a_disconnect_that_nobody_watched_for(serve: Serve) -> None:
    goes_on = asyncio.Event()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await read_body(receive)
        await goes_on.wait()
        await wait_for_disconnect(scope, receive, send)

    recorder = Recorder(application)
    server = serve(ASGIContainer(recorder))
    client = server.connect()
    client.send(get())
    eventually(lambda: recorder.received)
    client.reset()
    server.all_closed()
    server.call(goes_on.set)
    eventually(lambda: recorder.done)
    assert not recorder.errors


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("error", [None, StreamClosedError()])
def test_application_may_end_without_an_answer_after_the_disconnect(
    serve: Serve, error: Exception | None, begun: bool
) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if begun:
            await send(start())
            await send(body(b"x", True))
        await wait_for_disconnect(scope, receive, send)
        if error is not None:
            raise error

    server = serve(ASGIContainer(application))
    client = server.connect()
    client.send(get())
    client.half_close()
    with pytest.raises(ConnectionResetError) if begun else contextlib.nullcontext():
        assert client.read_to_end() == b""  # and not a part of a response that looks whole
    server.all_closed()


def test_disconnect_of_somebody_else_is_a_fault(serve: Serve, logs: Logs) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        raise StreamClosedError  # for instance of a database

    client = served(serve, application)
    client.send(get())
    assert client.read_response().status == 500
    assert len(logs.errors()) == 1


def test_half_closed_client_gets_its_answer(serve: Serve) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await wait_for_disconnect(scope, receive, send)
        await respond(send, b"late")

    client = served(serve, application)
    client.send(get())
    client.half_close()
    assert client.read_response().body == b"late"
    assert client.read_to_end() == b""


@pytest.mark.parametrize("begun", [False, True])
def test_application_need_not_answer_a_client_that_sends_no_more(serve: Serve, begun: bool) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if begun:
            await send(start())
            await send(body(b"x", True))
        await wait_for_disconnect(scope, receive, send)

    client = served(serve, application)
    client.send(get(version="HTTP/1.0"))
    if begun:
        client.read_until(b"\r\n\r\nx")
    client.half_close()
    if begun:
        with pytest.raises(ConnectionResetError):  # it was not all
            client.read_to_end()
    else:
        assert client.read_to_end() == b""


@pytest.mark.parametrize("packed", [False, True])
def test_client_may_half_close_behind_a_body_that_is_read_slowly(
    serve: Serve, packed: bool
) -> None:
    reads = asyncio.Event()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        first = await receive()
        await reads.wait()
        data: bytes = first["body"] + await read_body(receive)
        assert (await receive())["type"] == "http.disconnect"
        await respond(send, b"%d" % len(data))

    recorder = Recorder(application)
    server = serve(ASGIContainer(recorder), chunk_size=1000, decompress_request=True)
    client = server.connect()
    whole = bytes(10_000)
    fields = ["Content-Encoding: gzip"] if packed else []
    request = post(gzip.compress(whole) if packed else whole, *fields)
    client.send(request[:-20])
    eventually(lambda: recorder.scopes)  # so that it comes in pieces
    client.send(request[-20:])
    client.half_close()
    eventually(lambda: recorder.received)
    server.settle()
    server.call(reads.set)
    assert client.read_response().body == b"10000"
    assert client.read_to_end() == b""


def test_disconnect_follows_the_end_of_the_response(serve: Serve) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        waiting = asyncio.create_task(wait_for_disconnect(scope, receive, send))
        await asyncio.sleep(0)
        await respond(send)
        await waiting

    recorder = Recorder(application)
    client = served(serve, recorder)
    for number in 1, 2:
        assert client.ask(get()) == b"ok"
        eventually(lambda number=number: recorder.done == number)  # type: ignore[misc]
        assert recorder.received[-1] == {"type": "http.disconnect"}


def test_several_may_wait_for_the_disconnect(serve: Serve) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(wait_for_disconnect(scope, receive, send))

    recorder = Recorder(application)
    client = served(serve, recorder)
    client.send(get())
    eventually(lambda: recorder.received)
    client.close()
    eventually(lambda: recorder.done)
    assert not recorder.errors


# --- Tasks ------------------------------------------------------------------------------------


def test_application_runs_in_a_task_of_its_own(serve: Serve) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        assert task is not None
        async with asyncio.timeout(5):
            assert asyncio.current_task() is task
            await asyncio.sleep(0)
        assert asyncio.current_task() is task
        await respond(send)

    recorder = Recorder(application)
    client = served(serve, recorder)
    for _ in range(3):
        client.ask(get())
    assert len(set(map(id, recorder.tasks))) == 3


def test_timeout_around_the_first_step_ends_the_application(serve: Serve) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        except TimeoutError:
            await respond(send, b"too late")

    assert served(serve, application).ask(get()) == b"too late"


variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


def test_context_of_one_request_is_not_that_of_another(serve: Serve) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        seen = variable.get()
        variable.set("set")
        await asyncio.sleep(0)
        assert variable.get() == "set"
        await respond(send, seen.encode())

    client = served(serve, application)
    client.send(get() * 3)
    for _ in range(3):
        assert client.read_response().body == b"unset"


@pytest.mark.parametrize("begun", [False, True])
def test_shutdown_cancels_what_still_runs(serve: Serve, logs: Logs, begun: bool) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if begun:
            await send(start())
            await send(body(b"x", True))
        await asyncio.Event().wait()

    recorder = Recorder(application)
    container = ASGIContainer(recorder, lifespan="off")
    server = serve(container, linger_silence=0.1)
    client = server.connect()
    client.send(get())
    eventually(lambda: recorder.scopes)
    server.call(container.shutdown, 0)
    assert recorder.done
    assert isinstance(recorder.errors[0], asyncio.CancelledError)
    (warning,) = logs.take("application", logging.WARNING)
    assert "was cancelled" in warning
    server.all_closed()


def test_shutdown_waits_for_what_ends_by_itself(serve: Serve) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send)
        await wait_for_disconnect(scope, receive, send)
        await asyncio.sleep(0.01)

    recorder = Recorder(application)
    container = ASGIContainer(recorder, lifespan="off")
    server = serve(container)
    assert server.connect().ask(get()) == b"ok"
    server.call(container.shutdown)
    assert recorder.done and not recorder.errors
