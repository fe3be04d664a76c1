"""A loop that tests turn by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop that does not run by itself."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()
