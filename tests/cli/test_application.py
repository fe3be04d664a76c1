"""How the command line finds an application, and what kind it takes it for."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fasthttpserver._cli.application import load_application
from fasthttpserver._cli.options import parse_options

MODULE = """
import functools
from fasthttpserver.httputil import HTTPServerConnectionDelegate
import tornado.web

def callback(request): ...
async def coroutine(request): ...
def with_defaults(request, more=None, *, keyword=None): ...
class Delegate(HTTPServerConnectionDelegate): ...
delegate = Delegate()
tornado_application = tornado.web.Application()
def wsgi(environ, start_response): ...
async def asgi(scope, receive, send): ...
class Framework:
    def __call__(self, environ, start_response): ...
framework = Framework()
class Framework3:
    async def __call__(self, scope, receive, send): ...
framework3 = Framework3()
class Named(Framework):
    def __init__(self, name): ...
class Handler:
    def __init__(self, request): ...
partial = functools.partial(asgi)
bound = framework.__call__
def anything(*arguments): ...
def four(a, b, c, d): ...
def make(): return framework
def fail(): raise RuntimeError("no database")
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "served.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    yield tmp_path
    sys.modules.pop("served", None)


@pytest.mark.parametrize(
    ("name", "interface"),
    [
        ("callback", "callback"),
        ("coroutine", "callback"),
        ("with_defaults", "callback"),
        ("delegate", "callback"),
        ("Handler", "callback"),
        ("tornado_application", "tornado"),
        ("wsgi", "wsgi"),
        ("framework", "wsgi"),
        ("bound", "wsgi"),
        ("asgi", "asgi"),
        ("framework3", "asgi"),
        ("partial", "asgi"),
    ],
)
def test_interface_is_told_by_the_application(here: Path, name: str, interface: str) -> None:
    assert load_application(f"served:{name}").interface == interface


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("anything", "say --interface"),
        ("four", "say --interface"),
        ("make", "say --factory"),
        ("Framework", "is a class; name what is made of it, or say --factory"),
        ("Named", "is a class"),
        ("Delegate", "is a class"),
        ("frame", "did you mean 'framework'"),
    ],
)
def test_what_cannot_be_told_is_asked_for(here: Path, name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        load_application(f"served:{name}")


def test_interface_that_is_said_counts(here: Path) -> None:
    assert load_application("served:anything", "asgi").interface == "asgi"
    with pytest.raises(ValueError, match="not callable"):
        load_application("served:__name__", "wsgi")
    with pytest.raises(ValueError, match="is a class"):
        load_application("served:Named", "wsgi")
    with pytest.raises(ValueError, match=r"'served:asgi' is not a callback.* takes 3 arguments"):
        load_application("served:asgi", "callback")


def test_factory_makes_the_application(here: Path) -> None:
    made = load_application("served:make", factory=True)
    assert (type(made.target).__name__, made.interface) == ("Framework", "wsgi")
    with pytest.raises(ValueError, match=r"no database.*served\.py, line \d+"):
        load_application("served:fail", factory=True)
    with pytest.raises(ValueError, match="makes an application"):
        load_application("served:__name__", factory=True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("undefined", r"NameError.*undefined.*broken\.py, line 1"),
        ("def (", r"SyntaxError.*broken\.py, line 1"),
        ("import nosuchmodule", "nosuchmodule"),
        ("1 / 0", r"ZeroDivisionError.*broken\.py, line 1"),
    ],
)
def test_module_that_fails_is_told_in_a_line(here: Path, text: str, said: str) -> None:
    (here / "broken.py").write_text(text + "\n")
    with pytest.raises(ValueError, match=said) as raised:
        load_application("broken:application")
    assert "\n" not in str(raised.value)


# --- The environment ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("environ", "words", "name", "value"),
    [
        ({}, (), "port", 8888),
        ({"PORT": "1"}, (), "port", 1),
        ({"PORT": "1"}, ("--port", "2"), "port", 2),
        ({"NO_KEEP_ALIVE": "1"}, (), "no_keep_alive", True),
        ({"NO_KEEP_ALIVE": "no"}, (), "no_keep_alive", False),
        ({"NO_CHECK_RESPONSES": "true"}, (), "check_responses", False),
        ({"INTERFACE": "asgi"}, (), "interface", "asgi"),
        ({"ACCESS_LOG": "json"}, (), "access_log", "json"),
        ({"ACCESS_LOG": "json"}, ("--access-log",), "access_log", "common"),
        ({"BODY_TIMEOUT": "off"}, (), "body_timeout", None),
        ({"MAX_HEADER_COUNT": "7"}, ("x:y",), "max_header_count", 7),
        ({"TRUSTED_DOWNSTREAM": "10.0.0.1, ::1"}, (), "trusted_downstream", ["10.0.0.1", "::1"]),
        (
            {"TRUSTED_DOWNSTREAM": "10.0.0.1"},
            ("--trusted-downstream", "::1"),
            "trusted_downstream",
            ["::1"],
        ),
    ],
)
def test_options_stand_in_the_environment_too(
    environ: dict[str, str], words: tuple[str, ...], name: str, value: Any
) -> None:
    variables = {f"FASTHTTPSERVER_{key}": text for key, text in environ.items()}
    assert getattr(parse_options(words, "0", variables), name) == value


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("PORT", "x", "invalid int value: 'x'"),
        ("LOOP", "trio", "invalid choice: 'trio'"),
        ("RELOAD", "perhaps", "'perhaps' is neither"),
    ],
)
def test_wrong_value_in_the_environment_names_its_variable(
    capsys: pytest.CaptureFixture[str], name: str, value: str, said: str
) -> None:
    with pytest.raises(SystemExit) as raised:
        parse_options((), "0", {f"FASTHTTPSERVER_{name}": value})
    assert raised.value.code == 2
    stderr = capsys.readouterr().err
    assert f"FASTHTTPSERVER_{name}: " in stderr
    assert said in stderr


def test_application_stands_on_the_command_line_beside_variables() -> None:
    options = parse_options(("a:b",), "0", {"FASTHTTPSERVER_PORT": "1"})
    assert (options.application, options.port) == ("a:b", 1)


def test_delegate_of_no_class_of_ours_is_one_for_the_callback_interface(here: Path) -> None:
    (here / "duck.py").write_text(
        "class Duck:\n    def start_request(self, a, b): ...\nduck = Duck()\n"
    )
    assert load_application("duck:duck").interface == "callback"
