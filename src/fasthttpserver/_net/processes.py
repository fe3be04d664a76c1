"""How worker processes are forked, and how their parent looks after them."""

from __future__ import annotations

import math
import mmap
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from fasthttpserver._net import sharing
from fasthttpserver._net.backoff import Backoff
from fasthttpserver._net.ioloop import loop_exists
from fasthttpserver._net.signals import SignalPipe, flush_output, has_terminal
from fasthttpserver.limits import Rule, check_number
from fasthttpserver.log import gen_log

__all__ = [
    "become_task",
    "check_may_fork",
    "cpu_count",
    "fork_processes",
    "is_replaced",
    "lifeline",
    "resident_memory",
    "task_id",
    "told_by_parent",
    "told_to_end",
]

_MAX_RESTARTS = 100
_RESTARTS = Rule(0, math.inf, whole=True, optional=True)
_PROCESSES = Rule(-math.inf, math.inf, whole=True, optional=True)
# Seconds after which a fork that failed is tried again.
_FORK_PAUSE = 1.0
_SIGNALS = ("SIGTERM", "SIGINT", "SIGHUP")

_task_id: int | None = None
# The end of a pipe whose other one is the parent's, and is closed when that is gone.
_lifeline: int | None = None
# Shared with the parent, _BYTES for each child: whether it ends because it was told to, whether
# the parent has told it, and whether it is to be replaced.
_told: mmap.mmap | None = None
_BYTES = 3


def cpu_count() -> int:
    """Return how many CPUs this process may use."""
    count: int | None
    if sys.version_info >= (3, 13):
        count = os.process_cpu_count()
    elif hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count()
    if not count:
        gen_log.error("Could not detect number of processors; assuming 1")
        return 1
    return count


def task_id() -> int | None:
    """Return the number that ``fork_processes`` gave to this child; None outside of one."""
    return _task_id


def told_to_end() -> None:
    """Let the parent know that this child is about to end because of a signal.

    Its exit status will be 0, as it ends in good order. It is replaced all the same, unless the
    parent has told it to end. Does nothing outside of a child.
    """
    if _told is not None and _task_id is not None:
        _told[_BYTES * _task_id] = 1


def told_by_parent() -> bool:
    """Whether the parent has sent this child a signal to end since this was asked last."""
    if _told is None or _task_id is None:
        return False
    place = _BYTES * _task_id + 1
    told, _told[place] = _told[place], 0
    return bool(told)


def is_replaced() -> bool:
    """Whether the parent has told this child to end in order to replace it."""
    return _told is not None and _task_id is not None and bool(_told[_BYTES * _task_id + 2])


def lifeline() -> int | None:
    """Return a descriptor that becomes readable when the parent of this child is gone."""
    return _lifeline


def check_may_fork() -> None:
    """Raise what ``fork_processes`` does where there is no way to fork workers."""
    if not hasattr(os, "fork"):
        raise RuntimeError("Cannot run in multiple processes: this system cannot fork")
    if _task_id is not None:
        raise AssertionError(f"this is child process {_task_id} of fork_processes already")
    if loop_exists():
        raise RuntimeError(
            "Cannot run in multiple processes: IOLoop instance has already been initialized. "
            "You cannot call IOLoop.instance() or run an event loop before fork_processes()"
        )
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("Cannot run in multiple processes: this is not the main thread")


def become_task(number: int) -> None:
    """Be the child with this number, for ``task_id``."""
    global _task_id
    _task_id = number


def fork_processes(
    num_processes: int | None,
    max_restarts: int | None = _MAX_RESTARTS,
    *,
    on_stop: Callable[[], object] | None = None,
) -> int:
    """Fork children, and look after them in the parent until the last one has ended.

    Only children return, each with its number from 0 up. One that is killed or exits
    with a status other than 0 is started anew, with the same number.

    The parent answers to signals, as long as they were not ignored when it was started:

    - SIGTERM and SIGINT end the children with SIGTERM, and the parent once they are gone.
      A second one kills them.
    - SIGHUP ends and replaces them one after the other. The replacements know what was
      imported before the fork, and import the rest anew. When the parent has lost its
      terminal, SIGHUP ends everything instead.

    Children have the signal handlers that were set before the call. Those that serve end in good
    order when the parent is gone.

    Call this in the main thread, before there is a loop or another thread. Sockets that
    were bound beforehand are shared. ``random`` starts differently in each child.

    Args:
        num_processes: How many; ``None``, 0 and less are one for each CPU.
        max_restarts: How often children that have failed are restarted, all together; ``None``
            is 100.
        on_stop: Called in the parent when it begins to end its children. Sockets that they
            listen on are to be closed in it, so that new clients are refused at once and
            not when the last child has ended.

    Raises:
        SystemExit: In the parent: all children have ended with status 0 or as they were
            told (status 0), or they had to be killed (status 1).
        RuntimeError: In the parent: children failed too often, the last ones are ended;
            or at once: there is a loop already, or the system cannot fork.
        AssertionError: This is such a child.
        TypeError: A number is none.
        ValueError: ``max_restarts`` is negative.
    """
    global _task_id, _told, _lifeline
    check_number("num_processes", num_processes, _PROCESSES)
    check_number("max_restarts", max_restarts, _RESTARTS)
    check_may_fork()
    if num_processes is None or num_processes <= 0:
        num_processes = cpu_count()
    gen_log.info("Starting %d processes", num_processes)
    _told = mmap.mmap(-1, _BYTES * num_processes)
    board = sharing.Board(num_processes)
    limit = _MAX_RESTARTS if max_restarts is None else max_restarts
    read_end, write_end = os.pipe()
    try:
        with SignalPipe(getattr(signal, name) for name in _SIGNALS) as signals:
            _task_id = _Supervisor(signals, board, num_processes, limit, on_stop).run()
        _lifeline = read_end
    finally:
        os.close(write_end)
        if _lifeline is None:  # in the parent
            os.close(read_end)
    return _task_id


class _Supervisor:
    """The parent. It acts between two waits only, never in a signal handler.

    A number is in ``due`` until its process is forked, then it is a value of ``children``.
    """

    def __init__(
        self,
        signals: SignalPipe,
        board: sharing.Board,
        num_processes: int,
        max_restarts: int,
        on_stop: Callable[[], object] | None,
    ) -> None:
        self.signals = signals
        self.poll = select.poll()
        self.poll.register(signals, select.POLLIN)
        self.board = board
        self.backoff = Backoff()
        self.on_stop = on_stop
        self.restarts_left = max_restarts
        self.due: dict[int, float] = dict.fromkeys(range(num_processes), 0.0)  # number: time
        self.children: dict[int, int] = {}  # pid: number
        self.started: dict[int, float] = {}  # pid: time
        self.outdated: list[int] = []  # pids that a rolling restart has still to replace
        self.outgoing: int | None = None  # the pid that it is replacing
        self.is_stopping = False
        self.exit_status = 0
        self.failure: str | None = None
        self.had_terminal = has_terminal()

    def run(self) -> int:
        """Return the child's number, in a child."""
        while self.due or self.children:
            while (number := self.next_due()) is not None:
                if self.fork(number):
                    return number
            self.roll()
            wait = min(self.due.values()) - time.monotonic() if self.due else None
            self.poll.poll(None if wait is None else max(0, math.ceil(wait * 1000)))
            for signum in self.signals.read():
                self.on_signal(signum)
            self.reap()
        if self.failure is not None:
            raise RuntimeError(self.failure)
        sys.exit(self.exit_status)

    def next_due(self) -> int | None:
        now = time.monotonic()
        return next((number for number, when in self.due.items() if when <= now), None)

    def fork(self, number: int) -> bool:
        """Fork one process; tell whether this is the child."""
        flush_output()
        place = self.board.place(number)
        assert _told is not None
        _told[_BYTES * number : _BYTES * (number + 1)] = bytes(_BYTES)
        with self.signals.blocked():
            try:
                pid = os.fork()
            except OSError as error:
                gen_log.warning("cannot fork child %d: %s", number, error)
                self.due[number] = time.monotonic() + _FORK_PAUSE  # no failure of the child
                return False
            if not pid:
                self.signals.restore()
                sharing.join(place)
                return True
            del self.due[number]
            self.children[pid] = number
            self.started[pid] = time.monotonic()
            return False

    def restart(self, number: int, after: float) -> None:
        if self.restarts_left <= 0:
            self.failure = "Too many child restarts, giving up"
            self.stop()
        else:
            self.restarts_left -= 1
            self.due[number] = time.monotonic() + after

    def on_signal(self, signum: int) -> None:
        is_hangup = signum == signal.SIGHUP
        if signum in (signal.SIGTERM, signal.SIGINT) or (
            # Closing a terminal tells all that run in it; nobody would stop them later.
            is_hangup and self.had_terminal and not has_terminal()
        ):
            self.stop()
        elif is_hangup and not self.is_stopping:
            gen_log.info("Replacing %d processes", len(self.children))
            self.outdated = [pid for pid in self.children if pid != self.outgoing]

    def stop(self) -> None:
        self.due.clear()
        self.outdated.clear()
        if self.is_stopping:
            gen_log.warning("Killing %d processes", len(self.children))
            self.exit_status = 1
        else:
            gen_log.info("Stopping %d processes", len(self.children))
        for pid in self.children:
            if self.is_stopping:
                os.kill(pid, signal.SIGKILL)
            else:
                self.tell(pid)
        if self.on_stop is not None and not self.is_stopping:
            self.on_stop()
        self.is_stopping = True

    def roll(self) -> None:
        """End the next outdated process when the one before is gone and replaced."""
        while self.outgoing is None and self.outdated:
            pid = self.outdated.pop(0)
            if pid in self.children:
                self.outgoing = pid
                self.tell(pid, replaced=True)

    def tell(self, pid: int, replaced: bool = False) -> None:
        """Tell a child to end; it may have been told by others as well."""
        assert _told is not None
        place = _BYTES * self.children[pid]
        _told[place + 1 : place + _BYTES] = bytes([1, replaced])
        os.kill(pid, signal.SIGTERM)

    def reap(self) -> None:
        while self.children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            if pid in self.children:  # else somebody else's in this process
                self.on_exit(pid, os.waitstatus_to_exitcode(status))

    def on_exit(self, pid: int, code: int) -> None:
        number = self.children.pop(pid)
        self.board.clear(number)
        lifetime = time.monotonic() - self.started.pop(pid)
        if self.is_stopping:
            gen_log.info("child %d (pid %d) ended", number, pid)
        elif pid == self.outgoing:
            gen_log.info("child %d (pid %d) ended, replacing", number, pid)
            self.outgoing = None
            self.due[number] = 0.0
        elif code == 0 and self.was_told(number):
            gen_log.info("child %d (pid %d) was told to end, replacing", number, pid)
            self.due[number] = 0.0
        elif code == 0:
            gen_log.info("child %d (pid %d) exited normally", number, pid)
        else:
            how = f"killed by signal {-code}" if code < 0 else f"exited with status {code}"
            gen_log.warning("child %d (pid %d) %s, restarting", number, pid, how)
            self.restart(number, after=self.backoff.failed(lifetime))

    @staticmethod
    def was_told(number: int) -> bool:
        assert _told is not None
        return bool(_told[_BYTES * number])


def resident_memory(pid: int | None = None) -> int | None:
    """Return how many bytes of memory a process has.

    Elsewhere than on Linux that is how many it has had at most, and only this process tells.

    Args:
        pid: Of the process; None for this one.

    Returns:
        None where the system does not tell.
    """
    try:
        pages = int(Path(f"/proc/{pid or 'self'}/statm").read_bytes().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    if pid is not None:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
