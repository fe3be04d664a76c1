"""Requests in pieces: delegates as Tornado 4 to 6 have them, and callbacks that read the body."""

from __future__ import annotations

import asyncio
import gzip
import socket
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import (
    OK,
    Certificates,
    Logs,
    Served,
    answer,
    eventually,
    framed,
    get,
    post,
    split,
    status_of,
)
from wire import Wire

from fasthttpserver import HTTPRequest, HTTPServer
from fasthttpserver.errors import HTTPInputError, StreamClosedError
from fasthttpserver.httputil import (
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    RequestStartLine,
    ResponseStartLine,
)

Wired = Callable[..., Wire]
Serve = Callable[..., Served]

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CHUNKED = b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


class Recorder(HTTPServerConnectionDelegate):
    """Notes what it is told, and answers at the end.

    Args:
        head: Called with the message when the head has come; what it returns is returned.
        data: The same for each piece.
    """

    def __init__(
        self,
        head: Callable[[Message], Any] = lambda message: None,
        data: Callable[[Message], Any] = lambda message: None,
    ) -> None:
        self.events: list[Any] = []
        self.head = head
        self.data = data
        self.messages: list[Message] = []

    def start_request(self, server_conn: object, request_conn: Any) -> Message:
        message = Message(self, request_conn)
        self.messages.append(message)
        return message

    def on_close(self, server_conn: object) -> None:
        self.events.append("closed")


class Message(HTTPMessageDelegate):
    def __init__(self, recorder: Recorder, connection: Any) -> None:
        self.recorder = recorder
        self.connection = connection
        self.body = b""

    def headers_received(self, start_line: RequestStartLine, headers: HTTPHeaders) -> Any:
        self.start_line, self.headers = start_line, headers
        self.recorder.events.append(("head", start_line.method, start_line.path))
        return self.recorder.head(self)

    def data_received(self, chunk: bytes) -> Any:
        assert chunk
        self.body += chunk
        self.recorder.events.append(chunk)
        return self.recorder.data(self)

    def finish(self) -> None:
        self.recorder.events.append("finish")
        self.respond()

    def on_connection_close(self) -> None:
        self.recorder.events.append("cut")

    def respond(self) -> None:
        headers = HTTPHeaders({"Content-Length": str(len(self.body))})
        self.connection.write_headers(ResponseStartLine("", 200, "OK"), headers, self.body)
        self.connection.finish()


def test_delegate_is_told_of_head_body_and_end(wire: Wired) -> None:
    recorder = Recorder()
    end = wire(recorder)
    end.send(get("/1"), post(b"body", uri="/2"), CHUNKED + b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")
    assert end.sent() == framed(b"") + framed(b"body") + framed(b"abc")
    head = ("head", "POST", "/2"), b"body", "finish"
    assert recorder.events == [
        ("head", "GET", "/1"),
        "finish",
        *head,
        ("head", "POST", "/c"),
        b"abc",  # small pieces that are here already are joined
        "finish",
    ]
    end.half_close()
    assert recorder.events[-1] == "closed"
    assert recorder.events.count("closed") == 1


@pytest.mark.parametrize("size", [1, 7, 50, 1000])
def test_any_cut_gives_the_same_body_and_answer(wire: Wired, size: int) -> None:
    requests = post(bytes(range(100))) + get("/x") + CHUNKED + b"3\r\nabc\r\n0\r\n\r\n" + get("/y")
    end = wire(Recorder())
    end.send(*split(requests, range(0, len(requests), size)))
    assert end.sent() == framed(bytes(range(100))) + framed(b"") + framed(b"abc") + framed(b"")


def test_any_object_with_start_request_will_do(wire: Wired) -> None:
    recorder = Recorder()

    class Duck:
        def start_request(self, server_conn: object, request_conn: Any) -> Any:
            return recorder.start_request(server_conn, request_conn)

        def on_close(self, server_conn: object) -> None:
            pass

    end = wire(Duck())
    end.send(post(b"body"))
    assert end.sent() == framed(b"body")


@pytest.mark.parametrize("chunk_size", [1, 4, 10, 100])
def test_pieces_are_no_longer_than_chunk_size(wire: Wired, chunk_size: int) -> None:
    recorder = Recorder()
    end = wire(recorder, chunk_size=chunk_size)
    end.send(post(bytes(50)))
    pieces = [event for event in recorder.events if isinstance(event, bytes)]
    assert max(map(len, pieces)) == min(chunk_size, 50)
    assert end.sent() == framed(bytes(50))


def test_nothing_is_read_on_until_what_was_returned_is_done(wire: Wired, logs: Logs) -> None:
    futures: list[asyncio.Future[None]] = []

    def wait(message: Message) -> asyncio.Future[None]:
        futures.append(end.loop.create_future())
        return futures[-1]

    recorder = Recorder(head=wait, data=wait)
    end = wire(recorder, chunk_size=10, read_ahead=50)
    end.send(post(bytes(30))[:-20])
    assert recorder.events == [("head", "POST", "/")]
    end.call(futures[0].set_result, None)
    assert recorder.events[1:] == [bytes(10)]
    end.send(bytes(20), get("/next") * 10)
    assert end.transport.paused
    for number in 1, 2, 3:
        assert recorder.events.count(bytes(10)) == number
        end.call(futures[number].set_result, None)
    assert recorder.events[4:] == ["finish", ("head", "GET", "/next")]
    assert not end.transport.paused or end.connection.parser.unread > 50
    assert end.sent() == framed(bytes(30))


def test_half_closed_client_is_answered_although_the_application_was_busy(wire: Wired) -> None:
    futures: list[asyncio.Future[None]] = []

    def wait(message: Message) -> asyncio.Future[None]:
        futures.append(end.loop.create_future())
        return futures[-1]

    recorder = Recorder(data=wait)
    end = wire(recorder, chunk_size=10)
    end.send(post(bytes(20)))
    end.half_close()
    for number in range(2):
        end.call(futures[number].set_result, None)
    assert end.sent() == framed(bytes(20))
    assert end.ended
    assert "cut" not in recorder.events


def test_next_request_does_not_wait_for_what_comes_after_a_response(wire: Wired) -> None:
    futures: list[asyncio.Future[None]] = []

    async def respond_and_go_on(message: Message) -> None:
        message.respond()
        futures.append(end.loop.create_future())
        await futures[-1]

    def head(message: Message) -> Any:
        return respond_and_go_on(message) if message.start_line.path == "/slow" else None

    end = wire(Recorder(head=head))
    end.send(get("/slow"))
    assert end.sent() == framed(b"")
    end.send(get())
    assert end.sent() == framed(b"")
    end.call(futures[0].set_result, None)
    end.send(get())
    assert end.sent() == framed(b"")


# --- Continue -------------------------------------------------------------------------------


def test_client_is_told_to_continue_after_the_head_was_dealt_with(wire: Wired) -> None:
    futures: list[asyncio.Future[None]] = []

    def wait(message: Message) -> asyncio.Future[None]:
        futures.append(end.loop.create_future())
        return futures[-1]

    end = wire(Recorder(head=wait))
    end.send(post(b"body", "Expect: 100-continue")[:-4])
    assert end.sent() == b""
    end.call(futures[0].set_result, None)
    assert end.sent() == CONTINUE
    end.send(b"body")
    assert end.sent() == framed(b"body")


# --- Limits ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["length", "chunked"])
@pytest.mark.parametrize(("limit", "allowed"), [(9, False), (10, True), (200_000_000, True)])
def test_body_of_one_request_is_bounded(
    wire: Wired, logs: Logs, kind: str, limit: int, allowed: bool
) -> None:
    # More than the server's own limit, too.
    recorder = Recorder(head=lambda message: message.connection.set_max_body_size(limit))
    end = wire(recorder, max_body_size=5)
    end.send(
        post(bytes(10)) if kind == "length" else CHUNKED + b"a\r\n" + bytes(10) + b"\r\n0\r\n\r\n"
    )
    if allowed:
        assert end.sent() == framed(bytes(10))
    else:
        assert status_of(end.sent()) == 413
        assert recorder.events[-1] == "cut"
        assert len(logs.refusals()) == 1


@pytest.mark.parametrize("kind", ["length", "chunked"])
def test_limit_of_the_server_holds_otherwise(wire: Wired, logs: Logs, kind: str) -> None:
    end = wire(Recorder(), max_body_size=5)
    end.send(get(), post(bytes(6)) if kind == "length" else CHUNKED + b"6\r\n123456\r\n")
    assert end.sent().startswith(framed(b"") + b"HTTP/1.1 413 ")
    assert len(logs.refusals()) == 1


@pytest.mark.parametrize("here", [4, 3, 0])
@pytest.mark.parametrize("limit, status", [(3, b"413"), (4, b"200")])
def test_limit_may_be_set_while_the_head_is_dealt_with(
    wire: Wired, logs: Logs, here: int, limit: int, status: bytes
) -> None:
    taken: list[asyncio.Future[None]] = []

    def head(message: Message) -> asyncio.Future[None]:
        assert message.connection.request.body == b""
        taken.append(end.loop.create_future())
        return taken[0]

    recorder = Recorder(head)
    end = wire(recorder)
    request = post(b"body")
    end.send(request[: len(request) - 4 + here])
    recorder.messages[0].connection.set_max_body_size(limit)
    end.call(taken[0].set_result, None)
    if here < 4 and status == b"200":
        end.send(request[here - 4 :])
    assert end.sent().startswith(b"HTTP/1.1 " + status)
    assert len(logs.refusals()) == (status == b"413")


def test_response_that_is_written_in_parts_while_the_request_is_read_leaves_at_once(
    wire: Wired,
) -> None:
    def respond(message: Message) -> None:
        headers = HTTPHeaders({"Content-Length": "4"})
        message.connection.write_headers(ResponseStartLine("HTTP/1.1", 200, "OK"), headers)
        message.connection.write(b"body")
        message.connection.finish()

    end = wire(Recorder(respond))
    end.send(get())
    assert len(end.transport.writes) == 1
    assert end.sent().endswith(b"\r\n\r\nbody")


@pytest.mark.parametrize("turns", [0, 2])
def test_pipelined_requests_are_told_one_after_the_other(wire: Wired, turns: int) -> None:
    open_requests = 0

    async def head(message: Message) -> None:
        nonlocal open_requests
        open_requests += 1
        assert open_requests == 1
        for _ in range(turns):
            await asyncio.sleep(0)
        open_requests -= 1

    recorder = Recorder(head)
    end = wire(recorder)
    end.send((get("/1") + post(b"body") + get("/2")) * 3)
    end.turn(50)
    assert end.sent() == (framed(b"") + framed(b"body") + framed(b"")) * 3


def test_body_that_does_not_come_is_answered_408(wire: Wired, logs: Logs) -> None:
    recorder = Recorder()
    end = wire(recorder, body_stall_timeout=10)
    end.send(post(b"body")[:-1])
    end.pass_time(12)
    assert status_of(end.sent()) == 408
    assert recorder.events[-1] == "cut"
    assert len(logs.refusals()) == 1


def test_client_is_not_late_while_the_application_is_busy(wire: Wired) -> None:
    futures: list[asyncio.Future[None]] = []

    def wait(message: Message) -> asyncio.Future[None]:
        futures.append(end.loop.create_future())
        return futures[-1]

    end = wire(Recorder(data=wait), body_stall_timeout=10)
    end.send(post(b"body")[:-1])
    end.pass_time(60)
    assert not end.ended
    end.call(futures[0].set_result, None)
    end.send(b"y")
    end.call(futures[1].set_result, None)
    assert end.sent() == framed(b"body"[:3] + b"y")


def test_body_timeout_of_one_request(wire: Wired, logs: Logs) -> None:
    end = wire(Recorder(head=lambda message: message.connection.set_body_timeout(3)))
    end.send(post(b"x"), post(b"body")[:-1])
    end.pass_time(2)
    assert end.sent() == framed(b"x")
    end.pass_time(2)
    assert status_of(end.sent()) == 408
    assert len(logs.refusals()) == 1
    assert end.server.stats()["timeouts"] == {"body": 1}


# --- Ends -----------------------------------------------------------------------------------


@pytest.mark.parametrize("leave", ["half_close", "reset"])
def test_request_that_is_cut(wire: Wired, leave: str) -> None:
    recorder = Recorder()
    end = wire(recorder)
    end.send(post(b"body")[:-1])
    getattr(end, leave)()
    assert recorder.events == [("head", "POST", "/"), b"bod", "cut", "closed"]
    assert end.sent() == b""


def test_answer_before_the_body_ends_the_connection_gently(wire: Wired) -> None:
    recorder = Recorder(head=Message.respond)
    end = wire(recorder)
    end.send(post(b"body")[:-4])
    answer_ = end.sent()
    assert answer_.startswith(b"HTTP/1.1 200 OK\r\n")
    assert end.transport.eof_written and not end.transport.closing
    end.send(b"body")  # dropped
    assert recorder.events == [("head", "POST", "/"), "cut"]


@pytest.mark.parametrize("where", ["head", "data"])
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("kind", [ZeroDivisionError, HTTPInputError])
def test_failing_delegate(
    wire: Wired, logs: Logs, where: str, is_async: bool, kind: type[Exception]
) -> None:
    def failing(message: Message) -> Any:
        async def in_task() -> None:
            raise kind("of the application")

        if is_async:
            return in_task()
        raise kind("of the application")

    recorder = Recorder(**{where: failing})
    end = wire(recorder)
    end.send(post(b"body") + get())
    assert status_of(end.sent()) == (400 if kind is HTTPInputError else 500)
    assert end.ended
    assert recorder.events[-1] == "cut"
    assert len(logs.refusals() if kind is HTTPInputError else logs.errors()) == 1


@pytest.mark.parametrize("packed", [False, True])
def test_end_that_is_a_coroutine_and_fails_is_answered(
    wire: Wired, logs: Logs, packed: bool
) -> None:
    class Failing(Message):
        async def finish(self) -> None:  # type: ignore[override]
            await asyncio.sleep(0)
            raise ZeroDivisionError

    class Delegate(HTTPServerConnectionDelegate):
        def start_request(self, server_conn: object, request_conn: Any) -> Failing:
            return Failing(Recorder(), request_conn)

    end = wire(Delegate(), decompress_request=packed)
    fields = ["Content-Encoding: gzip"] if packed else []
    end.send(post(gzip.compress(b"body") if packed else b"body", *fields))
    assert status_of(end.sent()) == 500
    assert end.ended
    assert len(logs.errors()) == 1


def test_stream_that_is_detached_at_the_head(wire: Wired) -> None:
    streams: list[Any] = []
    recorder = Recorder(head=lambda message: streams.append(message.connection.detach()))
    end = wire(recorder)
    end.send(get("/x", "Upgrade: y", "Connection: upgrade") + b"behind")
    read: list[bytes] = []
    end.call(streams[0].read_bytes, 6, read.append)
    assert read == [b"behind"]
    end.call(streams[0].write, b"raw")
    assert end.sent() == b"raw"
    assert recorder.events == [("head", "GET", "/x")]


def test_late_write_does_not_reach_the_next_exchange(wire: Wired) -> None:
    recorder = Recorder()
    end = wire(recorder)
    end.send(get("/1"), post(b"body", uri="/2")[:-1])
    first = recorder.messages[0].connection
    first.finish()
    attempts: list[Callable[[], object]] = [
        lambda: first.write(b"late"),
        lambda: first.write_headers(("", 200, "OK"), {}),
    ]
    for late in attempts:
        with pytest.raises(RuntimeError, match="after finish"):
            late()
    end.send(b"y")
    assert end.sent() == framed(b"") + framed(b"bod" + b"y")


def test_close_callback_runs_when_the_client_leaves_before_its_answer(wire: Wired) -> None:
    events: list[str] = []

    class Silent(Message):
        def finish(self) -> None:
            self.connection.set_close_callback(lambda: events.append("left"))

    class SilentRecorder(Recorder):
        def start_request(self, server_conn: object, request_conn: Any) -> Message:
            return Silent(self, request_conn)

    end = wire(SilentRecorder())
    end.send(get())
    end.reset()
    assert events == ["left"]


def test_delegate_sends_informational_responses(wire: Wired) -> None:
    recorder = Recorder(head=lambda m: m.connection.send_informational(103, {"Link": "</x>"}))
    end = wire(recorder)
    end.send(post(b"body"))
    assert end.sent() == b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + framed(b"body")
    with pytest.raises(RuntimeError, match="after finish"):
        recorder.messages[0].connection.send_informational(103, {})


def test_delegate_ends_its_response_with_trailers(wire: Wired) -> None:
    def respond(message: Message) -> None:
        message.connection.write_headers(ResponseStartLine("", 200, "OK"), HTTPHeaders(), b"ok")
        message.connection.finish({"X-Sum": "1"})

    end = wire(Recorder(head=respond))
    end.send(get())
    assert end.sent().endswith(b"2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n")


def test_delegate_learns_of_the_transport_without_taking_the_stream(serve: Serve) -> None:
    facts: list[Any] = []

    def ask(message: Message) -> None:
        about = message.connection.get_extra_info
        facts.extend([about("sockname"), about("peername"), about("ssl_object"), about("x", 5)])

    served = serve(Recorder(head=ask))
    client = served.connect()
    client.ask(get())
    assert facts == [client.socket.getpeername(), client.address, None, 5]
    assert served.connection._stream is None


def test_delegate_learns_of_tls(serve: Serve, tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    facts: list[Any] = []

    def ask(message: Message) -> None:
        facts.append(message.connection.get_extra_info("ssl_object").version())

    served = serve(
        Recorder(head=ask),
        ssl_options={"certfile": certificates.certfile, "keyfile": certificates.keyfile},
    )
    client = served.connect(context=certificates.client_context())
    client.ask(get())
    assert facts == [client.tls_version]


# --- Callbacks ------------------------------------------------------------------------------


async def read_all(request: HTTPRequest) -> None:
    answer(request, await request.read())


async def iterate(request: HTTPRequest) -> None:
    answer(request, b"".join([piece async for piece in request.stream()]))


@pytest.mark.parametrize("callback", [read_all, iterate])
@pytest.mark.parametrize("streamed", [True, False])
def test_callback_reads_the_body(
    serve: Serve, callback: Callable[[HTTPRequest], Any], streamed: bool
) -> None:
    client = serve(callback, stream_request_body=streamed).connect()
    body = bytes(300_000)
    client.send(post(b"one") + post(body) + get() + CHUNKED + b"3\r\nabc\r\n0\r\n\r\n")
    for expected in [b"one", body, b"", b"abc"]:
        assert client.read_response().body == expected


def test_callback_runs_when_the_head_is_complete(wire: Wired) -> None:
    requests: list[HTTPRequest] = []
    end = wire(requests.append, stream_request_body=True)
    end.send(post(b"body", "Expect: 100-continue")[:-4])
    (request,) = requests
    assert request.headers["Content-Length"] == "4"
    assert end.sent() == b""  # nobody wants it yet
    read = end.loop.create_task(request.read())
    end.turn()
    assert end.sent() == CONTINUE
    end.send(b"body")
    assert read.result() == b"body"
    end.call(answer, request)
    assert end.sent() == OK


def test_trailers_are_there_when_the_body_was_read(wire: Wired) -> None:
    async def callback(request: HTTPRequest) -> None:
        await request.read()
        answer(request, repr(request.trailers))

    end = wire(callback, stream_request_body=True)
    end.send(CHUNKED + b"1\r\nx\r\n0\r\nX-Sum: 5\r\n\r\n")
    assert end.sent() == framed(b"[('X-Sum', '5')]")


def test_client_that_leaves_inside_the_body_raises_in_the_reader(serve: Serve, logs: Logs) -> None:
    raised: list[BaseException] = []

    async def callback(request: HTTPRequest) -> None:
        try:
            async for _ in request.stream():
                pass
        except StreamClosedError as error:
            raised.append(error)

    client = serve(callback, stream_request_body=True).connect()
    client.send(post(b"body")[:-1])
    client.close()
    eventually(lambda: raised)


def test_client_has_to_wait_while_nobody_reads(serve: Serve) -> None:
    requests: list[HTTPRequest] = []
    served = serve(requests.append, stream_request_body=True)
    client = served.connect()
    client.socket.settimeout(0.3)
    with pytest.raises(TimeoutError):
        client.send(post(bytes(100_000_000)))
    eventually(lambda: requests)
    assert served.call(lambda: served.connection.parser.unread) < 1_000_000


def test_large_upload_keeps_memory_flat(serve: Serve) -> None:
    size = 64 << 20

    async def callback(request: HTTPRequest) -> None:
        count = 0
        async for piece in request.stream():
            count += len(piece)
        answer(request, str(count))

    served = serve(callback, stream_request_body=True)
    client = served.connect()
    head = post(b"").replace(b"Content-Length: 0", b"Content-Length: %d" % size)
    piece = bytes(1 << 20)

    def upload() -> None:
        client.send(head)
        for _ in range(size // len(piece)):
            client.send(piece)

    client.ask(post(b"warm"))
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        sender = threading.Thread(target=upload)
        sender.start()
        assert client.read_response().body == str(size).encode()
        sender.join()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < 3 << 20  # a third is the client's own, for what it reads


def test_response_before_the_body_is_read(wire: Wired) -> None:
    end = wire(answer, stream_request_body=True)
    end.send(post(b"body")[:-1])
    assert end.sent() == OK
    assert end.transport.eof_written
    # Without a body nothing is left to wait for.
    end = wire(answer, stream_request_body=True)
    end.send(get(), get())
    assert end.sent() == OK * 2
    assert not end.ended


def test_body_is_read_by_one_at_a_time(wire: Wired) -> None:
    requests: list[HTTPRequest] = []
    end = wire(requests.append, stream_request_body=True)
    end.send(post(b"body")[:-1])
    first, second = (end.loop.create_task(requests[0].read()) for _ in range(2))
    end.turn()
    assert isinstance(second.exception(), RuntimeError)
    end.send(b"y")
    assert first.result() == b"body"[:3] + b"y"
    end.call(answer, requests[0])


def test_client_sees_that_an_aborted_answer_is_not_whole(serve: Serve) -> None:
    def respond(message: Message) -> None:
        message.connection.write_headers(ResponseStartLine("", 200, "OK"), {}, b"half")
        message.connection.abort()

    client = serve(Recorder(head=respond)).connect()
    client.send(get(version="HTTP/1.0"))  # whose answer ends with the connection
    with pytest.raises(ConnectionResetError):
        client.read_to_end()


def test_abort_of_what_has_gone_does_nothing(serve: Serve) -> None:
    recorder = Recorder(head=lambda message: message.connection.abort())
    served = serve(recorder)
    client = served.connect()
    client.send(get())
    with pytest.raises(ConnectionResetError):
        client.read_to_end()
    served.all_closed()
    served.call(recorder.messages[0].connection.abort)


def test_abort_after_finish_does_not_meet_the_next_request(wire: Wired) -> None:
    recorder = Recorder()
    end = wire(recorder)
    end.send(get("/1"))
    recorder.messages[0].connection.abort()
    end.send(get("/2"))
    assert end.sent() == framed(b"") + framed(b"")


@pytest.mark.parametrize(
    ("options", "fields", "expected"),
    [
        ({}, (), ("192.0.2.7", "http", "192.0.2.7")),
        ({"protocol": "https"}, (), ("192.0.2.7", "https", "192.0.2.7")),
        ({}, ("X-Real-Ip: 203.0.113.5",), ("192.0.2.7", "http", "192.0.2.7")),
        (
            {"xheaders": True},
            ("X-Real-Ip: 203.0.113.5", "X-Scheme: https"),
            ("203.0.113.5", "https", "203.0.113.5"),
        ),
        (
            {"address": "", "family": socket.AF_UNIX},
            (),
            ("0.0.0.0", "http", ""),
        ),
        (
            {"address": b"/run/x", "family": socket.AF_UNIX},
            (),
            ("0.0.0.0", "http", "/run/x"),
        ),
    ],
)
def test_context_says_where_a_request_comes_from(
    wire: Wired, options: dict[str, Any], fields: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    recorder = Recorder()
    end = wire(recorder, **options)
    end.send(get("/", *fields), get("/"))
    first, second = [message.connection.context for message in recorder.messages]
    assert (first.remote_ip, first.protocol, str(first)) == expected
    assert first.address == options.get("address", ("192.0.2.7", 4711))
    assert first.address_family == options.get("family", socket.AF_INET)
    assert recorder.messages[0].connection.context is first  # it may be changed
    # What a proxy says of one request is not said of the next one.
    assert str(second) == ("192.0.2.7" if "address" not in options else expected[2])


def test_a_delegate_sees_the_options_of_its_server(wire: Wired) -> None:
    recorder = Recorder()
    end = wire(recorder, chunk_size=10, max_body_size=20, body_timeout=3, decompress_request=True)
    end.send(get())
    connection = recorder.messages[0].connection
    params = connection.params
    assert (params.chunk_size, params.max_body_size, params.body_timeout) == (10, 20, 3)
    assert params.decompress
    assert not params.no_keep_alive
    assert not connection.is_client
    assert connection.max_body_size == 20
    connection.set_max_body_size(5)
    assert connection.max_body_size == 5


def test_refusal_of_a_body_does_not_get_into_an_answer_that_was_begun(wire: Wired) -> None:
    def begin(message: Message) -> None:
        message.connection.write_headers(ResponseStartLine("", 200, "OK"), HTTPHeaders(), b"begun")

    recorder = Recorder(head=begin)
    end = wire(recorder)
    end.send(CHUNKED + b"x")
    assert end.sent() == b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n"
    assert end.ended  # and so the client sees that it is not whole
    assert recorder.events[1:] == ["cut"]


def test_delegate_may_ask_for_the_body_later(wire: Wired) -> None:
    recorder = Recorder(head=lambda message: setattr(message, "asks_for_body", False))
    end = wire(recorder)
    request = post(b"body", "Expect: 100-continue")
    end.send(request[:-4])
    assert end.sent() == b""
    for _ in range(2):
        end.call(recorder.messages[0].connection.send_continue)
    assert end.sent() == CONTINUE
    end.send(b"body")
    assert end.sent() == framed(b"body")
    end.send(request[:-4])
    end.call(recorder.messages[0].connection.send_continue)  # of a request that is over
    assert end.sent() == b""


@pytest.mark.parametrize("end", [HTTPServer.drain, HTTPServer.close_all_connections])
def test_delegate_is_told_of_the_end_of_the_server(serve: Serve, end: Callable[..., Any]) -> None:
    class Told(Recorder):
        def on_stop(self) -> None:
            self.events.append("stop")

    recorder = Told()
    served = serve(recorder)
    client = served.connect()
    assert client.ask(get()) == b""
    client.half_close()
    served.call(end, served.server)
    assert recorder.events[-2:] == ["closed", "stop"]


class Later(Recorder):
    """Answers when the test says so."""

    def start_request(self, server_conn: object, request_conn: Any) -> Message:
        message = super().start_request(server_conn, request_conn)
        message.respond = lambda: None  # type: ignore[method-assign]
        return message


@pytest.mark.parametrize("body", [b"short", bytes(100_000)], ids=len)
def test_a_response_that_comes_later_leaves_at_once(wire: Wired, body: bytes) -> None:
    delegate = Later()
    end = wire(delegate)
    end.send(get())
    connection = delegate.messages[0].connection
    headers = HTTPHeaders({"Content-Length": str(len(body))})
    written = connection.write_headers(ResponseStartLine("", 200, "OK"), headers, body)
    assert end.sent() == framed(body)
    if len(body) < 1000:
        assert end.transport.writes == [framed(body)]
    assert written.result() is None
    connection.finish()
    end.send(get())  # the next one is served
    assert len(delegate.messages) == 2


def test_a_response_to_a_client_that_takes_nothing_is_waited_for(wire: Wired) -> None:
    delegate = Later()
    end = wire(delegate, window=10)
    end.send(get())
    connection = delegate.messages[0].connection
    written = connection.write_headers(ResponseStartLine("", 200, "OK"), HTTPHeaders(), b"body")
    assert not written.done()
    end.take(1000)
    assert written.result() is None
    late = connection.write_headers  # on a connection that has gone
    end.reset()
    assert isinstance(
        late(ResponseStartLine("", 200, "OK"), HTTPHeaders()).exception(), StreamClosedError
    )
