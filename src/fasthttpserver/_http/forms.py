"""The arguments and uploads of a form in a body.

This looks at the type of the body and reads urlencoded forms; ``multipart`` reads the other kind.
"""

from __future__ import annotations

from collections.abc import Mapping

from fasthttpserver._http.multipart import (
    MAX_MULTIPART_PARTS,
    MAX_PART_HEADER_SIZE,
    HTTPFile,
    parse_multipart_form_data,
    split_parameters,
)
from fasthttpserver._http.query import MAX_ARGUMENTS, parse_query, wire_bytes
from fasthttpserver._parser import add_arguments
from fasthttpserver.errors import HTTPInputError
from fasthttpserver.log import gen_log

__all__ = ["parse_body_arguments"]

_URLENCODED = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data"


def parse_body_arguments(
    content_type: str,
    body: bytes,
    arguments: dict[str, list[bytes]],
    files: dict[str, list[HTTPFile]],
    headers: Mapping[str, str] | None = None,
    *,
    max_arguments: int = MAX_ARGUMENTS,
    max_parts: int = MAX_MULTIPART_PARTS,
    max_part_header_size: int = MAX_PART_HEADER_SIZE,
) -> None:
    """Parse a form body of either kind; a body of any other type is let alone.

    Args:
        content_type: The Content-Type field, or an empty string.
        body: The whole body.
        arguments: Values are appended here by name.
        files: Uploaded files are appended here by name.
        headers: Of the request. A body with a Content-Encoding is not parsed.
        max_arguments: How many urlencoded arguments there may be.
        max_parts: How many parts a multipart body may have.
        max_part_header_size: How many bytes the header section of a part may have.

    Raises:
        HTTPInputError: A limit is passed, or a multipart body is one that others could read
            in another way. Some arguments may have been appended already.
    """
    media_type = content_type[: len(_URLENCODED)].lower()
    urlencoded = media_type == _URLENCODED
    if not urlencoded and not media_type.startswith(_MULTIPART):
        return
    encoding = headers.get("Content-Encoding", "") if headers else ""
    if encoding and encoding.lower() != "identity":
        gen_log.warning("Unsupported Content-Encoding: %r", encoding[:100])
    elif urlencoded:
        _parse_urlencoded(body, arguments, max_arguments)
    else:
        parse_multipart_form_data(
            _boundary(content_type),
            body,
            arguments,
            files,
            max_parts=max_parts,
            max_part_header_size=max_part_header_size,
        )


def _boundary(content_type: str) -> bytes:
    # Of two Tornado takes the first and Werkzeug the last.
    boundaries = {
        value for name, value in split_parameters(content_type) if name == "boundary" and value
    }
    if len(boundaries) > 1:
        raise HTTPInputError("multipart/form-data with two boundaries")
    return wire_bytes(boundaries.pop()) if boundaries else b""


def _parse_urlencoded(body: bytes, arguments: dict[str, list[bytes]], max_arguments: int) -> None:
    # Tornado 3 decodes the body before it splits it, and its tests hold that a body that
    # is not UTF-8 has no arguments. Splitting the bytes keeps what it would then corrupt.
    if not body.isascii():
        try:
            body.decode("utf-8")
        except UnicodeDecodeError as error:
            gen_log.warning(
                "Invalid x-www-form-urlencoded body: %s at byte %d", error.reason, error.start
            )
            return
    found = parse_query(body, max_arguments)
    if arguments:
        add_arguments(arguments, found)
    else:  # nearly always; the lists can be taken as they are
        arguments.update(found)
