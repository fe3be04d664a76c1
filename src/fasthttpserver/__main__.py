"""The command line: a server for the application that it names."""

from __future__ import annotations

import argparse
import importlib.util
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any

from fasthttpserver import __version__
from fasthttpserver._cli.application import INTERFACES, Application, load_application
from fasthttpserver._cli.options import limits_of, parse_options
from fasthttpserver._cli.reload import watch_modules
from fasthttpserver._net import netutil
from fasthttpserver._net import processes as process
from fasthttpserver._net.ioloop import IOLoop
from fasthttpserver._server.shutdown import Shutdown
from fasthttpserver.httpserver import HTTPRequest
from fasthttpserver.log import access_log

__all__ = ["main"]

# The first descriptor that systemd passes; see sd_listen_fds(3).
_SYSTEMD_FD = 3

# The exit status of a program whose application has failed to start.
_NOT_STARTED = 3


def echo(request: HTTPRequest) -> None:
    """Answer with the URI that was asked for: what runs when no callback is named."""
    message = f"You requested {request.uri}\n"
    connection = "Connection: close\r\n" if request.connection.no_keep_alive else ""
    request.write(
        f"HTTP/1.1 200 OK\r\nContent-Length: {len(message)}\r\n{connection}"
        f"Content-Type: text/plain; charset=iso-8859-1\r\n\r\n{message}"
    )
    request.finish()


def bind(options: argparse.Namespace) -> list[socket.socket]:
    """Return the listening sockets that the options ask for.

    Raises:
        OSError, ValueError: They are not to be had.
    """
    if options.fd is not None:
        return [socket.socket(fileno=number) for number in _inherited(options.fd)]
    if options.unix_socket:
        return [netutil.bind_unix_socket(options.unix_socket)]
    return netutil.bind_sockets(options.port, options.address, reuse_port=options.reuse_port)


def _inherited(fd: str) -> range:
    if fd != "systemd":
        if not fd.isdecimal():
            raise ValueError(f"--fd takes a number or 'systemd', not {fd!r}")
        return range(int(fd), int(fd) + 1)
    count = os.environ.get("LISTEN_FDS", "")
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or not count.isdecimal():
        raise ValueError("systemd has passed no socket to this process")
    return range(_SYSTEMD_FD, _SYSTEMD_FD + int(count))


def make_server(application: Application, options: argparse.Namespace) -> Any:
    """Make a server as the options ask for, without a socket yet.

    Raises:
        OSError, ValueError: The certificate or a limit is wrong.
        ImportError: What the application's interface needs is not installed.
    """
    ssl_options = None
    if options.certfile:
        ssl_options = {"certfile": options.certfile}
        if options.keyfile:
            ssl_options["keyfile"] = options.keyfile
    server = application.make_server(
        options,
        no_keep_alive=options.no_keep_alive,
        xheaders=options.xheaders,
        ssl_options=ssl_options,
        trusted_downstream=options.trusted_downstream,
        access_log=options.access_log,
        check_responses=options.check_responses,
        isolate_context=options.isolate_context,
        **limits_of(options),
    )
    # Tornado's class has its own way to the certificate; the engine below knows ours.
    getattr(server, "engine", server).make_ssl_context()
    return server


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    options = parse_options(arguments, __version__)
    logging.basicConfig(
        level=options.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    if options.access_log:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))  # has its own time
        access_log.addHandler(handler)
        access_log.setLevel(logging.INFO)
        access_log.propagate = False
    try:
        application = Application("callback", echo)
        if options.application is not None:
            application = load_application(options.application, options.interface, options.factory)
        if options.loop is not None:
            IOLoop.configure(options.loop)
        server = make_server(application, options)
        sockets = bind(options)
        if options.processes != 1:
            _announce(options, application, sockets)  # once, and not by a worker
            process.fork_processes(options.processes, on_stop=lambda: _close(sockets))
            server = make_server(application, options)  # a replacement reads the certificate anew
    except (OSError, OverflowError, ValueError, ImportError) as error:
        print(f"fasthttpserver: {error}", file=sys.stderr)
        return 1
    return _run(application, server, sockets, options, arguments)


def _run(
    application: Application,
    server: Any,
    sockets: list[socket.socket],
    options: argparse.Namespace,
    arguments: Sequence[str] | None,
) -> int:
    loop = IOLoop.current()
    container = application.container
    if container is not None:
        try:
            loop.run_sync(container.startup)
        except Exception as error:
            print(f"fasthttpserver: {error}", file=sys.stderr)
            return _NOT_STARTED
    shutdown = Shutdown(loop, options.drain_timeout)
    shutdown.servers.append(server)
    shutdown.install(signal.SIGINT, signal.SIGTERM)
    server.add_sockets(sockets)
    if options.processes == 1:
        _announce(options, application, sockets)
    again = False

    def restart() -> None:
        nonlocal again
        again = True
        print("A module has changed, starting again", flush=True)
        loop.stop()

    if options.reload:
        watch_modules(loop, restart)
    loop.start()
    server.stop()
    if container is not None:
        loop.run_sync(container.shutdown)
    if again:
        words = sys.argv[1:] if arguments is None else list(arguments)
        os.execv(sys.executable, [sys.executable, "-m", "fasthttpserver", *words])
    return 0


def _close(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.close()


def _announce(
    options: argparse.Namespace, application: Application, sockets: list[socket.socket]
) -> None:
    """Say where, how and what; in colour on a terminal only."""
    scheme = "https" if options.certfile else "http"
    first = sockets[0]
    address: Any = first.getsockname()
    curl = "curl -i" if scheme == "http" else "curl -ik"
    if isinstance(address, tuple):
        host = options.address if options.fd is None else address[0]
        host = f"[{host}]" if ":" in host else host
        url = f"{scheme}://{host or 'localhost'}:{address[1]}/"
        attempt = f"{curl} {url}hello"
    else:
        url = f"{scheme}+unix:{address}"
        attempt = f"{curl} --unix-socket {address} {scheme}://localhost/hello"
    workers = options.processes if options.processes > 0 else process.cpu_count()
    how = f"{_loop_name(options.loop)}, {workers} worker{'s' if workers > 1 else ''}"
    if application.interface != "callback":
        how = f"{INTERFACES[application.interface]}, {how}"
    bold: Callable[[str], str] = str
    if sys.stdout.isatty():
        bold = "\x1b[1m{}\x1b[0m".format
    print(f"Serving on {bold(url)} ({how}, fasthttpserver {__version__}); Ctrl-C ends it.")
    print(f"Try: {attempt}", flush=True)


def _loop_name(choice: str | None) -> str:
    choice = choice or os.environ.get("FASTHTTPSERVER_LOOP") or "auto"
    if choice == "auto":
        return "asyncio" if importlib.util.find_spec("uvloop") is None else "uvloop"
    return choice


if __name__ == "__main__":
    sys.exit(main())
