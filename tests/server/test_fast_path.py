"""The fast path of a request, and each way to leave it: nothing that was written is lost."""

from __future__ import annotations

import asyncio
import itertools
import re
import sys
from collections.abc import Callable

import pytest
from helpers import OK, Logs, echo, framed, get
from hypothesis import given
from hypothesis import strategies as st
from states import Transition
from wire import Wire

from fasthttpserver._server.persistence import ANNOUNCING, LAST_CALL
from fasthttpserver.errors import HTTPOutputError
from fasthttpserver.httpserver import HTTPRequest
from fasthttpserver.httputil import HTTPHeaders, ResponseStartLine

Wired = Callable[..., Wire]


def ignore(*_: object) -> None:
    """Do nothing."""


def drain(request: HTTPRequest) -> None:
    """Have the server end, as far as this connection hears of it."""
    for shutdown in (ANNOUNCING, LAST_CALL):
        request.connection.drain(shutdown)


SPECIAL: dict[str, Callable[[HTTPRequest], object]] = {
    "stream.close": lambda request: request.connection.stream.close(),
    "stream.write": lambda request: request.connection.stream.write(b"more"),
    "stream.writing": lambda request: request.connection.stream.writing(),
    "stream.write_buffer_size": lambda request: request.connection.stream.write_buffer_size,
    "stream.read_bytes": lambda request: request.connection.stream.read_bytes(1, ignore),
    "stream.set_close_callback": lambda r: r.connection.stream.set_close_callback(ignore),
    "close": lambda request: request.connection.close(),
    "detach": lambda request: request.connection.detach(),
    "set_close_callback": lambda request: request.connection.set_close_callback(ignore),
    "no_keep_alive": lambda request: setattr(request.connection, "no_keep_alive", True),
    "drain": drain,
    "write": lambda request: request.connection.write(b"more"),
    "a write callback": lambda request: request.write(b"more", ignore),
    "text": lambda request: request.write("more"),
    "much": lambda request: request.write(b"more" * 100_000),
    "nothing": ignore,
}


@pytest.mark.parametrize("special", SPECIAL.values(), ids=SPECIAL)
@pytest.mark.parametrize("pipelined", [1, 3])
def test_what_was_written_leaves_first(
    wire: Wired, special: Callable[[HTTPRequest], object], pipelined: int
) -> None:
    def callback(request: HTTPRequest) -> None:
        request.write(OK)
        if request.uri == "/slow":
            special(request)
        else:
            request.finish()

    end = wire(callback)
    end.send(get() * (pipelined - 1) + get("/slow"))
    end.turn()
    wanted = OK * pipelined
    assert end.transport.taken[: len(wanted)] == wanted
    assert set(end.transport.taken[len(wanted) :]) <= set(b"more")


@pytest.mark.parametrize("special", SPECIAL.values(), ids=SPECIAL)
@pytest.mark.parametrize("pipelined", [1, 3])
def test_what_was_finished_leaves_first(
    wire: Wired, logs: Logs, special: Callable[[HTTPRequest], object], pipelined: int
) -> None:
    def callback(request: HTTPRequest) -> None:
        request.write(OK)
        request.finish()
        if request.uri == "/slow":
            special(request)

    end = wire(callback)
    end.send(get() * (pipelined - 1) + get("/slow"))
    end.turn()
    wanted = OK * pipelined
    assert end.transport.taken[: len(wanted)] == wanted
    # Only what was written to the stream itself follows; it is the application's own.
    assert bytes(end.transport.taken[len(wanted) :]) in (b"", b"more")
    logs.warnings()  # of writes after finish()


def test_no_keep_alive_that_is_set_in_mid_callback_closes(wire: Wired) -> None:
    def callback(request: HTTPRequest) -> None:
        request.write(OK)
        request.connection.no_keep_alive = request.uri == "/last"
        request.finish()

    end = wire(callback)
    end.send(get())
    assert not end.transport.eof_written
    end.send(get("/last") + get())
    end.turn()
    assert end.transport.taken == OK * 2
    assert end.transport.eof_written


def test_stream_knows_of_what_was_written(wire: Wired) -> None:
    seen: list[object] = []

    def callback(request: HTTPRequest) -> None:
        stream = request.connection.stream
        seen.extend([stream.writing(), stream.write_buffer_size])
        request.write(OK)
        seen.extend([stream.writing(), stream.write_buffer_size])
        request.finish()

    end = wire(callback)
    end.send(get())
    end.turn()
    assert seen == [False, 0, True, len(OK)]
    assert end.transport.taken == OK


def test_a_response_does_not_overtake_what_was_written_to_the_stream(wire: Wired) -> None:
    end = wire(echo)
    end.send(get())

    def write_and_read() -> None:
        end.stream.write(b"more")
        end.connection.data_received(get("/next"))

    end.call(write_and_read)
    assert end.transport.taken == framed(b"/ ") + b"more" + framed(b"/next ")


def test_headers_may_be_written_after_a_look_at_the_stream(wire: Wired) -> None:
    def callback(request: HTTPRequest) -> None:
        assert not request.connection.stream.writing()
        headers = HTTPHeaders({"Content-Length": "2"})
        request.connection.write_headers(ResponseStartLine("HTTP/1.1", 200, "OK"), headers, b"hi")
        request.connection.finish()

    end = wire(callback)
    end.send(get())
    end.turn()
    assert end.transport.taken == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


@pytest.mark.parametrize("sizes", [(1, 16_383), (1, 16_384), (16_384, 1), (20_000,), (0, 5, 0, 7)])
def test_writes_of_any_size_are_joined_in_order(wire: Wired, sizes: tuple[int, ...]) -> None:
    pieces = [bytes([65 + n]) * size for n, size in enumerate(sizes)]

    def callback(request: HTTPRequest) -> None:
        for piece in pieces:
            request.write(piece)
        request.finish()

    end = wire(callback, check_responses=False)
    for _ in range(2):
        end.send(get() * 2)
        end.turn()
    assert end.transport.taken == b"".join(pieces) * 4


def test_the_next_request_is_on_the_fast_path_again(wire: Wired) -> None:
    fast: list[bool] = []

    def callback(request: HTTPRequest) -> None:
        if request.uri == "/slow":
            request.connection.no_keep_alive = False
        fast.append(request._corked is not None)
        echo(request)

    end = wire(callback)
    for target in ["/", "/slow", "/", "/slow"]:
        end.send(get(target))
    end.send(get() + get("/slow") + get())
    end.send(get())
    assert fast == [True, False, True, False, True, False, False, True]
    assert end.transport.taken.endswith(framed(b"/ ") * 2)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("answers", ["raw", "framed", "closing"])
def test_a_close_callback_leaves_a_late_answer_on_the_fast_path(
    wire: Wired, late: bool, answers: str
) -> None:
    gone: list[str] = []

    def answer(request: HTTPRequest) -> None:
        if answers == "raw":
            echo(request)
        else:
            request.respond(200, b"framed")

    def callback(request: HTTPRequest) -> None:
        request.connection.set_close_callback(lambda: gone.append(request.uri))
        if request.uri == "/unanswered":
            return
        if late:
            request.connection.loop.call_soon(answer, request)
        else:
            answer(request)

    end = wire(callback)
    fields = ["Connection: close"] if answers == "closing" else []
    end.send(get("/answered", *fields))
    assert end.sent().startswith(b"HTTP/1.1 200 OK")
    left = ("response", "None", "Response") in end.transitions
    assert left == (not late or answers == "closing")
    if answers != "closing":
        end.send(get("/unanswered"))
    end.reset()
    assert gone == ([] if answers == "closing" else ["/unanswered"])


STEPS: dict[str, Callable[[HTTPRequest], object]] = {
    "write an answer": lambda request: request.write(OK),
    "write": lambda request: request.write(b"a"),
    "write text": lambda request: request.write("b"),
    "write nothing": lambda request: request.write(b""),
    "write much": lambda request: request.write(b"c" * 9000),
    "write very much": lambda request: request.write(b"d" * 70_000),
    "write and be told": lambda request: request.write(b"e", ignore),
    "write to the connection": lambda request: request.connection.write(b"f"),
    "write to the stream": lambda request: request.connection.stream.write(b"g"),
    "look": lambda request: request.connection.stream.writing(),
    "finish": lambda request: request.finish(),
    "finish the connection": lambda request: request.connection.finish(),
    "close": lambda request: request.connection.close(),
}


def run(programs: list[list[str]], slow: bool) -> tuple[bytes, bool]:
    """Have each request do its steps; return what the client gets, and whether it is the end."""
    left = iter(programs)

    def callback(request: HTTPRequest) -> None:
        if slow:
            request.connection.leave_fast_path()
        for step in next(left):
            STEPS[step](request)

    with Wire(callback) as end:
        end.send(get() * len(programs))
        end.turn()
        taken = re.sub(rb"\r\nDate: [^\r]*", b"", bytes(end.transport.taken))  # of a 500
        return taken, end.transport.closing or end.transport.eof_written


PROGRAMS = st.lists(st.lists(st.sampled_from(list(STEPS)), max_size=5), min_size=1, max_size=4)


@given(PROGRAMS)
def test_the_client_gets_the_same_as_on_the_slow_path(programs: list[list[str]]) -> None:
    assert run(programs, slow=False) == run(programs, slow=True)


@pytest.mark.parametrize(
    ("writes", "fast"),
    [
        ([OK], True),
        ([OK[:-1], OK[-1:]], False),
        ([OK[:-1]], False),  # wrong: what says why is the slow path's
        ([b"", OK], False),
    ],
)
@pytest.mark.parametrize("apart", [True, False], ids=["two turns", "one turn"])
def test_a_late_answer_of_one_write_needs_no_response(
    wire: Wired, logs: Logs, writes: list[bytes], fast: bool, apart: bool
) -> None:
    def answer(request: HTTPRequest) -> None:
        for piece in writes:
            request.write(piece)
        if not apart:
            request.finish()

    kept: list[HTTPRequest] = []
    end = wire(kept.append)
    for _ in range(2):
        end.send(get())
        end.call(answer, kept[-1])
        assert end.sent() == b"".join(writes)
        if apart:
            end.call(kept[-1].finish)
        assert (Transition("response", "None", "Response") not in end.transitions) == fast
        if end.transport.closing or end.transport.eof_written:
            [error] = logs.errors()
            assert "shorter than its Content-Length" in error
            break
    assert end.connection.requests == len(kept)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="tasks begin in a later turn")
def test_a_coroutine_that_does_not_wait_answers_on_the_fast_path(wire: Wired) -> None:
    tasks: list[asyncio.Task[object] | None] = []

    async def callback(request: HTTPRequest) -> None:
        tasks.append(asyncio.current_task())
        if request.uri == "/slow":
            await asyncio.sleep(0)
        echo(request)

    end = wire(callback)
    end.send(get() * 2 + get("/slow"))
    assert end.transport.writes == [framed(b"/ ") * 2, framed(b"/slow ")]
    assert None not in tasks
    assert len(set(tasks)) == 3


@pytest.mark.parametrize(
    "writes, at_once",
    [
        ([framed(b"whole")], [framed(b"whole")]),
        ([framed(b"halves")[:-3], framed(b"halves")[-3:]], []),
        ([b"HTTP/1.1 200 OK\r\n\r\n", b"until the end"], []),
        ([framed(b"one"), b"more than it says"], [framed(b"one")]),
    ],
)
def test_a_late_answer_leaves_at_once_if_it_is_whole(
    wire: Wired, logs: Logs, writes: list[bytes], at_once: list[bytes]
) -> None:
    kept: list[HTTPRequest] = []
    end = wire(kept.append)
    end.send(get())
    seen: list[list[bytes]] = []

    def answer() -> None:
        for piece in writes:
            kept[0].write(piece)
        seen.append(list(end.transport.writes))
        kept[0].finish()

    end.call(answer)
    assert seen == [at_once]
    assert end.sent() == b"".join(writes)
    logs.errors()


def write_framed(request: HTTPRequest) -> None:
    headers = HTTPHeaders({"Content-Length": "2"})
    request.connection.write_headers(ResponseStartLine("", 200, "OK"), headers, b"ok")


BETWEEN: dict[str, Callable[[Wire, HTTPRequest], object]] = {
    "nothing": lambda end, request: None,
    "no bytes": lambda end, request: request.write(b""),
    "more bytes": lambda end, request: request.write(b"more"),
    "another head": lambda end, request: write_framed(request),
    "another answer": lambda end, request: request.respond(200, b"no"),
    "a raw answer": lambda end, request: request.write(OK),
    "the next request": lambda end, request: end.transport.peer_sends(get("/next")),
    "the client's end": lambda end, request: end.transport.peer_sends(b""),
    "the client's reset": lambda end, request: (
        end.turn(),
        end.transport.lose(ConnectionResetError()),
    ),
    "the server's end": lambda end, request: drain(request),
    "a close": lambda end, request: request.connection.close(),
    "a detached stream": lambda end, request: request.connection.detach().write(b"raw"),
    "no more after it": lambda end, request: setattr(request.connection, "no_keep_alive", True),
    "a failure": lambda end, request: end.connection.callback_failed(OSError(), request),
}


def run_framed(
    wire: Wired, between: Callable[[Wire, HTTPRequest], object], turns: int, slow: bool
) -> tuple[bytes, list[str], bool, int]:
    """Answer late, and have something happen before ``finish``."""
    kept: list[HTTPRequest] = []
    raised: list[str] = []
    end = wire(kept.append)

    def attempt(step: Callable[[], object]) -> None:
        try:
            step()
        except (RuntimeError, HTTPOutputError) as error:
            raised.append(str(error))
        end.turn(turns)

    end.send(get())
    if slow:
        end.connection.leave_fast_path()
    attempt(lambda: write_framed(kept[0]))
    assert slow or end.transport.writes == [framed(b"ok")]
    attempt(lambda: between(end, kept[0]))
    attempt(kept[0].finish)
    end.turn()
    if between is BETWEEN["nothing"]:
        assert (Transition("response", "None", "Response") in end.transitions) == slow
    for request in kept[1:]:
        end.call(echo, request)
    return bytes(end.transport.taken), raised, end.ended, len(kept)


@pytest.mark.parametrize("between", BETWEEN.values(), ids=BETWEEN)
@pytest.mark.parametrize("turns", [0, 1])
def test_a_late_framed_answer_goes_as_on_the_slow_path(
    wire: Wired, logs: Logs, between: Callable[[Wire, HTTPRequest], object], turns: int
) -> None:
    outcome = run_framed(wire, between, turns, slow=False)
    logs.records.clear()
    assert outcome == run_framed(wire, between, turns, slow=True)
    logs.records.clear()


def run_late(programs: list[list[str]], slow: bool) -> tuple[bytes, bool]:
    """As ``run``, but the callback has returned before: "turn" ends a turn of the loop."""
    kept: list[HTTPRequest] = []

    def call(steps: list[str], request: HTTPRequest) -> None:
        for step in steps:
            STEPS[step](request)

    with Wire(kept.append, access_log="common" if slow else None) as end:
        end.send(get() * len(programs))
        for request, program in zip(kept, programs, strict=False):  # more come when one ends
            for _, steps in itertools.groupby(program, "turn".__ne__):
                end.call(call, [step for step in steps if step != "turn"], request)
        taken = re.sub(rb"\r\nDate: [^\r]*", b"", bytes(end.transport.taken))  # of a 500
        return taken, end.transport.closing or end.transport.eof_written


LATE_STEPS = [*STEPS, "turn"]
LATE_PROGRAMS = st.lists(st.lists(st.sampled_from(LATE_STEPS), max_size=5), min_size=1, max_size=4)


@given(LATE_PROGRAMS)
def test_the_client_of_a_late_answer_gets_the_same_as_on_the_slow_path(
    programs: list[list[str]],
) -> None:
    assert run_late(programs, slow=False) == run_late(programs, slow=True)


class Outcome(BaseException):
    """What is no Exception, as test frameworks raise it."""


def test_finished_answers_leave_although_the_next_callback_raises_anything(wire: Wired) -> None:
    def callback(request: HTTPRequest) -> None:
        if request.uri == "/slow":
            raise Outcome
        echo(request)

    end = wire(callback)
    with pytest.raises(Outcome):
        end.connection.data_received(get() + get("/slow"))
    assert end.transport.taken == framed(b"/ ")


def test_client_that_is_lost_within_a_callback_is_counted_once(wire: Wired) -> None:
    # As by a loop that the callback runs.
    def callback(request: HTTPRequest) -> None:
        echo(request)
        end.connection.connection_lost(None)

    end = wire(callback)
    end.send(get())
    assert end.transport.taken == b""
    stats = end.server.stats()
    assert (stats["in_flight"], stats["cut"], stats["responses"]["2xx"]) == (0, 1, 0)


def test_request_that_is_kept_does_not_keep_its_response(wire: Wired) -> None:
    kept: list[HTTPRequest] = []
    end = wire(lambda request: (kept.append(request), echo(request)))
    end.send(get(), get() * 2)
    assert [request._corked for request in kept] == [None] * 3


def test_reading_goes_on_when_the_last_answer_comes_later(wire: Wired) -> None:
    kept: list[HTTPRequest] = []
    end = wire(kept.append)
    end.send(get(), get() * 5000)  # more than is read ahead
    assert end.transport.paused
    while kept:
        end.call(echo, kept.pop(0))
    assert not end.transport.paused
