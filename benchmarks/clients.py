"""Clients that a load generator does not have; each prints what a server did as JSON.

``upload PORT BYTES`` sends one large body, ``download PORT BYTES`` receives one, ``idle PORT
COUNT`` opens connections, asks once on each and keeps them, ``echo PORT COUNT SECONDS`` opens
WebSockets and has messages echoed on them, by turns. All end when their stdin does.
"""

import json
import socket
import sys
import time
from collections.abc import Iterator

from benchmarks.corpus import CORPUS, with_body
from benchmarks.servers import HOST

__all__ = ["download", "echo", "hold_idle", "upload"]

_HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_MESSAGE = b"x" * 64
# Binary, whole, masked with zeros.
_SENT = bytes([0x82, 0x80 | len(_MESSAGE), 0, 0, 0, 0]) + _MESSAGE
_ECHOED = bytes([0x82, len(_MESSAGE)]) + _MESSAGE
_WARM_UP = 0.3


def upload(port: int, size: int) -> dict[str, float]:
    """Send one body, wait for the answer."""
    request = with_body(size)
    with socket.create_connection((HOST, port), timeout=60) as sock:
        start = time.perf_counter()
        sock.sendall(request.data)  # one call into C, without the GIL
        answer = sock.recv(65536)
        seconds = time.perf_counter() - start
    if not answer.startswith(b"HTTP/1.1 200"):
        sys.exit(f"upload was answered with {answer[:80]!r}")
    return {"seconds": seconds}


def download(port: int, size: int) -> dict[str, float]:
    """Ask for one body of this size, receive it, and keep nothing of it."""
    buffer = bytearray(1 << 18)
    with socket.create_connection((HOST, port), timeout=60) as sock:
        start = time.perf_counter()
        sock.sendall(CORPUS["small"].data)
        answer = sock.recv(65536)
        head, _, received = answer.partition(b"\r\n\r\n")
        if (
            not head.startswith(b"HTTP/1.1 200")
            or b"\r\ncontent-length: %d" % size not in head.lower()
        ):
            sys.exit(f"download was answered with {answer[:200]!r}")
        missing = size - len(received)
        while missing > 0 and (count := sock.recv_into(buffer)):
            missing -= count
        seconds = time.perf_counter() - start
    if missing:
        sys.exit(f"{missing} bytes of a download did not come")
    return {"seconds": seconds}


def hold_idle(port: int, count: int) -> tuple[dict[str, float], list[socket.socket]]:
    """Open connections, one after the other, with one answered request on each."""
    held: list[socket.socket] = []
    for _ in range(count):
        sock = socket.create_connection((HOST, port), timeout=15)
        sock.sendall(CORPUS["small"].data)
        if not sock.recv(65536).startswith(b"HTTP/1.1 200"):
            sys.exit(f"connection {len(held)} got no answer")
        held.append(sock)
    return {"connections": len(held)}, held


def echo(port: int, count: int, seconds: float) -> Iterator[dict[str, float]]:
    """Have messages echoed; yield the figures after the warm-up and at the end."""
    socks = [socket.create_connection((HOST, port), timeout=15) for _ in range(count)]
    for sock in socks:
        sock.sendall(_HANDSHAKE)
        if not sock.recv(65536).startswith(b"HTTP/1.1 101"):
            sys.exit("no WebSocket")
    messages = 0
    for duration in _WARM_UP, seconds:
        start, cpu = time.perf_counter(), time.process_time()
        while time.perf_counter() - start < duration:
            for sock in socks:
                sock.sendall(_SENT)
            for sock in socks:
                if sock.recv(65536) != _ECHOED:
                    sys.exit("no echo")
            messages += count
        yield {
            "messages": messages,
            "seconds": time.perf_counter() - start,
            "cpu": time.process_time() - cpu,
        }


if __name__ == "__main__":
    _, verb, port_text, number_text, *more = sys.argv
    port, number = int(port_text), int(number_text)
    keep: list[socket.socket] = []
    if verb == "echo":
        for figures in echo(port, number, float(more[0])):
            print(json.dumps(figures), flush=True)
        sys.exit()
    if verb == "idle":
        result, keep = hold_idle(port, number)
    else:
        result = {"upload": upload, "download": download}[verb](port, number)
    print(json.dumps(result), flush=True)
    sys.stdin.read()
