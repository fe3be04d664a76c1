"""The supervisor of the command line and its workers, as an operator meets them."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import ssl
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from helpers import TIMEOUT, Certificates, Client, Process, eventually, get, post

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

APPLICATION = """
import asyncio, logging, os, sys, time
if os.path.exists("gate"):
    open("gate").read()  # a FIFO: until the test lets it go on
if os.path.exists("broken"):
    sys.exit(7)
NAME = "one"

def answer(request, text):
    close = "Connection: close\\r\\n" if request.connection.no_keep_alive else ""
    head = f"HTTP/1.1 200 OK\\r\\nContent-Length: {len(text)}\\r\\n{close}\\r\\n"
    request.write(head + text)
    request.finish()

def hang_here():
    while True:
        time.sleep(1000)

async def hold(request):
    while not os.path.exists("release"):
        await asyncio.sleep(0.005)
    answer(request, "held")

async def later(request):
    await asyncio.sleep(1)
    answer(request, "later")

def callback(request):
    if request.uri == "/held":
        return hold(request)
    if request.uri == "/later":
        return later(request)
    if request.uri == "/hang":
        hang_here()
    if request.uri == "/stop":
        from fasthttpserver.ioloop import IOLoop
        IOLoop.current().add_callback(IOLoop.current().stop)
    if request.uri == "/log":
        logging.getLogger("of.application").warning("logged")
    answer(request, f"{NAME} {os.getpid()}")
"""

# One stream for all that it says, in order.
RUN = """
import os, sys
os.dup2(1, 2)
from fasthttpserver._cli import supervisor
from fasthttpserver._net import backoff
{before}
from fasthttpserver.__main__ import main
sys.exit(main())
"""


class Program(Process):
    """The command line, with the application above.

    Args:
        folder: Where the application is.
        words: Of the command line.
        before: Python that runs first.
    """

    def __init__(
        self, folder: Path, *words: str, before: str = "", name: str = "callback", **options: Any
    ) -> None:
        if not (folder / "application.py").exists():
            (folder / "application.py").write_text(APPLICATION)
        command = ["-c", RUN.format(before=before), f"application:{name}", "--port=0", *words]
        super().__init__(command, cwd=folder, **options)
        self.folder = folder
        self.seen: list[str] = []

    def expect(self, pattern: str) -> re.Match[str]:
        """Read lines up to one that has this."""
        while True:
            assert self._process.stdout is not None
            line = self._process.stdout.readline()
            assert line, f"{pattern!r} never came in {''.join(self.seen)}"
            self.seen.append(line)
            if match := re.search(pattern, line):
                return match

    def serve(self) -> Self:
        """Wait until the first worker accepts."""
        match = self.expect(r"Serving on https?://127\.0\.0\.1:(\d+)/")
        self.address = ("127.0.0.1", int(match[1]))
        self.expect("Try: ")
        return self

    def ask(self, uri: str = "/") -> str:
        """What is answered on a new connection."""
        with Client(self.address) as client:
            return client.ask(get(uri, "Connection: close")).decode()

    def worker(self) -> int:
        """The process that answers."""
        return int(self.ask().split()[1])

    def status(self) -> int:
        """Wait until the first process has ended."""
        return self._process.wait(TIMEOUT)

    def rest(self) -> str:
        """Wait for the end of all, and return what else was said."""
        assert self._process.stdout is not None
        rest = self._process.stdout.read()
        self.seen.append(rest)
        return rest

    def change(self, old: str, new: str) -> None:
        """Write other code."""
        path = self.folder / "application.py"
        path.write_text(path.read_text().replace(old, new))
        stat = path.stat()  # whatever the clock of the file system can tell apart
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 2_000_000_000))

    def gate(self) -> Path:
        """Have the next import wait until the file that this returns is written."""
        path = self.folder / "gate"
        os.mkfifo(path)
        return path


Start = Callable[..., Program]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with contextlib.ExitStack() as stack:
        yield lambda *words, **options: stack.enter_context(Program(tmp_path, *words, **options))


def is_alive(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError):  # there is /proc
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return not Path("/proc/self").exists()
    return False


def is_refused(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address).close()
    except ConnectionRefusedError:
        return True
    return False


def end(program: Program, status: int = 0) -> str:
    """End it in good order; return what it said."""
    program.send_signal(signal.SIGTERM)
    said = program.rest()
    assert program.status() == status, said
    return said


# --- The end with a delay ---------------------------------------------------------------


def is_announced(program: Program) -> bool:
    """Whether a new client is served, and told that this is the end."""
    with Client(program.address) as client:
        client.send(get())
        return client.read_response().fields.get("connection") == "close"


@pytest.mark.parametrize("whom", ["supervisor", "group"])
@pytest.mark.parametrize("processes", [1, 2])
def test_clients_are_served_for_the_delay_and_a_second_signal_ends_it(
    start: Start, processes: int, whom: str
) -> None:
    # Usually those that come shortly after the first one are the same wish.
    before = "supervisor.SAME_SIGNAL = 0"
    program = start(f"--processes={processes}", "--shutdown-delay=60", before=before).serve()
    for _ in range(processes - 1):
        program.expect("accepts")
    if whom == "group":
        os.killpg(program.pid, signal.SIGTERM)
    else:
        program.send_signal(signal.SIGTERM)
    eventually(lambda: is_announced(program))
    program.send_signal(signal.SIGTERM)
    program.rest()
    assert program.status() == 128 + signal.SIGTERM


def test_it_is_said_of_each_of_several_workers_that_it_accepts(start: Start) -> None:
    program = start("--processes=2").serve()
    program.expect("accepts")
    said = re.findall(r"worker (\d) \(pid \d+\) accepts", "".join(program.seen))
    assert sorted(said) == ["0", "1"]
    end(program)


def test_it_drains_after_the_delay(start: Start) -> None:
    program = start("--shutdown-delay=0.05").serve()
    with Client(program.address) as client:
        client.send(get("/held"))
        program.ask()
        program.send_signal(signal.SIGTERM)
        eventually(lambda: is_refused(program.address))
        (program.folder / "release").touch()
        response = client.read_response()
        assert (response.body, response.fields["connection"]) == (b"held", "close")
    assert "Drained: 1 request answered, " in program.rest()
    assert program.status() == 0


def test_time_for_draining_begins_after_the_delay(start: Start) -> None:
    margin = "supervisor._END_MARGIN = 0.9"
    program = start("--shutdown-delay=1", "--drain-timeout=0", before=margin).serve()
    assert "killing" not in end(program)


def test_worker_that_is_replaced_has_no_delay(start: Start) -> None:
    program = start("--shutdown-delay=60").serve()
    old = program.worker()
    program.send_signal(signal.SIGHUP)
    program.expect(rf"worker 0 \(pid {old}\) ended with status 0")


def test_worker_that_is_told_to_end_is_replaced_at_once_and_serves_for_the_delay(
    start: Start,
) -> None:
    program = start("--shutdown-delay=60").serve()
    old = program.worker()
    with Client(program.address) as client:
        client.ask(get())
        os.kill(old, signal.SIGTERM)
        program.expect(rf"worker 0 \(pid {old}\) was told to end, replacing it")
        program.expect("accepts")
        assert client.ask(get()).decode() == f"one {old}"


def test_workers_without_a_supervisor_have_no_delay(start: Start) -> None:
    program = start("--processes=2", "--shutdown-delay=60").serve()
    program.expect("accepts")
    program.send_signal(signal.SIGKILL)
    program.rest()  # ends when both have ended


def test_delay_of_workers_ends_with_their_supervisor(start: Start) -> None:
    program = start("--processes=2", "--shutdown-delay=60").serve()
    program.expect("accepts")
    program.send_signal(signal.SIGTERM)
    eventually(lambda: is_announced(program))
    program.send_signal(signal.SIGKILL)
    said = program.rest()  # ends when both have ended
    assert said.count("Drained:") == 2


# --- Rolling restarts -------------------------------------------------------------------


def test_only_worker_is_replaced_without_a_request_that_fails(start: Start) -> None:
    program = start().serve()
    old = program.worker()
    with Client(program.address) as client:
        client.send(get("/held"))
        program.ask()
        program.send_signal(signal.SIGHUP)
        program.expect(r"worker 0 \(pid \d+\) accepts")
        eventually(lambda: program.worker() != old)
        (program.folder / "release").touch()
        assert client.read_response().body == b"held"
    program.expect(rf"worker 0 \(pid {old}\) ended with status 0")
    assert "ERROR" not in "".join(program.seen) + end(program)


def test_old_worker_serves_until_the_new_one_accepts(start: Start) -> None:
    program = start().serve()
    old = program.worker()
    gate = program.gate()
    program.send_signal(signal.SIGHUP)
    with gate.open("w"):  # when the new one has come as far as that
        assert program.worker() == old
        gate.unlink()
    program.expect("accepts")
    eventually(lambda: program.worker() != old)
    end(program)


@pytest.mark.parametrize(("words", "then"), [((), "two"), (("--preload",), "one")])
def test_new_code_is_served_unless_it_was_imported_before_the_fork(
    start: Start, words: tuple[str, ...], then: str
) -> None:
    program = start(*words).serve()
    program.change("one", "two")
    program.send_signal(signal.SIGHUP)
    new = program.expect(r"\(pid (\d+)\) accepts")[1]
    eventually(lambda: program.ask() == f"{then} {new}")
    end(program)


def test_wrong_key_is_told_and_all_goes_on_as_before(start: Start, tmp_path: Path) -> None:
    made = Certificates(tmp_path)
    key = Path(made.keyfile)
    program = start("--certfile", made.certfile, "--keyfile", made.keyfile, "--processes=2")
    program.serve()

    def ask() -> str:
        with Client(program.address, context=made.client_context()) as client:
            return client.ask(get("/", "Connection: close")).decode()

    before = {ask() for _ in range(4)}
    right = key.read_text()
    key.write_text("wrong")
    program.send_signal(signal.SIGHUP)
    line = program.expect("ERROR").string
    assert f": --keyfile {made.keyfile}: it is not PEM" in line
    assert ask() in before or len(before) == 1
    key.write_text(right)
    program.send_signal(signal.SIGHUP)
    for _ in range(2):
        program.expect("accepts")
    eventually(lambda: ask() not in before)
    # Those who served on may have seen by themselves that the key was wrong.
    assert not re.search("ERROR (?!Certificates are not read anew)", end(program))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_session_of_one_worker_goes_on_at_another(
    start: Start, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    made = Certificates(tmp_path)
    program = start("--certfile", made.certfile, "--keyfile", made.keyfile, "--processes=2")
    program.serve()
    context = made.client_context()
    context.maximum_version = version

    def visit(session: Any = None) -> tuple[int, Any, bool | None]:
        """Who answers, the session, and whether it is the one that is given."""
        with (
            socket.create_connection(program.address) as plain,
            context.wrap_socket(plain, server_hostname="127.0.0.1", session=session) as tls,
        ):
            tls.sendall(get("/", "Connection: close"))
            pid = int(tls.makefile("rb").read().split()[-1])
            return pid, tls.session, tls.session_reused

    first, session, _ = visit()
    os.kill(first, signal.SIGKILL)
    program.expect("accepts")
    for _ in range(8):
        other, _, reused = visit(session)
        assert other != first
        assert reused
    # And not for ever: new workers have new keys.
    program.send_signal(signal.SIGHUP)
    eventually(lambda: not visit(session)[2])
    end(program)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("1 / 0", r"ZeroDivisionError: .*application\.py, line \d+"),
        ("def broken(:", r"SyntaxError: .*application\.py, line \d+"),
        ("import nosuchmodule", r"nosuchmodule.*application\.py, line \d+"),
        ("del callback", r"'application' has no 'callback'"),
        ("os._exit(5)", "it ended with status 5 before it accepted"),
    ],
)
def test_wrong_code_is_told_in_one_line_and_the_old_one_serves_on(
    start: Start, code: str, said: str
) -> None:
    program = start().serve()
    old = program.worker()
    path = program.folder / "application.py"
    path.write_text(f"{APPLICATION}\n{code}\n")
    program.send_signal(signal.SIGHUP)
    program.expect(f"ERROR .*the one before goes on: .*{said}")
    assert program.worker() == old
    assert "ERROR" not in end(program)


def test_options_in_files_are_read_again(start: Start, tmp_path: Path) -> None:
    config = tmp_path / "serve.toml"
    config.write_text("max-body-size = 1\n")
    program = start("--config", "serve.toml").serve()
    program.expect("Options are from serve.toml")

    def hang_up(text: str) -> None:
        config.write_text(text)
        program.send_signal(signal.SIGHUP)

    def status() -> int:
        with Client(program.address) as client:
            client.send(post(b"12", "Connection: close"))
            return client.read_response().status

    assert status() == 413
    worker = program.worker()
    hang_up("max-body-size = 1.5\n")
    program.expect("as before, as an option is wrong: serve.toml: max-body-size: must be an int")
    assert program.worker() == worker
    hang_up("max-body-size = 2\nbacklog = 7\n")
    program.expect("do not change while this runs: backlog$")
    program.expect(rf"worker 0 \(pid {worker}\) ended")
    assert status() == 200
    end(program)


def test_new_worker_that_is_not_ready_in_time_is_killed_and_the_old_one_serves_on(
    start: Start,
) -> None:
    program = start("--start-timeout=0.5").serve()
    old = program.worker()
    program.gate()
    program.send_signal(signal.SIGHUP)
    program.expect("ERROR .*does not accept within --start-timeout")
    program.expect(r'File ".*application\.py", line 4 in <module>')
    program.expect("ERROR .*does not start, the one before goes on")
    assert program.worker() == old
    end(program)


def test_hangup_of_a_group_harms_nobody(start: Start) -> None:
    program = start("--processes=2").serve()
    with Client(program.address) as client:
        client.send(get("/held"))
        program.ask()
        os.killpg(program.pid, signal.SIGHUP)
        for _ in range(2):
            program.expect("accepts")
        (program.folder / "release").touch()
        assert client.read_response().body == b"held"
    assert "ERROR" not in end(program)


# --- The first start --------------------------------------------------------------------


@pytest.mark.parametrize("processes", [1, 2])
def test_application_that_cannot_be_imported_ends_the_program(
    start: Start, tmp_path: Path, processes: int
) -> None:
    (tmp_path / "application.py").write_text("import nosuchmodule\n")
    program = start(f"--processes={processes}", "--log-level=warning")
    assert re.fullmatch("fasthttpserver: .*nosuchmodule.*\n", program.rest())
    assert program.status() == 1


NO_DATABASE = """
from fasthttpserver._cli.application import Application
class Container:
    async def startup(self):
        raise RuntimeError("no database")
Application.container = Container()
Application.__init__.__defaults__ = (Application.container,)
"""


@pytest.mark.parametrize("processes", [1, 2])
def test_application_that_fails_at_its_start_ends_the_program_with_status_3(
    start: Start, processes: int
) -> None:
    words = f"--processes={processes}", "--log-level=warning"
    program = start(*words, before=NO_DATABASE)
    assert program.rest() == "fasthttpserver: no database\n"
    assert program.status() == 3


def test_application_that_exits_when_it_is_imported_ends_the_program(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "broken").touch()
    program = start("--log-level=warning")
    assert program.rest() == "fasthttpserver: it ended with status 7 before it accepted\n"
    assert program.status() == 7


def test_program_ends_at_once_while_it_starts(start: Start, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "gate")
    program = start()
    with (tmp_path / "gate").open("w"):
        program.send_signal(signal.SIGTERM)
        assert (program.rest(), program.status()) == ("", 0)


def test_application_that_stops_its_loop_ends_the_program(start: Start) -> None:
    program = start().serve()
    program.ask("/stop")
    program.rest()
    assert program.status() == 0


NOBODY_READS = """
read_end, write_end = os.pipe()
os.dup2(write_end, 1)
os.close(read_end)
os.close(write_end)
"""


def test_it_serves_although_nobody_reads_what_it_prints(start: Start, tmp_path: Path) -> None:
    program = start("--unix-socket=s", before=NOBODY_READS)

    def answers() -> bool:
        with contextlib.suppress(FileNotFoundError), Client(str(tmp_path / "s")) as client:
            return client.ask(get()).startswith(b"one ")
        return False

    eventually(answers)
    end(program)


# --- Workers that die or hang -----------------------------------------------------------


def test_killed_worker_is_replaced(start: Start) -> None:
    program = start().serve()
    old = program.worker()
    os.kill(old, signal.SIGKILL)
    program.expect(rf"WARNING .*worker 0 \(pid {old}\) was killed by signal 9, restarting")
    program.expect("accepts")
    assert program.worker() != old
    assert "1 restarts, 0 killed" in end(program)


def test_worker_that_is_told_to_end_drains_and_is_replaced(start: Start) -> None:
    program = start().serve()
    old = program.worker()
    with Client(program.address) as client:
        client.send(get("/held"))
        program.ask()
        os.kill(old, signal.SIGTERM)
        program.expect("was told to end, replacing it")
        program.expect("accepts")
        assert program.worker() != old
        (program.folder / "release").touch()
        assert client.read_response().body == b"held"
    end(program)


def test_worker_that_hangs_is_killed_with_its_stack_and_replaced(start: Start) -> None:
    program = start("--worker-timeout=0.5", before="supervisor._DOUBT = 0.2").serve()
    old = program.worker()
    with Client(program.address) as client:
        client.send(get("/hang"))
        program.expect(rf"ERROR .*\(pid {old}\) has not reported for --worker-timeout")
        program.expect("in hang_here")
        program.expect("accepts")
    assert program.worker() != old
    assert "1 restarts, 1 killed" in end(program)


def test_worker_that_is_stopped_is_killed_and_replaced(start: Start) -> None:
    program = start(
        "--worker-timeout=0.5", before="supervisor._DOUBT = supervisor._DEATH_MARGIN = 0.1"
    ).serve()
    old = program.worker()
    os.kill(old, signal.SIGSTOP)  # so that it cannot show its stack
    program.expect(rf"worker 0 \(pid {old}\) was killed by signal 9")
    eventually(lambda: program.worker() != old)
    end(program)


def test_idle_workers_report_and_live(start: Start) -> None:
    program = start("--worker-timeout=0.4").serve()
    old = program.worker()
    assert program.ask("/later") == "later"  # than several timeouts
    assert program.worker() == old
    end(program)


def test_whole_group_that_was_stopped_for_long_goes_on(start: Start) -> None:
    program = start("--worker-timeout=1").serve()
    old = program.worker()
    os.killpg(program.pid, signal.SIGSTOP)
    with Client(program.address) as client:
        client.send(get())
        client.socket.settimeout(1.5)
        with pytest.raises(TimeoutError):
            client.receive()
    os.killpg(program.pid, signal.SIGCONT)
    assert program.worker() == old, end(program)
    assert "killing" not in end(program)


def test_worker_that_hangs_does_not_hold_up_the_end(start: Start) -> None:
    words = "--drain-timeout=0.1", "--worker-timeout=0"
    program = start(*words, before="supervisor._END_MARGIN = 0.1").serve()
    with Client(program.address) as client:
        client.send(get("/hang"))
        said = end(program, status=1)
    assert "has not ended within --drain-timeout" in said
    assert "1 killed" in said


IMPATIENT = """
backoff._FIRST = backoff._LONGEST = 0.001
supervisor._TOO_MANY = 3
"""


def test_while_some_workers_are_well_it_never_gives_up(start: Start) -> None:
    program = start("--processes=2", before=IMPATIENT).serve()
    program.expect("accepts")
    first = program.worker()
    (program.folder / "broken").touch()
    os.kill(first, signal.SIGKILL)
    for _ in range(5):
        program.expect("does not start, trying again")
    other = program.worker()
    assert other != first
    (program.folder / "broken").unlink()
    program.expect("accepts")
    end(program)


# The pause before the next start ends just when the supervisor begins to wait.
LATE = """
import time
wait = supervisor.Supervisor._wait
def late(self, *arguments):
    while time.monotonic() <= self._not_before:
        pass
    wait(self, *arguments)
supervisor.Supervisor._wait = late
"""


def test_pause_that_is_over_as_it_begins_to_wait_is_no_longer(start: Start) -> None:
    program = start(before=LATE).serve()
    os.kill(program.worker(), signal.SIGKILL)
    program.expect("accepts")
    end(program)


def test_when_no_worker_can_be_started_any_more_it_gives_up(start: Start) -> None:
    program = start(before=IMPATIENT).serve()
    (program.folder / "broken").touch()
    os.kill(program.worker(), signal.SIGKILL)
    said = program.rest()
    assert said.count("does not start, trying again") in (2, 3)  # and maybe the first death
    assert "fasthttpserver: too many workers have failed to start, giving up\n" in said
    assert program.status() == 1


FAILING_FORK = """
supervisor._FORK_PAUSE = 0.01
fork, failures = os.fork, [1, 2]
def failing_fork():
    if failures:
        raise BlockingIOError(failures.pop(), "on purpose")
    return fork()
os.fork = failing_fork
"""


def test_fork_that_fails_is_tried_again(start: Start) -> None:
    program = start(before=FAILING_FORK)
    for _ in range(2):
        program.expect("WARNING .*Cannot start worker 0: .*on purpose")
    program.serve().ask()
    end(program)


# --- Signals ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["HUP", "USR1", "USR2", "TTIN", "TTOU"])
def test_signal_for_the_supervisor_does_a_worker_no_harm(start: Start, name: str) -> None:
    program = start().serve()
    old = program.worker()
    with Client(program.address) as client:
        client.ask(get())
        os.kill(old, getattr(signal, f"SIG{name}"))
        assert client.ask(get()).decode() == f"one {old}"
    end(program)


def test_workers_end_in_good_order_when_the_supervisor_is_gone(start: Start) -> None:
    program = start("--processes=2").serve()
    program.expect("accepts")
    with Client(program.address) as client:
        client.send(get("/held"))
        program.ask()
        program.send_signal(signal.SIGKILL)
        for _ in range(2):
            program.expect("ERROR .*The supervisor is gone")
        eventually(lambda: is_refused(program.address))
        (program.folder / "release").touch()
        assert client.read_response().body == b"held"
    program.rest()  # ends when both have ended


@pytest.mark.parametrize("processes", [1, 2])
def test_quit_ends_all_at_once(start: Start, processes: int) -> None:
    program = start(f"--processes={processes}").serve()
    with Client(program.address) as client:
        client.ask(get())
        client.send(get("/held"))
        program.send_signal(signal.SIGQUIT)
        program.rest()
        assert program.status() == 128 + signal.SIGQUIT
        assert is_refused(program.address)


def test_closing_the_terminal_ends_all_in_good_order(start: Start) -> None:
    master, terminal = os.openpty()
    take = f"import fcntl, termios; fcntl.ioctl({terminal}, termios.TIOCSCTTY, 0)"
    program = start("--processes=2", before=take, pass_fds=[terminal])
    os.close(terminal)
    program.serve()
    os.close(master)  # the kernel sends SIGHUP
    assert "Stopping" in program.rest()
    assert program.status() == 0


def test_log_files_are_opened_anew(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "log"
    (tmp_path / "application.py").write_text(
        f"import logging\nlogging.getLogger('of').addHandler(logging.FileHandler({str(log)!r}))\n"
        f"{APPLICATION}"
    )
    program = start().serve()
    program.ask("/log")
    log.rename(tmp_path / "old")
    program.send_signal(signal.SIGUSR1)

    def reopened() -> bool:
        program.ask("/log")
        return log.exists()

    eventually(reopened)
    assert "logged" in log.read_text()
    end(program)


@pytest.mark.parametrize("words", [(), ("--reuse-port",)])
def test_workers_are_added_and_taken_away(start: Start, words: tuple[str, ...]) -> None:
    program = start(*words).serve()
    first = program.worker()
    program.send_signal(signal.SIGTTIN)
    second = int(program.expect(r"worker 1 \(pid (\d+)\) accepts")[1])
    with contextlib.ExitStack() as stack:
        both = {f"one {first}", f"one {second}"}
        seen: set[str] = set()

        def both_answer() -> bool:
            client = stack.enter_context(Client(program.address))
            seen.add(client.ask(get()).decode())
            return seen == both

        eventually(both_answer)
    program.send_signal(signal.SIGTTOU)
    program.expect(rf"worker 1 \(pid {second}\) ended with status 0")
    program.send_signal(signal.SIGTTOU)
    program.expect("Going on with 1 processes")
    assert program.worker() == first
    end(program)


@pytest.mark.parametrize("words", [(), ("--reuse-port",)])
def test_program_is_replaced_without_a_client_that_is_refused(
    start: Start, words: tuple[str, ...]
) -> None:
    program = start("--processes=2", *words).serve()
    address = program.address
    program.change("one", "two")
    with Client(address) as client:
        client.send(get("/held"))
        program.ask()
        program.send_signal(signal.SIGUSR2)
        new = int(program.expect(r"Starting a new program \(pid (\d+)\)")[1])
        program.serve()
        assert program.address == address
        program.expect("accepts")
        program.send_signal(signal.SIGUSR2)
        program.expect("There is a new program already")
        eventually(lambda: program.ask().startswith("two"))
        program.send_signal(signal.SIGTERM)
        (program.folder / "release").touch()
        assert client.read_response().body == b"held"
    assert program.status() == 0
    assert program.ask().startswith("two")
    os.kill(new, signal.SIGTERM)
    program.rest()
    assert is_refused(address)


def test_new_program_that_cannot_start_changes_nothing(start: Start) -> None:
    program = start().serve()
    old = program.worker()
    program.change("NAME = ", "1 / 0  # ")
    program.send_signal(signal.SIGUSR2)
    program.expect(r"ERROR .*The new program \(pid \d+\) ended with status 1; this one goes on")
    assert any("ZeroDivisionError" in line for line in program.seen)
    assert program.worker() == old
    end(program)


# --- Workers that have had enough -------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("--max-requests=1", "--max-requests-jitter=0"),
        ("--max-requests=1",),
        ("--max-rss=1M",),
        ("--max-lifetime=0.01",),
    ],
)
def test_worker_that_has_had_enough_is_replaced_and_drains(
    start: Start, words: tuple[str, ...]
) -> None:
    program = start(*words).serve()
    old = program.worker()
    option = words[0].partition("=")[0]
    program.expect(rf"Replacing worker 0 \(pid {old}\): it has .* {option}")
    program.expect("accepts")
    program.expect(rf"worker 0 \(pid {old}\) ended with status 0")
    end(program)


def test_workers_that_have_had_enough_are_replaced_one_at_a_time(start: Start) -> None:
    program = start("--processes=2", "--max-requests=100").serve()
    program.expect("accepts")
    with contextlib.ExitStack() as stack:
        clients: dict[str, Client] = {}

        def connect() -> bool:
            client = stack.enter_context(Client(program.address))
            clients[client.ask(get()).decode()] = client
            return len(clients) == 2

        eventually(connect)
        for client in clients.values():
            for _ in range(120):
                client.ask(get())
            client.send(get("/held"))
        replaced = program.expect(r"worker \d \(pid (\d+)\): it has served --max-requests")[1]
        program.expect("accepts")
        (other,) = (worker.split()[1] for worker in clients if worker != f"one {replaced}")
        if not any(f"{other}): it has" in line for line in program.seen):
            program.expect(rf"\(pid {other}\): it has served --max-requests")
        (program.folder / "release").touch()
        program.expect(rf"\(pid {replaced}\) ended with status 0")
        # No other one was started meanwhile.
        assert sum("accepts" in line for line in program.seen) == 3
        program.expect("accepts")
        for client in clients.values():
            assert client.read_response().body == b"held"
    end(program)


# --- Where it listens -------------------------------------------------------------------


def crowd(address: tuple[str, int]) -> Counter[str]:
    """Connect 64 clients at a time; count who answers them."""
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(address)) for _ in range(64)]
        for client in clients:
            client.send(get())
        answers = Counter(client.read_response().body.decode() for client in clients)
        for client in clients:  # so that none of them is left in the next crowd
            client.send(get("/", "Connection: close"))
            client.read_to_end()
        return answers


def test_connections_are_shared_fairly_also_after_rolling_restarts(start: Start) -> None:
    program = start("--processes=2").serve()
    program.expect("accepts")
    for _ in range(3):
        answers = crowd(program.address)
        assert len(answers) == 2
        assert min(answers.values()) >= 0.35 * 64, answers
        program.send_signal(signal.SIGHUP)
        said: Counter[str] = Counter()
        while said["accepts"] < 2 or said["ended with status 0"] < 2:
            said[program.expect("accepts|ended with status 0")[0]] += 1
    end(program)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux shares such a port fairly")
def test_each_worker_has_its_own_socket_and_its_successor_takes_it_over(start: Start) -> None:
    program = start("--processes=2", "--reuse-port").serve()
    program.expect("accepts")
    assert len(crowd(program.address)) == 2
    # What comes while there is nobody waits.
    with contextlib.ExitStack() as stack:
        workers = {int(answer.split()[1]) for answer in crowd(program.address)}
        for worker in workers:
            os.kill(worker, signal.SIGSTOP)
        clients = [stack.enter_context(Client(program.address)) for _ in range(16)]
        for client in clients:
            client.send(get())
        program.send_signal(signal.SIGHUP)
        for _ in range(2):
            program.expect("accepts")
        answers = {client.read_response().body.decode() for client in clients}
        assert len(answers) <= 2
        for worker in workers:
            os.kill(worker, signal.SIGCONT)
    for _ in range(2):
        program.expect("ended with status 0")
    assert len(crowd(program.address)) == 2
    end(program)
