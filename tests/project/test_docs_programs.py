"""The programs of docs/ that serve: each is taken from its page, run, and spoken to."""

from __future__ import annotations

import contextlib
import inspect
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import (
    TIMEOUT,
    Certificates,
    Client,
    Process,
    Served,
    await_threads_of_wsgi,
    connect_when_up,
    end_by_ctrl_c,
    eventually,
    free_port,
    get,
    post,
)

from fasthttpserver.testing import LiveServer

DOCS = Path(__file__).resolve().parents[2] / "docs"
FORM = "Content-Type: application/x-www-form-urlencoded"
# The sixth handles signals, as the loops of Windows cannot.
LAST_STEP = 5 if sys.platform == "win32" else 6
# Of a program in `asyncio.run`, which leaves closing its port to the end of the process.
WARNINGS = ["-W", "error", "-W", "ignore::ResourceWarning"]

nothing_left = pytest.mark.usefixtures("nothing_left")
has_signals = pytest.mark.skipif(
    sys.platform == "win32", reason="signals of other processes end a program here"
)


def page_text(page: str) -> str:
    return (DOCS / f"{page}.md").read_text(encoding="utf-8")


def program(page: str, name: str) -> str:
    """The block after the comment that names it."""
    marker = re.escape(f"<!-- program: {name} -->")
    (found,) = re.findall(
        rf"{marker}\n```python\n(.*?)^```$", page_text(page), re.DOTALL | re.MULTILINE
    )
    assert isinstance(found, str)
    return found


def names(page: str, *programs: str) -> dict[str, Any]:
    """What the programs of a page define when they are run one after the other."""
    found: dict[str, Any] = {"__name__": page}
    for name in programs:
        exec(compile(program(page, name), f"{page}.md", "exec"), found)
    return found


@nothing_left
def test_quickstart() -> None:
    port = free_port()
    source = program("quickstart", "hello")
    with Process(["-W", "error", "-c", source], env={"PORT": str(port)}) as process:
        with connect_when_up(port) as client:
            assert client.ask(get("/hello")) == b"You requested /hello\n"
        end_by_ctrl_c(process)


@nothing_left
def test_metrics() -> None:
    port = free_port()
    source = program("howto/monitoring", "metrics")
    with Process(["-W", "error", "-c", source], env={"PORT": str(port)}) as process:
        with connect_when_up(port) as client:
            assert client.ask(get("/hello")) == b"Hello\n"
            assert b"\nfasthttpserver_requests_total 1\n" in client.ask(get("/metrics"))
        end_by_ctrl_c(process)


@nothing_left
def test_what_works_beside_it() -> None:
    pytest.importorskip("tornado", reason="tornado is not installed")
    source, port, behind = program("migrating", "beside"), free_port(), free_port()
    options = [f"--port={port}", f"--behind={behind}", "--logging=error"]
    with Process([*WARNINGS, "-c", source, *options]) as process:
        with connect_when_up(port) as client:
            client.send(get("/path"))
            response = client.read_response()
            assert (response.status, response.body) == (200, b"WSGI has /path\n")
            assert int(response.fields["x-ticks"]) > 0
        end_by_ctrl_c(process)


# --- The tutorial -----------------------------------------------------------------------


class Notes(Process):
    """The tutorial's program as it is after a step."""

    def __init__(self, step: int) -> None:
        parts = [f"notes, step {number}" for number in range(1, step + 1)]
        source = "\n".join(program("tutorial", name) for name in [*parts, "notes, last lines"])
        super().__init__([*WARNINGS, "-c", source], env={"PORT": "0"})
        self.address = "127.0.0.1", int(self.line().strip().strip("/").rpartition(":")[2])

    def connect(self) -> Client:
        return Client(self.address)


@pytest.fixture
def run_notes(nothing_left: None) -> Iterator[Callable[[int], Notes]]:
    running: list[Notes] = []

    def run_notes(step: int) -> Notes:
        running.append(Notes(step))
        return running[-1]

    yield run_notes
    for notes in running:
        with notes:
            end_by_ctrl_c(notes)


def status(client: Client, request: bytes) -> int:
    client.send(request)
    return client.read_response(request.split(b" ", 1)[0].decode()).status


def test_tutorial_answers(run_notes: Callable[[int], Notes]) -> None:
    with run_notes(1).connect() as client:
        assert client.ask(get("/hello")) == b"This is /hello\n"


@pytest.mark.parametrize("step", range(2, LAST_STEP + 1))
def test_tutorial_knows_paths_and_methods(run_notes: Callable[[int], Notes], step: int) -> None:
    with run_notes(step).connect() as client:
        assert client.ask(get()) == b"Feed the cat\n"
        assert client.ask(get().replace(b"GET", b"HEAD")) == b""
        assert status(client, get("/other")) == 404
        client.send(get().replace(b"GET", b"BREW"))
        response = client.read_response()
        allowed = "GET, HEAD" if step < 3 else "GET, HEAD, POST"
        assert (response.status, response.fields["allow"]) == (405, allowed)


@pytest.mark.parametrize("step", range(3, LAST_STEP + 1))
def test_tutorial_takes_notes(run_notes: Callable[[int], Notes], step: int) -> None:
    with run_notes(step).connect() as client:
        assert status(client, post("note=Grüße".encode(), FORM)) == 201
        for form in b"", b"note=%FF", b"note=a&note=b", b"note=a%0Ab", b"a=b&" * 2000:
            assert status(client, post(form, FORM)) == 400
            if form.startswith(b"a="):
                break  # refused by the server, which closes
        else:
            raise AssertionError
    with run_notes(step).connect() as client:
        assert client.ask(get()) == b"Feed the cat\n"


@pytest.mark.parametrize("step", range(4, LAST_STEP + 1))
def test_tutorial_waits_for_notes(run_notes: Callable[[int], Notes], step: int) -> None:
    notes = run_notes(step)
    with notes.connect() as waits, notes.connect() as leaves, notes.connect() as client:
        waits.send(get("/next"))
        leaves.send(get("/next"))
        assert client.ask(get()) == b"Feed the cat\n"
        leaves.close()
        assert status(client, post(b"note=Water the plants", FORM)) == 201
        assert waits.read_response().body == b"Water the plants\n"
        assert client.ask(get()) == b"Feed the cat\nWater the plants\n"


@pytest.mark.parametrize("step", range(5, LAST_STEP + 1))
def test_tutorial_limits_bodies(run_notes: Callable[[int], Notes], step: int) -> None:
    with run_notes(step).connect() as client:
        client.send(post(bytes(10_001)))
        response = client.read_response()
        assert response.status == 413
        assert response.body.decode() in page_text("tutorial")  # as it shows


def test_delegates(serve: Callable[..., Served]) -> None:
    client = serve(names("howto/delegates", "delegate")["Digests"](), max_body_size=2).connect()
    for method in "PUT", "PUT", "POST":
        client.send(post(b"abc", method=method))
        response = client.read_response()
        if method == "PUT":
            assert response.body.startswith(b"ba7816bf8f01cfea414140de5dae2223b00361a396177a9c")
        else:
            assert response.status == 413


@nothing_left
@has_signals
def test_tutorial_ends_in_good_order() -> None:
    with Notes(LAST_STEP) as notes, notes.connect() as waits, notes.connect() as idle:
        assert idle.ask(get()) == b"Feed the cat\n"
        waits.send(get("/next"))
        assert idle.ask(get()) == b"Feed the cat\n"
        notes.send_signal(signal.SIGTERM)
        response = waits.read_response()
        assert (response.body, response.fields["connection"]) == (b"", "close")
        assert idle.read_to_end() == b""
        waits.close()  # or the end lingers for it
        ended = notes.end()
        assert (ended.returncode, ended.stderr) == (0, "")
        assert ended.stdout == "{'served': 1, 'closed': 2, 'aborted': 0}\n"


def test_tutorial_tests_itself() -> None:
    steps = [f"notes, step {number}" for number in range(1, LAST_STEP + 1)]
    names("tutorial", *steps, "notes, test")["test_unknown_path"]()


# --- How to -----------------------------------------------------------------------------


@pytest.mark.parametrize("make", ["make_server", "make_strict_server"])
def test_tls(serve: Callable[..., Served], tmp_path: Path, make: str) -> None:
    certificates = Certificates(tmp_path)
    found = names("howto/tls", "tls", "tls, context")
    made = found[make](certificates.certfile, certificates.keyfile)
    options = made[0].ssl_options if isinstance(made, tuple) else made.ssl_options
    served = serve(found["handle_request"], ssl_options=options)
    with served.connect(context=certificates.client_context()) as client:
        assert client.ask(get()) == b"https\n"
        assert isinstance(client.socket, ssl.SSLSocket)
        if make == "make_strict_server":
            assert client.socket.version() == "TLSv1.3"


def test_tls_of_several_names(serve: Callable[..., Served], tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    other = certificates.authority.issue_cert("b.example")
    certfile, keyfile = str(tmp_path / "b.crt"), str(tmp_path / "b.key")
    other.cert_chain_pems[0].write_to_path(certfile)
    other.private_key_pem.write_to_path(keyfile)
    found = names("howto/tls", "tls", "tls, sni")
    made = found["make_server_of_names"](
        certificates.certfile, certificates.keyfile, certfile, keyfile
    )
    served = serve(found["handle_request"], ssl_options=made.ssl_options)
    for name in "127.0.0.1", "b.example":  # whose certificate does not have it is refused
        client = served.connect()
        client.socket = certificates.client_context().wrap_socket(
            client.socket, server_hostname=name
        )
        assert client.ask(get()) == b"https\n"


@pytest.mark.parametrize(
    "page, name, request_, body",
    [
        ("streaming", "streaming", get(), None),
        ("graceful-shutdown", "graceful shutdown", get(), b"ok\n"),
        ("containers", "containers", get("/ready"), b"ok\n"),
        (
            "uploads",
            "uploads",
            post(b"abc"),
            b"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n",
        ),
    ],
)
def test_callback(
    serve: Callable[..., Served], page: str, name: str, request_: bytes, body: bytes | None
) -> None:
    client = serve(names(f"howto/{page}", name)["handle_request"]).connect()
    if body is None:
        client.send(request_)
        assert client.read_until(b"0\r\n\r\n").endswith(b"6\r\nthree\n\r\n0\r\n\r\n")
    else:
        assert client.ask(request_) == body


def test_responses(serve: Callable[..., Served]) -> None:
    found = names("howto/responses", "responses", "responses, hints")
    client = serve(found["handle_request"]).connect()
    for path, expected in {
        "/": (200, "<p>Grüße</p>".encode()),
        "/numbers": (200, b'{"numbers":[1,2,3]}'),
        "/ping": (204, b""),
        "/none": (404, b"There is no such page\n"),
    }.items():
        client.send(get(path))
        response = client.read_response()
        assert (response.status, response.body) == expected
    client.send(get("/login"))
    head = client.read_until(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 303 See Other\r\n") and head.count(b"Set-Cookie: ") == 2
    client = serve(found["handle_page"]).connect()
    client.send(get())
    assert [client.read_response().status for _ in range(2)] == [103, 200]


def test_files(serve: Callable[..., Served], tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "a.css").write_text("p {}")
    (tmp_path / "upload-17").write_text("<p>")
    found = names("howto/files", "files", "files, download")
    found["ROOT"] = found["UPLOADS"] = tmp_path
    client = serve(found["handle_request"]).connect()
    for path, keep in ("/assets/a.css", "immutable"), ("/upload%2D17", "no-cache"):
        client.send(get(path))
        response = client.read_response()
        assert response.status == 200 and keep in response.fields["cache-control"]
    client = serve(found["download"]).connect()
    client.send(get())
    response = client.read_response()
    assert response.fields["content-type"] == "application/octet-stream"
    assert response.body == b"<p>"


def test_events(serve: Callable[..., Served]) -> None:
    send_all = names("howto/server-sent-events", "events")["send_all"]

    async def numbers() -> AsyncIterator[int]:
        for number in range(2):
            yield number

    client = serve(lambda request: send_all(request, numbers())).connect()
    client.send(get())
    assert b"text/event-stream" in client.read_until(b"\r\n\r\n")
    assert b"data: 1\n\n" in client.read_until(b"0\r\n\r\n")


def test_events_for_everybody(serve: Callable[..., Served]) -> None:
    found = names("howto/server-sent-events", "events, broadcast")
    served = serve(found["handle_request"])
    clients = [served.connect() for _ in range(3)]
    for client in clients:
        client.send(get())
        client.read_until(b"\r\n\r\n")
    served.call(found["tell_everybody"], "hello")
    for client in clients:
        assert client.read_until(b"\n\n").endswith(b"data: hello\n\n")
    clients[0].close()
    eventually(lambda: len(found["listening"]) == 2)
    for _ in range(200):  # more than is kept for a client that does not listen
        served.call(found["tell_everybody"], "again")
    served.call(found["tell_everybody"], None)
    for client in clients[1:]:
        assert b"data: again\n\n" in client.read_until(b"\r\n0\r\n\r\n")
    assert not found["listening"]


@nothing_left
def test_clients_are_tested() -> None:
    with LiveServer() as server:
        names("howto/pytest", "pytest")["test_it_tries_again"](server)


@nothing_left
def test_application_of_wsgi_is_tested() -> None:
    pytest.importorskip("flask", reason="flask is not installed")
    found = names("howto/pytest", "flask")
    for test in "test_notes_are_taken", "test_large_notes_are_refused":
        with contextlib.contextmanager(inspect.unwrap(found["client"]))() as client:
            found[test](client)
    await_threads_of_wsgi()


@nothing_left
def test_application_of_asgi_is_tested() -> None:
    pytest.importorskip("fastapi", reason="fastapi is not installed")
    pytest.importorskip("websockets", reason="websockets is not installed")
    names("howto/pytest", "fastapi")["test_names_are_greeted"]()


@nothing_left
@has_signals
def test_graceful_shutdown() -> None:
    port = free_port()
    blocks = [program("howto/graceful-shutdown", f"graceful shutdown{x}") for x in ("", ", main")]
    source = "\n".join([*blocks, f"asyncio.run(main({port}))"])
    with Process(["-W", "error", "-c", source]) as process, connect_when_up(port) as client:
        assert client.ask(get()) == b"ok\n"
        process.send_signal(signal.SIGTERM)
        assert client.read_to_end() == b""
        ended = process.end()
        assert (ended.returncode, ended.stderr) == (0, "")


@nothing_left
@has_signals
def test_systemd() -> None:
    source = program("howto/systemd", "systemd") + "\nmain()\n"
    # What systemd does: the socket is descriptor 3, and the variables tell the process so.
    script = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ['LISTEN_PID'] = "
    script += "str(os.getpid()); os.execv(sys.executable, [sys.executable, '-c', sys.argv[2]])"
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.set_inheritable(True)
        number = listening.fileno()
        package = str(Path(sys.modules["fasthttpserver"].__file__ or "").parents[1])
        with subprocess.Popen(
            [sys.executable, "-c", script, str(number), source],
            pass_fds=[number],
            env=os.environ | {"LISTEN_FDS": "1", "PYTHONPATH": package},
        ) as process:
            try:
                with Client(listening.getsockname()) as client:
                    assert client.ask(get()) == b"ok\n"
                process.send_signal(signal.SIGINT)
                assert process.wait(TIMEOUT) == 0
            finally:
                process.kill()


# --- WSGI ---------------------------------------------------------------------------------


@nothing_left
def test_flask() -> None:
    pytest.importorskip("flask", reason="flask is not installed")
    port = free_port()
    source = program("howto/flask", "flask").replace("main())", f"main({port}))")
    with Process([*WARNINGS, "-c", source]) as process:
        with connect_when_up(port) as client:
            assert client.ask(get("/hello/Ada")) == b"Hello, Ada!\n"
        end_by_ctrl_c(process)


@nothing_left
def test_fastapi() -> None:
    pytest.importorskip("fastapi", reason="fastapi is not installed")
    port = free_port()
    source = program("howto/fastapi", "fastapi").replace("main())", f"main({port}))")
    with Process(["-c", source]) as process:
        with connect_when_up(port) as client:
            assert client.ask(get("/hello/Ada")) == b'{"hello":"Ada"}'
        end_by_ctrl_c(process)


@has_signals
@nothing_left
def test_django(tmp_path: Path) -> None:
    pytest.importorskip("django", reason="django is not installed: make test-frameworks")
    command = [sys.executable, "-m", "django", "startproject", "mysite", "."]
    subprocess.run(command, cwd=tmp_path, check=True)
    port = free_port()
    source = program("howto/django", "django").replace("main())", f"main({port}))")
    (tmp_path / "serve.py").write_text(source)
    settings = "mysite.settings"
    arguments = ["-W", "error", "serve.py"]
    with Process(arguments, cwd=tmp_path, env={"DJANGO_SETTINGS_MODULE": settings}) as process:
        with connect_when_up(port) as client:
            client.send(get("/", "Host: localhost").replace(b"Host: a\r\n", b"", 1))
            assert b"The install worked successfully!" in client.read_response().body
        process.send_signal(signal.SIGTERM)
        assert process.end().returncode == 0
