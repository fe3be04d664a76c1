"""Fetches llhttp's sources as ``pin.toml`` says, and checks each hash.

They lie beside this file: ``include/llhttp.h``, ``src/*.c`` and the licences. What is
there already is only verified; what is missing is taken from the pinned sdist, which
pip downloads so that the user's own index, proxy and certificate settings hold.
Standard library only: ``setup.py`` runs this before anything else is installed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent


class VendorError(Exception):
    """The pinned sources cannot be had, or are not what the pin says."""


@dataclass(frozen=True, slots=True)
class Pin:
    """The contents of ``pin.toml``."""

    llhttp: str
    package: str
    version: str
    sha256: str
    folder: str
    files: dict[str, str]

    @property
    def requirement(self) -> str:
        return f"{self.package}=={self.version}"


def read_pin(path: Path = HERE / "pin.toml") -> Pin:
    """Read the pin file."""
    with path.open("rb") as file:
        table = tomllib.load(file)
    return Pin(llhttp=table["llhttp"], files=table["files"], **table["sdist"])


def materialise(pin: Pin, target: Path = HERE, sdist: Path | None = None) -> list[str]:
    """Make ``target`` hold every pinned file; return the names that had to be written.

    Args:
        pin: What the files must be.
        target: Where they go.
        sdist: A copy of the sdist that is already here; without it pip downloads one.

    Raises:
        VendorError: A hash is wrong, or the sdist cannot be had.
    """
    missing = []
    for name, expected in pin.files.items():
        if (target / name).exists():
            verify(str(target / name), (target / name).read_bytes(), expected)
        else:
            missing.append(name)
    if missing:
        with tempfile.TemporaryDirectory() as scratch:
            contents = extract(sdist or download(pin, Path(scratch)), pin, missing)
        for name, data in contents.items():
            write_atomically(target / name, data)
    return missing


def verify(name: str, data: bytes, expected: str) -> None:
    """Raise ``VendorError`` unless the sha256 of ``data`` is ``expected``."""
    actual = hashlib.sha256(data).hexdigest()
    if actual != expected:
        raise VendorError(f"{name}: sha256 should be {expected} but is {actual}")


def download(pin: Pin, folder: Path) -> Path:
    """Let pip put the sdist into ``folder``; return its path."""
    requirements = folder / "requirements.txt"
    # A hash on the line makes pip check the archive before it looks inside, which
    # matters: pip then asks the sdist's own build code for its metadata.
    requirements.write_text(f"{pin.requirement} --hash=sha256:{pin.sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--no-binary", pin.package, "--dest", str(folder)]
    command += ["--require-hashes", "--requirement", str(requirements)]
    # pip's output joins ours on stderr: stdout may belong to a build tool.
    if subprocess.run(command, stdout=sys.stderr, check=False).returncode:
        raise VendorError(
            f"pip could not download the sdist of {pin.requirement} with sha256 {pin.sha256} (it "
            "says why above); or get it elsewhere: python vendor/llhttp/fetch.py --sdist FILE"
        )
    return next(folder.glob("*.tar.gz"))


def extract(sdist: Path, pin: Pin, names: Sequence[str]) -> dict[str, bytes]:
    """Return the contents of the pinned files ``names``, read from ``sdist``.

    Nothing is unpacked: the members are read by name, so an archive cannot place files.
    """
    try:
        verify(sdist.name, sdist.read_bytes(), pin.sha256)
    except OSError as error:
        raise VendorError(f"{sdist}: {error.strerror}") from error
    contents = {}
    with tarfile.open(sdist, "r:gz") as archive:
        for name in names:
            member = f"{pin.package}-{pin.version}/{pin.folder}/{name}"
            try:
                file = archive.extractfile(member)
            except KeyError:
                file = None
            if file is None:
                raise VendorError(f"{sdist.name}: has no file {member}")
            contents[name] = file.read()
            verify(member, contents[name], pin.files[name])
    return contents


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``path`` so that no other process ever sees a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, scratch = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
    os.chmod(scratch, 0o644)  # mkstemp's 0600 would travel into sdists
    os.replace(scratch, path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a command; return the exit status."""
    parser = argparse.ArgumentParser(description="Fetch and verify the pinned llhttp sources.")
    parser.add_argument("--sdist", type=Path, help="take the sources from this file, not from pip")
    options = parser.parse_args(arguments)
    pin = read_pin()
    try:
        written = materialise(pin, sdist=options.sdist)
    except VendorError as error:
        print(f"llhttp: {error}", file=sys.stderr)
        return 1
    if written:
        print(f"llhttp {pin.llhttp}: {len(written)} files from {pin.requirement}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
