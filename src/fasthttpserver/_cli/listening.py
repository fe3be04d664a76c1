"""The listening sockets of the command line: bound, inherited, handed over."""

from __future__ import annotations

import argparse
import os
import socket

from fasthttpserver._cli.mistakes import in_words
from fasthttpserver._net import netutil
from fasthttpserver._net import processes as process

__all__ = ["Listening", "listen"]

# The first descriptor that systemd passes; see sd_listen_fds(3).
_FIRST_FD = 3
# Set beside LISTEN_FDS by a supervisor for its successor: how many sockets each worker has.
_GROUPS = "FASTHTTPSERVER_LISTEN_GROUPS"


class Listening:
    """The sockets of all workers: the same for all, or some for each.

    Args:
        groups: Of the sockets; worker number n has the nth, and the last is for all others.
        options: For making the group of a worker that is added, if each has its own.
    """

    def __init__(self, groups: list[list[socket.socket]], options: argparse.Namespace) -> None:
        self.groups = groups
        self._options = options
        self._own = options.reuse_port and options.fd is None and not options.unix_socket

    @property
    def is_shared(self) -> bool:
        """Whether all workers accept from the same sockets."""
        return not self._own

    @property
    def sockets(self) -> list[socket.socket]:
        """All of them."""
        return [sock for group in self.groups for sock in group]

    def of_worker(self, number: int) -> list[socket.socket]:
        """Return the sockets of a worker.

        Its own ones outlive it: what waits in them is for the worker that comes after it.

        Raises:
            OSError: It is to have its own, and they are not to be had.
        """
        while self._own and number >= len(self.groups):
            port = self.groups[0][0].getsockname()[1]
            self.groups.append(_bind(self._options, port))
        return self.groups[min(number, len(self.groups) - 1)]

    def drop(self, number: int) -> None:
        """Close the own sockets of a worker that there is to be no more, and of those after it."""
        while self._own and len(self.groups) > max(number, 1):
            for sock in self.groups.pop():
                sock.close()

    def keep(self, sockets: list[socket.socket]) -> None:
        """In a worker, close all but its own."""
        for sock in self.sockets:
            if sock not in sockets:
                sock.close()

    def close(self) -> None:
        """Close them here; workers have their own descriptors of them."""
        for sock in self.sockets:
            sock.close()

    def hand_over(self) -> dict[str, str]:
        """In a fork, put them where ``listen`` of the program that is to be run finds them.

        Returns:
            What has to be in its environment.
        """
        # Out of the way first, as one may have the number that another is to get.
        highest = _FIRST_FD + len(self.sockets)
        copies = [os.dup(sock.fileno()) for sock in self.sockets]
        while any(fd < highest for fd in copies):
            copies = [os.dup(fd) if fd < highest else fd for fd in copies]
        for number, fd in enumerate(copies, _FIRST_FD):
            os.dup2(fd, number, inheritable=True)
        return {
            "LISTEN_PID": str(os.getpid()),
            "LISTEN_FDS": str(len(copies)),
            _GROUPS: ",".join(str(len(group)) for group in self.groups),
        }


def listen(options: argparse.Namespace) -> Listening:
    """Return the listening sockets that the options ask for.

    Raises:
        OSError, ValueError: They are not to be had.
    """
    groups = os.environ.pop(_GROUPS, None)
    if groups is not None and os.environ.get("LISTEN_PID") == str(os.getpid()):
        # From the program that this one replaces, whatever the options say.
        sockets = [socket.socket(fileno=number) for number in _of_systemd()]
        sizes = map(int, groups.split(","))
        return Listening([[sockets.pop(0) for _ in range(size)] for size in sizes], options)
    listening = Listening([_bind(options, options.port)], options)
    if not listening.is_shared:
        try:
            listening.of_worker((options.processes or process.cpu_count()) - 1)
        except BaseException:
            listening.close()
            raise
    return listening


def _bind(options: argparse.Namespace, port: int) -> list[socket.socket]:
    if options.fd is not None:
        if options.fd == "systemd":
            return [socket.socket(fileno=number) for number in _of_systemd()]
        if not options.fd.isdecimal():
            raise ValueError(f"--fd takes a number or 'systemd', not {options.fd!r}")
        try:
            return [socket.socket(fileno=int(options.fd))]
        except (OSError, OverflowError) as error:
            raise ValueError(f"--fd {options.fd} is no socket: {in_words(error)}") from None
    if options.unix_socket:
        mode = 0o600 if options.unix_socket_mode is None else options.unix_socket_mode
        user, group = options.unix_socket_owner or (None, None)
        return [
            netutil.bind_unix_socket(
                options.unix_socket, mode, options.backlog, user=user, group=group
            )
        ]
    return netutil.bind_sockets(
        port, options.address, backlog=options.backlog, reuse_port=options.reuse_port
    )


def _of_systemd() -> range:
    count = os.environ.get("LISTEN_FDS", "")
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or not count.isdecimal():
        raise ValueError("systemd has passed no socket to this process")
    return range(_FIRST_FD, _FIRST_FD + int(count))
