"""The arguments of a query string or of an urlencoded form.

Names are ``str``, values ``bytes``, as Tornado documents them. The extension splits and decodes
them, in a time that is proportional to the size of the input, and counts them before that.
"""

from __future__ import annotations

from fasthttpserver._parser import split_arguments
from fasthttpserver.errors import HTTPInputError

__all__ = ["MAX_ARGUMENTS", "count_arguments", "parse_query", "wire_bytes"]

# Of a query and a form together: Tornado's limit since 6.5.8.
MAX_ARGUMENTS = 1000


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
    # In a str of latin-1 one character is one byte.
    if isinstance(query, str) and not query.isascii():
        query = wire_bytes(query)
    arguments = split_arguments(query, max_arguments)
    if arguments is None:
        raise HTTPInputError("Too many arguments")
    return arguments


def wire_bytes(text: str) -> bytes:
    # What came from the wire is latin-1; other characters come from an application that
    # makes a request object itself, and are sent as a browser would send them.
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")
