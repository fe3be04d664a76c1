"""What an application answers: each way in the loop and in a thread."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import TIMEOUT, Certificates, Client, Logs, Served, eventually, get, post

Serve = Callable[..., Served]

PLAIN = [("Content-Type", "text/plain")]


def chunked(client: Client) -> tuple[dict[str, str], list[bytes]]:
    """The fields and the chunks of a response."""
    lines = client.read_until(b"\r\n\r\n").decode().split("\r\n")[1:-2]
    fields = dict(line.split(": ", 1) for line in lines)
    assert fields["Transfer-Encoding"] == "chunked"
    chunks = []
    while size := int(client.read_until(b"\r\n"), 16):
        chunks.append(client.read(size))
        assert client.read(2) == b"\r\n"
    assert client.read(2) == b"\r\n"
    return fields, chunks


class Closing:
    """A body that can be closed.

    Args:
        chunks: Of the body.
    """

    def __init__(self, chunks: Any) -> None:
        self.chunks: Iterator[bytes] = iter(chunks)
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        return self.chunks

    def close(self) -> None:
        assert not self.closed.is_set()
        self.closed.set()


def app_of(
    result: Any, status: str = "200 OK", headers: Any = PLAIN, write: tuple[bytes, ...] = ()
) -> Any:
    """An application that answers so; a function is called for the result."""

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        writer = start_response(status, list(headers))
        for chunk in write:
            writer(chunk)
        return result() if callable(result) else result

    return app


def with_length(length: int) -> list[tuple[str, str]]:
    return [*PLAIN, ("Content-Length", str(length))]


@pytest.mark.parametrize(
    "result, headers, body",
    [
        ([b"one"], PLAIN, b"one"),
        ([b"one", b"", b"two"], PLAIN, b"onetwo"),
        ((b"one", b"two"), PLAIN, b"onetwo"),
        ([], PLAIN, b""),
        ([b""], PLAIN, b""),
        (lambda: iter([]), PLAIN, b""),
        (lambda: iter([b"", b""]), PLAIN, b""),
        (lambda: iter([b"", b"one", b""]), with_length(3), b"one"),
        (lambda: iter([b"one", b"two"]), with_length(6), b"onetwo"),
        (lambda: Closing([b"one"]), with_length(3), b"one"),
        (b"", PLAIN, b""),
    ],
)
def test_body_of_known_length(
    wsgi: Serve, threads: int, result: Any, headers: Any, body: bytes
) -> None:
    client = wsgi(app_of(result, headers=headers), threads).connect()
    for _ in range(2):
        client.send(get())
        response = client.read_response()
        assert response.body == body
        assert response.fields["content-length"] == str(len(body))
        assert response.fields["content-type"] == "text/plain"
        assert response.fields["date"].endswith(" GMT")


def test_body_of_unknown_length_is_chunked(wsgi: Serve, threads: int) -> None:
    client = wsgi(app_of(lambda: iter([b"one", b"", b"two"])), threads).connect()
    for _ in range(2):
        client.send(get())
        assert b"".join(chunked(client)[1]) == b"onetwo"


def test_generator_may_start_the_response_with_its_first_bytes(wsgi: Serve, threads: int) -> None:
    def app(environ: Any, start_response: Any) -> Iterator[bytes]:
        yield b""
        start_response("200 OK", [*PLAIN])
        yield b"body"

    client = wsgi(app, threads).connect()
    client.send(get())
    assert chunked(client)[1] == [b"body"]


def test_old_client_gets_the_end_of_the_connection_instead(wsgi: Serve, threads: int) -> None:
    client = wsgi(app_of(lambda: iter([b"one", b"two"])), threads).connect()
    client.send(get(version="HTTP/1.0"))
    head, _, body = client.read_to_end().partition(b"\r\n\r\n")
    assert body == b"onetwo"
    assert b"Transfer-Encoding" not in head


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
@pytest.mark.parametrize("result", [[], lambda: iter([b"not to be sent"])], ids=["none", "some"])
def test_responses_without_a_body(wsgi: Serve, threads: int, status: str, result: Any) -> None:
    client = wsgi(app_of(result, status), threads).connect()
    for _ in range(2):
        client.send(get())
        response = client.read_response()
        assert response.status == int(status[:3])
        assert not {"content-length", "transfer-encoding"} & set(response.fields)


@pytest.mark.parametrize(
    "result, headers, length",
    [
        ([b"body"], PLAIN, "4"),
        ([], with_length(7), "7"),
        (lambda: iter([b"one", b"two"]), PLAIN, None),
        (lambda: iter([b"one", b"two"]), with_length(6), "6"),
    ],
)
def test_head_sends_no_body(
    wsgi: Serve, threads: int, result: Any, headers: Any, length: str | None
) -> None:
    client = wsgi(app_of(result, headers=headers), threads).connect()
    for _ in range(2):
        client.send(get().replace(b"GET", b"HEAD"))
        assert client.read_response("HEAD").fields.get("content-length") == length


def test_reason_and_repeated_fields_are_the_applications(wsgi: Serve, threads: int) -> None:
    headers = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Ä".encode().decode("latin-1"), "")]
    client = wsgi(app_of([], "200 Sehr gut", headers[:2]), threads).connect()
    client.send(get())
    lines = client.read_until(b"\r\n\r\n").split(b"\r\n")
    assert lines[:3] == [b"HTTP/1.1 200 Sehr gut", b"Set-Cookie: a=1", b"Set-Cookie: b=2"]


def test_date_may_be_the_applications(wsgi: Serve, threads: int) -> None:
    client = wsgi(app_of([], headers=[("date", "then")]), threads).connect()
    client.send(get())
    assert client.read_response().fields["date"] == "then"


# --- Piece by piece -----------------------------------------------------------------------


def test_each_chunk_is_sent_before_the_next_is_asked_for(wsgi: Serve, threads: int) -> None:
    go_on = threading.Semaphore(0)

    def chunks() -> Iterator[bytes]:
        for chunk in (b"one", b"two", b"three"):
            yield chunk
            if threads:
                assert go_on.acquire(timeout=TIMEOUT)

    client = wsgi(app_of(chunks), threads).connect()
    client.send(get())
    for expected in (b"one", b"two", b"three"):
        client.read_until(expected)
        go_on.release()
    assert client.read(7) == b"\r\n0\r\n\r\n"


def test_application_waits_for_a_client_that_takes_nothing(wsgi: Serve, threads: int) -> None:
    size, most, asked = 100_000, 300, 0

    def chunks() -> Iterator[bytes]:
        nonlocal asked
        for asked in range(1, most + 1):  # noqa: B007
            yield bytes(size)

    served = wsgi(app_of(chunks), threads)
    client = served.connect(receive_buffer=4096)
    client.send(get("/", "Connection: close"))
    client.read_until(b"\r\n\r\n")
    before = -1
    while before != asked:  # until it stands still
        before = asked
        for _ in range(20):
            served.settle()
    assert asked < most
    body = client.read_to_end()
    assert asked == most
    assert body.count(b"\0") == most * size


def test_close_is_called_after_all_was_sent(wsgi: Serve, threads: int) -> None:
    bodies = [Closing([b"one", b"two"]), Closing([b"one"]), Closing([])]
    waiting = iter(bodies)
    client = wsgi(app_of(lambda: next(waiting)), threads).connect()
    for body in bodies:
        client.send(get("/", "Connection: close") if body is bodies[-1] else get())
        if body is bodies[2]:
            client.read_response()
        else:
            chunked(client)
        assert body.closed.wait(TIMEOUT)


def test_client_that_leaves_ends_the_iteration(wsgi: Serve, threads: int) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(10_000)

    body = Closing(endless())
    client = wsgi(app_of(body), threads).connect()
    client.send(get())
    client.read_until(b"\r\n\r\n")
    client.reset()
    assert body.closed.wait(TIMEOUT)


def test_close_is_called_for_a_client_that_has_left_before(wsgi: Serve) -> None:
    called, go_on = threading.Event(), threading.Event()
    body = Closing([b"one", b"two"])

    def result() -> Closing:
        called.set()
        assert go_on.wait(TIMEOUT)
        return body

    served = wsgi(app_of(result), 1)
    client = served.connect()
    client.send(get())
    assert called.wait(TIMEOUT)
    client.reset()
    served.all_closed()
    go_on.set()
    assert body.closed.wait(TIMEOUT)


# --- write() ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "write, result", [((b"one", b"", b"two"), []), ((b"one",), [b"two"]), ((), [b"onetwo"])]
)
@pytest.mark.parametrize("headers", [PLAIN, with_length(6)], ids=["unknown", "length"])
def test_write_sends_before_what_is_returned(
    wsgi: Serve, threads: int, write: tuple[bytes, ...], result: list[bytes], headers: Any
) -> None:
    client = wsgi(app_of(result, headers=headers, write=write), threads).connect()
    for _ in range(2):
        client.send(get())
        if write and headers is PLAIN:
            assert b"".join(chunked(client)[1]) == b"onetwo"
        else:
            assert client.read_response().body == b"onetwo"


# --- Files --------------------------------------------------------------------------------


def wrapper(make_file: Callable[[], Any], headers: Any, *writes: bytes) -> Any:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        write = start_response("200 OK", headers)
        for chunk in writes:
            write(chunk)
        return environ["wsgi.file_wrapper"](make_file(), 1000)

    return app


CONTENT = bytes(range(256)) * 1000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return path


@pytest.mark.parametrize(
    "at, headers, expected",
    [
        (0, PLAIN, CONTENT),
        (1000, PLAIN, CONTENT[1000:]),
        (10, with_length(100_000), CONTENT[10:100_010]),
        (len(CONTENT), PLAIN, b""),
    ],
)
def test_file_is_sent_from_where_it_is(
    path: Path, wsgi: Serve, threads: int, at: int, headers: Any, expected: bytes
) -> None:
    files = []

    def open_file() -> Any:
        file = path.open("rb")
        file.seek(at)
        files.append(file)
        return file

    client = wsgi(wrapper(open_file, headers), threads).connect()
    for _ in range(2):
        client.send(get())
        assert client.read_response().body == expected
    client.send(get().replace(b"GET", b"HEAD"))
    assert client.read_response("HEAD").fields["content-length"] == str(len(expected))
    eventually(lambda: all(file.closed for file in files))


def test_file_over_tls(path: Path, wsgi: Serve, threads: int, tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    options = {"certfile": certificates.certfile, "keyfile": certificates.keyfile}
    seen = []

    def app(environ: Any, start_response: Any) -> Any:
        seen.append(environ["wsgi.url_scheme"])
        return wrapper(lambda: path.open("rb"), PLAIN)(environ, start_response)

    client = wsgi(app, threads, ssl_options=options).connect(context=certificates.client_context())
    for _ in range(2):
        client.send(get())
        assert client.read_response().body == CONTENT
    assert seen == ["https", "https"]


@pytest.mark.parametrize("headers", [PLAIN, with_length(len(CONTENT))], ids=["unknown", "length"])
def test_what_is_no_file_of_the_system_is_read(wsgi: Serve, threads: int, headers: Any) -> None:
    client = wsgi(wrapper(lambda: io.BytesIO(CONTENT), headers), threads).connect()
    client.send(get())
    if headers is PLAIN:
        assert b"".join(chunked(client)[1]) == CONTENT
    else:
        assert client.read_response().body == CONTENT


def test_file_after_write_is_read(path: Path, wsgi: Serve, threads: int) -> None:
    app = wrapper(lambda: path.open("rb"), PLAIN, b"before")
    client = wsgi(app, threads).connect()
    client.send(get())
    assert b"".join(chunked(client)[1]) == b"before" + CONTENT


def test_file_that_is_too_short_aborts_the_connection(
    path: Path, wsgi: Serve, threads: int, logs: Logs
) -> None:
    app = wrapper(lambda: path.open("rb"), with_length(len(CONTENT) + 1))
    served = wsgi(app, threads)
    client = served.connect()
    client.send(get())
    with pytest.raises(ConnectionResetError):
        client.read_to_end()
    eventually(lambda: logs.records)
    assert len(logs.errors()) == 1


# --- Errors -------------------------------------------------------------------------------


def raising(*chunks: bytes) -> Callable[[], Iterator[bytes]]:
    def body() -> Iterator[bytes]:
        yield from chunks
        raise ZeroDivisionError("of the application")

    return body


def no_start(environ: Any, start_response: Any) -> list[bytes]:
    return [b"body"]


def start_twice(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    start_response("200 OK", [])
    return []


BROKEN = {
    "raises": lambda environ, start_response: 1 // 0,
    "raises SystemExit": lambda environ, start_response: exit(1),
    "raises before the first chunk": app_of(raising()),
    "raises after empty ones": app_of(raising(b"", b"")),
    "no start_response": no_start,
    "start_response twice": start_twice,
    "text": app_of(["text"]),
    "one text and bytes": app_of(["text", b"bytes"]),
    "text, from an iterator": app_of(lambda: iter(["text"])),
    "a string": app_of("text"),
    "nothing": app_of(None),
    "status no string": app_of([], 200),  # type: ignore[arg-type]
    "status no number": app_of([], "OK"),
    "status too long": app_of([], "2000 OK"),
    "status signed": app_of([], "+20 OK"),
    "status without reason and space": app_of([], "200OK"),
    "interim": app_of([], "100 Continue"),
    "switching protocols": app_of([], "101 Switching Protocols"),
    "reason with a line end": app_of([], "200 OK\r\nX: y"),
    "headers no list": lambda environ, start_response: start_response("200 OK", tuple(PLAIN)),
    "value no string": app_of([], headers=[("X", 1)]),
    "value with a line end": app_of([], headers=[("X", "a\r\nY: b")]),
    "value with a line end, streamed": app_of(lambda: iter([b"a"]), headers=[("X", "a\nb")]),
    "name with a blank": app_of([], headers=[("X Y", "a")]),
    "name no string": app_of([], headers=[(b"X", "a")]),
    "length no number": app_of([b"a"], headers=[("Content-Length", "one")]),
    "two lengths": app_of([b"a"], headers=[("Content-Length", "1"), ("content-length", "1")]),
    "body too long": app_of([b"long"], headers=with_length(3)),
    "chunk too long": app_of(lambda: iter([b"long"]), headers=with_length(3)),
    "body too short": app_of([b"long"], headers=with_length(5)),
    "hop by hop": app_of([], headers=[("connection", "close")]),
    "chunked by itself": app_of([], headers=[("Transfer-Encoding", "chunked")]),
    "upgrade": app_of([], headers=[("Upgrade", "websocket")]),
}


@pytest.mark.parametrize("app", BROKEN.values(), ids=BROKEN)
def test_application_that_fails_before_the_head_is_answered_500(
    wsgi: Serve, threads: int, logs: Logs, app: Any
) -> None:
    if not threads and app is BROKEN["raises SystemExit"]:
        pytest.skip("in the loop it ends the program, as it says")
    client = wsgi(app, threads).connect()
    client.send(get())
    response = client.read_response()
    assert response.status == 500
    assert response.fields["connection"] == "close"
    assert response.fields["date"].endswith(" GMT")
    assert response.body == b"Internal server error\n"
    assert len(logs.errors()) == 1


@pytest.mark.parametrize(
    "app",
    [
        app_of(raising(b"half")),
        app_of(raising(b"half"), headers=with_length(6)),
        app_of(lambda: iter([b"half", "text"])),
        app_of(raising(), write=(b"half",)),
    ],
)
@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
def test_no_half_of_a_response_looks_whole(
    wsgi: Serve, threads: int, logs: Logs, app: Any, version: str
) -> None:
    served = wsgi(app, threads)
    client = served.connect()
    client.send(get(version=version))
    with pytest.raises(ConnectionResetError):
        client.read_to_end()
    eventually(lambda: logs.records)
    assert len(logs.errors()) == 1


@pytest.mark.parametrize("result", [[b"one", b"two"], [b"one", b"two", b"more"]])
def test_length_that_is_not_kept_is_seen_by_the_client(
    wsgi: Serve, threads: int, logs: Logs, result: list[bytes]
) -> None:
    app = app_of(lambda: iter(result), headers=with_length(7))
    client = wsgi(app, threads).connect()
    client.send(get())
    head, _, body = client.read_to_end().partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 500"):
        assert result[2:]  # what is too much was seen before the head had left
    else:
        assert b"Content-Length: 7\r\n" in head + b"\r\n"
        assert b"onetwo".startswith(body)
    eventually(lambda: logs.records)
    assert len(logs.errors()) == 1


def test_chunks_after_a_whole_body_are_an_error_and_not_sent(
    wsgi: Serve, threads: int, logs: Logs
) -> None:
    app = app_of(lambda: iter([b"whole", b"more"]), headers=with_length(5))
    client = wsgi(app, threads).connect()
    client.send(get())
    response = client.read_response()
    # In the loop it is found before anything was sent.
    assert (response.status, response.body) == (
        (200, b"whole") if threads else (500, b"Internal server error\n")
    )
    eventually(lambda: logs.records)
    assert len(logs.errors()) == 1


def test_close_that_fails_is_logged(wsgi: Serve, threads: int, logs: Logs) -> None:
    class Unclosable(Closing):
        def close(self) -> None:
            raise ZeroDivisionError("of the application")

    client = wsgi(app_of(lambda: Unclosable([b"one"])), threads).connect()
    client.send(get())
    assert chunked(client)[1] == [b"one"]
    eventually(lambda: logs.records)
    assert "close()" in logs.errors()[0]


def failing_then(*replacement: bytes, before: bytes = b"") -> Any:
    def app(environ: dict[str, Any], start_response: Any) -> Any:
        try:
            write = start_response("200 OK", PLAIN)
            if before:
                write(before)
            raise ZeroDivisionError
        except ZeroDivisionError:
            import sys

            start_response("503 Sorry", [], sys.exc_info())
            return list(replacement)

    return app


def test_error_replaces_a_head_that_was_not_sent(wsgi: Serve, threads: int) -> None:
    client = wsgi(failing_then(b"sorry"), threads).connect()
    client.send(get())
    response = client.read_response()
    assert (response.status, response.body) == (503, b"sorry")
    assert "content-type" not in response.fields


def test_error_after_the_head_is_raised(wsgi: Serve, threads: int, logs: Logs) -> None:
    client = wsgi(failing_then(b"sorry", before=b"half"), threads).connect()
    client.send(get())
    with pytest.raises(ConnectionResetError):
        client.read_to_end()
    eventually(lambda: logs.records)
    assert len(logs.errors()) == 1


def test_replacing_nothing_is_no_error(wsgi: Serve, threads: int) -> None:
    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [], (None, None, None))
        return [b"ok"]

    assert wsgi(app, threads).connect().ask(get()) == b"ok"


def test_post_after_an_error_is_not_taken_for_the_next_request(
    wsgi: Serve, threads: int, logs: Logs
) -> None:
    client = wsgi(BROKEN["raises"], threads).connect()
    client.send(post(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"))
    assert client.read_response().status == 500
    assert client.read_to_end() == b""
    assert len(logs.errors()) == 1


def test_late_write_does_not_reach_the_next_response(wsgi: Serve, threads: int) -> None:
    kept: list[Any] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        write = start_response("200 OK", [])
        write(b"a")
        kept.append(write)
        if len(kept) > 1:
            with contextlib.suppress(RuntimeError):
                kept[0](b"late")  # in a thread it is noticed later
        return []

    client = wsgi(app, threads).connect()
    for _ in range(3):
        client.send(get())
        client.read_until(b"\r\n\r\n")
        assert client.read_until(b"0\r\n\r\n") == b"1\r\na\r\n0\r\n\r\n"
