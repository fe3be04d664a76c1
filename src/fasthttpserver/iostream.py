"""The names of ``tornado.iostream``."""

from fasthttpserver._net.iostream import (
    IOStream,
    StreamClosedError,
    UnsatisfiableReadError,
)

__all__ = [
    "IOStream",
    "StreamClosedError",
    "UnsatisfiableReadError",
]
