"""The kit for tests of applications and clients: a client in memory, a server, any requests.

``Client`` runs an application in memory, a callback or one of WSGI, ASGI or Tornado, through the
server's own connection and parser, and needs nothing but this package; a ``WebSocket`` of it
needs ``websockets``.

``LiveServer`` is a real server for tests of HTTP clients, and ``whole``, ``raw``, ``slow``,
``endless`` and ``silent`` make its answers; pytest has it as the fixtures ``http_server`` and
``https_server``.

The rest needs hypothesis (``fasthttpserver-llhttp[testing]``), which is imported when it is first
asked for: ``check_callback`` tries an application with any request and any bytes, and the
strategies make requests for tests of your own.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fasthttpserver.testing._client import Client
from fasthttpserver.testing._live import LiveServer, endless, raw, silent, slow, whole
from fasthttpserver.testing._responses import Response, RuleBroken

if TYPE_CHECKING:
    from fasthttpserver.testing._check import check_callback
    from fasthttpserver.testing._mutations import mutations, splits
    from fasthttpserver.testing._strategies import (
        Request,
        bodies,
        chunked_bodies,
        header_names,
        header_values,
        headers,
        hosts,
        limits,
        methods,
        pipelines,
        requests,
        targets,
        tokens,
    )
    from fasthttpserver.testing._websocket import WebSocket

__all__ = [
    "Client",
    "LiveServer",
    "Request",
    "Response",
    "RuleBroken",
    "WebSocket",
    "bodies",
    "check_callback",
    "chunked_bodies",
    "endless",
    "header_names",
    "header_values",
    "headers",
    "hosts",
    "limits",
    "methods",
    "mutations",
    "pipelines",
    "raw",
    "requests",
    "silent",
    "slow",
    "splits",
    "targets",
    "tokens",
    "whole",
]

# Where a name is that is not in _strategies.
_MODULES = {
    "WebSocket": "_websocket",
    "check_callback": "_check",
    "mutations": "_mutations",
    "splits": "_mutations",
}

# Hidden from type checkers, for which it would give every misspelt name the type Any.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        package, extra = "hypothesis", "testing"
        if name == "WebSocket":
            package, extra = "websockets", "websocket"
        try:
            importlib.import_module(package)
        except ModuleNotFoundError as error:
            raise ImportError(
                f"{__name__}.{name} needs {package}: pip install 'fasthttpserver-llhttp[{extra}]'"
            ) from error
        module = importlib.import_module(f"{__name__}.{_MODULES.get(name, '_strategies')}")
        value = globals()[name] = getattr(module, name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
