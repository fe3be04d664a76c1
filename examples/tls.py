"""HTTPS that greets its clients by the names in their certificates.

Make certificates with `pip install trustme` and `python -m trustme`: server.pem, server.key
and, as client.pem, the authority's. Run `python examples/tls.py server.pem server.key client.pem`
(PORT=... for another port), then try, with and without `--cert` and `--key`,
`curl --cacert client.pem --cert server.pem --key server.key https://localhost:8888/`.
"""

import contextlib
import os
import ssl
import sys

from fasthttpserver.httpserver import HTTPServer
from fasthttpserver.ioloop import IOLoop
from fasthttpserver.netutil import bind_sockets


def handle_request(request):
    certificate = request.get_ssl_certificate()  # None without one
    names = [name for _, name in certificate["subjectAltName"]] if certificate else ["stranger"]
    request.respond(200, f"Hello, {', '.join(names)}\n")


if __name__ == "__main__":
    certfile, keyfile, ca_certs = sys.argv[1:]
    server = HTTPServer(
        handle_request,
        ssl_options={
            "certfile": certfile,
            "keyfile": keyfile,
            "ca_certs": ca_certs,
            "cert_reqs": ssl.CERT_OPTIONAL,  # CERT_REQUIRED lets nobody in without one
        },
    )
    [sock] = bind_sockets(int(os.environ.get("PORT", "8888")), "127.0.0.1")
    server.add_socket(sock)
    print(f"https://localhost:{sock.getsockname()[1]}/", flush=True)
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C
        IOLoop.current().start()
