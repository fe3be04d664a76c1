"""A plain second reader of HTTP/1.1 requests, for the parser to be compared with.

Regular expressions over the whole input, no state, no speed, nothing shared with the parser.
It does not say which of two faults comes first, nor where; only whether a request is one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv6Address

__all__ = ["DEFAULT_LIMITS", "Answer", "Request", "read"]

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
TEXT = rb"[\t\x20-\x7e\x80-\xff]*"
REQUEST_LINE = re.compile(rb"(%b) ([\x21-\x7e]+) HTTP/(\d)\.(\d)" % TOKEN)
FIELD = re.compile(rb"(%b):[ \t]*(%b)" % (TOKEN, TEXT))
REG_NAME = re.compile(rb"(?:[\w.~!$&'()*+;=\-]|%[0-9A-Fa-f]{2})+(:\d*)?", re.ASCII)
IP_LITERAL = re.compile(rb"\[([0-9A-Fa-f:.]+)\](:\d*)?")
ABSOLUTE = re.compile(rb"https?://([^/?]*)", re.IGNORECASE)
QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"'
CHUNK_LINE = re.compile(
    rb"([0-9A-Fa-f]{1,16})((?:;%b(?:=(?:%b|%b))?)*)\r\n" % (TOKEN, TOKEN, QUOTED)
)

DEFAULT_LIMITS = {
    "max_header_size": 65_536,
    "max_request_line": 8190,
    "max_field_size": 16_384,
    "max_header_count": 100,
    "max_body_size": 104_857_600,
}


@dataclass
class Request:
    """One request that was read."""

    method: bytes
    uri: bytes
    minor: int
    fields: list[tuple[bytes, bytes]]
    authority: bytes = b""
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    keep_alive: bool = True
    upgrade: bool = False


@dataclass
class Answer:
    """What has to come out.

    ``outcome`` is ``refused``, ``closed`` (after the last request of the connection),
    ``open`` (between requests), ``unread`` (a head whose end is not there: it may be
    refused or waited for) or ``body`` (the same for a body).
    """

    requests: list[Request]
    outcome: str


class _Refused(Exception):
    pass


class _Missing(Exception):
    pass


def read(data: bytes, limits: dict[str, int], require_host: bool = True) -> Answer:
    """Read requests off the front of `data`, as many as there are."""
    requests: list[Request] = []
    while True:
        skipped = len(data) - len(data.lstrip(b"\r\n"))
        if data[:skipped] != b"\r\n" * (skipped // 2) or skipped > limits["max_request_line"]:
            # An empty line may be cut after its CR.
            whole = data[:skipped] == (b"\r\n" * skipped)[:skipped]
            fits = skipped <= limits["max_request_line"]
            return Answer(
                requests, "open" if skipped == len(data) and whole and fits else "refused"
            )
        data = data[skipped:]
        if not data:
            return Answer(requests, "open")
        end = data.find(b"\r\n\r\n") + 4
        if end == 3:
            return Answer(requests, "unread")
        try:
            request, framing = _read_head(data[:end], limits, require_host, skipped)
            data, request.body, request.trailers = _read_body(data[end:], framing, limits)
        except _Refused:
            return Answer(requests, "refused")
        except _Missing:
            return Answer(requests, "body")
        requests.append(request)
        if not request.keep_alive:
            return Answer(requests, "closed")


def _check(condition: object) -> None:
    if not condition:
        raise _Refused


def _read_head(
    head: bytes, limits: dict[str, int], require_host: bool, skipped: int
) -> tuple[Request, int | None]:
    """Return the request, and the length of its body: None for chunks."""
    _check(len(head) <= limits["max_header_size"])
    line, *field_lines = head[:-4].split(b"\r\n")
    _check(len(line) + skipped <= min(limits["max_request_line"], limits["max_header_size"]))
    match = REQUEST_LINE.fullmatch(line)
    _check(match is not None and match[3] == b"1" and match[4] in (b"0", b"1"))
    assert match is not None
    method, uri, minor = match[1], match[2], int(match[4])
    fields = _read_fields(field_lines, limits)

    def values(name: bytes) -> list[bytes]:
        return [value for key, value in fields if key.lower() == name]

    def tokens(name: bytes) -> list[bytes]:
        return [
            token.strip(b" \t").lower() for value in values(name) for token in value.split(b",")
        ]

    hosts = values(b"host")
    _check(len(hosts) == 1 or (not hosts and (minor == 0 or not require_host)))
    _check(not hosts or _is_host(hosts[0]))
    authority = _check_target(method, uri)
    _check(len(values(b"content-type")) <= 1)
    length = _read_framing(values(b"content-length"), tokens(b"transfer-encoding"), minor)
    _check(length is None or length <= limits["max_body_size"])
    framed = bool(values(b"content-length"))
    connect = method == b"CONNECT"
    _check(not connect or (length is not None and not framed))
    if minor == 1:
        _check(all(value.lower() == b"100-continue" for value in values(b"expect")))
    options = tokens(b"connection") + tokens(b"proxy-connection")
    if minor == 1:
        keep_alive = b"close" not in options
    else:
        keep_alive = b"keep-alive" in options and b"close" not in options
        keep_alive = keep_alive and (framed or method in (b"GET", b"HEAD"))
    request = Request(method, uri, minor, fields, authority or b"".join(hosts))
    request.keep_alive = keep_alive and not connect
    upgrade = any(values(b"upgrade")) and b"upgrade" in options and minor == 1
    request.upgrade = connect or upgrade
    return request, length


def _read_fields(lines: list[bytes], limits: dict[str, int]) -> list[tuple[bytes, bytes]]:
    _check(len(lines) <= limits["max_header_count"])
    fields = []
    for line in lines:
        match = FIELD.fullmatch(line)
        _check(match is not None)
        assert match is not None
        # Whitespace alone belongs to no value.
        value = match[2] if match[2].strip(b" \t") else b""
        _check(len(match[1]) + len(value) <= limits["max_field_size"])
        fields.append((match[1], value.rstrip(b" \t")))
    return fields


def _read_framing(lengths: list[bytes], codings: list[bytes], minor: int) -> int | None:
    if codings:
        _check(codings == [b"chunked"] and not lengths and minor == 1)
        return None
    _check(len(lengths) <= 1)
    if not lengths:
        return 0
    _check(re.fullmatch(rb"[0-9]+", lengths[0]))
    return int(lengths[0])


def _is_host(value: bytes) -> bool:
    literal = IP_LITERAL.fullmatch(value)
    if literal is None:
        return REG_NAME.fullmatch(value) is not None
    try:
        IPv6Address(literal[1].decode())
    except AddressValueError:
        return False
    return True


def _check_target(method: bytes, uri: bytes) -> bytes:
    """Return the authority of an absolute-form target."""
    if method == b"CONNECT":
        _check(_is_host(uri) and re.search(rb":\d+\Z", uri))
        return b""
    _check(b"#" not in uri and b"\\" not in uri.partition(b"?")[0])
    if uri.startswith(b"/") or (uri == b"*" and method == b"OPTIONS"):
        return b""
    match = ABSOLUTE.match(uri)
    _check(match is not None)
    assert match is not None
    _check(_is_host(match[1]))
    return match[1]


def _read_body(
    data: bytes, length: int | None, limits: dict[str, int]
) -> tuple[bytes, bytes, list[tuple[bytes, bytes]]]:
    """Return what comes after the body, the body and its trailer fields."""
    if length is not None:
        if len(data) < length:
            raise _Missing
        return data[length:], data[:length], []
    body = b""
    extensions = 0
    while True:
        match = CHUNK_LINE.match(data)
        if match is None:
            # A line that is whole is wrong; of one that is not the start may be right.
            _check(b"\n" not in data)
            raise _Missing
        size = int(match[1], 16)
        _check(len(match[2]) <= 1 + 4096)
        extensions += max(len(match[2]) - 1, 0)
        _check(extensions <= 16_384 and len(body) + size <= limits["max_body_size"])
        data = data[match.end() :]
        if size == 0:
            break
        if len(data) < size + 2:
            # What is there of the line end has to be one.
            _check(b"\r\n".startswith(data[size:]))
            raise _Missing
        _check(data[size : size + 2] == b"\r\n")
        body += data[:size]
        data = data[size + 2 :]
    if data.startswith(b"\r\n"):
        return data[2:], body, []
    end = data.find(b"\r\n\r\n") + 4
    if end == 3:
        raise _Missing
    _check(end <= limits["max_header_size"])
    trailers = _read_fields(data[: end - 4].split(b"\r\n"), limits)
    framing = {b"content-length", b"transfer-encoding"}
    _check(not framing & {name.lower() for name, _ in trailers})
    return data[end:], body, trailers
