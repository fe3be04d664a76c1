"""What clients send and nobody else is to read does not get into the log, nor much of the rest."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from helpers import Logs, Served, answer, eventually, fail, post
from hypothesis import given
from hypothesis import strategies as st

from fasthttpserver._parser import RequestMessage
from fasthttpserver.httpserver import HTTPRequest
from fasthttpserver.httputil import HTTPHeaders, ResponseStartLine, url_concat

Serve = Callable[..., Served]

# Characters of a line that is not an access log's, without its traceback.
LONG = 1000

SECRETS = (
    "Authorization: Bearer secret-a",
    "Cookie: session=secret-b",
    "X-Api-Key: secret-c",
    "Referer: https://a/?secret-d",
    "X-Long: secret-e" + "\x9b" * 10_000,
)


def cancel(request: HTTPRequest) -> None:
    raise asyncio.CancelledError


async def fail_later(request: HTTPRequest) -> None:
    await asyncio.sleep(0)
    fail()


def fail_in_the_close_callback(request: HTTPRequest) -> None:
    request.connection.set_close_callback(fail)
    request.connection.stream.close()


def fail_in_the_write_callback(request: HTTPRequest) -> None:
    request.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", fail)


def write_late(request: HTTPRequest) -> None:
    answer(request)
    request.write(b"late")


def finish_twice(request: HTTPRequest) -> None:
    answer(request)
    request.finish()


def finish_twice_what_is_framed(request: HTTPRequest) -> None:
    headers = HTTPHeaders({"Content-Length": "0"})
    request.connection.write_headers(ResponseStartLine("HTTP/1.1", 200, "OK"), headers)
    request.finish()
    request.finish()


def read_the_form(request: HTTPRequest) -> None:
    assert request.body_arguments == {}
    answer(request)


def write_headers(reason: str, fields: dict[str, str]) -> Callable[[HTTPRequest], None]:
    def callback(request: HTTPRequest) -> None:
        start_line = ResponseStartLine("HTTP/1.1", 200, reason)
        request.connection.write_headers(start_line, HTTPHeaders(fields))

    return callback


def log_it(request: HTTPRequest) -> None:
    logging.getLogger("fasthttpserver.application").warning("%r %s", request, request)
    answer(request)


LEAK = "secret-f\r\n" + "x" * 10_000

CALLBACKS = {
    "fails": fail,
    "fails later": fail_later,
    "is cancelled": cancel,
    "close callback fails": fail_in_the_close_callback,
    "write callback fails": fail_in_the_write_callback,
    "writes late": write_late,
    "finishes twice": finish_twice,
    "finishes twice what is framed": finish_twice_what_is_framed,
    "form is malformed": read_the_form,
    "sends on a value": write_headers("OK", {"Location": LEAK}),
    "sends on a name": write_headers("OK", {LEAK: "x"}),
    "sends on a reason": write_headers(LEAK, {}),
    "sends on a length": write_headers("OK", {"Content-Length": LEAK}),
    "logs it": log_it,
}


@pytest.mark.parametrize("name", CALLBACKS)
def test_no_line_has_what_is_secret_or_long(serve: Serve, logs: Logs, name: str) -> None:
    served = serve(CALLBACKS[name])
    fields = (*SECRETS, "Content-Type: multipart/form-data; boundary=secret-g", "Connection: close")
    client = served.connect()
    client.send(post(b"secret-h" + b"x" * 20_000, *fields, uri="/path?" + "q" * 5000))
    client.read_to_end()
    eventually(lambda: logs.records)
    served.call(lambda: None)
    formatter = logging.Formatter()
    for record in logs.records:
        line = record.getMessage()
        assert len(line) <= LONG, line[: 2 * LONG]
        assert "secret" not in formatter.format(record)
    logs.records.clear()


@pytest.mark.parametrize(
    "field",
    ["Authorization secret", "Host: secret\\", "X: secret\x00", "Content-Length: secret"]
    + [
        "Transfer-Encoding: secret",
        "Expect: secret",
        "secret\x7f: a",
        "Cookie: " + "secret" * 9999,
    ],
)
def test_no_line_has_what_is_refused(serve: Serve, logs: Logs, field: str) -> None:
    client = serve(answer).connect()
    client.send(f"GET /secret HTTP/1.1\r\n{field}\r\n\r\n".encode("latin-1"))
    assert b"secret" not in client.read_to_end()
    eventually(lambda: logs.records)
    for record in logs.records:
        assert len(record.getMessage()) <= LONG
        assert "secret" not in record.getMessage()


def test_a_mistaken_argument_is_not_printed() -> None:
    for mistaken in [b"secret", "secret", 5]:
        with pytest.raises(TypeError) as raised:
            url_concat("/", mistaken)  # type: ignore[arg-type]
        assert "secret" not in str(raised.value)


@given(st.text(), st.text(), st.text(), st.integers(1, 10_000))
def test_repr_of_a_request_is_bounded(method: str, uri: str, version: str, times: int) -> None:
    for cls in HTTPRequest, RequestMessage:
        request: Any = cls(method * times, uri * times, version)
        # An astral character has ten in its escape.
        assert len(repr(request)) <= 250 * 10 * 2 + 10 * len(version) + 100
        assert repr(request).isprintable()
        text = repr(cls("GET", uri))
        shown = f", uri={uri!r}, " in text or f" 'GET' {uri!r} 'HTTP/1.0' " in text
        assert shown == (len(uri) <= 200)
