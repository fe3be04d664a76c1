"""How responses of a server are read, and which rule they break.

A strict reader: it takes what RFC 9112 lets a server send and nothing that clients merely
put up with, since what one client puts up with is a different response to another.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from fasthttpserver._http.headers import HTTPHeaders

__all__ = ["A_RESPONSE", "Asked", "Reading", "Response", "RuleBroken", "read_response"]

# RFC 9112 section 4: the SP after the code stays when the reason is empty.
_STATUS_LINE = re.compile(rb"(HTTP/1\.[01]) ([1-5][0-9]{2}) ([\t\x20-\x7e\x80-\xff]*)")
# RFC 9110 sections 5.1 and 5.5.
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)")
# RFC 9112 section 7.1.
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")


# What is missing when nothing of a response has come.
A_RESPONSE = "a response"


class RuleBroken(AssertionError):
    """What was written is not a response to what was sent.

    Args:
        rule: What is wrong, with the section of the RFC that says so.
        sent: What the client sent.
        written: What it got.
    """

    def __init__(self, rule: str, sent: bytes = b"", written: bytes = b"") -> None:
        super().__init__(rule)
        self.rule = rule
        self.sent = sent
        self.written = written

    def __str__(self) -> str:
        return f"{self.rule}\n\nsent:\n{show(self.sent)}\nwritten:\n{show(self.written)}"


def show(data: bytes, most: int = 2000) -> str:
    """Bytes for a person: a line for each line; what is long loses its middle."""
    lines = [f"    {line!r}" for line in _short(data, most).splitlines(keepends=True)]
    return "\n".join(lines or ["    nothing"]) + "\n"


def _short(data: bytes, most: int) -> bytes:
    if len(data) <= most:
        return data
    half = most // 2
    return data[:half] + b"[... %d bytes ...]" % (len(data) - 2 * half) + data[-half:]


@dataclass(frozen=True)
class Response:
    """One response, as a client understands it."""

    version: str
    status: int
    reason: str
    headers: HTTPHeaders
    body: bytes = b""
    """The content: without chunk sizes."""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    """Fields after a chunked body."""
    interim: tuple[Response, ...] = ()
    """The 1xx responses that came before."""
    complete: bool = True
    """Whether all of the body has come."""
    closed: bool = False
    """Whether the server ended the connection after it."""


class Asked(NamedTuple):
    """What a response depends on in its request."""

    method: str = "GET"
    version: str = "HTTP/1.1"
    upgrade: bool = False


class Reading(NamedTuple):
    """A response as far as it has come."""

    asked: Asked
    response: Response | None  # None while the head is incomplete
    end: int  # where the next one begins
    missing: str  # what is still to come, in words; nothing for a whole response
    switched: bool = False  # what follows is another protocol


def read_response(data: bytes, asked: Asked, ended: bool) -> Reading:
    """Read the response at the beginning of some bytes.

    Args:
        data: What the server wrote, from the response on.
        asked: The request.
        ended: Whether the server has ended its side of the connection.

    Raises:
        RuleBroken: It is none.
    """
    interim: list[Response] = []
    at = 0
    while True:
        head = _read_head(data, at)
        if head is None:
            missing = "the rest of the head" if data[at:] else A_RESPONSE
            return Reading(asked, None, len(data), missing)
        response, at = head
        if response.status >= 200 or response.status == 101:
            break
        _check_bodiless(response, f"a {response.status} response")
        if asked.version == "HTTP/1.0":
            raise RuleBroken("an interim response to HTTP/1.0 (RFC 9110 section 15.2)")
        interim.append(response)

    body = _Body(data, at, ended)
    switched = _frame(response, asked, body)
    return Reading(
        asked,
        Response(
            response.version,
            response.status,
            response.reason,
            response.headers,
            bytes(body.content),
            body.trailers,
            tuple(interim),
            complete=not body.missing,
            closed=ended and not body.missing and body.at == len(data),
        ),
        body.at,
        body.missing,
        switched,
    )


def _read_head(data: bytes, at: int) -> tuple[Response, int] | None:
    line = _line(data, at, "the status line")
    if line is None:
        if not b"HTTP/1.".startswith(data[at : at + 7]):
            raise RuleBroken(f"no status line: {data[at : at + 40]!r} (RFC 9112 section 4)")
        return None
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        raise RuleBroken(f"no status line: {line[:80]!r} (RFC 9112 section 4)")
    version, status, reason = (part.decode("latin-1") for part in match.groups())
    fields = _read_fields(data, at + len(line) + 2, "a header line")
    if fields is None:
        return None
    headers = HTTPHeaders()
    for name, value in fields[0]:
        headers.add(name, value)
    return Response(version, int(status), reason, headers), fields[1]


def _read_fields(data: bytes, at: int, what: str) -> tuple[list[tuple[str, str]], int] | None:
    fields: list[tuple[str, str]] = []
    while (line := _line(data, at, what)) is not None:
        at += len(line) + 2
        if not line:
            return fields, at
        match = _FIELD.fullmatch(line)
        if match is None:
            raise RuleBroken(f"{what} is not a field: {line[:80]!r} (RFC 9112 section 5)")
        fields.append((match[1].decode("ascii"), match[2].decode("latin-1").rstrip(" \t")))
    return None


def _line(data: bytes, at: int, what: str) -> bytes | None:
    """The line at a position, without its end; None while that has not come."""
    end = data.find(b"\n", at)
    if end < 0:
        return None
    line = data[at:end]
    if not line.endswith(b"\r") or b"\r" in line[:-1]:
        raise RuleBroken(f"{what} does not end with CRLF: {line[:80]!r} (RFC 9112 section 2.2)")
    return line[:-1]


# --- The body -----------------------------------------------------------------------------


def _frame(response: Response, asked: Asked, body: _Body) -> bool:
    """Read the body as RFC 9112 section 6.3 has it; tell whether the protocol is switched."""
    headers, status = response.headers, response.status
    lengths = headers.get_list("Content-Length")
    codings = headers.get("Transfer-Encoding")
    if lengths and codings is not None:
        raise RuleBroken("both Content-Length and Transfer-Encoding (RFC 9112 section 6.1)")
    if lengths and (len(lengths) > 1 or not re.fullmatch("[0-9]+", lengths[0])):
        raise RuleBroken(f"Content-Length is not a number: {lengths} (RFC 9110 section 8.6)")
    if codings is not None and codings.lower() != "chunked":
        raise RuleBroken(f"a transfer coding that is not chunked: {codings!r}")
    if codings is not None and "HTTP/1.0" in (asked.version, response.version):
        raise RuleBroken("Transfer-Encoding in a response of or to HTTP/1.0 (RFC 9112 section 6.1)")
    if status == 101:
        if not asked.upgrade or "Upgrade" not in headers:
            raise RuleBroken("101 without Upgrade on both sides (RFC 9110 section 15.2.2)")
        _check_bodiless(response, "a 101 response")
        return True
    if asked.method == "CONNECT" and 200 <= status < 300:
        _check_bodiless(response, "a successful response to CONNECT")
        return True
    if status == 204:
        _check_bodiless(response, "a 204 response")
    if asked.method == "HEAD" or status in (204, 304):
        return False
    if codings is not None:
        body.read_chunks()
    elif lengths:
        body.read(int(lengths[0]))
    else:
        body.read_to_end()
    if status == 205 and body.content:
        raise RuleBroken("a 205 response has a body (RFC 9110 section 15.3.6)")
    return False


def _check_bodiless(response: Response, what: str) -> None:
    for name in ("Content-Length", "Transfer-Encoding"):
        if name in response.headers:
            raise RuleBroken(f"{what} has {name} (RFC 9110 section 8.6, RFC 9112 section 6.1)")


class _Body:
    """Reads a body, and tells what is missing of it."""

    def __init__(self, data: bytes, at: int, ended: bool) -> None:
        self.at = at
        self.content = bytearray()
        self.trailers: list[tuple[str, str]] = []
        self.missing = ""
        self._data = data
        self._ended = ended

    def read(self, size: int) -> bool:
        """Read a number of bytes; False if some are missing."""
        piece = self._data[self.at : self.at + size]
        self.content += piece
        self.at += len(piece)
        if len(piece) < size:
            self.missing = f"{size - len(piece)} of {size} bytes"
        return not self.missing

    def read_to_end(self) -> None:
        """Read until the connection ends."""
        self.read(len(self._data) - self.at)
        if not self._ended:
            self.missing = (
                "the end of the connection (there is neither Content-Length nor "
                "Transfer-Encoding, RFC 9112 section 6.3)"
            )

    def read_chunks(self) -> None:
        """Read up to the end of the trailer section."""
        while (line := _line(self._data, self.at, "a chunk size")) is not None:
            match = _CHUNK_SIZE.fullmatch(line)
            if match is None:
                raise RuleBroken(f"no chunk size: {line[:80]!r} (RFC 9112 section 7.1)")
            self.at += len(line) + 2
            size = int(match[1], 16)
            if size == 0:
                fields = _read_fields(self._data, self.at, "a trailer line")
                if fields is None:
                    break
                self.trailers, self.at = fields
                return
            if not self.read(size):
                return
            crlf = self._data[self.at : self.at + 2]
            if not b"\r\n".startswith(crlf):
                raise RuleBroken(f"no CRLF behind a chunk but {crlf!r} (RFC 9112 section 7.1)")
            if len(crlf) < 2:
                break
            self.at += 2
        self.missing = "the last chunk"
