"""A worker of the command line: from the fork until its end."""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import os
import signal
import socket
from types import FrameType
from typing import NoReturn

from fasthttpserver._cli.application import Application
from fasthttpserver._cli.channel import Channel
from fasthttpserver._cli.logs import reopen_log_files
from fasthttpserver._cli.recycling import Recycling
from fasthttpserver._cli.reload import Watch
from fasthttpserver._cli.serving import NotStarted, Serving, engine_of
from fasthttpserver._net import sharing
from fasthttpserver._net.certificates import Certificates
from fasthttpserver._net.ioloop import IOLoop, PeriodicCallback
from fasthttpserver._net.lines import flush_lines
from fasthttpserver._net.signals import do_nothing, flush_output
from fasthttpserver._server.server import counters_of
from fasthttpserver._server.shutdown import Shutdown
from fasthttpserver.log import gen_log

__all__ = ["Worker", "prepare_process"]

# Seconds between two beats; a quarter of --worker-timeout, if that is less.
_BEAT = 1.0
# Seconds between two looks whether it is time to be replaced.
_RECYCLING = 0.25
# Signals for the supervisor only, which reach all of a process group, and would end a worker.
_NOT_FOR_WORKERS = ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGTTIN", "SIGTTOU")


class Worker:
    """Serves until the supervisor wants its end, or has ended itself.

    Args:
        options: Of the command line.
        channel: To the supervisor.
        place: On its board.
        memory: Where it counts, for others to see.
        sockets: To accept from.
        application: If it was imported before the fork.
        certificates: Shared with the other workers, if they speak TLS.
    """

    def __init__(
        self,
        options: argparse.Namespace,
        channel: Channel,
        place: sharing.Place,
        memory: memoryview,
        sockets: list[socket.socket],
        application: Application | None = None,
        certificates: Certificates | None = None,
    ) -> None:
        self._options = options
        self._channel = channel
        self._place = place
        self._memory = memory
        self._sockets = sockets
        self._application = application
        self._certificates = certificates

    def run(self) -> int:
        """Return the exit status; ends the process here if the application cannot be started."""
        try:
            serving = Serving(self._options, self._application, self._certificates)
        except NotStarted as error:
            self._fail(error)
        counters_of(engine_of(serving.server)).move(self._memory)
        loop = serving.loop
        self._shutdown = Shutdown(loop, self._options.drain_timeout, on_begin=self._on_shutdown)
        self._shutdown.servers.append(serving.server)
        self._shutdown.install(signal.SIGINT, signal.SIGTERM)
        loop.add_handler(self._channel.fileno(), self._on_message, IOLoop.READ)
        self._timers = [PeriodicCallback(self._place.beat, self._beat_interval() * 1000)]
        recycling = Recycling(self._options, engine_of(serving.server))
        if recycling.is_needed:
            look = PeriodicCallback(lambda: self._recycle(recycling), _RECYCLING * 1000)
            self._timers.append(look)
        for timer in self._timers:
            timer.start()
        serving.server.add_sockets(self._sockets)
        self._place.beat()
        watch = None
        if self._options.reload:
            watch = Watch(loop, lambda: self._channel.send("changed"))
        self._channel.send("accepts", serving.application.interface)
        serving.run()
        if watch is not None:
            watch.end()
        self._channel.close()
        return 0

    def _beat_interval(self) -> float:
        timeout = self._options.worker_timeout
        return min(_BEAT, timeout / 4) if timeout else _BEAT

    def _fail(self, error: NotStarted) -> NoReturn:
        """Tell the supervisor, and end: in no way that runs what the application has set up."""
        if self._options.reload:
            self._wait_for_change(error)
        else:
            self._channel.send("failed", error.status, str(error))
        flush_output()
        os._exit(error.status)

    def _wait_for_change(self, error: NotStarted) -> None:
        """Go on until the mistake may have been mended: nobody else knows what was imported."""
        loop = IOLoop.current()

        def changed() -> None:
            self._channel.send("changed")
            loop.stop()

        def gone(_fd: int, _events: int) -> None:
            self._channel.receive()
            if self._channel.at_end:
                loop.stop()

        watch = Watch(loop, changed, error.__cause__)
        self._channel.send("failed", error.status, str(error))
        loop.add_handler(self._channel.fileno(), gone, IOLoop.READ)
        loop.start()
        watch.end()

    def _on_message(self, _fd: int, _events: int) -> None:
        for message in self._channel.receive():
            match message:
                case ["drain", delay]:
                    self._shutdown.begin(delay)
                case ["reopen"]:
                    reopen_log_files()
        if self._channel.at_end:
            IOLoop.current().remove_handler(self._channel.fileno())
            gen_log.error("The supervisor is gone, ending")
            self._shutdown.begin(delay=0.0)  # whoever killed it may want the port

    def _on_shutdown(self) -> None:
        self._channel.send("drains")
        for timer in self._timers[1:]:
            timer.stop()

    def _recycle(self, recycling: Recycling) -> None:
        reason = recycling.reason()
        if reason is not None:
            self._timers[1].stop()
            self._channel.send("replace", reason)


def prepare_process() -> None:
    """Have signals do what they should in a worker, right after the fork.

    The application may change that while it is imported.
    """
    for name in _NOT_FOR_WORKERS:
        signal.signal(getattr(signal, name), do_nothing)
    signal.signal(signal.SIGQUIT, _end_at_once)
    for number in signal.SIGINT, signal.SIGTERM:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)  # nothing has to end in good order yet
    if not faulthandler.is_enabled():
        with contextlib.suppress(AttributeError, OSError, ValueError):  # no real stderr
            faulthandler.enable()  # so that SIGABRT shows where a worker hangs


def _end_at_once(signum: int, frame: FrameType | None) -> None:
    flush_lines()
    os._exit(128 + signum)
