"""hypercorn, on uvloop or asyncio."""

import asyncio

from hypercorn.asyncio import serve
from hypercorn.config import Config

from benchmarks.apps import asgi
from benchmarks.apps.options import HOST, parse_options

if __name__ == "__main__":
    options = parse_options()
    config = Config()
    config.bind = [f"{HOST}:{options.port}"]
    config.backlog = 4096
    config.accesslog = None
    options.run(serve(getattr(asgi, options.answer), config, shutdown_trigger=asyncio.Event().wait))
