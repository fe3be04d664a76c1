"""nginx and HAProxy in front of the server, configured as docs/howto says, word for word."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import TIMEOUT, Certificates, Process, eventually, free_port
from proxies import answers, ask, block, find, put, run_haproxy, run_nginx, running

pytestmark = [
    pytest.mark.usefixtures("nothing_left"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork"),
]


class App(Process):
    """The server of the how-to: two workers.

    Args:
        changes: Pieces of its source, and what to put there.
    """

    def __init__(self, folder: Path, *changes: tuple[str, str]) -> None:
        source = put(block("nginx.md", "program: behind a proxy"), *changes)
        logging = "import logging\nlogging.basicConfig(level=logging.INFO)\n"
        self.port = free_port()
        self._log = folder / "app.log"
        run = f"import sys\nsys.stderr = open({str(self._log)!r}, 'a', buffering=1)\n"
        super().__init__(["-c", f"{run}{logging}{source}\nmain(port={self.port})\n"])
        eventually(lambda: answers(self.port))

    def log(self) -> str:
        return self._log.read_text()

    def replace_workers(self) -> None:
        """Send SIGHUP, and wait until both workers are new."""
        before = self.log().count(" ended, replacing")
        self.send_signal(signal.SIGHUP)
        eventually(lambda: self.log().count(" ended, replacing") == before + 2)


class Proxy:
    """A running proxy: where it listens, and a client's view of it."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self.port = port
        self.context = context

    def connect(self, source: str = "127.0.0.1") -> contextlib.closing[http.client.HTTPSConnection]:
        """Connect from an address of this machine."""
        return contextlib.closing(
            http.client.HTTPSConnection(
                "127.0.0.1",
                self.port,
                timeout=TIMEOUT,
                source_address=(source, 0),
                context=self.context,
            )
        )

    def ask(self, uri: str = "/", source: str = "127.0.0.1", **fields: str) -> str:
        """What a GET over a new connection is answered."""
        with self.connect(source) as client:
            return ask(client, uri, **fields)


@contextlib.contextmanager
def nginx(folder: Path, app: App, certificates: Certificates) -> Iterator[int]:
    port = free_port()
    server = put(
        block("nginx.md", "configuration of nginx"),
        ("127.0.0.1:8001", f"127.0.0.1:{app.port}"),
        ("listen 443", f"listen 127.0.0.1:{port}"),
        ("/etc/ssl/site.crt", certificates.certfile),
        ("/etc/ssl/site.key", certificates.keyfile),
    )
    with run_nginx(folder, port, server):
        yield port


@contextlib.contextmanager
def haproxy(folder: Path, app: App, certificates: Certificates) -> Iterator[int]:
    port = free_port()
    pem = folder / "site.pem"
    pem.write_text(Path(certificates.certfile).read_text() + Path(certificates.keyfile).read_text())
    configuration = put(
        block("haproxy.md", "configuration of HAProxy"),
        ("127.0.0.1:8001", f"127.0.0.1:{app.port}"),
        ("bind :443", f"bind 127.0.0.1:{port}"),
        ("/etc/haproxy/site.pem", str(pem)),
    )
    with run_haproxy(folder, port, configuration):
        yield port


@contextlib.contextmanager
def nginx_tcp(folder: Path, app: App, word: str) -> Iterator[int]:
    program = find("nginx")
    port = free_port()
    stream = put(
        block("nginx.md", "configuration of nginx, stream"),
        ("127.0.0.1:8001", f"127.0.0.1:{app.port}"),
        ("listen 443", f"listen 127.0.0.1:{port}"),
    )
    user = "user root;\n" if os.geteuid() == 0 else ""
    path = folder / "stream.conf"
    path.write_text(
        f"{load_stream(program)}{user}daemon off; worker_processes 1; pid {folder}/stream.pid;\n"
        f"error_log stderr;\nevents {{}}\n{stream}"
    )
    log = folder / "stream.log"
    with running([program, "-e", "stderr", "-p", str(folder), "-c", str(path)], port, log):
        yield port


def load_stream(program: str) -> str:
    """What loads nginx's module for TCP, if that is needed; skips the test if there is none."""
    built = subprocess.run([program, "-V"], capture_output=True, text=True, check=True).stderr
    if "--with-stream " in built:
        return ""
    folder = re.search(r"--modules-path=(\S+)", built)
    module = Path(folder[1] if folder else "") / "ngx_stream_module.so"
    if not module.exists():
        pytest.skip("nginx has no stream module (Debian: apt install libnginx-mod-stream)")
    return f"load_module {module};\n"


@contextlib.contextmanager
def haproxy_tcp(folder: Path, app: App, word: str) -> Iterator[int]:
    port = free_port()
    configuration = put(
        block("haproxy.md", "configuration of HAProxy, TCP"),
        ("127.0.0.1:8001 send-proxy-v2", f"127.0.0.1:{app.port} {word}"),
        ("bind :443", f"bind 127.0.0.1:{port}"),
    )
    with run_haproxy(folder, port, configuration):
        yield port


PROXIES: dict[str, Callable[..., Any]] = {"nginx": nginx, "haproxy": haproxy}


@pytest.fixture(scope="module", params=PROXIES)
def start(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., tuple[App, Proxy]]]:
    """Start the server and a proxy in front of it; arguments are changes of its source."""
    name: str = request.param
    find(name)  # before anything else is started
    with contextlib.ExitStack() as stack:

        def start(*changes: tuple[str, str]) -> tuple[App, Proxy]:
            folder = tmp_path_factory.mktemp(name)
            certificates = Certificates(folder)
            app = stack.enter_context(App(folder, *changes))
            port = stack.enter_context(PROXIES[name](folder, app, certificates))
            return app, Proxy(port, certificates.client_context())

        yield start


@pytest.fixture(scope="module")
def both(start: Callable[..., tuple[App, Proxy]]) -> tuple[App, Proxy]:
    """The server as it stands in the how-to, and a proxy; it also tells who answers whom."""
    who = "request.connection.address[1]}, {__import__('os').getpid()"
    return start(("from {request.remote_ip}", f"from {{request.remote_ip}}, {{{who}}}"))


@pytest.fixture(scope="module")
def trusting(start: Callable[..., tuple[App, Proxy]]) -> Proxy:
    """A proxy before a server that has more of them in front."""
    trusted = "xheaders=True, trusted_downstream=['127.0.0.0/8', '10.0.0.0/8']"
    return start(("xheaders=True", trusted))[1]


@pytest.fixture
def app(both: tuple[App, Proxy]) -> App:
    return both[0]


@pytest.fixture
def proxy(both: tuple[App, Proxy]) -> Proxy:
    return both[1]


def test_server_sees_what_the_client_asked_for(proxy: Proxy) -> None:
    body = proxy.ask("/a%20b?c", Host="example.com:8443")
    assert body.startswith("GET https://example.com:8443/a%20b?c from 127.0.0.1,")


@pytest.mark.skipif(sys.platform != "linux", reason="only 127.0.0.1 is there by itself")
def test_address_is_that_of_the_proxys_client(proxy: Proxy) -> None:
    assert " from 127.0.0.2," in proxy.ask(source="127.0.0.2")


@pytest.mark.parametrize(
    "fields",
    [
        {"X_Forwarded_For": "203.0.113.9"},
        {"X_Forwarded_For": "203.0.113.9, 203.0.113.10"},
        {"X_Real_Ip": "203.0.113.9"},
        {"x_real_ip": "203.0.113.9"},
        {"X_Forwarded_Proto": "http"},
        {"X_Scheme": "http"},
    ],
    ids=str,
)
def test_client_cannot_choose_its_address_or_scheme(proxy: Proxy, fields: dict[str, str]) -> None:
    body = proxy.ask(Host="a", **fields)
    assert body.startswith("GET https://a/ from 127.0.0.1,")


def test_proxy_keeps_its_connections_to_the_server(proxy: Proxy) -> None:
    with proxy.connect() as client:
        # Port and process are in it. HAProxy gives a client's first request one of its own.
        assert len({ask(client) for _ in range(20)}) <= 3


@pytest.mark.slow
def test_workers_are_replaced_without_a_failed_request(app: App, proxy: Proxy) -> None:
    seen: list[str] = []
    failures: list[BaseException] = []
    end = threading.Event()

    def load() -> None:
        try:
            while not end.is_set():
                with proxy.connect() as client:
                    for _ in range(20):
                        seen.append(ask(client).rpartition(" ")[2])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: failures or len(set(seen)) == 2)  # both of the first workers
        old = set(seen)
        app.replace_workers()
        count = len(seen)
        eventually(lambda: failures or len(seen) > count + 100)
    finally:
        end.set()
        for thread in threads:
            thread.join(TIMEOUT)
    assert not failures, failures
    assert not old & set(seen[-50:])
    assert "ERROR" not in app.log()


def test_addresses_of_trusted_proxies_are_passed_over(trusting: Proxy) -> None:
    forwarded_for = "198.51.100.1, 203.0.113.9, 10.1.2.3"
    assert trusting.ask(X_Forwarded_For=forwarded_for).endswith(" from 203.0.113.9\n")


# --- Certificates of clients --------------------------------------------------------------


@pytest.mark.parametrize("identity", [None, "ada@example.org"])
def test_certificate_is_told_by_the_proxy(tmp_path: Path, identity: str | None) -> None:
    program = find("haproxy")
    made = Certificates(tmp_path)
    options = 'trusted_peers=["127.0.0.1"], client_cert_header=True'
    names = "(request.get_ssl_certificate() or {}).get('subjectAltName')"
    changes = [
        ('xheaders=True, trusted_peers=["127.0.0.1"]', options),
        ("from {request.remote_ip}", f"from {{{names}}}"),
    ]
    port = free_port()
    pem = tmp_path / "site.pem"
    pem.write_text(Path(made.certfile).read_text() + Path(made.keyfile).read_text())
    path = tmp_path / "certificates.cfg"
    with App(tmp_path, *changes) as app:
        told = put(
            block("tls.md", "configuration of HAProxy, Client-Cert"),
            ("bind :443", f"bind 127.0.0.1:{port}"),
            ("/etc/haproxy/site.pem", str(pem)),
            ("/etc/haproxy/clients.pem", made.ca_certs),
        )
        path.write_text(
            put(
                block("haproxy.md", "configuration of HAProxy"),
                ("127.0.0.1:8001", f"127.0.0.1:{app.port}"),
                ("    bind :443 ssl crt /etc/haproxy/site.pem alpn h2,http/1.1\n", told),
            )
        )
        with running([program, "-db", "-f", str(path)], port, tmp_path / "haproxy.log"):
            proxy = Proxy(port, made.client_context(identity))
            for made_up in {}, {"Client_Cert": ":MII=:"}:
                expected = identity and (("email", identity),)
                body = proxy.ask(Host="a", **made_up)
                assert body.endswith(f" from {expected}\n")


# --- TCP only -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "run", "word"),
    [
        ("nginx", nginx_tcp, ""),
        ("haproxy", haproxy_tcp, "send-proxy-v2"),
        ("haproxy", haproxy_tcp, "send-proxy"),
        ("haproxy", haproxy_tcp, "send-proxy-v2 check inter 50ms"),
    ],
    ids=["nginx", "v2", "v1", "v2 with checks"],
)
@pytest.mark.skipif(sys.platform != "linux", reason="only 127.0.0.1 is there by itself")
def test_address_is_told_by_the_proxy_protocol(
    tmp_path: Path, name: str, run: Callable[..., Any], word: str
) -> None:
    find(name)
    made = Certificates(tmp_path)
    options = {"certfile": made.certfile, "keyfile": made.keyfile}
    change = f"proxy_protocol=['127.0.0.1'], ssl_options={options}"
    with (
        App(tmp_path, ('xheaders=True, trusted_peers=["127.0.0.1"]', change)) as app,
        run(tmp_path, app, word) as port,
    ):
        proxy = Proxy(port, made.client_context())
        for source in "127.0.0.2", "127.0.0.3":
            body = proxy.ask(source=source, Host="a")
            assert body == f"GET https://a/ from {source}\n"
        log = app.log()
    assert "PROXY" not in log
    assert "SSL" not in log
