"""The PROXY protocol: what is a header, who may send one, and what comes after it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import random
import socket
import struct
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from helpers import (
    Certificates,
    Client,
    Served,
    address_of,
    answer,
    echo,
    eventually,
    get,
    split,
)
from hypothesis import given
from hypothesis import strategies as st

from fasthttpserver._net import tcpserver
from fasthttpserver._net.proxy_protocol import ProxyHeaderError, read_proxy_header
from fasthttpserver._server.request import HTTPRequest
from fasthttpserver._server.server import HTTPServer
from fasthttpserver.asgi import ASGIContainer
from fasthttpserver.iostream import IOStream
from fasthttpserver.netutil import bind_unix_socket
from fasthttpserver.tcpserver import TCPServer
from fasthttpserver.wsgi import WSGIContainer

Serve = Callable[..., Served]
Run = Callable[[Coroutine[Any, Any, Any]], Any]

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
HERE = ["127.0.0.1"]


def binary(
    addresses: bytes = b"", *, command: int = 0x21, family: int = 0x11, more: bytes = b""
) -> bytes:
    """Bytes of a header of version 2."""
    data = addresses + more
    return SIGNATURE + struct.pack("!BBH", command, family, len(data)) + data


def inet(ip: str, port: int) -> bytes:
    """The addresses of IPv4 or IPv6: the client's, and some other one."""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    own = socket.inet_pton(family, "::1" if ":" in ip else "192.0.2.80")
    return socket.inet_pton(family, ip) + own + struct.pack("!HH", port, 443)


def unix(path: bytes) -> bytes:
    return path.ljust(108, b"\0") + b"/own".ljust(108, b"\0")


V4 = inet("203.0.113.9", 50_000)
V6 = inet("2001:db8::9", 50_000)
TLV = b"\x04\x00\x03abc" + b"\xea\x01\x00" + bytes(256)

# Headers, and the client's address.
GOOD: dict[str, tuple[bytes, Any]] = {
    "v1 TCP4": (b"PROXY TCP4 203.0.113.9 192.0.2.80 50000 443\r\n", ("203.0.113.9", 50_000)),
    "v1 least": (b"PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n", ("0.0.0.0", 0)),
    "v1 TCP6": (
        b"PROXY TCP6 2001:DB8::9 ::1 65535 1\r\n",
        ("2001:db8::9", 65_535, 0, 0),
    ),
    "v1 longest": (
        b"PROXY UNKNOWN " + b"ffff:" * 7 + b"ffff " + b"ffff:" * 7 + b"ffff 65535 65535\r\n",
        None,
    ),
    "v1 UNKNOWN": (b"PROXY UNKNOWN\r\n", None),
    "v1 UNKNOWN and anything": (b"PROXY UNKNOWN \0\r \n x\r\n", None),
    "v2 TCP4": (binary(V4), ("203.0.113.9", 50_000)),
    "v2 UDP4": (binary(V4, family=0x12), ("203.0.113.9", 50_000)),
    "v2 TCP6": (binary(V6, family=0x21), ("2001:db8::9", 50_000, 0, 0)),
    "v2 with more": (binary(V4, more=TLV), ("203.0.113.9", 50_000)),
    "v2 longest": (binary(V4, more=bytes(4096 - 28)), ("203.0.113.9", 50_000)),
    "v2 unix": (binary(unix(b"/run/client"), family=0x31), "/run/client"),
    "v2 unix without a name": (binary(unix(b""), family=0x31), ""),
    "v2 abstract": (binary(unix(b"\0name"), family=0x31), b"\0name"),
    "v2 LOCAL": (binary(command=0x20, family=0), None),
    "v2 LOCAL with addresses": (binary(V4, command=0x20), None),
    "v2 LOCAL with what is unknown": (binary(b"x", command=0x20, family=0xFF), None),
    "v2 unspecified": (binary(family=0), None),
    "v2 unspecified with more": (binary(more=TLV, family=0), None),
    "v2 unspecified protocol": (binary(V4, family=0x10), None),
}
BAD = {
    "HTTP": get(),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(20),
    "nothing of it": bytes(12),
    "lower case": b"proxy TCP4 203.0.113.9 192.0.2.80 50000 443\r\n",
    "other family": b"PROXY TCP5 203.0.113.9 192.0.2.80 50000 443\r\n",
    "UDP4": b"PROXY UDP4 203.0.113.9 192.0.2.80 50000 443\r\n",
    "UNKNOWNS": b"PROXY UNKNOWNS\r\n",
    "two blanks": b"PROXY TCP4  203.0.113.9 192.0.2.80 50000 443\r\n",
    "a blank at the end": b"PROXY TCP4 203.0.113.9 192.0.2.80 50000 443 \r\n",
    "no ports": b"PROXY TCP4 203.0.113.9 192.0.2.80\r\n",
    "short address": b"PROXY TCP4 203.0.113 192.0.2.80 50000 443\r\n",
    "zero before": b"PROXY TCP4 203.0.113.09 192.0.2.80 50000 443\r\n",
    "IPv6 for IPv4": b"PROXY TCP4 2001:db8::9 ::1 50000 443\r\n",
    "IPv4 for IPv6": b"PROXY TCP6 203.0.113.9 192.0.2.80 50000 443\r\n",
    "own address": b"PROXY TCP4 203.0.113.9 192.0.2 50000 443\r\n",
    "port too large": b"PROXY TCP4 203.0.113.9 192.0.2.80 65536 443\r\n",
    "own port too large": b"PROXY TCP4 203.0.113.9 192.0.2.80 50000 65536\r\n",
    "zero before a port": b"PROXY TCP4 203.0.113.9 192.0.2.80 050000 443\r\n",
    "negative port": b"PROXY TCP4 203.0.113.9 192.0.2.80 -1 443\r\n",
    "line feed alone": b"PROXY TCP4 203.0.113.9 192.0.2.80 50000 443\n" + bytes(100),
    "no end": b"PROXY UNKNOWN " + b"x" * 93,
    "end too late": b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n",
    "v2 version": binary(V4, command=0x11),
    "v2 command": binary(V4, command=0x22),
    "v2 family": binary(V4, family=0x41),
    "v2 protocol": binary(V4, family=0x13),
    "v2 too short": binary(V4[:-1]),
    "v2 too short for IPv6": binary(V4, family=0x21),
    "v2 too short for unix": binary(V6, family=0x31),
    "v2 too long": binary(V4, more=bytes(4096 - 27)),
    "v2 other signature": SIGNATURE[:-1] + b"\r" + binary(V4)[12:],
}


class Pieces:
    """A socket, and a loop that waits on it: what comes, cut into pieces, and then the end."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._to_come = pieces[::-1]
        self._here = b""

    async def sock_recv(self, sock: object, most: int) -> bytes:
        if not self._here and self._to_come:
            self._here = self._to_come.pop()
        return self.recv(most) if self._here else b""

    def recv(self, most: int, flags: int = 0) -> bytes:
        if not self._here and self._to_come:
            raise BlockingIOError
        data = self._here[:most]
        if not flags:
            self._here = self._here[most:]
        return data

    @property
    def rest(self) -> bytes:
        return self._here + b"".join(reversed(self._to_come))

    def read(self) -> Any:
        """What the header in it says."""
        reading: Any = self
        steps = read_proxy_header(reading, reading)
        try:
            steps.send(None)
        except StopIteration as done:
            return done.value
        raise AssertionError("it waits although all is here")


def outcome(pieces: list[bytes]) -> tuple[Any, bytes]:
    """What the header says or why it is none, and what is left unread."""
    source = Pieces(pieces)
    try:
        return source.read(), source.rest
    except ProxyHeaderError as error:
        return str(error), b""
    except ConnectionResetError:
        return ConnectionResetError, b""


# --- What is a header ---------------------------------------------------------------------


@pytest.mark.parametrize("name", GOOD)
def test_header_tells_the_client_and_ends_where_it_ends(name: str) -> None:
    data, address = GOOD[name]
    assert outcome([data]) == (address, b"")
    assert outcome([data + SIGNATURE + get()]) == (address, SIGNATURE + get())


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_header_is_refused(name: str) -> None:
    reason, _ = outcome([BAD[name]])
    assert isinstance(reason, str)


@pytest.mark.parametrize("name", [*GOOD, *BAD])
def test_any_cut_gives_the_same(name: str) -> None:
    data = (GOOD[name][0] if name in GOOD else BAD[name])[:400] + b"GET /"
    whole = outcome([data])
    assert outcome([bytes([byte]) for byte in data]) == whole
    for cut in range(1, len(data)):
        assert outcome([data[:cut], data[cut:]]) == whole


@pytest.mark.parametrize("name", GOOD)
def test_header_that_ends_early_is_a_client_that_has_left(name: str) -> None:
    data, _ = GOOD[name]
    for size in range(len(data)):
        assert outcome([data[:size]] if size else []) == (ConnectionResetError, b"")


beginnings = st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11"])


@given(begin=beginnings, rest=st.binary(max_size=300), cuts=st.sets(st.integers(1, 300)))
def test_garbage_is_refused_the_same_however_it_comes(
    begin: bytes, rest: bytes, cuts: set[int]
) -> None:
    # Anything but these two exceptions would be raised here.
    assert outcome(split(begin + rest, cuts)) == outcome([begin + rest] if begin + rest else [])


@given(
    ip=st.ip_addresses(v=4) | st.ip_addresses(v=6),
    port=st.integers(0, 65_535),
    more=st.binary(max_size=50),
    body=st.binary(max_size=50),
)
def test_both_versions_tell_the_same(ip: Any, port: int, more: bytes, body: bytes) -> None:
    text = f"PROXY TCP{ip.version} {ip} {ip} {port} 80\r\n".encode()
    family = 0x11 if ip.version == 4 else 0x21
    data = binary(inet(str(ip), port), family=family, more=more)
    address, _ = outcome([text])
    assert address[:2] == (str(ip) if ip.version == 4 else address[0], port)
    assert outcome([text + body]) == outcome([data + body]) == (address, body)


# --- Connections --------------------------------------------------------------------------


def tell(request: HTTPRequest) -> None:
    """Answer with all that says where the request comes from."""
    connection = request.connection
    name = connection.get_extra_info("peername")
    answer(request, repr((request.remote_ip, connection.address, name, request.protocol)))


@pytest.mark.parametrize("name", ["v1 TCP4", "v1 TCP6", "v2 TCP4", "v2 TCP6", "v2 with more"])
def test_application_sees_the_proxys_client(serve: Serve, name: str) -> None:
    data, address = GOOD[name]
    client = serve(tell, proxy_protocol=HERE).connect()
    client.send(data)
    for _ in range(2):
        assert eval(client.ask(get())) == (address[0], address, address, "http")


def tell_wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    body = f"{environ['REMOTE_ADDR']} {environ['REMOTE_PORT']}".encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


async def tell_asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    body = "{} {}".format(*scope["client"]).encode()
    fields = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize(
    "application",
    [WSGIContainer(tell_wsgi, threads=0), ASGIContainer(tell_asgi, lifespan="off")],
    ids=["wsgi", "asgi"],
)
def test_so_do_applications_of_other_kinds(serve: Serve, application: Any) -> None:
    client = serve(application, proxy_protocol=HERE).connect()
    client.send(GOOD["v1 TCP4"][0])
    assert client.ask(get()) == b"203.0.113.9 50000"


@pytest.mark.parametrize("name", ["v1 UNKNOWN", "v2 LOCAL", "v2 unspecified"])
def test_proxys_own_connection_has_its_own_address(serve: Serve, name: str) -> None:
    client = serve(tell, proxy_protocol=HERE).connect()
    client.send(GOOD[name][0])
    own = client.address
    assert eval(client.ask(get())) == ("127.0.0.1", own, own, "http")


def test_client_on_a_unix_socket_of_the_proxy_has_a_path(serve: Serve) -> None:
    client = serve(tell, proxy_protocol=HERE).connect()
    client.send(GOOD["v2 unix"][0])
    assert eval(client.ask(get()))[:2] == ("0.0.0.0", "/run/client")


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets")
@pytest.mark.parametrize(("networks", "served"), [(["unix"], True), (HERE, False), (["*"], True)])
def test_proxy_on_a_unix_socket_has_to_be_listed_as_such(
    serve: Serve, logs: Any, tmp_path: Path, networks: list[str], served: bool
) -> None:
    sock = bind_unix_socket(str(tmp_path / "s"))
    client = serve(tell, address=sock, proxy_protocol=networks).connect()
    if served:
        client.send(GOOD["v1 TCP4"][0])
        assert eval(client.ask(get()))[0] == "203.0.113.9"
    else:
        assert is_closed(client)
        assert len(logs.refusals()) == 1


def is_closed(client: Client) -> bool:
    """Whether the server says nothing, and closes."""
    try:
        return client.receive() == b""
    except ConnectionResetError:
        return True


def test_who_is_not_listed_is_closed_and_counted(serve: Serve, logs: Any) -> None:
    served = serve(echo, proxy_protocol=["192.0.2.0/24", "unix"])
    client = served.connect()
    with contextlib.suppress(OSError):
        client.send(GOOD["v1 TCP4"][0] + get())
    assert is_closed(client)
    (line,) = logs.refusals()
    assert "127.0.0.1" in line
    assert "proxy_protocol" in line
    assert served.call(served.server.stats)["refused_connections"] == 1
    assert served.call(served.server.stats)["connections"]["accepted"] == 0


@pytest.mark.parametrize("name", ["HTTP", "TLS", "two blanks", "v2 too long", "no end"])
def test_no_header_is_one_line_and_no_answer(serve: Serve, logs: Any, name: str) -> None:
    # Nobody knows what such a client speaks.
    served = serve(echo, proxy_protocol=HERE)
    client = served.connect()
    client.send(BAD[name])
    assert is_closed(client)
    (line,) = logs.refusals()
    assert line.startswith("Malformed PROXY header from ('127.0.0.1'")
    assert served.call(served.server.stats)["refused_connections"] == 1


@pytest.mark.parametrize("data", [b"", b"PROXY TCP4 ", SIGNATURE + b"\x21\x11\x00\x0c1234"])
def test_header_that_does_not_come_in_time_is_given_up(
    serve: Serve, logs: Any, data: bytes
) -> None:
    served = serve(echo, proxy_protocol=HERE, tls_handshake_timeout=0.1)
    client = served.connect()
    if data:
        client.send(data)
    assert is_closed(client)
    (line,) = logs.refusals()
    assert "0.1 s" in line


@pytest.mark.parametrize("data", [b"", b"PROXY TCP4 "])
@pytest.mark.parametrize("leave", [Client.close, Client.reset])
def test_client_that_leaves_before_the_header_is_no_news(
    serve: Serve, logs: Any, data: bytes, leave: Callable[[Client], None]
) -> None:
    served = serve(echo, proxy_protocol=HERE)
    client = served.connect()
    if data:
        client.send(data)
    eventually(lambda: served.server._handshakes)
    leave(client)
    eventually(lambda: not served.server._tasks)
    assert logs.refusals() == []
    assert served.call(served.server.stats)["refused_connections"] == 0


def test_way_to_a_proxy_that_is_lost_before_the_header_is_no_news(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(loop: Any, sock: Any) -> None:
        raise OSError(errno.EHOSTUNREACH, "No route to host")

    monkeypatch.setattr(tcpserver, "read_proxy_header", fail)
    client = serve(tell, proxy_protocol=HERE).connect()
    assert client.read_to_end() == b""


def test_header_that_does_not_come_does_not_outlive_the_server(serve: Serve) -> None:
    served = serve(echo, proxy_protocol=HERE)
    client = served.connect()
    eventually(lambda: served.server._handshakes)
    served.call(served.server.close_all_connections)
    assert is_closed(client)


def test_client_that_is_accepted_last_of_all_does_not_stop_the_loop(run: Run) -> None:
    async def main() -> bytes:
        # Then the loop refuses a socket that would block it: one such client, who sends
        # nothing, would keep the process from ending.
        loop = asyncio.get_running_loop()
        loop.set_debug(True)
        server = HTTPServer(echo, proxy_protocol=HERE)
        server.listen(0, HERE[0])
        with socket.create_connection(address_of(server)) as client:
            client.sendall(GOOD["v1 TCP4"][0] + get())
            await server.drain(grace=0.1)
            client.setblocking(False)
            return await loop.sock_recv(client, 65_536)

    assert run(main()).startswith(b"HTTP/1.1 200 OK\r\n")


def test_headers_that_do_not_come_are_bounded_as_handshakes_are(serve: Serve) -> None:
    served = serve(echo, proxy_protocol=HERE, max_connections=1)
    silent = [served.connect() for _ in range(140)]
    assert is_closed(silent[0])
    assert len(served.server._connecting) <= 128


@pytest.mark.parametrize("cut", [0, 1, 20, 47, 60])
def test_header_and_request_in_whatever_segments(serve: Serve, cut: int) -> None:
    client = serve(tell, proxy_protocol=HERE).connect()
    client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    data = GOOD["v1 TCP4"][0] + get()
    for piece in split(data, [cut]):
        client.send(piece)
    assert eval(client.read_response().body)[0] == "203.0.113.9"


def test_tls_begins_after_the_header(serve: Serve, tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    options = {"certfile": certificates.certfile, "keyfile": certificates.keyfile}
    served = serve(tell, proxy_protocol=HERE, ssl_options=options)
    client = served.connect()
    client.send(GOOD["v2 TCP6"][0])
    client.socket = certificates.client_context().wrap_socket(
        client.socket, server_hostname="127.0.0.1"
    )
    address = GOOD["v2 TCP6"][1]
    assert eval(client.ask(get())) == (address[0], address, address, "https")


def test_failed_handshake_names_the_proxys_client(serve: Serve, logs: Any, tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    options = {"certfile": certificates.certfile, "keyfile": certificates.keyfile}
    served = serve(tell, proxy_protocol=HERE, ssl_options=options)
    client = served.connect()
    client.send(GOOD["v1 TCP4"][0] + get())
    while client.receive():
        pass
    eventually(lambda: not served.server._tasks)
    (line,) = logs.warnings()
    assert line.startswith("SSL Error on connection from ('203.0.113.9', 50000)")


def test_forwarded_for_is_judged_against_the_header(serve: Serve) -> None:
    # A proxy of HTTP, whose connection another one passes on.
    options = {"xheaders": True, "trusted_peers": ["203.0.113.9"]}
    served = serve(tell, proxy_protocol=HERE, **options)
    for name, expected in ("v1 TCP4", "198.51.100.1"), ("v1 TCP6", "2001:db8::9"):
        client = served.connect()
        client.send(GOOD[name][0])
        told = eval(client.ask(get("/", "X-Forwarded-For: 198.51.100.1")))
        assert told[0] == expected


def test_stream_has_the_clients_address(
    run: Callable[[Any], Any],
) -> None:
    seen: list[Any] = []

    class Server(TCPServer):
        async def handle_stream(self, stream: IOStream, address: Any) -> None:
            seen.extend([address, stream.address, await stream.read_until(b"\n")])
            stream.close()

    async def main() -> None:
        server = Server(proxy_protocol=HERE)
        server.listen(0, "127.0.0.1")
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(GOOD["v1 TCP4"][0] + b"line\n")
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        server.stop()

    run(main())
    assert seen == [("203.0.113.9", 50_000), ("203.0.113.9", 50_000), b"line\n"]


@pytest.mark.parametrize(
    ("networks", "error"), [(["10.0.0.1/8"], ValueError), ("unix", TypeError), ([5], TypeError)]
)
def test_networks_that_are_none_are_refused(networks: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        HTTPServer(echo, proxy_protocol=networks)


def test_random_bytes_end_a_connection_and_nothing_else(serve: Serve, logs: Any) -> None:
    served = serve(tell, proxy_protocol=HERE)
    source = random.Random(1)
    for _ in range(100):
        begin = source.choice(
            [b"", b"PROXY ", b"PROXY TCP4 1.2.3.4 ", SIGNATURE + b"\x21\x11\0\xff"]
        )
        client = served.connect()
        with contextlib.suppress(OSError):
            client.send(begin + source.randbytes(source.randrange(400)))
            client.half_close()
        with contextlib.suppress(ConnectionResetError):
            client.read_to_end()
    client = served.connect()
    client.send(GOOD["v1 TCP4"][0])
    assert eval(client.ask(get()))[0] == "203.0.113.9"
    logs.refusals()
