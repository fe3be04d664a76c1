"""What the server puts between its connections and the application's delegate."""

from __future__ import annotations

from typing import Any

from fasthttpserver.httputil import HTTPMessageDelegate, HTTPServerConnectionDelegate

__all__ = ["WrappingDelegate"]


class WrappingDelegate(HTTPServerConnectionDelegate):
    """Passes everything on to a delegate but whole requests; subclasses change some of it.

    Args:
        delegate: The application's, or another wrapper.
    """

    def __init__(self, delegate: HTTPServerConnectionDelegate) -> None:
        self._delegate = delegate

    def start_request(self, server_conn: object, request_conn: Any) -> HTTPMessageDelegate:
        return self._delegate.start_request(server_conn, request_conn)

    def on_close(self, server_conn: object) -> None:
        self._delegate.on_close(server_conn)

    def on_stop(self) -> None:
        on_stop = getattr(self._delegate, "on_stop", None)  # Tornado's delegates have none
        if on_stop is not None:
            on_stop()
