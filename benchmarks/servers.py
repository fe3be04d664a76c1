"""Runs a server on its own cores, and tells what it used."""

import os
import resource
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

from benchmarks.root import ROOT

__all__ = ["HOST", "Server", "ServerFailed", "TooSlow", "free_port", "pin"]

HOST = "127.0.0.1"
_TICKS = os.sysconf("SC_CLK_TCK")


class ServerFailed(Exception):
    """A server did not start, did not answer as it should, or ended."""


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        return int(sock.getsockname()[1])


def pin(cpus: set[int]) -> None:
    """Keep this process on these cores and let it open all files that it may."""
    os.sched_setaffinity(0, cpus)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class TooSlow(ServerFailed):
    """A server answers, but fewer requests than it is offered."""


class Server:
    """One server process, with its children; a context manager that ends them.

    Args:
        command: The command line, with the port in it.
        port: The port it listens on once it is ready.
        cpus: The cores it may run on.
        folder: Where its temporary files and its output go.
    """

    def __init__(self, command: list[str], port: int, cpus: set[int], folder: Path) -> None:
        self.port = port
        self._log = folder / "server.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, "TMPDIR": str(folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=lambda: pin(cpus),
            )

    def __enter__(self) -> Self:
        try:
            self._wait_until_ready(15)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def _wait_until_ready(self, seconds: float) -> None:
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up:
            if self._process.poll() is not None:
                raise ServerFailed(f"ended with status {self._process.returncode}: {self.said()}")
            try:
                socket.create_connection((HOST, self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise ServerFailed(f"did not listen within {seconds} s: {self.said()}")

    def said(self) -> str:
        """Return the last line of its output."""
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else "no output"

    def stop(self) -> None:
        """End the process and all that it started; harmless if they have ended."""
        pids = self.pids()
        self._process.terminate()
        try:
            self._process.wait(3)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        # Children outlive a parent that was killed. A pid is taken again only after 32768
        # others, so within these seconds it is still the same process.
        for pid in pids[1:]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def cpu_seconds(self, pids: list[int] | None = None) -> float:
        """Return user and system time of all its processes so far.

        Args:
            pids: Of a moment ago, since looking for them takes milliseconds.
        """
        return sum(_cpu_seconds(pid) for pid in pids or self.pids())

    def cpu_ticks(self, pids: list[int]) -> tuple[int, int]:
        """Return user and system time of its processes so far, in ticks.

        The kernel looks at each tick what the CPU does, so that these tell how the time is
        divided, and ``cpu_seconds`` tells how long it is.
        """
        ticks = [_cpu_ticks(pid) for pid in pids]
        return sum(user for user, _ in ticks), sum(system for _, system in ticks)

    def resident_kib(self) -> int:
        """Return the resident memory of all its processes."""
        return sum(_memory_kib(pid, "smaps_rollup", "Rss") for pid in self.pids())

    def peak_kib(self) -> int:
        """Return the largest resident memory that its processes have had."""
        return sum(_memory_kib(pid, "status", "VmHWM") for pid in self.pids())

    def pids(self) -> list[int]:
        """Return the process and its descendants."""
        parents: dict[int, list[int]] = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                # The name, in parentheses, may contain spaces.
                parent = int(path.read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue  # it has ended
            parents.setdefault(parent, []).append(int(path.parent.name))
        pids = [self._process.pid]
        for pid in pids:  # grows while it is walked
            pids += parents.get(pid, [])
        return pids


def _cpu_seconds(pid: int) -> float:
    """Time on a CPU, user and system, of all threads.

    schedstat has it in nanoseconds; utime and stime are the same number, cut to ticks.
    """
    try:
        nanoseconds = [
            int(path.read_text().split()[0])
            for path in Path(f"/proc/{pid}/task").glob("*/schedstat")
        ]
        if nanoseconds:
            return sum(nanoseconds) / 1e9
    except OSError:
        return 0.0  # it has ended
    return sum(_cpu_ticks(pid)) / _TICKS


def _cpu_ticks(pid: int) -> tuple[int, int]:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0, 0  # it has ended
    return int(fields[11]), int(fields[12])


def _memory_kib(pid: int, file: str, name: str) -> int:
    try:
        text = Path(f"/proc/{pid}/{file}").read_text()
    except OSError:
        return 0
    for line in text.splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    return 0
