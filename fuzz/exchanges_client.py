"""The clients of ``exchanges.py``, and the checker: it knows what must come, byte by byte.

The reader of responses is its own; it shares nothing with the server but the bodies that
``exchanges_app`` makes of a request.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Callable, Generator

from exchanges_app import HOST
from exchanges_programs import LONG_DOWNLOAD, Exchange, Program, Stop

# Nothing takes so many seconds, unless something waits that should not.
PATIENCE = 30.0

# --- The checker ------------------------------------------------------------------------------


class Fault(Exception):
    """What came is not what must come."""


class Ended(Exception):
    """The connection has ended."""


class Answers:
    """Reads what comes back for a program, and raises ``Fault`` at the first wrong byte.

    Args:
        program: What is asked.
        draining: Tells whether the server may announce the end by itself.
    """

    def __init__(self, program: Program, draining: Callable[[], bool]) -> None:
        self.answered = 0
        self.continued = 0  # how many of those that wait for it
        self.inside = False  # of an answer
        self.received = 0
        self.complete = False  # nothing more can come
        self.news = asyncio.Event()
        self._program = program
        self._draining = draining
        self._announced = False
        self._ended = False
        self._buffer = bytearray()
        self._reading = self._read()
        next(self._reading)

    def feed(self, data: bytes) -> None:
        """Check what came."""
        self.received += len(data)
        self._buffer += data
        try:
            next(self._reading)
        except ValueError as error:  # a number that is none, a line that is not a field
            raise Fault(f"no response: {error}") from None
        self.news.set()

    def end(self, how: str) -> None:
        """Check that the connection may have ended here, by "eof", "cut" (TLS) or "reset"."""
        self._ended = True
        with contextlib.suppress(Ended, StopIteration):
            next(self._reading)
        program, answered = self._program, self.answered
        exchange = program.exchanges[min(answered, len(program.exchanges) - 1)]
        where = f"{answered} of {program.due} answered, ended by {how}"
        if self.inside and not exchange.may_be_cut:
            raise Fault(f"an answer was cut: {where}")
        if answered == program.due:
            by_end = answered and program.exchanges[answered - 1].ends_with_connection
            if by_end and how != "eof":
                raise Fault(f"an answer that ends with the connection: {where}")
            if not (
                (answered and program.exchanges[answered - 1].last) or program.ending == "half"
            ):
                if not self._draining():
                    raise Fault(f"the connection was closed: {where}")
            return
        missing = answered == program.due - 1 and exchange.may_be_missing
        if not missing and not self._draining():
            raise Fault(f"answers are missing: {where}")

    def _read(self) -> Generator[None, None, None]:
        for exchange in self._program.exchanges[: self._program.due]:
            yield from self._answer(exchange)
            self.answered += 1
            self.inside = False
            if exchange.last or self._announced:
                break
        else:
            self.complete = True
            for cut in self._program.exchanges[self._program.due :][:1]:
                status, fields = yield from self._head()
                if status != 100:
                    raise Fault(f"{status} for a request that was not sent: {fields}")
                self._continue(cut)
        while not self._buffer:
            yield from self._more()
        raise Fault(f"bytes behind the last answer: {bytes(self._buffer[:200])!r}")

    def _answer(self, exchange: Exchange) -> Generator[None, None, None]:
        status, fields = yield from self._head()
        if status == 100:
            self._continue(exchange)
            status, fields = yield from self._head()
        if status != exchange.status:
            raise Fault(f"{status} instead of {exchange.status} {fields}")
        if status != 500 and fields.get("x-id") != exchange.plan.id:
            raise Fault(f"the answer to {fields.get('x-id')} instead of {exchange.plan.id}")
        closes = "close" in fields.get("connection", "").lower()
        if closes and not exchange.last:
            if not self._draining():
                raise Fault(f"the end was announced: {fields}")
            self._announced = True
        length = fields.get("content-length")
        if exchange.method == "HEAD" or status == 204:
            return
        if status == 500:
            yield from self._skip(int(length or ""))
            return
        expected = exchange.answer
        chunked = fields.get("transfer-encoding") == "chunked"
        if (length is not None) + chunked + exchange.ends_with_connection != 1:
            raise Fault(f"framing of the answer: {fields}")
        if chunked:
            yield from self._chunks(expected)
        else:
            if length is not None and int(length) != len(expected):
                raise Fault(f"Content-Length {length} instead of {len(expected)}")
            yield from self._exactly(expected)

    def _continue(self, exchange: Exchange) -> None:
        if not exchange.expect:
            raise Fault("100 Continue that nobody asked for")
        self.continued += exchange.expect == "waited"
        self.inside = False
        self.news.set()

    def _head(self) -> Generator[None, None, tuple[int, dict[str, str]]]:
        while b"\r\n\r\n" not in self._buffer:
            self.inside = self.inside or bool(self._buffer)
            if len(self._buffer) > 10_000:
                raise Fault(f"no head: {bytes(self._buffer[:200])!r}")
            yield from self._more()
        self.inside = True
        end = self._buffer.index(b"\r\n\r\n")
        head = bytes(self._buffer[:end]).decode("latin-1")
        del self._buffer[: end + 4]
        first, *lines = head.split("\r\n")
        if not first.startswith("HTTP/1.1 "):
            raise Fault(f"no head: {head[:200]!r}")
        pairs = [line.split(": ", 1) for line in lines]
        fields = {name.lower(): value for name, value in pairs}
        if len(fields) != len(pairs):
            raise Fault(f"repeated fields: {head!r}")
        return int(first[9:12]), fields

    def _chunks(self, expected: bytes) -> Generator[None, None, None]:
        at = 0
        while True:
            while b"\r\n" not in self._buffer:
                yield from self._more()
            line, _, rest = self._buffer.partition(b"\r\n")
            self._buffer = rest
            size = int(line, 16)
            if at + size > len(expected):
                raise Fault(f"chunks of more than {len(expected)} bytes")
            yield from self._exactly(expected[at : at + size] + b"\r\n")
            at += size
            if not size:
                break
        if at != len(expected):
            raise Fault(f"chunks of {at} bytes instead of {len(expected)}")

    def _exactly(self, expected: bytes) -> Generator[None, None, None]:
        at = 0
        while at < len(expected):
            while not self._buffer:
                yield from self._more()
            piece = bytes(self._buffer[: len(expected) - at])
            if expected[at : at + len(piece)] != piece:
                raise Fault(f"wrong bytes in the body behind {at} of {len(expected)}")
            del self._buffer[: len(piece)]
            at += len(piece)

    def _skip(self, size: int) -> Generator[None, None, None]:
        while len(self._buffer) < size:
            yield from self._more()
        del self._buffer[:size]

    def _more(self) -> Generator[None, None, None]:
        if self._ended:
            raise Ended
        yield


# --- A client ---------------------------------------------------------------------------------


class Wire:
    """A client's end of a connection; with TLS by hand, so that every end can be told.

    Args:
        sock: Connected.
        context: For TLS, or None.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext | None) -> None:
        self._socket = sock
        self._loop = asyncio.get_running_loop()
        self._tls: ssl.SSLObject | None = None
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._sending = asyncio.Lock()
        self.was_reset = False
        self.ended_by = "eof"
        if context is not None:
            self._tls = context.wrap_bio(self._in, self._out, server_hostname=HOST)

    @classmethod
    async def connect(cls, port: int, receive_buffer: int, context: ssl.SSLContext | None) -> Wire:
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            await asyncio.get_running_loop().sock_connect(sock, (HOST, port))
            wire = cls(sock, context)
            await wire._handshake()
        except BaseException:
            sock.close()
            raise
        return wire

    async def _handshake(self) -> None:
        while self._tls is not None:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                await self._flush()
                data = await self._loop.sock_recv(self._socket, 65_536)
                if not data:
                    raise ConnectionResetError("in the handshake") from None
                self._in.write(data)
        await self._flush()

    async def _flush(self) -> None:
        async with self._sending:
            if data := self._out.read():
                await self._send(data)

    async def _send(self, data: bytes) -> None:
        try:
            await self._loop.sock_sendall(self._socket, data)
        except (ConnectionResetError, BrokenPipeError):
            self.was_reset = True  # whoever hears of it first takes it from the socket
            raise

    async def send(self, data: bytes) -> None:
        """Send all of it."""
        if self._tls is None:
            await self._send(data)
        elif data:
            self._tls.write(data)
            await self._flush()

    async def receive(self, size: int) -> bytes:
        """Return what one read gives; b"" is the end, and ``ended_by`` tells which one."""
        while True:
            if self._tls is not None:
                try:
                    if data := self._tls.read(size):
                        return data
                    return b""
                except ssl.SSLWantReadError:
                    pass
                except ssl.SSLZeroReturnError:
                    return b""
            try:
                data = await self._loop.sock_recv(self._socket, size)
            except ConnectionResetError:
                self.was_reset = True
                data = b""
            if self._tls is None or not data:
                if self.was_reset and not data:
                    self.ended_by = "reset"
                elif self._tls is not None:
                    self.ended_by = "cut"  # without close_notify
                return data
            self._in.write(data)

    def half_close(self) -> None:
        """Say that nothing more will be sent."""
        with contextlib.suppress(OSError):  # it may have been reset
            self._socket.shutdown(socket.SHUT_WR)

    def close(self, reset: bool = False) -> None:
        """Close it, or reset it."""
        if reset:
            linger = struct.pack("ii", 1, 0)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._socket.close()


class Client:
    """Runs one program.

    Args:
        program: The program.
        port: The server's.
        context: For TLS, or None.
        draining: Tells whether the server has been told to end.
    """

    def __init__(
        self,
        program: Program,
        port: int,
        context: ssl.SSLContext | None,
        draining: Callable[[], bool],
    ) -> None:
        self._program = program
        self._port = port
        self._context = context
        self._draining = draining
        self.answers = Answers(program, draining)
        self._sent = 0
        self._left = False

    async def run(self) -> None:
        """Run it; raise ``Fault`` for what the server does wrong."""
        program = self._program
        try:
            async with asyncio.timeout(PATIENCE + (LONG_DOWNLOAD if program.rate else 0)):
                wire = await Wire.connect(self._port, program.receive_buffer, self._context)
                try:
                    await self._talk(wire)
                finally:
                    wire.close(reset=program.ending == "reset")
        except TimeoutError:
            answers = self.answers
            inside = ", inside of an answer" if answers.inside else ""
            raise Fault(
                f"stuck: {self._sent} bytes sent, {answers.answered} of {program.due} "
                f"answered{inside}, {answers.continued} continued, {answers.received} received"
            ) from None

    async def _talk(self, wire: Wire) -> None:
        sender = asyncio.create_task(self._send(wire))
        reader = asyncio.create_task(self._receive(wire))
        try:
            if self._program.leaves:
                sender.add_done_callback(lambda _: reader.cancel())
            await asyncio.wait([reader])
            if not reader.cancelled():
                reader.result()
        finally:
            for task in (sender, reader):
                task.cancel()
            await asyncio.gather(sender, reader, return_exceptions=True)
        if not sender.cancelled() and (error := sender.exception()) is not None:
            raise error

    async def _send(self, wire: Wire) -> None:
        program = self._program
        data = program.wire[: program.until]
        try:
            for stop in program.stops:
                if stop.offset >= program.until:
                    break
                await wire.send(data[self._sent : stop.offset])
                self._sent = stop.offset
                await asyncio.sleep(stop.pause)
                await self._wait_for(stop)
            await wire.send(data[self._sent :])
            self._sent = program.until
        except (ConnectionError, ssl.SSLError):
            # The reader hears of it too, and judges it.
            await asyncio.get_running_loop().create_future()
        if program.ending == "half":
            wire.half_close()
        elif program.leaves:
            await asyncio.sleep(program.leave_after)

    async def _wait_for(self, stop: Stop) -> None:
        answers = self.answers
        while answers.answered < stop.answered or answers.continued < stop.continued:
            answers.news.clear()
            await answers.news.wait()

    async def _receive(self, wire: Wire) -> None:
        program, answers = self._program, self.answers
        pauses = list(program.pauses)
        size = program.read_size
        loop = asyncio.get_running_loop()
        begin = loop.time()
        # Read to the end of the connection, or to the last answer; who leaves is cancelled.
        to_end = program.leaves or program.ending == "half" or program.exchanges[-1].last
        to_end = to_end or program.due < len(program.exchanges)
        while to_end or not answers.complete:
            while pauses and pauses[0][0] <= answers.received:
                await asyncio.sleep(pauses.pop(0)[1])
            if program.leaves and answers.received >= program.leave_at:
                return
            if program.rate:
                size = 1 + program.rate // 50
                await asyncio.sleep(begin + answers.received / program.rate - loop.time())
            data = await wire.receive(size)
            if not data:
                if not program.leaves:
                    answers.end(wire.ended_by)
                return
            answers.feed(data)
