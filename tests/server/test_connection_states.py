"""Each transition that the table in ``connection.py`` names, made by what a client would do.

That no other transition is made, all tests on the wire assert; see ``Wire.__exit__``.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from helpers import OK, Slow, answer, echo, get, post
from states import CHANGES, Change, Transition
from wire import Wire

from fasthttpserver._server.persistence import ANNOUNCING, LAST_CALL
from fasthttpserver.httpserver import HTTPRequest

Wired = Callable[..., Wire]

LAST = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
WRONG = b"\0"


# --- lifecycle ----------------------------------------------------------------------------


def last_response_closes(wire: Wired) -> Wire:
    """The client has said that it sends no more."""
    end = wire(echo)
    end.send(LAST)
    assert end.transport.closing and not end.transport.eof_written
    return end


def last_response_lingers(wire: Wired) -> Wire:
    """The client does not know that it is the last one."""
    end = wire(echo, no_keep_alive=True)
    end.send(get())
    assert end.transport.eof_written and not end.transport.closing
    return end


def refusal_lingers(wire: Wired) -> Wire:
    end = wire(echo)
    end.send(WRONG)
    assert end.transport.eof_written and not end.transport.closing
    return end


def refusal_closes(wire: Wired) -> Wire:
    """The client has ended its side, so there is nothing to linger for."""
    slow = Slow()
    end = wire(slow)
    end.send(get(), WRONG)
    end.half_close()
    end.call(answer, slow.request)
    assert end.sent().startswith(OK + b"HTTP/1.1 400 ")
    assert end.transport.closing and not end.transport.eof_written
    return end


def detach(wire: Wired) -> Wire:
    end = wire(lambda request: request.connection.detach())
    end.send(get())
    return end


def read(wire: Wired) -> Wire:
    end = wire(lambda request: request.connection.stream.read_bytes(1, lambda data: None))
    end.send(get())
    return end


def peer_resets(wire: Wired) -> Wire:
    end = wire(Slow())
    end.send(get())
    end.reset()
    return end


def application_closes(wire: Wired) -> Wire:
    """Within an exchange it would linger."""
    end = wire(echo)
    end.send(get())
    end.call(end.connection.close)
    assert end.connections == 0
    return end


def idle_client_is_late(wire: Wired) -> Wire:
    end = wire(echo, idle_connection_timeout=2)
    end.send(get())
    end.pass_time(1)
    assert end.connections == 1
    end.pass_time(2)
    assert end.connections == 0
    return end


def lingering_client_ends(wire: Wired) -> Wire:
    end = last_response_lingers(wire)
    end.half_close()
    assert end.connections == 0
    return end


def lingering_client_is_silent(wire: Wired) -> Wire:
    end = wire(echo, no_keep_alive=True, linger_silence=2, linger_timeout=60)
    end.send(get())
    end.pass_time(1)
    assert end.connections == 1
    end.pass_time(2)
    assert end.connections == 0
    return end


def lingering_client_goes_on_and_on(wire: Wired) -> Wire:
    end = wire(echo, no_keep_alive=True, linger_silence=2, linger_timeout=5)
    end.send(get())
    for _ in range(4):
        end.send(b"x")
        end.pass_time(1)
        assert end.connections == 1
    end.send(b"x")
    end.pass_time(1.5)
    assert end.connections == 0
    return end


# --- input --------------------------------------------------------------------------------


def much_waits(wire: Wired) -> Wire:
    end = wire(Slow(), read_ahead=100)
    end.send(get(), get() * 10)
    assert end.transport.paused
    return end


def much_has_been_served(wire: Wired) -> Wire:
    slow = Slow()
    end = wire(slow, read_ahead=100)
    end.send(get(), get() * 10)
    assert end.transport.paused
    for _ in range(9):
        end.call(answer, slow.request)
    assert not end.transport.paused
    return end


def half_close(wire: Wired) -> Wire:
    slow = Slow()
    end = wire(slow)
    end.send(post(b"body"))
    end.half_close()
    assert not end.transport.closing  # it may still be answered
    end.call(answer, slow.request)
    assert end.sent() == OK
    return end


# --- shutdown, request, response ------------------------------------------------------------


def drain(wire: Wired) -> Wire:
    end = wire(echo)
    for shutdown, alive in ((ANNOUNCING, 1), (LAST_CALL, 0)):
        end.call(end.connection.drain, shutdown)
        assert end.connections == alive
    return end


def fast_exchange(wire: Wired) -> Wire:
    """There is no `Response` on the fast path."""
    end = wire(echo)
    end.send(get())
    assert {each.variable for each in end.transitions} == {"request"}
    return end


def slow_exchange(wire: Wired) -> Wire:
    def callback(request: HTTPRequest) -> None:
        request.write(OK, lambda: None)
        request.finish()

    end = wire(callback)
    end.send(get())
    assert {each.variable for each in end.transitions} == {"request", "response"}
    return end


SCENARIOS: list[tuple[Change, Callable[[Wired], Wire]]] = [
    (Change(Transition(variable, value, becomes), cause), scenario)
    for variable, value, cause, becomes, scenario in [
        ("lifecycle", "OPEN", "the last response", "CLOSED", last_response_closes),
        ("lifecycle", "OPEN", "the last response", "LINGERING", last_response_lingers),
        ("lifecycle", "OPEN", "a refusal", "LINGERING", refusal_lingers),
        ("lifecycle", "OPEN", "a refusal", "CLOSED", refusal_closes),
        ("lifecycle", "OPEN", "``detach()``", "DETACHED", detach),
        ("lifecycle", "OPEN", "a read", "DETACHED", read),
        ("lifecycle", "OPEN", "the peer", "CLOSED", peer_resets),
        ("lifecycle", "OPEN", "``close()``", "CLOSED", application_closes),
        ("lifecycle", "OPEN", "a deadline", "CLOSED", idle_client_is_late),
        ("lifecycle", "LINGERING", "the client's end", "CLOSED", lingering_client_ends),
        ("lifecycle", "LINGERING", "silence", "CLOSED", lingering_client_is_silent),
        ("lifecycle", "LINGERING", "a deadline", "CLOSED", lingering_client_goes_on_and_on),
        ("input", "READING", "more waits than ``read_ahead``", "PAUSED", much_waits),
        ("input", "PAUSED", "enough of it has been served", "READING", much_has_been_served),
        ("input", "READING", "FIN", "EOF", half_close),
        ("shutdown", "NO", "", "ANNOUNCING", drain),
        ("shutdown", "ANNOUNCING", "", "LAST_CALL", drain),
        ("request", "None", "", "request", fast_exchange),
        ("request", "request", "", "None", fast_exchange),
        ("response", "None", "", "Response", slow_exchange),
        ("response", "Response", "", "None", slow_exchange),
    ]
]


@pytest.mark.parametrize(
    ("change", "scenario"), SCENARIOS, ids=lambda value: getattr(value, "__name__", None)
)
def test_transition_is_made(wire: Wired, change: Change, scenario: Callable[[Wired], Wire]) -> None:
    assert change.transition in scenario(wire).transitions


def test_each_row_of_the_table_has_its_scenario() -> None:
    assert sorted(change for change, _ in SCENARIOS) == sorted(CHANGES)
