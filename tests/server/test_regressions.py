"""Faults of connections that were mended; each of these tests failed before."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from helpers import OK, Client, Logs, Served, answer, echo, fail, framed, get
from tls_pair import TLSPair
from wire import Wire

from fasthttpserver._net.tls_transport import TLSTransport
from fasthttpserver.httpserver import HTTPRequest, HTTPServer
from fasthttpserver.httputil import HTTPHeaders, ResponseStartLine
from fasthttpserver.netutil import bind_sockets

Wired = Callable[..., Wire]
Serve = Callable[..., Served]
Run = Callable[[Coroutine[Any, Any, Any]], Any]

OK_LINE = ResponseStartLine("HTTP/1.1", 200, "OK")


# --- TLS ------------------------------------------------------------------------------------


class Above(asyncio.Protocol):
    """A protocol that has an answer under way."""

    def eof_received(self) -> bool:
        return True


def test_bytes_behind_close_notify_are_not_kept(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    # A slow request, close_notify, then a flood: 300 MiB are in the memory of the server
    # after 300 MiB, for as long as the request runs.
    loop = asyncio.new_event_loop()
    pair = TLSPair(contexts, loop, Above)
    with contextlib.suppress(ssl.SSLWantReadError):
        pair.client.unwrap()
    pair.exchange()
    for _ in range(64):
        if pair.below.reading:
            pair.tls.data_received(bytes(65_536))
    loop.close()
    kept = pair.tls._incoming.pending + sum(map(len, pair.tls._received))
    assert kept <= 1 << 20


class Broken(socket.socket):
    """A socket that takes so many bytes, then pretends to be full once, then to be reset."""

    room = 1 << 30
    armed = False
    full = False

    def send(self, data: Any, *args: Any) -> int:
        if not self.armed:
            return super().send(data, *args)
        if not self.full:  # the first write after the arming waits
            self.full = True
            raise BlockingIOError
        if self.room:  # what has waited leaves
            self.room = 0
            return super().send(data, *args)
        raise BrokenPipeError(32, "Broken pipe")


def test_reset_while_what_waited_is_sent_is_told_once(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], logs: Logs
) -> None:
    # asyncio calls resume_writing() and then looks at its own state: TLSTransport writes in
    # between, that fails, and _call_connection_lost() runs twice: an ERROR in the log.
    async def main() -> None:
        loop = asyncio.get_running_loop()
        done = loop.create_future()

        class Download(asyncio.Protocol):
            def connection_made(self, transport: Any) -> None:
                accepted.armed = True
                transport.write(bytes(200_000))

            def connection_lost(self, exc: Exception | None) -> None:
                loop.call_soon(loop.call_soon, done.set_result, None)

        listening = socket.create_server(("127.0.0.1", 0))
        client = socket.create_connection(listening.getsockname())
        raw, _ = listening.accept()
        listening.close()
        accepted = Broken(fileno=raw.detach())
        accepted.setblocking(False)
        server, trusting = contexts
        tls = TLSTransport(loop, server, Download)
        await loop.connect_accepted_socket(lambda: tls, accepted)
        shaking = loop.create_task(tls.handshake(5))
        client.settimeout(5)

        def shake_hands() -> None:
            with contextlib.suppress(OSError):
                speaking = trusting.wrap_socket(client, server_hostname="127.0.0.1")
                with speaking:
                    speaking.recv(1)

        client_done = loop.run_in_executor(None, shake_hands)
        await shaking
        await done
        client.close()
        await client_done

    asyncio.run(main())


def test_failed_handshake_leaves_no_cycle(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], run: Run, logs: Logs
) -> None:
    # The exception in TLSTransport._handshake has the frames of those who awaited it, which
    # have the transport. A flood of bad handshakes waits for the collector.
    async def main() -> int:
        server = HTTPServer(echo, ssl_options=contexts[0])
        (sock, *_) = bind_sockets(0, "127.0.0.1")
        server.add_sockets([sock])
        gc.collect()
        gc.disable()
        try:
            for _ in range(5):
                reader, writer = await asyncio.open_connection(*sock.getsockname())
                writer.write(b"GET / HTTP/1.1\r\n\r\n")
                with contextlib.suppress(OSError):
                    await reader.read()
                writer.close()
            await server.close_all_connections()
            server.stop()
            return sum(type(each) is TLSTransport for each in gc.get_objects())
        finally:
            gc.enable()

    left = run(main())
    logs.warnings()
    assert left == 0


# --- Half-closed clients ----------------------------------------------------------------------


def test_what_was_pipelined_behind_head_is_answered_to_a_half_closed_client(wire: Wired) -> None:
    # eof_received() closes if the framing of the current response is silent.
    kept: list[HTTPRequest] = []
    end = wire(lambda request: answer(request) if request.method == "GET" else kept.append(request))
    end.send(get().replace(b"GET", b"HEAD") + get())

    def begin() -> None:
        kept[0].connection.write_headers(OK_LINE, HTTPHeaders({"Content-Length": "2"}))

    end.call(begin)
    end.half_close()
    end.call(kept[0].finish)
    assert end.sent().endswith(b"\r\n\r\n" + OK)


def test_detached_stream_of_a_half_closed_client_can_be_written_to(serve: Serve) -> None:
    # As before the rebuilding, on uvloop only: take_over() resumes reading, uvloop hears of
    # the end again, and IOStream.eof_received() closes.
    left = []

    async def callback(request: HTTPRequest) -> None:
        gone = asyncio.get_running_loop().create_future()
        request.connection.set_close_callback(lambda: gone.set_result(None))
        await gone
        await asyncio.sleep(0)
        stream = request.connection.detach()
        for _ in range(5):  # the loop polls
            await asyncio.sleep(0)
        left.append(stream.closed())
        if not stream.closed():
            await stream.write(b"hello")
            stream.close()

    with Client(serve(callback).address) as client:
        client.send(get())
        client.half_close()
        assert client.read_to_end() == b"hello"
    assert left == [False]


# --- Closing ------------------------------------------------------------------------------------


def test_connection_that_a_read_took_over_can_be_closed(wire: Wired) -> None:
    # write() goes to the stream then, close() nowhere: nobody watches the descriptor any more.
    def callback(request: HTTPRequest) -> None:
        stream = request.connection.stream
        stream.read_bytes(3, lambda data: request.connection.close())

    end = wire(callback)
    end.send(get() + b"abc")
    assert end.ended


@pytest.mark.parametrize("size", [30_000, 100_000])
def test_bytes_that_come_late_do_not_destroy_the_last_answer(serve: Serve, size: int) -> None:
    # _close_gently() asks whether all has arrived before it flushes: the answer is not in the
    # kernel yet, so it closes at once.
    served = serve(lambda request: answer(request, bytes(size)))
    with Client(served.address, receive_buffer=4096) as client:
        client.send(get("/", "Connection: close"))
        first = client.receive()
        client.send(b"late")
        assert first + client.read_to_end() == framed(bytes(size))


def test_nothing_is_run_behind_a_stream_callback_that_failed(wire: Wired, logs: Logs) -> None:
    # Writer._tell_flushed() closes the writer and does not tell the connection, which is OPEN.
    run: list[str] = []

    def callback(request: HTTPRequest) -> None:
        run.append(request.uri)
        # A large chunk: the next request is served in the next turn.
        request.connection.stream.write(framed(bytes(20_000)), fail)
        request.finish()

    end = wire(callback)
    with contextlib.suppress(AssertionError):  # `_fast` does not agree either
        end.send(get("/1") + get("/2"))
    logs.errors()
    assert run == ["/1"]


def test_write_callback_does_not_run_behind_the_end_of_the_stream(wire: Wired) -> None:
    events: list[str] = []

    def callback(request: HTTPRequest) -> None:
        request.write(OK, lambda: events.append("written"))
        request.connection.stream.close()

    end = wire(callback)
    end.send(get())
    assert events == []


class Gone:
    """For ``Wire``."""

    _fast = False

    def __init__(self) -> None:
        self.transitions: set[Any] = set()

    def _may_be_fast(self) -> bool:
        return False


# --- After the end ------------------------------------------------------------------------------


def test_look_at_the_stream_of_a_client_that_left_makes_no_cycle(wire: Wired) -> None:
    # Tornado 3's "if not request.connection.stream.closed()": `stream` makes a new view each
    # time that the old one has gone, whose owner is never taken away again.
    kept: list[HTTPRequest] = []
    end = wire(kept.append)
    end.send(get())
    end.reset()
    gone = weakref.ref(kept[0].connection)
    assert kept[0].connection.stream.closed()
    gc.disable()
    try:
        kept.clear()
        end.connection = None  # type: ignore[assignment]
        end.transport._protocol = None  # type: ignore[assignment]
        assert gone() is None
    finally:
        end.connection = gone() or Gone()  # type: ignore[assignment]
        gc.enable()


def test_stream_of_a_client_that_left_is_the_one_that_it_had(wire: Wired) -> None:
    streams: list[Any] = []
    kept: list[HTTPRequest] = []

    def callback(request: HTTPRequest) -> None:
        kept.append(request)
        # Applications keep their own things there.
        request.connection.stream.user = "me"  # type: ignore[attr-defined]
        streams.append(request.connection.stream)

    end = wire(callback)
    end.send(get())
    end.reset()
    assert kept[0].connection.stream is streams[0]


@pytest.mark.parametrize("leave", [Wire.reset, Wire.half_close])
def test_client_that_left_is_a_499_although_the_application_finishes(
    wire: Wired, logs: Logs, leave: Callable[[Wire], None]
) -> None:
    # The close callback runs before _note_disconnect(), and finish() ends the exchange.
    def callback(request: HTTPRequest) -> None:
        request.connection.set_close_callback(request.finish)

    end = wire(callback, access_log="common")
    end.send(get())
    leave(end)
    (line,) = logs.take("access", 20)
    assert '" 499 ' in line


def test_late_finish_between_requests_does_not_leave_the_fast_path(wire: Wired, logs: Logs) -> None:
    # `_fast` is False and `_may_be_fast()` True until the next read. Wire.turn() asserts it.
    kept: list[HTTPRequest] = []
    end = wire(kept.append)
    end.send(get())
    end.call(answer, kept[0])
    try:
        end.call(kept[0].connection.finish)
    finally:
        end.connection._fast = end.connection._may_be_fast()
        logs.warnings()


def test_access_log_that_fails_ends_one_connection(wire: Wired, logs: Logs) -> None:
    # As before the rebuilding. A function that does not expect `access.request` to be None: the
    # client's 408 is sent again with each turn of the clock, and no connection after this one
    # is looked at.
    end = wire(echo, access_log=lambda access, ip: access.request.uri, header_timeout=1)
    end.loop.set_exception_handler(lambda loop, context: None)
    end.send(b"GET / HT")
    end.pass_time(5)
    assert end.sent().count(b"408 Request Timeout") == 1
    assert end.ended
    assert logs.errors() == ["Uncaught exception in access_log"]
    logs.refusals()


# --- The end of the server ----------------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("turns", [0, 1, 2])
def test_connections_that_are_being_made_do_not_keep_the_end(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], run: Run, logs: Logs, tls: bool, turns: int
) -> None:
    # As before the rebuilding. 0: a task that has not begun is cancelled, and its socket left to
    # the collector. 1, plain, uvloop: close_all_connections() never ends. 1 or 2, TLS, asyncio:
    # ERROR "Future exception was never retrieved" for each; a client can have them by the
    # hundred where max_connections bounds the handshakes.
    async def main() -> None:
        server = HTTPServer(echo, ssl_options=contexts[0] if tls else None)
        (sock, *_) = bind_sockets(0, "127.0.0.1")
        server.add_sockets([sock])
        with socket.create_connection(sock.getsockname()):
            server.accept_waiting()
            for _ in range(turns):
                await asyncio.sleep(0)
            async with asyncio.timeout(1):
                await server.close_all_connections()
        server.stop()
        gc.collect()

    run(main())
