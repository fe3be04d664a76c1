"""A request leaves no work for the garbage collector: nothing that refers to itself."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from helpers import answer, get, post
from wire import Wire

from fasthttpserver import HTTPRequest


def use_everything(request: HTTPRequest) -> None:
    request.headers.get("Host"), request.cookies, request.arguments, request.files
    request.path, request.remote_ip, request.protocol, request.full_url()
    answer(request)


@pytest.mark.parametrize("callback", [answer, use_everything])
@pytest.mark.parametrize("request_bytes", [get("/?a=b", "Cookie: c=d"), post(b"e=f")])
def test_serving_starts_no_collection(
    wire: Callable[..., Wire], callback: Callable[[HTTPRequest], None], request_bytes: bytes
) -> None:
    end = wire(callback)
    collections: list[Any] = []

    def note(phase: str, info: dict[str, int]) -> None:
        collections.append((phase, info))

    end.connection.data_received(request_bytes)  # caches are filled
    gc.collect()
    gc.callbacks.append(note)
    try:
        for _ in range(3000):
            end.connection.data_received(request_bytes)
            end.transport.taken.clear()
    finally:
        gc.callbacks.remove(note)
    assert collections == []


def test_request_dies_with_its_last_reference(wire: Callable[..., Wire]) -> None:
    dead: list[weakref.ref[HTTPRequest]] = []

    def callback(request: HTTPRequest) -> None:
        use_everything(request)
        dead.append(weakref.ref(request))

    end = wire(callback)
    gc.disable()
    try:
        end.send(get() * 3)
        assert [each() for each in dead] == [None] * 3
    finally:
        gc.enable()
