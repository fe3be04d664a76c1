"""The lines of the access log: what may stand in one.

A format is compiled once, into what ``log_line`` of the extension takes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from fasthttpserver._server.access_record import basic_user, response_field

if TYPE_CHECKING:
    from fasthttpserver._server.request import HTTPRequest

__all__ = ["FORMATS", "LineFormat", "compile_format"]

# A letter that the extension knows, or what finds the value in a request and its response.
Atom = bytes | Callable[["HTTPRequest", bytes], str | None]


class LineFormat(NamedTuple):
    """A format that was compiled.

    Attributes:
        parts: Text, an atom, text, and so on, as ``log_line`` takes them.
        as_json: Whether values are JSON.
        write_time: Makes the text of a second, which is a number since the epoch.
    """

    parts: tuple[Atom, ...]
    as_json: bool
    write_time: Callable[[int], str]


# --- Text -------------------------------------------------------------------------------------

# The Common Log Format of web servers, with the duration in seconds after it; Combined is what
# programs that read logs expect to the letter.
_COMMON = '%(h)s %(l)s %(u)s %(t)s "%(r)s" %(s)s %(b)s'
_COMBINED = f'{_COMMON} "%(f)s" "%(a)s"'


def _attribute(name: str) -> Atom:
    return lambda request, response: getattr(request, name)


def _user(request: HTTPRequest, response: bytes) -> str | None:
    """Return the name in Basic credentials as one word.

    Nobody has checked it, and nothing quotes it: with more or fewer words, what follows would not
    be where others look for it.
    """
    name = basic_user(request)
    return name.replace(" ", "%20") if name else None


# Those of gunicorn, and the id.
_ATOMS: dict[str, Atom] = {
    **{letter: letter.encode() for letter in "htrmHsBbfaTMDL"},
    "p": lambda request, response: f"<{os.getpid()}>",
    "u": _user,
    "U": _attribute("path"),
    "q": _attribute("query"),
    "request_id": _attribute("request_id"),
}
_KNOWN = [*"hlutrmUqHsBbfaTMDLp", "request_id", "{header}i", "{header}o", "{variable}e"]
_ATOM = re.compile(r"%(?:%|\(([^)]*)\)s)?")
_OF_NAME = re.compile(r"\{([^{}]+)\}([ioe])")


def _find(name: str | None) -> tuple[str, Atom | None]:
    """Return the text that an atom stands for, if it is the same for ever, or what finds it.

    Raises:
        KeyError: There is no such atom.
    """
    if name == "l":
        return "-", None  # nobody asks identd any more
    of_name = _OF_NAME.fullmatch(name or "")
    if of_name is None:
        return "", _ATOMS[name or ""]
    field, kind = of_name.groups()
    if kind == "e":
        return os.environ.get(field, "-"), None
    if kind == "i":
        return "", lambda request, response: request.find_field(field)
    return "", lambda request, response: response_field(response, field)


def _compile(form: str) -> LineFormat:
    parts: list[Atom] = []
    text = ""
    end = 0
    for match in _ATOM.finditer(form):
        text += form[end : match.start()]
        end = match.end()
        try:
            fixed, atom = ("%", None) if match[0] == "%%" else _find(match[1])
        except KeyError:
            wrong = match[0] if match[1] else form[match.start() :][:40]
            raise ValueError(
                f"unknown atom {wrong!r} in a format of the access log; "
                f"known are {' '.join(f'%({each})s' for each in _KNOWN)}, and %% for a %"
            ) from None
        text += fixed
        if atom is not None:
            parts += text.encode(), atom
            text = ""
    text += form[end:]
    return LineFormat((*parts, text.encode()), False, _clf_time)


_MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


def _clf_time(second: int) -> str:
    moment = datetime.fromtimestamp(second).astimezone()
    # Not %b, which depends on the locale.
    return f"[{moment:%d}/{_MONTHS[moment.month - 1]}/{moment:%Y:%H:%M:%S %z}]"


# --- JSON -------------------------------------------------------------------------------------


_JSON: dict[str, Atom] = {
    "time": b"t",
    "remote_ip": b"h",
    "method": b"m",
    "uri": b"i",
    "version": b"H",
    "host": b"v",
    "status": b"s",
    "size": b"B",
    "duration": b"L",
    "referer": b"f",
    "user_agent": b"a",
    "request_id": _ATOMS["request_id"],
}


def _iso_time(second: int) -> str:
    return f'"{datetime.fromtimestamp(second).astimezone().isoformat()}"'


def _json() -> LineFormat:
    # Several times as fast as json.dumps(), which does not know what comes.
    parts: list[Atom] = []
    for name, atom in _JSON.items():
        parts += f'{", " if parts else "{"}"{name}": '.encode(), atom
    return LineFormat((*parts, b"}"), True, _iso_time)


FORMATS: dict[str, LineFormat] = {
    "common": _compile(f"{_COMMON} %(L)s"),
    "combined": _compile(_COMBINED),
    "json": _json(),
}


def compile_format(form: str) -> LineFormat:
    """Return what makes a line of an exchange.

    Args:
        form: A name in ``FORMATS``, or a text with atoms such as ``%(h)s``.

    Raises:
        ValueError: It is neither, or has an atom that is not known.
        TypeError: It is not a string.
    """
    if not isinstance(form, str):
        raise TypeError(f"access_log must be a format or a function, not {form!r}")
    if form in FORMATS:
        return FORMATS[form]
    if "%(" not in form:
        raise ValueError(
            f"access_log must be one of {sorted(FORMATS)} or a format with atoms such as %(h)s, "
            f"not {form!r}"
        )
    return _compile(form)
