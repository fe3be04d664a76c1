"""Where the counters of a server stand that are kept in C, and how an exchange is counted.

They are 64-bit integers in a row. One thread writes them, and others may read them at any time,
those of other processes too: a number on its own is always whole.
"""

from libc.stdint cimport uint64_t


cdef enum:
    BUCKETS = 12  # of the durations: eleven bounds, and what is beyond them


# The names that Python code has for them, in the same order, are TALLY_FIELDS of the parser.
cdef enum:
    TALLY_BEGUN          # exchanges: requests that were given to the application
    TALLY_ENDED
    TALLY_CUT            # of these: the connection was lost before all of the response
    TALLY_RECEIVING      # connections on which a part of a request has come, and nothing else
    TALLY_BYTES_RECEIVED
    TALLY_BYTES_SENT
    TALLY_NANOSECONDS    # of all responses
    TALLY_2XX            # responses by status
    TALLY_3XX
    TALLY_4XX
    TALLY_5XX
    TALLY_DURATIONS      # the first bucket
    TALLY_SIZE = TALLY_DURATIONS + BUCKETS


cdef extern from *:
    """
    /* Seconds; Prometheus' own default for what people wait for. */
    static const double tally_bounds[] = {
        0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0
    };
    """
    const double tally_bounds[BUCKETS - 1]


cdef inline void count_response(uint64_t* tally, int status_class, double seconds) noexcept nogil:
    """Count an exchange that has ended with a response.

    Args:
        tally: The counters.
        status_class: The first digit of its status; any other number than 2 to 5 for none.
        seconds: That it took; negative if the clock was set back.
    """
    cdef int bucket = 0
    tally[TALLY_ENDED] += 1
    if 2 <= status_class <= 5:
        tally[TALLY_2XX + status_class - 2] += 1
    if seconds > 0:
        tally[TALLY_NANOSECONDS] += <uint64_t>(seconds * 1e9)
        while bucket < BUCKETS - 1 and seconds > tally_bounds[bucket]:
            bucket += 1
    tally[TALLY_DURATIONS + bucket] += 1
