"""Tells how far our servers are a drop-in for those of Tornado 3.2.2 and 6.6.1.

``python conformance/run.py`` fetches both, runs their tests with our server in the place of
their own, and sends 3.2.2's and ours the same requests. The status is 1 if anything differs
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
import tornado3
import tornado6
import wire

_BUILD = Path(__file__).resolve().parent.parent / "build" / "conformance"
# What runs each part, which Tornado it needs, and whether on Python 3.11 only, the last one that
# Tornado 3.2.2 runs on.
_PARTS = {
    "suite": (tornado3.run, fetch.fetch, True),
    "wire": (wire.run, fetch.fetch, True),
    "tornado6": (tornado6.run, fetch.fetch_6, False),
}


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[2])
    parser.add_argument(
        "--only",
        choices=_PARTS,
        help="suite, tornado6: the own tests of Tornado 3.2.2 and 6.6.1; wire: the differential "
        "test (default: all)",
    )
    only = parser.parse_args().only
    logs = _BUILD / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    complaints = 0
    for part in [only] if only else _PARTS:
        run, fetch_tornado, needs_3_11 = _PARTS[part]
        if needs_3_11 and sys.version_info[:2] != (3, 11):
            version = "{}.{}".format(*sys.version_info)
            print(f"{part}: skipped. Tornado 3.2.2 does not run on Python {version}, but on 3.11:")
            print("make conformance PYTHON=python3.11 VENV=.venv-3.11\n")
            continue
        started = time.monotonic()
        try:
            tornado = fetch_tornado(_BUILD)
        except subprocess.SubprocessError as error:
            print(f"{part}: its Tornado could not be fetched: {error}")
            return 1
        path = os.pathsep.join(filter(None, [str(tornado), os.environ.get("PYTHONPATH")]))
        complaints += run({**os.environ, "PYTHONPATH": path}, logs)
        print(f"{part}: {time.monotonic() - started:.1f} s\n")
    if complaints:
        print(f"conformance: {complaints} complaints; what was logged is in {logs}")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
