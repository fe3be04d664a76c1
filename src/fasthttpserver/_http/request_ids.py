"""Ids for requests that have none."""

from __future__ import annotations

import itertools
import os

__all__ = ["new_id"]

_prefix = ""
_numbers = itertools.count()


def _start() -> None:
    """Begin a series that no other process has."""
    global _prefix, _numbers
    _prefix = os.urandom(8).hex()
    _numbers = itertools.count()


def new_id() -> str:
    """Return an id that no other request has: 24 hexadecimal digits, or more after 2^32."""
    return f"{_prefix}{next(_numbers):08x}"


_start()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start)
