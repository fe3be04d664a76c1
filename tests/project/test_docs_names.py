"""What pages of the documentation name is there: tests, vectors, other pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from vectors import load

TESTS = Path(__file__).resolve().parents[1]
DOCS = TESTS.parent / "docs"
THREATS = (DOCS / "threat-model.md").read_text(encoding="utf-8").split("## Attacks")[1]
STANDARDS = (DOCS / "standards.md").read_text(encoding="utf-8").split("## Http11Probe")[0]
NAMES = sorted(set(re.findall(r"`(test_\w+\.py)::(\w+)`", THREATS + STANDARDS)))


def rows(text: str) -> list[list[str]]:
    """The cells of all tables but for their heads and rulers."""
    lines = text.splitlines()
    found = [
        line for line, after in zip(lines, [*lines[1:], ""], strict=True) if not after[:4] == "|---"
    ]
    cells = [line.strip("|").split("|") for line in found if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in cells]


@pytest.mark.parametrize("file, name", NAMES)
def test_named_test_exists(file: str, name: str) -> None:
    (path,) = TESTS.glob(f"*/{file}")  # in one of the folders
    source = path.read_text(encoding="utf-8")
    assert re.search(rf"^(    )?(async )?def {name}\(", source, re.MULTILINE)


def test_every_attack_has_a_test() -> None:
    attacks = rows(THREATS)
    assert len(attacks) > 20
    for row in attacks:
        assert len(row) == 4, row
        assert "::test_" in row[-1], row


def test_every_rule_of_a_standard_is_shown() -> None:
    rules = rows(STANDARDS)
    assert len(rules) > 30
    for row in rules:
        assert len(row) == 3, row
        assert "::test_" in row[-1] or vectors_in(row[-1]), row


def vectors_in(cell: str) -> set[str]:
    return set(re.findall(r"\b[A-Z]{2}\b", cell))


def test_named_vectors_exist() -> None:
    kinds = {re.match("[A-Z]+", vector.id)[0] for vector in load()}  # type: ignore[index]
    attacks = {kind for row in rows(THREATS) for kind in vectors_in(row[2])}
    assert attacks | {kind for row in rows(STANDARDS) for kind in vectors_in(row[2])} <= kinds
    # And none is without a reason; TO compares with Tornado.
    assert kinds - attacks <= {"TO"}


@pytest.mark.parametrize("folder", [DOCS, DOCS / "howto"], ids=["docs", "howto"])
def test_each_page_is_named_once_in_a_sentence(folder: Path) -> None:
    index = folder / "index.md"
    text = re.sub("```.*?```", "", index.read_text(encoding="utf-8"), flags=re.DOTALL)
    named = re.findall(r"\[[^\]]+\]\(([\w-]+\.md)\)", text.split("\n## ", 1)[1])
    assert sorted(named) == sorted(path.name for path in folder.glob("*.md") if path != index)
