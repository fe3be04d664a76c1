"""The command line in one process, where there is no way to fork another: on Windows."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence

from fasthttpserver._cli.banner import say, say_failure
from fasthttpserver._cli.listening import Listening
from fasthttpserver._cli.reload import Watch
from fasthttpserver._cli.serving import NotStarted, Serving
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
        listening.close()
        say_failure(error)
        return error.status
    shutdown = Shutdown(serving.loop, options.drain_timeout)
    shutdown.servers.append(serving.server)
    shutdown.install(signal.SIGINT, signal.SIGTERM)
    serving.server.add_sockets(listening.sockets)
    announce(serving.application.interface, 1)
    again = False

    def restart() -> None:
        nonlocal again
        again = True
        say("A module has changed, starting again")
        serving.loop.stop()

    watch = Watch(serving.loop, restart) if options.reload else None
    serving.run()
    if watch is not None:
        watch.end()
    if again:
        words = sys.argv[1:] if arguments is None else list(arguments)
        os.execv(sys.executable, [sys.executable, "-m", "fasthttpserver", *words])
    return 0
