"""How our server differs from Tornado's over Tornado's own tests.

Each module runs in two processes: first with Tornado's own HTTPServer, which says what can pass
at all today, then with ours. What passes only with Tornado's has to be among the differences of
the suite, and what is there has to fail with ours.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

__all__ = ["Difference", "Suite", "run"]

_TIMEOUT = 120


class Difference(NamedTuple):
    """How a test fails with our server: a part of the explanation, and the reason.

    The number is that of the difference in docs/migrating.md.
    """

    failure: str
    why: str


@dataclass
class Suite:
    """Tests of one version of Tornado.

    Args:
        title: Of the table.
        child: The program that runs a module; its arguments are the module, ``stock`` or
            ``ours``, where to write the result, and `arguments`.
        arguments: Further ones.
        modules: The modules that need a server, and how many of their tests have to pass with
            Tornado's own, lest a broken baseline make everything look well.
        differences: What fails with ours, by module and test.
    """

    title: str
    child: Path
    modules: dict[str, int]
    differences: dict[str, dict[str, Difference]]
    arguments: tuple[str, ...] = ()


@dataclass
class Result:
    """One run of one module: outcomes by test, and how often our server was used."""

    tests: dict[str, tuple[str, str]]
    counts: dict[str, int]

    def passed(self) -> set[str]:
        """The names of the tests that passed."""
        return {name for name, (outcome, _) in self.tests.items() if outcome == "passed"}


def _run_module(
    suite: Suite, module: str, which: str, environment: dict[str, str], logs: Path
) -> Result:
    output = logs / f"{module}.{which}.json"
    output.unlink(missing_ok=True)
    with (logs / f"{module}.{which}.log").open("wb") as log:
        command = [sys.executable, str(suite.child), module, which, str(output), *suite.arguments]
        subprocess.run(
            command, env=environment, stdout=log, stderr=log, timeout=_TIMEOUT, check=True
        )
    return Result(**json.loads(output.read_text()))


def _complaints(suite: Suite, module: str, stock: Result, ours: Result) -> list[str]:
    expected = suite.differences.get(module, {})
    complaints = []
    if len(stock.passed()) < suite.modules[module]:
        bad = sorted(stock.tests.keys() - stock.passed())
        complaints.append(
            f"{module}: only {len(stock.passed())} of {suite.modules[module]} pass with Tornado's"
            f" own server, so there is nothing to compare with: {', '.join(bad)}"
        )
    for name in sorted(stock.passed() - ours.passed()):
        outcome, why = ours.tests.get(name, ("missing", ""))
        if name in expected and expected[name].failure in why:
            continue
        lines = "".join(f"\n      {line}" for line in why.strip().splitlines()[-8:])
        complaints.append(f"{module} {name}: {outcome} with our server{lines}")
    for name in sorted(expected.keys() & ours.passed()):
        complaints.append(f"{module} {name}: expected difference no longer occurs")
    for name in sorted(expected.keys() - stock.passed()):
        complaints.append(f"{module} {name}: no such test passes with Tornado's own server")
    if not ours.counts.get("connections"):
        complaints.append(f"{module}: our server was not used at all")
    return complaints


def run(suite: Suite, environment: dict[str, str], logs: Path) -> int:
    """Run all modules, print a table and return the number of complaints.

    Args:
        suite: The tests.
        environment: For the processes, with that Tornado and our package on the path.
        logs: A directory for what they print and log.
    """
    print(f"{'':24}   run  passed  passed  expected  unex-   connections")
    print(f"{suite.title:24}         stock    ours    differ  pected  to ours")
    complaints: list[str] = []
    for module in suite.modules:
        try:
            for _ in range(2):  # a busy machine is too slow for some of Tornado's tests
                stock, ours = (
                    _run_module(suite, module, which, environment, logs)
                    for which in ("stock", "ours")
                )
                found = _complaints(suite, module, stock, ours)
                if not found:
                    break
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            complaints.append(f"{module}: {error}; see {logs / module}.*.log")
            continue
        complaints += found
        print(
            f"{module:24} {len(stock.tests):5} {len(stock.passed()):7} {len(ours.passed()):7}"
            f" {len(suite.differences.get(module, {})):9} {len(found):7}"
            f" {ours.counts.get('connections', 0):9}"
        )
    for module, differences in suite.differences.items():
        for name, difference in differences.items():
            print(f"  expected: {module} {name}\n    {difference.why}")
    for complaint in complaints:
        print(f"  UNEXPECTED: {complaint}")
    return len(complaints)
