"""The names of ``tornado.ioloop``."""

from fasthttpserver._net.ioloop import (
    IOLoop,
    PeriodicCallback,
    TimeoutError,
    loop_exists,
    new_asyncio_loop,
    to_asyncio,
)

__all__ = [
    "IOLoop",
    "PeriodicCallback",
    "TimeoutError",
    "loop_exists",
    "new_asyncio_loop",
    "to_asyncio",
]
