"""Development mode: warnings about mistakes that an application would not notice.

It wraps the application, so that it costs nothing without ``debug=True``. The checks take time,
and are not for production.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import os
import selectors
import sys
import threading
import traceback
from asyncio import AbstractEventLoop
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any

from fasthttpserver._net.loops import running_loop
from fasthttpserver._server.request import HTTPRequest, RequestCallback
from fasthttpserver._server.wrapping import WrappingDelegate
from fasthttpserver.httputil import HTTPMessageDelegate, HTTPServerConnectionDelegate
from fasthttpserver.log import app_log

__all__ = ["BlockWatch", "Debugging", "describe"]

# Seconds for which a request may go unanswered; for which the loop may be blocked, and between
# two checks of that.
_UNANSWERED = 5.0
_BLOCKED = 0.1
_INTERVAL = 0.02
# Bytes of a response that are shown.
_MOST_SHOWN = 300

_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep
# Below what an application runs.
_BELOW = (_PACKAGE, os.path.dirname(asyncio.__file__) + os.sep, selectors.__file__)


class Debugging:
    """Watches the requests of one server.

    Args:
        application: Its callback or delegate, as it was given; warnings name it.
    """

    def __init__(self, application: Any) -> None:
        self._name = describe(application)

    def callback(self, callback: RequestCallback) -> RequestCallback:
        """Wrap a callback so that its requests are watched."""

        @functools.wraps(callback)
        def watched(request: HTTPRequest) -> object:
            _keep_beginning(request)
            result = callback(request)
            if request._finish_time is None:
                self.expect_answer(request, result)
                if inspect.iscoroutine(result):
                    return self._follow(result, request)
            return result

        return watched

    def delegate(self, delegate: HTTPServerConnectionDelegate) -> HTTPServerConnectionDelegate:
        """Wrap a delegate so that its requests are watched."""
        return _WatchedDelegate(self, delegate)

    def explain(self, request: HTTPRequest) -> str:
        """Return what there is to know about a response that is framed wrongly."""
        beginning = vars(request).get("_beginning")
        wrote = f"; its response begins with {bytes(beginning)!r}" if beginning else ""
        return f"\nIt was answered by {self._name}{wrote}"

    async def _follow(self, coroutine: Coroutine[Any, Any, object], request: HTTPRequest) -> None:
        await coroutine
        if request._finish_time is None and request.connection.is_current(request):
            app_log.warning(
                "%s has returned without finish() of %r. Unless something else calls it, the "
                "client waits for ever",
                self._name,
                request,
            )

    def expect_answer(self, request: HTTPRequest, work: object = None) -> None:
        """Warn if nothing has been written for a request in some time.

        Args:
            request: Which one.
            work: What its callback returned.
        """
        request.connection.loop.call_later(_UNANSWERED, self._look_after, request, work)

    def _look_after(self, request: HTTPRequest, work: object) -> None:
        connection = request.connection
        if request._finish_time is not None or not connection.is_current(request):
            return
        if connection.parser.receiving_body:  # nobody can answer yet
            self.expect_answer(request, work)
        elif not connection.has_written:
            frame = work.cr_frame if inspect.iscoroutine(work) else None
            where = "" if frame is None else f", which waits in line {frame.f_lineno}"
            app_log.warning(
                "%r has not been answered for %g s by %s%s", request, _UNANSWERED, self._name, where
            )


class _WatchedDelegate(WrappingDelegate):
    """Wraps a delegate so that its requests are watched."""

    def __init__(self, debugging: Debugging, delegate: Any) -> None:
        super().__init__(delegate)
        self._debugging = debugging
        # A delegate that has this method gets most requests by it.
        if getattr(delegate, "whole_request", None) is not None:
            self.whole_request = self._whole_request

    def start_request(self, server_conn: object, request_conn: Any) -> HTTPMessageDelegate:
        self._debugging.expect_answer(request_conn.request)
        return super().start_request(server_conn, request_conn)

    def _whole_request(self, request: HTTPRequest) -> object:
        result: object = self._delegate.whole_request(request)
        if request._finish_time is None:
            self._debugging.expect_answer(request)
        return result


def _keep_beginning(request: HTTPRequest) -> None:
    """Have a request keep the beginning of what is written for it."""
    beginning = bytearray()

    def write(chunk: Any, callback: Callable[[], object] | None = None) -> Any:
        if len(beginning) < _MOST_SHOWN:
            data = chunk.encode("latin-1", "replace") if isinstance(chunk, str) else bytes(chunk)
            beginning.extend(data[: _MOST_SHOWN - len(beginning)])
        return HTTPRequest.write(request, chunk, callback)

    vars(request).update(_beginning=beginning, write=write)


# --- What blocks the loop --------------------------------------------------------------------


class BlockWatch:
    """A thread that warns when a loop is blocked, and says by which line.

    It has the loop call a function again and again, and looks at the stack of the loop's thread
    when that is not called in time.

    Args:
        loop: It may not run yet.
    """

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._thread_id: int | None = None  # of the loop
        self._below: set[int] = set()  # frames that called the loop
        self._beat = threading.Event()
        self._ended = threading.Event()
        if running_loop() is loop:
            self._on_beat()  # so that what it runs first is watched, too
        self._thread = threading.Thread(target=self._run, name="BlockWatch", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop watching; more than once does no harm."""
        self._ended.set()
        self._beat.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over():
            self._beat.clear()
            with contextlib.suppress(RuntimeError):  # it has just been closed
                self._loop.call_soon_threadsafe(self._on_beat)
            told = False
            while not (self._beat.wait(_BLOCKED) or self._is_over()):
                if not told and self._loop.is_running():
                    told = self._tell()
            self._ended.wait(_INTERVAL)

    def _is_over(self) -> bool:
        return self._ended.is_set() or self._loop.is_closed()

    def _on_beat(self) -> None:
        self._thread_id = threading.get_ident()
        # Those of the loop itself come and go; those that called it stay as long as it runs.
        frames = [frame for frame, _ in traceback.walk_stack(sys._getframe())]
        while frames and frames[0].f_code.co_filename.startswith(_BELOW):
            del frames[0]
        self._below = {id(frame) for frame in frames}
        self._beat.set()

    def _tell(self) -> bool:
        """Warn if the application blocks the loop, rather than a busy machine."""
        frame = sys._current_frames().get(self._thread_id or 0)
        stack: list[FrameType] = []
        while frame is not None and id(frame) not in self._below:
            stack.append(frame)
            frame = frame.f_back
        while stack and stack[-1].f_code.co_filename.startswith(_BELOW):
            stack.pop()
        if not stack:
            return False
        outermost = stack[-1]
        summary = traceback.StackSummary.extract((each, each.f_lineno) for each in reversed(stack))
        app_log.warning(
            "%s.%s has blocked the event loop for more than %d ms, in line %d of %s:\n%s",
            outermost.f_globals.get("__name__"),
            outermost.f_code.co_qualname,
            _BLOCKED * 1000,
            outermost.f_lineno,
            outermost.f_code.co_filename,
            "".join(summary.format()).rstrip(),
        )
        return True


# --- Names -----------------------------------------------------------------------------------


def describe(application: Any) -> str:
    """Return the name of an application for a person: module, name, file and line."""
    found: Any = inspect.unwrap(application)
    while isinstance(found, functools.partial):
        found = inspect.unwrap(found.func)
    if not (inspect.isroutine(found) or inspect.isclass(found)):
        found = type(found)
    name = f"{found.__module__}.{found.__qualname__}"
    code = getattr(inspect.unwrap(_function_of(found)), "__code__", None)
    return name if code is None else f"{name} ({code.co_filename}, line {code.co_firstlineno})"


def _function_of(found: Any) -> Any:
    """Return the function that is called, for a class one of its methods."""
    if not inspect.isclass(found):
        return found
    names = ("start_request", "__call__", "__init__")
    methods = (vars(found).get(name) for name in names)
    return next((each for each in methods if each is not None), found)
