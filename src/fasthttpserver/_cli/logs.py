"""Where the log of the command line goes."""

from __future__ import annotations

import argparse
import logging

from fasthttpserver.log import access_log

__all__ = ["configure_logs", "reopen_log_files"]


def configure_logs(options: argparse.Namespace) -> None:
    """Log to stderr as the options say."""
    logging.basicConfig(
        level=options.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    if options.access_log:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))  # has its own time
        access_log.addHandler(handler)
        access_log.setLevel(logging.INFO)
        access_log.propagate = False


def reopen_log_files() -> None:
    """Close the files of the logging module's handlers; the next line of each opens it anew."""
    loggers = [logging.getLogger(), *map(logging.getLogger, list(logging.root.manager.loggerDict))]
    for handler in {handler for logger in loggers for handler in logger.handlers}:
        if isinstance(handler, logging.FileHandler) and handler.mode.startswith("a"):
            handler.acquire()
            try:
                handler.close()
            finally:
                handler.release()
