"""Nothing comes in; every number that bounds what a peer can make us do goes out."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The bounds of one server; each is a keyword argument of ``HTTPServer``.

    Sizes are bytes, times are seconds. Passing a limit is an error that is answered,
    never a truncation.
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
    header_timeout: float = 60.0
    # The longest silence inside a body (408).
    body_stall_timeout: float = 60.0
    # The average rate of a body in bytes/s, and from when on it is judged (408): the
    # silence limit alone lets one byte a minute hold a connection for years.
    body_min_rate: float = 240.0
    body_grace: float = 10.0
    # All of a body (408); off, since it bounds sizes of uploads by their client's line.
    body_timeout: float | None = None
    # Between requests; above the 60 s at which load balancers give a connection up, so
    # that the server is not the one to close just as a request arrives.
    idle_connection_timeout: float = 75.0
    # No byte taken by the peer while some are waiting (reset).
    write_timeout: float = 60.0
    # An honest handshake takes a few round trips.
    tls_handshake_timeout: float = 10.0
    # Over this much unread input the socket is not read while a request runs.
    read_ahead: int = 65_536
    # A refused or closing peer's bytes are read and dropped until this much silence,
    # and for this long in all, so that the kernel's RST does not destroy the reply.
    linger_silence: float = 2.0
    linger_timeout: float = 10.0
    # Connections of one server in one process; None for as many as there are descriptors.
    # Over it the longest idle one makes room, and if none is idle the answer is 503.
    max_connections: int | None = None
