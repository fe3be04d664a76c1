"""The admin address of the command line: is it alive, is it ready, what does it do?

Where there are workers, a process of its own serves it. It is forked by the supervisor, which
starts another one if it ends, and reads only what is in the shared memory: no worker can make it
wait, and none of its clients can keep the supervisor from its work.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
from collections.abc import Iterable
from http.client import responses
from typing import Any, NoReturn, Protocol

from fasthttpserver._cli.channel import Channel
from fasthttpserver._cli.scoreboard import STATES, Scoreboard, View, WorkerView
from fasthttpserver._net.ioloop import IOLoop
from fasthttpserver._net.processes import resident_memory
from fasthttpserver._server.counters import describe
from fasthttpserver._server.exposition import CONTENT_TYPE, Family, Sample, expose, families_of
from fasthttpserver.httpserver import HTTPRequest, HTTPServer
from fasthttpserver.log import gen_log

__all__ = ["Admin", "AdminProcess", "Service", "Workers", "make_admin_server", "ready_family"]

# Seconds without a beat after which a worker is not expected to answer soon. They come each second.
_SILENT = 5.0
# The same until a worker without --worker-timeout is taken for dead.
_DEAD = 60.0


class Service(Protocol):
    """What is looked after."""

    def is_alive(self) -> bool:
        """Whether anything is left that could serve."""
        ...

    def is_ready(self) -> bool:
        """Whether new clients are welcome."""
        ...

    def stats(self) -> dict[str, Any]:
        """Return what ``/stats`` shows."""
        ...

    def families(self) -> Iterable[Family]:
        """Return what ``/metrics`` shows."""
        ...


class Workers:
    """A service of workers, as their scoreboard shows it.

    Args:
        scoreboard: Of the workers.
        worker_timeout: Seconds after which a silent one is killed; 0 or None for never.
    """

    def __init__(self, scoreboard: Scoreboard, worker_timeout: float | None) -> None:
        self._scoreboard = scoreboard
        self._dead = worker_timeout or _DEAD
        self._silent = min(_SILENT, self._dead)

    def is_alive(self) -> bool:
        # One that starts may take its time: the supervisor bounds it.
        return any(
            each.state == "starting" or each.silent < self._dead
            for each in self._scoreboard.view().workers
        )

    def is_ready(self) -> bool:
        return self._ready(self._scoreboard.view())

    def _ready(self, view: View) -> bool:
        return not view.stopping and any(
            each.state == "accepting" and each.silent < self._silent for each in view.workers
        )

    def stats(self) -> dict[str, Any]:
        view = self._scoreboard.view()
        memory = [resident_memory(each.pid) for each in view.workers]
        workers = [
            {
                "number": each.number,
                "pid": each.pid,
                "state": each.state,
                "silent": round(each.silent, 3),
                **describe(each.numbers, resident),
            }
            for each, resident in zip(view.workers, memory, strict=True)
        ]
        return {
            "ready": self._ready(view),
            "total": describe(view.total, _sum(memory)),
            "workers": workers,
            "workers_wanted": view.wanted,
            "worker_restarts": view.restarts,
            "worker_kills": view.killed,
        }

    def families(self) -> Iterable[Family]:
        view = self._scoreboard.view()
        memory = {each.pid: resident_memory(each.pid) for each in view.workers}
        states = [each.state for each in view.workers]
        yield from families_of(describe(view.total, _sum(memory.values())))
        yield ready_family(self._ready(view))
        yield Family(
            "workers",
            "gauge",
            "Workers by state.",
            [Sample({"state": state}, states.count(state)) for state in STATES if state],
        )
        yield Family(
            "workers_wanted", "gauge", "Workers there should be.", [Sample({}, view.wanted)]
        )
        yield Family(
            "worker_restarts",
            "counter",
            "Workers that were started in the place of one that failed.",
            [Sample({}, view.restarts)],
        )
        yield Family(
            "worker_kills", "counter", "Workers that had to be killed.", [Sample({}, view.killed)]
        )
        # While one drains, the one that replaces it has its number: together they are the worker.
        numbers: dict[int, list[WorkerView]] = {}
        for each in sorted(view.workers):
            numbers.setdefault(each.number, []).append(each)

        def by_worker(name: str, text: str, what: Any) -> Family:
            samples = [Sample({"worker": str(n)}, what(group)) for n, group in numbers.items()]
            return Family(f"worker_{name}", "gauge", text, samples)

        described = {each.pid: describe(each.numbers, None) for each in view.workers}
        yield by_worker(
            "connections",
            "Open connections of a worker.",
            lambda group: sum(
                described[each.pid]["connections"][state]
                for each in group
                for state in ("active", "idle")
            ),
        )
        yield by_worker(
            "requests_in_flight",
            "Requests without an answer of a worker.",
            lambda group: sum(described[each.pid]["in_flight"] for each in group),
        )
        yield by_worker(
            "silent_seconds",
            "Since a worker has shown that its loop runs.",
            lambda group: max(each.silent for each in group),
        )
        yield by_worker(
            "resident_memory_bytes",
            "Memory of a worker.",
            lambda group: _sum(memory[each.pid] for each in group) or 0,
        )


def ready_family(is_ready: bool) -> Family:
    """Return what ``/readyz`` says for ``/metrics``."""
    return Family("ready", "gauge", "1 if new clients are welcome.", [Sample({}, int(is_ready))])


def _sum(numbers: Iterable[int | None]) -> int | None:
    """Add up what is known; None if nothing is."""
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None


class Admin:
    """The callback of the admin address.

    Args:
        service: What it tells of.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._pages = {
            "/healthz": self._health,
            "/readyz": self._readiness,
            "/metrics": self._metrics,
            "/stats": self._stats,
        }

    def __call__(self, request: HTTPRequest) -> None:
        fields = {"Cache-Control": "no-store"}
        page = self._pages.get(request.path)
        if page is None:
            status, kind, text = 404, "text/plain", "There is no such page here.\n"
        elif request.method not in ("GET", "HEAD"):
            status, kind, text = 405, "text/plain", "GET and HEAD are what is allowed here.\n"
            fields["Allow"] = "GET, HEAD"
        else:
            status, kind, text = page()
        fields["Content-Type"] = kind
        request.connection.respond(("", status, responses[status]), fields, text.encode())

    def _health(self) -> tuple[int, str, str]:
        if self._service.is_alive():
            return 200, "text/plain", "alive\n"
        return 503, "text/plain", "no worker is alive\n"

    def _readiness(self) -> tuple[int, str, str]:
        if self._service.is_ready():
            return 200, "text/plain", "ready\n"
        return 503, "text/plain", "not ready\n"

    def _metrics(self) -> tuple[int, str, str]:
        return 200, CONTENT_TYPE, expose(self._service.families())

    def _stats(self) -> tuple[int, str, str]:
        return 200, "application/json", json.dumps(self._service.stats(), indent=2) + "\n"


def make_admin_server(service: Service) -> HTTPServer:
    """Make the server of the admin address, without a socket yet."""
    return HTTPServer(
        Admin(service), max_connections=64, max_body_size=0, header_timeout=10, write_timeout=10
    )


class AdminProcess:
    """Serves the admin address until the supervisor is gone, or ends it.

    Args:
        options: Of the command line.
        channel: To the supervisor.
        scoreboard: Of the workers.
        sockets: To accept from.
    """

    def __init__(
        self,
        options: argparse.Namespace,
        channel: Channel,
        scoreboard: Scoreboard,
        sockets: list[socket.socket],
    ) -> None:
        self._service = Workers(scoreboard, options.worker_timeout)
        self._channel = channel
        self._sockets = sockets

    def run(self) -> NoReturn:
        """Serve; ends the process, in no way that runs what an application has set up."""
        for number in signal.SIGTERM, signal.SIGINT:  # all of a group get them
            signal.signal(number, signal.SIG_IGN)
        try:
            IOLoop.configure("asyncio")
            loop = IOLoop.current()
            make_admin_server(self._service).add_sockets(self._sockets)
            loop.add_handler(self._channel.fileno(), self._on_message, IOLoop.READ)
            loop.start()
        except BaseException:
            gen_log.error("The admin address cannot be served", exc_info=True)
            os._exit(1)
        os._exit(0)

    def _on_message(self, _fd: int, _events: int) -> None:
        self._channel.receive()
        if self._channel.at_end:
            IOLoop.current().stop()
