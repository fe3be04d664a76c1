"""What is believed of X-Forwarded-For and its kin."""

import ipaddress
from collections.abc import Container

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasthttpserver.httputil import (
    HTTPHeaders,
    forwarded_ip,
    forwarded_protocol,
    parse_networks,
)

PEER = "127.0.0.1"
TRUSTED = parse_networks(["10.0.0.0/8", "5.5.5.5", "fd00::/8", "::1"])


@pytest.mark.parametrize(
    ("forwarded_for", "real_ip", "expected"),
    [
        (None, None, PEER),
        ("4.4.4.4", None, "4.4.4.4"),
        ("2001:620:0:ff::5c", None, "2001:620:0:ff::5c"),
        ("1.1.1.1, 4.4.4.4", None, "4.4.4.4"),
        ("evil,4.4.4.4", None, "4.4.4.4"),
        ("4.4.4.4,evil", None, PEER),
        ("5.5.5.5,", None, PEER),
        ("", None, PEER),
        ("4.4.4.4", "5.5.5.5", "5.5.5.5"),
        # X-Real-Ip decides even if it is wrong
        ("4.4.4.4", "evil", PEER),
        ("4.4.4.4", "", PEER),
        (None, "4.4.4.4, 5.5.5.5", PEER),
    ],
)
def test_without_trusted_proxies_the_last_address_counts(
    forwarded_for: str | None, real_ip: str | None, expected: str
) -> None:
    headers = HTTPHeaders()
    if forwarded_for is not None:
        headers["X-Forwarded-For"] = forwarded_for
    if real_ip is not None:
        headers["X-Real-Ip"] = real_ip
    assert forwarded_ip(headers, PEER) == expected


@pytest.mark.parametrize(
    ("forwarded_for", "expected"),
    [
        ("4.4.4.4, 5.5.5.5", "4.4.4.4"),
        ("1.1.1.1, 4.4.4.4, 5.5.5.5,10.1.2.3 , fd12::1", "4.4.4.4"),
        ("5.5.5.5, 10.0.0.1", "5.5.5.5"),
        ("evil, 10.0.0.1", PEER),
        ("4.4.4.4, evil, 10.0.0.1", PEER),
        ("4.4.4.4, , 10.0.0.1", PEER),
        ("4.4.4.4, ::ffff:10.0.0.1", "4.4.4.4"),
        ("10.0.0.1", "10.0.0.1"),
        ("", PEER),
    ],
)
def test_trusted_proxies_are_passed_over_from_the_right(forwarded_for: str, expected: str) -> None:
    headers = HTTPHeaders({"X-Forwarded-For": forwarded_for})
    assert forwarded_ip(headers, PEER, TRUSTED) == expected


def test_a_list_of_addresses_may_say_whom_to_trust() -> None:
    headers = HTTPHeaders({"X-Forwarded-For": "4.4.4.4, 5.5.5.5"})
    assert forwarded_ip(headers, PEER, ["5.5.5.5"]) == "4.4.4.4"


def test_repeated_fields_count_in_their_order() -> None:
    headers = HTTPHeaders.parse("X-Forwarded-For: 1.1.1.1, 4.4.4.4\nX-Forwarded-For: 10.0.0.1")
    assert forwarded_ip(headers, PEER, TRUSTED) == "4.4.4.4"
    assert forwarded_ip(headers, PEER) == "10.0.0.1"


@pytest.mark.parametrize(
    "ip",
    ["1", "127.1", "0x7f.0.0.1", "010.1.1.1", "::1%lo", "fe80::1%evil\x1b", "[::1%lo]:80"]
    + ["1.2.3.4\x00", "4.4.4.256", "1.2.3", "::g", "localhost", "a" * 10_000, "\u0661.1.1.1"]
    + ["1.2.3.4:", "1.2.3.4:x", "1.2.3.4:-1", "1.2.3.4: 80", "1.2.3.4:80:80", "1.2.3.4:\u0661"]
    + ["1.2.3.4:65536", "1.2.3.4:123456", "1.2.3:80", ":80", "[]:80", "[::1", "::1]:80", "[::1]80"]
    + ["[[::1]]", "[1.2.3.4]:80", "[1.2.3.4]", "localhost:80", "[::g]:80"],
)
def test_what_is_not_plainly_an_ip_address_is_not_believed(ip: str) -> None:
    assert forwarded_ip({"X-Real-Ip": ip}, PEER) == PEER
    assert forwarded_ip({"X-Forwarded-For": ip}, PEER) == PEER
    assert ip not in parse_networks(["0.0.0.0/0"])


@pytest.mark.parametrize(
    ("entry", "ip"),
    [
        ("4.4.4.4:1", "4.4.4.4"),
        ("4.4.4.4:65535", "4.4.4.4"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[::ffff:4.4.4.4]:80", "::ffff:4.4.4.4"),
        ("2001:db8::1:443", "2001:db8::1:443"),  # an address to its end
    ],
)
def test_a_port_is_no_part_of_the_address(entry: str, ip: str) -> None:
    assert forwarded_ip({"X-Real-Ip": entry}, PEER) == ip
    assert forwarded_ip({"X-Forwarded-For": entry}, PEER) == ip
    proxies = "10.1.1.1:80, 5.5.5.5:123, [fd00::1]:80, [::1]"
    assert forwarded_ip({"X-Forwarded-For": f"{entry}, {proxies}"}, PEER, TRUSTED) == ip
    assert forwarded_ip({"X-Forwarded-For": f"{entry}, 5.5.5.5:1"}, PEER, ["5.5.5.5"]) == ip


@pytest.mark.parametrize(
    ("forwarded_for", "real_ip", "expected"),
    [
        ("4.4.4.4", "6.6.6.6", "4.4.4.4"),
        ("6.6.6.6, 4.4.4.4, 10.0.0.1", "6.6.6.6", "4.4.4.4"),
        ("evil", "6.6.6.6", PEER),
        ("", "6.6.6.6", PEER),
        (None, "4.4.4.4", "4.4.4.4"),
        (None, "10.0.0.1", "10.0.0.1"),
    ],
)
def test_x_real_ip_counts_with_trusted_proxies_only_where_they_say_nothing_else(
    forwarded_for: str | None, real_ip: str, expected: str
) -> None:
    # A proxy that adds to X-Forwarded-For passes on an X-Real-Ip that the client made up.
    headers = HTTPHeaders({"X-Real-Ip": real_ip})
    if forwarded_for is not None:
        headers["X-Forwarded-For"] = forwarded_for
    assert forwarded_ip(headers, PEER, TRUSTED) == expected
    assert forwarded_ip(headers, PEER, ["10.0.0.1"]) == expected


@pytest.mark.parametrize(
    ("scheme", "forwarded_proto", "expected"),
    [
        (None, None, "http"),
        ("https", None, "https"),
        (None, "https", "https"),
        (None, "https , http", "http"),
        (None, "http,https", "https"),
        ("http, https", None, "https"),
        ("https", "http", "https"),
        # An invalid X-Scheme does not give way to the other
        ("unknown", "https", "http"),
        ("", "https", "http"),
        (None, "HTTPS", "http"),
        (None, "https,", "http"),
        (None, "https://", "http"),
    ],
)
def test_the_last_scheme_counts_if_it_is_http_or_https(
    scheme: str | None, forwarded_proto: str | None, expected: str
) -> None:
    headers = HTTPHeaders()
    if scheme is not None:
        headers["X-Scheme"] = scheme
    if forwarded_proto is not None:
        headers["X-Forwarded-Proto"] = forwarded_proto
    assert forwarded_protocol(headers, "http") == expected


@pytest.mark.parametrize(
    ("scheme", "forwarded_proto", "expected"),
    [
        ("https", "http", "http"),
        ("https", "evil", "http"),
        ("http", "https", "https"),
        ("https", None, "https"),
    ],
)
def test_x_scheme_counts_with_trusted_proxies_only_where_they_say_nothing_else(
    scheme: str, forwarded_proto: str | None, expected: str
) -> None:
    headers = HTTPHeaders({"X-Scheme": scheme})
    if forwarded_proto is not None:
        headers["X-Forwarded-Proto"] = forwarded_proto
    assert forwarded_protocol(headers, "http", TRUSTED) == expected


@given(st.text(), st.text(), st.text())
def test_arbitrary_text_gives_an_address_and_a_scheme(first: str, second: str, third: str) -> None:
    headers = {"X-Forwarded-For": first, "X-Scheme": third}
    everyone: list[Container[str]] = [(), TRUSTED]
    for trusted in everyone:
        ipaddress.ip_address(forwarded_ip(headers, PEER, trusted))
        ipaddress.ip_address(forwarded_ip({**headers, "X-Real-Ip": second}, PEER, trusted))
    assert forwarded_protocol(headers, "http") in ("http", "https")


def test_long_lists_take_linear_time() -> None:
    headers = {"X-Forwarded-For": "4.4.4.4" + ",10.0.0.1" * 100_000}
    assert forwarded_ip(headers, PEER, TRUSTED) == "4.4.4.4"
