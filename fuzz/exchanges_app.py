"""The server of ``exchanges.py``: an application that answers as each request's target asks.

It runs in a process of its own, prints its port, drains when a line comes in, and writes a
report of what it saw and of what is left.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import importlib
import json
import logging
import os
import socket
import sys
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fasthttpserver import HTTPServer
from fasthttpserver.httputil import HTTPHeaders, ResponseStartLine

HOST = "127.0.0.1"
# Short, so that a pause of a client is longer than what may end a connection by mistake; and
# none shorter than the longest pause where it may end one rightly.
LIMITS: dict[str, Any] = {
    "idle_connection_timeout": 5.0,
    "write_timeout": 3.0,
    "linger_silence": 0.5,
}
# Seconds for what is detached to end, after the drain.
_SETTLE = 10.0
# A prime, so that a piece in the wrong place is different.
_TILE = 997
_CHUNK = 5000

Callback = Callable[[], object]
Step = Callable[["Callback | None"], Awaitable[None]]


@dataclass(frozen=True)
class Plan:
    """How a request is to be answered; its target is made of this.

    Args:
        id: Unique; the answer has it too.
        framing: ``raw_`` and ``framed_`` (by the server, with ``write_headers``), then
            ``length``, ``chunked`` or ``204``.
        timing: The method of ``Application`` that answers.
        size: Bytes of the body, beside its first line.
        pieces: How many writes.
        delay: Milliseconds between them, where a timer makes them.
        fails_at: The number of the write before which the application fails; -1 for never.
        watched: Set a close callback.
        closes: The application says ``Connection: close``.
    """

    id: str
    framing: str = "raw_length"
    timing: str = "sync"
    size: int = 0
    pieces: int = 1
    delay: int = 0
    fails_at: int = -1
    watched: int = 0
    closes: int = 0

    @property
    def target(self) -> str:
        return "/" + "/".join(map(str, astuple(self)))

    @classmethod
    def parse(cls, target: str) -> Plan:
        id_, framing, timing, *numbers = target[1:].split("/")
        return cls(id_, framing, timing, *map(int, numbers))


def body_of(plan: Plan, received: bytes) -> bytes:
    """The body of an answer: whose it is, what came, and so many bytes that are its own."""
    tile = hashlib.shake_128(plan.id.encode()).digest(_TILE)
    filler = (tile * (plan.size // _TILE + 1))[: plan.size]
    line = f"{plan.id} {len(received)} {zlib.crc32(received):08x}"
    return f"{line} {plan.size} {zlib.crc32(filler):08x}\n".encode() + filler


class Provoked(Exception):
    """What an application raises because a request asked for it."""


class Answer:
    """The writes that answer one request.

    Args:
        request: The request.
        plan: How.
    """

    def __init__(self, request: Any, plan: Plan) -> None:
        self.request = request
        self.plan = plan
        self._made = 0
        body = body_of(plan, request.body)
        closes = plan.closes or (
            plan.framing.startswith("raw") and request.connection.no_keep_alive
        )
        fields = {"X-Id": plan.id} | ({"Connection": "close"} if closes else {})
        if plan.framing.endswith("length"):
            fields["Content-Length"] = str(len(body))
        code, reason = (204, "No Content") if plan.framing.endswith("204") else (200, "OK")
        self._steps: list[Step]
        if plan.framing.startswith("framed"):
            headers = HTTPHeaders(fields)
            line = ResponseStartLine("HTTP/1.1", code, reason)
            self._steps = [partial(self._write_headers, line, headers)]
            if code != 204:
                self._steps += [partial(self._write, piece) for piece in cut(body, plan.pieces)]
            return
        if plan.framing.endswith("chunked"):
            fields["Transfer-Encoding"] = "chunked"
            chunks = [body[at : at + _CHUNK] for at in range(0, len(body), _CHUNK)]
            body = b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in chunks)
            body += b"0\r\n\r\n"
        lines = [f"HTTP/1.1 {code} {reason}", *map(": ".join, fields.items()), "", ""]
        wire = "\r\n".join(lines).encode()
        if request.method != "HEAD" and code != 204:
            wire += body
        self._steps = [partial(self._write, piece) for piece in cut(wire, plan.pieces)]

    def _write(self, piece: bytes, callback: Callback | None) -> Awaitable[None]:
        result: Awaitable[None] = self.request.write(piece, callback)
        return result

    def _write_headers(
        self, line: ResponseStartLine, headers: HTTPHeaders, callback: Callback | None
    ) -> Awaitable[None]:
        result: Awaitable[None] = self.request.connection.write_headers(line, headers)
        return result if callback is None else self._write(b"", callback)

    @property
    def left(self) -> int:
        """How many writes are still to be made."""
        return len(self._steps) - self._made

    def step(self, callback: Callback | None = None) -> Awaitable[None]:
        """Make the next write."""
        if self._made == self.plan.fails_at:
            raise Provoked(self.plan.id)
        self._made += 1
        return self._steps[self._made - 1](callback)

    def finish(self) -> None:
        """End it."""
        self.request.finish()


def cut(data: bytes, pieces: int) -> list[bytes]:
    """Cut bytes into so many pieces of about the same size, or fewer; none is empty."""
    size = -(-len(data) // pieces)
    return [data[at : at + size] for at in range(0, len(data), size)]


class Application:
    """Answers each request in the way that its target names, and keeps account of it."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.told: list[str] = []  # that the client has left
        self.unwritten: set[str] = set()  # write callbacks that have not run
        self.faults: list[str] = []

    def __call__(self, request: Any) -> object:
        plan = Plan.parse(request.uri)
        self.begun.append(plan.id)
        answer = Answer(request, plan)
        if plan.watched:
            request.connection.set_close_callback(partial(self.told.append, plan.id))
        return getattr(self, plan.timing)(answer)

    def sync(self, answer: Answer) -> None:
        while answer.left:
            answer.step()
        answer.finish()

    async def tasked(self, answer: Answer) -> None:
        while answer.left:
            await asyncio.sleep(answer.plan.delay / 1000)
            answer.step()
        answer.finish()

    def future(self, answer: Answer) -> asyncio.Future[None]:
        """As ``tasked``, by way of something else to await than a coroutine."""
        return asyncio.ensure_future(self.tasked(answer))

    async def awaited(self, answer: Answer) -> None:
        while answer.left:
            await answer.step()
        answer.finish()

    def timed(self, answer: Answer) -> None:
        """Begin in the callback or not; go on, and finish, from timers."""
        if answer.plan.pieces % 2:
            answer.step()
        self._later(answer)

    def _later(self, answer: Answer) -> None:
        def step() -> None:
            if answer.left:
                answer.step()
                self._later(answer)
            else:
                answer.finish()

        asyncio.get_running_loop().call_later(answer.plan.delay / 1000, step)

    def written(self, answer: Answer) -> None:
        """Each write but the first is made by the write callback of the one before."""
        if answer.left:
            answer.step(self._once(answer.plan.id, partial(self.written, answer)))
        else:
            answer.finish()

    def burst(self, answer: Answer) -> None:
        """Finish after a write whose callback is still to run."""
        while answer.left > 1:
            answer.step()
        answer.step(self._once(answer.plan.id, lambda: None))
        answer.finish()

    def _once(self, id_: str, callback: Callback) -> Callback:
        ran = False
        self.unwritten.add(id_)

        def run() -> None:
            nonlocal ran
            if ran:
                self.faults.append(f"{id_}: a write callback ran twice")
            ran = True
            self.unwritten.discard(id_)
            callback()

        return run

    def poll(self, answer: Answer) -> None:
        """Answer when the client has said that it sends no more."""
        id_ = answer.plan.id

        def tell() -> None:
            self.told.append(id_)
            self.sync(answer)

        answer.request.connection.set_close_callback(tell)

    def forgotten(self, answer: Answer) -> None:
        """Never answer."""
        answer.request.connection.forgotten = answer

    def silent(self, answer: Answer) -> None:
        """Finish what nothing was written for."""
        answer.finish()

    def hangs_up(self, answer: Answer) -> None:
        """Write all, and close instead of finishing."""
        while answer.left:
            answer.step()
        answer.request.connection.close()

    async def detached(self, answer: Answer) -> None:
        answer.request.write(switching(answer.plan))
        await self._echo(answer.request.connection.detach(), answer.plan)

    async def taken(self, answer: Answer) -> None:
        """As Tornado 3 code does it: a read takes the stream over."""
        answer.request.write(switching(answer.plan))
        await self._echo(answer.request.connection.stream, answer.plan)

    async def _echo(self, stream: Any, plan: Plan) -> None:
        while (line := await stream.read_until(b"\n")) != b"bye\n":
            stream.write(f"{plan.id} ".encode() + line)
        stream.close()


def switching(plan: Plan) -> bytes:
    fields = f"X-Id: {plan.id}\r\nConnection: Upgrade\r\nUpgrade: echo"
    return f"HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n\r\n".encode()


class Watch(logging.Handler):
    """Keeps what was logged and nobody provoked."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__(logging.WARNING)
        self.faults = faults
        self.provoked: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        silent = record.msg == "finish() of %r without a response"
        if silent or isinstance(error, Provoked):
            self.provoked[str(error)] += 1
        else:
            self.faults.append(f"logged: {self.format(record)}")


# --- The process ----------------------------------------------------------------------------


def main() -> None:
    """Serve; the arguments are a loop, a file for the report, SO_SNDBUF, and files for TLS."""
    loop_kind, report_file, send_buffer, *files = sys.argv[1:]
    new_loop = importlib.import_module(loop_kind).new_event_loop
    application = Application()
    watch = Watch(application.faults)
    logging.getLogger().addHandler(watch)
    sys.unraisablehook = lambda error: application.faults.append(f"unraisable: {error}")
    with asyncio.Runner(loop_factory=new_loop) as runner:
        report = runner.run(serve(application, int(send_buffer), files))
    gc.collect()
    report |= {
        "begun": application.begun,
        "told": application.told,
        "unwritten": sorted(application.unwritten),
        "provoked": watch.provoked,
        "faults": application.faults,
    }
    Path(report_file).write_text(json.dumps(report))


async def serve(application: Application, send_buffer: int, files: list[str]) -> dict[str, Any]:
    """Serve until a line comes; drain, and tell what is left."""
    tls = dict(zip(("certfile", "keyfile"), files, strict=True)) if files else None
    server = HTTPServer(application, ssl_options=tls, **LIMITS)
    listener = socket.create_server((HOST, 0), backlog=1024)
    listener.setblocking(False)
    if send_buffer:  # what it accepts has it too
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    loop = asyncio.get_running_loop()
    sockets = open_sockets() - 1  # the loop's own: it is woken by one
    port = listener.getsockname()[1]
    server.add_sockets([listener])
    print(port, flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    drained = await server.drain(timeout=20.0, grace=0.2)
    end = loop.time() + _SETTLE
    while loop.time() < end:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        gc.collect()
        if not tasks and open_sockets() <= sockets:
            break
        await asyncio.sleep(0.01)
    return {
        "drained": drained,
        "stats": server.stats(),
        "tasks": [repr(task) for task in tasks],
        "sockets": open_sockets() - sockets,
    }


def open_sockets() -> int:
    """How many this process has; 0 where there is no /proc."""
    folder = Path("/proc/self/fd")
    if not folder.exists():
        return 0
    links = [os.readlink(link) for link in folder.iterdir() if link.is_symlink()]
    return sum(link.startswith("socket:") for link in links)


if __name__ == "__main__":
    main()
