"""uvicorn with a raw ASGI application: ``--http httptools`` or ``--http zttp``, on uvloop."""

import sys

import uvicorn

from benchmarks.apps.options import HOST, parse_options

if __name__ == "__main__":
    options = parse_options()
    uvicorn.run(
        f"benchmarks.apps.asgi:{options.answer}",
        host=HOST,
        port=options.port,
        http=sys.argv[sys.argv.index("--http") + 1],
        loop=options.loop,
        workers=options.processes,
        backlog=4096,
        log_level="info" if options.answer == "logged" else "warning",
        access_log=options.answer == "logged",
        # Without what a raw application has no use for.
        proxy_headers=False,
        lifespan="off",
        ws="auto" if options.answer == "echo" else "none",
        # Idle connections have to stay while they are counted.
        timeout_keep_alive=75,
        ssl_certfile=options.certificate,
        ssl_keyfile=options.key,
    )
