"""Other people's event loops: Tornado 6's, asyncio.run's, uvloop.run's, one in each thread."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import socket
import threading
from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

import pytest
from helpers import TIMEOUT, Client, Served, address_of, answer, ask, echo, framed, get, post

from fasthttpserver._server.request import HTTPRequest
from fasthttpserver._server.server import HTTPServer
from fasthttpserver.ioloop import IOLoop, PeriodicCallback
from fasthttpserver.iostream import IOStream
from fasthttpserver.tcpserver import TCPServer

pytestmark = pytest.mark.usefixtures("logs")


async def fetch(address: tuple[str, int], request: bytes) -> bytes:
    """Send a request that ends its connection, and read to the end."""
    async with asyncio.timeout(TIMEOUT):
        return await ask(address, request)


@contextlib.asynccontextmanager
async def served(callback: Callable[[HTTPRequest], object], **options: Any) -> Any:
    """A server on the running loop, or on the one that an option names."""
    server = HTTPServer(callback, **options)
    server.listen(0, "127.0.0.1")
    try:
        yield server
    finally:
        server.stop()
        await server.close_all_connections()


# --- asyncio.run and uvloop.run ---------------------------------------------------------------


@pytest.fixture(params=["asyncio", "uvloop"])
def run_main(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """The functions that programs call."""
    function: Callable[[Coroutine[Any, Any, Any]], Any] = pytest.importorskip(request.param).run
    function(asyncio.sleep(0))  # the first loop of libuv opens a pipe for the whole process
    request.getfixturevalue("nothing_left")
    return function


def test_server_inside_of_run(run_main: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
    async def main() -> None:
        async with served(echo) as server:
            assert server.io_loop is IOLoop.current()
            assert server.io_loop.asyncio_loop is asyncio.get_running_loop()
            request = post(b"body", "Connection: close", uri="/x")
            assert await fetch(address_of(server), request) == framed(b"/x body")

    for _ in range(2):  # the second time with another loop
        run_main(main())


def test_server_that_is_made_outside_of_run(
    run_main: Callable[[Coroutine[Any, Any, Any]], Any],
) -> None:
    server = HTTPServer(echo)  # takes its loop when it needs one
    assert server.io_loop is None

    async def main() -> None:
        server.listen(0, "127.0.0.1")
        assert await fetch(address_of(server), get("/", "Connection: close")) == framed(b"/ ")
        server.stop()
        await server.close_all_connections()

    run_main(main())


def test_many_clients_in_the_same_loop(
    run_main: Callable[[Coroutine[Any, Any, Any]], Any],
) -> None:
    async def slow(request: HTTPRequest) -> None:
        await asyncio.sleep(0)
        answer(request, request.uri)

    async def main() -> None:
        async with served(slow) as server:
            requests = [get(f"/{number}", "Connection: close") for number in range(50)]
            answers = await asyncio.gather(*(fetch(address_of(server), r) for r in requests))
            assert answers == [framed(b"/%d" % number) for number in range(50)]

    run_main(main())


def test_one_server_asks_another_in_the_same_loop(
    run_main: Callable[[Coroutine[Any, Any, Any]], Any],
) -> None:
    async def main() -> None:
        async with served(echo) as back:

            async def proxy(request: HTTPRequest) -> None:
                request.write(await fetch(address_of(back), get(request.uri, "Connection: close")))
                request.finish()

            async with served(proxy) as front:
                request = get("/x", "Connection: close")
                assert await fetch(address_of(front), request) == framed(b"/x ")
            # The other one is gone.
            assert await fetch(address_of(back), request) == framed(b"/x ")

    run_main(main())


def test_timers_and_callbacks_inside_of_run(
    run_main: Callable[[Coroutine[Any, Any, Any]], Any],
) -> None:
    async def main() -> None:
        ticks: asyncio.Queue[str] = asyncio.Queue()

        def callback(request: HTTPRequest) -> None:
            io_loop = request.connection.stream.io_loop
            assert io_loop is IOLoop.instance()
            io_loop.call_later(0.001, answer, request, b"later")

        periodic = PeriodicCallback(lambda: ticks.put_nowait("tick"), 1)
        periodic.start()
        async with served(callback) as server:
            assert await fetch(address_of(server), get("/", "Connection: close")) == framed(
                b"later"
            )
            await ticks.get()
            await ticks.get()
        periodic.stop()

    run_main(main())


def test_nothing_is_done_from_a_wrong_thread() -> None:
    # Which asyncio looks for in its debug mode.
    async def main() -> None:
        asyncio.get_running_loop().slow_callback_duration = TIMEOUT

        async def callback(request: HTTPRequest) -> None:
            await request.write(framed(await asyncio.to_thread(lambda: b"from a thread")))
            request.finish()

        async with served(callback) as server:
            request = get("/", "Connection: close")
            assert await fetch(address_of(server), request) == framed(b"from a thread")

    asyncio.run(main(), debug=True)


# --- Tornado 6 --------------------------------------------------------------------------------


@pytest.fixture
def tornado_loop(nothing_left: None) -> Iterator[Any]:
    """A loop of Tornado 6."""
    ioloop = pytest.importorskip("tornado.ioloop")
    loop = ioloop.IOLoop(make_current=False)
    yield loop
    # Its resolver asks in a thread.
    loop.asyncio_loop.run_until_complete(loop.asyncio_loop.shutdown_default_executor())
    loop.close()


@contextlib.contextmanager
def tornado_client() -> Iterator[Callable[..., Awaitable[Any]]]:
    client = pytest.importorskip("tornado.httpclient").AsyncHTTPClient(force_instance=True)
    yield client.fetch
    client.close()


def test_server_inside_of_tornados_loop(tornado_loop: Any) -> None:
    async def main() -> None:
        async with served(echo) as server:
            # Ours, of the same asyncio loop.
            assert server.io_loop.asyncio_loop is tornado_loop.asyncio_loop
            with tornado_client() as fetch:
                url = f"http://127.0.0.1:{address_of(server)[1]}/x"
                for body in b"one", b"two":
                    response = await fetch(url, method="POST", body=body)
                    assert response.code == 200
                    assert response.body == b"/x " + body

    tornado_loop.run_sync(main, timeout=TIMEOUT)


def test_tornados_loop_as_argument_is_what_the_application_sees(tornado_loop: Any) -> None:
    seen: list[Any] = []

    def callback(request: HTTPRequest) -> None:
        io_loop = request.connection.stream.io_loop
        seen.append(io_loop)
        io_loop.add_timeout(io_loop.time(), lambda: answer(request, b"later"))

    server = HTTPServer(callback, io_loop=tornado_loop)
    server.listen(0, "127.0.0.1")  # before it runs

    async def main() -> None:
        with tornado_client() as fetch:
            response = await fetch(f"http://127.0.0.1:{address_of(server)[1]}/")
        assert response.body == b"later"
        server.stop()
        await server.close_all_connections()

    tornado_loop.run_sync(main, timeout=TIMEOUT)
    assert server.io_loop is tornado_loop
    assert seen == [tornado_loop]


def test_next_to_tornados_own_server(tornado_loop: Any) -> None:
    web: Any = pytest.importorskip("tornado.web")
    httpserver = pytest.importorskip("tornado.httpserver")
    netutil = pytest.importorskip("tornado.netutil")

    class Handler(web.RequestHandler):  # type: ignore[misc]
        def get(self) -> None:
            self.write("Tornado's " + self.request.uri)

    async def main() -> None:
        theirs = httpserver.HTTPServer(web.Application([("/.*", Handler)], log_function=print))
        sockets = netutil.bind_sockets(0, "127.0.0.1")
        theirs.add_sockets(sockets)
        with tornado_client() as fetch:

            async def proxy(request: HTTPRequest) -> None:
                port = sockets[0].getsockname()[1]
                response = await fetch(f"http://127.0.0.1:{port}{request.uri}")
                answer(request, b"ours with " + response.body)

            async with served(proxy) as ours:
                response = await fetch(f"http://127.0.0.1:{address_of(ours)[1]}/x")
                assert response.body == b"ours with Tornado's /x"
        theirs.stop()
        await theirs.close_all_connections()

    tornado_loop.run_sync(main, timeout=TIMEOUT)


# --- io_loop= ---------------------------------------------------------------------------------


def asyncios(loop: AbstractEventLoop) -> Any:
    """The loop itself."""
    return loop


def ours(loop: AbstractEventLoop) -> Any:
    """Our interface to it."""
    return IOLoop(loop)


class Foreign:
    """Anything that has an asyncio loop, as Tornado's loops do."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self.asyncio_loop = loop


@pytest.mark.parametrize("kind", [asyncios, ours, Foreign])
def test_loop_as_argument(
    new_loop: Callable[[], AbstractEventLoop], kind: Callable[[AbstractEventLoop], Any]
) -> None:
    seen: list[Any] = []

    def callback(request: HTTPRequest) -> None:
        seen.append(request.connection.stream.io_loop)
        echo(request)

    loop = new_loop()
    argument = kind(loop)
    server = HTTPServer(callback, io_loop=argument)
    server.listen(0, "127.0.0.1")

    async def main() -> None:
        assert await fetch(address_of(server), get("/", "Connection: close")) == framed(b"/ ")
        server.stop()
        await server.close_all_connections()

    # Nobody made it current, or runs it yet; the kernel lets clients wait until then.
    with Client(address_of(server)) as early:
        early.send(get("/early", "Connection: close"))
        loop.run_until_complete(main())
        assert early.read_to_end() == framed(b"/early ")
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert server.io_loop is argument
    assert seen == [argument] * 2


@pytest.mark.parametrize("argument", ["asyncio", 1, object(), asyncio])
def test_argument_that_is_no_loop_is_a_type_error(argument: Any) -> None:
    server = None
    try:
        with pytest.raises(TypeError, match="event loop"):
            server = HTTPServer(echo, io_loop=argument)
            server.listen(0, "127.0.0.1")
    finally:
        if server is not None:
            server.stop()


def test_listening_socket_of_another_make(serve: Callable[..., Served]) -> None:
    # Such as socket.create_server() makes and systemd passes: it blocks.
    running = serve(echo, address=socket.create_server(("127.0.0.1", 0)))
    for number in range(3):
        assert running.connect().ask(get(f"/{number}")) == b"/%d " % number


# --- Threads ----------------------------------------------------------------------------------


class ServerThread(threading.Thread):
    """A program of its own, in a thread: loop, server, `start()`.

    Args:
        new_loop: Makes the loop.
        callback: The application.
        name: Of the thread.
        port: Where to listen, with other threads; 0 is a port of its own.
    """

    def __init__(
        self,
        new_loop: Callable[[], AbstractEventLoop],
        callback: Callable[[HTTPRequest], object],
        name: str = "server",
        port: int = 0,
    ) -> None:
        super().__init__(name=name)
        self._new_loop = new_loop
        self._callback = callback
        self._port = port
        self._up: queue.Queue[tuple[tuple[str, int], IOLoop]] = queue.Queue()

    def run(self) -> None:
        io_loop = IOLoop(self._new_loop(), make_current=True)
        server = HTTPServer(self._callback)
        server.listen(self._port, "127.0.0.1", reuse_port=self._port != 0)
        assert server.io_loop is io_loop is IOLoop.current() is IOLoop.instance()
        self._up.put((address_of(server), io_loop))
        io_loop.start()
        server.stop()
        io_loop.run_sync(server.close_all_connections)
        IOLoop.clear_current()
        io_loop.close()

    def __enter__(self) -> ServerThread:
        self.start()
        self.address, self._io_loop = self._up.get(timeout=TIMEOUT)
        return self

    def __exit__(self, *_: object) -> None:
        self._io_loop.add_callback(self._io_loop.stop)
        self.join(TIMEOUT)
        assert not self.is_alive()


def which_thread(request: HTTPRequest) -> None:
    assert IOLoop.current() is request.connection.stream.io_loop
    answer(request, threading.current_thread().name)


def test_each_thread_has_its_loop_and_server(new_loop: Callable[[], AbstractEventLoop]) -> None:
    with contextlib.ExitStack() as stack:
        clients = {}
        for name in "abcd":
            thread = stack.enter_context(ServerThread(new_loop, which_thread, name))
            clients[name] = stack.enter_context(Client(thread.address))
        for _ in range(20):
            for client in clients.values():
                client.send(get() * 10)
            for name, client in clients.items():
                for _ in range(10):
                    assert client.read_response().body == name.encode()


@pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="this system has no SO_REUSEPORT")
def test_threads_may_share_a_port(new_loop: Callable[[], AbstractEventLoop]) -> None:
    with contextlib.ExitStack() as stack:
        reserved = stack.enter_context(socket.socket())
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        for name in "abc":
            stack.enter_context(ServerThread(new_loop, which_thread, name, port))
        seen: set[bytes] = set()
        while len(seen) < 3:  # the kernel chooses by the client's port
            with Client(("127.0.0.1", port)) as client:
                seen.add(client.ask(get()))
        assert seen == {b"a", b"b", b"c"}


def test_answer_that_another_thread_computes(new_loop: Callable[[], AbstractEventLoop]) -> None:
    def callback(request: HTTPRequest) -> None:
        io_loop = request.connection.stream.io_loop

        def compute() -> None:
            # The only thing that another thread may call.
            io_loop.add_callback(answer, request, threading.current_thread().name)

        threads.append(threading.Thread(target=compute, name="computer"))
        threads[-1].start()

    threads: list[threading.Thread] = []
    with ServerThread(new_loop, callback) as thread, Client(thread.address) as client:
        for _ in range(3):
            assert client.ask(get()) == b"computer"
    for each in threads:
        each.join(TIMEOUT)


# --- Other protocols --------------------------------------------------------------------------


class Upper(TCPServer):
    """Another protocol in the same loop."""

    async def handle_stream(self, stream: IOStream, address: Any) -> None:
        await stream.write((await stream.read_until(b"\n")).upper())
        stream.close()


def test_other_protocols_in_the_same_loop(
    run_main: Callable[[Coroutine[Any, Any, Any]], Any],
) -> None:
    async def main() -> None:
        upper = Upper()
        upper.listen(0, "127.0.0.1")
        async with served(echo) as server:
            request = get("/", "Connection: close")
            line, response = await asyncio.gather(
                fetch(address_of(upper), b"line\n"), fetch(address_of(server), request)
            )
            assert (line, response) == (b"LINE\n", framed(b"/ "))
        upper.stop()

    run_main(main())
