"""The PROXY protocol: whose connection a proxy passes on, said before the first byte of it.

Sections below are those of https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt. What
belongs to the header is read from the socket, and not a byte more; so the connection is made
afterwards as any other, with TLS or without.
"""

from __future__ import annotations

import os
import re
import socket
import struct
from asyncio import AbstractEventLoop
from typing import Any

__all__ = ["ProxyHeaderError", "read_proxy_header"]

# Bytes of the longest line of version 1, with its end (section 2.1).
_MOST_V1 = 107
# Bytes of a whole header of version 2: nginx's bound. Senders are to stay below 536 (section 2),
# but what they may add, such as a certificate's name, can take more.
_MOST_V2 = 4096

_V1 = b"PROXY "
_V2 = b"\r\n\r\n\0\r\nQUIT\n"
# Version and command, family and protocol, bytes that follow.
_AFTER_SIGNATURE = struct.Struct("!BBH")

# Ports are left to be checked by their number.
_LINE = re.compile(
    rb"PROXY TCP(?P<version>[46]) (?P<ip>[0-9a-fA-F.:]+) (?P<own>[0-9a-fA-F.:]+)"
    rb" (?P<port>0|[1-9][0-9]{0,4}) (?P<own_port>0|[1-9][0-9]{0,4})"
)
_LOCAL, _PROXY = 0, 1
# Address families: bytes of the two addresses with their ports.
_UNSPECIFIED, _INET, _INET6, _UNIX = range(4)
_SIZES = {_UNSPECIFIED: 0, _INET: 12, _INET6: 36, _UNIX: 216}


class ProxyHeaderError(ValueError):
    """What came is not a header of the PROXY protocol."""


async def read_proxy_header(loop: AbstractEventLoop, sock: socket.socket) -> Any:
    """Read the header at the beginning of a connection, and nothing after it.

    Args:
        loop: To wait on.
        sock: Connected, non-blocking.

    Returns:
        The client's address as ``accept()`` would give it; None if the connection is one of
        the proxy's own, or the proxy does not tell.

    Raises:
        ProxyHeaderError: It is none.
        ConnectionResetError: The peer has disconnected.
    """
    begin = b""
    while len(begin) < len(_V2):  # no header is shorter
        begin += await _receive(loop, sock, len(_V2) - len(begin))
        if not (_V2.startswith(begin) or begin.startswith(_V1[: len(begin)])):
            raise ProxyHeaderError("it begins otherwise")
    if begin != _V2:
        if b"\r\n" in begin:
            raise ProxyHeaderError("its line is malformed")
        return _parse_line(await _receive_line(loop, sock, begin))
    command, family, length = _AFTER_SIGNATURE.unpack(
        await _receive_all(loop, sock, _AFTER_SIGNATURE.size)
    )
    if length > _MOST_V2 - len(_V2) - _AFTER_SIGNATURE.size:
        raise ProxyHeaderError("it is too long")
    return _parse_binary(command, family, await _receive_all(loop, sock, length))


async def _receive(loop: AbstractEventLoop, sock: socket.socket, most: int) -> bytes:
    received = await loop.sock_recv(sock, most)
    if not received:
        raise ConnectionResetError("the peer has left")
    return received


async def _receive_all(loop: AbstractEventLoop, sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += await _receive(loop, sock, size - len(data))
    return data


async def _receive_line(loop: AbstractEventLoop, sock: socket.socket, line: bytes) -> bytes:
    """Receive what is left of a line; return all of it, without its end."""
    while not line.endswith(b"\r\n"):
        if len(line) == _MOST_V1:
            raise ProxyHeaderError("its line does not end")
        try:
            ahead = sock.recv(_MOST_V1 - len(line), socket.MSG_PEEK)
        except BlockingIOError:
            ahead = b""
        if ahead:
            end = (line + ahead).find(b"\r\n")
            # Without an end in it, all of it belongs to the line.
            line += sock.recv(len(ahead) if end < 0 else end + 2 - len(line))
        else:
            line += await _receive(loop, sock, 1)  # and so does the next byte
    return line[:-2]


def _parse_line(line: bytes) -> Any:
    """Return the client's address in a line of version 1 (section 2.1)."""
    if line.startswith(b"PROXY UNKNOWN") and line[13:14] in (b"", b" "):
        return None  # whatever follows
    match = _LINE.fullmatch(line)
    if match is None:
        raise ProxyHeaderError("its line is malformed")
    port, own_port = int(match["port"]), int(match["own_port"])
    family = socket.AF_INET if match["version"] == b"4" else socket.AF_INET6
    try:
        ip, _ = (socket.inet_pton(family, match[name].decode()) for name in ("ip", "own"))
    except OSError:
        raise ProxyHeaderError("an address in it is malformed") from None
    if max(port, own_port) > 65_535:
        raise ProxyHeaderError("a port in it is malformed")
    return _address(family, ip, port)


def _parse_binary(command: int, family: int, data: bytes) -> Any:
    """Return the client's address in a header of version 2 (section 2.2)."""
    if command >> 4 != 2 or command & 15 > _PROXY:
        raise ProxyHeaderError("its version or command is unknown")
    if command & 15 == _LOCAL:
        return None  # a health check
    kind, protocol = family >> 4, family & 15
    # 0 unspecified, 1 stream, 2 datagram: how a client of HTTP/3 has come to the proxy.
    if kind not in _SIZES or protocol > 2:
        raise ProxyHeaderError("its address family is unknown")
    if len(data) < _SIZES[kind]:
        raise ProxyHeaderError("it is too short for its addresses")
    # What follows the addresses is more than has been asked for.
    if kind == _UNSPECIFIED or protocol == 0:
        return None
    if kind == _INET:
        return _address(socket.AF_INET, data[:4], int.from_bytes(data[8:10], "big"))
    if kind == _INET6:
        return _address(socket.AF_INET6, data[:16], int.from_bytes(data[32:34], "big"))
    path = data[:108].rstrip(b"\0")
    # As Linux's abstract names come from accept().
    return path if path.startswith(b"\0") else os.fsdecode(path.partition(b"\0")[0])


def _address(family: int, ip: bytes, port: int) -> Any:
    text = socket.inet_ntop(family, ip)
    return (text, port) if family == socket.AF_INET else (text, port, 0, 0)
