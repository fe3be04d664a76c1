"""What a proxy says of a client comes in; the address and scheme to believe go out.

These fields are as good as the peer that sends them. Whether to believe the peer at all is
for the caller to decide (``HTTPServer(xheaders=True)``).
"""

from __future__ import annotations

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

# The first 12 bytes of an IPv4 address in the form of IPv6, as a socket for both gives them.
_MAPPED = bytes(10) + b"\xff\xff"


def forwarded_ip(headers: Mapping[str, str], peer_ip: str, trusted: Container[str] = ()) -> str:
    """Return the address of the client behind the proxies.

    X-Real-Ip decides if it is there. Else it is the right-most address in X-Forwarded-For
    that is not trusted, or the left-most if all are.

    Args:
        headers: Of the request; repeated fields joined with commas.
        peer_ip: The address of the socket, which is returned when the fields are missing or
            what they decide on is not an IP address.
        trusted: Addresses of proxies that add to X-Forwarded-For (``parse_networks``).
    """
    candidate = headers.get("X-Real-Ip")
    if candidate is None:
        forwarded_for = headers.get("X-Forwarded-For")
        if forwarded_for is None:
            return peer_ip
        for entry in reversed(forwarded_for.split(",")):
            candidate = entry.strip(" \t")
            if candidate not in trusted:
                break
    return candidate if candidate and _packed(candidate) else peer_ip


def forwarded_protocol(headers: Mapping[str, str], protocol: str) -> str:
    """Return the scheme that the client used: ``http`` or ``https``.

    X-Scheme decides if it is there, else X-Forwarded-Proto; of a list the last element.

    Args:
        headers: Of the request; repeated fields joined with commas.
        protocol: Returned when the fields are missing or say something else.
    """
    schemes = headers.get("X-Scheme")
    if schemes is None:
        schemes = headers.get("X-Forwarded-Proto", "")
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
        # Length of an address in bytes, number of bits behind the prefix, prefix.
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
