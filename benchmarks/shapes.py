"""The shapes of load: what is asked of the servers, and of which."""

import json
from dataclasses import dataclass

from benchmarks.apps.options import HELLO, JSON, LARGE
from benchmarks.contenders import CONTENDERS, Contender
from benchmarks.corpus import (
    CORPUS,
    SEARCH_ATTRIBUTES,
    Request,
    pipelined,
    with_body,
    with_headers,
)

__all__ = ["QUICK_CONTENDERS", "QUICK_SHAPES", "SHAPES", "Point", "Shape"]


@dataclass(frozen=True)
class Point:
    """One measurement of a shape; most shapes have one only.

    Args:
        x: Where it is on the axis of a curve.
        request: What is sent.
        connections: How many; None for the number given on the command line.
        processes: Worker processes of the server.
    """

    x: int
    request: Request
    connections: int | None = None
    processes: int = 1


@dataclass(frozen=True)
class Shape:
    """One thing to measure.

    Args:
        title: What stands above its table.
        points: What is measured with each contender.
        contenders: Names, in the order of tables.
        answer: What the servers do, see ``apps/options.py``.
        kind: ``load`` by wrk, ``steady`` (the same without the making of connections),
            ``upload``, ``idle`` or ``echo`` (messages of WebSockets).
        axis: What ``Point.x`` is, for curves.
        weight: Measured for this part of ``--seconds``.
        tls: Over TLS.
    """

    title: str
    points: tuple[Point, ...]
    contenders: tuple[str, ...]
    answer: str = "hello"
    kind: str = "load"
    axis: str | None = None
    weight: float = 1.0
    tls: bool = False

    @property
    def needs_wrk(self) -> bool:
        """Whether wrk makes the load."""
        return self.kind in ("load", "steady")

    @property
    def features(self) -> set[str]:
        """What a contender has to be able to do."""
        features = {"tls"} if self.tls else set()
        if self.answer == "attributes":
            features.add("attributes")
        if any(point.processes > 1 for point in self.points):
            features.add("processes")
        return features

    def expected(self, contender: Contender, point: Point) -> bytes | None:
        """The body of a right answer; None for a contender that answers its constant."""
        if self.answer == "body" and "body" in contender.lacks:
            return None
        bodies = {
            "attributes": SEARCH_ATTRIBUTES,
            "body": b"%d" % point.request.body_size,
            "large": LARGE,
            "json": json.dumps(JSON).encode(),
        }
        return bodies.get(self.answer, HELLO)


def _one(name: str) -> tuple[Point, ...]:
    return (Point(0, CORPUS[name]),)


_WEB = tuple(name for name in CONTENDERS if name.startswith("web-"))
_WSGI = (
    *(name for name in CONTENDERS if name.startswith("wsgi-")),
    "granian-wsgi",
    "bjoern",
    "fastpysgi",
)
_ASGI_OURS = ("asgi-ours-asyncio", "asgi-ours-uvloop")
_ASGI_PEERS = ("uvicorn", "uvicorn-zttp", "granian-asgi", "asgi-hypercorn", "asgi-fastpysgi")
_ASGI = (*_ASGI_OURS, *_ASGI_PEERS)
# The streamed ones answer uploads only.
_ELSEWHERE = ("web-", "wsgi-", "asgi-", "ours-streamed")
_ALL = tuple(name for name in CONTENDERS if not name.startswith(_ELSEWHERE))
# One configuration of each server, the faster one.
_SOME = (
    "ours-asyncio",
    "ours-uvloop",
    "limit-uvloop",
    "tornado-uvloop",
    "aiohttp-uvloop",
    "uvicorn",
    "granian-rsgi",
    "bjoern",
    "fastpysgi",
    "socketify",
    "nginx",
    "node",
)
_CALLBACK = ("ours-asyncio", "ours-uvloop", "tornado", "tornado-uvloop")
_CURVES = ("ours-asyncio", "ours-uvloop", "limit-uvloop", "tornado-uvloop", "uvicorn")
_FORKING = ("ours-asyncio", "ours-uvloop", "tornado-uvloop", "uvicorn", "granian-rsgi", "nginx")

UPLOAD_SIZE = 100 * 2**20
IDLE_CONNECTIONS = 5000

SHAPES = {
    "small": Shape("Small GET", _one("small"), _ALL),
    "respond": Shape(
        "Small GET, answered by request.respond", _one("small"), _CALLBACK[:2], "respond"
    ),
    "logged": Shape("Small GET, with an access log", _one("small"), _CALLBACK[:2], "logged"),
    "browser": Shape("Browser GET with 14 headers", _one("browser"), _ALL),
    "pipelined": Shape("16 pipelined small GETs", _one("pipelined"), _ALL),
    "attributes": Shape(
        "Callback that reads path, arguments, 3 headers and a cookie",
        _one("attributes"),
        _CALLBACK,
        "attributes",
    ),
    "form": Shape("Form POST of 81 bytes", _one("form"), _SOME, "body", weight=0.7),
    "json": Shape("JSON POST of 1 KiB", _one("json"), _SOME, "body", weight=0.7),
    "large": Shape("Response of 64 KiB", _one("small"), _SOME, "large", weight=0.7),
    "connect": Shape(
        "New connection for each request",
        _one("closing"),
        (*_SOME[:2], "limit-asyncio", *_SOME[2:]),
        "closing",
        weight=0.7,
    ),
    "tls": Shape("Small GET over TLS, kept alive", _one("small"), _SOME, weight=0.7, tls=True),
    "processes": Shape(
        "2 worker processes against 1",
        (Point(1, CORPUS["small"]), Point(2, CORPUS["small"], processes=2)),
        _FORKING,
        axis="worker processes",
        weight=0.7,
    ),
    "upload": Shape(
        "Upload of 100 MiB",
        (Point(0, with_body(UPLOAD_SIZE)),),
        (*_SOME[:2], "ours-streamed", "ours-streamed-uvloop", *_SOME[2:]),
        "body",
        kind="upload",
    ),
    "idle": Shape(
        "Memory of an idle connection",
        (Point(0, CORPUS["small"], IDLE_CONNECTIONS),),
        (*_SOME[:2], "limit-asyncio", *_SOME[2:]),
        kind="idle",
    ),
    "web-hello": Shape("Hello of a tornado.web handler", _one("small"), _WEB),
    "web-json": Shape("JSON of a tornado.web handler", _one("small"), _WEB, "json"),
    "web-echo": Shape(
        "Echo of a tornado.websocket handler, for each message of 64 bytes",
        _one("small"),
        _WEB,
        "echo",
        kind="echo",
    ),
    "wsgi-hello": Shape("Hello of a WSGI application", _one("small"), _WSGI),
    "wsgi-flask": Shape("Hello of a Flask application", _one("small"), _WSGI, "flask"),
    "asgi-hello": Shape("Hello of a raw ASGI application", _one("small"), _ASGI),
    "asgi-starlette": Shape("Hello of Starlette", _one("small"), _ASGI, "starlette"),
    "asgi-fastapi": Shape("Hello of FastAPI", _one("small"), _ASGI, "fastapi"),
    "asgi-echo": Shape(
        "Echo of a WebSocket of ASGI, for each message of 64 bytes",
        _one("small"),
        (*_ASGI_OURS, "uvicorn", "granian-asgi"),
        "echo",
        kind="echo",
    ),
    "curve-headers": Shape(
        "CPU per request against header fields",
        tuple(Point(count, with_headers(count)) for count in (1, 10, 20, 40, 80)),
        _CURVES,
        axis="header fields",
        weight=0.5,
    ),
    "curve-body": Shape(
        "CPU per request against size of the request's body",
        tuple(Point(size, with_body(size)) for size in (64, 1024, 16384, 131072, 1048576)),
        _CURVES,
        "body",
        axis="bytes of body",
        weight=0.5,
    ),
    "curve-connections": Shape(
        "CPU per request against connections",
        tuple(Point(count, CORPUS["small"], count) for count in (10, 100, 1000, 5000)),
        _CURVES,
        kind="steady",
        axis="connections",
        weight=0.7,
    ),
    "curve-pipelining": Shape(
        "CPU per request against pipelining depth",
        tuple(Point(depth, pipelined(depth)) for depth in (1, 2, 4, 8, 16, 32, 64)),
        _CURVES,
        axis="requests in one write",
        weight=0.4,
    ),
}

QUICK_SHAPES = ("small", "browser", "pipelined")
QUICK_CONTENDERS = (
    "ours-asyncio",
    "ours-uvloop",
    "limit-asyncio",
    "limit-uvloop",
    "tornado",
    "uvicorn",
    "bjoern",
    "fastpysgi",
)
