"""The access log: a line, or a record of the logging module, for each exchange."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from time import time
from typing import TYPE_CHECKING, Any

from fasthttpserver._net.lines import FileOutput, Output, StreamOutput
from fasthttpserver._parser import log_line
from fasthttpserver._server.access_formats import compile_format
from fasthttpserver._server.access_record import AccessRecord
from fasthttpserver.log import access_log, app_log, target_of

if TYPE_CHECKING:
    from fasthttpserver._server.request import HTTPRequest

__all__ = ["AccessLog", "as_access_log"]


class AccessLog:
    """How exchanges are logged, and where; servers of one thread may share it.

    Without a file or a logger the lines go to the logger ``fasthttpserver.access``, if it or one
    above it has a handler, and otherwise to stderr.

    Args:
        form: ``common``, ``combined`` or ``json``; a text with gunicorn's atoms, such as
            ``%(h)s "%(r)s" %(s)s``; or a function that makes the line of an ``AccessRecord``
            and the client's address.
        file: The path of a file to append to; ``-`` is stdout.
        logger: Gets a record for each exchange, of level INFO. What ``AccessRecord.as_dict``
            returns is in its attributes.

    Raises:
        ValueError: The format is none, or there is both a file and a logger.
        OSError: The file cannot be opened.
    """

    def __init__(
        self,
        form: str | Callable[[AccessRecord, str], str] = "common",
        file: str | os.PathLike[str] | None = None,
        logger: logging.Logger | None = None,
    ) -> None:
        if file is not None and logger is not None:
            raise ValueError("an access log has a file or a logger, not both")
        self._form = form if callable(form) else None  # of the application
        self._format = None if callable(form) else compile_format(form)
        self._second = -1  # of which _time is the text
        self._time = b""
        self._logger = access_log if file is None and logger is None else logger
        self._is_given = logger is not None
        self._output: Output
        if file is None:
            self._output = StreamOutput("stderr")
        elif file == "-":
            self._output = StreamOutput("stdout")
        else:
            self._output = FileOutput(os.fspath(file))

    def log(
        self,
        loop: Any,
        request: HTTPRequest | None,
        remote_ip: str,
        status: int | None,
        size: int,
        response: bytes,
    ) -> None:
        """Log an exchange that is over now.

        Args:
            loop: The asyncio loop that runs.
            request, remote_ip, status, size, response: As for ``AccessRecord``.
        """
        now = time()
        started = now if request is None else request.start_time
        duration = now - started
        if duration < 0.0:
            duration = 0.0  # the clock was set back
        output = self._output
        try:
            line = self._line(request, remote_ip, status, size, started, duration, response)
            # While a line waits, those after it go the same way.
            if output.lines or self._logger is None or not self._is_heard(self._logger):
                output.add(line, loop)
            elif self._logger.isEnabledFor(logging.INFO):
                record = AccessRecord(request, remote_ip, status, size, started, duration, response)
                self._hand_over(self._logger, line, record)
        except Exception:  # of an application's own form, or handler
            app_log.error("Uncaught exception in access_log", exc_info=True)

    def _line(
        self,
        request: HTTPRequest | None,
        remote_ip: str,
        status: int | None,
        size: int,
        started: float,
        duration: float,
        response: bytes,
    ) -> bytes:
        if self._format is None:
            assert self._form is not None
            record = AccessRecord(request, remote_ip, status, size, started, duration, response)
            return self._form(record, remote_ip).encode("utf-8", "backslashreplace")
        parts, as_json, write_time = self._format
        second = int(started)
        if second != self._second:
            self._time = write_time(second).encode()
            self._second = second
        return log_line(
            parts, as_json, request, remote_ip, status, size, duration, self._time, response
        )

    def _is_heard(self, logger: logging.Logger) -> bool:
        """Whether lines go to the logger, and not to stderr as logging was never set up."""
        target = target_of(logger)
        return self._is_given or target.hasHandlers() or target.level > logging.INFO

    def _hand_over(self, logger: logging.Logger, line: bytes, record: AccessRecord) -> None:
        text = line.decode()
        extra = record.as_dict()
        # Not info(): it would look for its caller, which costs more than all the rest.
        level = logging.INFO
        logger.handle(
            logger.makeRecord(logger.name, level, __file__, 0, "%s", (text,), None, extra=extra)
        )

    def flush(self) -> None:
        """Write the lines that wait; the end of a server, and of the process, does so too."""
        self._output.flush()


def as_access_log(value: Any) -> AccessLog | None:
    """Return what ``HTTPServer(access_log=value)`` stands for.

    Raises:
        ValueError: It is not a format.
    """
    if value is None or value is False:
        return None
    if isinstance(value, AccessLog):
        return value
    if isinstance(value, logging.Logger):
        return AccessLog(logger=value)
    return AccessLog("common" if value is True else value)
