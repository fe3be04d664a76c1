"""The exceptions: what a peer did wrong, with the status to answer, and streams that failed.

Errors of the caller of this library are ordinary ``TypeError``, ``ValueError`` and
``RuntimeError``; a peer's fault is never one of those.

Code that was written for another library catches that one's exceptions. ``raise_as`` has ours be
of both kinds.
"""

from __future__ import annotations

from typing import Any, Self

__all__ = [
    "HTTPInputError",
    "HTTPOutputError",
    "StreamClosedError",
    "UnsatisfiableReadError",
    "raise_as",
]

# What is made instead of an exception of a class.
_KIN: dict[type, type] = {}


def raise_as(kind: type[Exception], kin: type[Exception]) -> None:
    """Have exceptions of a kind made as objects of a subclass, everywhere in this process.

    Whoever catches the kind sees no difference. A door to another library's applications makes
    the subclass of ours and of theirs, so that they may catch either.

    Args:
        kind: One of this module's.
        kin: A subclass of it, whose constructor takes the same arguments; the kind itself ends
            it again.

    Raises:
        TypeError: It is not a subclass.
    """
    if not issubclass(kin, kind):
        raise TypeError(f"{kin!r} is not a subclass of {kind!r}")
    _KIN[kind] = kin


class HTTPInputError(Exception):
    """A peer sent something that is refused.

    Args:
        reason: One line of text made by this library; never bytes of the peer's.
        status: The HTTP status code to answer with (RFC 9110 section 15).
        offset: Position of the offending byte, counted from the first byte that the
            parser was given, or -1 when there is no such byte.
    """

    def __new__(cls, reason: str, status: int = 400, offset: int = -1) -> Self:
        return super().__new__(_KIN.get(cls, cls), reason)

    def __init__(self, reason: str, status: int = 400, offset: int = -1) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.offset = offset

    def __reduce__(self) -> tuple[type[HTTPInputError], tuple[str, int, int]]:
        return type(self), (self.reason, self.status, self.offset)


class HTTPOutputError(Exception):
    """An application's response does not keep the framing that it announced."""

    def __new__(cls, *args: object) -> Self:
        return super().__new__(_KIN.get(cls, cls), *args)


class StreamClosedError(OSError):
    """The stream was closed before what was asked of it could be done.

    Args:
        real_error: What closed it, or None when that was an orderly close.
    """

    def __new__(cls, real_error: BaseException | None = None) -> Self:
        # OSError takes its arguments here, in a class that has this method.
        return super().__new__(_KIN.get(cls, cls), "Stream is closed")

    def __init__(self, real_error: BaseException | None = None) -> None:
        super().__init__()
        self.real_error = real_error

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.real_error,)


class UnsatisfiableReadError(Exception):
    """A read cannot end: the piece that it waits for is longer than may be buffered."""

    def __new__(cls, *args: object) -> Self:
        return super().__new__(_KIN.get(cls, cls), *args)
