# The part of llhttp.h that _parser.pyx uses; see vendor/llhttp/README.md.

from libc.stdint cimport uint8_t, uint16_t, uint64_t


cdef extern from "llhttp.h" nogil:
    ctypedef struct llhttp_t:
        # The span that is open, if any, and llhttp's own caller of our callback for it.
        void* _span_pos0
        void* _span_cb0
        void* data
        uint64_t content_length
        uint8_t http_major
        uint8_t http_minor
        uint8_t upgrade
        uint16_t flags

    ctypedef int (*llhttp_data_cb)(llhttp_t*, const char*, size_t) noexcept nogil
    ctypedef int (*llhttp_cb)(llhttp_t*) noexcept nogil

    ctypedef struct llhttp_settings_t:
        llhttp_data_cb on_url
        llhttp_data_cb on_version
        llhttp_data_cb on_header_field
        llhttp_data_cb on_header_value
        llhttp_data_cb on_chunk_extension_name
        llhttp_data_cb on_chunk_extension_value
        llhttp_data_cb on_body
        llhttp_cb on_headers_complete
        llhttp_cb on_chunk_extension_name_complete
        llhttp_cb on_chunk_extension_value_complete
        llhttp_cb on_chunk_header
        llhttp_cb on_chunk_complete
        llhttp_cb on_message_complete

    ctypedef enum llhttp_errno_t:
        HPE_OK
        HPE_PAUSED
        HPE_INVALID_VERSION

    ctypedef enum llhttp_type_t:
        HTTP_REQUEST

    enum:
        F_CONNECTION_KEEP_ALIVE
        F_CONNECTION_CLOSE
        F_CONNECTION_UPGRADE
        F_CHUNKED
        F_UPGRADE
        F_CONTENT_LENGTH
        F_TRANSFER_ENCODING

    void llhttp_init(llhttp_t*, llhttp_type_t, const llhttp_settings_t*)
    void llhttp_settings_init(llhttp_settings_t*)
    llhttp_errno_t llhttp_execute(llhttp_t*, const char*, size_t)
    void llhttp_resume(llhttp_t*)
    const char* llhttp_get_error_pos(const llhttp_t*)
    const char* llhttp_get_error_reason(const llhttp_t*)
