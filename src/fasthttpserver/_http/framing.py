"""How a response is delimited, for applications that leave that to the server.

Tornado has done so since version 4. The rules are those of RFC 9112 section 6; where Tornado's
would leave a client waiting, or let a header end early, these do not.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from typing import Any

from fasthttpserver._http.fields import canonical_names, is_token
from fasthttpserver._http.headers import HTTPHeaders
from fasthttpserver._parser import RequestMessage, frame_response, serialize_fields
from fasthttpserver._parsing.known_fields import NOT_IN_TRAILERS
from fasthttpserver.errors import HTTPOutputError

__all__ = ["ResponseFraming"]

_ILLEGAL = re.compile(r"[\r\n\0]")


class ResponseFraming:
    """How the body of one response is delimited.

    Args:
        method: Of the request.
        version: Of the request.
        keep_alive: Whether the connection is to go on.
        start_line: Three things: a version, which is ignored, a status code and a reason.
        headers: An ``HTTPHeaders``, or what has its ``get_all`` and acts like a dict; the
            fields that delimit the body are set in it. Or another mapping, or pairs. Names and
            values may be bytes.
        length: Of the body in bytes, where all of it is known; where ``headers`` have none,
            it becomes the Content-Length.

    Raises:
        ValueError: A field or the reason has CR, LF or NUL, a name is not a token, the status
            code is out of range, or Content-Length is not a number (CVE-2025-67724).
        TypeError: A name is not a string, or a value neither str, bytes nor int.
    """

    __slots__ = (
        "_remaining",
        "chunked",
        "code",
        "head",
        "informational",
        "keep_alive",
        "silent",
        "size",
        "switches",
    )

    def __init__(
        self,
        method: str,
        version: str,
        keep_alive: bool,
        start_line: Any,
        headers: Any,
        length: int | None = None,
    ) -> None:
        headers = _with_get_all(headers)
        try:
            _, code, reason = start_line
            code = self.code = int(code)
        except TypeError:
            raise TypeError(
                f"start_line is a version, a status code and a reason, not {start_line!r}"
            ) from None
        if not 100 <= code <= 999:
            raise ValueError(f"Illegal status code {code!r}")
        http_1_1 = version == "HTTP/1.1"
        # What follows are another protocol's bytes (RFC 9110 sections 9.3.6 and 15.2.2).
        self.switches = code == 101 or (method == "CONNECT" and 200 <= code < 300)
        bodiless = code < 200 or code == 204 or self.switches
        # 1xx but 101: the response itself is still to come.
        self.informational = code < 200 and code != 101
        self.silent = bodiless or code == 304 or method == "HEAD"
        self._remaining: int | None = None
        self.size = 0  # bytes of the body, so far
        self.chunked = False
        if not http_1_1 and "Transfer-Encoding" in headers:
            del headers["Transfer-Encoding"]  # RFC 9112 section 6.1: it is not understood
        if bodiless:
            # RFC 9110 section 8.6 and RFC 9112 section 6.1.
            for name in ("Content-Length", "Transfer-Encoding"):
                if name in headers:
                    del headers[name]
        elif "Content-Length" in headers:
            self._remaining = _content_length(_value(headers, "Content-Length"))
            if "Transfer-Encoding" in headers:
                del headers["Transfer-Encoding"]
        elif length is not None and (length or not self.silent):
            # No body of a response without one says nothing of how long it would be.
            headers["Content-Length"] = str(length)
            self._remaining = length
            if "Transfer-Encoding" in headers:
                del headers["Transfer-Encoding"]
        elif http_1_1 and not self.silent:
            headers["Transfer-Encoding"] = "chunked"
            self.chunked = True
        elif not self.silent:
            keep_alive = False  # nothing but the end of the connection ends this body
        if "Connection" in headers and "close" in _options(_value(headers, "Connection")):
            keep_alive = False  # as announced: RFC 9112 section 9.6
        self.keep_alive = keep_alive
        if code >= 200 and not self.switches:
            if http_1_1 and not keep_alive:
                headers["Connection"] = "close"
            elif not http_1_1 and keep_alive:
                headers["Connection"] = "Keep-Alive"
        self.head = _serialize(code, str(reason), headers)

    @classmethod
    def of_usual(
        cls, request: RequestMessage, start_line: Any, headers: Any, body: bytes
    ) -> ResponseFraming | None:
        """Return the framing of a usual response that is whole; its ``head`` is all of it.

        Those of ``tornado.web`` are, unless a handler flushes.

        Args:
            request: After which the connection goes on, unless the response says otherwise.
            start_line, headers: As for a framing, and not set anything in.
            body: As long as Content-Length says.

        Returns:
            None if there is more to it, or something is wrong.
        """
        get_all = getattr(headers, "get_all", None)
        if get_all is None or "Content-Length" not in headers:
            return None
        if not isinstance(start_line, tuple) or len(start_line) != 3:
            return None
        _, code, reason = start_line
        if type(reason) is not str:
            return None
        response = frame_response(request, code, reason, list(get_all()), body)
        if response is None:
            return None
        framing = cls.__new__(cls)
        framing.code = code
        framing.head = response
        framing.size = len(body)
        framing.keep_alive = True
        framing.chunked = framing.informational = framing.silent = framing.switches = False
        framing._remaining = 0
        return framing

    def frame(self, chunk: bytes) -> bytes:
        """Return a piece of the body as it goes on the wire.

        Raises:
            HTTPOutputError: It is more than Content-Length announced.
        """
        if self.silent or not chunk:
            return b""
        self._count(len(chunk))
        if self.chunked:
            return b"%x\r\n%b\r\n" % (len(chunk), chunk)
        return chunk

    def around(self, size: int) -> tuple[bytes, bytes]:
        """Return what goes before and after a piece of the body that is sent by itself.

        Args:
            size: Of the piece, in bytes; not 0.

        Raises:
            HTTPOutputError: It is more than Content-Length announced.
        """
        self._count(size)
        if self.chunked:
            return b"%x\r\n" % size, b"\r\n"
        return b"", b""

    def _count(self, size: int) -> None:
        self.size += size
        if self._remaining is not None:
            self._remaining -= size
            if self._remaining < 0:
                raise HTTPOutputError("Tried to write more data than Content-Length")

    def end(self, trailers: Any = None) -> bytes:
        """Return what ends the body.

        Args:
            trailers: Fields that follow a chunked body, as the headers; of any other they are
                left out, as there is no place for them.

        Raises:
            HTTPOutputError: It was less than Content-Length announced.
            ValueError, TypeError: As for a head; or a field may not be in a trailer.
        """
        if self._remaining and not self.silent:
            raise HTTPOutputError(
                f"Tried to write {self._remaining} bytes less than Content-Length"
            )
        if not self.chunked:
            return b""
        if not trailers:
            return b"0\r\n\r\n"
        return _lines("0", _with_get_all(trailers), NOT_IN_TRAILERS)


class _Fields(dict[str, Any]):
    """Fields of which no name is repeated: the least that is needed of ``HTTPHeaders``."""

    __slots__ = ()

    get_all = dict.items


def _with_get_all(headers: Any) -> Any:
    if hasattr(headers, "get_all"):
        return headers
    pairs = headers
    if type(pairs) is not list and isinstance(pairs, Mapping):
        pairs = pairs.items()
    try:
        pairs = [
            (canonical_names[name if type(name) is not bytes else name.decode("latin-1")], value)
            for name, value in pairs
        ]
    except (TypeError, ValueError) as error:
        raise type(error)(
            "headers are a mapping, or pairs of a name, which is a str or bytes, and a value"
        ) from None
    fields = _Fields(pairs)
    return fields if len(fields) == len(pairs) else HTTPHeaders._from_canonical_pairs(pairs)


def _value(headers: Any, name: str) -> str:
    return _to_text(name, headers[name])


def _options(connection: str) -> list[str]:
    return [option.strip() for option in connection.lower().split(",")]


def _content_length(value: str) -> int:
    if not (value.isascii() and value.isdigit()):
        raise ValueError("Content-Length is not a number")
    return int(value)


def _serialize(code: int, reason: str, headers: Any) -> bytes:
    return _lines(f"HTTP/1.1 {code} {reason}", headers)


def _lines(first: str, headers: Any, forbidden: Container[str] = ()) -> bytes:
    """Return a first line, a line for each field, and the empty one."""
    fields = list(headers.get_all())
    if forbidden:
        for name, _ in fields:
            if canonical_names[name] in forbidden:  # RFC 9110 section 6.5.1
                raise ValueError(f"{name} may not be in a trailer")
    section = serialize_fields(first, fields)
    if section is None:
        # A number as a value, for instance, or something that is refused.
        if _ILLEGAL.search(first):
            raise ValueError("Illegal characters (CR, LF or NUL) in reason")
        lines = [_field_line(name, value) for name, value in fields]
        section = "\r\n".join([first, *lines, "", ""]).encode("latin-1")
    return section


def _field_line(name: str, value: object) -> str:
    # No value is said, nor a whole name: it gets into logs, and may be a client's.
    if not isinstance(name, str):
        raise TypeError(f"a header's name is a str or bytes, not {type(name).__name__}")
    if not is_token(name):
        raise ValueError(f"Illegal header name {name[:100]!r}")
    text = _to_text(name, value)
    if _ILLEGAL.search(text):
        raise ValueError(f"Illegal characters (CR, LF or NUL) in header {name[:100]}")
    return f"{name}: {text}"


def _to_text(name: str, value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if not isinstance(value, (str, int)):
        raise TypeError(f"header {name} is a str, bytes or an int, not {value!r}")
    return str(value)
