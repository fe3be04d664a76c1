"""What is encoded in queries, forms and names of uploads, and how it is decoded. C only."""

from libc.string cimport memchr

from fasthttpserver._parsing.grammar cimport HEX, is_a


cdef inline Py_ssize_t count_fields(const char* at, Py_ssize_t size) noexcept nogil:
    """How many fields ``&`` separates, empty ones too."""
    cdef Py_ssize_t count = 1
    cdef Py_ssize_t i
    for i in range(size):
        count += at[i] == b"&"
    return count


cdef inline bint has_escapes(const char* at, Py_ssize_t size, bint plus) noexcept nogil:
    """Whether decoding may change these bytes; with `plus`, a plus sign is a space."""
    return memchr(at, b"%", size) != NULL or (plus and memchr(at, b"+", size) != NULL)


cdef inline bint is_escape(const char* at, const char* end) noexcept nogil:
    """Whether an escape begins here; a percent sign that begins none stands for itself."""
    return at[0] == b"%" and end - at > 2 and is_a(HEX, at[1]) and is_a(HEX, at[2])


cdef inline int digit(char c) noexcept nogil:
    """The value of a hexadecimal digit."""
    return (c & 15) + 9 * (c >> 6)


cdef inline Py_ssize_t decoded_size(const char* at, Py_ssize_t size) noexcept nogil:
    """How many bytes `write_decoded` writes."""
    cdef const char* end = at + size
    while at < end:
        if is_escape(at, end):
            size -= 2
            at += 3
        else:
            at += 1
    return size


cdef inline void write_decoded(
    char* to, const char* at, Py_ssize_t size, bint plus
) noexcept nogil:
    cdef const char* end = at + size
    while at < end:
        if is_escape(at, end):
            to[0] = <char>(16 * digit(at[1]) + digit(at[2]))
            at += 3
        else:
            to[0] = b" " if plus and at[0] == b"+" else at[0]
            at += 1
        to += 1
