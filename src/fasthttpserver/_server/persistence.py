"""Whether a connection goes on after a response (RFC 9112 section 9.3)."""

from __future__ import annotations

from enum import Enum

__all__ = [
    "ANNOUNCING",
    "CLOSE",
    "KEEP_ALIVE",
    "LAST_CALL",
    "LINGER",
    "NO_SHUTDOWN",
    "Persistence",
    "Shutdown",
    "persistence",
]


class Persistence(Enum):
    """What becomes of a connection after a response."""

    KEEP_ALIVE = "the next request is served"
    CLOSE = "it is closed"
    # RFC 9112 section 9.6: our side is closed, and the client's read for a moment. Closing both
    # with unread bytes makes the kernel send a reset, which destroys the response.
    LINGER = "it is closed in two steps"


class Shutdown(Enum):
    """How near the end of the server is."""

    NO = 0
    ANNOUNCING = 1  # a response that tells the client ends the connection
    LAST_CALL = 2  # any response does


# A global is found much faster than a member: 3.11 looks for that one by Python code.
KEEP_ALIVE, CLOSE, LINGER = Persistence
NO_SHUTDOWN, ANNOUNCING, LAST_CALL = Shutdown


def persistence(
    *,
    requested: bool,
    framed: bool | None,
    announced: bool,
    no_keep_alive: bool,
    shutdown: Shutdown,
    unread: bool,
) -> Persistence:
    """Decide whether a connection goes on after a response.

    Args:
        requested: Whether the request leaves it open.
        framed: Whether the framing of a response that the server frames does; None for
            one that the application has written itself.
        announced: Whether the application's own says that it ends the connection, or has to.
        no_keep_alive: The option of the server or of the connection.
        shutdown: How near the end of the server is.
        unread: Whether bytes have come after the request.
    """
    if not requested:
        # The client knows, so it is not sending unless it has done so already.
        return LINGER if unread else CLOSE
    if framed is not None:
        return KEEP_ALIVE if framed and shutdown is not LAST_CALL else LINGER
    if announced or no_keep_alive:
        return LINGER
    # Without an announcement a close would meet the client's next request on the way.
    return LINGER if shutdown is LAST_CALL else KEEP_ALIVE
