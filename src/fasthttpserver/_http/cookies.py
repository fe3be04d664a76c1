"""How the Cookie field of a request is read.

Read as browsers write (RFC 6265 section 4.2): a semicolon always separates, the first equals
sign ends the name, and one bad cookie does not spoil the others. The parser of
``http.cookies`` does otherwise, and up to 3.11.9 it unquotes in quadratic time (CVE-2024-7592).
"""

from __future__ import annotations

import re
from http.cookies import SimpleCookie

from fasthttpserver._parser import put_cookies

__all__ = ["parse_cookie"]

# In a quoted value, RFC 2109's backslash before a character and Python's before octal digits.
_QUOTED_PAIR = re.compile(r"\\(?:([0-3][0-7][0-7])|(.))", re.DOTALL)


def parse_cookie(header: str) -> SimpleCookie:
    """Parse what a client sends in a Cookie field.

    Left out are cookies that a ``Morsel`` cannot hold: those without a name, with a name that
    is not a token or is that of an attribute such as ``path``, and values with control
    characters. Of cookies of one name the last is kept. Nothing is an error.

    Args:
        header: The field's value; several fields are to be joined with ``"; "``.
    """
    cookies = SimpleCookie()
    put_cookies(cookies, header, _unquote)
    return cookies


def _unquote(coded: str) -> str:
    return _QUOTED_PAIR.sub(_unquote_pair, coded[1:-1])


def _unquote_pair(match: re.Match[str]) -> str:
    octal, character = match.groups()
    return chr(int(octal, 8)) if octal else character
