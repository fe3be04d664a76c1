"""What the kernel tells of a connection."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator

import pytest

from fasthttpserver._net.sockets import is_settled, unacknowledged, unread

Pair = tuple[socket.socket, socket.socket]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="others do not tell of both")


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Unix sockets: what one sends has come at once, and has arrived when the other reads it."""
    ends = socket.socketpair()
    yield ends
    for end in ends:
        end.close()


@pytest.mark.parametrize(
    ("use", "coming", "leaving"),
    [
        (lambda own, peer: None, 0, False),
        (lambda own, peer: peer.send(b"abc"), 3, False),
        (lambda own, peer: own.send(b"abc"), 0, True),
        (lambda own, peer: (peer.send(b"abc"), own.send(b"abc")), 3, True),
        (lambda own, peer: (own.send(b"abc"), peer.recv(3)), 0, False),
        (lambda own, peer: own.close(), 0, False),
    ],
    ids=["nothing", "unread", "unacknowledged", "both", "arrived", "closed"],
)
def test_what_is_under_way(
    pair: Pair, use: Callable[..., object], coming: int, leaving: bool
) -> None:
    own, peer = pair
    use(own, peer)
    assert unread(own) == coming
    assert (unacknowledged(own) > 0) == leaving
    assert is_settled(own) == (not coming and not leaving)


def test_system_that_does_not_tell_what_arrives_is_asked_what_has_come(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, peer = pair
    monkeypatch.setattr("termios.TIOCOUTQ", 0)
    assert unacknowledged(own) == 0
    assert is_settled(own)
    peer.send(b"abc")
    assert not is_settled(own)


def test_without_a_socket_nothing_is_under_way() -> None:
    assert unread(None) == unacknowledged(None) == 0
    assert is_settled(None)
