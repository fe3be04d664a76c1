"""The types of ASGI 3.0."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol, TypeAlias

__all__ = ["Application", "Event", "Exchange", "Message", "Receive", "Scope", "Send"]

Scope: TypeAlias = dict[str, Any]
Event: TypeAlias = dict[str, Any]  # what receive() returns
Message: TypeAlias = MutableMapping[str, Any]  # what send() takes, as frameworks declare it
Receive: TypeAlias = Callable[[], Awaitable[Event]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[object]]


class Exchange(Protocol):
    """What an application is called with, and what becomes of its outcome."""

    async def receive(self) -> Event:
        """Return what has happened, once something has."""
        ...

    async def send(self, message: Message) -> None:
        """Do what the application says."""

    @property
    def gone(self) -> bool:
        """Whether the client has gone, or will say nothing more."""
        ...

    def returned(self) -> None:
        """The application has returned."""

    def failed(self, error: BaseException) -> None:
        """The application let an exception escape."""

    def stop(self) -> None:
        """The server ends."""
