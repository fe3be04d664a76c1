"""Hypothesis profiles; loops and servers that tests use, and that must leave nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import itertools
import logging
import os
import signal
import ssl
import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from helpers import TIMEOUT, Logs, Process, Served, open_descriptors, release_ports
from hypothesis import HealthCheck, settings
from wire import Wire

settings.register_profile("dev", deadline=None, max_examples=30)
settings.register_profile(
    "ci",
    deadline=None,
    derandomize=True,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("fuzz", deadline=None, max_examples=20_000, print_blob=True)
# A job in the background ignores them, and so would all servers that tests start.
for _name in ("SIGINT", "SIGQUIT"):
    _number = getattr(signal, _name, None)
    if _number is not None and signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.SIG_DFL)

# --hypothesis-profile=NAME goes over this.
settings.load_profile("ci" if os.environ.get("CI") else "dev")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Programs take half a second to start, and end alike on both loops: CI looks at the second.
    for item in items:
        if isinstance(item, pytest.Function) and "launch" in item.fixturenames:
            if item.callspec.params.get("loop_kind") == "uvloop":
                item.add_marker("slow")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """How many processes ``-n auto`` is: tests wait in a third of their time."""
    return (os.cpu_count() or 1) * 3 // 2


_run = itertools.count()


def pytest_runtest_setup() -> None:
    # The fixtures below collect garbage, so that what leaks warns in the test that leaked it.
    # What is there between two tests, modules and reports of earlier tests, is left out of
    # that: it would take 10 ms at first, and 100 ms after some thousand tests.
    if next(_run) % 50 == 0:
        gc.collect()
        gc.freeze()


def pytest_runtest_teardown() -> None:
    release_ports()


@pytest.fixture(scope="session")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Those of TLS, a server's and a client's."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


@pytest.fixture
def logs() -> Iterator[Logs]:
    """What is logged. A warning or an error that the test does not take fails it."""
    handler = Logs()
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield handler
    root.setLevel(level)
    root.removeHandler(handler)
    unexpected = [record for record in handler.records if record.levelno >= logging.WARNING]
    assert not unexpected, "\n".join(map(logging.Formatter().format, unexpected))


@pytest.fixture(params=["asyncio", "uvloop"])
def loop_kind(request: pytest.FixtureRequest) -> str:
    """The name of a kind of loop; a test that asks for it runs on each."""
    kind: str = request.param
    if kind == "uvloop":
        uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed")
        uvloop.new_event_loop().close()  # the first one opens a pipe for the whole process
    return kind


@pytest.fixture
def new_loop(loop_kind: str) -> Callable[[], AbstractEventLoop]:
    """Make a loop of this kind."""
    function: Callable[[], AbstractEventLoop] = importlib.import_module(loop_kind).new_event_loop
    return function


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Fail if descriptors or threads are left, or if what is thrown away warns."""
    before, threads = open_descriptors(), threading.enumerate()
    yield
    gc.collect()
    after = open_descriptors()
    assert after == before, f"{after - before} descriptors left open"
    assert threading.enumerate() == threads


@pytest.fixture
def serve(
    new_loop: Callable[[], AbstractEventLoop], logs: Logs, nothing_left: None
) -> Iterator[Callable[..., Served]]:
    """Serve a callback on 127.0.0.1, in a thread with a loop of its own.

    Arguments are those of ``Served`` after the first.
    """
    with contextlib.ExitStack() as stack:
        yield lambda *args, **kwargs: stack.enter_context(Served(new_loop, *args, **kwargs))


@pytest.fixture
def run(
    new_loop: Callable[[], AbstractEventLoop], logs: Logs, nothing_left: None
) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Run a coroutine in a loop of its own in this thread, as ``asyncio.run`` does."""

    async def bounded(coroutine: Coroutine[Any, Any, Any]) -> Any:
        async with asyncio.timeout(TIMEOUT):
            result = await coroutine
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks left: {left}"
        return result

    def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            return runner.run(bounded(coroutine))

    return run


@pytest.fixture
def wire(logs: Logs, nothing_left: None) -> Iterator[Callable[..., Wire]]:
    """Make one connection of a server without a socket; arguments are those of ``Wire``."""
    with contextlib.ExitStack() as stack:
        yield lambda *args, **kwargs: stack.enter_context(Wire(*args, **kwargs))


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Run the command line in the folder of the test, with warnings of what is left open too.

    Arguments are its own; those with names are variables of the environment.
    """
    with contextlib.ExitStack() as stack:

        def start(*arguments: str, **env: str) -> Process:
            command = ["-X", "dev", "-W", "error", "-m", "fasthttpserver", *arguments]
            return stack.enter_context(Process(command, cwd=tmp_path, env=env))

        yield start
