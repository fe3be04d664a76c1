"""How an application is tried with any request and any bytes, and the shortest fault found."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import hypothesis
from hypothesis import strategies as st

from fasthttpserver._server.request import RequestCallback
from fasthttpserver.errors import HTTPInputError, StreamClosedError
from fasthttpserver.log import app_log, gen_log
from fasthttpserver.testing import _strategies
from fasthttpserver.testing._client import Client, Delegate
from fasthttpserver.testing._mutations import mutations, splits
from fasthttpserver.testing._responses import A_RESPONSE, Response
from fasthttpserver.testing._strategies import Request

__all__ = ["check_callback"]


def check_callback(
    request_callback: RequestCallback | Delegate,
    *,
    pipelines: st.SearchStrategy[list[Request]] | None = None,
    settings: hypothesis.settings | None = None,
    timeout: float = 60.0,
    **options: Any,
) -> None:
    """Check that a callback keeps what HTTP asks of it, whoever the client is.

    Two properties are tried with hypothesis:

    * Whatever valid requests arrive, in whatever pieces, each gets one well-framed response.
      HEAD, CONNECT and HTTP/1.0 are among them.
    * Whatever bytes arrive, and even if the client disconnects, the callback never raises.

    Every example has a connection and a loop of its own, see ``Client``.

    Args:
        request_callback: The callback, plain or ``async def``, or another application as
            ``Client`` takes it.
        pipelines: Other valid requests, for instance ``pipelines(method=just("GET"))`` of
            this module. Spoiled requests may still have any method; so their responses are
            looked at only without this argument.
        settings: Of hypothesis, for instance more examples.
        timeout: Seconds, of the loop's time, in which each response has to be whole.
        **options: Of ``HTTPServer``, its limits too.

    Raises:
        RuleBroken: It does not; the message shows the bytes, both ways.
    """
    valid = _strategies.pipelines() if pipelines is None else pipelines
    if settings is None:
        # The message tells what is wrong; explaining it by lines of code takes longest.
        phases = set(hypothesis.settings().phases) - {hypothesis.Phase.explain}
        settings = hypothesis.settings(deadline=None, phases=phases, report_multiple_bugs=False)

    def make(visit: _Visit, framing: bool) -> None:
        with _complaints() as complaints:
            with Client(request_callback, timeout=timeout, **options) as client:
                client.send(*visit.pieces)
                if visit.end == "half-closes":
                    client.half_close()
                elif visit.end == "leaves":
                    client.reset()
                client._wait_for_callback()
                _raise_first(client, complaints)
                if framing and visit.end != "leaves":  # whose responses are cut somewhere
                    _read_all(client)
            _raise_first(client, complaints)

    @settings
    @hypothesis.given(_visits(valid.map(_wire), ["stays", "half-closes"]))
    def valid_requests_get_well_framed_responses(visit: _Visit) -> None:
        make(visit, framing=True)

    @settings
    @hypothesis.given(_visits(_any_bytes(valid), ["stays", "half-closes", "leaves"]))
    def no_bytes_make_the_callback_raise(visit: _Visit) -> None:
        make(visit, framing=pipelines is None)

    valid_requests_get_well_framed_responses()
    no_bytes_make_the_callback_raise()


class _Visit:
    """What a client sends, and how it ends."""

    def __init__(self, pieces: list[bytes], end: str) -> None:
        self.pieces = pieces
        self.end = end

    def __repr__(self) -> str:
        return f"<a client that sends {self.pieces} and then {self.end}>"


@st.composite
def _visits(draw: st.DrawFn, data: st.SearchStrategy[bytes], ends: list[str]) -> _Visit:
    return _Visit(draw(splits(draw(data))), draw(st.sampled_from(ends)))


def _any_bytes(valid: st.SearchStrategy[list[Request]]) -> st.SearchStrategy[bytes]:
    return valid.map(_wire).flatmap(mutations) | st.binary(max_size=200)


def _wire(pipeline: list[Request]) -> bytes:
    return b"".join(request.wire for request in pipeline)


# --- What must not have happened ----------------------------------------------------------


class _Complaints(logging.Filter):
    """Keeps what the server logs about the application, and keeps it from being seen."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def filter(self, record: logging.LogRecord) -> bool:
        self.records.append(record)
        return False


@contextlib.contextmanager
def _complaints() -> Iterator[_Complaints]:
    complaints = _Complaints()
    for logger in (app_log, gen_log):
        logger.addFilter(complaints)
    try:
        yield complaints
    finally:
        for logger in (app_log, gen_log):
            logger.removeFilter(complaints)


def _raise_first(client: Client, complaints: _Complaints) -> None:
    # A callback may refuse a request by HTTPInputError, and need not watch for clients
    # that leave.
    errors = [
        error
        for error in client.errors
        if not isinstance(error, (HTTPInputError, StreamClosedError))
    ]
    errors += [
        record.exc_info[1]
        for record in complaints.records
        if record.levelno >= logging.ERROR and record.exc_info and record.exc_info[1] is not None
    ]
    if errors:
        rule = f"the callback raised {type(errors[0]).__name__}: {errors[0]}"
        raise client._broken(rule) from errors[0]
    for record in complaints.records:
        if record.levelno == logging.WARNING and record.name == gen_log.name:
            raise client._broken(record.getMessage())


def _read_all(client: Client) -> None:
    """Read every response as a client would, and miss none."""
    while True:
        reading = client._next()
        if reading.missing == A_RESPONSE and len(client._read) == len(client.requests):
            break
        response = client._take(reading)
        if len(client._read) > len(client.requests) and response.status < 400:
            raise client._broken("a response to no request")  # nor the server's own refusal
        if reading.switched:
            return
        if _says_close(response):
            if client.receive_bytes():
                raise client._broken(
                    "bytes behind a response that says Connection: close (RFC 9112 section 9.6)"
                )
            if not client.closed:
                raise client._broken(
                    "a response says Connection: close, and the connection stays open "
                    "(RFC 9112 section 9.6; no_keep_alive=True closes it)"
                )
            return
    if not client._all_finished() and not client.closed:
        raise client._broken("the response is whole, and finish() was not called")


def _says_close(response: Response) -> bool:
    options = response.headers.get("Connection", "").lower().split(",")
    return "close" in [option.strip() for option in options]
