"""The listening sockets of the command line: bound, inherited, handed over."""

from __future__ import annotations

import argparse
import os
import socket

from fasthttpserver._cli.mistakes import in_words
from fasthttpserver._net import netutil
from fasthttpserver._net import processes as process
from fasthttpserver._net.sockets import ServerSocket

__all__ = ["Listening", "listen", "split_admin"]

# The first descriptor that systemd passes; see sd_listen_fds(3).
_FIRST_FD = 3
# Set beside LISTEN_FDS by a supervisor for its successor: how many sockets each worker has.
_GROUPS = "FASTHTTPSERVER_LISTEN_GROUPS"
# What --admin begins with for a Unix socket.
_UNIX = "unix:"


class Listening:
    """The sockets of all workers: the same for all, or some for each.

    Args:
        groups: Of the sockets; worker number n has the nth, and the last is for all others.
        options: For making the group of a worker that is added, if each has its own.
        admin: The sockets of the admin address.
        is_inherited: Whether they all are of the program that this one replaces.
    """

    def __init__(
        self,
        groups: list[list[socket.socket]],
        options: argparse.Namespace,
        admin: list[socket.socket],
        is_inherited: bool = False,
    ) -> None:
        self.groups = groups
        self.admin = admin
        self.is_inherited = is_inherited
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

        Those of its own outlive it: clients that wait in them are for its successor.

        Raises:
            OSError: It is to have its own, and they cannot be bound.
        """
        while self._own and number >= len(self.groups):
            port = self.groups[0][0].getsockname()[1]
            self.groups.append(_bind(self._options, port))
        return self.groups[min(number, len(self.groups) - 1)]

    def drop(self, number: int) -> None:
        """Close what a worker that is no longer wanted has of its own, and those after it."""
        while self._own and len(self.groups) > max(number, 1):
            for sock in self.groups.pop():
                sock.close()

    def keep(self, sockets: list[socket.socket]) -> None:
        """In a worker, close all but its own."""
        for sock in self.sockets + self.admin:
            if sock not in sockets:
                sock.close()

    def close(self) -> None:
        """Close those of workers here; they have their own descriptors of them."""
        for sock in self.sockets:
            sock.close()

    def close_admin(self) -> None:
        """Close those of the admin address for good."""
        while self.admin:
            self.admin.pop().close()

    def close_all(self) -> None:
        """Close those of workers and of the admin address."""
        self.keep([])

    def hand_over(self) -> dict[str, str]:
        """In a fork, put them where ``listen`` of the program that is to be run finds them.

        Returns:
            What has to be in its environment.
        """
        # Out of the way first, as one may have the number that another is to get.
        sockets = self.sockets + self.admin
        highest = _FIRST_FD + len(sockets)
        copies = [os.dup(sock.fileno()) for sock in sockets]
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
        OSError, ValueError: They cannot be made.
    """
    groups = os.environ.pop(_GROUPS, None)
    if groups is not None and os.environ.get("LISTEN_PID") == str(os.getpid()):
        # From the program that this one replaces, whatever the options say.
        sockets: list[socket.socket] = [ServerSocket(fileno=number) for number in _of_systemd()]
        sizes = map(int, groups.split(","))
        mine = [[sockets.pop(0) for _ in range(size)] for size in sizes]
        listening = Listening(mine, options, admin=sockets, is_inherited=True)
    else:
        listening = Listening([_bind(options, options.port)], options, admin=[])
    try:
        if groups is None and not listening.is_shared:
            listening.of_worker((options.processes or process.cpu_count()) - 1)
        if options.admin is None:
            listening.close_admin()
        elif not listening.admin:
            listening.admin = _bind_admin(options, listening.sockets)
    except BaseException:
        listening.close_all()
        raise
    return listening


def split_admin(address: str) -> tuple[str, int] | str:
    """Return host and port, or the path of a Unix socket, of what ``--admin`` names.

    Raises:
        ValueError: It is neither.
    """
    if address.startswith(_UNIX):
        return address.removeprefix(_UNIX)
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal() and int(port) <= 65_535):
        raise ValueError(f"{address!r} is neither host:port nor unix:PATH")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _bind_admin(options: argparse.Namespace, public: list[socket.socket]) -> list[socket.socket]:
    address = split_admin(options.admin)
    try:
        if isinstance(address, str):
            # Or it would be taken away from the application.
            names = [sock.getsockname() for sock in public]
            if os.path.realpath(address) in [
                os.path.realpath(name) for name in names if isinstance(name, str)
            ]:
                raise ValueError("it is the public address")
            return [netutil.bind_unix_socket(address)]
        host, port = address
        return netutil.bind_sockets(port, host)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error  # without the path, which is there
        raise ValueError(f"--admin {options.admin}: {reason}") from error


def _bind(options: argparse.Namespace, port: int) -> list[socket.socket]:
    if options.fd is not None:
        if options.fd == "systemd":
            return [ServerSocket(fileno=number) for number in _of_systemd()]
        if not options.fd.isdecimal():
            raise ValueError(f"--fd takes a number or 'systemd', not {options.fd!r}")
        try:
            return [ServerSocket(fileno=int(options.fd))]
        except (OSError, OverflowError) as error:
            raise ValueError(f"--fd {options.fd} is not a socket: {in_words(error)}") from None
    if options.unix_socket:
        mode = 0o600 if options.unix_socket_mode is None else options.unix_socket_mode
        user, group = options.unix_socket_owner or (None, None)
        path, backlog = options.unix_socket, options.backlog
        try:
            return [netutil.bind_unix_socket(path, mode, backlog, user=user, group=group)]
        except ValueError as error:
            raise ValueError(f"--unix-socket {path}: {error}") from error
    return netutil.bind_sockets(
        port, options.address, backlog=options.backlog, reuse_port=options.reuse_port
    )


def _of_systemd() -> range:
    count = os.environ.get("LISTEN_FDS", "")
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or not count.isdecimal():
        raise ValueError("systemd has passed no socket to this process")
    return range(_FIRST_FD, _FIRST_FD + int(count))
