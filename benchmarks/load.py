"""Puts load on a server: what its clients saw, and what it cost."""

import http.client
import json
import resource
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.corpus import Request
from benchmarks.root import ROOT
from benchmarks.servers import HOST, Server, ServerFailed, pin

__all__ = ["Load", "check_answer", "echo", "hold_idle", "upload", "wrk", "wrk_steady"]


@dataclass(frozen=True)
class Load:
    """How load is made: on these cores, with this many connections, with TLS or not."""

    cpus: set[int]
    connections: int
    tls: bool
    folder: Path

    def pin(self) -> None:
        """Keep a load generator on its cores."""
        pin(self.cpus)


def check_answer(server: Server, load: Load, request: Request, expected: bytes | None) -> None:
    """Send a request once; ServerFailed if the answer is not as expected.

    Args:
        server: The server to ask.
        load: For TLS or not.
        request: What to send; if it is several requests, all have to be answered.
        expected: The body of the answer; None for any.
    """
    try:
        with _connect(server, load) as sock:
            sock.sendall(request.data[: request.size])
            response = http.client.HTTPResponse(sock)
            response.begin()
            body = response.read()
        if request.count > 1:
            with _connect(server, load) as sock:
                _check_pipelined(sock, request)
    except (OSError, http.client.HTTPException) as error:
        raise ServerFailed(f"no answer: {error!r}; {server.said()}") from error
    if response.status != 200 or (expected is not None and body != expected):
        raise ServerFailed(f"answered {response.status} with {body[:60]!r}")


def _check_pipelined(sock: socket.socket, request: Request) -> None:
    sock.settimeout(3)
    sock.sendall(request.data)
    received = b""
    while (answered := received.count(b"HTTP/1.1 200")) < request.count:
        try:
            data = sock.recv(65536)
        except TimeoutError:
            data = b""
        if not data:
            raise ServerFailed(f"answers {answered} of {request.count} pipelined requests")
        received += data


def _connect(server: Server, load: Load) -> socket.socket:
    sock = socket.create_connection((HOST, server.port), timeout=15)
    if not load.tls:
        return sock
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # it is our own, made a minute ago
    return context.wrap_socket(sock)


def wrk(server: Server, load: Load, request: Request, seconds: float) -> dict[str, Any]:
    """Load the server with wrk and return one run's figures."""
    data = load.folder / "request"
    data.write_bytes(request.data)
    url = f"{'https' if load.tls else 'http'}://{HOST}:{server.port}/"
    command = ["wrk", "-t1", f"-c{load.connections}", "-d600s", "--latency"]
    command += ["-s", str(ROOT / "benchmarks" / "wrk.lua"), url, "--", str(data)]
    cpu_before = server.cpu_seconds()
    own_before = _children_cpu()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=load.pin
    )
    try:
        # -d takes whole seconds only, and SIGINT ends a run just as well.
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=30)
    except subprocess.TimeoutExpired as error:
        raise ServerFailed("wrk did not end") from error
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    lines = output.strip().splitlines()
    if not lines or not lines[-1].startswith("{"):
        raise ServerFailed(f"wrk said: {lines[-1] if lines else 'nothing'}")
    result = json.loads(lines[-1])
    count = result["requests"] - result["bad_status"]
    if count <= 0:
        raise ServerFailed(f"no request was answered; {server.said()}")
    cpu = server.cpu_seconds() - cpu_before
    # With pipelining, wrk's correction of latencies makes nonsense of them.
    latency = {} if request.count > 1 else {key: result[key] for key in ("p50_us", "p99_us")}
    return {
        "requests": count,
        "requests_per_second": count / result["seconds"],
        **latency,
        "cpu_seconds": cpu,
        "cpu_us": cpu / count * 1e6,
        "resident_kib": server.resident_kib(),
        "errors": result["errors"] + result["bad_status"],
        # Near 1 the generator, not the server, bounds requests per second.
        "load_cpu": (_children_cpu() - own_before) / result["seconds"],
    }


def wrk_steady(server: Server, load: Load, request: Request, seconds: float) -> dict[str, Any]:
    """As ``wrk``, but CPU per request without the making of the connections.

    That is the difference of a short run and a longer one; making them is in both.
    """
    start = 0.5 + load.connections / 5000  # time enough to make the connections
    short = wrk(server, load, request, start)
    result = wrk(server, load, request, start + seconds)
    requests = result["requests"] - short["requests"]
    if requests <= 0:
        raise ServerFailed("a longer run answered fewer requests than a short one")
    result["cpu_us"] = (result["cpu_seconds"] - short["cpu_seconds"]) / requests * 1e6
    return result


def upload(server: Server, load: Load, size: int) -> dict[str, Any]:
    """Upload one body of this size and return the figures."""
    before = server.resident_kib()
    cpu_before = server.cpu_seconds()
    with _client(load, "upload", server.port, size) as client:
        said = _line(client)
    return {
        "mib_per_second": size / 2**20 / said["seconds"],
        "cpu_us": (server.cpu_seconds() - cpu_before) * 1e6,
        "peak_kib": max(0, server.peak_kib() - before),
        "resident_kib": server.resident_kib(),
    }


def hold_idle(server: Server, load: Load) -> dict[str, Any]:
    """Open connections that ask once and then are idle; return memory per connection."""
    # What the server allocates once, for its first clients, does not count.
    with _client(load, "idle", server.port, 100) as client:
        _line(client)
    time.sleep(0.2)
    before = server.resident_kib()
    with _client(load, "idle", server.port, load.connections) as client:
        said = _line(client)
        time.sleep(0.3)
        after = server.resident_kib()
    return {
        "connections": said["connections"],
        "kib_per_connection": (after - before) / said["connections"],
        "resident_kib": after,
    }


def echo(server: Server, load: Load, seconds: float) -> dict[str, Any]:
    """Have messages of WebSockets echoed for so long and return the figures of one."""
    with _client(load, "echo", server.port, load.connections, seconds) as client:
        begun = _line(client)
        cpu_before = server.cpu_seconds()
        ended = _line(client)
        cpu = server.cpu_seconds() - cpu_before
    messages = ended["messages"] - begun["messages"]
    return {
        "requests": messages,
        "requests_per_second": messages / ended["seconds"],
        "cpu_seconds": cpu,
        "cpu_us": cpu / messages * 1e6,
        "resident_kib": server.resident_kib(),
        "errors": 0,
        "load_cpu": ended["cpu"] / ended["seconds"],
    }


@contextmanager
def _client(load: Load, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run benchmarks/clients.py; it ends when its stdin does."""
    command = [sys.executable, "-m", "benchmarks.clients", *map(str, arguments)]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=load.pin,
    )
    try:
        yield process
    finally:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def _line(client: subprocess.Popen[str]) -> dict[str, Any]:
    """The client's one line of JSON; ServerFailed if it says something else."""
    assert client.stdout is not None
    line = client.stdout.readline()
    if not line.startswith("{"):
        rest = client.stdout.read().strip().splitlines()
        raise ServerFailed(f"client: {rest[-1] if rest else line.strip() or 'ended'}")
    said: dict[str, Any] = json.loads(line)
    return said


def _children_cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
