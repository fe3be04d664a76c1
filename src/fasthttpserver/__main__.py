"""The command line: a server for the application that it names."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Sequence

from fasthttpserver import __version__
from fasthttpserver._cli.alone import run_alone
from fasthttpserver._cli.banner import announce, say_failure, url_of
from fasthttpserver._cli.listening import listen
from fasthttpserver._cli.logs import configure_logs
from fasthttpserver._cli.mistakes import in_words
from fasthttpserver._cli.options import parse_options, read_again
from fasthttpserver._cli.serving import FAILURES, check, load
from fasthttpserver._cli.supervisor import Supervisor
from fasthttpserver.log import gen_log

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    options = parse_options(arguments, __version__)
    try:
        configure_logs(options)
        check(options)
        application = load(options) if options.preload else None
        listening = listen(options)
    except FAILURES as error:
        say_failure(in_words(error, options))
        return 1
    if listening.admin:
        gen_log.info("The admin address is %s", url_of(listening.admin[0], "http"))
    say = functools.partial(announce, options, __version__, listening.sockets)
    if not hasattr(os, "fork"):
        return run_alone(options, listening, say, arguments)
    try:
        again = functools.partial(read_again, arguments=arguments)
        supervisor = Supervisor(options, listening, say, application, again)
    except (RuntimeError, ValueError) as error:
        listening.close_all()
        say_failure(str(error))
        return 1
    outcome = supervisor.run()
    return outcome if isinstance(outcome, int) else outcome.run()


if __name__ == "__main__":
    sys.exit(main())
