"""RSGI applications, granian's own interface."""

from typing import Any

from benchmarks.apps.options import HELLO, LARGE


async def hello(scope: Any, protocol: Any) -> None:
    protocol.response_bytes(200, [], HELLO)


closing = hello


async def large(scope: Any, protocol: Any) -> None:
    protocol.response_bytes(200, [], LARGE)


async def body(scope: Any, protocol: Any) -> None:
    protocol.response_bytes(200, [], b"%d" % len(await protocol()))
