"""Callbacks for a request line, and the checks at the end of a head. C only.

llhttp is strict, but it does not know what the parts of a head mean together: how often a
field may come, whether the form of the target goes with the method, what a host is, whether
two readers would find the same end of the message. What it lets pass there `check_head`
refuses. It also decides what follows from the head: the framing of the body, and whether
the connection goes on after it.

The callbacks see the request line come in as many spans as there were reads. They refuse
what crosses a limit as soon as it does, so that the cut of the bytes changes nothing.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memchr, memcmp

from fasthttpserver._parsing.grammar cimport DIGIT, TOKEN, equals, is_a, is_host, trim
from fasthttpserver._parsing.llhttp cimport (
    F_CHUNKED,
    F_CONNECTION_CLOSE,
    F_CONNECTION_KEEP_ALIVE,
    F_CONNECTION_UPGRADE,
    F_CONTENT_LENGTH,
    F_TRANSFER_ENCODING,
    F_UPGRADE,
    HPE_PAUSED,
    llhttp_t,
)
from fasthttpserver._parsing.reading cimport (
    BAD_CODING,
    BAD_EXPECT,
    BAD_HOST,
    BAD_SPACING,
    BAD_TARGET,
    BAD_VERSION,
    CODING_IN_1_0,
    CONNECT_BODY,
    LONG_BODY,
    LONG_REQUEST_LINE,
    MANY_HOSTS,
    MANY_TYPES,
    NO_HOST,
    NO_VERSION,
    UNKNOWN_CODING,
    Field,
    Head,
    Reading,
    offset_of,
    refuse,
)


cdef inline int on_url(llhttp_t* llhttp, const char* at, size_t size) noexcept nogil:
    cdef Reading* reading = <Reading*>llhttp.data
    cdef Head* head = &reading.head
    cdef uint32_t offset = <uint32_t>offset_of(reading, at)
    # " HTTP/1.1" makes the rest of the line.
    cdef uint32_t room = reading.bounds.max_request_line - 9 - head.skipped
    if head.target_size == 0:
        head.target_at = offset
        if offset != head.method_size + 1:
            return refuse(reading, BAD_SPACING, head.method_size + 1)
    head.target_size = offset + <uint32_t>size - head.target_at
    if offset + size > room:
        return refuse(reading, LONG_REQUEST_LINE, room)
    return 0


cdef inline int on_version(llhttp_t* llhttp, const char* at, size_t size) noexcept nogil:
    cdef Reading* reading = <Reading*>llhttp.data
    cdef Head* head = &reading.head
    cdef uint64_t target_end = head.target_at + head.target_size
    if not head.version_seen:
        head.version_seen = True
        if offset_of(reading, at) != target_end + 6:  # SP and "HTTP/"
            return refuse(reading, BAD_SPACING, target_end + 1)
    return 0


cdef inline int check_spacing(Reading* reading, uint64_t end) noexcept nogil:
    """Refuse a second SP in a row, over which llhttp reads on, as soon as it is there.

    `end` is the offset of the first byte that llhttp has not read.
    """
    cdef Head* head = &reading.head
    cdef uint64_t at = head.method_size + 1
    if head.target_size:
        at = head.target_at + head.target_size + 1
    if not head.version_seen and at < end and reading.base[at] == b" ":
        return refuse(reading, BAD_SPACING, at)
    return 0


cdef inline int on_headers_complete(llhttp_t* llhttp) noexcept nogil:
    cdef Reading* reading = <Reading*>llhttp.data
    if reading.section.trailers:
        return 0
    if check_head(reading) != 0:
        return -1
    return HPE_PAUSED


# --- Checks: what strict llhttp lets pass -----------------------------------------------------

cdef inline int check_head(Reading* reading) noexcept nogil:
    """Decide framing and persistence; return 0, or -1 with the refusal noted."""
    cdef Head* head = &reading.head
    cdef llhttp_t* llhttp = &reading.llhttp
    cdef const char* base = reading.base
    cdef bint http_1_1 = llhttp.http_minor == 1
    cdef Field* field
    cdef Field* host = NULL
    cdef Field* expect = NULL
    cdef Field* content_type = NULL
    cdef uint32_t hosts = 0
    cdef uint32_t i
    cdef uint64_t version_at = head.target_at + head.target_size + 1

    if not head.version_seen:
        return refuse(reading, NO_VERSION, version_at - 1)
    if llhttp.http_major != 1:
        return refuse(reading, BAD_VERSION, version_at)

    for i in range(reading.section.count):
        field = &reading.section.fields[i]
        if field.name_size == 4:
            if equals(base + field.name_at, b"host", 4):
                hosts += 1
                host = field
        elif field.name_size == 6:
            if equals(base + field.name_at, b"expect", 6):
                if expect == NULL or not is_continue(reading, field):
                    expect = field
        elif field.name_size == 12:
            if equals(base + field.name_at, b"content-type", 12):
                if content_type != NULL:
                    # The first, the last or a list of both: what a form is depends on it.
                    return refuse(reading, MANY_TYPES, field.name_at)
                content_type = field
    if hosts == 0:
        if http_1_1 and reading.bounds.require_host:
            return refuse(reading, NO_HOST, 0)
    elif hosts > 1:
        return refuse(reading, MANY_HOSTS, host.name_at)

    if llhttp.flags & F_TRANSFER_ENCODING and check_codings(reading, http_1_1) != 0:
        return -1
    if llhttp.flags & F_CONTENT_LENGTH:
        head.content_length = llhttp.content_length
        if head.content_length > reading.bounds.max_body_size:
            return refuse(reading, LONG_BODY, 0)
    if head.connect and llhttp.flags & (F_CONTENT_LENGTH | F_CHUNKED):
        # The bytes after the head are the tunnel's.
        return refuse(reading, CONNECT_BODY, 0)

    if expect != NULL and http_1_1:
        if not is_continue(reading, expect):
            return refuse(reading, BAD_EXPECT, expect.value_at)
        head.expect_continue = True

    if check_target(reading) != 0:
        return -1
    if host != NULL:
        trim(base, &host.value_at, &host.value_size)
        if not is_host(base + host.value_at, host.value_size):
            return refuse(reading, BAD_HOST, host.value_at)
        if head.host_size == 0:
            head.host_at = host.value_at
            head.host_size = host.value_size

    decide_persistence(reading)
    return 0


cdef inline void decide_persistence(Reading* reading) noexcept nogil:
    """Decide whether another request may follow, and whether the protocol may be switched."""
    cdef Head* head = &reading.head
    cdef llhttp_t* llhttp = &reading.llhttp
    cdef bint http_1_1 = llhttp.http_minor == 1
    if head.connect:
        head.keep_alive = False
        head.upgrade = True
        return
    head.upgrade = (
        http_1_1 and llhttp.flags & F_UPGRADE and llhttp.flags & F_CONNECTION_UPGRADE
    )
    if http_1_1:  # RFC 9112 section 9.3
        head.keep_alive = not llhttp.flags & F_CONNECTION_CLOSE
    else:
        # As Tornado has it: only where the framing of the request is beyond doubt.
        head.keep_alive = (
            llhttp.flags & F_CONNECTION_KEEP_ALIVE
            and not llhttp.flags & F_CONNECTION_CLOSE
            and (llhttp.flags & F_CONTENT_LENGTH or is_get_or_head(reading))
        )


cdef inline bint is_get_or_head(Reading* reading) noexcept nogil:
    return reading.head.is_head or (
        reading.head.method_size == 3 and memcmp(reading.base, b"GET", 3) == 0
    )


cdef inline bint is_continue(Reading* reading, Field* field) noexcept nogil:
    trim(reading.base, &field.value_at, &field.value_size)
    return field.value_size == 12 and equals(
        reading.base + field.value_at, b"100-continue", 12
    )


cdef inline int check_codings(Reading* reading, bint http_1_1) noexcept nogil:
    """Accept nothing but one ``chunked``: 501 for other codings, 400 for no list of them."""
    cdef const char* base = reading.base
    cdef Field* field
    cdef uint32_t i, at, size, end, stop
    cdef uint32_t codings = 0
    cdef uint32_t chunked = 0
    cdef uint32_t first_at = 0
    for i in range(reading.section.count):
        field = &reading.section.fields[i]
        if field.name_size != 17 or not equals(
            base + field.name_at, b"transfer-encoding", 17
        ):
            continue
        if first_at == 0:
            first_at = field.name_at
        at = field.value_at
        end = field.value_at + field.value_size
        while True:
            stop = at
            while stop < end and base[stop] != b",":
                stop += 1
            size = stop - at
            trim(base, &at, &size)
            if size == 0:
                return refuse(reading, BAD_CODING, at)
            codings += 1
            if size == 7 and equals(base + at, b"chunked", 7):
                chunked += 1
            while size:
                if not is_a(TOKEN, base[at]):
                    return refuse(reading, BAD_CODING, at)
                at += 1
                size -= 1
            if stop == end:
                break
            at = stop + 1
    if chunked > 1:
        return refuse(reading, BAD_CODING, first_at)
    if codings != chunked:
        return refuse(reading, UNKNOWN_CODING, first_at)
    if not http_1_1:
        # RFC 9112 section 6.1: framing is faulty where a 1.0 client sends it.
        return refuse(reading, CODING_IN_1_0, first_at)
    reading.head.chunked = True
    # llhttp overlooks a coding with HTAB after it.
    reading.llhttp.flags |= F_CHUNKED
    return 0


cdef inline int check_target(Reading* reading) noexcept nogil:
    """RFC 9112 section 3.2: the form of the target goes with the method."""
    cdef Head* head = &reading.head
    cdef const char* base = reading.base
    cdef uint32_t at = head.target_at
    cdef uint32_t end = at + head.target_size
    cdef uint32_t stop
    cdef const char* fragment
    if head.connect:
        # The port may not be missing or empty here (RFC 9110 section 9.3.6).
        if not (
            is_host(base + at, head.target_size)
            and is_a(DIGIT, base[end - 1])
            and (base[at] == b"[" or memchr(base + at, b":", head.target_size) != NULL)
        ):
            return refuse(reading, BAD_TARGET, at)
        return 0
    fragment = <const char*>memchr(base + at, b"#", head.target_size)
    if fragment != NULL:
        return refuse(reading, BAD_TARGET, <uint64_t>(fragment - base))
    if base[at] == b"/":
        return check_path(reading, at)
    if base[at] == b"*":
        if head.target_size == 1 and (
            head.method_size == 7 and memcmp(base, b"OPTIONS", 7) == 0
        ):
            return 0
        return refuse(reading, BAD_TARGET, at)
    if head.target_size > 7 and equals(base + at, b"http://", 7):
        stop = at + 7
    elif head.target_size > 8 and equals(base + at, b"https://", 8):
        stop = at + 8
    else:
        return refuse(reading, BAD_TARGET, at)
    # The authority overrides Host (RFC 9112 section 3.2.2).
    head.host_at = stop
    while stop < end and base[stop] != b"/" and base[stop] != b"?":
        stop += 1
    head.host_size = stop - head.host_at
    if not is_host(base + head.host_at, head.host_size):
        return refuse(reading, BAD_TARGET, head.host_at)
    return check_path(reading, stop)


cdef inline int check_path(Reading* reading, uint32_t at) noexcept nogil:
    r"""Refuse ``\`` in a path: browsers, and servers too, take it for a slash, others do not.

    In a query it is data to all, and browsers send it raw (WHATWG URL, "query percent-encode
    set"); of what else RFC 3986 does not allow nothing separates anything.
    """
    cdef const char* path = reading.base + at
    cdef size_t size = reading.head.target_at + reading.head.target_size - at
    cdef const char* backslash = <const char*>memchr(path, b"\\", size)
    if backslash == NULL or memchr(path, b"?", <size_t>(backslash - path)) != NULL:
        return 0
    return refuse(reading, BAD_TARGET, <uint64_t>(backslash - reading.base))
