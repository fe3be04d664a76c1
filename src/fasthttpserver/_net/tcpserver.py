"""A TCP server: where it listens, and what it does with a new connection."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any

from fasthttpserver._http.networks import parse_peers
from fasthttpserver._net import ioloop
from fasthttpserver._net import processes as process
from fasthttpserver._net.accepting import DESCRIPTORS, Acceptor
from fasthttpserver._net.certificates import Certificates
from fasthttpserver._net.loops import is_uvloop
from fasthttpserver._net.netutil import BACKLOG, bind_sockets, check_ssl_options
from fasthttpserver._net.proxy_protocol import ProxyHeaderError, read_proxy_header
from fasthttpserver._net.stalled import StallWatch
from fasthttpserver._net.streams import IOStream
from fasthttpserver._net.tls_transport import TLSTransport
from fasthttpserver.errors import StreamClosedError
from fasthttpserver.limits import Rule, check_number
from fasthttpserver.log import app_log, gen_log

__all__ = ["TCPServer"]

# Of the descriptors that are kept free this part may be in handshakes, and this part with
# clients that are told that there is no room; the other half is the application's.
TELLING = 4

_CURRENT_LOOP = (
    "so it serves on IOLoop.current(), which has to be started. "
    "With asyncio.run(), start it in a coroutine."
)
_GIVEN_LOOP = "it serves on {!r}, which has to be run."

_BUFFER_SIZE = Rule(0, 1 << 62, whole=True, optional=True)
# Tornado's.
_MAX_BUFFER_SIZE = 104_857_600
# Seconds; an honest handshake takes a few round trips. For a PROXY header as many.
_TLS_HANDSHAKE_TIMEOUT = 10.0


class TCPServer:
    """A non-blocking TCP server; subclasses say what to do with a connection.

    Args:
        io_loop: The loop to serve on: an ``IOLoop``, ours or Tornado's, or an asyncio loop.
            None means the current one when the first socket is added.
        ssl_options: A dict as for ``netutil.ssl_options_to_context``, or an
            ``ssl.SSLContext``; None for plain text. The files that a dict names are read anew
            some seconds after they have changed. In a dict ``sni`` may give some names
            certificates of their own: ``{"a.example": {"certfile": …, "keyfile": …}}``; a name
            may begin with ``*.``.
        max_buffer_size: Bytes that one connection may have waiting; None for the default.
        proxy_protocol: Expect a header of the PROXY protocol, version 1 or 2, at the beginning of
            each connection, and take the peer's address from it. It counts from proxies at these
            addresses and networks, ``unix`` for those on a Unix socket, ``*`` for everybody;
            connections of others are closed. None for no header.

    Raises:
        TypeError: ``io_loop`` is not a loop, ``max_buffer_size`` not an int, or
            ``proxy_protocol`` not a list of strings.
        KeyError: ``ssl_options`` has no ``certfile``.
        ValueError: ``max_buffer_size`` is negative, a network is none, or a file that
            ``ssl_options`` names does not exist. What is in the files is looked at once, when
            the first socket is bound or added, and then an ``ssl.SSLError`` tells what is wrong.
    """

    _tls_protocols: Sequence[str] = ()  # that connections may speak, for clients that ask

    def __init__(
        self,
        io_loop: Any = None,
        ssl_options: dict[str, Any] | ssl.SSLContext | None = None,
        max_buffer_size: int | None = None,
        *,
        proxy_protocol: Iterable[str] | None = None,
    ) -> None:
        check_number("max_buffer_size", max_buffer_size, _BUFFER_SIZE)
        self.io_loop = io_loop
        self.ssl_options = ssl_options
        self.max_buffer_size = max_buffer_size or _MAX_BUFFER_SIZE
        self._tls_handshake_timeout = _TLS_HANDSHAKE_TIMEOUT
        self._max_handshakes: int | None = None
        self._certificates: Certificates | None = None
        self._ssl_context: ssl.SSLContext | None = None
        self._proxies = None if proxy_protocol is None else parse_peers(proxy_protocol)
        if io_loop is not None:
            ioloop.to_asyncio(io_loop)  # says now that it is none
        if isinstance(ssl_options, Certificates):
            self._certificates = ssl_options
        elif ssl_options is not None:
            check_ssl_options(ssl_options)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._advice = ""  # on a loop that does not run
        self._sockets: dict[int, socket.socket] = {}
        self._pending_sockets: list[socket.socket] = []
        self._started = False
        self._removers: list[Callable[[], object]] = []
        self._tasks: set[asyncio.Future[Any]] = set()
        # What has to be done before there is a connection. Dicts for their order.
        self._connecting: dict[asyncio.Future[Any], None] = {}
        self._handshakes: dict[asyncio.Future[Any], None] = {}  # of these, what may be cancelled
        self._no_handshakes = False  # any more, as all connections are to be closed

    # --- Starting, in one of three ways -------------------------------------------------

    def listen(
        self,
        port: int | str,
        address: str | None = "",
        family: socket.AddressFamily = socket.AF_UNSPEC,
        backlog: int = BACKLOG,
        *,
        reuse_port: bool = False,
    ) -> None:
        """Accept connections on a port from now on; may be called for several ports.

        Args:
            port: A number, 0 for one that the system chooses, or a service's name.
            address: An IP address or a host name, which may stand for several addresses;
                empty or None for all interfaces.
            family: ``socket.AF_INET`` or ``AF_INET6`` to have only that one.
            backlog: How many connections may wait to be accepted.
            reuse_port: Let other processes listen on the port too (``SO_REUSEPORT``).

        Raises:
            OSError: The port is not to be had.
            ValueError: The system has no ``SO_REUSEPORT``.
        """
        self.make_ssl_context()  # before there is a socket to close again
        self.add_sockets(bind_sockets(port, address, family, backlog, reuse_port=reuse_port))

    def bind(
        self,
        port: int | str,
        address: str | None = None,
        family: socket.AddressFamily = socket.AF_UNSPEC,
        backlog: int = BACKLOG,
        *,
        reuse_port: bool = False,
    ) -> None:
        """Bind a port now, to be served when ``start`` is called; as ``listen`` otherwise."""
        self.make_ssl_context()  # an error in it is one of the parent's
        sockets = bind_sockets(port, address, family, backlog, reuse_port=reuse_port)
        if self._started:
            self.add_sockets(sockets)
        else:
            self._pending_sockets.extend(sockets)

    def start(self, num_processes: int | None = 1, max_restarts: int | None = None) -> None:
        """Serve the bound sockets.

        Args:
            num_processes: 1 serves in this process. None, 0 or less forks one child for
                each processor, more than 1 that many; each child returns from here, the
                parent does not. No event loop may exist yet then.
            max_restarts: How many dead children are replaced before it is given up; None
                for 100.

        Raises:
            AssertionError: It was started before.
            RuntimeError: It would fork, and an event loop exists, or there is no fork here.
        """
        if self._started:
            raise AssertionError("this server was started before")
        self._started = True
        if num_processes != 1:
            try:
                process.fork_processes(num_processes, max_restarts, on_stop=self.stop)
            except BaseException:  # SystemExit: the parent, and all children have ended
                self.stop()
                raise
        sockets, self._pending_sockets = self._pending_sockets, []
        self.add_sockets(sockets)

    def add_sockets(self, sockets: Iterable[socket.socket]) -> None:
        """Serve listening sockets, as ``netutil.bind_sockets`` returns them.

        The loop need not run yet: the kernel lets clients wait until it does. A WARNING says
        so if it does not, and clients come.
        """
        self.make_ssl_context()
        if self._loop is None:
            self._loop = ioloop.to_asyncio(self.io_loop)
            self._advice = _GIVEN_LOOP.format(self._loop)
            if self.io_loop is None:
                self.io_loop = ioloop.IOLoop.current()
                self._advice = _CURRENT_LOOP
            DESCRIPTORS.add_server(self)
        sockets = list(sockets)
        for sock in sockets:
            sock.setblocking(False)  # or accepting after the last client would wait
            if sock.family in (socket.AF_INET, socket.AF_INET6):
                # What it accepts inherits that. asyncio sets it only where it is told that the
                # protocol is TCP, and accept() does not tell.
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
            self._sockets[sock.fileno()] = sock
            self._begin(sock)
        if sockets and not self._loop.is_running():
            self._removers.append(StallWatch(self._loop, sockets, self._advice).end)

    @property
    def sockets(self) -> list[socket.socket]:
        """The listening sockets that are served; ``getsockname()`` tells the port of each.

        So ``listen(0)`` need not be guessed at. They belong to the server.
        """
        return list(self._sockets.values())

    def add_socket(self, sock: socket.socket) -> None:
        """Serve one listening socket."""
        self.add_sockets([sock])

    def stop(self) -> None:
        """Accept no more. Connections that exist are served on; calling it again is harmless."""
        removers, self._removers = self._removers, []
        sockets, self._sockets = self._sockets, {}
        for remove in removers:
            remove()
        for sock in sockets.values():
            sock.close()
        pending, self._pending_sockets = self._pending_sockets, []
        for sock in pending:
            sock.close()

    def make_ssl_context(self) -> None:
        """Load the certificate now; done before anything else that listens or forks.

        Raises:
            OSError: A file cannot be read; ``ssl.SSLError`` if OpenSSL refuses what is in it.
            ValueError: An option is unknown, the protocol version is not to be had, or a key
                is encrypted.
        """
        if self.ssl_options is None or self._ssl_context is not None:
            return
        if isinstance(self.ssl_options, ssl.SSLContext):
            self._ssl_context = self.ssl_options
            return
        if self._certificates is None:
            self._certificates = Certificates(self.ssl_options, self._tls_protocols)
        self._certificates.load()
        self._ssl_context = self._certificates.context

    def reload_certificates(self) -> bool:
        """Read the files that ``ssl_options`` names anew, for connections from now on.

        That happens by itself some seconds after they have changed, when the next client
        connects. If something is wrong, one ERROR says what, and the certificates stay as
        they are.

        Returns:
            Whether it went well.

        Raises:
            RuntimeError: There are no such files: ``ssl_options`` is not a dict, or nothing was
                read yet.
        """
        if self._certificates is None or self._ssl_context is None:
            raise RuntimeError("this server has read no certificates from files")
        return self._certificates.reload()

    # --- Accepting ------------------------------------------------------------------------

    def _begin(self, sock: socket.socket) -> None:
        assert self._loop is not None
        io_loop = ioloop.IOLoop.from_asyncio(self._loop)
        try:
            # uvloop needs only the descriptor, which it makes non-blocking by itself.
            plain = self._ssl_context is None and self._proxies is None
            bare = plain and is_uvloop(self._loop)
            acceptor = Acceptor(sock, self._accepted, io_loop, self._make_room, bare)
            self._removers.append(acceptor.remove)
        except NotImplementedError:
            # The proactor loop of Windows cannot watch a socket, but it can accept.
            self._removers.append(self._spawn(self._accept(sock)).cancel)

    async def _accept(self, sock: socket.socket) -> None:
        assert self._loop is not None
        failing = False
        while True:
            try:
                self._accepted(*await self._loop.sock_accept(sock))
                failing = False
            except OSError as error:
                if not failing:
                    gen_log.error("Cannot accept on %r: %s", sock, error)
                failing = True
                await asyncio.sleep(1)

    def _accepted(self, connection: Any, address: Any) -> None:
        if self._proxies is not None and address not in self._proxies:
            self._refuse(connection, f"{address!r} is not listed in proxy_protocol, closing")
            return
        room = True
        excess = DESCRIPTORS.excess(connection.fileno())
        if excess > 0:
            if DESCRIPTORS.may_say():
                gen_log.warning(
                    "Only %d of %d file descriptors are left, idle connections are closed "
                    "to make room",
                    DESCRIPTORS.kept,
                    DESCRIPTORS.limit,
                )
            if not self._make_room():
                room = False
            elif excess > 1:
                self._make_room()  # for those as well that were let in before
        if self._ssl_context is None and self._proxies is None:
            self._connect(connection, address, room)
            return
        task = self._spawn(self._connect_later(connection, address, room))
        self._connecting[task] = None
        if self._max_handshakes is not None:
            self._bound_handshakes(self._max_handshakes)

    def _refuse(self, connection: socket.socket, why: str) -> None:
        """Close a connection without a word: nobody knows what it speaks."""
        gen_log.info("%s", why)
        connection.close()

    def _make_room(self) -> bool:
        """Close what can be done without, as descriptors are short; tell if there was any."""
        most = DESCRIPTORS.kept // TELLING
        return self._bound_handshakes(most) or DESCRIPTORS.evict_idle(self._loop)

    def _bound_handshakes(self, most: int) -> bool:
        """Give up the handshake that takes longest, if more than so many go on."""
        if not self._handshakes or len(self._connecting) <= most:
            return False
        # An honest handshake takes a few round trips.
        oldest = next(iter(self._handshakes))
        del self._connecting[oldest], self._handshakes[oldest]
        oldest.cancel()
        return True

    def _count_connections(self) -> int:
        """How many connections this server has, as far as it knows."""
        return len(self._connecting)

    def _evict_idle(self) -> bool:
        """Close the connection that has been idle for the longest time; tell if there is one."""
        return False

    def accept_waiting(self) -> None:
        """Accept those that have connected already, before ``stop()`` would turn them away."""
        for sock in self._sockets.values():
            with contextlib.suppress(OSError):  # BlockingIOError: that was the last one
                while True:
                    connection, address = sock.accept()
                    connection.setblocking(False)  # not inherited from the listening socket
                    self._accepted(connection, address)

    def new_protocol(
        self, loop: asyncio.AbstractEventLoop, address: Any, room: bool = True
    ) -> asyncio.Protocol:
        """Make the protocol of a connection that is about to be made.

        Args:
            loop: That of the transport.
            address: As ``accept()`` gives it.
            room: Whether there is a file descriptor for it; if not, it has to close soon.
        """
        return IOStream(loop, address, self._handle, self.io_loop, self.max_buffer_size)

    def _connect(self, connection: Any, address: Any, room: bool) -> None:
        """Make the transport and the protocol of a connection.

        The loop has a coroutine for it. Running that takes two steps, and a task for them costs
        more than they do; so they are run here.
        """
        loop = self._loop
        assert loop is not None
        new_protocol = functools.partial(self.new_protocol, loop, address, room)
        self._go_on(loop.connect_accepted_socket(new_protocol, connection), connection, address)
        if type(connection) is socket.SocketType:  # from accept_bare()
            connection.detach()  # uvloop has taken the descriptor

    def _go_on(
        self,
        steps: Coroutine[Any, Any, Any],
        connection: Any,
        address: Any,
        done: asyncio.Future[Any] | None = None,
    ) -> None:
        """Run the next step; `done` is what the one before waited for."""
        if done is not None:
            self._connecting.pop(done, None)
        try:
            waiter = steps.send(None)
        except StopIteration:
            return
        except OSError as error:
            self._connect_failed(connection, address, error)
            return
        except Exception:
            app_log.error("Error in connection callback", exc_info=True)
            connection.close()
            return
        if waiter is None:  # it gives others a turn
            assert self._loop is not None
            waiter = self._loop.create_future()
            waiter.set_result(None)
        self._connecting[waiter] = None
        waiter.add_done_callback(functools.partial(self._go_on, steps, connection, address))

    async def _connect_later(self, connection: socket.socket, address: Any, room: bool) -> None:
        """Make a connection before which there is something to be read."""
        if self._proxies is not None:
            try:
                address = await self._read_proxy_header(connection, address)
            except (ProxyHeaderError, TimeoutError) as error:
                self._refuse(connection, f"Malformed PROXY header from {address!r}: {error}")
                return
            except OSError:  # disconnected before: a health check, a port scan
                connection.close()
                return
            except BaseException:
                connection.close()
                raise
        if self._ssl_context is None:
            self._connect(connection, address, room)
        else:
            await self._connect_tls(self._current_context(), connection, address, room)

    async def _read_proxy_header(self, connection: socket.socket, address: Any) -> Any:
        """Return the address of the client that the peer, a proxy, speaks for."""
        assert self._loop is not None
        task = asyncio.current_task()
        if self._no_handshakes or task not in self._connecting:
            raise ConnectionAbortedError
        self._handshakes[task] = None
        timeout = self._tls_handshake_timeout
        try:
            async with asyncio.timeout(timeout):
                told = await read_proxy_header(self._loop, connection)
        except TimeoutError:
            raise TimeoutError(f"it took longer than {timeout} s") from None
        finally:
            self._handshakes.pop(task, None)
        return address if told is None else told

    def _current_context(self) -> ssl.SSLContext:
        """Return what the next handshake is to be done with."""
        assert self._loop is not None
        assert self._ssl_context is not None
        if self._certificates is None:
            return self._ssl_context
        self._certificates.keep_up(self._loop.time())
        return self._certificates.context

    async def _connect_tls(
        self, context: ssl.SSLContext, connection: socket.socket, address: Any, room: bool
    ) -> None:
        loop = self._loop
        assert loop is not None
        tls = TLSTransport(loop, context, functools.partial(self.new_protocol, loop, address, room))
        try:
            await loop.connect_accepted_socket(lambda: tls, connection)
            task = asyncio.current_task()
            if self._no_handshakes or task not in self._connecting:
                tls.abort()
                return
            self._handshakes[task] = None
            await tls.handshake(self._tls_handshake_timeout)
        except OSError as error:  # ssl.SSLError and time-outs among them
            self._connect_failed(connection, address, error)

    def _connect_failed(self, connection: socket.socket, address: Any, error: OSError) -> None:
        connection.close()
        if isinstance(error, (BrokenPipeError, ConnectionResetError)):
            return  # disconnected in the handshake: a health check, a port scan
        what = "Error" if self._ssl_context is None else "SSL Error"
        gen_log.warning("%s on connection from %r: %s", what, address, str(error))

    async def _stop_connecting(self) -> None:
        """Wait for clients that are being connected, and give up the handshakes among them.

        Not by cancelling what the loop does itself: it takes a few turns only, and a task that
        has not begun would leave its socket, and uvloop a transport, to nobody.
        """
        self._no_handshakes = True
        for task in list(self._handshakes):
            task.cancel()
        if self._connecting:
            await asyncio.wait(list(self._connecting))
        self._no_handshakes = False

    def _handle(self, stream: IOStream) -> None:
        try:
            result = self.handle_stream(stream, stream.address)
        except Exception:
            app_log.error("Error in connection callback", exc_info=True)
            stream.close()
            return
        if result is not None and inspect.isawaitable(result):
            self._spawn(self._watch(stream, result))

    async def _watch(self, stream: IOStream, result: Awaitable[Any]) -> None:
        """Await what ``handle_stream`` returned; a failure ends the connection."""
        try:
            await result
        except StreamClosedError:
            if not stream.closed():
                raise
            # The peer has disconnected; to read or write then is not a mistake.
        except Exception:
            app_log.error("Error in connection callback", exc_info=True)
            stream.close()

    def _spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        assert self._loop is not None
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)  # the loop itself holds tasks weakly
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Future[Any]) -> None:
        self._tasks.discard(task)
        self._connecting.pop(task, None)
        self._handshakes.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            app_log.error("Error in connection callback", exc_info=error)

    def handle_stream(self, stream: IOStream, address: Any) -> Any:
        """Take care of a new connection; to be overridden, also by a coroutine.

        Args:
            stream: The connection.
            address: The peer's address, as ``accept()`` returns it.
        """
        raise NotImplementedError("a subclass of TCPServer has to define handle_stream()")
