"""The start and the end of an application.

https://asgi.readthedocs.io/en/stable/specs/lifespan.html
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, NoReturn

from fasthttpserver.asgi._types import Application, Event, Message
from fasthttpserver.log import app_log, gen_log

__all__ = ["Lifespan", "LifespanError", "end_tasks"]

# Seconds for what was cancelled to end: code that takes no cancellation must not keep a server
# from ending.
_PATIENCE = 1.0


class LifespanError(RuntimeError):
    """The application has failed to start, or to shut down."""


async def end_tasks(tasks: Iterable[asyncio.Task[None]], timeout: float) -> None:
    """Wait for tasks of the application, and then cancel them.

    Args:
        tasks: At least one.
        timeout: Seconds to wait before that.
    """
    _, late = await asyncio.wait(tasks, timeout=timeout)
    for task in late:
        task.cancel()
    if late:
        _, deaf = await asyncio.wait(late, timeout=_PATIENCE)
        for task in deaf:
            app_log.warning("The ASGI application does not end, though it was cancelled: %r", task)


class Lifespan:
    """The conversation with an application about its start and its end.

    Args:
        application: Which one.
        required: Whether one that does not know lifespan is an error.
        state: What the application leaves for its requests.
    """

    def __init__(self, application: Application, required: bool, state: dict[str, Any]) -> None:
        self._application = application
        self._required = required
        self._state = state
        # These are each start's own; it may be in another loop.
        self._events: asyncio.Queue[Event]
        self._phase: str
        self._failure_told: bool
        self._answer: asyncio.Future[str | None] | None = None  # the application's, or why not
        self._task: asyncio.Task[None] | None = None

    async def startup(self) -> None:
        """Start the application; after its end it may be started again.

        Raises:
            LifespanError: It has failed to.
        """
        self._events = asyncio.Queue()
        self._phase = "startup"
        self._failure_told = False
        self._state.clear()
        self._task = asyncio.get_running_loop().create_task(self._run())
        failure = await self._ask("startup")
        if failure is not None:
            await self._fail(self._task, failure)

    async def shutdown(self, timeout: float) -> None:
        """Shut the application down; its own end takes as long as it takes.

        Args:
            timeout: Seconds in which it has to return after that.

        Raises:
            LifespanError: It has failed to.
        """
        if self._task is None or self._task.done():
            return
        failure = await self._ask("shutdown")
        if failure is not None:
            await self._fail(self._task, failure)
        await end_tasks([self._task], timeout)

    async def _fail(self, task: asyncio.Task[None], failure: str) -> NoReturn:
        await end_tasks([task], 0)  # it may go on, although nothing is to come
        raise LifespanError(failure)

    async def _ask(self, phase: str) -> str | None:
        """Tell the application; return why it has failed, or None."""
        self._phase = phase
        self._answer = asyncio.get_running_loop().create_future()
        self._events.put_nowait({"type": f"lifespan.{phase}"})
        try:
            return await self._answer
        except BaseException:  # nobody waits for the application any more
            if self._task is not None:
                self._task.cancel()
            raise

    async def _run(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self._state,
        }
        try:
            await self._application(scope, self._receive, self._send)
        except Exception as error:
            self._escaped(error)
        else:
            if self._phase == "startup" and self._required:
                self._reply("The application returned before its startup was complete")
        finally:
            self._reply(None)

    def _escaped(self, error: Exception) -> None:
        if self._failure_told:
            return  # frameworks raise again what they have just told
        if self._phase == "startup" and not self._is_answered and not self._required:
            # The specification's way to say that it does not know this protocol.
            gen_log.info("The ASGI application does not support lifespan: %r", error)
        else:
            app_log.error("Exception in lifespan of the ASGI application", exc_info=error)
            self._reply(f"The application failed in {self._phase}: {error!r}")

    async def _receive(self) -> Event:
        if self._phase == "shutdown" and self._is_answered and self._task is not None:
            self._task.cancel()  # nothing is to come: it loops over its events without a return
        return await self._events.get()

    async def _send(self, message: Message) -> None:
        kind = message["type"]
        if kind == f"lifespan.{self._phase}.complete" and not self._is_answered:
            self._reply(None)
        elif kind == f"lifespan.{self._phase}.failed" and not self._is_answered:
            self._failure_told = True
            text = message.get("message") or "it does not say why"
            self._reply(f"The application failed in {self._phase}: {text}")
        else:
            raise RuntimeError(f"ASGI message {kind!r} is not expected in {self._phase}")

    @property
    def _is_answered(self) -> bool:
        return self._answer is None or self._answer.done()

    def _reply(self, failure: str | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(failure)
