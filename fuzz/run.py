"""Fuzzes the parser for a given time, and tells what was reached.

First the properties of the test suite, with new random examples in every round; then
libFuzzer (``target.pyx``), quickly at first and then thoroughly. What was reached is
printed in the last line and written to ``build/fuzz/report.json``.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import seeds
from harness import BUILD, ROOT, Unavailable, build, environment

# The vectors about limits are longer; they are tests of their own. Short inputs are fast.
LONGEST = 2048
CORPUS = BUILD / "corpus"
FINDINGS = BUILD / "findings"
# Of the whole time.
FOR_PROPERTIES = 0.25
FOR_THOROUGH = 0.2
# Seconds below which the properties are left to `make test`: one round takes as many.
SHORT = 60

STATUS = re.compile(r"^#\d+\s+\w+\s+cov: (\d+) ft: (\d+) corp: (\d+)/", re.MULTILINE)
COUNTERS = re.compile(r"\((\d+) inline 8-bit counters\)")
EXECUTIONS = re.compile(r"^stat::number_of_executed_units: (\d+)", re.MULTILINE)


class Found(Exception):
    """Something is wrong with the parser; the output above tells what."""


def run_properties(seconds: float) -> dict[str, Any]:
    """Run every property of the suite over and over, each time with another seed."""
    begin = time.monotonic()
    rounds = 0
    while rounds == 0 or time.monotonic() - begin < seconds:
        seed = random.getrandbits(32)
        command = [sys.executable, "-m", "pytest", "-m", "hypothesis", "-q", "-x", "--no-header"]
        command += [f"--hypothesis-seed={seed}", "--hypothesis-profile=dev", "-p", "no:randomly"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            print(done.stdout, done.stderr, f"hypothesis seed {seed}", sep="\n")
            raise Found
        rounds += 1
    last = done.stdout.strip().splitlines()[-1]
    return {
        "rounds": rounds,
        "properties": int(re.findall(r"(\d+) passed", last)[0]),
        "seconds": round(time.monotonic() - begin),
    }


def run_libfuzzer(executable: Path, seconds: float, thorough: bool) -> dict[str, Any]:
    """Run libFuzzer from its corpus on; it adds to the corpus what reaches something new."""
    command: list[str | Path] = [
        executable,
        f"-max_total_time={max(1, round(seconds))}",
        f"-max_len={LONGEST}",
        f"-dict={ROOT / 'fuzz' / 'http.dict'}",
        f"-artifact_prefix={FINDINGS}/",
        "-timeout=10",
        "-rss_limit_mb=2048",
        "-reload=0",
        "-print_final_stats=1",
        CORPUS,
        BUILD / "seeds",
    ]
    more = {"FUZZ_THOROUGH": "1"} if thorough else {}
    begin = time.monotonic()
    done = subprocess.run(
        command, env={**environment(), **more}, capture_output=True, text=True, errors="replace"
    )
    if done.returncode:
        print(done.stderr[-20_000:])
        raise Found
    edges, features, inputs = map(int, STATUS.findall(done.stderr)[-1])
    return {
        "executions": int(EXECUTIONS.findall(done.stderr)[-1]),
        "seconds": round(time.monotonic() - begin),
        "edges": edges,
        # Most of them cannot be reached: the sanitizers' own, module set-up, responses.
        "edges_in_all": int(COUNTERS.findall(done.stderr)[0]),
        "features": features,
        "corpus": inputs,
    }


def main() -> None:
    """Run it all, or one input again."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--time", type=float, default=60, help="seconds, about")
    options.add_argument("--input", type=Path, help="run this one input again and stop")
    arguments = options.parse_args()
    report: dict[str, Any] = {"time": arguments.time, "findings": 0}
    try:
        executable = build()
    except Unavailable as error:
        executable = None
        print(f"libFuzzer is skipped: {error}")
        report["skipped"] = str(error)
    if arguments.input:
        if executable is None:
            sys.exit(1)
        data = arguments.input.read_bytes()
        print(f"limits {data[:1]!r}, bytes {data[1:]!r}")
        more = {"FUZZ_THOROUGH": "1"}
        command = [executable, arguments.input]
        sys.exit(subprocess.run(command, env={**environment(), **more}).returncode)

    FINDINGS.mkdir(parents=True, exist_ok=True)
    CORPUS.mkdir(parents=True, exist_ok=True)
    found = False
    try:
        seconds = arguments.time * (FOR_PROPERTIES if executable else 1)
        if executable and arguments.time < SHORT:
            seconds = 0
        else:
            report["properties"] = run_properties(seconds)
            print("properties:", report["properties"])
        if executable:
            report["seeds"] = seeds.write(BUILD / "seeds", LONGEST)
            seconds = arguments.time - seconds
            thorough = arguments.time * FOR_THOROUGH
            report["fast"] = run_libfuzzer(executable, seconds - thorough, thorough=False)
            print("fast:", report["fast"])
            report["thorough"] = run_libfuzzer(executable, thorough, thorough=True)
            print("thorough:", report["thorough"])
    except Found:
        found = True
    report["findings"] = len(list(FINDINGS.iterdir())) or int(found)
    BUILD.mkdir(parents=True, exist_ok=True)
    (BUILD / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    phases = [report[name] for name in ("fast", "thorough") if name in report]
    if phases:
        executions = sum(phase["executions"] for phase in phases)
        fast = report["fast"]
        print(
            f"fuzz: {executions} executions ({fast['executions'] // fast['seconds']}/s), "
            f"{phases[-1]['edges']} edges, "
            f"{phases[-1]['features']} features, {report['findings']} findings"
        )
    if report["findings"]:
        sys.exit(
            f"make fuzz INPUT={FINDINGS}/... runs a finding again. Make it a vector in "
            "tests/conformance, and remove the file when it is fixed."
        )


if __name__ == "__main__":
    main()
