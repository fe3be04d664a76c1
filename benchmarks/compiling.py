"""How C sources are compiled into a library as our extension is."""

import ctypes
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

from benchmarks.root import ROOT

__all__ = ["VENDOR", "library"]

VENDOR = ROOT / "vendor" / "llhttp"
# As in setup.py, where the reasons are.
_FLAGS = ["-O3", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-unused-parameter"]
_FLAGS += ["-falign-loops=32", "-funroll-loops"]


def library(sources: list[Path], include: list[Path]) -> ctypes.CDLL:
    """Load a library named after its first source; compile it if a source is newer."""
    path = ROOT / "build" / f"{sources[0].stem}-{sys.implementation.cache_tag}.so"
    newest = max(source.stat().st_mtime for source in (*sources, Path(__file__)))
    if not path.exists() or path.stat().st_mtime < newest:
        path.parent.mkdir(exist_ok=True)
        compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")
        # The interpreter's own flags come first, as setuptools has it.
        flags = shlex.split(sysconfig.get_config_var("CFLAGS") or "") + _FLAGS
        command = [*compiler, *flags, "-fPIC", "-shared", *(f"-I{folder}" for folder in include)]
        subprocess.run([*command, *map(str, sources), "-o", str(path)], check=True)
    return ctypes.CDLL(str(path))
