"""How the Cookie field of a request is read.

Read as browsers write (RFC 6265 section 4.2): a semicolon always separates, the first equals
sign ends the name, and one bad cookie does not spoil the others. The parser of
``http.cookies`` does otherwise, and up to 3.11.9 it unquotes in quadratic time (CVE-2024-7592).
"""

from __future__ import annotations

import re
from http.cookies import CookieError, Morsel, SimpleCookie
from typing import Any

__all__ = ["parse_cookie"]

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# In a quoted value, RFC 2109's backslash before a character and Python's before octal digits.
_QUOTED_PAIR = re.compile(r"\\(?:([0-3][0-7][0-7])|(.))", re.DOTALL)

# What a Morsel's constructor fills in, one attribute after the other; copying them all at once
# makes a cookie cost 0.5 instead of 1.6 microseconds.
_ATTRIBUTES: dict[str, Any] = dict(Morsel())
_new = Morsel.__new__
_update = dict.update
_set = dict.__setitem__


def parse_cookie(header: str) -> SimpleCookie:
    """Parse what a client sends in a Cookie field.

    Left out are cookies that a ``Morsel`` cannot hold: those without a name, with a name that
    is not a token or is that of an attribute such as ``path``, and values with control
    characters. Of cookies of one name the last is kept. Nothing is an error.

    Args:
        header: The field's value; several fields are to be joined with ``"; "``.
    """
    cookies = SimpleCookie()
    quoted = '"' in header
    # Newer Pythons refuse control characters, which octal digits can spell; all do here.
    suspicious = "\\" in header or not header.isprintable()
    for pair in header.split(";"):
        name, equals, coded = pair.partition("=")
        if not equals:
            continue
        name = name.strip(" \t")
        coded = coded.strip(" \t")
        value = coded
        if quoted and len(coded) >= 2 and coded[0] == coded[-1] == '"':
            value = _QUOTED_PAIR.sub(_unquote, coded[1:-1])
        if suspicious and (_CONTROL.search(value) or _CONTROL.search(coded)):
            continue
        morsel: Morsel[str] = _new(Morsel)
        _update(morsel, _ATTRIBUTES)
        try:
            morsel.set(name, value, coded)
        except CookieError:
            continue
        _set(cookies, name, morsel)
    return cookies


def _unquote(match: re.Match[str]) -> str:
    octal, character = match.groups()
    return chr(int(octal, 8)) if octal else character
