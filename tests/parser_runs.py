"""All that came out of a new parser for pieces of bytes, as one value to compare."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from fasthttpserver._parser import END_OF_MESSAGE, RequestMessage, RequestParser
from fasthttpserver.errors import HTTPInputError

__all__ = ["Events", "Seen", "attributes", "parse", "parse_one", "whole_requests"]

Parser: TypeAlias = RequestParser[RequestMessage]


@dataclass
class Seen:
    """What came out of a parser.

    ``end`` is ``open``, ``close`` (after the last request of the connection),
    ``incomplete`` or ``refused``; ``error`` is status, reason and offset of a refusal.
    """

    requests: list[dict[str, Any]] = field(default_factory=list)
    end: str = ""
    error: tuple[int, str, int] | None = None
    is_head: bool = False


def attributes(message: RequestMessage, body: bytes) -> dict[str, Any]:
    """Everything that a message tells."""
    names = ("method", "uri", "version", "keep_alive", "upgrade", "expect_continue", "authority")
    assert message.raw_fields == [
        (name.lower().encode(), value.encode("latin-1")) for name, value in message.fields
    ]
    return {
        **{name: getattr(message, name) for name in names},
        "fields": message.fields,
        "trailers": message.trailers,
        "body": body,
    }


def parse(pieces: Iterable[bytes], limits: dict[str, Any], events: bool = False) -> Seen:
    """Give pieces to a new parser, and read all there is after each.

    Args:
        pieces: The bytes.
        limits: Arguments of the parser.
        events: Read with ``next_event`` instead of ``next_request``.
    """
    parser = RequestParser(**limits)
    read: Callable[[Parser], Iterator[dict[str, Any]]] = Events() if events else whole_requests
    seen = Seen()
    try:
        for piece in pieces:
            parser.receive_data(piece)
            seen.requests.extend(read(parser))
    except HTTPInputError as error:
        assert parser.closed
        seen.end = "refused"
        seen.error = (error.status, error.reason, error.offset)
        seen.is_head = parser.is_head
    else:
        unfinished = parser.receiving_head or parser.receiving_body
        assert not (parser.closed and unfinished)
        seen.end = "close" if parser.closed else "incomplete" if unfinished else "open"
    assert parser.messages == len(seen.requests)
    assert parser.unread == 0
    return seen


def parse_one(data: bytes, **limits: Any) -> RequestMessage:
    """Return the only request of some bytes."""
    parser: Parser = RequestParser(**limits)
    parser.receive_data(data)
    message = parser.next_request()
    assert message is not None
    assert parser.next_request() is None and parser.unread == 0
    return message


def whole_requests(parser: Parser) -> Iterator[dict[str, Any]]:
    while (message := parser.next_request()) is not None:
        yield attributes(message, message.body)


class Events:
    """Puts the events of a parser together to requests again."""

    def __init__(self) -> None:
        self.message: RequestMessage | None = None
        self.body = b""

    def __call__(self, parser: Parser) -> Iterator[dict[str, Any]]:
        while (event := parser.next_event()) is not None:
            if isinstance(event, RequestMessage):
                self.message, self.body = event, b""
            elif isinstance(event, bytes):
                assert event
                self.body += event
            else:
                assert event is END_OF_MESSAGE
                assert self.message is not None and self.message.body == b""
                yield attributes(self.message, self.body)
