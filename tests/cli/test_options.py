"""What the options of the command line do, in real processes."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import re
import signal
import socket
import ssl
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import Certificates, Client, Process, address_in, backlog_of, get, most_backlog

import fasthttpserver
from fasthttpserver import limits as _limits
from fasthttpserver.__main__ import main
from fasthttpserver._cli.application import Application
from fasthttpserver._cli.listening import listen
from fasthttpserver._cli.options import limits_of, parse_options
from fasthttpserver._cli.serving import make_server

Start = Callable[..., Process]

posix = pytest.mark.skipif(sys.platform == "win32", reason="there are no such things on Windows")


def connect(process: Process) -> Client:
    return Client(address_in(process.line()))


def end(process: Process) -> tuple[int, str]:
    process.send_signal(signal.SIGTERM)
    ended = process.end()
    return ended.returncode, ended.stderr


LIMITS = sorted(field.name for field in dataclasses.fields(_limits.Limits))


def option(name: str, value: str) -> str:
    return f"--{name.replace('_', '-')}={value}"


def test_every_limit_has_an_option_with_its_help() -> None:
    limits = limits_of(parse_options([option(name, "7") for name in LIMITS], "0"))
    assert sorted(limits) == LIMITS
    assert set(limits.values()) == {7}


@pytest.mark.parametrize("name", LIMITS)
def test_limit_is_off_where_the_help_says_so(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_options(["--help"], "0")
    (text,) = re.findall(rf"--{name.replace('_', '-')} N (.*?\(default: .*?\))", one_line(capsys))
    words = [option(name, "off")]
    if ", or off" in text:
        limit = getattr(
            make_server(Application("callback", print), parse_options(words, "0")).limits,
            name,
        )
        assert limit in (None, math.inf)
    else:
        with pytest.raises(SystemExit):
            parse_options(words, "0")
        kind = "int" if _limits.RULES[name].whole else "float"
        assert f"invalid {kind} value" in one_line(capsys)


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed, however it was wrapped."""
    printed = capsys.readouterr()
    return " ".join((printed.out + printed.err).split())


def test_limits_that_may_be_none_may_be_off() -> None:
    optional = [name for name, rule in _limits.RULES.items() if rule.optional]
    given = limits_of(parse_options([option(name, "off") for name in optional], "0"))
    assert given == dict.fromkeys(optional)


@pytest.mark.parametrize(
    ("word", "size"), [("7", 7), ("1k", 1024), ("512M", 512 << 20), ("2G", 2 << 30)]
)
def test_size_may_have_a_unit(word: str, size: int) -> None:
    assert parse_options(["--max-rss", word], "0").max_rss == size


@pytest.mark.skipif(sys.platform != "linux", reason="others do not tell")
@pytest.mark.parametrize(("words", "backlog"), [([], 511), (["--backlog=7"], 7)])
@pytest.mark.parametrize("where", [["--port=0"], ["--port=0", "--reuse-port"], ["--unix-socket"]])
def test_backlog(words: list[str], backlog: int, where: list[str], tmp_path: Path) -> None:
    if where == ["--unix-socket"]:
        where = [f"--unix-socket={tmp_path}/s"]
    listening = listen(parse_options([*where, *words], "0"))
    try:
        for sock in listening.sockets:
            assert backlog_of(sock) == min(backlog, most_backlog())
    finally:
        listening.close()


def test_what_is_not_given_is_left_to_the_server() -> None:
    assert limits_of(parse_options([], "0")) == {}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--keyfile", "k"], "--keyfile needs --certfile"),
        (["--sni", "a=k"], "--sni needs --certfile"),
        (["--ca-certs", "k", "--verify-client=required"], "--ca-certs needs --certfile"),
        (["--certfile=c", "--ca-certs=k"], "--ca-certs and --verify-client"),
        (["--certfile=c", "--verify-client=optional"], "--ca-certs and --verify-client"),
        (["--verify-client", "maybe"], "invalid choice"),
        (["--certfile=c", "--sni=a"], "invalid host value"),
        (["--certfile=c", "--sni=a="], "invalid host value"),
        (["--certfile=c", "--sni", os.pathsep.join(["a=b", "c", "d"])], "invalid host value"),
        (["--reload", "--processes", "2"], "--reload is for one process"),
        (["--port", "x"], "invalid int value"),
        (["--loop", "trio"], "invalid choice"),
        (["--header-timeout", "soon"], "invalid float value"),
        (["--processes", "-1"], "--processes must be 0 or more"),
        (["--drain-timeout", "-1"], "--drain-timeout must be 0 or more"),
        (["--drain-timeout", "nan"], "--drain-timeout must be 0 or more"),
        (["--worker-timeout", "nan"], "--worker-timeout must be 0 or more"),
        (["--shutdown-delay", "nan"], "--shutdown-delay must be 0 or more"),
        (["--shutdown-delay", "inf"], "--shutdown-delay must be a day at most"),
        (["--start-timeout", "-1"], "--start-timeout must be 0 or more"),
        (["--max-requests", "-1"], "--max-requests must be 0 or more"),
        (["--max-rss", "1T"], "invalid size value"),
        (["--max-rss", "M"], "invalid size value"),
        (["--max-rss", "512MM"], "invalid size value"),
        (["--max-rss=-1"], "--max-rss must be 0 or more"),
        (["--preload", "--reload"], "--reload imports the application anew"),
        (["--xheaders"], "--xheaders needs --trusted-downstream"),
        (["--client-cert-header"], "--client-cert-header needs --trusted-downstream"),
        (["--unix-socket-mode", "660"], "--unix-socket-mode needs --unix-socket"),
        (["--unix-socket-owner", "root"], "--unix-socket-owner needs --unix-socket"),
        (["--unix-socket=s", "--unix-socket-mode=rw"], "invalid mode value"),
        (["--unix-socket=s", "--unix-socket-mode=1777"], "invalid mode value"),
        (["--unix-socket=s", "--unix-socket-mode=8"], "invalid mode value"),
        (["--unix-socket=s", "--unix-socket-owner=:"], "invalid owner value"),
        (["--unix-socket=s", "--unix-socket-owner=a:"], "invalid owner value"),
    ],
)
def test_mistake_is_told_and_ends_with_status_2(
    words: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_options(words, "0")
    assert ended.value.code == 2
    assert text in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--max-header-size", "1"], "max_header_size must be between"),
        (["--header-timeout", "0"], "header_timeout must be between"),
        (["--write-timeout", "nan"], "write_timeout must be between"),
        (["--max-connections", "0"], "max_connections must be between"),
        (["--certfile", "nowhere.pem"], "nowhere.pem"),
        (["--trusted-downstream", "10.0.0.0/33"], "10.0.0.0/33"),
        (["--proxy-protocol", "10.0.0.0/33"], "10.0.0.0/33"),
        (["--unix-socket", "s", "--unix-socket-owner", "nosuchname"], "no such user: 'nosuchname'"),
        (["--fd", "three"], "--fd takes a number or 'systemd'"),
        (["--fd", "systemd"], "systemd has passed no socket"),
        (["--fd", "99"], "Bad file descriptor"),
    ],
)
@posix
@pytest.mark.usefixtures("nothing_left")
def test_wrong_value_is_one_line(
    words: list[str],
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--port", "0", *words]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("fasthttpserver: ")
    assert text in line


def test_limit_is_passed_on(start: Start) -> None:
    with connect(start("--port", "0", "--max-body-size", "3")) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n")
        assert client.read_response().status == 413


def test_banner_says_loop_workers_and_version(start: Start) -> None:
    line = start("--port", "0", "--loop", "asyncio").line()
    assert f"(asyncio, 1 worker, fasthttpserver {fasthttpserver.__version__})" in line
    assert "\x1b" not in line  # this is no terminal


@posix
def test_access_log_is_on_stderr_without_a_prefix(start: Start) -> None:
    process = start("--port", "0", "--access-log", "json")
    with connect(process) as client:
        assert client.ask(get("/x")) == b"You requested /x\n"
    code, stderr = end(process)
    assert code == 0
    lines = [line for line in stderr.splitlines() if line.startswith("{")]
    assert [json.loads(line)["uri"] for line in lines] == ["/x"]


@posix
def test_log_level(start: Start) -> None:
    process = start("--port", "0", "--log-level", "error")
    with connect(process) as client:
        client.send(b"\r\r")
        assert client.read_response().status == 400
    assert end(process) == (0, "")


@posix
@pytest.mark.parametrize("words", [(), ("--debug",), ("--debug", "--reload")])
def test_debug(start: Start, tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "forgets.py").write_text("async def callback(request):\n    request.write('x')\n")
    process = start("forgets:callback", "--port=0", "--drain-timeout=0", *words)
    with connect(process) as client:
        client.send(get())
        assert client.read(1) == b"x"
    code, stderr = end(process)
    assert code == 0
    assert ("forgets.callback (" in stderr and "without finish()" in stderr) == bool(words)


@posix
def test_unix_socket(start: Start, tmp_path: Path) -> None:
    process = start("--unix-socket", "s")
    assert "http+unix:s" in process.line()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(tmp_path / "s"))
        sock.sendall(get("/u", "Connection: close"))
        assert sock.makefile("rb").read().endswith(b"You requested /u\n")


@posix
@pytest.mark.parametrize(("words", "mode"), [((), 0o600), (("--unix-socket-mode=660",), 0o660)])
def test_mode_of_the_unix_socket(
    start: Start, tmp_path: Path, words: tuple[str, ...], mode: int
) -> None:
    owner = f"{os.getuid()}:{os.getgid()}"
    start("--unix-socket", "s", "--unix-socket-owner", owner, *words).line()
    status = (tmp_path / "s").stat()
    assert stat.S_IMODE(status.st_mode) == mode
    assert (status.st_uid, status.st_gid) == (os.getuid(), os.getgid())


@pytest.mark.parametrize(
    ("word", "owner"),
    [("www-data", ("www-data", None)), ("33:web", (33, "web")), (":33", (None, 33))],
)
def test_owner_of_the_unix_socket(word: str, owner: tuple[object, object]) -> None:
    options = parse_options(["--unix-socket=s", "--unix-socket-owner", word], "0")
    assert options.unix_socket_owner == owner


# --- Who is believed ----------------------------------------------------------------------

TELL = """
def callback(request):
    body = f"{request.remote_ip} {request.protocol}".encode()
    request.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
    request.finish()
"""


@pytest.fixture
def tell(start: Start, tmp_path: Path) -> Start:
    """As ``start``, with an application that tells where a request comes from."""
    (tmp_path / "telling.py").write_text(TELL)
    return lambda *words, **env: start("telling:callback", *words, **env)


@pytest.mark.parametrize(
    ("networks", "told"),
    [
        ("127.0.0.1", "198.51.100.1 https"),
        ("10.0.0.0/8,127.0.0.0/8", "198.51.100.1 https"),
        ("*", "198.51.100.1 https"),
        ("198.51.100.1", "127.0.0.1 http"),
        ("unix", "127.0.0.1 http"),
    ],
)
def test_only_proxies_that_are_trusted_are_believed(tell: Start, networks: str, told: str) -> None:
    words = [f"--trusted-downstream={network}" for network in networks.split(",")]
    with connect(tell("--port", "0", "--xheaders", *words)) as client:
        data = get("/", "X-Forwarded-For: 198.51.100.1", "X-Forwarded-Proto: https")
        assert client.ask(data).decode() == told


@posix
def test_proxy_on_a_unix_socket_is_believed(tell: Start, tmp_path: Path) -> None:
    words = ["--xheaders", "--trusted-downstream", "unix"]
    tell("--unix-socket", "s", *words).line()
    with Client(str(tmp_path / "s")) as client:
        data = get("/", "X-Forwarded-For: 198.51.100.1", "X-Forwarded-Proto: https")
        assert client.ask(data) == b"198.51.100.1 https"


def test_what_is_believed_may_stand_in_the_environment(tell: Start) -> None:
    env = {"XHEADERS": "1", "TRUSTED_DOWNSTREAM": "10.0.0.0/8, 127.0.0.1"}
    env = {f"FASTHTTPSERVER_{name}": value for name, value in env.items()}
    with connect(tell("--port", "0", **env)) as client:
        assert client.ask(get("/", "X-Forwarded-For: 198.51.100.1")) == b"198.51.100.1 http"


def test_client_cert_header_is_taken_from_trusted_proxies_only(tell: Start) -> None:
    for network, status in ("127.0.0.1", 200), ("192.0.2.1", 400):
        process = tell("--port", "0", "--client-cert-header", "--trusted-downstream", network)
        with connect(process) as client:
            client.send(get("/", "Client-Cert: :MII=:"))
            assert client.read_response().status == status


def test_proxy_protocol(tell: Start) -> None:
    process = tell("--port", "0", "--proxy-protocol", "10.0.0.0/8", "--proxy-protocol", "127.0.0.1")
    with connect(process) as client:
        client.send(b"PROXY TCP4 198.51.100.1 192.0.2.80 50000 443\r\n")
        assert client.ask(get()) == b"198.51.100.1 http"
    assert "curl -i --haproxy-protocol http://" in process.line()


@posix
def test_proxy_protocol_of_a_peer_that_is_not_listed(tell: Start) -> None:
    process = tell("--port", "0", "--proxy-protocol", "10.0.0.0/8")
    with connect(process) as client:
        with contextlib.suppress(ConnectionError):
            client.send(b"PROXY TCP4 198.51.100.1 192.0.2.80 50000 443\r\n" + get())
            assert client.receive() == b""
    assert "is not listed in proxy_protocol" in end(process)[1]


@posix
def test_socket_of_systemd(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # sh has the number of the process that it becomes, as LISTEN_PID wants it.
        number = listener.fileno()
        os.set_inheritable(number, True)
        script = (
            "import os, sys\n"
            f"os.dup2({number}, 3)\n"
            "os.set_inheritable(3, True)\n"
            "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1')\n"
            "words = [sys.executable, '-m', 'fasthttpserver', '--fd', 'systemd']\n"
            "os.execv(sys.executable, words)\n"
        )
        with Process(["-c", script], pass_fds=(number,)) as process:
            with connect(process) as client:
                assert client.ask(get("/d")) == b"You requested /d\n"
            assert end(process)[0] == 0


@posix
def test_workers_share_the_port_and_end_together(start: Start) -> None:
    process = start("--port", "0", "--processes", "2")
    with connect(process) as client:
        assert client.ask(get("/w")) == b"You requested /w\n"
    code, stderr = end(process)
    assert code == 0
    assert "Starting 2 processes" in stderr
    assert "Traceback" not in stderr


@pytest.mark.parametrize(
    ("words", "identity", "status"),
    [
        ((), None, "http/1.1 False"),
        (("--verify-client=optional",), None, "http/1.1 False"),
        (("--verify-client=optional",), "ada@example.org", "http/1.1 True"),
        (("--verify-client=required",), "ada@example.org", "http/1.1 True"),
        (("--verify-client=required",), None, None),
    ],
)
@pytest.mark.parametrize("name", ["127.0.0.1", "a.other.test"])
def test_certificates_of_both_sides(
    start: Start,
    tmp_path: Path,
    words: tuple[str, ...],
    identity: str | None,
    status: str | None,
    name: str,
) -> None:
    made = Certificates(tmp_path)
    other = made.authority.issue_cert("*.other.test")
    other.private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "other.pem"))
    (tmp_path / "telling.py").write_text(TELL_TLS)
    if words:
        words += ("--ca-certs", made.ca_certs)
    words += ("--certfile", made.certfile, "--keyfile", made.keyfile)
    words += ("--sni", f"*.other.test={tmp_path / 'other.pem'}")
    match = re.search(
        r"https://127\.0\.0\.1:(\d+)/", start("telling:callback", "--port=0", *words).line()
    )
    assert match is not None
    context = made.client_context(identity)
    context.set_alpn_protocols(["http/1.1"])
    with socket.create_connection(("127.0.0.1", int(match[1]))) as plain:
        if status is None:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                tell_tls(context, plain, name)
        else:
            assert tell_tls(context, plain, name) == status


TELL_TLS = """
def callback(request):
    certificate = request.get_ssl_certificate(True) is not None
    body = f"{request.connection.stream.socket.selected_alpn_protocol()} {certificate}".encode()
    request.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)
    request.finish()
"""


def tell_tls(context: ssl.SSLContext, plain: socket.socket, name: str) -> str:
    """What the application says of the connection."""
    with context.wrap_socket(plain, server_hostname=name) as sock:
        sock.sendall(get("/", "Connection: close"))
        return sock.makefile("rb").read().decode().rpartition("\n")[2]


def test_https(start: Start, tmp_path: Path) -> None:
    made = Certificates(tmp_path)
    context = made.client_context()
    process = start("--port", "0", "--certfile", made.certfile, "--keyfile", made.keyfile)
    match = re.search(r"https://127\.0\.0\.1:(\d+)/", process.line())
    assert match is not None
    with (
        socket.create_connection(("127.0.0.1", int(match[1]))) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as sock,
    ):
        sock.sendall(get("/s", "Connection: close"))
        assert sock.makefile("rb").read().endswith(b"You requested /s\n")
