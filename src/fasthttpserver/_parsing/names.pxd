"""Field names: a table of those that clients write, and the form of all others. C only.

Most names of a request are among a hundred. Their objects are made once, at import, and
found by the bytes of the name, so that a name costs neither an object nor a conversion. The
parser owns the table. It has open addressing, is filled once and only read after that.
"""

from cpython.ref cimport PyObject
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcmp


cdef enum:
    NAME_SLOTS = 1024  # a power of two, several times the number of names


cdef struct Name:
    const char* raw  # borrowed, as the objects are, from what lives as long as the table
    PyObject* text   # a str in canonical form; NULL in an empty slot
    PyObject* lower  # bytes in lower case
    uint32_t size


cdef inline uint32_t slot_of(const char* at, uint32_t size) noexcept nogil:
    cdef const uint8_t* c = <const uint8_t*>at
    cdef uint32_t hashed = size * 131 + c[0]
    hashed = hashed * 31 + c[size >> 1]
    hashed = hashed * 31 + c[size - 1]
    hashed = hashed * 31 + c[size - 1 - (size >> 2)]
    return (hashed ^ (hashed >> 10)) & (NAME_SLOTS - 1)


cdef inline void add_name(
    Name* names, const char* raw, uint32_t size, PyObject* text, PyObject* lower
) noexcept nogil:
    cdef uint32_t slot = slot_of(raw, size)
    while names[slot].text != NULL:
        slot = (slot + 1) & (NAME_SLOTS - 1)
    names[slot].raw = raw
    names[slot].text = text
    names[slot].lower = lower
    names[slot].size = size


cdef inline const Name* find_name(
    const Name* names, const char* at, uint32_t size
) noexcept nogil:
    """Return what is known of a name; NULL if it is not in the table."""
    cdef uint32_t slot = slot_of(at, size)
    while names[slot].text != NULL:
        if names[slot].size == size and memcmp(names[slot].raw, at, size) == 0:
            return &names[slot]
        slot = (slot + 1) & (NAME_SLOTS - 1)
    return NULL


cdef inline void write_canonical(char* to, const char* at, uint32_t size) noexcept nogil:
    """Capitalise each part of a name, which is Tornado's rule."""
    cdef bint first = True
    cdef char c
    cdef uint32_t i
    for i in range(size):
        c = at[i]
        if first:
            if b"a" <= c <= b"z":
                c -= 32
        elif b"A" <= c <= b"Z":
            c += 32
        to[i] = c
        first = c == b"-"


cdef inline void write_lower(char* to, const char* at, uint32_t size) noexcept nogil:
    """Write a name in lower case."""
    cdef char c
    cdef uint32_t i
    for i in range(size):
        c = at[i]
        if b"A" <= c <= b"Z":
            c += 32
        to[i] = c
