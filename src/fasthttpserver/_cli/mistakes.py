"""Words for mistakes: what an exception says to a person, and which name may have been meant."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable

__all__ = ["in_words", "suggestion"]

# Options whose value is the path of a file; --sni has paths, too.
_FILES = ("certfile", "keyfile", "ca_certs", "log_config", "access_log_file", "unix_socket")


def in_words(error: Exception, options: argparse.Namespace | None = None) -> str:
    """Return the text of an exception for a person, without the system's error number.

    Args:
        error: The exception.
        options: Of the command line. The one that names the file which the error is about is
            named, too.
    """
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    option = None if options is None else _option_of(error.filename, options)
    if option is not None:
        return f"{option}: {error.strerror}"
    return error.strerror if error.filename is None else f"{error.strerror}: {error.filename}"


def _option_of(path: object, options: argparse.Namespace) -> str | None:
    """Return the option that names a file, as it is typed."""
    for name in _FILES:
        if path is not None and path == getattr(options, name):
            return f"--{name.replace('_', '-')} {path}"
    for host, files in options.sni or ():
        if path in files.values():
            return f"--sni {host}={path}"
    return None


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return what to add to a message about a name that is not known, maybe nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
