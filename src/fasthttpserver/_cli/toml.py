"""Options in TOML: the table of a file, the words that its values stand for, printing them."""

from __future__ import annotations

import argparse
import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = [
    "Number",
    "find_project",
    "flag_of",
    "is_repeated",
    "line_of",
    "read_file",
    "with_flag",
    "words_of",
]

_PROJECT = "pyproject.toml"
_TABLE = "fasthttpserver"
# For those who write how much memory it is.
_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


class Number:
    """The type of an option that is a number, or a word that stands for something else.

    Args:
        number: ``int`` or ``float``.
        words: What they stand for.
        units: Whether it may end with one, as in ``512M``.
    """

    def __init__(
        self,
        number: type[int] | type[float],
        words: Mapping[str, float | None] | None = None,
        units: bool = False,
    ) -> None:
        self.number = number
        self.words = words or {}
        self.units = units
        self.__name__ = "size" if units else number.__name__  # for argparse to say what is wrong

    def __call__(self, word: str) -> float | None:
        if word in self.words:
            return self.words[word]
        if not self.units:
            return self.number(word)
        unit = word[-1:].lower()
        if unit in _UNITS:
            return self.number(word[:-1]) * _UNITS[unit]
        return self.number(word)


def is_repeated(action: argparse.Action) -> bool:
    """Whether an option may be given several times."""
    return isinstance(action, argparse._AppendAction)


# --- Reading --------------------------------------------------------------------------------


def find_project() -> str | None:
    """Return the path of the current folder's ``pyproject.toml``, if there is one."""
    return _PROJECT if os.path.exists(_PROJECT) else None


def read_file(path: str) -> dict[str, Any]:
    """Return the table of options in a file.

    That is all of it; in a ``pyproject.toml`` it is the table ``tool.fasthttpserver``.

    Raises:
        ValueError: It cannot be read, or is not TOML, with a message for the person who wrote it.
    """
    try:
        with open(path, "rb") as file:
            found: Any = tomllib.load(file)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    except ValueError as error:
        raise ValueError(f"{path} is not TOML: {error}") from None
    if Path(path).name == _PROJECT:
        for name in "tool", _TABLE:
            found = found.get(name, {})
            if not isinstance(found, dict):
                raise ValueError(f"{path}: {name!r} must be a table")
    return found  # type: ignore[no-any-return]


def words_of(action: argparse.Action, value: object) -> list[str]:
    """Return what stands on a command line for a value of TOML; nothing for false.

    Args:
        action: The option.
        value: As TOML has it: a number for a number, ``true`` for an option without value.

    Raises:
        ValueError: It is of the wrong type, with a message that says what is expected.
    """
    if _may_be_switched(action) and isinstance(value, bool):
        return [flag_of(action)] if value else []
    values = value if is_repeated(action) and isinstance(value, list) else [value]
    words = [_word_of(action, each) for each in values]
    if None in words or action.nargs == 0 or (is_repeated(action) and values is not value):
        raise ValueError(f"must be {_expected(action)}, not {json.dumps(value, default=str)}")
    return with_flag(action, [word for word in words if word is not None])


def with_flag(action: argparse.Action, words: Sequence[str]) -> list[str]:
    """Return what stands on a command line for an option's values."""
    if not action.option_strings:
        return ["--", *words]
    return [f"{flag_of(action)}={word}" for word in words]


def flag_of(action: argparse.Action) -> str:
    """Return the long form of an option; the name of a positional argument."""
    return next((each for each in action.option_strings if each.startswith("--")), action.dest)


def _may_be_switched(action: argparse.Action) -> bool:
    return bool(action.option_strings) and action.nargs in (0, "?")


def _word_of(action: argparse.Action, value: object) -> str | None:
    """Return the word for one value; None if it is of the wrong type."""
    number = _number_of(action)
    if isinstance(value, str):
        return value if number is None or _may_be_word(action, value) else None
    if type(value) is int and number is not None:
        return str(value)
    if type(value) is float and number is float:
        return repr(value)
    return None


def _number_of(action: argparse.Action) -> type[int] | type[float] | None:
    """Return the type of number that an option has, if it is one."""
    kind = action.type.number if isinstance(action.type, Number) else action.type
    if kind is int:
        return int
    return float if kind is float else None


def _may_be_word(action: argparse.Action, value: str) -> bool:
    """Whether a string may stand where a number is expected."""
    kind = action.type
    return isinstance(kind, Number) and (
        value in kind.words or (kind.units and not value.isdecimal())
    )


def _expected(action: argparse.Action) -> str:
    if action.nargs == 0:
        return "true or false"
    if action.choices is not None:
        one = " or ".join(json.dumps(choice) for choice in action.choices)
    else:
        number = _number_of(action)
        one = "a string" if number is None else "an integer" if number is int else "a number"
    if isinstance(action.type, Number):
        one += "".join(f' or "{word}"' for word in action.type.words)
        one += ' or a string such as "512M"' if action.type.units else ""
    if is_repeated(action):
        return f"an array, each of it {one}"
    return f"true or false or {one}" if _may_be_switched(action) else one


# --- Printing -------------------------------------------------------------------------------


def line_of(action: argparse.Action, value: object, words: Sequence[str] | None = None) -> str:
    """Return a line of TOML that ``words_of`` takes back.

    Args:
        action: The option.
        value: That it has.
        words: Those that it was given with, maybe none; None if it was not given.
    """
    if action.nargs == 0 or (_may_be_switched(action) and words == []):
        literal = "true" if value == action.const else "false"
    elif words is None:
        # None is nothing, for which TOML has no word.
        literal = "" if value is None else _literal(action, str(value))
    else:
        literals = [_literal(action, word) for word in words]
        literal = f"[{', '.join(literals)}]" if is_repeated(action) else literals[0]
    return f"{flag_of(action).removeprefix('--')} = {literal}".rstrip()


def _literal(action: argparse.Action, word: str) -> str:
    number = _number_of(action)
    if number is not None and not _may_be_word(action, word):
        return repr(number(word))
    return json.dumps(word, ensure_ascii=False).replace("\x7f", "\\u007f")
