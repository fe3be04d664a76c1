"""The table of states in a connection's docstring, and a connection that is held to it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from itertools import pairwise
from typing import Any, NamedTuple

from fasthttpserver._server import connection
from fasthttpserver._server.connection import HTTPConnection

__all__ = ["CHANGES", "TRANSITIONS", "Change", "Transition", "WatchedConnection"]


class Transition(NamedTuple):
    """A variable takes another value."""

    variable: str
    value: str
    becomes: str


class Change(NamedTuple):
    """A transition, and one of the causes that the table gives; none where it has one for all."""

    transition: Transition
    cause: str


def rows(text: str) -> Iterator[tuple[str, str, str]]:
    """The rows of the table: variable, value or values, and what ends it."""
    lines = text.splitlines()
    rulers = [number for number, line in enumerate(lines) if line.startswith("====")]
    second, third = (match.start() for match in list(re.finditer("=+", lines[rulers[0]]))[1:])
    variable = value = end = ""
    for line in lines[rulers[1] + 1 : rulers[2]]:
        cells = [line[:second].strip(), line[second:third].strip(), line[third:].strip()]
        if cells[1] and not value.endswith(","):  # or it goes on with the values
            if value:
                yield variable, value, end
            variable, value, end = cells[0].strip("`") or variable, cells[1], cells[2]
        else:
            value, end = f"{value} {cells[1]}".strip(), f"{end} {cells[2]}"
    yield variable, value, end


def changes(text: str) -> Iterator[Change]:
    """What the table says that can happen."""
    for variable, values, end in rows(text):
        names = [re.sub(r"^(or )?(an? )?", "", name).strip("`") for name in values.split(", ")]
        if len(names) == 1:
            for clause in re.split(r"[;.]\s+", end):
                causes, arrow, targets = clause.partition(" -> ")
                for target in targets.split(" or ") if arrow else ():
                    for cause in re.split(", | or ", causes):
                        yield Change(Transition(variable, values, target), cause.strip())
        else:
            assert len(names) == 2 or "in this order" in end
            steps = list(pairwise(names))
            if "in this order" not in end:
                steps.append((names[1], names[0]))
            for step in steps:
                yield Change(Transition(variable, *step), "")


CHANGES = list(changes(connection.__doc__ or ""))
TRANSITIONS = {change.transition for change in CHANGES}
# In which attribute of the connection the variable is kept.
KEPT_IN = {
    (variable if hasattr(HTTPConnection, variable) else f"_{variable}"): variable
    for variable in {transition.variable for transition in TRANSITIONS}
}


def name(value: object) -> str:
    """A value as the table has it."""
    if isinstance(value, Enum):
        return value.name
    kind = type(value).__name__
    return {"NoneType": "None", "Response": "Response"}.get(kind, "request")


class WatchedConnection(HTTPConnection):
    """A connection that keeps which transitions its variables have made."""

    __slots__ = ()

    @classmethod
    def watch(cls, connection: HTTPConnection) -> WatchedConnection:
        """Watch a connection from now on."""
        connection.__class__ = cls
        assert isinstance(connection, cls)
        connection.__dict__["transitions"] = set()
        return connection

    def __setattr__(self, attribute: str, value: Any) -> None:
        variable = KEPT_IN.get(attribute)
        if variable is not None:
            # It has none when the watch begins before its transport is there.
            before, after = name(getattr(self, attribute)), name(value)
            if before != after:
                self.__dict__["transitions"].add(Transition(variable, before, after))
        super().__setattr__(attribute, value)
