"""Runs real programs that stand on Tornado 6, on its server and on ours.

``python conformance/apps/run.py`` makes an environment in ``build/conformance/apps``, with the
newest of each program. Jupyter Server and Flower run their own tests, first as they are and then
with ``installed.py`` as a plugin of pytest; what passes only with Tornado's server is a complaint.
``programs.py`` uses Bokeh's server and the dashboard of Dask, whose sdists have no tests. It is
no part of ``make conformance``: it takes half an hour and downloads a few hundred MiB.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import venv
import xml.etree.ElementTree as ElementTree
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_ROOT = _HERE.parents[1]
_BUILD = _ROOT / "build" / "conformance" / "apps"
_PYTHON = _BUILD / "venv" / "bin" / "python"
_NEEDED = [
    "aiohttp",
    "bokeh",
    "distributed",
    "flower",
    "jupyter_server[test]",
    "pytest-timeout",
    "tornado==6.6.1",
    "websockets",
]
# Whose sdists have their tests. The plugin for asyncio of pytest is not theirs.
_SUITES = ("flower", "jupyter_server")
_PYTEST = ["-m", "pytest", "tests", "-q", "-p", "no:cacheprovider", "-p", "no:asyncio"]


def _make_environment() -> None:
    if not _PYTHON.exists():
        venv.create(_BUILD / "venv", with_pip=True)
    _pip("install", "--quiet", *_NEEDED)


def _pip(*arguments: str) -> str:
    command = [str(_PYTHON), "-m", "pip", "--disable-pip-version-check", *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def _sources(name: str) -> Path:
    """Return the folder of the sdist of what is installed."""
    lines = [line for line in _pip("show", name).splitlines() if line.startswith("Version: ")]
    pattern = f"*{lines[0].removeprefix('Version: ')}"
    folder = _BUILD / name
    if not any(folder.glob(pattern)):
        _pip("download", "--quiet", "--no-deps", "--no-binary=:all:", f"--dest={folder}", name)
        for archive in folder.glob("*.tar.gz"):
            with tarfile.open(archive) as tar:
                tar.extractall(folder, filter="data")
    return next(path for path in folder.glob(pattern) if path.is_dir())


def _environment() -> dict[str, str]:
    paths = [str(_ROOT / "src"), str(_HERE)]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)}


def _passed(folder: Path, which: str) -> set[str]:
    """Run a program's own tests; return the names of those that pass."""
    report = _BUILD / f"{folder.name}.{which}.xml"
    report.unlink(missing_ok=True)
    plugin = ["-p", "installed"] if which == "ours" else []
    with (_BUILD / f"{folder.name}.{which}.log").open("wb") as log:
        command = [str(_PYTHON), *_PYTEST, *plugin, f"--junitxml={report}"]
        subprocess.run(command, cwd=folder, env=_environment(), stdout=log, stderr=log, check=False)
    if not report.exists():
        sys.exit(f"{folder.name}: its tests do not run at all; see {log.name}")
    cases = ElementTree.parse(report).iter("testcase")
    return {f"{case.get('classname')}.{case.get('name')}" for case in cases if len(case) == 0}


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[2])
    parser.add_argument("--only", choices=[*_SUITES, "programs"], help="default: all")
    only = parser.parse_args().only
    _BUILD.mkdir(parents=True, exist_ok=True)
    _make_environment()
    complaints = 0
    for name in [each for each in _SUITES if only in (None, each)]:
        folder = _sources(name)
        stock, ours = _passed(folder, "stock"), _passed(folder, "ours")
        print(f"{folder.name}: {len(stock)} tests pass on Tornado's server, {len(ours)} on ours")
        for test in sorted(stock - ours):
            print(f"  only on Tornado's: {test}")
            complaints += 1
    if only in (None, "programs"):
        command = [str(_PYTHON), str(_HERE / "programs.py")]
        complaints += subprocess.run(command, env=_environment(), check=False).returncode != 0
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
