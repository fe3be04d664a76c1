"""The requests that are measured: their bytes, and what they contain.

The server benchmark sends these bytes and the parser benchmark parses them, so a figure
of one can be held against a figure of the other.
"""

from dataclasses import dataclass

__all__ = [
    "CORPUS",
    "SEARCH_ATTRIBUTES",
    "Request",
    "with_body",
]


@dataclass(frozen=True)
class Request:
    """One or more requests as they go over the wire.

    Args:
        title: What stands in tables.
        data: All of the bytes.
        fields: Header fields of each request.
        body_size: Bytes in the body of each request, chunks decoded.
        count: How many requests the bytes are.
        reads: In how many pieces of equal size a parser gets them.
    """

    title: str
    data: bytes
    fields: int
    body_size: int = 0
    count: int = 1
    reads: int = 1

    @property
    def pieces(self) -> list[bytes]:
        """The bytes, cut into ``reads`` pieces."""
        size = -(-len(self.data) // self.reads)
        return [self.data[at : at + size] for at in range(0, len(self.data), size)]

    @property
    def size(self) -> int:
        """Bytes of one request."""
        return len(self.data) // self.count


_HOST = ("Host", "localhost:8888")
# What a desktop Chromium sends when a page is opened.
_BROWSER = [
    _HOST,
    ("Connection", "keep-alive"),
    ("Cache-Control", "max-age=0"),
    ("sec-ch-ua", '"Chromium";v="128", "Not;A=Brand";v="24", "Google Chrome";v="128"'),
    ("sec-ch-ua-mobile", "?0"),
    ("sec-ch-ua-platform", '"Linux"'),
    ("Upgrade-Insecure-Requests", "1"),
    (
        "User-Agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/128.0.0.0 Safari/537.36",
    ),
    (
        "Accept",
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    ),
    ("Sec-Fetch-Site", "none"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Accept-Encoding", "gzip, deflate, br"),
    ("Accept-Language", "en-US,en;q=0.9"),
    ("Cookie", "session=0123456789abcdef; theme=dark"),
]
_SEARCH = "/search?q=fast+server&page=2&lang=en"
# What apps.options.attributes_of() has to find in a search with a browser's fields.
SEARCH_ATTRIBUTES = "|".join(
    [
        "/search",
        "fast server",
        "2",
        *(dict(_BROWSER)[name] for name in ("Host", "Accept-Language", "User-Agent")),
        "0123456789abcdef",
    ]
).encode()
_FORM = b"name=Ada+Lovelace&email=ada%40example.com&topic=engines&message=Hello%2C+world%21"
_JSON = b'{"id": 12345, "tags": ["a", "b"], "text": "%s"}'
_CHUNK = b"400\r\n" + b"c" * 1024 + b"\r\n"


def _request(method: str, target: str, fields: list[tuple[str, str]], body: bytes = b"") -> bytes:
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def _get(title: str, target: str, fields: list[tuple[str, str]], reads: int = 1) -> Request:
    return Request(title, _request("GET", target, fields), len(fields), reads=reads)


def _post(title: str, content_type: str, body: bytes) -> Request:
    fields = [_HOST, ("Content-Type", content_type), ("Content-Length", str(len(body)))]
    return Request(title, _request("POST", "/submit", fields, body), len(fields), len(body))


def _extra(count: int) -> list[tuple[str, str]]:
    # 46 bytes a line, as the fields that proxies and tracing add.
    return [(f"X-Trace-Field-{n:02}", f"value-of-a-usual-length-{n:02}") for n in range(count)]


def with_body(size: int) -> Request:
    """Return a POST with a body of so many bytes."""
    return _post(f"body of {size} bytes", "application/octet-stream", b"b" * size)


def _chunked(chunks: int) -> Request:
    fields = [_HOST, ("Content-Type", "text/plain"), ("Transfer-Encoding", "chunked")]
    data = _request("POST", "/upload", fields, _CHUNK * chunks + b"0\r\n\r\n")
    return Request(f"chunked upload, {chunks} × 1 KiB", data, len(fields), 1024 * chunks)


CORPUS = {
    "small": _get("small GET", "/", [_HOST]),
    "browser": _get("browser GET, 14 headers", "/index.html?x=1", _BROWSER),
    "forty": _get("40 headers", "/index.html?x=1", [*_BROWSER, *_extra(26)]),
    "chunked": _chunked(4),
    "split": _get("browser GET in 3 reads", "/index.html?x=1", _BROWSER, reads=3),
    "form": _post("form POST", "application/x-www-form-urlencoded", _FORM),
    "json": _post("JSON POST, 1 KiB", "application/json", _JSON % (b"x" * (1026 - len(_JSON)))),
    "attributes": _get("search, 14 headers", _SEARCH, _BROWSER),
    "closing": _get("GET, Connection: close", "/", [_HOST, ("Connection", "close")]),
}
_SMALL = CORPUS["small"]
CORPUS["pipelined"] = Request("16 pipelined", _SMALL.data * 16, _SMALL.fields, count=16)
