"""What a single header field may be, and the canonical form of its name; types of heads."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from fasthttpserver.errors import HTTPInputError

__all__ = ["Fields", "StartLine", "canonical_names", "check_field", "is_token", "parse_field_line"]

# What an application passes for a response: a version, a status code and a reason; and header
# fields, in which names are strings or bytes, and values may be ints too.
StartLine = tuple[str, int, str]
Fields = Mapping[Any, Any] | Iterable[tuple[Any, Any]]

# Tornado's size; and no name of a size that would make the cache hold megabytes.
_CACHED_NAMES = 1000
_CACHED_NAME_LENGTH = 64

# RFC 9110 section 5.6.2, token.
is_token = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
# RFC 9110 section 5.5: visible characters, obs-text, and between them space and tab.
_find_forbidden = re.compile(r"[^\t\x20-\x7e\x80-\xff]").search


class _CanonicalNames(dict[str, str]):
    """Names as they came to their form in Tornado: ``x-forwarded-FOR`` to ``X-Forwarded-For``.

    Looking up a name that is not there computes it. As clients choose names, the table
    starts anew when it is full.
    """

    __slots__ = ()

    def __missing__(self, name: str) -> str:
        # Beyond ASCII there are no header names, and changing case could change lengths.
        # What is not a name at all, the caller's dictionary will not find.
        if not isinstance(name, str) or not name.isascii():
            return name
        result = "-".join([word.capitalize() for word in name.split("-")])
        if len(name) <= _CACHED_NAME_LENGTH:
            if len(self) >= _CACHED_NAMES:
                self.clear()
            self[name] = result
        return result


canonical_names = _CanonicalNames()


def check_field(name: str, value: str) -> tuple[str, str]:
    """Return the canonical name, and the value, of a field that can stand in a message.

    Raises:
        HTTPInputError: The name is not a token, or the value has a control character, a
            character beyond latin-1, or a blank at an end.
    """
    if not is_token(name):
        raise HTTPInputError("Invalid header name")
    if _find_forbidden(value) or value != value.strip(" \t"):
        raise HTTPInputError("Invalid header value")
    return canonical_names[name], value


def parse_field_line(line: str) -> tuple[str, str]:
    """Return the canonical name and the value in a line that has lost its end.

    Args:
        line: Not empty.

    Raises:
        HTTPInputError: There is no colon, the line begins with a blank as a continued one
            does (obs-fold, RFC 9112 section 5.2), or the field does not pass ``check_field``.
    """
    if line[0] in " \t":
        raise HTTPInputError("header line cannot start with whitespace, folding not supported")
    name, colon, value = line.partition(":")
    if not colon:
        raise HTTPInputError("no colon in header line")
    return check_field(name, value.strip(" \t"))
