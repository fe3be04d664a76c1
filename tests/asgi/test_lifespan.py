"""The start and end of ASGI applications."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

import pytest
from asgi_apps import Receive, Recorder, Scope, Send, respond
from helpers import Logs, Served, eventually, get

from fasthttpserver.asgi import ASGIContainer, LifespanError, _lifespan

Run = Callable[[Any], Any]


class Application:
    """Supports lifespan, and says what the test wants.

    Args:
        startup, shutdown: What it answers: the end of the type of the message, or an exception.
    """

    def __init__(self, startup: Any = "complete", shutdown: Any = "complete") -> None:
        self.answers = {"startup": startup, "shutdown": shutdown}
        self.events: list[str] = []
        self.scope: Scope = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await respond(send, repr(scope["state"]).encode())
            return
        self.scope = scope
        scope["state"]["made"] = ["at startup"]
        for phase in "startup", "shutdown":
            message = await receive()
            assert message == {"type": f"lifespan.{phase}"}
            self.events.append(phase)
            answer = self.answers[phase]
            if isinstance(answer, Exception):
                raise answer
            if answer is None:
                return
            await send({"type": f"lifespan.{phase}.{answer}", "message": "on purpose"})


def test_application_is_told_of_its_start_and_end(run: Run) -> None:
    application = Application()

    async def main() -> None:
        async with ASGIContainer(application, lifespan="on"):
            assert application.events == ["startup"]
        assert application.events == ["startup", "shutdown"]

    run(main())
    assert application.scope["asgi"] == {"version": "3.0", "spec_version": "2.0"}


def test_container_starts_again_in_another_loop(run: Run) -> None:
    application = Application()
    container = ASGIContainer(application, lifespan="on")

    async def main() -> None:
        async with container:
            await asyncio.sleep(0)  # the application waits for its end now
            assert list(application.scope["state"]) == ["made"]
            application.scope["state"]["stale"] = True

    run(main())
    run(main())
    assert application.events == ["startup", "shutdown"] * 2


def test_container_that_has_failed_may_fail_again(run: Run, logs: Logs) -> None:
    application = Application(startup="failed")
    container = ASGIContainer(application, lifespan="on")
    with pytest.raises(LifespanError, match="on purpose"):
        run(container.startup())
    application.answers["startup"] = ValueError("broken")
    with pytest.raises(LifespanError, match="broken"):
        run(container.startup())
    assert len(logs.errors()) == 1
    application.answers["startup"] = "complete"

    async def main() -> None:
        async with container:
            pass

    run(main())
    assert application.events[-2:] == ["startup", "shutdown"]


def test_what_the_start_leaves_is_there_for_each_request(serve: Callable[..., Served]) -> None:
    recorder = Recorder(Application())
    container = ASGIContainer(recorder)
    server = serve(container)
    server.call(container.startup)
    client = server.connect()
    for _ in range(2):
        assert client.ask(get()) == b"{'made': ['at startup']}"
    first, second = recorder.scopes[1:]
    assert first["state"] is not second["state"]
    assert first["state"]["made"] is second["state"]["made"]
    server.call(container.shutdown)


FAILURES: dict[str, tuple[Application, str]] = {
    "says so": (Application(startup="failed"), "failed in startup: on purpose"),
    "raises when it has to know lifespan": (
        Application(startup=ValueError("broken")),
        r"failed in startup: ValueError\('broken'\)",
    ),
    "returns": (Application(startup=None), "returned before"),
    "says what makes no sense": (Application(startup="done"), "RuntimeError"),
}


@pytest.mark.parametrize("application, reason", FAILURES.values(), ids=FAILURES)
def test_failing_start(run: Run, logs: Logs, application: Application, reason: str) -> None:
    async def main() -> None:
        with pytest.raises(LifespanError, match=reason):
            await ASGIContainer(application, lifespan="on").startup()

    run(main())
    assert len(logs.errors()) == ("Error" in reason)


def test_failing_start_counts_where_lifespan_is_optional(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(LifespanError, match="on purpose"):
            await ASGIContainer(Application(startup="failed")).startup()

    run(main())


def test_failure_that_is_told_and_raised_is_one(run: Run) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed"})
        raise ValueError("as Starlette does")

    async def main() -> None:
        with pytest.raises(LifespanError, match="does not say why"):
            await ASGIContainer(application, lifespan="on").startup()

    run(main())


@pytest.mark.parametrize("startup", [ValueError("unknown"), None])
def test_application_that_does_not_know_lifespan(run: Run, logs: Logs, startup: Any) -> None:
    async def main() -> None:
        async with ASGIContainer(Application(startup=startup)):
            pass

    run(main())
    assert len(logs.refusals()) == (startup is not None)


def test_lifespan_may_be_off(run: Run) -> None:
    application = Application()

    async def main() -> None:
        async with ASGIContainer(application, lifespan="off"):
            pass

    run(main())
    assert application.events == []


@pytest.mark.parametrize(
    "shutdown, reason", [("failed", "on purpose"), (ValueError("broken"), "broken")]
)
def test_failing_end(run: Run, logs: Logs, shutdown: Any, reason: str) -> None:
    async def main() -> None:
        container = ASGIContainer(Application(shutdown=shutdown))
        await container.startup()
        with pytest.raises(LifespanError, match=f"failed in shutdown: .*{reason}"):
            await container.shutdown()

    run(main())
    assert len(logs.errors()) == isinstance(shutdown, Exception)


def test_end_that_is_not_answered_is_an_end(run: Run) -> None:
    async def main() -> None:
        async with ASGIContainer(Application(shutdown=None)):
            pass

    run(main())


def test_application_that_does_not_return_after_its_end(run: Run) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})

    async def main() -> None:
        async with asyncio.timeout(5), ASGIContainer(application):
            pass

    run(main())


def test_application_that_fails_between_start_and_end(run: Run, logs: Logs) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        raise ValueError("broken")

    async def main() -> None:
        async with ASGIContainer(application):
            await asyncio.sleep(0)

    run(main())
    assert len(logs.errors()) == 1


def test_start_that_is_cancelled_cancels_the_application(run: Run) -> None:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        start = asyncio.create_task(ASGIContainer(application).startup())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        start.cancel()
        with pytest.raises(asyncio.CancelledError):
            await start
        await asyncio.sleep(0)

    run(main())


class Deaf:
    """Goes on although it is cancelled, until the test lets it end."""

    def __init__(self) -> None:
        self.over = asyncio.Event()
        self.cancels = 0

    async def go_on(self) -> None:
        while not self.over.is_set():
            try:
                await self.over.wait()
            except asyncio.CancelledError:
                self.cancels += 1


@pytest.mark.parametrize("answer", ["complete", "failed"])
def test_lifespan_that_does_not_end_when_it_is_cancelled_is_left(
    run: Run, logs: Logs, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    monkeypatch.setattr(_lifespan, "_PATIENCE", 0.01)
    deaf = Deaf()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        for phase, kind in [("startup", "complete"), ("shutdown", answer)]:
            await receive()
            await send({"type": f"lifespan.{phase}.{kind}"})
        await deaf.go_on()

    async def main() -> None:
        container = ASGIContainer(application)
        await container.startup()
        with contextlib.nullcontext() if answer == "complete" else pytest.raises(LifespanError):
            await container.shutdown(0)
        assert deaf.cancels == 1
        deaf.over.set()
        await asyncio.sleep(0.01)

    run(main())
    (warning,) = logs.take("application", logging.WARNING)
    assert "does not end, though it was cancelled" in warning


def test_requests_that_do_not_end_when_they_are_cancelled_are_left(
    serve: Callable[..., Served], logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_lifespan, "_PATIENCE", 0.01)
    deaf = Deaf()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await deaf.go_on()

    container = ASGIContainer(application, lifespan="off")
    server = serve(container)
    client = server.connect()
    client.send(get())
    eventually(lambda: container._running)
    server.call(container.shutdown, 0)
    assert deaf.cancels == 1
    (warning,) = logs.take("application", logging.WARNING)
    assert "does not end, though it was cancelled" in warning
    server.call(deaf.over.set)
    eventually(lambda: not container._running)
    assert client.read_to_end() == b""
