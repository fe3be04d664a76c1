"""Each program in examples/ is run, spoken to by a real client, and ended."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import http.cookiejar
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from helpers import (
    TIMEOUT,
    Certificates,
    Client,
    Process,
    Served,
    connect_when_up,
    echo,
    end_by_ctrl_c,
    free_port,
    get,
    post,
)

with contextlib.suppress(ImportError):
    from websockets.sync.client import connect as connect_websocket

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

pytestmark = pytest.mark.usefixtures("nothing_left")

has_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
has_unix_sockets = pytest.mark.skipif(
    not hasattr(socket, "AF_UNIX"), reason="this system has no Unix sockets"
)
has_signals = pytest.mark.skipif(
    sys.platform == "win32", reason="signals of other processes end a program here"
)


class Example(Process):
    """A running example.

    Args:
        name: Its file's name, without the ending.
        arguments: Its own.
        env: Its environment, on top of this process's. Unless it says otherwise, PORT is 0
            and warnings are errors.
    """

    def __init__(self, name: str, *arguments: str, **env: str) -> None:
        defaults = {"PORT": "0", "PYTHONWARNINGS": "error"}
        super().__init__([str(EXAMPLES / f"{name}.py"), *arguments], env=defaults | env)
        self.pid = self._process.pid

    def is_up(self) -> None:
        """Wait for the line that tells its URL."""
        self.url = self.line().strip()

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        port = urlsplit(self.url).port
        assert port
        return "127.0.0.1", port

    def connect(self, **kwargs: Any) -> Client:
        return Client(self.address, **kwargs)

    def fetch(
        self,
        method: str = "GET",
        uri: str = "/",
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[http.client.HTTPResponse, bytes]:
        """Ask with the standard library's client, over a connection of its own."""
        with contextlib.closing(http.client.HTTPConnection(*self.address, TIMEOUT)) as connection:
            connection.request(method, uri, body, headers or {})
            response = connection.getresponse()
            return response, response.read()

    def stop(self, signum: int = signal.SIGTERM) -> subprocess.CompletedProcess[str]:
        """Ask it to end, and wait until it has."""
        self.send_signal(signum)
        return self.end()


@pytest.fixture
def start() -> Iterator[Callable[..., Example]]:
    """Start an example; arguments are those of ``Example``."""
    with contextlib.ExitStack() as stack:

        def start(name: str, *arguments: str, **env: str) -> Example:
            example = stack.enter_context(Example(name, *arguments, **env))
            example.is_up()
            return example

        yield start


@pytest.fixture
def run_until_ctrl_c(start: Callable[..., Example]) -> Iterator[Callable[..., Example]]:
    """The same for one that does nothing more at its end; it has to have run in silence."""
    examples = []

    def start_one(name: str, *arguments: str, **env: str) -> Example:
        examples.append(start(name, *arguments, **env))
        return examples[-1]

    yield start_one
    for example in examples:
        end_by_ctrl_c(example)


def test_each_example_is_tested_and_says_how_to_run_it() -> None:
    tests = Path(__file__).read_text()
    for path in EXAMPLES.glob("*.py"):
        imported = set(re.findall(r"^(?:import|from) (\w+)", path.read_text(), re.MULTILINE))
        for name in imported - {"fasthttpserver", *sys.stdlib_module_names}:
            assert re.search(rf"`pip install [^`]*{name}", path.read_text()), path
        assert f'"{path.stem}"' in tests
        assert path.read_text().removeprefix("r").startswith('"""')
        if path.stem != "hello":
            assert f"python examples/{path.name}" in path.read_text()


def test_hello() -> None:
    port = free_port()
    source = (EXAMPLES / ("hello.py")).read_text().replace("8888", str(port))
    with Process(["-W", "error", "-c", source]) as process, connect_when_up(port) as client:
        assert client.ask(get("/x")) == b"You requested /x\n"
        process.send_signal(signal.SIGTERM)
        assert process.end().stderr == ""


def test_form_upload(run_until_ctrl_c: Callable[..., Example]) -> None:
    example = run_until_ctrl_c("form_upload")
    response, body = example.fetch()
    assert response.getheader("Content-Type") == "text/html; charset=utf-8"
    assert b'enctype="multipart/form-data"' in body

    upload = bytes(range(256)) * 1000
    form = (
        b'--b\r\nContent-Disposition: form-data; name="name"\r\n\r\nAd\xc3\xa0\r\n'
        b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.bin"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n" + upload + b"\r\n--b--\r\n"
    )
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    response, body = example.fetch("POST", "/?page=1", form, headers)
    assert body.decode() == (
        "page = 1\nname = Adà\nfiles: 'a.bin', application/octet-stream, 256000 bytes\n"
    )


def test_upload_to_disk(run_until_ctrl_c: Callable[..., Example]) -> None:
    example = run_until_ctrl_c("upload_to_disk")
    for size in 0, 1, 3_000_000:
        response, body = example.fetch("PUT", "/", bytes(size))
        assert response.status == 200
        assert body == b"%d bytes\n" % size


def test_cookies(run_until_ctrl_c: Callable[..., Example]) -> None:
    example = run_until_ctrl_c("cookies")
    cookie = "other=1; visits=x"
    for visit in 1, 2, 3:
        response, body = example.fetch(headers={"Cookie": cookie})
        assert body == b"Visit number %d\n" % visit
        cookie, _, attributes = response.getheader("Set-Cookie", "").partition("; ")
        assert cookie == f"visits={visit}"
        assert "HttpOnly" in attributes


def test_long_poll(run_until_ctrl_c: Callable[..., Example]) -> None:
    example = run_until_ctrl_c("long_poll")

    def waiting() -> int:
        return int(example.fetch(uri="/waiting")[1])

    with example.connect() as stays, example.connect() as leaves:
        stays.send(get())
        leaves.send(get())
        while waiting() < 2:
            pass
        leaves.close()
        while waiting() > 1:  # its close callback
            pass
        assert example.fetch("POST", body=b"news")[1] == b"sent to 1\n"
        assert stays.read_response().body == b"news"
        assert waiting() == 0
        assert stays.ask(get("/waiting")) == b"0\n"  # the connection goes on


def test_server_sent_events(run_until_ctrl_c: Callable[..., Example]) -> None:
    example = run_until_ctrl_c("server_sent_events")
    response, body = example.fetch(uri="/?count=1000")
    assert response.getheader("Content-Type") == "text/event-stream"
    assert response.getheader("Transfer-Encoding") == "chunked"
    assert body == b"".join(b"data: %d\n\n" % number for number in range(1000))

    with example.connect(receive_buffer=4096) as endless:
        endless.send(get())
        endless.read_until(b"data: 5\n\n")
        # It is stuck, or about to be, as nobody reads on; others are served.
        assert example.fetch(uri="/?count=1")[1] == b"data: 0\n\n"
        endless.read_until(b"data: 5000\n\n")


def test_static_files(run_until_ctrl_c: Callable[..., Example], tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "index.html").write_text("<p>")
    example = run_until_ctrl_c("static_files", str(tmp_path / "folder"))
    response, body = example.fetch()
    assert (response.status, body) == (200, b"<p>")
    assert response.getheader("Content-Type") == "text/html"
    tag = response.getheader("ETag")
    assert tag is not None
    assert example.fetch(headers={"If-None-Match": tag})[0].status == 304
    for path in "/none", "/../folder/index.html", f"/..{tmp_path}/folder/index.html":
        assert example.fetch(uri=path)[0].status == 404


def test_streaming(run_until_ctrl_c: Callable[..., Example]) -> None:
    example = run_until_ctrl_c("streaming")
    assert example.fetch(uri="/?megabytes=8")[1] == bytes(8 << 20)
    with example.connect(receive_buffer=4096) as leaves:
        leaves.send(get("/?megabytes=1000"))
        leaves.read(100_000)
    assert example.fetch(uri="/?megabytes=0")[1] == b""


def test_tls(run_until_ctrl_c: Callable[..., Example], tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    example = run_until_ctrl_c(
        "tls", certificates.certfile, certificates.keyfile, certificates.ca_certs
    )
    assert example.url.startswith("https://localhost:")
    for identity, name in ("ada@example.org", b"ada@example.org"), (None, b"stranger"):
        with example.connect(context=certificates.client_context(identity)) as client:
            assert client.ask(get()) == b"Hello, %b\n" % name


@has_signals
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_single_process(start: Callable[..., Example], signum: int) -> None:
    example = start("single_process", PORT=str(free_port()))
    assert example.fetch()[1] == b"process %d\n" % example.pid
    ended = example.stop(signum)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "stopped\n", "")


@has_fork
@pytest.mark.parametrize("name", ["bind_start", "add_sockets"])
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_processes_share_a_port_and_are_replaced(
    start: Callable[..., Example], name: str, signum: int
) -> None:
    # The parent keeps the port for its children until it ends.
    warnings = "error,ignore::ResourceWarning"
    example = start(name, PROCESSES="2", PORT=str(free_port()), PYTHONWARNINGS=warnings)

    def ask() -> tuple[int, int]:
        _, task, _, pid = example.fetch()[1].split()
        return int(task), int(pid)

    first_task, first = ask()
    os.kill(first, signal.SIGSTOP)  # so that the other has to answer
    second_task, second = ask()
    assert {first_task, second_task} == {0, 1}
    assert len({first, second, example.pid}) == 3

    os.kill(first, signal.SIGKILL)
    assert ask()[1] != first
    os.kill(second, signal.SIGSTOP)
    third_task, third = ask()  # the kernel lets the client wait until it is there
    assert third_task == first_task
    assert third not in (first, second, example.pid)
    os.kill(second, signal.SIGCONT)

    ended = example.stop(signum)
    assert ended.returncode == 0
    assert ended.stdout == ""
    assert ended.stderr.splitlines() == [
        f"child {first_task} (pid {first}) killed by signal 9, restarting"
    ]
    for pid in first, second, third:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@has_unix_sockets
@has_signals
def test_unix_socket(start: Callable[..., Example], tmp_path: Path) -> None:
    path = tmp_path / "socket"
    example = start("unix_socket", str(path))
    with Client(str(path)) as client:
        assert client.ask(get("/x")) == b"GET /x for 0.0.0.0\n"
        assert client.ask(get("/y", "X-Real-Ip: 192.0.2.1")) == b"GET /y for 192.0.2.1\n"
    ended = example.stop()
    assert (ended.returncode, ended.stderr) == (0, "")
    assert not path.exists()


@has_signals
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_asyncio_run(start: Callable[..., Example], signum: int) -> None:
    example = start("asyncio_run")
    with example.connect() as running, example.connect() as idle:
        assert idle.ask(get()) == b"done\n"
        running.send(get("/?seconds=0.2"))
        running.read_until(b"\r\n\r\n")
        example.send_signal(signum)
        assert running.read_to_end() == b"done\n"  # not lost
        assert idle.read_to_end() == b""
    ended = example.end()
    assert (ended.returncode, ended.stderr) == (0, "")


# --- Detached streams -----------------------------------------------------------------------


def curl(proxy: Example, url: str, *options: str) -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("curl")
    if program is None:
        pytest.skip("curl is not installed")
    general = ["--disable", "--silent", "--show-error", "--noproxy", "", "--max-time", "10"]
    return subprocess.run(
        [program, *general, "--proxytunnel", "--proxy", proxy.url, *options, url],
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
    )


def test_connect_proxy_with_curl(run_until_ctrl_c: Callable[..., Example], tmp_path: Path) -> None:
    proxy = run_until_ctrl_c("connect_proxy")
    upload = tmp_path / "upload"
    upload.write_bytes(os.urandom(3_000_000))
    with Served(asyncio.new_event_loop, echo) as target:
        url = f"http://127.0.0.1:{target.address[1]}/x"
        assert curl(proxy, url).stdout == b"/x "
        done = curl(proxy, url, "--data-binary", f"@{upload}", "--header", "Expect:")
        assert done.stdout == b"/x " + upload.read_bytes()


def test_connect_proxy_with_curl_and_tls(
    run_until_ctrl_c: Callable[..., Example], tmp_path: Path
) -> None:
    proxy = run_until_ctrl_c("connect_proxy")
    certificates = Certificates(tmp_path)
    options = {"certfile": certificates.certfile, "keyfile": certificates.keyfile}
    with Served(asyncio.new_event_loop, echo, ssl_options=options) as target:
        url = f"https://127.0.0.1:{target.address[1]}/x"
        done = curl(proxy, url, "--cacert", certificates.ca_certs)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"/x ", b"")


def test_connect_proxy_that_cannot_connect(run_until_ctrl_c: Callable[..., Example]) -> None:
    proxy = run_until_ctrl_c("connect_proxy")
    assert curl(proxy, f"http://127.0.0.1:{free_port()}/").returncode in (7, 56)
    with proxy.connect() as client:
        for request in get(), b"CONNECT a:99999 HTTP/1.1\r\nHost: a:99999\r\n\r\n":
            client.send(request)
            assert client.read_response().status == 502


def test_connect_proxy_passes_on_what_came_with_the_head(
    run_until_ctrl_c: Callable[..., Example],
) -> None:
    proxy = run_until_ctrl_c("connect_proxy")
    with Served(asyncio.new_event_loop, echo) as target, proxy.connect() as client:
        name = f"127.0.0.1:{target.address[1]}"
        head = f"CONNECT {name} HTTP/1.1\r\nHost: {name}\r\n\r\n".encode()
        client.send(head + get("/1") + post(b"2", uri="/2"))
        assert client.read_until(b"\r\n\r\n") == b"HTTP/1.1 200 Connection established\r\n\r\n"
        assert client.read_response().body == b"/1 "
        assert client.read_response().body == b"/2 2"
        client.send(get("/3", "Connection: close"))
        assert client.read_response().body == b"/3 "
        assert client.read_to_end() == b""  # the target's end is the client's


def test_websocket_echo(run_until_ctrl_c: Callable[..., Example]) -> None:
    connect = pytest.importorskip("websockets.sync.client").connect
    example = run_until_ctrl_c("websocket_echo")
    with connect(example.url, proxy=None, open_timeout=TIMEOUT) as websocket:
        for size in 0, 1, 125, 126, 127, 65_535, 65_536, 300_000:
            for message in "ü" * (size // 2), b"\x81" * size:
                websocket.send(message)
                assert websocket.recv(TIMEOUT) == message
        websocket.send(iter(["in ", "", "fragments"]))
        assert websocket.recv(TIMEOUT) == "in fragments"
        assert websocket.ping(b"are you there?").wait(TIMEOUT)
        websocket.pong(b"unasked")
        websocket.send("still there")
        assert websocket.recv(TIMEOUT) == "still there"
        websocket.close(4000, "enough")
        assert websocket.close_code == 4000


def test_websocket_echo_refuses_what_is_too_big(run_until_ctrl_c: Callable[..., Example]) -> None:
    connect = pytest.importorskip("websockets.sync.client").connect
    closed = pytest.importorskip("websockets.exceptions").ConnectionClosed
    example = run_until_ctrl_c("websocket_echo")
    with connect(example.url, proxy=None, open_timeout=TIMEOUT) as websocket:
        with pytest.raises(closed):
            websocket.send(bytes(1_000_001))
            websocket.recv(TIMEOUT)
        assert websocket.close_code in (1006, 1009)  # 1006: by RST, as much was not read


KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
ASKS = ("Upgrade: websocket", "Connection: Upgrade")


def test_websocket_echo_refuses_a_frame_without_mask(
    run_until_ctrl_c: Callable[..., Example],
) -> None:
    pytest.importorskip("websockets")
    example = run_until_ctrl_c("websocket_echo")
    with example.connect() as client:
        client.send(get("/", *ASKS, KEY, "Sec-WebSocket-Version: 13") + b"\x81\x02hi")
        head = client.read_until(b"\r\n\r\n")
        assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in head  # RFC 6455's
        opcode, size = client.read(2)
        assert (opcode, client.read(size)[:2]) == (0x88, (1002).to_bytes(2, "big"))


def test_websocket_echo_refuses_what_asks_for_none(
    run_until_ctrl_c: Callable[..., Example],
) -> None:
    pytest.importorskip("websockets")
    example = run_until_ctrl_c("websocket_echo")
    with example.connect() as client:
        for request, status, name, value in [
            (post(b"", *ASKS, KEY), 405, "allow", "GET"),
            (get(), 426, "upgrade", "websocket"),
            (get("/", *ASKS, "Sec-WebSocket-Version: 13"), 400, "content-type", None),
            (get("/", *ASKS, KEY, "Sec-WebSocket-Version: 99"), 400, "content-type", None),
            (get("/", *ASKS, KEY, version="HTTP/1.0"), 426, "connection", "Upgrade"),
        ]:
            client.send(request)
            response = client.read_response()
            assert response.status == status
            assert value in (None, response.fields[name])
        assert client.read_to_end() == b""


def test_tornado_app(run_until_ctrl_c: Callable[..., Example]) -> None:
    connect = pytest.importorskip("websockets.sync.client").connect
    example = run_until_ctrl_c("tornado_app")
    assert example.fetch(uri="/?name=Ada")[1] == b"Hello, Ada\n"
    url = f"{example.url}echo".replace("http:", "ws:")
    with connect(url, proxy=None, open_timeout=TIMEOUT, ping_interval=None) as websocket:
        for message in "text", bytes(100_000):
            websocket.send(message)
            assert websocket.recv(TIMEOUT) == message


def test_flask_app(run_until_ctrl_c: Callable[..., Example]) -> None:
    pytest.importorskip("flask", reason="flask is not installed")
    example = run_until_ctrl_c("flask_app")
    assert example.fetch(uri="/hello/Ada")[1] == b"Hello, Ada!\n"
    body, form = upload_of(b"some bytes")
    answer = example.fetch("POST", "/upload", body, form)[1]
    assert json.loads(answer) == {"name": "name.txt", "size": 10}
    assert example.fetch(uri="/count")[1].split()[-1] == b"999"


def test_fastapi_app(run_until_ctrl_c: Callable[..., Example]) -> None:
    pytest.importorskip("fastapi", reason="fastapi is not installed")
    # Its dependencies deprecate things.
    example = run_until_ctrl_c("fastapi_app", PYTHONWARNINGS="default")
    assert json.loads(example.fetch(uri="/hello/Ada")[1]) == {"hello": "Ada", "before": []}
    assert json.loads(example.fetch(uri="/hello/Bob")[1]) == {"hello": "Bob", "before": ["Ada"]}
    body, form = upload_of(b"some bytes")
    answer = example.fetch("POST", "/upload", body, form)[1]
    assert json.loads(answer) == {"name": "name.txt", "size": 10}
    assert example.fetch(uri="/count")[1].split()[-1] == b"999"
    with connect_websocket(
        f"{example.url.replace('http', 'ws')}echo", proxy=None, ping_interval=None
    ) as client:
        client.send("text")
        assert client.recv() == "text"


def upload_of(content: bytes) -> tuple[bytes, dict[str, str]]:
    """A form with a file, and the field that says so."""
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="name.txt"\r\n\r\n'
    return head + content + b"\r\n--b--\r\n", {"Content-Type": "multipart/form-data; boundary=b"}


def test_django_app(start: Callable[..., Example], tmp_path: Path) -> None:
    pytest.importorskip("django", reason="django is not installed: make test-frameworks")
    example = start("django_app", DATABASE=str(tmp_path / "db.sqlite3"))
    assert example.fetch(uri="/?name=Ada")[1] == b"Hello, Ada!\n"
    for content in b"some bytes", bytes(5_000_000):
        body, form = upload_of(content)
        answer = example.fetch("POST", "/upload", body, form)[1]
        assert answer == b"name.txt: %d bytes\n" % len(content)
    assert example.fetch(uri="/count")[1].split()[-1] == b"999"
    assert example.fetch(uri="/source")[1] == (EXAMPLES / "django_app.py").read_bytes()
    assert b"--primary" in example.fetch(uri="/static/admin/css/base.css")[1]
    # The admin, as a browser goes through it: cookies, forms, redirects.
    cookies = http.cookiejar.CookieJar()
    browser = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(cookies)
    )

    def submit(path: str, **fields: str) -> str:
        """Open a page, and send its form; the page that follows."""
        with browser.open(f"{example.url}{path}", timeout=TIMEOUT) as page:
            page.read()
        token = {cookie.name: str(cookie.value) for cookie in cookies}["csrftoken"]
        data = urllib.parse.urlencode({"csrfmiddlewaretoken": token, **fields}).encode()
        with browser.open(f"{example.url}{path}", data, timeout=TIMEOUT) as page:
            return str(page.read().decode())

    page = submit("admin/login/?next=/admin/", username="admin", password="admin")
    assert "Site administration" in page
    page = submit("admin/auth/group/add/", name="Readers &c.")
    assert "was added successfully" in page and "Readers &amp;c." in page
    assert example.stop().returncode == 0
