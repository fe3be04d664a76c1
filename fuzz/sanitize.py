"""Runs the parser's tests on a parser that is built with sanitizers.

It is built into ``build/sanitize``, so the developer's own build stays as it is. A read or
write out of bounds, a use after free or undefined behaviour ends the run with a report.
"""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "sanitize"
SITE = BUILD / "site"
# What drives the parser. Memory in use is measured without sanitizers: red zones and freed
# blocks that are kept would count.
TESTS = ROOT / "tests" / "parsing"
LEFT_OUT = TESTS / "test_leaks.py"

# Whether it is this build that is tested, and whether a sanitizer looks on.
PROOF = f"""
import ctypes, sys
from fasthttpserver import _parser
assert _parser.__file__.startswith({str(SITE)!r}), _parser.__file__
assert b"__asan_report_load" in open(_parser.__file__, "rb").read(), "built without sanitizers"
assert ctypes.CDLL(None).__asan_region_is_poisoned, "no sanitizer in the process"
"""


def runtime() -> str:
    """Return the library that has to be in the process before all others."""
    if sys.platform != "linux":
        sys.exit("make sanitize needs Linux: it loads the sanitizer's library before Python.")
    compiler = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    command = [shlex.split(compiler)[0]]
    names = ("libasan.so", f"libclang_rt.asan-{platform.machine()}.so", "libclang_rt.asan.so")
    for name in names:
        found = subprocess.run(
            [*command, f"-print-file-name={name}"], capture_output=True, text=True
        ).stdout.strip()
        # A compiler that does not have it says the bare name again.
        if os.path.isabs(found) and os.path.exists(found):
            return os.path.realpath(found)
    sys.exit(
        f"{command[0]} has no AddressSanitizer runtime. Debian, Ubuntu: apt install gcc, or "
        "for clang libclang-rt-N-dev of its version; Fedora: dnf install libasan libubsan"
    )


def main() -> None:
    """Build, make sure that it is what it should be, and test."""
    library = runtime()
    build = [sys.executable, "setup.py", "--quiet", "build", "--build-base", str(BUILD)]
    environment = {**os.environ, "FASTHTTPSERVER_SANITIZE": "1"}
    done = subprocess.run([*build, "--build-lib", str(SITE)], cwd=ROOT, env=environment)
    if done.returncode:
        sys.exit(done.returncode)
    environment = {
        **os.environ,
        "LD_PRELOAD": library,
        "PYTHONPATH": str(SITE),
        # Each object a block of its own, so that red zones lie between them.
        "PYTHONMALLOC": "malloc",
        # Python frees little at its end; tests of memory use look for our leaks.
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
        # No random examples: what fails here has to fail again.
        "CI": "1",
    }
    subprocess.run([sys.executable, "-c", PROOF], env=environment, check=True)
    # Descriptors are left alone, or what a sanitizer reports at the end would be lost.
    command = [sys.executable, "-m", "pytest", "-q", "--capture=sys"]
    command += ["-n", "auto", "--dist", "worksteal", str(TESTS), f"--ignore={LEFT_OUT}"]
    status = subprocess.run([*command, *sys.argv[1:]], cwd=ROOT, env=environment).returncode
    print("sanitize: clean" if status == 0 else "sanitize: see above")
    sys.exit(status)


if __name__ == "__main__":
    main()
