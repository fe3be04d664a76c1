"""The table of raw requests for the differential test.

It begins with the wire matrix that was measured on Tornado 3.2.2; the other parts vary what
an application sees of a request, and what it does with it (``wire_server.answer``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["FIN", "PAUSE", "REQUESTS", "TOGETHER", "Request"]

# Steps that are not bytes.
PAUSE = "pause"  # until the server has said something, or will not
FIN = "fin"  # shut the writing side
TOGETHER = "together"  # keep the server busy, so that it sees what follows at one time


@dataclass(frozen=True)
class Request:
    """One row: a name, what is sent, and to which of the servers in ``wire_server``."""

    name: str
    steps: tuple[bytes | str, ...]
    server: str = "plain"


H = b"Host: x\r\n"
GET = b"GET /a HTTP/1.1\r\n"
G = GET + H
POST = b"POST /1 HTTP/1.1\r\n"
P = POST + H
CHUNKED = P + b"Transfer-Encoding: chunked\r\n\r\n"
NEXT = b"GET /2 HTTP/1.1\r\n" + H + b"\r\n"
FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"


def body(data: bytes, head: bytes = P) -> bytes:
    """End a head with the length of a body, and append that."""
    return head + b"Content-Length: %d\r\n\r\n" % len(data) + data


def form(data: bytes, head: bytes = P) -> bytes:
    return body(data, head + FORM)


def part(disposition: bytes, value: bytes, *fields: bytes) -> bytes:
    lines = (b"--B", b"Content-Disposition: " + disposition, *fields, b"", value, b"")
    return b"\r\n".join(lines)


def multipart(*parts: bytes, boundary: bytes = b"B", end: bytes = b"--B--\r\n") -> bytes:
    return body(
        b"".join(parts) + end,
        P + b"Content-Type: multipart/form-data; boundary=" + boundary + b"\r\n",
    )


def get(fields: bytes = b"", target: bytes = b"/a") -> bytes:
    return b"GET " + target + b" HTTP/1.1\r\n" + H + fields + b"\r\n"


# --- The wire matrix: Appendix A of the specification ----------------------------------------

_MATRIX: dict[str, bytes | tuple[bytes | str, ...]] = {
    "simple11": b"GET /a?b=c HTTP/1.1\r\n" + H + b"\r\n",
    "nohost11": GET + b"\r\n",
    "http10": b"GET /a HTTP/1.0\r\n\r\n",
    "http10 ka": b"GET /a HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
    "http10 ka list": b"GET /a HTTP/1.0\r\nConnection: keep-alive, foo\r\n\r\n",
    "http10 POST ka CL": b"POST /a HTTP/1.0\r\nConnection: keep-alive\r\n"
    b"Content-Length: 2\r\n\r\nab",
    "http10 DELETE ka no CL": b"DELETE /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "http11 close list": G + b"Connection: close, foo\r\n\r\n",
    "http11 Close": G + b"Connection: Close\r\n\r\n",
    "http12": b"GET /a HTTP/1.2\r\n" + H + b"\r\n",
    "http2": b"GET /a HTTP/2.0\r\n" + H + b"\r\n",
    "httpx": b"GET /a HTTP/x\r\n" + H + b"\r\n",
    "http09": b"GET /a\r\n\r\n",
    "badver": b"GET /a FTP/1.1\r\n\r\n",
    "twospace": b"GET  /a HTTP/1.1\r\n" + H + b"\r\n",
    "spaceuri": b"GET /a b HTTP/1.1\r\n" + H + b"\r\n",
    "trailing space": b"GET /a HTTP/1.1 \r\n" + H + b"\r\n",
    "lower method": b"get /a HTTP/1.1\r\n" + H + b"\r\n",
    "bad method": b"GE(T /a HTTP/1.1\r\n" + H + b"\r\n",
    "leading crlf": b"\r\n" + G + b"\r\n",
    "leading 2crlf": b"\r\n\r\n" + G + b"\r\n",
    "bare LF": b"GET /a HTTP/1.1\nHost: x\n\n",
    "mixed LF hdr": GET + b"Host: x\nFoo: b\r\n\r\n",
    "LFCRLF end": G + b"\n",
    "bare CR in hdr": G + b"A: b\rc: d\r\n\r\n",
    "no colon": G + b"foo\r\n\r\n",
    "sp before colon": G + b"Foo : bar\r\n\r\n",
    "empty name": G + b": bar\r\n\r\n",
    "fold": G + b"Foo: a\r\n  b\r\n\r\n",
    "fold first": GET + b" Foo: a\r\n" + H + b"\r\n",
    "nul in value": G + b"Foo: a\x00b\r\n\r\n",
    "ctl in name": G + b"Fo\x01o: a\r\n\r\n",
    "latin1 value": G + b"Foo: a\xe9\r\n\r\n",
    "nel value": G + b"Foo: a\x85bar: q\r\n\r\n",
    "vt value": G + b"Foo: a\x0bbar: q\r\n\r\n",
    "latin1 uri": b"GET /\xe9?x=\xe9 HTTP/1.1\r\n" + H + b"\r\n",
    "ctl uri": b"GET /\x01 HTTP/1.1\r\n" + H + b"\r\n",
    "two hosts": G + b"Host: y\r\n\r\n",
    "two same hosts": G + H + b"\r\n",
    "empty host": GET + b"Host:\r\n\r\n",
    "bad host": GET + b"Host: a b\r\n\r\n",
    "absuri": b"GET http://h/p?q=1 HTTP/1.1\r\n" + H + b"\r\n",
    "star": b"OPTIONS * HTTP/1.1\r\n" + H + b"\r\n",
    "connect": b"CONNECT h:1 HTTP/1.1\r\n" + H + b"\r\n",
    "fragment": b"GET /a#f?x=1 HTTP/1.1\r\n" + H + b"\r\n",
    "pipeline": (b"GET /1 HTTP/1.1\r\n" + H + b"\r\n") * 3,
    "pipeline POST": body(b"abc") + NEXT,
    "CL 0": body(b""),
    "CL empty": P + b"Content-Length:\r\n\r\n",
    "CL abc": P + b"Content-Length: abc\r\n\r\n",
    "CL +3": P + b"Content-Length: +3\r\n\r\nabc",
    "CL 1_0": P + b"Content-Length: 1_0\r\n\r\nabcdefghij",
    "CL neg": P + b"Content-Length: -3\r\n\r\nabc",
    "CL 03": P + b"Content-Length: 03\r\n\r\nabc",
    "CL dup same": P + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "CL list same": P + b"Content-Length: 3, 3\r\n\r\nabc",
    "CL dup diff": P + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "CL huge": P + b"Content-Length: 999999999999\r\n\r\nabcd",
    "CL 30 digits": P + b"Content-Length: 0000000000000000000000000000003\r\n\r\nabc",
    "CL trunc half": (TOGETHER, P + b"Content-Length: 10\r\n\r\nabc", FIN),
    "GET with body": body(b"abc", b"GET /1 HTTP/1.1\r\n" + H),
    "expect": (
        P + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n",
        PAUSE,
        b"abc",
    ),
    "expect case": (
        P + b"Content-Length: 3\r\nExpect: 100-Continue\r\n\r\n",
        PAUSE,
        b"abc",
    ),
    "expect CL0": P + b"Content-Length: 0\r\nExpect: 100-continue\r\n\r\n",
    "expect noCL": b"GET /1 HTTP/1.1\r\n" + H + b"Expect: 100-continue\r\n\r\n",
    "expect 1.0": b"POST /1 HTTP/1.0\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc",
    "expect other": P + b"Content-Length: 3\r\nExpect: foo\r\n\r\nabc",
    "chunked": CHUNKED + b"3\r\nabc\r\n0\r\n\r\n",
    "chunked then next": CHUNKED + b"3\r\nabc\r\n0\r\n\r\n" + NEXT,
    "chunk ext": CHUNKED + b"3;a=b\r\nabc\r\n0\r\n\r\n",
    "chunk sp": CHUNKED + b"3 \r\nabc\r\n0\r\n\r\n",
    "chunk trailer": CHUNKED + b"3\r\nabc\r\n0\r\nFoo: b\r\n\r\n",
    "chunk 0x": CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n",
    "chunk neg": CHUNKED + b"-3\r\nabc\r\n0\r\n\r\n",
    "chunk LF": CHUNKED + b"3\nabc\n0\n\n",
    "chunk bad end": CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n",
    "chunk upper hex": CHUNKED + b"A\r\nabcdefghij\r\n0\r\n\r\n",
    "chunk leading zero": CHUNKED + b"0003\r\nabc\r\n0000\r\n\r\n",
    "TE+CL": P + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "TE identity": P + b"Transfer-Encoding: identity\r\n\r\n",
    "TE gzip,chunked": P + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "TE chunked 1.0": b"POST /1 HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nabc\r\n0\r\n\r\n",
    "TE dup": P + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "TE Chunked case": P + b"Transfer-Encoding: CHUNKED\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "half close GET": (TOGETHER, G + b"\r\n", FIN),
    "half close partial": (TOGETHER, b"GET /a HTT", FIN),
    "trailing crlf after POST": body(b"abc") + b"\r\n" + NEXT,
    "upgrade h2c": G + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n",
    "h2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "tls hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
}

# --- Further request lines and header fields -------------------------------------------------

_HEADS: dict[str, bytes | tuple[bytes | str, ...]] = {
    "HEAD": b"HEAD /a HTTP/1.1\r\n" + H + b"\r\n",
    "unknown method": b"FOO-BAR_1 /a HTTP/1.1\r\n" + H + b"\r\n",
    "DELETE 1.1": b"DELETE /a HTTP/1.1\r\n" + H + b"\r\n",
    "double slash": get(target=b"//x/y?z"),
    "dots and escapes": get(target=b"/a/../b/%2e%2F%00%zz"),
    "odd characters in path": get(target=b'/<">^`{|}[]'),
    "odd characters in query": get(target=b'/?<">\\^`{|}[]=1'),
    "backslash in path": get(target=b"/a\\b"),
    "two question marks": get(target=b"/x??a=1"),
    "only a query": get(target=b"?a=1"),
    "relative target": get(target=b"foo/bar"),
    "GET star": get(target=b"*"),
    "absolute with port": get(target=b"http://h:8080/p"),
    "absolute https": get(target=b"https://h/p"),
    "lower http": b"GET /a http/1.1\r\n" + H + b"\r\n",
    "tabs": b"GET\t/a\tHTTP/1.1\r\n" + H + b"\r\n",
    "proxy header": b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + G + b"\r\n",
    "host with port": GET + b"Host: example.com:8080\r\n\r\n",
    "host in upper case": GET + b"HOST: EXAMPLE.com\r\n\r\n",
    "host IPv6": GET + b"Host: [::1]:80\r\n\r\n",
    "host with user": GET + b"Host: a@b\r\n\r\n",
    "no host 1.0": b"GET /a HTTP/1.0\r\n\r\n",
    "names in any case": get(b"ETAG: 1\r\nwww-authenticate: 2\r\nx_y-Z: 3\r\nx--y: 4\r\n"),
    "repeated field": get(b"Foo: 1\r\nBar: x\r\nfoo: 2\r\nFOO: 3\r\n"),
    "empty value": get(b"Foo:\r\nBar: \r\n"),
    "blanks around value": get(b"Foo: \t a b \t \r\n"),
    "no blank": get(b"Foo:a:b\r\n"),
    "nbsp around value": get(b"Foo: \xa0a\xa0\r\n"),
    "quoted comma": get(b'Foo: "a,b"\r\nFoo: c\r\n'),
    "100 fields": get(b"".join(b"F%d: x\r\n" % i for i in range(98))),
    "200 fields": get(b"".join(b"F%d: x\r\n" % i for i in range(200))),
    "field of 15 KiB": get(b"Foo: " + b"x" * 15_000 + b"\r\n"),
    "field of 20 KiB": get(b"Foo: " + b"x" * 20_000 + b"\r\n"),
    "target of 8000": get(target=b"/" + b"x" * 8000),
    "target of 9000": get(target=b"/" + b"x" * 9000),
    "head of 70 KiB": get(b"".join(b"F%d: %b\r\n" % (i, b"x" * 10_000) for i in range(7))),
    "head in pieces": (G[:7], PAUSE, G[7:20], PAUSE, G[20:] + b"Foo: b\r\n\r", PAUSE, b"\n"),
    "1.1 keep-alive": get(b"Connection: keep-alive\r\n"),
    "1.1 close last": get(b"Connection: foo, close\r\n"),
    "1.1 close twice": get(b"Connection: keep-alive\r\nConnection: close\r\n"),
    "1.1 close, then more": get(b"Connection: close\r\n") + NEXT,
    "1.0 HEAD ka": b"HEAD /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "1.0 POST ka": b"POST /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    "1.0 ka, then more": b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + NEXT,
    "1.0, then more": b"GET /a HTTP/1.0\r\n\r\n" + NEXT,
    "good, then malformed": G + b"\r\n" + b"GET /a\r\n\r\n",
    "upgrade websocket declined": get(b"Connection: Upgrade\r\nUpgrade: websocket\r\n") + NEXT,
    "connect, then bytes": b"CONNECT h:1 HTTP/1.1\r\n" + H + b"\r\nTUNNEL",
    "connect with length": body(b"abc", b"CONNECT h:1 HTTP/1.1\r\n" + H),
}

# --- Arguments -------------------------------------------------------------------------------

_ARGUMENTS: dict[str, bytes] = {
    f"query {query.decode('latin-1')}": get(target=b"/a?" + query)
    for query in (
        b"a=1&b=2&a=3",
        b"a&b=&=c&=",
        b"&&a=1&&",
        b"a=1;b=2",
        b"a=b=c",
        b"a+b=c+d",
        b"%61%2Bb=%41%26",
        b"%C3%A9=%C3%A9",
        b"%E9=%FF",
        b"a=%zz&b=%4&c=%",
        b"a=%00%0d%0a",
        b"a[]=1&a.b=2",
        b"a='\"<>",
        b"?a=1",
    )
} | {
    "1000 arguments": get(target=b"/a?" + b"&".join([b"a"] * 1000)),
    "1001 arguments": get(target=b"/a?" + b"&".join([b"a"] * 1001)),
}

# --- Bodies and forms ------------------------------------------------------------------------

_BODIES: dict[str, bytes | tuple[bytes | str, ...]] = {
    "form": form(b"a=1&b=2&a=3"),
    "form and query": form(b"a=2&c=3", b"POST /1?a=1&b=2 HTTP/1.1\r\n" + H),
    "form blank values": form(b"a=&b&=c"),
    "form escapes": form(b"a+b=%C3%A9&%E9=%FF"),
    "form raw UTF-8": form("a=é".encode()),
    "form raw UTF-8 name": form("é=1".encode()),
    "form beyond latin-1": form("a=€".encode()),
    "form not UTF-8": form(b"a=1&b=\xe9"),
    "form with charset": body(
        b"a=1",
        P + b"Content-Type: application/x-www-form-urlencoded; charset=UTF-8\r\n",
    ),
    "form type in upper case": body(
        b"a=1", P + b"Content-Type: Application/X-WWW-Form-Urlencoded\r\n"
    ),
    "form, trailing CRLF": form(b"a=1\r\n"),
    "form 1001 arguments": form(b"&".join([b"a"] * 1001)),
    "PUT form": form(b"a=1", b"PUT /1 HTTP/1.1\r\n" + H),
    "PATCH form": form(b"a=1", b"PATCH /1 HTTP/1.1\r\n" + H),
    "DELETE form": form(b"a=1", b"DELETE /1 HTTP/1.1\r\n" + H),
    "GET form": form(b"a=1", b"GET /1 HTTP/1.1\r\n" + H),
    "lower post form": form(b"a=1", b"post /1 HTTP/1.1\r\n" + H),
    "form without type": body(b"a=1"),
    "form as text": body(b"a=1", P + b"Content-Type: text/plain\r\n"),
    "form with Content-Encoding": body(b"a=1", P + FORM + b"Content-Encoding: gzip\r\n"),
    "empty form": form(b""),
    "form in pieces": (form(b"a=1&b=22")[:-5], PAUSE, b"1&b", PAUSE, b"=22"),
    "json": body(b'{"a": 1}', P + b"Content-Type: application/json\r\n"),
    "two types": body(b"a=1", P + FORM + b"Content-Type: text/plain\r\n"),
    "two equal types": body(b"a=1", P + FORM + FORM),
    "binary body": body(bytes(range(256))),
    "body of 200 KB": body(b"x" * 200_000),
    "POST without length": P + b"\r\n",
    "two bodies": form(b"a=1") + form(b"b=2"),
}

_MULTIPART: dict[str, bytes | tuple[bytes | str, ...]] = {
    "multipart": multipart(
        part(b'form-data; name="a"', b"1"),
        part(b'form-data; name="f"; filename="x.txt"', b"data\r\n", b"Content-Type: text/x"),
    ),
    "multipart same name": multipart(
        part(b'form-data; name="a"', b"1"), part(b'form-data; name="a"', b"2")
    ),
    "multipart two files": multipart(
        part(b'form-data; name="f"; filename="x"', b"1"),
        part(b'form-data; name="f"; filename="y"', b"2"),
    ),
    "multipart and query": multipart(part(b'form-data; name="a"', b"1")).replace(
        b"/1 ", b"/1?a=0 ", 1
    ),
    "multipart quoted boundary": multipart(part(b'form-data; name="a"', b"1"), boundary=b'"B"'),
    "multipart more parameters": multipart(
        part(b'form-data; name="a"', b"1"), boundary=b"B; charset=utf-8"
    ),
    "multipart unquoted name": multipart(part(b"form-data; name=a", b"1")),
    "multipart quoted pairs": multipart(
        part(b'form-data; name="f"; filename="a\\"b\\\\c;d"', b"1")
    ),
    "multipart UTF-8 names": multipart(
        part('form-data; name="é"; filename="€.txt"'.encode(), "ü".encode())
    ),
    "multipart empty filename": multipart(part(b'form-data; name="f"; filename=""', b"1")),
    "multipart filename*": multipart(
        part(b"form-data; name=\"f\"; filename*=UTF-8''%E2%82%AC.txt", b"1")
    ),
    "multipart path as filename": multipart(
        part(b'form-data; name="f"; filename="../../etc/passwd"', b"1")
    ),
    "multipart names in upper case": multipart(
        part(b'form-data; NAME="a"', b"1").replace(b"Content-D", b"CONTENT-D")
    ),
    "multipart binary": multipart(
        part(b'form-data; name="f"; filename="x"', bytes(range(256)) + b"--B-")
    ),
    "multipart empty value": multipart(part(b'form-data; name="a"', b"")),
    "multipart preamble": multipart(b"This is a preamble.\r\n", part(b'form-data; name="a"', b"1")),
    "multipart epilogue": multipart(
        part(b'form-data; name="a"', b"1"), end=b"--B--\r\nThis is an epilogue."
    ),
    "multipart first boundary missing": multipart(
        part(b'form-data; name="a"', b"1").removeprefix(b"--B\r\n"),
        part(b'form-data; name="b"', b"2"),
    ),
    "multipart no final boundary": multipart(part(b'form-data; name="a"', b"1"), end=b""),
    "multipart no boundary": multipart(part(b'form-data; name="a"', b"1"), boundary=b""),
    "multipart no disposition": multipart(b"--B\r\nFoo: bar\r\n\r\n1\r\n"),
    "multipart other disposition": multipart(
        part(b'attachment; name="a"', b"1"), part(b'form-data; name="b"', b"2")
    ),
    "multipart no name": multipart(part(b"form-data", b"1"), part(b'form-data; name="b"', b"2")),
    "multipart no headers": multipart(b"--B\r\n1\r\n", part(b'form-data; name="b"', b"2")),
    "multipart LF only": multipart(
        part(b'form-data; name="a"', b"1").replace(b"\r\n", b"\n"), end=b"--B--\n"
    ),
    "multipart boundary in a line": multipart(
        part(b'form-data; name="a"', b"x" + part(b'form-data; name="b"', b"2") + b"y")
    ),
    "multipart behind the end": multipart(
        part(b'form-data; name="a"', b"1"),
        end=b"--B--\r\n" + part(b'form-data; name="b"', b"2") + b"--B--\r\n",
    ),
    "multipart empty": multipart(),
    "multipart 100 parts": multipart(part(b'form-data; name="a"', b"1") * 100),
    "multipart 101 parts": multipart(part(b'form-data; name="a"', b"1") * 101),
    "multipart part head of 11 KiB": multipart(
        part(b'form-data; name="a"', b"1", b"Foo: " + b"x" * 11_000)
    ),
    "multipart PUT": multipart(part(b'form-data; name="a"', b"1")).replace(b"POST", b"PUT", 1),
    "multipart GET": multipart(part(b'form-data; name="a"', b"1")).replace(b"POST", b"GET", 1),
}

# --- Cookies ---------------------------------------------------------------------------------

_COOKIES: dict[str, bytes] = {
    f"cookie {value.decode('latin-1')}": get(b"Cookie: " + value + b"\r\n")
    for value in (
        b"a=b",
        b"a=b; c=d",
        b"a=b;c=d;a=e",
        b"a=b=c; d=",
        b'a="b c"; d="e\\"f"',
        b'a="b;c"',
        b'a="\\351\\040"',
        b"a=b c; d=e",
        b"a=\xe9; b=1",
        b"a=1; b[x]=2; c=3",
        b"a=1; ; c=3",
        b"a; b=2",
        b"=a; b=2",
        b"path=1; b=2",
        b"$Version=1; a=b",
        b'a={"x":1}; b=2',
        b"a=b, c=d",
    )
} | {"two cookie fields": get(b"Cookie: a=b\r\nCookie: c=d\r\n")}

# --- Behind a proxy: xheaders=True -----------------------------------------------------------

_FORWARDED: dict[str, bytes | tuple[bytes | str, ...]] = {
    "none": get(),
    "real ip": get(b"X-Real-Ip: 4.4.4.4\r\n"),
    "real ip IPv6": get(b"X-Real-Ip: 2620:0:1cfe:face:b00c::3\r\n"),
    "real ip invalid": get(b"X-Real-Ip: 4.4.4.4<script>\r\nX-Forwarded-For: 5.5.5.5\r\n"),
    "real ip short form": get(b"X-Real-Ip: 127.1\r\n"),
    "real ip number": get(b"X-Real-Ip: 1\r\n"),
    "real ip octal": get(b"X-Real-Ip: 010.1.1.1\r\n"),
    "real ip in brackets": get(b"X-Real-Ip: [::1]\r\n"),
    "real ip with port": get(b"X-Real-Ip: 1.2.3.4:80\r\n"),
    "real ip empty": get(b"X-Real-Ip:\r\nX-Forwarded-For: 5.5.5.5\r\n"),
    "real ip and for": get(b"X-Forwarded-For: 5.5.5.5\r\nX-Real-Ip: 4.4.4.4\r\n"),
    "for": get(b"X-Forwarded-For: 127.0.0.1, 4.4.4.4\r\n"),
    "for twice": get(b"X-Forwarded-For: 4.4.4.4\r\nX-Forwarded-For: 5.5.5.5\r\n"),
    "for trailing comma": get(b"X-Forwarded-For: 5.5.5.5,\r\n"),
    "for unknown": get(b"X-Forwarded-For: 5.5.5.5, unknown\r\n"),
    "scheme": get(b"X-Scheme: https\r\n"),
    "scheme invalid": get(b"X-Scheme: ftp\r\nX-Forwarded-Proto: https\r\n"),
    "proto": get(b"X-Forwarded-Proto: https\r\n"),
    "proto in upper case": get(b"X-Forwarded-Proto: HTTPS\r\n"),
    "proto list": get(b"X-Forwarded-Proto: http, https\r\n"),
    "proto twice": get(b"X-Forwarded-Proto: http\r\nX-Forwarded-Proto: https\r\n"),
    "all, then none": get(b"X-Real-Ip: 4.4.4.4\r\nX-Scheme: https\r\n") + NEXT,
}

# --- What the application does ---------------------------------------------------------------

_DEEDS: dict[str, bytes | tuple[bytes | str, ...]] = {
    f"callback {deed}": get(target=b"/" + deed.encode()) + NEXT
    for deed in (
        "later",
        "raise",
        "write-raise",
        "finish-twice",
        "write-after-finish",
        "written-finish",
        "written-then-finish",
        "empty-written",
        "two-written",
        "close",
        "stream-close",
        "text",
        "certificate",
        "large",
        "connection-write",
        "finish-without-write",
    )
} | {
    "client leaves": (get(target=b"/never"), PAUSE, FIN),
    "client leaves, finish then": (get(target=b"/finish-on-close"), PAUSE, FIN),
}


def _rows(
    rows: Mapping[str, bytes | tuple[bytes | str, ...]], server: str = "plain", prefix: str = ""
) -> list[Request]:
    return [
        Request(prefix + name, steps if isinstance(steps, tuple) else (steps,), server)
        for name, steps in rows.items()
    ]


REQUESTS = [
    *_rows(_MATRIX),
    *_rows(_HEADS),
    *_rows(_ARGUMENTS),
    *_rows(_BODIES),
    *_rows(_MULTIPART),
    *_rows(_COOKIES),
    *_rows(_FORWARDED, "xheaders", "forwarded: "),
    *_rows(_DEEDS),
    Request("no_keep_alive 1.1", (get() + NEXT,), "no_keep_alive"),
    Request(
        "no_keep_alive 1.0 ka",
        (b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",),
        "no_keep_alive",
    ),
    Request("protocol=https", (get(),), "https"),
    Request("protocol=https, X-Scheme", (get(b"X-Scheme: http\r\n"),), "https"),
    Request("no Host, default options", (GET + b"\r\n",), "default"),
    Request("body within max_buffer_size", (body(b"x" * 500),), "small"),
    Request("body at max_buffer_size", (body(b"x" * 1000),), "small"),
    Request("body over max_buffer_size", (body(b"x" * 1001),), "small"),
    Request("head over max_buffer_size", (get(b"Foo: " + b"x" * 2000 + b"\r\n"),), "small"),
]
