"""Callbacks for a body in chunks (RFC 9112 section 7.1). C only.

llhttp pauses after each chunk, so one execution finds one piece of data at most. After the
last chunk size it pauses too: what follows is the trailer section, whose fields `fields.pxd`
notes. Two things are bounded here since llhttp does not: the digits of a chunk size, and
chunk extensions.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memchr

from fasthttpserver._parsing.grammar cimport HEX, is_a
from fasthttpserver._parsing.llhttp cimport HPE_PAUSED, llhttp_t
from fasthttpserver._parsing.reading cimport (
    BAD_EXTENSION,
    LONG_BODY,
    LONG_CHUNK_SIZE,
    LONG_EXTENSION,
    Chunks,
    Reading,
    begin_trailers,
    offset_of,
    refuse,
)

cdef enum:
    # A 64-bit size has 16 hexadecimal digits; leading zeros count (they are free bytes).
    MAX_CHUNK_SIZE_DIGITS = 16
    # Nobody uses chunk extensions; unbounded they are bytes that no body limit counts
    # (CVE-2023-39326, CVE-2024-22019).
    MAX_EXTENSION_LINE = 4096
    MAX_EXTENSION_TOTAL = 16384


cdef inline int count_size_digits(
    Reading* reading, const char* at, const char* end
) noexcept nogil:
    """Look at what comes of a chunk size before llhttp does."""
    cdef Chunks* chunks = &reading.chunks
    while at < end and is_a(HEX, at[0]):
        if chunks.size_digits == MAX_CHUNK_SIZE_DIGITS:
            return refuse(reading, LONG_CHUNK_SIZE, offset_of(reading, at))
        chunks.size_digits += 1
        at += 1
    chunks.in_size_digits = at == end
    return 0


cdef inline void end_chunk(Chunks* chunks) noexcept nogil:
    """Expect the size of the next one."""
    chunks.in_size_digits = True
    chunks.size_digits = 0


cdef inline int on_extension(llhttp_t* llhttp, const char* at, size_t size) noexcept nogil:
    cdef Reading* reading = <Reading*>llhttp.data
    cdef Chunks* chunks = &reading.chunks
    cdef uint64_t offset = offset_of(reading, at)
    cdef uint64_t room
    if not chunks.in_extension:
        chunks.in_extension = True
        chunks.extension_at = offset
    chunks.extension_line = <uint32_t>(offset + size - chunks.extension_at)
    if size:
        chunks.in_extension_part = True
    room = MAX_EXTENSION_TOTAL - chunks.extension_total
    if room > MAX_EXTENSION_LINE:
        room = MAX_EXTENSION_LINE
    if chunks.extension_line > room:
        return refuse(reading, LONG_EXTENSION, chunks.extension_at + room)
    return 0


cdef inline int on_extension_value(llhttp_t* llhttp, const char* at, size_t size) noexcept nogil:
    cdef Reading* reading = <Reading*>llhttp.data
    cdef Chunks* chunks = &reading.chunks
    cdef const char* quote = NULL
    if size and not chunks.in_extension_part:
        chunks.extension_quoted = at[0] == b'"'
    if not chunks.extension_quoted:
        quote = <const char*>memchr(at, b'"', size)
    if quote == NULL:
        return on_extension(llhttp, at, size)
    # llhttp takes a quoted string that follows a token for a part of the value.
    if on_extension(llhttp, at, <size_t>(quote - at)) != 0:
        return -1
    return refuse(reading, BAD_EXTENSION, offset_of(reading, quote))


cdef inline int on_extension_part_complete(llhttp_t* llhttp) noexcept nogil:
    # RFC 9112 section 7.1.1: neither a name nor a value is empty; llhttp lets them be.
    cdef Reading* reading = <Reading*>llhttp.data
    cdef Chunks* chunks = &reading.chunks
    if not chunks.in_extension_part:
        return refuse(reading, BAD_EXTENSION, 0)
    chunks.in_extension_part = False
    return 0


cdef inline int on_chunk_header(llhttp_t* llhttp) noexcept nogil:
    cdef Reading* reading = <Reading*>llhttp.data
    cdef Chunks* chunks = &reading.chunks
    chunks.extension_total += chunks.extension_line
    chunks.extension_line = 0
    chunks.in_extension = False
    # Both are unsigned and the right side never wraps, so no size slips through.
    if llhttp.content_length > reading.bounds.max_body_size - chunks.announced:
        # The offset is set from llhttp's position: this callback is not told it.
        return refuse(reading, LONG_BODY, 0)
    chunks.announced += llhttp.content_length
    if llhttp.content_length == 0:
        begin_trailers(reading)
        return HPE_PAUSED
    return 0


cdef inline int on_body(llhttp_t* llhttp, const char* at, size_t size) noexcept nogil:
    # Chunks end in a pause, so there is one piece of body at most in one execution.
    cdef Reading* reading = <Reading*>llhttp.data
    cdef Chunks* chunks = &reading.chunks
    chunks.data_at = at
    chunks.data_size = size
    return 0


cdef inline int on_chunk_complete(llhttp_t* llhttp) noexcept nogil:
    # The last chunk is complete after the trailer section; on_message_complete follows.
    return 0 if (<Reading*>llhttp.data).section.trailers else HPE_PAUSED


cdef inline int on_message_complete(llhttp_t* llhttp) noexcept nogil:
    (<Reading*>llhttp.data).chunks.complete = True
    return HPE_PAUSED
