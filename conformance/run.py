"""Tells how far our server is a drop-in for Tornado 3.2.2's.

``python conformance/run.py`` fetches Tornado 3.2.2, runs its tests with our server in the
place of its own, and sends both servers the same requests. The status is 1 if anything differs
that is not listed with a reason, or something listed no longer differs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import fetch
import suite
import wire

_BUILD = Path(__file__).resolve().parent.parent / "build" / "conformance"
_PARTS = {"suite": suite.run, "wire": wire.run}


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[2])
    parser.add_argument(
        "--only",
        choices=_PARTS,
        help="suite: Tornado's own tests; wire: the differential test (default: both)",
    )
    only = parser.parse_args().only
    if sys.version_info[:2] != (3, 11):
        version = "{}.{}".format(*sys.version_info)
        print(f"conformance: skipped. Tornado 3.2.2 does not run on Python {version}, but on 3.11:")
        print("make conformance PYTHON=python3.11 VENV=.venv-3.11")
        return 0
    try:
        tornado = fetch.fetch(_BUILD)
    except subprocess.SubprocessError as error:
        print(f"conformance: Tornado 3.2.2 could not be fetched: {error}")
        return 1
    logs = _BUILD / "logs"
    logs.mkdir(exist_ok=True)
    path = os.pathsep.join(filter(None, [str(tornado), os.environ.get("PYTHONPATH")]))
    complaints = 0
    for part in [only] if only else _PARTS:
        started = time.monotonic()
        complaints += _PARTS[part]({**os.environ, "PYTHONPATH": path}, logs)
        print(f"{part}: {time.monotonic() - started:.1f} s\n")
    if complaints:
        print(f"conformance: {complaints} complaints; what was logged is in {logs}")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
