"""Listening sockets, accepting, addresses and TLS contexts."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import re
import socket
import ssl
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from helpers import Certificates, finish_handshakes, most_backlog, shake_hands

from fasthttpserver._net import accepting as _accepting
from fasthttpserver._net import netutil as _netutil
from fasthttpserver._net.netutil import _where
from fasthttpserver._net.sockets import ServerSocket
from fasthttpserver.ioloop import IOLoop, new_asyncio_loop
from fasthttpserver.netutil import (
    add_accept_handler,
    bind_sockets,
    bind_unix_socket,
    check_ssl_options,
    is_valid_ip,
    ssl_options_to_context,
    ssl_wrap_socket,
)


def ipv6_works() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not ipv6_works(), reason="there is no IPv6 here")
needs_unix = pytest.mark.skipif(
    not hasattr(socket, "AF_UNIX"), reason="there are no Unix sockets here"
)


@pytest.fixture(params=["asyncio", "uvloop"])
def io_loop(request: pytest.FixtureRequest) -> Iterator[IOLoop]:
    if request.param == "uvloop":
        pytest.importorskip("uvloop", reason="uvloop is not installed")
    loop = IOLoop(new_asyncio_loop(request.param))
    yield loop
    loop.close()


@pytest.fixture
def closing() -> Iterator[Callable[..., Any]]:
    """Closes the sockets that it was called with at the end."""
    with contextlib.ExitStack() as stack:

        def close_later(*sockets: socket.socket) -> Any:
            for sock in sockets:
                stack.callback(sock.close)
            return sockets[0] if len(sockets) == 1 else sockets

        yield close_later


def run_until(io_loop: IOLoop, condition: Callable[[], bool]) -> None:
    async def poll() -> None:
        while not condition():
            await asyncio.sleep(0.001)

    io_loop.run_sync(poll, timeout=10)


class TestBindSockets:
    def test_they_listen_without_blocking_and_are_not_inherited(
        self, closing: Callable[..., Any]
    ) -> None:
        (sock,) = bind_sockets(0, "127.0.0.1")
        closing(sock)
        assert sock.family == socket.AF_INET
        assert sock.getblocking() is False
        assert sock.get_inheritable() is False
        with pytest.raises(BlockingIOError):
            sock.accept()
        if sys.platform != "win32":
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        socket.create_connection(sock.getsockname(), timeout=10).close()

    def test_they_and_what_they_accept_are_as_plain_sockets(
        self, closing: Callable[..., Any]
    ) -> None:
        (quick,) = bind_sockets(0, "127.0.0.1")
        plain = closing(socket.socket(fileno=os.dup(quick.fileno())))
        closing(quick)
        told = []
        for listening in plain, quick, closing(ServerSocket(fileno=os.dup(quick.fileno()))):
            listening.settimeout(10)
            client = closing(socket.create_connection(quick.getsockname(), timeout=10))
            accepted, address = listening.accept()
            closing(accepted)
            assert address == client.getsockname()
            told.append(
                [
                    (repr(sock.family), repr(sock.type), sock.get_inheritable())
                    for sock in (listening, accepted, closing(accepted.dup()))
                ]
            )
            assert accepted.getblocking()
        assert told[0] == told[1] == told[2]

    @needs_ipv6
    @pytest.mark.parametrize("address", [None, ""])
    @pytest.mark.parametrize("port", [0, None])
    def test_all_interfaces_get_one_port_ipv4_first(
        self, closing: Callable[..., Any], address: str | None, port: int | None
    ) -> None:
        sockets = bind_sockets(port, address)
        closing(*sockets)
        assert [sock.family for sock in sockets] == [socket.AF_INET, socket.AF_INET6]
        assert [sock.getsockname()[0] for sock in sockets] == ["0.0.0.0", "::"]
        ports = {sock.getsockname()[1] for sock in sockets}
        assert len(ports) == 1 and 0 not in ports
        assert sockets[1].getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)

    @pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
    def test_a_family_can_be_chosen(self, closing: Callable[..., Any], family: int) -> None:
        if family == socket.AF_INET6 and not ipv6_works():
            pytest.skip("there is no IPv6 here")
        assert closing(*bind_sockets(0, None, family)).family == family

    def test_without_ipv6_in_python_it_is_ipv4(
        self, closing: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(socket, "has_ipv6", False)
        assert closing(*bind_sockets(0)).family == socket.AF_INET

    def test_a_port_is_a_number_or_a_service(
        self, closing: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        free = closing(*bind_sockets(0, "127.0.0.1")).getsockname()
        resolved: list[Any] = []

        def resolve(host: object, port: object, *args: object) -> list[Any]:
            resolved.append(port)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        closing(*bind_sockets("http-alt"), *bind_sockets(free[1]))
        assert resolved == ["http-alt", free[1]]

    @pytest.mark.parametrize(
        ("arguments", "error"),
        [
            ({"port": 65_536}, ValueError),
            ({"port": -1}, ValueError),
            ({"port": 80.0}, TypeError),
            ({"port": True}, TypeError),
            ({"port": [80]}, TypeError),
            ({"port": 0, "backlog": -1}, ValueError),
            ({"port": 0, "backlog": 1 << 31}, ValueError),
            ({"port": 0, "backlog": "128"}, TypeError),
            ({"port": 0, "backlog": True}, TypeError),
            ({"port": 0, "backlog": None}, TypeError),
        ],
    )
    def test_a_number_that_is_none_is_refused_by_its_name(
        self, arguments: dict[str, Any], error: type[Exception], nothing_left: None
    ) -> None:
        with pytest.raises(error, match=f"^{list(arguments)[-1]} must be"):
            bind_sockets(address="127.0.0.1", **arguments)

    def test_an_address_that_is_named_twice_is_bound_once(
        self, closing: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        twice = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))] * 2
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args: twice)
        sockets = bind_sockets(0, "example.test")
        closing(*sockets)
        assert len(sockets) == 1

    def test_a_name_that_means_nothing_is_an_os_error(self) -> None:
        with pytest.raises(socket.gaierror):
            bind_sockets(0, "no address", flags=socket.AI_NUMERICHOST)

    @needs_ipv6
    def test_after_an_error_no_socket_is_left_open(self, monkeypatch: pytest.MonkeyPatch) -> None:
        made: list[socket.socket] = []

        class Socket(socket.socket):
            def __init__(self, *args: Any) -> None:
                super().__init__(*args)
                made.append(self)

        with socket.socket(socket.AF_INET6) as taken:
            taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            taken.bind(("::", 0))
            taken.listen()
            monkeypatch.setattr(_netutil, "ServerSocket", Socket)
            with pytest.raises(OSError, match="in use"):
                bind_sockets(taken.getsockname()[1])
        assert made and all(sock.fileno() < 0 for sock in made)

    @pytest.mark.skipif(
        sys.platform != "linux", reason="other systems share SO_REUSEPORT differently"
    )
    def test_reuse_port_lets_two_listen(self, closing: Callable[..., Any]) -> None:
        first = closing(*bind_sockets(0, "127.0.0.1", reuse_port=True))
        port = first.getsockname()[1]
        closing(*bind_sockets(port, "127.0.0.1", reuse_port=True))
        with pytest.raises(OSError, match="in use"):
            bind_sockets(port, "127.0.0.1")

    def test_reuse_port_is_refused_where_there_is_none(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delattr(socket, "SO_REUSEPORT", raising=False)
        with pytest.raises(ValueError, match="reuse_port is not supported"):
            bind_sockets(0, "127.0.0.1", reuse_port=True)


class TestBindSocketsElsewhere:
    """Systems that this one is not, as far as ``bind_sockets`` sees them."""

    @pytest.fixture
    def system(self, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
        """Take an error number for the first creations or binds of an IPv6 socket."""

        def pretend(step: str, *errors: int) -> None:
            remaining = list(errors)

            class Socket(socket.socket):
                def __init__(self, family: int, *args: Any) -> None:
                    if step == "create" and family == socket.AF_INET6 and remaining:
                        raise OSError(remaining.pop(0), "on purpose")
                    super().__init__(socket.AF_INET, *args)

                def bind(self, address: Any) -> None:
                    if address[0] == "::1" and step == "bind" and remaining:
                        raise OSError(remaining.pop(0), "on purpose")
                    super().bind(("127.0.0.1", 0))

            localhost = [
                (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
            ]
            monkeypatch.setattr(socket, "getaddrinfo", lambda *args: localhost)
            monkeypatch.setattr(_netutil, "ServerSocket", Socket)

        return pretend

    def test_localhost_without_ipv6_address(
        self, system: Callable[..., None], closing: Callable[..., Any]
    ) -> None:
        system("bind", errno.EADDRNOTAVAIL)
        assert closing(*bind_sockets(0, "localhost")).getsockname()[0] == "127.0.0.1"

    def test_localhost_on_macos_is_not_link_local(
        self, closing: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        localhost = [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::1%lo0", 0, 0, 1)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args: localhost)
        monkeypatch.setattr(sys, "platform", "darwin")
        assert closing(*bind_sockets(0, "localhost")).getsockname()[0] == "127.0.0.1"

    def test_another_name_without_its_address_is_an_error(
        self, system: Callable[..., None]
    ) -> None:
        system("bind", errno.EADDRNOTAVAIL)
        with pytest.raises(OSError, match="on purpose"):
            bind_sockets(0, "host.test")

    def test_a_system_without_ipv6(
        self, system: Callable[..., None], closing: Callable[..., Any]
    ) -> None:
        system("create", errno.EAFNOSUPPORT)
        assert closing(*bind_sockets(0, "host.test")).getsockname()[0] == "127.0.0.1"

    def test_other_errors_come_out(self, system: Callable[..., None]) -> None:
        system("create", errno.EMFILE)
        with pytest.raises(OSError, match="on purpose"):
            bind_sockets(0, "localhost")

    def test_an_ephemeral_port_that_is_taken_on_ipv6_is_given_up_for_another(
        self, system: Callable[..., None], closing: Callable[..., Any]
    ) -> None:
        system("bind", errno.EADDRINUSE, errno.EADDRINUSE)
        sockets = bind_sockets(0, "localhost")
        closing(*sockets)
        assert len(sockets) == 2
        system("bind", *[errno.EADDRINUSE] * 10)
        with pytest.raises(OSError, match="on purpose"):
            bind_sockets(0, "localhost")


@needs_unix
class TestBindUnixSocket:
    def test_it_listens_with_the_mode_that_was_asked_for(
        self, tmp_path: Path, closing: Callable[..., Any]
    ) -> None:
        for mode, arguments in [(0o600, ()), (0o666, (0o666,))]:
            path = tmp_path / f"{mode:o}"
            sock = closing(bind_unix_socket(path, *arguments))
            assert stat.S_IMODE(path.stat().st_mode) == mode
            assert sock.getblocking() is False and sock.get_inheritable() is False
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(path))

    def test_nobody_can_connect_before_it_has_its_mode_and_owner(
        self, tmp_path: Path, closing: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        tried: list[str] = []

        def spy(name: str) -> None:
            change = getattr(os, name)

            def try_first(path: Any, *arguments: int, **more: Any) -> None:
                with socket.socket(socket.AF_UNIX) as client:
                    with pytest.raises(ConnectionRefusedError):
                        client.connect(path)
                tried.append(name)
                change(path, *arguments, **more)

            monkeypatch.setattr(os, name, try_first)

        spy("chown")
        spy("chmod")
        path = str(tmp_path / "s")
        closing(bind_unix_socket(path, 0o660, user=os.getuid(), group=os.getgid()))
        assert tried == ["chown", "chmod"]

    @pytest.mark.skipif(
        not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away"
    )
    @pytest.mark.parametrize(
        ("user", "group", "expected"),
        [(12345, 54321, (12345, 54321)), (12345, None, (12345, 0)), (None, 54321, (0, 54321))]
        + [("root", None, (0, 0))],
    )
    def test_owner_by_name_or_number(
        self,
        tmp_path: Path,
        closing: Callable[..., Any],
        user: int | str | None,
        group: int | None,
        expected: tuple[int, int],
    ) -> None:
        path = tmp_path / "s"
        closing(bind_unix_socket(path, 0o660, user=user, group=group))
        status = path.stat()
        assert (status.st_uid, status.st_gid) == expected
        assert stat.S_IMODE(status.st_mode) == 0o660

    @pytest.mark.parametrize("kind", ["user", "group"])
    def test_owner_that_nobody_is_called_is_named(self, tmp_path: Path, kind: str) -> None:
        names: dict[str, Any] = {kind: "nosuchname"}
        with pytest.raises(ValueError, match=f"no such {kind}: 'nosuchname'"):
            bind_unix_socket(tmp_path / "s", **names)

    def test_a_socket_that_was_left_is_replaced(
        self, tmp_path: Path, closing: Callable[..., Any]
    ) -> None:
        path = str(tmp_path / "socket")
        bind_unix_socket(path).close()
        assert os.path.exists(path)
        closing(bind_unix_socket(path))

    @pytest.mark.parametrize(
        ("backlog", "error"), [(-1, ValueError), ("9", TypeError), (True, TypeError)]
    )
    def test_a_backlog_that_is_no_number_is_refused(
        self, tmp_path: Path, backlog: Any, error: type[Exception]
    ) -> None:
        with pytest.raises(error, match=r"^backlog must be"):
            bind_unix_socket(tmp_path / "s", backlog=backlog)
        assert not (tmp_path / "s").exists()

    def test_another_file_is_not_touched(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_text("precious")
        with pytest.raises(ValueError, match="exists and is not a socket"):
            bind_unix_socket(str(path))
        assert path.read_text() == "precious"

    def test_other_errors_come_out(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            bind_unix_socket(tmp_path / "missing" / "socket")
        (tmp_path / "file").touch()
        with pytest.raises(NotADirectoryError):
            bind_unix_socket(tmp_path / "file" / "socket")

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux has abstract sockets")
    @pytest.mark.parametrize("as_bytes", [False, True])
    def test_an_abstract_name_makes_no_file(
        self, closing: Callable[..., Any], as_bytes: bool
    ) -> None:
        name = f"\0fasthttpserver-test-{os.getpid()}-{as_bytes}"
        sock = closing(bind_unix_socket(name.encode() if as_bytes else name))
        assert sock.getsockname() == name.encode()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(name)


def test_without_unix_sockets_there_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_UNIX", raising=False)
    with pytest.raises(OSError, match="no Unix sockets"):
        bind_unix_socket("socket")


class TestAcceptHandler:
    @pytest.fixture
    def listener(self, closing: Callable[..., Any]) -> socket.socket:
        sock: socket.socket = closing(*bind_sockets(0, "127.0.0.1"))
        return sock

    @pytest.fixture
    def connect(
        self, listener: socket.socket, closing: Callable[..., Any]
    ) -> Callable[[], socket.socket]:
        return lambda: closing(socket.create_connection(listener.getsockname(), timeout=10))

    def test_each_client_is_handed_over_with_its_address(
        self,
        io_loop: IOLoop,
        listener: socket.socket,
        connect: Callable[[], socket.socket],
        closing: Callable[..., Any],
    ) -> None:
        seen: list[tuple[socket.socket, Any]] = []
        clients = [connect() for _ in range(5)]  # before the loop runs
        remove = add_accept_handler(listener, lambda *args: seen.append(args), io_loop)
        run_until(io_loop, lambda: len(seen) == 5)
        clients.append(connect())
        run_until(io_loop, lambda: len(seen) == 6)
        remove()
        closing(*(connection for connection, _ in seen))
        assert {a for _, a in seen} == {client.getsockname() for client in clients}
        for connection, address in seen:
            assert connection.getblocking() is False
            assert connection.getpeername() == address

    @needs_unix
    def test_unix_sockets_too(
        self, io_loop: IOLoop, tmp_path: Path, closing: Callable[..., Any]
    ) -> None:
        seen: list[Any] = []
        sock = closing(bind_unix_socket(tmp_path / "socket"))
        client = closing(socket.socket(socket.AF_UNIX))
        client.connect(str(tmp_path / "socket"))
        remove = add_accept_handler(sock, lambda *args: seen.append(args), io_loop)
        run_until(io_loop, lambda: bool(seen))
        remove()
        closing(seen[0][0])

    def test_the_loop_may_be_asyncios_or_the_current_one(
        self, listener: socket.socket, connect: Callable[[], socket.socket]
    ) -> None:
        async def main() -> None:
            accepted: asyncio.Queue[socket.socket] = asyncio.Queue()
            for io_loop in None, asyncio.get_running_loop():
                remove = add_accept_handler(
                    listener, lambda sock, _address: accepted.put_nowait(sock), io_loop
                )
                connect()
                (await asyncio.wait_for(accepted.get(), 10)).close()
                remove()

        asyncio.run(main())

    def test_after_removal_nobody_is_accepted(
        self, io_loop: IOLoop, listener: socket.socket, connect: Callable[[], socket.socket]
    ) -> None:
        seen: list[Any] = []
        remove = add_accept_handler(listener, lambda *args: seen.append(args), io_loop)
        connect()
        remove()
        remove()
        later: list[Any] = []
        remove = add_accept_handler(listener, lambda *args: later.append(args), io_loop)
        run_until(io_loop, lambda: bool(later))
        remove()
        later[0][0].close()
        assert seen == []

    def test_the_callback_may_remove_and_close(
        self, io_loop: IOLoop, listener: socket.socket, connect: Callable[[], socket.socket]
    ) -> None:
        seen: list[Any] = []

        def on_accept(connection: socket.socket, _address: Any) -> None:
            seen.append(1)
            connection.close()
            remove()
            listener.close()

        connect()
        connect()
        remove = add_accept_handler(listener, on_accept, io_loop)
        run_until(io_loop, lambda: bool(seen))
        assert seen == [1]

    def test_an_exception_is_logged_and_accepting_goes_on(
        self,
        io_loop: IOLoop,
        listener: socket.socket,
        connect: Callable[[], socket.socket],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        def on_accept(connection: socket.socket, _address: Any) -> None:
            connection.close()
            raise ZeroDivisionError

        async def on_accept_later(connection: socket.socket, _address: Any) -> None:
            await asyncio.sleep(0)
            on_accept(connection, _address)

        for callback in on_accept, on_accept_later:
            caplog.clear()
            remove = add_accept_handler(listener, callback, io_loop)
            connect()
            connect()
            run_until(io_loop, lambda: len(caplog.records) == 2)
            remove()
            assert {r.exc_info[0] for r in caplog.records if r.exc_info} == {ZeroDivisionError}

    def test_it_rarely_looks_for_a_client_who_is_not_there(
        self, io_loop: IOLoop, listener: socket.socket, connect: Callable[[], socket.socket]
    ) -> None:
        class CountingSocket(socket.socket):
            in_vain = 0

            def accept(self) -> Any:
                try:
                    return super().accept()
                except BlockingIOError:
                    CountingSocket.in_vain += 1
                    raise

        seen: list[int] = []

        def on_accept(connection: socket.socket, _address: Any) -> None:
            connection.close()
            seen.append(1)

        with CountingSocket(fileno=os.dup(listener.fileno())) as sock:
            sock.setblocking(False)
            remove = add_accept_handler(sock, on_accept, io_loop)
            for number in range(1, 101):
                connect()
                run_until(io_loop, lambda number=number: len(seen) == number)  # type: ignore[misc]
            remove()
        assert CountingSocket.in_vain < 10

    @pytest.mark.skipif(
        sys.platform != "linux" or most_backlog() < 400, reason="not so many clients may wait"
    )
    def test_of_a_crowd_more_and_more_are_accepted_in_a_turn(
        self,
        io_loop: IOLoop,
        listener: socket.socket,
        connect: Callable[[], socket.socket],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        turns: list[int] = []
        accept = _accepting.Acceptor._on_readable

        def counted(self: _accepting.Acceptor, fd: int, events: int) -> None:
            turns.append(0)
            accept(self, fd, events)

        def on_accept(connection: socket.socket, _address: Any) -> None:
            connection.close()
            turns[-1] += 1

        monkeypatch.setattr(_accepting.Acceptor, "_on_readable", counted)
        for _ in range(400):
            connect()
        remove = add_accept_handler(listener, on_accept, io_loop)
        run_until(io_loop, lambda: sum(turns) == 400)
        remove()
        assert turns[0] == 1
        assert len(turns) < 100

    @pytest.fixture
    def failing_listener(self, listener: socket.socket) -> Iterator[Any]:
        class FailingSocket(socket.socket):
            errors: ClassVar[list[int]] = []

            def accept(self) -> Any:
                if self.errors:
                    raise OSError(self.errors.pop(0), "on purpose")
                return super().accept()

        with FailingSocket(fileno=os.dup(listener.fileno())) as sock:
            sock.setblocking(False)
            yield sock

    def test_lack_of_descriptors_is_logged_once_and_waited_out(
        self,
        io_loop: IOLoop,
        failing_listener: Any,
        connect: Callable[[], socket.socket],
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(_accepting, "_SHORT_PAUSE", 0.01)
        failing_listener.errors = [errno.ECONNABORTED, errno.EMFILE, errno.ENFILE]
        seen: list[Any] = []
        remove = add_accept_handler(failing_listener, lambda *args: seen.append(args), io_loop)
        connect()
        run_until(io_loop, lambda: bool(seen))
        remove()
        seen[0][0].close()
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        assert "Cannot accept" in caplog.text

    @pytest.mark.parametrize(("how", "pause"), [("remove", 60.0), ("close", 0.3)])
    def test_the_end_during_such_a_pause(
        self,
        io_loop: IOLoop,
        failing_listener: Any,
        connect: Callable[[], socket.socket],
        monkeypatch: pytest.MonkeyPatch,
        how: str,
        pause: float,
    ) -> None:
        monkeypatch.setattr(_accepting, "_SHORT_PAUSE", pause)
        failing_listener.errors = [errno.EMFILE]
        remove = add_accept_handler(failing_listener, lambda sock, _: sock.close(), io_loop)
        connect()
        run_until(io_loop, lambda: not failing_listener.errors)
        if how == "close":
            failing_listener.close()
            run_until(io_loop, lambda: remove.__self__._pause is None)  # type: ignore[attr-defined]
        remove()
        assert not io_loop._handlers


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("127.0.0.1", True),
        ("4.4.4.4", True),
        ("255.255.255.255", True),
        ("::1", True),
        ("::", True),
        ("2620:0:1cfe:face:b00c::3", True),
        ("::ffff:192.0.2.1", True),
        ("fe80::1%eth0", True),
        ("fe80::1%1", True),
        ("", False),
        (" ", False),
        ("\n", False),
        ("\x00", False),
        ("127.0.0.1\x00", False),
        (" 127.0.0.1", False),
        ("127.0.0.1 ", False),
        ("127.0.0.1\n", False),
        ("www.google.com", False),
        ("localhost", False),
        ("4.4.4.4<", False),
        ("127.1", False),
        ("1", False),
        ("0x7f.1", False),
        ("010.1.1.1", False),
        ("256.1.1.1", False),
        ("1.2.3.4:80", False),
        ("[::1]", False),
        ("::1/128", False),
        ("1.2.3.4%eth0", False),
        ("fe80::1%", False),
        ("fe80::1%a b", False),
        ("fe80::1%<script>", False),
        ("fe80::1%eth0\n", False),
        ("１.2.3.4", False),
        ("\ud800", False),
        ("1" * 100_000, False),
    ],
)
def test_is_valid_ip(text: str, valid: bool) -> None:
    assert is_valid_ip(text) is valid


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


class TestCheckSSLOptions:
    def test_what_can_work_is_accepted(self, certificates: Certificates, tmp_path: Path) -> None:
        check_ssl_options(certificates.options)
        check_ssl_options(ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))
        both = tmp_path / "both.pem"
        both.write_text("nobody looks at it yet")
        check_ssl_options({"certfile": both, "keyfile": None})

    @pytest.mark.parametrize("options", [{}, {"keyfile": "x"}, {"certfile": None}])
    def test_a_certfile_is_needed(self, options: dict[str, Any]) -> None:
        with pytest.raises(KeyError, match='missing key "certfile" in ssl_options'):
            check_ssl_options(options)

    @pytest.mark.parametrize("key", ["certfile", "keyfile"])
    def test_a_file_that_is_not_there_is_named(self, certificates: Certificates, key: str) -> None:
        with pytest.raises(ValueError, match=f"{key} '/no/such.pem' does not exist"):
            check_ssl_options(dict(certificates.options, **{key: "/no/such.pem"}))

    @pytest.mark.parametrize("function", [check_ssl_options, ssl_options_to_context])
    def test_unknown_keys_and_types_are_refused(
        self, certificates: Certificates, function: Callable[[Any], object]
    ) -> None:
        with pytest.raises(ValueError, match="unknown keys in ssl_options: cert_file, nonsense"):
            function(dict(certificates.options, nonsense=1, cert_file=2))
        with pytest.raises(TypeError, match="must be a dict or an SSLContext"):
            function("server.pem")


class TestContext:
    @pytest.fixture
    def client(self, certificates: Certificates) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=certificates.ca_certs)

    def test_a_context_is_returned_as_it_is(self, client: ssl.SSLContext) -> None:
        assert ssl_options_to_context(client) is client

    @pytest.mark.parametrize("version", [None, ssl.PROTOCOL_TLS, ssl.PROTOCOL_TLS_SERVER])
    def test_a_servers_takes_the_best_version(
        self, certificates: Certificates, client: ssl.SSLContext, version: int | None
    ) -> None:
        context = ssl_options_to_context(dict(certificates.options, ssl_version=version))
        assert context.options & ssl.OP_NO_COMPRESSION
        assert context.protocol == ssl.PROTOCOL_TLS_SERVER
        client_end, server_end = shake_hands(context, client)
        assert client_end.version() == "TLSv1.3"
        assert server_end.getpeercert() is None

    def test_a_version_that_was_asked_for_is_taken(
        self, certificates: Certificates, client: ssl.SSLContext
    ) -> None:
        options = dict(certificates.options, ssl_version=ssl.PROTOCOL_TLSv1_2)
        client_end, _ = shake_hands(ssl_options_to_context(options), client)
        assert client_end.version() == "TLSv1.2"

    def test_an_impossible_version_is_refused(self, certificates: Certificates) -> None:
        with pytest.raises(ValueError, match="ssl_version 99 is not supported"):
            ssl_options_to_context(dict(certificates.options, ssl_version=99))

    def test_client_certificates(self, certificates: Certificates, client: ssl.SSLContext) -> None:
        options = dict(
            certificates.options, cert_reqs=ssl.CERT_REQUIRED, ca_certs=certificates.ca_certs
        )
        context = ssl_options_to_context(options)
        with pytest.raises(ssl.SSLError, match="did not return a certificate"):
            shake_hands(context, client)
        client.load_cert_chain(**certificates.issue("client", "client@example.test"))
        _, server_end = shake_hands(context, client)
        peer = server_end.getpeercert()
        assert peer and ("email", "client@example.test") in peer["subjectAltName"]

    def test_without_cert_reqs_no_client_certificate_is_asked_for(
        self, certificates: Certificates
    ) -> None:
        for options in certificates.options, dict(certificates.options, cert_reqs=ssl.CERT_NONE):
            assert ssl_options_to_context(options).verify_mode == ssl.CERT_NONE

    def test_ciphers(self, certificates: Certificates, client: ssl.SSLContext) -> None:
        options = dict(
            certificates.options,
            ciphers="ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256",
            ssl_version=ssl.PROTOCOL_TLSv1_2,
        )
        client_end, _ = shake_hands(ssl_options_to_context(options), client)
        cipher = client_end.cipher()
        assert cipher and cipher[0].endswith("AES128-GCM-SHA256")
        with pytest.raises(ssl.SSLError):
            ssl_options_to_context(dict(certificates.options, ciphers="no such cipher"))

    def test_what_openssl_refuses_is_an_error_at_once(
        self, certificates: Certificates, tmp_path: Path
    ) -> None:
        (tmp_path / "empty").touch()
        with pytest.raises(ssl.SSLError):
            ssl_options_to_context({"certfile": tmp_path / "empty"})

    def test_a_clients_context_checks_the_server(self, certificates: Certificates) -> None:
        server = ssl_options_to_context(certificates.options)
        trusting = {"ca_certs": certificates.ca_certs}
        shake_hands(server, ssl_options_to_context(trusting, server_side=False))
        with pytest.raises(ssl.SSLCertVerificationError):
            shake_hands(server, ssl_options_to_context({}, server_side=False))
        careless = {"cert_reqs": ssl.CERT_NONE}
        shake_hands(server, ssl_options_to_context(careless, server_side=False))


def test_ssl_wrap_socket(certificates: Certificates, closing: Callable[..., Any]) -> None:
    ours, theirs = socket.socketpair()
    closing(ours, theirs)
    ours.setblocking(False)
    theirs.setblocking(False)
    ends = [
        ssl_wrap_socket(
            ours, certificates.options, server_side=True, do_handshake_on_connect=False
        ),
        ssl_wrap_socket(
            theirs,
            {"ca_certs": certificates.ca_certs},
            server_hostname="127.0.0.1",
            do_handshake_on_connect=False,
        ),
    ]
    closing(*ends)
    finish_handshakes(ends)
    assert ends[0].version() == ends[1].version() == "TLSv1.3"


# --- What is said when an address is not to be had ------------------------------------------


@pytest.mark.parametrize(
    ("number", "host", "port", "said"),
    [
        (
            errno.EADDRINUSE,
            "127.0.0.1",
            8888,
            r"^Address already in use: 127\.0\.0\.1:8888 \(.*8888",
        ),
        (errno.EADDRINUSE, "::1", 8888, r": \[::1\]:8888 \("),
        (errno.EADDRNOTAVAIL, "192.0.2.1", 0, r"192\.0\.2\.1:0 \(this machine has no such address"),
        (errno.EACCES, "0.0.0.0", 80, r"0\.0\.0\.0:80 \(a port below 1024 takes a privilege"),
        (errno.EACCES, "0.0.0.0", 8080, r": 0\.0\.0\.0:8080$"),
        (errno.EINVAL, "::1", 1, r": \[::1\]:1$"),
    ],
)
def test_error_names_the_address(number: int, host: str, port: int, said: str) -> None:
    text = "Address already in use" if number == errno.EADDRINUSE else os.strerror(number)
    error = _where(OSError(number, text), host, port)
    assert type(error) is type(OSError(number, ""))  # PermissionError stays one
    assert error.errno == number
    assert re.search(said, error.strerror or "")


def test_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=rf"127\.0\.0\.1:{port} \(") as raised:
            bind_sockets(port, "127.0.0.1")
    assert raised.value.errno == errno.EADDRINUSE


def test_name_that_is_not_found_is_named() -> None:
    with pytest.raises(socket.gaierror, match=r"address 'nosuch\.invalid' and port 80"):
        bind_sockets(80, "nosuch.invalid", flags=socket.AI_NUMERICHOST)


@needs_unix
def test_path_of_a_socket_that_cannot_be_is_named(tmp_path: Path) -> None:
    path = str(tmp_path / "nosuch" / "s")
    with pytest.raises(FileNotFoundError) as raised:
        bind_unix_socket(path)
    assert raised.value.filename == path
