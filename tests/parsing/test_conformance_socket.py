"""Every vector of ``conformance/``, sent to a server: what is answered, and what was run."""

from __future__ import annotations

import contextlib
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from helpers import Client, Response, Served, framed, get, split
from vectors import ExpectedRequest, Vector, load

from fasthttpserver._parser import RequestParser
from fasthttpserver.httpserver import HTTPRequest

VECTORS = load()
# Sending a long one byte by byte tells nothing new.
LONG = 2000
# An interim response may come before the answer to these, and to no others.
CONTINUED = {"EX01", "EX03"}
# The three that wait for the rest of a request, until a deadline.
OVERDUE = {"HD27", "CL35", "CH56"}


class Servers:
    """A server for each set of options, kept for all tests of this file."""

    def __init__(self, new_loop: Callable[[], AbstractEventLoop]) -> None:
        self._new_loop = new_loop
        self._servers: dict[str, Served] = {}
        self._stack = contextlib.ExitStack()
        self.seen: list[HTTPRequest] = []

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def with_options(self, options: dict[str, Any]) -> Served:
        key = repr(options)
        if key not in self._servers:
            served = Served(self._new_loop, self._callback, **options)
            self._servers[key] = self._stack.enter_context(served)
        return self._servers[key]

    def _callback(self, request: HTTPRequest) -> None:
        self.seen.append(request)
        response = framed(request.uri.encode("latin-1"))
        if request.method == "HEAD":
            response = response[: response.index(b"\r\n\r\n") + 4]
        request.write(response)
        request.finish()


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def servers(request: pytest.FixtureRequest) -> Iterator[Servers]:
    module = pytest.importorskip(request.param, reason=f"{request.param} is not installed")
    with Servers(module.new_event_loop) as servers:
        yield servers


@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.id)
def test_vector(servers: Servers, vector: Vector, bytewise: bool) -> None:
    served = servers.with_options(vector.limits)
    servers.seen.clear()
    with Client(served.address) as client:
        for piece in cut(vector) if bytewise else [vector.data]:
            client.send(piece)
        for expected in vector.requests:
            check_answer(read_final_response(client, vector, expected.method), expected)
        if vector.end == "refused":
            check_refusal(client.read_response("HEAD" if vector.to_head else "GET"), vector)
        elif vector.end == "open":
            assert client.ask(get("/next")) == b"/next"
            client.half_close()
        elif vector.end == "incomplete":
            client.half_close()
        assert client.read_to_end() == b""
    if vector.end == "open":
        assert servers.seen.pop().uri == "/next"
    assert len(servers.seen) == len(vector.requests)
    for request, expected in zip(servers.seen, vector.requests, strict=True):
        check_request(request, expected)


@pytest.mark.parametrize("name", sorted(OVERDUE))
def test_request_that_does_not_end_is_answered_at_its_deadline(servers: Servers, name: str) -> None:
    (vector,) = (vector for vector in VECTORS if vector.id == name)
    assert vector.end == "incomplete"
    vector.status = 408
    served = servers.with_options({"header_timeout": 0.2, "body_stall_timeout": 0.2})
    servers.seen.clear()
    with Client(served.address) as client:
        client.send(vector.data)
        check_refusal(client.read_response(), vector)
        assert client.read_to_end() == b""
    assert servers.seen == []


def cut(vector: Vector) -> list[bytes]:
    """Single bytes, or pieces that are not too many."""
    if len(vector.data) > LONG:
        return split(vector.data, range(0, len(vector.data), 1000))
    size = len(vector.data)
    if vector.end == "close":
        # A client that goes on after its last request may find the connection closed, so
        # what comes after comes together with the last byte of that.
        parser = RequestParser(**vector.limits)
        for size in range(1, len(vector.data) + 1):
            parser.receive_data(vector.data[size - 1 : size])
            while parser.next_request() is not None:
                pass
            if parser.closed:
                break
    return split(vector.data, range(size))


def read_final_response(client: Client, vector: Vector, method: str) -> Response:
    response = client.read_response(method)
    if response.status == 100 and vector.id in CONTINUED:
        response = client.read_response(method)
    return response


def check_answer(response: Response, expected: ExpectedRequest) -> None:
    assert response.status == 200
    assert response.body == (b"" if expected.method == "HEAD" else expected.uri.encode("latin-1"))


def check_refusal(response: Response, vector: Vector) -> None:
    assert response.status == vector.status
    assert response.fields.keys() == {"date", "content-type", "content-length", "connection"}
    assert response.fields["connection"] == "close"
    assert int(response.fields["content-length"]) > 0
    if vector.to_head:
        assert response.body == b""
    else:
        assert response.body.decode("ascii").isprintable()  # one line, then


def check_request(request: HTTPRequest, expected: ExpectedRequest) -> None:
    assert (request.method, request.uri, request.body) == (
        expected.method,
        expected.uri,
        expected.body,
    )
    for name, values in expected.fields.items():
        assert request.headers.get_list(name) == values
        assert (name in request.headers) is bool(values)
    if expected.authority is not None:
        assert request.host == (expected.authority or "127.0.0.1")
