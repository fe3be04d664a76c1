"""What the package promises about itself: no dependencies, its licences, one version."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import fasthttpserver

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_version_is_the_same_everywhere(pyproject: dict[str, Any]) -> None:
    assert metadata.version("fasthttpserver-llhttp") == fasthttpserver.__version__
    assert "version" not in pyproject["project"]


def test_nothing_is_needed_at_run_time() -> None:
    needed = metadata.requires("fasthttpserver-llhttp") or []
    assert [each for each in needed if "extra ==" not in each] == []


def test_pytest_is_told_of_the_fixtures(pyproject: dict[str, Any]) -> None:
    (module,) = pyproject["project"]["entry-points"]["pytest11"].values()
    assert importlib.import_module(module).__all__ == ["http_server", "https_server"]


def test_licences_are_ours_and_llhttps(pyproject: dict[str, Any]) -> None:
    found = {
        path.relative_to(ROOT).as_posix()
        for pattern in pyproject["project"]["license-files"]
        for path in ROOT.glob(pattern)
    }
    assert found == {"LICENSE", "vendor/llhttp/LICENSE", "vendor/llhttp/LICENSE-MIT"}


def test_building_without_isolation_needs_what_building_with_it_does(
    pyproject: dict[str, Any],
) -> None:
    isolated = set(pyproject["build-system"]["requires"])
    assert set(pyproject["dependency-groups"]["build"]) == isolated - {"pip"}


def test_package_is_typed() -> None:
    assert (Path(fasthttpserver.__file__).parent / "py.typed").exists()


@pytest.mark.skipif(
    not ((ROOT / ".git").exists() and shutil.which("git")), reason="not a git checkout"
)
def test_generated_and_third_party_sources_are_not_committed() -> None:
    # The checkout may belong to another user, as in a container.
    command = ["git", "-c", "safe.directory=*", "-C", str(ROOT), "ls-files", "--"]
    command += ["*.c", "*.h", "*.so", "*.pyd", "*.html"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    # The benchmarks measure llhttp alone, and offer requests, by C of our own.
    ours = {"benchmarks/callgrind_dump.c", "benchmarks/paced.c", "benchmarks/raw_llhttp.c"}
    assert set(listed.split()) <= ours
