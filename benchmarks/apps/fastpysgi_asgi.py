"""fastpysgi with an ASGI application, which it runs on a loop of its own in C."""

import fastpysgi

from benchmarks.apps import asgi
from benchmarks.apps.options import HOST, parse_options

if __name__ == "__main__":
    options = parse_options()
    fastpysgi.server.backlog = 4096
    fastpysgi.run(getattr(asgi, options.answer), HOST, options.port)
