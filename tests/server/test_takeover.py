"""Streams that an application detaches from HTTP, or has from a TCPServer of its own."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from helpers import (
    OK,
    TIMEOUT,
    Logs,
    LoopThread,
    Served,
    answer,
    echo,
    eventually,
    get,
    post,
    split,
    status_of,
)
from wire import FakeTransport, Wire

from fasthttpserver._server.request import HTTPRequest
from fasthttpserver.errors import StreamClosedError, UnsatisfiableReadError
from fasthttpserver.httputil import HTTPHeaders, ResponseStartLine
from fasthttpserver.ioloop import IOLoop
from fasthttpserver.iostream import IOStream
from fasthttpserver.tcpserver import TCPServer

SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"


# --- One stream, without a socket --------------------------------------------------------


class Ends:
    """A stream that nobody reads yet, and its transport."""

    def __init__(self, window: int | None = None, max_buffer_size: int = 1_000_000) -> None:
        self.loop = asyncio.new_event_loop()
        self.stream = IOStream(
            self.loop, ("192.0.2.7", 4711), lambda stream: None, None, max_buffer_size
        )
        self.transport = FakeTransport(self.loop, self.stream, window)
        self.stream.connection_made(self.transport)

    def close(self) -> None:
        if not self.loop.is_closed():
            self.transport.lose(None)
            self.turn()
            self.loop.close()

    def turn(self, times: int = 10) -> None:
        for _ in range(times):
            self.loop.call_soon(self.loop.stop)
            self.loop.run_forever()

    def send(self, *pieces: bytes) -> None:
        """Be a peer that sends these, each of them one read; ``b""`` is the end."""
        for piece in pieces:
            self.transport.peer_sends(piece)
        self.turn()

    def wait_for(self, future: asyncio.Future[Any]) -> None:
        """Run the loop until it is done."""
        self.loop.run_until_complete(asyncio.wait_for(asyncio.shield(future), TIMEOUT))

    def begin(self, style: str, name: str, *args: Any, **kwargs: Any) -> Read:
        """Begin a read, in one of the two styles."""
        read = Read()
        method = getattr(self.stream, f"read_{name}")
        if style == "callback":
            assert method(*args, callback=read.set_result, **kwargs) is None
        else:
            future = method(*args, **kwargs)
            future.add_done_callback(read.take)
        assert not read.results and read.error is None, "a callback ran before the call returned"
        return read


class Read:
    """What came of a read."""

    def __init__(self) -> None:
        self.results: list[bytes] = []
        self.error: BaseException | None = None

    def set_result(self, data: bytes) -> None:
        self.results.append(data)

    def take(self, future: asyncio.Future[bytes]) -> None:
        self.error = future.exception()
        if self.error is None:
            self.results.append(future.result())

    @property
    def result(self) -> bytes:
        assert self.error is None
        (data,) = self.results
        assert type(data) is bytes
        return data


@pytest.fixture
def ends(logs: Logs) -> Iterator[Callable[..., Ends]]:
    with contextlib.ExitStack() as stack:

        def make(**kwargs: Any) -> Ends:
            made = Ends(**kwargs)
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture(params=["callback", "future"])
def style(request: pytest.FixtureRequest) -> str:
    """Tornado 3's style, and the awaitable one."""
    return str(request.param)


PIECES = [
    # name, arguments, what is sent, what is read of it
    ("until", [b"\r\n"], b"one\r\ntwo\r\n", b"one\r\n"),
    ("until", [b"\r\n\r\n"], b"a\r\n\r\r\n\r\n\r\n", b"a\r\n\r\r\n\r\n"),
    ("until", [b"\n"], b"\n\n", b"\n"),
    ("until_regex", [rb"\r?\n\r?\n"], b"head: 1\r\n\nbody", b"head: 1\r\n\n"),
    ("until_regex", [re.compile(b"[0-9]X")], b"12XX", b"12X"),
    ("bytes", [5], b"hello world", b"hello"),
    ("bytes", [11], b"hello world", b"hello world"),
    ("bytes", [0], b"hello", b""),
]


@pytest.mark.parametrize(("name", "args", "sent", "read"), PIECES)
def test_piece_is_read_however_it_arrives(
    ends: Callable[..., Ends], style: str, name: str, args: list[Any], sent: bytes, read: bytes
) -> None:
    for cuts in [], range(len(sent)), *([cut] for cut in range(1, len(sent))):
        for before in range(len(split(sent, cuts)) + 1):  # pieces that come before the read
            pair = ends()
            pieces = split(sent, cuts)
            pair.send(*pieces[:before])
            begun = pair.begin(style, name, *args)
            pair.send(*pieces[before:])
            assert begun.result == read
            rest = pair.begin(style, "bytes", len(sent) - len(read))
            pair.turn()
            assert rest.result == sent[len(read) :]
            pair.close()


def test_partial_read_takes_what_is_there(ends: Callable[..., Ends], style: str) -> None:
    pair = ends()
    read = pair.begin(style, "bytes", 4, partial=True)
    pair.turn()
    assert read.results == []
    pair.send(b"ab", b"cdefgh")
    assert read.result == b"ab"
    for expected in b"cdef", b"gh":
        read = pair.begin(style, "bytes", 4, partial=True)
        pair.turn()
        assert read.result == expected


def test_read_until_close(ends: Callable[..., Ends], style: str) -> None:
    pair = ends()
    pair.send(b"a")
    read = pair.begin(style, "until_close")
    pair.send(b"bc", b"d")
    assert read.results == []
    pair.send(b"")
    assert read.result == b"abcd"
    # What follows is empty, as often as one asks.
    read = pair.begin(style, "until_close")
    pair.turn()
    assert read.result == b""


def test_streamed_read_of_a_number_of_bytes(ends: Callable[..., Ends], style: str) -> None:
    pair = ends()
    parts: list[bytes] = []
    pair.send(b"ab")
    read = pair.begin(style, "bytes", 7, streaming_callback=parts.append)
    assert parts == []
    pair.turn()
    pair.send(b"cd", b"efghi")
    assert parts == [b"ab", b"cd", b"efg"]
    assert read.result == b""
    rest = pair.begin(style, "bytes", 2)
    pair.turn()
    assert rest.result == b"hi"


def test_streamed_read_until_close(ends: Callable[..., Ends], style: str) -> None:
    pair = ends()
    parts: list[bytes] = []
    pair.send(b"ab")
    read = pair.begin(style, "until_close", streaming_callback=parts.append)
    pair.turn()
    pair.send(b"cd", b"e", b"")
    assert parts == [b"ab", b"cd", b"e"]
    assert read.result == b""


def test_a_regex_searches_each_byte_a_few_times_however_small_the_segments(
    ends: Callable[..., Ends],
) -> None:
    pair = ends()
    searched = []

    def find(buffer: bytearray, _: int) -> int | None:
        searched.append(len(buffer))
        return None if buffer[-1] != ord("!") else len(buffer)

    reader = pair.stream._buffered()
    future = reader.read(find, None, rescans=True)
    assert future is not None
    for _ in range(100_000):  # in one turn of the loop, so that no pause is over
        reader.data_received(b"xxxxx")
    assert sum(size for size in searched if size > 4096) <= 3 * 500_000
    reader.data_received(b"!")
    pair.wait_for(future)
    assert future.result() == b"xxxxx" * 100_000 + b"!"


@pytest.mark.parametrize("tail", [[b"\r\n"], [b"\r", b"\n"], [b"\r", b"\n", b"rest"]])
def test_a_regex_match_is_found_though_nothing_more_comes(
    ends: Callable[..., Ends], tail: list[bytes]
) -> None:
    pair = ends()
    future = pair.stream.read_until_regex(rb"\r?\n")
    pair.send(b"x" * 500_000, *tail)
    pair.wait_for(future)
    assert future.result() == b"x" * 500_000 + b"\r\n"
    rest = pair.stream.read_bytes(10, partial=True)
    if tail[2:]:
        pair.wait_for(rest)
        assert rest.result() == b"rest"
    else:
        rest.cancel()


def test_a_regex_match_is_found_at_the_end_of_the_connection(ends: Callable[..., Ends]) -> None:
    pair = ends()
    future = pair.stream.read_until_regex(rb"\n")
    pair.turn()
    for piece in [b"x" * 500_000, b"y", b"\n"]:
        pair.stream.data_received(piece)
    assert not future.done()
    pair.stream.eof_received()
    assert future.result().endswith(b"xy\n")


def test_a_regex_match_is_found_before_the_buffer_is_full(ends: Callable[..., Ends]) -> None:
    pair = ends(max_buffer_size=500_000)
    future = pair.stream.read_until_regex(rb"\n")
    pair.turn()
    for piece in [b"x" * 400_000, b"\n", b"y" * 100_000]:
        pair.stream.data_received(piece)
    assert future.result() == b"x" * 400_000 + b"\n"


def test_one_read_at_a_time(ends: Callable[..., Ends], style: str) -> None:
    pair = ends()
    assert not pair.stream.reading()
    read = pair.begin(style, "bytes", 2)
    assert pair.stream.reading()
    for again in (
        lambda: pair.stream.read_bytes(1),
        lambda: pair.stream.read_until(b"\n"),
        lambda: pair.stream.read_until_regex(b"x", print),
        lambda: pair.stream.read_until_close(print),
    ):
        with pytest.raises(AssertionError, match="Already reading"):
            again()
    pair.send(b"ab")
    assert read.result == b"ab"
    assert not pair.stream.reading()


def test_read_callback_may_begin_the_next_read(ends: Callable[..., Ends]) -> None:
    pair = ends()
    lines: list[bytes] = []

    def on_line(line: bytes) -> None:
        lines.append(line)
        pair.stream.read_until(b"\n", on_line)

    pair.stream.read_until(b"\n", on_line)
    pair.send(b"x\n" * 3000)  # more than the stack would bear
    while len(lines) < 3000:
        pair.turn()
    assert set(lines) == {b"x\n"}


@pytest.mark.parametrize("streaming", [False, True])
def test_read_callback_that_raises_closes(
    ends: Callable[..., Ends], logs: Logs, streaming: bool
) -> None:
    pair = ends()
    finished: list[bytes] = []

    def fail(data: bytes) -> None:
        raise ValueError("on purpose")

    if streaming:
        pair.stream.read_bytes(9, finished.append, streaming_callback=fail)
    else:
        pair.stream.read_bytes(1, fail)
    pair.send(b"x", b"y")
    assert pair.stream.closed()
    assert pair.transport.closing
    assert finished == []
    assert len(logs.errors()) == 1


@pytest.mark.parametrize(
    ("name", "argument", "error"),
    [
        ("bytes", "5", TypeError),
        ("bytes", None, TypeError),
        ("bytes", 1.0, TypeError),
        ("bytes", -1, ValueError),
        ("until", "\n", TypeError),
        ("until", None, TypeError),
        ("until", b"", ValueError),
        ("until_regex", "\n", TypeError),
        ("until_regex", b"(", re.error),
    ],
)
@pytest.mark.parametrize("callback", [None, print])
def test_wrong_argument_of_a_read_is_told_at_once(
    ends: Callable[..., Ends],
    name: str,
    argument: Any,
    error: type[Exception],
    callback: Callable[[bytes], object] | None,
) -> None:
    pair = ends()
    with pytest.raises(error):
        getattr(pair.stream, f"read_{name}")(argument, callback)
    assert not pair.stream.reading()
    read = pair.begin("callback", "bytes", 1)
    pair.send(b"x")
    assert read.result == b"x"


@pytest.mark.parametrize("late", [False, True])
def test_read_that_is_cancelled_takes_nothing(ends: Callable[..., Ends], late: bool) -> None:
    # As asyncio.wait_for() does when time is over.
    pair = ends()
    future = pair.stream.read_bytes(4)
    pair.send(b"ab")
    future.cancel()
    if late:
        pair.turn()
        assert not pair.stream.reading()
    pair.transport.peer_sends(b"cdef")
    pair.turn()
    read = pair.begin("future", "bytes", 6)
    pair.turn()
    assert read.result == b"abcdef"


def test_read_behind_a_time_out(ends: Callable[..., Ends]) -> None:
    pair = ends()

    async def talk() -> bytes:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pair.stream.read_until(b"\n"), 0.001)
        pair.transport.peer_sends(b"line\n")
        line: bytes = await pair.stream.read_until(b"\n")
        return line

    assert pair.loop.run_until_complete(talk()) == b"line\n"


# --- The end of a stream -----------------------------------------------------------------


@pytest.mark.parametrize("end", ["peer closes", "peer resets", "we close"])
def test_read_that_is_pending_at_the_end(ends: Callable[..., Ends], style: str, end: str) -> None:
    pair = ends()
    read = pair.begin(style, "bytes", 10)
    pair.send(b"abc")
    error = ConnectionResetError("reset")
    if end == "peer closes":
        pair.send(b"")
    elif end == "peer resets":
        pair.transport.lose(error)
    else:
        pair.stream.close()
    pair.turn()
    assert pair.stream.closed()
    assert not pair.stream.reading()
    assert read.results == []  # a callback never runs then; there is the close callback
    if style == "future":
        assert isinstance(read.error, StreamClosedError)
        assert read.error.real_error is (error if end == "peer resets" else None)
        assert pair.stream.error is read.error.real_error


@pytest.mark.parametrize("end", ["peer closes", "peer resets", "we close"])
def test_what_came_before_the_end_may_be_read_behind_it(
    ends: Callable[..., Ends], style: str, end: str
) -> None:
    pair = ends()
    pair.send(b"one\ntwo\nrest")
    if end == "peer closes":
        pair.send(b"")
    elif end == "peer resets":
        pair.transport.lose(ConnectionResetError("reset"))
    else:
        pair.stream.close()
    pair.turn()
    assert pair.stream.closed()
    for expected in b"one\n", b"two\n":
        read = pair.begin(style, "until", b"\n")
        pair.turn()
        assert read.result == expected
    if style == "callback":
        with pytest.raises(StreamClosedError):
            pair.stream.read_until(b"\n", print)
    else:
        read = pair.begin(style, "until", b"\n")
        pair.turn()
        assert isinstance(read.error, StreamClosedError)
    read = pair.begin(style, "until_close")
    pair.turn()
    assert read.result == b"rest"


def test_piece_in_one_read_with_the_end(ends: Callable[..., Ends], style: str) -> None:
    pair = ends()
    read = pair.begin(style, "until", b"\n")
    pair.transport.peer_sends(b"line\n")
    pair.transport.peer_sends(b"")
    pair.turn()
    assert read.result == b"line\n"


def test_closed_stream_is_an_os_error() -> None:
    assert issubclass(StreamClosedError, OSError)


def test_close_callback_runs_behind_the_read_callback(ends: Callable[..., Ends]) -> None:
    pair = ends()
    events: list[object] = []
    pair.stream.set_close_callback(lambda: events.append(pair.stream.closed()))
    pair.stream.read_until_close(events.append)
    pair.send(b"all", b"")
    assert events == [b"all", True]


def test_close_callback_runs_without_a_read(ends: Callable[..., Ends]) -> None:
    pair = ends()
    events: list[object] = []
    pair.stream.set_close_callback(lambda: events.append("first"))
    pair.stream.set_close_callback(lambda: events.append("second"))
    pair.send(b"unread", b"")
    assert events == ["second"]


def test_close_callback_that_raises_is_logged(ends: Callable[..., Ends], logs: Logs) -> None:
    pair = ends()
    pair.stream.set_close_callback(lambda: [][0])
    pair.send(b"")
    assert pair.stream.closed()
    assert len(logs.errors()) == 1


# --- How much is kept --------------------------------------------------------------------


def test_read_of_more_than_may_be_buffered_closes(
    ends: Callable[..., Ends], style: str, logs: Logs
) -> None:
    pair = ends(max_buffer_size=1000)
    assert pair.stream.max_buffer_size == 1000
    read = pair.begin(style, "until", b"\n")
    pair.send(b"x" * 999, b"\n")
    assert len(read.result) == 1000
    read = pair.begin(style, "until", b"\n")
    pair.send(b"x" * 600, b"x" * 600, b"\n")
    assert pair.stream.closed()
    assert isinstance(pair.stream.error, UnsatisfiableReadError)
    if style == "future":
        assert isinstance(read.error, StreamClosedError)
        assert read.error.real_error is pair.stream.error
    assert read.results == []
    assert len(logs.refusals()) == 1


def test_piece_that_is_found_counts_and_not_what_is_behind_it(
    ends: Callable[..., Ends], style: str
) -> None:
    pair = ends(max_buffer_size=1000)
    read = pair.begin(style, "until", b"\n")
    pair.send(b"x" * 500 + b"\n" + b"y" * 800)
    assert read.result == b"x" * 500 + b"\n"
    assert not pair.stream.closed()


def test_streamed_read_is_not_bounded(ends: Callable[..., Ends], style: str) -> None:
    pair = ends(max_buffer_size=1000)
    parts: list[bytes] = []
    read = pair.begin(style, "bytes", 5000, streaming_callback=parts.append)
    pair.send(*[b"x" * 500] * 10)
    assert read.result == b""
    assert b"".join(parts) == b"x" * 5000


def test_peer_waits_while_nobody_reads(ends: Callable[..., Ends], style: str) -> None:
    pair = ends()
    pieces = [bytes([number]) * 10_000 for number in range(50)]
    pair.send(*pieces)
    assert 400_000 <= pair.transport.unread < 450_000
    data = b""
    for _ in range(10):
        read = pair.begin(style, "bytes", 50_000)
        pair.turn()
        data += read.result
        assert pair.transport.unread >= 400_000 - len(data)
    assert data == b"".join(pieces)
    assert pair.transport.unread == 0


# --- Writing -----------------------------------------------------------------------------


def test_write_callback_runs_when_all_has_left(ends: Callable[..., Ends]) -> None:
    pair = ends(window=3)
    events: list[str] = []
    pair.stream.write(b"abcdef", lambda: events.append("written"))
    assert events == []
    pair.turn()
    assert pair.stream.writing()
    assert events == []
    pair.transport.peer_takes(3)
    pair.turn()
    assert not pair.stream.writing()
    assert events == ["written"]
    assert pair.transport.taken == b"abcdef"


def test_write_callback_does_not_run_inside_write(ends: Callable[..., Ends]) -> None:
    pair = ends()
    events: list[str] = []

    def twice() -> None:
        pair.stream.write(b"a", lambda: events.append("written"))
        events.append("returned")

    pair.loop.call_soon(twice)
    pair.turn()
    assert events == ["returned", "written"]


def test_each_write_replaces_the_callback(ends: Callable[..., Ends]) -> None:
    pair = ends()
    events: list[str] = []
    pair.stream.write(b"a", lambda: events.append("first"))
    pair.stream.write(b"b", lambda: events.append("second"))
    pair.turn()
    assert events == ["second"]
    pair.stream.write(b"c", lambda: events.append("third"))
    pair.stream.write(b"d")
    pair.turn()
    assert events == ["second"]
    pair.stream.write(b"", lambda: events.append("of nothing"))
    pair.turn()
    assert events == ["second", "of nothing"]
    assert pair.transport.taken == b"abcd"


def test_each_write_has_its_future(ends: Callable[..., Ends]) -> None:
    pair = ends(window=3)
    futures = [pair.stream.write(b"ab"), pair.stream.write(b"cd"), pair.stream.write(b"")]
    pair.turn()
    assert [future.done() for future in futures if future] == [False] * 3
    pair.transport.peer_takes(1)
    pair.turn()
    assert [future.result() for future in futures if future] == [None] * 3
    after = pair.stream.write(b"")
    pair.turn()
    assert after and after.done()


def test_write_that_is_not_through_at_the_end(ends: Callable[..., Ends]) -> None:
    pair = ends(window=3)
    events: list[str] = []
    awaited, forgotten = pair.stream.write(b"abcdef"), pair.stream.write(b"g")
    assert forgotten
    pair.stream.write(b"h", lambda: events.append("written"))
    pair.turn()
    pair.transport.lose(ConnectionResetError("reset"))
    pair.turn()
    assert events == []
    assert awaited and isinstance(awaited.exception(), StreamClosedError)
    # `forgotten` is never retrieved, which nobody is told.


def test_write_behind_the_end_raises(ends: Callable[..., Ends]) -> None:
    pair = ends()
    pair.stream.close()
    attempts: list[tuple[Any, ...]] = [(b"x",), (b"x", print)]
    for args in attempts:
        with pytest.raises(StreamClosedError):
            pair.stream.write(*args)
    pair.turn()
    with pytest.raises(StreamClosedError):
        pair.stream.write(b"x")
    assert pair.transport.taken == b""


def test_write_callback_that_raises_closes(ends: Callable[..., Ends], logs: Logs) -> None:
    pair = ends()
    pair.stream.write(b"x", lambda: [][0])
    pair.turn()
    assert pair.stream.closed()
    assert len(logs.errors()) == 1


@pytest.mark.parametrize("data", ["text", None, 1, [b"x"]])
def test_write_of_something_else_is_a_type_error(ends: Callable[..., Ends], data: Any) -> None:
    pair = ends()
    with pytest.raises(TypeError):
        pair.stream.write(data)
    pair.stream.write(b"x")
    pair.turn()
    assert pair.transport.taken == b"x"


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_write_of_a_buffer_sends_what_it_holds_now(ends: Callable[..., Ends], kind: Any) -> None:
    pair = ends()
    data = bytearray(b"now")
    pair.stream.write(kind(data))
    data[:] = b"not"
    pair.turn()
    assert pair.transport.taken == b"now"


def test_close_with_exc_info_keeps_the_error(ends: Callable[..., Ends]) -> None:
    pair = ends()
    try:
        raise ValueError("on purpose")
    except ValueError as error:
        pair.stream.close(exc_info=True)
        assert pair.stream.error is error


# --- Taking over from HTTP ---------------------------------------------------------------


def in_callback(request: HTTPRequest, then: Callable[[IOStream], None]) -> None:
    """As Tornado 3's WebSockets do."""
    then(request.connection.stream)


def by_detach(request: HTTPRequest, then: Callable[[IOStream], None]) -> None:
    then(request.connection.detach())


def behind_raw_bytes(request: HTTPRequest, then: Callable[[IOStream], None]) -> None:
    request.write(SWITCHING)
    then(request.connection.stream)


def behind_write_headers(request: HTTPRequest, then: Callable[[IOStream], None]) -> None:
    start_line = ResponseStartLine("HTTP/1.1", 101, "Switching Protocols")
    request.connection.write_headers(start_line, HTTPHeaders())
    then(request.connection.detach())


def behind_finish(request: HTTPRequest, then: Callable[[IOStream], None]) -> None:
    """As Tornado 6's WebSockets do."""
    start_line = ResponseStartLine("HTTP/1.1", 101, "Switching Protocols")
    request.connection.set_close_callback(lambda: None)
    request.connection.set_close_callback(None)
    request.connection.write_headers(start_line, HTTPHeaders(), b"")
    request.connection.finish()
    then(request.connection.detach())


async def in_task(request: HTTPRequest, then: Callable[[IOStream], None]) -> None:
    for _ in range(5):
        await asyncio.sleep(0)
    then(request.connection.detach())


async def in_task_behind_finish(request: HTTPRequest, then: Callable[[IOStream], None]) -> None:
    await asyncio.sleep(0)
    behind_finish(request, then)


WAYS: dict[Callable[[HTTPRequest, Callable[[IOStream], None]], Any], bytes] = {
    in_callback: b"",
    by_detach: b"",
    behind_raw_bytes: SWITCHING,
    behind_write_headers: SWITCHING,
    behind_finish: SWITCHING,
    in_task: b"",
    in_task_behind_finish: SWITCHING,
}


HEADS = [
    get("/", "Upgrade: x", "Connection: Upgrade"),
    get("/", "Connection: close"),
    get("/", version="HTTP/1.0"),
    post(b"body"),
    b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("no_keep_alive", [False, True])
def test_what_came_behind_the_request_is_read_first(
    wire: Callable[..., Wire],
    way: Callable[[HTTPRequest, Callable[[IOStream], None]], Any],
    head: bytes,
    no_keep_alive: bool,
) -> None:
    data = head + b"hello world"
    border = len(head)
    for cuts in [], range(len(data)), [9], *([cut] for cut in range(border - 5, border + 7)):
        read: list[bytes] = []

        def then(stream: IOStream, read: list[bytes] = read) -> None:
            def on_hello(data: bytes) -> None:
                read.append(data)
                stream.read_until_close(read.append)

            stream.read_bytes(5, on_hello)

        connection = wire(
            lambda request, then=then: way(request, then), no_keep_alive=no_keep_alive
        )
        connection.send(*split(data, cuts))
        assert read == [b"hello"]
        assert connection.sent() == WAYS[way]
        assert connection.connections == 0  # no deadline any more
        assert not connection.ended
        connection.half_close()
        assert read == [b"hello", b" world"]


def test_detach_after_the_end(wire: Callable[..., Wire]) -> None:
    requests: list[HTTPRequest] = []
    read: list[bytes] = []
    connection = wire(requests.append)
    connection.send(get() + b"line\nrest")
    connection.half_close()
    stream = requests[0].connection.stream
    connection.call(stream.read_until, b"\n", read.append)
    assert read == [b"line\n"]
    with pytest.raises(StreamClosedError):
        stream.read_until(b"\n", read.append)
    connection.call(stream.read_until_close, read.append)
    assert read == [b"line\n", b"rest"]
    stream.close()


def test_much_that_came_behind_the_request_is_not_lost(wire: Callable[..., Wire]) -> None:
    requests: list[HTTPRequest] = []
    read: list[bytes] = []
    connection = wire(requests.append)
    pieces = [bytes([number]) * 30_000 for number in range(20)]
    connection.send(get(), *pieces)
    assert connection.transport.unread > 400_000  # nobody wanted it so far
    stream = requests[0].connection.stream
    connection.call(stream.read_bytes, 600_000, read.append)
    assert read == [b"".join(pieces)]


@pytest.mark.parametrize("way", WAYS)
def test_finish_after_detach_does_nothing(
    wire: Callable[..., Wire], way: Callable[[HTTPRequest, Callable[[IOStream], None]], Any]
) -> None:
    requests: list[HTTPRequest] = []
    read: list[bytes] = []

    def callback(request: HTTPRequest) -> Any:
        requests.append(request)
        return way(request, lambda stream: stream.read_bytes(2, read.append))

    connection = wire(callback)
    connection.send(get())
    connection.call(requests[0].connection.finish)
    connection.send(get())
    assert read == [b"GE"]
    assert len(requests) == 1  # not parsed
    assert not connection.ended
    connection.call(requests[0].connection.stream.write, b"raw")
    assert connection.sent() == WAYS[way] + b"raw"


def test_finish_of_the_request_after_detach_does_nothing(
    wire: Callable[..., Wire],
) -> None:
    requests: list[HTTPRequest] = []
    read: list[bytes] = []

    def callback(request: HTTPRequest) -> None:
        requests.append(request)
        request.connection.stream.read_bytes(3, read.append)
        request.finish()

    connection = wire(callback)
    connection.send(get(), get())
    assert read == [b"GET"]
    assert len(requests) == 1
    assert not connection.ended
    assert connection.sent() == b""


def test_request_writes_to_the_stream_after_detach(wire: Callable[..., Wire]) -> None:
    # Tornado 3's request.write() is no more than that.
    written: list[bytes] = []

    def callback(request: HTTPRequest) -> None:
        def on_line(line: bytes) -> None:
            request.write(line.upper(), lambda: written.append(line))

        request.connection.stream.read_until(b"\n", on_line)

    connection = wire(callback)
    connection.send(get() + b"line\n")
    assert connection.sent() == b"LINE\n"
    assert written == [b"line\n"]


@pytest.mark.parametrize("window", [None, 0])
def test_write_callback_of_before_runs(wire: Callable[..., Wire], window: int | None) -> None:
    events: list[object] = []

    def callback(request: HTTPRequest) -> None:
        request.write(SWITCHING, lambda: events.append("written"))
        request.connection.stream.read_bytes(1, events.append)

    connection = wire(callback, window=window)
    connection.send(get())
    if window is not None:
        assert events == []
        connection.take(1000)
    assert events == ["written"]
    connection.send(b"x")
    assert events == ["written", b"x"]


def test_detached_connection_writes_nothing(wire: Callable[..., Wire], logs: Logs) -> None:
    requests: list[HTTPRequest] = []

    def callback(request: HTTPRequest) -> None:
        requests.append(request)
        request.connection.detach()

    connection = wire(callback)
    connection.send(get())
    with contextlib.suppress(RuntimeError):
        requests[0].connection.write_headers(ResponseStartLine("", 200, "OK"), HTTPHeaders())
    with contextlib.suppress(RuntimeError):
        requests[0].write(b"x")
    with contextlib.suppress(RuntimeError):
        requests[0].finish()
    connection.turn()
    assert connection.sent() == b""
    assert not connection.ended
    logs.warnings()


def test_detach_inside_of_a_body_changes_nothing(wire: Callable[..., Wire], logs: Logs) -> None:
    # An application that has kept the stream of a request that is over.
    streams: list[IOStream] = []

    def callback(request: HTTPRequest) -> None:
        streams.append(request.connection.stream)
        answer(request)

    end = wire(callback, body_stall_timeout=10)
    end.send(get(), post(b"body")[:-1])
    with pytest.raises(RuntimeError, match="inside a body"):
        streams[0].read_bytes(1)
    assert end.sent() == OK
    end.pass_time(12)  # its deadlines go on
    assert status_of(end.sent()) == 408
    assert len(logs.refusals()) == 1


def test_detach_twice_is_the_same_stream(wire: Callable[..., Wire]) -> None:
    streams: list[IOStream] = []

    def callback(request: HTTPRequest) -> None:
        streams.append(request.connection.detach())
        streams.append(request.connection.detach())

    connection = wire(callback)
    connection.send(get())
    assert streams == [connection.stream] * 2


def test_failure_after_detach_closes_and_writes_nothing(
    wire: Callable[..., Wire], logs: Logs
) -> None:
    def callback(request: HTTPRequest) -> None:
        request.connection.detach()
        raise ValueError("on purpose")

    connection = wire(callback)
    connection.send(get())
    assert connection.sent() == b""
    assert connection.ended
    assert len(logs.errors()) == 1


def test_failure_of_a_coroutine_after_detach_closes(wire: Callable[..., Wire], logs: Logs) -> None:
    async def callback(request: HTTPRequest) -> None:
        await request.connection.detach().read_bytes(1)
        raise ValueError("on purpose")

    connection = wire(callback)
    connection.send(get() + b"x")
    assert connection.sent() == b""
    assert connection.ended
    assert len(logs.errors()) == 1


def test_coroutine_that_reads_ends_in_silence_with_its_client(wire: Callable[..., Wire]) -> None:
    async def callback(request: HTTPRequest) -> None:
        stream = request.connection.detach()
        while True:
            await stream.write(await stream.read_until(b"\n"))

    connection = wire(callback)
    connection.send(get() + b"a\nb\nc")
    assert connection.sent() == b"a\nb\n"
    connection.half_close()
    assert connection.ended


@pytest.mark.parametrize("detach", [True, False])
def test_coroutine_that_reads_when_its_client_sends_no_more_ends_in_silence(
    wire: Callable[..., Wire], detach: bool
) -> None:
    turns: list[asyncio.Future[None]] = []

    async def callback(request: HTTPRequest) -> None:
        turns.append(connection.loop.create_future())
        await turns[0]
        stream = request.connection.detach() if detach else request.connection.stream
        while True:
            await stream.write(await stream.read_until(b"\n"))

    connection = wire(callback)
    connection.send(get() + b"a\nb")
    connection.half_close()
    connection.call(turns[0].set_result, None)
    assert connection.sent() == b"a\n"
    assert connection.ended


# --- Close callbacks of both -------------------------------------------------------------


def test_close_callback_of_the_connection_runs_after_detach(
    wire: Callable[..., Wire],
) -> None:
    events: list[str] = []

    def callback(request: HTTPRequest) -> None:
        request.connection.set_close_callback(lambda: events.append("connection"))
        request.connection.stream.read_bytes(1)

    connection = wire(callback)
    connection.send(get())
    connection.reset()
    assert events == ["connection"]


@pytest.mark.parametrize("late", [False, True])
def test_close_callback_of_the_stream_replaces_the_connections(
    wire: Callable[..., Wire], late: bool
) -> None:
    events: list[str] = []

    def callback(request: HTTPRequest) -> None:
        stream = request.connection.stream
        request.connection.set_close_callback(lambda: events.append("connection"))
        if late:
            stream.read_bytes(1)
        stream.set_close_callback(lambda: events.append("stream"))
        if not late:
            stream.read_bytes(1)

    connection = wire(callback)
    connection.send(get())
    connection.reset()
    assert events == ["stream"]


def test_close_callback_of_the_connection_is_forgotten_by_detach(
    wire: Callable[..., Wire],
) -> None:
    events: list[str] = []

    def callback(request: HTTPRequest) -> None:
        request.connection.set_close_callback(lambda: events.append("connection"))
        request.connection.detach()

    connection = wire(callback)
    connection.send(get())
    connection.reset()
    assert events == []


# --- With sockets ------------------------------------------------------------------------


def test_tornado_3_style_upgrade(serve: Callable[..., Served]) -> None:
    closed: list[bool] = []

    def upgrade(request: HTTPRequest) -> None:
        if request.uri != "/upgrade":
            echo(request)
            return
        stream = request.connection.stream
        stream.set_nodelay(True)
        request.connection.set_close_callback(lambda: closed.append(stream.closed()))

        def on_size(data: bytes) -> None:
            stream.read_bytes(data[0], on_body)

        def on_body(data: bytes) -> None:
            stream.write(data.upper())
            stream.read_bytes(1, on_size)

        stream.write(SWITCHING)
        stream.read_bytes(1, on_size)

    served = serve(upgrade)
    client = served.connect()
    assert client.ask(get("/1")) == b"/1 "
    client.send(get("/upgrade") + b"\x03ab")
    assert client.read(len(SWITCHING)) == SWITCHING
    client.send(b"c\x00")
    assert client.read(3) == b"ABC"
    client.send(b"\xc8" + b"y" * 200)
    assert client.read(200) == b"Y" * 200
    client.close()
    eventually(lambda: closed)
    assert closed == [True]


def test_large_data_both_ways_with_flow_control(serve: Callable[..., Served]) -> None:
    async def copy(request: HTTPRequest) -> None:
        stream = request.connection.detach()
        left = 5_000_000
        while left:
            piece = await stream.read_bytes(65_536, partial=True)
            left -= len(piece)
            await stream.write(piece)
        stream.close()

    client = serve(copy).connect()
    data = bytes(range(250)) * 20_000

    async def talk() -> bytes:
        reader, writer = await asyncio.open_connection(sock=client.socket)
        writer.write(get() + data)
        result = await reader.read(-1)
        writer.close()
        return result

    assert asyncio.run(talk()) == data


@pytest.mark.parametrize("reads", [False, True])
def test_client_that_is_not_read_is_made_to_wait(serve: Callable[..., Served], reads: bool) -> None:
    streams: list[IOStream] = []

    def keep(request: HTTPRequest) -> None:
        streams.append(request.connection.detach())
        if reads:
            streams[0].read_bytes(1)

    served = serve(keep)
    client = served.connect()
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
    client.socket.settimeout(0.2)
    client.send(get())
    with pytest.raises(TimeoutError):
        for _ in range(1000):
            client.send(bytes(100_000))
    client.close()
    served.call(streams[0].abort)
    served.settle()


def test_stream_tells_of_its_socket(serve: Callable[..., Served]) -> None:
    seen: list[Any] = []

    def look(request: HTTPRequest) -> None:
        stream = request.connection.detach()
        seen.append((stream.fileno(), stream.socket.family, stream.socket.getpeername()))
        seen.append((stream.io_loop, stream.max_buffer_size, stream.closed()))
        assert stream.fileno() == stream.socket.fileno()
        stream.set_nodelay(False)
        stream.close()
        seen.append((stream.fileno(), stream.socket, stream.closed()))

    served = serve(look, max_buffer_size=123_456)
    client = served.connect()
    client.send(get())
    assert client.read_to_end() == b""
    (number, family, peer), (io_loop, size, closed), after = seen
    assert number > 0
    assert (family, peer) == (socket.AF_INET, client.address)
    assert io_loop is served.server.io_loop
    assert isinstance(io_loop, IOLoop)
    assert (size, closed) == (123_456, False)
    assert after == (-1, None, True)


def test_detached_streams_outlive_the_server(serve: Callable[..., Served]) -> None:
    async def shout(request: HTTPRequest) -> None:
        stream = request.connection.detach()
        while True:
            await stream.write((await stream.read_until(b"\n")).upper())

    served = serve(shout)
    client = served.connect()
    client.send(get() + b"a\n")
    assert client.read(2) == b"A\n"
    served.call(served.server.stop)
    served.call(served.server.close_all_connections)
    client.send(b"b\n")
    assert client.read(2) == b"B\n"
    client.close()
    eventually(
        lambda: not served.call(lambda: [t for t in asyncio.all_tasks() if "shout" in repr(t)])
    )


# --- TCPServer ---------------------------------------------------------------------------


class LineEcho(TCPServer):
    """Callback style."""

    def handle_stream(self, stream: IOStream, address: Any) -> None:
        def on_line(line: bytes) -> None:
            if line == b"fail\n":
                raise ValueError("on purpose")
            stream.write(line, lambda: stream.read_until(b"\n", on_line))

        stream.read_until(b"\n", on_line)


class AsyncLineEcho(TCPServer):
    """Awaitable style; takes its time before it reads."""

    async def handle_stream(self, stream: IOStream, address: Any) -> None:
        for _ in range(5):
            await asyncio.sleep(0)
        while True:
            line = await stream.read_until(b"\n")
            if line == b"fail\n":
                raise ValueError("on purpose")
            await stream.write(line)


class Failing(TCPServer):
    """A bug in what is called."""

    def handle_stream(self, stream: IOStream, address: Any) -> None:
        raise ValueError("on purpose")


class Listening(LoopThread):
    """Such a server, in a thread and a loop of its own."""

    def __init__(self, new_loop: Callable[[], Any], server: TCPServer) -> None:
        super().__init__(new_loop)
        self.server = server

    def __enter__(self) -> Any:
        super().__enter__()
        self.call(self.server.listen, 0, "127.0.0.1")
        self.address = next(iter(self.server._sockets.values())).getsockname()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.call(self.server.stop)
        eventually(lambda: not self.call(lambda: list(self.server._tasks)))
        self.settle()
        super().__exit__(*exc_info)

    @contextlib.contextmanager
    def client(self) -> Iterator[socket.socket]:
        with socket.create_connection(self.address, timeout=10) as client:
            yield client


@pytest.fixture
def listening(
    new_loop: Callable[[], Any], logs: Logs, nothing_left: None
) -> Iterator[Callable[[TCPServer], Listening]]:
    with contextlib.ExitStack() as stack:
        yield lambda server: stack.enter_context(Listening(new_loop, server))


@pytest.mark.parametrize("kind", [LineEcho, AsyncLineEcho])
def test_line_echo(listening: Callable[[TCPServer], Listening], kind: type[TCPServer]) -> None:
    running = listening(kind())
    with running.client() as one, running.client() as two:
        for client in one, two:
            client.sendall(b"a line\nand another\nhal")
            with client.makefile("rb") as lines:
                assert lines.readline() == b"a line\n"
                assert lines.readline() == b"and another\n"
                client.sendall(b"f\n")
                assert lines.readline() == b"half\n"


@pytest.mark.parametrize("kind", [LineEcho, AsyncLineEcho])
def test_line_echo_that_fails_closes_its_connection(
    listening: Callable[[TCPServer], Listening], kind: type[TCPServer], logs: Logs
) -> None:
    running = listening(kind())
    with running.client() as fails, running.client() as other:
        fails.sendall(b"fail\n")
        assert fails.recv(100) == b""
        other.sendall(b"x\n")
        assert other.recv(100) == b"x\n"
    assert len(logs.errors()) == 1


@pytest.mark.parametrize("kind", [Failing, TCPServer])
def test_handle_stream_that_raises_closes_its_connection(
    listening: Callable[[TCPServer], Listening], kind: type[TCPServer], logs: Logs
) -> None:
    running = listening(kind())
    for _ in range(2):
        with running.client() as client:
            assert client.recv(100) == b""
    assert [line.partition(":")[0] for line in logs.errors()] == [
        "Error in connection callback"
    ] * 2


def test_max_buffer_size_of_a_server_is_its_streams(
    listening: Callable[[TCPServer], Listening], logs: Logs
) -> None:
    running = listening(LineEcho(max_buffer_size=1000))
    with running.client() as client:
        client.sendall(b"x" * 900 + b"\n")
        with client.makefile("rb") as lines:
            assert len(lines.readline()) == 901
        client.sendall(b"x" * 1200)
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(100) == b""
    assert len(logs.refusals()) == 1


def test_address_is_the_peers(listening: Callable[[TCPServer], Listening]) -> None:
    seen: list[Any] = []

    class Looks(TCPServer):
        def handle_stream(self, stream: IOStream, address: Any) -> None:
            seen.append(address)
            stream.close()

    running = listening(Looks())
    with running.client() as client:
        assert client.recv(100) == b""
        assert seen == [client.getsockname()]


def test_stream_that_nobody_reads_is_bounded(
    listening: Callable[[TCPServer], Listening],
) -> None:
    streams: list[IOStream] = []

    class Waits(TCPServer):
        def handle_stream(self, stream: IOStream, address: Any) -> None:
            streams.append(stream)

    running = listening(Waits())
    with running.client() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            for _ in range(1000):
                client.sendall(bytes(100_000))
    running.call(streams[0].abort)


def test_reading_both_styles_in_one_loop(run: Callable[[Any], Any]) -> None:
    async def main() -> None:
        server = AsyncLineEcho()
        server.listen(0, "127.0.0.1")
        address = next(iter(server._sockets.values())).getsockname()
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"x\n")
        assert await reader.readline() == b"x\n"
        writer.close()
        await writer.wait_closed()
        server.stop()
        while server._tasks:
            await asyncio.sleep(0)

    run(main())


def write_to_the_stream_and_close(request: HTTPRequest) -> None:
    stream = request.connection.detach()
    stream.write(b"0123456789")
    stream.close()


def test_close_does_not_wait_for_ever_for_a_peer_that_takes_nothing(
    wire: Callable[..., Wire],
) -> None:
    end = wire(write_to_the_stream_and_close, window=4)
    end.send(get())
    end.pass_time(59)
    assert end.sent() == b"0123"
    assert not end.transport.aborted
    end.pass_time(2)
    assert end.transport.aborted


def test_close_waits_for_a_peer_that_takes_the_rest(wire: Callable[..., Wire]) -> None:
    end = wire(write_to_the_stream_and_close, window=4)
    end.send(get())
    end.pass_time(30)
    end.take(10)
    end.pass_time(60)
    assert end.sent() == b"0123456789"
    assert not end.transport.aborted
