"""What ``ps`` and ``top`` call the processes of the command line."""

from __future__ import annotations

import argparse
import contextlib
import importlib

__all__ = ["set_title"]


def set_title(role: str, options: argparse.Namespace) -> None:
    """Name this process, if the package ``setproctitle`` is installed.

    Args:
        role: What it is.
        options: Of the command line.
    """
    with contextlib.suppress(ImportError):
        module = importlib.import_module("setproctitle")
        module.setproctitle(f"fasthttpserver: {role} [{options.application or 'no application'}]")
