"""The request as an application sees it.

Nothing is computed before it is asked for, and then it is kept, as an ordinary attribute
that may be assigned to.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from http.cookies import Morsel
from os import PathLike
from time import time
from typing import TYPE_CHECKING, Any, Protocol

from fasthttpserver import httputil
from fasthttpserver._http.fields import Fields
from fasthttpserver._http.request_ids import new_id
from fasthttpserver._http.whole import (
    BODILESS,
    Body,
    Pairs,
    check_type,
    describe,
    encode_body,
    has_field,
    prepared_head,
    separate_type,
    start_line_of,
)
from fasthttpserver._parser import (
    NOTHING_YET,
    RequestMessage,
    add_arguments,
    frame_prepared,
    lazy,
    split_target,
)
from fasthttpserver._server.files import send_file
from fasthttpserver.log import gen_log

if TYPE_CHECKING:
    from fasthttpserver._server.connection import HTTPConnection

__all__ = ["TOO_LATE", "HTTPRequest", "RequestCallback", "encode_chunk"]

# How many bytes the writes of one callback may make in all to be joined one by one.
_MOST_CORKED = 16_384

# Characters of a method and of a URI in repr().
_MOST_SHOWN = 200


class HTTPRequest(RequestMessage):
    """A single HTTP request.

    All arguments are strings unless said otherwise; a request may be made without a
    server, for instance in tests.

    Args:
        method: Request method, as it came: any token, case kept.
        uri: The request target, as it came.
        version: ``HTTP/1.0`` or ``HTTP/1.1``.
        headers: An ``HTTPHeaders``, or None for none.
        body: The body as bytes, or None for none.
        remote_ip: The client's address.
        protocol: ``http`` or ``https``; what is false means ``http``.
        host: The requested host; what is false means the one in ``uri``, else the Host
            header, else 127.0.0.1.
        files: Uploads by argument name, lists of ``HTTPFile``; or None for none.
        connection: The ``HTTPConnection`` that ``write`` and ``finish`` go to.

    Attributes:
        is_unpacked: Whether the server unpacks the body (``decompress_request``), so that what
            the fields of the message say of its coding and length is not true of it.
    """

    is_unpacked = False

    __slots__ = ("__dict__", "__weakref__")

    connection: HTTPConnection
    """What the request came on; whatever its maker likes, of one that is made by hand."""

    def __init__(
        self,
        method: str,
        uri: str,
        version: str = "HTTP/1.0",
        headers: httputil.HTTPHeaders | None = None,
        body: bytes | None = None,
        remote_ip: str | None = None,
        protocol: str | None = None,
        host: str | None = None,
        files: dict[str, list[httputil.HTTPFile]] | None = None,
        connection: Any = None,
    ) -> None:
        super().__init__(method, uri, version, body or b"")
        self.connection = connection
        self.start_time = time()
        self.headers = headers or httputil.HTTPHeaders()
        if remote_ip is not None:
            self.remote_ip = remote_ip
        if protocol:
            self.protocol = protocol
        self.host = host or split_target(uri)[0] or self.headers.get("Host") or "127.0.0.1"
        if files:
            self.files = files

    # --- Attributes, computed when first asked for -------------------------------------

    @lazy
    def headers(self) -> httputil.HTTPHeaders:
        """The header fields: a dict without regard to case, several values kept apart.

        All of it is made when it is first asked for; ``find_field`` finds one field without it.
        """
        return httputil.HTTPHeaders._from_message(self)

    @lazy
    def host(self) -> str:
        """The requested host with its port, if any: the target's authority, else Host."""
        return self.authority or "127.0.0.1"

    @lazy
    def remote_ip(self) -> str | None:
        """The client's address as a string, ``0.0.0.0`` for a Unix socket."""
        return None if self.connection is None else self.connection.remote_ip_of(self)

    @lazy
    def protocol(self) -> str:
        """``http`` or ``https``."""
        return "http" if self.connection is None else self.connection.protocol_of(self)

    @lazy
    def request_id(self) -> str:
        """A name for this request in logs: at most 128 letters, digits and ``._+/=:@-``.

        Behind a proxy (``xheaders``) it is what that says in X-Request-Id, if it has this form.
        Otherwise it is made when it is first asked for: 24 hexadecimal digits.
        """
        return new_id() if self.connection is None else self.connection.request_id_of(self)

    @lazy
    def query_arguments(self) -> dict[str, list[bytes]]:
        """Arguments of the query: names to lists of values.

        Raises:
            HTTPInputError: There are more than the limit allows.
        """
        return httputil.parse_query(self.query)

    @lazy
    def arguments(self) -> dict[str, list[bytes]]:
        """Arguments of the query, then of a form in the body: names to lists of values.

        Raises:
            HTTPInputError: There are more than the limits allow.
        """
        arguments: dict[str, list[bytes]] = {}
        add_arguments(arguments, self.query_arguments)
        add_arguments(arguments, self.body_arguments)
        return arguments

    @lazy
    def body_arguments(self) -> dict[str, list[bytes]]:
        """Arguments of a form in the body, if it is one: names to lists of values."""
        return self._form[0] if self.body else {}

    @lazy
    def files(self) -> dict[str, list[httputil.HTTPFile]]:
        """Uploads in a multipart form: names to lists of ``HTTPFile``."""
        return self._form[1] if self.body else {}

    @lazy
    def _form(self) -> tuple[dict[str, list[bytes]], dict[str, list[httputil.HTTPFile]]]:
        arguments: dict[str, list[bytes]] = {}
        files: dict[str, list[httputil.HTTPFile]] = {}
        # The methods whose bodies Tornado 3 takes for forms.
        if self.method in ("POST", "PATCH", "PUT"):
            fields = self._named_fields()
            httputil.parse_body_arguments(
                fields.get("Content-Type", ""),
                self.body,
                arguments,
                files,
                fields,
                # For query and form together.
                max_arguments=httputil.MAX_ARGUMENTS - httputil.count_arguments(self.query),
            )
        return arguments, files

    @lazy
    def cookies(self) -> dict[str, Morsel[str]]:
        """The cookies: names to ``http.cookies.Morsel`` objects."""
        headers: httputil.HTTPHeaders | None = self.__dict__.get("headers")
        values = self._find_fields("Cookie") if headers is None else headers.get_list("Cookie")
        return httputil.parse_cookie("; ".join(values)) if values else {}

    def _named_fields(self) -> Any:
        """Return something with the ``get`` of ``headers``, for looking up a few names."""
        # If somebody has asked for headers, they may be others by now than those that came.
        headers: httputil.HTTPHeaders | None = self.__dict__.get("headers")
        return _AsTheyCame(self) if headers is None else headers

    # --- A body that is streamed -----------------------------------------------------------

    body_reader: Any = None  # where the body comes from, while it comes

    def stream(self) -> AsyncIterator[bytes]:
        """Iterate over the pieces of the body, as they come; at most once.

        With ``stream_request_body`` the client has to wait while nobody asks for the next one,
        and is told to go on (100 Continue) when the first is asked for. Otherwise the body is
        here, and is one piece.

        Raises:
            StreamClosedError: The client has gone, or the response was finished before.
        """
        reader = self.body_reader
        return _whole(self.body) if reader is None else reader.pieces()

    async def read(self) -> bytes:
        """Return all of the body that has not been read yet.

        Raises:
            StreamClosedError: As for ``stream``.
        """
        return b"".join([piece async for piece in self.stream()])

    # --- Methods ------------------------------------------------------------------------

    def supports_http_1_1(self) -> bool:
        """Whether this request has HTTP/1.1 semantics."""
        return self.version == "HTTP/1.1"

    # `write` and `finish` are the message's, which corks as long as nothing special is known.

    def _write_more(
        self, chunk: bytes | str, callback: Callable[[], object] | None
    ) -> Awaitable[None]:
        """Do what ``write`` leaves to Python: whatever is not as usual."""
        if self._finish_time is not None:
            self._too_late("write")
            return TOO_LATE
        corked = self._corked
        if corked is not None and callback is None:
            if type(chunk) is not bytes:
                chunk = encode_chunk(chunk)
            joined = corked + chunk if corked else chunk
            if corked is NOTHING_YET or len(joined) <= _MOST_CORKED:
                self._corked = joined
                return self.connection
        return self.connection.write(chunk, callback)

    def _finish_otherwise(self) -> None:
        """Do what ``finish`` leaves to Python: whatever is not as usual."""
        if self._finish_time is not None:
            self._too_late("finish")
        else:
            self.connection.finish()
            if self._finish_time is None:  # not one of our connections
                self._finish_time = time()

    def respond(
        self,
        status: int,
        body: Body = b"",
        headers: Fields | None = None,
        content_type: str | None = None,
    ) -> None:
        """Send a whole response, and end it: nothing may be written before, and nothing after.

        The server adds what belongs to it: the reason phrase, Date, Content-Length, and
        ``Connection: close`` if the connection ends. No body is sent in answer to HEAD, and none
        with 204, 205 and 304. If the client has gone, nothing happens. Nothing is sent if it
        raises.

        Args:
            status: 200 to 999; ``http.HTTPStatus`` has names for them.
            body: Bytes; or a string, which is sent in UTF-8; or a dict or list, as JSON.
            headers: More fields: a mapping, or pairs of name and value, in which a name may be
                repeated. Values may be ints. A Date among them stays.
            content_type: Content-Type, which may as well be among the headers. Of a string it is
                ``text/plain`` by default, and ``; charset=utf-8`` is added to any ``text/``; of
                a dict or list it is ``application/json``. Bytes have none by default.

        Raises:
            TypeError: An argument is of the wrong type.
            ValueError: ``status`` is out of range, a header is malformed, there are two content
                types, or a string is said to be in another charset.
            HTTPOutputError: The headers have a Content-Length, and it is not that of the body.
            RuntimeError: The response was begun or finished before.
        """
        if self._finish_time is not None:
            raise RuntimeError(f"respond() after finish() of {self!r}")
        if type(status) is not int:
            status = start_line_of(status)[1]
        if content_type is not None and type(content_type) is not str:
            check_type(content_type)
        fields: Pairs = []
        if headers:
            fields, content_type = separate_type(headers, content_type)
        if type(body) is not bytes:
            body, content_type = encode_body(body, content_type)
        now = time()
        if self._corked is NOTHING_YET and not (fields and has_field(fields, "Date")):
            head = prepared_head(status, content_type, now // 1)
            response = head and frame_prepared(self, head, fields, body)
            if response:
                self._finish_framed(response)
                return
        if status in BODILESS:
            body, content_type = b"", None
        fields = self._described(fields, content_type)
        self.connection.respond(start_line_of(status), fields, body)

    def _described(self, fields: Pairs, content_type: str | None) -> Pairs:
        """Return fields of the application with those that the server adds, but for framing."""
        fields = describe(fields, content_type, time())
        if self.version == "HTTP/1.0" and (not self.keep_alive or self.connection.no_keep_alive):
            # write_headers() says it to HTTP/1.1 only, as Tornado's does. But this response is one
            # of HTTP/1.1, after which a connection would go on (RFC 9112 section 9.3).
            if not has_field(fields, "Connection"):
                fields.append(("Connection", "close"))
        return fields

    async def send_file(
        self,
        path: str | PathLike[str],
        root: str | PathLike[str] | None = None,
        headers: Fields | None = None,
        content_type: str | None = None,
    ) -> None:
        """Send a file as the response, and end it; to be awaited or returned by the callback.

        It is a whole response to GET and HEAD, as ``respond`` sends it, with ETag, Last-Modified
        and Accept-Ranges. What the client has already is not sent again (304; 412 if it wants
        another version), and if it asks for a range, no more than that (206, 416). The kernel
        sends what is large, where it can: see ``HTTPConnection.send_file``.

        What is not a regular file, or is not there, is answered with 404; what may not be read
        with 403, and other methods with 405.

        Args:
            path: Of the file. Nothing is decoded: if the client names it, pass
                ``urllib.parse.unquote(request.path)``.
            root: A folder that the file has to be in, and that the path begins at. Symbolic links
                may lead to other places in it, and not out of it. ``..``, backslashes, and a
                slash or ``/.`` at the end are answered with 404. Without a root every file is sent
                that the process may read.
            headers: More fields, as for ``respond``. An ETag among them takes the place of the one
                that is made of size, time and number of the file.
            content_type: None for what ``mimetypes`` knows of the path's ending.

        Raises:
            OSError: The root is not there, or the system cannot open or read.
            HTTPOutputError: The file got shorter while it was sent. The connection is aborted then,
                or answers 500 if nothing was sent.
            StreamClosedError: The client has gone while it was sent.
            RuntimeError, TypeError, ValueError: As for ``respond``.
        """
        if self._finish_time is not None:
            raise RuntimeError(f"send_file() after finish() of {self!r}")
        if content_type is not None:
            check_type(content_type)
        await send_file(self, path, root, headers, content_type)

    def send_informational(self, status: int, headers: Fields) -> Awaitable[None]:
        """Send an interim response before the response itself, for instance 103 Early Hints.

        Args:
            status: 102 to 199. The server sends 100 by itself, and 101 is the end of HTTP.
            headers: As for ``respond``.

        Returns:
            Something to await until it has left.

        Raises:
            ValueError: The status is another, or a header is malformed.
            RuntimeError: The response has begun.
        """
        if self._finish_time is not None:
            raise RuntimeError(f"send_informational() after finish() of {self!r}")
        return self.connection.send_informational(status, headers)

    def _too_late(self, what: str) -> None:
        # The bytes would land in another request's answer (CVE-2023-46137's family).
        if self._framed:
            raise RuntimeError(f"{what}() after finish() of {self!r}")
        if not self.connection.stream.closed():
            gen_log.warning("%s() after finish() of %r is ignored", what, self)

    def full_url(self) -> str:
        """Reconstruct the full URL of this request (RFC 9112 section 3.3).

        It begins with ``protocol``, which tells how the request came, and not with the scheme
        that the client may have written into the target.
        """
        if self.method == "CONNECT":
            return f"{self.protocol}://{self.uri}"
        target = split_target(self.uri)[1]
        return f"{self.protocol}://{self.host}{'' if target == '*' else target}"

    def request_time(self) -> float:
        """Return the seconds from the end of the headers to ``finish()``, or until now."""
        end = time() if self._finish_time is None else self._finish_time
        return max(0.0, end - self.start_time)  # the clock may have been set back

    def get_ssl_certificate(self, binary_form: bool = False) -> Any:
        """Return the client's TLS certificate.

        It is the one of the connection, or, with ``client_cert_header``, the one that a trusted
        proxy tells; then the proxy's own is never returned.

        Args:
            binary_form: Return it DER-encoded, as bytes, instead of a dict.

        Returns:
            As ``ssl.SSLSocket.getpeercert``; None without a certificate or without TLS.

        Raises:
            HTTPInputError: What the proxy tells is malformed.
        """
        if self.connection is None:
            return None
        return self.connection.certificate_of(self, binary_form)

    def __repr__(self) -> str:
        # It gets into logs: no header fields, which have passwords, and never much.
        method, uri = _shortened(self.method), _shortened(self.uri)
        return (
            f"{type(self).__name__}(method={method!r}, uri={uri!r}, version={self.version!r}, "
            f"remote_ip={self.remote_ip!r})"
        )


# Its name in Tornado since version 4. httputil is below this, and cannot import it.
httputil.__dict__["HTTPServerRequest"] = HTTPRequest


class _AsTheyCame:
    """The header fields of a message, of which none is decoded before it is looked for."""

    __slots__ = ("get",)

    def __init__(self, message: RequestMessage) -> None:
        self.get = message.find_field


async def _whole(body: bytes) -> AsyncIterator[bytes]:
    if body:
        yield body


class RequestCallback(Protocol):
    """What answers requests: a function, or an ``async def``, of one request."""

    def __call__(self, request: HTTPRequest, /) -> object: ...


def encode_chunk(chunk: object) -> bytes:
    """Return the bytes of anything that ``write`` takes.

    Raises:
        TypeError: It is neither bytes-like nor a string.
        UnicodeEncodeError: A character is beyond U+00FF.
    """
    if isinstance(chunk, str):
        # The wire's charset, so that len(text) is the number of bytes.
        return chunk.encode("latin-1")
    if isinstance(chunk, (bytes, bytearray, memoryview)):
        return bytes(chunk)
    raise TypeError(f"write() takes bytes or str, not {type(chunk).__name__}")


def _shortened(text: str) -> str:
    return text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + "..."


class _Nothing:
    """What a write that came too late returns; awaiting it gives others a turn."""

    def __await__(self) -> Generator[Any, None, None]:
        yield  # what asyncio takes for "one turn"


TOO_LATE = _Nothing()
