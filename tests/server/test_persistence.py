"""Whether a connection goes on: one table of cases, which leaves no case out."""

from __future__ import annotations

from collections.abc import Collection
from itertools import product
from typing import Any, NamedTuple

import pytest

from fasthttpserver._server.persistence import (
    ANNOUNCING,
    CLOSE,
    KEEP_ALIVE,
    LAST_CALL,
    LINGER,
    NO_SHUTDOWN,
    Persistence,
    Shutdown,
    persistence,
)

YES = (True,)
NO = (False,)
ANY = (False, True)
OWN = (None,)  # the application has written the response itself
EVER = (NO_SHUTDOWN, ANNOUNCING, LAST_CALL)
BEFORE = (NO_SHUTDOWN, ANNOUNCING)


class Case(NamedTuple):
    """What becomes of the connection, and why, for each value of an argument that is named."""

    becomes: Persistence
    why: str
    requested: Collection[bool] = YES
    framed: Collection[bool | None] = (None, False, True)
    announced: Collection[bool] = ANY
    no_keep_alive: Collection[bool] = ANY
    shutdown: Collection[Shutdown] = EVER
    unread: Collection[bool] = ANY


CASES = [
    Case(
        CLOSE,
        "RFC 9112 section 9.6: who asked for the close, or speaks HTTP/1.0, sends no more",
        requested=NO,
        unread=NO,
    ),
    Case(
        LINGER,
        "but it has; RFC 9112 section 9.6: a reset for that would destroy the response",
        requested=NO,
        unread=YES,
    ),
    Case(
        LINGER,
        "the head that the server made says `Connection: close`, or the body ends with it; the "
        "client may have sent the next request before it read that (RFC 9112 section 9.6)",
        framed=NO,
    ),
    Case(
        KEEP_ALIVE,
        "the head that the server made has asked for all options when it was written, and "
        "promised to go on: an option that is set in the middle of a body waits for its turn, "
        "and what an application wrote in a head of its own is not looked for",
        framed=YES,
        shutdown=BEFORE,
    ),
    Case(
        LINGER,
        "the promise was made before the last call; nothing is served after it",
        framed=YES,
        shutdown=(LAST_CALL,),
    ),
    Case(
        LINGER,
        "RFC 9112 section 9.6: who sends `Connection: close` has to close",
        framed=OWN,
        announced=YES,
    ),
    Case(
        LINGER,
        "`no_keep_alive` closes after one response, whatever that says, as in Tornado",
        framed=OWN,
        announced=NO,
        no_keep_alive=YES,
    ),
    Case(
        KEEP_ALIVE,
        "the server ends, but this client does not know: its next request would meet the close",
        framed=OWN,
        announced=NO,
        no_keep_alive=NO,
        shutdown=BEFORE,
    ),
    Case(
        LINGER,
        "any response is the last one after the last call",
        framed=OWN,
        announced=NO,
        no_keep_alive=NO,
        shutdown=(LAST_CALL,),
    ),
]
ARGUMENTS = Case._fields[2:]
WHOLE = [dict(zip(ARGUMENTS, values, strict=True)) for values in product(*Case(CLOSE, "", ANY)[2:])]


def cases_of(arguments: dict[str, Any]) -> list[Case]:
    """The rows of the table that speak of these arguments."""
    return [
        case
        for case in CASES
        if all(value in getattr(case, name) for name, value in arguments.items())
    ]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.why[:60])
def test_what_becomes_of_a_connection(case: Case) -> None:
    for values in product(*case[2:]):
        arguments = dict(zip(ARGUMENTS, values, strict=True))
        assert persistence(**arguments) is case.becomes, (arguments, case.why)


def test_table_speaks_of_each_case_once() -> None:
    assert len(WHOLE) == 2 * 3 * 2 * 2 * 3 * 2
    assert [arguments for arguments in WHOLE if len(cases_of(arguments)) != 1] == []
