"""Exceptions that are of another library's kind as well."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest
from helpers import get
from wire import Wire

from fasthttpserver import errors
from fasthttpserver.errors import raise_as

KINDS: dict[type[Exception], tuple[Any, ...]] = {
    errors.HTTPInputError: ("reason", 431, 7),
    errors.HTTPOutputError: ("reason",),
    errors.StreamClosedError: (ZeroDivisionError("why"),),
    errors.UnsatisfiableReadError: ("reason",),
}


class Theirs(Exception):
    """What another library's code catches."""


class TheirsOfTheSystem(OSError):
    def __init__(self, real_error: BaseException | None = None) -> None:
        super().__init__("theirs")
        self.real_error = real_error


class ClosedForBoth(errors.StreamClosedError, TheirsOfTheSystem):
    pass


@pytest.fixture(autouse=True)
def nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other tests in this process have said does not count."""
    monkeypatch.setattr(errors, "_KIN", {})


@pytest.mark.parametrize("kind", KINDS)
def test_exceptions_are_of_a_kin_when_they_are_told_to(kind: type[Exception]) -> None:
    theirs = TheirsOfTheSystem if issubclass(kind, OSError) else Theirs
    kin = type("Kin", (kind, theirs), {})
    plain = kind(*KINDS[kind])
    assert type(plain) is kind
    raise_as(kind, kin)
    try:
        error = kind(*KINDS[kind])
    finally:
        raise_as(kind, kind)
    assert isinstance(error, kind)
    assert isinstance(error, theirs)
    assert str(error) == str(plain)
    assert repr(error.__dict__) == repr(plain.__dict__)
    assert type(kind(*KINDS[kind])) is kind


@pytest.mark.parametrize("kind", KINDS)
def test_exceptions_can_be_pickled(kind: type[Exception]) -> None:
    error = pickle.loads(pickle.dumps(kind(*KINDS[kind])))
    assert type(error) is kind
    assert repr(error.__dict__) == repr(kind(*KINDS[kind]).__dict__)


def test_a_kin_is_a_subclass() -> None:
    with pytest.raises(TypeError, match="not a subclass"):
        raise_as(errors.HTTPInputError, Theirs)


def test_a_stream_raises_what_others_catch(wire: Callable[..., Wire]) -> None:
    end = wire(lambda request: request.connection.detach())
    end.send(get())
    stream = end.stream
    raise_as(errors.StreamClosedError, ClosedForBoth)
    try:
        pending, written = stream.read_bytes(1), stream.write(b"x")
        end.reset()
        with pytest.raises(TheirsOfTheSystem):
            stream.write(b"x")
        late = stream.read_bytes(1)
    finally:
        raise_as(errors.StreamClosedError, errors.StreamClosedError)
    for future in pending, late, written:
        assert future.exception() is None or isinstance(future.exception(), TheirsOfTheSystem)
    assert isinstance(pending.exception(), TheirsOfTheSystem)
    assert isinstance(late.exception(), TheirsOfTheSystem)
