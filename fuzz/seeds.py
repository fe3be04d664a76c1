"""The first inputs of the fuzzer: the conformance vectors, as files."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests"))

from vectors import load

__all__ = ["write"]

# After the byte that chooses limits, see oracle.py: what libFuzzer does not come upon.
MORE = [
    b"\5" + b"\r\n" * 20 + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    # What an application writes.
    b"\0HTTP/1.1 200 OK\r\nX: y\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
    b"\0HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
    b"\0HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 304 X\r\nConnection: keep-alive\r\n\r\n",
]


def write(folder: Path, longest: int) -> int:
    """Write a file for each vector that is not too long; return how many there are."""
    folder.mkdir(parents=True, exist_ok=True)
    # NUL chooses the default limits.
    inputs = {b"\0" + vector.data for vector in load()}
    inputs = {data for data in [*inputs, *MORE] if len(data) <= longest}
    for data in inputs:
        (folder / hashlib.sha1(data).hexdigest()).write_bytes(data)
    return len(inputs)
