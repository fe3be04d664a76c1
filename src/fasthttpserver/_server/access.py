"""The access log: what is noted of an exchange, and its line.

The status is what stands in the first line that the application writes, and the size what
it writes in all, head included: a raw callback tells the server nothing else.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from datetime import datetime

from fasthttpserver._server.request import HTTPRequest
from fasthttpserver.log import access_log, app_log

__all__ = ["FORMATS", "Access", "AccessLog"]

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})[ \r]")


class Access:
    """One exchange, as it goes on.

    Args:
        request: None for what was refused before it was a request.
    """

    __slots__ = ("request", "size", "started", "status")

    def __init__(self, request: HTTPRequest | None) -> None:
        self.request = request
        self.started = time.time() if request is None else request.start_time
        self.status: int | None = None
        self.size = 0

    def wrote(self, chunk: bytes) -> None:
        """Note what was written."""
        self.size += len(chunk)
        if self.status is None or self.status < 200:  # an interim response is not the one
            line = _STATUS_LINE.match(chunk)
            if line is not None:
                self.status = int(line[1])


class AccessLog:
    """Logs exchanges when they are over.

    Args:
        form: ``common`` for the Common Log Format of web servers, with the duration in
            seconds after it, or ``json``; or a function that makes a line of an ``Access``
            and the client's address.

    Raises:
        ValueError: It is none of these.
    """

    def __init__(self, form: str | Callable[[Access, str], str]) -> None:
        if callable(form):
            self._format = form
        elif form in FORMATS:
            self._format = FORMATS[form]
        else:
            raise ValueError(f"access_log must be one of {sorted(FORMATS)}, not {form!r}")

    def log(self, access: Access, remote_ip: str) -> None:
        """Log one exchange."""
        try:
            line = self._format(access, remote_ip)
        except Exception:  # of an application's own form
            app_log.error("Uncaught exception in access_log", exc_info=True)
        else:
            access_log.info("%s", line)


def _common(access: Access, remote_ip: str) -> str:
    request = access.request
    when = datetime.fromtimestamp(access.started).astimezone()
    line = "-" if request is None else f"{request.method} {request.uri} {request.version}"
    status = "-" if access.status is None else access.status
    duration = time.time() - access.started
    return (
        f"{remote_ip} - - [{when:%d/%b/%Y:%H:%M:%S %z}] "
        f'"{_escaped(line)}" {status} {access.size} {duration:.6f}'
    )


def _escaped(text: str) -> str:
    # As Apache does: nothing that a client sends ends the line or the quotes (CVE-2020-7694).
    if text.isascii() and text.isprintable():
        return text.replace("\\", "\\\\").replace('"', '\\"')
    escaped = text.encode("unicode_escape").decode("ascii")
    return escaped.replace('"', '\\"')


def _json(access: Access, remote_ip: str) -> str:
    request = access.request
    headers = {} if request is None else request.headers
    return json.dumps(
        {
            "time": datetime.fromtimestamp(access.started).astimezone().isoformat(),
            "remote_ip": remote_ip,
            "method": None if request is None else request.method,
            "uri": None if request is None else request.uri,
            "version": None if request is None else request.version,
            "host": None if request is None else request.host,
            "status": access.status,
            "size": access.size,
            "duration": round(time.time() - access.started, 6),
            "referer": headers.get("Referer"),
            "user_agent": headers.get("User-Agent"),
        }
    )


FORMATS: dict[str, Callable[[Access, str], str]] = {"common": _common, "json": _json}
