"""Fails when a request takes more instructions than the recorded bounds allow.

``python -m benchmarks.guard`` checks, ``python -m benchmarks.guard write`` records. Bounds
are good for the Python version, the kind of build and the processor that they were recorded
on: all of them change how many instructions the same source takes.
"""

import argparse
import json
import platform
import sys
from pathlib import Path

from benchmarks import instructions, machine
from benchmarks.parsers import PARSERS

__all__ = ["environment", "main"]

BOUNDS = Path(__file__).parent / "instruction_bounds.json"
# What a compiler's or a libc's next minor version may add without anybody's fault.
SLACK = 0.10
_PARSED = ("small", "browser", "forty", "chunked", "split")
# What is counted: names of parsers.py, to cases and modes.
COUNTED: dict[str, list[instructions.Case]] = {
    "ours": [
        *((case, mode) for mode in ("request", "headers") for case in _PARSED),
        ("attributes", "attributes"),
    ],
    "ours-exchange": [(case, "exchange") for case in (*_PARSED, "form", "pipelined")],
    "ours-respond": [(case, "exchange") for case in _PARSED],
    "ours-logged": [("small", "exchange")],
    "ours-coroutine": [("small", "whole")],
    "ours-connect": [("closing", "whole")],
    "ours-tls": [("small", "whole")],
    "ours-asgi": [("small", "whole")],
    "ours-wsgi": [("small", "whole")],
    "ours-tornado": [("small", "whole")],
}


def environment() -> str:
    """Return what the counts depend on, as one key.

    valgrind shows every program the same processor, but for AVX2, which the C library's
    memory and string functions use where they find it; so the model does not matter.
    """
    python = f"{platform.python_implementation()} {'.'.join(platform.python_version_tuple()[:2])}"
    avx2 = "AVX2" if machine.has_cpu_flag("avx2") else "no AVX2"
    return ", ".join([python, machine.python_build(), platform.machine(), avx2])


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guard", description=__doc__)
    parser.add_argument("verb", choices=["check", "write"], nargs="?", default="check")
    verb = parser.parse_args(arguments).verb
    recorded = json.loads(BOUNDS.read_text()) if BOUNDS.exists() else {}
    here = environment()
    reason = instructions.missing()
    if reason is None and verb == "check" and here not in recorded:
        reason = f"bounds are recorded for {'; '.join(recorded) or 'nothing'}; this is {here}"
    if reason is not None:
        print(f"instruction guard skipped: {reason}")
        return 0 if verb == "check" else 1
    named = {}
    for name, cases in COUNTED.items():
        reason = PARSERS[name].missing()
        if reason is not None:
            print(f"{name} is not counted: {reason}")
            continue
        for (case, mode), number in instructions.count(name, cases).items():
            kind = mode if name == "ours" else name.removeprefix("ours-")
            named[f"{case}, {kind}"] = round(number)
    if verb == "check":
        return _check(named, recorded[here]["bounds"])
    recorded[here] = {
        "recorded": machine.now(),
        "CPU": machine.cpu_model(),
        "versions": machine.build_versions(),
        "measured": named,
        "bounds": {name: round(number * (1 + SLACK)) for name, number in named.items()},
    }
    BOUNDS.write_text(json.dumps(dict(sorted(recorded.items())), indent=1) + "\n")
    print(f"{BOUNDS}: bounds for {here}")
    return 0


def _check(counts: dict[str, int], bounds: dict[str, int]) -> int:
    failed = 0
    for name, number in counts.items():
        bound = bounds.get(name)
        if bound is None:
            verdict = "has no bound"
        elif number > bound:
            verdict = "TOO MANY"
            failed = 1
        else:
            verdict = "ok"
        print(f"{name:20} {number:7} instructions/request, bound {bound or '-':>7}  {verdict}")
    if failed:
        print("If this is meant to be, record new bounds: python -m benchmarks.guard write")
    return failed


if __name__ == "__main__":
    sys.exit(main())
