"""The process that starts the workers of the command line, and looks after them.

It serves nobody, imports no application and runs no code that could fail with it, so it lives on
whatever becomes of the workers. What it does next follows from what there is: ``_next_start``
compares the workers with those that are wanted. Each worker is in one of these states:

    STARTING    from the fork until it accepts
    ACCEPTING   until its end is wanted, by the supervisor or by itself
    DRAINING    accepts no more, maybe after --shutdown-delay; what it has is answered
    FAILED      could not start, and waits for a file to change (``--reload`` only)
    KILLED      hung, or took too long to start or to end

A worker that is to be replaced stays until the one that replaces it accepts; when that one fails,
nothing has happened but a line in the log.

The admin address is served by a process that is not a worker. It is there from the first moment to
the last, and another one is started when it ends.
"""

from __future__ import annotations

import argparse
import enum
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from fasthttpserver._cli.admin import AdminProcess
from fasthttpserver._cli.application import Application
from fasthttpserver._cli.banner import say, say_failure
from fasthttpserver._cli.channel import Channel
from fasthttpserver._cli.listening import Listening
from fasthttpserver._cli.logs import reopen_log_files
from fasthttpserver._cli.scoreboard import Scoreboard
from fasthttpserver._cli.serving import make_certificates
from fasthttpserver._cli.titles import set_title
from fasthttpserver._cli.worker import Worker, prepare_process
from fasthttpserver._net import processes as process
from fasthttpserver._net import sharing
from fasthttpserver._net.backoff import Backoff
from fasthttpserver._net.signals import SignalPipe, flush_output, has_terminal
from fasthttpserver._server.shutdown import SAME_SIGNAL
from fasthttpserver.log import gen_log

__all__ = ["Supervisor"]

# How many workers there may be at a time, those that have been replaced and still drain included.
_ROWS = 1024
# After so many failures in a minute, with no worker left, the program gives up.
_TOO_MANY = 10
# Seconds that a worker has after draining, for the application's own end; and to die by SIGABRT,
# which shows its stack, before SIGKILL follows.
_END_MARGIN = 5.0
_DEATH_MARGIN = 1.0
# Seconds after which a fork that failed is tried again.
_FORK_PAUSE = 1.0
# Seconds for which a worker is given the benefit of the doubt: maybe all processes were stopped.
_DOUBT = 1.0

ReadAgain = Callable[[argparse.Namespace], tuple[argparse.Namespace, list[str]]]

_TERM = ("SIGTERM", "SIGINT")
_SIGNALS = (*_TERM, "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGTTIN", "SIGTTOU")


class State(enum.Enum):
    """Of a worker; see above."""

    STARTING = enum.auto()
    ACCEPTING = enum.auto()
    DRAINING = enum.auto()
    FAILED = enum.auto()
    KILLED = enum.auto()


class Why(enum.Enum):
    """Why a worker is to be replaced."""

    WISH = enum.auto()  # somebody has asked for it, or a file has changed
    LIMIT = enum.auto()  # it has served, grown or lived enough


@dataclass(eq=False)
class Child:
    """A worker, seen from here.

    Attributes:
        number: Its successors have the same.
        row: On the board.
        since: When its state began.
        replaces: The worker that is to drain when this one accepts.
        accepted: Whether it ever did.
        outdated: Why it is to be replaced.
        failure: Its exit status and what it said, if it could not start.
        deadline: When it is killed.
        doubted: The beat after which it was found to be silent for too long.
    """

    pid: int
    number: int
    row: int
    channel: Channel
    replaces: Child | None
    deadline: float
    since: float
    state: State = State.STARTING
    accepted: bool = False
    outdated: Why | None = None
    failure: tuple[int, str] | None = None
    doubted: float | None = None

    def enter(self, state: State, deadline: float = float("inf")) -> None:
        """Be in another state from now on."""
        self.state = state
        self.since = time.monotonic()
        self.deadline = deadline

    @property
    def is_starting(self) -> bool:
        """Whether it has not accepted, and it is not known yet what becomes of it."""
        return not self.accepted and self.state in (State.STARTING, State.KILLED)

    @property
    def is_present(self) -> bool:
        """Whether there need not be another one with its number."""
        return self.is_starting or self.state in (State.ACCEPTING, State.FAILED)

    def __str__(self) -> str:
        return f"worker {self.number} (pid {self.pid})"


class Supervisor:
    """Runs in the first process.

    Args:
        options: Of the command line.
        listening: What the workers accept from.
        announce: Called with an interface's name when the first worker accepts.
        application: If it was imported already; if it is None, each worker imports it.
        read_again: Gives the options anew, and those that have changed without effect; raises
            a ValueError if one is wrong.

    Raises:
        RuntimeError: Importing it has made a loop.
        ValueError: A name in ``--sni`` is none.
    """

    def __init__(
        self,
        options: argparse.Namespace,
        listening: Listening,
        announce: Callable[[str, int], None],
        application: Application | None,
        read_again: ReadAgain,
    ) -> None:
        process.check_may_fork()
        self._options = options
        self._read_again = read_again
        self._listening = listening
        self._announce = announce
        self._application = application
        self._certificates = make_certificates(options)
        self._wanted = options.processes or process.cpu_count()
        self._board = sharing.Board(max(_ROWS, 4 * self._wanted))
        self._scoreboard = Scoreboard(self._board)
        self._children: dict[int, Child] = {}  # by pid
        self._finished: set[int] = set()  # numbers of workers that ended for good by themselves
        self._successor: int | None = None  # a new program's pid
        self._admin: tuple[int, Channel] | None = None  # pid of the process, and the way to it
        self._no_admin_before = 0.0
        self._backoff = Backoff()
        self._not_before = 0.0  # to start another worker
        self._has_started = False  # any worker, ever
        self._banner_due: Child | None = None  # until this one accepts no more
        self._stopped_at: float | None = None
        self._killed = 0
        self._restarts = 0
        self._status = 0
        self._interface = "callback"
        self._had_terminal = has_terminal()

    def run(self) -> Worker | AdminProcess | int:
        """Return what is to be run in a process that was forked; in this one, the exit status."""
        set_title("supervisor", self._options)
        if self._wanted > 1:
            gen_log.info("Starting %d processes", self._wanted)
        with SignalPipe(getattr(signal, name) for name in _SIGNALS) as signals:
            while True:
                # One time for all of a turn: what it is too early for is waited for.
                now = time.monotonic()
                if self._is_admin_due(now):
                    admin = self._fork_admin(signals)
                    if admin is not None:
                        return admin
                while (start := self._next_start(now)) is not None:
                    worker = self._fork(signals, *start)
                    if worker is not None:
                        return worker
                self._publish()
                if self._is_over():
                    break
                self._wait(signals, now)
                for number in signals.read():
                    self._on_signal(number)
                for child in list(self._children.values()):
                    self._listen_to(child)
                self._reap()
                self._kill_overdue()
        self._end_admin()
        self._listening.close()
        if self._restarts or self._killed:
            gen_log.info("Ended; %d restarts, %d killed", self._restarts, self._killed)
        return self._status

    def _is_over(self) -> bool:
        is_wanted = self._stopped_at is None and len(self._finished) < self._wanted
        return not self._children and not is_wanted

    # --- What is to be done -------------------------------------------------------------

    def _next_start(self, now: float) -> tuple[int, Child | None] | None:
        """Return the number of the worker that is to be started now, and which one it replaces."""
        if self._stopped_at is not None or now < self._not_before:
            return None
        present = [child for child in self._children.values() if child.is_present]
        missing = set(range(self._wanted)) - {child.number for child in present} - self._finished
        if missing:
            return min(missing), None
        if any(child.is_starting for child in present):
            return None  # one at a time
        # One that has reached a limit can wait until the one before is gone, which saves memory.
        is_draining = any(child.state is State.DRAINING for child in self._children.values())
        due = {Why.WISH} if is_draining else {Why.WISH, Why.LIMIT}
        outdated = next((child for child in present if child.outdated in due), None)
        return None if outdated is None else (outdated.number, outdated)

    def _fork(self, signals: SignalPipe, number: int, replaces: Child | None) -> Worker | None:
        """Start a worker; return it in its own process."""
        rows = {child.row for child in self._children.values()}
        row = next((row for row in range(self._board.rows) if row not in rows), None)
        try:
            if row is None:
                raise OSError("too many of them have not ended yet")
            sockets = self._listening.of_worker(number)
            place = self._board.place(row)
            pid, channel = self._fork_with_channel(signals)
        except OSError as error:
            gen_log.warning("Cannot start worker %d: %s; trying again", number, error)
            self._not_before = time.monotonic() + _FORK_PAUSE
            return None
        if not pid:
            self._listening.keep(sockets)
            process.become_task(number)
            set_title(f"worker {number}", self._options)
            if self._listening.is_shared:
                sharing.join(place)
            memory = self._scoreboard.memory(row)
            return Worker(
                self._options,
                channel,
                place,
                memory,
                sockets,
                self._application,
                self._certificates,
            )
        now = time.monotonic()
        deadline = now + (self._options.start_timeout or float("inf"))
        self._children[pid] = Child(pid, number, row, channel, replaces, deadline, now)
        return None

    def _fork_with_channel(self, signals: SignalPipe) -> tuple[int, Channel]:
        """Fork; return the child's pid, in the child 0, and this process's end of their channel.

        Raises:
            OSError: It cannot be done now.
        """
        flush_output()
        mine, theirs = Channel.pair()
        try:
            with signals.blocked():
                pid = os.fork()
                if not pid:
                    signals.restore()
                    prepare_process()
        except OSError:
            mine.close()
            theirs.close()
            raise
        if pid:
            theirs.close()
            return pid, mine
        mine.close()
        for child in self._children.values():
            child.channel.close()
        if self._admin is not None:
            self._admin[1].close()
        return 0, theirs

    # --- The admin address ------------------------------------------------------------------

    def _is_admin_due(self, now: float) -> bool:
        if not self._listening.admin or self._admin is not None:
            return False
        # Until this program has started, the one that it replaces answers.
        is_first = self._has_started or not self._listening.is_inherited
        return is_first and now >= self._no_admin_before

    def _fork_admin(self, signals: SignalPipe) -> AdminProcess | None:
        """Start the process that serves the admin address; return it in that process."""
        self._no_admin_before = time.monotonic() + _FORK_PAUSE
        try:
            pid, channel = self._fork_with_channel(signals)
        except OSError as error:
            gen_log.warning("Cannot start the admin process: %s; trying again", error)
            return None
        if not pid:
            self._listening.close()
            return AdminProcess(self._options, channel, self._scoreboard, self._listening.admin)
        self._admin = pid, channel
        return None

    def _end_admin(self) -> None:
        """Have nobody answer at the admin address any more."""
        if self._admin is not None:
            pid, channel = self._admin
            self._admin = None
            channel.close()
            os.kill(pid, signal.SIGKILL)  # it has nothing to end in good order
            os.waitpid(pid, 0)
        self._listening.close_admin()

    def _publish(self) -> None:
        """Show how things are to the admin process."""
        self._scoreboard.publish(
            [
                (each.row, each.state.name.lower(), each.number, each.pid)
                for each in self._children.values()
            ],
            stopping=self._stopped_at is not None,
            wanted=self._wanted,
            restarts=self._restarts,
            killed=self._killed,
        )

    def _wait(self, signals: SignalPipe, now: float) -> None:
        """Wait until something happens, or it is time for what is due after `now`."""
        poll = select.poll()
        poll.register(signals, select.POLLIN)
        for child in self._children.values():
            if not child.channel.at_end:
                poll.register(child.channel, select.POLLIN)
        times = [self._deadline(child) for child in self._children.values()]
        if self._not_before > now:
            times.append(self._not_before)
        if self._admin is None and self._no_admin_before > now:
            times.append(self._no_admin_before)
        end = min(times, default=float("inf"))
        if end == float("inf"):
            poll.poll()
            return
        # No more than a day, as the system counts milliseconds in an int.
        poll.poll(min(max(0.0, end - time.monotonic()), 86_400.0) * 1000 + 1)

    def _deadline(self, child: Child) -> float:
        """When a worker is to be killed."""
        timeout = self._options.worker_timeout
        if child.state is State.ACCEPTING and timeout:
            beat = self._board.beats[child.row]
            if beat != child.doubted:
                return float(beat + timeout)
        return child.deadline

    # --- Signals ------------------------------------------------------------------------

    def _on_signal(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._stop(number)
        elif number == signal.SIGQUIT:
            self._end_at_once(number)
        elif number == signal.SIGHUP and self._had_terminal and not has_terminal():
            self._stop(number)  # its window was closed, and nobody would stop it later
        elif self._stopped_at is not None:
            return
        elif number == signal.SIGHUP:
            self._roll()
        elif number == signal.SIGUSR1:
            reopen_log_files()
            for child in self._children.values():
                child.channel.send("reopen")
        elif number == signal.SIGUSR2:
            self._start_successor()
        elif number == signal.SIGTTIN:
            self._want(self._wanted + 1)
        elif number == signal.SIGTTOU:
            self._want(self._wanted - 1)

    def _stop(self, number: int) -> None:
        """End all in good order; when that was asked for before, at once."""
        if self._stopped_at is not None:
            if time.monotonic() - self._stopped_at > SAME_SIGNAL:
                self._end_at_once(number)
            return
        self._stopped_at = time.monotonic()
        if self._wanted > 1:
            gen_log.info("Stopping %d processes", len(self._children))
        self._listening.close()  # so that new clients are refused as soon as workers do the same
        if self._successor is not None:
            self._end_admin()  # the new program answers there
        for child in list(self._children.values()):
            self._retire(child, self._options.shutdown_delay)

    def _end_at_once(self, number: int) -> None:
        self._stopped_at = self._stopped_at or time.monotonic()
        self._status = 128 + number
        self._listening.close()
        if self._children:
            gen_log.warning("Killing %d processes", len(self._children))
        for child in self._children.values():
            child.enter(State.KILLED)
            os.kill(child.pid, signal.SIGKILL)

    def _roll(self) -> None:
        """Replace all workers, one after the other, unless an option is wrong now."""
        try:
            options, in_vain = self._read_again(self._options)
            certificates = make_certificates(options)  # with new keys of session tickets
        except ValueError as error:
            gen_log.error("All goes on as before, as an option is wrong: %s", error)
            return
        self._options, self._certificates = options, certificates
        if in_vain:
            gen_log.warning("Options that do not change while this runs: %s", ", ".join(in_vain))
        gen_log.info("Replacing %d processes", self._wanted)
        self._backoff.reset()  # whoever asks for it may have mended something
        self._not_before = 0.0
        for child in list(self._children.values()):
            if child.state is State.FAILED:
                self._retire(child)
            elif child.is_present:
                child.outdated = child.outdated or Why.WISH

    def _want(self, workers: int) -> None:
        """Have so many workers from now on."""
        self._wanted = min(max(workers, 1), self._board.rows // 4)
        gen_log.info("Going on with %d processes", self._wanted)
        self._listening.drop(self._wanted)
        for child in list(self._children.values()):
            if child.number >= self._wanted:
                self._retire(child)

    def _start_successor(self) -> None:
        """Run the program anew, beside this one, on the same sockets."""
        if self._successor is not None:
            gen_log.warning("There is a new program already (pid %d)", self._successor)
            return
        flush_output()
        try:
            self._successor = os.fork()
        except OSError as error:
            gen_log.error("Cannot start a new program: %s", error)
            return
        if self._successor:
            gen_log.info("Starting a new program (pid %d)", self._successor)
            return
        try:
            environ = os.environ | self._listening.hand_over()
            for name in _SIGNALS:  # handlers are forgotten, what is ignored is not
                if signal.getsignal(getattr(signal, name)) is not signal.SIG_IGN:
                    signal.signal(getattr(signal, name), signal.SIG_DFL)
            os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environ)
        finally:
            os._exit(1)

    # --- Workers ------------------------------------------------------------------------

    def _listen_to(self, child: Child) -> None:
        for message in child.channel.receive():
            match message:
                case ["accepts", interface]:
                    self._on_accepting(child, interface)
                case ["failed", status, text]:
                    self._on_failed(child, status, text)
                case ["drains"]:
                    if child.state is State.ACCEPTING:  # somebody else has told it
                        gen_log.info("%s was told to end, replacing it", child)
                        self._drain(child, self._options.shutdown_delay)
                    self._show_banner(child)
                case ["replace", reason]:
                    gen_log.info("Replacing %s: %s", child, reason)
                    child.outdated = Why.LIMIT
                case ["changed"]:
                    say("A module has changed, starting again")
                    for each in self._children.values():
                        if each.state is State.ACCEPTING:
                            each.outdated = Why.WISH

    def _on_accepting(self, child: Child, interface: str) -> None:
        if child.state is not State.STARTING:
            return
        child.enter(State.ACCEPTING)
        child.accepted = True
        self._publish()  # before anybody reads that it serves
        self._interface = interface
        replaces, child.replaces = child.replaces, None
        is_first = not self._has_started or (self._options.reload and replaces is None)
        if self._wanted > 1 or not is_first:
            gen_log.info("%s accepts", child)
        if is_first:
            self._has_started = True
            self._announce(interface, self._wanted)
        if replaces is not None and replaces.pid in self._children:
            if self._options.reload:
                self._banner_due = replaces
            self._retire(replaces)
        if child.number >= self._wanted:
            self._retire(child)

    def _show_banner(self, child: Child) -> None:
        """Print the banner again, when the worker that was replaced accepts no more."""
        if child is self._banner_due:
            self._banner_due = None
            self._announce(self._interface, self._wanted)

    def _on_failed(self, child: Child, status: int, text: str) -> None:
        child.failure = status, text
        if self._options.reload:
            say_failure(text)
            child.enter(State.FAILED)
            self._cancel_roll()

    def _retire(self, child: Child, delay: float = 0.0) -> None:
        """End a worker in good order, if there is any order in it.

        Args:
            delay: Seconds for which it goes on accepting; none where others do.
        """
        if child.state is State.ACCEPTING:
            child.channel.send("drain", delay)
            self._drain(child, delay)
        elif child.state in (State.STARTING, State.FAILED):
            os.kill(child.pid, signal.SIGTERM)
            self._drain(child)

    def _drain(self, child: Child, delay: float = 0.0) -> None:
        seconds = delay + self._options.drain_timeout + _END_MARGIN
        child.enter(State.DRAINING, time.monotonic() + seconds)

    def _kill_overdue(self) -> None:
        for child in self._children.values():
            if self._deadline(child) > time.monotonic():
                continue
            if child.state is State.KILLED:  # by SIGABRT, which it has survived
                child.deadline = float("inf")
                os.kill(child.pid, signal.SIGKILL)
                continue
            if child.state is State.ACCEPTING:
                beat = self._board.beats[child.row]
                if child.doubted != beat:
                    child.doubted = beat
                    child.deadline = time.monotonic() + _DOUBT
                    continue
            why = _OVERDUE[child.state]
            gen_log.error("%s %s, killing it; its stack follows", child, why)
            child.failure = 1, why
            was_draining = child.state is State.DRAINING
            child.enter(State.KILLED, time.monotonic() + _DEATH_MARGIN)
            os.kill(child.pid, signal.SIGABRT)
            self._killed += 1
            if self._stopped_at is not None:
                self._status = 1
            elif child.accepted and not was_draining:
                self._restarts += 1

    def _reap(self) -> None:
        while self._children or self._admin is not None or self._successor is not None:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            code = os.waitstatus_to_exitcode(status)
            if self._admin is not None and pid == self._admin[0]:
                self._admin[1].close()
                self._admin = None
                gen_log.error("The admin process %s, starting another one", _how(code))
            elif pid == self._successor:
                self._successor = None
                gen_log.error("The new program (pid %d) %s; this one goes on", pid, _how(code))
            elif pid in self._children:
                child = self._children[pid]
                self._listen_to(child)  # its last words
                del self._children[pid]
                child.channel.close()
                self._board.clear(child.row)
                self._scoreboard.retire(child.row)
                if self._stopped_at is None:
                    self._on_exit(child, code)

    def _on_exit(self, child: Child, code: int) -> None:
        self._show_banner(child)
        how = _how(code)
        if child.state is State.DRAINING or (child.state is State.KILLED and child.accepted):
            gen_log.info("%s %s", child, how)  # and there is another one in its place
        elif child.state is State.FAILED:
            pass  # a file has changed
        elif not child.accepted:
            self._on_not_started(child, code)
        elif code == 0:  # the application has stopped its loop
            gen_log.info("%s %s", child, how)
            self._finished.add(child.number)
        else:
            self._pause(self._backoff.failed(time.monotonic() - child.since))
            self._restarts += 1
            gen_log.warning("%s %s, restarting", child, how)

    def _on_not_started(self, child: Child, code: int) -> None:
        status, text = child.failure or (max(code, 1), f"it {_how(code)} before it accepted")
        if not self._has_started:
            self._give_up(status, text)
            return
        pause = self._backoff.failed()
        self._pause(pause)
        if child.replaces is not None and child.replaces.pid in self._children:
            gen_log.error("New %s does not start, the one before goes on: %s", child, text)
            self._cancel_roll()
            return
        self._restarts += 1
        gen_log.error("%s does not start, trying again in %.1f s: %s", child, pause, text)
        states = [each.state for each in self._children.values()]
        if State.ACCEPTING not in states and len(self._backoff) >= _TOO_MANY:
            self._give_up(1, "too many workers have failed to start, giving up")

    def _cancel_roll(self) -> None:
        """Keep the workers that serve, as their successors do not start."""
        for child in self._children.values():
            if child.outdated is Why.WISH:
                child.outdated = None

    def _pause(self, seconds: float) -> None:
        self._not_before = max(self._not_before, time.monotonic() + seconds)

    def _give_up(self, status: int, text: str) -> None:
        say_failure(text)
        self._status = status
        self._stopped_at = time.monotonic()
        self._listening.close()
        for child in list(self._children.values()):
            self._retire(child)


# Why a worker is killed, by what it should have done with.
_OVERDUE = {
    State.STARTING: "does not accept within --start-timeout",
    State.ACCEPTING: "has not reported for --worker-timeout",
    State.DRAINING: "has not ended within --drain-timeout",
}


def _how(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
