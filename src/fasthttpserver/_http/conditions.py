"""What a request wants of a file: conditions on its version (RFC 9110 section 13), a range (14).

The client has some version of the file, or a part of one, and asks for what it lacks. Pure
functions of header fields and of what tells versions apart.
"""

from __future__ import annotations

import calendar
import re
import sys
from collections.abc import Callable
from email.utils import parsedate_tz
from typing import NamedTuple

__all__ = ["Version", "failed_condition", "parse_range", "wanted_range"]

# RFC 9110 section 8.8.3.
_find_tags = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"').findall
_match_range = re.compile(r"bytes=[ \t]*([0-9]*)-([0-9]*)[ \t]*", re.IGNORECASE).fullmatch

_GetField = Callable[[str], str | None]


class Version(NamedTuple):
    """What tells one version of a file from others.

    Args:
        tag: The value of ETag.
        modified: When it was modified, in whole seconds since the epoch; None if that is unknown.
    """

    tag: str
    modified: int | None

    @property
    def is_strong(self) -> bool:
        """Whether two files of this version have the same bytes (RFC 9110 section 8.8.1)."""
        return not self.tag.startswith("W/")


def failed_condition(get: _GetField, version: Version) -> int | None:
    """Evaluate the conditions of a GET or HEAD, in the order of RFC 9110 section 13.2.2.

    Args:
        get: Returns a header field, or None.
        version: Of what would be sent.

    Returns:
        304 or 412 if that is the answer; None to go on.
    """
    if (tags := get("If-Match")) is not None:
        if not _matches(tags, version, weak=False):
            return 412
    elif (since := _date(get("If-Unmodified-Since"))) is not None:
        if version.modified is not None and version.modified > since:
            return 412
    if (tags := get("If-None-Match")) is not None:
        if _matches(tags, version, weak=True):
            return 304
    elif (since := _date(get("If-Modified-Since"))) is not None:
        if version.modified is not None and version.modified <= since:
            return 304
    return None


def wanted_range(get: _GetField, version: Version, size: int) -> range | None:
    """Return the bytes that a GET asks for, if it still has the same version.

    Args:
        get, version: As for ``failed_condition``.
        size: Of the whole, in bytes.

    Returns:
        As ``parse_range``.
    """
    wanted = get("Range")
    if wanted is None:
        return None
    condition = get("If-Range")
    if condition is not None:
        # Weak ones do not tell whether parts of two responses fit together. A date is as strong
        # as the tag, which is weak while the file may change again within the same second.
        if '"' in condition:
            same = condition.strip(" \t") == version.tag
        else:
            same = version.modified is not None and _date(condition) == version.modified
        if not (same and version.is_strong):
            return None
    return parse_range(wanted, size)


def parse_range(field: str, size: int) -> range | None:
    """Return the bytes that a Range field asks for.

    Several ranges at once are ignored, as RFC 9110 section 14.2 allows: hardly any client asks
    for them, and servers were overloaded by them (CVE-2011-3192).

    Args:
        field: Its value.
        size: Of the whole, in bytes.

    Returns:
        None for the whole, also if the field is malformed or of another unit. An empty range if
        there are no such bytes.
    """
    match = _match_range(field)
    if match is None or match[0].endswith("=-"):
        return None
    first, last = match.groups()
    if not first:
        if not last:
            return None
        count = _number(last)
        if count and not size:
            return None  # all of it, which no Content-Range can say
        return range(max(0, size - count), size)
    start = _number(first)
    end = _number(last) if last else sys.maxsize
    if end < start:
        return None
    return range(start, min(end + 1, size))


def _matches(field: str, version: Version, *, weak: bool) -> bool:
    """Whether a list of tags has that of the version (RFC 9110 section 8.8.3.2)."""
    if field.strip(" \t") == "*":
        return True
    tags: list[str] = _find_tags(field)
    if weak:
        return version.tag.removeprefix("W/") in [tag.removeprefix("W/") for tag in tags]
    return version.is_strong and version.tag in tags


def _date(field: str | None) -> int | None:
    """Return the seconds since the epoch; None if it is not a date (RFC 9110 section 5.6.7)."""
    if field is None:
        return None
    try:
        parsed = parsedate_tz(field)
        return None if parsed is None else calendar.timegm(parsed[:9]) - (parsed[9] or 0)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _number(digits: str) -> int:
    digits = digits.lstrip("0") or "0"
    # No file has more; and int() refuses thousands of digits.
    return int(digits) if len(digits) <= 18 else sys.maxsize
