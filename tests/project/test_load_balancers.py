"""Rolling restarts and scale-down under load, as the pages say.

Of services behind HAProxy and nginx, and of README's example without them.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import os
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from helpers import TIMEOUT, Process, eventually, free_port
from proxies import HOWTO, answers, block, put, run_haproxy, run_nginx

pytestmark = [
    pytest.mark.usefixtures("nothing_left"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork"),
    pytest.mark.slow,
]

APPLICATION = """
import os
def callback(request):
    request.respond(200, str(os.getpid()))
"""


class Service(Process):
    """The command line on a port; it ends with status 0.

    Args:
        folder: For its application and its log.
        words: More of the command line.
        application: The text of the module.
        name: Of the callback in it.
    """

    def __init__(
        self, folder: Path, *words: str, application: str = APPLICATION, name: str = "callback"
    ) -> None:
        folder.mkdir()
        (folder / "application.py").write_text(application)
        self.port, self.admin = free_port(), free_port()
        self._log = folder / "log"
        run = (
            f"import sys; sys.stderr = open({str(self._log)!r}, 'a', buffering=1)\n"
            "from fasthttpserver.__main__ import main; sys.exit(main())\n"
        )
        listen = f"--port={self.port}", f"--admin=127.0.0.1:{self.admin}"
        super().__init__(["-c", run, f"application:{name}", *listen, *words], cwd=folder)
        eventually(self.is_ready)

    def is_ready(self) -> bool:
        """What it says of itself; at first nothing."""
        client = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=TIMEOUT)
        with contextlib.closing(client), contextlib.suppress(OSError):
            client.request("GET", "/readyz")
            return client.getresponse().status == 200
        return False

    def ended(self) -> set[str]:
        """The pids of its workers that have ended."""
        return set(re.findall(r"\(pid (\d+)\) ended", self._log.read_text()))


class Load:
    """Clients that never try again: some keep their connections, some have one for each request.

    Args:
        port: Where they ask.
        uri: What they ask for.
        methods: How.

    Attributes:
        seen: Who has answered, in order.
    """

    def __init__(self, port: int, uri: str = "/", methods: Sequence[str] = ("GET", "POST")) -> None:
        self.seen: list[str] = []
        self._uri = uri
        self._port = port
        self._failures: list[object] = []
        self._end = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(keeps, method))
            for keeps in (False, True)
            for method in methods
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(TIMEOUT)
        assert not self._failures, self._failures

    def _run(self, keeps: bool, method: str) -> None:
        try:
            while not self._end.is_set():
                client = http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT)
                with contextlib.closing(client):
                    while not self._end.is_set():
                        # It connects anew only if the answer before has said that it has to.
                        client.request(method, self._uri, b"body" if method == "POST" else None)
                        response = client.getresponse()
                        body = response.read().decode()
                        assert response.status == 200, body
                        self.seen.append(body)
                        if not keeps:
                            break
        except Exception as error:
            self._failures.append(error)

    def until(self, condition: Callable[[], object]) -> None:
        """Go on until it holds, or a request has failed."""
        eventually(lambda: self._failures or condition())

    def go_on(self) -> None:
        """Go on for some more answers."""
        count = len(self.seen)
        self.until(lambda: len(self.seen) > count + 100)


class HAProxy:
    """HAProxy as docs/howto/haproxy.md has it, but for TLS and for trying again.

    Args:
        folder: For its files.
        services: Behind it; the first and the last.
    """

    def __init__(self, folder: Path, *services: Service) -> None:
        self.port = free_port()
        self._stats = folder / "stats"
        front, _, _ = block("haproxy.md", "configuration of HAProxy").partition("\nbackend ")
        tries = "retries 3\n    retry-on conn-failure empty-response\n    option redispatch"
        front = put(
            front,
            ("bind :443 ssl crt /etc/haproxy/site.pem alpn h2,http/1.1", f"bind :{self.port}"),
            (tries, "retries 0"),
        )
        first, last = services[0], services[-1]
        back = put(
            block("haproxy.md", "two services behind HAProxy"),
            ("/run/haproxy/stats.sock", str(self._stats)),
            ("check port 9090 inter 1s", "check inter 100ms"),  # all are on one machine here
            ("timeout check 1s", "timeout check 10s"),  # this machine may be very busy
            ("10.0.0.1:8001", f"127.0.0.1:{first.port} port {first.admin}"),
            ("10.0.0.2:8001", f"127.0.0.1:{last.port} port {last.admin}"),
        )
        self.run = functools.partial(run_haproxy, folder, self.port, f"{front}\n{back}")

    def is_up(self, name: str) -> bool:
        """What HAProxy's check says of a service."""
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self._stats))
            client.sendall(b"show stat\n")
            table = b"".join(iter(lambda: client.recv(65536), b"")).decode()
        names, *rows = (line.split(",") for line in table.strip().splitlines())
        (status,) = (row[names.index("status")] for row in rows if row[:2] == ["app", name])
        return status.startswith("UP")


class Nginx:
    """nginx as docs/howto/nginx.md has it, but for TLS.

    Args:
        folder: For its files.
        ports: Of the services.
        tries_again: Whether a service that refuses a connection is passed over.
    """

    def __init__(self, folder: Path, *ports: int, tries_again: bool) -> None:
        self.port = free_port()
        servers = "\n    ".join(f"server 127.0.0.1:{port};" for port in ports)
        again = "" if tries_again else "proxy_next_upstream off;\n"
        text = put(
            block("nginx.md", "configuration of nginx"),
            ("server 127.0.0.1:8001;", servers),
            ("listen 443 ssl http2;", f"listen 127.0.0.1:{self.port};"),
            ("    ssl_certificate /etc/ssl/site.crt;\n", again),
            ("    ssl_certificate_key /etc/ssl/site.key;\n", ""),
        )
        self.run = functools.partial(run_nginx, folder, self.port, text)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Start a service; arguments are more of the command line."""
    with contextlib.ExitStack() as stack:
        numbers = iter(range(9))

        def start(*words: str, **options: str) -> Service:
            return stack.enter_context(Service(tmp_path / str(next(numbers)), *words, **options))

        yield start


def test_rolling_restarts_of_the_second_example_of_the_readme_fail_no_request(
    start: Callable[..., Service],
) -> None:
    text = (HOWTO.parents[1] / "README.md").read_text(encoding="utf-8")
    example = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)[1]
    service = start("--processes=2", application=example, name="handle_request")
    with Load(service.port, "/hello", methods=["GET", "GET"]) as load:
        for restarts in range(1, 4):
            load.go_on()
            service.send_signal(signal.SIGHUP)
            load.until(lambda: len(service.ended()) == 2 * restarts)  # noqa: B023
    assert set(load.seen) == {'{"requested":"/hello"}'}


@pytest.mark.parametrize("proxy", ["haproxy", "nginx"])
def test_rolling_restart_fails_no_request_although_the_proxy_does_not_try_again(
    start: Callable[..., Service], tmp_path: Path, proxy: str
) -> None:
    service = start("--processes=2")
    if proxy == "haproxy":
        front: HAProxy | Nginx = HAProxy(tmp_path, service)
    else:
        front = Nginx(tmp_path, service.port, tries_again=False)
    with front.run(), Load(front.port) as load:
        load.go_on()
        service.send_signal(signal.SIGHUP)
        load.until(lambda: len(service.ended()) == 2)
        load.go_on()
    assert not service.ended() & set(load.seen[-50:])


def test_service_that_haproxy_sees_draining_is_scaled_down_without_a_failed_request(
    start: Callable[..., Service], tmp_path: Path
) -> None:
    leaving, staying = start("--shutdown-delay=3"), start()
    front = HAProxy(tmp_path, leaving, staying)
    with front.run(), Load(front.port) as load:
        load.until(lambda: len(set(load.seen)) == 2)
        leaving.send_signal(signal.SIGTERM)
        load.until(lambda: not front.is_up("app1"))
        assert answers(leaving.port)
        load.until(lambda: leaving.has_ended)
        load.go_on()
        assert front.is_up("app2")
    assert leaving.end().returncode == 0
    assert not leaving.ended() & set(load.seen[-50:])


def test_service_is_scaled_down_behind_nginx_without_a_failed_request(
    start: Callable[..., Service], tmp_path: Path
) -> None:
    leaving, staying = start(), start()
    front = Nginx(tmp_path, leaving.port, staying.port, tries_again=True)
    with front.run(), Load(front.port) as load:
        load.until(lambda: len(set(load.seen)) == 2)
        leaving.send_signal(signal.SIGTERM)
        load.until(lambda: leaving.has_ended)
        load.go_on()
    assert leaving.end().returncode == 0
    assert len(set(load.seen[-50:])) == 1
