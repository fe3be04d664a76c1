"""WSGI applications for every server that has WSGI."""

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


def __getattr__(name: str) -> Any:
    """Make the application of Flask, where it is asked for."""
    if name != "flask":
        raise AttributeError(name)
    from flask import Flask

    app = Flask(__name__)
    app.add_url_rule("/", view_func=lambda: HELLO)
    return app
