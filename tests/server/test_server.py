"""HTTPServer: its arguments, where it listens, how it starts and ends."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
from helpers import (
    OK,
    Client,
    Logs,
    Served,
    address_of,
    answer,
    ask,
    echo,
    eventually,
    framed,
    get,
    post,
)

from fasthttpserver.httpserver import HTTPConnection, HTTPRequest, HTTPServer
from fasthttpserver.ioloop import IOLoop
from fasthttpserver.iostream import IOStream
from fasthttpserver.netutil import bind_unix_socket
from fasthttpserver.tcpserver import TCPServer

Serve = Callable[..., Served]
Run = Callable[[Any], Any]
NewLoop = Callable[[], AbstractEventLoop]

HERE = "127.0.0.1"


def has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as sock:
        sock.bind(("::1", 0))
        return True
    return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this machine")
needs_unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets here")


# --- Arguments --------------------------------------------------------------------------


def test_arguments_by_position_and_what_becomes_of_them() -> None:
    io_loop = asyncio.new_event_loop()
    server = HTTPServer(echo, True, io_loop, True, None, "https")
    assert isinstance(server, TCPServer)
    assert server.request_callback is echo
    assert (server.no_keep_alive, server.xheaders, server.protocol) == (True, True, "https")
    assert server.io_loop is io_loop
    assert server.ssl_options is None
    io_loop.close()


def test_defaults() -> None:
    server = HTTPServer(echo)
    assert (server.no_keep_alive, server.xheaders, server.protocol) == (False, False, None)
    assert server.max_buffer_size == 104_857_600
    assert HTTPServer(echo, max_buffer_size=1000).max_buffer_size == 1000


def test_unknown_keyword_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="no_keepalive"):
        HTTPServer(echo, no_keepalive=True)  # type: ignore[call-arg]


@pytest.mark.parametrize("callback", [None, "module:name", 5])
def test_callback_must_be_callable(callback: Any) -> None:
    with pytest.raises(TypeError, match="callable"):
        HTTPServer(callback)


def test_server_may_be_made_without_a_loop() -> None:
    loops = dict(IOLoop._by_loop)
    HTTPServer(echo)
    assert loops == IOLoop._by_loop


# --- Who asks ---------------------------------------------------------------------------


def test_http_client_of_the_standard_library(serve: Serve) -> None:
    served = serve(lambda request: answer(request, request.method.encode() + b" " + request.body))
    host, port = served.address
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        for method, body in [("GET", None), ("POST", b"abc"), ("PUT", b""), ("DELETE", None)]:
            connection.request(method, "/x", body)
            response = connection.getresponse()
            assert (response.status, response.read()) == (
                200,
                method.encode() + b" " + (body or b""),
            )
        connection.request("POST", "/x", iter([b"ab", b"c"]), encode_chunked=True)
        assert connection.getresponse().read() == b"POST abc"
    finally:
        connection.close()


def test_many_clients_at_once(serve: Serve) -> None:
    served = serve(echo)
    clients = [served.connect() for _ in range(100)]
    for i, client in enumerate(clients):
        client.send(get(f"/{i}"))
    for i, client in enumerate(clients):
        assert client.read_response().body == b"/%d " % i
    assert len(served.connections) == 100


def test_callback_sees_one_request_at_a_time_in_one_thread(serve: Serve) -> None:
    threads: set[int] = set()

    def callback(request: HTTPRequest) -> None:
        threads.add(threading.get_ident())
        answer(request)

    served = serve(callback)
    for client in [served.connect() for _ in range(5)]:
        assert client.ask(get()) == b"ok"
    assert len(threads) == 1


def test_attributes_may_be_changed_while_serving(serve: Serve) -> None:
    served = serve(echo)
    assert served.connect().ask(get()) == b"/ "
    served.server.no_keep_alive = True
    client = served.connect()
    client.send(get())
    assert client.read_to_end() == framed(b"/ ")


def test_subclass_may_make_its_own_connections(serve: Serve, logs: Logs) -> None:
    # As code for Tornado 3 does, with the documented arguments.
    class Mine(TCPServer):
        def handle_stream(self, stream: IOStream, address: Any) -> None:
            HTTPConnection(stream, address, echo, no_keep_alive=True)

    served = serve(echo)
    mine = served.call(Mine)
    served.call(mine.listen, 0, HERE)
    with Client(address_of(mine)) as client:
        client.send(get("/mine"))
        assert client.read_to_end() == framed(b"/mine ")
    served.call(mine.stop)


def test_request_without_host_may_be_allowed(serve: Serve, logs: Logs) -> None:
    data = b"GET / HTTP/1.1\r\n\r\n"
    client = serve(echo, require_host=False).connect()
    assert client.ask(data) == b"/ "
    client = serve(echo).connect()
    client.send(data)
    assert client.read_response().status == 400
    assert len(logs.refusals()) == 1


# --- Where it listens -------------------------------------------------------------------


def test_ipv4(serve: Serve) -> None:
    served = serve(lambda request: answer(request, request.remote_ip))
    assert served.connect().ask(get()) == b"127.0.0.1"


@needs_ipv6
def test_ipv6(serve: Serve) -> None:
    addresses: list[Any] = []

    def callback(request: HTTPRequest) -> None:
        addresses.append(request.connection.address)
        answer(request, str(request.remote_ip))

    client = serve(callback, address="::1").connect()
    assert client.ask(get()) == b"::1"
    assert addresses == [client.address]
    assert len(addresses[0]) == 4


@needs_unix
def test_unix_socket(serve: Serve, tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    seen: list[Any] = []

    def callback(request: HTTPRequest) -> None:
        seen.append((request.connection.address, request.connection.address_family))
        answer(request, str(request.remote_ip))

    served = serve(callback, address=bind_unix_socket(path))
    assert served.address == path
    client = served.connect()
    assert client.ask(get()) == b"0.0.0.0"
    assert client.ask(post(b"abc")) == b"0.0.0.0"
    assert seen[0] == ("", socket.AF_UNIX)


@needs_unix
def test_unix_socket_half_close_reset_and_refusal(serve: Serve, logs: Logs, tmp_path: Path) -> None:
    served = serve(echo, address=bind_unix_socket(str(tmp_path / "socket")))
    client = served.connect()
    client.send(get())
    client.half_close()
    assert client.read_to_end() == framed(b"/ ")
    client = served.connect()
    client.send(b"bad\r\n\r\n" + bytes(100_000))
    assert client.read_to_end().startswith(b"HTTP/1.1 400 ")
    client.close()
    (message,) = logs.refusals()
    assert "from ''" in message
    served.connect().close()
    served.all_closed()


def test_localhost_is_every_address_of_that_name(run: Run) -> None:
    async def main() -> None:
        server = HTTPServer(echo)
        server.listen(0, "localhost")
        addresses = [sock.getsockname() for sock in server._sockets.values()]
        assert len({address[1] for address in addresses}) == 1
        for address in addresses:
            assert await ask(address) == framed(b"/ ")
        server.stop()

    run(main())


def test_all_interfaces_is_the_default(run: Run) -> None:
    async def main() -> None:
        server = HTTPServer(echo)
        server.listen(0)
        port = address_of(server)[1]
        assert await ask((HERE, port)) == framed(b"/ ")
        if has_ipv6():
            assert await ask(("::1", port)) == framed(b"/ ")
        server.stop()

    run(main())


def test_port_that_is_taken_is_an_os_error(serve: Serve) -> None:
    served = serve(echo)
    with pytest.raises(OSError, match=r"[Aa]ddress already in use"):
        served.call(HTTPServer(echo).listen, served.address[1], HERE)
    assert served.connect().ask(get()) == b"/ "


def test_several_ports(run: Run) -> None:
    async def main() -> None:
        server = HTTPServer(echo)
        server.listen(0, HERE)
        server.listen(0, HERE)
        addresses = {sock.getsockname() for sock in server._sockets.values()}
        assert len(addresses) == 2
        for address in addresses:
            assert await ask(address) == framed(b"/ ")
        server.stop()

    run(main())


def test_several_servers_on_one_loop(run: Run) -> None:
    async def main() -> None:
        servers = [
            HTTPServer(lambda request, i=i: answer(request, f"server {i}")) for i in range(5)
        ]
        for server in servers:
            server.listen(0, HERE)
        answers = await asyncio.gather(*[ask(address_of(server)) for server in servers])
        assert answers == [framed(b"server %d" % i) for i in range(5)]
        servers[0].stop()
        assert await ask(address_of(servers[1])) == framed(b"server 1")
        for server in servers:
            server.stop()

    run(main())


# --- How it starts ----------------------------------------------------------------------


def test_listening_before_the_loop_runs(new_loop: NewLoop, nothing_left: None) -> None:
    loop = new_loop()
    server = HTTPServer(echo, io_loop=loop)
    server.listen(0, HERE)
    # The kernel lets the client wait.
    with Client(address_of(server)) as client:
        client.send(get("/", "Connection: close"))

        async def read() -> bytes:
            return await loop.run_in_executor(None, client.read_to_end)

        assert loop.run_until_complete(read()) == framed(b"/ ")
    server.stop()
    loop.run_until_complete(server.close_all_connections())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


def test_starting_on_the_current_ioloop(new_loop: NewLoop, nothing_left: None) -> None:
    # The documented way, with a loop that this test chose.
    io_loop = IOLoop(new_loop(), make_current=True)
    try:
        server = HTTPServer(echo)
        server.listen(0, HERE)
        assert server.io_loop is io_loop
        replies: list[bytes] = []

        def client() -> None:
            with Client(address_of(server)) as client:
                client.send(get("/", "Connection: close"))
                replies.append(client.read_to_end())
            IOLoop.instance().add_callback(IOLoop.instance().stop)

        IOLoop.instance().add_callback(lambda: None)
        thread = threading.Thread(target=run_with(io_loop, client))
        thread.start()
        IOLoop.instance().start()
        thread.join()
        assert replies == [framed(b"/ ")]
        server.stop()
    finally:
        io_loop.close()
        IOLoop.clear_current()


def run_with(io_loop: IOLoop, function: Callable[[], None]) -> Callable[[], None]:
    """Have `function` see that loop as the current one of its thread."""

    def run() -> None:
        io_loop.make_current()
        try:
            function()
        finally:
            IOLoop.clear_current()

    return run


def test_listening_inside_a_running_loop(run: Run) -> None:
    async def main() -> None:
        server = HTTPServer(echo)
        server.listen(0, HERE)
        assert await ask(address_of(server)) == framed(b"/ ")
        server.stop()

    run(main())


@pytest.mark.parametrize("kind", ["asyncio loop", "IOLoop", "like Tornado's"])
def test_loop_may_be_given(new_loop: NewLoop, nothing_left: None, kind: str) -> None:
    class LikeTornado:
        def __init__(self, asyncio_loop: AbstractEventLoop) -> None:
            self.asyncio_loop = asyncio_loop

    loop = new_loop()
    io_loop: Any = loop
    if kind == "IOLoop":
        io_loop = IOLoop(loop)
    elif kind == "like Tornado's":
        io_loop = LikeTornado(loop)
    seen: list[object] = []

    def callback(request: HTTPRequest) -> None:
        seen.append(request.connection.stream.io_loop)
        answer(request)

    server = HTTPServer(callback, io_loop=io_loop)
    server.listen(0, HERE)
    assert loop.run_until_complete(ask(address_of(server))) == OK
    assert server.io_loop is io_loop
    assert seen == [io_loop]  # the very object that was passed
    server.stop()
    loop.run_until_complete(server.close_all_connections())
    loop.close()


def test_two_loops_in_two_threads(serve: Serve) -> None:
    first, second = serve(echo), serve(lambda request: answer(request, "second"))
    assert first.loop is not second.loop
    assert first.connect().ask(get()) == b"/ "
    assert second.connect().ask(get()) == b"second"


# --- How it ends ------------------------------------------------------------------------


def refuses(address: Any) -> bool:
    """Whether a connection is refused."""
    try:
        Client(address).close()
    except ConnectionRefusedError:
        return True
    return False


def test_stop_ends_accepting_and_serves_existing_connections_on(serve: Serve) -> None:
    served = serve(echo)
    client = served.connect()
    assert client.ask(get("/1")) == b"/1 "
    served.call(served.server.stop)
    eventually(lambda: refuses(served.address))
    assert client.ask(get("/2")) == b"/2 "
    client.send(get("/3") * 2)
    assert client.read_response().body == client.read_response().body == b"/3 "


def test_stop_twice_and_without_a_socket_is_harmless(run: Run) -> None:
    async def main() -> None:
        server = HTTPServer(echo)
        server.stop()
        server.listen(0, HERE)
        assert await ask(address_of(server)) == framed(b"/ ")
        server.stop()
        server.stop()

    run(main())


def test_stopping_again_does_not_touch_sockets_that_were_opened_meanwhile(run: Run) -> None:
    async def main() -> None:
        first, second = HTTPServer(echo), HTTPServer(echo)
        first.listen(0, HERE)
        await asyncio.sleep(0)
        first.stop()
        await asyncio.sleep(0)
        second.listen(0, HERE)  # most likely with the same descriptor
        first.stop()
        assert await ask(address_of(second)) == framed(b"/ ")
        second.stop()

    run(main())


@pytest.mark.parametrize("turns", range(6))
def test_stop_soon_after_listen_leaves_nothing_behind(run: Run, turns: int) -> None:
    async def main() -> None:
        for _ in range(3):
            server = HTTPServer(echo)
            server.listen(0, HERE)
            address = address_of(server)
            for _ in range(turns):
                await asyncio.sleep(0)
            server.stop()
            for _ in range(6):
                await asyncio.sleep(0)
            assert await asyncio.to_thread(refuses, address)
        server.listen(0, HERE)  # a stopped server may listen again
        assert await ask(address_of(server)) == framed(b"/ ")
        server.stop()
        await asyncio.get_running_loop().shutdown_default_executor()

    run(main())


def test_stop_before_the_loop_runs_closes_the_socket(new_loop: NewLoop, nothing_left: None) -> None:
    loop = new_loop()
    server = HTTPServer(echo, io_loop=loop)
    server.listen(0, HERE)
    address = address_of(server)
    server.stop()
    loop.run_until_complete(asyncio.sleep(0))
    assert refuses(address)
    loop.close()


def test_stop_in_a_callback(serve: Serve) -> None:
    def callback(request: HTTPRequest) -> None:
        served.server.stop()
        answer(request)

    served = serve(callback)
    client = served.connect()
    client.send(get() * 2)
    assert client.read(2 * len(OK)) == OK * 2
    eventually(lambda: refuses(served.address))


def test_clients_that_come_when_it_stops_are_served_or_refused(serve: Serve) -> None:
    served = serve(echo)
    clients = [served.connect() for _ in range(10)]
    served.call(served.server.stop)
    for client in clients:
        with contextlib.suppress(ConnectionError):
            client.send(get("/", "Connection: close"))
            assert client.read_to_end() in (framed(b"/ "), b"")


def test_close_all_connections_closes_every_one_and_waits(serve: Serve) -> None:
    waiting: list[HTTPRequest] = []
    events: list[str] = []

    def callback(request: HTTPRequest) -> None:
        if request.uri == "/wait":
            waiting.append(request)
            request.connection.set_close_callback(lambda: events.append("closed"))
        else:
            answer(request)

    served = serve(callback)
    clients = [served.connect() for _ in range(4)]
    assert clients[0].ask(get()) == b"ok"
    clients[1].send(b"GET / HT")
    clients[2].send(get("/wait"))
    eventually(lambda: waiting)
    eventually(lambda: len(served.connections) == 4)
    served.call(served.server.close_all_connections)
    assert served.connections == []
    assert events == ["closed"]
    for client in clients:
        with contextlib.suppress(ConnectionResetError):
            assert client.read_to_end() == b""
    # The server itself goes on.
    assert served.connect().ask(get()) == b"ok"


def test_close_all_connections_without_any_returns(run: Run) -> None:
    async def main() -> None:
        await HTTPServer(echo).close_all_connections()

    run(main())


# --- Context variables ---------------------------------------------------------------------

USER: ContextVar[str] = ContextVar("USER", default="nobody")


def remember(request: HTTPRequest) -> Any:
    """Answer with who was remembered, and remember who asks."""

    def respond() -> None:
        before = USER.get()
        USER.set(request.path[1:])
        answer(request, before)

    async def in_task() -> None:
        respond()

    return in_task() if request.query == "async" else respond()


@pytest.mark.parametrize("pipelined", [False, True])
def test_context_variables_do_not_outlive_a_callback_that_is_isolated(
    serve: Serve, pipelined: bool
) -> None:
    client = serve(remember, isolate_context=True).connect()
    requests = [get("/ada"), get("/ben?async"), get("/cid")]
    if pipelined:
        client.send(b"".join(requests))
        assert [client.read_response().body for _ in requests] == [b"nobody"] * 3
    else:
        assert [client.ask(each) for each in requests] == [b"nobody"] * 3


def test_context_variables_of_a_task_are_not_seen_by_the_next_request(serve: Serve) -> None:
    client = serve(remember).connect()
    client.send(get("/ada?async") + get("/ben?async") + get("/cid"))
    assert [client.read_response().body for _ in range(3)] == [b"nobody"] * 3


def test_context_variables_outlive_a_plain_callback_otherwise(serve: Serve) -> None:
    # It is what docs/threat-model.md says; a copy for each call is not to be had for nothing.
    client = serve(remember).connect()
    assert client.ask(get("/ada?async")) == b"nobody"
    assert client.ask(get("/ben")) == b"nobody"
    assert client.ask(get("/cid")) == b"ben"
    assert serve(remember).connect().ask(get("/other")) == b"nobody"
