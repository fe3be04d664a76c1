"""What is known of the message that is being read, and what it may be refused for. C only.

Four structs, and each has one place where it starts anew:

* `Bounds` is the configuration; parsers share it for life.
* `Head` and `FieldSection` begin with the message, in `begin_message`. The field section is
  the header section at first; where a body in chunks ends, `begin_trailers` makes it the
  trailer section.
* `Chunks` begins with a body in chunks, in `begin_chunks`, and before that nobody reads it.

llhttp's callbacks get a `Reading`, which has all of them. They can only note a refusal: the
first one stays, and the parser raises it when llhttp has returned. A parser has one from the
first byte of a message to its end; between messages, as most connections are, it needs none.

All offsets count from the first byte of the request line.
"""

from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from fasthttpserver._parsing.llhttp cimport llhttp_t


cdef enum Refusal:
    ACCEPTED
    BAD_LINE_END
    BAD_METHOD
    LONG_METHOD
    BAD_SPACING
    NO_VERSION
    BAD_VERSION
    LONG_REQUEST_LINE
    BAD_TARGET
    NO_HOST
    MANY_HOSTS
    BAD_HOST
    MANY_TYPES
    BAD_CODING
    UNKNOWN_CODING
    CODING_IN_1_0
    CONNECT_BODY
    BAD_EXPECT
    LONG_HEAD
    LONG_FIELD
    MANY_FIELDS
    LONG_BODY
    LONG_CHUNK_SIZE
    LONG_EXTENSION
    BAD_EXTENSION
    NO_MEMORY


cdef struct Bounds:
    # Sizes in bytes; see fasthttpserver/limits.py for the reasons.
    uint32_t max_header_size
    uint32_t max_request_line
    uint32_t max_field_size
    uint32_t max_header_count
    uint64_t max_body_size
    bint require_host


cdef struct Head:
    # The request line, as it comes.
    uint32_t skipped  # bytes of empty lines before it
    bint after_cr     # inside such an empty line
    uint32_t method_size
    uint32_t target_at
    uint32_t target_size
    bint version_seen
    bint connect
    bint is_head

    # Known at the end of the head.
    uint32_t host_at
    uint32_t host_size
    bint chunked
    bint keep_alive
    bint upgrade
    bint expect_continue
    uint64_t content_length


cdef struct Field:
    # Offsets; of a trailer field into the trailer buffer.
    uint32_t name_at
    uint32_t name_size
    uint32_t value_at
    uint32_t value_size


cdef struct FieldSection:
    Field* fields     # owned until a message takes them at the end of the section, then NULL
    uint32_t count
    uint32_t capacity
    bint in_name
    uint64_t name_end
    # Trailer fields are copied, since no head buffer holds them.
    bint trailers
    char* trailer_buffer  # owned; NULL after a message
    uint32_t trailer_size
    uint32_t trailer_capacity


cdef struct Chunks:
    const char* data_at  # of this chunk; borrowed from the bytes at `base`
    size_t data_size
    uint64_t announced   # by all chunk sizes
    uint32_t size_digits
    bint in_size_digits
    bint in_extension
    uint64_t extension_at
    uint32_t extension_line
    uint32_t extension_total
    bint in_extension_part
    bint extension_quoted
    bint complete        # the message is, trailers included


cdef struct Reading:
    llhttp_t llhttp       # set from a snapshot after the method
    const Bounds* bounds  # of the parser's options

    # llhttp is running over the bytes at `base`, whose first byte has offset
    # `base_offset`. Borrowed for the call.
    const char* base
    uint64_t base_offset

    Head head
    FieldSection section
    Chunks chunks
    uint64_t body_remaining  # of content_length
    const char* piece_at     # of the body, the latest one; borrowed from what was received
    Py_ssize_t piece_size
    PyObject* body           # owned bytes object that no one else has seen yet, or NULL
    Py_ssize_t body_capacity

    int refusal
    uint64_t refused_at


cdef inline void begin_message(Reading* reading, const Bounds* bounds) noexcept nogil:
    """Forget the message before, whose fields and trailers have been taken."""
    reading.bounds = bounds
    memset(&reading.head, 0, sizeof(Head))
    memset(&reading.section, 0, sizeof(FieldSection))
    reading.body_remaining = 0
    reading.body = NULL
    reading.body_capacity = 0
    reading.refusal = ACCEPTED
    reading.refused_at = 0


cdef inline void begin_chunks(Reading* reading) noexcept nogil:
    memset(&reading.chunks, 0, sizeof(Chunks))
    reading.chunks.in_size_digits = True


cdef inline void begin_trailers(Reading* reading) noexcept nogil:
    reading.section.trailers = True
    reading.section.count = 0
    reading.section.in_name = False


cdef inline int refuse(Reading* reading, int refusal, uint64_t at) noexcept nogil:
    if reading.refusal == ACCEPTED:
        reading.refusal = refusal
        reading.refused_at = at
    return -1


cdef inline uint64_t offset_of(Reading* reading, const char* at) noexcept nogil:
    return reading.base_offset + <uint64_t>(at - reading.base)
