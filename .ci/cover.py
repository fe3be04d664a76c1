"""Measures which lines of the package, Python and Cython, the tests run; `make coverage`.

It works on a copy of the tree in ``build/coverage``, since an extension that traces its lines is
slow, and wants its C beside its source; so the developer's build stays as it is.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TREE = ROOT / "build" / "coverage"
LEFT_OUT = shutil.ignore_patterns(".*cache", ".git", ".venv*", ".hypothesis", "build", "*.so")
PYTEST = ["-m", "pytest", "-q", "-n", "auto", "--dist", "worksteal", "-m", "not untraced"]


def main() -> int:
    """Copy, compile, test and report; return 1 if a test fails or too little was run."""
    shutil.rmtree(TREE, ignore_errors=True)
    shutil.copytree(ROOT, TREE, ignore=LEFT_OUT)
    environment = {**os.environ, "FASTHTTPSERVER_COVERAGE": "1", "CI": "1"}

    def python(*arguments: str) -> int:
        return subprocess.run([sys.executable, *arguments], cwd=TREE, env=environment).returncode

    install = ("install", "--quiet", "--no-build-isolation", "--no-deps", "--editable", ".")
    if python("-m", "pip", "--disable-pip-version-check", *install):
        return 1
    # Cython's plugin looks for the C of an inlined function beside its .pxd.
    package = TREE / "src" / "fasthttpserver"
    for inlined in package.glob("_parsing/*.pxd"):
        inlined.with_suffix(".c").symlink_to(package / "_parser.c")
    failed = python("-m", "coverage", "run", *PYTEST, *sys.argv[1:])
    # Cython's plugin looks for the files that the C names from here first; where they are not, it
    # takes each .pxd for the one beside which it has found the C.
    (TREE / "fasthttpserver").symlink_to("src/fasthttpserver")
    python("-m", "coverage", "combine", "--quiet")
    python("-m", "coverage", "html", "--quiet", "--fail-under=0")
    return failed or python("-m", "coverage", "report")


if __name__ == "__main__":
    sys.exit(main())
