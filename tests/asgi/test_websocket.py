"""WebSockets of ASGI applications, under the client of the package websockets and a raw one."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import struct
import sys
import threading
import tracemalloc
import zlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asgi_apps import Message, Receive, Recorder, Scope, Send, respond
from helpers import Certificates, Client, Logs, Served, eventually, get
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from fasthttpserver._server.connection import EOF
from fasthttpserver.asgi import ASGIContainer
from fasthttpserver.errors import StreamClosedError

Serve = Callable[..., Served]

HANDSHAKE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
    f"Sec-WebSocket-Key: {base64.b64encode(bytes(16)).decode()}",
)
CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def frame(opcode: int, data: bytes = b"", fin: bool = True) -> bytes:
    """A frame of a client, masked with zeros."""
    first = opcode | (0x80 if fin else 0)
    if len(data) < 126:
        return bytes([first, 0x80 | len(data)]) + bytes(4) + data
    return bytes([first, 0xFE]) + struct.pack(">H", len(data)) + bytes(4) + data


def accepted(serve: Serve, application: Any, **options: Any) -> tuple[Served, Client]:
    """Serve an application, and open a WebSocket by hand."""
    server = serve(ASGIContainer(application, **options))
    client = server.connect()
    client.send(get("/", *HANDSHAKE))
    assert client.read_until(b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
    return server, client


@contextlib.contextmanager
def talking(
    serve: Serve, application: Any, path: str = "/", options: Any = None, **more: Any
) -> Iterator[ClientConnection]:
    """Serve an application, and open a WebSocket."""
    server = serve(ASGIContainer(application, **(options or {})))
    host, port = server.address
    threads = threading.active_count()
    with connect(f"ws://{host}:{port}{path}", proxy=None, **more) as client:
        yield client
    # Both sides take a moment to end.
    eventually(lambda: threading.active_count() == threads)
    eventually(lambda: server.call(lambda: len(asyncio.all_tasks()) == 1))
    server.settle()


async def accept(receive: Receive, send: Send, **more: Any) -> None:
    assert await receive() == {"type": "websocket.connect"}
    await send({"type": "websocket.accept", **more})


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Send everything back until the client closes."""
    await accept(receive, send)
    while (message := await receive())["type"] == "websocket.receive":
        await send({**message, "type": "websocket.send"})


# --- Messages ---------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", ["deflate", None])
@pytest.mark.parametrize("data", ["", "text \u20ac", b"", b"bytes", "x" * 300_000, bytes(300_000)])
def test_messages_go_both_ways(serve: Serve, data: str | bytes, compression: str | None) -> None:
    with talking(serve, echo, compression=compression) as client:
        for _ in range(3):
            client.send(data)
            assert client.recv() == data


def test_message_in_fragments_is_one(serve: Serve) -> None:
    with talking(serve, echo) as client:
        client.send(["a", "b\u20ac", "c"])
        assert client.recv() == "ab\u20acc"
        client.send([b"a", b"b"])
        assert client.recv() == b"ab"


def test_scope_of_a_websocket(serve: Serve) -> None:
    recorder = Recorder(echo)
    with talking(serve, recorder, "/a%20b?c", subprotocols=["one", "two"]):
        pass
    (scope,) = recorder.scopes
    assert scope["type"] == "websocket"
    assert scope["scheme"] == "ws"
    assert scope["path"] == "/a b" and scope["query_string"] == b"c"
    assert scope["subprotocols"] == ["one", "two"]
    assert scope["extensions"] == {"websocket.http.response": {}}
    assert "method" not in scope
    assert (b"upgrade", b"websocket") in scope["headers"]


def test_application_chooses_subprotocol_and_adds_headers(serve: Serve) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send, subprotocol="two", headers=[(b"x-a", b"b")])

    with talking(serve, application, subprotocols=["one", "two"]) as client:
        assert client.subprotocol == "two"
        assert client.response is not None and client.response.headers["X-A"] == "b"


def test_frames_that_come_with_the_handshake_are_received(serve: Serve) -> None:
    recorder = Recorder(echo)
    client = serve(ASGIContainer(recorder)).connect()
    client.send(get("/", *HANDSHAKE) + frame(TEXT, b"early"))
    client.read_until(b"\r\n\r\n")
    assert client.read(7) == b"\x81\x05early"
    client.close()
    eventually(lambda: recorder.done)


def test_ping_is_answered_while_the_application_waits(serve: Serve) -> None:
    recorder = Recorder(echo)
    _, client = accepted(serve, recorder)
    client.send(frame(PING, b"x"))
    assert client.read(3) == b"\x8a\x01x"
    client.close()
    eventually(lambda: recorder.done)


# --- Closing ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent, code, reason",
    [
        (struct.pack(">H", 1001) + b"going", 1001, "going"),
        (struct.pack(">H", 4000), 4000, ""),
        (b"", 1005, ""),
    ],
)
def test_client_closes(serve: Serve, sent: bytes, code: int, reason: str) -> None:
    recorder = Recorder(echo)
    _, client = accepted(serve, recorder)
    client.send(frame(CLOSE, sent))
    assert client.read_to_end() == bytes([0x88, len(sent)]) + sent
    eventually(lambda: recorder.done)
    expected = {"type": "websocket.disconnect", "code": code, "reason": reason}
    assert recorder.received[-1] == expected


@pytest.mark.parametrize("leave", [Client.close, Client.reset, Client.half_close])
@pytest.mark.parametrize("before", [b"", frame(TEXT, b"x", fin=False), frame(TEXT, b"x")[:3]])
def test_client_leaves(serve: Serve, leave: Callable[[Client], None], before: bytes) -> None:
    recorder = Recorder(echo)
    _, client = accepted(serve, recorder)
    client.send(before)
    leave(client)
    eventually(lambda: recorder.done)
    assert recorder.received[-1] == {"type": "websocket.disconnect", "code": 1006, "reason": ""}
    assert not recorder.errors


def test_client_leaves_before_its_websocket_is_accepted(serve: Serve) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await receive()
        await send({"type": "websocket.accept"})

    recorder = Recorder(application)
    client = serve(ASGIContainer(recorder)).connect()
    client.send(get("/", *HANDSHAKE))
    eventually(lambda: recorder.received)
    client.close()
    eventually(lambda: recorder.done)
    assert recorder.received[-1]["code"] == 1006
    assert isinstance(recorder.errors[0], OSError)


@pytest.mark.parametrize(
    "message, code, reason",
    [
        ({}, 1000, ""),
        ({"code": None, "reason": None}, 1000, ""),
        ({"code": 3001, "reason": "enough"}, 3001, "enough"),
    ],
)
def test_application_closes(serve: Serve, message: Message, code: int, reason: str) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await send({"type": "websocket.close", **message})
        await receive()

    recorder = Recorder(application)
    with talking(serve, recorder) as client:
        with pytest.raises(ConnectionClosed):
            client.recv()
        assert (client.close_code, client.close_reason) == (code, reason)
    eventually(lambda: recorder.done)
    assert recorder.received[-1]["code"] == code
    assert not recorder.errors


def test_returning_closes(serve: Serve) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)

    with talking(serve, application) as client:
        with pytest.raises(ConnectionClosed):
            client.recv()
        assert client.close_code == 1000


def test_exception_closes_with_1011(serve: Serve, logs: Logs) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        raise ZeroDivisionError("on purpose")

    with talking(serve, application) as client:
        with pytest.raises(ConnectionClosedError):
            client.recv()
        assert client.close_code == 1011
    assert len(logs.errors()) == 1


def test_sending_after_the_client_has_gone_raises(serve: Serve) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await receive()
        await send({"type": "websocket.send", "text": "x"})

    recorder = Recorder(application)
    _, client = accepted(serve, recorder)
    client.close()
    eventually(lambda: recorder.done)
    assert isinstance(recorder.errors[0], OSError)


def test_client_that_does_not_answer_a_close_is_not_waited_for(serve: Serve) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)

    _, client = accepted(serve, application, websocket_close_timeout=0.05)
    assert client.read_to_end() == b"\x88\x02\x03\xe8"


def test_shutdown_tells_both_sides(serve: Serve) -> None:
    recorder = Recorder(echo)
    container = ASGIContainer(recorder, lifespan="off")
    server = serve(container)
    client = server.connect()
    client.send(get("/", *HANDSHAKE))
    client.read_until(b"\r\n\r\n")
    server.call(container.shutdown)
    assert recorder.received[-1]["code"] == 1012
    assert client.read(4) == b"\x88\x02\x03\xf4"
    client.send(frame(CLOSE, b"\x03\xf4"))
    assert client.read_to_end() == b""


# --- Limits and back-pressure -----------------------------------------------------------------


@pytest.mark.parametrize(
    "sent, code",
    [
        (frame(TEXT, bytes(11)), 1009),
        (frame(TEXT, bytes(8), fin=False) + frame(0, bytes(8)), 1009),
        (frame(TEXT, b"\xff"), 1007),
        (frame(3), 1002),
        (frame(0, b"x"), 1002),
        (b"\x81\x01x", 1002),  # not masked
    ],
)
def test_what_is_no_right_message_fails_the_connection(
    serve: Serve, sent: bytes, code: int
) -> None:
    recorder = Recorder(echo)
    _, client = accepted(serve, recorder, websocket_max_size=10)
    client.send(sent)
    assert client.read(4)[0::1][2:] == struct.pack(">H", code)
    eventually(lambda: recorder.done)
    assert recorder.received[-1]["code"] == code
    client.close()


def test_client_that_does_not_answer_pings_is_given_up(serve: Serve) -> None:
    recorder = Recorder(echo)
    _, client = accepted(serve, recorder, websocket_ping_interval=0.01, websocket_ping_timeout=0.05)
    assert client.read(2) == b"\x89\x00"
    client.send(frame(PONG))
    assert client.read(2) == b"\x89\x00"
    assert client.read_until(b"keepalive ping timeout")[2:4] == struct.pack(">H", 1011)
    eventually(lambda: recorder.done)
    assert recorder.received[-1]["code"] == 1011
    client.close()


def test_pings_may_go_unanswered(serve: Serve) -> None:
    recorder = Recorder(echo)
    _, client = accepted(serve, recorder, websocket_ping_interval=0.01, websocket_ping_timeout=None)
    assert client.read(6) == b"\x89\x00" * 3
    client.close()
    eventually(lambda: recorder.done)


def receiving_after(goes_on: asyncio.Event) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """An application that accepts, and receives what has come when it may go on."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await goes_on.wait()
        while (await receive())["type"] == "websocket.receive":
            pass

    return application


@pytest.mark.parametrize("tls", [False, True])
def test_client_may_half_close_behind_messages_that_wait(
    serve: Serve, tmp_path: Path, tls: bool
) -> None:
    goes_on = asyncio.Event()

    recorder = Recorder(receiving_after(goes_on))
    certificates = Certificates(tmp_path)
    options = {"certfile": certificates.certfile, "keyfile": certificates.keyfile}
    server = serve(ASGIContainer(recorder), ssl_options=options if tls else None)
    client = server.connect(context=certificates.client_context() if tls else None)
    client.send(get("/", *HANDSHAKE))
    client.read_until(b"\r\n\r\n")
    server.settle()  # it is noted after the first step of its task, which has answered
    (exchange,) = server.server._settings.delegate._running  # type: ignore[union-attr]
    client.send(frame(BINARY, b"x") * 2000 + frame(CLOSE, b"\x03\xe8"))
    client.half_close()
    eventually(lambda: exchange._paused)
    server.settle()
    server.call(goes_on.set)
    eventually(lambda: recorder.done)
    assert len(recorder.received) == 1 + 2000 + 1
    assert recorder.received[-1]["code"] == 1000


def test_client_that_has_to_wait_need_not_answer_pings(serve: Serve) -> None:
    goes_on = asyncio.Event()

    recorder = Recorder(receiving_after(goes_on))
    container = ASGIContainer(recorder, websocket_ping_interval=1e-3, websocket_ping_timeout=1e-3)
    server = serve(container)
    client = server.connect()
    client.send(get("/", *HANDSHAKE) + frame(BINARY, b"x") * 1000)
    client.read_until(b"\r\n\r\n")
    for _ in range(3):
        assert client.read(2) == b"\x89\x00"
    server.call(goes_on.set)
    client.close()
    eventually(lambda: recorder.done)


def test_application_may_close_while_the_client_has_to_wait(serve: Serve) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await receive()
        await send({"type": "websocket.close"})

    server, client = accepted(serve, application)
    client.send(frame(BINARY, b"x") * 30)
    assert client.read(4) == b"\x88\x02\x03\xe8"
    client.send(frame(BINARY, b"x"))  # on its way when the close came
    server.settle()
    client.send(frame(CLOSE, b"\x03\xe8"))
    assert client.read_to_end() == b""


def test_client_has_to_wait_while_nobody_receives(serve: Serve) -> None:
    goes_on = asyncio.Event()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await goes_on.wait()
        for _ in range(1000):
            assert (await receive())["type"] == "websocket.receive"
        await send({"type": "websocket.send", "text": "all"})

    server, client = accepted(serve, application)
    data = frame(BINARY, bytes(60_000)) * 1000
    sent = 0
    client.socket.settimeout(0.3)
    with pytest.raises(TimeoutError):
        while sent < len(data):
            sent += client.socket.send(data[sent : sent + 100_000])
    client.socket.settimeout(10)
    server.call(goes_on.set)
    client.send(data[sent:])
    assert client.read(5) == b"\x81\x03all"


def packed(data: bytes) -> bytes:
    """A compressed message of a client that uses no context (RFC 7692 section 7.2.1)."""
    deflate = zlib.compressobj(wbits=-15)
    payload = deflate.compress(data) + deflate.flush(zlib.Z_SYNC_FLUSH)
    message = bytearray(frame(BINARY, payload[:-4]))
    message[0] |= 0x40  # RSV1
    return bytes(message)


@pytest.mark.parametrize(
    ("messages", "most"),
    [
        ([packed(bytes([number]) * 4_000_000) for number in range(12)], 2),
        ([frame(BINARY, struct.pack(">H", number)) for number in range(20_000)], 1000),
        ([frame(BINARY, bytes([number]) * 60_000) for number in range(12)], 3),
    ],
    ids=["compressed", "small", "large"],
)
def test_messages_that_nobody_receives_wait_in_the_form_that_they_came_in(
    serve: Serve, messages: list[bytes], most: int
) -> None:
    goes_on = asyncio.Event()
    received: list[bytes] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await goes_on.wait()
        while (message := await receive())["type"] == "websocket.receive":
            received.append(message["bytes"][:2])

    server = serve(ASGIContainer(application))
    client = server.connect()
    client.send(get("/", *HANDSHAKE, "Sec-WebSocket-Extensions: permessage-deflate"))
    client.read_until(b"\r\n\r\n")
    server.settle()  # it is noted after the first step of its task, which has answered
    (exchange,) = server.server._settings.delegate._running  # type: ignore[union-attr]
    sender = threading.Thread(target=client.send, args=(b"".join(messages) + frame(CLOSE),))
    sender.start()
    eventually(lambda: exchange._paused)
    assert 0 < server.call(lambda: len(exchange._messages)) <= most
    server.call(goes_on.set)
    assert client.read_to_end() == b"\x88\x00"
    sender.join()
    assert len(received) == len(messages)
    assert received == sorted(received)  # each begins with its number


def test_application_has_to_wait_for_a_client_that_reads_slowly(serve: Serve) -> None:
    sent = 0

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent
        await accept(receive, send)
        for _ in range(10_000):
            await send({"type": "websocket.send", "bytes": bytes(10_000)})
            sent += 1

    recorder = Recorder(application)
    _, client = accepted(serve, recorder)
    client.read(100_000)
    assert sent < 10_000
    client.close()
    eventually(lambda: recorder.done)
    assert isinstance(recorder.errors[0], OSError)


# --- Denying ----------------------------------------------------------------------------------


def test_close_before_accept_is_a_403(serve: Serve) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.close"})

    with pytest.raises(InvalidStatus) as caught, talking(serve, application):
        pass
    assert caught.value.response.status_code == 403


@pytest.mark.parametrize("pieces", [1, 3])
def test_response_of_the_application_in_the_place_of_a_websocket(serve: Serve, pieces: int) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        kind = "websocket.http.response"
        await send({"type": f"{kind}.start", "status": 401, "headers": [(b"x-a", b"b")]})
        for number in range(pieces):
            more = number < pieces - 1
            await send({"type": f"{kind}.body", "body": b"no", "more_body": more})

    with pytest.raises(InvalidStatus) as caught, talking(serve, application):
        pass
    response = caught.value.response
    assert (response.status_code, response.headers["X-A"]) == (401, "b")
    assert response.body == b"no" * pieces


@pytest.mark.parametrize("fails", [False, True])
def test_application_that_denies_learns_of_the_disconnect(
    serve: Serve, logs: Logs, fails: bool
) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.http.response.start", "status": 403})
        if fails:
            raise ZeroDivisionError("on purpose")
        while (await receive())["type"] != "http.disconnect":
            pass

    recorder = Recorder(application)
    client = serve(ASGIContainer(recorder)).connect()
    client.send(get("/", *HANDSHAKE))
    if fails:
        assert client.read_response().status == 500
        assert len(logs.errors()) == 1
    else:
        eventually(lambda: len(recorder.received) == 2)
        client.close()
    eventually(lambda: recorder.done)


WRONG: dict[str, list[Message]] = {
    "send before accept": [{"type": "websocket.send", "text": "x"}],
    "unknown": [{"type": "http.response.start", "status": 200}],
    "body first": [{"type": "websocket.http.response.body"}],
    "header that splits": [{"type": "websocket.accept", "headers": [(b"a", b"b\r\nc: d")]}],
    "subprotocol by a header": [
        {"type": "websocket.accept", "headers": [(b"sec-websocket-protocol", b"x")]}
    ],
    "response that is not whole": [{"type": "websocket.http.response.start", "status": 400}],
    "nothing": [],
}


@pytest.mark.parametrize("messages", WRONG.values(), ids=WRONG)
def test_mistake_before_accept_is_a_500(serve: Serve, logs: Logs, messages: list[Message]) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    client = serve(ASGIContainer(application)).connect()
    client.send(get("/", *HANDSHAKE))
    assert client.read_response().status == 500
    assert len(logs.errors()) == 1


@pytest.mark.parametrize(
    "message",
    [
        {"type": "websocket.accept"},
        {"type": "websocket.send"},
        {"type": "websocket.close", "code": 5},
    ],
)
def test_mistake_after_accept_closes_with_1011(serve: Serve, logs: Logs, message: Message) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await accept(receive, send)
        await send(message)

    with talking(serve, application) as client:
        with pytest.raises(ConnectionClosedError):
            client.recv()
        assert client.close_code == 1011
    assert len(logs.errors()) == 1


# --- Clients that go or flood -----------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        None,
        {"type": "websocket.accept"},
        {"type": "websocket.close"},
        {"type": "websocket.http.response.start", "status": 200},
    ],
)
def test_client_may_go_before_the_application_begins(serve: Serve, message: Message | None) -> None:
    begins = asyncio.Event()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await begins.wait()
        assert await receive() == {"type": "websocket.connect"}
        if message is not None:
            with pytest.raises(StreamClosedError):
                await send(message)
        assert (await receive())["type"] == "websocket.disconnect"

    recorder = Recorder(application)
    server = serve(ASGIContainer(recorder))
    client = server.connect()
    client.send(get("/", *HANDSHAKE))
    eventually(lambda: recorder.scopes)
    client.reset()
    server.all_closed()
    server.call(begins.set)
    eventually(lambda: recorder.done)
    assert not recorder.errors


def test_handshake_of_a_client_that_sends_nothing_more_is_over(serve: Serve) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        assert await receive() == {"type": "websocket.connect"}
        assert (await receive())["type"] == "websocket.disconnect"

    recorder = Recorder(application)
    server = serve(ASGIContainer(recorder))
    client = server.connect()
    client.send(get("/", *HANDSHAKE))
    client.half_close()
    assert client.read_to_end() == b""
    server.all_closed()
    eventually(lambda: recorder.done)
    assert not recorder.errors


def test_websocket_of_a_client_that_has_half_closed_before_the_accept_is_over(
    serve: Serve,
) -> None:
    begins = asyncio.Event()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await begins.wait()
        await echo(scope, receive, send)

    recorder = Recorder(application)
    server = serve(ASGIContainer(recorder))
    client = server.connect()
    client.send(get("/", *HANDSHAKE))
    client.half_close()
    eventually(lambda: server.connections and server.connection._input is EOF)
    server.call(begins.set)
    client.read_to_end()
    eventually(lambda: recorder.done)
    assert recorder.received[-1]["type"] == "websocket.disconnect"
    assert not recorder.errors


@pytest.mark.slow
def test_client_that_takes_no_answers_to_its_pings_has_to_wait(serve: Serve) -> None:
    recorder = Recorder(echo)
    server, client = accepted(serve, recorder)
    pings = frame(PING, bytes(125)) * 1000
    total, sent = 200 * pings, 0
    client.socket.settimeout(0.5)
    with contextlib.suppress(TimeoutError):
        while sent < len(total):
            sent += client.socket.send(total[sent : sent + 100_000])
    server.settle()  # it is noted after the first step of its task, which has answered
    (exchange,) = server.server._settings.delegate._running  # type: ignore[union-attr]
    assert server.call(lambda: exchange._stream.write_buffer_size) < 1_000_000
    # It takes them, and goes on, with the rest of the ping that was cut and a message.
    client.socket.settimeout(10)
    pong = bytes([0x8A, 125]) + bytes(125)
    rest = -sent % (len(pings) // 1000)
    sender = threading.Thread(
        target=client.send, args=(total[sent : sent + rest] + frame(TEXT, b"x"),)
    )
    sender.start()
    for _ in range((sent + rest) * 1000 // len(pings)):
        assert client.read(len(pong)) == pong
    assert client.read(3) == b"\x81\x01x"
    sender.join()
    client.close()
    eventually(lambda: recorder.done)


def test_parts_of_a_message_that_have_no_byte_take_no_memory(serve: Serve) -> None:
    recorder = Recorder(echo)
    _, client = accepted(serve, recorder)
    client.send(frame(TEXT, fin=False) + frame(CONT, fin=False) + frame(PING))
    client.read(2)
    parts = frame(CONT, fin=False) * 1000
    tracemalloc.start()
    try:
        for _ in range(20):
            client.send(parts + frame(PING))
            client.read(2)
        assert tracemalloc.get_traced_memory()[0] < 100_000  # with 8 bytes for each part 160,000
    finally:
        tracemalloc.stop()
    client.send(frame(CONT, b"x"))
    assert client.read(3) == b"\x81\x01x"
    client.close()
    eventually(lambda: recorder.done)


# --- Handshakes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields, status",
    [
        ((*HANDSHAKE[:2], HANDSHAKE[3]), 400),
        (HANDSHAKE[:3], 400),
        ((*HANDSHAKE[:2], "Sec-WebSocket-Version: 12", HANDSHAKE[3]), 400),
    ],
)
def test_handshake_that_is_none_is_refused(
    serve: Serve, fields: tuple[str, ...], status: int
) -> None:
    recorder = Recorder(echo)
    client = serve(ASGIContainer(recorder)).connect()
    client.send(get("/", *fields))
    assert client.read_response().status == status
    assert not recorder.scopes


@pytest.mark.parametrize("fields", [("Upgrade: h2c", "Connection: Upgrade"), ()])
def test_other_upgrades_are_ordinary_requests(serve: Serve, fields: tuple[str, ...]) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, scope["type"].encode())

    client = serve(ASGIContainer(application)).connect()
    assert client.ask(get("/", *fields)) == b"http"


def test_without_the_package_a_websocket_is_an_ordinary_request(
    serve: Serve, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, scope["type"].encode())

    monkeypatch.setitem(sys.modules, "fasthttpserver.asgi._websocket", None)
    client = serve(ASGIContainer(application)).connect()
    for _ in range(2):
        assert client.ask(get("/", *HANDSHAKE)) == b"http"
    (warning,) = logs.take("general", logging.WARNING)
    assert "pip install 'fasthttpserver-llhttp[websocket]'" in warning
