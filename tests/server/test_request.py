"""HTTPRequest: what an application sees, of the wire and of a request made by hand."""

from __future__ import annotations

import inspect
import logging
import re
import socket
import time
from collections.abc import Callable
from http.cookies import Morsel
from typing import Any

import pytest
from helpers import Logs, Served, answer, eventually, get, post
from hypothesis import given
from hypothesis import strategies as st
from wire import Wire

from fasthttpserver.httpserver import HTTPRequest
from fasthttpserver.httputil import HTTPFile, HTTPHeaders, HTTPInputError

Serve = Callable[..., Served]
Received = Callable[..., HTTPRequest]

FORM = "Content-Type: application/x-www-form-urlencoded"


@pytest.fixture
def received(wire: Callable[..., Wire]) -> Received:
    """The request that an application gets for some bytes."""

    def receive(data: bytes, **options: Any) -> HTTPRequest:
        requests: list[HTTPRequest] = []
        wire(requests.append, **options).send(data)
        (request,) = requests
        return request

    return receive


# --- Attributes -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        ("method uri path query version remote_ip protocol host", str),
        ("body", bytes),
        ("headers", HTTPHeaders),
        ("arguments files cookies", dict),
    ],
)
def test_types_of_the_documented_attributes(
    received: Received, names: str, kind: type[object]
) -> None:
    for request in (
        received(post(b"a=b", FORM, "Cookie: c=d", uri="/p?q=r")),
        received(get()),
    ):
        for name in names.split():
            assert isinstance(getattr(request, name), kind), name


def test_what_the_mappings_map_to(received: Received) -> None:
    request = received(post(b"a=b", FORM, "Cookie: c=d", uri="/p?q=r"))
    assert request.arguments == {"q": [b"r"], "a": [b"b"]}
    assert isinstance(request.cookies["c"], Morsel)


def test_attributes_of_a_plain_get(received: Received) -> None:
    request = received(get("/path?a=b", "X-Thing: 1"))
    assert (request.method, request.uri, request.version) == ("GET", "/path?a=b", "HTTP/1.1")
    assert (request.path, request.query) == ("/path", "a=b")
    assert dict(request.headers) == {"Host": "a", "X-Thing": "1"}
    assert (request.body, request.host) == (b"", "a")
    assert (request.remote_ip, request.protocol) == ("192.0.2.7", "http")
    assert request.arguments == {"a": [b"b"]}
    assert request.files == {}
    assert request.cookies == {}


PARTS = ["http", "HTTPs", "http\u017f", "://", ":", "/", "?", "#", "*", "a", "[::1]", "\u0130"]


@given(st.lists(st.sampled_from(PARTS)).map("".join) | st.text())
def test_path_and_query_are_those_of_any_text(uri: str) -> None:
    match = re.match("(?a:https?)://([^/?]*)(.*)", uri, re.IGNORECASE | re.DOTALL)
    rest = match[2] if match else uri
    if match and rest[:1] != "/":
        rest = f"/{rest}"
    request = HTTPRequest("GET", uri)
    assert (request.path, request.query) == (rest.partition("?")[0], uri.partition("?")[2])
    assert request.full_url() == f"http://{request.host}{'' if rest == '*' else rest}"
    assert request.host == ((match and match[1]) or "127.0.0.1")


@pytest.mark.parametrize(
    ("uri", "path", "query"),
    [
        ("/", "/", ""),
        ("/x?", "/x", ""),
        ("/x??a", "/x", "?a"),
        ("/x?a?b", "/x", "a?b"),
        ("//x", "//x", ""),
        ("/%41?%42", "/%41", "%42"),
        ("/x;y", "/x;y", ""),
        ("http://h/x?y", "/x", "y"),
        ("https://h:8/x/?y?z", "/x/", "y?z"),
        ("HTTP://h//x", "//x", ""),
        ("http://h", "/", ""),
        ("http://h?a=/", "/", "a=/"),
        ("http://h/?http://i/j", "/", "http://i/j"),
        ("/http://h/x", "/http://h/x", ""),
    ],
)
def test_path_and_query_are_those_of_the_target(
    received: Received, uri: str, path: str, query: str
) -> None:
    for request in (received(get(uri)), HTTPRequest("GET", uri)):
        assert (request.uri, request.path, request.query) == (uri, path, query)


@pytest.mark.parametrize("method", ["GET", "get", "POST", "PATCH", "FOO", "M-SEARCH", "!#$%"])
def test_method_is_verbatim(received: Received, method: str) -> None:
    assert received(get().replace(b"GET", method.encode())).method == method


@pytest.mark.parametrize(
    ("data", "host"),
    [
        (get(), "a"),
        (b"GET / HTTP/1.1\r\nhost:  Example.COM:8080 \r\n\r\n", "Example.COM:8080"),
        (b"GET / HTTP/1.0\r\n\r\n", "127.0.0.1"),
        (b"GET http://b:81/ HTTP/1.1\r\nHost: a\r\n\r\n", "b:81"),
    ],
)
def test_host(received: Received, data: bytes, host: str) -> None:
    assert received(data).host == host


def test_headers_are_latin_1_and_keep_repeated_fields(received: Received) -> None:
    headers = received(get("/", "X-A: \xe4", "x-b: 1", "X-B: 2")).headers
    assert headers["x-a"] == "\xe4"
    assert headers.get_list("X-B") == ["1", "2"]
    assert headers["X-b"] == "1,2"
    assert list(headers.get_all()) == [
        ("Host", "a"),
        ("X-A", "\xe4"),
        ("X-B", "1"),
        ("X-B", "2"),
    ]


def test_attributes_are_computed_once_and_may_be_assigned(received: Received) -> None:
    request = received(get("/?a=b"))
    for name in ("arguments", "files", "cookies", "headers", "path", "query", "host"):
        assert getattr(request, name) is getattr(request, name)
        value = object()
        setattr(request, name, value)
        assert getattr(request, name) is value
    request.method = "POST"
    request.body = b"x"
    request.anything = 1  # type: ignore[attr-defined]
    assert (request.method, request.body) == ("POST", b"x")


def test_what_could_not_be_computed_is_asked_for_again(received: Received) -> None:
    request = received(get("/?" + "a&" * 2000))
    for _ in range(2):
        with pytest.raises(HTTPInputError):
            _ = request.arguments
    request.query = "a=b"
    assert request.arguments == {"a": [b"b"]}


def test_on_the_class_an_attribute_has_its_documentation() -> None:
    assert inspect.getdoc(HTTPRequest.cookies) == (
        "The cookies: names to ``http.cookies.Morsel`` objects."
    )


def test_each_request_of_a_connection_has_its_own_attributes(wire: Callable[..., Wire]) -> None:
    requests: list[HTTPRequest] = []

    def callback(request: HTTPRequest) -> None:
        requests.append(request)
        answer(request)

    end = wire(callback)
    end.send(get("/1", "X: 1") + get("/2", "Y: 2"))
    first, second = requests
    assert (first.uri, second.uri) == ("/1", "/2")
    assert first.headers == {"Host": "a", "X": "1"}
    assert second.headers == {"Host": "a", "Y": "2"}
    assert first.connection is second.connection is end.connection


def test_attributes_are_there_after_the_client_has_gone(wire: Callable[..., Wire]) -> None:
    requests: list[HTTPRequest] = []
    end = wire(requests.append)
    end.send(post(b"a=b", FORM, "Cookie: c=d", uri="/p?q=r"))
    end.reset()
    (request,) = requests
    assert request.remote_ip == "192.0.2.7"
    assert request.protocol == "http"
    assert request.arguments == {"q": [b"r"], "a": [b"b"]}
    assert request.cookies["c"].value == "d"
    assert request.full_url() == "http://a/p?q=r"
    assert request.get_ssl_certificate() is None


@pytest.mark.parametrize(
    ("address", "family", "remote_ip"),
    [
        (("192.0.2.7", 1), socket.AF_INET, "192.0.2.7"),
        (("2001:db8::7", 1, 0, 0), socket.AF_INET6, "2001:db8::7"),
        ("", getattr(socket, "AF_UNIX", -1), "0.0.0.0"),
    ],
)
def test_remote_ip(received: Received, address: Any, family: int, remote_ip: str) -> None:
    assert received(get(), address=address, family=family).remote_ip == remote_ip


def test_protocol_of_the_server_decides(received: Received) -> None:
    assert received(get(), protocol="https").protocol == "https"
    assert received(get(), protocol="").protocol == "http"
    assert received(get(), protocol=None).protocol == "http"


def test_what_proxies_say_is_believed_only_on_demand(received: Received) -> None:
    data = get("/", "X-Real-Ip: 198.51.100.1", "X-Scheme: https")
    request = received(data)
    assert (request.remote_ip, request.protocol) == ("192.0.2.7", "http")
    request = received(data, xheaders=True)
    assert (request.remote_ip, request.protocol) == ("198.51.100.1", "https")


def test_what_proxies_say_is_looked_up_by_name(received: Received) -> None:
    said = ("X-Real-Ip: 192.0.2.1", "X-Scheme: https", "X-Request-Id: a1")
    request = received(get("/", *said), xheaders=True)
    assert (request.remote_ip, request.protocol, request.request_id) == (
        "192.0.2.1",
        "https",
        "a1",
    )
    assert "headers" not in vars(request)
    request = received(get("/", *said), xheaders=True)
    request.headers["X-Real-Ip"] = "192.0.2.2"
    del request.headers["X-Scheme"]
    assert (request.remote_ip, request.protocol) == ("192.0.2.2", "http")


def test_trusted_proxies_have_the_word_over_what_the_client_made_up(received: Received) -> None:
    made_up = "X-Real-Ip: 203.0.113.9", "X-Scheme: https"
    data = get("/", *made_up, "X-Forwarded-For: 198.51.100.1:5555", "X-Forwarded-Proto: http")
    request = received(data, xheaders=True, trusted_downstream=["192.0.2.0/24"])
    assert (request.remote_ip, request.protocol) == ("198.51.100.1", "http")


@pytest.mark.parametrize(
    ("peers", "believed"),
    [(None, True), (["*"], True), (["192.0.2.0/24"], True), (["203.0.113.0/24", "unix"], False)],
)
def test_proxies_are_believed_if_they_are_trusted_themselves(
    received: Received, peers: list[str] | None, believed: bool
) -> None:
    data = get("/", "X-Forwarded-For: 198.51.100.1", "X-Forwarded-Proto: https")
    # Who may stand in X-Forwarded-For is another question.
    for trusted in (None, ["192.0.2.0/24"], ["203.0.113.0/24"]):
        request = received(data, xheaders=True, trusted_peers=peers, trusted_downstream=trusted)
        expected = ("198.51.100.1", "https") if believed else ("192.0.2.7", "http")
        assert (request.remote_ip, request.protocol) == expected


# --- Arguments, files, cookies ----------------------------------------------------------


def test_arguments_are_the_querys_then_the_forms(received: Received) -> None:
    request = received(post(b"b=3&c=4", FORM, uri="/?a=1&b=2"))
    assert list(request.arguments.items()) == [("a", [b"1"]), ("b", [b"2", b"3"]), ("c", [b"4"])]
    assert request.query_arguments == {"a": [b"1"], "b": [b"2"]}
    assert request.body_arguments == {"b": [b"3"], "c": [b"4"]}
    request.arguments["a"].append(b"mine")
    assert request.query_arguments == {"a": [b"1"], "b": [b"2"]}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_form_is_read_for_methods_that_send_one(received: Received, method: str) -> None:
    assert received(post(b"a=b", FORM, method=method)).arguments == {"a": [b"b"]}


def test_other_bodies_are_no_forms(received: Received) -> None:
    assert received(post(b"a=b", FORM, method="GET")).arguments == {}
    assert received(post(b"a=b", "Content-Type: text/plain")).arguments == {}
    assert received(post(b"a=b")).arguments == {}


def test_query_has_a_body_that_is_no_form(received: Received) -> None:
    # RFC 10008: its body is a query in a language of which Content-Type tells, a form or not.
    request = received(post(b"a=b", FORM, method="QUERY", uri="/?c=d"))
    assert (request.method, request.body) == ("QUERY", b"a=b")
    assert request.arguments == {"c": [b"d"]}


def test_uploads(received: Received) -> None:
    body = (
        b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\nb\r\n"
        b'--x\r\nContent-Disposition: form-data; name="f"; filename="n.txt"\r\n'
        b"Content-Type: text/plain\r\n\r\n\0data\r\n--x--\r\n"
    )
    request = received(post(body, "Content-Type: multipart/form-data; boundary=x"))
    assert request.arguments == {"a": [b"b"]}
    (file,) = request.files["f"]
    assert isinstance(file, HTTPFile)
    assert (file.filename, file.body, file.content_type) == ("n.txt", b"\0data", "text/plain")


def test_cookies_of_several_fields_are_joined(received: Received) -> None:
    cookies = received(get("/", "Cookie: a=b; c=d", "Cookie: e=f")).cookies
    assert {name: morsel.value for name, morsel in cookies.items()} == {
        "a": "b",
        "c": "d",
        "e": "f",
    }


def test_cookies_and_forms_need_no_more_than_the_fields_that_tell_of_them(
    received: Received,
) -> None:
    request = received(post(b"a=b", FORM, "cookie: c=d; e=f", "COOKIE: e=g"))
    assert request.arguments == {"a": [b"b"]}
    assert {name: morsel.value for name, morsel in request.cookies.items()} == {"c": "d", "e": "g"}
    assert "headers" not in vars(request)


def test_cookies_and_forms_follow_headers_that_the_application_changes(
    received: Received, logs: Logs
) -> None:
    data = post(b"a=b", FORM, "Cookie: c=d")
    request = received(data)
    request.headers["Cookie"] = "e=f"
    del request.headers["content-type"]
    assert [*request.cookies] == ["e"]
    assert request.arguments == {}
    request = received(data)
    request.headers = HTTPHeaders({"Content-Type": FORM.partition(": ")[2]})
    assert request.cookies == {}
    assert request.arguments == {"a": [b"b"]}
    request = received(data)
    request.headers["Content-Encoding"] = "br"
    assert request.arguments == {}
    assert logs.take("general", logging.WARNING) == ["Unsupported Content-Encoding: 'br'"]


def test_lists_of_arguments_are_those_of_one_attribute(received: Received) -> None:
    request = received(post(b"a=3", FORM, uri="/?a=1&b=2"))
    request.arguments["a"].append(b"4")
    request.arguments["b"].clear()
    assert request.query_arguments == {"a": [b"1"], "b": [b"2"]}
    assert request.body_arguments == {"a": [b"3"]}


def test_arguments_may_be_assigned_piece_by_piece(received: Received) -> None:
    request = received(get("/?a=1"))
    request.body_arguments = {"a": [b"2"], "b": [b"3"]}
    assert request.arguments == {"a": [b"1", b"2"], "b": [b"3"]}


def test_too_many_arguments_are_the_clients_fault(wire: Callable[..., Wire], logs: Logs) -> None:
    end = wire(lambda request: answer(request, str(len(request.arguments))))
    end.send(get("/?" + "a&" * 2000))
    reply = end.sent()
    assert reply.startswith(b"HTTP/1.1 400 ")
    assert end.ended
    assert len(logs.refusals()) == 1


# --- Methods ----------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "supports"), [("HTTP/1.1", True), ("HTTP/1.0", False)])
def test_supports_http_1_1(received: Received, version: str, supports: bool) -> None:
    assert received(get(version=version)).supports_http_1_1() is supports
    assert HTTPRequest("GET", "/", version).supports_http_1_1() is supports


# Target, protocol of the server, full_url().
URLS = [
    ("/a?b=c", "http", "http://a/a?b=c"),
    ("/?", "http", "http://a/?"),
    ("//b/c", "http", "http://a//b/c"),
    ("/", "https", "https://a/"),
    ("http://b/c?d", "http", "http://b/c?d"),
    ("http://b:80", "http", "http://b:80/"),
    ("http://b?c", "http", "http://b/?c"),
    ("HTTP://B/C", "http", "http://B/C"),
    # What the client says of the scheme is not believed.
    ("https://b/c", "http", "http://b/c"),
    ("http://b/c", "https", "https://b/c"),
    ("https://b/c", "https", "https://b/c"),
]


@pytest.mark.parametrize(("uri", "protocol", "url"), URLS)
def test_full_url(received: Received, uri: str, protocol: str, url: str) -> None:
    on_the_wire = received(get(uri), protocol=protocol)
    by_hand = HTTPRequest("GET", uri, headers=HTTPHeaders({"Host": "a"}), protocol=protocol)
    for request in (on_the_wire, by_hand):
        assert request.full_url() == url
        assert (request.uri, request.protocol) == (uri, protocol)


@pytest.mark.parametrize(
    ("method", "uri", "url"),
    [
        ("OPTIONS", "*", "http://a"),
        ("CONNECT", "b:443", "http://b:443"),
        ("CONNECT", "[::1]:443", "http://[::1]:443"),
    ],
)
def test_target_that_names_no_path(received: Received, method: str, uri: str, url: str) -> None:
    request = received(get(uri).replace(b"GET", method.encode()))
    assert (request.uri, request.path, request.query) == (uri, uri, "")
    assert (request.host, request.full_url()) == ("a", url)


def test_full_url_is_made_of_what_was_assigned(received: Received) -> None:
    request = received(get("http://b/c"))
    request.protocol, request.host = "https", "d"
    assert request.full_url() == "https://d/c"


def test_arguments_of_an_absolute_target_are_those_of_its_query(received: Received) -> None:
    assert received(get("http://b?c=d&e=f")).arguments == {"c": [b"d"], "e": [b"f"]}


def test_request_time_goes_on_until_finish_freezes_it(wire: Callable[..., Wire]) -> None:
    requests: list[HTTPRequest] = []
    end = wire(requests.append)
    end.send(get())
    (request,) = requests
    first = request.request_time()
    assert 0 <= first < 5
    eventually(lambda: request.request_time() > first)
    end.call(answer, request)
    frozen = request.request_time()
    assert frozen > first
    begin = time.time()
    eventually(lambda: time.time() > begin)
    assert request.request_time() == frozen


def test_request_time_is_frozen_by_finish_even_if_the_client_is_slow(
    wire: Callable[..., Wire],
) -> None:
    requests: list[HTTPRequest] = []
    end = wire(requests.append, window=0)
    end.send(get())
    end.call(answer, requests[0])
    frozen = requests[0].request_time()
    eventually(lambda: time.time() > requests[0].start_time + frozen)
    assert requests[0].request_time() == frozen


def test_repr_says_which_request_it_is_and_nothing_else(received: Received) -> None:
    request = received(post(b"secret", "Authorization: secret", uri="/x"))
    assert repr(request) == str(request)
    assert repr(request) == (
        "HTTPRequest(method='POST', uri='/x', version='HTTP/1.1', remote_ip='192.0.2.7')"
    )


def test_repr_shows_the_beginning_of_a_long_uri(received: Received) -> None:
    whole = "/" + "x" * 199
    assert f"uri='{whole}'," in repr(received(get(whole)))
    assert f"uri='{whole}...'," in repr(received(get(whole + "y" * 5000)))


def test_repr_escapes_what_the_client_sent() -> None:
    assert repr(HTTPRequest("G\n", "/\x9b31m\r\n", "\0")).isprintable()


def test_certificate_without_tls_is_none(received: Received) -> None:
    assert received(get()).get_ssl_certificate() is None
    assert received(get()).get_ssl_certificate(binary_form=True) is None


# --- Made by hand -----------------------------------------------------------------------


def test_request_made_by_hand_has_defaults() -> None:
    request = HTTPRequest("GET", "/x?a=b")
    assert (request.method, request.uri, request.version) == ("GET", "/x?a=b", "HTTP/1.0")
    assert (request.path, request.query) == ("/x", "a=b")
    assert isinstance(request.headers, HTTPHeaders)
    assert dict(request.headers) == {}
    assert (request.body, request.host, request.protocol) == (b"", "127.0.0.1", "http")
    assert request.remote_ip is None
    assert request.arguments == {"a": [b"b"]}
    assert (dict(request.files), dict(request.cookies)) == ({}, {})
    connection: object = request.connection  # typed for those that a server makes
    assert connection is None
    assert request.full_url() == "http://127.0.0.1/x?a=b"
    assert request.request_time() >= 0
    assert request.get_ssl_certificate() is None
    assert repr(request).startswith("HTTPRequest(method='GET', uri='/x?a=b', ")


def test_request_made_by_hand_takes_all_arguments_by_position() -> None:
    headers = HTTPHeaders({"Content-Type": FORM.split(": ")[1], "Host": "b"})
    file = HTTPFile(filename="n", body=b"", content_type="text/plain")
    connection = object()
    request = HTTPRequest(
        "POST",
        "/",
        "HTTP/1.1",
        headers,
        b"a=b",
        "192.0.2.1",
        "https",
        "c",
        {"f": [file]},
        connection,
    )
    assert request.headers is headers
    assert request.body == b"a=b"
    assert (request.remote_ip, request.protocol, request.host) == ("192.0.2.1", "https", "c")
    assert request.arguments == {"a": [b"b"]}
    assert request.files == {"f": [file]}
    assert request.connection is connection


def test_host_of_a_request_made_by_hand_comes_from_its_target_or_headers() -> None:
    assert HTTPRequest("GET", "/", headers=HTTPHeaders({"Host": "b"})).host == "b"
    assert HTTPRequest("GET", "/", headers=HTTPHeaders({"Host": ""})).host == "127.0.0.1"
    assert HTTPRequest("GET", "http://c/", headers=HTTPHeaders({"Host": "b"})).host == "c"
    assert HTTPRequest("GET", "/", headers=HTTPHeaders({"Host": "b"}), host="c").host == "c"


class RecordingConnection:
    """A connection as tests of applications have them."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def write(self, chunk: bytes, callback: Callable[[], object] | None = None) -> None:
        self.calls.append((chunk, callback))

    def finish(self) -> None:
        self.calls.append(("finish",))


def test_write_and_finish_go_to_the_connection() -> None:
    connection = RecordingConnection()
    request = HTTPRequest("GET", "/", connection=connection)

    def callback() -> None:
        pass

    request.write(b"x", callback)
    request.write(b"y")
    request.finish()
    assert connection.calls == [(b"x", callback), (b"y", None), ("finish",)]
    frozen = request.request_time()
    begin = time.time()
    eventually(lambda: time.time() > begin)
    assert request.request_time() == frozen


def test_subclasses_are_possible() -> None:
    class Mine(HTTPRequest):
        @property
        def shouted(self) -> str:
            return self.method + "!"

    assert Mine("GET", "/").shouted == "GET!"
    assert repr(Mine("GET", "/")).startswith("Mine(")
