"""What the figures depend on: machine, versions, sources."""

import hashlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.root import ROOT

__all__ = [
    "PACKAGES_NOT_INSTALLED",
    "build_versions",
    "cpu_model",
    "describe",
    "has_cpu_flag",
    "now",
    "python_build",
    "steal_seconds",
]

# What benchmarks/install.py could not install into this environment, and why.
PACKAGES_NOT_INSTALLED = Path(sys.prefix) / "not-installed.json"

_PACKAGES = (
    "aiohttp",
    "bjoern",
    "fastpysgi",
    "fasthttpserver-llhttp",
    "flask",
    "fastapi",
    "granian",
    "gunicorn",
    "h11",
    "httptools",
    "hypercorn",
    "robyn",
    "socketify",
    "starlette",
    "tornado",
    "uvicorn",
    "uvloop",
    "waitress",
    "zttp",
)
_PROGRAMS = {
    "gcc": ["gcc", "--version"],
    "nginx": ["nginx", "-v"],
    "node": ["node", "--version"],
    "node's llhttp": ["node", "-p", "process.versions.llhttp"],
    "openssl": ["openssl", "version"],
    "valgrind": ["valgrind", "--version"],
    "wrk": ["wrk", "--version"],
}


def describe() -> dict[str, Any]:
    """Return machine, versions and a hash of our sources, as every result file has them."""
    return {"machine": _machine(), "versions": _versions(), "source": _source_hash()}


def now() -> str:
    """Return the date and time, UTC, to the minute."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def cpu_model() -> str:
    """Return the name of the processor."""
    return _proc_field("/proc/cpuinfo", "model name") or platform.processor()


def has_cpu_flag(flag: str) -> bool:
    """Tell whether the processor has a feature, by Linux's name for it."""
    return flag in (_proc_field("/proc/cpuinfo", "flags") or "").split()


def steal_seconds() -> float:
    """Return the seconds that the hypervisor has kept the CPUs for others, all together."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return int(fields[8]) / os.sysconf("SC_CLK_TCK")


def _machine() -> dict[str, str]:
    memory = int((_proc_field("/proc/meminfo", "MemTotal") or "0").split()[0])
    return {
        "CPU": cpu_model(),
        "cores": str(os.cpu_count()),
        "virtual machine": "yes" if has_cpu_flag("hypervisor") else "no",
        "memory": f"{memory / 2**20:.0f} GiB",
        "architecture": platform.machine(),
        "kernel": f"{platform.system()} {platform.release()}",
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", ""),
    }


def build_versions() -> dict[str, str]:
    """Return versions of what makes and counts instructions."""
    versions = _versions()
    return {
        name: versions[name] for name in ("Python", "gcc", "llhttp", "valgrind") if name in versions
    }


def _versions() -> dict[str, str]:
    versions = {
        "Python": f"{platform.python_version()} ({platform.python_compiler()}, {python_build()})",
        "Python's configure": _configured(),
    }
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    versions["llhttp"] = _llhttp_version()
    for name, command in _PROGRAMS.items():
        if shutil.which(command[0]) is not None:
            said = subprocess.run(command, capture_output=True, text=True, check=False)
            match = re.search(r"\d+(\.\d+)+[\w.-]*", said.stdout + said.stderr)
            versions[name] = match[0] if match else "unknown"
    return versions


def python_build() -> str:
    """Return how this Python was optimised: ``PGO``, ``PGO and LTO``, ``no PGO`` or whose it is.

    Debian builds with both, as its change log says, and keeps that out of sysconfig, which
    has the options of another build then.
    """
    if Path(sys.executable).resolve().parent == Path("/usr/bin"):
        name = platform.freedesktop_os_release().get("ID", "system").capitalize()
        return f"{name}'s build"
    arguments = _configured()
    parts = {"--enable-optimizations": "PGO", "--with-lto": "LTO"}
    return " and ".join(part for flag, part in parts.items() if flag in arguments) or "no PGO"


def _configured() -> str:
    """The options that Python was configured with, but for paths and variables."""
    arguments = re.findall(r"'(--[^'/]*)'", sysconfig.get_config_var("CONFIG_ARGS") or "")
    return " ".join(arguments) or "no options"


def _llhttp_version() -> str:
    header = (ROOT / "vendor/llhttp/include/llhttp.h").read_text()
    parts = re.findall(r"#define LLHTTP_VERSION_(?:MAJOR|MINOR|PATCH) (\d+)", header)
    return ".".join(parts)


def _source_hash() -> str:
    """Hash what is measured, so that results of different sources are never mixed up."""
    digest = hashlib.sha256()
    source = ROOT / "src" / "fasthttpserver"
    for path in sorted(source.rglob("*.*")):
        if path.suffix in (".py", ".pyx", ".pxd"):
            name = path.relative_to(source).as_posix().encode()
            digest.update(name + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def _proc_field(path: str, name: str) -> str | None:
    for line in Path(path).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return None
