"""Which address and scheme of a client to believe, of those that a proxy tells.

These fields are as good as the peer that sends them. Whether to believe the peer at all is
for the caller to decide (``HTTPServer(xheaders=True)``).
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping

from fasthttpserver._http.networks import packed_ip

__all__ = ["forwarded_id", "forwarded_ip", "forwarded_protocol"]

# As RFC 7239 section 6 writes a node; some load balancers do so in X-Forwarded-For too.
_WITH_PORT = re.compile(
    r"(?:(?P<v4>[0-9.]+)(?=:)|\[(?P<v6>[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*)\])(?::(?P<port>[0-9]{1,5}))?"
)
# UUIDs, and what nginx, Envoy and load balancers of clouds make; nothing that means more than an
# id in a line of a log, a shell or a URL.
_ID = re.compile(r"[A-Za-z0-9._+/=:@-]{1,128}")


def forwarded_ip(headers: Mapping[str, str], peer_ip: str, trusted: Container[str] = ()) -> str:
    """Return the address of the client behind the proxies.

    In X-Forwarded-For it is the right-most address that is not trusted, or the left-most if
    all are. X-Real-Ip goes before that, unless there are trusted proxies: they add to
    X-Forwarded-For and would pass on an X-Real-Ip that the client has made up. A port after
    an address is left out (``192.0.2.1:80``, ``[2001:db8::1]:80``).

    Args:
        headers: Of the request; repeated fields joined with commas.
        peer_ip: The address of the socket, which is returned when the fields are missing or
            what they decide on is not an IP address.
        trusted: Addresses of proxies that add to X-Forwarded-For (``parse_networks``).
    """
    real_ip = headers.get("X-Real-Ip")
    forwarded_for = headers.get("X-Forwarded-For")
    if forwarded_for is None or (real_ip is not None and not trusted):
        entries = [real_ip or ""]
    else:
        entries = forwarded_for.split(",")
    candidate = ""
    for entry in reversed(entries):
        candidate = _without_port(entry.strip(" \t"))
        if candidate not in trusted:
            break
    return candidate if packed_ip(candidate) else peer_ip


def forwarded_protocol(
    headers: Mapping[str, str], protocol: str, trusted: Container[str] = ()
) -> str:
    """Return the scheme that the client used: ``http`` or ``https``.

    X-Scheme decides if it is there, else X-Forwarded-Proto; where there are trusted proxies
    the other way round, as in ``forwarded_ip``. Of a list the last element counts.

    Args:
        headers: Of the request; repeated fields joined with commas.
        protocol: Returned when the fields are missing or say something else.
        trusted: Addresses of proxies that set X-Forwarded-Proto.
    """
    first, second = "X-Scheme", "X-Forwarded-Proto"
    if trusted:
        first, second = second, first
    schemes = headers.get(first)
    if schemes is None:
        schemes = headers.get(second, "")
    scheme = schemes.rpartition(",")[2].strip(" \t")
    return scheme if scheme in ("http", "https") else protocol


def forwarded_id(headers: Mapping[str, str]) -> str | None:
    """Return the id in X-Request-Id; None if there is none, several, or something else.

    Args:
        headers: Of the request; repeated fields joined with commas.
    """
    found = headers.get("X-Request-Id", "")
    return found if _ID.fullmatch(found) else None


def _without_port(node: str) -> str:
    """Return the address in ``address:port``, ``[v6]:port`` or ``[v6]``, else what came."""
    match = _WITH_PORT.fullmatch(node)
    if match is None or int(match["port"] or 0) > 65_535:
        return node
    return match["v4"] or match["v6"]
