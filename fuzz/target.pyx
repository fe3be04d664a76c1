# cython: language_level=3
"""What libFuzzer calls: it aborts where the parser breaks a promise.

The first byte of an input chooses limits (see ``seeds.py``), the rest is what a client
sends. How it is cut comes from a hash of it. The promises:

* Nothing crashes, and nothing but ``HTTPInputError`` is raised. The parser and llhttp are
  compiled with AddressSanitizer and UndefinedBehaviorSanitizer.
* Any cut gives the same requests, end, status, reason and offset, by ``next_request`` and
  by ``next_event``; so does what ``detach`` returns.
* After a refused request, and after the last one of a connection, nothing is read.
* What is accepted, strict peers read in the same way (``oracle.py``). They are slow, so
  only a sample is given to them, but with FUZZ_THOROUGH set everything.
* Bytes that begin as a response does are read as what an application wrote: with any cut
  ``ResponseChecker`` says the same of them, and ``check_response`` what it says.

This file is not instrumented, so that coverage counts the parser alone.
"""

import os
import traceback

from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport abort

import oracle

from fasthttpserver._parser import (
    END_OF_MESSAGE,
    RequestMessage,
    RequestParser,
    ResponseChecker,
    check_response,
)
from fasthttpserver.errors import HTTPInputError

_GET = RequestMessage("GET", "/", "HTTP/1.1")
_HEAD = RequestMessage("HEAD", "/", "HTTP/1.1")

cdef extern from *:
    """
    PyMODINIT_FUNC PyInit_target(void);

    int LLVMFuzzerInitialize(int *argc, char ***argv)
    {
        PyPreConfig pre;
        PyConfig config;
        PyStatus status;
        (void)argc;
        (void)argv;
        /* Every object in a block of its own with red zones around it, or several times as
           many executions with red zones around large objects only. */
        PyPreConfig_InitPythonConfig(&pre);
        if (getenv("FUZZ_THOROUGH") != NULL)
            pre.allocator = PYMEM_ALLOCATOR_MALLOC;
        status = Py_PreInitialize(&pre);
        if (PyStatus_Exception(status))
            Py_ExitStatusException(status);
        PyImport_AppendInittab("target", PyInit_target);
        PyConfig_InitPythonConfig(&config);
        config.install_signal_handlers = 0;
        /* The environment whose packages are to be found. */
        status = PyConfig_SetBytesString(&config, &config.program_name, getenv("FUZZ_PYTHON"));
        if (!PyStatus_Exception(status))
            status = Py_InitializeFromConfig(&config);
        PyConfig_Clear(&config);
        if (PyStatus_Exception(status))
            Py_ExitStatusException(status);
        if (PyImport_ImportModule("target") == NULL) {
            PyErr_Print();
            exit(1);
        }
        return 0;
    }
    """

cdef bytes NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
cdef list LIMITS = oracle.LIMITS
cdef bint THOROUGH = "FUZZ_THOROUGH" in os.environ
cdef uint64_t executions = 0


cdef public int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) noexcept:
    if size == 0:
        return 0
    try:
        check(data[0], data[1:size])
    except BaseException:
        traceback.print_exc()
        abort()
    return 0


cdef int check(int choice, bytes data) except -1:
    """Read `data` in several ways and compare what came out."""
    global executions
    cdef dict limits = LIMITS[choice % len(LIMITS)]
    cdef bint take_over = choice >= 128
    cdef uint64_t random = hash_of(data)
    cdef tuple whole = read([data], limits, take_over, False)
    cdef list requests = whole[0]
    cdef object end = whole[1]
    executions += 1

    # Few cuts always, since that is cheap; every byte on its own now and then.
    expect(read(cut(data, random), limits, take_over, True, random >> 62), whole)
    if THOROUGH or random >> 56 < 8:
        expect(read(cut(data, 0), limits, take_over, random >> 55 & 1, random >> 62), whole)

    # Bytes after it.
    if THOROUGH or random >> 56 & 3 == 0:
        if end == "refused" or end == "closed":
            expect(read([data + NEXT], limits, take_over, False), whole)
            expect(read([data, NEXT], limits, take_over, True), whole)
        elif end == "open" and not data.endswith((b"\r", b"\n\r\n\r\n")) and data.strip():
            # Not after half an empty line, nor where those that came count for the next.
            further = read([data, NEXT], limits, take_over, random >> 55 & 1)
            assert further[1] == "open" and further[0][:-1] == requests, further
            assert further[0][-1][1] == "/next", further

    if data.startswith(b"HTTP/"):
        check_written(data, random)
    if requests and (THOROUGH or executions & 511 == 0):
        oracle.check(data, limits, take_over, whole)
    return 0


cdef int check_written(bytes data, uint64_t random) except -1:
    cdef bint is_head
    for is_head in (False, True):
        whole = judged([data], is_head)
        expect(judged(cut(data, random), is_head), whole)
        expect(judged(cut(data, 0), is_head), whole)
        fault, _, close, switched = whole
        wrong = fault is not None or switched
        assert check_response(data, _HEAD if is_head else _GET) == (2 if wrong else close), whole
    return 0


cdef tuple judged(list pieces, bint is_head):
    checker = ResponseChecker()
    checker.start(is_head, False, True)
    for piece in pieces:
        checker.feed(piece)
    return checker.finish(True), checker.status, checker.close, checker.switched


cdef uint64_t hash_of(bytes data):
    # FNV-1a, and a last stir since its high bits are used.
    cdef uint64_t value = 0xCBF29CE484222325U
    cdef uint8_t byte
    for byte in data:
        value = (value ^ byte) * 0x100000001B3U
    value ^= value >> 29
    return value * 0xBF58476D1CE4E5B9U


cdef list cut(bytes data, uint64_t random):
    """Cut into up to eight pieces, or into single bytes if `random` is 0."""
    cdef Py_ssize_t size = len(data)
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t step
    cdef list pieces = []
    while at < size:
        step = 1
        if random:
            # Steps of all sizes: half of the cuts fall into what is near.
            step = size if len(pieces) == 7 else 1 + random % (2 + (size - at >> (random >> 60)))
            random = random * 6364136223846793005U + 1442695040888963407U | 1
        pieces.append(data[at:at + step])
        at += step
    return pieces


cdef int expect(tuple got, tuple expected) except -1:
    if got != expected:
        raise AssertionError(f"\n     got {got}\nexpected {expected}")
    return 0


cdef tuple read(
    list pieces, dict limits, bint take_over, bint events, Py_ssize_t waiting=0
):
    """Give pieces to a parser: requests, how it ended, and what else must not differ.

    ``waiting`` is how many pieces come before anyone asks for a request.
    """
    parser = RequestParser(**limits)
    cdef list requests = []
    cdef Py_ssize_t i
    message = None
    cdef list body = []
    try:
        for i in range(len(pieces)):
            parser.receive_data(pieces[i])
            if waiting and i + 1 < len(pieces):
                waiting -= 1
                continue
            while True:
                if events:
                    event = parser.next_event()
                    if event is None:
                        break
                    if type(event) is bytes:
                        body.append(event)
                        continue
                    if event is not END_OF_MESSAGE:
                        message = event
                        continue
                    requests.append(seen(message, b"".join(body)))
                    body = []
                else:
                    message = parser.next_request()
                    if message is None:
                        break
                    requests.append(seen(message, message.body))
                if take_over and message.upgrade:
                    return requests, "taken over", parser.detach() + b"".join(pieces[i + 1:])
    except HTTPInputError as error:
        refused = error.status, error.reason, error.offset, parser.is_head
        assert 0 <= error.offset <= sum(map(len, pieces)), error.offset
        assert parser.closed and parser.unread == 0
        parser.receive_data(NEXT)
        try:
            parser.next_event() if events else parser.next_request()
        except HTTPInputError as again:
            assert (again.status, again.reason, again.offset) == refused[:3]
        else:
            raise AssertionError("a refused request was forgotten")
        return requests, "refused", refused
    assert parser.messages == len(requests)
    if parser.closed:
        assert parser.unread == 0
        return requests, "closed", None
    if parser.receiving_body:
        return requests, "body", (parser.body_received, parser.awaiting_continue)
    state = "head" if parser.receiving_head else "open"
    return requests, state, parser.detach()


cdef tuple seen(message, bytes body):
    return (
        message.method,
        message.uri,
        message.version,
        message.keep_alive,
        message.upgrade,
        message.expect_continue,
        message.authority,
        message.fields,
        message.trailers,
        body,
    )
