from collections.abc import Awaitable, Callable, Iterable, Mapping
from http.cookies import Morsel
from types import GenericAlias
from typing import Any, Final, Generic, TypeVar, final, overload

__all__ = [
    "DURATION_BOUNDS",
    "END_OF_MESSAGE",
    "NOTHING_YET",
    "TALLY_FIELDS",
    "EndOfMessage",
    "RequestMessage",
    "RequestParser",
    "ResponseChecker",
    "Tally",
    "add_arguments",
    "check_response",
    "frame_prepared",
    "frame_response",
    "lazy",
    "log_line",
    "measure_response",
    "put_cookies",
    "serialize_fields",
    "split_arguments",
    "split_target",
    "unescape",
]

_M = TypeVar("_M", bound=RequestMessage)
_T = TypeVar("_T")

@final
class EndOfMessage:
    """The type of ``END_OF_MESSAGE``."""

END_OF_MESSAGE: EndOfMessage

NOTHING_YET: Final[Any]
"""What a request has corked before its first write."""

class RequestMessage:
    """One request, as it came; the only object that the parser makes for it.

    Strings are latin-1 decoded. Header fields and the target are decoded when they are
    asked for; until then they are offsets into the bytes that arrived.
    """

    method: str
    """Any token (RFC 9110 section 9.1), case kept."""
    uri: str
    """The request target as it came."""
    version: str
    """``HTTP/1.0`` or ``HTTP/1.1``."""
    start_time: float
    """When the head was complete, in seconds since the epoch. May be assigned, if it is a time."""
    body: bytes
    """The whole body; ``b""`` where ``next_event`` delivers it in pieces."""
    connection: Any
    """What was given to ``next_request``: whoever sends the response. None without."""
    _corked: Any
    _framed: bool

    def __init__(
        self, method: str, uri: str, version: str = "HTTP/1.0", body: bytes = b""
    ) -> None: ...
    @property
    def path(self) -> str:
        """The path of the target, not decoded: for ``http://host/path?query`` too."""

    @path.setter
    def path(self, value: str) -> None: ...
    @property
    def query(self) -> str:
        """What follows the first ``?`` of the target, not decoded."""

    @query.setter
    def query(self, value: str) -> None: ...
    @property
    def keep_alive(self) -> bool:
        """Whether a further request may follow (RFC 9112 section 9.3)."""

    @property
    def upgrade(self) -> bool:
        """Whether the client asks for another protocol (``Upgrade``), or it is ``CONNECT``."""

    @property
    def expect_continue(self) -> bool:
        """Whether an HTTP/1.1 client said ``Expect: 100-continue``."""

    @property
    def authority(self) -> str:
        """Host and port: of the target in absolute-form, else of Host; ``""`` for neither."""

    @property
    def fields(self) -> list[tuple[str, str]]:
        """A new list of header fields in their order: canonical names, trimmed values."""

    def _put_fields(self, headers: dict[str, str]) -> bool:
        """Put each field into an empty dict, as ``fields`` has it; tell if no name is repeated."""

    @property
    def raw_fields(self) -> list[tuple[bytes, bytes]]:
        """A new list of header fields in their order, as bytes: names in lower case."""

    @overload
    def find_field(self, name: str, /) -> str | None:
        """Return the value of a header field as it came, without decoding all the others.

        Args:
            name: In any case.
            default: What to return if there is none.

        Returns:
            Values of several fields joined with commas.
        """

    @overload
    def find_field(self, name: str, default: str, /) -> str: ...
    @overload
    def find_field(self, name: str, default: _T, /) -> str | _T: ...
    def _find_fields(self, name: str, /) -> list[str]:
        """Do as ``find_field``, and join nothing."""

    @property
    def trailers(self) -> list[tuple[str, str]]:
        """Trailer fields of a chunked body, but those that a trailer may not set."""

    @property
    def _finish_time(self) -> float | None: ...
    @_finish_time.setter
    def _finish_time(self, value: float) -> None: ...

    # On the fast path these two are the message's; for all else a subclass has _write_more()
    # and _finish_otherwise().
    def write(
        self, chunk: bytes | str, callback: Callable[[], object] | None = None
    ) -> Awaitable[None]:
        """Write a part of the response, exactly as it goes on the wire.

        Args:
            chunk: Bytes; or a string of characters up to U+00FF, one byte each, so that
                ``len`` of it is what Content-Length has to say.
            callback: Called from the loop, once, when all that was written has left.
                Each write takes the place of an earlier write's callback.

        Returns:
            Something to await, in an ``async def``, until all that was written has left.

        Raises:
            TypeError: ``chunk`` is neither.
            UnicodeEncodeError: A character is beyond U+00FF.
        """

    def finish(self) -> None:
        """End the response. What was written is all of it."""

    def _finish_framed(self, response: bytes | None) -> None:
        """Cork a whole response that the server has framed, and end it; None: it was sent."""

@final
class lazy(Generic[_T]):
    """A method that is called once and then is the attribute of its name.

    It is ``functools.cached_property`` in C, and without the lock that this takes in Python 3.11.
    """

    def __init__(self, compute: Callable[[Any], _T]) -> None: ...
    @overload
    def __get__(self, instance: None, owner: type | None = None, /) -> lazy[_T]: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None, /) -> _T: ...
    # Not there: assigning makes an ordinary attribute. So it is said to type checkers.
    def __set__(self, instance: object, value: _T) -> None: ...

@final
class RequestParser(Generic[_M]):
    """Bytes in, requests out, without any I/O; the same for any split of the bytes.

    A parser belongs to one connection and is used by one thread at a time. It reads
    nothing after a message until it is asked for the next one.

    Args:
        max_header_size: Bytes of request line and header block together, and of a trailer
            section (431).
        max_request_line: Bytes of the request line, empty lines before it included (414;
            501 for a method that takes all of them).
        max_field_size: Bytes of one field, name and value (431).
        max_header_count: Number of fields (431).
        max_body_size: Bytes of a body (413).
        require_host: Refuse an HTTP/1.1 request without Host (400).
        message_class: The subclass of ``RequestMessage`` to make; neither its ``__new__``
            nor its ``__init__`` is called.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: A limit is out of range.
    """

    # What follows is a server's. Its `tally` counts what comes and what ends, for all parsers that
    # have it. `check_responses`: none is taken that check_response() objects to. `gives_heads`:
    # _serve() does not wait for bodies.
    @overload
    def __init__(
        self: RequestParser[RequestMessage],
        *,
        max_header_size: int = ...,
        max_request_line: int = ...,
        max_field_size: int = ...,
        max_header_count: int = ...,
        max_body_size: int = ...,
        require_host: bool = True,
        tally: Tally | None = None,
        check_responses: bool = True,
        gives_heads: bool = False,
    ) -> None: ...
    @overload
    def __init__(
        self,
        *,
        max_header_size: int = ...,
        max_request_line: int = ...,
        max_field_size: int = ...,
        max_header_count: int = ...,
        max_body_size: int = ...,
        require_host: bool = True,
        message_class: type[_M],
        tally: Tally | None = None,
        check_responses: bool = True,
        gives_heads: bool = False,
    ) -> None: ...
    def __class_getitem__(cls, item: Any, /) -> GenericAlias: ...
    def __bool__(self) -> bool:
        """Whether something of a further request has come, or can come no more."""

    def new(self) -> RequestParser[_M]:
        """Return an unused parser that was given the same arguments.

        For the next connection of a server: what the constructor has checked is not checked
        again. What this parser has read makes no difference.
        """

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Add bytes that arrived. Nothing is parsed yet."""

    def next_request(
        self, data: bytes | bytearray | memoryview | None = None, connection: Any = None, /
    ) -> _M | None:
        """Return the next whole request, or None while bytes of it are missing.

        Args:
            data: Bytes to receive first, as with ``receive_data``.
            connection: What the request's attribute of that name is to be.

        After a request that is the last of its connection, bytes are dropped.

        Raises:
            HTTPInputError: What came is refused; every further call says so again.
            RuntimeError: The message was begun with ``next_event``.
        """

    def next_message(
        self, data: bytes | bytearray | memoryview | None = None, connection: Any = None, /
    ) -> _M | None:
        """Return the next request, whole if all of it is here, or else its head.

        Args:
            data, connection: As for ``next_request``.

        After a head alone, ``receiving_body`` is true, and ``next_event`` goes on with its
        body. One in chunks is never taken for here.

        Raises:
            HTTPInputError: As ``next_request``.
            RuntimeError: The message was begun otherwise.
        """

    def next_event(self) -> _M | bytes | EndOfMessage | None:
        """Return a request's head, then pieces of its body, then ``END_OF_MESSAGE``.

        None means that more bytes are needed.

        Raises:
            HTTPInputError: As ``next_request``.
            RuntimeError: The message was begun with ``next_request``.
        """

    # For connections of a server, which find all that they ask for each request in one object.
    def _serve(self, data: bytes, connection: Any, /) -> _M | None:
        """Do what ``next_request`` does, or ``next_message`` with ``gives_heads``."""

    def _take_response(self, request: RequestMessage, pipelined: object, /) -> bytes | None:
        """Take what a finished request has corked, if it is whole and another may follow it.

        That ends the exchange, and is counted.

        Args:
            request: It has been given out by this parser.
            pipelined: Whether responses before this one have not left. If it is false and there
                is nothing else, this one leaves by itself, and its bytes are counted too.

        Returns:
            None if nothing was taken: it goes on elsewhere, or is the last one of its connection.
        """

    def _take_last_response(self, request: RequestMessage) -> bytes | None:
        """Take the last response of a connection, and count it.

        Args:
            request: Is finished.

        Returns:
            None if nothing was taken.
        """

    def detach(self) -> bytes:
        """Stop for good and return the bytes that were not read as a request.

        For the protocol that follows ``CONNECT`` or ``Upgrade``: call it before the next
        request is asked for.

        Raises:
            RuntimeError: A body is being read.
        """

    def leave(self) -> None:
        """Have the tally forget that a part of a request has come: nobody waits for the rest."""

    @property
    def receiving_head(self) -> bool:
        """Whether some of a head has come, but not all."""

    @property
    def receiving_body(self) -> bool:
        """Whether a head has come, but not all of its body."""

    @property
    def awaiting_continue(self) -> bool:
        """Whether the client waits for ``100 Continue`` before it sends the body."""

    def told_to_continue(self) -> None:
        """Take note that it was sent ``100 Continue``; it waits no more for that."""

    @property
    def messages(self) -> int:
        """How many whole requests there were."""

    @property
    def is_head(self) -> bool:
        """Whether the method of the latest request is HEAD."""

    @property
    def body_received(self) -> int:
        """How many bytes of the latest request's body have come."""

    @property
    def received(self) -> int:
        """How many bytes were received in all, but for those after a refusal."""

    @property
    def unread(self) -> int:
        """How many bytes have come and were not parsed yet."""

    @property
    def closed(self) -> bool:
        """Whether no further request can come: the last one was read, or one was refused."""

@final
class ResponseChecker:
    """Follows what an application writes itself, and tells whether it is one response.

    Only what says where the response ends is looked at, and every client has to find the same
    end (RFC 9112 section 6.3). For each response: ``start``, ``feed`` what is written,
    ``finish``. How it is cut makes no difference, and nothing of it is kept.
    """

    def start(self, is_head: bool, is_connect: bool, http_1_1: bool) -> None:
        """Begin a response, and forget the one before.

        Args:
            is_head: The request is HEAD.
            is_connect: The request is CONNECT.
            http_1_1: The request is of HTTP/1.1.
        """

    def feed(self, chunk: bytes) -> None:
        """Read the next piece of the response."""

    def finish(self, keep_alive: bool) -> str | None:
        """Return what is wrong, to follow "the response"; None if nothing is.

        Args:
            keep_alive: As far as the request and the server are concerned, the connection
                stays open, so that its end cannot be the end of the response.
        """

    @property
    def status(self) -> int:
        """The status; 0 while it has not come. Interim ones (1xx) are passed over."""

    @property
    def in_body(self) -> bool:
        """Whether all of the head has come."""

    @property
    def body_size(self) -> int:
        """How many bytes of the body have come, without the framing of chunks."""

    @property
    def close(self) -> bool:
        """Whether the connection has to end after it.

        It says ``Connection: close`` (RFC 9112 section 9.6), the end of the connection is its
        end, or the protocol is switched.
        """

    @property
    def switched(self) -> bool:
        """Whether another protocol follows: 101, or success of CONNECT. It is not checked."""

DURATION_BOUNDS: tuple[float, ...]
"""Upper bounds of the classes of durations, in seconds; the last class has none."""

TALLY_FIELDS: tuple[str, ...]
"""What the numbers of a ``Tally`` count, in their order."""

@final
class Tally:
    """Numbers that a server counts in C, in memory that others may read at any time.

    ``begun`` and ``ended`` are exchanges, ``cut`` those of them that ended without all of the
    response, ``receiving`` the connections on which there is a part of a request and nothing
    else, ``nanoseconds`` the duration of all responses, ``2xx`` to ``5xx`` their number by
    status, and ``duration_0`` and so on their number by ``DURATION_BOUNDS``.

    Args:
        memory: Writable, an aligned unsigned integer of 64 bits for each of ``TALLY_FIELDS``.

    Raises:
        TypeError: It is not memory.
        ValueError: It is too small, or not aligned.
        BufferError: It cannot be written to.
    """

    def __init__(self, memory: bytearray | memoryview) -> None: ...
    def move(self, memory: bytearray | memoryview) -> None:
        """Take the numbers to other memory, and go on there.

        Raises:
            TypeError, ValueError, BufferError: As the constructor.
        """

    def take_late(self, request: RequestMessage, response: bytes, /) -> None:
        """Finish a request with a framed response that leaves by itself, and count both.

        Args:
            request: Is not finished, and its callback has returned.
            response: All of it.
        """

    def end(self, status: int, seconds: float) -> None:
        """Count an exchange that has ended with a response.

        Args:
            status: Of the response; 0 for none that is known.
            seconds: That it took.
        """

    def end_cut(self) -> None:
        """Count an exchange of which the connection was lost."""

    def add_sent(self, size: int) -> None:
        """Count bytes that were sent."""

def check_response(response: bytes, request: RequestMessage, /) -> int:
    """Judge a whole response to a request that is not CONNECT and keeps the connection open.

    Args:
        response: All of it.
        request: As it came.

    Returns:
        0: it is right, and another one may follow. 1: it is right, and the connection has to
        end after it. 2: it is wrong, or switches protocols; a ``ResponseChecker`` knows.
    """

def frame_prepared(
    request: RequestMessage, head: bytes, fields: object, body: bytes, /
) -> bytes | None:
    """Build a whole response as ``frame_response`` does, of which the beginning is made.

    Args:
        request: What is answered.
        head: Status line and fields, without the last line's end. The status has a body, no
            field frames, and nothing is wrong: it is not checked.
        fields: More fields, a list as for ``frame_response``.
        body: All of it.

    Returns:
        None where ``frame_response`` returns it.
    """

def measure_response(response: bytes, request: RequestMessage, /) -> tuple[int, int]:
    """Return the status of a whole response to a request that is not CONNECT, and its body's size.

    Args:
        response: All of it; what is wrong about it makes the numbers those before the fault.
        request: As it came.

    Returns:
        0 for no status; the bytes of the body without the framing of chunks.
    """

def frame_response(
    request: RequestMessage, code: object, reason: str, fields: object, body: bytes, /
) -> bytes | None:
    """Build a whole response, with a Content-Length as its last field.

    Args:
        request: What is answered.
        code, reason: The status.
        fields: A list of pairs, names and values each ``str`` or ``bytes``.
        body: All of it.

    Returns:
        None if there is anything about it that takes more than that: the connection is not to
        go on, the status has no body, a field frames, something is wrong.
    """

def log_line(
    parts: tuple[bytes | Callable[[Any, bytes], str | None], ...],
    as_json: bool,
    request: RequestMessage | None,
    remote_ip: str,
    status: int | None,
    size: int,
    duration: float,
    time: bytes,
    response: bytes,
    /,
) -> bytes:
    """Return the line of the access log for an exchange, with what a client has sent escaped.

    Args:
        parts: Text, what goes after it, text, and so on: a letter of ``htrmHsBbfaTMDL`` as in
            gunicorn's formats, ``i`` for the target or ``v`` for the host; or a function of the
            request and the response, which is not called without a request.
        as_json: Values are JSON, and what is missing is ``null``; otherwise it is ``-``.
        request: What was asked.
        remote_ip, status, size, duration: As in ``AccessRecord``.
        time: What stands for ``t``, as it is.
        response: With its head at least.
    """

def serialize_fields(
    first_line: str, fields: Iterable[tuple[str | bytes, str | bytes]], /
) -> bytes | None:
    """Return a head, or a trailer section with what is before it, if nothing in it is unusual.

    Args:
        first_line: The status line, for instance, without its end.
        fields: Names and values, in their order.

    Returns:
        None if something is neither bytes nor a str in latin-1, a name is not a token, or a value
        or the first line has CR, LF or NUL.
    """

def add_arguments(arguments: dict[str, list[bytes]], more: Mapping[str, list[bytes]], /) -> None:
    """Append the values of each name to those that it has; lists of ``more`` are copied."""

def put_cookies(
    cookies: dict[str, Morsel[str]], header: str, unquote: Callable[[str], str], /
) -> None:
    """Put what ``parse_cookie`` finds into a dict.

    Args:
        cookies: Is given a ``Morsel`` for each name.
        header: What clients sent.
        unquote: Returns the value of a text in quotes.
    """

def split_arguments(query: str | bytes, most: int, /) -> dict[str, list[bytes]] | None:
    """Return the arguments of a query, as ``parse_query`` does.

    Args:
        query: A str is of latin-1.
        most: How many fields there may be, empty ones included.

    Returns:
        None if there are more.
    """

def split_target(target: str, /) -> tuple[str, str]:
    """Return the authority of an absolute-form target, and the rest of it in origin-form.

    A target of any other form has no authority, and all of it is the rest.
    """

def unescape(data: bytes, /) -> bytes:
    """Decode percent escapes; a percent sign that begins none stands for itself."""
