"""What ``HTTPServer`` takes for a callback, and what it says of others."""

from __future__ import annotations

import functools
import sys
from types import SimpleNamespace
from typing import Any

import flask
import pytest
import tornado.web

from fasthttpserver.asgi import ASGIContainer
from fasthttpserver.httpserver import HTTPServer
from fasthttpserver.httputil import HTTPServerConnectionDelegate
from fasthttpserver.wsgi import WSGIContainer


def callback(request: Any) -> None: ...
async def coroutine(request: Any) -> None: ...
def with_default(request: Any, database: Any = None) -> None: ...
def anything(*arguments: Any) -> None: ...
def wsgi(environ: Any, start_response: Any) -> Any: ...
async def asgi(scope: Any, receive: Any, send: Any) -> None: ...
def four(a: Any, b: Any, c: Any, d: Any) -> None: ...


class Handler:
    def __init__(self, request: Any) -> None: ...


class Framework:
    def __call__(self, environ: Any, start_response: Any) -> None: ...


class OneArgument:
    """A framework: the application is made with its name, and not with a request."""

    def __init__(self, name: str) -> None: ...
    def __call__(self, environ: Any, start_response: Any) -> None: ...


class Delegate(HTTPServerConnectionDelegate):
    def __init__(self, application: Any) -> None: ...


@pytest.mark.parametrize(
    "target",
    [
        callback,
        coroutine,
        with_default,
        anything,
        print,
        Handler,
        functools.partial(wsgi, {}),
        WSGIContainer(wsgi),
        ASGIContainer(asgi),
    ],
)
def test_callbacks_and_delegates_are_taken(target: Any) -> None:
    assert HTTPServer(target).request_callback is target


def test_application_of_tornado_3_is_a_callback(monkeypatch: pytest.MonkeyPatch) -> None:
    class Application:
        def __call__(self, request: Any) -> None: ...

    monkeypatch.setitem(sys.modules, "tornado.web", SimpleNamespace(Application=Application))
    application = Application()
    assert HTTPServer(application).request_callback is application


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (wsgi, r"wsgi.* takes 2 arguments; .*fasthttpserver\.wsgi\.WSGIContainer\(application\)"),
        (Framework(), r"Framework.* takes 2 arguments; one of WSGI is served by"),
        (asgi, r"asgi.* takes 3 arguments; .*fasthttpserver\.asgi\.ASGIContainer\(application\)"),
        (four, r"four.* takes 4 arguments$"),
        (OneArgument, r"is the class .*OneArgument, .* OneArgument\(\.\.\.\)"),
        (flask.Flask, "is the class flask.app.Flask"),
        (Delegate, "is the class .*Delegate"),
        (tornado.web.Application, "is the class tornado.web.Application"),
        (tornado.web.Application(), r"of Tornado; serve it by fasthttpserver\.tornado\.HTTPServer"),
        ("callback", "must be callable, not 'callback'"),
        (None, "must be callable, not None"),
    ],
)
def test_others_are_told_what_serves_them(target: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        HTTPServer(target)
