"""How two servers differ over the table of raw requests.

Each request goes to Tornado's HTTPServer and to ours. What is compared: the statuses on the
wire, whether the connection then serves another request, and all that the callback saw. What
differs has to be in ``wire_differences``, and what is there has to differ.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wire_differences import DIFFERENCES, EVERYWHERE
from wire_requests import FIN, PAUSE, REQUESTS, TOGETHER, Request

__all__ = ["run"]

_HERE = Path(__file__).parent
_PACKAGES = ("tornado", "fasthttpserver")

# Seconds of silence after which nothing more is expected; more of them for a row that does
# not come out as expected, since the machine may have been busy.
_QUIET, _LONG_QUIET = 0.5, 2.0
_AT_ONCE = 24
# More complaints than these are one fault, and the log says more about it.
_PRINTED = 40

_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d)[ \r]")
_PROBE = b"GET /probe HTTP/1.1\r\nHost: x\r\n\r\n"

# What follows from other attributes is not told as well.
_DERIVED = ("full_url",)


@dataclass
class Outcome:
    """What one server did with one request."""

    statuses: list[str]
    end: str  # "open": it serves another request; "closed"; "waits": it does neither
    seen: list[dict[str, str]] = field(default_factory=list)

    def __str__(self) -> str:
        text = f"{' '.join(self.statuses) or 'no bytes'}, {self.end}"
        runs = len(self.seen)
        return text if runs == self.statuses.count("200") else f"{text}, {runs} run"


class Client:
    """One connection that notes what it receives."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self.port: int = writer.get_extra_info("sockname")[1]
        self.received = b""
        self.closed = False

    async def hear(self, quiet: float) -> bool:
        """Read once; tell whether anything came before so much silence."""
        if self.closed:
            return False
        try:
            data = await asyncio.wait_for(self._reader.read(65_536), quiet)
        except TimeoutError:
            return False
        except ConnectionError:
            data = b""
        self.received += data
        self.closed = not data
        return bool(data)

    def statuses(self) -> list[str]:
        """The status codes so far."""
        return [status.decode() for status in _STATUS.findall(self.received)]


class Server:
    """The process of one of the two packages, ``wire_server.py``."""

    def __init__(self, process: asyncio.subprocess.Process, ports: dict[str, int]) -> None:
        self._process = process
        self._ports = ports

    @classmethod
    async def start(cls, package: str, environment: dict[str, str], log: Path) -> Server:
        with log.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                str(_HERE / "wire_server.py"),
                package,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                env=environment,
                limit=2**26,
            )
        server = cls(process, {})
        server._ports = await server._read_line()
        return server

    async def _read_line(self) -> Any:
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), 20)
        if not line:
            raise RuntimeError("wire_server.py ended; see its log")
        return json.loads(line)

    async def records(self) -> list[dict[str, Any]]:
        """What callbacks saw since this was last asked."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"records\n")
        found: list[dict[str, Any]] = await self._read_line()
        return found

    async def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), 10)
        except TimeoutError:
            self._process.kill()

    async def ask(self, requests: list[Request], quiet: float) -> dict[str, Outcome]:
        """Send all of these requests, and tell what became of them."""
        limit = asyncio.Semaphore(_AT_ONCE)
        ports: dict[tuple[str, int], str] = {}

        async def ask(request: Request) -> Outcome:
            async with limit:
                client = await self._connect(request, ports)
                try:
                    return await self._exchange(client, request, quiet)
                finally:
                    client.writer.close()
                    with contextlib.suppress(ConnectionError):
                        await client.writer.wait_closed()

        outcomes: dict[str, Outcome] = {}
        side_by_side = [request for request in requests if TOGETHER not in request.steps]
        results = await asyncio.gather(*map(ask, side_by_side))
        outcomes.update(zip([request.name for request in side_by_side], results, strict=True))
        for request in requests:  # one by one
            if TOGETHER in request.steps:
                outcomes[request.name] = await ask(request)
        for record in await self.records():
            name = ports.get((record["server"], record["port"]))
            if name is not None and record["seen"]["uri"] != "'/probe'":
                seen = {**record["seen"], "events": repr(record["events"])}
                outcomes[name].seen.append(seen)
        return outcomes

    async def _connect(self, request: Request, ports: dict[tuple[str, int], str]) -> Client:
        while True:  # until the kernel gives a port that tells this row from the others
            streams = await asyncio.open_connection("127.0.0.1", self._ports[request.server])
            client = Client(*streams)
            if (request.server, client.port) not in ports:
                ports[request.server, client.port] = request.name
                return client
            client.writer.close()

    async def _exchange(self, client: Client, request: Request, quiet: float) -> Outcome:
        for step in request.steps:
            if isinstance(step, bytes):
                client.writer.write(step)
            elif step == PAUSE:
                await client.hear(0.1)
            elif step == FIN:
                client.writer.write_eof()
            elif step == TOGETHER:
                _, busy = await asyncio.open_connection("127.0.0.1", self._ports["plain"])
                busy.write(_PROBE.replace(b"probe", b"busy"))
                await asyncio.sleep(0.1)
                busy.close()
        while await client.hear(quiet):
            pass
        statuses = client.statuses()
        if client.closed:
            return Outcome(statuses, "closed")
        if not statuses or FIN in request.steps:
            return Outcome(statuses, "waits")
        client.writer.write(_PROBE)
        while await client.hear(quiet):
            if len(client.statuses()) > len(statuses) and client.received.endswith(b"ok"):
                return Outcome(statuses, "open")
        return Outcome(statuses, "closed" if client.closed else "waits")


def different_fields(stock: Outcome, ours: Outcome, seen_everywhere: set[Any]) -> dict[str, str]:
    """The attributes that the two callbacks saw differently, with both values."""
    found: dict[str, str] = {}
    for one, other in zip(stock.seen, ours.seen, strict=False):
        if "raises" in one or "raises" in other:
            found["raises"] = f"{one.get('raises')} -> {other.get('raises')}"
            continue
        differing = {(name, one[name], other[name]) for name in one if one[name] != other[name]}
        seen_everywhere |= differing & EVERYWHERE.keys()
        values = {name: (old, new) for name, old, new in sorted(differing - EVERYWHERE.keys())}
        if any(name not in _DERIVED for name in values):
            values = {name: pair for name, pair in values.items() if name not in _DERIVED}
        for name, (old, new) in values.items():
            found.setdefault(name, f"{old:.300} -> {new:.300}")
    return found


def judge(stock: Outcome, ours: Outcome, name: str, seen_everywhere: set[Any]) -> str:
    """Say what is wrong with a row; nothing if all is as it is to be."""
    fields = different_fields(stock, ours, seen_everywhere)
    differs = bool(fields) or str(stock) != str(ours)
    expected = DIFFERENCES.get(name)
    details = "".join(f"\n      {name}: {values}" for name, values in fields.items())
    happened = f"{stock}  ->  {ours}{details}"
    if expected is None:
        return f"unexpected difference: {happened}" if differs else ""
    if not differs:
        return f"expected difference no longer occurs: both {ours}"
    if (expected.stock, expected.ours) != (str(stock), str(ours)) or set(expected.fields) != {
        *fields
    }:
        listed = f"{expected.stock}  ->  {expected.ours}  {expected.fields}"
        return f"differs otherwise than listed: {happened}\n      listed: {listed}"
    return ""


async def _run(environment: dict[str, str], logs: Path) -> int:
    servers = [
        await Server.start(package, environment, logs / f"wire.{package}.log")
        for package in _PACKAGES
    ]
    seen_everywhere: set[Any] = set()
    try:
        stock, ours = await asyncio.gather(*(server.ask(REQUESTS, _QUIET) for server in servers))
        doubtful = [
            request
            for request in REQUESTS
            if judge(stock[request.name], ours[request.name], request.name, seen_everywhere)
        ]
        again = await asyncio.gather(*(server.ask(doubtful, _LONG_QUIET) for server in servers))
        stock |= again[0]
        ours |= again[1]
    finally:
        for server in servers:
            await server.stop()
    complaints = {}
    for request in REQUESTS:
        name = request.name
        if complaint := judge(stock[name], ours[name], name, seen_everywhere):
            complaints[name] = complaint
    for name in DIFFERENCES.keys() - {request.name for request in REQUESTS}:
        complaints[name] = "there is no such row"
    for key in EVERYWHERE.keys() - seen_everywhere:
        complaints[str(key)] = "expected difference no longer occurs"
    print(f"requests: {len(REQUESTS)}")
    print(f"  seen and answered alike: {len(REQUESTS) - len(DIFFERENCES)}")
    print(f"  expected differences:    {len(DIFFERENCES)}, and {len(EVERYWHERE)} in all rows")
    print(f"  complaints:              {len(complaints)}")
    for name, complaint in list(complaints.items())[:_PRINTED]:
        print(f"    {name!r}: {complaint}")
    if len(complaints) > _PRINTED:
        print(f"    and {len(complaints) - _PRINTED} more")
    return len(complaints)


def run(environment: dict[str, str], logs: Path) -> int:
    """Run the differential test, print what it found and return the number of complaints.

    Args:
        environment: For the two processes, with both packages on the path.
        logs: A directory for what they log.
    """
    return asyncio.run(_run(environment, logs))
