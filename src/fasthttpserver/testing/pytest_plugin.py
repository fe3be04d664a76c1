"""Fixtures of pytest, which finds them by itself: servers for tests of HTTP clients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fasthttpserver.testing._live import LiveServer

__all__ = ["http_server", "https_server"]


@pytest.fixture
def http_server() -> Iterator[LiveServer]:
    """A server on a port of its own: a ``fasthttpserver.testing.LiveServer``."""
    with LiveServer() as server:
        yield server


@pytest.fixture
def https_server() -> Iterator[LiveServer]:
    """The same with TLS, and a certificate that is made for it; needs ``trustme``."""
    pytest.importorskip("trustme")
    with LiveServer(tls=True) as server:
        yield server
