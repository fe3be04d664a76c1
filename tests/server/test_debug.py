"""Development mode: what an application is told that it does wrong."""

from __future__ import annotations

import asyncio
import functools
import logging
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest
from helpers import TIMEOUT, Logs, Served, answer, eventually, framed, get, post

from fasthttpserver._server import debug
from fasthttpserver._server.debug import BlockWatch, describe
from fasthttpserver.asgi import ASGIContainer
from fasthttpserver.httpserver import HTTPRequest
from fasthttpserver.httputil import HTTPMessageDelegate, HTTPServerConnectionDelegate
from fasthttpserver.wsgi import WSGIContainer

Serve = Callable[..., Served]


def warnings(logs: Logs) -> list[str]:
    return logs.take("application", logging.WARNING)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait long for an answer."""
    monkeypatch.setattr(debug, "_UNANSWERED", 0.01)


def warning(logs: Logs) -> str:
    """Wait for exactly one of them."""
    eventually(lambda: any(each.levelno == logging.WARNING for each in logs.records))
    (text,) = warnings(logs)
    return text


# --- Requests without an answer -------------------------------------------------------------


async def forgets(request: HTTPRequest) -> None:
    await asyncio.sleep(0)


async def forgets_to_finish(request: HTTPRequest) -> None:
    request.write(framed(b"ok"))


@pytest.mark.parametrize("callback", [forgets, forgets_to_finish])
@pytest.mark.parametrize("streamed", [False, True])
def test_coroutine_that_returns_without_finish_is_told(
    serve: Serve, logs: Logs, callback: Any, streamed: bool
) -> None:
    client = serve(callback, debug=True, stream_request_body=streamed).connect()
    client.send(get("/a"))
    text = warning(logs)
    assert re.match(rf"test_debug\.{callback.__name__} \(.*test_debug\.py, line \d+\) has ", text)
    assert "returned without finish()" in text and "uri='/a'" in text


async def finishes(request: HTTPRequest) -> None:
    await asyncio.sleep(0)
    answer(request)


async def detaches(request: HTTPRequest) -> None:
    stream = request.connection.detach()
    await stream.write(framed(b"ok"))
    stream.close()


async def closes(request: HTTPRequest) -> None:
    request.connection.close()


def finishes_at_once(request: HTTPRequest) -> None:
    answer(request)


@pytest.mark.parametrize("callback", [finishes, detaches, closes, finishes_at_once])
@pytest.mark.parametrize("streamed", [False, True])
def test_who_answers_is_not_told_anything(
    serve: Serve, logs: Logs, soon: None, callback: Any, streamed: bool
) -> None:
    served = serve(callback, debug=True, stream_request_body=streamed)
    client = served.connect()
    client.send(get())
    if callback is closes:
        assert client.read_to_end() == b""
    else:
        assert client.read_response().body == b"ok"
    served.call(asyncio.sleep, 0.02)  # when it would have been told
    assert not warnings(logs)


def test_failed_coroutine_is_told_as_ever(serve: Serve, logs: Logs) -> None:
    async def fails(request: HTTPRequest) -> None:
        raise ZeroDivisionError

    client = serve(fails, debug=True).connect()
    client.send(get())
    assert client.read_response().status == 500
    (text,) = logs.errors()
    assert text.startswith("Uncaught exception")


def keeps(request: HTTPRequest) -> None:
    """Do not answer at all."""


async def waits(request: HTTPRequest) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("callback", "where"),
    [(keeps, ""), (waits, f", which waits in line {waits.__code__.co_firstlineno + 1}")],
)
def test_request_that_is_not_answered_is_told_once(
    serve: Serve, logs: Logs, soon: None, callback: Any, where: str
) -> None:
    served = serve(callback, debug=True)
    with served.connect() as client:
        client.send(get("/a"))
        text = warning(logs)
        assert "uri='/a'" in text
        assert re.search(
            rf" has not been answered for 0\.01 s by test_debug\.{callback.__name__} "
            rf"\(.*test_debug\.py, line \d+\){where}$",
            text,
        )
        served.call(asyncio.sleep, 0.03)
        assert not warnings(logs)
        client.reset()
        served.all_closed()
    tasks = served.call(asyncio.all_tasks)
    for task in tasks:
        served.loop.call_soon_threadsafe(task.cancel)
    served.settle()
    assert len(warnings(logs)) == (callback is waits)  # that it was cancelled


def test_stream_of_a_response_is_no_request_without_an_answer(
    serve: Serve, logs: Logs, soon: None
) -> None:
    def begins(request: HTTPRequest) -> None:
        request.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")

    async def begins_later(request: HTTPRequest) -> None:
        await asyncio.sleep(0)
        begins(request)

    for callback in begins, begins_later:
        served = serve(callback, debug=True)
        client = served.connect()
        client.send(get())
        client.read_until(b"\r\n\r\n")
        served.call(asyncio.sleep, 0.03)
        assert not [each for each in warnings(logs) if "has not been answered" in each]


def test_body_that_still_comes_is_waited_for(
    serve: Serve, logs: Logs, soon: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def reads(request: HTTPRequest) -> None:
        answer(request, await request.read())

    served = serve(reads, debug=True, stream_request_body=True)
    client = served.connect()
    request = post(b"body")
    client.send(request[:-1])
    served.call(asyncio.sleep, 0.03)
    monkeypatch.setattr(debug, "_UNANSWERED", 60.0)
    served.call(asyncio.sleep, 0.03)  # until the last timer has ended
    client.send(request[-1:])
    assert client.read_response().body == b"body"
    assert not warnings(logs)


class Silent(HTTPServerConnectionDelegate):
    def start_request(self, server_conn: object, request_conn: object) -> HTTPMessageDelegate:
        return HTTPMessageDelegate()


async def silent(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await receive()  # until the client is gone


@pytest.mark.parametrize(
    ("delegate", "name"), [(Silent(), "Silent"), (ASGIContainer(silent, lifespan="off"), "silent")]
)
def test_delegates_are_looked_after_too(
    serve: Serve, logs: Logs, soon: None, delegate: Any, name: str
) -> None:
    served = serve(delegate, debug=True)
    with served.connect() as client:
        client.send(get("/a"))
        assert f" s by test_debug.{name} (" in warning(logs)
        client.reset()
    served.all_closed()
    served.settle()
    assert not warnings(logs)


# --- Wrong framing ---------------------------------------------------------------------------


def test_wrong_framing_is_told_with_the_callback_and_what_it_wrote(
    serve: Serve, logs: Logs
) -> None:
    def too_long(request: HTTPRequest) -> None:
        request.write(f"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{'x' * 1000}")
        request.finish()

    client = serve(too_long, debug=True).connect()
    client.send(get())
    client.read_to_end()
    (text,) = logs.errors()
    first, second = text.split("\n")
    assert first.startswith("The response to HTTPRequest(")
    assert re.match(r"It was answered by test_debug\..*too_long \(.*test_debug\.py, line", second)
    assert (
        "its response begins with b'HTTP/1.1 200 OK\\r\\nContent-Length: 1\\r\\n\\r\\nxxx" in second
    )
    assert len(second) < 700


def test_bytes_are_the_same_as_without_it(serve: Serve) -> None:
    def pieces(request: HTTPRequest) -> None:
        parts: list[Any] = ["HTTP/1.1 200 OK\r\n", bytearray(b"Content-Length: 3\r\n\r\n")]
        for piece in [*parts, b"a\xffc"]:
            request.write(piece)
        request.finish()

    for mode in False, True:
        client = serve(pieces, debug=mode).connect()
        client.send(get() + get("/", "Connection: close"))
        whole = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na\xffc"
        assert client.read_to_end() == whole * 2


# --- A loop that stands still ----------------------------------------------------------------


def told(logs: Logs) -> bool:
    return any(record.levelno == logging.WARNING for record in logs.records)


class Blocking:
    """Blocks the loop until that was told."""

    def __init__(self, logs: Logs) -> None:
        self._logs = logs

    def block_here(self) -> None:
        eventually(lambda: told(self._logs))

    def __call__(self, request: HTTPRequest) -> None:
        self.block_here()
        answer(request)

    async def later(self, request: HTTPRequest) -> None:
        await asyncio.sleep(0)
        self(request)

    async def asgi(self, scope: Any, receive: Any, send: Any) -> None:
        self.block_here()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    def timer(self, request: HTTPRequest) -> None:
        request.connection.loop.call_soon(self, request)


@pytest.mark.parametrize("name", ["__call__", "later", "asgi", "timer"])
def test_who_blocks_the_loop_is_told_with_its_stack(serve: Serve, logs: Logs, name: str) -> None:
    blocking = Blocking(logs)
    target = getattr(blocking, name)
    if name == "asgi":
        target = ASGIContainer(target, lifespan="off")
    client = serve(target, debug=True).connect()
    client.send(get())
    assert client.read_response().body == b"ok"
    text = warning(logs)
    first, *stack = text.splitlines()
    outermost = "__call__" if name == "timer" else name
    assert re.match(
        rf"test_debug\.Blocking\.{outermost} has blocked the event loop for more than 100 ms, in "
        r"line \d+ of .*test_debug\.py:$",
        first,
    )
    assert f"in {outermost}" in stack[0]
    assert any("in block_here" in line for line in stack)
    assert not any("/_server/" in line for line in stack)


def test_watch_ends_with_its_server(serve: Serve) -> None:
    served = serve(answer, debug=True)
    (watch,) = [each for each in threading.enumerate() if each.name == "BlockWatch"]
    served.call(served.server.stop)
    assert not watch.is_alive()
    served.call(served.server.stop)


def test_watch_ends_with_its_loop(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    loop = new_loop()
    watch = BlockWatch(loop)
    loop.close()
    watch._thread.join(TIMEOUT)
    assert not watch._thread.is_alive()
    watch.end()


class Standing:
    """A loop that was run, and is not run any more."""

    def __init__(self) -> None:
        self.looks = 0

    def call_soon_threadsafe(self, function: Callable[[], None]) -> None:
        if self.looks == 0:
            function()

    def is_closed(self) -> bool:
        return False

    def is_running(self) -> bool:
        self.looks += 1
        return False


def test_loop_that_does_not_run_blocks_nobody(
    logs: Logs, nothing_left: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(debug, "_BLOCKED", 0.001)
    loop: Any = Standing()
    watch = BlockWatch(loop)
    loop.looks = 1
    eventually(lambda: loop.looks > 3)
    watch.end()
    assert not warnings(logs)


# --- Names ----------------------------------------------------------------------------------


class Callable_:
    def __call__(self, request: HTTPRequest) -> None: ...


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (keeps, "test_debug.keeps ("),
        (functools.partial(keeps), "test_debug.keeps ("),
        (functools.wraps(keeps)(lambda request: keeps(request)), "test_debug.keeps ("),
        (Callable_(), "test_debug.Callable_ ("),
        (Callable_().__call__, "test_debug.Callable_.__call__ ("),
        (Callable_, "test_debug.Callable_ ("),
        (Silent(), "test_debug.Silent ("),
        (WSGIContainer(lambda environ, start_response: []), "test_debug.<lambda> ("),
        (print, "builtins.print"),
    ],
)
def test_applications_have_names(target: Any, name: str) -> None:
    assert describe(target).startswith(name)
