"""The three loggers, named as Tornado's with our prefix.

No handler is set here: that is for the application (``logging.basicConfig()``).
A peer's fault is one INFO line with ``%r``; an application's is ERROR with a traceback.
"""

from __future__ import annotations

import logging

__all__ = ["access_log", "app_log", "gen_log"]

access_log = logging.getLogger("fasthttpserver.access")
app_log = logging.getLogger("fasthttpserver.application")
gen_log = logging.getLogger("fasthttpserver.general")
