"""What applications do about requests that are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from helpers import OK, Logs, answer, fail, get, status_of
from wire import Wire

from fasthttpserver.errors import HTTPInputError

REPLY = b"HTTP/1.1 418 I'm a teapot\r\nConnection: close\r\n\r\n"
BAD = b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"


@pytest.mark.parametrize("reply", [REPLY, None])
def test_an_application_is_told_of_refusals_and_may_answer_them(
    wire: Callable[..., Wire], logs: Logs, reply: bytes | None
) -> None:
    told: list[tuple[HTTPInputError, Any]] = []

    def note(error: HTTPInputError, address: Any) -> bytes | None:
        told.append((error, address))
        return reply

    end = wire(answer, on_refusal=note)
    end.send(get() + BAD)
    assert end.ended
    sent = end.sent().removeprefix(OK)
    if reply is None:
        assert status_of(sent) == 400
    else:
        assert sent == reply
    ((error, address),) = told
    assert (error.reason, error.status) == ("Invalid Host header", 400)
    assert address == ("192.0.2.7", 4711)
    assert not logs.refusals()
    assert end.server.stats()["refusals"] == {400: 1}


def test_a_refusal_is_answered_although_that_fails(wire: Callable[..., Wire], logs: Logs) -> None:
    end = wire(answer, on_refusal=fail)
    end.send(BAD)
    assert status_of(end.sent()) == 400
    assert logs.errors() == ["Uncaught exception in on_refusal"]
