"""Fetches Tornado 3.2.2 as it was published, with a fresh certificate, and Tornado 6.6.1."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import trustme

__all__ = ["fetch", "fetch_6"]

_NAME = "tornado-3.2.2"
_NAME_6 = "tornado-6.6.1"  # its wheels have the tests
_PIN = (
    "tornado==3.2.2"
    " --hash=sha256:11592d3ed0d2c97ce2c735049e70d72243213579f48b8b28fe292594ba35b88e\n"
)


def fetch(directory: Path) -> Path:
    """Return a directory to put on the path, so that ``import tornado`` finds 3.2.2.

    Args:
        directory: What was fetched is kept here for the next time.

    Raises:
        subprocess.SubprocessError: pip could not download it.
    """
    target = _made(directory / _NAME, lambda scratch: _unpack(_download(scratch), scratch / "it"))
    _renew_certificate(target / "tornado" / "test")
    return target


def fetch_6(directory: Path) -> Path:
    """Return a directory to put on the path, so that ``import tornado`` finds 6.6.1.

    Args:
        directory: What was fetched is kept here for the next time.

    Raises:
        subprocess.SubprocessError: pip could not install it.
    """
    return _made(directory / _NAME_6, _install_6)


def _made(target: Path, make: Callable[[Path], Path]) -> Path:
    """Return a folder, which is made in a scratch folder beside it if it is not there."""
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            make(Path(scratch)).rename(target)
    return target


def _install_6(scratch: Path) -> Path:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", f"--target={scratch / 'it'}"]
    subprocess.run([*command, _NAME_6.replace("-", "==")], check=True, timeout=120)
    return scratch / "it"


def _download(scratch: Path) -> Path:
    requirements = scratch / "requirements.txt"
    requirements.write_text(_PIN)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    # The sources, since the tests are among them; nothing of it is installed or compiled.
    command += ["--no-deps", "--no-binary=:all:", "--no-build-isolation", "--require-hashes"]
    command += [f"--dest={scratch}", f"--requirement={requirements}"]
    subprocess.run(command, check=True, timeout=120)
    (archive,) = scratch.glob("*.tar.gz")
    return archive


def _unpack(archive: Path, into: Path) -> Path:
    prefix = f"{_NAME}/tornado/"
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isfile() and member.name.startswith(prefix) and ".." not in member.name:
                path = into / member.name.removeprefix(f"{_NAME}/")
                path.parent.mkdir(parents=True, exist_ok=True)
                content = tar.extractfile(member)
                assert content is not None
                path.write_bytes(content.read())
    return into


def _renew_certificate(tests: Path) -> None:
    """Replace the one of the tests: today's OpenSSL refuses it, and it expired in 2020."""
    certificate = trustme.CA().issue_cert("localhost", "127.0.0.1")
    chain = b"".join(pem.bytes() for pem in certificate.cert_chain_pems)
    (tests / "test.crt").write_bytes(chain)
    (tests / "test.key").write_bytes(certificate.private_key_pem.bytes())
