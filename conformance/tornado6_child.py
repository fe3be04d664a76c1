"""Runs one of Tornado 6.6.1's test modules, as strictly as its own runner does.

This runs in a process of its own, with that Tornado on the path:
``python tornado6_child.py MODULE stock|ours OUTPUT.json asyncio|uvloop``. Warnings are errors, and
beside the tests there are two more: that nothing was logged, and nothing written to stderr, by
anybody but a test that failed.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import io
import json
import logging
import sys
import unittest
import warnings
from pathlib import Path
from typing import Any

from suite_child import Outcomes


class Stray(logging.Handler):
    """Keeps what is logged outside of the tests that expect it."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


def substitute() -> list[Any]:
    """Install our server; return a list of those that are made."""
    from fasthttpserver import tornado

    servers: list[Any] = []

    class CountedServer(tornado.HTTPServer):
        def initialize(self, *args: Any, **options: Any) -> None:
            super().initialize(*args, **options)
            servers.append(self)

    tornado.install()
    importlib.import_module("tornado.httpserver").HTTPServer.configure(CountedServer)
    return servers


def be_strict() -> None:
    """Make errors of warnings, as Tornado's runner does."""
    warnings.filterwarnings("error")
    for category in ImportWarning, DeprecationWarning, PendingDeprecationWarning:
        warnings.filterwarnings("ignore", category=category)
    for category in DeprecationWarning, PendingDeprecationWarning:
        warnings.filterwarnings("error", category=category, module=r"tornado\..*")


def main(name: str, which: str, output: str, loop: str) -> None:
    """Run one module with one of the servers on one kind of loop."""
    if loop == "uvloop":
        uvloop = importlib.import_module("uvloop")
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    be_strict()
    logging.getLogger("tornado.access").setLevel(logging.CRITICAL)
    stray = Stray()
    logging.getLogger().addHandler(stray)
    errors, sys.stderr = sys.stderr, io.StringIO()
    module = importlib.import_module(f"tornado.test.{name}")
    servers = substitute() if which == "ours" else []
    outcomes = Outcomes()
    unittest.defaultTestLoader.loadTestsFromModule(module).run(outcomes)
    stats = [server.engine.stats() for server in servers]
    gc.collect()  # what was left open says so now
    written, sys.stderr = sys.stderr.getvalue(), errors
    for what, text in ("logged", "\n".join(stray.lines)), ("written to stderr", written):
        outcomes.tests[f"nothing was {what}"] = "failed" if text else "passed", text
    counts = {
        "servers": len(servers),
        "connections": sum(each["connections"]["accepted"] for each in stats),
    }
    Path(output).write_text(json.dumps({"tests": outcomes.tests, "counts": counts}))


if __name__ == "__main__":
    main(*sys.argv[1:])
