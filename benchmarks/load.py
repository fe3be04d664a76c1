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
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.compiling import program
from benchmarks.corpus import Request
from benchmarks.root import ROOT
from benchmarks.servers import HOST, Server, ServerFailed, TooSlow, pin

__all__ = [
    "Load",
    "check_answer",
    "echo",
    "hold_idle",
    "paced",
    "transfer",
    "wrk",
    "wrk_steady",
]

# Idle connections are looked at for so long.
_IDLE_SECONDS = 3.0
# Who is behind by more than this after so short a run was too slow all the time; less may be
# a stall of the machine.
_LATE = 0.1


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
    """As ``wrk``, but CPU and requests per second without the making of the connections.

    That is the difference of a short run and a longer one; making them is in both.
    """
    start = 0.5 + load.connections / 5000  # time enough to make the connections
    short = wrk(server, load, request, start)
    result = wrk(server, load, request, start + seconds)
    requests = result["requests"] - short["requests"]
    if requests <= 0:
        raise ServerFailed("a longer run answered fewer requests than a short one")
    before, all_of_it = (run["requests"] / run["requests_per_second"] for run in (short, result))
    result["requests_per_second"] = requests / (all_of_it - before)
    result["cpu_us"] = (result["cpu_seconds"] - short["cpu_seconds"]) / requests * 1e6
    return result


def paced(
    server: Server, load: Load, request: Request, rate: float, warm_up: float, seconds: float
) -> dict[str, Any]:
    """Offer requests at a constant rate and return one run's figures.

    Args:
        server: The server to ask.
        load: The connections to use, over TLS or not.
        request: What is sent; has to be one request.
        rate: Requests per second.
        warm_up: Seconds that do not count.
        seconds: Seconds that do.

    Raises:
        TooSlow: The server did not keep up.
        ServerFailed: It closed a connection, or answered wrongly.
    """
    data = load.folder / "request"
    data.write_bytes(request.data)
    arguments = [server.port, load.connections, rate, warm_up, seconds, data]
    with _talking([_pacer(load.tls), *arguments], load) as client:
        pids = server.pids()
        _line(client)
        cpu_before, ticks_before = server.cpu_seconds(pids), server.cpu_ticks(pids)
        said = _line(client)
        cpu = server.cpu_seconds(pids) - cpu_before
        ticks = zip(server.cpu_ticks(pids), ticks_before, strict=True)
        user, system = (after - before for after, before in ticks)
    if said["requests"] < 0.99 * said["offered"] or said["seconds"] > seconds + _LATE:
        raise TooSlow(f"answers {said['requests'] / said['seconds']:,.0f}")
    return {
        "cpu_us": cpu / said["requests"] * 1e6,
        "user_ticks": user,
        "system_ticks": system,
        **{key: said[key] for key in ("p50_us", "p99_us", "p999_us", "late_p99_us")},
    }


def _pacer(tls: bool) -> Path:
    source = ROOT / "benchmarks" / "paced.c"
    try:
        if tls:
            return program(source, "paced-tls", ["-DTLS"], ["-lssl", "-lcrypto"])
        return program(source, "paced")
    except (OSError, subprocess.CalledProcessError) as error:
        raise ServerFailed(
            f"paced.c does not compile (TLS: Debian package libssl-dev): {error}"
        ) from error


def transfer(verb: str, server: Server, load: Load, size: int) -> dict[str, Any]:
    """``upload`` or ``download`` one body of this size and return the figures."""
    before = server.resident_kib()
    cpu_before = server.cpu_seconds()
    with _client(load, verb, server.port, size) as client:
        said = _line(client)
    return {
        "mib_per_second": size / 2**20 / said["seconds"],
        "cpu_us": (server.cpu_seconds() - cpu_before) * 1e6,
        "peak_kib": max(0, server.peak_kib() - before),
        "resident_kib": server.resident_kib(),
    }


def hold_idle(
    server: Server, load: Load, request: Request, count: int, rate: float, seconds: float
) -> dict[str, Any]:
    """Open connections that ask once and then are idle.

    Return what each takes of memory, what all of them take of a core, and what a request on
    others costs, alone and beside them.

    Args:
        server: The server to ask.
        load: Its connections are those that are active.
        request: What is asked.
        count: How many are idle.
        rate: Requests per second on those that are active.
        seconds: How long they are.
    """
    # What the server allocates once, for its first clients, does not count.
    with _client(load, "idle", server.port, 100) as client:
        _line(client)
    alone = _paced_if_it_can(server, load, request, rate, seconds)
    time.sleep(0.2)
    before = server.resident_kib()
    with _client(load, "idle", server.port, count) as client:
        said = _line(client)
        time.sleep(0.3)
        after = server.resident_kib()
        cpu_before = server.cpu_seconds()
        time.sleep(_IDLE_SECONDS)
        idle_cpu = server.cpu_seconds() - cpu_before
        beside = _paced_if_it_can(server, load, request, rate, seconds)
    return {
        "connections": said["connections"],
        "kib_per_connection": (after - before) / said["connections"],
        "resident_kib": after,
        "idle_core_percent": idle_cpu / _IDLE_SECONDS * 100,
        **{f"alone_{key}": value for key, value in alone.items()},
        **beside,
    }


def _paced_if_it_can(
    server: Server, load: Load, request: Request, rate: float, seconds: float
) -> dict[str, float]:
    """Figures of ``paced``; none of a server that does not keep up."""
    try:
        return paced(server, load, request, rate, 0.3, seconds)
    except TooSlow:
        return {}


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


def _client(load: Load, *arguments: object) -> AbstractContextManager[subprocess.Popen[str]]:
    """Run benchmarks/clients.py; it ends when its stdin does."""
    return _talking([sys.executable, "-m", "benchmarks.clients", *arguments], load)


@contextmanager
def _talking(command: list[object], load: Load) -> Iterator[subprocess.Popen[str]]:
    """Run a client that says what it sees in lines, until the end of the with block."""
    process = subprocess.Popen(
        list(map(str, command)),
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
