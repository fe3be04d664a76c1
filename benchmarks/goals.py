"""The goals of the project, each with the figure that was measured."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.corpus import CORPUS
from benchmarks.results import median

__all__ = ["GOALS", "Goal", "Results", "Verdict"]

Results = dict[str, dict[str, Any]]
_LOOPS = ("asyncio", "uvloop")
# Where an application runs, and whom it is to be cheaper than there.
_WSGI_PEERS = {"threads": ("wsgi-gunicorn", "granian-wsgi"), "loop": ("granian-wsgi",)}
# The figure at an equal rate, and that at saturation.
_PACED, _SATURATED = "paced_cpu_us", "cpu_us"


@dataclass(frozen=True)
class Verdict:
    """One figure beside its bound."""

    what: str
    measured: str
    met: bool


@dataclass(frozen=True)
class Goal:
    """What is promised, and how it is told from the results."""

    what: str
    promise: str
    judge: Callable[[Results], Iterator[Verdict]]


Judge = Callable[[Results], Iterator[Verdict]]


def _figure(results: Results, shape: str, name: str, key: str) -> float | None:
    return median(results[shape], name, key) if shape in results else None


def _ratio(what: str, ours: float | None, other: float | None, bound: float) -> Iterator[Verdict]:
    """Ours is to be at most this many times the other; nothing where one was not measured."""
    if ours and other:
        measured = f"{ours / other:.2f} × ({ours:.2f} beside {other:.2f})"
        yield Verdict(what, measured, ours <= bound * other)


def _beside_limit(shape: str, key: str, asyncio: float, uvloop: float) -> Judge:
    def judge(results: Results) -> Iterator[Verdict]:
        for loop, bound in zip(_LOOPS, (asyncio, uvloop), strict=True):
            ours = _figure(results, shape, f"ours-{loop}", key)
            limit = _figure(results, shape, f"limit-{loop}", key)
            yield from _ratio(f"ours to the limit on {loop}", ours, limit, bound)

    return judge


def _ahead(shape: str, key: str, bound: float = 1.0) -> Judge:
    def judge(results: Results) -> Iterator[Verdict]:
        if shape not in results:
            return
        peers = {
            contender["title"]: median(results[shape], name, key)
            for name, contender in results[shape]["contenders"].items()
            if contender["kind"] == "peer"
        }
        known = {title: value for title, value in peers.items() if value}
        for loop in _LOOPS if known else ():
            best = min(known, key=known.__getitem__)
            ours = _figure(results, shape, f"ours-{loop}", key)
            yield from _ratio(f"ours on {loop} to the best peer ({best})", ours, known[best], bound)

    return judge


def _beside(shape: str, key: str, pairs: dict[str, str], bound: float, of: str = "") -> Judge:
    """Each of ours beside another one, by names; of the same shape unless one is named."""

    def judge(results: Results) -> Iterator[Verdict]:
        for name, other in pairs.items():
            ours = _figure(results, shape, name, key)
            theirs = _figure(results, of or shape, other, key)
            yield from _ratio(f"{name} to {other}{of and f' of {of}'}", ours, theirs, bound)

    return judge


def _at_most(shape: str, key: str, bound: float, unit: str) -> Judge:
    def judge(results: Results) -> Iterator[Verdict]:
        for loop in _LOOPS:
            ours = _figure(results, shape, f"ours-{loop}", key)
            if ours is not None:
                yield Verdict(f"on {loop}", f"{ours:.2f} {unit}", ours <= bound)

    return judge


def _both(*judges: Judge) -> Judge:
    def judge(results: Results) -> Iterator[Verdict]:
        for each in judges:
            yield from each(results)

    return judge


def _ahead_of_threads(results: Results) -> Iterator[Verdict]:
    for mode, names in _WSGI_PEERS.items():
        for loop in _LOOPS:
            ours = _figure(results, "wsgi-hello", f"wsgi-{mode}-{loop}", _SATURATED)
            for name in names:
                theirs = _figure(results, "wsgi-hello", name, _SATURATED)
                yield from _ratio(f"ours, {mode}, on {loop} to {name}", ours, theirs, 1.0)


def _beside_asgi_servers(results: Results) -> Iterator[Verdict]:
    ours = _figure(results, "asgi-hello", "asgi-ours-uvloop", _PACED)
    for name, bound in (("uvicorn", 0.6), ("granian-asgi", 1.0), ("asgi-fastpysgi", 1.0)):
        peer = _figure(results, "asgi-hello", name, _PACED)
        yield from _ratio(f"beside {name}", ours, peer, bound)


def _ns(results: Results, name: str, case: str, mode: str) -> float | None:
    if "parser" not in results:
        return None
    return median(results["parser"], name, "ns", case=case, mode=mode)


def _beside_raw_llhttp(results: Results) -> Iterator[Verdict]:
    for case, bound in (("small", 3.0), ("browser", 1.6), ("forty", 1.6)):
        ours = _ns(results, "ours", case, "request")
        raw = _ns(results, "raw-llhttp", case, "request")
        what = f"{CORPUS[case].title}: ours to llhttp alone (≤ {bound:g} ×)"
        yield from _ratio(what, ours, raw, bound)


def _beside_httptools(mode: str, factor: float) -> Judge:
    def judge(results: Results) -> Iterator[Verdict]:
        for case in ("small", "browser", "forty"):
            ours = _ns(results, "ours", case, mode)
            theirs = _ns(results, "httptools", case, mode)
            what = f"{CORPUS[case].title}: ours to httptools (≤ {1 / factor:g} ×)"
            yield from _ratio(what, ours, theirs, 1 / factor)

    return judge


def _instructions(results: Results, name: str, case: str, mode: str) -> float | None:
    if "instructions" not in results:
        return None
    return median(results["instructions"], name, "instructions", case=case, mode=mode)


def _reading_beside_tornado(results: Results) -> Iterator[Verdict]:
    ours = _instructions(results, "ours", "attributes", "attributes")
    theirs = _instructions(results, "tornado", "attributes", "attributes")
    yield from _ratio("from bytes to what was read, ours to tornado", ours, theirs, 0.1)


_BOTH_LOOPS = ("ours-asyncio", "ours-uvloop")
_ITSELF = {name: name for name in _BOTH_LOOPS}
_TORNADO = {"ours-asyncio": "tornado", "ours-uvloop": "tornado-uvloop"}
_WEB_TORNADO = {f"web-ours-{loop}": f"web-tornado-{loop}" for loop in _LOOPS}

GOALS = (
    Goal(
        "small GET, at an equal rate",
        "CPU ≤ 1.10 × the limit on uvloop, 1.12 × on asyncio; ahead of every peer",
        _both(_beside_limit("small", _PACED, 1.12, 1.10), _ahead("small", _PACED)),
    ),
    Goal(
        "small GET, at saturation",
        "CPU ≤ 1.06 × the limit on uvloop, 1.15 × on asyncio; ahead of every peer",
        _both(_beside_limit("small", _SATURATED, 1.15, 1.06), _ahead("small", _SATURATED)),
    ),
    Goal(
        "browser GET, at saturation",
        "CPU ≤ 1.12 × the limit on uvloop, 1.20 × on asyncio; ahead of every peer",
        _both(_beside_limit("browser", _SATURATED, 1.20, 1.12), _ahead("browser", _SATURATED)),
    ),
    Goal(
        "16 pipelined",
        "CPU ≤ 2.0 µs, ahead of every peer by 2.5 ×",
        _both(
            _at_most("pipelined", _SATURATED, 2.0, "µs"),
            _ahead("pipelined", _SATURATED, 0.4),
        ),
    ),
    Goal(
        "new connection for each request",
        "CPU ≤ 1.35 × the limit; ahead of socketify and granian",
        _both(
            _beside_limit("connect", _SATURATED, 1.35, 1.35),
            _beside("connect", _SATURATED, dict.fromkeys(_BOTH_LOOPS, "socketify"), 1.0),
            _beside("connect", _SATURATED, dict.fromkeys(_BOTH_LOOPS, "granian-rsgi"), 1.0),
        ),
    ),
    Goal(
        "memory of an idle connection",
        "≤ 2.0 KiB",
        _at_most("idle", "kib_per_connection", 2.0, "KiB"),
    ),
    Goal(
        "10,000 idle connections",
        "< 0.5 % of a core",
        _at_most("idle", "idle_core_percent", 0.5, "%"),
    ),
    Goal(
        "TLS, kept alive, at an equal rate",
        "CPU ≤ 1.12 × the limit, ahead of fastpysgi",
        _both(
            _beside_limit("tls", _PACED, 1.12, 1.12),
            _beside("tls", _PACED, dict.fromkeys(_BOTH_LOOPS, "fastpysgi"), 1.0),
        ),
    ),
    Goal(
        "callback that reads path, arguments, 3 headers, a cookie",
        "CPU ≤ 1/10 of tornado's",
        _beside("attributes", _PACED, _TORNADO, 0.1),
    ),
    Goal(
        "reading path, arguments, 3 headers, a cookie, without the server",
        "instructions ≤ 1/10 of those of tornado's request object",
        _reading_beside_tornado,
    ),
    Goal(
        "async def callback, at saturation",
        "CPU ≤ 1.6 × the plain function's",
        _beside("coroutine", _SATURATED, _ITSELF, 1.6, of="small"),
    ),
    Goal(
        "access log on, at saturation",
        "CPU ≤ 1.5 × the same without it",
        _beside("logged", _SATURATED, _ITSELF, 1.5, of="small"),
    ),
    Goal(
        "upload in pieces",
        "CPU no more than that of a whole one",
        _beside("upload-streamed", _SATURATED, _ITSELF, 1.0, of="upload"),
    ),
    Goal(
        "hello of a tornado.web handler",
        "CPU ≤ 1/2 of tornado's own server, same handler",
        _beside("web-hello", _PACED, _WEB_TORNADO, 0.5),
    ),
    Goal(
        "WSGI hello, in threads and in the loop, at saturation",
        "ahead of gunicorn's threads and granian's; in the loop ahead of granian",
        _ahead_of_threads,
    ),
    Goal(
        "hello of a raw ASGI application",
        "CPU ≤ 0.6 of uvicorn's (httptools, uvloop), below granian's and fastpysgi's",
        _beside_asgi_servers,
    ),
    Goal(
        "parse to a request object",
        "browser and 40 headers ≤ 1.6 × llhttp alone, small ≤ 3 ×; ≤ 1/4 of httptools",
        _both(_beside_raw_llhttp, _beside_httptools("request", 4.0)),
    ),
    Goal(
        "parse and read every header",
        "≤ 1/2 of httptools",
        _beside_httptools("headers", 2.0),
    ),
)
