"""The vectors in the files of ``conformance/``. The format: its README.md."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

__all__ = ["NAMES", "ExpectedRequest", "Vector", "load"]

FOLDER = Path(__file__).parent / "conformance"

H = b"Host: a\r\n"
P = b"POST / HTTP/1.1\r\n" + H
PC = P + b"Transfer-Encoding: chunked\r\n\r\n"
NAMES = {
    "H": H,
    "G": b"GET / HTTP/1.1\r\n" + H,
    "P": P,
    "C": b"5\r\nhello\r\n0\r\n\r\n",
    "PC": PC,
    "T": PC + b"5\r\nhello\r\n0\r\n",
    "range": range,
}

VECTOR = re.compile(
    r"^## (?P<id>\w+): (?P<title>.+)\n(?P<prose>(?:(?!```|## ).*\n)*)"
    r"```bytes\n(?P<bytes>(?:(?!```).*\n)+)```\n\n```outcome\n(?P<outcome>(?:(?!```).*\n)+)```$",
    re.MULTILINE,
)

End = Literal["open", "close", "refused", "incomplete"]


@dataclass
class ExpectedRequest:
    """What the application is to see of one request."""

    method: str
    uri: str
    body: bytes = b""
    fields: dict[str, list[str]] = field(default_factory=dict)  # no values: no such field
    trailers: list[tuple[str, str]] = field(default_factory=list)
    authority: str | None = None
    upgrade: bool = False


@dataclass
class Vector:
    """One input, and what has to become of it."""

    id: str
    title: str
    data: bytes
    limits: dict[str, Any]
    requests: list[ExpectedRequest]
    end: End
    status: int = 0  # of the refusal
    to_head: bool = False  # the refusal has no text


def load() -> list[Vector]:
    """Read all vectors; what is no vector and looks like one is an error."""
    vectors = []
    for path in sorted(FOLDER.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        if path.name == "README.md":
            continue
        found = [_read(match) for match in VECTOR.finditer(text)]
        assert len(found) == text.count("\n## ") == text.count("\n```bytes\n"), path
        vectors += found
    ids = [vector.id for vector in vectors]
    assert len(ids) == len(set(ids)), [name for name in ids if ids.count(name) > 1]
    return vectors


def _read(match: re.Match[str]) -> Vector:
    data = _evaluate(match["bytes"])
    limits: dict[str, Any] = {}
    requests: list[ExpectedRequest] = []
    *lines, last = match["outcome"].splitlines()
    for line in lines:
        word, _, rest = line.strip().partition(" ")
        if word == "limits":
            pairs = (item.split("=") for item in rest.split())
            limits = {name: _evaluate(value) for name, value in pairs}
        elif word == "request":
            requests.append(ExpectedRequest(*rest.split(" ")))
        else:
            assert line.startswith("  "), line
            _read_detail(requests[-1], word, rest)
    end, _, rest = last.partition(" ")
    vector = Vector(match["id"], match["title"], data, limits, requests, end)  # type: ignore[arg-type]
    if end == "refused":
        status, _, to_head = rest.partition(" ")
        vector.status = int(status)
        vector.to_head = to_head == "to HEAD"
        assert vector.to_head or not to_head, last
    else:
        assert end in ("open", "close", "incomplete") and not rest, last
    return vector


def _read_detail(request: ExpectedRequest, word: str, rest: str) -> None:
    name, _, value = rest.removeprefix("header ").partition(":")
    value = codecs.decode(value.strip().encode("latin-1"), "unicode_escape")
    match word:
        case "body":
            request.body = _evaluate(rest)
        case "header":
            request.fields[name] = value.split(" | ")
        case "no":
            request.fields[name] = []
        case "trailer":
            request.trailers.append((name, value))
        case "authority":
            request.authority = rest
        case "upgrade":
            request.upgrade = True
        case _:
            raise AssertionError(word)


def _evaluate(expression: str) -> Any:
    return eval(expression, {"__builtins__": {}}, NAMES)
