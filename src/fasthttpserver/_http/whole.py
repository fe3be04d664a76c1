"""A whole response in an application's words, made into what a connection sends."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from fasthttpserver import httputil
from fasthttpserver._http.fields import Fields, StartLine, canonical_names
from fasthttpserver._http.replies import REASONS
from fasthttpserver._parser import serialize_fields

__all__ = [
    "BODILESS",
    "Body",
    "Pairs",
    "check_type",
    "describe",
    "encode_body",
    "has_field",
    "prepared_head",
    "separate_type",
    "start_line_of",
]

# What is sent; a dict or list as JSON.
Body = bytes | bytearray | memoryview | str | dict[Any, Any] | list[Any]
Pairs = list[tuple[Any, Any]]

# RFC 9110 sections 15.3.5, 15.3.6 and 15.4.5: no content follows, so nothing describes it.
BODILESS = frozenset((204, 205, 304))

_to_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_find_charset = re.compile(r";\s*charset=\"?([^\s;\"]*)", re.IGNORECASE).search


def start_line_of(status: int) -> StartLine:
    """Return the start line of a whole response.

    Raises:
        TypeError: The status is not an int.
        ValueError: It is out of range, or that of an interim response.
    """
    if not isinstance(status, int) or isinstance(status, bool):
        raise TypeError(f"status is an int, not {type(status).__name__}")
    if not 200 <= status <= 999:
        raise ValueError(f"status of a whole response is 200 to 999, not {status}")
    return "HTTP/1.1", int(status), REASONS.get(status, "")


def check_type(content_type: object) -> None:
    """Raise TypeError if a content type is not a string."""
    if not isinstance(content_type, str):
        raise TypeError(f"content_type is a str, not {type(content_type).__name__}")


def encode_body(body: Body, content_type: str | None) -> tuple[bytes, str | None]:
    """Return the bytes of a body, and of what type they are.

    Raises:
        TypeError: The body is of another type.
        ValueError: It is not JSON; or it is a string, and the type says that it is not UTF-8.
    """
    if isinstance(body, str):
        return body.encode(), _text_type(content_type or "text/plain")
    if isinstance(body, dict | list):
        return _to_json(body).encode(), content_type or "application/json"
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body), content_type
    raise TypeError(f"body is bytes, a str, or a dict or list for JSON, not {type(body).__name__}")


@lru_cache(maxsize=64)
def _text_type(content_type: str) -> str:
    charset = _find_charset(content_type)
    if charset is not None and charset[1].lower() != "utf-8":
        raise ValueError(f"a str is sent in UTF-8, and content_type says {charset[1]!r}")
    if charset is not None or not content_type.lower().startswith("text/"):
        return content_type
    return f"{content_type}; charset=utf-8"


def separate_type(headers: Fields, content_type: str | None) -> tuple[Pairs, str | None]:
    """Return the fields but for Content-Type, and that, which may be among them.

    Raises:
        TypeError: They are not header fields.
        ValueError: There are two content types.
    """
    fields: Pairs = []
    for name, value in list(headers.items()) if type(headers) is dict else _pairs(headers):
        canonical = canonical_names[name if type(name) is str else _text("name", name)]
        if canonical != "Content-Type":
            fields.append((canonical, value))
        elif content_type is None:
            content_type = _text("Content-Type", value)
        else:
            raise ValueError("Content-Type is given twice")
    return fields, content_type


def _pairs(headers: Any) -> Pairs:
    if hasattr(headers, "get_all"):
        pairs = headers.get_all()
    else:
        pairs = headers.items() if isinstance(headers, Mapping) else headers
    try:
        return [(name, value) for name, value in pairs]
    except (TypeError, ValueError) as error:
        raise TypeError("headers are a mapping, or pairs of a name and a value") from error


def _text(what: str, text: object) -> str:
    if isinstance(text, bytes):
        return text.decode("latin-1")
    if not isinstance(text, str):
        raise TypeError(f"{what} of a header is a str or bytes, not {type(text).__name__}")
    return text


def has_field(fields: Pairs, name: str) -> bool:
    """Whether there is a field of this name, which is in its canonical form."""
    return any(name == each for each, _ in fields)


def describe(fields: Pairs, content_type: str | None, now: float) -> Pairs:
    """Return the fields of a whole response: Date, Content-Type, and those of the application.

    Args:
        fields: Of the application; a Date among them stays.
        content_type: None for none.
        now: Seconds since the epoch.
    """
    own: Pairs = []
    if not has_field(fields, "Date"):
        own.append(("Date", httputil.date_value(now)))
    if content_type is not None:
        own.append(("Content-Type", content_type))
    return own + fields


@lru_cache(maxsize=64)
def prepared_head(status: int, content_type: str | None, second: float) -> bytes | None:
    """Return how responses of one second begin, for ``frame_prepared``.

    It is what ``describe`` returns without fields of the application.

    Args:
        status, content_type: Of the response.
        second: Since the epoch; a whole number.

    Returns:
        None if there is anything about it that takes more than that.
    """
    if not 200 <= status <= 999 or status in BODILESS:
        return None
    first = f"HTTP/1.1 {status} {REASONS.get(status, '')}"
    head = serialize_fields(first, describe([], content_type, second))
    return head and head.removesuffix(b"\r\n\r\n")
