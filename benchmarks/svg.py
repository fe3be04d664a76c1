"""Drawings of labels and numbers, as SVG."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

__all__ = ["COLOURS", "Bar", "Line", "bars", "lines"]

COLOURS = {"ours": "#0a7d4f", "limit": "#8a8f98", "peer": "#4a78c8", "reference": "#b8862b"}
_LINE_COLOURS = ("#0a7d4f", "#5fc49a", "#8a8f98", "#c0392b", "#4a78c8", "#b8862b", "#7d4ab8")
_INK, _FAINT = "#1f2328", "#d7dade"
_FONT = "font-family=\"'DejaVu Sans', Verdana, sans-serif\""


@dataclass(frozen=True)
class Bar:
    """One bar, with the least and the largest of its runs."""

    label: str
    value: float
    low: float
    high: float
    kind: str


@dataclass(frozen=True)
class Line:
    """One line: x and y of its points."""

    label: str
    points: Sequence[tuple[float, float]]


def bars(title: str, about: list[str], items: Sequence[Bar]) -> str:
    """Draw horizontal bars from zero, in the order given, values in figures after them.

    A bar that would make the others too small to see is cut, which a gap in it shows.
    """
    if not items:
        return ""
    left, width, top, step = 236, 400, 76, 24
    highs = sorted(item.high for item in items)
    longest = highs[-1] if highs[-1] < 5 * highs[len(highs) * 4 // 5 - 1] else 1.25 * highs[-2]
    scale = width / (longest or 1.0)
    parts = []
    for number, item in enumerate(items):
        y = top + number * step
        value, low, high = (
            left + min(longest, figure) * scale for figure in (item.value, item.low, item.high)
        )
        weight = ' font-weight="bold"' if item.kind == "ours" else ""
        parts += [
            _text(left - 8, y + 12, item.label, "end", extra=weight),
            f'<rect x="{left}" y="{y}" width="{max(1, value - left):.1f}" height="16" '
            f'fill="{COLOURS[item.kind]}"/>',
            # The spread, from the least to the largest.
            _stroke(low, y + 8, high, y + 8),
            _stroke(low, y + 4, low, y + 12),
            _stroke(high, y + 4, high, y + 12),
            _text(high + 8, y + 12, _figure(item.value), extra=weight),
        ]
        if item.value > longest:
            parts.append(f'<path d="M{value - 30:.1f} {y + 17} l8 -18 h7 l-8 18 z" fill="#fff"/>')
    legend_y = top + len(items) * step + 18
    parts += _legend(left, legend_y, [item.kind for item in items])
    return _drawing(740, legend_y + 14, title, about, parts)


def lines(title: str, about: list[str], axis: str, items: Sequence[Line]) -> str:
    """Draw lines on two logarithmic axes, each with its name at its right end."""
    if not items:
        return ""
    left, right, top, bottom = 64, 540, 80, 358
    xs = [x for item in items for x, _ in item.points]
    ys = [y for item in items for _, y in item.points]
    to_x = _logarithmic(min(xs), max(xs), left, right)
    y_ticks = _ticks(min(ys), max(ys))
    to_y = _logarithmic(y_ticks[0], y_ticks[-1], bottom, top)
    parts = []
    for y in y_ticks:
        parts.append(_stroke(left, to_y(y), right, to_y(y), _FAINT))
        parts.append(_text(left - 8, to_y(y) + 4, _figure(y), "end"))
    for x in sorted(set(xs)):
        parts.append(_stroke(to_x(x), bottom, to_x(x), bottom + 5))
        parts.append(_text(to_x(x), bottom + 20, _short(x), "middle"))
    parts.append(_text((left + right) / 2, bottom + 42, axis, "middle"))
    label_ys = _apart([to_y(item.points[-1][1]) for item in items], 16)
    for number, item in enumerate(items):
        colour = _LINE_COLOURS[number % len(_LINE_COLOURS)]
        way = " ".join(f"{to_x(x):.1f},{to_y(y):.1f}" for x, y in item.points)
        parts.append(f'<polyline points="{way}" fill="none" stroke="{colour}" stroke-width="2.2"/>')
        for x, y in item.points:
            parts.append(f'<circle cx="{to_x(x):.1f}" cy="{to_y(y):.1f}" r="3" fill="{colour}"/>')
        parts.append(
            _stroke(to_x(item.points[-1][0]) + 4, to_y(item.points[-1][1]), right + 14,
                    label_ys[number], _FAINT)
        )  # fmt: skip
        parts.append(_text(right + 18, label_ys[number] + 4, item.label, colour=colour))
    return _drawing(740, bottom + 56, title, about, parts)


def _drawing(width: float, height: float, title: str, about: list[str], parts: list[str]) -> str:
    # A white ground of its own: the text is dark, whatever the page around it is.
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" role="img" {_FONT} font-size="12.5">',
            f"<title>{escape(title)}</title>",
            f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
            _text(16, 24, title, extra=' font-size="15" font-weight="bold"'),
            *(_text(16, 43 + 17 * n, line, colour="#57606a") for n, line in enumerate(about)),
            *parts,
            "</svg>\n",
        ]
    )


def _text(
    x: float, y: float, text: str, anchor: str = "start", colour: str = _INK, extra: str = ""
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"{extra}>'
        f"{escape(text)}</text>"
    )


def _stroke(x1: float, y1: float, x2: float, y2: float, colour: str = _INK) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
        'stroke-width="1"/>'
    )


def _legend(x: float, y: float, kinds: list[str]) -> list[str]:
    parts = []
    for kind in (kind for kind in COLOURS if kind in kinds):
        parts.append(f'<rect x="{x}" y="{y - 10}" width="11" height="11" fill="{COLOURS[kind]}"/>')
        parts.append(_text(x + 16, y, kind, colour="#57606a"))
        x += 100
    return parts


def _logarithmic(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """A function from a value between low and high to a place between start and end."""
    span = math.log(high / low) or 1.0
    return lambda value: start + (end - start) * math.log(value / low) / span


def _ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten, from the last below low to the first above high."""
    steps = [m * 10.0**e for e in range(-4, 9) for m in (1, 2, 5)]
    first = max(step for step in steps if step <= low)
    last = min(step for step in steps if step >= high)
    return [step for step in steps if first <= step <= last]


def _apart(places: list[float], distance: float) -> list[float]:
    """The same places, moved down as far as needed to be that far from each other."""
    moved = list(places)
    order = sorted(range(len(places)), key=places.__getitem__)
    for above, below in zip(order, order[1:], strict=False):
        moved[below] = max(moved[below], moved[above] + distance)
    return moved


def _figure(value: float) -> str:
    """Three digits that say something."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 1 else f"{value:.2g}"


def _short(value: float) -> str:
    """A size or a count on an axis."""
    if value >= 2**20:
        return f"{value / 2**20:g} Mi"
    return f"{value / 1024:g} Ki" if value >= 1024 and value % 1024 == 0 else f"{value:g}"
