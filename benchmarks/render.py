"""Makes pages, plots, or text for a terminal, from result files.

The pages are docs/performance.md, and what stands between marks in README.md and
benchmarks/README.md.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from benchmarks.apps.options import HELLO
from benchmarks.goals import GOALS, Results
from benchmarks.parsers import MODES
from benchmarks.results import RESULTS, load_results
from benchmarks.root import ROOT
from benchmarks.shapes import IDLE_CONNECTIONS, IDLE_RATE, SHAPES, UPLOAD_SIZE
from benchmarks.tables import parser_table, pythons_table, rate_table, shape_table, table

__all__ = ["main"]

PAGE = ROOT / "docs" / "performance.md"
README = ROOT / "README.md"
GOALS_PAGE = ROOT / "benchmarks" / "README.md"

_HEAD = """\
<!-- Made by `make bench` from benchmarks/results/*.json. Every number comes from there. -->

# Performance

What one request costs, beside other servers and beside what the event loop costs by itself,
all measured in one run of `make bench`, on Python {python} and the machine
[named below](#machine-and-versions). Compare figures within a table; between machines, and
between runs, only ratios last.

Most requests are measured twice. **At an equal rate** every server gets the same requests at the
same times and has time to spare, as servers in use have; what is left to differ is what a
request costs. **At saturation** each gets as many as it can take, which tells how many that
is, but also lets a fast one read many requests in one turn of its loop.

How to run it, and what is what: [benchmarks/README.md](../benchmarks/README.md).
"""

_METHOD = """\
- Each server is one process pinned to one core, the load generator is pinned to another, with
  {connections} connections unless the table says otherwise. Load goes over the loopback
  interface.
- The rate is half of what the slowest compared server can do. Who can do less than a twelfth
  of what the fastest can is not compared, but where Tornado is what we compare with. Requests
  are sent at equal distances by `benchmarks/paced.c`, whether there are answers or not; latency
  counts from when a request was due. It never sleeps, so no server pays for waking it. User
  and system time divide the measured CPU time as the kernel's ticks saw it.
- Saturation is made by wrk with one thread.
- Contenders take turns: each is started, checked for a right answer, warmed up and measured
  for {seconds} s (some shapes less), then the next. There are {rounds} rounds, forth
  and back; one of idle connections, whose memory is the same each time. Figures are medians
  over the rounds, in parentheses the least and the largest.
- CPU is user and system time of the server's processes, from the operating system, by the
  number of requests. It is the figure to look at: how busy the machine is otherwise changes
  it less than the others. An asterisk after requests/s says that the generator's core was
  full, so the server could have done more.
- The limit is an asyncio Protocol that answers a constant and parses nothing, on the same
  loop: what the loop and the kernel take by themselves.
- Each contender answers in its natural form, with {hello} where nothing else is said. Access
  logs are off but where their cost is measured, when each writes its line to a file; the rest is as
  installed, save where `benchmarks/apps/` gives a reason.
- Bodies are received whole, and the answer is their size, which is checked. The limit and
  nginx answer a constant and drop the body.
- Memory of an idle connection is the growth of resident memory by {idle:,} connections that
  have had one answer each; *of a core* is what all of them take then. The active ones are asked
  for {idle_rate:,} requests/s, without any idle ones (*alone*) and *beside* them. Upload is one
  body of {upload} MiB; peak memory is what was resident at most, less what was before.
- In the curve over connections the making of the connections is left out: the figure is the
  difference of a longer and a shorter run.
- Parsers get the same bytes in one process, taking turns, {parser_rounds} rounds; ns are of
  CPU time. Instructions are counted by callgrind, for two numbers of requests; what is shown
  is the difference of the counts by the difference of the numbers.
"""

SECTIONS = {
    "Requests": (
        "small",
        "respond",
        "browser",
        "coroutine",
        "attributes",
        "logged",
        "delegate",
        "pipelined",
    ),
    "Bodies": ("form", "json", "large", "upload", "upload-streamed", "download"),
    "Connections": ("tls", "connect", "idle", "processes"),
    "Applications of Tornado 6": tuple(name for name in SHAPES if name.startswith("web-")),
    "WSGI applications": tuple(name for name in SHAPES if name.startswith("wsgi-")),
    "ASGI applications": tuple(name for name in SHAPES if name.startswith("asgi-")),
    "Cost as work grows": tuple(name for name in SHAPES if name.startswith("curve")),
}


def page(results: Results, pythons: list[dict[str, Any]], plots: str | None) -> str:
    """Return the page.

    Args:
        results: What it is made of.
        pythons: The small GET on other Pythons, measured by ``make bench-pythons``.
        plots: The way from the page to the drawings; None for a terminal, which shows none
            and where the method is known.
    """
    parts = []
    for section, names in SECTIONS.items():
        shapes = [_shape_section(name, results, plots) for name in names if name in results]
        if shapes:
            parts += [f"## {section}\n", *shapes]
    parts += _parser_sections(results, plots)
    if pythons:
        parts += ["## Other Pythons\n", _pythons(pythons)]
    if plots is None:
        return "\n".join([*parts, "## Goals\n", goals_table(results)])
    parts += ["## Not measured\n", _left_out(results), "## Method\n", _method(results)]
    head = _HEAD.format(python=_python(results))
    return "\n".join([head, *parts, "## Machine and versions\n", _machine(results)])


def goals_table(results: Results) -> str:
    """Return the table of goals, measured figures beside them."""
    rows = []
    for goal in GOALS:
        verdicts = list(goal.judge(results))
        for number, verdict in enumerate(verdicts):
            first = [goal.what, goal.promise] if number == 0 else ["", ""]
            met = "yes" if verdict.met else "**no**"
            rows.append([*first, f"{verdict.what}: {verdict.measured}", met])
        if not verdicts:
            rows.append([goal.what, goal.promise, "not measured", ""])
    return table(["", "goal", "measured", "met"], rows).replace("---:", "---")


def _shape_section(name: str, results: Results, plots: str | None) -> str:
    result = results[name]
    parts = [f"### {result['title']}\n"]
    parts += _images(name, result, plots)
    if result["rate"] is not None:
        parts += [f"At an equal rate, {result['rate']:,.0f} requests/s:\n", rate_table(result)]
        parts.append("At saturation:\n")
    parts.append(shape_table(result))
    return "\n".join(parts)


def _images(name: str, result: dict[str, Any], plots: str | None) -> list[str]:
    if plots is None:
        return []
    from benchmarks.drawings import drawings  # a terminal needs no matplotlib

    # By reference, since docs/conf.py takes links out of docs/ for links to sources.
    return [
        f"![{result['title']}][{file}]\n\n[{file}]: {plots}/{file}\n"
        for file in drawings(name, result)
    ]


def _parser_sections(results: Results, plots: str | None) -> list[str]:
    parts = []
    if "parser" in results:
        parts.append("## Parser\n")
        parts += _parser_tables(results["parser"], "ns", "ns")
    if "instructions" in results:
        parts += _parser_tables(results["instructions"], "instructions", "Instructions")
    return parts


def _parser_tables(result: dict[str, Any], key: str, unit: str) -> list[str]:
    measured = {run["mode"] for each in result["contenders"].values() for run in each["runs"]}
    return [
        f"### {unit}, {words}\n\n{parser_table(result, key, mode)}"
        for mode, words in MODES.items()
        if mode in measured
    ]


def _pythons(results: list[dict[str, Any]]) -> str:
    rates = ", ".join(f"{rate:,.0f}" for rate in sorted({result["rate"] for result in results}))
    return (
        f"CPU µs of a small GET, {rates} of them a second; each column is a run of its own, with"
        f" an environment of its own (`make bench-pythons`).\n\n{pythons_table(results)}"
    )


def _left_out(results: Results) -> str:
    reasons: dict[tuple[str, str], list[str]] = {}
    for shape, result in results.items():
        for name, reason in result["left_out"].items():
            reasons.setdefault((name, reason), []).append(shape)
        if not result["complete"]:
            reasons.setdefault(("all", "not all rounds were run"), []).append(shape)
    if not reasons:
        return "Nothing was left out.\n"
    rows = [[name, reason, ", ".join(shapes)] for (name, reason), shapes in reasons.items()]
    return table(["contender", "reason", "shapes"], rows).replace("---:", "---")


def _method(results: Results) -> str:
    servers = [result for result in results.values() if "connections" in result["settings"]]
    parser = results.get("parser", {}).get("settings", {})
    return _METHOD.format(
        connections=max((r["settings"]["connections"] for r in servers), default="?"),
        seconds=max((r["settings"]["seconds"] for r in servers), default="?"),
        rounds=max((r["settings"].get("rounds", 0) for r in servers), default="?"),
        parser_rounds=parser.get("rounds", "?"),
        hello=f"{len(HELLO)} bytes",
        idle=IDLE_CONNECTIONS,
        idle_rate=IDLE_RATE,
        upload=UPLOAD_SIZE // 2**20,
    )


def _python(results: Results) -> str:
    """What ran everything; more than one if it changed between shapes."""
    return ", ".join(sorted({result["versions"]["Python"] for result in results.values()}))


def _machine(results: Results) -> str:
    """What was measured on; more than one line for a fact that changed between shapes."""
    facts: dict[str, set[str]] = {}
    for result in results.values():
        for name, value in {**result["machine"], **result["versions"]}.items():
            facts.setdefault(name, set()).add(value)
        facts.setdefault("sources measured (hash)", set()).add(result["source"])
    dates = sorted(result["date"] for result in results.values())
    facts["measured"] = {f"{dates[0]} to {dates[-1]}"}
    load = max(result["load_average"] for result in results.values())
    facts["load average before a shape, at most"] = {f"{load:.2f}"}
    steal = sum(result["steal_seconds"] for result in results.values())
    facts["CPU time that the hypervisor kept, all shapes"] = {f"{steal:.1f} s"}
    rows = [[name, ", ".join(sorted(values))] for name, values in facts.items()]
    return table(["", ""], rows).replace("---:", "---")


def fill(text: str, what: str, made: str) -> str:
    """Return a page with what was made in its place, between its two marks.

    Raises:
        ValueError: The page has no such marks.
    """
    begin, end = f"<!-- {what} -->\n", f"<!-- /{what} -->\n"
    head, found, rest = text.partition(begin)
    _, found_end, tail = rest.partition(end)
    if not (found and found_end):
        raise ValueError(f"there is no {begin.strip()} with its end")
    return f"{head}{begin}{made}{end}{tail}"


def readme_figures(results: Results) -> str:
    """Return what README.md shows: the small GET at an equal rate."""
    result = results["small"]
    return (
        f"One server process on one core, {result['settings']['connections']} connections, a small"
        f" GET, {result['rate']:,.0f} of them a second for each server; the limit is an asyncio"
        " protocol that answers without parsing. All shapes, saturation, and the machine:"
        " [docs/performance.md](docs/performance.md).\n\n"
        f"![{result['title']}](benchmarks/results/small.svg)\n\n{rate_table(result)}"
    )


def _write(results: Results, pythons: list[dict[str, Any]], folder: Path, page_path: Path) -> None:
    """Write all pages, and the drawings into the folder of the results."""
    from benchmarks.drawings import drawings  # a terminal needs no matplotlib

    for path in folder.glob("*.*"):
        if path.suffix == ".svg" or path.stem not in results:
            path.unlink()  # of what is drawn, or measured, no longer
    for name, result in results.items():
        for file, text in drawings(name, result).items():
            (folder / file).write_text(text)
    plots = Path(os.path.relpath(folder, page_path.parent)).as_posix()
    page_path.write_text(page(results, pythons, plots))
    GOALS_PAGE.write_text(fill(GOALS_PAGE.read_text(), "goals", goals_table(results)))
    if "small" in results and results["small"]["rate"] is not None:
        README.write_text(fill(README.read_text(), "benchmark-table", readme_figures(results)))


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.render", description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--page", type=Path, default=PAGE, help="default: docs/performance.md")
    parser.add_argument("--text", action="store_true", help="print the tables, write nothing")
    options = parser.parse_args(arguments)
    results = {
        name: result
        for name, result in load_results(options.results).items()
        # What is measured no longer, or was in another form, is of an older run.
        if (name in SHAPES or name in ("parser", "instructions")) and "rate" in result
    }
    pythons = [
        each["small"]
        for folder in sorted((options.results / "pythons").glob("*"))
        if "small" in (each := load_results(folder))
    ]
    if not results:
        print(f"no results in {options.results}: run make bench", file=sys.stderr)
        return 1
    if options.text:
        print(page(results, pythons, None))
        return 0
    _write(results, pythons, options.results, options.page)
    print(f"{options.page}, README.md, benchmarks/README.md; plots in {options.results}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
