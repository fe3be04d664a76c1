"""Runs one of Tornado's test modules; prints the outcome of each of its tests.

This runs in a process of its own, with Tornado 3.2.2 on the path:
``python suite_child.py MODULE stock|ours OUTPUT.json``.
"""

from __future__ import annotations

import importlib
import json
import logging
import sys
import unittest
import warnings
from pathlib import Path
from typing import Any

# The names under which Tornado 3.2.2 and its tests get at the server.
_PLACES = ("tornado.httpserver", "tornado.testing")


class Outcomes(unittest.TestResult):
    """What became of each test, by its name without the module's: outcome and explanation."""

    def __init__(self) -> None:
        super().__init__()
        self.tests: dict[str, tuple[str, str]] = {}

    def _note(self, test: unittest.TestCase, outcome: str, why: str = "") -> None:
        name = type(test).__name__
        if "<locals>" in type(test).__qualname__:  # made by a function, all with one name
            name += f"({type(test).__bases__[0].__name__})"
        method = test.id().rpartition(".")[2]
        before = self.tests.get(f"{name}.{method}", ("", ""))[1]
        self.tests[f"{name}.{method}"] = outcome, before + why

    def addSuccess(self, test: unittest.TestCase) -> None:
        self._note(test, "passed")

    # unittest's own way to words, which its types leave out as private.
    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        self._note(test, "failed", self._exc_info_to_string(err, test))  # type: ignore[attr-defined]

    addError = addFailure

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:
        if err is not None:
            what = subtest.id().removeprefix(test.id())
            self._note(test, "failed", f"{what} {self._exc_info_to_string(err, test)}")  # type: ignore[attr-defined]

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        self._note(test, "skipped", reason)


class Relay(logging.Handler):
    """Passes our log records to Tornado's logger of the same kind, where its tests look."""

    def emit(self, record: logging.LogRecord) -> None:
        kind = record.name.rpartition(".")[2]
        logging.getLogger(f"tornado.{kind}").handle(record)


def substitute(module: Any) -> dict[str, int]:
    """Put our server in the place of Tornado's; return counts of what it is used for."""
    from fasthttpserver.httpserver import HTTPServer

    counts = {"servers": 0, "connections": 0}

    class CountingServer(HTTPServer):
        def __init__(self, *args: Any, **options: Any) -> None:
            # Tornado 3's tests send HTTP/1.1 without Host.
            super().__init__(*args, require_host=False, **options)
            counts["servers"] += 1

        def handle_stream(self, stream: Any, address: Any) -> None:
            counts["connections"] += 1
            super().handle_stream(stream, address)

    inherited = [cls for cls in CountingServer.__mro__ if cls.__module__.startswith("tornado")]
    assert not inherited, f"our server has classes of Tornado's: {inherited}"
    for place in [*map(importlib.import_module, _PLACES), module]:
        if hasattr(place, "HTTPServer"):
            place.HTTPServer = CountingServer
    logger = logging.getLogger("fasthttpserver")
    logger.addHandler(Relay())
    logger.propagate = False
    return counts


def main(name: str, which: str, output: str) -> None:
    """Run one module with one of the servers."""
    logging.basicConfig(level=logging.INFO)  # some tests look for lines of that level
    warnings.simplefilter("ignore")  # of ten years of deprecations
    ioloop = importlib.import_module("tornado.ioloop")
    # So that client, handlers and either server share an asyncio loop.
    ioloop.IOLoop.configure("tornado.platform.asyncio.AsyncIOLoop")
    module = importlib.import_module(f"tornado.test.{name}")
    counts = substitute(module) if which == "ours" else {}
    outcomes = Outcomes()
    unittest.defaultTestLoader.loadTestsFromModule(module).run(outcomes)
    Path(output).write_text(json.dumps({"tests": outcomes.tests, "counts": counts}))


if __name__ == "__main__":
    main(*sys.argv[1:])
