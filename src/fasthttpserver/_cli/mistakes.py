"""Words for mistakes: what an exception says to a person, and which name may have been meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["in_words", "suggestion"]


def in_words(error: Exception) -> str:
    """Return the text of an exception for a person, without the system's error number."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"{error.strerror}: {error.filename}"
    return str(error)


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return what to add to a message about a name that is not known, maybe nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
