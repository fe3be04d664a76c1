"""The entry for the HttpArena board answers as its checks want it, in words of our own."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import signal
import ssl
from collections.abc import Callable
from email.message import Message
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import Any

import pytest
from helpers import Certificates, Client, Process, Served, connect_when_up, free_port
from wire import Wire

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks" / "httparena"
HOST = b"Host: localhost:8080\r\n"
CLOSE = b"Connection: close\r\n"
ITEMS: list[dict[str, Any]] = [
    {
        "id": number,
        "name": f"Thing {number}",
        "category": "things",
        "price": 10 + 7 * number,
        "quantity": number % 9,
        "active": number % 2 == 0,
        "tags": ["a", "b"],
        "rating": {"score": 4.5, "count": number},
    }
    for number in range(1, 51)
]

FILES = FOLDER / "static"  # is not there; the tests of files bring their own

pytestmark = pytest.mark.skipif(not FOLDER.exists(), reason="the benchmarks are not here")


@pytest.fixture(scope="module")
def app() -> Any:
    """The entry's module."""
    spec = importlib.util.spec_from_file_location("httparena_app", FOLDER / "app.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def request(line: bytes, fields: bytes = b"", body: bytes = b"") -> bytes:
    return line + b" HTTP/1.1\r\n" + HOST + fields + CLOSE + b"\r\n" + body


SHAPES = {
    "GET": (request(b"GET /baseline11?a=13&b=42"), b"55"),
    "GET with more fields": (
        request(b"GET /baseline11?a=1&b=1", b"User-Agent: check/1.0\r\nAccept: */*\r\n"),
        b"2",
    ),
    "GET in lower case": (
        b"GET /baseline11?a=20&b=22 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
        b"42",
    ),
    "GET of large numbers": (request(b"GET /baseline11?a=918273&b=645546"), b"1563819"),
    "POST": (request(b"POST /baseline11?a=13&b=42", b"Content-Length: 2\r\n", b"20"), b"75"),
    "POST in lower case": (
        b"POST /baseline11?a=1&b=2 HTTP/1.1\r\nhost: localhost\r\ncontent-type: text/plain\r\n"
        b"content-length: 1\r\nconnection: close\r\n\r\n3",
        b"6",
    ),
    "POST of a large number": (
        request(b"POST /baseline11?a=7&b=8", b"Content-Length: 6\r\n", b"123456"),
        b"123471",
    ),
    "POST in a chunk": (
        request(
            b"POST /baseline11?a=13&b=42",
            b"Transfer-Encoding: chunked\r\n",
            b"2\r\n20\r\n0\r\n\r\n",
        ),
        b"75",
    ),
    "POST in two chunks": (
        request(
            b"POST /baseline11?a=13&b=42",
            b"Transfer-Encoding: chunked\r\n",
            b"1\r\n2\r\n1\r\n0\r\n0\r\n\r\n",
        ),
        b"75",
    ),
}
TEXT, JSON, BYTES = "text/plain", "application/json", "application/octet-stream"


def read(answer: bytes) -> tuple[int, Message, bytes]:
    """Status, fields and body of an answer; the body is all that follows the head."""
    head, _, body = answer.partition(b"\r\n\r\n")
    line, _, fields = head.partition(b"\r\n")
    parsed = BytesHeaderParser().parsebytes(fields)
    assert parsed["Content-Length"] == str(len(body))
    return int(line.split()[1]), parsed, body


def expected_json(count: int, factor: int) -> dict[str, Any]:
    items = [{**i, "total": i["price"] * i["quantity"] * factor} for i in ITEMS[:count]]
    return {"items": items, "count": count}


@pytest.mark.parametrize("name", SHAPES)
def test_each_shape_is_answered_wherever_it_is_cut(name: str, app: Any) -> None:
    data, expected = SHAPES[name]
    for at in range(1, len(data)):
        with Wire(app.Entry(ITEMS, FILES)) as wire:
            wire.send(data[:at])
            assert wire.sent() == b"", f"answered before byte {at}"
            wire.send(data[at:])
            status, fields, body = read(wire.sent())
            assert (status, body) == (200, expected), f"cut at byte {at}"
            assert fields["Content-Type"] == TEXT
            assert wire.ended


@pytest.mark.parametrize("name", SHAPES)
def test_each_shape_is_answered_up_to_the_end_of_the_stream(
    name: str, app: Any, serve: Callable[..., Served]
) -> None:
    data, expected = SHAPES[name]
    client = serve(app.Entry(ITEMS, FILES)).connect()
    client.send(data)
    assert read(client.read_to_end())[2] == expected


@pytest.mark.parametrize(
    ("line", "body", "expected", "content_type"),
    [
        ("GET /pipeline", b"", b"ok", TEXT),
        ("POST /upload", b"seventeen bytes..", b"17", TEXT),
        ("POST /upload", bytes(500_000), b"500000", TEXT),
        ("POST /echo", b"", b"", BYTES),
        ("POST /echo", b"\x00\xff", b"\x00\xff", BYTES),
        ("POST /echo", bytes(102_400), bytes(102_400), BYTES),
        ("GET /delay/0", b"", b"0", TEXT),
        ("GET /delay/3", b"", b"3", TEXT),
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_profile(
    line: str,
    body: bytes,
    expected: bytes,
    content_type: str,
    chunked: bool,
    app: Any,
    serve: Callable[..., Served],
) -> None:
    client = serve(app.Entry(ITEMS, FILES)).connect()
    if chunked and body:
        framing = b"Transfer-Encoding: chunked\r\n"
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    else:
        framing = b"Content-Length: %d\r\n" % len(body)
    client.send(request(line.encode(), framing, body))
    status, fields, received = read(client.read_to_end())
    assert (status, received) == (200, expected)
    assert fields["Content-Type"] == content_type


def test_a_delay_takes_at_least_its_time(app: Any) -> None:
    with Wire(app.Entry(ITEMS, FILES)) as wire:
        wire.send(request(b"GET /delay/250"))
        wire.pass_time(0.24, step=0.01)
        assert wire.sent() == b""
        wire.pass_time(0.02, step=0.01)
        assert read(wire.sent())[2] == b"250"


@pytest.mark.parametrize(("count", "factor"), [(1, 3), (5, 7), (25, 4), (50, 6), (1, None)])
def test_json_has_the_first_items_and_their_totals(
    count: int, factor: int | None, app: Any
) -> None:
    query = "" if factor is None else f"?m={factor}"
    with Wire(app.Entry(ITEMS, FILES)) as wire:
        wire.send(request(f"GET /json/{count}{query}".encode()))
        _, fields, body = read(wire.sent())
    assert json.loads(body) == expected_json(count, factor or 1)
    assert fields["Content-Type"] == JSON
    assert "Content-Encoding" not in fields


@pytest.mark.parametrize("accepted", ["gzip, br", "gzip"])
def test_json_is_compressed_for_who_asks_for_it(accepted: str, app: Any) -> None:
    with Wire(app.Entry(ITEMS, FILES)) as wire:
        field = f"Accept-Encoding: {accepted}\r\n".encode()
        wire.send(request(b"GET /json/40?m=8", field))
        _, fields, body = read(wire.sent())
    if fields["Content-Encoding"] == "br":
        assert "br" in accepted
        plain = app.brotli.decompress(body)
    else:
        assert fields["Content-Encoding"] == "gzip"
        plain = gzip.decompress(body)
    assert json.loads(plain) == expected_json(40, 8)
    assert len(body) < len(plain) / 2


def test_16_pipelined_requests_have_16_answers(app: Any) -> None:
    with Wire(app.Entry(ITEMS, FILES)) as wire:
        pipeline = b"GET /pipeline HTTP/1.1\r\n" + HOST + b"\r\n"
        wire.send(pipeline)
        one = wire.sent()
        wire.send(pipeline * 16)
        assert one.endswith(b"\r\n\r\nok")
        assert wire.sent() == one * 16


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder of static files, some of them compressed too."""
    script = b"let answer = 42;\n" * 5000
    for name, data in {
        "reset.css": b"p { margin: 0 }\n" * 600,
        "app.js": script,
        "app.js.gz": gzip.compress(script),
        "app.js.br": b"as if by brotli",
        "manifest.json": b'{"name": "Thing"}',
        "hero.webp": bytes(range(256)) * 150,
    }.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def get_file(app: Any, files: Path, serve: Callable[..., Served], name: str, *fields: bytes) -> Any:
    client = serve(app.Entry(ITEMS, files)).connect()
    client.send(request(f"GET /static/{name}".encode(), b"".join(fields)))
    return read(client.read_to_end())


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("reset.css", "text/css"),
        ("app.js", "text/javascript"),
        ("manifest.json", JSON),
        ("hero.webp", "image/webp"),
    ],
)
def test_a_file_is_sent_as_it_is_to_who_asks_for_no_coding(
    name: str, content_type: str, app: Any, files: Path, serve: Callable[..., Served]
) -> None:
    status, fields, body = get_file(app, files, serve, name)
    assert (status, body) == (200, (files / name).read_bytes())
    assert fields.get_content_type() == content_type
    assert "Content-Encoding" not in fields


@pytest.mark.parametrize(
    ("accepted", "coding", "ending"),
    [("br;q=1, gzip;q=0.8", "br", ".br"), ("gzip", "gzip", ".gz")],
)
def test_a_file_is_sent_compressed_if_it_is_there_so(
    accepted: str, coding: str, ending: str, app: Any, files: Path, serve: Callable[..., Served]
) -> None:
    wanted = f"Accept-Encoding: {accepted}\r\n".encode()
    _, fields, body = get_file(app, files, serve, "app.js", wanted)
    assert (fields["Content-Encoding"], body) == (coding, (files / f"app.js{ending}").read_bytes())
    assert fields.get_content_type() == "text/javascript"
    _, fields, body = get_file(app, files, serve, "reset.css", wanted)
    assert body == (files / "reset.css").read_bytes()
    assert "Content-Encoding" not in fields


def test_a_file_that_changes_is_read_anew(
    app: Any, files: Path, serve: Callable[..., Served]
) -> None:
    assert get_file(app, files, serve, "manifest.json")[2] == b'{"name": "Thing"}'
    (files / "manifest.json").write_bytes(b"{}")
    assert get_file(app, files, serve, "manifest.json")[2] == b"{}"


@pytest.mark.parametrize("name", ["nonexistent.txt", "../secret", "", "app.js/"])
def test_what_is_no_file_is_not_found(
    name: str, app: Any, files: Path, serve: Callable[..., Served]
) -> None:
    (files.parent / "secret").write_bytes(b"secret")
    assert get_file(app, files, serve, name)[0] == 404


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("GET /", 404),
        ("GET /baseline", 404),
        ("GET /baseline11", 400),
        ("GET /baseline11?a=1&b=x", 400),
        ("GET /json/many", 400),
        ("GET /delay/", 400),
    ],
)
def test_what_is_no_endpoint_is_refused(line: str, status: int, app: Any) -> None:
    with Wire(app.Entry(ITEMS, FILES)) as wire:
        wire.send(request(line.encode()))
        assert read(wire.sent())[0] == status


@pytest.mark.parametrize(
    ("text", "expected"),
    [("max 100000", 64), ("400000 100000", 4), ("50000 100000", 1), ("9900000 100000", 64)],
)
def test_there_are_no_more_workers_than_the_quota_of_cpus(
    text: str, expected: int, app: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpu.max").write_text(text + "\n")
    monkeypatch.setattr(app, "cpu_count", lambda: 64)
    monkeypatch.setattr(app, "QUOTA", tmp_path / "cpu.max")
    assert app.workers() == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_the_program_serves_http_and_https(tmp_path: Path, nothing_left: None) -> None:
    certificates = Certificates(tmp_path)
    dataset = tmp_path / "dataset.json"
    dataset.write_text(json.dumps(ITEMS))
    ports = {"PORT": free_port(), "TLS_PORT": free_port()}
    environment = {
        "DATASET_PATH": str(dataset),
        "TLS_CERT": certificates.certfile,
        "TLS_KEY": certificates.keyfile,
        "WORKERS": "2",
        **{name: str(port) for name, port in ports.items()},
    }
    with Process([str(FOLDER / "app.py")], env=environment) as program:
        with connect_when_up(ports["PORT"]) as client:
            client.send(SHAPES["POST"][0])
            assert read(client.read_to_end())[2] == b"75"
        connect_when_up(ports["TLS_PORT"]).close()
        context = certificates.client_context()
        context.set_alpn_protocols(["h2", "http/1.1"])
        with Client(("127.0.0.1", ports["TLS_PORT"]), context=context) as client:
            assert isinstance(client.socket, ssl.SSLSocket)
            assert client.socket.selected_alpn_protocol() == "http/1.1"
            assert client.socket.version() == "TLSv1.3"
            client.send(request(b"GET /json/7?m=2"))
            body = read(client.read_to_end())[2]
            assert json.loads(body) == expected_json(7, 2)
        program.send_signal(signal.SIGTERM)
        assert program.end().returncode == 0


@pytest.mark.parametrize("name", ["Dockerfile", "README.md", "app.py", "meta.json"])
def test_the_entry_is_whole(name: str) -> None:
    assert (FOLDER / name).read_text()


def test_every_base_image_of_the_entry_has_a_version() -> None:
    lines = (FOLDER / "Dockerfile").read_text().splitlines()
    images = [line.split()[1] for line in lines if line.startswith("FROM ")]
    assert images
    assert all(":" in image and "latest" not in image for image in images)


def test_the_description_of_the_entry_has_what_the_board_wants() -> None:
    described = json.loads((FOLDER / "meta.json").read_text())
    assert (described["type"], described["language"], described["enabled"]) == (
        "engine", "Python", True,
    )  # fmt: skip
    for name in ("display_name", "engine", "description", "repo", "tests", "maintainers"):
        assert described[name]
