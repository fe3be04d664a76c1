"""Clients that a load generator does not have; each prints what a server did as JSON.

``upload PORT BYTES`` sends one large body, ``idle PORT COUNT`` opens connections, asks once
on each and keeps them. Both end when their stdin does.
"""

import json
import socket
import sys
import time

from benchmarks.corpus import CORPUS, with_body
from benchmarks.servers import HOST

__all__ = ["hold_idle", "upload"]


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


def hold_idle(port: int, count: int) -> tuple[dict[str, int], list[socket.socket]]:
    """Open connections, one after the other, with one answered request on each."""
    held = []
    for _ in range(count):
        sock = socket.create_connection((HOST, port), timeout=15)
        sock.sendall(CORPUS["small"].data)
        if not sock.recv(65536).startswith(b"HTTP/1.1 200"):
            sys.exit(f"connection {len(held)} got no answer")
        held.append(sock)
    return {"connections": len(held)}, held


if __name__ == "__main__":
    _, verb, port_text, number_text = sys.argv
    keep: list[socket.socket] = []
    if verb == "upload":
        result: dict[str, float] = upload(int(port_text), int(number_text))
    else:
        result, keep = hold_idle(int(port_text), int(number_text))
    print(json.dumps(result), flush=True)
    sys.stdin.read()
