"""The programs of ``exchanges.py``: what a client sends, in which pieces, how it reads and leaves.

A program is made from a seed and a name, the same one each time, and knows what must come back.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from exchanges_app import Plan, body_of

MOST_BYTES = 6_000_000  # of all answers to one program
# Seconds without a read: longer than LIMITS["linger_silence"], shorter than any other.
LONG_PAUSE = 1.2
# Seconds for a download over a thin line: longer than LIMITS["write_timeout"], and shorter than
# "idle_connection_timeout", since what is left at the end is in the client's own kernel.
LONG_DOWNLOAD = 4.0


# --- What a client does -----------------------------------------------------------------------


@dataclass(frozen=True)
class Exchange:
    """One request, and what must come for it.

    Args:
        plan: How it is to be answered.
        method, version: Of the request line, the version as "1.1".
        connection: The field of that name, or "" for none.
        body: The request's body.
        coding: How it is sent: "", "length", "chunked".
        expect: "" or "sent" or "waited": whether 100 Continue is asked for, and waited for.
        lines: What is said after the server has switched to another protocol.
    """

    plan: Plan
    method: str = "GET"
    version: str = "1.1"
    connection: str = ""
    body: bytes = b""
    coding: str = ""
    expect: str = ""
    lines: tuple[bytes, ...] = ()

    @property
    def head(self) -> bytes:
        fields = ["Host: a"]
        if self.connection:
            fields.append(f"Connection: {self.connection}")
        if self.lines:
            fields.append("Upgrade: echo")
        if self.coding == "length":
            fields.append(f"Content-Length: {len(self.body)}")
        elif self.coding == "chunked":
            fields.append("Transfer-Encoding: chunked")
        if self.expect:
            fields.append("Expect: 100-continue")
        line = f"{self.method} {self.plan.target} HTTP/{self.version}"
        return "\r\n".join([line, *fields, "", ""]).encode()

    @property
    def rest(self) -> bytes:
        if self.lines:
            return b"".join(self.lines) + b"bye\n"
        if self.coding == "chunked":
            step = 1 + len(self.body) // 3
            pieces = [self.body[at : at + step] for at in range(0, len(self.body), step)]
            return b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in pieces) + b"0\r\n\r\n"
        return self.body

    @property
    def status(self) -> int:
        if self.plan.fails_at == 0 or self.plan.timing == "silent":
            return 500
        if self.lines:
            return 101
        return 204 if self.plan.framing.endswith("204") else 200

    @property
    def answer(self) -> bytes:
        """The body that must come; what the other protocol says, after a 101."""
        if self.lines:
            return b"".join(f"{self.plan.id} ".encode() + line for line in self.lines)
        if self.method == "HEAD" or self.status == 204:
            return b""
        return body_of(self.plan, self.body)

    @property
    def ends_with_connection(self) -> bool:
        """Whether nothing else tells where the answer ends (RFC 9112 section 6.3)."""
        bodiless = self.method == "HEAD" or self.status == 204
        chunked = self.plan.framing == "framed_chunked"
        return bool(self.lines) or (self.version == "1.0" and chunked and not bodiless)

    @property
    def asks_for_end(self) -> bool:
        """Whether the request says that it is the last one."""
        return self.connection == "close" or (
            self.version == "1.0" and self.connection != "keep-alive"
        )

    @property
    def last(self) -> bool:
        """Whether the connection ends after the answer."""
        return (
            self.asks_for_end
            or self.ends_with_connection
            or self.plan.fails_at >= 0
            or self.plan.timing in ("silent", "hangs_up")
            or bool(self.plan.closes)
        )

    @property
    def may_be_cut(self) -> bool:
        """Whether the application fails in the middle of the answer."""
        return self.plan.fails_at > 0

    @property
    def may_be_missing(self) -> bool:
        """Whether the connection may end instead of it."""
        return self.may_be_cut or self.plan.timing == "silent"


@dataclass(frozen=True)
class Stop:
    """A place in what is sent where the client pauses.

    Args:
        offset: In all bytes of the program.
        pause: Seconds.
        answered: How many answers must have come before it goes on.
        continued: How many requests must have been told to continue.
    """

    offset: int
    pause: float = 0.0
    answered: int = 0
    continued: int = 0

    def __str__(self) -> str:
        return f"{self.offset}:{self.pause}s,{self.answered}a,{self.continued}c"


@dataclass(frozen=True)
class Program:
    """What one client does on one connection.

    Args:
        name: Makes it again, with the seed of the round.
        exchanges: The requests, in order.
        stops: Where sending pauses, in order.
        until: How many bytes are sent.
        ending: "stay": read to the last answer, or the end. "half": say that nothing more is
            sent; then the same. "fin", "reset": leave so, without having read all.
        leave_at: For these: leave when so many bytes have come, or ...
        leave_after: ... so many seconds after all was sent.
        pauses: Pairs: when so many bytes have come, do not read for so many seconds.
        read_size: The largest read.
        rate: Bytes a second that are read at most, or 0.
        receive_buffer: SO_RCVBUF, or 0.
    """

    name: str
    exchanges: tuple[Exchange, ...]
    stops: tuple[Stop, ...] = ()
    until: int = 1 << 40
    ending: str = "stay"
    leave_at: int = 1 << 40
    leave_after: float = 0.0
    pauses: tuple[tuple[int, float], ...] = ()
    read_size: int = 65_536
    rate: int = 0
    receive_buffer: int = 0

    @property
    def wire(self) -> bytes:
        return b"".join(each.head + each.rest for each in self.exchanges)

    @property
    def due(self) -> int:
        """How many requests may be run: those sent whole, up to one that ends it."""
        offset = 0
        for count, exchange in enumerate(self.exchanges):
            whole = offset + len(exchange.head)
            offset = whole + len(exchange.rest)
            if (whole if exchange.lines else offset) > self.until:
                return count
            if exchange.last:
                return count + 1
        return len(self.exchanges)

    @property
    def leaves(self) -> bool:
        return self.ending in ("fin", "reset")

    def __str__(self) -> str:
        lines = [f"program {self.name}: {self.until} of {len(self.wire)} bytes, {self.ending}"]
        if self.leaves:
            lines.append(f"  leaves at {self.leave_at} bytes or after {self.leave_after:.3f} s")
        lines.append(
            f"  reads {self.read_size} at a time, {self.rate or 'any'} bytes/s, "
            f"buffer {self.receive_buffer or 'default'}, pauses {list(self.pauses)}"
        )
        lines.append(f"  stops {' '.join(map(str, self.stops))}")
        for each in self.exchanges:
            what = f"{each.method} {each.plan.target} HTTP/{each.version}"
            for text in (each.connection, each.coding, each.expect):
                what += f" {text}" if text else ""
            lines.append(f"  {what}, body {len(each.body)}, lines {len(each.lines)}")
        return "\n".join(lines)


# --- Making programs --------------------------------------------------------------------------


def make_exchange(choose: random.Random, id_: str, budget: int) -> Exchange:
    """Return an exchange of any kind that goes on."""
    version, connection = choose.choice([("1.1", "")] * 8 + [("1.0", "keep-alive")])
    framings = ["raw_length", "framed_length", "raw_204", "framed_204"]
    if version == "1.1":
        framings += ["raw_chunked", "framed_chunked"]
    weights = [5, 3, 1, 1, 3, 3][: len(framings)]
    timing = choose.choices(
        ["sync", "tasked", "awaited", "future", "timed", "written", "burst"],
        [6, 2, 2, 1, 2, 2, 2],
    )[0]
    size = choose.choices(
        [
            choose.randrange(300),
            choose.choice([16_384, 65_536]) + choose.randrange(-300, 300),
            choose.randrange(1_000, 100_000),
            choose.randrange(100_000, 600_000),
            choose.randrange(1_000_000, 4_000_000),
        ],
        [60, 12, 16, 10, 2],
    )[0]
    plan = Plan(
        id_,
        choose.choices(framings, weights)[0],
        timing,
        size if size <= budget else size % 300,
        choose.choices([1, 2, 5, 12, 80], [4, 3, 3, 2, 1])[0],
        choose.choices([0, 1, 3], [6, 2, 1])[0],
        watched=int(choose.random() < 0.3),
    )
    if plan.pieces > 12:
        plan = replace(plan, delay=0)
    exchange = Exchange(plan, version=version, connection=connection)
    kind = choose.choices(["GET", "HEAD", "POST", "PUT"], [6, 1, 2, 1])[0]
    if kind not in ("POST", "PUT"):
        return replace(exchange, method=kind)
    body = choose.randbytes(choose.choice([0, 1, 200, 5000, 70_000]))
    coding = choose.choice(["length", "chunked"]) if version == "1.1" else "length"
    expects = body and version == "1.1" and choose.random() < 0.2
    expect = choose.choice(["sent", "waited"]) if expects else ""
    return replace(exchange, method=kind, body=body, coding=coding, expect=expect)


def end_with(choose: random.Random, exchange: Exchange) -> Exchange:
    """Return an exchange like this one, after which the connection ends."""
    plan = exchange.plan
    kinds = ["close", "1.0", "until end", "says", "fails", "silent", "hangs up", "echo"]
    kind = choose.choices(kinds, [3, 3, 3, 2, 4, 1, 2, 2])[0]
    match kind:
        case "close":
            return replace(exchange, connection="close", version="1.1")
        case "1.0" | "until end":
            # Neither has chunks in HTTP/1.0.
            framing = "framed_chunked" if kind == "until end" else "raw_length"
            plan = replace(plan, framing=framing)
            coding = exchange.coding and "length"
            return replace(
                exchange, version="1.0", connection="", expect="", coding=coding, plan=plan
            )
        case "says":
            framing = choose.choice(["raw_length", "framed_length"])
            plan = replace(plan, framing=framing, closes=1)
            return replace(exchange, version="1.1", connection="", plan=plan)
        case "silent":
            plan = replace(plan, timing="silent")
            return replace(exchange, version="1.1", connection="", plan=plan)
        case "hangs up":
            plan = replace(plan, framing="raw_length", timing="hangs_up")
            return replace(exchange, version="1.1", connection="", plan=plan)
        case "fails":
            pieces = choose.randrange(2, 8)
            plan = replace(
                plan,
                framing=choose.choice(["raw_length", "raw_chunked", "framed_length"]),
                timing=choose.choice(["sync", "tasked", "awaited", "future", "written"]),
                pieces=pieces,
                fails_at=choose.choice([0, choose.randrange(pieces)]),
            )
            method = "GET" if exchange.method == "HEAD" else exchange.method
            return replace(exchange, version="1.1", connection="", method=method, plan=plan)
        case _:
            plan = Plan(plan.id, timing=choose.choice(["detached", "taken"]))
            lines = [b"line %d" % n + b"x" * choose.randrange(300) + b"\n" for n in range(20)]
            lines = lines[: choose.randrange(1, 20)]
            return Exchange(plan, connection="Upgrade", lines=tuple(lines))


def make_program(seed: str, name: str, tls: bool, run: int = 0, quick: bool = False) -> Program:
    """Return the program that these names stand for; each run of it has ids of its own.

    Args:
        seed, name, tls: What it is made of.
        run: Of how many.
        quick: Leave out clients that take seconds for what they read.
    """
    choose = random.Random(f"{seed} {name} {tls}")
    id_ = f"{zlib.crc32(seed.encode()):x}.{name}.{run}"
    budget = MOST_BYTES
    exchanges = []
    for number in range(choose.choice([1, 2, 3, 5, 8, 20])):
        exchanges.append(make_exchange(choose, f"{id_}.{number}", budget))
        budget -= exchanges[-1].plan.size
    ending = choose.choices(["stay", "half", "fin", "reset"], [12, 3, 2, 2])[0]
    if tls and ending == "half":
        ending = "fin"  # TLS has no half-closed state
    ends = choose.random()
    if ends < 0.6:
        # In the middle of a pipeline now and then: nothing after it may be answered.
        at = -1 if choose.random() < 0.6 else choose.randrange(len(exchanges))
        exchanges[at] = end_with(choose, exchanges[at])
        if exchanges[at].asks_for_end:
            # Who sends more after that breaks RFC 9112 section 9.6, and may be reset.
            del exchanges[at + 1 or len(exchanges) :]
        if exchanges[at].lines:
            exchanges[at:] = [exchanges[at]]
            ending = "stay" if ending == "half" else ending
    elif ends < 0.7 and ending != "stay":
        # Never answered, if the client is to leave anyway.
        timing = "poll" if ending == "half" else choose.choice(["poll", "forgotten"])
        exchanges[-1] = replace(exchanges[-1], plan=replace(exchanges[-1].plan, timing=timing))
    length = sum(len(each.head) + len(each.rest) for each in exchanges)
    until = length
    polls = exchanges[-1].plan.timing == "poll"
    if ending != "stay" and not (polls and ending == "half") and choose.random() < 0.4:
        until = choose.randrange(length)
    answers = sum(len(each.answer) + 100 for each in exchanges)
    slow = choose.random() < 0.04
    pauses = [
        (choose.randrange(answers), choose.choice([0.0, 0.001, 0.01, 0.05]))
        for _ in range(choose.choice([0, 0, 2, 8]))
    ]
    if slow:
        pauses.append((choose.choice([0, choose.randrange(answers)]), LONG_PAUSE))
    rate = 0
    if answers > 1_000_000 and choose.random() < 0.1:
        rate = int(answers / LONG_DOWNLOAD)
    receive_buffer = choose.choice([0, 0, 4096, 16_384]) if answers < 500_000 else 0
    if quick:
        rate = 0
        pauses = [pause for pause in pauses if pause[1] < LONG_PAUSE]
    return Program(
        name,
        tuple(exchanges),
        tuple(stops_of(choose, exchanges, length)),
        until,
        ending,
        leave_at=choose.randrange(answers) if choose.random() < 0.5 else 1 << 40,
        leave_after=choose.choice([0.0, 0.001, 0.02, 0.1]),
        pauses=tuple(sorted(pauses)),
        read_size=choose.choice([500, 65_536, 65_536]) if answers < 200_000 else 65_536,
        rate=rate,
        receive_buffer=receive_buffer,
    )


def stops_of(choose: random.Random, exchanges: list[Exchange], length: int) -> Iterator[Stop]:
    """Where the client waits for answers or for 100 Continue, and where it just pauses."""
    window = choose.choice([1, 2, 5, 20])
    stops = [
        Stop(choose.randrange(length), choose.choice([0.0, 0.0, 0.001, 0.01]))
        for _ in range(choose.choice([0, 1, 5, 12]))
    ]
    offset = waited = 0
    for number, each in enumerate(exchanges):
        if number >= window:
            stops.append(Stop(offset, answered=number - window + 1))
        offset += len(each.head)
        if each.expect == "waited":
            waited += 1
            stops.append(Stop(offset, answered=number, continued=waited))
        offset += len(each.rest)
        if each.last:
            break  # what comes after it is sent without asking
    yield from sorted(stops, key=lambda stop: stop.offset)
