"""The options of the command line: which there are, and what they may be."""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from fasthttpserver._cli.application import INTERFACES
from fasthttpserver._cli.listening import split_admin
from fasthttpserver._cli.sources import Mistake, Parser
from fasthttpserver._cli.toml import Number
from fasthttpserver._net.netutil import BACKLOG
from fasthttpserver._server.access_formats import FORMATS, compile_format
from fasthttpserver.limits import RULES, Limits

__all__ = ["limits_of", "parse_options", "read_again"]

_LIMIT_HELP = {
    "max_header_size": "bytes of request line and header block",
    "max_request_line": "bytes of the request line",
    "max_field_size": "bytes of one header field",
    "max_header_count": "header fields",
    "max_body_size": "bytes of a request body",
    "header_timeout": "seconds for a request's header block",
    "body_stall_timeout": "seconds of silence inside a body",
    "body_min_rate": "bytes per second that a body has to come in at",
    "body_grace": "seconds before --body-min-rate applies",
    "body_timeout": "seconds for a whole body",
    "idle_connection_timeout": "seconds between requests",
    "write_timeout": "seconds without progress while a response is sent",
    "tls_handshake_timeout": "seconds for a TLS handshake",
    "read_ahead": "bytes read while a request runs",
    "linger_silence": "seconds of silence before a lingering connection is closed",
    "linger_timeout": "seconds before such a connection is closed in any case",
    "max_connections": "connections of one process",
}

# What "off" stands for, where there is such a thing.
_OFF = {name: None for name, rule in RULES.items() if rule.optional} | {
    "idle_connection_timeout": math.inf
}

_NOT_NEGATIVE = (
    "drain_timeout",
    "shutdown_delay",
    "start_timeout",
    "worker_timeout",
    "max_requests",
    "max_requests_jitter",
    "max_rss",
    "max_lifetime",
)
_LONGEST_DELAY = 86_400.0
_NEEDS_DOWNSTREAM = (
    "{} needs --trusted-downstream: the proxy's address or network, such as 127.0.0.1, 'unix' for "
    "whoever comes by a Unix socket, or '*' to believe everybody"
)

_WHERE = "where to listen"
# Beside the sockets, what a running program cannot change.
_FIXED = ("processes", "preload", "reload", "log_level", "access_log")


def parse_options(
    arguments: Sequence[str] | None, version: str, environ: Mapping[str, str] = os.environ
) -> argparse.Namespace:
    """Read the options from all their sources; end the process on a mistake, as argparse does.

    Args:
        arguments: The words after the program's name; None for those of this process.
        version: What ``--version`` prints.
        environ: Has options that the command line does not have.

    Returns:
        The value of each option, and ``config_files``: those that had one of them.
    """
    parser = _make_parser(version)
    try:
        values = parser.read(arguments, environ)
        _check(parser, values.options)
    except Mistake as mistake:
        parser.end(mistake)
    if values.are_wanted:
        defaults = {
            name: "off" if value is None else value
            for name, value in dataclasses.asdict(Limits()).items()
        }
        print(values.to_toml(defaults), end="")
        parser.exit()
    return values.options


def read_again(
    before: argparse.Namespace,
    arguments: Sequence[str] | None,
    environ: Mapping[str, str] = os.environ,
) -> tuple[argparse.Namespace, list[str]]:
    """Read the options once more, as files may have changed.

    Args:
        before: What they were.
        arguments, environ: As for ``parse_options``.

    Returns:
        The options from now on, and those that have changed without effect.

    Raises:
        Mistake: Something is wrong.
    """
    parser = _make_parser("")
    options = parser.read(arguments, environ).options
    _check(parser, options)
    where = dict(parser.groups())[_WHERE]
    in_vain = []
    for name in [*(action.dest for action in where), *_FIXED]:
        if getattr(options, name) != getattr(before, name):
            setattr(options, name, getattr(before, name))
            in_vain.append(name.replace("_", "-"))
    return options, in_vain


def _make_parser(version: str) -> Parser:
    parser = Parser(
        prog="fasthttpserver",
        usage="fasthttpserver [options] [package.module:application]",
        description="Serve HTTP/1.1: a callback, or an application of Tornado 6, WSGI or ASGI.",
        epilog="Each option may stand in the environment too, --some-name VALUE as "
        "FASTHTTPSERVER_SOME_NAME=VALUE, and in the file that --config names or in the table "
        "tool.fasthttpserver of pyproject.toml, as some-name = VALUE. The command line counts "
        "more than the environment, and that more than the files. "
        "SIGTERM and Ctrl-C finish what runs and then end it; a second one ends at once. "
        "SIGHUP replaces the workers one by one, with new code, certificates and options.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {version}")
    parser.add_argument("--config", metavar="FILE", help="has options, in TOML")
    parser.add_argument(
        "--print-config",
        action="store_true",
        help="print all options, as such a file, with where each comes from, and end",
    )
    _declare_application(parser)
    _declare_listening(parser)
    _declare_running(parser)
    _declare_workers(parser)
    _declare_limits(parser)
    return parser


def _declare_application(parser: Parser) -> None:
    what = parser.add_argument_group("what to serve")
    what.add_argument(
        "application",
        nargs="?",
        metavar="package.module:application",
        help="what answers the requests (default: each is answered with its URI)",
    )
    what.add_argument(
        "--interface",
        choices=("auto", *INTERFACES),
        default="auto",
        help="how the application is called (default: %(default)s, which tells by its arguments)",
    )
    what.add_argument(
        "--factory", action="store_true", help="it is a function that makes the application"
    )
    what.add_argument(
        "--root-path", default="", metavar="PATH", help="where it is mounted (WSGI, ASGI)"
    )
    what.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="calls that may run at a time, 0 for none but the loop's (WSGI; default: 4 for "
        "each core)",
    )
    what.add_argument(
        "--lifespan",
        choices=("auto", "on", "off"),
        default="auto",
        help="whether it is told of its start and end (ASGI; default: %(default)s, if it wants to)",
    )


def _declare_listening(parser: Parser) -> None:
    where = parser.add_argument_group(_WHERE)
    where.add_argument("--port", type=int, default=8888, help="0 for any (default: %(default)s)")
    where.add_argument(
        "--address", default="127.0.0.1", help="'' for all interfaces (default: %(default)s)"
    )
    where.add_argument("--unix-socket", metavar="PATH", help="instead of address and port")
    where.add_argument(
        "--unix-socket-mode",
        type=_mode,
        metavar="MODE",
        help="permissions of that socket; whoever can write to it can connect (default: 600)",
    )
    where.add_argument(
        "--unix-socket-owner",
        type=_owner,
        metavar="USER[:GROUP]",
        help="of that socket, names or numbers; :GROUP for the group alone",
    )
    where.add_argument(
        "--fd",
        metavar="N|systemd",
        help="instead: a listening socket that this process inherited, or all that systemd passes",
    )
    where.add_argument(
        "--reuse-port",
        action="store_true",
        help="give each worker a socket of its own, and let other programs listen on the port too",
    )
    where.add_argument(
        "--backlog",
        type=int,
        default=BACKLOG,
        metavar="N",
        help="clients that may wait to be accepted (default: %(default)s)",
    )
    where.add_argument(
        "--admin",
        type=_admin,
        metavar="HOST:PORT|unix:PATH",
        help="serve /healthz, /readyz, /metrics and /stats there; never the public address",
    )

    tls = parser.add_argument_group("HTTPS")
    tls.add_argument("--certfile", metavar="PATH", help="certificate chain, PEM")
    tls.add_argument("--keyfile", metavar="PATH", help="its key, if it is not in there")
    tls.add_argument(
        "--sni",
        action="append",
        type=_sni,
        metavar=f"HOST=CERTFILE[{os.pathsep}KEYFILE]",
        help="another certificate, for clients that ask for this name or *.name; may be repeated",
    )
    tls.add_argument(
        "--ca-certs", metavar="PATH", help="who may issue certificates of clients, PEM"
    )
    tls.add_argument(
        "--verify-client",
        choices=("none", "optional", "required"),
        default="none",
        help="whether clients are asked for certificates (default: %(default)s)",
    )

    proxy = parser.add_argument_group("behind a proxy")
    proxy.add_argument(
        "--xheaders",
        action="store_true",
        help="believe X-Real-Ip, X-Forwarded-For and -Proto of the proxies in --trusted-downstream",
    )
    proxy.add_argument(
        "--trusted-downstream",
        action="append",
        metavar="NETWORK",
        help="address or network of a proxy, unix for those on a Unix socket, * for everybody who "
        "connects; may be repeated",
    )
    proxy.add_argument(
        "--client-cert-header",
        action="store_true",
        help="take certificates of clients from Client-Cert (RFC 9440) of the proxies in "
        "--trusted-downstream, and refuse it from others",
    )
    proxy.add_argument(
        "--proxy-protocol",
        action="append",
        metavar="NETWORK",
        help="expect a header of the PROXY protocol, from proxies there (as for "
        "--trusted-downstream), and close the connections of others; may be repeated",
    )


def _declare_running(parser: Parser) -> None:
    run = parser.add_argument_group("how to run")
    run.add_argument(
        "--processes",
        type=int,
        default=1,
        metavar="N",
        help="workers; 0 for one per core (default: 1)",
    )
    run.add_argument("--loop", choices=("asyncio", "uvloop", "auto"), help="default: auto")
    run.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        help="default: info, or what --log-config says",
    )
    run.add_argument(
        "--log-config",
        metavar="FILE",
        help="a dictionary for logging.config.dictConfig, as .json or .toml",
    )
    run.add_argument(
        "--access-log",
        nargs="?",
        const="common",
        type=_access_format,
        metavar="FORMAT",
        help=f"log each request: {', '.join(FORMATS)}, or a text with gunicorn's atoms, for "
        "instance '%%(h)s %%(s)s' (default format: common)",
    )
    run.add_argument(
        "--access-log-file",
        metavar="PATH",
        help="to append the lines to, - for stdout (default: stderr, or where --log-config has "
        "the logger fasthttpserver.access)",
    )
    run.add_argument("--no-keep-alive", action="store_true", help="one request per connection")
    run.add_argument(
        "--no-check-responses",
        action="store_false",
        dest="check_responses",
        help="do not look whether raw responses end where their clients see the end",
    )
    run.add_argument(
        "--isolate-context",
        action="store_true",
        help="run each callback in a copy of the context, so that no context variable is "
        "seen by the next request",
    )
    run.add_argument(
        "--reload", action="store_true", help="start again when a module changes (development)"
    )
    run.add_argument(
        "--debug",
        action="store_true",
        help="warn of what blocks, does not answer or is framed wrongly (development)",
    )
    run.add_argument(
        "--drain-timeout",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="for what still runs at the end (default: %(default)s)",
    )
    run.add_argument(
        "--shutdown-delay",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help="for which clients are accepted after SIGTERM, so that a load balancer sees in time "
        "that this is the end (default: %(default)s)",
    )


def _declare_workers(parser: Parser) -> None:
    workers = parser.add_argument_group("workers")
    workers.add_argument(
        "--preload",
        action="store_true",
        help="import the application once, before the workers are forked; SIGHUP does not see "
        "new code then",
    )
    workers.add_argument(
        "--start-timeout",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="until a new worker accepts, 0 for no limit (default: %(default)s)",
    )
    workers.add_argument(
        "--worker-timeout",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="for which the loop of a worker may stand still before it is killed and replaced, "
        "0 for no limit (default: %(default)s)",
    )
    workers.add_argument(
        "--max-requests", type=int, metavar="N", help="after which a worker is replaced"
    )
    workers.add_argument(
        "--max-requests-jitter",
        type=int,
        metavar="N",
        help="up to so many more, at random (default: a tenth)",
    )
    workers.add_argument(
        "--max-rss",
        type=Number(int, units=True),
        metavar="BYTES",
        help="of memory at which a worker is replaced; 512M and 2G do, too",
    )
    workers.add_argument(
        "--max-lifetime",
        type=float,
        metavar="SECONDS",
        help="after which a worker is replaced, and up to a tenth more at random",
    )


def _declare_limits(parser: Parser) -> None:
    limits = parser.add_argument_group("limits", "see docs/limits.md for their reasons")
    for field in dataclasses.fields(Limits):
        off = ", or off" if field.name in _OFF else ""
        default = "off" if field.default is None else field.default
        limits.add_argument(
            "--" + field.name.replace("_", "-"),
            type=_limit(field.name),
            default=argparse.SUPPRESS,
            metavar="N",
            help=f"{_LIMIT_HELP[field.name]}{off} (default: {default})",
        )


def _check(parser: Parser, options: argparse.Namespace) -> None:
    """Refuse what does not go together, or is out of range."""
    if options.access_log_file is not None and options.access_log is None:
        options.access_log = "common"
    for name in "keyfile", "sni", "ca_certs":
        if getattr(options, name) and not options.certfile:
            parser.error(f"--{name.replace('_', '-')} needs --certfile")
    if (options.verify_client != "none") != bool(options.ca_certs):
        parser.error("--ca-certs and --verify-client optional or required need each other")
    for name in "xheaders", "client_cert_header":
        if getattr(options, name) and not options.trusted_downstream:
            parser.error(_NEEDS_DOWNSTREAM.format(f"--{name.replace('_', '-')}"))
    for name in "unix_socket_mode", "unix_socket_owner":
        if getattr(options, name) is not None and not options.unix_socket:
            parser.error(f"--{name.replace('_', '-')} needs --unix-socket")
    if options.admin is not None and _is_public(options, split_admin(options.admin)):
        parser.error("--admin must not be the public address")
    if options.reload and options.processes != 1:
        parser.error("--reload is for one process")
    if options.processes < 0:
        parser.error("--processes must be 0 or more")
    for name in _NOT_NEGATIVE:
        value = getattr(options, name)
        if value is not None and not value >= 0:  # NaN is not either
            parser.error(f"--{name.replace('_', '-')} must be 0 or more")
    if options.shutdown_delay > _LONGEST_DELAY:
        parser.error("--shutdown-delay must be a day at most")
    if options.preload and options.reload:
        parser.error("--reload imports the application anew, --preload once")
    if options.threads is not None and options.threads < 0:
        parser.error("--threads must be 0 or more")
    if options.processes != 1 and sys.platform == "win32":
        parser.error("--processes: this system cannot fork")


def limits_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return the limits that were given, as keyword arguments of ``HTTPServer``."""
    given = vars(options)
    names = [field.name for field in dataclasses.fields(Limits)]
    return {name: given[name] for name in names if name in given}


def _access_format(form: str) -> str:
    try:
        compile_format(form)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return form


def _admin(word: str) -> str:
    split_admin(word)
    return word


_admin.__name__ = "address"  # for argparse to say what is wrong


def _is_public(options: argparse.Namespace, admin: tuple[str, int] | str) -> bool:
    """Whether the admin address is that of the application, as far as words tell.

    What they do not tell, for instance by a host's name, binding it does.
    """
    if options.fd is not None:
        return False
    if isinstance(admin, str):
        path = options.unix_socket
        return bool(path) and os.path.realpath(path) == os.path.realpath(admin)
    host, port = admin
    if options.unix_socket or port == 0 or port != options.port:
        return False
    return host == options.address or bool({host, options.address} & {"", "0.0.0.0", "::"})


def _sni(word: str) -> tuple[str, dict[str, str]]:
    name, _, paths = word.partition("=")
    files = paths.split(os.pathsep)
    if not (name and all(files) and len(files) <= 2):
        raise ValueError(word)
    return name, dict(zip(("certfile", "keyfile"), files, strict=False))


_sni.__name__ = "host"


def _mode(word: str) -> int:
    mode = int(word, 8)
    if not 0 <= mode <= 0o777:
        raise ValueError(word)
    return mode


_mode.__name__ = "mode"


def _owner(word: str) -> tuple[str | int | None, str | int | None]:
    user, colon, group = word.partition(":")
    if not (user or group) or (colon and not group):
        raise ValueError(word)
    return _name_or_number(user), _name_or_number(group)


_owner.__name__ = "owner"


def _name_or_number(word: str) -> str | int | None:
    return int(word) if word.isdecimal() else word or None


def _limit(name: str) -> Number:
    """Return the type of a limit; ``Limits`` looks at its range."""
    return Number(
        int if RULES[name].whole else float, {"off": _OFF[name]} if name in _OFF else None
    )
