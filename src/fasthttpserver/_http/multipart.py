"""How the parts of a multipart body are read.

A boundary counts at the beginning of a line, and the first final one ends the body (RFC 2046
section 5.1.1). What is merely malformed is left out, as in Tornado 3, with one line on the
general log for the whole body. What passes a limit is refused with ``HTTPInputError``, and so
is a line that some readers take for a boundary and others for a part of a value: a filter in
front of this server has to see the same parts. The time is proportional to the size of the body.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from fasthttpserver._http.fields import is_token
from fasthttpserver._parser import unescape
from fasthttpserver.errors import HTTPInputError
from fasthttpserver.log import gen_log

__all__ = [
    "MAX_MULTIPART_PARTS",
    "MAX_PART_HEADER_SIZE",
    "HTTPFile",
    "parse_multipart_form_data",
    "split_parameters",
]

# Tornado's limits since 6.5.5; the second is in bytes.
MAX_MULTIPART_PARTS = 100
MAX_PART_HEADER_SIZE = 10_240
# RFC 2046 section 5.1.1 allows 70 bytes.
_MAX_BOUNDARY_SIZE = 256

_BARE_LINE_END = "multipart/form-data with CR or LF alone before a boundary"
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# One parameter of a field value up to its semicolon; those inside quotes do not count. What
# has begun cannot fail, as any character has its place, so nothing is read twice.
_PARAMETER = re.compile(r'((?:[^;"\\]+|\\"?|"(?:[^"\\]+|\\.?)*"?)*);?', re.DOTALL)
_QUOTED_PAIR = re.compile(r'\\(["\\])')
# A percent sign that begins no escape.
_STRAY_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
# RFC 8187 section 3.2.1 asks for the first, RFC 5987 for both. Clients do not get to choose
# among all of Python's codecs: some are slow (CVE-2022-45061).
_EXTENDED_CHARSETS = frozenset({"utf-8", "iso-8859-1"})


class HTTPFile(dict[str, Any]):
    """An uploaded file: a dictionary whose entries are attributes too.

    ``filename`` is what the client called it, never checked and never to be used as a path;
    ``content_type`` is the client's word as well.
    """

    __slots__ = ()

    filename: str
    body: bytes
    content_type: str

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


class _Malformed(Exception):
    """A part is to be left out; the argument is the line to log."""


def parse_multipart_form_data(
    boundary: bytes,
    data: bytes,
    arguments: dict[str, list[bytes]],
    files: dict[str, list[HTTPFile]],
    *,
    max_parts: int = MAX_MULTIPART_PARTS,
    max_part_header_size: int = MAX_PART_HEADER_SIZE,
) -> None:
    """Parse a ``multipart/form-data`` body (RFC 7578).

    A part with a file name becomes an ``HTTPFile``, any other an argument.

    Args:
        boundary: The parameter of the Content-Type field, with or without its quotes.
        data: The whole body.
        arguments: Values are appended here by name.
        files: Uploaded files are appended here by name.
        max_parts: How many parts there may be.
        max_part_header_size: How many bytes the header section of a part may have.

    Raises:
        HTTPInputError: A limit is passed, a part's header section has a bare CR, or it is
            open which lines are boundaries. Some arguments may have been appended already.
    """
    if boundary.startswith(b'"') and boundary.endswith(b'"'):
        boundary = boundary[1:-1]
    if not boundary:
        gen_log.warning("Invalid multipart/form-data: no boundary")
        return
    if len(boundary) > _MAX_BOUNDARY_SIZE:
        raise HTTPInputError("multipart/form-data boundary too long")
    parts = _find_parts(data, b"--" + boundary, max_parts)
    if parts is None:
        gen_log.warning("Invalid multipart/form-data: no final boundary")
        return
    problems = []
    for start, end in parts:
        try:
            _parse_part(data, start, end, arguments, files, max_part_header_size)
        except _Malformed as problem:
            problems.append(problem)
    if problems:
        gen_log.warning("%s (parts left out: %d)", problems[0], len(problems))


def _find_parts(data: bytes, dashed: bytes, max_parts: int) -> list[tuple[int, int]] | None:
    """Return where the preamble and each part begin and end; None without a final boundary.

    The end is after the CRLF that belongs to the next boundary.

    Args:
        data: The whole body.
        dashed: The boundary with the two hyphens before it.
        max_parts: How many parts there may be.

    Raises:
        HTTPInputError: There are more, or other readers would cut elsewhere.
    """
    parts = []
    start = 0
    end = 0 if data.startswith(dashed) else _find_line(data, dashed, 0)
    if data.find(dashed, 0, max(end, 0)) != -1:
        # To Werkzeug and python-multipart the first boundary may stand inside a line.
        raise HTTPInputError("multipart/form-data with a boundary inside the preamble")
    while end != -1:
        parts.append((start, end))
        start = end + len(dashed)
        if data.startswith(b"--", start):
            # To Werkzeug and email CR is a line end, too.
            if data.find(b"\r" + dashed, 0, end) != -1:
                raise HTTPInputError(_BARE_LINE_END)
            return parts  # what follows is the epilogue
        if not data.startswith(b"\r\n", start):
            raise HTTPInputError("multipart/form-data with a line like a boundary")
        if len(parts) > max_parts:
            raise HTTPInputError("Too many parts in a multipart/form-data body")
        start += 2
        end = _find_line(data, dashed, start - 1)  # its CRLF may be that of the next, too
    return None


def _find_line(data: bytes, beginning: bytes, start: int) -> int:
    """Return where the next line begins that begins so, or -1."""
    # Werkzeug and the standard library's email take LF for a line end: never silently pass it.
    at = data.find(b"\n" + beginning, start) + 1
    if not at:
        return -1
    if not data.endswith(b"\r\n", 0, at):
        raise HTTPInputError(_BARE_LINE_END)
    return at


def _parse_part(
    data: bytes,
    start: int,
    end: int,
    arguments: dict[str, list[bytes]],
    files: dict[str, list[HTTPFile]],
    max_header_size: int,
) -> None:
    """Parse data[start:end], which lies between two boundaries.

    Raises:
        _Malformed: It is malformed and is to be left out.
        HTTPInputError: It is to be refused.
    """
    head_end = data.find(b"\r\n\r\n", start, min(end, start + max_header_size + 4))
    if head_end == -1:
        if end - start > max_header_size + 4:
            raise HTTPInputError("multipart/form-data part header too large")
        if start == 0:
            return  # the preamble, RFC 2046 section 5.1.1
        raise _Malformed("multipart/form-data missing headers")
    if head_end + 4 == end:
        # The CRLF of the boundary ends the head already: to some this line is not one.
        raise HTTPInputError("multipart/form-data part with no value before a boundary")
    fields = _part_fields(data[start:head_end])
    disposition, parameters = _parse_parameters(fields.get("content-disposition", ""))
    if disposition != "form-data":
        raise _Malformed("Invalid multipart/form-data")
    name = parameters.get("name")
    if not name:
        raise _Malformed("multipart/form-data value missing name")
    value = data[head_end + 4 : end - 2]
    filename = parameters.get("filename")
    if filename:
        content_type = fields.get("content-type", "application/unknown")
        file = HTTPFile(filename=filename, body=value, content_type=content_type)
        files.setdefault(name, []).append(file)
    else:
        arguments.setdefault(name, []).append(value)


def _part_fields(head: bytes) -> dict[str, str]:
    # Not HTTPHeaders: browsers send names of fields and files in UTF-8 here.
    if b"\r" in head.replace(b"\r\n", b""):
        raise HTTPInputError("CR in a multipart/form-data part header")
    try:
        lines = head.decode("utf-8").split("\r\n")
    except UnicodeDecodeError:
        raise _Malformed("Invalid multipart/form-data: headers are not UTF-8") from None
    fields: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        name = name.lower()
        if not colon or not is_token(name) or _CONTROL.search(value) or name in fields:
            raise _Malformed("Invalid multipart/form-data: malformed headers")
        fields[name] = value.strip(" \t")
    return fields


def _parse_parameters(field: str) -> tuple[str, dict[str, str]]:
    """Split a field value such as ``form-data; name="a"`` into its type and parameters.

    Raises:
        _Malformed: A parameter is given twice.
    """
    parameters: dict[str, str] = {}
    extended: dict[str, str] = {}
    for name, value in split_parameters(field):
        group = extended if name.endswith("*") else parameters
        if name in group:
            raise _Malformed("Invalid multipart/form-data: parameter given twice")
        group[name] = value
    for name, value in extended.items():
        name = name[:-1]
        decoded = _decode_extended(value)
        if decoded is not None:
            parameters[name] = decoded  # RFC 6266 section 4.3 prefers it
        else:
            parameters.setdefault(name, value)
    return field.partition(";")[0].strip(" \t").lower(), parameters


def split_parameters(field: str) -> Iterator[tuple[str, str]]:
    """Give the parameters after the first element of a field value, names in lower case."""
    for parameter in _PARAMETER.findall(field)[1:]:
        name, equals, value = parameter.partition("=")
        value = value.strip(" \t")
        if len(value) >= 2 and value[0] == value[-1] == '"':
            value = _QUOTED_PAIR.sub(r"\1", value[1:-1])
        if equals:
            yield name.strip(" \t").lower(), value


def _decode_extended(value: str) -> str | None:
    """Decode ``charset'language'%41bc`` (RFC 8187, before it RFC 2231); None if malformed."""
    charset, _, rest = value.partition("'")
    _, quote, text = rest.partition("'")
    charset = charset.lower()
    if not quote or charset not in _EXTENDED_CHARSETS or not text.isascii():
        return None
    data = text.encode("ascii")
    if _STRAY_PERCENT.search(data):
        return None
    try:
        decoded = unescape(data).decode(charset)
    except UnicodeDecodeError:
        return None
    # No header carries a control character in the open, so none is let in by this way.
    return None if _CONTROL.search(decoded) else decoded
