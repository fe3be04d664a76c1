"""The names of ``tornado.tcpserver``."""

from fasthttpserver._net.tcpserver import (
    TCPServer,
)

__all__ = [
    "TCPServer",
]
