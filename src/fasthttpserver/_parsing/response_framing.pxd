"""Where the responses end that an application writes byte by byte itself: C only.

A client that finds the end of a response elsewhere takes the next answer for a part of it, or
a part of it for the next answer. So this reads what a client reads: the status line, the
fields, and as many bytes of body as they say (RFC 9112 section 6.3). What stands in a value
does not matter, unless it says where the response ends.

It is one state machine, however a response is cut into pieces. It does not look at every byte of a
body, nor of a line whose value does not matter, so that checking each response costs little.
"""

from libc.stdint cimport uint8_t, uint16_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memset

from fasthttpserver._parsing.grammar cimport TOKEN, equals, is_a, is_blank


cdef enum ResponseFault:
    RESPONSE_RIGHT
    RESPONSE_EMPTY
    RESPONSE_NOT_HTTP
    RESPONSE_HEAD_INCOMPLETE
    RESPONSE_LINE_END
    RESPONSE_FIELD
    RESPONSE_LENGTH
    RESPONSE_LENGTHS
    RESPONSE_LENGTH_AND_CODING
    RESPONSE_CODING
    RESPONSE_CHUNKS_FOR_1_0
    RESPONSE_INTERIM_FOR_1_0
    RESPONSE_NO_LENGTH
    RESPONSE_SHORT
    RESPONSE_LONG
    RESPONSE_BODY_FOR_HEAD
    RESPONSE_BODY_FOR_STATUS
    RESPONSE_CHUNK_SIZE
    RESPONSE_CHUNK_END
    RESPONSE_CHUNK_MISSING
    RESPONSE_AFTER_CHUNKS


# What the next byte belongs to.
cdef enum ResponseState:
    STATUS_LINE
    AFTER_STATUS
    LINE_REST        # only its end matters
    LINE_FEED
    FIELD_START
    FIELD_NAME
    LENGTH_VALUE
    LIST_VALUE       # of Connection or Transfer-Encoding
    SECTION_LINE_FEED    # of the empty line after fields
    SIZE_DIGITS      # of a chunk
    CHUNK_CR         # after its data
    CHUNK_LINE_FEED
    # From here on bytes are counted.
    BODY_DATA
    CHUNK_DATA
    AFTER_RESPONSE   # nothing may come
    UNTIL_CLOSE      # the end of the connection is the end of the body
    SWITCHED         # to another protocol, or a tunnel


cdef enum:
    STATUS_SIZE = 12      # "HTTP/1.1 200"
    WORD_SIZE = 18        # one more than "transfer-encoding" has
    MAX_SIZE_DIGITS = 16  # 64 bits


cdef struct ResponseReading:
    uint8_t state         # ResponseState
    uint8_t after_line    # the state after the end of this line
    uint8_t fault         # ResponseFault; the first one stays

    # What is answered.
    uint8_t is_head
    uint8_t is_connect
    uint8_t http_1_1

    # What the head says; after interim responses that of the last one.
    uint8_t http_1_0      # of the response itself
    uint8_t says_close
    uint8_t says_keep_alive
    uint8_t has_length
    uint8_t has_coding
    uint8_t chunked
    uint8_t in_body       # the head is complete
    uint8_t last_chunk    # has come; what follows are trailers
    uint16_t status

    # What may be cut: the status line, a name, a part of a list, a number.
    uint8_t in_coding     # the list is that of Transfer-Encoding
    uint8_t ended         # a blank came after it
    uint8_t digits
    uint8_t word_size     # WORD_SIZE for what is longer than all that matters
    char word[WORD_SIZE]
    uint64_t number

    uint64_t length       # Content-Length
    uint64_t remaining    # of the body, or of a chunk
    uint64_t body         # bytes of it that have come, chunks without their framing
    uint64_t extra        # bytes after the response


cdef inline void begin_response(
    ResponseReading* reading, bint is_head, bint is_connect, bint http_1_1
) noexcept nogil:
    memset(reading, 0, sizeof(ResponseReading))
    reading.is_head = is_head
    reading.is_connect = is_connect
    reading.http_1_1 = http_1_1
    reading.after_line = FIELD_START


cdef inline int fail_response(ResponseReading* reading, int fault) noexcept nogil:
    reading.fault = <uint8_t>fault
    return -1


# --- Words and numbers ------------------------------------------------------------------------

cdef inline void begin_word(ResponseReading* reading, int state) noexcept nogil:
    reading.state = <uint8_t>state
    reading.word_size = 0
    reading.ended = False


cdef inline void add_to_word(ResponseReading* reading, char c) noexcept nogil:
    if reading.ended:
        reading.word_size = WORD_SIZE  # two words are none that matters
    if reading.word_size < WORD_SIZE:
        reading.word[reading.word_size] = c
        reading.word_size += 1


cdef inline bint word_is(ResponseReading* reading, const char* lower, size_t size) noexcept nogil:
    return reading.word_size == size and equals(reading.word, lower, size)


cdef inline void begin_number(ResponseReading* reading, int state) noexcept nogil:
    reading.state = <uint8_t>state
    reading.number = 0
    reading.digits = 0
    reading.ended = False


cdef inline int add_decimal(ResponseReading* reading, char c) noexcept nogil:
    # Ten times what is less than 2^60 is less than 2^64; nobody has so much to send.
    if reading.ended or reading.number >> 60 != 0:
        return fail_response(reading, RESPONSE_LENGTH)
    reading.number = 10 * reading.number + <uint64_t>(c - 48)
    reading.digits = 1
    return 0


cdef inline int add_hexadecimal(ResponseReading* reading, char c) noexcept nogil:
    cdef int digit
    if b"0" <= c <= b"9":
        digit = c - 48
    elif b"a" <= (c | 32) <= b"f":
        digit = (c | 32) - 87
    else:
        return fail_response(reading, RESPONSE_CHUNK_SIZE)
    if reading.digits == MAX_SIZE_DIGITS:
        return fail_response(reading, RESPONSE_CHUNK_SIZE)
    reading.number = 16 * reading.number + <uint64_t>digit
    reading.digits += 1
    return 0


# --- The head ---------------------------------------------------------------------------------

cdef inline int end_status(ResponseReading* reading) noexcept nogil:
    """RFC 9112 section 4; a status has three digits, whatever it means."""
    cdef const char* word = reading.word
    cdef int i
    if memcmp(word, b"HTTP/1.", 7) != 0 or word[7] not in (b"0", b"1") or word[8] != b" ":
        return fail_response(reading, RESPONSE_NOT_HTTP)
    reading.http_1_0 = word[7] == b"0"
    reading.status = 0
    for i in range(9, STATUS_SIZE):
        if not b"0" <= word[i] <= b"9":
            return fail_response(reading, RESPONSE_NOT_HTTP)
        reading.status = <uint16_t>(10 * reading.status + (word[i] - 48))
    if reading.status < 100:
        return fail_response(reading, RESPONSE_NOT_HTTP)
    reading.state = AFTER_STATUS
    return 0


cdef inline void end_name(ResponseReading* reading, const char* name, size_t size) noexcept nogil:
    """Decide by the name of a field whether its value matters."""
    reading.state = LINE_REST
    if reading.last_chunk:
        return  # trailers frame nothing
    if size == 14 and equals(name, b"content-length", 14):
        begin_number(reading, LENGTH_VALUE)
    elif size == 10 and equals(name, b"connection", 10):
        reading.in_coding = False
        begin_word(reading, LIST_VALUE)
    elif size == 17 and equals(name, b"transfer-encoding", 17):
        reading.in_coding = reading.has_coding = True
        begin_word(reading, LIST_VALUE)


cdef inline int end_length(ResponseReading* reading) noexcept nogil:
    if reading.digits == 0:
        return fail_response(reading, RESPONSE_LENGTH)
    if reading.has_length and reading.number != reading.length:
        return fail_response(reading, RESPONSE_LENGTHS)
    reading.has_length = True
    reading.length = reading.number
    reading.state = LINE_FEED
    return 0


cdef inline int end_list_word(ResponseReading* reading) noexcept nogil:
    if reading.word_size == 0:
        return 0
    if reading.in_coding:
        if reading.chunked or not word_is(reading, b"chunked", 7):
            return fail_response(reading, RESPONSE_CODING)
        reading.chunked = True
    elif word_is(reading, b"close", 5):
        reading.says_close = True
    elif word_is(reading, b"keep-alive", 10):
        reading.says_keep_alive = True
    begin_word(reading, LIST_VALUE)
    return 0


cdef inline int end_list(ResponseReading* reading) noexcept nogil:
    if end_list_word(reading) != 0:
        return -1
    if reading.in_coding and not reading.chunked:
        return fail_response(reading, RESPONSE_CODING)
    reading.state = LINE_FEED
    return 0


cdef inline int end_section(ResponseReading* reading) noexcept nogil:
    """After the head decide where the response ends; after the trailers it has ended."""
    cdef uint16_t status = reading.status
    if reading.last_chunk:
        reading.state = AFTER_RESPONSE
        return 0
    if status < 200 and status != 101:
        if not reading.http_1_1:  # RFC 9110 section 15.2
            return fail_response(reading, RESPONSE_INTERIM_FOR_1_0)
        # Another head follows, whatever the fields of this one say.
        reading.has_length = reading.has_coding = reading.chunked = False
        reading.says_close = reading.says_keep_alive = False
        begin_word(reading, STATUS_LINE)
        return 0
    reading.in_body = True
    if status == 101 or (reading.is_connect and 200 <= status < 300):
        reading.state = SWITCHED
        return 0
    if reading.has_coding:
        if reading.has_length:
            return fail_response(reading, RESPONSE_LENGTH_AND_CODING)
        if reading.http_1_0 or not reading.http_1_1:  # RFC 9112 section 6.1
            return fail_response(reading, RESPONSE_CHUNKS_FOR_1_0)
    if reading.is_head or status == 204 or status == 304:
        reading.state = AFTER_RESPONSE
    elif reading.has_coding:
        begin_number(reading, SIZE_DIGITS)
    elif reading.has_length:
        reading.remaining = reading.length
        reading.state = BODY_DATA if reading.length else AFTER_RESPONSE
    else:
        reading.state = UNTIL_CLOSE
    return 0


# --- Chunks -----------------------------------------------------------------------------------

cdef inline int end_size(ResponseReading* reading, char c) noexcept nogil:
    """RFC 9112 section 7.1; extensions are of no interest."""
    if reading.digits == 0 or not (c == b"\r" or c == b";" or is_blank(c)):
        return fail_response(reading, RESPONSE_CHUNK_SIZE)
    reading.remaining = reading.number
    reading.last_chunk = reading.number == 0
    reading.after_line = FIELD_START if reading.last_chunk else CHUNK_DATA
    reading.state = LINE_FEED if c == b"\r" else LINE_REST
    return 0


# --- The machine ------------------------------------------------------------------------------

cdef inline int read_byte(ResponseReading* reading, char c) noexcept nogil:
    """Read a byte where every one matters; return 0, or -1 for a fault."""
    cdef uint8_t state = reading.state
    if state == FIELD_NAME or state == FIELD_START:
        if is_a(TOKEN, c):
            add_to_word(reading, c)
            reading.state = FIELD_NAME
            return 0
        if c == b":" and state == FIELD_NAME:
            end_name(reading, reading.word, reading.word_size)
            return 0
        if c == b"\r" and state == FIELD_START:
            reading.state = SECTION_LINE_FEED
            return 0
        # A folded line is one: some clients join it, others do not (RFC 9112 section 5.2).
        return fail_response(reading, RESPONSE_LINE_END if c == b"\n" else RESPONSE_FIELD)
    if state == LENGTH_VALUE:
        if b"0" <= c <= b"9":
            return add_decimal(reading, c)
        if c == b"\r":
            return end_length(reading)
        if is_blank(c):
            reading.ended = reading.digits
            return 0
        return fail_response(reading, RESPONSE_LINE_END if c == b"\n" else RESPONSE_LENGTH)
    if state == LIST_VALUE:
        if c == b"\r":
            return end_list(reading)
        if c == b"\n":
            return fail_response(reading, RESPONSE_LINE_END)
        if c == b",":
            return end_list_word(reading)
        if is_blank(c):
            reading.ended = reading.word_size != 0
        else:
            add_to_word(reading, c)
        return 0
    if state == LINE_FEED:
        if c != b"\n":
            return fail_response(reading, RESPONSE_LINE_END)
        begin_word(reading, reading.after_line)
        return 0
    if state == SECTION_LINE_FEED:
        if c != b"\n":
            return fail_response(reading, RESPONSE_LINE_END)
        return end_section(reading)
    if state == STATUS_LINE:
        reading.word[reading.word_size] = c
        reading.word_size += 1
        if memcmp(reading.word, b"HTTP/1.", min(reading.word_size, 7)) != 0:
            return fail_response(reading, RESPONSE_NOT_HTTP)
        return end_status(reading) if reading.word_size == STATUS_SIZE else 0
    if state == AFTER_STATUS:
        # Without a reason some leave out the SP before it too, which every client takes.
        if c == b" ":
            reading.state = LINE_REST
            return 0
        if c == b"\r":
            reading.state = LINE_FEED
            return 0
        return fail_response(reading, RESPONSE_LINE_END if c == b"\n" else RESPONSE_NOT_HTTP)
    if state == SIZE_DIGITS:
        return add_hexadecimal(reading, c) if is_a(TOKEN, c) else end_size(reading, c)
    if state == CHUNK_CR:
        if c != b"\r":
            return fail_response(reading, RESPONSE_CHUNK_END)
        reading.state = CHUNK_LINE_FEED
        return 0
    if c != b"\n":  # CHUNK_LINE_FEED
        return fail_response(reading, RESPONSE_CHUNK_END)
    reading.after_line = FIELD_START
    begin_number(reading, SIZE_DIGITS)
    return 0


cdef inline size_t read_many(
    ResponseReading* reading, const char* at, size_t size
) noexcept nogil:
    """Read bytes of which only the number matters; return how many."""
    if reading.state == AFTER_RESPONSE:
        reading.extra += size
    elif reading.state == BODY_DATA or reading.state == CHUNK_DATA:
        if size > reading.remaining:
            size = <size_t>reading.remaining
        reading.remaining -= size
        reading.body += size
        if reading.remaining == 0:
            reading.state = AFTER_RESPONSE if reading.state == BODY_DATA else CHUNK_CR
    elif reading.state == UNTIL_CLOSE:
        reading.body += size
    return size


cdef inline const char* skip_line(
    ResponseReading* reading, const char* at, const char* end
) noexcept nogil:
    """Go past the CR that ends a line, or to the end; NULL if LF comes first."""
    cdef const char* stop = <const char*>memchr(at, b"\r", <size_t>(end - at))
    if memchr(at, b"\n", <size_t>((end if stop == NULL else stop) - at)) != NULL:
        fail_response(reading, RESPONSE_LINE_END)
        return NULL
    if stop == NULL:
        return end
    reading.state = LINE_FEED
    return stop + 1


cdef inline const char* read_status_line(
    ResponseReading* reading, const char* at, const char* end
) noexcept nogil:
    """Read all but the last byte of a status that has come in one piece."""
    cdef size_t size = STATUS_SIZE - 1
    if reading.word_size != 0 or <size_t>(end - at) <= size:
        return at
    memcpy(reading.word, at, size)
    reading.word_size = <uint8_t>size
    return at + size


cdef inline const char* read_fields(
    ResponseReading* reading, const char* at, const char* end
) noexcept nogil:
    """Read names, and lines that do not matter, as far as they are whole in this piece.

    What it does not take, a fault too, is for read_byte; so a cut changes nothing.
    """
    cdef const char* colon
    cdef const char* stop
    while True:
        colon = at
        while colon < end and is_a(TOKEN, colon[0]):
            colon += 1
        if colon == at or colon == end or colon[0] != b":":
            return at
        end_name(reading, at, <size_t>(colon - at))
        at = colon + 1
        if reading.state != LINE_REST:
            return at
        stop = <const char*>memchr(at, b"\r", <size_t>(end - at))
        if stop == NULL or stop + 1 == end or stop[1] != b"\n":
            return at
        if memchr(at, b"\n", <size_t>(stop - at)) != NULL:
            return at
        reading.state = FIELD_START
        at = stop + 2


cdef inline int read_response(
    ResponseReading* reading, const char* at, size_t size
) noexcept nogil:
    """Read a piece of what was written; return 0, or -1 after a fault."""
    cdef const char* end = at + size
    if reading.fault != RESPONSE_RIGHT:
        return -1
    while at < end:
        if reading.state >= BODY_DATA:
            at += read_many(reading, at, <size_t>(end - at))
        elif reading.state == LINE_REST:
            at = skip_line(reading, at, end)
            if at == NULL:
                return -1
        else:
            if reading.state == FIELD_START:
                at = read_fields(reading, at, end)
                if reading.state == LINE_REST or at == end:
                    continue
            elif reading.state == STATUS_LINE:
                at = read_status_line(reading, at, end)
            if read_byte(reading, at[0]) != 0:
                return -1
            at += 1
    return 0


cdef inline bint response_closes(ResponseReading* reading) noexcept nogil:
    """Whether no other response can follow: it says so, or only the end can end it."""
    return reading.says_close or reading.state == UNTIL_CLOSE or reading.state == SWITCHED


cdef inline int end_response(ResponseReading* reading, bint keep_alive) noexcept nogil:
    """Return the fault of a response of which nothing more comes."""
    cdef uint8_t state = reading.state
    if reading.fault != RESPONSE_RIGHT:
        return reading.fault
    if state == AFTER_RESPONSE:
        if reading.extra == 0:
            return RESPONSE_RIGHT
        if reading.is_head:
            return RESPONSE_BODY_FOR_HEAD
        if reading.status == 204 or reading.status == 304:
            return RESPONSE_BODY_FOR_STATUS
        return RESPONSE_AFTER_CHUNKS if reading.chunked else RESPONSE_LONG
    if state == UNTIL_CLOSE:
        # RFC 9112 section 9.3: what is of HTTP/1.0 says without a word that it closes.
        if reading.says_close or (reading.http_1_0 and not reading.says_keep_alive):
            return RESPONSE_RIGHT
        return RESPONSE_NO_LENGTH if keep_alive else RESPONSE_RIGHT
    if state == SWITCHED:
        return RESPONSE_RIGHT
    if state == BODY_DATA:
        return RESPONSE_SHORT
    if reading.in_body:
        return RESPONSE_CHUNK_MISSING
    if state == STATUS_LINE and reading.word_size == 0 and reading.status == 0:
        return RESPONSE_EMPTY
    return RESPONSE_HEAD_INCOMPLETE


# --- The usual response, in one go ------------------------------------------------------------

cdef inline bint is_usual_response(const char* at, size_t size) noexcept nogil:
    """Whether this is surely right for a request that is not HEAD, and leaves the connection open.

    That is: HTTP/1.1, a status with a body, one Content-Length written as usual, and exactly
    so many bytes behind the head. Whatever else there is, the machine above has to judge.
    """
    cdef const char* end = at + size
    cdef const char* start
    cdef uint64_t length = 0
    cdef bint has_length = False
    if size < 32 or memcmp(at, b"HTTP/1.1 ", 9) != 0 or at[12] != b" ":
        return False
    if not (b"2" <= at[9] <= b"5" and b"0" <= at[10] <= b"9" and b"0" <= at[11] <= b"9"):
        return False
    if at[9] <= b"3" and at[10] == b"0" and at[11] == b"4":
        return False  # 204 and 304 have none
    at += 13
    while True:
        # What is left of a line does not matter, but for its end.
        start = at
        at = <const char*>memchr(at, b"\r", <size_t>(end - at))
        if at == NULL or end - at < 4 or at[1] != b"\n":
            return False
        if memchr(start, b"\n", <size_t>(at - start)) != NULL:
            return False
        at += 2
        if at[0] == b"\r":
            return at[1] == b"\n" and has_length and length == <uint64_t>(end - at - 2)
        if end - at > 16 and memcmp(at, b"Content-Length: ", 16) == 0:
            start = at = at + 16
            while at < end and b"0" <= at[0] <= b"9":
                length = 10 * length + <uint64_t>(at[0] - 48)
                at += 1
            if has_length or at == end or at[0] != b"\r" or not 0 < at - start < 19:
                return False
            has_length = True
            continue
        start = at
        while at < end and is_a(TOKEN, at[0]):
            at += 1
        if at == end or at[0] != b":" or at == start:
            return False
        if at - start in (10, 14, 17) and start[0] | 32 in (b"c", b"t"):
            return False  # maybe Connection, Content-Length or Transfer-Encoding
