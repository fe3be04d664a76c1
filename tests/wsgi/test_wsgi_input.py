"""Bodies that applications read: whole, as they arrive, and not at all."""

from __future__ import annotations

import gzip
import threading
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from helpers import TIMEOUT, Logs, Served, eventually, get, post

from fasthttpserver.errors import StreamClosedError

Serve = Callable[..., Served]

CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
LARGE = bytes(range(256)) * 4096  # 1 MiB
LINES = b"first\nsecond\n\nlast"


def in_chunks(body: bytes, size: int = 10_000) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return CHUNKED + b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces) + b"0\r\n\r\n"


def reader(read: Callable[[Any], bytes]) -> Any:
    """An application that answers what it reads."""

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        body = read(environ["wsgi.input"])
        start_response("200 OK", [])
        return [body]

    return app


def by_pieces(body: Any) -> bytes:
    pieces = []
    while piece := body.read(1000):
        pieces.append(piece)
    return b"".join(pieces)


READS: dict[str, Callable[[Any], bytes]] = {
    "read": lambda body: body.read(),
    "read(-1)": lambda body: body.read(-1),
    "read in pieces": by_pieces,
    "readline": lambda body: b"".join(iter(body.readline, b"")),
    "readlines": lambda body: b"".join(body.readlines()),
    "iteration": lambda body: b"".join(body),
    "read past the end": lambda body: body.read(1 << 30) + body.read(10) + body.read(),
}


@pytest.mark.parametrize("body", [b"", LINES, LARGE], ids=["empty", "lines", "large"])
@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_body_is_read(wsgi: Serve, threads: int, read: Callable[[Any], bytes], body: bytes) -> None:
    client = wsgi(reader(read), threads).connect()
    for request in (post(body), in_chunks(body), post(body)):
        assert client.ask(request) == body


@pytest.mark.parametrize("length", [0, 3, 100])
def test_readline_has_a_bound(wsgi: Serve, threads: int, length: int) -> None:
    client = wsgi(reader(lambda body: body.readline(length)), threads).connect()
    assert client.ask(post(LINES)) == b"first\n"[:length]


@pytest.mark.parametrize("cut", [1, 50, 70, 75])
def test_body_that_comes_in_two_reads(wsgi: Serve, threads: int, cut: int) -> None:
    request = post(LINES)
    served = wsgi(reader(READS["read"]), threads)
    client = served.connect()
    client.send(request[:cut])
    served.settle()
    assert client.ask(request[cut:]) == LINES


def test_application_is_not_called_before_a_small_body_is_here(wsgi: Serve, threads: int) -> None:
    called = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        called.set()
        start_response("200 OK", [])
        return [environ["wsgi.input"].read()]

    served = wsgi(app, threads)
    client = served.connect()
    client.send(post(LINES)[:-1])
    served.settle()
    assert not called.is_set()
    client.send(LINES[-1:])
    assert client.read_response().body == LINES


def test_application_in_a_thread_reads_what_has_come(wsgi: Serve) -> None:
    read = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        first = environ["wsgi.input"].read(1000)
        read.set()
        start_response("200 OK", [])
        return [first + environ["wsgi.input"].read()]

    client = wsgi(app, 1).connect()
    request = post(LARGE)
    client.send(request[:500_000])
    assert read.wait(TIMEOUT)
    client.send(request[500_000:])
    assert client.read_response().body == LARGE


@pytest.mark.slow
def test_large_upload_stays_flat_in_memory(wsgi: Serve, threads: int) -> None:
    size = 64 << 20

    def count(body: Any) -> bytes:
        total = 0
        while piece := body.read(100_000):
            total += len(piece)
        return b"%d" % total

    client = wsgi(reader(count), threads).connect()
    client.ask(post(LARGE))
    tracemalloc.start()
    try:
        client.send(post(b"").replace(b"Length: 0", b"Length: %d" % size))
        for _ in range(size >> 20):
            client.send(LARGE)
        assert client.read_response().body == b"%d" % size
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


def test_client_waits_while_the_application_does_not_read(wsgi: Serve) -> None:
    called, go_on = threading.Event(), threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        called.set()
        assert go_on.wait(TIMEOUT)
        start_response("200 OK", [])
        return [b"%d" % len(environ["wsgi.input"].read())]

    served = wsgi(app, 1)
    client = served.connect()
    size = 64 << 20
    client.send(post(b"").replace(b"Length: 0", b"Length: %d" % size))
    sent = threading.Event()

    def send() -> None:
        for _ in range(size >> 20):
            client.send(LARGE)
        sent.set()

    sender = threading.Thread(target=send)
    sender.start()
    try:
        assert called.wait(TIMEOUT)
        before = -1
        while before != (now := served.connection.bytes_received):
            before = now
            for _ in range(20):
                served.settle()
        assert before < 1 << 20
        assert not sent.is_set()
    finally:
        go_on.set()
        sender.join()
    assert client.read_response().body == b"%d" % size


def test_client_that_asks_is_told_to_go_on_when_the_application_reads(wsgi: Serve) -> None:
    go_on = threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        assert go_on.wait(TIMEOUT)
        start_response("200 OK", [])
        return [environ["wsgi.input"].read()]

    served = wsgi(app, 1)
    client = served.connect()
    request = post(LINES, "Expect: 100-continue")
    client.send(request[: -len(LINES)])
    served.settle()
    assert served.connection.bytes_received == len(request) - len(LINES)
    go_on.set()
    assert client.read_response().status == 100
    assert client.ask(LINES) == LINES


def test_client_that_asks_an_application_in_the_loop_is_told_at_once(wsgi: Serve) -> None:
    client = wsgi(reader(READS["read"]), 0).connect()
    client.send(post(LINES, "Expect: 100-continue")[: -len(LINES)])
    assert client.read_response().status == 100
    assert client.ask(LINES) == LINES


def test_refusal_without_reading_asks_for_nothing(wsgi: Serve) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("403 Forbidden", [])
        return [b"no"]

    client = wsgi(app, 1).connect()
    client.send(post(LARGE, "Expect: 100-continue")[: -len(LARGE)])
    assert client.read_response().status == 403


@pytest.mark.parametrize("body", [LINES, LARGE])
def test_body_that_is_not_read_is_not_the_next_request(
    wsgi: Serve, threads: int, body: bytes
) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [environ["PATH_INFO"].encode()]

    client = wsgi(app, threads).connect()
    client.send(post(body, uri="/1"))
    assert client.read_response().body == b"/1"
    if body is LINES or not threads:
        assert client.ask(get("/2")) == b"/2"  # it was here
    else:
        client.half_close()
        assert client.read_to_end() == b""


def test_client_that_leaves_inside_a_body_ends_the_read(wsgi: Serve, logs: Logs) -> None:
    errors: list[BaseException] = []
    reads, over = threading.Event(), threading.Event()

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        try:
            environ["wsgi.input"].read(1)
            reads.set()
            environ["wsgi.input"].read()
        except OSError as error:
            errors.append(error)
            raise
        finally:
            over.set()
        return []

    served = wsgi(app, 1)
    client = served.connect()
    client.send(post(LARGE)[:200_000])
    assert reads.wait(TIMEOUT)
    client.reset()
    assert over.wait(TIMEOUT)
    assert isinstance(errors[0], StreamClosedError)
    served.all_closed()


def test_client_that_leaves_before_its_small_body_is_here_calls_nobody(
    wsgi: Serve, threads: int
) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        raise AssertionError("called")

    served = wsgi(app, threads)
    client = served.connect()
    client.send(post(LINES)[:-1])
    eventually(lambda: served.connections)
    served.settle()
    client.reset()
    served.all_closed()


def test_body_over_the_limit_is_refused(wsgi: Serve, threads: int, logs: Logs) -> None:
    served = wsgi(reader(READS["read"]), threads, max_body_size=1000)
    client = served.connect()
    client.send(post(bytes(1001)))
    assert client.read_response().status == 413
    chunked = served.connect()
    chunked.send(in_chunks(bytes(1001), 100))
    assert chunked.read_response().status == 413
    assert len(logs.refusals()) == 2


def test_slow_body_meets_its_deadline_without_a_thread(wsgi: Serve, logs: Logs) -> None:
    served = wsgi(reader(READS["read"]), 1, body_stall_timeout=0.05)
    slow = served.connect()
    slow.send(post(LINES)[:-1])
    assert served.connect().ask(post(LINES)) == LINES  # the only thread is free
    assert slow.read_response().status == 408
    assert len(logs.refusals()) == 1


@pytest.mark.parametrize("cut", [None, -5])
def test_environ_tells_of_the_body_as_it_is_unpacked(
    wsgi: Serve, threads: int, cut: int | None
) -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        assert "HTTP_CONTENT_ENCODING" not in environ
        start_response("200 OK", [])
        return [environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))]

    served = wsgi(app, threads, decompress_request=True)
    client = served.connect()
    body = b"unpacked" * 100
    request = post(gzip.compress(body), "Content-Encoding: gzip")
    client.send(request[:cut])
    if cut is not None:
        eventually(lambda: served.server.stats()["bytes_received"])
        client.send(request[cut:])
    assert client.read_response().body == body
