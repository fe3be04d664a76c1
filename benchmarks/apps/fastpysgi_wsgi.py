"""fastpysgi, a WSGI server in C on libuv and llhttp."""

import fastpysgi

from benchmarks.apps import wsgi
from benchmarks.apps.options import HOST, parse_options

if __name__ == "__main__":
    options = parse_options()
    fastpysgi.server.backlog = 4096
    fastpysgi.server.max_content_length = 1 << 30  # 10 MB by default, too little to upload to
    if options.certificate:
        fastpysgi.server.tls_list = [(options.certificate, options.key, None)]
    fastpysgi.run(getattr(wsgi, options.answer), HOST, options.port)
