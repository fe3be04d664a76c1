"""The command line in one process, where there is no way to fork another: on Windows."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from fasthttpserver._cli.admin import make_admin_server, ready_family
from fasthttpserver._cli.banner import say, say_failure
from fasthttpserver._cli.listening import Listening
from fasthttpserver._cli.reload import Watch
from fasthttpserver._cli.serving import NotStarted, Serving, engine_of
from fasthttpserver._server.exposition import Family, families_of
from fasthttpserver._server.shutdown import Shutdown

__all__ = ["run_alone"]


def run_alone(
    options: argparse.Namespace,
    listening: Listening,
    announce: Callable[[str, int], None],
    arguments: Sequence[str] | None,
) -> int:
    """Serve until a signal; return the exit status.

    Args:
        options: Of the command line.
        listening: The sockets to accept from.
        announce: Called with the interface's name when it accepts.
        arguments: To start again with, if a module changes.
    """
    try:
        serving = Serving(options)
    except NotStarted as error:
        listening.close_all()
        say_failure(str(error))
        return error.status
    shutdown = Shutdown(serving.loop, options.drain_timeout)
    shutdown.servers.append(serving.server)
    shutdown.install(signal.SIGINT, signal.SIGTERM)
    serving.server.add_sockets(listening.sockets)
    admin = make_admin_server(_Alone(engine_of(serving.server)))
    admin.add_sockets(listening.admin)
    announce(serving.application.interface, 1)
    again = False

    def restart() -> None:
        nonlocal again
        again = True
        say("A module has changed, starting again")
        serving.loop.stop()

    watch = Watch(serving.loop, restart) if options.reload else None
    serving.run()
    admin.stop()
    if watch is not None:
        watch.end()
    if again:
        words = sys.argv[1:] if arguments is None else list(arguments)
        os.execv(sys.executable, [sys.executable, "-m", "fasthttpserver", *words])
    return 0


class _Alone:
    """The service of one process, for its admin address: it answers if its loop runs.

    Args:
        server: Of the application.
    """

    def __init__(self, server: Any) -> None:
        self._server = server

    def is_alive(self) -> bool:
        return True

    def is_ready(self) -> bool:
        return not self._server.is_draining

    def stats(self) -> dict[str, Any]:
        return {"ready": self.is_ready(), "total": self._server.stats()}

    def families(self) -> Iterable[Family]:
        yield from families_of(self._server.stats())
        yield ready_family(self.is_ready())
