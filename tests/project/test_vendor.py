"""The pinned llhttp sources: what is right passes in silence, what is wrong stops in one line."""

from __future__ import annotations

import hashlib
import io
import os
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

VENDOR = Path(__file__).resolve().parents[2] / "vendor" / "llhttp"
FILES = {"include/parser.h": b"#define X 1\n", "src/parser.c": b"int x;\n", "LICENSE": b"MIT\n"}

# Loaded by its path: it belongs to the build, not to the package.
fetch = SimpleNamespace(**runpy.run_path(str(VENDOR / "fetch.py")))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def make_sdist(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"carrier-1.0/deps/parser/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def make_pin(sdist: Path, **changes: Any) -> Any:
    values: dict[str, Any] = {
        "llhttp": "1.2.3",
        "package": "carrier",
        "version": "1.0",
        "sha256": sha256(sdist.read_bytes()),
        "folder": "deps/parser",
        "files": {name: sha256(data) for name, data in FILES.items()},
    }
    return fetch.Pin(**values | changes)


@pytest.fixture
def sdist(tmp_path: Path) -> Path:
    return make_sdist(tmp_path / "carrier-1.0.tar.gz", FILES)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target"


def contents(target: Path) -> dict[str, bytes]:
    files = (path for path in target.rglob("*") if path.is_file())
    return {path.relative_to(target).as_posix(): path.read_bytes() for path in files}


def test_missing_files_come_from_the_sdist(sdist: Path, target: Path) -> None:
    assert fetch.materialise(make_pin(sdist), target, sdist) == list(FILES)
    assert contents(target) == FILES


def test_only_missing_files_are_written(sdist: Path, target: Path) -> None:
    fetch.materialise(make_pin(sdist), target, sdist)
    (target / "src/parser.c").unlink()
    assert fetch.materialise(make_pin(sdist), target, sdist) == ["src/parser.c"]
    assert contents(target) == FILES


def test_complete_tree_needs_no_sdist(sdist: Path, target: Path) -> None:
    fetch.materialise(make_pin(sdist), target, sdist)
    assert fetch.materialise(make_pin(sdist), target, target / "no such sdist") == []


def test_one_flipped_byte_in_a_present_file_is_named(sdist: Path, target: Path) -> None:
    pin = make_pin(sdist)
    fetch.materialise(pin, target, sdist)
    path, right, wrong = target / "src/parser.c", b"int x;\n", b"int y;\n"
    path.write_bytes(wrong)
    with pytest.raises(fetch.VendorError) as caught:
        fetch.materialise(pin, target, sdist)
    message = f"{path}: sha256 should be {sha256(right)} but is {sha256(wrong)}"
    assert str(caught.value) == message
    assert path.read_bytes() == wrong


def test_wrong_sdist_is_refused_before_it_is_opened(tmp_path: Path, target: Path) -> None:
    wrong = tmp_path / "carrier-1.0.tar.gz"
    wrong.write_bytes(b"not even an archive")
    pin = make_pin(wrong, sha256="0" * 64)
    actual = sha256(wrong.read_bytes())
    expected = f"carrier-1.0.tar.gz: sha256 should be {'0' * 64} but is {actual}"
    with pytest.raises(fetch.VendorError, match=re.escape(expected)):
        fetch.materialise(pin, target, wrong)
    assert not target.exists()


def test_wrong_file_in_the_sdist_writes_nothing(sdist: Path, target: Path) -> None:
    pin = make_pin(sdist)
    pin.files["LICENSE"] = "0" * 64
    expected = f"carrier-1.0/deps/parser/LICENSE: sha256 should be {'0' * 64} but is "
    with pytest.raises(fetch.VendorError, match=re.escape(expected)):
        fetch.materialise(pin, target, sdist)
    assert not target.exists()


def test_file_that_the_sdist_lacks_is_named(sdist: Path, target: Path) -> None:
    pin = make_pin(sdist, folder="deps/elsewhere")
    expected = "carrier-1.0.tar.gz: has no file carrier-1.0/deps/elsewhere/include/parser.h"
    with pytest.raises(fetch.VendorError, match=re.escape(expected)):
        fetch.materialise(pin, target, sdist)


def test_missing_sdist_is_named(sdist: Path, target: Path, tmp_path: Path) -> None:
    with pytest.raises(fetch.VendorError, match=r"nowhere\.tar\.gz: No such file"):
        fetch.materialise(make_pin(sdist), target, tmp_path / "nowhere.tar.gz")


def test_failing_pip_says_what_to_do(
    sdist: Path, target: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(fetch.VendorError, match=r"could not download .* --sdist FILE"):
        fetch.materialise(make_pin(sdist), target)
    assert not target.exists()
    assert capfd.readouterr().err  # pip's own words come first


def test_command_reports_a_wrong_hash_in_one_line_and_fails(tmp_path: Path) -> None:
    for name in ("fetch.py", "pin.toml"):
        shutil.copy(VENDOR / name, tmp_path)
    (tmp_path / "LICENSE").write_bytes(b"anything")
    command = [sys.executable, str(tmp_path / "fetch.py")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stdout == ""
    assert re.fullmatch(
        r"llhttp: \S+LICENSE: sha256 should be [0-9a-f]{64} but is [0-9a-f]{64}\n", result.stderr
    )


def test_pin_names_the_version_that_the_header_has() -> None:
    header = (VENDOR / "include" / "llhttp.h").read_text(encoding="ascii")
    parts = (
        re.search(rf"#define LLHTTP_VERSION_{part} (\d+)", header)
        for part in ("MAJOR", "MINOR", "PATCH")
    )
    assert ".".join(part[1] for part in parts if part) == fetch.read_pin().llhttp
