"""Where the folder of the project is.

A module of its own because it imports next to nothing: what a process under callgrind
imports is minutes, all runs together.
"""

from pathlib import Path

__all__ = ["ROOT"]

ROOT = Path(__file__).resolve().parent.parent
