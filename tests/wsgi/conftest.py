"""Servers of WSGI applications."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from helpers import Served, eventually

from fasthttpserver.wsgi import WSGIContainer


@pytest.fixture(params=[0, 4], ids=["in-loop", "threads"])
def threads(request: pytest.FixtureRequest) -> int:
    """How many threads the application runs in; 0 is the loop."""
    number: int = request.param
    return number


@pytest.fixture
def threads_end(loop_kind: str, nothing_left: None) -> Iterator[None]:
    """Wait for threads that were told to end and are about to."""
    yield
    names = "fasthttpserver.wsgi"
    eventually(lambda: not any(thread.name == names for thread in threading.enumerate()))


@pytest.fixture
def wsgi(threads_end: None, serve: Callable[..., Served]) -> Callable[..., Served]:
    """Serve an application: the arguments of ``WSGIContainer``, then those of ``HTTPServer``."""

    def wsgi(app: Any, threads: int, root_path: str = "", **options: Any) -> Served:
        return serve(WSGIContainer(app, threads, root_path=root_path), **options)

    return wsgi
