"""Servers of WSGI applications."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from helpers import Served, await_threads_of_wsgi

from fasthttpserver.wsgi import WSGIContainer


@pytest.fixture(params=[0, 4], ids=["in-loop", "threads"])
def threads(request: pytest.FixtureRequest) -> int:
    """How many threads the application runs in; 0 is the loop."""
    number: int = request.param
    return number


@pytest.fixture
def threads_end(loop_kind: str, nothing_left: None) -> Iterator[None]:
    yield
    await_threads_of_wsgi()


@pytest.fixture
def wsgi(threads_end: None, serve: Callable[..., Served]) -> Callable[..., Served]:
    """Serve an application: the arguments of ``WSGIContainer``, then those of ``HTTPServer``."""

    def wsgi(app: Any, threads: int, root_path: str = "", **options: Any) -> Served:
        return serve(WSGIContainer(app, threads, root_path=root_path), **options)

    return wsgi
