"""How our server differs from Tornado's over Tornado 3.2.2's own tests.

Each module runs in two processes, ``suite_child.py``: first with Tornado's own HTTPServer,
which says what can pass at all today, then with ours. What passes only with Tornado's has to
be in ``DIFFERENCES``, and what is there has to fail with ours.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

__all__ = ["DIFFERENCES", "run"]

_CHILD = Path(__file__).parent / "suite_child.py"
_TIMEOUT = 60

# The modules that need a server, and how many of their tests have to pass with Tornado's own,
# lest a broken baseline make everything look well: all but those of the cookie jar's order
# (test_clear_all_cookies, twice), a skipped one, and one that needs IPv6.
_MODULES = {
    "httpserver_test": 39,
    "web_test": 116,
    "wsgi_test": 92,
    "simple_httpclient_test": 61,
    "websocket_test": 9,
}


class Difference(NamedTuple):
    """How a test fails with our server: a part of the explanation, and the reason.

    The number is that of the difference in docs/migrating.md.
    """

    failure: str
    why: str


DIFFERENCES: dict[str, dict[str, Difference]] = {
    "httpserver_test": {
        "HTTPServerRawTest.test_malformed_first_line": Difference(
            "did not get expected log message",
            "48: wants 'Malformed HTTP request line' in the log; we log what is wrong with it",
        ),
        "HTTPServerRawTest.test_malformed_headers": Difference(
            "did not get expected log message",
            "48: wants 'Malformed HTTP headers' in the log; we log what is wrong with them",
        ),
        "UnixSocketTest.test_unix_socket_bad_request": Difference(
            "b'HTTP/1.1 400 Bad Request",
            "9: wants no answer to a malformed request; we answer 400",
        ),
    },
    "web_test": {
        "CookieTest.test_cookie_special_char": Difference(
            """b'"a' != b'a;b'""",
            "21: wants a quoted semicolon in a cookie; browsers end the value there",
        ),
    },
}


@dataclass
class Result:
    """One run of one module: outcomes by test, and how often our server was used."""

    tests: dict[str, tuple[str, str]]
    counts: dict[str, int]

    def passed(self) -> set[str]:
        """The names of the tests that passed."""
        return {name for name, (outcome, _) in self.tests.items() if outcome == "passed"}


def _run_module(module: str, which: str, environment: dict[str, str], logs: Path) -> Result:
    output = logs / f"{module}.{which}.json"
    output.unlink(missing_ok=True)
    with (logs / f"{module}.{which}.log").open("wb") as log:
        command = [sys.executable, str(_CHILD), module, which, str(output)]
        subprocess.run(
            command, env=environment, stdout=log, stderr=log, timeout=_TIMEOUT, check=True
        )
    return Result(**json.loads(output.read_text()))


def _complaints(module: str, stock: Result, ours: Result) -> list[str]:
    expected = DIFFERENCES.get(module, {})
    complaints = []
    if len(stock.passed()) < _MODULES[module]:
        bad = sorted(stock.tests.keys() - stock.passed())
        complaints.append(
            f"{module}: only {len(stock.passed())} of {_MODULES[module]} pass with Tornado's own"
            f" server, so there is nothing to compare with: {', '.join(bad)}"
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


def run(environment: dict[str, str], logs: Path) -> int:
    """Run all modules, print a table and return the number of complaints.

    Args:
        environment: For the processes, with Tornado 3.2.2 and our package on the path.
        logs: A directory for what they print and log.
    """
    print(f"{'':24}   run  passed  passed  expected  unex-   connections")
    print(f"{'Tornado 3.2.2':24}         stock    ours    differ  pected  to ours")
    complaints: list[str] = []
    for module in _MODULES:
        try:
            stock, ours = (
                _run_module(module, which, environment, logs) for which in ("stock", "ours")
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            complaints.append(f"{module}: {error}; see {logs / module}.*.log")
            continue
        found = _complaints(module, stock, ours)
        complaints += found
        print(
            f"{module:24} {len(stock.tests):5} {len(stock.passed()):7} {len(ours.passed()):7}"
            f" {len(DIFFERENCES.get(module, {})):9} {len(found):7}"
            f" {ours.counts.get('connections', 0):9}"
        )
    for module, differences in DIFFERENCES.items():
        for name, difference in differences.items():
            print(f"  expected: {module} {name}\n    {difference.why}")
    for complaint in complaints:
        print(f"  UNEXPECTED: {complaint}")
    return len(complaints)
