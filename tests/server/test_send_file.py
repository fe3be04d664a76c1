"""A file as a part of a response: sent by the kernel where it can, read in pieces elsewhere."""

from __future__ import annotations

import asyncio
import gzip
import io
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import IO, Any

import pytest
from helpers import TIMEOUT, Client, Logs, Served, get, post
from wire import Wire

from fasthttpserver import HTTPRequest
from fasthttpserver.errors import HTTPOutputError, StreamClosedError
from fasthttpserver.httputil import ResponseStartLine

Wired = Callable[..., Wire]
Serve = Callable[..., Served]

LARGE = 3_000_000
CONTENT = bytes(range(256)) * (LARGE // 256 + 1)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[IO[bytes]]:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    with path.open("rb") as file:
        yield file


def sender(
    file: Any,
    length: int | None,
    *arguments: Any,
    tell: Callable[[BaseException | None], object] = lambda error: None,
) -> Callable[[HTTPRequest], Any]:
    """An application that sends a file, and tells how that went.

    Args:
        length: The Content-Length; None for none.
        arguments: Of ``send_file``, after the file.
    """

    async def callback(request: HTTPRequest) -> None:
        fields = [] if length is None else [("Content-Length", length)]
        connection = request.connection
        connection.write_headers(ResponseStartLine("HTTP/1.1", 200, "OK"), fields)
        try:
            await connection.send_file(file, *arguments)
        except BaseException as error:
            tell(error)
            raise
        request.finish()
        tell(None)

    return callback


def unchunked(client: Client) -> bytes:
    client.read_until(b"\r\n\r\n")
    pieces = []
    while size := int(client.read_until(b"\r\n"), 16):
        pieces.append(client.read(size))
        assert client.read(2) == b"\r\n"
    assert client.read(2) == b"\r\n"
    return b"".join(pieces)


@pytest.mark.parametrize(
    "offset, count",
    [(0, None), (0, 0), (5, 1), (1000, 65_536), (7, 65_537), (100, LARGE - 1000), (LARGE, None)],
)
@pytest.mark.parametrize("real", [True, False], ids=["file", "memory"])
def test_part_of_a_file_is_sent(
    file: IO[bytes], serve: Serve, offset: int, count: int | None, real: bool
) -> None:
    source = file if real else io.BytesIO(CONTENT)
    expected = CONTENT[offset:] if count is None else CONTENT[offset : offset + count]
    by_length = serve(sender(source, len(expected), offset, count)).connect()
    for _ in range(2):  # the connection goes on
        by_length.send(get())
        assert by_length.read_response().body == expected
    in_chunks = serve(sender(source, None, offset, count)).connect()
    for _ in range(2):
        in_chunks.send(get())
        assert unchunked(in_chunks) == expected
    in_chunks.send(get(version="HTTP/1.0"))
    assert in_chunks.read_to_end().partition(b"\r\n\r\n")[2] == expected


class Unreadable(io.FileIO):
    """A file that nobody but the kernel can read."""

    def read(self, size: int | None = -1) -> bytes:
        raise AssertionError("it is read")


def test_kernel_sends_a_large_file_by_itself_on_asyncio(
    file: IO[bytes], serve: Serve, loop_kind: str
) -> None:
    if loop_kind != "asyncio":
        pytest.skip("uvloop has no sendfile")
    source: Any = Unreadable(file.fileno(), closefd=False)
    served = serve(sender(source, len(CONTENT)))
    client = served.connect()
    client.send(get("/", "Connection: close"))
    answer = client.read_to_end()
    assert answer.endswith(CONTENT)
    client.close()
    served.all_closed()
    assert served.call(served.server.stats)["bytes_sent"] == len(answer)


def test_bytes_are_those_of_the_file_object_and_not_of_its_descriptor(
    tmp_path: Path, serve: Serve
) -> None:
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(CONTENT, 0))
    with gzip.open(path) as file:
        client = serve(sender(file, len(CONTENT))).connect()
        client.send(get())
        assert client.read_response().body == CONTENT


def test_small_file_leaves_together_with_its_head(wire: Wired) -> None:
    end = wire(sender(io.BytesIO(b"content"), None))
    end.send(get())
    assert end.transport.writes[0].endswith(b"\r\n\r\n7\r\ncontent")


def test_head_sends_nothing(wire: Wired, file: IO[bytes]) -> None:
    end = wire(sender(file, len(CONTENT)))
    end.send(get().replace(b"GET", b"HEAD"))
    sent = end.sent()
    assert f"Content-Length: {len(CONTENT)}".encode() in sent
    assert sent.endswith(b"\r\n\r\n")


def test_access_log_knows_the_size(file: IO[bytes], serve: Serve) -> None:
    sizes = []
    served = serve(
        sender(file, len(CONTENT)), access_log=lambda access, ip: sizes.append(access.size) or ""
    )
    client = served.connect()
    client.send(get("/", "Connection: close"))
    answer = client.read_to_end()
    client.close()
    served.all_closed()
    assert len(answer) > len(CONTENT)
    assert sizes == [len(CONTENT)]


@pytest.mark.parametrize(
    "do",
    [
        lambda request: request.write(b"a"),
        lambda request: request.finish(),
        lambda request: asyncio.ensure_future(request.connection.send_file(io.BytesIO(b"a"))),
    ],
    ids=["write", "finish", "send_file"],
)
def test_nothing_else_is_written_before_it_has_left(
    file: IO[bytes], serve: Serve, do: Callable[[HTTPRequest], Any]
) -> None:
    async def callback(request: HTTPRequest) -> None:
        connection = request.connection
        connection.write_headers(("HTTP/1.1", 200, "OK"), [("Content-Length", len(CONTENT))])
        sending = asyncio.ensure_future(connection.send_file(file))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="not been awaited"):
            result = do(request)
            await result
        await sending
        request.finish()

    client = serve(callback).connect()
    for _ in range(2):
        client.send(get())
        assert client.read_response().body == CONTENT


def test_it_needs_write_headers(wire: Wired, logs: Logs) -> None:
    end = wire(lambda request: request.connection.send_file(io.BytesIO(b"a")))
    end.send(get())
    assert b" 500 " in end.sent()
    assert len(logs.errors()) == 1


@pytest.mark.parametrize("arguments", [(-1, None), (0, -1)])
def test_negative_numbers_are_refused(wire: Wired, logs: Logs, arguments: Any) -> None:
    errors: list[Any] = []
    end = wire(sender(io.BytesIO(b"a"), 1, *arguments, tell=errors.append))
    end.send(get())
    assert isinstance(errors[0], ValueError)
    assert len(logs.errors()) == 1


def test_more_than_content_length_is_an_error(wire: Wired, logs: Logs) -> None:
    errors: list[Any] = []
    end = wire(sender(io.BytesIO(b"abc"), 2, tell=errors.append))
    end.send(get())
    assert isinstance(errors[0], HTTPOutputError)
    assert end.sent().endswith(b"\r\n\r\n")
    assert end.ended
    assert len(logs.errors()) == 1


@pytest.mark.parametrize("length", [None, len(CONTENT) + 1], ids=["chunked", "length"])
@pytest.mark.parametrize("size", [2, 200_000, len(CONTENT)])
def test_file_that_ends_early_aborts_the_connection(
    file: IO[bytes], serve: Serve, logs: Logs, length: int | None, size: int
) -> None:
    served = serve(sender(file, length, len(CONTENT) - size, size + 1))
    client = served.connect()
    client.send(get())
    with pytest.raises(ConnectionResetError):
        client.read_to_end()
    served.settle()
    (error,) = logs.errors()
    assert "closing connection" in error


def test_client_that_leaves_ends_it(file: IO[bytes], serve: Serve) -> None:
    ended = threading.Event()
    errors: list[Any] = []

    def tell(error: BaseException | None) -> None:
        errors.append(error)
        ended.set()

    client = serve(sender(file, len(CONTENT), tell=tell)).connect(receive_buffer=4096)
    client.send(get())
    client.read_until(b"\r\n\r\n")
    client.reset()
    assert ended.wait(TIMEOUT)
    assert isinstance(errors[0], StreamClosedError)


def test_client_that_takes_nothing_meets_the_write_timeout(file: IO[bytes], serve: Serve) -> None:
    ended = threading.Event()
    errors: list[Any] = []

    def tell(error: BaseException | None) -> None:
        errors.append(error)
        ended.set()

    callback = sender(_Endless(file), 1 << 40, 0, 1 << 40, tell=tell)
    served = serve(callback, write_timeout=0.1)
    client = served.connect(receive_buffer=4096)
    client.send(get())
    assert ended.wait(TIMEOUT)
    assert isinstance(errors[0], StreamClosedError)
    served.all_closed()


class _Endless:
    """A file without an end, which the kernel knows nothing of."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def seek(self, offset: int, whence: int = 0) -> int:
        return offset

    def read(self, size: int) -> bytes:
        return bytes(size)


def test_whoever_is_cancelled_leaves_no_half_of_it_that_looks_whole(
    serve: Serve, logs: Logs, tmp_path: Path
) -> None:
    tasks: list[asyncio.Task[None]] = []
    path = tmp_path / "sparse"
    path.touch()
    with path.open("r+b") as file:
        file.truncate(1 << 32)
        send = sender(file, None)

        async def callback(request: HTTPRequest) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.append(task)
            await send(request)

        served = serve(callback)
        client = served.connect(receive_buffer=4096)
        client.send(get())
        client.read_until(b"\r\n\r\n")
        served.call(lambda: tasks[0].cancel())
        with pytest.raises(ConnectionResetError):
            client.read_to_end()
        served.settle()
    (warning,) = logs.take("application", 30)
    assert "cancelled" in warning


def test_server_that_closes_ends_it(serve: Serve, tmp_path: Path) -> None:
    errors: list[Any] = []
    path = tmp_path / "sparse"
    path.touch()
    with path.open("r+b") as file:
        file.truncate(1 << 32)
        served = serve(sender(file, None, tell=errors.append))
        client = served.connect(receive_buffer=4096)
        client.send(get())
        client.read_until(b"\r\n\r\n")
        served.call(served.server.close_all_connections)
        served.settle()
        assert isinstance(errors[0], StreamClosedError)


def test_delegates_have_it_too(file: IO[bytes], serve: Serve) -> None:
    class Message:
        def __init__(self, connection: Any) -> None:
            self.connection = connection

        def headers_received(self, start_line: Any, headers: Any) -> None:
            pass

        def data_received(self, chunk: bytes) -> None:
            pass

        def finish(self) -> None:
            self.task = asyncio.ensure_future(self.respond())

        async def respond(self) -> None:
            self.connection.write_headers(("", 200, "OK"), {"Content-Length": len(CONTENT)})
            await self.connection.send_file(file)
            self.connection.finish()

        def on_connection_close(self) -> None:
            pass

    class Delegate:
        def start_request(self, server_conn: Any, request_conn: Any) -> Message:
            return Message(request_conn)

        def on_close(self, server_conn: Any) -> None:
            pass

    client = serve(Delegate()).connect()
    for _ in range(2):
        client.send(post(b"body"))
        assert client.read_response().body == CONTENT


_who: ContextVar[str] = ContextVar("_who", default="nobody")


def test_next_request_does_not_see_what_the_one_with_a_file_has_set(
    file: IO[bytes], serve: Serve
) -> None:
    async def callback(request: HTTPRequest) -> None:
        who = _who.get()
        _who.set(request.uri)
        connection = request.connection
        connection.write_headers(ResponseStartLine("", 200, "OK"), [("X-Who", who)])
        await connection.send_file(file)
        request.finish()

    client = serve(callback).connect()
    for uri in "/1", "/2", "/3":
        client.send(get(uri))
        assert b"\r\nX-Who: nobody\r\n" in client.read_until(b"\r\n\r\n")
        client.read_until(b"\r\n0\r\n\r\n")
