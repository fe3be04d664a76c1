"""Networks of IP addresses, and whose connections are believed."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_network,
)

__all__ = ["TrustedNetworks", "TrustedPeers", "packed_ip", "parse_networks", "parse_peers"]

# The first 12 bytes of an IPv4 address in the form of IPv6, as a socket for both gives them.
_MAPPED = bytes(10) + b"\xff\xff"


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
        packed = packed_ip(ip.partition("%")[0]) if isinstance(ip, str) else b""
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


class TrustedPeers:
    """Who may be at the other end of a connection: ``address in peers``.

    Args:
        networks: Peers with such an address.
        unix: Those on a Unix socket, whose permissions say who may connect.
        anybody: Everybody.
    """

    __slots__ = ("_anybody", "_networks", "_unix")

    def __init__(
        self, networks: TrustedNetworks, unix: bool = False, anybody: bool = False
    ) -> None:
        self._networks = networks
        self._unix = unix
        self._anybody = anybody

    def __contains__(self, address: object) -> bool:
        """Judge an address as ``accept()`` gives it."""
        if self._anybody:
            return True
        return address[0] in self._networks if isinstance(address, tuple) else self._unix


def parse_peers(entries: Iterable[str]) -> TrustedPeers:
    """Make a set of peers from addresses and networks, ``unix`` and ``*``.

    Raises:
        ValueError, TypeError: As ``parse_networks``.
    """
    if isinstance(entries, str | bytes):
        raise TypeError(f"trusted peers are to be a list, not the one string {entries!r}")
    words = list(entries)
    networks = parse_networks(word for word in words if word not in ("unix", "*"))
    return TrustedPeers(networks, unix="unix" in words, anybody="*" in words)


def packed_ip(ip: str) -> bytes:
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
