"""The exceptions: what a peer did wrong, with the status to answer, and streams that failed.

Errors of the caller of this library are ordinary ``TypeError``, ``ValueError`` and
``RuntimeError``; a peer's fault is never one of those.
"""

from __future__ import annotations

__all__ = ["HTTPInputError", "HTTPOutputError", "StreamClosedError", "UnsatisfiableReadError"]


class HTTPInputError(Exception):
    """A peer sent something that is refused.

    Args:
        reason: One line of text made by this library; never bytes of the peer's.
        status: The HTTP status code to answer with (RFC 9110 section 15).
        offset: Position of the offending byte, counted from the first byte that the
            parser was given, or -1 when there is no such byte.
    """

    def __init__(self, reason: str, status: int = 400, offset: int = -1) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.offset = offset

    def __reduce__(self) -> tuple[type[HTTPInputError], tuple[str, int, int]]:
        return type(self), (self.reason, self.status, self.offset)


class HTTPOutputError(Exception):
    """An application's response does not keep the framing that it announced."""


class StreamClosedError(OSError):
    """The stream was closed before what was asked of it could be done.

    Args:
        real_error: What closed it, or None when that was an orderly close.
    """

    def __init__(self, real_error: BaseException | None = None) -> None:
        super().__init__("Stream is closed")
        self.real_error = real_error


class UnsatisfiableReadError(Exception):
    """A read cannot end: the piece that it waits for is longer than may be buffered."""
