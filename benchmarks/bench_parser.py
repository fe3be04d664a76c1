"""Measures parsers: ns and instructions for each parser and request.

All parsers get the same bytes in one process and take turns; ``parser.json`` has the times.
Instructions, counted by callgrind in processes of their own, are in ``instructions.json``.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import instructions
from benchmarks.corpus import CORPUS
from benchmarks.lock import alone
from benchmarks.parsers import MODES, PARSERS, check, timer
from benchmarks.results import RESULTS, ResultFile, median

__all__ = ["CASES", "main"]

CASES = ("small", "browser", "forty", "chunked", "split", "attributes")
COUNTED = ("ours", "raw-llhttp", "httptools", "tornado", "ours-exchange", "limit-exchange")


def measure_times(rounds: int, seconds: float, path: Path) -> None:
    """Time every parser with every case; ``seconds`` is the length of one run."""
    settings = {"rounds": rounds, "seconds": seconds}
    about = {"title": "Parsing", "kind": "parser", "axis": None, "settings": settings}
    file = ResultFile(path, about)
    names = []
    for name, parser in PARSERS.items():
        reason = parser.missing() or _complaint(name)
        if reason is None:
            names.append(name)
        else:
            file.leave_out(name, reason)
            print(f"{name} is left out: {reason}")
    for case in CASES:
        for mode in MODES:
            runs = {
                name: timer(name, CORPUS[case], mode)
                for name in names
                if PARSERS[name].measures(CORPUS[case], mode)
            }
            if not runs:
                continue
            counts = {name: _count_for(run, seconds) for name, run in runs.items()}
            for turn in range(rounds):
                for name in list(runs) if turn % 2 == 0 else list(runs)[::-1]:
                    parser = PARSERS[name]
                    ns = runs[name](counts[name]) / counts[name] * 1e9
                    described = {"title": parser.title, "kind": parser.kind}
                    run = {"round": turn, "case": case, "mode": mode, "ns": ns}
                    file.add(name, described, run)
            figures = [
                f"{name} {median(file.data, name, 'ns', case=case, mode=mode):.0f}" for name in runs
            ]
            print(f"{case}, {MODES[mode]}, ns: {', '.join(figures)}", flush=True)
    file.write(complete=True)


def _complaint(name: str) -> str | None:
    """What keeps a parser from working; None if nothing does."""
    try:
        for case in CASES:
            if any(PARSERS[name].measures(CORPUS[case], mode) for mode in MODES):
                check(name, CORPUS[case])
    except Exception as error:  # it is not ours: anything may come out of it
        return f"{type(error).__name__}: {error}"
    return None


def _count_for(run: Callable[[int], float], seconds: float) -> int:
    """How many requests take that long; warms up on the way."""
    run(200)
    return max(50, int(seconds / (run(200) / 200)))


def count_instructions(path: Path) -> None:
    """Count instructions of those parsers for which the figure is worth its minutes."""
    about = {"title": "Instructions", "kind": "instructions", "axis": None}
    file = ResultFile(path, {**about, "settings": instructions.SETTINGS})
    reason = instructions.missing()
    for name in COUNTED:
        parser = PARSERS[name]
        why = reason or parser.missing()
        if why is not None:
            file.leave_out(name, why)
            print(f"{name} is not counted: {why}")
            continue
        cases = [
            (case, mode)
            for case in CASES
            for mode in parser.modes
            if parser.measures(CORPUS[case], mode)
        ]
        counts = instructions.count(name, cases)
        for (case, mode), number in counts.items():
            described = {"title": parser.title, "kind": parser.kind}
            file.add(name, described, {"case": case, "mode": mode, "instructions": number})
            print(f"{name}: {case}, {MODES[mode]}: {number:.0f} instructions", flush=True)
    file.write(complete=True)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    cpus = sorted(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_parser", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=0.03, help="of one run, %(default)s")
    parser.add_argument("--cpu", type=int, default=cpus[0], help="core, %(default)s")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, times only")
    options = parser.parse_args(arguments)
    if options.quick:
        options.rounds = min(options.rounds, 3)
    start = time.monotonic()
    os.sched_setaffinity(0, {options.cpu})
    with alone():
        measure_times(options.rounds, options.seconds, options.output / "parser.json")
    os.sched_setaffinity(0, cpus)
    if not options.quick:
        count_instructions(options.output / "instructions.json")
    print(f"parsers: {time.monotonic() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
