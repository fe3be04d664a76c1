"""The differences that the differential test is to find, each with its reason.

A number is that of the difference in docs/migrating.md, where it is told in users' words. "RL05" is
a vector of the tests of what an HTTP/1 server has to refuse.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DIFFERENCES", "EVERYWHERE", "Difference"]


@dataclass(frozen=True)
class Difference:
    """How a row differs.

    Args:
        stock: What Tornado 3.2.2 does: statuses, then what becomes of the connection.
        ours: The same of our server.
        why: The reason.
        fields: The attributes of the request that the two callbacks see differently.
    """

    stock: str
    ours: str
    why: str
    fields: tuple[str, ...] = ()


# Attribute, Tornado's value, ours: alike in every row.
EVERYWHERE: dict[tuple[str, str, str], str] = {
    ("body", "''", "b''"): "18: a body is bytes, also when there is none",
}

# What Tornado does, what we do, the attributes that differ, and the rows with their reasons.
_GROUPS: tuple[tuple[str, str, tuple[str, ...], dict[str, str]], ...] = (
    (
        "no bytes, closed",
        "400, closed",
        (),
        {
            "http09": "9: malformed requests are answered",
            "badver": "9",
            "twospace": "9",
            "spaceuri": "9",
            "trailing space": "9",
            "no colon": "9",
            "tls hello": "9",
            "lower http": "9",
            "tabs": "9",
            "proxy header": "9",
            "fold first": "7: a folded line is refused, without a traceback in the log",
            "CL abc": "2: a length that is no number is refused, without a traceback",
            "CL dup same": "2, CL30",
            "CL list same": "2, CL09",
            "CL dup diff": "2, CL11",
        },
    ),
    (
        "no bytes, waits",
        "400, closed",
        (),
        {
            "bare LF": "5: a line ends with CRLF",
            "LFCRLF end": "5",
        },
    ),
    (
        "no bytes, closed",
        "200, open",
        (),
        {
            "leading crlf": "14: empty lines before a request are skipped",
            "leading 2crlf": "14",
            "body at max_buffer_size": "13: the limit is for the body alone, and exact",
            "head over max_buffer_size": "13: the head has limits of its own",
        },
    ),
    (
        "no bytes, closed",
        "413, closed",
        (),
        {
            "CL huge": "9: answered before the body is read",
            "body over max_buffer_size": "9",
        },
    ),
    (
        "200, open",
        "400, closed",
        (),
        {
            "bad method": "45: a method is a token",
            "mixed LF hdr": "4: a line ends with CRLF only",
            "bare CR in hdr": "4",
            "sp before colon": "6: a field's name is a token",
            "empty name": "6",
            "ctl in name": "6",
            "nul in value": "6: no control characters in values",
            "vt value": "4, 6",
            "ctl uri": "6: no control characters in the target",
            "latin1 uri": "40, RL22: no bytes beyond ASCII in the target",
            "fold": "7: a folded line is refused",
            "two hosts": "23: one Host",
            "two same hosts": "23",
            "empty host": "23: a host with a name",
            "bad host": "23",
            "host with user": "23",
            "no Host, default options": "23: the one that require_host=False accepts",
            "fragment": "40, RL25: no fragment in the target",
            "backslash in path": "40, RL37b: to some programs it is a slash",
            "relative target": "40, RL26: a path begins with a slash",
            "only a query": "40, RL40",
            "GET star": "40, RL28: * is for OPTIONS",
            "two types": "43, HD29: one Content-Type",
            "two equal types": "43, HD29s",
            "connect with length": "37, UP06: CONNECT has no body",
            "CL empty": "1: Content-Length is digits",
            "CL +3": "1",
            "CL 1_0": "1",
            "CL neg": "1",
            "chunk LF": "3, CH50: a chunk's lines end with CRLF",
        },
    ),
    (
        "200, closed",
        "400, closed",
        (),
        {
            "httpx": "8: no version",
            "chunk sp": "3, CH05: malformed chunks are refused",
            "chunk 0x": "3, CH03",
            "chunk neg": "3, CH01",
            "chunk bad end": "3, CH52",
            "TE+CL": "3, TE41: a length or chunks, not both",
            "TE chunked 1.0": "3, TE49: no chunks in HTTP/1.0",
            "TE dup": "3, TE45",
        },
    ),
    (
        "200, closed",
        "505, closed",
        (),
        {
            "http12": "8, RL13: HTTP/1.0 and HTTP/1.1",
            "http2": "8",
            "h2 preface": "8, RL33",
        },
    ),
    (
        "200, open",
        "431, closed",
        (),
        {
            "200 fields": "10: max_header_count",
            "field of 20 KiB": "10: max_field_size",
            "head of 70 KiB": "10: max_header_size",
        },
    ),
    (
        "200, closed",
        "200, open",
        ("body",),
        {
            "chunked": "3: chunked bodies are decoded",
            "chunk ext": "3, CH16",
            "chunk trailer": "3, TR01",
            "chunk upper hex": "3",
            "chunk leading zero": "3, CH10",
            "TE Chunked case": "3, TE02",
        },
    ),
    (
        "200, open",
        "200, closed",
        (),
        {
            "http11 close list": "36, PL09: Connection is a list",
            "1.1 close last": "36",
            "1.1 close twice": "36",
        },
    ),
    (
        "200, open",
        "200, closed",
        ("full_url",),
        {
            "connect": "37, RL31: what follows CONNECT is no request; 41: whose URL is its target",
            "connect, then bytes": "37, RL31; 41",
        },
    ),
    (
        "200, open",
        "200, open",
        ("headers",),
        {
            "nel value": "4: CRLF and nothing else ends a line",
            "nbsp around value": "44: blanks are space and tab",
        },
    ),
    (
        "200, open",
        "200, open",
        ("host", "path"),
        {
            "absuri": "41, RL29: host and path are those of the target",
            "absolute with port": "41, RL29",
            "absolute https": "41, RL29",
        },
    ),
    (
        "200, open",
        "200, open",
        ("full_url",),
        {"star": "41: of OPTIONS * it has no path"},
    ),
    (
        "200, open",
        "200, open",
        ("arguments", "body_arguments"),
        {
            "form raw UTF-8": "19: bytes stay as they came",
            "form raw UTF-8 name": "19",
            "form beyond latin-1": "19",
            "form type in upper case": "43: media types have no case",
            "form with Content-Encoding": "43: a compressed form is not parsed",
        },
    ),
    (
        "200, open",
        "400, closed, 1 run",
        ("raises",),
        {
            "1001 arguments": "20: 1000 arguments; HTTPInputError when asked for, then 400",
            "form 1001 arguments": "20",
            "multipart 101 parts": "20: 100 parts",
            "multipart part head of 11 KiB": "20: 10 KiB",
            "multipart LF only": "49: some readers take LF for a line end",
        },
    ),
    (
        "200, open",
        "200, open",
        ("cookies",),
        {
            'cookie a="b;c"': "21: a semicolon always separates",
            "cookie a=b, c=d": "21: a comma never does",
            "two cookie fields": "21: several fields are several cookies",
            "cookie a=b c; d=e": "21: blanks in values, as browsers send them",
            "cookie a=é; b=1": "21: values beyond ASCII",
            "cookie a=1; b[x]=2; c=3": "21: one bad name does not end it",
            "cookie a=1; ; c=3": "21",
            "cookie a; b=2": "21",
            "cookie =a; b=2": "21",
            "cookie path=1; b=2": "21",
            "cookie $Version=1; a=b": "21: a name like another",
            'cookie a={"x":1}; b=2': "21",
        },
    ),
    (
        "200, open",
        "200, open",
        ("remote_ip",),
        {
            "forwarded: real ip short form": "24: addresses in full",
            "forwarded: real ip number": "24",
            "forwarded: real ip octal": "24",
            "forwarded: real ip in brackets": "25: an address all the same",
            "forwarded: real ip with port": "25",
        },
    ),
    (
        "200, open",
        "200, open",
        ("protocol",),
        {
            "forwarded: proto list": "42: of a list the last, as Tornado since 5.0",
            "forwarded: proto twice": "42",
        },
    ),
    (
        "200 200, open",
        "200 200, open",
        ("events",),
        {
            "callback written-then-finish": "16: the write callback runs",
            "callback empty-written": "16",
            "callback large": "16",
            "callback text": "47: the documented example writes a str",
            "callback certificate": "26: None without TLS",
        },
    ),
)

DIFFERENCES: dict[str, Difference] = {
    name: Difference(stock, ours, why, fields)
    for stock, ours, fields, rows in _GROUPS
    for name, why in rows.items()
} | {
    "http10 ka list": Difference("200, closed", "200, open", "36: Connection is a list"),
    "expect case": Difference("200, open", "100 200, open", "32: no matter the case"),
    "expect CL0": Difference("100 200, open", "200, open", "32: only if a body is waited for"),
    "expect 1.0": Difference("100 200, closed", "200, closed", "32: not in HTTP/1.0"),
    "expect other": Difference("200, open", "417, closed", "32, EX02: no other expectation"),
    "TE identity": Difference("200, open", "501, closed", "3: chunked only"),
    "TE gzip,chunked": Difference("200, closed", "501, closed", "3"),
    "target of 9000": Difference("200, open", "414, closed", "10: max_request_line"),
    "chunked then next": Difference("200, closed", "200 200, open", "3", ("body",)),
    "trailing crlf after POST": Difference("200, closed", "200 200, open", "14"),
    "good, then malformed": Difference("200, closed", "200 400, closed", "9"),
    "half close GET": Difference(
        "no bytes, closed, 1 run", "200, closed", "15: a client that shuts its side is answered"
    ),
    "client leaves": Difference(
        "200, closed", "200, waits", "15, BE07: told, but the answer may still be written"
    ),
    "multipart filename*": Difference(
        "200, open",
        "200, open",
        "43: filename* is understood, as in Tornado since 5.1",
        ("arguments", "body_arguments", "files"),
    ),
    "multipart boundary in a line": Difference(
        "200, open", "200, open", "49: it begins a line", ("arguments", "body_arguments")
    ),
    "multipart behind the end": Difference(
        "200, open", "200, open", "49: the first final one", ("arguments", "body_arguments")
    ),
    "HEAD": Difference("200, open", "200, closed", "50: the callback's body for HEAD is a fault"),
    "1.0 HEAD ka": Difference("200, open", "200, closed", "50"),
    "callback finish-without-write": Difference(
        "200, open, 2 run", "500, closed, 1 run", "51: the client would take the next for it"
    ),
    "callback raise": Difference("no bytes, closed, 1 run", "500, closed, 1 run", "34"),
    "callback finish-twice": Difference(
        "200, closed, 2 run", "200 200, open", "17: finish() is for its own request"
    ),
    "callback write-after-finish": Difference(
        "200 200 200, open, 2 run", "200 200, open", "17: so is write()"
    ),
}
