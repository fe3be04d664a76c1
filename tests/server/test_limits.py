"""Deadlines and bounds: when a client is too slow, takes too much, or sends too much."""

from __future__ import annotations

import dataclasses
import inspect
import math
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from helpers import OK, Client, Logs, Served, answer, echo, eventually, framed, get, post, status_of
from wire import Wire

from fasthttpserver._parser import RequestParser
from fasthttpserver.httpserver import HTTPRequest, HTTPServer
from fasthttpserver.limits import RULES, Limits

Serve = Callable[..., Served]
Wired = Callable[..., Wire]

CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


# --- The arguments ----------------------------------------------------------------------


def test_limits_are_those_that_are_promised() -> None:
    assert (
        dataclasses.asdict(Limits()).items()
        >= {
            "max_header_size": 65_536,
            "max_request_line": 8190,
            "max_field_size": 16_384,
            "max_header_count": 100,
            "max_body_size": 104_857_600,
            "header_timeout": 60.0,
            "body_stall_timeout": 60.0,
            "body_min_rate": 240.0,
            "body_grace": 10.0,
            "idle_connection_timeout": 75.0,
            "write_timeout": 60.0,
            "tls_handshake_timeout": 10.0,
            "read_ahead": 65_536,
            "linger_silence": 2.0,
            "linger_timeout": 10.0,
        }.items()
    )


def test_each_limit_is_a_keyword_of_the_server_with_its_default() -> None:
    parameters = inspect.signature(HTTPServer).parameters
    defaults = {name: parameters[name].default for name in dataclasses.asdict(Limits())}
    # As in Tornado, where it is not given: max_buffer_size.
    assert defaults == dataclasses.asdict(Limits()) | {"max_body_size": None}
    assert {parameters[name].kind for name in defaults} == {inspect.Parameter.KEYWORD_ONLY}


def test_each_limit_of_the_server_is_the_one_that_was_given() -> None:
    for number, field in enumerate(dataclasses.fields(Limits), 1000):
        given: dict[str, Any] = {field.name: number}
        server = HTTPServer(echo, **given)
        assert getattr(server.limits, field.name) == number


def test_max_buffer_size_is_the_old_name_of_max_body_size() -> None:
    assert HTTPServer(echo, max_buffer_size=1000).limits.max_body_size == 1000
    assert HTTPServer(echo, max_buffer_size=1000, max_body_size=50).limits.max_body_size == 50


@pytest.mark.parametrize("value", [0, 0.0, None])
def test_idle_connection_timeout_has_tornados_words_for_the_default(value: float | None) -> None:
    assert HTTPServer(echo, idle_connection_timeout=value).limits.idle_connection_timeout == 75.0


HEADS = ["max_header_size", "max_request_line", "max_field_size", "max_header_count"]
COUNTS = [*HEADS, "max_body_size", "read_ahead", "max_connections"]
ENDLESS = ["header_timeout", "body_stall_timeout", "body_timeout", "write_timeout"]
BOUNDED = ["tls_handshake_timeout", "linger_silence", "linger_timeout"]
TIMES = [*ENDLESS, *BOUNDED, "idle_connection_timeout", "body_grace", "body_min_rate"]


def test_the_tables_below_know_every_limit() -> None:
    assert sorted([*COUNTS, *TIMES]) == sorted(dataclasses.asdict(Limits()))


WRONG: list[tuple[list[str], list[object], type[Exception]]] = [
    (["max_header_sise"], [1], TypeError),
    (COUNTS, ["1000", 1000.0, True, math.nan, b"1", [1]], TypeError),
    (COUNTS, [-1, 1 << 70], ValueError),
    ([*HEADS, "max_connections"], [0], ValueError),
    ([*HEADS, "read_ahead"], [None], TypeError),
    (TIMES, ["1", True, b"1", [1.0], 1j], TypeError),
    (TIMES, [-1, -1.5, math.nan, -math.inf], ValueError),
    ([*ENDLESS, *BOUNDED], [0, 0.0, 1e-9], ValueError),
    ([*BOUNDED, "body_grace"], [math.inf, 10**400], ValueError),
    ([*BOUNDED, "body_grace"], [None], TypeError),
    (["idle_connection_timeout"], [1e-9], ValueError),
    (["idle_connection_timeout"], [False], TypeError),
    (["body_min_rate"], [math.inf], ValueError),
    (["max_buffer_size", "chunk_size"], ["1", 1.0, True], TypeError),
    (["max_buffer_size", "chunk_size"], [-1], ValueError),
    (["protocol"], [True, b"https"], TypeError),
    (["protocol"], ["HTTPS", "ftp"], ValueError),
]


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [(name, value, error) for names, values, error in WRONG for name in names for value in values],
)
def test_wrong_limits_are_refused_at_once(name: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=name):
        HTTPServer(echo, **{name: value})


def test_the_parser_takes_what_the_server_takes() -> None:
    for name in [*HEADS, "max_body_size"]:
        rule = RULES[name]
        given: dict[str, Any]
        for value in (rule.low, rule.high):
            given = {name: value}
            HTTPServer(echo, **given)
            RequestParser(**given)
        for value in (rule.low - 1, rule.high + 1):
            given = {name: value}
            with pytest.raises(ValueError, match=name) as of_server:
                HTTPServer(echo, **given)
            with pytest.raises(ValueError, match=name) as of_parser:
                RequestParser(**given)
            assert str(of_server.value) == str(of_parser.value)


# --- Switched off -----------------------------------------------------------------------

NEVER: list[tuple[dict[str, Any], bytes, str]] = [
    ({"header_timeout": None}, b"", ""),
    ({"header_timeout": None}, get()[:-2], "408"),
    ({"header_timeout": math.inf}, get()[:-2], "408"),
    ({"body_stall_timeout": None, "body_min_rate": None}, post(b"12345")[:-1], "408"),
    ({"body_stall_timeout": None, "body_min_rate": 0}, post(b"12345")[:-1], "408"),
    ({"body_stall_timeout": math.inf, "body_min_rate": 0.0}, post(b"12345")[:-1], "408"),
    ({"idle_connection_timeout": math.inf}, get(), ""),
    ({"write_timeout": None}, get("/large"), ""),
    ({"write_timeout": math.inf}, get("/large"), ""),
]


@pytest.mark.parametrize(("limits", "data", "status"), NEVER)
def test_what_is_off_waits_for_ever(
    wire: Wired, logs: Logs, limits: dict[str, Any], data: bytes, status: str
) -> None:
    def callback(request: HTTPRequest) -> None:
        answer(request, bytes(1000 if request.uri == "/large" else 1))

    for given in (limits, {}):
        end = wire(callback, window=500, **given)
        end.send(*filter(None, [data]))
        end.sent()
        end.pass_time(100)
        # The same client is not waited for where nothing is off.
        assert end.ended == (not given)
        if not given:
            assert status in end.sent().decode("latin-1")
    assert len(logs.refusals()) == bool(status)


def test_grace_of_nothing_judges_a_body_at_the_next_look(wire: Wired, logs: Logs) -> None:
    end = wire(echo, body_grace=0)
    end.send(post(b"12345")[:-1])
    end.pass_time(2)
    assert status_of(end.sent()) == 408
    assert len(logs.refusals()) == 1


@pytest.mark.parametrize(
    "limits", [{"body_grace": 0}, {"body_grace": 1e-9}, {"linger_silence": 0.001}]
)
def test_no_limit_makes_the_server_look_all_the_time(serve: Serve, limits: dict[str, Any]) -> None:
    served = serve(echo, **limits)
    served.connect().ask(get())
    assert served.server._settings.clock._interval >= 0.001


# --- Sizes ------------------------------------------------------------------------------


def head_of(size: int) -> bytes:
    """A request whose head has so many bytes."""
    return get("/", "X: " + "x" * (size - len(get("/", "X: "))))


def line_of(size: int) -> bytes:
    """A request whose request line has so many bytes, its line end not counted."""
    return get("/" + "x" * (size - len("GET / HTTP/1.1")))


SIZES: list[tuple[str, int, bytes, bytes, int]] = [
    ("max_header_size", 200, head_of(200), head_of(201), 431),
    ("max_request_line", 100, line_of(100), line_of(101), 414),
    ("max_field_size", 50, get("/", "X: " + "x" * 49), get("/", "X: " + "x" * 50), 431),
    ("max_header_count", 3, get("/", "X: y", "X: y"), get("/", "X: y", "X: y", "X: y"), 431),
    ("max_body_size", 10, post(b"x" * 10), post(b"x" * 11), 413),
    (
        "max_body_size",
        10,
        CHUNKED + b"9\r\n012345678\r\n1\r\nx\r\n0\r\n\r\n",
        CHUNKED + b"9\r\n012345678\r\n2\r\n",
        413,
    ),
    ("max_body_size", 0, post(b""), post(b"x"), 413),
]


@pytest.mark.parametrize(("name", "value", "good", "bad", "status"), SIZES)
def test_limit_is_exact(
    wire: Wired, logs: Logs, name: str, value: int, good: bytes, bad: bytes, status: int
) -> None:
    for cut in (False, True):
        end = wire(lambda request: answer(request), **{name: value})
        end.send(*([good[i : i + 1] for i in range(len(good))] if cut else [good]))
        assert end.sent() == OK
        end.send(*([bad[i : i + 1] for i in range(len(bad))] if cut else [bad]))
        assert status_of(end.sent()) == status
        assert len(logs.refusals()) == 1


# --- The header deadline ----------------------------------------------------------------


def test_slow_head_is_answered_408(serve: Serve, logs: Logs) -> None:
    served = serve(echo, header_timeout=0.2)
    client = served.connect()
    begin = time.monotonic()
    client.send(b"GET / HT")
    assert status_of(client.read_to_end()) == 408
    assert 0.15 < time.monotonic() - begin < 2
    assert len(logs.refusals()) == 1


def test_client_that_says_nothing_is_closed_in_silence(serve: Serve, logs: Logs) -> None:
    client = serve(echo, header_timeout=0.2).connect()
    assert client.read_to_end() == b""
    assert logs.records == []


def test_head_that_trickles_is_answered_408_although_bytes_come(wire: Wired, logs: Logs) -> None:
    end = wire(echo, header_timeout=60)
    end.send(b"GET / HTTP/1.1\r\n")
    for i in range(59):
        end.send(b"%d" % (i % 10))
        end.pass_time(1)
        assert end.sent() == b""
    end.pass_time(3)
    assert status_of(end.sent()) == 408
    assert len(logs.refusals()) == 1


def test_second_head_has_its_own_deadline(wire: Wired, logs: Logs) -> None:
    end = wire(echo, header_timeout=10, idle_connection_timeout=1000)
    end.send(get())
    end.pass_time(500)
    assert end.sent() == framed(b"/ ")
    end.send(b"GET /")
    end.pass_time(8)
    assert end.sent() == b""
    end.pass_time(4)
    assert status_of(end.sent()) == 408
    assert len(logs.refusals()) == 1


def test_heads_that_are_slow_each_on_its_own_are_not_added_up(wire: Wired) -> None:
    end = wire(echo, header_timeout=10)
    for _ in range(5):
        end.send(get()[:5])
        end.pass_time(7)
        end.send(get()[5:])
        assert end.sent() == framed(b"/ ")


def test_blank_lines_do_not_put_the_deadline_off(wire: Wired) -> None:
    end = wire(echo, header_timeout=10)
    for _ in range(12):
        end.send(b"\r\n")
        end.pass_time(1)
    assert end.transport.closing
    assert end.sent() == b""


def test_408_to_a_client_that_shut_its_side_is_not_needed(wire: Wired) -> None:
    end = wire(echo, header_timeout=10)
    end.send(b"GET / HT")
    end.half_close()
    assert end.transport.closing
    assert end.sent() == b""


# --- Bodies -----------------------------------------------------------------------------

BODY_BEGUN = post(bytes(100_000))[:-99_000]


def test_body_that_stalls_is_answered_408(serve: Serve, logs: Logs) -> None:
    client = serve(echo, body_stall_timeout=0.2).connect()
    client.send(BODY_BEGUN)
    assert status_of(client.read_to_end()) == 408
    assert len(logs.refusals()) == 1


def test_body_that_never_begins_is_answered_408(wire: Wired, logs: Logs) -> None:
    end = wire(echo, body_stall_timeout=10, body_min_rate=0)
    end.send(post(b"x")[:-1])
    end.pass_time(9)
    assert end.sent() == b""
    end.pass_time(3)
    assert status_of(end.sent()) == 408
    assert len(logs.refusals()) == 1


def test_body_that_goes_on_is_not_stalled(wire: Wired) -> None:
    end = wire(echo, body_stall_timeout=10, body_min_rate=0)
    data = post(bytes(20))
    end.send(data[:-20])
    for _ in range(20):
        end.pass_time(8)
        end.send(b"x")
    assert end.sent() == framed(b"/ " + b"x" * 20)


@pytest.mark.parametrize("kind", ["length", "chunked"])
def test_body_that_is_too_slow_is_answered_408(wire: Wired, logs: Logs, kind: str) -> None:
    end = wire(echo)
    end.send(BODY_BEGUN[:-1000] if kind == "length" else CHUNKED + b"fffff\r\n")
    for _ in range(9):
        end.send(b"x")
        end.pass_time(1)
    assert end.sent() == b""
    end.send(b"x")
    end.pass_time(3)
    assert status_of(end.sent()) == 408
    assert len(logs.refusals()) == 1


def test_body_that_is_fast_enough_is_waited_for(wire: Wired) -> None:
    end = wire(echo)
    end.send(BODY_BEGUN)
    for _ in range(50):
        end.send(bytes(1000))
        end.pass_time(3)
    end.send(bytes(49_000))
    assert end.sent() == framed(b"/ " + bytes(100_000))


def test_burst_does_not_buy_the_right_to_trickle(wire: Wired, logs: Logs) -> None:
    # 90,000 bytes at once are 240 a second for more than six minutes.
    end = wire(echo)
    end.send(BODY_BEGUN + bytes(89_000))
    for _ in range(25):
        end.send(b"x")
        end.pass_time(1)
    assert status_of(end.sent()) == 408
    assert len(logs.refusals()) == 1


def test_each_body_is_judged_on_its_own(wire: Wired) -> None:
    # A client that uploads without a pause: whenever it is looked at, a body is begun.
    end = wire(echo, body_stall_timeout=5)
    data = post(bytes(1000))
    end.send(data[:-999])
    for _ in range(60):
        end.pass_time(0.5)
        end.send(bytes(999) + data[:-999])
        assert end.sent() == framed(b"/ " + bytes(1000))


def test_average_counts_from_the_begin_of_the_body(wire: Wired, logs: Logs) -> None:
    end = wire(echo, idle_connection_timeout=1000)
    for _ in range(3):
        end.send(post(bytes(1000)))
        end.pass_time(50)
    assert end.sent() == framed(b"/ " + bytes(1000)) * 3
    end.send(BODY_BEGUN[:-1000])
    end.pass_time(9)
    assert end.sent() == b""
    end.pass_time(3)
    assert status_of(end.sent()) == 408
    assert len(logs.refusals()) == 1


def test_request_that_is_refused_for_its_slow_body_is_never_run(serve: Serve, logs: Logs) -> None:
    served = serve(lambda request: pytest.fail("it was called"), body_grace=0.1, body_min_rate=1e9)
    client = served.connect()
    client.send(BODY_BEGUN)
    assert status_of(client.read_to_end()) == 408
    client.send(bytes(99_000))
    client.close()
    served.all_closed()
    assert len(logs.refusals()) == 1


# --- A busy loop ------------------------------------------------------------------------


@pytest.mark.parametrize("turn", [1.0, 1.7, 5.0])
def test_deadlines_count_in_a_loop_that_is_always_busy(
    wire: Wired, logs: Logs, turn: float
) -> None:
    # Each turn of the loop takes longer than the time between two looks at the deadlines.
    end = wire(echo, header_timeout=3)
    end.send(b"GET / HT")
    for _ in range(12):
        end.pass_time(turn, step=turn)
    assert status_of(end.sent()) == 408
    assert len(logs.refusals()) == 1


def test_what_came_while_the_loop_stood_still_is_not_late(wire: Wired) -> None:
    end = wire(echo, header_timeout=3)
    end.send(get()[:-1])
    end.loop.now += 60
    end.send(get()[-1:])
    end.turn()
    assert end.sent() == framed(b"/ ")


def test_pipelining_client_takes_a_bounded_time_of_each_turn(serve: Serve) -> None:
    # 64 requests of 20 ms each would be more than a second.
    order: list[str] = []

    def callback(request: HTTPRequest) -> None:
        order.append(request.uri)
        if request.uri == "/slow":
            threading.Event().wait(0.02)
        answer(request)

    served = serve(callback)
    many, one = served.connect(), served.connect()
    many.send(get("/slow") * 30)
    eventually(lambda: order)
    assert one.ask(get("/one")) == b"ok"
    assert order.index("/one") < 15
    for _ in range(30):
        assert many.read_response().body == b"ok"


# --- Between requests -------------------------------------------------------------------


def test_idle_connection_is_closed_in_silence(serve: Serve, logs: Logs) -> None:
    client = serve(echo, idle_connection_timeout=0.2).connect()
    assert client.ask(get()) == b"/ "
    assert client.read_to_end() == b""
    assert logs.records == []


def test_idle_time_begins_anew_with_each_request(wire: Wired) -> None:
    end = wire(echo, idle_connection_timeout=10)
    for _ in range(5):
        end.send(get())
        assert end.sent() == framed(b"/ ")
        end.pass_time(8)
    assert not end.ended
    end.pass_time(3)
    assert end.transport.closing
    assert not end.transport.aborted


def test_idle_time_does_not_count_the_time_of_a_request(wire: Wired) -> None:
    requests: list[HTTPRequest] = []
    end = wire(requests.append, idle_connection_timeout=10)
    end.send(get())
    end.pass_time(1000)
    end.call(answer, requests[0])
    assert end.sent() == OK
    end.pass_time(8)
    assert not end.ended


# --- A client that does not read --------------------------------------------------------


def test_client_that_never_reads_is_reset(serve: Serve) -> None:
    events: list[str] = []

    def callback(request: HTTPRequest) -> None:
        request.connection.set_close_callback(lambda: events.append("closed"))
        request.write(framed(bytes(50_000_000)))
        request.finish()

    served = serve(callback, write_timeout=0.3)
    client = served.connect(receive_buffer=4096)
    client.send(get())
    eventually(lambda: events == ["closed"])
    served.all_closed()
    # Not an end that looks like the end of the response.
    with pytest.raises(ConnectionResetError):
        client.read_to_end()


def read_slowly(client: Client, seconds: float) -> int:
    """Read 5 kB after 5 kB for so long; return how many bytes that was."""
    size = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        size += len(client.read(5_000))
        threading.Event().wait(0.02)
    return size


@pytest.mark.skipif(sys.platform != "linux", reason="no other kernel is asked what has arrived")
@pytest.mark.slow
def test_client_that_reads_slowly_but_steadily_is_waited_for(serve: Serve) -> None:
    # The kernel takes nothing from us until a third of its buffer is free again: for seconds.
    body = bytes(8_000_000)
    served = serve(lambda request: answer(request, body), write_timeout=0.4)
    client = served.connect(receive_buffer=20_000)
    client.send(get())
    size = read_slowly(client, 1.5)
    assert size + len(client.read(len(framed(body)) - size)) == len(framed(body))


@pytest.mark.skipif(sys.platform != "linux", reason="no other kernel is asked what has arrived")
def test_connection_is_not_idle_while_its_client_takes_what_the_kernel_holds(serve: Serve) -> None:
    body = bytes(1_000_000)  # less than the kernel takes at once
    served = serve(lambda request: answer(request, body), idle_connection_timeout=0.2)
    client = served.connect(receive_buffer=20_000)
    client.send(get())
    size = read_slowly(client, 1)
    assert size + len(client.read(len(framed(body)) - size)) == len(framed(body))
    assert client.ask(get()) == body


def test_what_is_written_meanwhile_does_not_hide_what_is_taken(wire: Wired) -> None:
    # As much waits after each piece as before it.
    def callback(request: HTTPRequest) -> None:
        def more() -> None:
            request.write(bytes(100), more)

        request.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", more)

    end = wire(callback, window=0, write_timeout=10)
    end.send(get())
    end.take(43)  # the head
    for _ in range(30):
        end.pass_time(1)
        end.take(100)
    assert not end.ended
    end.pass_time(12)
    assert end.transport.aborted


def test_client_that_reads_a_little_now_and_then_is_waited_for(wire: Wired) -> None:
    end = wire(lambda request: answer(request, bytes(10_000)), window=0, write_timeout=10)
    end.send(get())
    for _ in range(50):
        end.pass_time(8)
        end.take(1)
    assert not end.ended
    end.pass_time(11)
    assert end.transport.aborted


def test_client_that_takes_nothing_is_reset_although_more_is_written(wire: Wired) -> None:
    requests: list[HTTPRequest] = []
    end = wire(requests.append, window=0, write_timeout=10)
    end.send(get())
    for _ in range(12):
        end.call(requests[0].write, b"tick")
        end.pass_time(1)
    assert end.transport.aborted


def test_client_that_reads_the_rest_of_a_closed_connection_is_waited_for(wire: Wired) -> None:
    def callback(request: HTTPRequest) -> None:
        request.write(bytes(10_000))
        request.connection.close()

    end = wire(callback, window=0, write_timeout=10)
    end.send(get())
    for _ in range(10):
        end.pass_time(8)
        end.take(1000)
    assert not end.transport.aborted
    assert end.sent() == bytes(10_000)


def test_application_may_take_all_the_time_it_wants(wire: Wired) -> None:
    requests: list[HTTPRequest] = []
    end = wire(requests.append)
    end.send(get())
    end.pass_time(1000, step=1)
    end.call(answer, requests[0])
    assert end.sent() == OK


def test_application_that_does_not_finish_what_the_client_gave_up_is_not_waited_for(
    wire: Wired,
) -> None:
    def callback(request: HTTPRequest) -> None:
        request.connection.set_close_callback(lambda: None)

    end = wire(callback, idle_connection_timeout=10)
    end.send(get())
    end.half_close()
    end.pass_time(8)
    assert not end.ended
    end.pass_time(4)
    assert end.transport.closing


def test_each_request_of_a_client_that_sends_no_more_has_its_own_time(wire: Wired) -> None:
    requests: list[HTTPRequest] = []
    end = wire(requests.append, idle_connection_timeout=10)
    end.send(get() * 2)
    end.half_close()
    for number in range(2):
        end.pass_time(8)
        end.call(answer, requests[number])
        assert end.sent() == OK
    assert end.transport.closing


@pytest.mark.parametrize("told", [True, False])
def test_request_of_a_client_that_left_does_not_stay_for_ever(wire: Wired, told: bool) -> None:
    # A long poll, of which many may pile up.
    requests: list[HTTPRequest] = []
    events: list[str] = []

    def callback(request: HTTPRequest) -> None:
        requests.append(request)
        if told:
            request.connection.set_close_callback(lambda: events.append("closed"))

    end = wire(callback, idle_connection_timeout=10)
    end.send(get())
    end.half_close()
    end.pass_time(9)
    assert end.connections == 1
    end.pass_time(2.5)
    assert end.connections == 0
    assert events == ["closed"] * told
    end.call(answer, requests[0])
    assert end.sent() == b""


# --- Lingering --------------------------------------------------------------------------


def test_silent_client_lingers_for_a_moment(wire: Wired, logs: Logs) -> None:
    end = wire(echo)
    end.send(b"bad\r\n\r\n")
    end.pass_time(1.5)
    assert end.transport.eof_written
    assert not end.transport.closing
    end.pass_time(1)
    assert end.transport.closing
    assert len(logs.refusals()) == 1


def test_client_that_goes_on_sending_lingers_a_little_longer(wire: Wired, logs: Logs) -> None:
    end = wire(echo)
    end.send(b"bad\r\n\r\n")
    for _ in range(9):
        end.send(bytes(1000))
        end.pass_time(1)
        assert not end.transport.closing
    end.send(bytes(1000))
    end.pass_time(2)
    assert end.transport.closing
    assert len(logs.refusals()) == 1


def test_lingering_ends_by_itself(serve: Serve, logs: Logs) -> None:
    served = serve(echo, linger_silence=0.1)
    client = served.connect()
    client.send(b"bad\r\n\r\n")
    assert status_of(client.read_to_end()) == 400
    served.all_closed()
    assert len(logs.refusals()) == 1


def test_lingering_of_a_client_that_never_stops_ends_by_itself(serve: Serve, logs: Logs) -> None:
    served = serve(echo, linger_silence=0.2, linger_timeout=0.4)
    client = served.connect()
    client.send(b"bad\r\n\r\n")
    assert status_of(client.read_to_end()) == 400
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        while True:
            client.send(b"more")
            time.sleep(0.01)
    served.all_closed()
    assert len(logs.refusals()) == 1


# --- The sweep --------------------------------------------------------------------------


def test_each_connection_has_its_own_deadline(serve: Serve) -> None:
    served = serve(echo, idle_connection_timeout=0.3)
    first, second = served.connect(), served.connect()
    assert first.ask(get()) == b"/ "
    second.send(b"GET / ")
    assert first.read_to_end() == b""
    second.send(b"HTTP/1.1\r\nHost: a\r\n\r\n")
    assert second.read_response().body == b"/ "


def test_server_without_connections_has_no_timer(serve: Serve) -> None:
    served = serve(echo, header_timeout=0.1)  # so that the clock is looked at often
    clock = served.server._settings.clock
    with Client(served.address) as client:
        client.ask(get())
        assert served.call(lambda: clock._timer) is not None
    served.all_closed()
    eventually(lambda: clock._timer is None)
