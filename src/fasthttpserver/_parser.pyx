# cython: language_level=3
# cython: freethreading_compatible=True
"""The parser of requests: bytes in; whole requests, or head, body data and end, out.

llhttp reads the request-target, the header section and the chunks. Its callbacks are the C of
_parsing/*.pxd, where `reading.pxd` has what they write. Three things stay out of llhttp:

* The method. llhttp knows a closed list of them, HTTP does not (RFC 9110 section 9.1).
  So the token before the first SP is read here, and llhttp starts from a snapshot of
  itself that has just read ``PUT ``, or ``CONNECT ``: one ``memcpy`` a request.
* A body with Content-Length: it is the next n bytes.
* The digits of a chunk size, which llhttp does not bound.

llhttp pauses at the end of the header section and is resumed for chunks only, so nothing after
a message is read before the message has been dealt with.

A head that arrived in one piece is kept as a reference to that piece. One that did not is
gathered in ``_head_buffer``, and llhttp runs over that copy.

The outcome depends on the bytes alone, not on how they were cut. So limits are checked where
they are crossed: a span that is still open when llhttp meets an error is given to its callback
first, and a head is never fed beyond ``max_header_size``.
"""

cimport cython
from cpython.buffer cimport (
    PyBUF_WRITABLE,
    PyBuffer_Release,
    PyObject_CheckBuffer,
    PyObject_GetBuffer,
)
from cpython.bytes cimport (
    PyBytes_AS_STRING,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
    _PyBytes_Resize,
)
from cpython.dict cimport PyDict_SetItem, PyDict_Size, PyDict_Update
# Raw: for callbacks without the GIL, and yet tracemalloc sees what is held.
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc, PyMem_RawRealloc
from cpython.object cimport PyTypeObject
from cpython.ref cimport Py_INCREF, Py_XDECREF, PyObject
from cpython.unicode cimport (
    PyUnicode_1BYTE_DATA,
    PyUnicode_1BYTE_KIND,
    PyUnicode_DecodeLatin1,
    PyUnicode_FindChar,
    PyUnicode_GET_LENGTH,
    PyUnicode_KIND,
    PyUnicode_New,
    PyUnicode_READ_CHAR,
    PyUnicode_Substring,
)
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memset

from fasthttpserver._parsing.chunks cimport (
    count_size_digits,
    end_chunk,
    on_body,
    on_chunk_complete,
    on_chunk_header,
    on_extension,
    on_extension_part_complete,
    on_extension_value,
    on_message_complete,
)
from fasthttpserver._parsing.counting cimport (
    BUCKETS,
    TALLY_BEGUN,
    TALLY_BYTES_RECEIVED,
    TALLY_BYTES_SENT,
    TALLY_CUT,
    TALLY_ENDED,
    TALLY_RECEIVING,
    TALLY_SIZE,
    count_response,
    tally_bounds,
)
from fasthttpserver._parsing.escapes cimport count_fields, decoded_size, has_escapes, write_decoded
from fasthttpserver._parsing.fields cimport FEW_FIELDS, on_header_field, on_header_value
from fasthttpserver._parsing.grammar cimport TOKEN, equals, fill_classes, is_a, trim
from fasthttpserver._parsing.head cimport (
    check_spacing,
    on_headers_complete,
    on_url,
    on_version,
)
from fasthttpserver._parsing.llhttp cimport (
    HPE_INVALID_VERSION,
    HPE_OK,
    HPE_PAUSED,
    HTTP_REQUEST,
    llhttp_execute,
    llhttp_get_error_pos,
    llhttp_get_error_reason,
    llhttp_init,
    llhttp_resume,
    llhttp_settings_init,
    llhttp_settings_t,
    llhttp_t,
)
from fasthttpserver._parsing.names cimport (
    NAME_SLOTS,
    Name,
    add_name,
    find_name,
    write_canonical,
    write_lower,
)
from fasthttpserver._parsing.reading cimport (
    ACCEPTED,
    BAD_CODING,
    BAD_EXPECT,
    BAD_EXTENSION,
    BAD_HOST,
    BAD_LINE_END,
    BAD_METHOD,
    BAD_SPACING,
    BAD_TARGET,
    BAD_VERSION,
    CODING_IN_1_0,
    CONNECT_BODY,
    LONG_BODY,
    LONG_CHUNK_SIZE,
    LONG_EXTENSION,
    LONG_FIELD,
    LONG_HEAD,
    LONG_METHOD,
    LONG_REQUEST_LINE,
    MANY_FIELDS,
    MANY_HOSTS,
    MANY_TYPES,
    NO_HOST,
    NO_MEMORY,
    NO_VERSION,
    UNKNOWN_CODING,
    Bounds,
    Field,
    Reading,
    begin_chunks,
    begin_message,
    offset_of,
)
from fasthttpserver._parsing.response_fields cimport (
    frames,
    is_content_length,
    is_line,
    is_number,
    write_number,
    is_token,
)
from fasthttpserver._parsing.response_framing cimport (
    RESPONSE_AFTER_CHUNKS,
    RESPONSE_BODY_FOR_HEAD,
    RESPONSE_BODY_FOR_STATUS,
    RESPONSE_CHUNK_END,
    RESPONSE_CHUNK_MISSING,
    RESPONSE_CHUNK_SIZE,
    RESPONSE_CHUNKS_FOR_1_0,
    RESPONSE_CODING,
    RESPONSE_EMPTY,
    RESPONSE_FIELD,
    RESPONSE_HEAD_INCOMPLETE,
    RESPONSE_INTERIM_FOR_1_0,
    RESPONSE_LENGTH,
    RESPONSE_LENGTH_AND_CODING,
    RESPONSE_LENGTHS,
    RESPONSE_LINE_END,
    RESPONSE_LONG,
    RESPONSE_NO_LENGTH,
    RESPONSE_NOT_HTTP,
    RESPONSE_RIGHT,
    RESPONSE_SHORT,
    SWITCHED,
    ResponseReading,
    begin_response,
    end_response,
    is_usual_response,
    read_response,
    response_closes,
)

from http.cookies import Morsel
from json.encoder import encode_basestring_ascii
from types import GenericAlias

cdef extern from "time.h" nogil:
    # Of C11, unlike clock_gettime(), so that Windows has it too.
    ctypedef struct timespec "struct timespec":
        long long tv_sec
        long tv_nsec
    int TIME_UTC
    int timespec_get(timespec*, int)

cdef extern from *:
    """
    /* Not without the GIL, which guards it; nor where a sanitizer is to see each free(). */
    #if defined(Py_GIL_DISABLED) || defined(__SANITIZE_ADDRESS__)
    #define KEEPS_A_SPARE 0
    #else
    #define KEEPS_A_SPARE 1
    #endif
    """
    bint KEEPS_A_SPARE

from fasthttpserver._parsing.known_fields import COMMON_NAMES, NOT_IN_TRAILERS
from fasthttpserver.errors import HTTPInputError
from fasthttpserver.limits import Limits

__all__ = [
    "DURATION_BOUNDS",
    "END_OF_MESSAGE",
    "TALLY_FIELDS",
    "EndOfMessage",
    "NOTHING_YET",
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


# --- What a message is refused for ------------------------------------------------------

# Status codes as RFC 9110 section 15 and RFC 9112 section 3 have them.
cdef dict _REFUSALS = {
    BAD_LINE_END: (400, "Invalid line end before the request line"),
    BAD_METHOD: (400, "Invalid method"),
    LONG_METHOD: (501, "Method is too long"),
    BAD_SPACING: (400, "Request line is not split by single spaces"),
    NO_VERSION: (400, "Request line has no HTTP version"),
    BAD_VERSION: (505, "HTTP version is not 1.0 or 1.1"),
    LONG_REQUEST_LINE: (414, "Request line is too long"),
    BAD_TARGET: (400, "Invalid request target"),
    NO_HOST: (400, "Missing Host header"),
    MANY_HOSTS: (400, "Multiple Host headers"),
    BAD_HOST: (400, "Invalid Host header"),
    MANY_TYPES: (400, "Multiple Content-Type headers"),
    BAD_CODING: (400, "Invalid Transfer-Encoding"),
    UNKNOWN_CODING: (501, "Transfer coding is not implemented"),
    CODING_IN_1_0: (400, "Transfer-Encoding in HTTP/1.0"),
    CONNECT_BODY: (400, "CONNECT with a body"),
    BAD_EXPECT: (417, "Expectation is not 100-continue"),
    LONG_HEAD: (431, "Header block is too large"),
    LONG_FIELD: (431, "Header field is too large"),
    MANY_FIELDS: (431, "Too many header fields"),
    LONG_BODY: (413, "Body is too large"),
    LONG_CHUNK_SIZE: (400, "Chunk size has too many digits"),
    LONG_EXTENSION: (400, "Chunk extensions are too long"),
    BAD_EXTENSION: (400, "Invalid chunk extension"),
}


# --- Tables, written once at import ---------------------------------------------------------

# Shared by all parsers and never written again, so safe without the GIL.
cdef llhttp_settings_t _SETTINGS
# llhttp after a method of the ordinary kind, and after CONNECT, whose target has another
# grammar. Not POST or GET: llhttp lets those pass with "RTSP/1.0".
cdef llhttp_t _AFTER_METHOD
cdef llhttp_t _AFTER_CONNECT


cdef void _fill_tables():
    llhttp_settings_init(&_SETTINGS)
    _SETTINGS.on_url = on_url
    _SETTINGS.on_version = on_version
    _SETTINGS.on_header_field = on_header_field
    _SETTINGS.on_header_value = on_header_value
    _SETTINGS.on_headers_complete = on_headers_complete
    _SETTINGS.on_chunk_extension_name = on_extension
    _SETTINGS.on_chunk_extension_name_complete = on_extension_part_complete
    _SETTINGS.on_chunk_extension_value = on_extension_value
    _SETTINGS.on_chunk_extension_value_complete = on_extension_part_complete
    _SETTINGS.on_chunk_header = on_chunk_header
    _SETTINGS.on_chunk_complete = on_chunk_complete
    _SETTINGS.on_body = on_body
    _SETTINGS.on_message_complete = on_message_complete
    llhttp_init(&_AFTER_METHOD, HTTP_REQUEST, &_SETTINGS)
    llhttp_execute(&_AFTER_METHOD, b"PUT ", 4)
    llhttp_init(&_AFTER_CONNECT, HTTP_REQUEST, &_SETTINGS)
    llhttp_execute(&_AFTER_CONNECT, b"CONNECT ", 8)

fill_classes()
_fill_tables()


# Field names as clients write them: canonical, and in lower case as proxies that speak
# HTTP/2 on the other side pass them on. Written once as well.
cdef Name _NAMES[NAME_SLOTS]
cdef list _NAME_OBJECTS = []  # what the table borrows from


cdef void _fill_names():
    memset(_NAMES, 0, sizeof(_NAMES))
    cdef bytes raw
    cdef bytes lower
    cdef str text
    for text in COMMON_NAMES:
        lower = text.lower().encode()
        for raw in {text.encode(), lower}:
            _NAME_OBJECTS.append((raw, text, lower))
            add_name(
                _NAMES,
                PyBytes_AS_STRING(raw),
                <uint32_t>len(raw),
                <PyObject*>text,
                <PyObject*>lower,
            )

_fill_names()


cdef str _field_name(const char* at, uint32_t size):
    cdef const Name* known = find_name(_NAMES, at, size)
    if known != NULL:
        return <str>known.text
    # A new string to write into: bytes of length 1 are shared by the whole interpreter.
    cdef str canonical = PyUnicode_New(size, 127)
    write_canonical(<char*>PyUnicode_1BYTE_DATA(canonical), at, size)
    return canonical


cdef bytes _lower_name(const char* at, uint32_t size):
    cdef const Name* known = find_name(_NAMES, at, size)
    if known != NULL:
        return <bytes>known.lower
    # A new one to write into, as above.
    cdef bytes lower = at[:size]
    if size == 1:
        return lower.lower()
    write_lower(PyBytes_AS_STRING(lower), at, size)
    return lower


cdef list _field_items(const char* head, Field* fields, uint32_t count):
    cdef list items = []
    cdef Field field  # a copy: several threads may read one message
    cdef uint32_t i
    for i in range(count):
        field = fields[i]
        trim(head, &field.value_at, &field.value_size)
        items.append((
            _field_name(head + field.name_at, field.name_size),
            PyUnicode_DecodeLatin1(head + field.value_at, field.value_size, NULL),
        ))
    return items


cdef object _joined(list values, default):
    if not values:
        return default
    return values[0] if len(values) == 1 else ",".join(values)


cdef double _time():
    """The time in seconds since the epoch."""
    cdef timespec now
    timespec_get(&now, TIME_UTC)
    return now.tv_sec + now.tv_nsec * 1e-9


cdef str _method_name(const char* at, uint32_t size):
    # Most requests by far; a constant costs no object.
    if size == 3:
        if memcmp(at, b"GET", 3) == 0:
            return "GET"
        if memcmp(at, b"PUT", 3) == 0:
            return "PUT"
    elif size == 4:
        if memcmp(at, b"POST", 4) == 0:
            return "POST"
        if memcmp(at, b"HEAD", 4) == 0:
            return "HEAD"
    return PyUnicode_DecodeLatin1(at, size, NULL)


# --- Targets (RFC 9112 section 3.2) -----------------------------------------------------------


@cython.binding(False)
def split_target(str target not None, /):
    cdef str scheme = target[:8].lower()
    cdef Py_ssize_t start
    cdef Py_ssize_t end
    cdef Py_ssize_t size = PyUnicode_GET_LENGTH(target)
    if scheme.startswith("http://"):
        start = 7
    elif scheme == "https://":
        start = 8
    else:
        return "", target
    end = start
    while end < size and PyUnicode_READ_CHAR(target, end) not in (u"/", u"?"):
        end += 1
    rest = target[end:]
    # An empty path is "/" (RFC 9110 section 4.2.3).
    return target[start:end], rest if rest.startswith("/") else "/" + rest


cdef str _path_of(str target):
    cdef Py_ssize_t mark
    if target is None:
        return None
    if PyUnicode_GET_LENGTH(target) == 0 or PyUnicode_READ_CHAR(target, 0) != u"/":
        target = split_target(target)[1]
    mark = PyUnicode_FindChar(target, u"?", 0, PyUnicode_GET_LENGTH(target), 1)
    return target if mark == -1 else PyUnicode_Substring(target, 0, mark)


cdef str _query_of(str target):
    cdef Py_ssize_t mark
    if target is None:
        return None
    mark = PyUnicode_FindChar(target, u"?", 0, PyUnicode_GET_LENGTH(target), 1)
    if mark == -1:
        return ""
    return PyUnicode_Substring(target, mark + 1, PyUnicode_GET_LENGTH(target))


# --- What comes out -------------------------------------------------------------------------

@cython.final
cdef class EndOfMessage:
    """What ``RequestParser.next_event`` returns after the last byte of a message."""

    def __repr__(self):
        return "END_OF_MESSAGE"

    def __reduce__(self):
        return "END_OF_MESSAGE"  # a copy is the same object


END_OF_MESSAGE = EndOfMessage()


# What a request has corked before its first write. False, as an empty write is.
NOTHING_YET = ()
cdef object _NOTHING_YET = NOTHING_YET

# Seconds since the epoch: in the year 9892, after which calendars end.
cdef double _NO_CALENDAR = 2.5e11
# The fields of a message that has died, with room for FEW_FIELDS: for the next one.
cdef Field* _spare_fields = NULL
# What was known of a message that has been read, for the next one of any parser.
cdef Reading* _spare_reading = NULL


cdef class RequestMessage:
    cdef public str method
    cdef public str version
    cdef public object body
    cdef double _started_at
    cdef readonly bint keep_alive
    cdef readonly bint upgrade
    cdef readonly bint expect_continue
    cdef bint _is_head
    cdef bint _is_1_1
    cdef str _uri
    cdef object _path       # None until somebody asks; any other object may be assigned
    cdef object _query
    cdef str _host
    cdef list _trailers
    cdef bytes _head        # the bytes that the offsets below point into
    cdef Py_ssize_t _base   # where the request line starts in them
    cdef Field* _fields     # owned
    cdef uint32_t _count
    cdef uint32_t _target_at
    cdef uint32_t _target_size
    cdef uint32_t _host_at
    cdef uint32_t _host_size
    cdef public object connection   # whose request it is, or None
    # What was written, while all that this request has asked for is to write and finish:
    # its connection sends that when the callback returns. Otherwise None, and the
    # connection is told of each write. See HTTPConnection.data_received.
    cdef public object _corked
    cdef double _finished_at        # in seconds since the epoch; 0.0 until then
    cdef public bint _framed        # whether the server frames the response

    def __init__(self, method, uri, version="HTTP/1.0", body=b""):
        self.method = method
        self.version = version
        self._is_head = method == "HEAD"
        self._is_1_1 = version == "HTTP/1.1"
        self.body = body
        self._uri = uri
        self._host = ""

    def __dealloc__(self):
        global _spare_fields
        if KEEPS_A_SPARE and _spare_fields == NULL and self._count <= FEW_FIELDS:
            _spare_fields = self._fields
        else:
            PyMem_RawFree(self._fields)

    def __reduce__(self):
        raise TypeError("a RequestMessage cannot be pickled")

    @property
    def uri(self):
        if self._uri is None and self._head is not None:
            self._uri = PyUnicode_DecodeLatin1(
                PyBytes_AS_STRING(self._head) + self._base + self._target_at,
                self._target_size,
                NULL,
            )
        return self._uri

    @uri.setter
    def uri(self, str value):
        self._uri = value

    @property
    def path(self):
        if self._path is None:
            self._path = _path_of(self.uri)
        return self._path

    @path.setter
    def path(self, value):
        self._path = value

    @property
    def query(self):
        if self._query is None:
            self._query = _query_of(self.uri)
        return self._query

    @query.setter
    def query(self, value):
        self._query = value

    @property
    def authority(self):
        if self._host is None and self._head is not None:
            self._host = PyUnicode_DecodeLatin1(
                PyBytes_AS_STRING(self._head) + self._base + self._host_at,
                self._host_size,
                NULL,
            )
        return self._host

    @property
    def fields(self):
        if self._head is None:
            return []
        return _field_items(
            PyBytes_AS_STRING(self._head) + self._base, self._fields, self._count
        )

    def _put_fields(self, headers):
        cdef const char* head
        cdef Field field  # a copy: several threads may read one message
        cdef uint32_t i
        if self._head is None:
            return True
        head = PyBytes_AS_STRING(self._head) + self._base
        for i in range(self._count):
            field = self._fields[i]
            trim(head, &field.value_at, &field.value_size)
            # Not as the subclass of dict would: names are canonical.
            PyDict_SetItem(
                headers,
                _field_name(head + field.name_at, field.name_size),
                PyUnicode_DecodeLatin1(head + field.value_at, field.value_size, NULL),
            )
        return PyDict_Size(headers) == self._count

    @property
    def raw_fields(self):
        cdef list items = []
        cdef Field field  # a copy: several threads may read one message
        cdef const char* head
        cdef uint32_t i
        if self._head is None:
            return items
        head = PyBytes_AS_STRING(self._head) + self._base
        for i in range(self._count):
            field = self._fields[i]
            trim(head, &field.value_at, &field.value_size)
            items.append((
                _lower_name(head + field.name_at, field.name_size),
                PyBytes_FromStringAndSize(head + field.value_at, field.value_size),
            ))
        return items

    @cython.binding(False)
    def find_field(self, str name not None, default=None, /):
        return _joined(self._find_fields(name), default)

    @cython.binding(False)
    def _find_fields(self, str name not None, /):
        if PyUnicode_KIND(name) != PyUnicode_1BYTE_KIND:
            return []
        return self._find(<const char*>PyUnicode_1BYTE_DATA(name), PyUnicode_GET_LENGTH(name))

    cdef list _find(self, const char* name, Py_ssize_t size):
        cdef list values = []
        cdef Field field  # a copy, as above
        cdef const char* head
        cdef uint32_t i
        if self._head is None:
            return values
        head = PyBytes_AS_STRING(self._head) + self._base
        for i in range(self._count):
            field = self._fields[i]
            if field.name_size == size and equals(head + field.name_at, name, size):
                trim(head, &field.value_at, &field.value_size)
                values.append(
                    PyUnicode_DecodeLatin1(head + field.value_at, field.value_size, NULL)
                )
        return values

    @property
    def trailers(self):
        return [] if self._trailers is None else self._trailers

    # What is assigned gets into the access log, the counters and Date, which have no way to
    # write what is not a time, or one that no calendar has.
    @property
    def start_time(self):
        return self._started_at

    @start_time.setter
    def start_time(self, double value):
        if not 0.0 <= value < _NO_CALENDAR:
            raise ValueError(f"start_time must be seconds since the epoch, not {value}")
        self._started_at = value

    # --- The response, as far as the fast path goes. The subclass knows the rest. -----------

    @property
    def _finish_time(self):
        return self._finished_at if self._finished_at else None

    @_finish_time.setter
    def _finish_time(self, double value):
        self._finished_at = value

    def write(self, chunk, callback=None):
        """Write a part of the response, exactly as it goes on the wire."""
        if self._corked is _NOTHING_YET and callback is None and type(chunk) is bytes:
            self._corked = chunk
            return self.connection
        return self._write_more(chunk, callback)

    def finish(self):
        """End the response. What was written is all of it."""
        if self._finished_at == 0.0 and self._corked:
            self._finished_at = _time()
        else:
            self._finish_otherwise()

    def _finish_framed(self, response):
        self._corked = response
        self._finished_at = _time()
        self._framed = True

    def __repr__(self):
        method, uri = (  # not much of either: it gets into logs
            text if text is None or len(text) <= 200 else text[:200] + "..."
            for text in (self.method, self.uri)
        )
        return (
            f"<{type(self).__name__} {method!r} {uri!r} {self.version!r} "
            f"{len(self.body or b'')} body bytes>"
        )


@cython.final
cdef class lazy:
    cdef object _compute
    cdef str _name

    def __init__(self, compute):
        self._compute = compute
        self._name = compute.__name__

    def __reduce__(self):
        raise TypeError("a lazy attribute cannot be pickled")

    def __get__(self, instance, owner):
        if instance is None:
            return self
        value = self._compute(instance)
        setattr(instance, self._name, value)  # in its __dict__, which need not be made for that
        return value

    @property
    def __doc__(self):
        return self._compute.__doc__


# --- What is counted --------------------------------------------------------------------------

DURATION_BOUNDS = tuple([tally_bounds[i] for i in range(BUCKETS - 1)])

TALLY_FIELDS = (
    "begun",
    "ended",
    "cut",
    "receiving",
    "bytes_received",
    "bytes_sent",
    "nanoseconds",
    "2xx",
    "3xx",
    "4xx",
    "5xx",
    *[f"duration_{i}" for i in range(BUCKETS)],
)
assert len(TALLY_FIELDS) == TALLY_SIZE


cdef inline int _class_of(bytes response) noexcept:
    """Return the first digit of a status, if it is one: nobody has looked at this response."""
    return PyBytes_AS_STRING(response)[9] - 48 if PyBytes_GET_SIZE(response) > 9 else 0


@cython.final
cdef class Tally:
    cdef uint64_t* _at          # of the memory that _buffer holds
    cdef Py_buffer _buffer      # owned

    def __cinit__(self, memory):  # not __init__: there is none without memory
        self.move(memory)

    def __dealloc__(self):
        if self._at != NULL:
            PyBuffer_Release(&self._buffer)

    def __reduce__(self):
        raise TypeError("a Tally cannot be pickled")

    def move(self, memory):
        cdef Py_buffer buffer
        if not PyObject_CheckBuffer(memory):
            raise TypeError(f"a Tally needs memory, not {type(memory).__name__}")
        PyObject_GetBuffer(memory, &buffer, PyBUF_WRITABLE)
        if buffer.len < <Py_ssize_t>(TALLY_SIZE * sizeof(uint64_t)) or <size_t>buffer.buf % 8:
            PyBuffer_Release(&buffer)
            raise ValueError(f"a Tally needs {TALLY_SIZE} aligned integers of 64 bits")
        if self._at != NULL:
            memcpy(buffer.buf, self._at, TALLY_SIZE * sizeof(uint64_t))
            PyBuffer_Release(&self._buffer)
        self._buffer = buffer
        self._at = <uint64_t*>buffer.buf

    @cython.binding(False)
    def take_late(self, RequestMessage request not None, bytes response not None, /):
        request._corked = None
        request._finished_at = _time()
        request._framed = True
        count_response(
            self._at, _class_of(response), request._finished_at - request._started_at
        )
        self._at[TALLY_BYTES_SENT] += PyBytes_GET_SIZE(response)

    def end(self, int status, double seconds):
        count_response(self._at, status // 100, seconds)

    def end_cut(self):
        self._at[TALLY_ENDED] += 1
        self._at[TALLY_CUT] += 1

    def add_sent(self, uint64_t size):
        self._at[TALLY_BYTES_SENT] += size


cdef enum Stage:
    BETWEEN    # nothing has come of the next message
    START      # inside empty lines or the method
    HEAD
    LENGTH     # body by Content-Length
    CHUNKS     # body by chunks, and trailers
    END        # the message is whole
    CLOSED     # the last message has been read; what follows is not a request
    REFUSED

cdef enum:
    METHOD_TO_LINE_END = 11  # SP, a target of one byte, " HTTP/1.1"

cdef enum Step:
    NEED_DATA
    GOT_HEAD
    GOT_DATA
    GOT_END

cdef tuple _NO_ARGUMENTS = ()
_LIMITS = Limits()


@cython.final
@cython.internal
cdef class _Options:
    """What a parser and those that are made from it have in common."""
    cdef Bounds bounds
    cdef type message_class
    cdef bint checks_responses
    cdef bint gives_heads       # to its connection, if not all of the body is here


@cython.final
cdef class RequestParser:
    # There is one for each connection, so numbers of four bytes stand together.
    cdef _Options _options
    cdef Reading* _reading      # owned; NULL between messages
    cdef Tally _tally           # None before anything has come, if nobody gave one
    cdef Stage _stage
    cdef bint _receiving        # counted as TALLY_RECEIVING
    cdef bint _busy             # inside a call, or one ended in an unexpected exception
    cdef bint _is_head          # whether the latest message is HEAD
    cdef bint _streaming        # _message was handed out by next_event
    cdef uint32_t _head_size
    cdef uint32_t _head_capacity
    cdef tuple _error           # arguments of the HTTPInputError that ended it, or None
    cdef bytes _data            # the piece being read, or None
    cdef Py_ssize_t _pos
    cdef list _pending          # pieces that came after it, or None
    cdef Py_ssize_t _pending_size
    cdef uint64_t _stream_offset    # of _data[0] in all that was received
    cdef uint64_t _message_offset   # of the request line in the same
    cdef char* _head_buffer     # owned; a head that comes in several pieces, else NULL
    cdef uint64_t _received_in_all
    cdef uint64_t _messages     # whole ones, so far
    cdef uint64_t _body_received    # of the latest message
    cdef RequestMessage _message    # whose body is being read, or that is whole

    def __init__(
        self,
        *,
        max_header_size=_LIMITS.max_header_size,
        max_request_line=_LIMITS.max_request_line,
        max_field_size=_LIMITS.max_field_size,
        max_header_count=_LIMITS.max_header_count,
        max_body_size=_LIMITS.max_body_size,
        require_host=True,
        message_class=RequestMessage,
        Tally tally=None,
        check_responses=True,
        gives_heads=False,
    ):
        cdef Bounds* bounds
        if self._options is not None:
            # A limit below what has been read already would be a negative size.
            raise RuntimeError("a RequestParser is initialised once")
        # Offsets in a head are 32 bits wide.
        _check_limit("max_header_size", max_header_size, 64, 1 << 30)
        _check_limit("max_request_line", max_request_line, 32, 1 << 30)
        _check_limit("max_field_size", max_field_size, 1, 1 << 30)
        _check_limit("max_header_count", max_header_count, 1, 1 << 20)
        _check_limit("max_body_size", max_body_size, 0, 1 << 62)
        if not (isinstance(message_class, type) and issubclass(message_class, RequestMessage)):
            raise TypeError("message_class must be a subclass of RequestMessage")
        self._options = _Options()
        bounds = &self._options.bounds
        bounds.max_header_size = max_header_size
        # A request line that fills the block is long as a line: 414, not 431.
        bounds.max_request_line = min(max_request_line, max_header_size)
        bounds.max_field_size = max_field_size
        bounds.max_header_count = max_header_count
        bounds.max_body_size = max_body_size
        bounds.require_host = require_host
        self._options.message_class = message_class
        self._tally = tally
        self._options.checks_responses = check_responses
        self._options.gives_heads = gives_heads

    def __dealloc__(self):
        if self._reading != NULL:
            PyMem_RawFree(self._reading.section.fields)
            PyMem_RawFree(self._reading.section.trailer_buffer)
            Py_XDECREF(self._reading.body)
            PyMem_RawFree(self._reading)
        PyMem_RawFree(self._head_buffer)

    def __reduce__(self):
        raise TypeError("a RequestParser cannot be pickled")

    __class_getitem__ = classmethod(GenericAlias)

    @cython.binding(False)
    def new(self):
        cdef RequestParser parser = RequestParser.__new__(RequestParser)
        parser._options = self._options
        parser._tally = self._tally
        return parser

    def receive_data(self, data):
        self._receive(data)

    cdef int _receive(self, data) except -1:
        if type(data) is not bytes:
            data = memoryview(data).tobytes()
        if self._stage == REFUSED or PyBytes_GET_SIZE(data) == 0:
            return 0
        if self._tally is None:
            self._tally = Tally(bytearray(TALLY_SIZE * sizeof(uint64_t)))
        self._received_in_all += PyBytes_GET_SIZE(data)
        self._tally._at[TALLY_BYTES_RECEIVED] += PyBytes_GET_SIZE(data)
        if self._data is None:
            self._data = data
            self._pos = 0
        else:
            if self._pending is None:
                self._pending = [data]
            else:
                self._pending.append(data)
            self._pending_size += PyBytes_GET_SIZE(data)
        return 0

    @cython.binding(False)  # one call less for each, and no names to look for
    def next_request(self, data=None, connection=None, /):
        if data is not None:
            self._receive(data)
        return self._next_request(connection)

    cdef inline RequestMessage _next_request(self, connection):
        if self._streaming:
            raise RuntimeError("next_event() has begun this message; go on with it")
        return self._next(False, connection)

    @cython.binding(False)
    def next_message(self, data=None, connection=None, /):
        if data is not None:
            self._receive(data)
        return self._next_message(connection)

    cdef inline RequestMessage _next_message(self, connection):
        if self._message is not None:
            raise RuntimeError("this message was begun otherwise; go on with that")
        return self._next(True, connection)

    cdef inline RequestMessage _next(self, bint or_head, connection):
        cdef RequestMessage message = None
        cdef int step
        self._enter()
        while True:
            step = self._step()
            if step == NEED_DATA:
                break
            if step == GOT_DATA:
                self._collect()
            elif self._stage == END:
                if self._reading.body != NULL:
                    self._message.body = self._take_body()
                message = self._take_message()
                self._count_begun()
                break
            elif or_head and (
                self._stage == CHUNKS or self._reading.body_remaining > self._unread()
            ):
                self._streaming = True
                message = self._message
                self._count_begun()
                break
        if message is not None:
            message.connection = connection
            message._corked = _NOTHING_YET
        else:
            self._look_for_part()
        self._busy = False
        return message

    def next_event(self):
        cdef object event = None
        cdef int step
        if not self._streaming and self._message is not None:
            raise RuntimeError("next_request() has begun this message; go on with it")
        self._enter()
        step = self._step()
        if step == GOT_HEAD:
            self._streaming = True
            event = self._message
            self._count_begun()
        elif step == GOT_DATA:
            event = self._take_piece()
        elif step == GOT_END:
            self._take_message()
            event = END_OF_MESSAGE
        elif not self._streaming:
            self._look_for_part()
        self._busy = False
        return event

    # The two numbers add up to the connections that are active: a message that was given out
    # is counted until the connection says that its exchange has ended.

    cdef inline void _count_begun(self) noexcept:
        self._tally._at[TALLY_BEGUN] += 1
        if self._receiving:
            self._count_receiving(False)

    cdef inline void _look_for_part(self) noexcept:
        cdef bint receiving = self._stage != CLOSED and self._has_begun()
        if receiving != self._receiving:
            self._count_receiving(receiving)

    cdef void _count_receiving(self, bint receiving) noexcept:
        self._receiving = receiving
        if receiving:
            self._tally._at[TALLY_RECEIVING] += 1
        else:
            self._tally._at[TALLY_RECEIVING] -= 1

    cdef inline void _leave(self) noexcept:
        if self._receiving:
            self._count_receiving(False)

    def leave(self):
        self._leave()

    @property
    def receiving_head(self):
        return self._stage == HEAD or (self._stage == START and self._head_size > 0)

    @property
    def receiving_body(self):
        return self._stage == LENGTH or self._stage == CHUNKS

    @property
    def messages(self):
        return self._messages

    @property
    def is_head(self):
        return self._is_head

    @property
    def body_received(self):
        return self._body_received

    @property
    def awaiting_continue(self):
        return (
            (
                self._stage == LENGTH
                or (self._stage == CHUNKS and not self._reading.chunks.size_digits)
            )
            and self._body_received == 0
            and self._reading.head.expect_continue
        )

    def told_to_continue(self):
        if self._reading != NULL:
            self._reading.head.expect_continue = False

    @property
    def closed(self):
        return self._stage == CLOSED or self._stage == REFUSED

    @property
    def received(self):
        return self._received_in_all

    def __bool__(self):
        # The one question of each request; nothing else that Python can ask is as cheap.
        return self._has_begun()

    cdef inline bint _has_begun(self) noexcept:
        return not (
            self._data is None
            and (
                self._stage == BETWEEN
                or (
                    # After whole empty lines, which are nothing.
                    self._stage == START
                    and self._head_size == 0
                    and not self._reading.head.after_cr
                )
            )
        )

    @property
    def unread(self):
        return self._unread()

    cdef inline uint64_t _unread(self):
        if self._data is None:
            return 0
        return PyBytes_GET_SIZE(self._data) - self._pos + self._pending_size

    def detach(self):
        cdef bytes rest = b""
        if self._stage == REFUSED:
            return rest
        self._enter()
        self._busy = False
        if self._stage <= HEAD:
            if self._head_buffer != NULL:
                rest = self._head_buffer[:self._head_size]
        elif self._stage != CLOSED:
            raise RuntimeError("detach() inside a body")
        if self._data is not None:
            rest += self._data[self._pos:]
        if self._pending is not None:
            rest += b"".join(self._pending)
        self._stage = CLOSED
        self._drop_input()
        return rest

    # --- What connections of a server ask for each request: all of one object ---------------

    @cython.binding(False)
    def _serve(self, data not None, connection, /):
        self._receive(data)
        if self._options is not None and self._options.gives_heads:
            return self._next_message(connection)
        return self._next_request(connection)

    @cython.binding(False)
    def _take_response(self, RequestMessage request not None, pipelined, /):
        cdef object response = request._corked
        cdef int status_class
        if type(response) is not bytes or request._finished_at == 0.0 or not request.keep_alive:
            return None
        if self._tally is None or self._options is None:
            return None  # nobody asked it for a request
        if self._judge_response(<bytes>response, request, &status_class) != 0:
            return None
        request._corked = None  # the application may keep the request
        self._count_response(request, status_class)
        if not pipelined and not self._has_begun():
            self._tally._at[TALLY_BYTES_SENT] += PyBytes_GET_SIZE(<bytes>response)
        return response

    def _take_last_response(self, RequestMessage request not None):
        cdef object response = request._corked
        cdef int status_class
        if type(response) is not bytes or self._tally is None or self._options is None:
            return None
        if self._judge_response(<bytes>response, request, &status_class) > 1:
            return None
        request._corked = None
        self._count_response(request, status_class)
        return response

    cdef inline int _judge_response(
        self, bytes response, RequestMessage request, int* status_class
    ) except -1:
        if self._options.checks_responses:
            return _check_response(response, request, status_class)
        status_class[0] = _class_of(response)
        return 0

    cdef inline void _count_response(self, RequestMessage request, int status_class) noexcept:
        count_response(self._tally._at, status_class, request._finished_at - request._started_at)

    # --- Steps. Each reads on to the next thing that a caller may want to know -----------

    cdef inline int _enter(self) except -1:
        # Memory can run out anywhere, and a finalizer of the application run anywhere. To
        # go on after that might take the middle of a message for the start of one.
        if self._busy and self._stage != REFUSED:
            raise RuntimeError("an earlier call is still running, or was cut short")
        self._busy = True
        return 0

    cdef int _step(self) except -1:
        if self._stage == REFUSED:
            raise HTTPInputError(*self._error)
        if self._stage == CLOSED:
            # Not an error (RFC 9112 section 9.6): the client could not know.
            self._drop_input()
            return NEED_DATA
        if self._stage == END:
            return GOT_END
        while self._data is not None:
            if self._pos == PyBytes_GET_SIZE(self._data):
                self._next_piece()
            elif self._stage <= START:
                self._read_method()
            elif self._stage == HEAD:
                if self._read_head():
                    return GOT_HEAD
            elif self._stage == LENGTH:
                self._read_length()
                return GOT_DATA
            elif self._read_chunks():
                return GOT_END if self._stage == END else GOT_DATA
        return NEED_DATA

    cdef int _next_piece(self) except -1:
        self._stream_offset += PyBytes_GET_SIZE(self._data)
        self._pos = 0
        if self._pending is None:
            self._data = None
        else:
            # One join of all that waits, so that many small pieces cost linear time.
            self._data = b"".join(self._pending)
            self._pending = None
            self._pending_size = 0
        return 0

    cdef int _drop_input(self) except -1:
        if self._data is not None:
            self._stream_offset += self._unread()
            self._data = None
            self._pending = None
            self._pending_size = 0
        return 0

    cdef int _read_method(self) except -1:
        """Skip empty lines (RFC 9112 section 2.2), then read the token before the first SP."""
        cdef Reading* reading
        cdef const char* data = PyBytes_AS_STRING(self._data)
        cdef Py_ssize_t end = PyBytes_GET_SIZE(self._data)
        cdef Py_ssize_t pos = self._pos
        cdef Py_ssize_t start
        cdef uint64_t room
        cdef int refusal
        if self._stage == BETWEEN:
            self._begin_message()
        reading = self._reading
        if self._head_size == 0:
            while pos < end and (reading.head.after_cr or data[pos] in (b"\r", b"\n")):
                if reading.head.after_cr != (data[pos] == b"\n"):
                    self._message_offset = self._stream_offset
                    self._raise(BAD_LINE_END, pos)
                reading.head.after_cr = not reading.head.after_cr
                if reading.head.skipped == reading.bounds.max_request_line:
                    self._message_offset = self._stream_offset
                    self._raise(LONG_REQUEST_LINE, pos)
                reading.head.skipped += 1
                pos += 1
            self._message_offset = self._stream_offset + pos
        start = pos
        # A method that leaves no room for a target is none that anybody has: 501, and not
        # 414 (RFC 9112 section 3).
        refusal = LONG_METHOD
        room = reading.bounds.max_request_line - METHOD_TO_LINE_END
        if reading.head.skipped > METHOD_TO_LINE_END:
            refusal = LONG_REQUEST_LINE  # by its empty lines
            room = reading.bounds.max_request_line - reading.head.skipped
        room -= self._head_size
        while pos < end and is_a(TOKEN, data[pos]):
            if <uint64_t>(pos - start) == room:
                self._raise(refusal, self._head_size + room)
            pos += 1
        if pos == end:
            if pos > start:
                self._gather(data + start, pos - start)
            self._pos = pos
            return 0
        reading.head.method_size = self._head_size + <uint32_t>(pos - start)
        if data[pos] != b" " or reading.head.method_size == 0:
            self._raise(BAD_METHOD, reading.head.method_size)
        if (
            reading.bounds.max_request_line
            < reading.head.skipped + reading.head.method_size + METHOD_TO_LINE_END
        ):
            # _on_url counts on room for the version.
            self._raise(LONG_REQUEST_LINE, reading.head.method_size)
        pos += 1
        if self._head_size or pos == end:
            self._gather(data + start, pos - start)
            self._begin_head(self._head_buffer)
        else:
            self._begin_head(data + start)
        self._pos = pos
        return 0

    cdef int _begin_message(self) except -1:
        global _spare_reading
        if _spare_reading != NULL:
            self._reading = _spare_reading
            _spare_reading = NULL
        else:
            self._reading = <Reading*>PyMem_RawMalloc(sizeof(Reading))
            if self._reading == NULL:
                raise MemoryError
        if self._options is None:
            self._options = _Options()  # it was never initialised: all limits are 0
        begin_message(self._reading, &self._options.bounds)
        # These told of the message before until now.
        self._is_head = False
        self._body_received = 0
        self._stage = START
        return 0

    cdef int _begin_head(self, const char* method) except -1:
        global _spare_fields
        cdef Reading* reading = self._reading
        if _spare_fields != NULL:
            reading.section.fields = _spare_fields
            reading.section.capacity = FEW_FIELDS
            _spare_fields = NULL
        reading.head.connect = reading.head.method_size == 7 and memcmp(method, b"CONNECT", 7) == 0
        self._is_head = reading.head.method_size == 4 and memcmp(method, b"HEAD", 4) == 0
        reading.head.is_head = self._is_head
        reading.llhttp = _AFTER_CONNECT if reading.head.connect else _AFTER_METHOD
        reading.llhttp.data = reading
        self._stage = HEAD
        return 0

    cdef int _read_head(self) except -1:
        """Run llhttp over the head; return 1 at its end, 0 when more bytes are needed."""
        cdef Reading* reading = self._reading
        cdef const char* data = PyBytes_AS_STRING(self._data)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(self._data) - self._pos
        cdef uint32_t done      # bytes of the head that llhttp has read
        cdef int error
        if self._head_buffer == NULL:
            done = <uint32_t>(self._stream_offset + self._pos - self._message_offset)
            reading.base = data + self._pos - done
        else:
            done = self._head_size
        if size > <Py_ssize_t>reading.bounds.max_header_size - done:
            size = reading.bounds.max_header_size - done
        if self._head_buffer != NULL:
            self._gather(data + self._pos, size)
            reading.base = self._head_buffer
        reading.base_offset = 0
        error = llhttp_execute(&reading.llhttp, reading.base + done, size)
        if error == HPE_PAUSED:
            size = llhttp_get_error_pos(&reading.llhttp) - (reading.base + done)
            self._pos += size
            self._finish_head(done + size)
            return 1
        if error != HPE_OK or check_spacing(reading, done + size) != 0:
            self._raise_from_llhttp(error)
        if done + size == reading.bounds.max_header_size:
            self._raise(LONG_HEAD, reading.bounds.max_header_size)
        if self._head_buffer == NULL:
            self._gather(reading.base, done + size)
        self._pos += size
        return 0

    cdef int _gather(self, const char* at, size_t size) except -1:
        """Append to the head buffer; `at` must not point into it."""
        cdef size_t needed = self._head_size + size
        cdef size_t capacity
        cdef char* grown
        if needed > self._head_capacity:
            capacity = max(needed, 2 * <size_t>self._head_capacity)
            grown = <char*>PyMem_RawRealloc(self._head_buffer, capacity)
            if grown == NULL:
                raise MemoryError
            self._head_buffer = grown
            self._head_capacity = <uint32_t>capacity
        memcpy(self._head_buffer + self._head_size, at, size)
        self._head_size += <uint32_t>size
        return 0

    cdef int _free_head_buffer(self) except -1:
        PyMem_RawFree(self._head_buffer)
        self._head_buffer = NULL
        self._head_size = 0
        self._head_capacity = 0
        return 0

    cdef int _finish_head(self, uint32_t head_size) except -1:
        """Make the message object; the only place that does."""
        cdef Reading* reading = self._reading
        # Not the subclass's own __new__, which may return anything; this one needs no check.
        cdef RequestMessage message = <RequestMessage>(<PyTypeObject*>RequestMessage).tp_new(
            self._options.message_class, <PyObject*>_NO_ARGUMENTS, NULL
        )
        message.method = _method_name(reading.base, reading.head.method_size)
        message._is_head = reading.head.is_head
        message._is_1_1 = reading.llhttp.http_minor == 1
        message.version = "HTTP/1.1" if message._is_1_1 else "HTTP/1.0"
        message.body = b""
        message._started_at = _time()
        message.keep_alive = reading.head.keep_alive
        message.upgrade = reading.head.upgrade
        message.expect_continue = reading.head.expect_continue
        if self._head_buffer == NULL:
            message._head = self._data
            message._base = reading.base - PyBytes_AS_STRING(self._data)
        else:
            message._head = PyBytes_FromStringAndSize(self._head_buffer, head_size)
            message._base = 0
            self._free_head_buffer()
        message._fields = reading.section.fields
        message._count = reading.section.count
        reading.section.fields = NULL
        reading.section.capacity = 0
        message._target_at = reading.head.target_at
        message._target_size = reading.head.target_size
        message._host_at = reading.head.host_at
        message._host_size = reading.head.host_size
        self._message = message
        if reading.head.chunked:
            self._stage = CHUNKS
            begin_chunks(reading)
            llhttp_resume(&reading.llhttp)
        elif reading.head.content_length:
            self._stage = LENGTH
            reading.body_remaining = reading.head.content_length
        else:
            self._stage = END
        return 0

    cdef int _read_length(self) except -1:
        cdef Reading* reading = self._reading
        cdef uint64_t size = PyBytes_GET_SIZE(self._data) - self._pos
        if size > reading.body_remaining:
            size = reading.body_remaining
        reading.piece_at = PyBytes_AS_STRING(self._data) + self._pos
        reading.piece_size = size
        self._pos += size
        reading.body_remaining -= size
        self._body_received += size
        if reading.body_remaining == 0:
            self._stage = END
        return 0

    cdef int _read_chunks(self) except -1:
        """Read up to the end of a chunk; return 1 with a piece or at the end of the body."""
        cdef Reading* reading = self._reading
        cdef const char* at = PyBytes_AS_STRING(self._data) + self._pos
        cdef const char* end = PyBytes_AS_STRING(self._data) + PyBytes_GET_SIZE(self._data)
        cdef int error
        reading.base = at
        reading.base_offset = self._stream_offset + self._pos - self._message_offset
        if reading.chunks.in_size_digits and count_size_digits(reading, at, end) != 0:
            self._raise(reading.refusal, reading.refused_at)
        if reading.section.trailers and end - at > reading.bounds.max_header_size - self._head_size:
            # The room that is left for the trailer section, counted in _head_size.
            end = at + (reading.bounds.max_header_size - self._head_size)
        reading.chunks.data_size = 0
        error = llhttp_execute(&reading.llhttp, at, end - at)
        if error != HPE_OK and error != HPE_PAUSED:
            self._raise_from_llhttp(error)
        reading.piece_at = reading.chunks.data_at
        reading.piece_size = reading.chunks.data_size
        self._body_received += reading.chunks.data_size
        if error == HPE_OK:
            self._pos += end - at
            if reading.section.trailers:
                self._head_size += <uint32_t>(end - at)
                if self._head_size == reading.bounds.max_header_size:
                    self._raise(LONG_HEAD, offset_of(reading, end))
            return reading.piece_size > 0
        self._pos += llhttp_get_error_pos(&reading.llhttp) - at
        llhttp_resume(&reading.llhttp)
        if reading.chunks.complete:
            self._finish_trailers()
        elif not reading.section.trailers:
            end_chunk(&reading.chunks)
        return reading.piece_size > 0 or self._stage == END

    cdef int _finish_trailers(self) except -1:
        cdef Reading* reading = self._reading
        self._head_size = 0
        if reading.section.count:
            self._message._trailers = [
                item
                for item in _field_items(
                    reading.section.trailer_buffer, reading.section.fields, reading.section.count
                )
                if item[0] not in NOT_IN_TRAILERS
            ]
            PyMem_RawFree(reading.section.fields)
            reading.section.fields = NULL
            reading.section.capacity = 0
            PyMem_RawFree(reading.section.trailer_buffer)
            reading.section.trailer_buffer = NULL
            reading.section.trailer_capacity = 0
        self._stage = END
        return 0

    # --- What the caller gets ---------------------------------------------------------------

    cdef RequestMessage _take_message(self):
        global _spare_reading
        cdef RequestMessage message = self._message
        self._message = None
        self._streaming = False
        self._stage = BETWEEN if self._reading.head.keep_alive else CLOSED
        # Most connections are idle most of the time, and most requests come in one piece.
        if KEEPS_A_SPARE and _spare_reading == NULL:
            _spare_reading = self._reading
        else:
            PyMem_RawFree(self._reading)
        self._reading = NULL
        self._messages += 1
        if self._data is not None and self._pos == PyBytes_GET_SIZE(self._data):
            self._next_piece()
        return message

    cdef bytes _take_piece(self):
        if self._reading.piece_size == PyBytes_GET_SIZE(self._data):
            return self._data
        return PyBytes_FromStringAndSize(self._reading.piece_at, self._reading.piece_size)

    cdef int _collect(self) except -1:
        """Append the piece to the body: one buffer, grown by doubling, so linear time."""
        cdef Reading* reading = self._reading
        cdef Py_ssize_t size = <Py_ssize_t>self._body_received
        cdef Py_ssize_t before = size - reading.piece_size
        cdef Py_ssize_t capacity
        if size > reading.body_capacity:
            capacity = 2 * reading.body_capacity if before else 0
            if capacity < size:
                capacity = size
            if self._stage == LENGTH and <uint64_t>capacity > size + reading.body_remaining:
                capacity = <Py_ssize_t>(size + reading.body_remaining)
            if reading.body == NULL:
                body = PyBytes_FromStringAndSize(NULL, capacity)
                Py_INCREF(body)
                reading.body = <PyObject*>body
                body = None
            else:
                _PyBytes_Resize(&reading.body, capacity)
            reading.body_capacity = capacity
        memcpy(
            PyBytes_AS_STRING(<object>reading.body) + before, reading.piece_at, reading.piece_size
        )
        return 0

    cdef object _take_body(self):
        cdef Reading* reading = self._reading
        cdef PyObject* body
        if reading.body_capacity != <Py_ssize_t>self._body_received:
            _PyBytes_Resize(&reading.body, <Py_ssize_t>self._body_received)
        body = reading.body
        reading.body = NULL
        reading.body_capacity = 0
        result = <object>body
        Py_XDECREF(body)  # the reference that reading.body was
        return result

    # --- Refusing -------------------------------------------------------------------------

    cdef int _raise_from_llhttp(self, int error) except -1:
        cdef Reading* reading = self._reading
        cdef const char* at = llhttp_get_error_pos(&reading.llhttp)
        cdef uint64_t offset = offset_of(reading, at)
        cdef uint64_t version_at
        cdef object reason
        if reading.llhttp._span_pos0 != NULL and reading.refusal == ACCEPTED:
            # A limit that was crossed before the error comes first, as byte by byte.
            (<int (*)(llhttp_t*, const char*, const char*) noexcept nogil>(
                reading.llhttp._span_cb0
            ))(&reading.llhttp, <const char*>reading.llhttp._span_pos0, at)
        if self._stage == HEAD:
            check_spacing(reading, offset)
        if reading.refusal != ACCEPTED:
            if reading.refused_at:
                offset = reading.refused_at
            self._raise(reading.refusal, offset)
        if error == HPE_INVALID_VERSION and not (
            reading.llhttp.http_major == 1 and reading.llhttp.http_minor in (0, 1)
        ):
            version_at = reading.head.target_at + reading.head.target_size + 1
            if offset == version_at + 8:
                self._raise(BAD_VERSION, version_at)
        reason = (<bytes>llhttp_get_error_reason(&reading.llhttp)).decode("ascii")
        self._raise_error(400, reason, offset)
        return 0

    cdef int _raise(self, int refusal, uint64_t offset) except -1:
        """Refuse at `offset` from the first byte of the message."""
        if refusal == NO_MEMORY:
            raise MemoryError
        status, reason = _REFUSALS[refusal]
        self._raise_error(status, reason, offset)
        return 0

    cdef int _raise_error(self, status, reason, uint64_t offset) except -1:
        # Not the exception: its traceback would hold this parser in a cycle.
        self._error = (reason, status, self._message_offset + offset)
        self._stage = REFUSED
        self._message = None
        self._streaming = False
        self._data = None
        self._pending = None
        self._pending_size = 0
        self._free_head_buffer()
        Py_XDECREF(self._reading.body)
        self._reading.body = NULL
        self._leave()
        raise HTTPInputError(*self._error)


cdef _check_limit(str name, value, low, high):
    if type(value) is not int:
        raise TypeError(f"{name} must be an int, not {type(value).__name__}")
    if not low <= value <= high:
        raise ValueError(f"{name} must be between {low} and {high}, not {value}")


# --- Responses that an application writes itself ----------------------------------------------

# What is wrong, so that it follows "the response".
cdef dict _RESPONSE_FAULTS = {
    RESPONSE_EMPTY: "is empty",
    RESPONSE_NOT_HTTP: "is not HTTP",
    RESPONSE_HEAD_INCOMPLETE: "has no complete head",
    RESPONSE_LINE_END: "has a line in its head that does not end with CRLF",
    RESPONSE_FIELD: "has a line in its head that is not a field",
    RESPONSE_LENGTH: "has a Content-Length that is not a number",
    RESPONSE_LENGTHS: "has several Content-Lengths that differ",
    RESPONSE_LENGTH_AND_CODING: "has both Content-Length and Transfer-Encoding",
    RESPONSE_CODING: "has another Transfer-Encoding than chunked",
    RESPONSE_CHUNKS_FOR_1_0: "has Transfer-Encoding, which HTTP/1.0 does not know",
    RESPONSE_INTERIM_FOR_1_0: "has a status below 200, which HTTP/1.0 does not know",
    RESPONSE_NO_LENGTH: "has no length, and the connection is kept alive",
    RESPONSE_SHORT: "is shorter than its Content-Length by {} bytes",
    RESPONSE_LONG: "is longer than its Content-Length by {} bytes",
    RESPONSE_BODY_FOR_HEAD: "has a body, but the request is HEAD",
    RESPONSE_BODY_FOR_STATUS: "has a body, but its status is {}",
    RESPONSE_CHUNK_SIZE: "has a chunk whose size is not a number",
    RESPONSE_CHUNK_END: "has a chunk that is not as long as its size",
    RESPONSE_CHUNK_MISSING: "ends before its last chunk does",
    RESPONSE_AFTER_CHUNKS: "goes on after its last chunk",
}


@cython.final
cdef class ResponseChecker:
    cdef ResponseReading _reading

    def __init__(self):
        # Not __cinit__: for one without arguments Cython 3.3.1 adds 0 to NULL, which is
        # undefined behaviour, and the fuzzer stops at it.
        begin_response(&self._reading, False, False, True)

    def __reduce__(self):
        raise TypeError("a ResponseChecker cannot be pickled")

    def start(self, bint is_head, bint is_connect, bint http_1_1):
        begin_response(&self._reading, is_head, is_connect, http_1_1)

    def feed(self, bytes chunk not None):
        read_response(&self._reading, PyBytes_AS_STRING(chunk), PyBytes_GET_SIZE(chunk))

    def finish(self, bint keep_alive):
        cdef ResponseReading* reading = &self._reading
        cdef int fault = end_response(reading, keep_alive)
        if fault == RESPONSE_RIGHT:
            return None
        cdef str text = _RESPONSE_FAULTS[fault]
        if fault == RESPONSE_SHORT:
            return text.format(reading.remaining)
        if fault == RESPONSE_LONG:
            return text.format(reading.extra)
        if fault == RESPONSE_BODY_FOR_STATUS:
            return text.format(reading.status)
        return text

    @property
    def status(self):
        return self._reading.status

    @property
    def in_body(self):
        return self._reading.in_body

    @property
    def body_size(self):
        return self._reading.body

    @property
    def close(self):
        return response_closes(&self._reading)

    @property
    def switched(self):
        return self._reading.state == SWITCHED


cdef int _check_response(bytes response, RequestMessage request, int* status_class) except -1:
    cdef ResponseReading reading
    if request._is_1_1 and not request._is_head and is_usual_response(
        PyBytes_AS_STRING(response), PyBytes_GET_SIZE(response)
    ):
        status_class[0] = PyBytes_AS_STRING(response)[9] - 48
        return 0
    begin_response(&reading, request._is_head, False, request._is_1_1)
    read_response(&reading, PyBytes_AS_STRING(response), PyBytes_GET_SIZE(response))
    status_class[0] = reading.status // 100
    if end_response(&reading, True) != RESPONSE_RIGHT or reading.state == SWITCHED:
        return 2
    return 1 if response_closes(&reading) else 0


@cython.binding(False)
def check_response(bytes response not None, RequestMessage request not None, /):
    cdef int status_class
    return _check_response(response, request, &status_class)


@cython.binding(False)
def measure_response(bytes response not None, RequestMessage request not None, /):
    cdef ResponseReading reading
    begin_response(&reading, request._is_head, False, request._is_1_1)
    read_response(&reading, PyBytes_AS_STRING(response), PyBytes_GET_SIZE(response))
    return reading.status, reading.body


# --- Arguments ----------------------------------------------------------------------------------


cdef bytes _decoded(const char* at, Py_ssize_t size, bint plus):
    cdef bytes decoded
    if not has_escapes(at, size, plus):
        return PyBytes_FromStringAndSize(at, size)
    # A new one to write into, whatever its size.
    decoded = PyBytes_FromStringAndSize(NULL, decoded_size(at, size))
    write_decoded(PyBytes_AS_STRING(decoded), at, size, plus)
    return decoded


cdef str _decoded_name(const char* at, Py_ssize_t size):
    cdef bytes decoded
    if not has_escapes(at, size, True):
        return PyUnicode_DecodeLatin1(at, size, NULL)
    decoded = _decoded(at, size, True)
    return PyUnicode_DecodeLatin1(PyBytes_AS_STRING(decoded), PyBytes_GET_SIZE(decoded), NULL)


@cython.binding(False)
def unescape(bytes data not None, /):
    return _decoded(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), False)


@cython.binding(False)
def split_arguments(query not None, Py_ssize_t most, /):
    cdef dict arguments = {}
    cdef object values
    cdef str name
    cdef bytes value
    cdef const char* at     # borrowed from the query, as the others are
    cdef const char* end
    cdef const char* stop
    cdef const char* equals_sign
    if isinstance(query, bytes):
        at = PyBytes_AS_STRING(query)
        end = at + PyBytes_GET_SIZE(query)
    elif isinstance(query, str) and PyUnicode_KIND(query) == PyUnicode_1BYTE_KIND:
        at = <const char*>PyUnicode_1BYTE_DATA(query)
        end = at + PyUnicode_GET_LENGTH(query)
    else:
        raise TypeError("a query is bytes, or a str of latin-1")
    if at < end and count_fields(at, end - at) > most:
        return None
    while at < end:
        stop = <const char*>memchr(at, b"&", end - at)
        if stop == NULL:
            stop = end
        if at < stop:
            equals_sign = <const char*>memchr(at, b"=", stop - at)
            if equals_sign == NULL:
                name = _decoded_name(at, stop - at)
                value = b""
            else:
                name = _decoded_name(at, equals_sign - at)
                value = _decoded(equals_sign + 1, stop - equals_sign - 1, True)
            values = arguments.get(name)
            if values is None:
                arguments[name] = [value]
            else:
                (<list>values).append(value)
        at = stop + 1
    return arguments


@cython.binding(False)
def add_arguments(arguments not None, more not None, /):
    for name, values in more.items():
        if name in arguments:
            arguments[name].extend(values)
        else:
            arguments[name] = list(values)


# --- Cookies ------------------------------------------------------------------------------------


# What a new Morsel has, and none may be called. Its constructor sets one after the other.
cdef dict _MORSEL_ATTRIBUTES = dict(Morsel())


cdef object _new_morsel(str name, str value, str coded):
    """Do as ``Morsel().set(name, value, coded)``, without the checks: these have been made."""
    morsel = (<PyTypeObject*>Morsel).tp_new(Morsel, <PyObject*>_NO_ARGUMENTS, NULL)
    PyDict_Update(morsel, _MORSEL_ATTRIBUTES)
    morsel._key = name
    morsel._value = value
    morsel._coded_value = coded
    return morsel


cdef bint _is_cookie_name(str name):
    cdef Py_UCS4 c
    if name == "":
        return False
    for c in name:
        # A colon is not a token (RFC 6265 section 4.1.1), but may be in the name of a Morsel.
        if not (c < 128 and (is_a(TOKEN, <char>c) or c == u":")):
            return False
    return name.lower() not in _MORSEL_ATTRIBUTES


cdef bint _has_control(str text):
    cdef Py_UCS4 c
    for c in text:
        if c < 32 or c == 127:
            return True
    return False


cdef str _trimmed(header, Py_ssize_t start, Py_ssize_t end):
    while start < end and PyUnicode_READ_CHAR(header, end - 1) in (u" ", u"\t"):
        end -= 1
    while start < end and PyUnicode_READ_CHAR(header, start) in (u" ", u"\t"):
        start += 1
    return PyUnicode_Substring(header, start, end)


@cython.binding(False)
def put_cookies(cookies not None, header not None, unquote not None, /):
    cdef Py_ssize_t size
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t end
    cdef Py_ssize_t equals_sign
    cdef Py_ssize_t coded_size
    cdef str name
    cdef str value
    cdef str coded
    if not isinstance(header, str):
        raise TypeError("a Cookie field is a str")
    size = PyUnicode_GET_LENGTH(header)
    while at < size:
        end = PyUnicode_FindChar(header, u";", at, size, 1)
        if end == -1:
            end = size
        equals_sign = PyUnicode_FindChar(header, u"=", at, end, 1)
        if equals_sign != -1:
            name = _trimmed(header, at, equals_sign)
            value = coded = _trimmed(header, equals_sign + 1, end)
            coded_size = PyUnicode_GET_LENGTH(coded)
            if (
                coded_size > 1
                and PyUnicode_READ_CHAR(coded, 0) == u'"'
                and PyUnicode_READ_CHAR(coded, coded_size - 1) == u'"'
            ):
                value = unquote(coded)
            if (
                _is_cookie_name(name)
                and not _has_control(coded)
                # What newer versions of Morsel refuse, all do here: octal digits can spell it.
                and (value is coded or not _has_control(value))
            ):
                PyDict_SetItem(cookies, name, _new_morsel(name, value, coded))
        at = end + 1


# --- Responses that the server frames ---------------------------------------------------------


cdef inline bint _find_bytes(object text, const char** at, Py_ssize_t* size):
    """Find the wire's bytes of a text, borrowed from it; False if it is not of that kind."""
    if type(text) is bytes:
        at[0] = PyBytes_AS_STRING(text)
        size[0] = PyBytes_GET_SIZE(text)
        return True
    if type(text) is str and PyUnicode_KIND(text) == PyUnicode_1BYTE_KIND:
        at[0] = <const char*>PyUnicode_1BYTE_DATA(text)
        size[0] = PyUnicode_GET_LENGTH(text)
        return True
    return False


cdef char* _copy_fields(char* to, list texts):
    """Write names and values as the lines of a field section; return where these end."""
    cdef const char* at = NULL
    cdef Py_ssize_t size = 0
    cdef bint is_name = True
    for text in texts:
        _find_bytes(text, &at, &size)
        if is_name:
            write_canonical(to, at, <uint32_t>size)
            memcpy(to + size, b": ", 2)
        else:
            memcpy(to, at, size)
            memcpy(to + size, b"\r\n", 2)
        to += size + 2
        is_name = not is_name
    return to


@cython.binding(False)
def serialize_fields(str first_line not None, fields not None, /):
    cdef list texts = []  # names and values, which own what is copied below
    cdef const char* at = NULL
    cdef Py_ssize_t size = 0
    cdef Py_ssize_t total
    cdef bint is_name = True
    cdef bytes section
    cdef char* to
    if not _find_bytes(first_line, &at, &size) or not is_line(at, size):
        return None
    total = size + 4
    for item in fields:
        if type(item) is not tuple or len(<tuple>item) != 2:
            return None
        for text in <tuple>item:
            if not _find_bytes(text, &at, &size):
                return None
            if not (is_token(at, size) if is_name else is_line(at, size)):
                return None
            texts.append(text)
            total += size + 2
            is_name = not is_name
    section = PyBytes_FromStringAndSize(NULL, total)
    to = PyBytes_AS_STRING(section)
    _find_bytes(first_line, &at, &size)
    memcpy(to, at, size)
    memcpy(to + size, b"\r\n", 2)
    to = _copy_fields(to + size + 2, texts)
    memcpy(to, b"\r\n", 2)
    return section


cdef bytes _frame(
    const char* first,
    Py_ssize_t first_size,
    const char* second,
    Py_ssize_t second_size,
    fields,
    bytes body,
):
    """Return a line or more, which is in two parts here, with fields, a length and a body.

    None if there is more to the fields than that: one frames, or is wrong.
    """
    cdef list texts = []  # names and values, which own what is copied below
    cdef tuple pair
    cdef object text
    cdef const char* at = NULL
    cdef Py_ssize_t size = 0
    cdef Py_ssize_t total
    cdef Py_ssize_t body_size = PyBytes_GET_SIZE(body)
    cdef char[20] length
    cdef Py_ssize_t length_size = write_number(length, body_size)
    cdef bint measured = False
    cdef bint is_length = False
    cdef bint is_name = True
    cdef bytes response
    cdef char* to
    if type(fields) is not list:
        return None
    # "Content-Length: ", and three line ends.
    total = first_size + second_size + 16 + length_size + 6 + body_size
    for item in fields:
        if type(item) is not tuple:
            return None
        pair = item
        if len(pair) != 2:
            return None
        for text in pair:
            if not _find_bytes(text, &at, &size):
                return None
            if is_name:
                if not is_token(at, size) or frames(at, size):
                    return None
                is_length = is_content_length(at, size)
            elif is_length:
                if measured or not is_number(at, size, body_size):
                    return None
                measured = True
            elif not is_line(at, size):
                return None
            if not is_length:
                texts.append(text)
                total += size + 2
            is_name = not is_name
    response = PyBytes_FromStringAndSize(NULL, total)
    to = PyBytes_AS_STRING(response)
    memcpy(to, first, first_size)
    to += first_size
    memcpy(to, second, second_size)
    memcpy(to + second_size, b"\r\n", 2)
    to = _copy_fields(to + second_size + 2, texts)
    memcpy(to, b"Content-Length: ", 16)
    memcpy(to + 16, length, length_size)
    to += 16 + length_size
    memcpy(to, b"\r\n\r\n", 4)
    memcpy(to + 4, PyBytes_AS_STRING(body), body_size)
    return response


cdef inline bint _takes_a_usual_response(RequestMessage request):
    """Whether nothing about it changes how a response is framed, or ends the connection."""
    return (
        request._is_1_1 and request.keep_alive and not request._is_head and not request.upgrade
    )


@cython.binding(False)
def frame_response(
    RequestMessage request not None, code, str reason not None, fields, bytes body not None, /
):
    cdef const char* at = NULL
    cdef Py_ssize_t size = 0
    cdef char[20] line
    if not _takes_a_usual_response(request):
        return None
    if type(code) is not int or not 200 <= code <= 999 or code == 204 or code == 304:
        return None
    if not _find_bytes(reason, &at, &size) or not is_line(at, size):
        return None
    memcpy(line, b"HTTP/1.1 ", 9)
    write_number(line + 9, code)
    line[12] = b" "
    return _frame(line, 13, at, size, fields, body)


@cython.binding(False)
def frame_prepared(
    RequestMessage request not None, bytes head not None, fields, bytes body not None, /
):
    if not _takes_a_usual_response(request):
        return None
    return _frame(PyBytes_AS_STRING(head), PyBytes_GET_SIZE(head), b"", 0, fields, body)


# --- Lines of the access log ------------------------------------------------------------------


cdef struct Line:
    char* at         # owned
    size_t size
    size_t capacity


cdef char* _make_room(Line* line, size_t size) except NULL:
    """Return where so many bytes may be written; `line.size` is for the caller to set."""
    if line.at == NULL or line.size + size > line.capacity:
        line.capacity = max(512, 2 * (line.size + size))
        # What was there is freed at the end, if there is no memory.
        grown = <char*>PyMem_RawRealloc(line.at, line.capacity)
        if grown == NULL:
            raise MemoryError
        line.at = grown
    return line.at + line.size


cdef int _put(Line* line, const char* at, size_t size) except -1:
    memcpy(_make_room(line, size), at, size)
    line.size += size
    return 0


cdef int _put_escaped(Line* line, const char* at, size_t size, bint as_json) except -1:
    """Write text in latin-1 so that it ends neither the line nor its quotes, as Apache does.

    CVE-2020-7694 was a log without that.
    """
    cdef char* start = _make_room(line, 6 * size)
    cdef char* to = start
    cdef uint8_t c
    cdef size_t i
    for i in range(size):
        c = <uint8_t>at[i]
        if c == b'"' or c == b"\\":
            to[0] = b"\\"
            to[1] = <char>c
            to += 2
        elif 32 <= c < 127:
            to[0] = <char>c
            to += 1
        else:
            memcpy(to, b"\\u00" if as_json else b"\\x", 4 if as_json else 2)
            to += 4 if as_json else 2
            to[0] = b"0123456789abcdef"[c >> 4]
            to[1] = b"0123456789abcdef"[c & 15]
            to += 2
    line.size += <size_t>(to - start)
    return 0


cdef int _put_text(Line* line, object value, bint as_json) except -1:
    """Write a value, escaped."""
    cdef const char* at = NULL
    cdef Py_ssize_t size = 0
    if value is None:
        return _put(line, b"null", 4) if as_json else _put(line, b"-", 1)
    if type(value) is not str:
        value = str(value)
    if as_json:
        _put(line, b'"', 1)
    if _find_bytes(value, &at, &size):
        _put_escaped(line, at, size, as_json)
    else:  # beyond latin-1, which no client can send; JSON's escapes do for both
        value = encode_basestring_ascii(value)[1:-1]
        _find_bytes(value, &at, &size)
        _put(line, at, size)
    if as_json:
        _put(line, b'"', 1)
    return 0


cdef int _put_number(Line* line, uint64_t number, int digits) except -1:
    """Write a number with so many digits at least; snprintf() takes ten times as long."""
    cdef char[20] text
    cdef int at = 20
    while number or at > 20 - digits:
        at -= 1
        text[at] = <char>(48 + number % 10)
        number //= 10
    return _put(line, &text[at], 20 - at)


cdef int _put_decimal(Line* line, double seconds) except -1:
    """Write seconds with six places, whatever the locale."""
    cdef uint64_t microseconds = <uint64_t>(seconds * 1e6 + 0.5)
    _put_number(line, microseconds // 1000000, 1)
    _put(line, b".", 1)
    return _put_number(line, microseconds % 1000000, 6)


cdef int _put_atom(
    Line* line, char letter, bint as_json, RequestMessage request, str remote_ip, status,
    uint64_t size, double duration
) except -1:
    """Write what a letter of gunicorn's stands for."""
    if letter == b"s":
        if status is None:
            return _put_text(line, None, as_json)
        return _put_number(line, status, 1)
    if letter == b"B" or (letter == b"b" and size):
        return _put_number(line, size, 1)
    if letter == b"T":
        return _put_number(line, <uint64_t>duration, 1)
    if letter == b"M":
        return _put_number(line, <uint64_t>(duration * 1e3), 1)
    if letter == b"D":
        return _put_number(line, <uint64_t>(duration * 1e6), 1)
    if letter == b"L":
        return _put_decimal(line, duration)
    if letter == b"h":
        return _put_text(line, remote_ip, as_json)
    if letter == b"b" or request is None:
        return _put_text(line, None, as_json)
    if letter == b"r":
        _put_text(line, request.method, as_json)
        _put(line, b" ", 1)
        _put_text(line, request.uri, as_json)
        _put(line, b" ", 1)
        return _put_text(line, request.version, as_json)
    if letter == b"m":
        return _put_text(line, request.method, as_json)
    if letter == b"i":
        return _put_text(line, request.uri, as_json)
    if letter == b"H":
        return _put_text(line, request.version, as_json)
    if letter == b"v":
        return _put_text(line, request.authority or None, as_json)
    if letter == b"f":
        return _put_text(line, _joined(request._find(b"referer", 7), None), as_json)
    return _put_text(line, _joined(request._find(b"user-agent", 10), None), as_json)


@cython.binding(False)
def log_line(
    tuple parts not None, bint as_json, RequestMessage request, str remote_ip not None, status,
    uint64_t size, double duration, bytes time not None, bytes response not None, /
):
    cdef Line line = Line(NULL, 0, 0)
    cdef bint is_text = True
    cdef bytes text
    try:
        for part in parts:
            if is_text or part == b"t":
                text = part if is_text else time
                _put(&line, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))
            elif type(part) is bytes:
                _put_atom(
                    &line, PyBytes_AS_STRING(part)[0], as_json, request, remote_ip, status, size,
                    duration,
                )
            else:
                _put_text(&line, None if request is None else part(request, response), as_json)
            is_text = not is_text
        return PyBytes_FromStringAndSize(line.at, <Py_ssize_t>line.size)
    finally:
        PyMem_RawFree(line.at)
