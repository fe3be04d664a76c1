"""What ASGI applications are told of connections and requests."""

from __future__ import annotations

import gzip
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asgi_apps import Receive, Recorder, Scope, Send, read_body, respond
from helpers import Certificates, Served, eventually, get, post
from wire import Wire

from fasthttpserver.asgi import ASGIContainer
from fasthttpserver.asgi._scope import _name_of

Serve = Callable[..., Served]
Wired = Callable[..., Wire]


async def ok(scope: Scope, receive: Receive, send: Send) -> None:
    await respond(send)


def scope_of(wire: Wired, request: bytes, options: dict[str, Any] | None = None) -> Scope:
    """The scope of a request that comes over a wire."""
    recorder = Recorder(ok)
    wire(ASGIContainer(recorder, **(options or {}))).send(request)
    return recorder.scopes[0]


def test_scope_of_a_request(serve: Serve) -> None:
    recorder = Recorder(ok)
    client = serve(ASGIContainer(recorder)).connect()
    client.ask(get("/a%20b/%C3%A9?x=%20&y", "X-A: 1", "x-a: \xe9", "Accept:  */* "))
    (scope,) = recorder.scopes
    assert scope == {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.5"},
        "http_version": "1.1",
        "server": client.socket.getpeername(),
        "client": client.address,
        "scheme": "http",
        "method": "GET",
        "root_path": "",
        "path": "/a b/\xe9",
        "raw_path": b"/a%20b/%C3%A9",
        "query_string": b"x=%20&y",
        "headers": [(b"host", b"a"), (b"x-a", b"1"), (b"x-a", b"\xe9"), (b"accept", b"*/*")],
        "state": {},
        "extensions": {
            "http.response.early_hint": {},
            "http.response.pathsend": {},
            "http.response.trailers": {},
        },
    }


@pytest.mark.parametrize(
    "target, path, raw_path, query",
    [
        ("/", "/", b"/", b""),
        ("/?", "/", b"/", b""),
        ("/a?b?c", "/a", b"/a", b"b?c"),
        ("/%2F%zz%", "//%zz%", b"/%2F%zz%", b""),
        ("/%ff", "/\ufffd", b"/%ff", b""),
        ("http://b:80/c%20d?e", "/c d", b"/c%20d", b"e"),
        ("http://b", "/", b"/", b""),
        ("http://b?e", "/", b"/", b"e"),
    ],
)
def test_target(wire: Wired, target: str, path: str, raw_path: bytes, query: bytes) -> None:
    scope = scope_of(wire, get(target))
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == (path, raw_path, query)


def test_target_of_the_server_itself(wire: Wired) -> None:
    scope = scope_of(wire, b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (scope["method"], scope["path"], scope["raw_path"]) == ("OPTIONS", "*", b"*")


def test_root_path_goes_before_the_path(wire: Wired) -> None:
    scope = scope_of(wire, get("/a%20b"), {"root_path": "/m\xe9/"})
    assert scope["root_path"] == "/m\xe9"
    assert scope["path"] == "/m\xe9/a b"
    assert scope["raw_path"] == "/m\xe9/a%20b".encode()


def test_version_of_http(wire: Wired) -> None:
    assert scope_of(wire, get(version="HTTP/1.0"))["http_version"] == "1.0"


def test_what_an_application_does_to_its_scope_stays_there(wire: Wired) -> None:
    recorder = Recorder(ok)
    end = wire(ASGIContainer(recorder))
    end.send(get())
    first = recorder.scopes[0]
    kept = repr(first)
    for value in first.values():
        if isinstance(value, dict | list):
            value.clear()
    first.clear()
    end.send(get())
    assert repr(recorder.scopes[1]) == kept


@pytest.mark.parametrize(
    "fields, client, scheme",
    [
        ([], ("192.0.2.7", 4711), "http"),
        (["X-Forwarded-For: 192.0.2.1"], ("192.0.2.1", 0), "http"),
        (["X-Forwarded-Proto: https"], ("192.0.2.7", 4711), "https"),
    ],
)
def test_proxy_tells_of_the_client(
    wire: Wired, fields: list[str], client: tuple[str, int], scheme: str
) -> None:
    recorder = Recorder(ok)
    wire(ASGIContainer(recorder), xheaders=True).send(get("/", *fields))
    scope = recorder.scopes[0]
    assert (scope["client"], scope["scheme"]) == (client, scheme)
    recorder = Recorder(ok)
    wire(ASGIContainer(recorder)).send(get("/", *fields))
    assert recorder.scopes[0]["client"] == ("192.0.2.7", 4711)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets")
def test_unix_socket(serve: Serve, tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()
    listening.setblocking(False)
    recorder = Recorder(ok)
    client = serve(ASGIContainer(recorder), address=listening).connect()
    client.ask(get())
    assert recorder.scopes[0]["server"] == (path, None)
    assert recorder.scopes[0]["client"] is None


# --- TLS --------------------------------------------------------------------------------------


@pytest.mark.parametrize("identity", [None, "client@example.com"])
def test_tls(serve: Serve, tmp_path: Path, identity: str | None) -> None:
    certificates = Certificates(tmp_path)
    options: dict[str, Any] = {
        "certfile": certificates.certfile,
        "keyfile": certificates.keyfile,
    }
    if identity is not None:
        options |= {"cert_reqs": 2, "ca_certs": certificates.ca_certs}
    recorder = Recorder(ok)
    server = serve(ASGIContainer(recorder), ssl_options=options)
    client = server.connect(context=certificates.client_context(identity))
    client.ask(get())
    scope = recorder.scopes[0]
    assert scope["scheme"] == "https"
    tls = scope["extensions"]["tls"]
    assert tls["tls_version"] == {"TLSv1.2": 0x0303, "TLSv1.3": 0x0304}[client.tls_version]
    assert 0 < tls["cipher_suite"] < 0x10000
    assert tls["server_cert"] is None and tls["client_cert_error"] is None
    if identity is None:
        assert tls["client_cert_chain"] == [] and tls["client_cert_name"] is None
    else:
        (pem,) = tls["client_cert_chain"]
        assert pem.startswith("-----BEGIN CERTIFICATE-----\n")
        assert tls["client_cert_name"].split(",")[-1].startswith("O=")


@pytest.mark.parametrize(
    "subject, name",
    [
        ((), ""),
        (((("countryName", "UK"),), (("commonName", "Jane"),)), "CN=Jane,C=UK"),
        (((("commonName", "a"), ("userId", "b")),), "CN=a+UID=b"),
        (((("commonName", ' #a, b+c"d\\e<f>;'),),), 'CN=\\ #a\\, b\\+c\\"d\\\\e\\<f\\>\\;'),
        (((("commonName", "#a "),),), "CN=\\#a\\ "),
        (((("somethingElse", "a"),),), "somethingElse=a"),
    ],
)
def test_subject_is_written_as_ldap_does(subject: Any, name: str) -> None:
    assert _name_of({"subject": subject}) == name


# --- The container ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, error",
    [
        ({"lifespan": "maybe"}, ValueError),
        ({"root_path": "a"}, ValueError),
        ({"websocket_max_size": -1}, ValueError),
        ({"websocket_ping_interval": "1"}, TypeError),
        ({"websocket_ping_timeout": -1}, ValueError),
        ({"websocket_close_timeout": None}, TypeError),
        ({"websocket_close_timeout": float("inf")}, ValueError),
    ],
)
def test_options_are_checked(options: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        ASGIContainer(ok, **options)


@pytest.mark.parametrize("cut", [None, -5])
def test_headers_do_not_tell_of_what_the_server_unpacks(serve: Serve, cut: int | None) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        names = {name for name, _ in scope["headers"]}
        assert names == {b"host"}
        await respond(send, await read_body(receive))

    server = serve(ASGIContainer(application), decompress_request=True)
    client = server.connect()
    request = post(gzip.compress(b"body"), "Content-Encoding: gzip")
    client.send(request[:cut])
    if cut is not None:
        eventually(lambda: server.server.stats()["bytes_received"])
        client.send(request[cut:])
    assert client.read_response().body == b"body"
