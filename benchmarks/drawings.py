"""The plots of one result file."""

from typing import Any

from benchmarks import svg
from benchmarks.corpus import CORPUS
from benchmarks.parsers import MODES
from benchmarks.results import median, ranked, spread

__all__ = ["drawings"]

Result = dict[str, Any]
# For each kind of shape: the figure, what to divide it by, what it is called.
_BARS = {
    "load": ("cpu_us", 1, "server's CPU, µs per request"),
    "idle": ("kib_per_connection", 1, "KiB per connection"),
    "upload": ("peak_kib", 1024, "peak memory above that of an idle server, MiB"),
}
# The case that is drawn of the parser benchmark: what browsers send.
_PARSER_CASE = "browser"


def drawings(name: str, result: Result) -> dict[str, str]:
    """Return what there is to see of a result; nothing for what its table tells better."""
    if result["kind"] == "parser":
        title = f"Parsing a {CORPUS[_PARSER_CASE].title}"
        drawn = {}
        for mode in ("request", "headers"):
            where = {"case": _PARSER_CASE, "mode": mode}
            drawn[f"{name}-{mode}.svg"] = _bars(result, title, "ns", 1, f"ns, {MODES[mode]}", where)
    elif result["axis"] is None and result["kind"] in _BARS:
        drawn = {f"{name}.svg": _bars(result, result["title"], *_BARS[result["kind"]], {})}
    elif result["axis"] is not None and name.startswith("curve"):
        drawn = {f"{name}.svg": _curve(result)}
    else:
        drawn = {}
    return {file: text for file, text in drawn.items() if text}


def _bars(
    result: Result, title: str, key: str, divisor: int, unit: str, where: dict[str, str]
) -> str:
    items = []
    for name in ranked(result, key, **where):
        low, high = spread(result, name, key, **where) or (0.0, 0.0)
        middle = median(result, name, key, **where) or 0.0
        contender = result["contenders"][name]
        figures = (figure / divisor for figure in (middle, low, high))
        items.append(svg.Bar(contender["title"], *figures, contender["kind"]))
    return svg.bars(title, [unit, _origin(result, "line: least to largest")], items)


def _curve(result: Result) -> str:
    items = []
    for name, contender in result["contenders"].items():
        xs = sorted({run["x"] for run in contender["runs"]})
        points = [(x, median(result, name, "cpu_us", x=x) or 0.0) for x in xs]
        # A difference of two runs can come out at nothing, which no logarithm has.
        points = [point for point in points if point[1] > 0]
        if points:
            items.append(svg.Line(contender["title"], points))
    about = ["server's CPU, µs per request", _origin(result, "both axes logarithmic")]
    return svg.lines(result["title"], about, result["axis"], items)


def _origin(result: Result, remark: str) -> str:
    rounds = result["settings"]["rounds"]
    return f"less is better; median of {rounds} rounds, {result['date']}; {remark}"
