"""Which address and scheme of a client to believe, of those that a proxy tells.

These fields are as good as the peer that sends them. Whether to believe the peer at all is
for the caller to decide (``HTTPServer(xheaders=True)``).
"""

from __future__ import annotations

import re
import socket
from collections.abc import Container, Iterable, Mapping
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_network,
)

__all__ = ["TrustedNetworks", "forwarded_ip", "forwarded_protocol", "parse_networks"]

# As RFC 7239 section 6 writes a node; some load balancers do so in X-Forwarded-For too.
_WITH_PORT = re.compile(
    r"(?:(?P<v4>[0-9.]+)(?=:)|\[(?P<v6>[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*)\])(?::(?P<port>[0-9]{1,5}))?"
)
# The first 12 bytes of an IPv4 address in the form of IPv6, as a socket for both gives them.
_MAPPED = bytes(10) + b"\xff\xff"


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
    return candidate if _packed(candidate) else peer_ip


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


class TrustedNetworks:
    """A set of networks: ``"10.1.2.3" in networks``.

    What is not an IP address is in no network. An IPv4 address in the form of IPv6
    (``::ffff:10.1.2.3``) counts as the IPv4 address; the zone of an IPv6 address is ignored.
    """

    __slots__ = ("_networks", "_prefixes")

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network]) -> None:
        self._networks = tuple(networks)
        # Length of an address in bytes, number of bits after the prefix, prefix.
        self._prefixes: list[tuple[int, int, int]] = []
        for network in self._networks:
            packed = network.network_address.packed
            bits = network.max_prefixlen - network.prefixlen
            if packed.startswith(_MAPPED) and bits <= 32:
                packed = packed[12:]
            self._prefixes.append((len(packed), bits, int.from_bytes(packed, "big") >> bits))

    def __contains__(self, ip: object) -> bool:
        packed = _packed(ip.partition("%")[0]) if isinstance(ip, str) else b""
        number = int.from_bytes(packed, "big")
        for length, bits, prefix in self._prefixes:
            if length == len(packed) and number >> bits == prefix:
                return True
        return False

    def __bool__(self) -> bool:
        return bool(self._networks)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(str, self._networks))})"


def parse_networks(
    entries: Iterable[str | IPv4Address | IPv6Address | IPv4Network | IPv6Network],
) -> TrustedNetworks:
    """Make a set of addresses (``10.1.2.3``) and networks (``10.0.0.0/8``, ``fd00::/8``).

    Raises:
        ValueError: An entry is neither, or its address goes beyond its prefix length.
        TypeError: An entry is of another type, or a single string stands for the whole.
    """
    if isinstance(entries, str | bytes):
        raise TypeError(f"trusted networks are to be a list, not the one string {entries!r}")
    networks = []
    for entry in entries:
        if not isinstance(entry, str | IPv4Address | IPv6Address | IPv4Network | IPv6Network):
            raise TypeError(f"not an IP address or network: {entry!r}")
        try:
            networks.append(ip_network(entry))
        except ValueError as error:
            raise ValueError(f"not an IP address or network: {entry!r} ({error})") from None
    return TrustedNetworks(networks)


def _without_port(node: str) -> str:
    """Return the address in ``address:port``, ``[v6]:port`` or ``[v6]``, else what came."""
    match = _WITH_PORT.fullmatch(node)
    if match is None or int(match["port"] or 0) > 65_535:
        return node
    return match["v4"] or match["v6"]


def _packed(ip: str) -> bytes:
    """Return the 4 or 16 bytes of an IP address, none for what is not one."""
    # inet_pton takes none of the short and octal forms that other functions do.
    if "%" in ip:
        return b""
    try:
        if ":" not in ip:
            return socket.inet_pton(socket.AF_INET, ip)
        packed = socket.inet_pton(socket.AF_INET6, ip)
    except (OSError, ValueError):
        return b""
    return packed[12:] if packed.startswith(_MAPPED) else packed
