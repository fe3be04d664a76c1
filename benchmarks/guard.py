"""Fails when the parser takes more instructions than the recorded bounds allow.

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

__all__ = ["environment", "main"]

BOUNDS = Path(__file__).parent / "instruction_bounds.json"
# What a compiler's or a libc's next minor version may add without anybody's fault.
SLACK = 0.10
CASES = ("small", "browser", "forty", "chunked", "split")
# What is guarded: parsers and modes of parsers.py.
MEASURES = {
    "request": ("ours", "request"),
    "headers": ("ours", "headers"),
    "exchange": ("ours-exchange", "exchange"),
    "respond": ("ours-respond", "exchange"),
    "access log": ("ours-logged", "exchange"),
}


def environment() -> str:
    """Return what the counts depend on, as one key.

    valgrind shows every program the same processor, but for AVX2, which the C library's
    memory and string functions use where they find it; so the model does not matter.
    """
    python = f"{platform.python_implementation()} {'.'.join(platform.python_version_tuple()[:2])}"
    build = "PGO" if machine.built_with_pgo() else "no PGO"
    avx2 = "AVX2" if machine.has_cpu_flag("avx2") else "no AVX2"
    return ", ".join([python, build, platform.machine(), avx2])


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
    for label, (parser_name, mode) in MEASURES.items():
        counts = instructions.count(parser_name, [(case, mode) for case in CASES])
        named |= {f"{case}, {label}": round(number) for (case, _), number in counts.items()}
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
