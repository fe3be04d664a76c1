"""How listening sockets are made and clients accepted; what is an IP address."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import socket
import stat
import sys
from collections.abc import Callable, Sequence
from typing import Any

from fasthttpserver._net.accepting import Acceptor
from fasthttpserver._net.ioloop import IOLoop, to_asyncio
from fasthttpserver._net.sockets import ServerSocket
from fasthttpserver._net.tls import (
    SSLOptions,
    check_ssl_options,
    ssl_options_to_context,
    ssl_wrap_socket,
)
from fasthttpserver.limits import Rule, check_number

__all__ = [
    "BACKLOG",
    "SSLOptions",
    "add_accept_handler",
    "bind_sockets",
    "bind_unix_socket",
    "check_ssl_options",
    "is_valid_ip",
    "ssl_options_to_context",
    "ssl_wrap_socket",
]

# How many clients may wait to be accepted: as many as with nginx and Node. Tornado's 128 are too
# few for a crowd: the kernel drops those that do not fit, and they try again after a second.
BACKLOG = 511
_BACKLOG_SIZE = Rule(0, (1 << 31) - 1, whole=True)
_PORT = Rule(0, 65_535, whole=True)
# The port that was chosen for IPv4 may be taken on IPv6.
_EPHEMERAL_PORT_ATTEMPTS = 5


def bind_sockets(
    port: int | str | None,
    address: str | None = None,
    family: int = socket.AF_UNSPEC,
    backlog: int = BACKLOG,
    flags: int | None = None,
    reuse_port: bool = False,
) -> list[socket.socket]:
    """Make listening, non-blocking TCP sockets: one for each address, IPv4 first.

    Args:
        port: A number or the name of a service; 0 or ``None`` lets the system choose
            one, the same for all addresses.
        address: An IP address or host name, which may stand for several addresses;
            ``""`` and ``None`` are all interfaces.
        family: ``socket.AF_INET`` or ``AF_INET6`` for only these.
        backlog: How many connections may wait to be accepted.
        flags: ``AI_*`` flags for ``getaddrinfo``; ``None`` is ``AI_PASSIVE``.
        reuse_port: Let several processes listen on the port, each with a queue of its own.

    Raises:
        OSError: An address cannot be resolved or bound; no socket is left open.
        TypeError: ``port`` or ``backlog`` is of the wrong type.
        ValueError: One of them is out of range, or ``reuse_port`` not to be had on this
            system.
    """
    if not (port is None or isinstance(port, str)):
        check_number("port", port, _PORT)  # the C library would take it modulo
    check_number("backlog", backlog, _BACKLOG_SIZE)
    if reuse_port and not hasattr(socket, "SO_REUSEPORT"):
        raise ValueError("reuse_port is not supported on this system")
    if family == socket.AF_UNSPEC and not socket.has_ipv6:
        family = socket.AF_INET
    try:
        found = socket.getaddrinfo(
            address or None,
            port or 0,
            family,
            socket.SOCK_STREAM,
            0,
            socket.AI_PASSIVE if flags is None else flags,
        )
    except socket.gaierror as error:
        what = f"address {address!r} and port {port!r}"
        raise socket.gaierror(error.errno, f"{error.strerror}: {what}") from None
    # Sorted, as the systems differ in the order; dict, as some name an address twice.
    targets = sorted(
        dict.fromkeys((info[0], info[4]) for info in found),
        key=lambda target: target[0] != socket.AF_INET,
    )
    attempts = _EPHEMERAL_PORT_ATTEMPTS if targets[0][1][1] == 0 else 1
    while True:
        attempts -= 1
        try:
            return _bind_all(targets, backlog, reuse_port, is_localhost=address == "localhost")
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not attempts:
                raise


def _bind_all(
    targets: Sequence[tuple[socket.AddressFamily, Any]],
    backlog: int,
    reuse_port: bool,
    is_localhost: bool,
) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    skipped: OSError | None = None
    with contextlib.ExitStack() as on_error:
        port = 0
        for family, sockaddr in targets:
            host, wanted_port, *scope = sockaddr
            if is_localhost and sys.platform == "darwin" and any(scope[1:]):
                continue  # fe80::1%lo0, which macOS lists and nobody means
            try:
                sock = ServerSocket(family, socket.SOCK_STREAM)
            except OSError as error:
                if error.errno != errno.EAFNOSUPPORT:
                    raise
                skipped = error  # the name has such an address, this system has not
                continue
            on_error.callback(sock.close)
            _set_options(sock, reuse_port)
            try:
                sock.bind((host, wanted_port or port, *scope))
                port = sock.getsockname()[1]
                sock.listen(backlog)
            except OSError as error:
                # Containers often name ::1 as localhost without having it.
                if error.errno != errno.EADDRNOTAVAIL or not is_localhost or host != "::1":
                    raise _where(error, host, wanted_port or port) from None
                sock.close()
                skipped = error
                continue
            sockets.append(sock)
        if not sockets and skipped is not None:
            raise skipped
        on_error.pop_all()
    return sockets


def _where(error: OSError, host: str, port: int) -> OSError:
    """Return an error that says which address it is about, and what to look at."""
    hint = ""
    if error.errno == errno.EADDRINUSE:
        who = f"lsof -nP -iTCP:{port} -sTCP:LISTEN"
        if sys.platform == "linux":
            who = f"ss -ltnp 'sport = :{port}'"
        elif sys.platform == "win32":
            who = f"netstat -ano | findstr :{port}"
        hint = f" ({who} shows by whom)"
    elif error.errno == errno.EADDRNOTAVAIL:
        hint = " (this machine has no such address)"
    elif error.errno == errno.EACCES and port < 1024:
        hint = " (a port below 1024 takes a privilege; a higher one does not)"
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return OSError(error.errno, f"{error.strerror}: {shown}{hint}")


def _set_options(sock: socket.socket, reuse_port: bool) -> None:
    sock.setblocking(False)
    if sys.platform != "win32":  # there it would let others take the port over
        with contextlib.suppress(OSError):  # not every kind of socket has it
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if reuse_port:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if sock.family == socket.AF_INET6:
        # IPv4 has a socket of its own, on the same port.
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)


def bind_unix_socket(
    file: str | bytes | os.PathLike[str],
    mode: int = 0o600,
    backlog: int = BACKLOG,
    *,
    user: int | str | None = None,
    group: int | str | None = None,
) -> socket.socket:
    """Make a listening, non-blocking Unix socket.

    A socket that is left from an earlier run is replaced. Nobody removes the file at the
    end.

    Args:
        file: Its path; a name that begins with NUL is one of Linux's abstract ones.
        mode: Permissions of the file: whoever can write to it can connect.
        backlog: How many connections may wait to be accepted.
        user, group: The owner of the file, by name or number; None to leave it as it is.

    Raises:
        TypeError: ``backlog`` is not an int.
        ValueError: There is a file that is not a socket, ``backlog`` is out of range, or nobody
            has that name.
        OSError: It cannot be bound, or this system has no Unix sockets.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise OSError(errno.EAFNOSUPPORT, "this system has no Unix sockets")
    check_number("backlog", backlog, _BACKLOG_SIZE)
    path = os.fspath(file)
    is_abstract = os.fsencode(path).startswith(b"\0")
    if not is_abstract:
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISSOCK(os.stat(path).st_mode):
                raise ValueError(f"file {path!r} exists and is not a socket")
            os.remove(path)
    sock = ServerSocket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        try:
            sock.bind(path)
        except OSError as error:
            raise OSError(error.errno, error.strerror or str(error), path) from None
        if not is_abstract:  # before listen(): until then nobody can connect
            if user is not None or group is not None:
                _change_owner(path, user, group)
            os.chmod(path, mode)
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def _change_owner(path: str | bytes, user: int | str | None, group: int | str | None) -> None:
    change: Any = shutil.chown  # whose types do not know that either may be None
    try:
        change(path, user, group)
    except LookupError as error:
        raise ValueError(str(error)) from None


def add_accept_handler(
    sock: socket.socket,
    callback: Callable[[socket.socket, Any], object],
    io_loop: object = None,
) -> Callable[[], None]:
    """Call ``callback(connection, address)`` for each client that connects.

    The loop need not run yet. An exception of the callback is logged and accepting goes
    on; so is a failing accept. When there is no file descriptor left, clients that wait are
    told by closing their connections.

    Args:
        sock: A listening, non-blocking socket; it is never closed here.
        callback: Gets the connected, non-blocking socket, which is then its own; may be
            a coroutine function.
        io_loop: Anything that ``to_asyncio`` knows; ``None`` is the current loop.

    Returns:
        A function that ends accepting, to be called before the socket is closed; more
        than once does no harm.
    """
    loop = IOLoop.from_asyncio(to_asyncio(io_loop))
    return Acceptor(sock, callback, loop).remove


_is_scope = re.compile(r"[A-Za-z0-9._~-]{1,32}").fullmatch


def is_valid_ip(ip: str) -> bool:
    """Tell whether a text is an IPv4 or IPv6 address in the usual notation.

    Args:
        ip: ``192.0.2.1`` or ``2001:db8::1``, the latter with or without a ``%scope``.
            The short and octal forms of the C library (``127.1``) are none.
    """
    host, percent, scope = ip.partition("%")
    if percent and not _is_scope(scope):
        return False
    for family in (socket.AF_INET6,) if percent else (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError):  # ValueError for NUL
            continue
        return True
    return False
