"""The arguments of a query string or of an urlencoded form.

Names are ``str``, values ``bytes``, as Tornado documents them. The time is proportional to
the size of the input, and arguments are counted before they are split.
"""

from __future__ import annotations

import re
from binascii import a2b_qp
from collections.abc import Iterator

from fasthttpserver.errors import HTTPInputError

__all__ = [
    "MAX_ARGUMENTS",
    "count_arguments",
    "parse_query",
    "stray_percent",
    "unescape",
    "wire_bytes",
]

# Of a query and a form together: Tornado's limit since 6.5.8.
MAX_ARGUMENTS = 1000

# A percent sign that begins no escape.
stray_percent = re.compile(rb"%(?![0-9A-Fa-f]{2})")
# Escapes are decoded by this many bytes at a time, so that lists of matches stay small.
_PIECE_SIZE = 65_536


def count_arguments(query: str | bytes) -> int:
    """Return how many arguments a query has at most: one more than it has ``&``."""
    if isinstance(query, str):
        return query.count("&") + 1 if query else 0
    return query.count(b"&") + 1 if query else 0


def parse_query(query: str | bytes, max_arguments: int = MAX_ARGUMENTS) -> dict[str, list[bytes]]:
    """Split a query or an urlencoded form into its arguments.

    Only ``&`` separates; ``+`` is a space; a field without ``=`` has an empty value; empty
    fields are skipped; a percent sign that begins no escape stands for itself. Decoded names
    are read as latin-1, decoded values stay bytes.

    Args:
        query: What follows the ``?``; a ``str`` holds the bytes of the wire as latin-1.
        max_arguments: How many fields there may be, empty ones included.

    Raises:
        HTTPInputError: There are more.
    """
    if not query:
        return {}
    # Searching a str takes a third of the time of searching bytes; in a str of latin-1 one
    # character is one byte.
    if isinstance(query, bytes):
        query = query.decode("latin-1")
    elif not query.isascii():
        query = wire_bytes(query).decode("latin-1")
    if query.count("&") >= max_arguments:
        raise HTTPInputError("Too many arguments")
    if "+" in query:
        query = query.replace("+", " ")
    arguments: dict[str, list[bytes]] = {}
    for field in query.split("&"):
        if not field:
            continue
        name, _, text = field.partition("=")
        value = text.encode("latin-1")
        if "%" in text:
            value = unescape(value)
        if "%" in name:
            name = unescape(name.encode("latin-1")).decode("latin-1")
        if name in arguments:
            arguments[name].append(value)
        else:
            arguments[name] = [value]
    return arguments


def wire_bytes(text: str) -> bytes:
    # What came from the wire is latin-1; other characters come from an application that
    # makes a request object itself, and are sent as a browser would send them.
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def unescape(data: bytes) -> bytes:
    """Decode percent escapes; a percent sign that begins none stands for itself."""
    if len(data) <= _PIECE_SIZE:
        return _unescape_piece(data)
    return b"".join([_unescape_piece(piece) for piece in _pieces(data)])


def _unescape_piece(data: bytes) -> bytes:
    # The decoder of quoted-printable does at the speed of C what urllib does in a loop: =41
    # is %41 there. Before it every stray percent sign and every equals sign is escaped.
    return a2b_qp(stray_percent.sub(b"%25", data).replace(b"=", b"%3D").replace(b"%", b"="))


def _pieces(data: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(data):
        end = start + _PIECE_SIZE
        if end < len(data):
            # Do not cut an escape in two.
            escape = data.find(b"%", end - 2, end)
            end = escape if escape != -1 else end
        yield data[start:end]
        start = end
