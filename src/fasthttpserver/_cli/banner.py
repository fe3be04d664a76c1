"""What the command line prints: where it serves, and why it does not."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

from fasthttpserver._cli.application import INTERFACES

__all__ = ["announce", "say", "say_failure", "url_of"]


def announce(
    options: argparse.Namespace,
    version: str,
    sockets: list[socket.socket],
    interface: str,
    workers: int,
) -> None:
    """Say where, how and what; in colour on a terminal only."""
    scheme = "https" if options.certfile else "http"
    first = sockets[0]
    address: Any = first.getsockname()
    curl = "curl -i" if scheme == "http" else "curl -ik"
    if options.proxy_protocol:
        curl += " --haproxy-protocol"
    if isinstance(address, tuple):
        host = options.address if options.fd is None else address[0]
        host = f"[{host}]" if ":" in host else host
        url = f"{scheme}://{host or 'localhost'}:{address[1]}/"
        attempt = f"{curl} {url}hello"
    else:
        url = f"{scheme}+unix:{address}"
        attempt = f"{curl} --unix-socket {address} {scheme}://localhost/hello"
    how = f"{_loop_name(options.loop)}, {workers} worker{'s' if workers > 1 else ''}"
    if interface != "callback":
        how = f"{INTERFACES[interface]}, {how}"
    bold: Callable[[str], str] = str
    if sys.stdout.isatty():
        bold = "\x1b[1m{}\x1b[0m".format
    say(f"Serving on {bold(url)} ({how}, fasthttpserver {version}); Ctrl-C ends it.")
    say(f"Try: {attempt}")
    if options.config_files:
        say(f"Options are from {' and '.join(options.config_files)}, too; see --print-config.")
    if options.application is None:
        say("No application is named, so each request is answered with its URI.")
        say("To serve yours: fasthttpserver package.module:application")


def url_of(sock: socket.socket, scheme: str) -> str:
    """Say where a listening socket is reached."""
    address: Any = sock.getsockname()
    if not isinstance(address, tuple):
        return f"{scheme}+unix:{address}"
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    return f"{scheme}://{host}:{address[1]}/"


def say(text: str) -> None:
    """Print a line for the user; a terminal that is gone is no reason to end."""
    with contextlib.suppress(OSError):
        print(text, flush=True)


def say_failure(failure: str) -> None:
    """Print for the user, in a line, what is wrong."""
    with contextlib.suppress(OSError):
        print(f"fasthttpserver: {failure}", file=sys.stderr, flush=True)


def _loop_name(choice: str | None) -> str:
    choice = choice or os.environ.get("FASTHTTPSERVER_LOOP") or "auto"
    if choice == "auto":
        return "asyncio" if importlib.util.find_spec("uvloop") is None else "uvloop"
    return choice
