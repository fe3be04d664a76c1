"""Installs the group ``bench-peers`` of pyproject.toml, and tells what could not be.

Each package is installed by itself, so that one that fails does not take the others along.
Its reason is kept in the environment, for the reports of the benchmarks.
"""

import importlib.util
import json
import re
import subprocess
import sys
import tomllib

from benchmarks.machine import PACKAGES_NOT_INSTALLED
from benchmarks.root import ROOT

__all__ = ["main"]

_DEBIAN_PACKAGES = {"bjoern": "libev-dev"}


def main() -> int:
    """Install what is missing; return the exit status, which is always 0."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    reasons = {}
    for requirement in groups["bench-peers"]:
        package = re.split(r"[^\w.-]", requirement)[0]
        if importlib.util.find_spec(package) is not None:
            continue
        print(f"installing {requirement}", flush=True)
        done = _pip("install", "--quiet", requirement)
        if done.returncode:
            reasons[package] = _reason(package, done.stdout + done.stderr)
            print(f"{package}: {reasons[package]}")
    # Some peers pin an older one; on the loop all contenders are to be the same.
    _pip("install", "--quiet", "--upgrade", "uvloop")
    PACKAGES_NOT_INSTALLED.write_text(json.dumps(reasons, indent=1))
    return 0


def _pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _reason(package: str, output: str) -> str:
    """The line of pip's output that says most, and what would help."""
    lines = re.findall(r"(?:fatal error: |ERROR: ).*", output)
    said = next((line for line in lines if line.startswith("fatal")), lines[-1] if lines else "?")
    hint = _DEBIAN_PACKAGES.get(package)
    return f"does not install: {said.strip()}" + (f" (Debian package {hint})" if hint else "")


if __name__ == "__main__":
    sys.exit(main())
