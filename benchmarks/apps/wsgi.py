"""WSGI applications for bjoern, fastpysgi and granian."""

from collections.abc import Callable
from typing import Any

from benchmarks.apps.options import HELLO, LARGE

StartResponse = Callable[[str, list[tuple[str, str]]], Any]


def _respond(start_response: StartResponse, message: bytes) -> list[bytes]:
    start_response("200 OK", [("Content-Length", str(len(message)))])
    return [message]


def hello(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    return _respond(start_response, HELLO)


closing = hello


def large(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    return _respond(start_response, LARGE)


def body(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    size = int(environ["CONTENT_LENGTH"])
    return _respond(start_response, b"%d" % len(environ["wsgi.input"].read(size)))
