"""How the parser and the fuzz target become one executable.

The parser, its C from Cython and llhttp are compiled with libFuzzer's coverage and the
sanitizers. They and a Python are linked into one process, in which libFuzzer drives them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

__all__ = ["BUILD", "ROOT", "Unavailable", "build"]

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "fuzz"
SITE = BUILD / "site"  # a copy of the package, with the instrumented parser

SANITIZE = "address,undefined"
LLHTTP = [ROOT / f"vendor/llhttp/src/{name}.c" for name in ("api", "http", "llhttp")]
COMPILERS = ("clang", *(f"clang-{version}" for version in range(22, 13, -1)))


class Unavailable(Exception):
    """What is missing on this machine, in one line."""


def build() -> Path:
    """Compile what is out of date and return the executable.

    Raises:
        Unavailable: There is no clang, no libFuzzer or no Python to embed.
    """
    clang = _find_clang()
    python = _python_to_link()
    SITE.mkdir(parents=True, exist_ok=True)
    executable = BUILD / "fuzz"
    # The package goes first: the target is compiled against nothing of it, but imports it.
    shutil.copytree(
        ROOT / "src" / "fasthttpserver",
        SITE / "fasthttpserver",
        ignore=shutil.ignore_patterns("*.so", "*.c", "__pycache__"),
        dirs_exist_ok=True,
    )
    parser_c = BUILD / "_parser.c"
    target_c = BUILD / "target.c"
    extension = SITE / "fasthttpserver" / ("_parser" + sysconfig.get_config_var("EXT_SUFFIX"))
    include = [f"-I{ROOT / 'vendor/llhttp/include'}", f"-I{sysconfig.get_paths()['include']}"]
    quiet = ["-g", "-fPIC", "-Wno-unused-parameter", "-Wno-unreachable-code"]
    pyx = ROOT / "src/fasthttpserver/_parser.pyx"
    parts = (pyx.parent / "_parsing").glob("*.pxd")
    if _is_older(extension, [pyx, *parts, *LLHTTP, Path(__file__)]):
        _cython(pyx, parser_c, "fasthttpserver._parser")
        instrument = [f"-fsanitize=fuzzer-no-link,{SANITIZE}", "-fno-sanitize-recover=all"]
        # llhttp and our checks compare byte by byte, so edges tell all.
        instrument += ["-fno-sanitize-coverage=trace-cmp"]
        command = [clang, "-shared", "-O2", *quiet, *instrument, *include]
        _run([*command, parser_c, *LLHTTP, "-o", extension])
    if _is_older(executable, [ROOT / "fuzz/target.pyx", Path(__file__)]):
        _cython(ROOT / "fuzz/target.pyx", target_c, "target")
        # -rdynamic: the extension finds libFuzzer's and the sanitizers' functions here.
        command = [clang, "-O2", *quiet, f"-fsanitize=fuzzer,{SANITIZE}", "-rdynamic", *include]
        command += ["-fno-sanitize-coverage=inline-8bit-counters,pc-table,trace-cmp,indirect-calls"]
        _run([*command, target_c, *python, "-o", executable])
    return executable


def environment() -> dict[str, str]:
    """The environment that the executable runs in."""
    return {
        **os.environ,
        "FUZZ_PYTHON": sys.executable,
        "PYTHONPATH": os.pathsep.join([str(SITE), str(ROOT / "fuzz")]),
        # Python frees little at its end. The rest is for speed: short stacks of each malloc.
        "ASAN_OPTIONS": "detect_leaks=0:malloc_context_size=2:quarantine_size_mb=16",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }


def _find_clang() -> str:
    if sys.platform != "linux":
        raise Unavailable("it is set up for Linux only")
    names = [os.environ["CLANG"]] if "CLANG" in os.environ else COMPILERS
    clang = next(filter(None, map(shutil.which, names)), None)
    if clang is None:
        raise Unavailable("there is no clang (Debian, Ubuntu: apt install clang)")
    name = f"libclang_rt.fuzzer-{os.uname().machine}.a"
    found = _output([clang, f"-print-file-name={name}"])
    # Newer ones put it into a folder for the target and leave the machine out of the name.
    other = _output([clang, "-print-file-name=libclang_rt.fuzzer.a"])
    if not (os.path.isabs(found) or os.path.isabs(other)):
        version = _output([clang, "-dumpversion"]).partition(".")[0]
        raise Unavailable(
            f"{clang} has no libFuzzer (Debian, Ubuntu: apt install libclang-rt-{version}-dev)"
        )
    return clang


def _python_to_link() -> list[str]:
    folder = Path(sysconfig.get_config_var("LIBDIR"))
    version = sysconfig.get_config_var("LDVERSION")
    if not any((folder / f"libpython{version}{end}").exists() for end in (".so", ".a", ".dylib")):
        raise Unavailable(f"{sys.executable} has no libpython{version} to link")
    libraries = f"{sysconfig.get_config_var('LIBS')} {sysconfig.get_config_var('SYSLIBS')}"
    return [f"-L{folder}", f"-lpython{version}", f"-Wl,-rpath,{folder}", *libraries.split()]


def _is_older(path: Path, sources: list[Path]) -> bool:
    if not path.exists():
        return True
    return path.stat().st_mtime < max(source.stat().st_mtime for source in sources)


def _cython(source: Path, to: Path, module: str) -> None:
    command = [sys.executable, "-m", "cython", "-3", "--module-name", module]
    _run([*command, "-I", ROOT / "src", "-o", to, source])


def _run(command: list[str | Path]) -> None:
    subprocess.run(command, check=True)


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    try:
        print(build())
    except Unavailable as error:
        sys.exit(str(error))
