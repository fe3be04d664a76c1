"""How C sources are compiled: into a library as our extension is, or into a program."""

import ctypes
import os
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from benchmarks.root import ROOT

__all__ = ["VENDOR", "library", "program"]

VENDOR = ROOT / "vendor" / "llhttp"
# As in setup.py, where the reasons are.
_FLAGS = ["-O3", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-unused-parameter"]
_FLAGS += ["-falign-loops=32", "-funroll-loops"]


def library(sources: list[Path], include: list[Path]) -> ctypes.CDLL:
    """Load a library named after its first source; compile it if a source is newer."""
    # The interpreter's own flags come first, as setuptools has it.
    flags = shlex.split(sysconfig.get_config_var("CFLAGS") or "") + _FLAGS
    flags += ["-fPIC", "-shared", *(f"-I{folder}" for folder in include)]
    return ctypes.CDLL(
        str(_compiled(f"{sources[0].stem}-{sys.implementation.cache_tag}.so", sources, flags, []))
    )


def program(
    source: Path, name: str, flags: Sequence[str] = (), libraries: Sequence[str] = ()
) -> Path:
    """Return the path of a program; compile it if its source is newer.

    Raises:
        subprocess.CalledProcessError: It does not compile; the compiler has said why.
    """
    return _compiled(name, [source], ["-O2", "-Wall", "-Wextra", *flags], libraries)


def _compiled(name: str, sources: list[Path], flags: list[str], libraries: Sequence[str]) -> Path:
    path = ROOT / "build" / name
    newest = max(source.stat().st_mtime for source in (*sources, Path(__file__)))
    if not path.exists() or path.stat().st_mtime < newest:
        path.parent.mkdir(exist_ok=True)
        compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")
        made = path.with_suffix(f".{os.getpid()}")  # two processes may make it at the same time
        command = [*compiler, *flags, *map(str, sources), "-o", str(made), *libraries]
        subprocess.run(command, check=True)
        made.replace(path)
    return path
