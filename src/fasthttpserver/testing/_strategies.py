"""HTTP/1.1 requests for hypothesis: the grammar of RFC 9110 and RFC 9112 as strategies.

Each strategy is a function that returns one, smallest parts first: tokens, hosts, targets,
header fields, bodies, whole requests, pipelines of them. All of these are valid. ``limits``
draws arguments of a parser::

    pipeline       = 1*request
    request        = method SP target SP version CRLF *(name ":" value CRLF) CRLF [body]
    target         = path [ "?" query ] / absolute-URI / authority / "*"
    body           = *OCTET / chunked-body
    chunked-body   = *(size [extensions] CRLF data CRLF) last-chunk *trailer CRLF
"""

from __future__ import annotations

import functools
import string
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias, TypedDict, TypeVar, Unpack, cast

from hypothesis import strategies as st

from fasthttpserver.testing._mutations import POSITION, POSITIONS, cut

__all__ = [
    "Request",
    "bodies",
    "chunked_bodies",
    "header_names",
    "header_values",
    "headers",
    "hosts",
    "limits",
    "methods",
    "pipelines",
    "requests",
    "targets",
    "tokens",
]

Fields: TypeAlias = list[tuple[str, str]]
F = TypeVar("F", bound=Callable[..., Any])

# RFC 9110 section 5.6.2.
TOKEN = string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~"
# RFC 3986 has no fragment in a request; what it does not allow besides, clients send. But a
# backslash in a path is a slash to some programs.
QUERY = "".join(sorted(set(map(chr, range(0x21, 0x7F))) - {"#"}))
PATH = "".join(sorted(set(QUERY) - {"?", "\\"}))
# RFC 9110 section 5.5: visible characters, obs-text as latin-1, and blanks between them.
TEXT = "".join(map(chr, [*range(0x21, 0x7F), *range(0x80, 0x100)]))
# RFC 3986 section 3.2.2, without "," and escapes.
REG_NAME = string.ascii_letters + string.digits + "-._~!$&'()*+;="
# What these mean, ``requests`` decides; ``header_names`` never draws them.
MEANT = frozenset(
    ["connection", "content-length", "expect", "host", "proxy-connection", "transfer-encoding"]
)
COMMON_NAMES = ["Accept", "Cookie", "X-Forwarded-For", "user-agent", "IF-NONE-MATCH", "x", "T"]


def _once(function: F) -> F:
    """``functools.cache`` that keeps the type: a strategy is made once, and shared."""
    return cast(F, functools.cache(function))


@dataclass
class Request:
    """A valid request, its parts, and ``wire``: its bytes."""

    method: str
    target: str
    version: str = "HTTP/1.1"
    headers: Fields = field(default_factory=list)
    body: bytes = b""
    trailers: Fields = field(default_factory=list)
    keep_alive: bool = True
    wire: bytes = b""


@_once
def tokens(max_size: int = 20) -> st.SearchStrategy[str]:
    """``token`` of RFC 9110 section 5.6.2."""
    return st.text(TOKEN, min_size=1, max_size=max_size)


def _is_not_connect(method: str) -> bool:
    return method != "CONNECT"


@_once
def methods() -> st.SearchStrategy[str]:
    """Any token: methods that there are, more often, and others; not CONNECT."""
    known = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "get", "PRI"]
    return st.sampled_from(known) | tokens().filter(_is_not_connect)


@_once
def hosts() -> st.SearchStrategy[str]:
    """``uri-host [ ":" port ]``: names, IPv4, bracketed IPv6."""
    names = st.text(REG_NAME, min_size=1, max_size=20)
    ipv4 = st.ip_addresses(v=4).map(str)
    ipv6 = st.ip_addresses(v=6).map(lambda address: f"[{address}]")
    ports = st.none() | st.integers(0, 65535)
    return st.builds(
        lambda host, port: host if port is None else f"{host}:{port}", names | ipv4 | ipv6, ports
    )


@_once
def targets(method: str = "GET") -> st.SearchStrategy[str]:
    """``request-target`` of RFC 9112 section 3.2 in the forms that go with the method."""
    paths = st.text(PATH, max_size=30).map("/".__add__)
    queries = st.text(QUERY, max_size=30).map("?".__add__)
    if method == "CONNECT":
        return st.builds("{}:{}".format, hosts().map(_without_port), st.integers(0, 65535))
    schemes = st.sampled_from(["http://", "https://", "HTTP://"])
    rests = st.builds("{}{}".format, st.just("") | paths, st.just("") | queries)
    # llhttp has its own idea of which names may stand in a target.
    plain = st.text(string.ascii_letters + string.digits + "-._~", min_size=1, max_size=20)
    absolute = st.builds("{}{}{}".format, schemes, plain, rests)
    forms = [paths, st.builds("{}{}".format, paths, queries), absolute]
    if method == "OPTIONS":
        forms.append(st.just("*"))
    return st.one_of(forms)


def _without_port(host: str) -> str:
    return host.rpartition(":")[0] if ":" in host.rpartition("]")[2] else host


@_once
def header_names() -> st.SearchStrategy[str]:
    """``field-name``, but those that say where a message ends or what becomes of it."""
    names = st.sampled_from(COMMON_NAMES) | tokens()
    return names.filter(lambda name: name.lower() not in MEANT)


@_once
def header_values(max_size: int = 40) -> st.SearchStrategy[str]:
    """``field-value`` as latin-1, without blanks around it."""
    return st.text(TEXT + " \t", max_size=max_size).map(lambda value: value.strip(" \t"))


@_once
def headers(max_size: int = 6) -> st.SearchStrategy[Fields]:
    """Header fields with names of any kind, some of them more than once."""
    return st.lists(st.tuples(header_names(), header_values()), max_size=max_size)


@_once
def bodies(max_size: int = 100) -> st.SearchStrategy[bytes]:
    """Any bytes; some of them look like HTTP."""
    tricky = st.sampled_from([b"", b"0\r\n\r\n", b"\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\n"])
    return st.binary(max_size=max_size) | tricky


@st.composite
def chunked_bodies(draw: st.DrawFn, body: bytes | None = None) -> tuple[bytes, bytes, Fields]:
    """``chunked-body`` of RFC 9112 section 7.1: its content, its bytes, its trailer fields.

    Args:
        draw: Given by hypothesis.
        body: The content; None draws one.
    """
    content = draw(bodies()) if body is None else body
    wire = b""
    for piece in cut(content, draw(POSITIONS)):
        if piece:
            wire += _size_line(draw, len(piece)) + piece + b"\r\n"
    trailers = draw(_TRAILERS)
    wire += _size_line(draw, 0) + b"".join(_field_line(draw, *item) for item in trailers)
    return content, wire + b"\r\n", trailers


def _size_line(draw: st.DrawFn, size: int) -> bytes:
    return f"{draw(_SIZE_FORMATS).format(size)}{draw(_EXTENSIONS)}\r\n".encode("latin-1")


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


_SIZE_FORMATS = st.sampled_from(["{:x}", "{:X}", "{:04x}", "{:016x}"])
_EXTENSION_VALUES = tokens() | st.text(TEXT + " \t", max_size=10).map(_quote)
_EXTENSIONS = st.just("") | st.lists(
    st.builds(";{}={}".format, tokens(), _EXTENSION_VALUES) | tokens().map(";".__add__), max_size=2
).map("".join)
_TRAILERS = st.lists(st.tuples(tokens().map("y-".__add__), header_values()), max_size=2)
_BLANKS = st.sampled_from([" ", "", "\t", "  ", " \t "])


def _field_line(draw: st.DrawFn, name: str, value: str) -> bytes:
    return f"{name}:{draw(_BLANKS)}{value}{draw(_BLANKS)}\r\n".encode("latin-1")


@_once
def requests(
    keep_alive: bool | None = None,
    *,
    method: st.SearchStrategy[str] | None = None,
    target: st.SearchStrategy[str] | None = None,
    headers: st.SearchStrategy[Fields] | None = None,
    body: st.SearchStrategy[bytes] | None = None,
) -> st.SearchStrategy[Request]:
    """Whole requests, valid in every respect.

    The parts have to be valid and to go with each other; None stands for any.

    Args:
        keep_alive: Whether another request may follow; None draws that.
        method: Methods; CONNECT is only drawn where no request follows.
        target: Request targets, for instance the paths that an application knows.
        headers: Header fields besides those that frame the request.
        body: Contents of bodies; there are requests without one too.
    """
    return _requests(
        keep_alive,
        _METHODS if method is None else method,
        target,
        _HEADERS if headers is None else headers,
        _BODIES if body is None else body,
    )


_METHODS = methods() | st.just("CONNECT")
_HEADERS = headers()
_BODIES = bodies()


@st.composite
def _requests(
    draw: st.DrawFn,
    keep_alive: bool | None,
    methods: st.SearchStrategy[str],
    target: st.SearchStrategy[str] | None,
    headers: st.SearchStrategy[Fields],
    bodies: st.SearchStrategy[bytes],
) -> Request:
    kept = draw(st.booleans()) if keep_alive is None else keep_alive
    method = draw(methods.filter(_is_not_connect) if kept else methods)
    request = Request(method, draw(targets(method) if target is None else target), keep_alive=kept)
    fields: Fields = []
    content = b""
    framings = ["none"] if method == "CONNECT" else ["none", "length", "chunks"]
    framing = draw(st.sampled_from(framings))
    if framing != "chunks" and draw(st.booleans()):
        request.version = "HTTP/1.0"
    fields.append((draw(_any_case("Host")), draw(hosts())))
    if framing == "length":
        request.body = content = draw(bodies)
        zeros = draw(st.sampled_from(["", "", "0", "000"]))
        fields.append((draw(_any_case("Content-Length")), f"{zeros}{len(content)}"))
    elif framing == "chunks":
        request.body, content, request.trailers = draw(chunked_bodies(draw(bodies)))
        fields.append((draw(_any_case("Transfer-Encoding")), draw(_any_case("chunked"))))
    elif kept and method not in ("GET", "HEAD"):
        request.version = "HTTP/1.1"  # only a length lets the others keep HTTP/1.0 alive
    fields += _connection_fields(draw, request)
    fields += draw(headers)
    first = draw(POSITION) % len(fields)
    request.headers = fields[first:] + fields[:first]
    head = f"{method} {request.target} {request.version}\r\n".encode("ascii")
    head += b"".join(_field_line(draw, *item) for item in request.headers)
    request.wire = head + b"\r\n" + content
    return request


def _connection_fields(draw: st.DrawFn, request: Request) -> Fields:
    """What makes the connection end or not, as `request` says (RFC 9112 section 9.3)."""
    name = draw(_any_case("Connection"))
    http_1_1 = request.version == "HTTP/1.1"
    option = "keep-alive" if request.keep_alive else "close"
    if request.keep_alive is http_1_1 and draw(st.booleans()):
        return []
    if request.method == "CONNECT" and draw(st.booleans()):
        return []
    if not http_1_1 and not request.keep_alive and draw(st.booleans()):
        return []
    return [(name, draw(_OPTION_LISTS).format(draw(_any_case(option))))]


_OPTION_LISTS = st.sampled_from(["{}", "{}", "{}, x", "x,{}", "closed ,\t{} , te"])


@_once
def _any_case(text: str) -> st.SearchStrategy[str]:
    return st.sampled_from([text, text.lower(), text.upper(), text.swapcase()])


class Parts(TypedDict, total=False):
    """Parts of requests, as ``requests`` takes them."""

    method: st.SearchStrategy[str] | None
    target: st.SearchStrategy[str] | None
    headers: st.SearchStrategy[Fields] | None
    body: st.SearchStrategy[bytes] | None


@_once
def pipelines(max_size: int = 3, **parts: Unpack[Parts]) -> st.SearchStrategy[list[Request]]:
    """Requests that may follow each other on one connection.

    Args:
        max_size: How many at most.
        **parts: Parts of each request, by the names that ``requests`` has for them.
    """
    front = st.lists(requests(keep_alive=True, **parts), max_size=max_size - 1)
    return st.builds(lambda before, last: [*before, last], front, requests(**parts))


@_once
def limits() -> st.SearchStrategy[dict[str, Any]]:
    """Arguments of ``RequestParser``: small enough to be met, or left at their defaults."""
    return st.fixed_dictionaries(
        {},
        optional={
            "max_header_size": st.just(200) | st.integers(64, 400),
            "max_request_line": st.just(40) | st.integers(32, 80),
            "max_field_size": st.just(30) | st.integers(1, 60),
            "max_header_count": st.just(4) | st.integers(1, 8),
            "max_body_size": st.just(20) | st.integers(0, 40),
            "require_host": st.booleans(),
        },
    )
