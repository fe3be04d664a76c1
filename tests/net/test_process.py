"""Forking, in programs of their own: each writes lines, each is ended by its test."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fasthttpserver.ioloop import IOLoop, new_asyncio_loop
from fasthttpserver.process import cpu_count, fork_processes, task_id

DEADLINE = 20.0

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

PREAMBLE = """
import logging, os, signal, sys
from fasthttpserver.process import cpu_count, fork_processes, task_id

logging.basicConfig(level=logging.INFO, format="%(name)s:%(levelname)s:%(message)s")
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever the tests run under
signal.signal(signal.SIGHUP, signal.SIG_DFL)

def say(*words):  # in one write, so that the lines of several processes do not mix
    os.write(2, (" ".join(map(str, words)) + "\\n").encode())

def serve(number):
    say("child", number, os.getpid())
    while True:
        signal.pause()

"""


class Program:
    """A running program: its lines come from standard error, logging's among them."""

    def __init__(self, source: str, *arguments: str, **options: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", PREAMBLE + textwrap.dedent(source), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # so that its children can be found at the end
            **options,
        )
        self.lines: list[str] = []
        self._unmatched: list[str] = []
        self._unread = b""
        self._at_end = False

    @property
    def pid(self) -> int:
        return self.process.pid

    def expect(self, pattern: str) -> re.Match[str]:
        """Wait for a line that matches; each is taken once, in any order."""
        deadline = time.monotonic() + DEADLINE
        while True:
            for line in self._unmatched:
                match = re.search(pattern, line)
                if match:
                    self._unmatched.remove(line)
                    return match
            if not self._read(deadline):
                raise AssertionError(f"{pattern!r} never came in {self.lines}")

    def children(self, *numbers: int) -> dict[int, int]:
        """Wait until as many children have said so; return their pids by number."""
        found = {}
        for _ in numbers:
            match = self.expect(r"^child (\d+) (\d+)$")
            found[int(match[1])] = int(match[2])
        assert sorted(found) == sorted(numbers)
        return found

    def end(self) -> int:
        """Wait for the end of the program and of all who hold its standard error."""
        deadline = time.monotonic() + DEADLINE
        while self._read(deadline):
            pass
        assert self._at_end, f"it did not end: {self.lines}"
        return self.process.wait(DEADLINE)

    def signal(self, signum: int) -> None:
        self.process.send_signal(signum)

    def _read(self, deadline: float) -> bool:
        assert self.process.stderr is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stderr, selectors.EVENT_READ)
            if not selector.select(deadline - time.monotonic()):
                return False
        data = os.read(self.process.stderr.fileno(), 65536)
        *lines, self._unread = (self._unread + data).split(b"\n")
        self.lines += [line.decode() for line in lines]
        self._unmatched += [line.decode() for line in lines]
        self._at_end = not data
        return bool(data)

    def kill(self) -> None:
        """End the program and its children, if any of them is left."""
        if not self._at_end:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        self.process.communicate()


@pytest.fixture
def run() -> Iterator[Callable[..., Program]]:
    programs: list[Program] = []

    def run_program(source: str, *arguments: str, **options: Any) -> Program:
        programs.append(Program(source, *arguments, **options))
        return programs[-1]

    yield run_program
    for program in programs:
        program.kill()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class TestCpuCount:
    def test_is_positive(self) -> None:
        assert cpu_count() >= 1

    @pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no CPU affinity here")
    def test_knows_the_affinity(self, run: Callable[..., Program]) -> None:
        program = run(
            """
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
            say("count", cpu_count())
            """
        )
        assert program.expect(r"^count (\d+)$")[1] == "1"
        assert program.end() == 0

    def test_unknown_is_one_and_logged(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        for name in "process_cpu_count", "cpu_count":
            monkeypatch.setattr(os, name, lambda: None, raising=False)
        monkeypatch.delattr(os, "sched_getaffinity", raising=False)
        assert cpu_count() == 1
        assert "assuming 1" in caplog.text


class TestRefusals:
    @pytest.fixture(autouse=True)
    def no_fork(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fork() -> int:
            raise AssertionError("forked")

        monkeypatch.setattr(os, "fork", fork, raising=False)

    def test_outside_of_children_there_is_no_task_id(self) -> None:
        assert task_id() is None

    @pytest.mark.parametrize("how", ["instance", "new", "set"])
    def test_not_with_a_loop(self, how: str) -> None:
        if how == "set":
            loop = new_asyncio_loop("asyncio")
            asyncio.set_event_loop(loop)
        else:
            io_loop = IOLoop.instance() if how == "instance" else IOLoop()
            loop = io_loop.asyncio_loop
        try:
            with pytest.raises(RuntimeError, match=r"^Cannot run in multiple processes: IOLoop"):
                fork_processes(2)
        finally:
            loop.close()
            asyncio.set_event_loop(None)

    def test_not_in_a_running_loop(self) -> None:
        async def main() -> None:
            with pytest.raises(RuntimeError, match=r"^Cannot run in multiple processes: IOLoop"):
                fork_processes(2)

        asyncio.run(main())

    def test_not_in_another_thread(self) -> None:
        errors: list[str] = []

        def target() -> None:
            try:
                fork_processes(2)
            except RuntimeError as error:
                errors.append(str(error))

        thread = threading.Thread(target=target)
        thread.start()
        thread.join()
        assert errors == ["Cannot run in multiple processes: this is not the main thread"]

    @pytest.mark.parametrize(
        ("counts", "error"),
        [
            (("2",), TypeError),
            ((2.0,), TypeError),
            ((True,), TypeError),
            ((2, "5"), TypeError),
            ((2, 1.5), TypeError),
            ((2, -1), ValueError),
        ],
    )
    def test_not_with_a_number_that_is_none(
        self, counts: tuple[Any, ...], error: type[Exception]
    ) -> None:
        with pytest.raises(error, match="max_restarts" if len(counts) > 1 else "num_processes"):
            fork_processes(*counts)

    def test_not_where_the_system_cannot(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delattr(os, "fork")
        with pytest.raises(RuntimeError, match=r"^Cannot run in multiple processes: this system"):
            fork_processes(2)


@needs_fork
class TestChildren:
    def test_each_gets_its_number(self, run: Callable[..., Program]) -> None:
        program = run(
            """
            number = fork_processes(3)
            assert number == task_id()
            serve(number)
            """
        )
        program.expect("^fasthttpserver.general:INFO:Starting 3 processes$")
        children = program.children(0, 1, 2)
        assert program.pid not in children.values()
        program.signal(signal.SIGTERM)
        assert program.end() == 0

    @pytest.mark.parametrize("argument", ["None", "0", "-1"])
    def test_without_a_number_there_is_one_for_each_cpu(
        self, run: Callable[..., Program], argument: str
    ) -> None:
        program = run(
            """
            say("count", cpu_count())
            serve(fork_processes(eval(sys.argv[1])))
            """,
            argument,
        )
        program.children(*range(int(program.expect(r"^count (\d+)$")[1])))
        program.signal(signal.SIGTERM)
        assert program.end() == 0

    def test_a_child_cannot_fork_again(self, run: Callable[..., Program]) -> None:
        program = run(
            """
            fork_processes(1)
            try:
                fork_processes(1)
            except AssertionError as error:
                say("refused:", error)
            """
        )
        program.expect("^refused: this is child process 0")
        assert program.end() == 0

    def test_random_differs(self, run: Callable[..., Program]) -> None:
        program = run(
            """
            import random
            random.seed(1)
            fork_processes(3)
            say("random", random.random())
            """
        )
        assert len({program.expect(r"^random (.*)$")[1] for _ in range(3)}) == 3
        assert program.end() == 0

    def test_buffered_output_is_written_once(self, run: Callable[..., Program]) -> None:
        program = run(
            """
            print("hello", end="")
            fork_processes(3)
            """
        )
        assert program.end() == 0
        assert program.process.stdout is not None
        assert program.process.stdout.read() == b"hello"

    def test_they_have_the_signal_handlers_from_before(self, run: Callable[..., Program]) -> None:
        program = run(
            """
            def of_the_application(signum, frame):
                pass

            NAMES = ["SIGTERM", "SIGINT", "SIGHUP", "SIGCHLD"]
            signal.signal(signal.SIGTERM, of_the_application)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
            before = [signal.getsignal(getattr(signal, name)) for name in NAMES]
            fork_processes(1)
            assert [signal.getsignal(getattr(signal, name)) for name in NAMES] == before
            assert before[0] is of_the_application
            assert signal.set_wakeup_fd(-1) == -1
            assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])
            say("same")
            """
        )
        program.expect("^same$")
        assert program.end() == 0


@needs_fork
class TestSupervision:
    def test_a_killed_child_is_replaced_and_the_others_go_on(
        self, run: Callable[..., Program]
    ) -> None:
        program = run(
            """
            signal.signal(signal.SIGUSR1, lambda *_: say("here", os.getpid()))
            serve(fork_processes(3))
            """
        )
        before = program.children(0, 1, 2)
        os.kill(before[1], signal.SIGKILL)
        program.expect(
            "^fasthttpserver.general:WARNING:"
            rf"child 1 \(pid {before[1]}\) killed by signal 9, restarting$"
        )
        (after,) = program.children(1).values()
        assert after not in before.values()
        for pid in before[0], before[2], after:
            os.kill(pid, signal.SIGUSR1)
            program.expect(f"^here {pid}$")
        program.signal(signal.SIGTERM)
        assert program.end() == 0

    def test_a_failed_child_is_replaced_and_a_finished_one_is_not(
        self, run: Callable[..., Program], tmp_path: Path
    ) -> None:
        program = run(
            """
            number = fork_processes(2)
            say("child", number, os.getpid())
            if number == 1 and not os.path.exists(sys.argv[1]):
                open(sys.argv[1], "w").close()
                sys.exit(3)
            """,
            str(tmp_path / "mark"),
        )
        assert program.end() == 0
        log = "\n".join(program.lines)
        assert re.search(r"WARNING:child 1 \(pid \d+\) exited with status 3, restarting", log)
        assert len(re.findall(r"INFO:child 0 \(pid \d+\) exited normally", log)) == 1
        assert len(re.findall(r"INFO:child 1 \(pid \d+\) exited normally", log)) == 1
        assert len(re.findall(r"^child 0 ", log, re.M)) == 1
        assert len(re.findall(r"^child 1 ", log, re.M)) == 2

    def test_too_many_restarts_end_everything(self, run: Callable[..., Program]) -> None:
        program = run(
            """
            try:
                number = fork_processes(2, max_restarts=2)
            except RuntimeError as error:
                say("error:", error)
                sys.exit(5)
            if number == 0:
                sys.exit(1)
            serve(number)
            """
        )
        (survivor,) = program.children(1).values()
        program.expect("^error: Too many child restarts, giving up$")
        assert not is_alive(survivor)
        assert program.end() == 5
        assert sum("restarting" in line for line in program.lines) == 3

    def test_none_restarts_is_the_default(self, run: Callable[..., Program]) -> None:
        program = run("serve(fork_processes(1, max_restarts=None))")
        (first,) = program.children(0).values()
        os.kill(first, signal.SIGKILL)
        program.children(0)
        program.signal(signal.SIGTERM)
        assert program.end() == 0

    def test_signals_are_heard_during_a_storm_of_restarts(
        self, run: Callable[..., Program]
    ) -> None:
        program = run(
            """
            fork_processes(2)
            sys.exit(1)
            """
        )
        program.expect("restarting$")
        program.signal(signal.SIGTERM)
        assert program.end() == 0

    def test_a_fork_that_fails_is_tried_again(self, run: Callable[..., Program]) -> None:
        program = run(
            """
            from fasthttpserver._net import processes

            processes._FORK_PAUSE = 0.01
            fork, failures = os.fork, [1, 2]

            def failing_fork():
                if failures:
                    raise BlockingIOError(failures.pop(), "on purpose")
                return fork()

            os.fork = failing_fork
            serve(fork_processes(1, max_restarts=0))  # for it is no failure of the child
            """
        )
        for _ in range(2):
            program.expect(r"WARNING:cannot fork child 0: .*on purpose")
        program.children(0)
        program.signal(signal.SIGTERM)
        assert program.end() == 0

    def test_processes_of_others_are_left_out(self, run: Callable[..., Program]) -> None:
        program = run(
            """
            import subprocess
            subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"]).returncode = 0
            serve(fork_processes(1))
            """
        )
        program.children(0)
        program.signal(signal.SIGTERM)
        assert program.end() == 0
        assert not any("restarting" in line for line in program.lines)


@needs_fork
class TestSignalsToTheParent:
    @pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
    def test_ends_the_children_waits_for_them_and_exits(
        self, run: Callable[..., Program], signum: signal.Signals
    ) -> None:
        program = run(
            """
            number = fork_processes(2)
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1])
            say("child", number, os.getpid())
            signal.sigwait([signal.SIGTERM])
            say("told", number)
            signal.sigwait([signal.SIGUSR1])
            """
        )
        children = program.children(0, 1)
        program.signal(signum)
        program.expect("INFO:Stopping 2 processes$")
        told = {program.expect(r"^told (\d)$")[1] for _ in children}
        assert told == {"0", "1"}
        assert program.process.poll() is None
        for pid in children.values():
            os.kill(pid, signal.SIGUSR1)
        assert program.end() == 0
        assert not any(is_alive(pid) for pid in children.values())

    def test_a_second_one_kills(self, run: Callable[..., Program]) -> None:
        program = run(
            """
            number = fork_processes(2)
            signal.signal(signal.SIGTERM, lambda *_: say("not now", number))
            serve(number)
            """
        )
        children = program.children(0, 1)
        program.signal(signal.SIGTERM)
        for _ in children:
            program.expect("^not now")
        program.signal(signal.SIGINT)
        assert program.end() == 1
        assert any("Killing 2 processes" in line for line in program.lines)

    def test_hangup_replaces_the_children_one_by_one(self, run: Callable[..., Program]) -> None:
        program = run(
            """
            number = fork_processes(3, max_restarts=0)
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR1])
            say("child", number, os.getpid())
            signal.sigwait([signal.SIGTERM])
            say("told", os.getpid())
            signal.sigwait([signal.SIGUSR1])
            """
        )
        before = program.children(0, 1, 2)
        numbers = {pid: number for number, pid in before.items()}
        program.signal(signal.SIGHUP)
        order = []
        for _ in before:
            pid = int(program.expect(r"^told (\d+)$")[1])
            assert pid in numbers
            assert all(is_alive(other) for other in before.values() if str(other) not in order)
            os.kill(pid, signal.SIGUSR1)
            program.expect(rf"INFO:child {numbers[pid]} \(pid {pid}\) ended, replacing$")
            order.append(str(pid))
        after = program.children(0, 1, 2)
        assert not set(after.values()) & set(before.values())
        steps = [re.search(r"^told (\d+)$|pid (\d+)\) ended, rep", line) for line in program.lines]
        assert [step[1] or step[2] for step in steps if step] == [p for p in order for _ in "12"]
        program.signal(signal.SIGTERM)
        for pid in after.values():
            os.kill(pid, signal.SIGUSR1)
        assert program.end() == 0
        assert not any("restarting" in line for line in program.lines)

    def test_hangup_is_ignored_if_it_was_before(self, run: Callable[..., Program]) -> None:
        program = run(
            """
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            serve(fork_processes(1))
            """
        )
        program.children(0)
        program.signal(signal.SIGHUP)
        program.signal(signal.SIGTERM)
        assert program.end() == 0
        assert not any("Replacing" in line for line in program.lines)

    def test_losing_the_terminal_ends_everything(self, run: Callable[..., Program]) -> None:
        master, terminal = os.openpty()
        program = run(
            """
            import fcntl, termios
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            number = fork_processes(2)
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            serve(number)
            """,
            stdin=terminal,
        )
        os.close(terminal)
        children = program.children(0, 1)
        os.close(master)
        program.expect("INFO:Stopping 2 processes$")
        assert program.end() == 0
        assert not any(is_alive(pid) for pid in children.values())


@needs_fork
@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_children_serve_on_a_socket_that_was_bound_before(
    run: Callable[..., Program], kind: str
) -> None:
    if kind == "uvloop":
        pytest.importorskip("uvloop", reason="uvloop is not installed")
    program = run(
        """
        from fasthttpserver.ioloop import IOLoop
        from fasthttpserver.netutil import add_accept_handler, bind_sockets

        IOLoop.configure(sys.argv[1])
        sockets = bind_sockets(0, "127.0.0.1")
        say("port", sockets[0].getsockname()[1])
        number = fork_processes(2)

        def on_accept(connection, address):
            connection.sendall(str(os.getpid()).encode())
            connection.close()

        add_accept_handler(sockets[0], on_accept)
        IOLoop.instance().add_callback(say, "child", number, os.getpid())
        IOLoop.instance().start()
        """,
        kind,
    )
    port = int(program.expect(r"^port (\d+)$")[1])
    children = set(program.children(0, 1).values())
    for _ in range(10):
        with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as client:
            assert int(client.recv(100)) in children
    program.signal(signal.SIGTERM)
    assert program.end() == 0
