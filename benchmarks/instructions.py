"""Counts the instructions that a parser, or all of our layers, take for each request.

Times differ from run to run, instruction counts hardly do. The parser runs under callgrind
with fixed hash seeds. Each case runs with two numbers of requests; the difference of the
counts by the difference of the numbers is what one request takes, without the loop's start.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.compiling import library
from benchmarks.corpus import CORPUS
from benchmarks.parsers import timer
from benchmarks.root import ROOT

__all__ = ["SETTINGS", "Case", "count", "missing"]

Case = tuple[str, str]  # a name of the corpus, a mode of parsers.py

_FEW, _MANY = 100, 600
SETTINGS = {"requests": [_FEW, _MANY], "PYTHONHASHSEED": 0}
_HEADER = Path("/usr/include/valgrind/callgrind.h")


def missing() -> str | None:
    """Say why nothing can be counted here; None if it can."""
    if shutil.which("valgrind") is None or not _HEADER.exists():
        return "valgrind is not installed (Debian package valgrind)"
    return None


def count(parser: str, cases: list[Case]) -> dict[Case, float]:
    """Count the instructions that one request of each case takes."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/out"]
        command += [sys.executable, "-m", "benchmarks.instructions", parser]
        done = subprocess.run(
            [*command, *(":".join(case) for case in cases)],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": "0"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed: {done.stderr[-500:]}")
        totals = dict(_read_dump(path) for path in Path(folder).glob("out.*"))
    counts = {}
    for case in cases:
        few, many = (totals[f"{':'.join(case)}:{number}"] for number in (_FEW, _MANY))
        counts[case] = (many - few) / (_MANY - _FEW)
    return counts


def _read_dump(path: Path) -> tuple[str, int]:
    text = path.read_text()
    name = re.search(r"^desc: Trigger: Client Request: (.*)$", text, re.MULTILINE)
    total = re.search(r"^(?:summary|totals): (\d+)", text, re.MULTILINE)
    # The last dump is made at the end of the program and has no name.
    return name[1] if name else "", int(total[1]) if total else 0


def _run_under_callgrind(parser: str, cases: list[str]) -> None:
    dump = library([ROOT / "benchmarks" / "callgrind_dump.c"], []).dump
    for case in cases:
        name, mode = case.split(":")
        run = timer(parser, CORPUS[name], mode)
        run(_FEW)  # fills caches, and has the interpreter specialise its code
        dump(b"ignore")
        for number in (_FEW, _MANY):
            run(number)
            dump(f"{case}:{number}".encode())


if __name__ == "__main__":
    _run_under_callgrind(sys.argv[1], sys.argv[2:])
