"""The responses that the server makes by itself: errors, and 100 Continue."""

from __future__ import annotations

import time
from email.utils import formatdate
from http import HTTPStatus

__all__ = ["CONTINUE", "error_reply", "one_line"]

# RFC 9110 section 15.2.1.
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

# RFC 9110 section 15, RFC 6585 section 5. Not http.HTTPStatus: its phrases for some of these
# differ between versions of Python.
_PHRASES = {
    400: "Bad Request",
    408: "Request Timeout",
    413: "Content Too Large",
    414: "URI Too Long",
    417: "Expectation Failed",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
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
        f"HTTP/1.1 {status} {_phrase(status)}\r\n"
        f"Date: {formatdate(time.time(), usegmt=True)}\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(text)}\r\n"
        "Connection: close\r\n"
        "\r\n"
    ).encode("ascii")
    return head if head_only else head + text


def _phrase(status: int) -> str:
    if status in _PHRASES:
        return _PHRASES[status]
    return HTTPStatus(status).phrase if status in list(HTTPStatus) else ""


def one_line(text: str) -> str:
    """Escape what would break a line, of a log or of a terminal."""
    if text.isascii() and text.isprintable():
        return text
    return text.encode("unicode_escape").decode("ascii")
