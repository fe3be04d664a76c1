"""granian: ``--interface rsgi``, ``asgi`` or ``wsgi``, one worker unless told otherwise."""

import sys
from pathlib import Path

from granian import Granian

from benchmarks.apps.options import HOST, parse_options

if __name__ == "__main__":
    options = parse_options()
    interface = sys.argv[sys.argv.index("--interface") + 1]
    Granian(
        f"benchmarks.apps.{interface}:{options.answer}",
        address=HOST,
        port=options.port,
        interface="asginl" if interface == "asgi" else interface,  # without lifespan
        workers=options.processes,
        loop=options.loop,
        backlog=4096,
        backpressure=16384,  # else as many connections as backlog
        log_enabled=options.answer == "logged",
        log_access=options.answer == "logged",
        ssl_cert=Path(options.certificate) if options.certificate else None,
        ssl_key=Path(options.key) if options.key else None,
    ).serve()
