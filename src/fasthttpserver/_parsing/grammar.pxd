"""What bytes may stand where: characters, words, hosts and IP addresses. C only.

The classes of all bytes are one table, which `fill_classes` writes once when the extension is
imported. After that it is only read, so it needs no lock.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memset

cdef extern from *:
    """
    /* A .pxd has no variables of its own. */
    static uint8_t CLASSES_OF_BYTES[256];
    """
    uint8_t* CLASSES_OF_BYTES


cdef enum CharacterClass:
    TOKEN = 1       # RFC 9110 section 5.6.2
    HOST = 2        # reg-name or IPv4address, RFC 3986 section 3.2.2, without "%"
    HEX = 4
    DIGIT = 8


cdef inline void fill_classes() noexcept nogil:
    cdef int c
    memset(CLASSES_OF_BYTES, 0, 256)
    for c in b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ":
        CLASSES_OF_BYTES[c] |= TOKEN | HOST
    for c in b"!#$%&'*+-.^_`|~":
        CLASSES_OF_BYTES[c] |= TOKEN
    for c in b"-._~!$&'()*+;=":
        # "," is a sub-delim too, but a list of hosts is what it would be here.
        CLASSES_OF_BYTES[c] |= HOST
    for c in b"0123456789abcdefABCDEF":
        CLASSES_OF_BYTES[c] |= HEX
    for c in b"0123456789":
        CLASSES_OF_BYTES[c] |= DIGIT


cdef inline bint is_a(int classes, char c) noexcept nogil:
    return CLASSES_OF_BYTES[<uint8_t>c] & classes != 0


cdef inline bint is_blank(char c) noexcept nogil:
    return c in (b" ", b"\t")


cdef inline bint equals(const char* at, const char* other, size_t size) noexcept nogil:
    """Whether `size` bytes are the same, letters in any case."""
    cdef size_t i
    cdef char c
    for i in range(size):
        if at[i] != other[i]:
            c = at[i] | 32
            if c != other[i] | 32 or not b"a" <= c <= b"z":
                return False
    return True


cdef inline void trim(const char* base, uint32_t* at, uint32_t* size) noexcept nogil:
    """Take optional whitespace (RFC 9110 section 5.6.3) off both ends of a span."""
    # Written out: is_blank() takes six instructions more for each field.
    while size[0] and base[at[0] + size[0] - 1] in (b" ", b"\t"):
        size[0] -= 1
    while size[0] and base[at[0]] in (b" ", b"\t"):
        at[0] += 1
        size[0] -= 1


cdef inline bint is_host(const char* at, uint32_t size) noexcept nogil:
    """Whether it is ``uri-host [ ":" port ]`` (RFC 9110 section 7.2), host not empty."""
    cdef uint32_t i = 0
    if size == 0:
        return False
    if at[0] == b"[":
        while i < size and at[i] != b"]":
            i += 1
        if i == size or not is_ipv6(at + 1, i - 1):
            return False
        i += 1
    else:
        while i < size:
            if is_a(HOST, at[i]):
                i += 1
            elif at[i] == b"%":
                if not (i + 2 < size and is_a(HEX, at[i + 1]) and is_a(HEX, at[i + 2])):
                    return False
                i += 3
            else:
                break
        if i == 0:
            return False
    if i < size:
        if at[i] != b":":
            return False
        i += 1
        while i < size:
            if not is_a(DIGIT, at[i]):
                return False
            i += 1
    return True


cdef inline bint is_ipv6(const char* at, uint32_t size) noexcept nogil:
    """Whether it is an ``IPv6address`` of RFC 3986 section 3.2.2."""
    cdef uint32_t i = 0
    cdef uint32_t start
    cdef uint32_t groups = 0
    cdef bint shortened = False
    if size > 1 and at[0] == b":" and at[1] == b":":
        shortened = True
        i = 2
    while i < size:
        start = i
        while i < size and is_a(HEX, at[i]):
            i += 1
        if i < size and at[i] == b".":
            if not is_ipv4(at + start, size - start):
                return False
            groups += 2
            break
        if i == start or i - start > 4:
            return False
        groups += 1
        if i == size:
            break
        if at[i] != b":" or i + 1 == size:
            return False
        i += 1
        if at[i] == b":":
            if shortened:
                return False
            shortened = True
            i += 1
    return groups < 8 if shortened else groups == 8


cdef inline bint is_ipv4(const char* at, uint32_t size) noexcept nogil:
    cdef uint32_t i = 0
    cdef uint32_t octets = 0
    cdef uint32_t start, value
    while True:
        start = i
        value = 0
        while i < size and i - start < 3 and is_a(DIGIT, at[i]):
            value = 10 * value + <uint32_t>(at[i] - 48)  # "0"
            i += 1
        if i == start or value > 255 or (at[start] == b"0" and i - start > 1):
            return False
        octets += 1
        if i == size:
            return octets == 4
        if at[i] != b".":
            return False
        i += 1
