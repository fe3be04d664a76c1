"""How the command line serves an application, from its import to its end, in one process."""

from __future__ import annotations

import argparse
import html
import ssl
from typing import Any

from fasthttpserver._cli.application import Application, load_application
from fasthttpserver._cli.logs import access_log_of
from fasthttpserver._cli.mistakes import in_words
from fasthttpserver._cli.options import limits_of
from fasthttpserver._net.certificates import Certificates
from fasthttpserver._net.ioloop import IOLoop
from fasthttpserver.httpserver import HTTPRequest
from fasthttpserver.log import gen_log

__all__ = [
    "FAILURES",
    "NOT_STARTED",
    "NotStarted",
    "Serving",
    "check",
    "load",
    "make_certificates",
    "make_server",
]

# What is told in one line, without a traceback: none of these is a fault of this program.
FAILURES = (OSError, OverflowError, ValueError, ImportError)
# The exit status of a program whose application has failed to start.
NOT_STARTED = 3


# For a browser, in the place of a line of text.
_PAGE = """<!doctype html>
<html lang="en">
<title>fasthttpserver</title>
<body style="font: 1.1em/1.5 sans-serif; max-width: 40em; margin: 4em auto; padding: 0 1em">
<h1>fasthttpserver</h1>
<p>You requested <code>{uri}</code>
<p>This page answers while no application is named. To serve yours:
<pre>fasthttpserver package.module:application</pre>
"""


def echo(request: HTTPRequest) -> None:
    """Answer with the URI that was asked for: what runs when no application is named."""
    if "text/html" in (request.find_field("Accept") or ""):
        page = _PAGE.format(uri=html.escape(request.uri))
        request.respond(200, page, {"Vary": "Accept"}, "text/html")
        return
    message = f"You requested {request.uri}\n"
    connection = "Connection: close\r\n" if request.connection.no_keep_alive else ""
    request.write(
        f"HTTP/1.1 200 OK\r\nContent-Length: {len(message)}\r\n{connection}"
        f"Content-Type: text/plain; charset=iso-8859-1\r\n\r\n{message}"
    )
    request.finish()


def load(options: argparse.Namespace) -> Application:
    """Import the application.

    Raises:
        ValueError: It is not there, or fails.
    """
    if options.application is None:
        return Application("callback", echo)
    return load_application(options.application, options.interface, options.factory)


def make_certificates(options: argparse.Namespace) -> Certificates | None:
    """Return what the servers of workers are to share, if they speak TLS.

    What they share are the keys of session tickets: a client goes on with its session whichever
    of them it comes to. The files are read by each server.

    Raises:
        ValueError: A name in ``--sni`` is none.
    """
    if not options.certfile:
        return None
    ssl_options = {
        "certfile": options.certfile,
        "keyfile": options.keyfile,
        "ca_certs": options.ca_certs,
        "cert_reqs": getattr(ssl, f"CERT_{options.verify_client.upper()}"),
        "sni": dict(options.sni or ()),
    }
    return Certificates(ssl_options, ["http/1.1"])


def make_server(
    application: Application,
    options: argparse.Namespace,
    certificates: Certificates | None = None,
) -> Any:
    """Make a server as the options ask for, without a socket yet.

    Args:
        application: What it serves.
        options: Of the command line.
        certificates: If they were made already.

    Raises:
        OSError, ValueError: The certificate or a limit is wrong.
        ImportError: What the application's interface needs is not installed.
    """
    trusted = options.trusted_downstream
    server = application.make_server(
        options,
        no_keep_alive=options.no_keep_alive,
        xheaders=options.xheaders,
        ssl_options=certificates or make_certificates(options),
        trusted_downstream=[each for each in trusted or () if each not in ("unix", "*")],
        trusted_peers=trusted,
        client_cert_header=options.client_cert_header,
        proxy_protocol=options.proxy_protocol,
        access_log=access_log_of(options),
        check_responses=options.check_responses,
        isolate_context=options.isolate_context,
        shutdown_delay=options.shutdown_delay,
        debug=options.debug,
        **limits_of(options),
    )
    engine_of(server).make_ssl_context()
    return server


def engine_of(server: Any) -> Any:
    """Tornado's class has its own way to many things; the engine below knows ours."""
    return getattr(server, "engine", server)


def check(options: argparse.Namespace) -> None:
    """Raise what ``make_server`` would, without the application."""
    make_server(Application("callback", echo), options)


class NotStarted(Exception):
    """The application could not be started.

    Attributes:
        status: What the program is to end with.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Serving:
    """An application that was started, and its server.

    Args:
        options: Of the command line.
        application: If it was imported before.
        certificates: If they were made before.

    Raises:
        NotStarted: For a reason that one line tells.
    """

    def __init__(
        self,
        options: argparse.Namespace,
        application: Application | None = None,
        certificates: Certificates | None = None,
    ) -> None:
        try:
            check(options)  # which is fast, before what may be slow
            self.application = application or load(options)
            if options.loop is not None:
                IOLoop.configure(options.loop)
            self.server = make_server(self.application, options, certificates)
            self.loop = IOLoop.current()
        except FAILURES as error:
            raise NotStarted(in_words(error, options), 1) from error
        if self.application.container is not None:
            try:
                self.loop.run_sync(self.application.container.startup)
            except Exception as error:
                raise NotStarted(str(error), NOT_STARTED) from error

    def run(self) -> None:
        """Run the loop until it is stopped, and shut the application down."""
        self.loop.start()
        self.server.stop()
        if self.application.container is not None:
            from fasthttpserver.asgi import LifespanError

            try:
                self.loop.run_sync(self.application.container.shutdown)
            except LifespanError as error:
                gen_log.error("%s", error)
