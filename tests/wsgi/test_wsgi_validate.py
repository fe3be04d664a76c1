"""Python's own judge of PEP 3333 between the server and applications of every kind."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from wsgiref.simple_server import demo_app
from wsgiref.validate import validator

import pytest
from helpers import Client, Served, get, post

Serve = Callable[..., Served]

PLAIN = [("Content-Type", "text/plain")]


def a_list(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [*PLAIN])
    return [b"one", b"two"]


def of_known_length(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [*PLAIN, ("Content-Length", "6")])
    return iter([b"", b"onetwo", b""])


def chunks(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [*PLAIN])
    return (part for part in (b"one", b"two"))


def writer(environ: Any, start_response: Any) -> Any:
    write = start_response("200 OK", [*PLAIN])
    write(b"one")
    return [b"two"]


def file(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [*PLAIN])
    return environ["wsgi.file_wrapper"](io.BytesIO(b"onetwo"))


def real_file(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [*PLAIN])
    return environ["wsgi.file_wrapper"](Path(__file__).open("rb"))


def echo(environ: Any, start_response: Any) -> Any:
    body = environ["wsgi.input"]
    read = body.read(3) + body.readline() + b"".join(body.readlines()) + body.read(10)
    start_response("200 OK", [*PLAIN])
    return [read + b"".join(body)]


def nothing(environ: Any, start_response: Any) -> Any:
    start_response("204 No Content", [])
    return []


def mended(environ: Any, start_response: Any) -> Any:
    try:
        start_response("200 OK", [*PLAIN])
        raise ZeroDivisionError
    except ZeroDivisionError:
        start_response("500 Sorry", [*PLAIN], sys.exc_info())
    return [b"onetwo"]


def complainer(environ: Any, start_response: Any) -> Any:
    for part in ("to ", "the "):
        environ["wsgi.errors"].write(part)
    environ["wsgi.errors"].writelines(["log", "\n"])
    environ["wsgi.errors"].flush()
    return a_list(environ, start_response)


BODIES = {
    a_list: b"onetwo",
    of_known_length: b"onetwo",
    chunks: b"onetwo",
    writer: b"onetwo",
    file: b"onetwo",
    real_file: Path(__file__).read_bytes(),
    echo: b"one two\nthree\n four",
    nothing: b"",
    mended: b"onetwo",
    complainer: b"onetwo",
}


def body_of(client: Client) -> bytes:
    """The body of a response, until the connection ends."""
    head, _, body = client.read_to_end().partition(b"\r\n\r\n")
    if b"Transfer-Encoding: chunked" not in head:
        return body
    whole = b""
    while size := int(body[: body.index(b"\r\n")], 16):
        start = body.index(b"\r\n") + 2
        whole += body[start : start + size]
        body = body[start + size + 2 :]
    return whole


@pytest.mark.filterwarnings("ignore:SCRIPT_NAME")
@pytest.mark.parametrize("app", BODIES, ids=lambda app: app.__name__)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
def test_validator_has_no_complaint(
    wsgi: Serve,
    threads: int,
    capsys: pytest.CaptureFixture[str],
    app: Callable[..., Any],
    method: str,
) -> None:
    client = wsgi(validator(app), threads).connect()
    request = post(b"one two\nthree\n four", "Connection: close", uri="/a%20b?c", method=method)
    client.send(request)
    assert body_of(client) == (b"" if method == "HEAD" else BODIES[app])
    printed = capsys.readouterr()
    # It prints what it finds when an iterator is thrown away.
    assert printed.err == ("to the log\n" if app is complainer else "")


def test_chunked_request_and_mounted_application(wsgi: Serve, threads: int) -> None:
    client = wsgi(validator(echo), threads, root_path="/app").connect()
    client.send(
        b"POST /app/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
        b"Connection: close\r\n\r\n6\r\nfirst\n\r\n4\r\nlast\r\n0\r\n\r\n"
    )
    assert body_of(client) == b"first\nlast"


def test_pythons_own_demo(wsgi: Serve, threads: int) -> None:
    client = wsgi(validator(demo_app), threads).connect()
    client.send(get("/", "Connection: close"))
    assert body_of(client).startswith(b"Hello world!")
