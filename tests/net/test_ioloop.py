"""Rows of Tornado's IOLoop: which loop, running it, callbacks, timers, descriptors."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import datetime
import errno
import itertools
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import TIMEOUT

from fasthttpserver import ioloop
from fasthttpserver.ioloop import (
    IOLoop,
    PeriodicCallback,
    loop_exists,
    new_asyncio_loop,
    to_asyncio,
)

APPLICATION_LOG = "fasthttpserver.application"
GENERAL_LOG = "fasthttpserver.general"


@pytest.fixture(params=["asyncio", "uvloop"])
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "uvloop":
        pytest.importorskip("uvloop", reason="uvloop is not installed")
    return str(request.param)


@pytest.fixture
def io_loop(kind: str) -> Iterator[IOLoop]:
    loop = IOLoop(new_asyncio_loop(kind))
    yield loop
    loop.close()


@pytest.fixture
def clean(kind: str) -> Iterator[None]:
    """Neither a process-wide loop nor a current one, before and after."""
    assert not loop_exists()
    IOLoop.configure(kind)
    yield
    IOLoop.configure(None)
    with contextlib.suppress(RuntimeError):
        if IOLoop.initialized():
            IOLoop.instance().close()
    IOLoop.clear_current()


def run(io_loop: IOLoop, deadline: float = 10.0) -> None:
    """Run until something calls ``stop()``; a test that forgets to is a failure."""
    late: list[bool] = []

    def give_up() -> None:
        late.append(True)
        io_loop.stop()

    handle = io_loop.call_later(deadline, give_up)
    try:
        io_loop.start()
    finally:
        io_loop.remove_timeout(handle)
    assert not late, "nothing stopped the loop"


def in_thread(function: Callable[[], Any]) -> Any:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result(timeout=10)


class TestWhichLoop:
    def test_instance_is_made_on_demand_and_once(self, clean: None) -> None:
        assert not IOLoop.initialized()
        io_loop = IOLoop.instance()
        assert IOLoop.initialized()
        assert IOLoop.instance() is io_loop
        assert IOLoop.current() is io_loop

    def test_a_thread_without_loop_gets_the_process_wide_one(self, clean: None) -> None:
        io_loop = IOLoop.instance()
        assert in_thread(IOLoop.instance) is io_loop
        assert in_thread(IOLoop.current) is io_loop

    def test_threads_that_race_for_the_instance_get_one(self, clean: None) -> None:
        barrier = threading.Barrier(8)

        def race() -> IOLoop:
            barrier.wait(10)
            return IOLoop.instance()

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            assert len({future.result() for future in [pool.submit(race) for _ in range(8)]}) == 1

    def test_asyncio_knows_the_instance_as_its_current_loop(self, clean: None) -> None:
        io_loop = IOLoop.instance()
        assert asyncio.get_event_loop() is io_loop.asyncio_loop

    def test_a_loop_that_was_set_but_does_not_run_is_current(self, clean: None) -> None:
        loop = new_asyncio_loop()
        asyncio.set_event_loop(loop)
        assert IOLoop.initialized()
        assert IOLoop.current().asyncio_loop is loop
        assert IOLoop.instance().asyncio_loop is loop
        assert to_asyncio() is loop

    def test_the_running_loop_is_wrapped_by_the_same_object_each_time(self, clean: None) -> None:
        async def main() -> IOLoop:
            io_loop = IOLoop.current()
            assert io_loop.asyncio_loop is asyncio.get_running_loop()
            assert io_loop is IOLoop.instance() is IOLoop.current()
            assert IOLoop.initialized()
            return io_loop

        first = asyncio.run(main())
        assert not loop_exists()
        assert asyncio.run(main()) is not first

    def test_another_thread_reaches_the_loop_of_asyncio_run(self, clean: None) -> None:
        async def main() -> None:
            io_loop = IOLoop.current()
            assert await asyncio.to_thread(IOLoop.instance) is io_loop

        asyncio.run(main())

    def test_looking_makes_no_loop(self, clean: None) -> None:
        assert not IOLoop.initialized()
        assert not loop_exists()
        assert not IOLoop.initialized()

    def test_a_new_loop_is_not_current_until_it_is_made_so(self, clean: None) -> None:
        other = IOLoop()
        assert IOLoop.current() is not other
        other.make_current()
        assert IOLoop.current() is other
        IOLoop.clear_current()
        assert IOLoop.current() is not other
        another = IOLoop(make_current=True)
        assert IOLoop.current() is another
        IOLoop.clear_current()
        other.close()
        another.close()

    def test_a_running_loop_is_current(self, clean: None) -> None:
        IOLoop.instance()
        other = IOLoop()
        seen: list[IOLoop] = []
        other.add_callback(lambda: seen.append(IOLoop.current()))
        other.add_callback(other.stop)
        run(other)
        assert seen == [other]
        assert IOLoop.current() is not other
        other.close()

    def test_install_makes_it_the_instance(self, clean: None) -> None:
        io_loop = IOLoop()
        io_loop.install()
        assert IOLoop.instance() is io_loop
        assert in_thread(IOLoop.instance) is io_loop
        other = IOLoop()
        with pytest.raises(AssertionError, match="already been initialized"):
            other.install()
        other.close()

    def test_after_close_there_is_a_new_instance(self, clean: None) -> None:
        first = IOLoop.instance()
        first.close()
        assert not IOLoop.initialized()
        assert IOLoop.instance() is not first

    def test_an_asyncio_loop_has_one_io_loop(self, io_loop: IOLoop) -> None:
        assert IOLoop.from_asyncio(io_loop.asyncio_loop) is io_loop
        with pytest.raises(RuntimeError, match="has an IOLoop already"):
            IOLoop(io_loop.asyncio_loop)

    def test_closed_loops_are_forgotten(self, kind: str) -> None:
        loop = new_asyncio_loop(kind)
        IOLoop.from_asyncio(loop)
        assert loop_exists()
        loop.close()
        assert not loop_exists()
        assert not IOLoop._by_loop

    def test_a_subclass_is_used_where_it_is_asked(self, clean: None) -> None:
        class Quiet(IOLoop):
            pass

        assert type(Quiet.instance()) is Quiet
        assert IOLoop.instance() is Quiet.instance()


class TestKindOfLoop:
    def test_environment_chooses(self, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FASTHTTPSERVER_LOOP", kind)
        assert self.kind_of_new_loop() == kind

    def test_configure_wins_over_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FASTHTTPSERVER_LOOP", "no such loop")
        IOLoop.configure("asyncio")
        try:
            assert self.kind_of_new_loop() == "asyncio"
        finally:
            IOLoop.configure(None)

    def test_without_a_choice_uvloop_is_used_if_installed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("FASTHTTPSERVER_LOOP", raising=False)
        pytest.importorskip("uvloop", reason="uvloop is not installed")
        assert self.kind_of_new_loop() == "uvloop"

    def test_without_uvloop_it_is_asyncio(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("FASTHTTPSERVER_LOOP", raising=False)
        monkeypatch.setitem(sys.modules, "uvloop", None)
        assert self.kind_of_new_loop() == "asyncio"
        with pytest.raises(ImportError):
            new_asyncio_loop("uvloop")

    def test_unknown_kinds_are_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(ValueError, match="EPollIOLoop"):
            IOLoop.configure("tornado.platform.epoll.EPollIOLoop")
        monkeypatch.setenv("FASTHTTPSERVER_LOOP", "twisted")
        with pytest.raises(ValueError, match="twisted"):
            IOLoop()

    def kind_of_new_loop(self) -> str:
        io_loop = IOLoop()
        name = type(io_loop.asyncio_loop).__module__.partition(".")[0]
        io_loop.close()
        return name


class TestToAsyncio:
    def test_accepts_each_kind_of_loop(self, io_loop: IOLoop) -> None:
        class TornadoLoop:
            asyncio_loop = io_loop.asyncio_loop

        assert to_asyncio(io_loop) is io_loop.asyncio_loop
        assert to_asyncio(io_loop.asyncio_loop) is io_loop.asyncio_loop
        assert to_asyncio(TornadoLoop()) is io_loop.asyncio_loop

    @pytest.mark.parametrize("wrong", [42, "loop", object(), IOLoop])
    def test_refuses_anything_else(self, wrong: object) -> None:
        with pytest.raises(TypeError, match="expected an IOLoop or an asyncio event loop"):
            to_asyncio(wrong)


class TestStartAndStop:
    def test_stop_before_start_makes_it_return_without_running(self, io_loop: IOLoop) -> None:
        seen: list[str] = []
        io_loop.add_callback(seen.append, "ran")
        io_loop.stop()
        io_loop.start()
        assert seen == []
        io_loop.add_callback(io_loop.stop)
        run(io_loop)
        assert seen == ["ran"]

    def test_start_works_again_after_stop(self, io_loop: IOLoop) -> None:
        for _ in range(3):
            io_loop.add_callback(io_loop.stop)
            run(io_loop)

    def test_stop_lets_the_iteration_end(self, io_loop: IOLoop) -> None:
        seen: list[int] = []
        io_loop.add_callback(seen.append, 1)
        io_loop.add_callback(io_loop.stop)
        io_loop.add_callback(seen.append, 2)
        run(io_loop)
        assert seen == [1, 2]

    def test_two_stops_end_one_run(self, io_loop: IOLoop) -> None:
        seen: list[int] = []
        io_loop.add_callback(io_loop.stop)
        io_loop.add_callback(io_loop.stop)
        run(io_loop)
        io_loop.call_later(0.01, seen.append, 1)
        io_loop.call_later(0.02, io_loop.stop)
        run(io_loop)
        assert seen == [1]

    def test_stop_from_another_thread(self, io_loop: IOLoop) -> None:
        running = threading.Event()

        def stop() -> None:
            running.wait(10)
            io_loop.stop()

        thread = threading.Thread(target=stop)
        thread.start()
        io_loop.add_callback(running.set)
        run(io_loop)
        thread.join()

    def test_stop_of_a_closed_loop_is_harmless(self, kind: str) -> None:
        io_loop = IOLoop(new_asyncio_loop(kind))
        io_loop.close()
        io_loop.stop()

    @pytest.mark.skipif(sys.platform == "win32", reason="no such signals on Windows")
    @pytest.mark.parametrize("how", ["stop", "add_callback_from_signal"])
    def test_a_signal_handler_wakes_the_loop(self, io_loop: IOLoop, how: str) -> None:
        def on_signal(signum: int, frame: object) -> None:
            if how == "stop":
                io_loop.stop()
            else:
                io_loop.add_callback_from_signal(io_loop.stop)

        before = signal.signal(signal.SIGALRM, on_signal)
        signal.setitimer(signal.ITIMER_REAL, 0.02)  # by then the loop waits for events
        try:
            run(io_loop)
        finally:
            signal.signal(signal.SIGALRM, before)

    @pytest.mark.skipif(sys.platform == "win32", reason="no such signals on Windows")
    def test_keyboard_interrupt_comes_out_of_start(self, io_loop: IOLoop) -> None:
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            io_loop.add_callback(os.kill, os.getpid(), signal.SIGINT)
            with pytest.raises(KeyboardInterrupt):
                io_loop.start()
        finally:
            signal.signal(signal.SIGINT, before)
        io_loop.add_callback(io_loop.stop)
        run(io_loop)  # and it can go on

    def test_start_configures_logging_if_nobody_did(self, kind: str) -> None:
        program = (
            "import logging, sys\n"
            "from fasthttpserver.ioloop import IOLoop, new_asyncio_loop\n"
            "if sys.argv[2] != 'root': logging.getLogger(sys.argv[2]).addHandler("
            "logging.NullHandler())\n"
            "loop = IOLoop(new_asyncio_loop(sys.argv[1]))\n"
            "loop.stop()\n"
            "loop.start()\n"
            "print(len(logging.getLogger().handlers))\n"
            "loop.close()\n"
        )
        for name, handlers in [("root", 1), ("fasthttpserver", 0), (APPLICATION_LOG, 0)]:
            done = subprocess.run(
                [sys.executable, "-c", program, kind, name],
                check=True,
                capture_output=True,
                timeout=30,
            )
            assert int(done.stdout) == handlers, name

    def test_close_cancels_what_is_left(self, kind: str) -> None:
        io_loop = IOLoop(new_asyncio_loop(kind))
        seen: list[str] = []

        async def wait_forever() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                seen.append("cancelled")

        io_loop.add_callback(wait_forever)
        io_loop.call_later(0, io_loop.add_callback, io_loop.stop)
        run(io_loop)
        io_loop.close()
        assert seen == ["cancelled"]
        io_loop.close()

    def test_close_inside_another_running_loop(self, kind: str) -> None:
        async def main() -> None:
            other = IOLoop(new_asyncio_loop(kind))
            other.close()
            assert other.asyncio_loop.is_closed()

        asyncio.run(main())


class Interrupted(asyncio.Protocol):
    """Is interrupted where an exception goes nowhere: in a method that the transport calls."""

    def __init__(self, times: int) -> None:
        self._times = times

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def eof_received(self) -> None:
        for _ in range(self._times):
            signal.raise_signal(signal.SIGINT)

    def connection_lost(self, exc: Exception | None) -> None: ...


@pytest.mark.parametrize("ended", ["by start", "by run_sync"])
class TestCtrlC:
    @pytest.fixture(autouse=True)
    def _handler_of_python(self) -> Iterator[None]:
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        signal.signal(signal.SIGINT, before)

    def run(self, io_loop: IOLoop, protocol: asyncio.Protocol, ended: str) -> None:
        async def wait() -> None:
            await asyncio.sleep(TIMEOUT)

        ours, theirs = socket.socketpair()
        loop = io_loop.asyncio_loop
        loop.run_until_complete(loop.create_connection(lambda: protocol, sock=ours))
        theirs.close()
        late = io_loop.call_later(TIMEOUT, io_loop.stop)
        try:
            if ended == "by start":
                io_loop.start()
            else:
                io_loop.run_sync(wait)
        finally:
            late.cancel()
            loop.run_until_complete(asyncio.sleep(0.001))  # until the transport has closed

    def test_it_ends_the_loop_wherever_it_comes(self, io_loop: IOLoop, ended: str) -> None:
        with pytest.raises(KeyboardInterrupt):
            self.run(io_loop, Interrupted(1), ended)

    def test_handler_of_the_application_stays(self, io_loop: IOLoop, ended: str) -> None:
        seen = []

        def on_signal(signum: int, frame: object) -> None:
            seen.append(signum)
            io_loop.add_callback_from_signal(io_loop.stop)

        signal.signal(signal.SIGINT, on_signal)
        if ended == "by start":
            self.run(io_loop, Interrupted(1), ended)
            assert seen == [signal.SIGINT]
        else:
            assert io_loop.run_sync(lambda: signal.getsignal(signal.SIGINT)) is on_signal
        signal.signal(signal.SIGINT, signal.default_int_handler)


def test_second_ctrl_c_interrupts_what_keeps_the_loop(io_loop: IOLoop) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    reached = []

    def keeps() -> None:
        signal.raise_signal(signal.SIGINT)
        reached.append("first")
        signal.raise_signal(signal.SIGINT)
        reached.append("second")

    io_loop.asyncio_loop.call_soon(keeps)
    with pytest.raises(KeyboardInterrupt):
        io_loop.start()
    assert reached == ["first"]
    signal.signal(signal.SIGINT, before)


class TestCallbacks:
    def test_run_in_order_on_a_later_iteration_with_their_arguments(self, io_loop: IOLoop) -> None:
        seen: list[Any] = []

        def first() -> None:
            io_loop.add_callback(seen.append, 3)
            seen.append(1)

        io_loop.add_callback(first)
        io_loop.spawn_callback(lambda *args, **kwargs: seen.append((args, kwargs)), 2, key="word")
        io_loop.call_later(0.01, io_loop.stop)
        assert seen == []
        run(io_loop)
        assert seen == [1, ((2,), {"key": "word"}), 3]

    def test_another_thread_may_add_them(self, io_loop: IOLoop) -> None:
        seen: list[int] = []

        def add() -> None:
            for number in range(100):
                io_loop.add_callback(seen.append, number)
            io_loop.add_callback(io_loop.stop)

        thread = threading.Thread(target=add)
        io_loop.add_callback(thread.start)
        run(io_loop)
        thread.join()
        assert seen == list(range(100))

    def test_a_closed_loop_takes_none(self, kind: str) -> None:
        io_loop = IOLoop(new_asyncio_loop(kind))
        io_loop.close()
        with pytest.raises(RuntimeError, match="closed"):
            io_loop.add_callback(print)

    def test_an_exception_is_logged_and_the_loop_goes_on(
        self, io_loop: IOLoop, caplog: pytest.LogCaptureFixture
    ) -> None:
        def broken() -> None:
            raise ZeroDivisionError("on purpose")

        io_loop.add_callback(broken)
        io_loop.add_callback(io_loop.stop)
        run(io_loop)
        (record,) = caplog.records
        assert (record.name, record.levelname) == (APPLICATION_LOG, "ERROR")
        assert record.getMessage() == f"Exception in callback {broken!r}"
        assert record.exc_info and record.exc_info[0] is ZeroDivisionError

    def test_a_coroutine_function_is_awaited_and_its_exception_logged(
        self, io_loop: IOLoop, caplog: pytest.LogCaptureFixture
    ) -> None:
        seen: list[str] = []

        async def broken() -> None:
            await asyncio.sleep(0)
            seen.append("ran")
            io_loop.add_callback(io_loop.stop)
            raise ZeroDivisionError("on purpose")

        io_loop.add_callback(broken)
        run(io_loop)
        assert seen == ["ran"]
        (record,) = caplog.records
        assert record.exc_info and record.exc_info[0] is ZeroDivisionError

    def test_the_exception_hook_can_be_replaced(self, kind: str) -> None:
        seen: list[Any] = []

        class Hooked(IOLoop):
            def handle_callback_exception(self, callback: Callable[..., object]) -> None:
                seen.append((callback, sys.exc_info()[0]))

        def broken() -> None:
            raise ZeroDivisionError

        io_loop = Hooked(new_asyncio_loop(kind))
        io_loop.add_callback(broken)
        io_loop.add_callback(io_loop.stop)
        run(io_loop)
        io_loop.close()
        assert seen == [(broken, ZeroDivisionError)]

    def test_add_future_calls_back_on_the_loop(self, io_loop: IOLoop) -> None:
        seen: list[Any] = []

        def done(future: Any) -> None:
            seen.append((future.result(), threading.current_thread()))
            if len(seen) == 2:
                io_loop.stop()

        ours = io_loop.asyncio_loop.create_future()
        io_loop.add_future(ours, done)
        io_loop.add_callback(ours.set_result, 1)
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            io_loop.add_future(pool.submit(int, "2"), done)
            run(io_loop)
        assert sorted(result for result, _ in seen) == [1, 2]
        assert {thread for _, thread in seen} == {threading.current_thread()}


class TestTimers:
    def test_time_is_the_wall_clock(self, io_loop: IOLoop) -> None:
        assert abs(io_loop.time() - time.time()) < 5

    def test_every_form_fires_in_order_of_time(self, io_loop: IOLoop) -> None:
        seen: list[Any] = []
        now = io_loop.time()
        io_loop.add_timeout(now + 0.08, seen.append, 4)
        io_loop.add_timeout(datetime.timedelta(milliseconds=60), seen.append, 3)
        io_loop.call_at(now + 0.04, seen.append, 2)
        io_loop.call_later(0.02, lambda *, word: seen.append(word), word=1)
        io_loop.call_later(0.12, io_loop.stop)
        run(io_loop)
        assert seen == [1, 2, 3, 4]

    @pytest.mark.parametrize("offset", [0, -1, -1e9])
    def test_the_past_is_the_next_iteration(self, io_loop: IOLoop, offset: float) -> None:
        seen: list[str] = []
        io_loop.add_timeout(io_loop.time() + offset, seen.append, "fired")
        io_loop.add_timeout(datetime.timedelta(seconds=min(offset, 0)), seen.append, "fired")
        assert seen == []
        io_loop.call_later(0.01, io_loop.stop)
        run(io_loop)
        assert seen == ["fired", "fired"]

    def test_removed_ones_do_not_fire(self, io_loop: IOLoop) -> None:
        seen: list[str] = []
        handle = io_loop.add_timeout(io_loop.time(), seen.append, "fired")
        io_loop.remove_timeout(handle)
        fired = io_loop.call_later(0, seen.append, "kept")
        io_loop.call_later(0.01, io_loop.stop)
        run(io_loop)
        assert seen == ["kept"]
        io_loop.remove_timeout(fired)
        io_loop.remove_timeout(handle)

    @pytest.mark.parametrize("wrong", [None, "soon", datetime.datetime.now()])
    def test_other_deadlines_are_refused(self, io_loop: IOLoop, wrong: Any) -> None:
        with pytest.raises(TypeError, match="number or a timedelta"):
            io_loop.add_timeout(wrong, print)

    def test_an_exception_is_logged(
        self, io_loop: IOLoop, caplog: pytest.LogCaptureFixture
    ) -> None:
        io_loop.call_later(0, int, "x")
        io_loop.call_later(0.01, io_loop.stop)
        run(io_loop)
        assert [record.name for record in caplog.records] == [APPLICATION_LOG]


class TestRunSync:
    def test_returns_what_the_function_returns(self, io_loop: IOLoop) -> None:
        async def coroutine() -> str:
            await asyncio.sleep(0)
            return "later"

        def future() -> asyncio.Future[str]:
            result: asyncio.Future[str] = asyncio.get_running_loop().create_future()
            result.get_loop().call_soon(result.set_result, "promised")
            return result

        assert io_loop.run_sync(lambda: "now") == "now"
        assert io_loop.run_sync(coroutine) == "later"
        assert io_loop.run_sync(future) == "promised"

    def test_raises_what_the_function_raises(self, io_loop: IOLoop) -> None:
        async def fail(error: Exception) -> None:
            raise error

        with pytest.raises(ZeroDivisionError):
            io_loop.run_sync(lambda: 1 // 0)
        with pytest.raises(KeyError):
            io_loop.run_sync(lambda: fail(KeyError()))
        with pytest.raises(TimeoutError, match="its own"):
            io_loop.run_sync(lambda: fail(TimeoutError("its own")), timeout=10)

    def test_a_timeout_cancels_it(self, io_loop: IOLoop) -> None:
        seen: list[str] = []

        async def wait_forever() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                seen.append("cancelled")

        with pytest.raises(ioloop.TimeoutError, match=r"^Operation timed out after 0.01 seconds$"):
            io_loop.run_sync(wait_forever, timeout=0.01)
        assert seen == ["cancelled"]
        assert not io_loop.asyncio_loop.is_running()


class TestHandlers:
    @pytest.fixture
    def pair(self) -> Iterator[tuple[socket.socket, socket.socket]]:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        yield ours, theirs
        ours.close()
        theirs.close()

    def test_constants_are_tornados(self) -> None:
        assert (IOLoop.NONE, IOLoop.READ, IOLoop.WRITE, IOLoop.ERROR) == (0, 1, 4, 0x18)

    @pytest.mark.parametrize("by_number", [True, False])
    def test_gets_what_was_given_as_long_as_it_is_readable(
        self, io_loop: IOLoop, pair: tuple[socket.socket, socket.socket], by_number: bool
    ) -> None:
        ours, theirs = pair
        fd = ours.fileno() if by_number else ours
        seen: list[Any] = []

        def handler(what: Any, events: int) -> None:
            seen.append((what, events))
            if len(seen) == 2:
                assert ours.recv(10) == b"data"
                io_loop.call_later(0.01, io_loop.stop)

        io_loop.add_handler(fd, handler, IOLoop.READ)
        theirs.send(b"data")
        run(io_loop)
        assert seen == [(fd, IOLoop.READ)] * 2
        io_loop.remove_handler(fd)

    def test_the_mask_can_be_changed(
        self, io_loop: IOLoop, pair: tuple[socket.socket, socket.socket]
    ) -> None:
        ours, theirs = pair
        seen: list[int] = []

        def handler(_fd: Any, events: int) -> None:
            seen.append(events)
            if events == IOLoop.WRITE:
                theirs.send(b"data")
                io_loop.update_handler(ours, IOLoop.READ)
            else:
                io_loop.update_handler(ours, IOLoop.NONE)
                io_loop.call_later(0.01, io_loop.stop)

        io_loop.add_handler(ours, handler, IOLoop.READ | IOLoop.WRITE)
        run(io_loop)
        assert seen == [IOLoop.WRITE, IOLoop.READ]
        io_loop.remove_handler(ours)

    def test_a_hang_up_shows_as_readable(
        self, io_loop: IOLoop, pair: tuple[socket.socket, socket.socket]
    ) -> None:
        ours, theirs = pair
        io_loop.add_handler(ours, lambda *_: io_loop.stop(), IOLoop.READ | IOLoop.ERROR)
        theirs.close()
        run(io_loop)
        io_loop.remove_handler(ours)

    def test_adding_twice_and_updating_nothing_are_errors(
        self, io_loop: IOLoop, pair: tuple[socket.socket, socket.socket]
    ) -> None:
        ours, _ = pair
        io_loop.remove_handler(ours)  # an unknown one is no error
        with pytest.raises(ValueError, match="has no handler"):
            io_loop.update_handler(ours, IOLoop.READ)
        io_loop.add_handler(ours, print, IOLoop.READ)
        with pytest.raises(ValueError, match="has a handler already"):
            io_loop.add_handler(ours.fileno(), print, IOLoop.READ)
        io_loop.remove_handler(ours.fileno())
        io_loop.add_handler(ours, print, IOLoop.READ)
        io_loop.remove_handler(ours)

    @pytest.mark.skipif(sys.platform == "win32", reason="select() there takes anything at first")
    def test_what_cannot_be_watched_has_no_handler(self, io_loop: IOLoop, tmp_path: Path) -> None:
        with open(tmp_path / "file", "wb") as file:
            with pytest.raises(PermissionError):
                io_loop.add_handler(file, print, IOLoop.READ)
            with pytest.raises(ValueError, match="has no handler"):
                io_loop.update_handler(file, IOLoop.READ)

    def test_exceptions_are_logged_but_not_a_broken_pipe(
        self,
        io_loop: IOLoop,
        pair: tuple[socket.socket, socket.socket],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        ours, _ = pair
        errors = [OSError(errno.EPIPE, "pipe"), OSError(errno.EIO, "disk"), KeyError("key")]
        raised = iter(errors)

        def handler(_fd: Any, _events: int) -> None:
            error = next(raised, None)
            if error is None:
                io_loop.stop()
            else:
                raise error

        io_loop.add_handler(ours, handler, IOLoop.WRITE)
        run(io_loop)
        io_loop.remove_handler(ours)
        assert [r.exc_info[1] for r in caplog.records if r.exc_info] == errors[1:]
        assert {record.name for record in caplog.records} == {APPLICATION_LOG}

    def test_close_closes_descriptors_if_told_to(self, kind: str) -> None:
        for all_fds in False, True:
            io_loop = IOLoop(new_asyncio_loop(kind))
            ours, theirs = socket.socketpair()
            read_end, write_end = os.pipe()
            io_loop.add_handler(ours, print, IOLoop.READ)
            io_loop.add_handler(read_end, print, IOLoop.READ)
            io_loop.close(all_fds=all_fds)
            assert (ours.fileno() < 0) is all_fds
            if all_fds:
                with pytest.raises(OSError, match="Bad file descriptor"):
                    os.fstat(read_end)
            else:
                ours.close()
                os.close(read_end)
            theirs.close()
            os.close(write_end)


class TestPeriodicCallback:
    @pytest.mark.parametrize("wrong", [0, -1, datetime.timedelta(0)])
    def test_a_period_is_positive(self, wrong: Any) -> None:
        with pytest.raises(ValueError, match="positive"):
            PeriodicCallback(print, wrong)

    @pytest.mark.parametrize("period", [10, datetime.timedelta(milliseconds=10)])
    def test_runs_again_and_again_after_a_period(self, io_loop: IOLoop, period: Any) -> None:
        times: list[float] = []

        def tick() -> None:
            times.append(io_loop.asyncio_loop.time())
            if len(times) == 3:
                io_loop.stop()

        timer = PeriodicCallback(tick, period, io_loop)
        assert not timer.is_running()
        began = io_loop.asyncio_loop.time()
        timer.start()
        timer.start()  # a second start changes nothing
        assert timer.is_running()
        run(io_loop)
        timer.stop()
        assert not timer.is_running()
        # uvloop counts in milliseconds: a timer may be early by one
        assert times[0] - began >= 0.009 and times[2] - began >= 0.029

    def test_stop_ends_it_even_from_inside(self, io_loop: IOLoop) -> None:
        seen: list[int] = []

        def tick() -> None:
            seen.append(1)
            timer.stop()

        timer = PeriodicCallback(tick, 1, io_loop)
        timer.start()
        io_loop.call_later(0.05, io_loop.stop)
        run(io_loop)
        assert seen == [1]
        timer.stop()

    def test_missed_ticks_are_left_out_and_the_grid_is_kept(self, io_loop: IOLoop) -> None:
        loop = io_loop.asyncio_loop
        times: list[float] = []

        def tick() -> None:
            times.append(loop.time())
            if len(times) == 1:
                while loop.time() < times[0] + 0.05:  # overrun by two and a half periods
                    pass
            elif len(times) == 3:
                io_loop.stop()

        timer = PeriodicCallback(tick, 20, io_loop)
        timer.start()
        first_due = timer._due
        run(io_loop)
        timer.stop()
        assert times[1] - times[0] >= 0.05
        periods = (timer._due - first_due) / 0.02
        assert periods >= 4
        assert periods == pytest.approx(round(periods), abs=1e-6)

    def test_an_exception_is_logged_and_the_timer_goes_on(
        self, io_loop: IOLoop, caplog: pytest.LogCaptureFixture
    ) -> None:
        seen: list[int] = []

        def tick() -> None:
            seen.append(1)
            if len(seen) == 3:
                timer.stop()
                io_loop.stop()
            raise ZeroDivisionError

        timer = PeriodicCallback(tick, 1, io_loop)
        timer.start()
        run(io_loop)
        assert [record.name for record in caplog.records] == [APPLICATION_LOG] * 3

    def test_a_coroutine_is_waited_for(
        self, io_loop: IOLoop, caplog: pytest.LogCaptureFixture
    ) -> None:
        active: list[int] = []
        seen: list[int] = []

        async def tick() -> None:
            assert not active
            active.append(1)
            await asyncio.sleep(0.01)
            active.pop()
            seen.append(1)
            if len(seen) == 3:
                timer.stop()
                io_loop.add_callback(io_loop.stop)
            raise ZeroDivisionError

        timer = PeriodicCallback(tick, 1, io_loop)
        timer.start()
        run(io_loop)
        assert len(seen) == 3
        assert [record.name for record in caplog.records] == [APPLICATION_LOG] * 3

    def test_a_new_start_during_a_coroutine_makes_one_timer(self, io_loop: IOLoop) -> None:
        release = asyncio.Event()
        seen: list[str] = []

        async def tick() -> None:
            seen.append("began")
            if len(seen) == 1:
                timer.stop()
                timer.start()
                await release.wait()
                seen.append("first ended")
            else:
                timer.stop()
                release.set()

        timer = PeriodicCallback(tick, 1, io_loop)
        timer.start()
        io_loop.call_later(0.05, io_loop.stop)
        run(io_loop)
        assert seen == ["began", "began", "first ended"]

    def test_jitter_varies_the_period(self, io_loop: IOLoop) -> None:
        dues: list[float] = []

        def tick() -> None:
            dues.append(timer._due)
            if len(dues) == 5:
                io_loop.stop()

        timer = PeriodicCallback(tick, 2, io_loop, jitter=0.5)
        timer.start()
        run(io_loop)
        timer.stop()
        steps = [b - a for a, b in itertools.pairwise(dues)]
        assert len({round(step, 9) for step in steps}) > 1
        assert min(steps) >= 0.0015 - 1e-6

    def test_takes_the_current_loop_when_started(self, clean: None) -> None:
        timer = PeriodicCallback(lambda: IOLoop.current().stop(), 1)
        assert not loop_exists()
        io_loop = IOLoop.instance()
        timer.start()
        run(io_loop)
        timer.stop()


class TestDebuggingAids:
    def test_log_stack_is_a_signal_handler(
        self, io_loop: IOLoop, caplog: pytest.LogCaptureFixture
    ) -> None:
        io_loop.log_stack(10, sys._getframe())
        assert caplog.records[0].name == GENERAL_LOG
        assert "test_log_stack_is_a_signal_handler" in caplog.text

    def test_blocking_thresholds_say_that_they_do_nothing(
        self, io_loop: IOLoop, caplog: pytest.LogCaptureFixture
    ) -> None:
        io_loop.set_blocking_log_threshold(0.5)
        io_loop.set_blocking_signal_threshold(0.5, io_loop.log_stack)
        assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
        assert "not supported" in caplog.text
