"""The admin address: whether it lives, whether it is ready, what it does."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import Client, Response, eventually, free_port, get
from prometheus_client.parser import text_string_to_metric_families
from test_supervisor import Program, end, is_alive, is_refused

from fasthttpserver._cli.admin import Workers
from fasthttpserver._cli.scoreboard import Scoreboard, View
from fasthttpserver._net.sharing import Board
from fasthttpserver._server.counters import Counters

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


class Watched(Program):
    """The command line with an admin address."""

    def __init__(self, folder: Path, *words: str, **options: Any) -> None:
        super().__init__(folder, "--admin=127.0.0.1:0", *words, **options)
        self.admin = self.admin_address()

    def admin_address(self) -> tuple[str, int]:
        port = self.expect(r"The admin address is http://127\.0\.0\.1:(\d+)/")[1]
        return "127.0.0.1", int(port)

    def look(self, page: str) -> Response:
        with Client(self.admin) as client:
            client.send(get(page, "Connection: close"))
            return client.read_response()

    def is_ready(self) -> bool:
        return self.look("/readyz").status == 200

    def stats(self) -> Any:
        return json.loads(self.look("/stats").body)

    def metrics(self) -> dict[str, float]:
        """Every sample by its name and labels, as Prometheus' client reads them."""
        response = self.look("/metrics")
        assert response.fields["content-type"].startswith("text/plain; version=0.0.4")
        found: dict[str, float] = {}
        for family in text_string_to_metric_families(response.body.decode()):
            for sample in family.samples:
                labels = ",".join(sorted(sample.labels.values()))
                key = sample.name.removeprefix("fasthttpserver_") + (labels and f" {labels}")
                assert key not in found
                found[key] = sample.value
        return found

    def admin_process(self) -> int:
        """The child that is no worker."""
        path = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        children = {int(pid) for pid in path.read_text().split()}
        (admin,) = children - {each["pid"] for each in self.stats()["workers"]}
        return admin


Start = Callable[..., Watched]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with contextlib.ExitStack() as stack:
        yield lambda *words, **options: stack.enter_context(Watched(tmp_path, *words, **options))


def is_up(program: Watched) -> bool:
    with contextlib.suppress(OSError):
        return program.look("/healthz").status == 200
    return False


# --- Is it alive, is it ready? ----------------------------------------------------------


def test_it_is_ready_from_the_first_accept_to_the_wish_for_its_end(
    start: Start, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    program = start()
    with gate.open("w"):  # while the import of the application takes its time
        eventually(lambda: is_up(program))
        assert program.look("/readyz").status == 503
        gate.unlink()
    program.serve()
    eventually(program.is_ready)
    with Client(program.address) as client:
        client.send(get("/held"))
        eventually(lambda: program.metrics()["requests_in_flight"] == 1)
        program.send_signal(signal.SIGTERM)
        eventually(lambda: not program.is_ready())
        assert program.look("/healthz").status == 200
        (program.folder / "release").touch()
        assert client.read_response().body == b"held"
    assert "ERROR" not in program.rest()
    assert program.status() == 0
    assert is_refused(program.admin)


def test_service_stays_ready_in_a_rolling_restart(start: Start) -> None:
    program = start("--processes=2").serve()
    program.send_signal(signal.SIGHUP)
    for _ in range(2):
        assert program.is_ready()
        program.expect("accepts")
    assert program.is_ready()
    end(program)


def test_workers_that_do_not_start_again_are_not_ready(start: Start) -> None:
    program = start().serve()
    (program.folder / "broken").touch()
    os.kill(program.worker(), signal.SIGKILL)
    eventually(lambda: not program.is_ready())
    (program.folder / "broken").unlink()
    eventually(program.is_ready)
    assert program.metrics()["worker_restarts_total"] >= 1
    end(program)


# --- What it does -----------------------------------------------------------------------


def test_numbers_of_all_workers_add_up_over_restarts(start: Start) -> None:
    program = start("--processes=2").serve()
    eventually(lambda: program.metrics()["workers accepting"] == 2)
    workers: set[int] = set()
    asked = 0
    while asked < 20 or len(workers) < 2:
        workers.add(program.worker())
        asked += 1
    assert program.metrics()["requests_total"] == asked
    os.kill(workers.pop(), signal.SIGKILL)  # it says nothing more
    eventually(lambda: program.metrics()["worker_restarts_total"] == 1)
    eventually(lambda: program.metrics()["workers accepting"] == 2)
    assert program.metrics()["requests_total"] == asked
    program.send_signal(signal.SIGHUP)
    eventually(lambda: workers.isdisjoint(each["pid"] for each in program.stats()["workers"]))
    for _ in range(5):
        program.ask()
    found = program.metrics()
    assert found["requests_total"] == found["responses_total 2xx"] == asked + 5
    assert found["request_duration_seconds_count"] == asked + 5
    assert found["connections_accepted_total"] == asked + 5
    end(program)


def test_counters_never_go_back_while_workers_are_replaced(start: Start) -> None:
    program = start("--processes=2").serve()
    seen = [0.0]
    for _ in range(2):
        program.send_signal(signal.SIGHUP)
        accepted = 0
        while accepted < 2:
            program.ask()
            seen.append(program.metrics()["requests_total"])
            said = "".join(program.seen)
            accepted = len(re.findall("accepts", said)) - 2
            if accepted < 2:
                program.expect("accepts|ended")
    assert seen == sorted(seen)
    end(program)


def test_every_worker_has_gauges_of_its_own(start: Start) -> None:
    program = start("--processes=2").serve()
    eventually(lambda: program.metrics()["workers accepting"] == 2)
    with Client(program.address) as client:
        client.send(get("/held"))
        eventually(lambda: program.metrics()["requests_in_flight"] == 1)
        found = program.metrics()
        assert sorted(found[f"worker_requests_in_flight {n}"] for n in (0, 1)) == [0, 1]
        assert sorted(found[f"worker_connections {n}"] for n in (0, 1)) == [0, 1]
        assert found["connections active"] == 1
        both = sum(found[f"worker_resident_memory_bytes {n}"] for n in (0, 1))
        assert 2_000_000 < both
        assert abs(both - found["resident_memory_bytes"]) < both / 2
        (program.folder / "release").touch()
        assert client.read_response().status == 200
    end(program)


def test_worker_that_hangs_keeps_nobody_waiting(start: Start) -> None:
    program = start("--worker-timeout=2").serve()
    program.ask()
    with Client(program.address) as client:
        client.send(get("/hang"))
        eventually(lambda: program.metrics()["requests_in_flight"] == 1)
        assert program.metrics()["requests_total"] == 1  # it says so all the same
        assert program.look("/healthz").status == 200
        eventually(lambda: program.metrics()["worker_kills_total"] == 1)
    eventually(program.is_ready)
    found = program.metrics()
    assert (found["requests_total"], found["requests_cut_total"]) == (1, 1)
    assert found["requests_in_flight"] == found["connections active"] == 0
    end(program)


def test_stats_are_what_the_docs_say(start: Start) -> None:
    program = start("--processes=2").serve()
    eventually(lambda: program.metrics()["workers accepting"] == 2)
    program.ask()
    found = program.stats()
    assert found["ready"] is True
    assert (found["workers_wanted"], found["worker_restarts"], found["worker_kills"]) == (2, 0, 0)
    assert [each["number"] for each in found["workers"]] == [0, 1]
    assert sum(each["requests"] for each in found["workers"]) == found["total"]["requests"] == 1
    page = Path(__file__).parents[2] / "docs/howto/monitoring.md"
    named = set(re.findall(r"`(\w+)`", page.read_text(encoding="utf-8")))
    assert found.keys() | found["workers"][0].keys() <= named
    end(program)


# --- Who is served ----------------------------------------------------------------------


ASKED = {
    # the status, and what Allow says
    "GET /healthz": (200, None),
    "GET /readyz?from=probe": (200, None),
    "HEAD /metrics": (200, None),
    "POST /metrics": (405, "GET, HEAD"),
    "DELETE /stats": (405, "GET, HEAD"),
    "GET /": (404, None),
    "POST /nothing": (404, None),
    "GET /metrics/": (404, None),
}


def test_each_page_has_its_status(start: Start) -> None:
    program = start().serve()
    seen = {}
    for line in ASKED:
        with Client(program.admin) as client:
            client.send(f"{line} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            response = client.read_response(line.split()[0])
            seen[line] = (response.status, response.fields.get("allow"))
    assert seen == ASKED
    end(program)


def test_neither_address_serves_what_is_the_other_ones(start: Start) -> None:
    program = start().serve()
    assert program.ask("/metrics").startswith("one ")  # the application's, as every page is
    assert program.look("/").status == 404
    assert program.metrics()["requests_total"] == 1  # and it counts no look
    end(program)


def test_client_that_sends_nothing_keeps_nobody_waiting(start: Start) -> None:
    program = start().serve()
    with contextlib.ExitStack() as stack:
        for _ in range(100):  # more than the admin address has room for
            stack.enter_context(Client(program.admin)).send(b"GET /metrics HT")
        program.ask()
        program.send_signal(signal.SIGHUP)
        program.expect("accepts")
        with contextlib.suppress(OSError):  # it may be told that there is no room
            assert program.look("/healthz").status in (200, 503)
    eventually(lambda: is_up(program))
    end(program)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are not to be found")
def test_end_of_who_serves_it_is_told_and_another_one_serves(start: Start) -> None:
    program = start().serve()
    program.ask()
    admin = program.admin_process()
    os.kill(admin, signal.SIGTERM)  # as whoever signals the group does: it is not for it
    assert program.is_ready()
    os.kill(admin, signal.SIGKILL)
    program.expect("ERROR .*The admin process was killed by signal 9, starting another one")
    eventually(lambda: is_up(program))
    assert program.metrics()["requests_total"] == 1
    assert program.admin_process() != admin
    end(program)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are not to be found")
def test_admin_process_ends_with_the_supervisor(start: Start) -> None:
    program = start().serve()
    admin = program.admin_process()
    program.send_signal(signal.SIGKILL)
    eventually(lambda: not is_alive(admin))


def test_new_program_takes_the_address_over(start: Start) -> None:
    program = start().serve()
    program.ask()
    program.send_signal(signal.SIGUSR2)
    program.admin_address()  # of the new program
    program.expect("Serving on")
    program.send_signal(signal.SIGTERM)
    program.expect("Drained")
    eventually(lambda: is_up(program) and program.metrics()["requests_total"] == 0)
    assert program.is_ready()
    successor = program.stats()["workers"][0]["pid"]
    assert program.ask() == f"one {successor}"


def test_unix_socket_can_be_the_address(tmp_path: Path) -> None:
    path = tmp_path / "admin"
    with Program(tmp_path, f"--admin=unix:{path}") as program:
        program.expect(re.escape(f"The admin address is http+unix:{path}"))
        program.serve()
        assert path.stat().st_mode & 0o777 == 0o600
        with Client(str(path)) as client:
            assert client.ask(get("/readyz")) == b"ready\n"
        end(program)


@pytest.mark.parametrize("words", [["--reuse-port"], ["--unix-socket=public"], []])
def test_public_address_is_not_taken(tmp_path: Path, words: list[str]) -> None:
    port = free_port()
    admin = f"127.0.0.1:{port}" if "--unix-socket=public" not in words else "unix:./public"
    with Program(tmp_path, f"--port={port}", f"--admin={admin}", *words) as program:
        assert "--admin must not be the public address" in program.rest()
        assert program.status() == 2


def test_inherited_socket_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "public"
    with socket.socket(socket.AF_UNIX) as public:
        public.bind(str(path))
        public.listen()
        fd = public.fileno()
        words = f"--fd={fd}", f"--admin=unix:{path}"
        with Program(tmp_path, *words, pass_fds=[fd]) as program:
            assert "it is the public address" in program.rest()
            assert program.status() == 1
        assert path.exists()


def test_address_that_is_not_to_be_had_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with Program(tmp_path, f"--admin=127.0.0.1:{port}") as program:
            assert f"fasthttpserver: --admin 127.0.0.1:{port}: " in program.rest()
            assert program.status() == 1


# --- What is seen of workers --------------------------------------------------------------


class Service:
    """Two rows, and the clock of their beats."""

    def __init__(
        self,
        worker_timeout: float | None = None,
        make_scoreboard: Callable[[Board], Scoreboard] = Scoreboard,
    ) -> None:
        self.board = Board(2)
        self.scoreboard = make_scoreboard(self.board)
        self.workers = Workers(self.scoreboard, worker_timeout)

    def be(self, *states: str, stopping: bool = False) -> None:
        rows = [(row, state, row, os.getpid()) for row, state in enumerate(states)]
        self.scoreboard.publish(rows, stopping, wanted=2, restarts=0, killed=0)
        for row in range(len(states)):
            self.board.place(row)

    def silence(self, row: int, seconds: float) -> None:
        self.board.beats[row] -= seconds

    @property
    def seen(self) -> tuple[bool, bool]:
        return self.workers.is_alive(), self.workers.is_ready()


@pytest.mark.parametrize(
    ("states", "stopping", "silent", "alive", "ready"),
    [
        ([], False, 0, False, False),
        (["starting"], False, 0, True, False),
        (["starting"], False, 1000, True, False),  # the supervisor knows how long it may take
        (["accepting"], False, 0, True, True),
        (["accepting"], True, 0, True, False),
        (["accepting"], False, 6, True, False),
        (["accepting"], False, 31, False, False),
        (["accepting", "accepting"], False, 31, True, True),
        (["draining"], False, 0, True, False),
        (["failed"], False, 1000, False, False),
        (["killed"], False, 1000, False, False),
    ],
)
def test_state_says_what_is_alive_and_ready(
    states: list[str], stopping: bool, silent: float, alive: bool, ready: bool
) -> None:
    service = Service(worker_timeout=30)
    service.be(*states, stopping=stopping)
    if states:
        service.silence(0, silent)
    assert service.seen == (alive, ready)


def test_worker_without_a_timeout_is_dead_after_a_minute() -> None:
    service = Service(worker_timeout=0)
    service.be("accepting")
    service.silence(0, 59)
    assert service.seen == (True, False)
    service.silence(0, 2)
    assert service.seen == (False, False)


def test_numbers_of_who_has_ended_are_kept_and_its_row_is_free() -> None:
    service = Service()
    service.be("accepting", "accepting")
    for row in (0, 1):
        counters = Counters()
        counters.move(service.scoreboard.memory(row))
        counters.add("accepted")
        counters.tally.end(200, 0.1)
        counters.add("head")
    before = service.workers.stats()["total"]
    assert (before["requests"], before["connections"]["accepted"]) == (2, 2)
    service.scoreboard.retire(0)
    after = service.workers.stats()
    assert after["total"]["requests"] == 2
    assert after["total"]["connections"]["accepted"] == 2
    assert after["total"]["timeouts"] == {"head": 2}
    assert [each["number"] for each in after["workers"]] == [1]
    assert not any(service.scoreboard.memory(0))


class Interrupted(Scoreboard):
    """The supervisor writes while somebody looks for the first time."""

    looks = 0

    def _look(self) -> View:
        view = super()._look()
        self.looks += 1
        if self.looks == 1:
            self.retire(0)
        return view


def test_look_that_the_supervisor_interrupts_is_taken_again() -> None:
    service = Service(make_scoreboard=Interrupted)
    service.be("accepting")
    assert service.scoreboard.view().workers == []
    assert service.scoreboard.view().workers == []


def test_numbers_that_make_no_sense_do_not_end_the_supervisor() -> None:
    service = Service()
    service.be("accepting")
    memory = service.scoreboard.memory(0)
    for byte in (b"\xff", b"\x80", b"\x01"):
        memory[:] = byte * len(memory)
        service.scoreboard.retire(0)
    service.workers.stats()
