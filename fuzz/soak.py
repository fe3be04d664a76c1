"""A server under many requests, good and bad: are the answers right, does it grow?

The server runs in a process of its own. Beside many connections with pipelined requests of
all kinds (GET, HEAD, bodies with a length, chunked, cut anywhere), other clients send the
conformance vectors that are to be refused, send slowly, too slowly, do not read, or reset.
Each answer is compared byte by byte with what it has to be.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import random
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

from vectors import load

HOST = "127.0.0.1"
# A slow client is to get its 408 within the run, many times.
LIMITS: dict[str, Any] = {
    "header_timeout": 2.0,
    "body_stall_timeout": 2.0,
    "write_timeout": 2.0,
    "idle_connection_timeout": 30.0,
    "linger_silence": 0.5,
    "linger_timeout": 2.0,
}
REQUESTS_IN_BATCH = 64
BATCHES = 200
BATCHES_ON_CONNECTION = 50
CONNECTIONS = 24
# What may be held after all is over: free lists, caches of the allocator.
GROWTH_OF_RSS = 16 * 1024 * 1024
GROWTH_OF_BLOCKS = 3000


# --- The server ---------------------------------------------------------------------------


def serve() -> None:
    """Serve until standard input is closed; print the port first."""
    from fasthttpserver import HTTPServer, IOLoop

    def callback(request: Any) -> None:
        if request.uri == "/blocks":
            gc.collect()
            text = b"%d" % sys.getallocatedblocks()
        elif request.uri == "/large":
            text = bytes(64 * 1024 * 1024)
        else:
            text = described(request.method, request.uri, request.body)
        request.write(framed(request.method, text))
        request.finish()

    server = HTTPServer(callback, **LIMITS)
    sockets = [socket.create_server((HOST, 0), backlog=1024)]
    sockets[0].setblocking(False)
    server.add_sockets(sockets)
    loop = IOLoop.instance()
    loop.add_handler(sys.stdin.fileno(), lambda *_: loop.stop(), loop.READ)
    print(sockets[0].getsockname()[1], flush=True)
    loop.start()


def described(method: str, uri: str, body: bytes) -> bytes:
    return b"%s %s %d %08x" % (method.encode(), uri.encode(), len(body), zlib.crc32(body))


def framed(method: str, text: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text)
    return head if method == "HEAD" else head + text


# --- Requests and their answers -----------------------------------------------------------


def exchange(choose: random.Random) -> tuple[bytes, bytes]:
    """Return a request of a random kind, and its answer."""
    method = choose.choice(["GET", "GET", "GET", "HEAD", "POST", "POST", "PUT", "FOO"])
    uri = "/" + "x" * choose.choice([0, 3, 40, 1000]) + choose.choice(["", "?a=b&c=%20"])
    fields = [f"X-{i}: {'y' * choose.choice([0, 5, 300])}" for i in range(choose.randrange(12))]
    body = b""
    if method in ("POST", "PUT"):
        body = choose.randbytes(choose.choice([0, 1, 100, 5000, 70_000]) if fields else 10)
        if choose.random() < 0.5:
            fields.append(f"Content-Length: {len(body)}")
            wire = body
        else:
            fields.append("Transfer-Encoding: chunked")
            step = choose.choice([7, 1000, 100_000])
            pieces = [body[at : at + step] for at in range(0, len(body), step)]
            wire = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
            wire += choose.choice([b"0\r\n\r\n", b"0;a=b\r\nX: y\r\n\r\n"])
    else:
        wire = b""
    lines = [f"{method} {uri} HTTP/1.1", "Host: a", *fields, "", ""]
    return "\r\n".join(lines).encode() + wire, framed(method, described(method, uri, body))


def batches() -> list[tuple[bytes, bytes]]:
    """Return pipelines and all that comes back for each."""
    choose = random.Random(1)
    made: list[tuple[bytes, bytes]] = []
    for _ in range(BATCHES):
        # Half of them without large bodies, which would be most of the work.
        pairs = [exchange(choose) for _ in range(REQUESTS_IN_BATCH)]
        if len(made) % 2:
            pairs = [pair if len(pair[0]) < 2000 else SMALL for pair in pairs]
        made.append((b"".join(pair[0] for pair in pairs), b"".join(pair[1] for pair in pairs)))
    return made


SMALL = (
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    framed("GET", described("GET", "/", b"")),
)


# --- Clients --------------------------------------------------------------------------------


class Soak:
    """All clients of one run, and what they count."""

    def __init__(self, port: int, requests: int, deadline: float) -> None:
        self.port = port
        self.left = requests
        self.deadline = deadline
        self.counts: Counter[str] = Counter()
        self.errors: list[str] = []
        self.batches = batches()
        self.refused = [vector for vector in load() if vector.end == "refused"]
        self.refused = [vector for vector in self.refused if not vector.limits]

    @property
    def over(self) -> bool:
        return self.left <= 0 or time.monotonic() > self.deadline

    def error(self, text: str) -> None:
        self.counts["errors"] += 1
        if len(self.errors) < 20:
            self.errors.append(text)

    async def run(self) -> None:
        """Run all clients until the requests are served."""
        others: list[Callable[[random.Random], Coroutine[Any, Any, None]]]
        others = [self.refuse, self.refuse, self.trickle, self.stall, self.ignore, self.reset]
        async with asyncio.TaskGroup() as group:
            for number in range(CONNECTIONS):
                group.create_task(self.repeat(self.pipeline, random.Random(number)))
            for number, other in enumerate(others):
                group.create_task(self.repeat(other, random.Random(-1 - number)))

    async def repeat(
        self, client: Callable[[random.Random], Coroutine[Any, Any, None]], choose: random.Random
    ) -> None:
        while not self.over:
            try:
                async with asyncio.timeout(60):
                    await client(choose)
            except (OSError, EOFError, TimeoutError) as error:
                self.error(f"{client.__name__}: {error!r}")

    @contextlib.asynccontextmanager
    async def connection(self) -> Any:
        reader, writer = await asyncio.open_connection(HOST, self.port, limit=1 << 20)
        self.counts["connections"] += 1
        try:
            yield reader, writer
        finally:
            writer.close()

    async def pipeline(self, choose: random.Random) -> None:
        """Send pipelines, whole or cut somewhere, and compare every byte that comes back."""
        async with self.connection() as (reader, writer):
            for _ in range(BATCHES_ON_CONNECTION):
                wire, expected = choose.choice(self.batches)
                cut = choose.randrange(len(wire)) if choose.random() < 0.5 else 0
                writer.write(wire[:cut])
                if cut:
                    await asyncio.sleep(0)
                writer.write(wire[cut:])
                got = await reader.readexactly(len(expected))
                if got != expected:
                    self.error(f"pipeline: {got[:200]!r} instead of {expected[:200]!r}")
                    return
                self.counts["requests"] += REQUESTS_IN_BATCH
                self.left -= REQUESTS_IN_BATCH
                if self.over:
                    return

    async def refuse(self, choose: random.Random) -> None:
        """Send what is to be refused after a good request."""
        vector = choose.choice(self.refused)
        async with self.connection() as (reader, writer):
            writer.write(SMALL[0] + vector.data)
            got = await reader.read(-1)
        answers = got.removeprefix(SMALL[1])
        status = b"HTTP/1.1 %d " % vector.status
        good = got.startswith(SMALL[1]) and answers.count(b"HTTP/1.1 ") == 1 + len(vector.requests)
        if not good or status not in answers:
            self.error(f"refuse {vector.id}: {got!r}")
        self.counts["requests"] += 1 + len(vector.requests)
        self.counts["refused"] += 1

    async def trickle(self, choose: random.Random) -> None:
        """Send a good request a few bytes at a time."""
        wire, expected = exchange(choose)
        async with self.connection() as (reader, writer):
            step = len(wire) // 20 + 1
            for at in range(0, len(wire), step):
                writer.write(wire[at : at + step])
                await asyncio.sleep(0.01)
            if await reader.readexactly(len(expected)) != expected:
                self.error("trickle")
        self.counts["requests"] += 1
        self.counts["trickled"] += 1

    async def stall(self, choose: random.Random) -> None:
        """Send half a head, or half a body, and wait for the 408."""
        half = choose.choice(
            [SMALL[0][:-2], b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc"]
        )
        async with self.connection() as (reader, writer):
            writer.write(half)
            got = await reader.read(-1)
        if not got.startswith(b"HTTP/1.1 408 "):
            self.error(f"stall: {got!r}")
        self.counts["stalled"] += 1

    async def ignore(self, choose: random.Random) -> None:
        """Ask for much and do not read; the server has to give up."""
        async with self.connection() as (reader, writer):
            writer.write(SMALL[0].replace(b" / ", b" /large "))
            writer.transport.pause_reading()
            await asyncio.sleep(LIMITS["write_timeout"] + 2)
            writer.transport.resume_reading()
            with contextlib.suppress(ConnectionError):
                size = 0
                while chunk := await reader.read(1 << 20):
                    size += len(chunk)
                if size > 64 * 1024 * 1024:
                    self.error("ignore: served to the end")
        self.counts["ignored"] += 1

    async def reset(self, choose: random.Random) -> None:
        """Reset the connection in the middle of something."""
        wire, _ = choose.choice(self.batches)
        async with self.connection() as (_reader, writer):
            writer.write(wire[: choose.randrange(len(wire))])
            await asyncio.sleep(choose.choice([0, 0.001, 0.02]))
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
        self.counts["reset"] += 1


# --- Measuring ------------------------------------------------------------------------------


def resident(pid: int) -> int:
    """Bytes of memory that a process has; 0 where there is no /proc."""
    path = Path(f"/proc/{pid}/status")
    if not path.exists():
        return 0
    (line,) = (line for line in path.read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def blocks(port: int) -> int:
    """Ask the server how many blocks of memory its Python holds."""
    with socket.create_connection((HOST, port), timeout=30) as client:
        client.sendall(b"GET /blocks HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        got = b"".join(iter(lambda: client.recv(65536), b""))
    return int(got.rpartition(b"\r\n")[2])


def main() -> None:
    """Warm up, measure, run, measure."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--requests", type=int, default=5_000_000)
    options.add_argument("--time", type=float, default=3600, help="at most so many seconds")
    options.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.serve:
        serve()
        return
    server = subprocess.Popen(
        [sys.executable, __file__, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert server.stdin is not None and server.stdout is not None
    try:
        port = int(server.stdout.readline())
        begin = time.monotonic()
        deadline = begin + arguments.time
        # What is allocated once is not growth: code, caches, buffers at their largest.
        warm = Soak(port, max(arguments.requests // 20, 20_000), deadline)
        asyncio.run(warm.run())
        before = blocks(port), resident(server.pid)
        print(f"before: {before[0]} blocks, {before[1] >> 10} KiB", flush=True)
        soak = Soak(port, arguments.requests, deadline)
        begin = time.monotonic()
        asyncio.run(soak.run())
        seconds = time.monotonic() - begin
        after = blocks(port), resident(server.pid)
        print(f"after: {after[0]} blocks, {after[1] >> 10} KiB")
        server.stdin.close()
        status = server.wait(30)
    finally:
        server.kill()
        server.wait()
    errors = warm.errors + soak.errors
    for error in errors:
        print(error)
    print(", ".join(f"{name} {count}" for name, count in sorted(soak.counts.items())))
    grown = after[0] - before[0], after[1] - before[1]
    requests = soak.counts["requests"]
    print(
        f"soak: {requests} requests in {seconds:.0f} s ({requests / seconds:.0f}/s), "
        f"{warm.counts['errors'] + soak.counts['errors']} errors, {grown[0]:+} blocks, "
        f"{grown[1] / 2**20:+.1f} MiB"
    )
    if soak.left > 0:
        sys.exit("The time was over before the requests were served.")
    if errors or status or grown[0] > GROWTH_OF_BLOCKS or grown[1] > GROWTH_OF_RSS:
        sys.exit("The server failed, or it grew.")


if __name__ == "__main__":
    main()
