"""Responses that the server frames: `write_headers`, `write`, `finish`, and what they refuse."""

from __future__ import annotations

import asyncio
import functools
import gc
import http
import itertools
import re
from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import h11
import pytest
from helpers import Logs, Served, answer, eventually, framed, get, post
from wire import Wire

from fasthttpserver._http.framing import ResponseFraming
from fasthttpserver._server.persistence import ANNOUNCING
from fasthttpserver._server.request import HTTPRequest
from fasthttpserver.errors import HTTPOutputError, StreamClosedError
from fasthttpserver.httputil import HTTPHeaders, ResponseStartLine

OK = ResponseStartLine("HTTP/1.1", 200, "OK")
CONNECT = b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n"


def head(uri: str = "/", *fields: str, version: str = "HTTP/1.1") -> bytes:
    """Bytes of a HEAD request."""
    return get(uri, *fields, version=version).replace(b"GET", b"HEAD", 1)


def respond(
    request: HTTPRequest,
    *chunks: bytes,
    code: int = 200,
    reason: str = "OK",
    headers: Any = None,
) -> None:
    """Answer with a status, fields and pieces of a body."""
    start_line = ResponseStartLine("HTTP/1.1", code, reason)
    headers = HTTPHeaders() if headers is None else headers
    request.connection.write_headers(start_line, headers)
    for chunk in chunks:
        request.write(chunk)
    request.finish()


def with_length(length: int | str, **fields: str) -> HTTPHeaders:
    return HTTPHeaders({"Content-Length": str(length)} | fields)


class Unchecked:
    """The least that `write_headers` asks of headers; takes anything."""

    def __init__(self, *pairs: tuple[str, Any]) -> None:
        self.pairs = list(pairs)

    def get_all(self) -> list[tuple[str, Any]]:
        return self.pairs

    def __contains__(self, name: str) -> bool:
        return any(known.lower() == name.lower() for known, _ in self.pairs)

    def __getitem__(self, name: str) -> Any:
        return next(value for known, value in self.pairs if known.lower() == name.lower())

    def __setitem__(self, name: str, value: Any) -> None:
        if name in self:
            del self[name]
        self.pairs.append((name, value))

    def __delitem__(self, name: str) -> None:
        self.pairs = [pair for pair in self.pairs if pair[0].lower() != name.lower()]


# --- The head ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start_line", "expected"),
    [
        (OK, b"HTTP/1.1 200 OK"),
        (("HTTP/1.0", 404, "Not Found"), b"HTTP/1.1 404 Not Found"),
        (("", http.HTTPStatus.IM_A_TEAPOT, "I'm a Teapot"), b"HTTP/1.1 418 I'm a Teapot"),
        (("HTTP/1.1", 200, ""), b"HTTP/1.1 200 "),
        (("HTTP/1.1", 599, "\xc4h"), b"HTTP/1.1 599 \xc4h"),
    ],
)
@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
def test_start_line(
    wire: Callable[..., Wire], version: str, start_line: Any, expected: bytes
) -> None:
    def callback(request: HTTPRequest) -> None:
        request.connection.write_headers(start_line, with_length(0))
        request.finish()

    connection = wire(callback)
    connection.send(get(version=version))
    assert connection.sent() == expected + b"\r\nContent-Length: 0\r\n\r\n"


def test_fields_are_written_in_order_each_on_its_line(wire: Callable[..., Wire]) -> None:
    headers = HTTPHeaders()
    headers.add("Set-Cookie", "a=1; Path=/")
    headers.add("x-name", "\xe4, b")
    headers.add("Set-Cookie", "b=2")
    headers.add("Content-Length", "0")
    connection = wire(lambda request: respond(request, headers=headers))
    connection.send(get())
    lines = connection.sent().split(b"\r\n")
    assert sorted(lines[1:5]) == [
        b"Content-Length: 0",
        b"Set-Cookie: a=1; Path=/",
        b"Set-Cookie: b=2",
        b"X-Name: \xe4, b",
    ]
    assert lines.index(b"Set-Cookie: a=1; Path=/") < lines.index(b"Set-Cookie: b=2")
    assert lines[5:] == [b"", b""]


def test_headers_may_be_any_object_that_acts_like_them(wire: Callable[..., Wire]) -> None:
    headers = Unchecked(("X-A", "1"), ("X-A", b"2\xff"))
    connection = wire(lambda request: respond(request, b"x", headers=headers))
    connection.send(get())
    assert connection.sent() == (
        b"HTTP/1.1 200 OK\r\nX-A: 1\r\nX-A: 2\xff\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"1\r\nx\r\n0\r\n\r\n"
    )


BREAKS = ["\r", "\n", "\0", "\r\n", "\r\nX: y", "\n\n<body>"]


@pytest.mark.parametrize("text", BREAKS)
@pytest.mark.parametrize("where", ["value", "bytes value", "name", "reason"])
def test_nothing_ends_the_head_early(wire: Callable[..., Wire], where: str, text: str) -> None:
    texts = dict.fromkeys(["value", "bytes value", "name", "reason"], "") | {where: text}
    headers = Unchecked(
        ("X-A" + texts["name"], "a" + texts["value"] + "b"),
        ("X-B", ("a" + texts["bytes value"]).encode()),
    )

    def callback(request: HTTPRequest) -> None:
        start_line = ResponseStartLine("HTTP/1.1", 200, "OK" + texts["reason"])
        with pytest.raises(ValueError):
            request.connection.write_headers(start_line, headers, b"chunk")  # type: ignore[arg-type]
        respond(request, b"fine", headers=with_length(4))

    connection = wire(callback)
    connection.send(get())
    assert connection.sent() == framed(b"fine")


@pytest.mark.parametrize("name", ["", " ", "a b", "a:", ":a", "\xe4", "a\t", "(a)", "a\x7f"])
def test_field_name_is_a_token(wire: Callable[..., Wire], name: str) -> None:
    def callback(request: HTTPRequest) -> None:
        with pytest.raises(ValueError):
            request.connection.write_headers(OK, Unchecked((name, "x")))  # type: ignore[arg-type]
        respond(request, b"fine", headers=with_length(4))

    connection = wire(callback)
    connection.send(get())
    assert connection.sent() == framed(b"fine")


@pytest.mark.parametrize("start_line", [("", 200, "\u20ac"), OK])
def test_what_latin_1_has_not_is_a_value_error(wire: Callable[..., Wire], start_line: Any) -> None:
    headers = Unchecked(("X-A", "" if start_line is not OK else "\u20ac"))

    def callback(request: HTTPRequest) -> None:
        with pytest.raises(ValueError):
            request.connection.write_headers(start_line, headers)  # type: ignore[arg-type]
        respond(request, b"fine", headers=with_length(4))

    connection = wire(callback)
    connection.send(get())
    assert connection.sent() == framed(b"fine")


@pytest.mark.parametrize("length", ["", "abc", "-1", "+4", "4, 4", " 4", "4_0", "\u0664", "0x4"])
def test_content_length_is_a_number(wire: Callable[..., Wire], length: str) -> None:
    def callback(request: HTTPRequest) -> None:
        with pytest.raises(ValueError, match="Content-Length"):
            request.connection.write_headers(OK, Unchecked(("Content-Length", length)))  # type: ignore[arg-type]
        respond(request, b"fine", headers=with_length(4))

    connection = wire(callback)
    connection.send(get())
    assert connection.sent() == framed(b"fine")


@pytest.mark.parametrize("code", [0, 99, 1000, -200, "OK", None])
def test_status_code_is_one(wire: Callable[..., Wire], code: Any) -> None:
    def callback(request: HTTPRequest) -> None:
        with pytest.raises((ValueError, TypeError)):
            request.connection.write_headers(("HTTP/1.1", code, "OK"), HTTPHeaders())
        respond(request, b"fine", headers=with_length(4))

    connection = wire(callback)
    connection.send(get())
    assert connection.sent() == framed(b"fine")


def test_head_that_is_refused_and_not_caught_is_a_500(
    wire: Callable[..., Wire], logs: Logs
) -> None:
    connection = wire(lambda request: respond(request, headers=Unchecked(("X", "a\r\nb"))))
    connection.send(get())
    assert connection.sent().startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert len(logs.errors()) == 1


# --- The body ----------------------------------------------------------------------------


def test_body_of_unknown_length_is_chunked(wire: Callable[..., Wire]) -> None:
    connection = wire(lambda request: respond(request, b"hello ", b"", b"x" * 171))
    connection.send(get() * 2)
    assert connection.sent() == 2 * (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"6\r\nhello \r\nab\r\n" + b"x" * 171 + b"\r\n0\r\n\r\n"
    )
    assert not connection.ended


def test_first_chunk_may_come_with_the_head(wire: Callable[..., Wire]) -> None:
    def callback(request: HTTPRequest) -> None:
        request.connection.write_headers(OK, HTTPHeaders(), b"a")
        request.connection.write(b"b")
        request.connection.finish()

    connection = wire(callback)
    connection.send(get())
    assert connection.sent() == (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("request_head", "length", "fields", "chunk"),
    [
        (get(), 5, {}, b"hello"),
        (get(), 0, {"X-Name": "\xe4"}, b""),
        (get(), 5, {"x-name": "a", "Set-Cookie": "b=2"}, b"hello"),
        (get(), 5, {"Connection": "close"}, b"hello"),
        (get(), 5, {"Transfer-Encoding": "chunked"}, b"hello"),
        (get(), 6, {}, b"hello"),
        (get(), 4, {}, b"hello"),
        (get(), 100_000, {}, b"x" * 100_000),
        (get(version="HTTP/1.0"), 5, {}, b"hello"),
        (get("/", "Connection: close"), 5, {}, b"hello"),
        (head(), 5, {}, b"hello"),
    ],
)
@pytest.mark.parametrize("more", [b"", b"more"])
def test_head_and_chunk_are_the_same_of_headers_and_of_a_mapping(
    wire: Callable[..., Wire],
    logs: Logs,
    request_head: bytes,
    length: int,
    fields: dict[str, str],
    chunk: bytes,
    more: bytes,
) -> None:
    outcomes = []
    for kind in (HTTPHeaders, dict[str, str]):
        errors: list[str] = []

        def answer(request: HTTPRequest, kind: Any = kind, errors: list[str] = errors) -> None:
            headers = kind({"Content-Length": str(length)} | fields)
            try:
                request.connection.write_headers(OK, headers, chunk)
                request.connection.write(more)
                request.connection.finish()
            except HTTPOutputError as error:
                errors.append(str(error))

        end = wire(answer)
        end.send(request_head)
        section, _, body = end.sent().partition(b"\r\n\r\n")
        outcomes.append((sorted(section.split(b"\r\n")), body, errors, end.ended))
    assert outcomes[0] == outcomes[1]
    logs.errors()


def test_coding_of_the_application_does_not_double_the_servers(wire: Callable[..., Wire]) -> None:
    headers = HTTPHeaders({"Transfer-Encoding": "gzip"})
    connection = wire(lambda request: respond(request, b"x", headers=headers))
    connection.send(get())
    assert connection.sent().count(b"Transfer-Encoding: chunked\r\n") == 1
    assert headers["Transfer-Encoding"] == "chunked"


def test_length_goes_before_a_coding(wire: Callable[..., Wire]) -> None:
    headers = with_length(1, **{"Transfer-Encoding": "chunked"})
    connection = wire(lambda request: respond(request, b"x", headers=headers))
    connection.send(get())
    assert connection.sent() == framed(b"x")


def test_text_is_latin_1(wire: Callable[..., Wire]) -> None:
    def callback(request: HTTPRequest) -> None:
        request.connection.write_headers(OK, with_length(2))
        request.write("\xe4\xff")
        request.finish()

    connection = wire(callback)
    connection.send(get())
    assert connection.sent() == framed(b"\xe4\xff")


@pytest.mark.parametrize("in_head", [False, True])
@pytest.mark.parametrize("pieces", [[b"abcd"], [b"abc", b"d"], [b"ab", b"", b"cdefg"]])
def test_more_than_announced_is_an_error_and_closes(
    wire: Callable[..., Wire], pieces: list[bytes], in_head: bool
) -> None:
    seen: list[str] = []

    def callback(request: HTTPRequest) -> None:
        left = pieces[:]
        with pytest.raises(HTTPOutputError, match="more data than Content-Length"):
            request.connection.write_headers(OK, with_length(3), left.pop(0) if in_head else None)
            for piece in left:
                request.write(piece)
        seen.append(request.uri)

    connection = wire(callback)
    connection.send(get("/1") + get("/2"))
    assert seen == ["/1"]  # the client must not take the next response for the rest
    assert connection.ended
    head, _, body = connection.sent().partition(b"\r\n\r\n")
    assert head == b"HTTP/1.1 200 OK\r\nContent-Length: 3"
    assert len(body) < 4


@pytest.mark.parametrize("pieces", [[], [b"ab"], [b"a", b"b"]])
def test_less_than_announced_is_an_error_and_closes(
    wire: Callable[..., Wire], pieces: list[bytes]
) -> None:
    seen: list[str] = []

    def callback(request: HTTPRequest) -> None:
        with pytest.raises(HTTPOutputError, match="bytes less than Content-Length"):
            respond(request, *pieces, headers=with_length(3))
        seen.append(request.uri)

    connection = wire(callback)
    connection.send(get("/1") + get("/2"))
    assert seen == ["/1"]
    assert connection.ended
    assert connection.sent() == b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n" + b"".join(pieces)


@pytest.mark.parametrize("chunks", [[b"abcd"], [b"ab"]])
@pytest.mark.parametrize("is_async", [False, True])
def test_wrong_length_that_nobody_catches_is_logged_once(
    wire: Callable[..., Wire], logs: Logs, chunks: list[bytes], is_async: bool
) -> None:
    async def in_task(request: HTTPRequest) -> None:
        respond(request, *chunks, headers=with_length(3))

    def callback(request: HTTPRequest) -> Any:
        return in_task(request) if is_async else respond(request, *chunks, headers=with_length(3))

    connection = wire(callback)
    connection.send(get() * 2)
    assert connection.ended
    assert connection.sent().count(b"HTTP/1.1") == 1  # no 500 in the middle
    assert len(logs.errors()) == 1


# --- Bodies that there are not -----------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, b"HTTP/1.1 200 OK\r\n\r\n"),
        ({"Content-Length": "3"}, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"),
        ({"Content-Length": "99"}, b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"),
    ],
)
@pytest.mark.parametrize("chunks", [[], [b"abc"], [b"abc", b"def"]])
def test_answer_to_head_has_no_body(
    wire: Callable[..., Wire], fields: dict[str, str], expected: bytes, chunks: list[bytes]
) -> None:
    connection = wire(lambda request: respond(request, *chunks, headers=HTTPHeaders(fields)))
    connection.send(head() * 2)
    assert connection.sent() == expected * 2
    assert not connection.ended


@pytest.mark.parametrize("fields", [{}, {"Content-Length": "3"}, {"Transfer-Encoding": "chunked"}])
@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
def test_204_has_neither_body_nor_length(
    wire: Callable[..., Wire], fields: dict[str, str], version: str
) -> None:
    connection = wire(
        lambda request: respond(request, b"abc", code=204, headers=HTTPHeaders(fields))
    )
    connection.send(get("/", "Connection: keep-alive", version=version) * 2)
    alive = b"Connection: Keep-Alive\r\n" if version == "HTTP/1.0" else b""
    assert connection.sent() == (b"HTTP/1.1 204 OK\r\n" + alive + b"\r\n") * 2
    assert not connection.ended


@pytest.mark.parametrize(
    ("fields", "expected"),
    [({}, b""), ({"Content-Length": "3", "Etag": "x"}, b"Content-Length: 3\r\nEtag: x\r\n")],
)
def test_304_has_no_body_and_may_have_the_length_of_one(
    wire: Callable[..., Wire], fields: dict[str, str], expected: bytes
) -> None:
    connection = wire(
        lambda request: respond(request, b"abcde", code=304, headers=HTTPHeaders(fields))
    )
    connection.send(get() * 2)
    assert connection.sent() == (b"HTTP/1.1 304 OK\r\n" + expected + b"\r\n") * 2
    assert not connection.ended


def endless(request: HTTPRequest, calls: list[int]) -> None:
    """Write for as long as the client takes it."""

    def more() -> None:
        calls[0] += 1
        request.write(bytes(1000), more)

    request.connection.write_headers(OK, HTTPHeaders(), None)
    more()


def test_endless_answer_to_head_does_not_keep_the_loop_busy(wire: Callable[..., Wire]) -> None:
    calls = [0]
    connection = wire(lambda request: endless(request, calls))
    connection.send(head())
    assert connection.sent() == b"HTTP/1.1 200 OK\r\n\r\n"
    before = calls[0]
    connection.turn(100)  # in no time
    assert calls[0] - before <= 1
    connection.pass_time(0.1, step=0.01)
    assert calls[0] > before


@pytest.mark.parametrize("leave", ["reset", "half_close"])
def test_endless_answer_to_head_ends_when_the_client_leaves(
    wire: Callable[..., Wire], leave: str
) -> None:
    calls = [0]
    connection = wire(lambda request: endless(request, calls))
    connection.send(head())
    getattr(connection, leave)()
    assert connection.transport.closing
    before = calls[0]
    connection.pass_time(1)
    assert calls[0] == before


def test_requests_after_an_endless_answer_to_head_are_answered(wire: Callable[..., Wire]) -> None:
    requests: list[HTTPRequest] = []
    connection = wire(requests.append)
    connection.send(head(), get())
    requests[0].connection.write_headers(OK, HTTPHeaders(), None)
    connection.half_close()
    requests[0].finish()
    connection.turn()
    connection.call(answer, requests[1])
    assert connection.sent() == b"HTTP/1.1 200 OK\r\n\r\n" + framed(b"ok")


def early_hints(request: HTTPRequest) -> None:
    """Two interim responses and the final one."""
    for chunk in None, b"no body here":
        start_line = ResponseStartLine("HTTP/1.1", 103, "Early Hints")
        headers = with_length(5, Link="</x>; rel=preload")
        request.connection.write_headers(start_line, headers, chunk)
    respond(request, b"final")


def test_interim_responses_precede_the_final_one(wire: Callable[..., Wire]) -> None:
    connection = wire(early_hints)
    connection.send(get() * 2)
    assert connection.sent() == 2 * (
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n" * 2
        + b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfinal\r\n0\r\n\r\n"
    )


def test_http_1_0_gets_no_interim_response(wire: Callable[..., Wire]) -> None:
    # RFC 9110 section 15.2: it has none.
    connection = wire(early_hints)
    connection.send(get(version="HTTP/1.0"))
    assert connection.sent() == b"HTTP/1.1 200 OK\r\n\r\nfinal"


def test_interim_response_says_nothing_of_the_connection(wire: Callable[..., Wire]) -> None:
    connection = wire(early_hints, no_keep_alive=True)
    connection.send(get())
    interim, *_, final = connection.sent().split(b"HTTP/1.1 ")[1:]
    assert b"Connection" not in interim
    assert b"Connection: close\r\n" in final
    assert connection.ended


def test_interim_response_is_no_answer(wire: Callable[..., Wire], logs: Logs) -> None:
    def callback(request: HTTPRequest) -> None:
        request.connection.write_headers(ResponseStartLine("", 103, "Hints"), HTTPHeaders())
        raise ValueError("on purpose")

    connection = wire(callback)
    connection.send(get())
    assert connection.sent().startswith(b"HTTP/1.1 103 Hints\r\n\r\nHTTP/1.1 500 ")
    assert len(logs.errors()) == 1


def test_informational_response_has_the_usual_reason(wire: Callable[..., Wire]) -> None:
    def callback(request: HTTPRequest) -> None:
        for code in 103, 102, 199:
            request.connection.send_informational(code, [("Link", "</x>"), ("Link", "</y>")])
        respond(request, headers=with_length(0))

    connection = wire(callback)
    connection.send(get())
    links = b"\r\nLink: </x>\r\nLink: </y>\r\n\r\n"
    assert connection.sent() == (
        b"".join([b"HTTP/1.1 " + each + links for each in [b"103 Early Hints", b"102 Processing"]])
        + b"HTTP/1.1 199 Unknown"
        + links
        + framed(b"")
    )


@pytest.mark.parametrize("code", [99, 100, 101, 200, 404])
def test_what_is_no_informational_response_is_not_sent_as_one(
    wire: Callable[..., Wire], code: int
) -> None:
    # 100 is the server's to send, 101 is final.
    def callback(request: HTTPRequest) -> None:
        with pytest.raises(ValueError, match="102 to 199"):
            request.connection.send_informational(code, {})
        answer(request)

    connection = wire(callback)
    connection.send(get())
    assert connection.sent() == framed(b"ok")


def test_informational_response_comes_before_the_response(wire: Callable[..., Wire]) -> None:
    def callback(request: HTTPRequest) -> None:
        request.connection.write_headers(OK, with_length(0))
        with pytest.raises(RuntimeError, match="begun"):
            request.connection.send_informational(103, {})
        request.finish()

    connection = wire(callback)
    connection.send(get())
    assert connection.sent() == framed(b"")


# --- Trailers ----------------------------------------------------------------------------


def with_trailers(trailers: Any, **fields: str) -> Callable[[HTTPRequest], None]:
    """A callback that answers ``ok`` and trailers."""

    def callback(request: HTTPRequest) -> None:
        request.connection.write_headers(OK, HTTPHeaders(fields), b"ok")
        request.connection.finish(trailers)

    return callback


@pytest.mark.parametrize(
    "trailers",
    [{"X-Sum": "1", "Y": 2}, [("X-Sum", "1"), ("Y", 2)], HTTPHeaders({"X-Sum": "1", "Y": "2"})],
    ids=["mapping", "pairs", "HTTPHeaders"],
)
def test_trailers_follow_the_last_chunk(wire: Callable[..., Wire], trailers: Any) -> None:
    connection = wire(with_trailers(trailers))
    connection.send(get())
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    expected = head + b"2\r\nok\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\n"
    assert connection.sent() == expected
    connection.send(get())  # the connection goes on
    assert connection.sent() == expected
    peer = h11.Connection(h11.CLIENT)
    peer.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    peer.receive_data(expected)
    assert isinstance(peer.next_event(), h11.Response)
    assert isinstance(peer.next_event(), h11.Data)
    end = peer.next_event()
    assert isinstance(end, h11.EndOfMessage)
    assert list(end.headers) == [(b"x-sum", b"1"), (b"y", b"2")]


@pytest.mark.parametrize(
    ("request_", "fields", "response"),
    [
        (get(version="HTTP/1.0"), {}, b"HTTP/1.1 200 OK\r\n\r\nok"),
        (get(), {"Content-Length": "2"}, framed(b"ok")),
        (head(), {}, b"HTTP/1.1 200 OK\r\n\r\n"),
    ],
    ids=["HTTP/1.0", "Content-Length", "HEAD"],
)
def test_trailers_are_left_out_where_there_is_no_place_for_them(
    wire: Callable[..., Wire], request_: bytes, fields: dict[str, str], response: bytes
) -> None:
    connection = wire(with_trailers({"X-Sum": "1"}, **fields))
    connection.send(request_)
    assert connection.sent() == response


@pytest.mark.parametrize(
    "trailers",
    [
        {"Content-Length": "5"},  # RFC 9110 section 6.5.1: it would change the framing
        {"transfer-encoding": "chunked"},
        {"Bad name": "x"},
        {"X": "a\r\nY: b"},
        {"X": "a\0"},
    ],
)
def test_trailers_that_clients_would_misread_end_the_connection(
    wire: Callable[..., Wire], logs: Logs, trailers: dict[str, str]
) -> None:
    connection = wire(with_trailers(trailers))
    connection.send(get())
    assert b"0\r\n" not in connection.sent()  # it does not look whole
    assert connection.ended
    assert len(logs.errors()) == 1


def test_trailers_of_an_own_response_are_the_applications_to_write(
    wire: Callable[..., Wire],
) -> None:
    def callback(request: HTTPRequest) -> None:
        request.write(framed(b"ok"))
        with pytest.raises(RuntimeError, match="write_headers"):
            request.connection.finish({"X-Sum": "1"})
        request.finish()

    connection = wire(callback)
    connection.send(get())
    assert connection.sent() == framed(b"ok")


def test_101_has_no_framing(wire: Callable[..., Wire]) -> None:
    headers = with_length(3, Upgrade="x", Connection="Upgrade")
    connection = wire(lambda request: respond(request, code=101, headers=headers))
    connection.send(get("/", "Upgrade: x", "Connection: Upgrade"))
    assert connection.sent() == b"HTTP/1.1 101 OK\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"


@pytest.mark.parametrize("code", [101, 200])
@pytest.mark.parametrize("is_async", [False, True])
def test_switch_that_nobody_takes_over_closes(
    wire: Callable[..., Wire], code: int, is_async: bool
) -> None:
    requests: list[HTTPRequest] = []

    async def in_task(request: HTTPRequest) -> None:
        respond(request, code=code)

    def callback(request: HTTPRequest) -> Any:
        requests.append(request)
        return in_task(request) if is_async else respond(request, code=code)

    connection = wire(callback)
    connection.send((CONNECT if code == 200 else get("/", "Upgrade: x")) + get("/2"))
    assert connection.sent() == b"HTTP/1.1 %d OK\r\n\r\n" % code
    assert connection.ended
    assert len(requests) == 1  # what comes after it is no HTTP


@pytest.mark.parametrize("fields", [{}, {"Content-Length": "0"}])
def test_connect_that_succeeds_has_no_framing(
    wire: Callable[..., Wire], fields: dict[str, str]
) -> None:
    # RFC 9110 section 9.3.6: what follows are the tunnel's bytes.
    def callback(request: HTTPRequest) -> None:
        request.connection.write_headers(OK, HTTPHeaders(fields))
        request.connection.detach().write(b"tunnel")

    connection = wire(callback)
    connection.send(CONNECT)
    assert connection.sent() == b"HTTP/1.1 200 OK\r\n\r\ntunnel"


def test_connect_that_fails_is_an_answer_like_any_other(wire: Callable[..., Wire]) -> None:
    connection = wire(lambda request: respond(request, b"no", code=403))
    connection.send(CONNECT)
    assert connection.sent() == (
        b"HTTP/1.1 403 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        b"2\r\nno\r\n0\r\n\r\n"
    )


def raw(request: HTTPRequest) -> None:
    request.write(b"HTTP/1.1 405 No\r\nContent-Length: 0\r\n\r\n")
    request.finish()


@pytest.mark.parametrize("fields", [b"", b"Connection: keep-alive\r\n"])
@pytest.mark.parametrize(
    "reject",
    [raw, lambda request: respond(request, code=405), lambda request: request.respond(405)],
)
def test_nothing_behind_a_rejected_connect_is_processed(
    wire: Callable[..., Wire], reject: Callable[[HTTPRequest], None], fields: bytes
) -> None:
    # RFC 9931 section 8: the client may have sent the first bytes of its tunnel already, and
    # they may be anybody's.
    requests: list[HTTPRequest] = []

    def callback(request: HTTPRequest) -> None:
        requests.append(request)
        reject(request)

    connection = wire(callback)
    connection.send(CONNECT.removesuffix(b"\r\n") + fields + b"\r\n" + get("/tunneled"))
    assert connection.sent().startswith(b"HTTP/1.1 405 ")
    assert connection.ended
    connection.send(get("/later"))
    assert [request.method for request in requests] == ["CONNECT"]
    assert connection.sent() == b""


# --- The connection after it -------------------------------------------------------------


@pytest.mark.parametrize("fields", [{}, {"Transfer-Encoding": "chunked"}])
@pytest.mark.parametrize("asked", [[], ["Connection: keep-alive"]])
def test_http_1_0_body_of_unknown_length_ends_with_the_connection(
    wire: Callable[..., Wire], fields: dict[str, str], asked: list[str]
) -> None:
    connection = wire(lambda request: respond(request, b"a", b"b", headers=HTTPHeaders(fields)))
    connection.send(get("/", *asked, version="HTTP/1.0"))
    assert connection.sent() == b"HTTP/1.1 200 OK\r\n\r\nab"
    assert connection.ended


def test_http_1_0_connection_goes_on_if_asked_to(wire: Callable[..., Wire]) -> None:
    connection = wire(lambda request: respond(request, b"ab", headers=with_length(2)))
    connection.send(get("/", "Connection: Keep-Alive", version="HTTP/1.0") * 2)
    expected = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: Keep-Alive\r\n\r\nab"
    assert connection.sent() == expected * 2
    assert not connection.ended
    connection.send(get(version="HTTP/1.0"))
    assert connection.sent() == framed(b"ab")
    assert connection.ended


@pytest.mark.parametrize("length", [True, False])
@pytest.mark.parametrize("why", ["request", "server", "application"])
@pytest.mark.parametrize("value", ["close", "Close", "x, close"])
def test_last_response_says_so(
    wire: Callable[..., Wire], why: str, value: str, length: bool
) -> None:
    def callback(request: HTTPRequest) -> None:
        headers = with_length(2) if length else HTTPHeaders()
        if why == "application":
            headers["Connection"] = value
        respond(request, b"ab", headers=headers)

    connection = wire(callback, no_keep_alive=why == "server")
    connection.send(get("/", *([f"Connection: {value}"] if why == "request" else [])) + get())
    sent = connection.sent()
    assert sent.count(b"HTTP/1.1 200 OK") == 1
    assert sent.lower().count(b"\r\nconnection: ") == 1
    assert b"close\r\n" in sent.lower()
    assert connection.ended


def test_response_does_not_promise_what_the_server_does_not_keep(
    wire: Callable[..., Wire],
) -> None:
    connection = wire(
        lambda request: respond(request, headers=with_length(0, Connection="keep-alive")),
        no_keep_alive=True,
    )
    connection.send(get())
    assert b"\r\nConnection: close\r\n" in connection.sent()
    assert connection.ended


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
@pytest.mark.parametrize("no_keep_alive", [False, True])
def test_another_parser_reads_the_same(
    wire: Callable[..., Wire], version: str, no_keep_alive: bool
) -> None:
    codes = [200, 201, 204, 301, 304, 404, 500]
    bodies: list[list[bytes]] = [[], [b"hello"], [b"hel", b"", b"lo"]]
    for code, method, chunks, known in itertools.product(
        codes, [b"GET", b"HEAD", b"POST"], bodies, [False, True]
    ):
        body = b"".join(chunks)
        headers = with_length(len(body)) if known else HTTPHeaders()
        callback = functools.partial(respond, code=code, headers=headers)
        connection = wire(
            lambda request, chunks=chunks, callback=callback: callback(request, *chunks),
            no_keep_alive=no_keep_alive,
        )
        connection.send(get(version=version).replace(b"GET", method, 1))
        parser = h11.Connection(h11.CLIENT)
        parser.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
        parser.send(h11.EndOfMessage())
        parser.receive_data(connection.sent())
        if connection.ended:
            parser.receive_data(b"")
        response = parser.next_event()
        assert isinstance(response, h11.Response)
        assert response.status_code == code
        read = b""
        while isinstance(event := parser.next_event(), h11.Data):
            read += event.data
        assert isinstance(event, h11.EndOfMessage)
        assert read == (b"" if method == b"HEAD" or code in (204, 304) else body)
        assert parser.trailing_data[0] == b""
        if version == "HTTP/1.1":
            assert connection.ended == no_keep_alive
            assert (parser.their_state is h11.MUST_CLOSE) == no_keep_alive or (
                parser.their_state is h11.CLOSED
            )


# --- Too late ----------------------------------------------------------------------------


def test_write_and_finish_behind_finish_are_runtime_errors(wire: Callable[..., Wire]) -> None:
    requests: list[HTTPRequest] = []

    def callback(request: HTTPRequest) -> None:
        requests.append(request)
        respond(request, b"x", headers=with_length(1))
        for late in (
            lambda: request.write(b"late"),
            request.finish,
            lambda: request.connection.write(b"late"),
            request.connection.finish,
            lambda: request.connection.write_headers(OK, with_length(0)),
        ):
            with pytest.raises(RuntimeError):
                late()

    connection = wire(callback)
    connection.send(get("/1"))
    assert connection.sent() == framed(b"x")
    for late in lambda: requests[0].write(b"late"), requests[0].finish:
        with pytest.raises(RuntimeError):
            late()
    connection.turn()
    assert connection.sent() == b""
    connection.send(get("/2"))
    assert connection.sent() == framed(b"x")  # intact


def test_late_write_does_not_reach_the_next_exchange(wire: Callable[..., Wire]) -> None:
    requests: list[HTTPRequest] = []
    connection = wire(requests.append)
    connection.send(get("/1"), get("/2"))
    first = requests[0]
    connection.call(lambda: respond(first, b"1", headers=with_length(1)))
    second = requests[1]
    for late in lambda: first.write(b"late"), first.finish:
        with pytest.raises(RuntimeError):
            late()
    connection.call(lambda: respond(second, b"2", headers=with_length(1)))
    assert connection.sent() == framed(b"1") + framed(b"2")


def test_write_behind_a_finish_that_waits_for_the_client(wire: Callable[..., Wire]) -> None:
    requests: list[HTTPRequest] = []

    def callback(request: HTTPRequest) -> None:
        requests.append(request)
        respond(request, b"x" * 100, headers=with_length(100))

    connection = wire(callback, window=10)
    connection.send(get(), get())
    for late in lambda: requests[0].write(b"late"), requests[0].finish:
        with pytest.raises(RuntimeError):
            late()
    assert len(requests) == 1
    connection.take(1000)
    assert connection.sent() == framed(b"x" * 100) * 2


def test_headers_twice_are_a_runtime_error(wire: Callable[..., Wire]) -> None:
    def callback(request: HTTPRequest) -> None:
        request.connection.write_headers(OK, with_length(1))
        for code in 200, 103:
            with pytest.raises(RuntimeError):
                request.connection.write_headers(ResponseStartLine("", code, ""), HTTPHeaders())
        request.write(b"x")
        request.finish()

    connection = wire(callback)
    connection.send(get())
    assert connection.sent() == framed(b"x")


def test_headers_behind_raw_bytes_are_a_runtime_error(wire: Callable[..., Wire]) -> None:
    def callback(request: HTTPRequest) -> None:
        request.write(framed(b"x"))
        with pytest.raises(RuntimeError):
            request.connection.write_headers(OK, HTTPHeaders())
        request.finish()

    connection = wire(callback)
    connection.send(get())
    assert connection.sent() == framed(b"x")


def test_late_write_of_raw_bytes_may_be_awaited(wire: Callable[..., Wire], logs: Logs) -> None:
    ended: list[bool] = []

    async def callback(request: HTTPRequest) -> None:
        answer(request, b"x")
        await request.write(b"late")
        ended.append(True)

    connection = wire(callback)
    connection.send(get())
    assert connection.sent() == framed(b"x")
    assert ended == [True]
    assert len(logs.warnings()) == 1


def test_styles_may_change_from_request_to_request(wire: Callable[..., Wire]) -> None:
    def callback(request: HTTPRequest) -> None:
        if request.path == "/raw":
            answer(request, b"raw")
        else:
            respond(request, b"x", headers=with_length(1))

    connection = wire(callback)
    connection.send(get("/raw") + get() + get("/raw") + get())
    assert connection.sent() == (framed(b"raw") + framed(b"x")) * 2


# --- Waiting for the client --------------------------------------------------------------


def test_each_future_is_done_when_all_has_left(wire: Callable[..., Wire]) -> None:
    done: list[object] = []

    async def callback(request: HTTPRequest) -> None:
        connection = request.connection
        futures = [connection.write_headers(OK, with_length(4)), request.write(b"ab")]
        futures.append(connection.write(b"cd"))
        for future in futures:
            done.append(await future)
        request.finish()

    connection = wire(callback, window=5)
    connection.send(get())
    assert done == []
    connection.take(20)
    assert done == []
    connection.take(100)
    assert done == [None] * 3
    assert connection.sent() == framed(b"abcd")


def test_write_callbacks_run_behind_the_framed_bytes(wire: Callable[..., Wire]) -> None:
    events: list[str] = []

    def callback(request: HTTPRequest) -> None:
        def last() -> None:
            events.append("last")
            request.finish()

        def first() -> None:
            events.append("first")
            request.write(b"cd", last)

        request.connection.write_headers(OK, HTTPHeaders())
        request.write(b"ab", callback=first)
        assert events == []

    connection = wire(callback)
    connection.send(get())
    assert events == ["first", "last"]
    assert connection.sent().endswith(b"\r\n\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n")


def test_finish_as_write_callback(wire: Callable[..., Wire]) -> None:
    def callback(request: HTTPRequest) -> None:
        request.connection.write_headers(OK, with_length(50))
        request.write(b"x" * 50, callback=request.finish)

    connection = wire(callback, window=10)
    connection.send(get() + get())
    connection.take(10_000)
    assert connection.sent() == framed(b"x" * 50) * 2


@pytest.mark.parametrize("known", [False, True])
def test_awaited_writes_wait_for_a_slow_client(serve: Callable[..., Served], known: bool) -> None:
    piece, count = bytes(100_000), 100
    written: list[int] = []

    async def stream(request: HTTPRequest) -> None:
        headers = with_length(len(piece) * count) if known else HTTPHeaders()
        await request.connection.write_headers(OK, headers)
        for number in range(count):
            await request.write(piece)
            written.append(number)
        request.finish()

    served = serve(stream)
    client = served.connect(receive_buffer=10_000)
    client.send(get() + get("/", "Connection: close"))
    client.read(100_000)
    eventually(lambda: served.call(lambda: served.connection.stream.writing()))
    assert len(written) < count
    assert served.call(lambda: served.connection.stream.write_buffer_size) < 2 * len(piece)
    assert len(client.read_to_end()) > 2 * len(piece) * count - 100_000
    assert written == [*range(count)] * 2


def test_client_that_leaves_ends_the_waiting(serve: Callable[..., Served], logs: Logs) -> None:
    errors: list[BaseException] = []

    async def stream(request: HTTPRequest) -> None:
        await request.connection.write_headers(OK, HTTPHeaders())
        try:
            while True:
                await request.write(bytes(100_000))
        except StreamClosedError as error:
            errors.append(error)
            request.write(b"more")
            request.finish()
            raise

    served = serve(stream)
    client = served.connect(receive_buffer=10_000)
    client.send(get())
    client.read(100_000)
    client.reset()
    served.all_closed()
    served.settle()
    assert len(errors) == 1


# --- A stream that is closed -------------------------------------------------------------


def by_reset(connection: Wire, request: HTTPRequest) -> None:
    connection.reset()


def by_stream(connection: Wire, request: HTTPRequest) -> None:
    request.connection.stream.close()


def by_stream_and_time(connection: Wire, request: HTTPRequest) -> None:
    connection.call(request.connection.stream.close)


def by_connection(connection: Wire, request: HTTPRequest) -> None:
    request.connection.close()


CLOSES = [by_reset, by_stream, by_stream_and_time, by_connection]


@pytest.mark.parametrize("close", CLOSES)
@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("known", [False, True])
def test_nothing_raises_on_a_closed_stream(
    wire: Callable[..., Wire],
    close: Callable[[Wire, HTTPRequest], None],
    begun: bool,
    known: bool,
) -> None:
    requests: list[HTTPRequest] = []
    events: list[str] = []
    connection = wire(requests.append)
    connection.send(get())
    (request,) = requests
    headers = with_length(3) if known else HTTPHeaders()
    if begun:
        request.connection.write_headers(OK, headers, b"x")
        connection.turn()
    before = connection.sent()
    close(connection, request)
    if not begun:
        request.connection.write_headers(OK, headers, b"x")
    request.write(b"a")
    request.connection.write(b"b", lambda: events.append("written"))
    request.connection.write(b"c")
    request.finish()
    connection.turn()
    connection.half_close()
    gc.collect()  # futures that nobody has awaited
    assert connection.sent() == b""
    assert (before != b"") == begun
    assert events == []
    assert connection.connections == 0


@pytest.mark.parametrize("close", CLOSES)
def test_what_is_awaited_on_a_closed_stream_fails(
    wire: Callable[..., Wire], close: Callable[[Wire, HTTPRequest], None]
) -> None:
    requests: list[HTTPRequest] = []
    connection = wire(requests.append)
    connection.send(get())
    (request,) = requests
    close(connection, request)

    async def wait(awaitable: Any) -> None:
        with pytest.raises(StreamClosedError):
            await awaitable

    headed = request.connection.write_headers(OK, with_length(3))
    connection.loop.run_until_complete(wait(headed))
    connection.loop.run_until_complete(wait(request.write(b"abc")))


def test_request_with_a_body_is_answered_alike(wire: Callable[..., Wire]) -> None:
    connection = wire(lambda request: respond(request, request.body))
    connection.send(post(b"hello"))
    assert connection.sent().endswith(b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n")


def test_answer_of_a_coroutine_is_framed_alike(wire: Callable[..., Wire]) -> None:
    async def callback(request: HTTPRequest) -> None:
        await asyncio.sleep(0)
        respond(request, b"x", headers=with_length(1))

    connection = wire(callback)
    connection.send(get() * 3)
    connection.turn(20)
    assert connection.sent() == framed(b"x") * 3


# --- What write_headers takes --------------------------------------------------------------

PAIRS = [("content-length", 2), ("Set-Cookie", "a=b"), ("Set-Cookie", "c=d")]
EXPECTED = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n\r\nok"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (PAIRS, EXPECTED),
        (tuple(PAIRS), EXPECTED),
        (dict(PAIRS[:1]), framed(b"ok")),
        (MappingProxyType({"Content-Length": "2"}), framed(b"ok")),
        (HTTPHeaders({"Content-Length": 2}), framed(b"ok")),  # type: ignore[arg-type]
    ],
)
@pytest.mark.parametrize("chunk", [b"ok", "ok", bytearray(b"ok"), memoryview(b"ok")])
def test_headers_and_chunk_of_every_kind(
    wire: Callable[..., Wire], headers: Any, expected: bytes, chunk: Any
) -> None:
    def callback(request: HTTPRequest) -> None:
        request.connection.write_headers(OK, headers, chunk)
        request.finish()

    connection = wire(callback)
    connection.send(get())
    assert connection.sent() == expected


@pytest.mark.parametrize(
    ("headers", "chunk"),
    [
        ({"X": 1.5}, b""),
        ({"X": None}, b""),
        ({1: "x"}, b""),
        ([("X",)], b""),
        (5, b""),
        ({}, 5),
        ({}, ["x"]),
        ({}, "\u0100"),
    ],
)
@pytest.mark.parametrize("is_async", [False, True])
def test_headers_and_chunk_of_no_kind_are_refused_at_the_call(
    wire: Callable[..., Wire], logs: Logs, headers: Any, chunk: Any, is_async: bool
) -> None:
    def callback(request: HTTPRequest) -> Any:
        async def in_task() -> None:
            request.connection.write_headers(OK, headers, chunk)

        return in_task() if is_async else request.connection.write_headers(OK, headers, chunk)

    connection = wire(callback)
    connection.send(get())
    assert connection.sent().startswith(b"HTTP/1.1 500 ")
    (record,) = [record for record in logs.records if record.levelname == "ERROR"]
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], (TypeError, ValueError))
    assert len(logs.errors()) == 1


# --- Whole responses ----------------------------------------------------------------------

WHOLE = [
    (get(), 200, [], b"body"),
    (get(), 200, [], b""),
    (get(), 200, [("Content-Length", 4), ("X-A", "b")], b"body"),
    (get(), 200, [("Set-Cookie", "a=1"), ("set-cookie", "b=2")], b"body"),
    (get("/", "Connection: close"), 200, [], b"body"),
    (get(), 200, [("Connection", "close")], b"body"),
    (get(version="HTTP/1.0"), 200, [], b"body"),
    (get("/", "Connection: keep-alive", version="HTTP/1.0"), 200, [], b"body"),
    (get(), 204, [], b""),
    (get(), 304, [], b""),
    (head(), 200, [("Content-Length", 4)], b""),
    (head(), 200, [], b"body"),
    (post(b"asked"), 404, [], b"body"),
    (get(), 200, [("x-a", "1"), (b"x-a", b"\xe9"), (b"set-cookie", "a=b")], b"body"),
    (get(version="HTTP/1.0"), 200, [(b"x-a", b"1"), (b"x-a", "\xe9")], b"body"),
    (get(version="HTTP/1.0"), 200, [("Content-Length", b"4")], b"body"),
    (get(), 200, [("Connection", b"close")], b"body"),
    (get(), 200, [("Transfer-Encoding", "chunked")], b"body"),
    (get(), 200, {"x-a": "1"}, b"body"),
    (get(), 200, [["x-a", "1"]], b"body"),
    (get("/", "Upgrade: x", "Connection: upgrade"), 200, [], b"body"),
]


@pytest.mark.parametrize("asked, code, fields, body", WHOLE)
def test_whole_response_is_that_of_write_headers_and_finish(
    wire: Callable[..., Wire], asked: bytes, code: int, fields: list[Any], body: bytes
) -> None:
    start_line = ResponseStartLine("", code, "X")

    def at_once(request: HTTPRequest) -> None:
        assert request.connection.respond(start_line, fields, body)
        assert request.connection.response is None or slow

    def step_by_step(request: HTTPRequest) -> None:
        headers = list(fields.items() if isinstance(fields, dict) else fields)
        silent = code in (204, 304) or (request.method == "HEAD" and not body)
        if not silent and "Content-Length" not in dict(headers):
            headers.append(("Content-Length", len(body)))
        respond(request, body, code=code, reason="X", headers=headers)

    slow = False
    fast, steps = wire(at_once), wire(step_by_step)
    for end in (fast, steps):
        end.send(asked, asked)
    sent = steps.sent()
    assert fast.sent() == sent
    assert fast.ended == steps.ended
    slow = True
    late: Wire = wire(lambda request: late.loop.call_soon(at_once, request) and None)
    late.send(asked, asked)
    assert late.sent() == sent
    assert late.ended == steps.ended
    off = wire(lambda request: at_once(request) if request.connection.leave_fast_path() else None)
    off.send(asked, asked)
    assert off.sent() == sent
    assert off.ended == steps.ended


@pytest.mark.parametrize("slow", [False, True], ids=["fast", "slow"])
@pytest.mark.parametrize(
    "error, code, fields, body",
    [
        (HTTPOutputError, 200, [("Content-Length", 3)], b"body"),
        (HTTPOutputError, 200, [("Content-Length", 5)], b"body"),
        (ValueError, 200, [("X", "a\nb")], b"body"),
        (ValueError, 200, [(b"X", b"a\r\nb")], b"body"),
        (ValueError, 200, [("X", "a\0b")], b"body"),
        (ValueError, 200, [("X y", "a")], b"body"),
        (ValueError, 200, [("", "a")], b"body"),
        (ValueError, 200, [("X", "a", "b")], b"body"),
        (ValueError, 200, [("Content-Length", "x")], b"body"),
        (ValueError, 1000, [], b"body"),
        (UnicodeEncodeError, 200, [("X", "\u20ac")], b"body"),
        (ValueError, 100, [], b""),
        (TypeError, 200, [("X", None)], b""),
    ],
)
def test_nothing_is_sent_of_a_whole_response_that_is_wrong(
    wire: Callable[..., Wire],
    error: type[Exception],
    code: int,
    fields: list[Any],
    body: bytes,
    slow: bool,
) -> None:
    def callback(request: HTTPRequest) -> None:
        if slow:
            request.connection.set_close_callback(list)
        with pytest.raises(error):
            request.connection.respond(("", code, "X"), fields, body)
        answer(request, b"another")

    end = wire(callback)
    end.send(get(), get())
    assert end.sent() == 2 * framed(b"another")


def test_whole_response_may_come_later(wire: Callable[..., Wire]) -> None:
    requests: list[HTTPRequest] = []
    end = wire(requests.append)
    for _ in range(2):
        end.send(get())
        end.call(requests.pop().connection.respond, OK, [], b"later")
        assert end.sent() == framed(b"later")


MEANWHILE: dict[str, Callable[[Wire, HTTPRequest], object]] = {
    "the client sends": lambda end, request: end.send(get("/next")),
    "the client sends much": lambda end, request: end.send(get("/next") * 10_000),
    "the client ends": lambda end, request: end.half_close(),
    "a close callback": lambda end, request: request.connection.set_close_callback(list),
    "a look at the stream": lambda end, request: request.connection.stream.writing(),
    "the server ends": lambda end, request: end.connection.drain(ANNOUNCING),
}


@pytest.mark.parametrize("meanwhile", MEANWHILE.values(), ids=MEANWHILE)
def test_much_may_happen_before_a_whole_response(
    wire: Callable[..., Wire], meanwhile: Callable[[Wire, HTTPRequest], object]
) -> None:
    requests: list[HTTPRequest] = []
    end = wire(requests.append)
    end.send(get("/first"))
    first = requests[0]
    meanwhile(end, first)
    assert requests == [first]
    end.call(first.connection.respond, OK, [], b"late")
    sent = end.sent()
    assert sent.startswith(b"HTTP/1.1 200 OK\r\n") and sent.endswith(b"\r\n\r\nlate")
    assert (b"Connection: close" in sent) == (meanwhile is MEANWHILE["the server ends"])
    if "sends" in next(name for name, each in MEANWHILE.items() if each is meanwhile):
        assert [request.uri for request in requests] == ["/first", "/next"]


def test_whole_response_is_the_only_one(wire: Callable[..., Wire]) -> None:
    def callback(request: HTTPRequest) -> None:
        if request.uri == "/begun":
            request.connection.write_headers(OK, [("Content-Length", 3)], b"one")
        else:
            request.connection.respond(OK, [], b"one")
        with pytest.raises(RuntimeError):
            request.connection.respond(OK, [], b"two")
        if request.uri == "/begun":
            request.finish()

    end = wire(callback)
    end.send(get(), get("/begun"), get())
    assert end.sent() == 3 * framed(b"one")


def test_whole_response_to_a_client_that_has_gone_is_dropped(wire: Callable[..., Wire]) -> None:
    requests: list[HTTPRequest] = []
    end = wire(requests.append)
    end.send(get())
    end.reset()
    assert not requests[0].connection.respond(OK, [], b"late")
    assert end.sent() == b""


def test_whole_response_to_connect_switches_protocols(wire: Callable[..., Wire]) -> None:
    end = wire(lambda request: request.connection.respond(OK, [], b""))
    end.send(CONNECT)
    assert end.sent() == b"HTTP/1.1 200 OK\r\n\r\n"


@pytest.mark.parametrize("checked", [True, False])
@pytest.mark.parametrize("late", [True, False])
def test_whole_response_that_closes_does(
    wire: Callable[..., Wire], checked: bool, late: bool
) -> None:
    def callback(request: HTTPRequest) -> None:
        line, headers = ResponseStartLine("", 200, "OK"), [("Connection", "close")]
        if late:
            loop = request.connection.loop
            loop.call_soon(request.connection.respond, line, headers, b"ok")
        else:
            request.connection.respond(line, headers, b"ok")

    connection = wire(callback, check_responses=checked)
    connection.send(get() + get())
    head, _, body = connection.sent().partition(b"\r\n\r\n")
    assert b"\r\nConnection: close" in head and body == b"ok"
    assert connection.ended


@pytest.mark.parametrize(
    ("start_line", "headers", "said"),
    [
        (("", 200, "OK"), {"X y": "5"}, "ValueError: Illegal header name 'X y'"),
        (
            ("", 200, "OK"),
            {"X" + "x" * 200 + ":": "5"},
            f"ValueError: Illegal header name 'X{'x' * 99}'",
        ),
        (("", 200, "OK"), {5: "5"}, "TypeError: a header's name is a str or bytes, not int"),
        (("", 200, "OK"), {"X": None}, "TypeError: header X is a str, bytes or an int, not None"),
        (("", 200, "OK"), {"X": 1.5}, "TypeError: header X is a str, bytes or an int, not 1.5"),
        (("", 200, "OK"), 5, "TypeError: headers are a mapping, or pairs of a name, which"),
        (("", 200, "OK"), [("X",)], "ValueError: headers are a mapping, or pairs of a name, which"),
        (200, {}, "TypeError: start_line is a version, a status code and a reason, not 200"),
        (("", None, "OK"), {}, "TypeError: start_line is a version, a status code and a reason"),
    ],
)
def test_what_is_wrong_with_a_head_is_said(start_line: Any, headers: Any, said: str) -> None:
    name, _, text = said.partition(": ")
    with pytest.raises((TypeError, ValueError), match=f"^{re.escape(text)}") as raised:
        ResponseFraming("GET", "HTTP/1.1", True, start_line, headers)
    assert type(raised.value).__name__ == name
