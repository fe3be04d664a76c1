"""Where the log of the command line goes."""

from __future__ import annotations

import argparse
import json
import logging
import logging.config
import tomllib
from pathlib import Path
from typing import Any

from fasthttpserver.access import AccessLog, reopen_files
from fasthttpserver.log import access_log

__all__ = ["access_log_of", "configure_logs", "reopen_log_files"]


def configure_logs(options: argparse.Namespace) -> None:
    """Log as the options say; workers inherit it.

    Raises:
        ValueError: The file of ``--log-config`` cannot be used.
        OSError: It cannot be read.
    """
    if options.log_config is not None:
        _configure_by(options.log_config)
        if options.log_level is not None:
            logging.getLogger("fasthttpserver").setLevel(options.log_level.upper())
        return
    logging.basicConfig(
        level=(options.log_level or "info").upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    # It has its own time. So its lines go to stderr as they are, unless the application gives the
    # logger a handler.
    access_log.propagate = False


def _configure_by(name: str) -> None:
    try:
        config = _read(Path(name))
    except ValueError as error:
        raise ValueError(f"--log-config {name}: {error}") from error
    # By default all loggers that exist would be disabled, those of this server too.
    config = {"version": 1, "disable_existing_loggers": False} | config
    try:
        logging.config.dictConfig(config)
    except (ValueError, TypeError, AttributeError, ImportError, KeyError) as error:
        reason = f"{error}: {error.__cause__}" if error.__cause__ else f"{error}"
        raise ValueError(f"--log-config {name}: {reason}") from error


def _read(path: Path) -> dict[str, Any]:
    if path.suffix == ".toml":
        return tomllib.loads(path.read_text(encoding="utf-8"))
    if path.suffix != ".json":
        raise ValueError("its name has to end with .json or .toml")
    config = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(config, dict):
        raise ValueError("it is not a JSON object")
    return config


def access_log_of(options: argparse.Namespace) -> AccessLog | None:
    """Make the access log that the options ask for.

    Raises:
        OSError: Its file cannot be opened.
    """
    if options.access_log is None:
        return None
    return AccessLog(options.access_log, options.access_log_file)


def reopen_log_files() -> None:
    """Go on in new files, as others have moved the old ones away.

    For handlers of the logging module, the next line of each opens its file.
    """
    reopen_files()
    loggers = [logging.getLogger(), *map(logging.getLogger, list(logging.root.manager.loggerDict))]
    for handler in {handler for logger in loggers for handler in logger.handlers}:
        if isinstance(handler, logging.FileHandler) and handler.mode.startswith("a"):
            handler.acquire()
            try:
                handler.close()
            finally:
                handler.release()
