"""What delegates are told of a connection and its server, under Tornado's names."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["ConnectionContext", "ConnectionParameters"]


class ConnectionContext:
    """Where a request comes from. Its attributes may be assigned to.

    Args:
        remote_ip: The client's address, ``0.0.0.0`` for a Unix socket.
        protocol: ``http`` or ``https``.
        address: The peer's, as ``accept()`` gives it.
        address_family: The kind of socket.
    """

    __slots__ = ("address", "address_family", "protocol", "remote_ip")

    def __init__(self, remote_ip: str, protocol: str, address: Any, address_family: int) -> None:
        self.remote_ip = remote_ip
        self.protocol = protocol
        self.address = address
        self.address_family = address_family

    def __str__(self) -> str:
        if isinstance(self.address, tuple):
            return self.remote_ip
        address = self.address
        return address.decode("latin-1") if isinstance(address, bytes) else str(address)


class ConnectionParameters(NamedTuple):
    """Options of a server, as Tornado calls them."""

    no_keep_alive: bool
    chunk_size: int
    max_header_size: int
    header_timeout: float | None
    max_body_size: int
    body_timeout: float | None
    decompress: bool
