"""The three loggers, named as Tornado's with our prefix.

No handler is set here: that is for the application (``logging.basicConfig()``).
A peer's fault is one INFO line with ``%r``; an application's is ERROR with a traceback.
"""

from __future__ import annotations

import logging

__all__ = ["access_log", "app_log", "gen_log", "redirect", "target_of"]

access_log = logging.getLogger("fasthttpserver.access")
app_log = logging.getLogger("fasthttpserver.application")
gen_log = logging.getLogger("fasthttpserver.general")


class _Redirection(logging.Filter):
    """Gives the records of a logger to another one, which decides about them."""

    def __init__(self, target: logging.Logger) -> None:
        super().__init__()
        self.target = target

    def filter(self, record: logging.LogRecord) -> bool:
        if self.target.isEnabledFor(record.levelno):
            record.name = self.target.name
            self.target.handle(record)
        return False


def redirect(prefix: str | None) -> None:
    """Log on ``<prefix>.access``, ``.application`` and ``.general`` from now on, in this process.

    Their levels, filters and handlers count, and no longer those of ours.

    Args:
        prefix: Such as ``tornado``; None for our own loggers again.
    """
    for logger in access_log, app_log, gen_log:
        for each in logger.filters[:]:
            if isinstance(each, _Redirection):
                logger.removeFilter(each)
                logger.setLevel(logging.NOTSET)
        if prefix is not None:
            target = logging.getLogger(f"{prefix}.{logger.name.rpartition('.')[2]}")
            logger.setLevel(1)  # of all there are: the other logger has its own
            logger.addFilter(_Redirection(target))


def target_of(logger: logging.Logger) -> logging.Logger:
    """Return the logger that decides about the records of one of ours."""
    for each in logger.filters:
        if isinstance(each, _Redirection):
            return each.target
    return logger
