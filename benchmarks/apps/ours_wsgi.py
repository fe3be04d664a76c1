"""fasthttpserver with a WSGI application: in the loop, or in ``--threads`` threads."""

import sys

from benchmarks.apps import wsgi
from benchmarks.apps.options import HOST, parse_options
from fasthttpserver.httpserver import HTTPServer
from fasthttpserver.wsgi import WSGIContainer

if __name__ == "__main__":
    options = parse_options()
    threads = int(sys.argv[sys.argv.index("--threads") + 1])
    server = HTTPServer(WSGIContainer(getattr(wsgi, options.answer), threads))

    async def main() -> None:
        server.listen(options.port, HOST, backlog=4096)

    options.run(main())
