"""One stream of bytes, four readers: where they see other requests, requests are smuggled.

Whatever stands in front of this server reads the same bytes. Its reading may end earlier
than ours (it refuses what we accept, then nothing comes to us), but a request that both
accept has to have the same boundaries. Each difference from a peer is judged in ``JUDGED``,
and one that is not fails.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import peers
import pytest
from hypothesis import given
from strategies import mutations, pipelines
from vectors import Vector, load

from fasthttpserver._parser import RequestMessage

VECTORS = load()
# aiohttp is fed byte by byte.
LONG = 20_000

# RFC 9110, RFC 5789 and what WebDAV and others registered, as llhttp knows them.
LLHTTP_METHODS = frozenset(
    (
        "ACL BIND CHECKOUT CONNECT COPY DELETE GET HEAD LINK LOCK M-SEARCH MERGE MKACTIVITY "
        "MKCALENDAR MKCOL MOVE NOTIFY OPTIONS PATCH POST PROPFIND PROPPATCH PURGE PUT QUERY "
        "REBIND REPORT SEARCH SOURCE SUBSCRIBE TRACE UNBIND UNLINK UNLOCK UNSUBSCRIBE"
    ).split()
)


@pytest.fixture(scope="module", params=["h11", "httptools", "aiohttp"])
def peer(request: pytest.FixtureRequest) -> str:
    """The name of a peer that is installed."""
    name: str = request.param
    module = pytest.importorskip(name, reason=f"{name} is not installed")
    if name == "aiohttp":
        parsers = pytest.importorskip("aiohttp.http_parser")
        if parsers.HttpRequestParser is parsers.HttpRequestParserPy:
            pytest.skip(f"aiohttp {module.__version__} has no compiled parser here")
    return name


# --- Differences --------------------------------------------------------------------------


@dataclass
class Difference:
    """The first request that we read and a peer does not read so.

    ``kind`` is ``stops`` (the peer refuses it or reads no further request), ``waits`` (one
    of us waits for bytes of a request that is whole to the other) or ``differs`` (it is
    another request).
    """

    peer: str
    kind: str
    heads: Sequence[RequestMessage]  # ours
    at: int
    data: bytes
    limits: dict[str, Any]
    reason: str  # the peer's

    @property
    def head(self) -> RequestMessage:
        return self.heads[self.at]

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.head.fields if key == name]


def difference(peer: str, data: bytes, limits: dict[str, Any]) -> Difference | None:
    """Compare our reading with a peer's; None if the peer sees all that we do."""
    ours = peers.read_ours(data, **limits)
    theirs = getattr(peers, f"read_{peer}")(data)
    both = min(len(ours.requests), len(theirs.requests))
    pairs = zip(ours.requests, theirs.requests, strict=False)
    unlike = [i for i, (our, their) in enumerate(pairs) if our != their]
    kind, at = "", both
    if unlike:
        kind, at = "differs", unlike[0]
    elif len(ours.requests) > both:
        kind = "waits" if theirs.end == "waiting" else "stops"
    elif len(theirs.requests) > both and ours.end == "waiting":
        kind, at = "waits", both - 1
    if not kind:
        return None
    return Difference(peer, kind, ours.heads, at, data, limits, theirs.reason)


# --- What was judged ------------------------------------------------------------------------


@dataclass
class Judgement:
    """A difference that is meant; ``applies`` finds its cause in what we read."""

    peers: str
    kinds: str
    applies: Callable[[Difference], object]
    why: str


def takes_other_method(found: Difference) -> bool:
    return found.head.method not in LLHTTP_METHODS


def follows_http_1_0(found: Difference) -> bool:
    return found.at > 0 and found.heads[found.at - 1].version == "HTTP/1.0"


def follows_empty_line(found: Difference) -> bool:
    return found.reason == "no request line received"


def has_tab_behind_chunked(found: Difference) -> bool:
    raw = rb"(?i)transfer-encoding:[ \t]*chunked *\t[ \t]*\r\n"
    return found.values("Transfer-Encoding") != [] and re.search(raw, found.data) is not None


def repeats_other_field(found: Difference) -> bool:
    names = [name for name, _ in found.head.fields]
    repeated = {name for name in names if names.count(name) > 1}
    return bool(repeated - {"Host", "Content-Length", "Transfer-Encoding"})


def asks_for_upgrade(found: Difference) -> bool:
    before = found.heads[max(found.at - 1, 0) : found.at + 1]
    return any(head.upgrade and head.method != "CONNECT" for head in before)


def has_no_host(found: Difference) -> bool:
    return found.limits.get("require_host") is False and found.values("Host") == []


def has_long_number(found: Difference) -> bool:
    return any(len(value) > 20 and value[0] == "0" for value in found.values("Content-Length"))


def follows_dropped_trailer(found: Difference) -> bool:
    raw = rb"(?i)\n0+(;[^\r\n]*)?\r\n([^\r\n]+\r\n)*(connection|host):"
    return found.at > 0 and re.search(raw, found.data) is not None


JUDGED = [
    Judgement(
        "httptools aiohttp",
        "stops",
        takes_other_method,
        "Any token is a method (RFC 9110 section 9.1); llhttp knows a closed list. The "
        "request is framed as any other.",
    ),
    Judgement(
        "h11",
        "stops",
        follows_http_1_0,
        "h11 keeps no HTTP/1.0 connection. We do where the client asks for it, as Tornado "
        "does, and only behind Content-Length, GET and HEAD: framing that has no other reading.",
    ),
    Judgement(
        "h11",
        "stops",
        follows_empty_line,
        "RFC 9112 section 2.2: an empty line before a request line should be ignored.",
    ),
    Judgement(
        "httptools aiohttp",
        "stops",
        has_tab_behind_chunked,
        "RFC 9110 section 5.6.3: HTAB behind a value is whitespace like SP; llhttp overlooks "
        "the coding then. A peer without this fault, h11, reads as we do.",
    ),
    Judgement(
        "aiohttp",
        "stops",
        repeats_other_field,
        "aiohttp refuses a repeated User-Agent and others. None of them says where a message "
        "ends or what its body is; those that do we refuse too.",
    ),
    Judgement(
        "httptools aiohttp",
        "stops waits differs",
        asks_for_upgrade,
        "llhttp leaves all that follows Upgrade to the application, the body too. An "
        "application that does not switch is to go on with HTTP/1.1 (RFC 9110 section 7.8).",
    ),
    Judgement(
        "h11 aiohttp",
        "stops",
        has_no_host,
        "The option require_host=False admits it.",
    ),
    Judgement(
        "h11",
        "stops",
        has_long_number,
        "h11 takes 20 digits. Leading zeros do not change a number, and the length of the "
        "field is bounded.",
    ),
    Judgement(
        "httptools aiohttp",
        "stops",
        follows_dropped_trailer,
        "llhttp obeys Connection in a trailer section, aiohttp takes Host there for a second "
        "one; both then refuse what follows. RFC 9110 section 6.5.1: these have no meaning "
        "there, and we drop them.",
    ),
]


def judgements(found: Difference) -> Iterator[Judgement]:
    if found.at < 0:
        return  # nothing that we read could be the cause
    for judged in JUDGED:
        if found.peer in judged.peers.split() and found.kind in judged.kinds.split():
            if judged.applies(found):
                yield judged


def check(peer: str, data: bytes, limits: dict[str, Any]) -> None:
    found = difference(peer, data, limits)
    if found is not None:
        assert list(judgements(found)), f"{peer} {found.kind}: {found.reason}"


# --- Inputs ---------------------------------------------------------------------------------


SHORT = [vector for vector in VECTORS if len(vector.data) <= LONG]
REPEATED = b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: x\r\nUser-Agent: x\r\n\r\n"


@pytest.mark.parametrize("vector", SHORT, ids=lambda vector: vector.id)
def test_vector_is_read_as_by_a_peer(vector: Vector, peer: str) -> None:
    check(peer, vector.data, vector.limits)


@pytest.mark.parametrize("vector", SHORT, ids=lambda vector: vector.id)
def test_request_behind_a_vector_is_read_as_by_a_peer(vector: Vector, peer: str) -> None:
    check(peer, vector.data + b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n", vector.limits)


valid_streams = pipelines().map(lambda sequence: b"".join(request.wire for request in sequence))


@given(data=valid_streams)
def test_valid_pipeline_is_read_as_by_a_peer(peer: str, data: bytes) -> None:
    check(peer, data, {})


@given(data=valid_streams.flatmap(mutations))
def test_spoiled_pipeline_is_read_as_by_a_peer(peer: str, data: bytes) -> None:
    check(peer, data, {})


def test_every_judgement_is_needed(peer: str) -> None:
    inputs = [(vector.data, vector.limits) for vector in SHORT] + [(REPEATED, {})]
    differences = filter(None, (difference(peer, data, limits) for data, limits in inputs))
    used = {judged.why for found in differences for judged in judgements(found)}
    assert used == {judged.why for judged in JUDGED if peer in judged.peers.split()}
