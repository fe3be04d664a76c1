"""The plots of one result file, by matplotlib.

They have a white ground of their own, so that they read the same on a light and a dark page, and
the same results give the same bytes.
"""

import io
import math
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from benchmarks.results import median, ranked, spread

__all__ = ["DRAWN", "drawings"]

Result = dict[str, Any]
# What is drawn: the shape, its figure, and what stands below it.
DRAWN = {
    "small": ("paced_cpu_us", "server's CPU, µs per request, all asked at the same rate"),
    "connect": ("cpu_us", "server's CPU, µs per connection, at saturation"),
    "curve-body": ("cpu_us", "server's CPU, µs per request"),
    "curve-connections": ("cpu_us", "server's CPU, µs per request"),
}
# A bar is no longer than so many of the median: else the others would be too small to see.
_CUT = 4
_COLOURS = {"ours": "#0a7d4f", "limit": "#8a8f98", "peer": "#4a78c8", "reference": "#b8862b"}
_LINE_COLOURS = ("#5fc49a", "#0a7d4f", "#8a8f98", "#4a78c8", "#b8862b", "#7d4ab8")
_STYLE = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "figure.facecolor": "white",
    "font.size": 9,
    # Text stays text, which is smaller and can be searched for.
    "svg.fonttype": "none",
    "svg.hashsalt": "fasthttpserver",
}


def drawings(name: str, result: Result) -> dict[str, str]:
    """Return the drawing of a result by its file's name; nothing for what a table tells better."""
    if name not in DRAWN:
        return {}
    with mpl.rc_context(_STYLE):
        figure = _curve(name, result) if result["axis"] is not None else _bars(name, result)
        if figure is None:
            return {}
        text = io.StringIO()
        # Without the date, which is in the drawing, and without the version of matplotlib.
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return {f"{name}.svg": text.getvalue()}


def _bars(name: str, result: Result) -> Figure | None:
    key, unit = DRAWN[name]
    names = ranked(result, key)
    if not names:
        return None
    figure, axes = _axes(result, 0.9 + 0.24 * len(names))
    values = [median(result, each, key) or 0.0 for each in names]
    longest = min(max(values), _CUT * values[len(values) // 2])
    kinds = [result["contenders"][each]["kind"] for each in names]
    axes.barh(
        range(len(names)),
        [min(value, longest) for value in values],
        color=[_COLOURS[kind] for kind in kinds],
    )
    for place, (each, value) in enumerate(zip(names, values, strict=True)):
        low, high = spread(result, each, key) or (value, value)
        if value <= longest:
            axes.plot([low, high], [place, place], color="black", linewidth=0.8)
        more = " …" if value > longest else ""
        end = max(value, high) if value <= longest else longest
        axes.text(end, place, f"{more} {value:.1f}", va="center")
    axes.set_yticks(range(len(names)), [result["contenders"][each]["title"] for each in names])
    axes.invert_yaxis()
    axes.set_xlim(0, longest * 1.15)
    axes.set_xlabel(f"{unit}\n{_origin(result)}; line: least to largest")
    axes.legend(
        handles=[Patch(color=_COLOURS[kind], label=kind) for kind in dict.fromkeys(kinds)],
        loc="upper right",  # the cheapest are there
        frameon=False,
    )
    return figure


def _curve(name: str, result: Result) -> Figure | None:
    key, unit = DRAWN[name]
    figure, axes = _axes(result, 3.6)
    ticks = sorted({run["x"] for each in result["contenders"].values() for run in each["runs"]})
    for colour, each in zip(_LINE_COLOURS, result["contenders"], strict=False):
        ys = [median(result, each, key, x=x) or 0.0 for x in ticks]
        # A difference of two runs can come out at nothing, which no logarithm has.
        shown = [y if y > 0 else math.nan for y in ys]
        axes.plot(ticks, shown, marker="o", color=colour, label=result["contenders"][each]["title"])
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(ticks, [f"{x:,}" for x in ticks])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.grid(axis="y", color="#d7dade")
    axes.set_xlabel(f"{result['axis']}\n{_origin(result)}; both axes are logarithmic")
    axes.set_ylabel(unit)
    axes.legend(frameon=False)
    return figure


def _axes(result: Result, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.4, height), layout="constrained")
    axes = figure.subplots()
    axes.set_title(result["title"])
    return figure, axes


def _origin(result: Result) -> str:
    rounds = result["settings"]["rounds"]
    return f"less is better; median of {rounds} rounds, {result['date']}"
