"""TCPServer: where it listens, and what it does with connections."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import Logs, address_of, ask, backlog_of, most_backlog

from fasthttpserver.iostream import IOStream
from fasthttpserver.netutil import bind_sockets, bind_unix_socket
from fasthttpserver.tcpserver import TCPServer

Run = Callable[[Any], Any]

HERE = "127.0.0.1"


class Greeter(TCPServer):
    """Says hello and closes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.streams: list[tuple[IOStream, Any]] = []

    def handle_stream(self, stream: IOStream, address: Any) -> Any:
        self.streams.append((stream, address))
        stream.write(b"hello")
        stream.close()


async def greeted_by(server: TCPServer) -> None:
    assert await ask(address_of(server), b"") == b"hello"


def test_handle_stream_gets_the_stream_and_the_address(run: Run) -> None:
    async def main() -> None:
        server = Greeter()
        server.listen(0, HERE)
        reader, writer = await asyncio.open_connection(*address_of(server))
        assert await reader.read() == b"hello"
        ((stream, address),) = server.streams
        assert isinstance(stream, IOStream)
        assert address == writer.get_extra_info("sockname")
        assert stream.address == address
        assert stream.closed()
        writer.close()
        await writer.wait_closed()
        server.stop()

    run(main())


def test_handle_stream_has_to_be_defined(run: Run, logs: Logs) -> None:
    async def main() -> None:
        server = TCPServer()
        with pytest.raises(NotImplementedError):
            server.handle_stream(None, None)  # type: ignore[arg-type]
        server.listen(0, HERE)
        assert await ask(address_of(server), b"") == b""
        server.stop()

    run(main())
    assert logs.errors() == ["Error in connection callback"]


def test_exception_of_handle_stream_is_logged_and_accepting_goes_on(run: Run, logs: Logs) -> None:
    class Failing(Greeter):
        def handle_stream(self, stream: IOStream, address: Any) -> None:
            super().handle_stream(stream, address)
            if len(self.streams) == 1:
                raise ZeroDivisionError

    async def main() -> None:
        server = Failing()
        server.listen(0, HERE)
        for _ in range(3):
            await greeted_by(server)
        server.stop()

    run(main())
    assert logs.errors() == ["Error in connection callback"]


def test_stream_that_handle_stream_fails_with_is_closed(run: Run, logs: Logs) -> None:
    class Failing(TCPServer):
        def handle_stream(self, stream: IOStream, address: Any) -> None:
            raise ZeroDivisionError

    async def main() -> None:
        server = Failing()
        server.listen(0, HERE)
        assert await ask(address_of(server), b"") == b""
        server.stop()

    run(main())
    assert len(logs.errors()) == 1


def test_handle_stream_may_be_a_coroutine(run: Run) -> None:
    class Echoing(TCPServer):
        async def handle_stream(self, stream: IOStream, address: Any) -> None:
            await asyncio.sleep(0.001)  # what comes meanwhile is kept
            line = await stream.read_until(b"\n")
            assert line is not None
            await stream.write(line.upper())
            stream.close()

    async def main() -> None:
        server = Echoing()
        server.listen(0, HERE)
        assert await ask(address_of(server), b"hello\n") == b"HELLO\n"
        server.stop()

    run(main())


def test_exception_of_a_coroutine_is_logged(run: Run, logs: Logs) -> None:
    class Failing(Greeter):
        async def handle_stream(self, stream: IOStream, address: Any) -> None:
            super().handle_stream(stream, address)
            await asyncio.sleep(0)
            raise ZeroDivisionError

    async def main() -> None:
        server = Failing()
        server.listen(0, HERE)
        await greeted_by(server)
        await greeted_by(server)
        server.stop()

    run(main())
    assert logs.errors() == ["Error in connection callback"] * 2


def test_client_that_leaves_before_it_is_handled_is_no_error(run: Run) -> None:
    async def main() -> None:
        server = Greeter()
        server.listen(0, HERE)
        address = address_of(server)
        sock = socket.create_connection(address)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()
        await greeted_by(server)
        server.stop()

    run(main())


# --- bind() and start() -----------------------------------------------------------------


def test_bound_port_is_served_when_it_is_started(run: Run) -> None:
    async def main() -> None:
        server = Greeter()
        server.bind(0, HERE)
        assert server._sockets == {}
        server.start()
        await greeted_by(server)
        server.stop()

    run(main())


def test_client_that_connects_between_bind_and_start_is_served(run: Run) -> None:
    async def main() -> None:
        server = Greeter()
        server.bind(0, HERE)
        with socket.create_connection(server._pending_sockets[0].getsockname()) as sock:
            server.start(1)
            sock.settimeout(10)
            assert await asyncio.to_thread(sock.recv, 100) == b"hello"
        await asyncio.get_running_loop().shutdown_default_executor()
        server.stop()

    run(main())


def test_several_ports_may_be_bound(run: Run) -> None:
    async def main() -> None:
        server = Greeter()
        server.bind(0, HERE)
        server.bind(0, HERE, family=socket.AF_INET, backlog=16)
        server.start()
        addresses = [sock.getsockname() for sock in server._sockets.values()]
        assert len(set(addresses)) == 2
        for address in addresses:
            assert await ask(address, b"") == b"hello"
        server.stop()

    run(main())


def test_port_that_is_bound_after_start_is_served_at_once(run: Run) -> None:
    async def main() -> None:
        server = Greeter()
        server.start()
        server.bind(0, HERE)
        await greeted_by(server)
        server.stop()

    run(main())


def test_starting_twice_is_an_assertion_error(run: Run) -> None:
    async def main() -> None:
        server = Greeter()
        server.bind(0, HERE)
        server.start()
        with pytest.raises(AssertionError, match="started"):
            server.start()
        await greeted_by(server)
        server.stop()

    run(main())


def test_stop_closes_what_was_bound_and_not_started(nothing_left: None) -> None:
    server = Greeter()
    server.bind(0, HERE)
    address = server._pending_sockets[0].getsockname()
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)


def test_start_does_not_fork_where_a_loop_exists(run: Run) -> None:
    async def main() -> None:
        server = Greeter()
        server.bind(0, HERE)
        with pytest.raises(RuntimeError):
            server.start(2)
        server.stop()

    run(main())


# --- add_sockets() ----------------------------------------------------------------------


def test_sockets_that_were_bound_elsewhere_are_served(run: Run) -> None:
    async def main() -> None:
        server = Greeter()
        server.add_sockets(bind_sockets(0, HERE))
        server.add_sockets(iter(bind_sockets(0, HERE)))
        (sock,) = bind_sockets(0, HERE)
        server.add_socket(sock)
        addresses = [each.getsockname() for each in server._sockets.values()]
        assert len(set(addresses)) == 3
        for address in addresses:
            assert await ask(address, b"") == b"hello"
        server.stop()
        assert sock.fileno() == -1

    run(main())


def test_loop_is_looked_up_when_the_first_socket_is_added(run: Run) -> None:
    async def main() -> None:
        server = Greeter()
        io_loop: Any = server.io_loop
        assert io_loop is None
        server.add_sockets([])
        server.listen(0, HERE)
        io_loop = server.io_loop
        assert io_loop.asyncio_loop is asyncio.get_running_loop()
        server.stop()

    run(main())


def test_loop_that_is_none_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        Greeter(io_loop="a loop").add_sockets([])


def test_stop_in_handle_stream_ends_accepting(run: Run) -> None:
    class Once(Greeter):
        def handle_stream(self, stream: IOStream, address: Any) -> None:
            super().handle_stream(stream, address)
            self.stop()

    async def main() -> None:
        server = Once()
        server.listen(0, HERE)
        address = address_of(server)
        await greeted_by(server)
        with pytest.raises(ConnectionRefusedError):
            await ask(address, b"")
        assert len(server.streams) == 1

    run(main())


def test_sockets_tell_the_ports(run: Run) -> None:
    async def main() -> None:
        server = Greeter()
        assert server.sockets == []
        server.listen(0, HERE)
        server.listen(0, HERE)
        ports = {sock.getsockname()[1] for sock in server.sockets}
        assert len(ports) == 2 and 0 not in ports
        for port in ports:
            assert await ask((HERE, port), b"") == b"hello"
        server.stop()
        assert server.sockets == []

    run(main())


@pytest.mark.skipif(sys.platform != "linux", reason="others do not tell")
@pytest.mark.parametrize(
    "listen",
    [
        lambda server, path: server.listen(0, HERE),
        lambda server, path: (server.bind(0, HERE), server.start()),
        lambda server, path: server.add_sockets(bind_sockets(0, HERE)),
        lambda server, path: server.add_socket(bind_unix_socket(path)),
    ],
    ids=["listen", "bind", "bind_sockets", "bind_unix_socket"],
)
def test_as_many_clients_may_wait_as_with_other_servers(
    run: Run, tmp_path: Path, listen: Callable[[TCPServer, Path], object]
) -> None:
    async def main() -> None:
        server = Greeter()
        listen(server, tmp_path / "s")
        (sock,) = server.sockets
        assert backlog_of(sock) == min(511, most_backlog())
        server.stop()

    run(main())


@pytest.mark.parametrize("bind", [bind_sockets, lambda *where: [socket.create_server(where[::-1])]])
def test_a_small_write_does_not_wait_for_the_one_before(
    run: Run, bind: Callable[[int, str], list[socket.socket]]
) -> None:
    class Asking(Greeter):
        def handle_stream(self, stream: IOStream, address: Any) -> None:
            told.append(stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            super().handle_stream(stream, address)

    async def main() -> None:
        server = Asking()
        server.add_sockets(bind(0, HERE))
        await greeted_by(server)
        server.stop()

    told: list[int] = []
    run(main())
    assert len(told) == 1 and told[0]


def test_who_has_the_descriptor_of_a_connection(run: Run, loop_kind: str) -> None:
    """With asyncio the socket has it. uvloop closes it by itself, and nobody else may."""

    class Keeping(Greeter):
        def _accepted(self, connection: Any, address: Any) -> None:
            accepted.append(connection)
            super()._accepted(connection, address)
            numbers.append(connection.fileno())

    async def main() -> None:
        server = Keeping()
        server.listen(0, HERE)
        await greeted_by(server)
        server.stop()

    accepted: list[Any] = []
    numbers: list[int] = []
    run(main())
    ((connection,), (number,)) = accepted, numbers
    if loop_kind == "uvloop":
        assert type(connection) is socket.SocketType
        assert number == -1
    else:
        assert isinstance(connection, socket.socket)
        assert number >= 0
    assert connection.fileno() == -1
