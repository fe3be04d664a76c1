"""Markdown tables of the results of a shape, or of the parsers."""

from typing import Any

from benchmarks.corpus import CORPUS
from benchmarks.results import median, ranked, spread, total

__all__ = ["parser_table", "pythons_table", "rate_table", "shape_table", "table"]

Result = dict[str, Any]
# Beyond this share of its core the load generator is what bounds requests per second.
_GENERATOR_FULL = 0.97


def table(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table; all columns but the first to the right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *rows)) + "\n"


def shape_table(result: Result) -> str:
    """Return the table of a shape of the server benchmark."""
    if result["kind"] in ("upload", "download"):
        return _transfer_table(result)
    if result["kind"] == "idle":
        return _idle_table(result)
    if result["axis"] is not None:
        return _points_table(result)
    return _load_table(result)


def rate_table(result: Result) -> str:
    """Return the table of a shape at an equal rate, and who is not in it."""
    rows = [
        [
            _title(result, name),
            _with_spread(result, name, "paced_cpu_us", 2),
            *_user_and_system(result, name),
            *(_milliseconds(result, name, f"paced_{key}_us") for key in ("p50", "p99", "p999")),
        ]
        for name in ranked(result, "paced_cpu_us")
    ]
    head = ["", "CPU µs/request", "user", "system", "p50 ms", "p99 ms", "p99.9 ms"]
    missing = [
        f"{result['contenders'][name]['title']} ({reason})"
        for name, reason in {**result["behind"], **result["too_slow"]}.items()
        if median(result, name, "paced_cpu_us") is None
    ]
    note = f"\nToo slow for this rate, in requests/s: {'; '.join(missing)}.\n" if missing else ""
    return table(head, rows) + note


def _user_and_system(result: Result, name: str) -> list[str]:
    """How the CPU time divides; by the ticks of all runs, of which one has few."""
    ticks = [total(result, name, f"paced_{key}_ticks") for key in ("user", "system")]
    cpu_us = median(result, name, "paced_cpu_us") or 0.0
    return [_number(cpu_us * part / sum(ticks), 1) if sum(ticks) else "" for part in ticks]


def _idle_table(result: Result) -> str:
    rows = [
        [
            _title(result, name),
            _number(median(result, name, "kib_per_connection"), 2),
            f"{median(result, name, 'idle_core_percent') or 0:.2f} %",
            *(_number(median(result, name, key), 1) for key in ("alone_cpu_us", "cpu_us")),
            *(_milliseconds(result, name, key) for key in ("alone_p999_us", "p999_us")),
        ]
        for name in ranked(result, "kib_per_connection")
    ]
    head = ["", "KiB per connection", "of a core", "alone: µs/request", "beside: µs/request"]
    return table([*head, "alone: p99.9 ms", "beside: p99.9 ms"], rows)


def _load_table(result: Result) -> str:
    rows = []
    has_latency = any(
        "p50_us" in run for each in result["contenders"].values() for run in each["runs"]
    )
    for name in ranked(result, "cpu_us"):
        rate = f"{median(result, name, 'requests_per_second'):,.0f}"
        if (median(result, name, "load_cpu") or 0) > _GENERATOR_FULL:
            rate += " \\*"
        row = [_title(result, name), _with_spread(result, name, "cpu_us", 2), rate]
        if has_latency:
            row += [_milliseconds(result, name, key) for key in ("p50_us", "p99_us")]
        row.append(f"{(median(result, name, 'resident_kib') or 0) / 1024:.0f}")
        errors = sum(run["errors"] for run in result["contenders"][name]["runs"])
        row.append(str(errors) if errors else "")
        rows.append(row)
    latency = ["p50 ms", "p99 ms"] if has_latency else []
    head = ["", "CPU µs/request", "requests/s", *latency, "RSS MiB", "errors"]
    if not any(row[-1] for row in rows):
        head, rows = head[:-1], [row[:-1] for row in rows]
    return table(head, rows)


def _transfer_table(result: Result) -> str:
    rows = [
        [
            _title(result, name),
            _with_spread(result, name, "mib_per_second", 0),
            f"{(median(result, name, 'cpu_us') or 0) / 1000:.0f}",
            f"{(median(result, name, 'peak_kib') or 0) / 1024:.0f}",
        ]
        for name in ranked(result, "cpu_us")
    ]
    return table(["", "MiB/s", "CPU ms", "peak memory MiB"], rows)


def _points_table(result: Result) -> str:
    """CPU for each point of a curve, requests per second too where there are few points."""
    xs = sorted({run["x"] for each in result["contenders"].values() for run in each["runs"]})
    columns = [("cpu_us", "µs", 2)]
    if len(xs) <= 2:
        columns.append(("requests_per_second", "requests/s", 0))
    head = [result["axis"], *(f"{x:,}: {unit}" for _, unit, _ in columns for x in xs)]
    rows = [
        [
            _title(result, name),
            *(
                _number(median(result, name, key, x=x), digits)
                for key, _, digits in columns
                for x in xs
            ),
        ]
        for name in result["contenders"]
    ]
    return table(head, rows)


def pythons_table(results: list[Result]) -> str:
    """Return CPU per request of one shape, at an equal rate, with a column for each Python."""
    names = dict.fromkeys(name for result in results for name in result["contenders"])
    rows = []
    for name in names:
        row = [next(_title(r, name) for r in results if name in r["contenders"])]
        row += [_number(median(result, name, "paced_cpu_us"), 2) for result in results]
        rows.append(row)
    return table(["", *(result["versions"]["Python"] for result in results)], rows)


def parser_table(result: Result, key: str, mode: str) -> str:
    """Return the table of one figure of the parser benchmark, cases as columns."""
    runs = [run for each in result["contenders"].values() for run in each["runs"]]
    cases = list(dict.fromkeys(run["case"] for run in runs if run["mode"] == mode))
    rows = []
    for name in result["contenders"]:
        values = [median(result, name, key, case=case, mode=mode) for case in cases]
        if any(value is not None for value in values):
            rows.append([_title(result, name), *(_number(value, 0) for value in values)])
    return table(["", *(CORPUS[case].title for case in cases)], rows)


def _title(result: Result, name: str) -> str:
    contender = result["contenders"][name]
    mark = {"ours": "**", "limit": "*"}.get(contender["kind"], "")
    return f"{mark}{contender['title']}{mark}"


def _with_spread(result: Result, name: str, key: str, digits: int) -> str:
    low, high = spread(result, name, key) or (0.0, 0.0)
    middle = _number(median(result, name, key), digits)
    return f"{middle} ({_number(low, digits)} – {_number(high, digits)})"


def _milliseconds(result: Result, name: str, key: str) -> str:
    value = median(result, name, key)
    return "" if value is None else f"{value / 1000:.2f}"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"
