"""What an application finds in environ."""

from __future__ import annotations

import io
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from wsgiref.util import FileWrapper

import pytest
from helpers import Served, get, post

import fasthttpserver

Serve = Callable[..., Served]


class Keeper:
    """An application that keeps what it got."""

    def __init__(self) -> None:
        self.environs: list[dict[str, Any]] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        self.environs.append(environ)
        start_response("200 OK", [])
        return [b"kept"]

    @property
    def environ(self) -> dict[str, Any]:
        return self.environs[-1]


@pytest.fixture
def keeper() -> Keeper:
    return Keeper()


def request(target: str, *lines: str, method: str = "GET", version: str = "HTTP/1.1") -> bytes:
    return get(target, *lines, version=version).replace(b"GET", method.encode(), 1)


def test_all_of_it(wsgi: Serve, threads: int, keeper: Keeper) -> None:
    served = wsgi(keeper, threads)
    client = served.connect()
    fields = "Content-Type: text/plain", "X-One: 1", "Host-Name: n"
    client.ask(post(b"body", *fields, uri="/p%20q/%C3%BC?x=%20&y"))
    environ = dict(keeper.environ)
    assert environ.pop("wsgi.input").read() == b"body"
    assert environ == {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/p q/ü".encode().decode("latin-1"),
        "QUERY_STRING": "x=%20&y",
        "REQUEST_URI": "/p%20q/%C3%BC?x=%20&y",
        "CONTENT_TYPE": "text/plain",
        "CONTENT_LENGTH": "4",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": str(served.address[1]),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": f"fasthttpserver/{fasthttpserver.__version__}",
        "REMOTE_ADDR": "127.0.0.1",
        "REMOTE_PORT": str(client.address[1]),
        "HTTP_HOST": "a",
        "HTTP_X_ONE": "1",
        "HTTP_HOST_NAME": "n",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": threads > 1,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
        "wsgi.input_terminated": True,
    }


def test_each_request_has_its_own(wsgi: Serve, threads: int, keeper: Keeper) -> None:
    client = wsgi(keeper, threads).connect()
    client.ask(get("/1", "X-One: 1"))
    keeper.environ["REMOTE_ADDR"] = keeper.environ["other"] = "changed"
    client.ask(get("/2"))
    assert keeper.environ["REMOTE_ADDR"] == "127.0.0.1"
    assert not {"HTTP_X_ONE", "other"} & set(keeper.environ)


@pytest.mark.parametrize(
    "target, method, expected",
    [
        ("/", "GET", ("/", "")),
        ("/?", "GET", ("/", "")),
        ("/a?b?c", "GET", ("/a", "b?c")),
        ("//a//b", "GET", ("//a//b", "")),
        ("/%2f%00%ff%zz", "GET", ("//\0\xff%zz", "")),
        ("http://host/a?b", "GET", ("/a", "b")),
        ("http://host", "GET", ("/", "")),
        ("*", "OPTIONS", ("*", "")),
    ],
)
def test_target_is_path_and_query(
    wsgi: Serve, keeper: Keeper, target: str, method: str, expected: tuple[str, str]
) -> None:
    wsgi(keeper, 0).connect().ask(request(target, method=method))
    assert (keeper.environ["PATH_INFO"], keeper.environ["QUERY_STRING"]) == expected


@pytest.mark.parametrize(
    "root_path, target, expected",
    [
        ("", "/app/x", ("", "/app/x")),
        ("/app", "/app/x", ("/app", "/x")),
        ("/app", "/app", ("/app", "")),
        ("/app", "/app/", ("/app", "/")),
        ("/app", "/apple", ("/app", "/apple")),  # a proxy has taken it away
        ("/app", "/x", ("/app", "/x")),
        ("/ä", "/%C3%A4/x", ("/Ã¤", "/x")),
    ],
)
def test_root_path_is_script_name(
    wsgi: Serve, keeper: Keeper, root_path: str, target: str, expected: tuple[str, str]
) -> None:
    wsgi(keeper, 0, root_path=root_path).connect().ask(get(target))
    assert (keeper.environ["SCRIPT_NAME"], keeper.environ["PATH_INFO"]) == expected


@pytest.mark.parametrize(
    "fields, key, value",
    [
        (["X-Forwarded-For: 1"], "HTTP_X_FORWARDED_FOR", "1"),
        (["X_Forwarded_For: 2"], "HTTP_X_FORWARDED_FOR", None),
        (["X-Forwarded-For: 1", "X_Forwarded_For: 2"], "HTTP_X_FORWARDED_FOR", "1"),
        (["X_Forwarded-For: 2", "X-Forwarded-For: 1"], "HTTP_X_FORWARDED_FOR", "1"),
        (["Content_Length: 7"], "CONTENT_LENGTH", None),
        (["Content_Type: a/b"], "CONTENT_TYPE", None),
        (["Remote-User: me"], "REMOTE_USER", None),
        (["X-A: 1", "x-a: 2"], "HTTP_X_A", "1,2"),
        (["Cookie: a=1", "Cookie: b=2"], "HTTP_COOKIE", "a=1; b=2"),
        (["X-A: \xfc"], "HTTP_X_A", "\xfc"),
        (["X-A:"], "HTTP_X_A", ""),
        (["X." + "y" * 100 + ": 1"], "HTTP_X." + "Y" * 100, "1"),
    ],
)
def test_fields_have_their_keys_and_no_others(
    wsgi: Serve, keeper: Keeper, fields: list[str], key: str, value: str | None
) -> None:
    wsgi(keeper, 0).connect().ask(get("/", *fields))
    assert keeper.environ.get(key) == value


def test_names_that_clients_invent_take_no_memory(wsgi: Serve, keeper: Keeper) -> None:
    from fasthttpserver.wsgi import _environ

    client = wsgi(keeper, 0).connect()
    for number in range(1200):
        client.ask(get("/", f"X-{number}: 1"))
        assert keeper.environ[f"HTTP_X_{number}"] == "1"
    assert len(_environ._keys) <= _environ._MOST_NAMES + 2


def test_proxy_is_believed_if_the_server_is_told_to(wsgi: Serve, keeper: Keeper) -> None:
    client = wsgi(keeper, 0, xheaders=True).connect()
    client.ask(get("/", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https"))
    environ = keeper.environ
    assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == ("192.0.2.1", "https")
    assert "REMOTE_PORT" not in environ  # it would be the proxy's
    client.ask(get("/"))
    environ = keeper.environ
    assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == ("127.0.0.1", "http")


def test_proxy_is_not_believed_otherwise(wsgi: Serve, keeper: Keeper) -> None:
    client = wsgi(keeper, 0).connect()
    client.ask(get("/", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https"))
    environ = keeper.environ
    assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == ("127.0.0.1", "http")


def test_unix_socket_has_a_name_and_a_port(wsgi: Serve, keeper: Keeper, tmp_path: Path) -> None:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(tmp_path / "socket"))
    sock.listen()
    wsgi(keeper, 0, address=sock, protocol="https").connect().ask(get())
    environ = keeper.environ
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == ("localhost", "443")
    assert "REMOTE_PORT" not in environ


def test_old_client_has_its_protocol(wsgi: Serve, keeper: Keeper) -> None:
    client = wsgi(keeper, 0).connect()
    client.send(get(version="HTTP/1.0"))
    assert client.read_to_end().endswith(b"kept")
    assert keeper.environ["SERVER_PROTOCOL"] == "HTTP/1.0"
    assert isinstance(keeper.environ["wsgi.input"], io.BytesIO)
