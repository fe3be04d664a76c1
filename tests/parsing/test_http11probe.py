"""What Http11Probe sends to servers, what it wants to see, and what we answer.

https://github.com/MDA2AV/Http11Probe compares servers by such requests. Here they are in our own
bytes, under its names. ``docs/standards.md`` counts them, and says of each answer that the probe
wants otherwise why it is as it is; the last tests hold it to that.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from fasthttpserver import HTTPRequest
from fasthttpserver.testing import Client, Response

PAGE = Path(__file__).resolve().parents[2] / "docs" / "standards.md"

HOST = b"Host: localhost:8080\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST
POST = b"POST / HTTP/1.1\r\n" + HOST
ECHO = b"POST /echo HTTP/1.1\r\n" + HOST
END = b"\r\n"
NEXT = GET + END
FIVE = b"Content-Length: 5\r\n"
HELLO = b"\r\nhello"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
FOLDED = b"Transfer-Encoding:\r\n chunked\r\n"
CHUNKS = POST + CHUNKED + END
LAST = b"0\r\n\r\n"
CHUNK = b"5\r\nhello\r\n"
SOCKET = b"Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
ASKS = b"Connection: Upgrade\r\n" + SOCKET
VERSION = b"Sec-WebSocket-Version: 13\r\n\r\n"
CONTINUE = b"Expect: 100-continue\r\n"
GARBAGE = random.Random(42).randbytes(256)


def length(value: bytes) -> bytes:
    return b"Content-Length: " + value + END


def coding(value: bytes) -> bytes:
    return b"Transfer-Encoding: " + value + END


def cookies(path: bytes, *values: bytes) -> bytes:
    """A GET with a Cookie field for each value."""
    fields = b"".join(b"Cookie: " + value + END for value in values)
    return b"GET " + path + b" HTTP/1.1\r\n" + HOST + fields + END


def hidden(*fields: bytes, request: bytes = NEXT) -> bytes:
    """A body that ends at once for who reads chunks, and holds a request for who counts.

    ``%d`` in a field is the length of the body.
    """
    body = LAST + request
    return POST + b"".join(fields).replace(b"%d", b"%d" % len(body)) + END + body


def etag(first: Response) -> str:
    return first.headers["ETag"]


def again(field: Callable[[Response], str]) -> Callable[[Response], bytes]:
    """A second GET with a field made from the first answer."""
    return lambda first: GET + field(first).encode() + b"\r\n\r\n"


class Case(NamedTuple):
    """One test of the probe."""

    id: str
    # Statuses that it counts as passed, of one answer or, after a comma, of the next: "2xx" for
    # any of them, "!101" for all but one, "none" for a server that waits.
    wanted: str
    ours: tuple[int, ...]  # one status for each answer
    sent: tuple[bytes | Callable[[Response], bytes], ...]

    @property
    def group(self) -> str:
        return GROUPS[self.id.partition("-")[0]]


GROUPS = {
    "COMP": "compliance",
    "RFC9110": "compliance",
    "RFC9112": "compliance",
    "SMUG": "smuggling",
    "MAL": "malformed input",
    "NORM": "normalization",
    "COOK": "cookies",
    "CAP": "capabilities",
}


def case(
    id: str,
    wanted: str,
    ours: int | tuple[int, ...],
    *sent: bytes | Callable[[Response], bytes],
) -> Case:
    return Case(id, wanted, ours if isinstance(ours, tuple) else (ours,), sent)


CASES = [
    # Compliance
    case("COMP-BASELINE", "2xx", 200, GET + END),
    case("RFC9112-2.2-BARE-LF-REQUEST-LINE", "400", 400, b"GET / HTTP/1.1\n" + HOST + END),
    case("RFC9112-2.2-BARE-LF-HEADER", "400", 400, GET[:-2] + b"\nX-Test: a\r\n\r\n"),
    case("RFC9112-5.1-OBS-FOLD", "400", 400, GET + b"X-Test: a\r\n b\r\n\r\n"),
    case("RFC9110-5.6.2-SP-BEFORE-COLON", "400", 400, GET + b"X-Test : a\r\n\r\n"),
    case("RFC9112-3-MULTI-SP-REQUEST-LINE", "400", 400, b"GET  / HTTP/1.1\r\n" + HOST + END),
    case("RFC9112-7.1-MISSING-HOST", "400", 400, b"GET / HTTP/1.1\r\n\r\n"),
    case("RFC9112-2.3-INVALID-VERSION", "400 505", 505, b"GET / HTTP/9.9\r\n" + HOST + END),
    case("RFC9112-5-EMPTY-HEADER-NAME", "400", 400, GET + b": a\r\n\r\n"),
    case("RFC9112-3-CR-ONLY-LINE-ENDING", "400", 400, b"GET / HTTP/1.1\r" + HOST + END),
    case("RFC9112-3-MISSING-TARGET", "400", 400, b"GET HTTP/1.1\r\n" + HOST + END),
    case("RFC9112-3.2-FRAGMENT-IN-TARGET", "400", 400, b"GET /a#b HTTP/1.1\r\n" + HOST + END),
    case("RFC9112-2.3-HTTP09-REQUEST", "400 none", (), b"GET /\r\n"),
    case("RFC9112-5-INVALID-HEADER-NAME", "400", 400, GET + b"Bad[Name: a\r\n\r\n"),
    case("RFC9112-5-HEADER-NO-COLON", "400", 400, GET + b"NoColon\r\n\r\n"),
    case("RFC9110-5.4-DUPLICATE-HOST", "400", 400, GET + b"Host: other\r\n\r\n"),
    case("RFC9112-6.1-CL-NON-NUMERIC", "400", 400, POST + length(b"abc") + END),
    case("RFC9112-6.1-CL-PLUS-SIGN", "400", 400, POST + length(b"+5") + HELLO),
    case("COMP-WHITESPACE-BEFORE-HEADERS", "400", 400, b"GET / HTTP/1.1\r\n \r\n" + HOST + END),
    case("COMP-DUPLICATE-HOST-SAME", "400", 400, GET + HOST + END),
    case("COMP-HOST-WITH-USERINFO", "400", 400, b"GET / HTTP/1.1\r\nHost: u@localhost\r\n\r\n"),
    case("COMP-HOST-WITH-PATH", "400", 400, b"GET / HTTP/1.1\r\nHost: localhost/a\r\n\r\n"),
    case("COMP-ASTERISK-WITH-GET", "400", 400, b"GET * HTTP/1.1\r\n" + HOST + END),
    case("COMP-OPTIONS-STAR", "2xx", 204, b"OPTIONS * HTTP/1.1\r\n" + HOST + END),
    case("COMP-UNKNOWN-TE-501", "400 501", 501, POST + coding(b"gzip") + END),
    case("COMP-LEADING-CRLF", "400", 200, b"\r\n\r\n" + GET + END),
    case("COMP-ABSOLUTE-FORM", "2xx", 200, b"GET http://localhost:8080/ HTTP/1.1\r\n" + HOST + END),
    case("COMP-METHOD-CASE", "400 405 501", 405, b"get / HTTP/1.1\r\n" + HOST + END),
    case("COMP-POST-CL-BODY", "2xx", 200, POST + FIVE + HELLO),
    case("COMP-POST-CL-ZERO", "2xx", 200, POST + length(b"0") + END),
    case("COMP-POST-NO-CL-NO-TE", "2xx", 200, POST + END),
    case("COMP-POST-CL-UNDERSEND", "400 none", (), POST + length(b"10") + HELLO),
    case("COMP-CHUNKED-BODY", "2xx", 200, CHUNKS + CHUNK + LAST),
    case("COMP-CHUNKED-MULTI", "2xx", 200, CHUNKS + CHUNK + b"6\r\n world\r\n" + LAST),
    case("COMP-CHUNKED-EMPTY", "2xx", 200, CHUNKS + LAST),
    case("COMP-CHUNKED-NO-FINAL", "400 none", (), CHUNKS + CHUNK),
    case("COMP-UPGRADE-POST", "!101", 200, POST + ASKS + VERSION),
    case("COMP-UPGRADE-MISSING-CONN", "!101", 200, GET + SOCKET + VERSION),
    case(
        "COMP-UPGRADE-UNKNOWN",
        "!101",
        200,
        GET + b"Connection: Upgrade\r\nUpgrade: unheard-of/1.0\r\n\r\n",
    ),
    case(
        "COMP-METHOD-CONNECT",
        "400 405 501",
        405,
        b"CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\n\r\n",
    ),
    case("COMP-EXPECT-UNKNOWN", "417", 417, GET + b"Expect: 200-ok\r\n\r\n"),
    case("COMP-GET-WITH-CL-BODY", "400", 200, GET + FIVE + HELLO),
    case("COMP-CHUNKED-EXTENSION", "2xx", 200, CHUNKS + b"5;a=b\r\nhello\r\n" + LAST),
    case("COMP-UPGRADE-INVALID-VER", "426", 200, GET + ASKS + b"Sec-WebSocket-Version: 99\r\n\r\n"),
    case("COMP-METHOD-TRACE", "405 501", 405, b"TRACE / HTTP/1.1\r\n" + HOST + END),
    case("COMP-HOST-EMPTY-VALUE", "400", 400, b"GET / HTTP/1.1\r\nHost: \r\n\r\n"),
    case("COMP-REQUEST-LINE-TAB", "400", 400, b"GET\t/ HTTP/1.1\r\n" + HOST + END),
    case("COMP-VERSION-MISSING-MINOR", "400", 400, b"GET / HTTP/1\r\n" + HOST + END),
    case("COMP-VERSION-LEADING-ZEROS", "400", 400, b"GET / HTTP/01.01\r\n" + HOST + END),
    case("COMP-VERSION-WHITESPACE", "400", 400, b"GET / HTTP/ 1.1\r\n" + HOST + END),
    case("COMP-CONNECTION-CLOSE", "2xx", 200, GET + b"Connection: close\r\n\r\n"),
    case("COMP-HTTP10-DEFAULT-CLOSE", "2xx", 200, b"GET / HTTP/1.0\r\n" + HOST + END),
    case("COMP-HTTP10-NO-HOST", "400", 200, b"GET / HTTP/1.0\r\n\r\n"),
    case("COMP-HTTP12-VERSION", "", 505, b"GET / HTTP/1.2\r\n" + HOST + END),
    case("COMP-TRACE-WITH-BODY", "400 405 501", 405, b"TRACE / HTTP/1.1\r\n" + HOST + FIVE + HELLO),
    case("COMP-CHUNKED-TRAILER-VALID", "2xx", 200, CHUNKS + CHUNK + b"0\r\nX-Sum: a\r\n\r\n"),
    case("COMP-CHUNKED-HEX-UPPERCASE", "2xx", 200, CHUNKS + b"A\r\nhelloworld\r\n" + LAST),
    case("COMP-RANGE-POST", "2xx", 200, POST + FIVE + b"Range: bytes=0-1\r\n" + HELLO),
    case("COMP-UPGRADE-HTTP10", "!101", 200, b"GET / HTTP/1.0\r\n" + HOST + ASKS + VERSION),
    case("COMP-HEAD-NO-BODY", "2xx", 200, b"HEAD / HTTP/1.1\r\n" + HOST + END),
    case("COMP-UNKNOWN-METHOD", "501 405 400", 405, b"FOOBAR / HTTP/1.1\r\n" + HOST + END),
    case("COMP-405-ALLOW", "405", 405, b"DELETE / HTTP/1.1\r\n" + HOST + END),
    case("COMP-DATE-HEADER", "2xx", 200, GET + END),
    case("COMP-DATE-FORMAT", "2xx", 200, GET + END),
    case("COMP-NO-1XX-HTTP10", "2xx", 200, b"POST / HTTP/1.0\r\n" + HOST + CONTINUE + FIVE + HELLO),
    case("COMP-NO-CL-IN-204", "204", 204, b"OPTIONS / HTTP/1.1\r\n" + HOST + END),
    case("COMP-OPTIONS-ALLOW", "2xx", 204, b"OPTIONS / HTTP/1.1\r\n" + HOST + END),
    case("COMP-CONTENT-TYPE", "2xx", 200, GET + END),
    case("COMP-VERSION-CASE", "400", 400, b"GET / http/1.1\r\n" + HOST + END),
    case("COMP-LONG-URL-OK", "!414", 404, b"GET /" + b"a" * 7900 + b" HTTP/1.1\r\n" + HOST + END),
    case("COMP-SPACE-IN-TARGET", "400", 400, b"GET /pa th HTTP/1.1\r\n" + HOST + END),
    case(
        "COMP-DUPLICATE-CT",
        "400",
        400,
        POST + FIVE + b"Content-Type: text/plain\r\nContent-Type: text/html\r\n" + HELLO,
    ),
    case(
        "COMP-TRACE-SENSITIVE",
        "405 501",
        405,
        b"TRACE / HTTP/1.1\r\n" + HOST + b"Authorization: Bearer secret\r\n\r\n",
    ),
    case("COMP-RANGE-INVALID", "200 416", 200, GET + b"Range: bytes=a-b\r\n\r\n"),
    case("COMP-ACCEPT-NONSENSE", "406", 200, GET + b"Accept: application/x-none\r\n\r\n"),
    case(
        "COMP-POST-UNSUPPORTED-CT",
        "415 2xx",
        200,
        POST + FIVE + b"Content-Type: application/x-none\r\n" + HELLO,
    ),
    # Smuggling
    case(
        "SMUG-CL-TE-BOTH",
        "400",
        400,
        POST + length(b"23") + CHUNKED + END + b"D\r\nhello-bananas\r\n" + LAST,
    ),
    case("SMUG-DUPLICATE-CL", "400", 400, POST + FIVE + length(b"10") + b"\r\nhelloworld"),
    case("SMUG-CL-LEADING-ZEROS", "400", 200, POST + length(b"005") + HELLO),
    case("SMUG-TE-XCHUNKED", "400 501", 400, POST + coding(b"xchunked") + FIVE + HELLO),
    case("SMUG-TE-TRAILING-SPACE", "400 501", 400, POST + coding(b"chunked ") + FIVE + HELLO),
    case(
        "SMUG-TE-SP-BEFORE-COLON",
        "400",
        400,
        POST + b"Transfer-Encoding : chunked\r\n" + FIVE + HELLO,
    ),
    case("SMUG-CL-NEGATIVE", "400", 400, POST + length(b"-1") + END),
    case("SMUG-CLTE-PIPELINE", "400", 400, POST + length(b"4") + CHUNKED + END + LAST),
    case("SMUG-TECL-PIPELINE", "400", 400, POST + CHUNKED + length(b"30") + END + LAST),
    case("SMUG-CL-TRAILING-SPACE", "400", 200, POST + length(b"5 ") + HELLO),
    case("SMUG-TE-DOUBLE-CHUNKED", "400", 400, POST + coding(b"chunked, chunked") + FIVE + HELLO),
    case("SMUG-CL-EXTRA-LEADING-SP", "400", 200, POST + length(b" 5") + HELLO),
    case("SMUG-TE-CASE-MISMATCH", "400", 400, POST + coding(b"Chunked") + FIVE + HELLO),
    case("SMUG-CL-COMMA-DIFFERENT", "400", 400, POST + length(b"5, 10") + HELLO),
    case("SMUG-TE-NOT-FINAL-CHUNKED", "400", 400, POST + coding(b"chunked, gzip") + END + LAST),
    case("SMUG-TE-HTTP10", "400", 400, b"POST / HTTP/1.0\r\n" + HOST + CHUNKED + FIVE + HELLO),
    case("SMUG-CHUNK-BARE-SEMICOLON", "400", 400, CHUNKS + b"5;\r\nhello\r\n" + LAST),
    case("SMUG-CHUNK-EXT-INVALID-TOKEN", "400", 400, CHUNKS + b"5;a[=b\r\nhello\r\n" + LAST),
    case("SMUG-BARE-CR-HEADER-VALUE", "400", 400, POST + FIVE + b"X-Test: a\rb\r\n" + HELLO),
    case("SMUG-CL-OCTAL", "400", 400, POST + length(b"0o5") + HELLO),
    case("SMUG-CHUNK-UNDERSCORE", "400", 400, CHUNKS + b"1_0\r\nhello, hello, 16\r\n" + LAST),
    case("SMUG-TE-EMPTY-VALUE", "400", 400, POST + coding(b"") + FIVE + HELLO),
    case("SMUG-TE-LEADING-COMMA", "400", 400, POST + coding(b", chunked") + FIVE + HELLO),
    case(
        "SMUG-TE-DUPLICATE-HEADERS", "400", 400, POST + CHUNKED + coding(b"identity") + FIVE + HELLO
    ),
    case("SMUG-CHUNK-HEX-PREFIX", "400", 400, CHUNKS + b"0x5\r\nhello\r\n" + LAST),
    case("SMUG-CHUNK-SIZE-PLUS", "400", 400, CHUNKS + b"+5\r\nhello\r\n" + LAST),
    case("SMUG-CHUNK-SIZE-TRAILING-OWS", "400", 400, CHUNKS + b"5 \r\nhello\r\n" + LAST),
    case("SMUG-CL-HEX-PREFIX", "400", 400, POST + length(b"0x5") + HELLO),
    case("SMUG-CL-INTERNAL-SPACE", "400", 400, POST + length(b"1 0") + b"\r\nhello12345"),
    case("SMUG-CHUNK-LEADING-SP", "400", 400, CHUNKS + b" 5\r\nhello\r\n" + LAST),
    case("SMUG-CHUNK-MISSING-TRAILING-CRLF", "400", 400, CHUNKS + b"5\r\nhello" + LAST),
    case("SMUG-CHUNK-EXT-LF", "400", 400, CHUNKS + b"5;\nhello\r\n" + LAST),
    case("SMUG-CHUNK-SPILL", "400", 400, CHUNKS + b"5\r\nhello!!\r\n" + LAST),
    case("SMUG-CHUNK-LF-TERM", "400", 400, CHUNKS + b"5\r\nhello\n" + LAST),
    case("SMUG-CHUNK-EXT-CTRL", "400", 400, CHUNKS + b"5;\0a\r\nhello\r\n" + LAST),
    case("SMUG-CHUNK-EXT-CR", "400", 400, CHUNKS + b"5;a\rb\r\nhello\r\n" + LAST),
    case("SMUG-TE-VTAB", "400", 400, POST + coding(b"\x0bchunked") + FIVE + HELLO),
    case("SMUG-TE-FORMFEED", "400", 400, POST + coding(b"\x0cchunked") + FIVE + HELLO),
    case("SMUG-TE-NULL", "400", 400, POST + coding(b"chunked\0") + FIVE + HELLO),
    case("SMUG-CHUNK-LF-TRAILER", "400", 400, CHUNKS + CHUNK + b"0\r\n\n"),
    case("SMUG-TE-IDENTITY", "400 501", 400, POST + coding(b"identity") + FIVE + HELLO),
    case("SMUG-CHUNK-NEGATIVE", "400", 400, CHUNKS + b"-1\r\nhello\r\n" + LAST),
    case(
        "SMUG-TRANSFER_ENCODING",
        "400",
        200,
        POST + b"Transfer_Encoding: chunked\r\n" + FIVE + HELLO,
    ),
    case("SMUG-CL-COMMA-SAME", "400", 400, POST + length(b"5, 5") + HELLO),
    case("SMUG-CL-COMMA-TRIPLE", "400", 400, POST + length(b"5, 5, 5") + HELLO),
    case("SMUG-CHUNKED-WITH-PARAMS", "400", 400, POST + coding(b"chunked;a=b") + FIVE + HELLO),
    case("SMUG-EXPECT-100-CL", "400", 200, POST + FIVE + CONTINUE + HELLO),
    case("SMUG-TRAILER-CL", "400", 400, CHUNKS + CHUNK + b"0\r\nContent-Length: 50\r\n\r\n"),
    case("SMUG-TRAILER-TE", "400", 400, CHUNKS + CHUNK + b"0\r\n" + CHUNKED + END),
    case("SMUG-TRAILER-HOST", "400", 200, CHUNKS + CHUNK + b"0\r\nHost: other\r\n\r\n"),
    case("SMUG-TRAILER-AUTH", "400", 200, CHUNKS + CHUNK + b"0\r\nAuthorization: B x\r\n\r\n"),
    case("SMUG-HEAD-CL-BODY", "400", 200, b"HEAD / HTTP/1.1\r\n" + HOST + FIVE + HELLO),
    case("SMUG-OPTIONS-CL-BODY", "400", 204, b"OPTIONS / HTTP/1.1\r\n" + HOST + FIVE + HELLO),
    case("SMUG-CL-UNDERSCORE", "400", 400, POST + length(b"1_0") + b"\r\nhelloworld"),
    case("SMUG-CL-NEGATIVE-ZERO", "400", 400, POST + length(b"-0") + END),
    case("SMUG-CL-DOUBLE-ZERO", "400", 200, POST + length(b"00") + END),
    case("SMUG-CL-LEADING-ZEROS-OCTAL", "400", 200, POST + length(b"0200") + END + b"A" * 200),
    case("SMUG-TE-OBS-FOLD", "400", 400, POST + FOLDED + FIVE + HELLO),
    case("SMUG-TE-TRAILING-COMMA", "400", 400, POST + coding(b"chunked,") + FIVE + HELLO),
    case(
        "SMUG-TE-TAB-BEFORE-VALUE",
        "400",
        400,
        POST + b"Transfer-Encoding:\tchunked\r\n" + FIVE + HELLO,
    ),
    case(
        "SMUG-ABSOLUTE-URI-HOST-MISMATCH",
        "400",
        200,
        b"GET http://other/ HTTP/1.1\r\n" + HOST + END,
    ),
    case("SMUG-MULTIPLE-HOST-COMMA", "400", 400, GET[:-2] + b", other\r\n\r\n"),
    case("SMUG-CHUNK-BARE-CR-TERM", "400", 400, CHUNKS + b"5\rhello\r\n" + LAST),
    case(
        "SMUG-TRAILER-CONTENT-TYPE", "400", 200, CHUNKS + CHUNK + b"0\r\nContent-Type: a/b\r\n\r\n"
    ),
    case("SMUG-CLTE-CONN-CLOSE", "400", 400, POST + FIVE + CHUNKED + END + LAST, NEXT),
    case("SMUG-TECL-CONN-CLOSE", "400", 400, POST + CHUNKED + FIVE + END + LAST, NEXT),
    case("SMUG-CLTE-DESYNC", "400", 400, POST + length(b"6") + CHUNKED + END + LAST + b"X", NEXT),
    case("SMUG-TECL-DESYNC", "400", 400, POST + CHUNKED + length(b"30") + END + LAST + b"X", NEXT),
    case("SMUG-CLTE-SMUGGLED-GET", "400", 400, hidden(length(b"%d"), CHUNKED)),
    case("SMUG-CLTE-SMUGGLED-GET-CL-PLUS", "400", 400, hidden(length(b"+%d"), CHUNKED)),
    case("SMUG-CLTE-SMUGGLED-GET-CL-NON-NUMERIC", "400", 400, hidden(length(b"%dx"), CHUNKED)),
    case("SMUG-CLTE-SMUGGLED-GET-TE-OBS-FOLD", "400", 400, hidden(FOLDED, length(b"%d"))),
    case(
        "SMUG-CLTE-SMUGGLED-HEAD",
        "400",
        400,
        hidden(length(b"%d"), CHUNKED, request=b"HEAD / HTTP/1.1\r\n" + HOST + END),
    ),
    case(
        "SMUG-CLTE-SMUGGLED-GET-TE-TRAILING-SPACE",
        "400",
        400,
        hidden(length(b"%d"), coding(b"chunked ")),
    ),
    case(
        "SMUG-CLTE-SMUGGLED-GET-TE-LEADING-COMMA",
        "400",
        400,
        hidden(length(b"%d"), coding(b", chunked")),
    ),
    case(
        "SMUG-CLTE-SMUGGLED-GET-TE-CASE-MISMATCH",
        "400",
        400,
        hidden(length(b"%d"), coding(b"Chunked")),
    ),
    case(
        "SMUG-TE-DUPLICATE-HEADERS-SMUGGLED-GET",
        "400",
        400,
        hidden(CHUNKED, coding(b"identity"), length(b"%d")),
    ),
    case(
        "SMUG-TECL-SMUGGLED-GET",
        "400",
        400,
        # Who counts four bytes takes the data of the chunk for a request.
        POST + CHUNKED + length(b"4") + b"\r\n3b\r\n" + GET + length(b"7") + END + END + LAST,
    ),
    case(
        "SMUG-DUPLICATE-CL-SMUGGLED-GET",
        "400",
        400,
        POST + length(b"4") + length(b"%d" % (4 + len(NEXT))) + b"\r\nPING" + NEXT,
    ),
    case(
        "SMUG-GET-CL-PREFIX-DESYNC",
        "2xx,2xx",
        (200, 200),
        GET + length(b"%d" % len(GET)) + END + GET,
        END + NEXT,
    ),
    case("SMUG-CL0-BODY-POISON", "400", (200, 405), POST + length(b"0") + b"\r\nX", NEXT),
    case("SMUG-GET-CL-BODY-DESYNC", "2xx,2xx", (200, 200), GET + FIVE + HELLO, NEXT),
    case(
        "SMUG-OPTIONS-CL-BODY-DESYNC",
        "2xx,2xx",
        (204, 200),
        b"OPTIONS / HTTP/1.1\r\n" + HOST + FIVE + HELLO,
        NEXT,
    ),
    case("SMUG-EXPECT-100-CL-DESYNC", "2xx,2xx", (200, 200), POST + FIVE + CONTINUE + HELLO, NEXT),
    case(
        "SMUG-OPTIONS-TE-OBS-FOLD",
        "400",
        400,
        b"OPTIONS / HTTP/1.1\r\n" + HOST + FOLDED + FIVE + HELLO,
        NEXT,
    ),
    case("SMUG-CHUNK-INVALID-SIZE-DESYNC", "400", 400, CHUNKS + b"+0\r\n\r\nX", NEXT),
    case("SMUG-PIPELINE-SAFE", "2xx,2xx", (200, 200), NEXT, NEXT),
    # Malformed input
    case("MAL-BINARY-GARBAGE", "400", 400, GARBAGE),
    case("MAL-LONG-URL", "400 414 431", 414, b"GET /" + b"A" * 100_000 + b" HTTP/1.1\r\n" + HOST),
    case("MAL-LONG-HEADER-VALUE", "400 431", 431, GET + b"X-Big: " + b"B" * 100_000),
    case(
        "MAL-MANY-HEADERS",
        "400 431",
        431,
        GET + b"".join(b"X-H-%d: value\r\n" % number for number in range(10_000)) + END,
    ),
    case("MAL-NUL-IN-URL", "400", 400, b"GET /\0a HTTP/1.1\r\n" + HOST + END),
    case("MAL-CONTROL-CHARS-HEADER", "400", 400, GET + b"X-Test: a\x07\x08\x0bb\r\n\r\n"),
    case("MAL-INCOMPLETE-REQUEST", "400 none", (), GET + b"X-Test: a"),
    case("MAL-EMPTY-REQUEST", "400 none", (), b""),
    case("MAL-LONG-HEADER-NAME", "400 431", 431, GET + b"A" * 100_000 + b": a\r\n\r\n"),
    case("MAL-LONG-METHOD", "400", 501, b"A" * 100_000 + b" / HTTP/1.1\r\n" + HOST + END),
    case("MAL-NON-ASCII-HEADER-NAME", "400", 400, GET + "X-Tëst: a\r\n\r\n".encode()),
    case("MAL-NON-ASCII-URL", "400", 400, "GET /café HTTP/1.1\r\n".encode() + HOST + END),
    case("MAL-CL-OVERFLOW", "400", 400, POST + length(b"9" * 20) + END),
    case("MAL-WHITESPACE-ONLY-LINE", "400 none", 400, b"   \r\n\r\n"),
    case("MAL-NUL-IN-HEADER-VALUE", "400", 400, GET + b"X-Test: a\0b\r\n\r\n"),
    case("MAL-CHUNK-SIZE-OVERFLOW", "400", 400, CHUNKS + b"FFFFFFFFFFFFFFFF0\r\nhello\r\n" + LAST),
    case("MAL-H2-PREFACE", "400 505", 505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    case("MAL-CL-EMPTY", "400", 400, POST + length(b"") + END),
    case("MAL-CL-TAB-BEFORE-VALUE", "400", 200, POST + b"Content-Length:\t5\r\n" + HELLO),
    case("MAL-URL-BACKSLASH", "400", 400, b"GET /a\\b HTTP/1.1\r\n" + HOST + END),
    case("MAL-URL-OVERLONG-UTF8", "400", 400, b"GET /\xc0\xaf HTTP/1.1\r\n" + HOST + END),
    case("MAL-URL-PERCENT-NULL", "400", 404, b"GET /a%00.html HTTP/1.1\r\n" + HOST + END),
    case("MAL-URL-PERCENT-CRLF", "400", 404, b"GET /a%0d%0aX:%20b HTTP/1.1\r\n" + HOST + END),
    case(
        "MAL-CHUNK-EXT-64K",
        "400 431",
        400,
        CHUNKS + b"5;a=" + b"a" * 65_536 + b"\r\nhello\r\n" + LAST,
    ),
    case(
        "MAL-RANGE-OVERLAPPING",
        "",
        200,
        GET + b"Range: bytes=" + b",".join([b"0-"] * 1000) + b"\r\n\r\n",
    ),
    case("MAL-POST-CL-HUGE-NO-BODY", "400 413 none", 413, POST + length(b"999999999") + END),
    # Normalization
    case("NORM-UNDERSCORE-CL", "400", 200, ECHO + FIVE + b"Content_Length: 99\r\n" + HELLO),
    case("NORM-SP-BEFORE-COLON-CL", "400", 400, ECHO + FIVE + b"Content-Length : 99\r\n" + HELLO),
    case("NORM-TAB-IN-NAME", "400", 400, ECHO + FIVE + b"Content\tLength: 99\r\n" + HELLO),
    case("NORM-CASE-TE", "400", 200, ECHO + b"TRANSFER-ENCODING: chunked\r\n\r\n" + CHUNK + LAST),
    case(
        "NORM-UNDERSCORE-TE",
        "400",
        (200, 400),
        ECHO + b"Transfer_Encoding: chunked\r\n\r\n" + CHUNK + LAST,
    ),
    # Cookies
    case("COOK-ECHO", "2xx", 200, cookies(b"/echo", b"foo=bar")),
    case("COOK-OVERSIZED", "400 431 2xx", 431, cookies(b"/echo", b"big=" + b"A" * 65_536)),
    case("COOK-EMPTY", "400 2xx", 200, cookies(b"/echo", b"")),
    case("COOK-NUL", "400", 400, cookies(b"/echo", b"foo=\0bar")),
    case("COOK-CONTROL-CHARS", "400", 400, cookies(b"/echo", b"foo=\1\2\3")),
    case(
        "COOK-MANY-PAIRS",
        "400 431 2xx",
        200,
        cookies(b"/echo", b"; ".join(b"k%d=v%d" % (each, each) for each in range(1000))),
    ),
    case("COOK-MALFORMED", "400 2xx", 200, cookies(b"/echo", b"===;;;")),
    case("COOK-MULTI-HEADER", "2xx", 200, cookies(b"/echo", b"a=1", b"b=2")),
    case("COOK-PARSED-BASIC", "2xx", 200, cookies(b"/cookie", b"foo=bar")),
    case("COOK-PARSED-MULTI", "2xx", 200, cookies(b"/cookie", b"a=1; b=2; c=3")),
    case("COOK-PARSED-EMPTY-VAL", "400 2xx", 200, cookies(b"/cookie", b"foo=")),
    case("COOK-PARSED-SPECIAL", "400 2xx", 200, cookies(b"/cookie", b"a=hello world; b=x=y")),
    # Capabilities
    case("CAP-ETAG-304", "2xx,304", (200, 304), NEXT, again(lambda r: f"If-None-Match: {etag(r)}")),
    case(
        "CAP-LAST-MODIFIED-304",
        "2xx,304",
        (200, 304),
        NEXT,
        again(lambda r: f"If-Modified-Since: {r.headers['Last-Modified']}"),
    ),
    case(
        "CAP-ETAG-IN-304", "2xx,304", (200, 304), NEXT, again(lambda r: f"If-None-Match: {etag(r)}")
    ),
    case(
        "CAP-INM-PRECEDENCE",
        "2xx,304",
        (200, 304),
        NEXT,
        again(
            lambda r: (
                f"If-None-Match: {etag(r)}\r\nIf-Modified-Since: Thu, 01 Jan 1970 00:00:00 GMT"
            )
        ),
    ),
    case("CAP-INM-WILDCARD", "2xx,304", (200, 304), NEXT, GET + b"If-None-Match: *\r\n\r\n"),
    case(
        "CAP-IMS-FUTURE",
        "2xx,2xx",
        (200, 304),
        NEXT,
        GET + b"If-Modified-Since: Thu, 01 Jan 2099 00:00:00 GMT\r\n\r\n",
    ),
    case("CAP-IMS-INVALID", "2xx,2xx", (200, 200), NEXT, GET + b"If-Modified-Since: never\r\n\r\n"),
    case(
        "CAP-INM-UNQUOTED",
        "2xx,2xx",
        (200, 200),
        NEXT,
        again(lambda r: f"If-None-Match: {etag(r).strip('W/').strip(chr(34))}"),
    ),
    case(
        "CAP-ETAG-WEAK",
        "2xx,304",
        (200, 304),
        NEXT,
        again(lambda r: f"If-None-Match: W/{etag(r).removeprefix('W/')}"),
    ),
]

# What an answer has to show beside its status, if the test is about that.
SHOWS: dict[str, Callable[[Response], bool]] = {
    "COMP-POST-CL-BODY": lambda response: response.body == b"hello",
    "COMP-CHUNKED-BODY": lambda response: response.body == b"hello",
    "COMP-CHUNKED-MULTI": lambda response: response.body == b"hello world",
    "COMP-CHUNKED-EXTENSION": lambda response: response.body == b"hello",
    "COMP-CHUNKED-TRAILER-VALID": lambda response: response.body == b"hello",
    "COMP-CHUNKED-HEX-UPPERCASE": lambda response: response.body == b"helloworld",
    "COMP-CONNECTION-CLOSE": lambda response: response.closed,
    "COMP-HTTP10-DEFAULT-CLOSE": lambda response: response.closed,
    "COMP-HEAD-NO-BODY": lambda response: response.body == b"",
    "COMP-405-ALLOW": lambda response: "Allow" in response.headers,
    "COMP-OPTIONS-ALLOW": lambda response: "Allow" in response.headers,
    "COMP-DATE-HEADER": lambda response: "Date" in response.headers,
    "COMP-DATE-FORMAT": lambda response: bool(
        re.fullmatch(
            r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", response.headers["Date"]
        )
    ),
    "COMP-NO-1XX-HTTP10": lambda response: not response.interim,
    "COMP-NO-CL-IN-204": lambda response: "Content-Length" not in response.headers,
    "COMP-CONTENT-TYPE": lambda response: "Content-Type" in response.headers,
    "COMP-TRACE-SENSITIVE": lambda response: b"secret" not in response.body,
    "COOK-ECHO": lambda response: b"Cookie: foo=bar\n" in response.body,
    "COOK-MULTI-HEADER": lambda response: b"a=1" in response.body and b"b=2" in response.body,
    "COOK-PARSED-BASIC": lambda response: response.body == b"foo=bar\n",
    "COOK-PARSED-MULTI": lambda response: response.body == b"a=1\nb=2\nc=3\n",
    "CAP-ETAG-IN-304": lambda response: "ETag" in response.headers,
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "index.html").write_bytes(b"<p>OK\n")
    return tmp_path


def application(root: Path) -> Callable[[HTTPRequest], object]:
    """The application that the probe asks for: a page, an echo of the body, two of fields."""

    def callback(request: HTTPRequest) -> object:
        if request.path == "/echo":
            fields = request.headers.get_all()
            request.respond(200, "".join(f"{name}: {value}\n" for name, value in fields))
        elif request.path == "/cookie":
            cookies = request.cookies.values()
            request.respond(200, "".join(f"{each.key}={each.value}\n" for each in cookies))
        elif request.method == "OPTIONS":
            request.respond(204, headers={"Allow": "GET, HEAD, OPTIONS, POST"})
        elif request.method not in ("GET", "HEAD", "POST"):
            request.respond(405, headers={"Allow": "GET, HEAD, OPTIONS, POST"})
        elif request.path != "/":
            request.respond(404)
        elif request.method == "POST":
            request.respond(200, request.body, content_type="text/plain")
        else:
            return request.send_file("index.html", root)
        return None

    return callback


def answers(root: Path, case: Case) -> list[Response]:
    """Whatever comes back, one piece sent after the answer to the one before."""
    found: list[Response] = []
    with Client(application(root)) as client:
        for piece in case.sent:
            if not client.closed:
                client.send(piece if isinstance(piece, bytes) else piece(found[0]))
            while (response := client.peek()) is not None and response.complete:
                found.append(client.receive())
        refused = bool(found) and found[-1].status in (400, 408, 413, 414, 417, 431, 501, 505)
        assert client.closed or not refused
    return found


def passes(case: Case) -> bool:
    """Whether the probe would count our answers as passed; all but these it warns of or fails."""
    for number, wanted in enumerate(case.wanted.split(",")):
        status = str(case.ours[number]) if number < len(case.ours) else "none"
        if wanted.startswith("!"):
            good = status != wanted[1:]
        else:
            good = status in wanted.split() or (status[0] == "2" and "2xx" in wanted.split())
        if not good:
            return False
    return True


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_probe(root: Path, case: Case) -> None:
    found = answers(root, case)
    assert tuple(response.status for response in found) == case.ours
    if case.id in SHOWS:
        assert SHOWS[case.id](found[-1])


def test_names_are_known_and_unique() -> None:
    assert len({case.id for case in CASES}) == len(CASES)
    assert set(SHOWS) <= {case.id for case in CASES}


def test_page_counts_what_the_probe_wants() -> None:
    text = PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([a-z ]+) \| (\d+) \| (\d+) \|$", text, re.MULTILINE)
    tests, passed = Counter(case.group for case in CASES), Counter[str]()
    passed.update(case.group for case in CASES if passes(case))
    expected = [(group, str(tests[group]), str(passed[group])) for group in tests]
    assert rows == [*expected, ("all", str(tests.total()), str(passed.total()))]


def test_page_says_why_of_each_answer_that_differs() -> None:
    text = PAGE.read_text(encoding="utf-8").split("## Http11Probe")[1]
    rows = re.findall(r"^\| (`[A-Z].*`) \| (\d[^|]*) \| (\S[^|]*) \|$", text, re.MULTILINE)
    said = {name: status for names, status, _ in rows for name in re.findall(r"`([^`]+)`", names)}
    expected = {case.id: ", ".join(map(str, case.ours)) for case in CASES if not passes(case)}
    assert said == expected
