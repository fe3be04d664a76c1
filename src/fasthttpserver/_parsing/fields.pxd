"""Callbacks that note the fields of a header section, and of a trailer section. C only.

llhttp hands over a name or a value in as many spans as there were reads, so a span either
begins one or goes on with the last. A header field is noted as offsets into the head. The
bytes of a trailer field are copied, since nobody keeps the pieces of a body.
"""

from cpython.mem cimport PyMem_RawRealloc
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

from fasthttpserver._parsing.llhttp cimport llhttp_t
from fasthttpserver._parsing.reading cimport (
    LONG_FIELD,
    MANY_FIELDS,
    NO_MEMORY,
    Field,
    FieldSection,
    Reading,
    offset_of,
    refuse,
)


cdef enum:
    FEW_FIELDS = 32  # room for so many is made at first


cdef inline int on_header_field(llhttp_t* llhttp, const char* at, size_t size) noexcept nogil:
    cdef Reading* reading = <Reading*>llhttp.data
    cdef FieldSection* section = &reading.section
    cdef uint64_t offset = offset_of(reading, at)
    cdef Field* field
    if not (section.in_name and offset == section.name_end):
        if section.count == reading.bounds.max_header_count:
            return refuse(reading, MANY_FIELDS, offset)
        if section.count == section.capacity and grow_fields(reading) != 0:
            return -1
        field = &section.fields[section.count]
        section.count += 1
        section.in_name = True
        field.name_at = section.trailer_size if section.trailers else <uint32_t>offset
        field.name_size = 0
        field.value_at = 0
        field.value_size = 0
    else:
        field = &section.fields[section.count - 1]
    section.name_end = offset + size
    field.name_size += <uint32_t>size
    return end_span(reading, field, at, size)


cdef inline int on_header_value(llhttp_t* llhttp, const char* at, size_t size) noexcept nogil:
    cdef Reading* reading = <Reading*>llhttp.data
    cdef FieldSection* section = &reading.section
    cdef Field* field = &section.fields[section.count - 1]
    if section.in_name:
        section.in_name = False
        if section.trailers:
            field.value_at = section.trailer_size
        else:
            field.value_at = <uint32_t>offset_of(reading, at)
    field.value_size += <uint32_t>size
    return end_span(reading, field, at, size)


cdef inline int end_span(
    Reading* reading, Field* field, const char* at, size_t size
) noexcept nogil:
    cdef uint32_t field_size = field.name_size + field.value_size
    cdef uint64_t excess
    if field_size > reading.bounds.max_field_size:
        excess = field_size - reading.bounds.max_field_size
        return refuse(reading, LONG_FIELD, offset_of(reading, at) + size - excess)
    return copy_trailer(reading, at, size) if reading.section.trailers else 0


cdef inline int grow_fields(Reading* reading) noexcept nogil:
    cdef FieldSection* section = &reading.section
    cdef uint32_t capacity = max(2 * section.capacity, FEW_FIELDS)
    cdef Field* grown
    grown = <Field*>PyMem_RawRealloc(section.fields, capacity * sizeof(Field))
    if grown == NULL:
        return refuse(reading, NO_MEMORY, 0)
    section.fields = grown
    section.capacity = capacity
    return 0


cdef inline int copy_trailer(Reading* reading, const char* at, size_t size) noexcept nogil:
    cdef FieldSection* section = &reading.section
    cdef size_t needed = section.trailer_size + size
    cdef size_t capacity
    cdef char* grown
    if size == 0:
        return 0  # memcpy is undefined for the NULL that the buffer may be
    if needed > section.trailer_capacity:
        capacity = needed * 2
        grown = <char*>PyMem_RawRealloc(section.trailer_buffer, capacity)
        if grown == NULL:
            return refuse(reading, NO_MEMORY, 0)
        section.trailer_buffer = grown
        section.trailer_capacity = <uint32_t>capacity
    memcpy(section.trailer_buffer + section.trailer_size, at, size)
    section.trailer_size += <uint32_t>size
    return 0
