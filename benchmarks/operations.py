"""What an operator meets: restarts, mistakes, workers that hang or die, beside other servers.

Each server runs two workers with a small application of its own interface; what is measured is told
by the docstrings of the functions in ``MEASURES``. A run of all of them on all servers writes
operations.json, and docs/operations.md from it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.root import ROOT
from benchmarks.tables import table

__all__ = ["main"]

RESTARTS = 10
PATIENCE = 10.0
SHARES = 10
RECORD = ROOT / "benchmarks" / "operations.json"
PAGE = ROOT / "docs" / "operations.md"

CALLBACK = """
import os, time
def application(request):
    if request.uri == "/hang":
        time.sleep(1000)
    body = b"%d" % os.getpid()
    close = b"Connection: close\\r\\n" if request.connection.no_keep_alive else b""
    head = b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n%b\\r\\n" % (len(body), close)
    request.write(head + body)
    request.finish()
"""
ASGI = """
import os, time
async def application(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    if scope["path"] == "/hang":
        time.sleep(1000)
    body = b"%d" % os.getpid()
    length = b"%d" % len(body)
    headers = [(b"content-length", length)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
"""


@dataclass(frozen=True)
class Contender:
    """A server.

    Attributes:
        command: Arguments of the interpreter; {port}, {cert} and {key} are filled in.
        tls: What is added for TLS.
        hang: What is added to have hung workers replaced after 2 s.
        application: The text of the module ``application``.
        packages: Whose versions matter.
    """

    name: str
    module: str
    command: str
    packages: tuple[str, ...]
    tls: str = ""
    hang: str = ""
    application: str = ASGI


CONTENDERS = [
    Contender(
        "fasthttpserver",
        "fasthttpserver",
        "-m fasthttpserver application:application --processes 2 --port {port} --log-level warning",
        ("fasthttpserver-llhttp", "uvloop"),
        "--certfile {cert} --keyfile {key}",
        "--worker-timeout 2",
        CALLBACK,
    ),
    Contender(
        "gunicorn (uvicorn-worker)",
        "uvicorn_worker",
        "-m gunicorn application:application -w 2 -k uvicorn_worker.UvicornWorker "
        "-b 127.0.0.1:{port} --log-level warning",
        ("gunicorn", "uvicorn-worker"),
        "--certfile {cert} --keyfile {key}",
        "--timeout 2",
    ),
    Contender(
        "uvicorn",
        "uvicorn",
        "-m uvicorn application:application --workers 2 --port {port} --log-level warning "
        "--no-access-log",
        ("uvicorn", "httptools"),
        "--ssl-certfile {cert} --ssl-keyfile {key}",
        "--timeout-worker-healthcheck 2",
    ),
    Contender(
        "granian",
        "granian",
        "-m granian application:application --interface asgi --workers 2 --port {port} "
        "--log-level warning --no-access-log",
        ("granian",),
        "--ssl-certificate {cert} --ssl-keyfile {key}",
    ),
]


class Server:
    """A running contender, in a session of its own."""

    def __init__(self, contender: Contender, folder: Path, *more: str) -> None:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.port = sock.getsockname()[1]
        (folder / "application.py").write_text(contender.application)
        self.context: ssl.SSLContext | None = None
        if contender.tls in more:
            self.context = ssl.create_default_context(cafile=folder / "ca.crt")
        values = {"port": self.port, "cert": folder / "cert.pem", "key": folder / "key.pem"}
        words = " ".join([contender.command, *more]).format(**values).split()
        self.process = subprocess.Popen(
            [sys.executable, *words],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": f"{folder}:{ROOT / 'src'}"},
        )

    def __enter__(self) -> Server:
        if not wait(lambda: len(self.workers()) == 2 and self.answers(), 30):
            self.__exit__()
            raise RuntimeError("does not start")
        wait(self._both_answer, 3)  # if they share at all
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def _both_answer(self) -> bool:
        """Whether each worker accepts: they may have the socket long before."""
        with contextlib.ExitStack() as stack:
            answers = set()
            for _ in range(32 if self.context is None else 0):
                sock = stack.enter_context(socket.create_connection(("127.0.0.1", self.port), 5))
                sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                answers.add(sock.recv(4096)[-8:])
        return len(answers) == 2 or self.context is not None

    def answers(self) -> bool:
        """Whether a request on a new connection is answered."""
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", self.port), 1))
            if self.context is not None:
                sock = stack.enter_context(
                    self.context.wrap_socket(sock, server_hostname="127.0.0.1")
                )
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            return b" 200 " in sock.recv(4096)
        return False

    def accepts(self) -> bool:
        """Whether a connection is not refused."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def processes(self) -> list[int]:
        """All processes of the session."""
        found = []
        for path in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError, IndexError):
                fields = (path / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == self.process.pid and fields[0] != "Z":
                    found.append(int(path.name))
        return found

    def workers(self) -> dict[int, int]:
        """Processes but the first one that have the listening socket: their connections."""
        listening: set[str] = set()
        connected: set[str] = set()
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            parts = line.split()
            if parts[1].endswith(f":{self.port:04X}"):
                (listening if parts[3] == "0A" else connected).add(f"socket:[{parts[9]}]")
        found = {}
        for pid in self.processes():
            links = []
            with contextlib.suppress(OSError):
                for name in os.listdir(f"/proc/{pid}/fd"):
                    with contextlib.suppress(OSError):
                        links.append(os.readlink(f"/proc/{pid}/fd/{name}"))
            if pid != self.process.pid and listening & set(links):
                found[pid] = len(connected & set(links))
        return found

    def roll(self) -> None:
        """Replace the workers, and wait until it is done."""
        before = set(self.workers())
        self.process.send_signal(signal.SIGHUP)
        if not wait(lambda: before.isdisjoint(now := self.workers()) and len(now) == 2, 60):
            raise RuntimeError("does not replace its workers in 60 s")
        time.sleep(0.2)

    def cpu(self) -> float:
        """Seconds of CPU of all processes so far."""
        spent = 0.0
        for pid in self.processes():
            with contextlib.suppress(OSError):
                for path in Path(f"/proc/{pid}/task").iterdir():
                    spent += int((path / "schedstat").read_text().split()[0]) / 1e9
        return spent


def wait(condition: Callable[[], object], seconds: float) -> bool:
    """Wait for what nobody tells."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return False


def restarts_strict(contender: Contender, folder: Path) -> str:
    """SIGHUP, ten times, while 16 clients keep their connections, send one request after the
    other and never one again: those that were not answered with 200, of all.
    """
    with Server(contender, folder) as server:
        sent, lost = asyncio.run(_strict(server))
    return f"{lost} of {sent:,}"


async def _strict(server: Server) -> tuple[int, int]:
    sent = lost = 0
    over = False

    async def client() -> None:
        nonlocal sent, lost
        while not over:
            writer = None
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
                while not over:
                    if reader.at_eof():  # closed while nothing was asked: nothing is lost
                        break
                    sent += 1
                    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                    head = (await reader.readuntil(b"\r\n\r\n")).lower()
                    length = re.search(rb"content-length: (\d+)", head)
                    if length is None or b" 200 " not in head:
                        raise EOFError
                    await reader.readexactly(int(length[1]))
                    if b"connection: close" in head:
                        break
                    await asyncio.sleep(0.001)
            except (OSError, EOFError):
                lost += 1
                await asyncio.sleep(0.01)
            finally:
                if writer is not None:
                    writer.close()

    clients = [asyncio.create_task(client()) for _ in range(16)]
    for _ in range(RESTARTS):
        await asyncio.to_thread(server.roll)
    over = True
    await asyncio.gather(*clients)
    return sent, lost


def restarts_wrk(contender: Contender, folder: Path) -> str:
    """The same under `wrk -t1 -c16`: its errors, of its requests."""
    if shutil.which("wrk") is None:
        return "no wrk"
    with Server(contender, folder) as server:
        url = f"http://127.0.0.1:{server.port}/"
        command = ["wrk", "-t1", "-c16", "-d600s", url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as wrk:
            for _ in range(RESTARTS):
                server.roll()
            wrk.send_signal(signal.SIGINT)
            output, _ = wrk.communicate()
    sent = re.search(r"(\d+) requests in", output)
    errors = re.search(r"connect (\d+), read (\d+), write (\d+), timeout (\d+)", output)
    lost = sum(map(int, errors.groups())) if errors else 0
    return f"{lost} of {int(sent[1]) if sent else 0:,}"


def slow_import(contender: Contender, folder: Path) -> str:
    """SIGHUP with an application that takes 2 s to import: the longest time without an answer on
    a new connection.
    """
    longest = 0.0
    with Server(contender, folder) as server:
        slow = f"import time\ntime.sleep(2)\n{contender.application}"
        (folder / "application.py").write_text(slow)
        server.process.send_signal(signal.SIGHUP)
        begun = last = time.monotonic()
        while last - begun < PATIENCE:
            wait(server.answers, PATIENCE)
            now = time.monotonic()
            longest, last = max(longest, now - last), now
            time.sleep(0.02)  # or the asking would take all of a core
    return f"{longest:.1f} s"


def wrong_key(contender: Contender, folder: Path) -> str:
    """SIGHUP with a file that is no key: whether a request is answered 2 s later."""
    for name, kind in ("cert.pem", "crt"), ("key.pem", "key"):
        shutil.copy(folder / f"right.{kind}", folder / name)
    with Server(contender, folder, contender.tls) as server:
        (folder / "key.pem").write_text("wrong")
        return _after_hangup(server)


def wrong_code(contender: Contender, folder: Path) -> str:
    """SIGHUP with a syntax error in the application: the same."""
    with Server(contender, folder) as server:
        (folder / "application.py").write_text("def (:\n")
        return _after_hangup(server)


def _after_hangup(server: Server) -> str:
    server.process.send_signal(signal.SIGHUP)
    time.sleep(2)
    return "serves" if server.answers() else "is down"


def hung_worker(contender: Contender, folder: Path) -> str:
    """A call of the application that never returns: how long until there are two other workers,
    with the server's option for that at 2 s where it has one.
    """
    with Server(contender, folder, contender.hang) as server:
        before = set(server.workers())
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")
            begun = time.monotonic()
            replaced = wait(
                lambda: set(server.workers()) - before and len(server.workers()) == 2, PATIENCE
            )
    return f"{time.monotonic() - begun:.1f} s" if replaced else "not in 10 s"


def killed_parent(contender: Contender, folder: Path) -> str:
    """SIGKILL to the first process: how long until nobody listens on the port, so that the server
    can be started again.
    """
    with Server(contender, folder) as server:
        server.process.kill()
        begun = time.monotonic()
        ended = wait(lambda: not server.accepts(), PATIENCE)
    return f"{time.monotonic() - begun:.1f} s" if ended else "not in 10 s"


def share(contender: Contender, folder: Path) -> str:
    """The part of 64 new connections that the worker with fewer has: the least of ten times, half
    of them after a rolling restart.
    """
    least = 1.0
    with Server(contender, folder) as server:
        for attempt in range(SHARES):
            if attempt == SHARES // 2:
                server.roll()
            with contextlib.ExitStack() as stack:
                for _ in range(64):
                    stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
                least = min(least, min(_connections(server, 64), default=0) / 64)
            wait(lambda: not sum(server.workers().values()), 5)
    return f"{least:.0%}"


def _connections(server: Server, expected: int) -> list[int]:
    """Wait until all are accepted; return how many each worker has."""
    counts: list[int] = []

    def are_accepted() -> bool:
        counts[:] = server.workers().values()
        return sum(counts) >= expected

    wait(are_accepted, 5)
    return counts


def idle(contender: Contender, folder: Path) -> str:
    """CPU time of all processes in 10 s without a client."""
    with Server(contender, folder) as server:
        before = server.cpu()
        time.sleep(10)
        return f"{server.cpu() - before:.3f} s"


MEASURES: dict[str, Callable[[Contender, Path], str]] = {
    "restarts, strict client": restarts_strict,
    "restarts, wrk": restarts_wrk,
    "slow import": slow_import,
    "wrong key": wrong_key,
    "wrong code": wrong_code,
    "hung worker": hung_worker,
    "killed parent": killed_parent,
    "share": share,
    "idle": idle,
}


@contextlib.contextmanager
def workshop() -> Iterator[Path]:
    """A folder with a certificate and its key."""
    import trustme

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(folder / "ca.crt")
        made = authority.issue_cert("127.0.0.1")
        made.cert_chain_pems[0].write_to_path(folder / "right.crt")
        made.private_key_pem.write_to_path(folder / "right.key")
        yield folder


_PAGE = """\
<!-- Made by `make bench-operations` from benchmarks/operations.json, which it writes. -->

# Operations, compared

What an operator meets: restarts, mistakes, workers that hang or die. Each server runs two workers
with a small application of its own interface and [these options](#options), and meets the same, one
server after the other. `make bench-operations` does all of it and writes this page;
`benchmarks/operations.py` is the program.

{table}
{explained}

Look at what is lost or down and not at small differences: clients and servers share the
[machine](#machine-and-versions), and each figure is of one run.

## Options

{options}

## Machine and versions

{machine}"""


def page(record: dict[str, Any]) -> str:
    """Return the page.

    Args:
        record: What was measured, as it is in operations.json.
    """
    results = record["results"]
    rows = [[name, *(found.get(name, "") for found in results.values())] for name in MEASURES]
    explained = [
        f"- *{name}*: {' '.join((function.__doc__ or '').split())}"
        for name, function in MEASURES.items()
    ]
    commands = []
    for each in CONTENDERS:
        commands.append(f"- {each.name}: `{each.command}`")
        more = {"with TLS": each.tls, "for the hung worker": each.hang}
        commands += [f"  - {when}: `{words}`" for when, words in more.items() if words]
    facts = {
        **record["machine"],
        **record["versions"],
        "measured": record["date"],
        "load average before that": record["load"],
    }
    return _PAGE.format(
        table=table(["", *results], rows),
        explained="\n".join(explained),
        options="\n".join(commands),
        machine=table(["", ""], [[name, value] for name, value in facts.items()]),
    ).replace("---:", "---")


def measure(contender: Contender, name: str) -> str:
    """Return what came of one measure, or why nothing did."""
    with workshop() as folder:
        try:
            return MEASURES[name](contender, folder)
        except (OSError, RuntimeError) as error:
            return str(error)


def versions() -> dict[str, str]:
    """Return those of all packages that are compared."""
    found = {"Python": machine.build_versions()["Python"]}
    for contender in CONTENDERS:
        for package in contender.packages:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                found[package] = importlib.metadata.version(package)
    return found


def main() -> int:
    """Measure; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.operations", description=__doc__.partition("\n")[0]
    )
    parser.add_argument(
        "--only", action="append", choices=MEASURES, help="print this alone; may be repeated"
    )
    parser.add_argument(
        "--server", action="append", choices=[each.module for each in CONTENDERS], help="likewise"
    )
    parser.add_argument(
        "--render", action="store_true", help="make the page from the last results again"
    )
    options = parser.parse_args()
    if options.render:
        PAGE.write_text(page(json.loads(RECORD.read_text())))
        return 0
    record: dict[str, Any] = {
        "date": machine.now(),
        "machine": machine.describe()["machine"],
        "versions": versions(),
        "load": f"{os.getloadavg()[1]:.1f}",
        "results": {},
    }
    for contender in CONTENDERS:
        if options.server is not None and contender.module not in options.server:
            continue
        if importlib.util.find_spec(contender.module) is None:
            print(f"{contender.name}: {contender.module} is not installed", flush=True)
            continue
        found = record["results"][contender.name] = {}
        for name in options.only or MEASURES:
            found[name] = measure(contender, name)
            print(f"{contender.name}: {name}: {found[name]}", flush=True)
    if options.only is None and options.server is None:
        RECORD.write_text(json.dumps(record, indent=1) + "\n")
        PAGE.write_text(page(record))
        print(f"{RECORD}, {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
