"""An application of Flask, spoken to by Python's own client."""

from __future__ import annotations

import gzip
import http.client
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import TIMEOUT, Logs, Served

flask = pytest.importorskip("flask", reason="flask is not installed")

FILE = Path(__file__).read_bytes()


def make_app() -> Any:
    app = flask.Flask(__name__)
    app.secret_key = "of a test"

    @app.get("/")
    def index() -> Any:
        flask.session["visits"] = visits = flask.session.get("visits", 0) + 1
        return f"{flask.request.args.get('name', '')} {visits}"

    @app.post("/form")
    def form() -> Any:
        return dict(flask.request.form)

    @app.post("/upload")
    def upload() -> Any:
        file = flask.request.files["file"]
        data = file.read()
        return {"name": file.filename, "size": len(data), "sum": sum(data)}

    @app.post("/raw")
    def raw() -> Any:
        return flask.request.get_data()

    @app.get("/stream")
    def stream() -> Any:
        return flask.Response((f"{number}\n" for number in range(500)), mimetype="text/plain")

    @app.get("/file")
    def file() -> Any:
        return flask.send_file(__file__, conditional=True)

    @app.get("/redirect")
    def redirect() -> Any:
        return flask.redirect(flask.url_for("index", _external=True))

    @app.get("/broken")
    def broken() -> Any:
        return 1 // 0

    return app


@pytest.fixture
def client(wsgi: Callable[..., Served], threads: int) -> Iterator[http.client.HTTPConnection]:
    served = wsgi(make_app(), threads)
    host, port = served.address
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
    yield connection
    connection.close()


def test_pages(client: http.client.HTTPConnection, logs: Logs) -> None:
    def ask(method: str, target: str, body: Any = None, **headers: str) -> Any:
        client.request(method, target, body, headers)
        response = client.getresponse()
        return response, response.read()

    response, body = ask("GET", "/?name=Ada")
    assert body == b"Ada 1"
    cookie = response.headers["Set-Cookie"].partition(";")[0]
    assert ask("GET", "/", Cookie=cookie)[1] == b" 2"
    response, body = ask("HEAD", "/")
    assert (response.headers["Content-Length"], body) == ("2", b"")
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert ask("POST", "/form", "a=1&b=%C3%BC", **form)[1].strip() == b'{"a":"1","b":"\\u00fc"}'
    assert ask("GET", "/stream")[1].split() == [b"%d" % number for number in range(500)]
    response, body = ask("GET", "/file")
    assert body == FILE
    assert ask("GET", "/file", **{"If-None-Match": response.headers["ETag"]})[0].status == 304
    response, body = ask("GET", "/file", Range="bytes=10-19")
    assert (response.status, body) == (206, FILE[10:20])
    response, _ = ask("GET", "/redirect")
    assert response.headers["Location"] == f"http://{client.host}:{client.port}/"
    assert ask("GET", "/missing")[0].status == 404
    assert ask("POST", "/")[0].status == 405
    assert ask("GET", "/broken")[0].status == 500
    # It is Flask's to log.
    (record,) = [record for record in logs.records if record.levelno == logging.ERROR]
    logs.records.remove(record)
    assert "/broken" in record.getMessage()


def test_bodies(client: http.client.HTTPConnection) -> None:
    large = bytes(range(256)) * 8192
    upload = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
        + large
        + b"\r\n--b--\r\n"
    )
    client.request("POST", "/upload", upload, {"Content-Type": "multipart/form-data; boundary=b"})
    answer = client.getresponse().read().strip()
    assert answer == b'{"name":"f","size":%d,"sum":%d}' % (len(large), sum(large))
    for body in large, iter([large[:100_000], large[100_000:]]):  # the second in chunks
        client.request("POST", "/raw", body)
        assert client.getresponse().read() == large


@pytest.mark.parametrize("size", [1000, 1_000_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_body_that_the_server_unpacks_is_read_to_its_end(
    wsgi: Callable[..., Served], threads: int, size: int, chunked: bool
) -> None:
    host, port = wsgi(make_app(), threads, decompress_request=True).address
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)

    def ask(target: str, body: bytes, kind: str) -> bytes:
        packed = gzip.compress(body, 0 if chunked else 9)  # of many pieces, or one
        pieces = [packed[at : at + 50_000] for at in range(0, len(packed), 50_000)]
        headers = {"Content-Encoding": "gzip", "Content-Type": kind}
        connection.request("POST", target, pieces if chunked else packed, headers)
        return connection.getresponse().read()

    body = bytes(range(250)) * (size // 250)
    assert ask("/raw", body, "application/octet-stream") == body
    form = b"a=" + b"x" * min(size, 400_000)
    told = ask("/form", form, "application/x-www-form-urlencoded")
    assert json.loads(told) == {"a": form[2:].decode()}
    connection.close()
