"""The names of ``tornado.iostream``."""

from fasthttpserver._net.streams import IOStream
from fasthttpserver.errors import StreamClosedError, UnsatisfiableReadError

__all__ = ["IOStream", "StreamClosedError", "UnsatisfiableReadError"]
