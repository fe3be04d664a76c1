"""What a WebSocket may do, and how long it may take."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["WebSocketOptions"]


class WebSocketOptions(NamedTuple):
    """The options of the container for WebSockets."""

    max_size: int | None
    ping_interval: float | None
    ping_timeout: float | None
    compression: bool
    close_timeout: float
