"""waitress, a WSGI server in Python with threads: as many as ours has."""

import sys

import waitress

from benchmarks.apps import wsgi
from benchmarks.apps.options import HOST, parse_options

if __name__ == "__main__":
    options = parse_options()
    waitress.serve(
        getattr(wsgi, options.answer),
        host=HOST,
        port=options.port,
        threads=int(sys.argv[sys.argv.index("--threads") + 1]),
        backlog=4096,
        connection_limit=4096,
    )
