"""What may stand in the head of a response, and what says how it is framed. C only."""

from fasthttpserver._parsing.grammar cimport DIGIT, TOKEN, equals, is_a


cdef inline bint is_token(const char* at, Py_ssize_t size) noexcept nogil:
    """Whether it is a field name (RFC 9110 section 5.1)."""
    cdef Py_ssize_t i
    for i in range(size):
        if not is_a(TOKEN, at[i]):
            return False
    return size > 0


cdef inline bint is_line(const char* at, Py_ssize_t size) noexcept nogil:
    """Whether no byte of it ends a line, or a string where C reads it."""
    cdef Py_ssize_t i
    for i in range(size):
        if at[i] in (b"\r", b"\n", b"\0"):
            return False
    return True


cdef inline bint frames(const char* at, Py_ssize_t size) noexcept nogil:
    """Whether a field of this name says more of the framing than a length does."""
    if size == 7:
        return equals(at, b"upgrade", 7) or equals(at, b"trailer", 7)
    if size == 10:
        return equals(at, b"connection", 10)
    return size == 17 and equals(at, b"transfer-encoding", 17)


cdef inline bint is_content_length(const char* at, Py_ssize_t size) noexcept nogil:
    return size == 14 and equals(at, b"content-length", 14)


cdef inline Py_ssize_t write_number(char* to, Py_ssize_t number) noexcept nogil:
    """Write a number that is not negative; return of how many digits."""
    cdef char[20] digits  # from the last one on
    cdef Py_ssize_t count = 0
    cdef Py_ssize_t i
    while count == 0 or number > 0:
        digits[count] = <char>(48 + number % 10)  # "0"
        number //= 10
        count += 1
    for i in range(count):
        to[i] = digits[count - 1 - i]
    return count


cdef inline bint is_number(const char* at, Py_ssize_t size, Py_ssize_t number) noexcept nogil:
    """Whether it is this number, in digits."""
    cdef Py_ssize_t i
    cdef Py_ssize_t value = 0
    if not 0 < size <= 18:
        return False
    for i in range(size):
        if not is_a(DIGIT, at[i]):
            return False
        value = 10 * value + (at[i] - 48)  # "0"
    return value == number
