"""Every number that bounds what a peer can make us do, and the values that it may have."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import NamedTuple

__all__ = ["RULES", "Limits", "Rule", "check_number"]


class Rule(NamedTuple):
    """The values that a number may have.

    Args:
        low: The least one.
        high: The greatest one.
        whole: It has to be an ``int``; ``float`` is taken otherwise, too.
        optional: ``None`` is allowed, and switches off what the number is for.
    """

    low: float
    high: float
    whole: bool = False
    optional: bool = False


def check_number(name: str, value: object, rule: Rule) -> None:
    """Refuse a number that makes no sense.

    Raises:
        TypeError: It is not a number; a bool is not one either.
        ValueError: It is out of its range, or not a number (NaN).
    """
    if value is None and rule.optional:
        return
    # As strict as the parser, which takes no subclasses of int.
    if not (type(value) is int or (isinstance(value, float) and not rule.whole)):
        what = "an int" if rule.whole else "a number"
        none = " or None" if rule.optional else ""
        raise TypeError(f"{name} must be {what}{none}, not {type(value).__name__}")
    if not rule.low <= value <= rule.high:
        raise ValueError(f"{name} must be between {rule.low} and {rule.high}, not {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The bounds of one server; each is a keyword argument of ``HTTPServer``.

    Sizes are bytes, times are seconds. Passing a limit is an error that is answered,
    never a truncation. ``None``, where the type has it, is no limit, and so is a time that
    is infinite; ``RULES`` has the range of each.

    Raises:
        TypeError: One is of the wrong type.
        ValueError: One is out of its range.
    """

    # Request line and header block together: Tornado's limit (431).
    max_header_size: int = 65_536
    # RFC 9112 section 3 asks for 8000 at least; Apache's value (414).
    max_request_line: int = 8190
    # One field, name and value: twice what Apache and nginx let through (431).
    max_field_size: int = 16_384
    # The value of hyper, gunicorn and Apache; browsers send 15 to 25 fields (431).
    max_header_count: int = 100
    # Tornado's max_buffer_size, 100 MiB; chunked bodies too (413).
    max_body_size: int = 104_857_600
    # From the first byte of a request to the end of its header block; Node, nginx (408).
    header_timeout: float | None = 60.0
    # The longest silence inside a body (408).
    body_stall_timeout: float | None = 60.0
    # The average rate of a body in bytes/s, and from when on it is judged (408): the
    # silence limit alone lets one byte a minute hold a connection for years.
    body_min_rate: float | None = 240.0
    body_grace: float = 10.0
    # All of a body (408); off, since it bounds sizes of uploads by their client's line.
    body_timeout: float | None = None
    # Between requests; above the 60 s at which load balancers give a connection up, so
    # that the server is not the one to close just as a request arrives.
    idle_connection_timeout: float = 75.0
    # No byte taken by the peer while some are waiting (reset).
    write_timeout: float | None = 60.0
    # An honest handshake takes a few round trips.
    tls_handshake_timeout: float = 10.0
    # Over this much unread input the socket is not read while a request runs.
    read_ahead: int = 65_536
    # A refused or closing peer's bytes are read and dropped until this much silence,
    # and for this long in all, so that the kernel's RST does not destroy the reply.
    linger_silence: float = 2.0
    linger_timeout: float = 10.0
    # Connections of one server in one process; None for as many as there are descriptors that
    # are not kept for other things.
    # Over it the longest idle one makes room, and if none is idle the answer is 503.
    max_connections: int | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            check_number(name, value, RULES[name])


# With less the server would look at its connections all the time, and with 0 refuse everybody.
_SHORTEST = 0.001
# For what must not last: a handshake that nobody goes on with, a peer that was refused.
_DAY = 86_400.0
_TIMEOUT = Rule(_SHORTEST, math.inf, optional=True)
_BOUNDED = Rule(_SHORTEST, _DAY)

RULES = {
    # Of these five the parser has the same ranges: offsets in a head are 32 bits wide.
    "max_header_size": Rule(64, 1 << 30, whole=True),
    "max_request_line": Rule(32, 1 << 30, whole=True),
    "max_field_size": Rule(1, 1 << 30, whole=True),
    "max_header_count": Rule(1, 1 << 20, whole=True),
    "max_body_size": Rule(0, 1 << 62, whole=True),
    "header_timeout": _TIMEOUT,
    "body_stall_timeout": _TIMEOUT,
    "body_min_rate": Rule(0, 1 << 40, optional=True),
    "body_grace": Rule(0, _DAY),
    "body_timeout": _TIMEOUT,
    # None is its default in Tornado, and so it is for HTTPServer.
    "idle_connection_timeout": _TIMEOUT._replace(optional=False),
    "write_timeout": _TIMEOUT,
    "tls_handshake_timeout": _BOUNDED,
    "read_ahead": Rule(0, 1 << 62, whole=True),
    "linger_silence": _BOUNDED,
    "linger_timeout": _BOUNDED,
    "max_connections": Rule(1, 1 << 62, whole=True, optional=True),
}
