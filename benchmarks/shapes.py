"""The shapes of load: what is asked of the servers, and of which."""

import json
from dataclasses import dataclass

from benchmarks.apps.options import DOWNLOAD_SIZE, HELLO, JSON, LARGE
from benchmarks.contenders import CONTENDERS, Contender
from benchmarks.corpus import CORPUS, SEARCH_ATTRIBUTES, Request, with_body

__all__ = ["IDLE_RATE", "QUICK_CONTENDERS", "QUICK_SHAPES", "SHAPES", "Point", "Shape"]


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
            ``upload``, ``download``, ``idle`` or ``echo`` (messages of WebSockets).
        axis: What ``Point.x`` is, for curves.
        weight: Measured for this part of ``--seconds``.
        tls: Over TLS.
        paced: At an equal rate first, and at saturation as well.
        floor: For the rate only those count that can do this part of what the fastest can.
        size: Bytes of an upload or a download, number of idle connections.
        rounds: No more than these.
    """

    title: str
    points: tuple[Point, ...]
    contenders: tuple[str, ...]
    answer: str = "hello"
    kind: str = "load"
    axis: str | None = None
    weight: float = 1.0
    tls: bool = False
    paced: bool = False
    floor: float = 1 / 12
    size: int = 0
    rounds: int | None = None

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
            "stream": b"%d" % point.request.body_size,
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
_ASGI = (
    *_ASGI_OURS,
    "uvicorn",
    "uvicorn-zttp",
    "granian-asgi",
    "asgi-hypercorn",
    "asgi-fastpysgi",
)
_OURS = ("ours-asyncio", "ours-uvloop")
_LIMITS = ("limit-asyncio", "limit-uvloop")
# One configuration of each server, the faster one.
_PEERS = (
    "tornado-uvloop",
    "aiohttp-uvloop",
    "uvicorn",
    "granian-rsgi",
    "bjoern",
    "fastpysgi",
    "socketify",
)
_REFERENCES = ("nginx", "node")
_ALL = (*_OURS, *_LIMITS, *_PEERS, "robyn", *_REFERENCES)
# Where the loop makes no difference to the limit that would be worth its minutes.
_MOST = (*_OURS, "limit-uvloop", *_PEERS, *_REFERENCES)
# For what is about connections, it makes one.
_CONNECTIONS = (*_OURS, *_LIMITS, *_PEERS, *_REFERENCES)
_CALLBACK = (*_OURS, "tornado", "tornado-uvloop")
# They have a handler that is a coroutine.
_COROUTINE = (*_OURS, "aiohttp-uvloop", "uvicorn", "granian-rsgi", "robyn")
_FRAMING = (*_OURS, "aiohttp-uvloop", "uvicorn", "granian-rsgi")
_LOGGING = (*_OURS, "aiohttp-uvloop", "uvicorn", "granian-rsgi", "nginx")
_STREAMING = (*_OURS, "tornado-uvloop", "aiohttp-uvloop", "uvicorn", "granian-rsgi", "node")
_CURVES = ("ours-asyncio", "ours-uvloop", "limit-uvloop", "uvicorn")
_FORKING = ("ours-asyncio", "ours-uvloop", "tornado-uvloop", "uvicorn", "granian-rsgi", "nginx")

UPLOAD_SIZE = 100 * 2**20
IDLE_CONNECTIONS = 10_000
# Of the active connections beside them: what the slowest can do, with room.
IDLE_RATE = 2_000

SHAPES = {
    # What counts most, and spreads most.
    "small": Shape("Small GET", _one("small"), _ALL, weight=2.0, paced=True),
    "respond": Shape(
        "Small GET whose response the server frames, ours by request.respond",
        _one("small"),
        _FRAMING,
        "respond",
        paced=True,
    ),
    "browser": Shape("Browser GET with 14 headers", _one("browser"), _ALL, paced=True),
    "form": Shape("Form POST of 81 bytes", _one("form"), _MOST, "body", weight=0.7, paced=True),
    "json": Shape("JSON POST of 1 KiB", _one("json"), _MOST, "body", weight=0.7, paced=True),
    "tls": Shape(
        "Small GET over TLS, kept alive",
        _one("small"),
        _CONNECTIONS,
        kind="steady",
        weight=0.7,
        tls=True,
        paced=True,
    ),
    "coroutine": Shape(
        "Handler that is an async def", _one("small"), _COROUTINE, "coroutine", paced=True
    ),
    "attributes": Shape(
        "Callback that reads path, arguments, 3 headers and a cookie",
        _one("attributes"),
        _CALLBACK,
        "attributes",
        paced=True,
        floor=0,
    ),
    "logged": Shape(
        "Small GET with the access log on", _one("small"), _LOGGING, "logged", paced=True
    ),
    "delegate": Shape(
        "Delegate that frames its response by write_headers",
        _one("small"),
        _CALLBACK,
        "delegate",
        paced=True,
        floor=0,
    ),
    "pipelined": Shape("16 pipelined small GETs", _one("pipelined"), _MOST, weight=0.6),
    "large": Shape("Response of 64 KiB", _one("small"), _MOST, "large", weight=0.6),
    "connect": Shape(
        "New connection for each request", _one("closing"), _CONNECTIONS, "closing", weight=0.7
    ),
    "upload": Shape(
        "Upload of 100 MiB",
        (Point(0, with_body(UPLOAD_SIZE)),),
        _MOST,
        "body",
        kind="upload",
        size=UPLOAD_SIZE,
    ),
    "upload-streamed": Shape(
        "Upload of 100 MiB, received in pieces of which none is kept",
        (Point(0, with_body(UPLOAD_SIZE)),),
        _STREAMING,
        "stream",
        kind="upload",
        size=UPLOAD_SIZE,
    ),
    "download": Shape(
        "Download of 100 MiB, sent in pieces of 64 KiB, each when the last one is out",
        _one("small"),
        _STREAMING,
        "download",
        kind="download",
        size=DOWNLOAD_SIZE,
    ),
    "idle": Shape(
        "10,000 idle connections, and 64 active ones beside them",
        _one("small"),
        _CONNECTIONS,
        kind="idle",
        size=IDLE_CONNECTIONS,
        rounds=1,
    ),
    "processes": Shape(
        "2 worker processes against 1",
        (Point(1, CORPUS["small"]), Point(2, CORPUS["small"], processes=2)),
        _FORKING,
        axis="worker processes",
        weight=0.5,
    ),
    "web-hello": Shape("Hello of a tornado.web handler", _one("small"), _WEB, paced=True, floor=0),
    "web-json": Shape("JSON of a tornado.web handler", _one("small"), _WEB, "json", weight=0.5),
    "web-echo": Shape(
        "Echo of a tornado.websocket handler, for each message of 64 bytes",
        _one("small"),
        _WEB,
        "echo",
        kind="echo",
        weight=0.7,
    ),
    "wsgi-hello": Shape("Hello of a WSGI application", _one("small"), _WSGI, paced=True),
    "wsgi-flask": Shape("Hello of a Flask application", _one("small"), _WSGI, "flask", weight=0.5),
    "asgi-hello": Shape("Hello of a raw ASGI application", _one("small"), _ASGI, paced=True),
    "asgi-starlette": Shape("Hello of Starlette", _one("small"), _ASGI, "starlette", weight=0.5),
    "asgi-fastapi": Shape("Hello of FastAPI", _one("small"), _ASGI, "fastapi", weight=0.5),
    "asgi-echo": Shape(
        "Echo of a WebSocket of ASGI, for each message of 64 bytes",
        _one("small"),
        (*_ASGI_OURS, "uvicorn", "granian-asgi"),
        "echo",
        kind="echo",
        weight=0.7,
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
        weight=0.5,
    ),
}

QUICK_SHAPES = ("small", "browser", "pipelined")
QUICK_CONTENDERS = (
    "ours-asyncio",
    "ours-uvloop",
    "limit-asyncio",
    "limit-uvloop",
    "tornado-uvloop",
    "uvicorn",
    "bjoern",
    "fastpysgi",
)
