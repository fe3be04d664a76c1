"""The tests that ``docs/threat-model.md`` names, and the vectors, are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from vectors import load

TESTS = Path(__file__).resolve().parents[1]
TEXT = (TESTS.parent / "docs" / "threat-model.md").read_text(encoding="utf-8")
NAMES = sorted(set(re.findall(r"`(test_\w+\.py)::(\w+)`", TEXT)))
TABLE = [line for line in TEXT.split("## Attacks")[1].splitlines() if line.startswith("| ")]
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in TABLE]


@pytest.mark.parametrize("file, name", NAMES)
def test_named_test_exists(file: str, name: str) -> None:
    (path,) = TESTS.glob(f"*/{file}")  # in one of the folders
    source = path.read_text(encoding="utf-8")
    assert re.search(rf"^(    )?(async )?def {name}\(", source, re.MULTILINE)


def test_every_attack_has_a_test() -> None:
    head, *rows = ROWS
    assert head[-1] == "tests" and len(rows) > 20
    for row in rows:
        assert len(row) == len(head), row
        assert "::test_" in row[-1], row


def test_named_vectors_exist() -> None:
    kinds = {re.match("[A-Z]+", vector.id)[0] for vector in load()}  # type: ignore[index]
    named = {kind for row in ROWS[1:] for kind in re.findall(r"\b[A-Z]{2}\b", row[2])}
    assert named <= kinds
    # And none is without a reason; TO compares with Tornado.
    assert kinds - named <= {"TO"}
