"""Networks of addresses, and which peers are in them."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fasthttpserver._http.networks import parse_peers
from fasthttpserver.httputil import parse_networks


@pytest.mark.parametrize(
    ("entry", "inside", "outside"),
    [
        ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
        ("10.0.0.0/8", "::ffff:10.0.0.1", "::10.0.0.1"),
        ("10.0.0.1", "10.0.0.1", "10.0.0.2"),
        ("0.0.0.0/0", "255.255.255.255", "::1"),
        ("::/0", "::1", "1.1.1.1"),
        ("fd00::/8", "fdff::1", "fe00::"),
        ("fe80::/10", "fe80::1%eth0", "::1%eth0"),
        ("::ffff:10.0.0.0/104", "10.1.1.1", "11.0.0.0"),
        (ipaddress.ip_address("10.0.0.1"), "10.0.0.1", "10.0.0.0"),
        (ipaddress.ip_network("10.0.0.0/31"), "10.0.0.1", "10.0.0.2"),
        (ipaddress.ip_network("fd00::/8"), "FD00:0::1", "10.0.0.2"),
    ],
)
def test_networks_contain_addresses(
    entry: str | ipaddress.IPv4Network, inside: str, outside: str
) -> None:
    networks = parse_networks([entry])
    assert inside in networks
    assert outside not in networks


def test_networks_contain_nothing_that_is_not_an_address() -> None:
    for anything in ["", "x", None, 5, b"\x0a\x00\x00\x01", 0x0A000001]:
        assert anything not in parse_networks(["0.0.0.0/0", "::/0"])
    assert parse_networks(["10.0.0.1"])
    assert not parse_networks([])
    assert "127.0.0.1" not in parse_networks([])
    assert repr(parse_networks(["10.0.0.1"])) == "TrustedNetworks(10.0.0.1/32)"


@pytest.mark.parametrize("entry", ["", "localhost", "10.0.0.1/8", "10.0.0.0/33", "10.0.0", "a/b"])
def test_a_bad_entry_is_named(entry: str) -> None:
    with pytest.raises(ValueError, match=f"^not an IP address or network: '{entry}'"):
        parse_networks(["10.0.0.1", entry])


@pytest.mark.parametrize(
    "entries", ["10.0.0.0/8", b"10.0.0.0/8", [b"\x0a\x00\x00\x01"], [5], [None]]
)
def test_entries_of_another_type_are_refused(entries: object) -> None:
    with pytest.raises(TypeError):
        parse_networks(entries)  # type: ignore[arg-type]


NETWORKS = st.tuples(st.ip_addresses(), st.integers(0, 128)).map(
    lambda pair: ipaddress.ip_network((pair[0], min(pair[1], pair[0].max_prefixlen)), strict=False)
)


@given(st.lists(NETWORKS, max_size=3), st.ip_addresses())
def test_networks_agree_with_the_standard_library(
    networks: list[ipaddress.IPv4Network], address: ipaddress.IPv4Address
) -> None:
    # An IPv4 address in the form of IPv6 counts as the IPv4 address: tested on its own.
    mapped: Any = ipaddress.ip_network("::ffff:0:0/96")
    assume(address not in mapped)
    assume(all(network.version == 4 or not network.subnet_of(mapped) for network in networks))
    expected = any(address in network for network in networks)
    assert (str(address) in parse_networks(networks)) == expected


# --- Peers --------------------------------------------------------------------------------

V4, V6, MAPPED = ("10.1.2.3", 80), ("fd00::1", 80, 0, 0), ("::ffff:10.1.2.3", 80, 0, 0)
LINK = ("fe80::1%lo", 80, 0, 1)
UNNAMED, NAMED, ABSTRACT = "", "/run/s", b"\0name"


@pytest.mark.parametrize(
    ("entries", "inside"),
    [
        ([], []),
        (["10.0.0.0/8"], [V4, MAPPED]),
        (["10.1.2.3"], [V4, MAPPED]),
        (["10.1.2.4"], []),
        (["fd00::/8", "fe80::/10"], [V6, LINK]),
        (["0.0.0.0/0", "::/0"], [V4, V6, MAPPED, LINK]),
        (["unix"], [UNNAMED, NAMED, ABSTRACT]),
        (["10.0.0.0/8", "unix"], [V4, MAPPED, UNNAMED, NAMED, ABSTRACT]),
        (["*"], [V4, V6, MAPPED, LINK, UNNAMED, NAMED, ABSTRACT]),
    ],
)
def test_peers_are_told_by_their_address(entries: list[str], inside: list[Any]) -> None:
    peers = parse_peers(iter(entries))
    everybody = [V4, V6, MAPPED, LINK, UNNAMED, NAMED, ABSTRACT]
    assert [address for address in everybody if address in peers] == inside


@pytest.mark.parametrize(
    ("entries", "error"),
    [("*", TypeError), (b"unix", TypeError), ([5], TypeError), (["Unix"], ValueError)],
)
def test_peers_that_are_none_are_refused(entries: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        parse_peers(entries)
