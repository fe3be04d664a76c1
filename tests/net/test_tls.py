"""HTTPS: options, client certificates, what goes wrong in a handshake, and HTTP on top."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import (
    TIMEOUT,
    Certificates,
    Client,
    Served,
    answer,
    echo,
    eventually,
    framed,
    get,
    post,
)

from fasthttpserver._server.request import HTTPRequest
from fasthttpserver._server.server import HTTPServer
from fasthttpserver.errors import StreamClosedError
from fasthttpserver.iostream import IOStream

Serve = Callable[..., Served]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def options(certificates: Certificates) -> dict[str, Any]:
    """As an application passes them."""
    return {"certfile": certificates.certfile, "keyfile": certificates.keyfile}


@pytest.fixture(scope="module")
def trusting(certificates: Certificates) -> ssl.SSLContext:
    """A client that trusts the server, and has no certificate."""
    return certificates.client_context()


class HandMade:
    """A TLS client whose every byte goes through the test's hands.

    Args:
        client: The connection below.
        context: The client's side.
    """

    def __init__(self, client: Client, context: ssl.SSLContext) -> None:
        self._client = client
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="127.0.0.1")

    def outgoing(self) -> bytes:
        """What is to be sent."""
        return self._outgoing.read()

    def hello(self) -> bytes:
        """The first message."""
        with pytest.raises(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self.outgoing()

    def handshake(self) -> bytes:
        """Go through it, and return the last message instead of sending it."""
        while True:
            try:
                self.tls.do_handshake()
                return self.outgoing()
            except ssl.SSLWantReadError:
                self._client.send(self.outgoing())
                self._incoming.write(self._client.receive())

    def write(self, data: bytes) -> bytes:
        """Encrypt."""
        self.tls.write(data)
        return self.outgoing()

    def close_notify(self) -> bytes:
        """The end of what we send."""
        with pytest.raises(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self.outgoing()

    def read_to_end(self) -> bytes:
        """Decrypt until the server says that it is the end, or just ends."""
        data = b""
        while True:
            try:
                piece = self.tls.read(1 << 20)
            except ssl.SSLWantReadError:
                received = self._client.receive()
                if not received:
                    return data
                self._incoming.write(received)
            except ssl.SSLZeroReturnError:
                return data
            else:
                if not piece:
                    return data
                data += piece


def end_of(client: Client) -> bytes:
    """What comes until the end, be it a clean one or not."""
    data = b""
    try:
        while piece := client.receive():
            data += piece
    except ConnectionResetError:
        pass
    return data


def one_line(served: Served, warnings: Callable[[], list[str]]) -> str:
    """The only thing that was logged, once the server has nothing more to do."""
    deadline = time.monotonic() + TIMEOUT
    while served.server._tasks:
        assert time.monotonic() < deadline, "a handshake goes on"
        served.settle()
    (line,) = warnings()
    return line


# --- Options ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [dict, ssl.SSLContext])
def test_options_are_a_dict_or_a_context(
    serve: Serve, options: dict[str, Any], trusting: ssl.SSLContext, kind: type
) -> None:
    ssl_options: Any = options
    if kind is ssl.SSLContext:
        ssl_options = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        ssl_options.load_cert_chain(options["certfile"], options["keyfile"])
    served = serve(
        lambda request: answer(request, f"{request.protocol} {request.full_url()}"),
        ssl_options=ssl_options,
    )
    assert served.server.ssl_options is ssl_options
    client = served.connect(context=trusting)
    for _ in range(3):
        assert client.ask(get("/x")) == b"https https://a/x"


def test_version_of_the_protocol_can_be_chosen(
    serve: Serve, options: dict[str, Any], trusting: ssl.SSLContext
) -> None:
    served = serve(echo, ssl_options=options | {"ssl_version": ssl.PROTOCOL_TLSv1_2})
    client = served.connect(context=trusting)
    assert client.tls_version == "TLSv1.2"
    assert client.ask(get("/x")) == b"/x "


def test_options_without_certfile_are_a_key_error(options: dict[str, Any]) -> None:
    del options["certfile"]
    with pytest.raises(KeyError, match="certfile"):
        HTTPServer(echo, ssl_options=options)


@pytest.mark.parametrize("key", ["certfile", "keyfile"])
def test_options_that_name_a_missing_file_are_a_value_error(
    options: dict[str, Any], key: str
) -> None:
    with pytest.raises(ValueError, match=f"{key}.*missing.pem"):
        HTTPServer(echo, ssl_options=options | {key: "missing.pem"})


@pytest.mark.parametrize("value", ["server.pem", 1, [("certfile", "x")]])
def test_options_of_another_type_are_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match="ssl_options"):
        HTTPServer(echo, ssl_options=value)


def test_options_with_an_unknown_key_are_a_value_error(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="certfiel"):
        HTTPServer(echo, ssl_options=options | {"certfiel": "x"})


@pytest.mark.parametrize("start", ["listen", "bind"])
def test_file_that_is_no_certificate_is_refused_before_anybody_connects(
    options: dict[str, Any], tmp_path: Path, start: str
) -> None:
    path = tmp_path / "no.pem"
    path.write_text("no certificate")
    server = HTTPServer(echo, ssl_options=options | {"certfile": str(path)})
    try:
        with pytest.raises(ssl.SSLError):
            getattr(server, start)(0, "127.0.0.1")
    finally:
        server.stop()


# --- Client certificates --------------------------------------------------------------------


def certificate_of(request: HTTPRequest) -> None:
    """Answer with both forms of the client's certificate."""
    answer(request, repr((request.get_ssl_certificate(), request.get_ssl_certificate(True))))


@pytest.mark.parametrize("mode", [ssl.CERT_REQUIRED, ssl.CERT_OPTIONAL])
def test_client_certificate_in_both_forms(
    serve: Serve, certificates: Certificates, options: dict[str, Any], mode: ssl.VerifyMode
) -> None:
    options |= {"cert_reqs": mode, "ca_certs": certificates.ca_certs}
    served = serve(certificate_of, ssl_options=options)
    leaf = certificates.authority.issue_cert("ada@example.org", common_name="Ada")
    context = certificates.client_context()
    leaf.configure_cert(context)
    client = served.connect(context=context)
    for _ in range(2):
        fields, der = eval(client.ask(get()))
        assert fields["subjectAltName"] == (("email", "ada@example.org"),)
        assert (("commonName", "Ada"),) in fields["subject"]
        assert der == ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())


@pytest.mark.parametrize(
    ("mode", "identity"),
    [
        (ssl.CERT_OPTIONAL, None),
        (ssl.CERT_NONE, None),
        (ssl.CERT_NONE, "x@y.org"),
        (None, "x@y.org"),
    ],
)
def test_no_client_certificate_is_none(
    serve: Serve,
    certificates: Certificates,
    options: dict[str, Any],
    mode: ssl.VerifyMode | None,
    identity: str | None,
) -> None:
    # With CERT_NONE the client is not asked for one.
    options |= {"cert_reqs": mode, "ca_certs": certificates.ca_certs}
    served = serve(certificate_of, ssl_options=options)
    client = served.connect(context=certificates.client_context(identity))
    assert eval(client.ask(get())) == (None, None)


def test_a_socket_with_tls_tells_about_both(
    serve: Serve, certificates: Certificates, options: dict[str, Any]
) -> None:
    def tell(request: HTTPRequest) -> None:
        sock = request.connection.stream.socket
        (_, name), *_ = sock.getpeercert()["subjectAltName"]
        answer(request, f"{name} {sock.version()} {sock.getsockname()[0]} {sock.family:d}")

    served = serve(
        tell,
        ssl_options=options | {"cert_reqs": ssl.CERT_REQUIRED, "ca_certs": certificates.ca_certs},
    )
    client = served.connect(context=certificates.client_context("ada@example.org"))
    expected = f"ada@example.org {client.tls_version} 127.0.0.1 {socket.AF_INET:d}"
    assert client.ask(get()).decode() == expected


def test_no_certificate_without_tls(serve: Serve) -> None:
    assert eval(serve(certificate_of).connect().ask(get())) == (None, None)


# --- Handshakes that fail ----------------------------------------------------------------------


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("foreign", [False, True])
def test_required_certificate_that_is_missing_or_foreign_is_one_line(
    serve: Serve,
    certificates: Certificates,
    options: dict[str, Any],
    logs: Any,
    tmp_path: Path,
    version: ssl.TLSVersion,
    foreign: bool,
) -> None:
    options |= {"cert_reqs": ssl.CERT_REQUIRED, "ca_certs": certificates.ca_certs}
    served = serve(echo, ssl_options=options)
    context = certificates.client_context()
    context.maximum_version = version
    if foreign:
        Certificates(tmp_path).authority.issue_cert("x@y.org").configure_cert(context)
    with contextlib.suppress(OSError):
        # In TLS 1.3 a client's own side of the handshake is done before it is refused.
        client = served.connect(context=context)
        client.send(get())
        assert client.receive() == b""
    assert one_line(served, logs.warnings).startswith("SSL Error on connection from ('127.0.0.1'")
    with served.connect(context=certificates.client_context("ada@example.org")) as client:
        assert client.ask(get("/x")) == b"/x "


def test_client_that_does_not_trust_us_is_one_line(
    serve: Serve, options: dict[str, Any], logs: Any
) -> None:
    served = serve(echo, ssl_options=options)
    with pytest.raises(ssl.SSLCertVerificationError):
        served.connect(context=ssl.create_default_context())
    assert one_line(served, logs.warnings).startswith("SSL Error on connection from ('127.0.0.1'")


@pytest.mark.parametrize("data", [get(), b"\r\n" * 4, b"\x16\x03\x01\0\x05hello"])
def test_client_that_speaks_no_tls_is_one_line_and_closed(
    serve: Serve, options: dict[str, Any], trusting: ssl.SSLContext, logs: Any, data: bytes
) -> None:
    served = serve(echo, ssl_options=options, tls_handshake_timeout=1.0)
    client = served.connect()
    client.send(data)
    assert b"HTTP" not in end_of(client)
    assert one_line(served, logs.warnings).startswith("SSL Error on connection from ('127.0.0.1'")
    assert served.connect(context=trusting).ask(get("/x")) == b"/x "


@pytest.mark.parametrize("share", [0, 0.5])
def test_client_that_does_not_go_on_is_closed(
    serve: Serve, options: dict[str, Any], trusting: ssl.SSLContext, logs: Any, share: float
) -> None:
    served = serve(echo, ssl_options=options, tls_handshake_timeout=0.2)
    client = served.connect()
    hello = HandMade(client, trusting).hello()
    client.send(hello[: int(len(hello) * share)])
    # Nobody else waits for it.
    assert served.connect(context=trusting).ask(get("/x")) == b"/x "
    start = time.monotonic()
    assert end_of(client) == b""
    assert time.monotonic() - start < 2
    assert one_line(served, logs.warnings).startswith("SSL Error on connection from ('127.0.0.1'")


@pytest.mark.parametrize("share", [0, 0.5, 1])
@pytest.mark.parametrize("leave", [Client.close, Client.reset])
def test_client_that_leaves_in_the_handshake_is_no_news(
    serve: Serve,
    options: dict[str, Any],
    trusting: ssl.SSLContext,
    logs: Any,
    share: float,
    leave: Callable[[Client], None],
) -> None:
    # As the checks of load balancers do, all day long.
    served = serve(echo, ssl_options=options)
    client = served.connect()
    hello = HandMade(client, trusting).hello()
    client.send(hello[: int(len(hello) * share)])
    leave(client)
    assert served.connect(context=trusting).ask(get("/x")) == b"/x "
    deadline = time.monotonic() + TIMEOUT
    while served.server._tasks:
        assert time.monotonic() < deadline
        served.settle()
    assert logs.warnings() == logs.refusals() == []


def test_handshake_that_goes_on_does_not_outlive_the_server(
    serve: Serve, options: dict[str, Any]
) -> None:
    served = serve(echo, ssl_options=options)
    client = served.connect()
    # Until the server has it.
    deadline = time.monotonic() + TIMEOUT
    while not served.server._tasks:
        assert time.monotonic() < deadline
        served.settle()
    served.call(served.server.close_all_connections)
    assert end_of(client) == b""


# --- HTTP on top -----------------------------------------------------------------------------


def test_request_in_one_segment_with_the_end_of_the_handshake(
    serve: Serve, options: dict[str, Any], trusting: ssl.SSLContext
) -> None:
    client = serve(echo, ssl_options=options).connect()
    tls = HandMade(client, trusting)
    client.send(tls.handshake() + tls.write(get("/x", "Connection: close")))
    assert tls.read_to_end() == framed(b"/x ")


def test_handshake_and_request_byte_by_byte(
    serve: Serve, options: dict[str, Any], trusting: ssl.SSLContext
) -> None:
    client = serve(echo, ssl_options=options).connect()
    client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    tls = HandMade(client, trusting)
    for byte in tls.hello():
        client.send(bytes([byte]))
    for byte in tls.handshake() + tls.write(get("/x", "Connection: close")):
        client.send(bytes([byte]))
    assert tls.read_to_end() == framed(b"/x ")


def test_large_bodies_both_ways(
    serve: Serve, options: dict[str, Any], trusting: ssl.SSLContext
) -> None:
    client = serve(echo, ssl_options=options).connect(context=trusting)
    body = os.urandom(3_000_000)
    for _ in range(2):
        assert client.ask(post(body)) == b"/ " + body


def test_pipelined_requests_are_answered_in_order(
    serve: Serve, options: dict[str, Any], trusting: ssl.SSLContext
) -> None:
    client = serve(echo, ssl_options=options).connect(context=trusting)
    client.send(b"".join(post(b"b", uri=f"/{number}") for number in range(300)))
    for number in range(300):
        assert client.read_response().body == b"/%d b" % number


def test_pipelined_requests_with_large_answers(
    serve: Serve, options: dict[str, Any], trusting: ssl.SSLContext
) -> None:
    big = bytes(2_000_000)
    served = serve(lambda request: answer(request, big), ssl_options=options)
    client = served.connect(context=trusting)
    client.send(get() * 5)
    for _ in range(5):
        assert client.read_response().body == big


def test_answers_of_a_coroutine(
    serve: Serve, options: dict[str, Any], trusting: ssl.SSLContext
) -> None:
    async def slow(request: HTTPRequest) -> None:
        await asyncio.sleep(0)
        await request.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
        for _ in range(4):
            await request.write(b"x")
        request.finish()

    client = serve(slow, ssl_options=options).connect(context=trusting)
    client.send(get() * 3)
    for _ in range(3):
        assert client.read_response().body == b"xxxx"


def test_write_callbacks_run(
    serve: Serve, options: dict[str, Any], trusting: ssl.SSLContext
) -> None:
    def pieces(request: HTTPRequest) -> None:
        left = [b"a", b"b" * 1_000_000, b"c"]

        def send_next() -> None:
            if left:
                request.write(left.pop(0), send_next)
            else:
                request.finish()

        request.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000002\r\n\r\n", send_next)

    client = serve(pieces, ssl_options=options).connect(context=trusting)
    client.send(get() * 2)
    for _ in range(2):
        assert client.read_response().body == b"a" + b"b" * 1_000_000 + b"c"


def test_awaited_write_waits_for_a_slow_client(
    serve: Serve, options: dict[str, Any], trusting: ssl.SSLContext
) -> None:
    piece, count = bytes(100_000), 400
    written: list[int] = []
    gone: list[BaseException] = []

    async def stream(request: HTTPRequest) -> None:
        request.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(piece) * count))
        try:
            for number in range(count):
                await request.write(piece)
                written.append(number)
        except StreamClosedError as error:
            gone.append(error)
            raise
        request.finish()

    served = serve(stream, ssl_options=options)
    client = served.connect(context=trusting, receive_buffer=10_000)
    client.send(get())
    client.read(100_000)
    deadline = time.monotonic() + TIMEOUT
    while not served.call(lambda: served.connection.stream.writing()):
        assert time.monotonic() < deadline
    assert len(written) < count
    size = served.call(lambda: served.connection.stream.write_buffer_size)
    assert size < 2 * len(piece) + 50_000  # TLS adds its own
    client.reset()
    served.all_closed()
    served.settle()
    assert len(gone) == 1


@pytest.mark.parametrize("notify", [True, False])
def test_half_closed_client_gets_its_answer(
    serve: Serve, options: dict[str, Any], trusting: ssl.SSLContext, notify: bool
) -> None:
    client = serve(echo, ssl_options=options).connect()
    tls = HandMade(client, trusting)
    client.send(tls.handshake())
    client.send(tls.write(get("/x")) + (tls.close_notify() if notify else b""))
    client.half_close()
    assert tls.read_to_end() == framed(b"/x ")


@pytest.mark.parametrize("notify", [True, False])
def test_half_closed_client_gets_an_answer_that_takes_its_time(
    serve: Serve, options: dict[str, Any], trusting: ssl.SSLContext, notify: bool
) -> None:
    waiting: list[HTTPRequest] = []
    served = serve(waiting.append, ssl_options=options)
    client = served.connect()
    tls = HandMade(client, trusting)
    client.send(tls.handshake() + tls.write(get("/x")) + (tls.close_notify() if notify else b""))
    client.half_close()
    eventually(lambda: waiting)
    served.settle()
    served.call(answer, waiting[0], b"late")
    assert tls.read_to_end() == framed(b"late")


@pytest.mark.parametrize("notify", [True, False])
def test_end_of_a_client_runs_the_close_callback(
    serve: Serve, options: dict[str, Any], trusting: ssl.SSLContext, notify: bool
) -> None:
    waiting: list[HTTPRequest] = []
    closed: list[bool] = []

    def wait(request: HTTPRequest) -> None:
        stream = request.connection.stream
        request.connection.set_close_callback(lambda: closed.append(stream.closed()))
        waiting.append(request)

    served = serve(wait, ssl_options=options)
    client = served.connect()
    tls = HandMade(client, trusting)
    client.send(tls.handshake() + tls.write(get("/x")) + (tls.close_notify() if notify else b""))
    client.half_close()
    eventually(lambda: closed)
    assert closed == [False]  # what is written still arrives, as without TLS
    assert len(waiting) == 1
    served.call(answer, waiting[0], b"late")
    assert tls.read_to_end() == framed(b"late")


def test_stream_that_is_taken_over(
    serve: Serve, options: dict[str, Any], trusting: ssl.SSLContext
) -> None:
    async def shout(request: HTTPRequest) -> None:
        stream = request.connection.detach()
        while (line := await stream.read_until(b"\n")) != b"end\n":
            await stream.write(line.upper())
        stream.close()

    served = serve(shout, ssl_options=options)
    client = served.connect(context=trusting)
    client.send(get() + b"one\ntw")
    assert client.read(4) == b"ONE\n"
    client.send(b"o\n" + b"x" * 1_000_000 + b"\nend\n")
    assert client.read_to_end() == b"TWO\n" + b"X" * 1_000_000 + b"\n"


def test_client_of_a_stream_that_is_not_read_is_made_to_wait(
    serve: Serve, options: dict[str, Any], trusting: ssl.SSLContext
) -> None:
    streams: list[IOStream] = []
    served = serve(lambda request: streams.append(request.connection.detach()), ssl_options=options)
    client = served.connect(context=trusting)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
    client.send(get())
    eventually(lambda: streams)
    client.socket.settimeout(0.2)
    with pytest.raises(TimeoutError):
        for _ in range(1000):
            client.send(bytes(100_000))
    client.close()
    served.call(streams[0].abort)


def test_connection_that_closes_says_so(
    serve: Serve, options: dict[str, Any], trusting: ssl.SSLContext
) -> None:
    client = serve(echo, ssl_options=options, no_keep_alive=True).connect()
    tls = HandMade(client, trusting)
    client.send(tls.handshake() + tls.write(get("/x")))
    assert tls.read_to_end() == framed(b"/x ")
    # A client can tell a whole answer from one that was cut (RFC 8446 section 6.1): without
    # a close_notify this raises.
    assert tls.tls.read(1) == b""


def test_refusal_arrives(
    serve: Serve, options: dict[str, Any], trusting: ssl.SSLContext, logs: Any
) -> None:
    client = serve(echo, ssl_options=options).connect(context=trusting)
    client.send(get("/ok") + b"GE T / HTTP/1.1\r\n\r\n")
    assert client.read_response().body == b"/ok "
    assert client.read_response().status == 400
    assert client.read_to_end() == b""
    assert len(logs.refusals()) == 1


# --- Answers that a slow client takes its time for ----------------------------------------

LARGE = bytes(4_000_000)  # more than the kernel's buffers of both sides


def large(request: HTTPRequest) -> None:
    """Answer with more than the kernel takes at once."""
    answer(request, LARGE)


class Pace:
    """How fast a client reads that does not read as fast as it could.

    Args:
        seconds: How long it does something else after each megabyte.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def read_to_end(self, client: Client) -> bytes:
        data = client.receive()
        pieces = [data]
        size = 0
        while data:
            size += len(data)
            if size > 1_000_000:
                size = 0
                threading.Event().wait(self._seconds)
            data = client.receive()
            pieces.append(data)
        return b"".join(pieces)


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize(
    "request_bytes", [get("/", "Connection: close"), get("/", version="HTTP/1.0"), get()]
)
def test_large_answer_before_a_close_arrives_at_a_slow_client(
    serve: Serve,
    options: dict[str, Any],
    trusting: ssl.SSLContext,
    request_bytes: bytes,
    tls: bool,
) -> None:
    served = serve(
        large,
        no_keep_alive=request_bytes == get(),
        linger_silence=0.1,
        linger_timeout=0.2,
        ssl_options=options if tls else None,
    )
    client = served.connect(receive_buffer=20_000, context=trusting if tls else None)
    client.send(request_bytes)
    assert Pace(0.2).read_to_end(client) == framed(LARGE)


@pytest.mark.parametrize("tls", [False, True])
def test_download_is_not_idle(
    serve: Serve, options: dict[str, Any], trusting: ssl.SSLContext, tls: bool
) -> None:
    served = serve(
        large, idle_connection_timeout=0.1, max_connections=1, ssl_options=options if tls else None
    )
    client = served.connect(receive_buffer=20_000, context=trusting if tls else None)
    client.send(get())
    client.read(1000)
    other = served.connect(context=trusting if tls else None)
    assert other.read_response().status == 503  # there is nobody to make room
    threading.Event().wait(0.5)
    assert 1000 + len(client.read_to_end()) == len(framed(LARGE))


@pytest.mark.parametrize("tls", [False, True])
def test_drain_lets_answers_that_are_under_way_arrive(
    serve: Serve, options: dict[str, Any], trusting: ssl.SSLContext, tls: bool
) -> None:
    served = serve(
        large, linger_silence=0.1, linger_timeout=0.2, ssl_options=options if tls else None
    )
    client = served.connect(receive_buffer=20_000, context=trusting if tls else None)
    client.send(get())
    first = client.read(1000)
    drained = asyncio.run_coroutine_threadsafe(
        served.server.drain(timeout=TIMEOUT, grace=0.1), served.loop
    )
    threading.Event().wait(0.5)
    assert not drained.done()
    assert first + Pace(0.2).read_to_end(client) == framed(LARGE)
    assert drained.result(TIMEOUT) == {"served": 0, "closed": 1, "aborted": 0}


@pytest.mark.parametrize("tls", [False, True])
def test_write_callback_waits_until_the_kernel_has_all(
    serve: Serve, options: dict[str, Any], trusting: ssl.SSLContext, tls: bool
) -> None:
    told: list[str] = []

    def callback(request: HTTPRequest) -> None:
        request.write(framed(LARGE), lambda: (told.append("written"), request.finish()))

    served = serve(callback, ssl_options=options if tls else None)
    client = served.connect(receive_buffer=20_000, context=trusting if tls else None)
    client.send(get())
    first = client.read(1000)
    served.settle()
    assert told == []
    assert first + client.read(len(framed(LARGE)) - 1000) == framed(LARGE)
    eventually(lambda: told == ["written"])


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("close", ["announced", "connection", "server"])
def test_answers_survive_a_close_with_requests_behind_it(
    serve: Serve, options: dict[str, Any], trusting: ssl.SSLContext, tls: bool, close: str
) -> None:
    # What the server has not read when it closes makes its kernel send a reset, and that
    # destroys what the client has not read.
    body = bytes(50_000)

    def callback(request: HTTPRequest) -> None:
        answer(request, body)
        if request.uri == "/last" and close == "connection":
            request.connection.close()

    served = serve(callback, no_keep_alive=close == "server", ssl_options=options if tls else None)
    last = get("/last", *(["Connection: close"] if close == "announced" else []))
    for _ in range(5):
        client = served.connect(receive_buffer=20_000, context=trusting if tls else None)
        before = 0 if close == "server" else 3
        client.send(get() * before + last + get() * 100)  # one record, and so one read
        client.send(get() * 10_000)
        threading.Event().wait(0.05)
        for _ in range(before + 1):
            assert client.read_response().body == body
        assert client.read_to_end() == b""
        client.close()


def test_silent_client_takes_little_memory(
    serve: Serve, options: dict[str, Any], trusting: ssl.SSLContext
) -> None:
    # asyncio's own TLS has a buffer of 256 KiB for each connection.
    served = serve(echo, ssl_options=options)
    served.connect(context=trusting).ask(get())
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        clients = [served.connect(context=trusting) for _ in range(10)]
        for client in clients:
            client.ask(get())
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / len(clients) < 64_000
