"""Parts of HTTP messages: the names of ``tornado.httputil`` that do not need a connection."""

from __future__ import annotations

import calendar
import functools
import time
from collections.abc import Awaitable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from fasthttpserver._http.cookies import parse_cookie
from fasthttpserver._http.forms import parse_body_arguments
from fasthttpserver._http.forwarded import forwarded_ip, forwarded_protocol
from fasthttpserver._http.headers import HTTPHeaders
from fasthttpserver._http.multipart import (
    MAX_MULTIPART_PARTS,
    MAX_PART_HEADER_SIZE,
    HTTPFile,
    parse_multipart_form_data,
)
from fasthttpserver._http.networks import TrustedNetworks, parse_networks
from fasthttpserver._http.query import MAX_ARGUMENTS, count_arguments, parse_query
from fasthttpserver.errors import HTTPInputError, HTTPOutputError

if TYPE_CHECKING:  # request.py puts it here
    from fasthttpserver._server.request import HTTPRequest as HTTPServerRequest

__all__ = [
    "MAX_ARGUMENTS",
    "MAX_MULTIPART_PARTS",
    "MAX_PART_HEADER_SIZE",
    "HTTPFile",
    "HTTPHeaders",
    "HTTPInputError",
    "HTTPMessageDelegate",
    "HTTPOutputError",
    "HTTPServerConnectionDelegate",
    "HTTPServerRequest",
    "RequestStartLine",
    "ResponseStartLine",
    "TrustedNetworks",
    "count_arguments",
    "date_value",
    "format_timestamp",
    "forwarded_ip",
    "forwarded_protocol",
    "parse_body_arguments",
    "parse_cookie",
    "parse_multipart_form_data",
    "parse_networks",
    "parse_query",
    "url_concat",
]


class RequestStartLine(NamedTuple):
    """The first line of a request: ``GET /path HTTP/1.1``."""

    method: str
    path: str
    version: str


class ResponseStartLine(NamedTuple):
    """The first line of a response: ``HTTP/1.1 200 OK``."""

    version: str
    code: int
    reason: str


class HTTPServerConnectionDelegate:
    """What answers the requests of a server piece by piece; to be overridden.

    An object of it is passed to ``HTTPServer`` in the place of a callback, and so may be any
    object that has ``start_request``. The interface is that of Tornado 4 and later, with one
    short cut.
    """

    # What answers a request that is here as a whole when it is looked at: a function of the
    # ``HTTPRequest``, as ``HTTPServer`` takes it in the place of a delegate. Its body is
    # ``request.body`` then. None: each request is given to ``start_request``.
    whole_request: Any = None

    def start_request(self, server_conn: object, request_conn: Any) -> HTTPMessageDelegate:
        """Return the delegate of a request whose head has come.

        Args:
            server_conn: Stands for the client's connection.
            request_conn: To answer with: ``respond``; or ``write_headers``, ``write``,
                ``send_file``, ``finish``. Also ``abort``, ``detach``, ``send_informational``,
                ``get_extra_info``, ``send_continue``, ``set_close_callback``,
                ``set_max_body_size``, ``set_body_timeout``.
        """
        raise NotImplementedError

    def on_close(self, server_conn: object) -> None:
        """The connection is closed."""

    def on_stop(self) -> None:
        """No connection of the server is left, after ``drain`` or ``close_all_connections``.

        What it has made to serve with, such as threads, is needed no longer, unless the server
        listens again.
        """


class HTTPMessageDelegate:
    """What is told of one request, piece by piece; to be overridden.

    If ``asks_for_body`` is false, a client that waits for it (``Expect: 100-continue``) is not told
    to send the body when the head has come, but by ``send_continue`` of the connection.
    Either ``finish`` or ``on_connection_close`` is called at last, once, unless the stream is
    detached.
    """

    asks_for_body = True

    def headers_received(
        self, start_line: RequestStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        """The head has come; no body is read before what is returned is done."""
        return None

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        """A piece of the body has come; no more is read before what is returned is done."""
        return None

    def finish(self) -> None:
        """The request is whole."""

    def on_connection_close(self) -> None:
        """The connection ends before the request is whole, or was answered before that."""


def format_timestamp(ts: float | tuple[int, ...] | time.struct_time | datetime) -> str:
    """Format a time for a header such as Date (RFC 9110 section 5.6.7).

    Args:
        ts: Seconds since the epoch; or a time tuple or a naive ``datetime``, both in UTC; or
            an aware ``datetime``.

    Raises:
        TypeError: ``ts`` is none of these.

    >>> format_timestamp(1359312200)
    'Sun, 27 Jan 2013 18:43:20 GMT'
    """
    if isinstance(ts, datetime):
        moment = ts if ts.tzinfo else ts.replace(tzinfo=UTC)
        moment = moment.astimezone(UTC)
    elif isinstance(ts, int | float):
        moment = datetime.fromtimestamp(ts, UTC)
    elif isinstance(ts, tuple | time.struct_time):
        moment = datetime.fromtimestamp(calendar.timegm(ts), UTC)
    else:
        raise TypeError(f"unknown timestamp type: {type(ts).__name__}")
    return format_datetime(moment, usegmt=True)


def date_value(now: float) -> str:
    """Return the value of a Date field (RFC 9110 section 6.6.1); made once for each second.

    Args:
        now: Seconds since the epoch.
    """
    return _timestamp(int(now))


_timestamp = functools.lru_cache(maxsize=2)(format_timestamp)


def url_concat(
    url: str, args: Mapping[str, Any] | list[tuple[str, Any]] | tuple[tuple[str, Any], ...] | None
) -> str:
    """Add arguments to the query of a URL, before its fragment.

    Args:
        url: With or without a query, which is left as it is.
        args: A mapping; or a list or tuple of pairs, in which a name may be repeated; or None.

    Raises:
        TypeError: ``args`` is something else.

    >>> url_concat("http://example.com/foo?a=b", [("c", "d"), ("c", "d 2")])
    'http://example.com/foo?a=b&c=d&c=d+2'
    """
    if args is None:
        return url
    if isinstance(args, Mapping):
        args = list(args.items())
    elif not isinstance(args, list | tuple):
        raise TypeError(f"args is to be a mapping, a list or a tuple, not {type(args).__name__}")
    if not args:
        return url
    url, hash_sign, fragment = url.partition("#")
    if "?" not in url:
        separator = "?"
    else:
        separator = "" if url[-1] in "?&" else "&"
    return f"{url}{separator}{urlencode(args)}{hash_sign}{fragment}"
