"""What must not happen, and does: no descriptors, resets, failing and blocking applications."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import mmap
import re
import socket
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers import (
    TIMEOUT,
    Certificates,
    Client,
    Logs,
    Process,
    Served,
    answer,
    echo,
    eventually,
    framed,
    get,
    open_descriptors,
    post,
)
from wire import Wire

from fasthttpserver.errors import StreamClosedError
from fasthttpserver.httpserver import HTTPRequest
from fasthttpserver.httputil import HTTPHeaders

Serve = Callable[..., Served]
Wired = Callable[..., Wire]

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def launch(loop_kind: str) -> Iterator[Callable[[str], Process]]:
    """Start a program on this kind of loop."""
    with contextlib.ExitStack() as stack:
        yield lambda source: stack.enter_context(
            Process(["-W", "error", "-c", source], env={"FASTHTTPSERVER_LOOP": loop_kind})
        )


# --- No descriptors -----------------------------------------------------------------------

FEW_DESCRIPTORS = """
import os, resource
from fasthttpserver.httpserver import HTTPServer
from fasthttpserver.ioloop import IOLoop

def callback(request):
    request.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")
    request.finish()

server = HTTPServer(callback)
server.listen(0, "127.0.0.1")
port = next(iter(server._sockets.values())).getsockname()[1]

def begin():
    used = len(os.listdir("/proc/self/fd"))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 20, hard))
    print(port, flush=True)

loop = IOLoop.instance()
loop.add_callback(begin)
loop.start()
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors cannot be counted")
def test_server_without_descriptors_makes_room_for_those_who_wait(
    launch: Callable[[str], Process],
) -> None:
    process = launch(FEW_DESCRIPTORS)
    address = ("127.0.0.1", int(process.line()))
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(address)) for _ in range(30)]
        for client in clients:
            client.send(get())
        # Those who have their answer are idle, and leave their descriptors to the others.
        for client in clients:
            assert client.read_response().body == b"ok"
        for client in clients[:5]:
            client.close()
        with Client(address) as late:
            assert late.ask(get()) == b"ok"
    process.send_signal(15)
    (line,) = process.end().stderr.splitlines()
    assert re.match(r"ERROR:fasthttpserver\.general:Cannot accept on .*Too many open files", line)


# --- Clients that reset -------------------------------------------------------------------


def hold(request: HTTPRequest) -> None:
    """Answer nothing."""


def begin_only(request: HTTPRequest) -> None:
    request.write(CHUNKED + b"5\r\nbegin\r\n")


def begin_framed(request: HTTPRequest) -> None:
    request.connection.write_headers(("HTTP/1.1", 200, "OK"), HTTPHeaders(), b"begin")


def write_much(request: HTTPRequest) -> None:
    answer(request, bytes(20_000_000))


def write_much_and_wait(request: HTTPRequest) -> None:
    request.write(framed(bytes(20_000_000)), request.finish)


async def await_writing(request: HTTPRequest) -> None:
    await request.write(framed(bytes(20_000_000)))
    request.finish()


async def await_for_ever(request: HTTPRequest) -> None:
    closed = asyncio.Event()
    request.connection.set_close_callback(closed.set)
    await closed.wait()


async def write_for_ever(request: HTTPRequest) -> None:
    request.write(CHUNKED)
    with contextlib.suppress(StreamClosedError):
        while True:
            await request.write(b"4000\r\n%b\r\n" % bytes(0x4000))


def detach(request: HTTPRequest) -> None:
    stream = request.connection.detach()
    stream.read_until(b"never", lambda data: None)


# state: (callback, what the client sends, what it waits for before it resets)
STATES: dict[str, tuple[Callable[[HTTPRequest], object], bytes, bytes]] = {
    "silent": (echo, b"", b""),
    "half a head": (echo, get()[:-2], b""),
    "half a body": (echo, post(b"12345")[:-1], b""),
    "half a chunk": (
        echo,
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n1",
        b"",
    ),
    "told to continue": (echo, post(b"1", "Expect: 100-continue")[:-1], b"Continue\r\n\r\n"),
    "asked": (echo, get(), b""),
    "asked for much": (echo, get() * 1000, b""),
    "answered": (echo, get(), b"/ "),
    "running": (hold, get(), b""),
    "running, with more than is read behind it": (hold, get() * 5000, b""),
    "half answered": (begin_only, get(), b"begin"),
    "half answered by the server": (begin_framed, get(), b"begin"),
    "reading": (write_much, get(), b"200 OK"),
    "reading, with more behind it": (write_much, get() * 5, b"200 OK"),
    "reading, with a write callback": (write_much_and_wait, get(), b"200 OK"),
    "reading, with a coroutine that waits": (await_writing, get(), b"200 OK"),
    "coroutine": (await_for_ever, get(), b""),
    "endless answer": (write_for_ever, get(), b"200 OK"),
    "last answer": (echo, get("/", "Connection: close"), b"/ "),
    "handed over": (detach, get(), b""),
}


@pytest.mark.parametrize("state", STATES)
def test_reset_leaves_nothing_behind(serve: Serve, state: str) -> None:
    callback, data, expected = STATES[state]
    references: list[weakref.ref[object]] = []

    def watched(request: HTTPRequest) -> object:
        references.append(weakref.ref(request))
        references.append(weakref.ref(request.connection))
        return callback(request)

    served = serve(watched, linger_silence=0.2)  # it looks every 50 ms
    other = served.connect()
    eventually(lambda: len(served.connections) == 1)
    gc.disable()  # no cycle may be left that keeps memory for a while
    try:
        for number in range(1, 6):
            client = Client(served.address)
            if data:
                client.send(data)
            if expected:
                client.read_until(expected)
            elif callback is not echo:
                eventually(lambda number=number: len(references) >= 2 * number)  # type: ignore[misc]
            client.reset()
        eventually(lambda: len(served.connections) == 1)
        eventually(lambda: not any(reference() for reference in references))
    finally:
        gc.enable()
    other.send(get())
    eventually(lambda: other.receive() if callback in (echo, begin_only) else True)


def test_reset_of_a_connection_that_waits_to_be_accepted(serve: Serve) -> None:
    served = serve(echo)

    def come_and_go() -> None:
        for data in (b"", get(), get()[:-2]):
            for _ in range(10):
                client = Client(served.address)
                client.send(data)
                client.reset()

    served.call(come_and_go)  # in the loop's own thread, which does not accept meanwhile
    assert served.connect().ask(get()) == b"/ "
    eventually(lambda: len(served.connections) == 1)


def test_reset_of_a_client_that_lingers(serve: Serve, logs: Logs) -> None:
    served = serve(echo)
    for _ in range(5):
        client = served.connect()
        client.send(b"nonsense\r\n\r\n" + bytes(100_000))
        assert client.read_response().status == 400
        client.reset()
    served.all_closed()
    assert len(logs.refusals()) == 5


def test_reset_in_a_tls_handshake_and_in_tls(serve: Serve, tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    options = {"certfile": certificates.certfile, "keyfile": certificates.keyfile}
    served = serve(write_much, ssl_options=options)
    for data in (b"", b"\x16\x03\x01\x02\x00\x01"):
        client = served.connect()
        client.send(data)
        eventually(lambda: served.server._connecting)
        client.reset()
        eventually(lambda: not served.server._connecting)
    client = served.connect(context=certificates.client_context())
    client.send(get() * 3)
    client.read_until(b"200 OK")
    client.reset()
    served.all_closed()


# --- Writing to a client that is gone -----------------------------------------------------


def raw(request: HTTPRequest) -> None:
    request.write(framed(bytes(10))[:-10])
    for _ in range(10):
        request.write(b"x")
    request.write(b"", lambda: None)
    request.finish()


def through_the_connection(request: HTTPRequest) -> None:
    request.connection.write_headers(("HTTP/1.1", 200, "OK"), HTTPHeaders(), b"x")
    request.connection.write(b"y")
    request.connection.finish()


def in_pieces(request: HTTPRequest) -> None:
    request.write(framed(bytes(10_000_000))[:-10_000_000])
    for _ in range(100):
        request.write(bytes(100_000))
    request.finish()


@pytest.mark.parametrize("respond", [raw, through_the_connection, in_pieces])
@pytest.mark.parametrize("seen", [True, False], ids=["seen", "unseen"])
def test_answer_to_a_client_that_has_reset_is_harmless(
    serve: Serve, respond: Callable[[HTTPRequest], None], seen: bool
) -> None:
    requests: list[HTTPRequest] = []
    served = serve(requests.append)
    client = served.connect()
    client.send(get())
    eventually(lambda: requests)
    if seen:
        client.reset()
        served.all_closed()
        served.call(respond, requests[0])
    else:

        def reset_and_respond() -> None:
            client.reset()  # the loop has had no time to hear of it
            respond(requests[0])

        served.call(reset_and_respond)
        served.all_closed()
    served.settle()


def test_coroutine_is_told_that_its_client_has_gone(serve: Serve) -> None:
    errors: list[Exception] = []

    async def callback(request: HTTPRequest) -> None:
        request.write(CHUNKED)
        try:
            while True:
                await request.write(b"4000\r\n%b\r\n" % bytes(0x4000))
        except StreamClosedError as error:
            errors.append(error)
            raise  # no fault of the application

    served = serve(callback)
    client = served.connect()
    client.send(get())
    client.read_until(b"200 OK")
    client.reset()
    eventually(lambda: errors)
    served.all_closed()


# --- Applications that fail ---------------------------------------------------------------


class Oops(Exception):
    """What escapes the application."""


def fails_at_once(request: HTTPRequest) -> None:
    raise Oops


def fails_in_a_recursion(request: HTTPRequest) -> None:
    fails_in_a_recursion(request)


def is_cancelled(request: HTTPRequest) -> None:
    raise asyncio.CancelledError


def fails_behind_a_write(request: HTTPRequest) -> None:
    request.write(CHUNKED)
    raise Oops


def fails_behind_finish(request: HTTPRequest) -> None:
    answer(request)
    raise Oops


def fails_in_a_write_callback(request: HTTPRequest) -> None:
    request.write(CHUNKED, lambda: fails_at_once(request))


def fails_in_a_close_callback(request: HTTPRequest) -> None:
    request.connection.set_close_callback(lambda: fails_at_once(request))
    request.connection.stream.close()


def fails_in_the_server_s_framing(request: HTTPRequest) -> None:
    request.connection.write_headers(
        ("HTTP/1.1", 200, "OK"), HTTPHeaders({"Content-Length": "1"}), b"too much"
    )


async def fails_in_a_coroutine(request: HTTPRequest) -> None:
    raise Oops


async def fails_in_a_coroutine_later(request: HTTPRequest) -> None:
    await request.write(CHUNKED)
    raise Oops


async def fails_in_a_coroutine_behind_finish(request: HTTPRequest) -> None:
    answer(request)
    await asyncio.sleep(0)
    raise Oops


FAILURES: dict[Callable[[HTTPRequest], object], int | None] = {
    fails_at_once: 500,
    fails_in_a_recursion: 500,
    is_cancelled: 500,
    fails_behind_a_write: 200,
    fails_behind_finish: 200,
    fails_in_a_write_callback: 200,
    fails_in_a_close_callback: None,
    fails_in_the_server_s_framing: None,
    fails_in_a_coroutine: 500,
    fails_in_a_coroutine_later: 200,
    fails_in_a_coroutine_behind_finish: 200,
}


@pytest.mark.parametrize("callback", FAILURES, ids=lambda callback: callback.__name__)
def test_failing_callback_ends_its_own_connection_only(
    serve: Serve, logs: Logs, callback: Callable[[HTTPRequest], object]
) -> None:
    def dispatch(request: HTTPRequest) -> object:
        if request.uri == "/fine":
            return echo(request)
        return callback(request)

    served = serve(dispatch)
    other = served.connect()
    assert other.ask(get("/fine")) == b"/fine "
    for _ in range(3):
        client = served.connect()
        client.send(get())
        data = client.read_to_end()
        status = FAILURES[callback]
        if status is not None:
            assert data.startswith(b"HTTP/1.1 %d " % status)
            assert data.count(b"HTTP/1.1") == 1
        client.close()
        assert other.ask(get("/fine")) == b"/fine "
    eventually(lambda: len(served.connections) == 1)
    assert len(logs.errors()) + len(logs.take("application", 30)) == 3


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_exit_in_a_callback_ends_the_process(launch: Callable[[str], Process], kind: str) -> None:
    source = FEW_DESCRIPTORS.replace("    request.finish()", "    raise SystemExit(3)")
    if kind == "coroutine":
        source = source.replace("def callback", "async def callback")
    process = launch(source)
    with Client(("127.0.0.1", int(process.line()))) as client:
        client.send(get())
        ended = process.end()
    assert ended.returncode == 3


# --- Time ---------------------------------------------------------------------------------


class Blocking:
    """Blocks the loop for /block, and answers the others.

    Args:
        respond: Answers.
        meanwhile: What happens in the meantime.
    """

    def __init__(
        self, respond: Callable[[HTTPRequest], None], meanwhile: Callable[[], object]
    ) -> None:
        self.respond = respond
        self.meanwhile = meanwhile

    def __call__(self, request: HTTPRequest) -> None:
        if request.uri == "/block":
            self.meanwhile()
            time.sleep(0.7)
        self.respond(request)


def halfway(served: Served) -> None:
    """Wait for half a second of the server's clock: nobody is late, but not much is missing."""
    clock = served.server._settings.clock
    begun = clock.now
    eventually(lambda: clock.now >= begun + 0.5)


def test_clients_do_not_pay_for_an_application_that_blocks_the_loop(serve: Serve) -> None:
    def meanwhile() -> None:
        new.send(get())
        head.send(b"\r\n")
        body.send(b"5")
        idle.send(get())

    served = serve(
        Blocking(echo, meanwhile),
        header_timeout=1.0,
        body_stall_timeout=1.0,
        idle_connection_timeout=1.0,
    )
    new, head, body, idle = clients = [served.connect() for _ in range(4)]
    idle.ask(get())
    head.send(get()[:-2])
    body.send(post(b"12345")[:-1])
    eventually(lambda: len(served.connections) == 4)
    halfway(served)
    assert served.connect().ask(get("/block")) == b"/block "
    assert [client.read_response().status for client in clients] == [200] * 4


def test_client_that_reads_while_the_loop_is_blocked_is_not_reset(serve: Serve) -> None:
    body = bytes(30_000_000)
    served = serve(
        Blocking(lambda request: answer(request, body), lambda: client.read(1_000_000)),
        write_timeout=1.0,
    )
    client = served.connect()
    client.send(get())
    client.read_until(b"\r\n\r\n")
    halfway(served)
    blocking = served.connect()
    blocking.send(get("/block"))
    blocking.read_until(b"\r\n\r\n")
    assert client.read(len(body) - 1_000_000)


def test_hour_in_which_the_process_was_stopped_is_nobody_s_silence(wire: Wired) -> None:
    for data in (b"", get()[:-2], post(b"12345")[:-1], get()):
        end = wire(echo)
        if data:
            end.send(data)
        end.loop.now += 3600
        end.turn()
        assert not end.ended
        end.loop.now += 1
        end.turn()
        assert not end.ended


def test_time_of_a_request_is_not_negative_when_the_clock_was_set_back(wire: Wired) -> None:
    requests: list[HTTPRequest] = []
    end = wire(requests.append)
    end.send(get())
    (request,) = requests
    request.start_time += 3600
    assert request.request_time() == 0
    answer(request)
    assert request.request_time() == 0
    end.turn()
    assert end.sent() == framed(b"ok")


def test_deadlines_do_not_look_at_the_clock_of_the_day(
    wire: Wired, monkeypatch: pytest.MonkeyPatch
) -> None:
    for jump in (-1e6, 1e6):
        end = wire(echo)
        end.send(get()[:-2])
        real = time.time
        monkeypatch.setattr(time, "time", lambda jump=jump, real=real: real() + jump)
        end.pass_time(59, 1.0)
        monkeypatch.undo()
        assert not end.ended
        end.send(b"\r\n")
        assert end.sent() == framed(b"/ ")


# --- The connection is lost at an odd moment ----------------------------------------------


def closing_the_stream(request: HTTPRequest) -> None:
    request.connection.stream.close()
    answer(request)


def aborting_the_stream(request: HTTPRequest) -> None:
    request.write(framed(b"ok"))
    request.connection.stream.abort()
    request.finish()


def closing_the_connection(request: HTTPRequest) -> None:
    request.connection.close()
    answer(request)


def closing_in_a_write_callback(request: HTTPRequest) -> None:
    def close() -> None:
        request.connection.close()
        request.write(b"x", close)
        request.finish()

    request.write(framed(b"ok"), close)


def closing_in_a_close_callback(request: HTTPRequest) -> None:
    def close() -> None:
        request.connection.close()
        request.connection.stream.close()
        answer(request)

    request.connection.set_close_callback(close)
    request.connection.stream.close()


def setting_callbacks_for_ever(request: HTTPRequest) -> None:
    calls = []

    def again() -> None:
        calls.append(1)
        assert len(calls) < 10
        request.connection.set_close_callback(again)

    again()
    request.connection.stream.abort()


def detaching_and_closing(request: HTTPRequest) -> None:
    stream = request.connection.detach()
    stream.close()
    request.finish()


ODD = [
    closing_the_stream,
    aborting_the_stream,
    closing_the_connection,
    closing_in_a_write_callback,
    closing_in_a_close_callback,
    setting_callbacks_for_ever,
    detaching_and_closing,
]


@pytest.mark.parametrize("callback", ODD, ids=lambda callback: callback.__name__)
def test_application_may_close_at_any_moment(
    serve: Serve, callback: Callable[[HTTPRequest], None]
) -> None:
    runs: list[str] = []

    def count(request: HTTPRequest) -> None:
        runs.append(request.uri)
        callback(request)

    served = serve(count)
    for _ in range(3):
        client = served.connect()
        client.send(get() * 3)
        with contextlib.suppress(ConnectionResetError):
            client.read_to_end()
        client.close()
    served.all_closed()
    assert len(runs) == 3  # and nothing after the close


@pytest.mark.parametrize("window", [None, 0, 10], ids=["all", "none", "some"])
@pytest.mark.parametrize("callback", [echo, raw, in_pieces, through_the_connection, hold])
def test_connection_may_be_lost_at_any_turn_of_the_loop(
    wire: Wired, callback: Callable[[HTTPRequest], None], window: int | None
) -> None:
    for turns in range(6):
        end = wire(callback, window=window)
        end.transport.peer_sends(get() * 3)
        end.turn(turns)
        end.transport.lose(ConnectionResetError("reset by the test"))
        end.turn()
        assert end.connections == 0


# --- Crowds ---------------------------------------------------------------------------------


def test_descriptors_and_memory_are_steady_after_thousands_of_short_connections(
    serve: Serve,
) -> None:
    references: list[weakref.ref[object]] = []

    def callback(request: HTTPRequest) -> None:
        references.append(weakref.ref(request.connection))
        echo(request)

    served = serve(callback)

    def crowd() -> None:
        for number in range(100):
            client = Client(served.address)
            if number % 3:
                client.send(get())
            if number % 2:
                client.reset()
            else:
                client.close()
        with Client(served.address) as client:
            client.ask(get())  # so that those before it have been accepted
        served.all_closed()

    crowd()
    served.settle()
    before = open_descriptors()
    for _ in range(2):
        crowd()
    served.settle()
    eventually(lambda: open_descriptors() <= before)
    eventually(lambda: not any(reference() for reference in references))


# --- Clients that do not read, at a process whose memory is looked at --------------------------

SERVER = """
import asyncio
from fasthttpserver.httpserver import HTTPServer
from fasthttpserver.ioloop import IOLoop

piece = bytes(65536)

async def much(request):
    request.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 104857600\\r\\n\\r\\n")
    for _ in range(1600):
        await request.write(piece)
    request.finish()

def callback(request):
    if request.uri == "/much":
        return much(request)
    if request.uri == "/at-once":
        request.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 104857600\\r\\n\\r\\n")
        request.write(bytes(104857600))
    else:
        request.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 1000\\r\\n\\r\\n" + bytes(1000))
    request.finish()

server = HTTPServer(callback, write_timeout=0.5)
server.listen(0, "127.0.0.1")
print(next(iter(server._sockets.values())).getsockname()[1], flush=True)
IOLoop.instance().start()
"""

MEGABYTE = 1_000_000
needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="there is no /proc")


def resident(process: Process) -> int:
    """Bytes of memory of a process."""
    fields = Path(f"/proc/{process._process.pid}/statm").read_text().split()
    return int(fields[1]) * mmap.PAGESIZE


@needs_proc
def test_ten_thousand_pipelined_requests_of_a_client_that_does_not_read_take_no_memory(
    launch: Callable[[str], Process],
) -> None:
    process = launch(SERVER.replace("write_timeout=0.5", "write_timeout=60"))
    address = ("127.0.0.1", int(process.line()))
    with Client(address) as other, Client(address, receive_buffer=4096) as greedy:
        for _ in range(100):
            other.ask(get())
        before = resident(process)
        greedy.socket.setblocking(False)
        data = memoryview(get() * 10_000)
        sent = most = 0
        while sent < len(data):
            try:
                sent += greedy.socket.send(data[sent : sent + 65536])
            except BlockingIOError:
                break  # the server does not read any more
            assert len(other.ask(get())) == 1000
            most = max(most, resident(process))
        for _ in range(100):
            other.ask(get())
            most = max(most, resident(process))
        assert most - before < 8 * MEGABYTE
        # It is all there when the client wants it.
        greedy.socket.settimeout(TIMEOUT)
        whole = sent // len(get())
        for _ in range(whole):
            assert len(greedy.read_response().body) == 1000


@needs_proc
@pytest.mark.parametrize("uri", ["/much", "/at-once"])
def test_answer_of_a_hundred_megabytes_that_is_never_read_is_reset(
    launch: Callable[[str], Process], uri: str
) -> None:
    process = launch(SERVER)
    address = ("127.0.0.1", int(process.line()))
    with Client(address) as other, Client(address, receive_buffer=4096) as client:
        other.ask(get())
        before = resident(process)
        client.send(get(uri))
        # The hundred megabytes of an application that makes them are there once, not twice.
        allowed = (20 if uri == "/much" else 125) * MEGABYTE
        deadline = time.monotonic() + TIMEOUT
        while not client.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            assert time.monotonic() < deadline
            assert len(other.ask(get())) == 1000
            assert resident(process) - before < allowed
        eventually(lambda: resident(process) - before < 20 * MEGABYTE)
    process.send_signal(15)
    assert process.end().returncode in (0, -15)
