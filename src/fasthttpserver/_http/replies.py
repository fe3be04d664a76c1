"""The responses that the server makes by itself: errors, and 100 Continue; reason phrases."""

from __future__ import annotations

import time
from email.utils import formatdate
from http import HTTPStatus

__all__ = ["CONTINUE", "REASONS", "error_reply", "one_line"]

# RFC 9110 section 15.2.1.
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

# Status codes to reason phrases. Those of RFC 9110 section 15 go before http.HTTPStatus, whose
# phrases for some of these differ between versions of Python.
REASONS = {status.value: status.phrase for status in HTTPStatus} | {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}


def error_reply(status: int, reason: str, head_only: bool = False) -> bytes:
    """Build the answer to a request that is refused.

    Args:
        status: The HTTP status code.
        reason: Some text made by this library or the application, never by the peer.
        head_only: Leave out the text: it answers HEAD.
    """
    text = one_line(reason).encode("ascii")
    head = (
        f"HTTP/1.1 {status} {REASONS.get(status, '')}\r\n"
        f"Date: {formatdate(time.time(), usegmt=True)}\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(text)}\r\n"
        "Connection: close\r\n"
        "\r\n"
    ).encode("ascii")
    return head if head_only else head + text


def one_line(text: str) -> str:
    """Escape what would break a line, of a log or of a terminal."""
    if text.isascii() and text.isprintable():
        return text
    return text.encode("unicode_escape").decode("ascii")
