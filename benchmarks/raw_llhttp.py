"""llhttp alone, called from C, as a parser to measure."""

import ctypes
import time
from collections.abc import Callable

from benchmarks.compiling import VENDOR, library
from benchmarks.corpus import Request
from benchmarks.root import ROOT

__all__ = ["check", "timer"]

_SOURCES = [
    ROOT / "benchmarks" / "raw_llhttp.c",
    *(VENDOR / "src" / name for name in ("api.c", "http.c", "llhttp.c")),
]


def timer(request: Request) -> Callable[[int], float]:
    """Return a function that parses the request n times and returns the CPU seconds."""
    sizes = [len(piece) for piece in request.pieces]
    c_sizes = (ctypes.c_size_t * len(sizes))(*sizes)
    fields, body_size = ctypes.c_size_t(), ctypes.c_size_t()
    parse_repeatedly = library(_SOURCES, [VENDOR / "include"]).parse_repeatedly
    parse_repeatedly.restype = ctypes.c_long
    parse_repeatedly.argtypes = [
        ctypes.c_char_p,
        ctypes.POINTER(ctypes.c_size_t),
        ctypes.c_size_t,
        ctypes.c_long,
        ctypes.POINTER(ctypes.c_size_t),
        ctypes.POINTER(ctypes.c_size_t),
    ]

    def run(count: int) -> float:
        start = time.process_time()
        parsed = parse_repeatedly(
            request.data, c_sizes, len(sizes), count, ctypes.byref(fields), ctypes.byref(body_size)
        )
        seconds = time.process_time() - start
        found = (parsed, fields.value, body_size.value)
        if found != (count, request.fields, request.body_size):
            raise ValueError(f"llhttp parsed {request.title} wrongly: {found}")
        return seconds

    return run


def check(request: Request) -> None:
    """Raise ValueError if the request is not parsed as it should be."""
    timer(request)(1)
