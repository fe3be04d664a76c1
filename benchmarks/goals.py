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


def _cpu(results: Results, shape: str, name: str) -> float | None:
    return median(results[shape], name, "cpu_us") if shape in results else None


def _beside_limit(shape: str, bound: float) -> Callable[[Results], Iterator[Verdict]]:
    def judge(results: Results) -> Iterator[Verdict]:
        for loop in _LOOPS:
            ours = _cpu(results, shape, f"ours-{loop}")
            limit = _cpu(results, shape, f"limit-{loop}")
            if ours and limit:
                measured = f"{ours / limit:.2f} × ({ours:.2f} beside {limit:.2f} µs)"
                yield Verdict(f"ours to the limit on {loop}", measured, ours <= bound * limit)

    return judge


def _ahead(shape: str, factor: float) -> Callable[[Results], Iterator[Verdict]]:
    def judge(results: Results) -> Iterator[Verdict]:
        if shape not in results:
            return
        peers = {
            contender["title"]: median(results[shape], name, "cpu_us")
            for name, contender in results[shape]["contenders"].items()
            if contender["kind"] == "peer"
        }
        known = {title: value for title, value in peers.items() if value}
        for loop in _LOOPS:
            ours = _cpu(results, shape, f"ours-{loop}")
            if ours and known:
                best = min(known, key=known.__getitem__)
                measured = f"{known[best] / ours:.2f} × ({known[best]:.2f} beside {ours:.2f} µs)"
                what = f"best peer ({best}) to ours on {loop}"
                yield Verdict(what, measured, known[best] >= factor * ours and known[best] > ours)

    return judge


def _both(
    *judges: Callable[[Results], Iterator[Verdict]],
) -> Callable[[Results], Iterator[Verdict]]:
    def judge(results: Results) -> Iterator[Verdict]:
        for each in judges:
            yield from each(results)

    return judge


def _pipelined_cost(results: Results) -> Iterator[Verdict]:
    for loop in _LOOPS:
        ours = _cpu(results, "pipelined", f"ours-{loop}")
        if ours:
            yield Verdict(f"CPU on {loop}", f"{ours:.2f} µs", ours <= 2.0)


def _beside_tornado(results: Results) -> Iterator[Verdict]:
    for loop, tornado_name in zip(_LOOPS, ("tornado", "tornado-uvloop"), strict=True):
        ours = _cpu(results, "attributes", f"ours-{loop}")
        tornado = _cpu(results, "attributes", tornado_name)
        if ours and tornado:
            measured = f"1/{tornado / ours:.1f} ({ours:.1f} beside {tornado:.1f} µs)"
            yield Verdict(f"on {loop}", measured, ours * 6 <= tornado)


def _half_of_tornado(results: Results) -> Iterator[Verdict]:
    for loop in _LOOPS:
        ours = _cpu(results, "web-hello", f"web-ours-{loop}")
        tornado = _cpu(results, "web-hello", f"web-tornado-{loop}")
        if ours and tornado:
            measured = f"{ours / tornado:.2f} × ({ours:.1f} beside {tornado:.1f} µs)"
            yield Verdict(f"on {loop}", measured, ours <= 0.5 * tornado)


def _ahead_of_threads(results: Results) -> Iterator[Verdict]:
    for mode, names in _WSGI_PEERS.items():
        for loop in _LOOPS:
            ours = _cpu(results, "wsgi-hello", f"wsgi-{mode}-{loop}")
            for name in names:
                theirs = _cpu(results, "wsgi-hello", name)
                if ours and theirs:
                    title = results["wsgi-hello"]["contenders"][name]["title"]
                    measured = f"{theirs / ours:.2f} × ({theirs:.1f} beside {ours:.1f} µs)"
                    what = f"{title} to ours, {mode}, on {loop}"
                    yield Verdict(what, measured, theirs > ours)


def _beside_asgi_servers(results: Results) -> Iterator[Verdict]:
    ours = _cpu(results, "asgi-hello", "asgi-ours-uvloop")
    for name, bound in ("uvicorn", 0.6), ("granian-asgi", 1.0), ("asgi-fastpysgi", 1.0):
        peer = _cpu(results, "asgi-hello", name)
        if ours and peer:
            measured = f"{ours / peer:.2f} × ({ours:.1f} beside {peer:.1f} µs)"
            yield Verdict(f"beside {name}", measured, ours <= bound * peer)


def _ns(results: Results, name: str, case: str, mode: str) -> float | None:
    if "parser" not in results:
        return None
    return median(results["parser"], name, "ns", case=case, mode=mode)


def _beside_raw_llhttp(results: Results) -> Iterator[Verdict]:
    for case, bound in (("small", 3.0), ("browser", 1.6), ("forty", 1.6)):
        ours = _ns(results, "ours", case, "request")
        raw = _ns(results, "raw-llhttp", case, "request")
        if ours and raw:
            measured = f"{ours / raw:.2f} × ({ours:.0f} beside {raw:.0f} ns)"
            yield Verdict(
                f"{CORPUS[case].title}: ours to llhttp alone (≤ {bound:g} ×)",
                measured,
                ours <= bound * raw,
            )


def _beside_httptools(mode: str, factor: float) -> Callable[[Results], Iterator[Verdict]]:
    def judge(results: Results) -> Iterator[Verdict]:
        for case in ("small", "browser", "forty"):
            ours = _ns(results, "ours", case, mode)
            theirs = _ns(results, "httptools", case, mode)
            if ours and theirs:
                measured = f"{theirs / ours:.2f} × ({ours:.0f} beside {theirs:.0f} ns)"
                what = f"{CORPUS[case].title}: httptools to ours (≥ {factor:g} ×)"
                yield Verdict(what, measured, theirs >= factor * ours)

    return judge


def _idle_memory(results: Results) -> Iterator[Verdict]:
    for loop in _LOOPS:
        if "idle" in results:
            ours = median(results["idle"], f"ours-{loop}", "kib_per_connection")
            if ours is not None:
                yield Verdict(f"on {loop}", f"{ours:.2f} KiB", ours <= 3.0)


GOALS = (
    Goal(
        "small GET",
        "CPU ≤ 1.10 × the limit, ahead of every peer",
        _both(_beside_limit("small", 1.10), _ahead("small", 1.0)),
    ),
    Goal(
        "browser GET, 14 headers",
        "CPU ≤ 1.15 × the limit, ahead of every peer",
        _both(_beside_limit("browser", 1.15), _ahead("browser", 1.0)),
    ),
    Goal(
        "16 pipelined",
        "CPU ≤ 2.0 µs, ahead of every peer by 2.5 ×",
        _both(_pipelined_cost, _ahead("pipelined", 2.5)),
    ),
    Goal(
        "callback that reads path, arguments, 3 headers, a cookie",
        "CPU ≤ 1/6 of tornado's",
        _beside_tornado,
    ),
    Goal(
        "hello of a tornado.web handler",
        "CPU ≤ 1/2 of tornado's own server, same handler",
        _half_of_tornado,
    ),
    Goal(
        "WSGI hello, in threads and in the loop",
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
        "browser and 40 headers ≤ 1.6 × llhttp alone, small ≤ 3 ×; ≥ 4 × httptools",
        _both(_beside_raw_llhttp, _beside_httptools("request", 4.0)),
    ),
    Goal(
        "parse and read every header",
        "≥ 2 × httptools",
        _beside_httptools("headers", 2.0),
    ),
    Goal("memory of an idle connection", "≤ 3 KiB", _idle_memory),
)
