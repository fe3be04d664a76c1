"""bjoern, a WSGI server in C on libev."""

import bjoern

from benchmarks.apps import wsgi
from benchmarks.apps.options import HOST, parse_options

if __name__ == "__main__":
    options = parse_options()
    bjoern.run(getattr(wsgi, options.answer), HOST, options.port, listen_backlog=4096)
