"""`request.send_file`: which files are sent, what of them, and what happens meanwhile."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from helpers import Logs, Response, Served, get, post
from wire import Wire

from fasthttpserver._server.files import _version
from fasthttpserver.errors import StreamClosedError
from fasthttpserver.httpserver import HTTPRequest

Serve = Callable[..., Served]

MODIFIED = 784_111_777
DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
BEFORE, AFTER = (formatdate(MODIFIED + n, usegmt=True) for n in (-1, 1))
SMALL = b"0123456789"
LARGE = bytes(range(256)) * 4000  # more than is read at once
posix = pytest.mark.skipif(os.name == "nt", reason="not on Windows")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of files, as old as the example in RFC 9110, and a secret beside it."""
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    for name, content in {
        "small.txt": SMALL,
        "large.bin": LARGE,
        "empty": b"",
        "folder/page.html": b"<p>",
        "folder/a b\xfc.txt": b"name",
        "../secret": b"secret",
    }.items():
        path = root / name
        path.write_bytes(content)
        os.utime(path, (MODIFIED, MODIFIED))
    return root


class Files:
    """A callback that sends the file that a client names, below a root.

    Args:
        root: The folder; None for every file.
        more: Arguments of ``send_file``.
    """

    def __init__(self, root: Path | None, **more: Any) -> None:
        self.root = root
        self.more = more

    def __call__(self, request: HTTPRequest) -> Any:
        return request.send_file(unquote(request.path), self.root, **self.more)


@pytest.fixture
def ask(serve: Serve, root: Path) -> Callable[..., Response]:
    """Ask for a file below the root."""
    client = serve(Files(root)).connect()

    def ask(uri: str = "/small.txt", *fields: str, method: str = "GET") -> Response:
        client.send(get(uri, *fields).replace(b"GET", method.encode(), 1))
        return client.read_response(method)

    return ask


# --- What is sent -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, content", [("small.txt", SMALL), ("large.bin", LARGE), ("empty", b"")]
)
def test_file_is_sent_with_what_tells_of_it(
    ask: Callable[..., Response], name: str, content: bytes
) -> None:
    for _ in range(2):
        response = ask(f"/{name}")
        assert (response.status, response.body) == (200, content)
        fields = response.fields
        assert fields["last-modified"] == DATE
        assert fields["accept-ranges"] == "bytes"
        assert fields["content-length"] == str(len(content))
        assert fields["etag"].startswith('"')
        assert "date" in fields and "transfer-encoding" not in fields
    head = ask(f"/{name}", method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert {**head.fields, "date": ""} == {**fields, "date": ""}


@pytest.mark.parametrize(
    "name, kind",
    [
        ("a.html", "text/html"),
        ("a.json", "application/json"),
        ("a.png", "image/png"),
        ("a.tar.gz", "application/gzip"),
        ("a.html.bz2", "application/octet-stream"),
        ("a.nobody-knows", "application/octet-stream"),
        ("a", "application/octet-stream"),
    ],
)
def test_ending_tells_the_type(
    ask: Callable[..., Response], root: Path, name: str, kind: str
) -> None:
    (root / name).touch()
    assert ask(f"/{name}").fields["content-type"] == kind


@pytest.mark.parametrize(
    "field, status, body",
    [
        ("bytes=2-4", 206, SMALL[2:5]),
        ("bytes=-2", 206, SMALL[-2:]),
        ("bytes=8-99", 206, SMALL[8:]),
        ("bytes=10-", 416, b""),
        ("bytes=0-1,4-5", 200, SMALL),
        ("bytes=4-2", 200, SMALL),
        ("lines=1-2", 200, SMALL),
    ],
)
def test_range_is_sent(ask: Callable[..., Response], field: str, status: int, body: bytes) -> None:
    response = ask("/small.txt", f"Range: {field}")
    assert (response.status, response.body) == (status, body)
    expected = {206: f"bytes {SMALL.find(body)}-{SMALL.find(body) + len(body) - 1}/10"}
    expected[416] = "bytes */10"
    assert response.fields.get("content-range") == expected.get(status)
    assert ask("/small.txt", f"Range: {field}", method="HEAD").status == 200


def test_large_range_is_sent(ask: Callable[..., Response]) -> None:
    response = ask("/large.bin", "Range: bytes=1000-999999")
    assert (response.status, response.body) == (206, LARGE[1000:1_000_000])
    assert response.fields["content-range"] == f"bytes 1000-999999/{len(LARGE)}"


def test_interrupted_download_goes_on(ask: Callable[..., Response], root: Path) -> None:
    first = ask("/small.txt", "Range: bytes=0-4")
    resume = ("Range: bytes=5-", f"If-Range: {first.fields['etag']}")
    assert first.body + ask("/small.txt", *resume).body == SMALL
    os.utime(root / "small.txt", (MODIFIED + 1, MODIFIED + 1))
    again = ask("/small.txt", *resume)
    assert (again.status, again.body) == (200, SMALL)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_the_client_has_is_not_sent(ask: Callable[..., Response], method: str) -> None:
    tag = ask().fields["etag"]
    for field, status in {
        f"If-None-Match: {tag}": 304,
        f"If-None-Match: W/{tag}": 304,
        'If-None-Match: "other"': 200,
        f"If-Modified-Since: {DATE}": 304,
        f"If-Modified-Since: {BEFORE}": 200,
        f"If-Match: {tag}": 200,
        'If-Match: "other"': 412,
        f"If-Unmodified-Since: {BEFORE}": 412,
        f"If-Unmodified-Since: {AFTER}": 200,
    }.items():
        response = ask("/small.txt", field, method=method)
        assert response.status == status, field
        assert response.fields.get("etag") == (None if status == 412 else tag)
        assert ("accept-ranges" in response.fields) == (status == 200)


def test_tag_is_another_one_of_another_version(ask: Callable[..., Response], root: Path) -> None:
    path = root / "small.txt"
    tags = {ask().fields["etag"]}
    path.write_bytes(SMALL + b"x")
    os.utime(path, (MODIFIED, MODIFIED))
    tags.add(ask().fields["etag"])
    os.utime(path, ns=(0, MODIFIED * 10**9 + 1))
    tags.add(ask().fields["etag"])
    (root / "new").write_bytes(SMALL + b"y")
    os.utime(root / "new", ns=(0, MODIFIED * 10**9 + 1))
    (root / "new").replace(path)  # size and time are those before
    tags.add(ask().fields["etag"])
    assert len(tags) == 4


@pytest.mark.parametrize("ahead", [0, 1000], ids=["now", "in the future"])
def test_tag_is_weak_while_the_file_may_change_unnoticed(
    ask: Callable[..., Response], root: Path, ahead: int
) -> None:
    path = root / "small.txt"
    path.write_bytes(SMALL)
    now = path.stat().st_mtime
    os.utime(path, (now + ahead, now + ahead))
    response = ask()
    assert response.fields["etag"].startswith('W/"')
    assert response.fields["last-modified"] <= response.fields["date"]
    # It is good for a cache, and not for putting parts together.
    assert ask("/small.txt", f"If-None-Match: {response.fields['etag']}").status == 304
    fields = ("Range: bytes=0-1", f"If-Range: {response.fields['etag']}")
    assert ask("/small.txt", *fields).status == 200


def test_time_that_no_calendar_has_is_left_out() -> None:
    # Some file systems keep such a time.
    seconds = -(10**11)
    times = {"st_mtime": float(seconds), "st_mtime_ns": seconds * 10**9}
    status = os.stat_result([0] * 10, times)
    fields: list[tuple[Any, Any]] = []
    version = _version(status, fields)
    assert version.modified is None
    assert fields == [("ETag", version.tag)]


def test_application_may_say_more(serve: Serve, root: Path) -> None:
    headers = {"ETag": b'"own"', "Cache-Control": "max-age=60", "Last-Modified": AFTER}
    files = Files(root, headers=headers, content_type="text/plain; charset=utf-8")
    client = serve(files).connect()
    client.send(get("/small.txt"))
    response = client.read_response()
    assert response.fields["content-type"] == "text/plain; charset=utf-8"
    assert response.fields["etag"] == '"own"'
    assert response.fields["last-modified"] == AFTER
    client.send(get("/small.txt", 'If-None-Match: "own"'))
    response = client.read_response()
    assert (response.status, response.fields["cache-control"]) == (304, "max-age=60")
    # But nobody keeps what is no answer to others.
    for uri, field in {
        "/small.txt": 'If-Match: "other"',
        "/empty": "Range: bytes=1-",
        "/none": "Accept: */*",
    }.items():
        client.send(get(uri, field))
        response = client.read_response()
        assert response.status >= 400 and "cache-control" not in response.fields


def test_without_a_root_any_path_is_sent(serve: Serve, root: Path) -> None:
    client = serve(Files(None)).connect()
    for path, status in {
        f"{root}/small.txt": 200,
        f"{root}/../secret": 200,
        f"{root}": 404,
        f"{root}/none": 404,
        f"{root}/small.txt%00": 404,
        "/dev/null": 404,
    }.items():
        client.send(get(path))
        assert client.read_response().status == status, path


@pytest.mark.parametrize("size", [len(SMALL), len(LARGE)])
def test_http_1_0_is_told_that_the_connection_ends(serve: Serve, root: Path, size: int) -> None:
    client = serve(Files(root)).connect()
    name = "small.txt" if size == len(SMALL) else "large.bin"
    client.send(get(f"/{name}", version="HTTP/1.0"))
    response = client.read_response()
    assert (len(response.body), response.fields["connection"]) == (size, "close")
    assert client.read_to_end() == b""


def test_other_methods_are_not_for_files(serve: Serve, root: Path) -> None:
    client = serve(Files(root)).connect()
    client.send(post(b"body", uri="/small.txt"))
    response = client.read_response()
    assert (response.status, response.fields["allow"]) == (405, "GET, HEAD")


# --- Which files are sent -----------------------------------------------------------------

ASKED = {
    "/small.txt": 200,
    "//small.txt": 200,
    "/./small.txt": 200,
    "/folder//page.html": 200,
    "/folder/a%20b%C3%BC.txt": 200,
    "/folder/./page.html": 200,
    "/": 404,
    "//": 404,
    "/.": 404,
    "/./": 404,
    "/folder": 404,
    "/folder/": 404,
    "/folder/.": 404,
    "/small.txt/": 404,
    "/small.txt//": 404,
    "/small.txt/.": 404,
    "/small.txt/%2e": 404,
    "/small.txt/./": 404,
    "/small.txt/./.": 404,
    "/small.txt/x": 404,
    "/small.txt/../small.txt": 404,
    "/none": 404,
    "/none/none": 404,
    "/..": 404,
    "/../secret": 404,
    "/%2e%2e/secret": 404,
    "/folder/../small.txt": 404,
    "/folder/../../secret": 404,
    "/folder/%2e%2e/%2e%2e/secret": 404,
    "/..%2fsecret": 404,
    "/..%5csecret": 404,
    "/folder%5cpage.html": 404,
    "/small.txt%00": 404,
    "/%00": 404,
    "/small.txt%00.html": 404,
    "/etc/passwd": 404,
    "/%2Fetc/passwd": 404,
    "/" + "a" * 5000: 404,
    "/small.txt%2e": 404,
    "/%ed%a0%80": 404,
}


def test_only_files_below_the_root_are_sent(ask: Callable[..., Response]) -> None:
    found = {uri: ask(uri).status for uri in ASKED}
    assert found == ASKED


LINKS = {
    "inside": ("small.txt", 200),
    "folder/up": ("../small.txt", 200),
    "through": ("folder", 404),
    "around": ("../root/small.txt", 200),
    "outside": ("../secret", 404),
    "absolute": ("/etc/passwd", 404),
    "upwards": ("..", 404),
    "loop": ("loop", 404),
    "dangling": ("none", 404),
    "device": ("/dev/null", 404),
}


@posix
def test_links_lead_to_places_below_the_root_only(ask: Callable[..., Response], root: Path) -> None:
    for name, (target, _) in LINKS.items():
        (root / name).symlink_to(target)
    expected = {name: status for name, (_, status) in LINKS.items()}
    expected |= {"through/page.html": 200, "upwards/secret": 404, "upwards/root/small.txt": 200}
    assert {name: ask(f"/{name}").status for name in expected} == expected


@posix
def test_root_may_be_a_link_and_relative(
    serve: Serve, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to("root")
    monkeypatch.chdir(tmp_path)
    client = serve(Files(Path("link"))).connect()
    assert client.ask(get("/small.txt")) == SMALL


@posix
@pytest.mark.parametrize("what", ["folder", "file"])
def test_link_that_appears_meanwhile_is_not_followed(
    ask: Callable[..., Response], root: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    # The path has been resolved, and before it is opened somebody puts a link into it.
    (root.parent / "page.html").write_bytes(b"secret")
    resolve = os.path.realpath

    def resolve_and_attack(path: Any, **more: Any) -> str:
        resolved: str = resolve(path, **more)
        if resolved.endswith("page.html") and not (root / "moved").exists():
            swapped = root / "folder" if what == "folder" else root / "folder" / "page.html"
            swapped.rename(root / "moved")
            swapped.symlink_to(root.parent if what == "folder" else root.parent / "page.html")
        return resolved

    monkeypatch.setattr(os.path, "realpath", resolve_and_attack)
    response = ask("/folder/page.html")
    assert (root / "folder" / "page.html").read_bytes() == b"secret"
    assert response.status == 404


@posix
def test_what_is_no_regular_file_is_not_opened(ask: Callable[..., Response], root: Path) -> None:
    os.mkfifo(root / "fifo")  # opening it would wait for a writer
    with socket.socket(socket.AF_UNIX) as listener:
        path = root / "s"
        if len(str(path)) > 100:  # longer than an address may be
            pytest.skip("the temporary folder has a long name")
        listener.bind(str(path))
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert [ask(f"/{name}").status for name in ("fifo", "s")] == [404, 404]


@contextmanager
def as_nobody() -> Iterator[None]:
    """Be a user who may not read everything, if this is one who may."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@posix
@pytest.mark.parametrize("closed", ["folder/page.html", "folder"])
def test_file_that_may_not_be_read_is_forbidden(serve: Serve, closed: str) -> None:
    with tempfile.TemporaryDirectory() as name:  # everybody may look into it
        root = Path(name)
        root.chmod(0o755)
        (root / "folder").mkdir(mode=0o755)
        (root / "folder" / "page.html").touch()
        (root / closed).chmod(0)
        client = serve(Files(root)).connect()
        with as_nobody():
            client.send(get("/folder/page.html"))
            status = client.read_response().status
        assert status == 403
        (root / closed).chmod(0o700)


def test_root_that_is_not_there_is_the_applications_mistake(
    serve: Serve, root: Path, logs: Logs
) -> None:
    client = serve(Files(root / "none")).connect()
    client.send(get("/small.txt"))
    assert client.read_response().status == 500
    (error,) = logs.errors()
    assert "Uncaught exception" in error


# --- Meanwhile ----------------------------------------------------------------------------


def test_file_that_gets_shorter_ends_the_connection(serve: Serve, root: Path, logs: Logs) -> None:
    os.truncate(root / "large.bin", 1 << 26)
    served = serve(Files(root))
    client = served.connect(receive_buffer=4096)
    client.send(get("/large.bin"))
    assert b"Content-Length: %d\r\n" % (1 << 26) in client.read_until(b"\r\n\r\n")
    os.truncate(root / "large.bin", 0)
    with pytest.raises(ConnectionResetError):
        client.read_to_end()
    served.settle()
    (error,) = logs.errors()
    assert "closing connection" in error


def test_growing_file_is_sent_as_long_as_it_was(serve: Serve, root: Path) -> None:
    served = serve(Files(root))
    client = served.connect(receive_buffer=65_536)
    os.truncate(root / "large.bin", 1 << 22)
    client.send(get("/large.bin"))
    client.read_until(b"\r\n\r\n")
    os.truncate(root / "large.bin", 1 << 23)
    content = client.read(1 << 22)
    assert content == LARGE + bytes((1 << 22) - len(LARGE))
    assert client.ask(get("/small.txt")) == SMALL


def test_client_that_leaves_ends_it(serve: Serve, root: Path) -> None:
    errors: list[BaseException] = []

    async def callback(request: HTTPRequest) -> None:
        try:
            await request.send_file("large.bin", root)
        except StreamClosedError as error:
            errors.append(error)
            raise

    os.truncate(root / "large.bin", 1 << 26)
    served = serve(callback)
    client = served.connect(receive_buffer=4096)
    client.send(get())
    client.read_until(b"\r\n\r\n")
    client.reset()
    served.all_closed()
    served.settle()
    assert len(errors) == 1


def test_sent_file_is_the_only_response(wire: Callable[..., Wire], root: Path) -> None:
    async def callback(request: HTTPRequest) -> None:
        await request.send_file("small.txt", root)
        with pytest.raises(RuntimeError):
            await request.send_file("small.txt", root)
        with pytest.raises(RuntimeError):
            request.send_informational(103, {})

    end = wire(callback)
    end.send(get())
    assert end.sent().endswith(b"\r\n\r\n" + SMALL)


def test_type_of_another_type_is_a_mistake(wire: Callable[..., Wire], root: Path) -> None:
    async def callback(request: HTTPRequest) -> None:
        with pytest.raises(TypeError, match="content_type"):
            await request.send_file("large.bin", root, content_type=5)  # type: ignore[arg-type]
        request.respond(204)

    end = wire(callback)
    end.send(get())
    assert end.sent().startswith(b"HTTP/1.1 204 ")


# --- Interim responses --------------------------------------------------------------------


def test_hints_go_before_the_file(serve: Serve, root: Path) -> None:
    async def callback(request: HTTPRequest) -> None:
        await request.send_informational(103, {"Link": "</style.css>; rel=preload"})
        await asyncio.sleep(0)
        await request.send_file("small.txt", root)

    client = serve(callback).connect()
    client.send(get())
    hints = client.read_response()
    assert (hints.status, hints.fields) == (103, {"link": "</style.css>; rel=preload"})
    assert client.read_response().body == SMALL


@pytest.mark.parametrize("status", [100, 101, 200, 99])
def test_other_statuses_are_no_interim_ones(wire: Callable[..., Wire], status: int) -> None:
    def callback(request: HTTPRequest) -> None:
        with pytest.raises(ValueError, match="informational"):
            request.send_informational(status, {})
        request.respond(204)

    end = wire(callback)
    end.send(get())
    assert end.sent().startswith(b"HTTP/1.1 204 ")
