"""What can be imported, and from where: the names that programs rely on."""

from __future__ import annotations

import importlib
import inspect
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import fasthttpserver

PACKAGE = Path(fasthttpserver.__file__).parent
MODULES = sorted(
    [path.stem for path in PACKAGE.glob("*.py")]
    + [path.parent.name for path in PACKAGE.glob("*/__init__.py")]
)
# What these have is another library's, under its names.
DOORS = {"tornado"}
PUBLIC = [name for name in MODULES if not name.startswith("_")]

# Of Tornado 3's documentation: module and names.
DOCUMENTED = {
    "httpserver": "HTTPServer HTTPRequest HTTPConnection",
    "httputil": "HTTPHeaders HTTPFile format_timestamp url_concat parse_body_arguments "
    "parse_multipart_form_data",
    "ioloop": "IOLoop PeriodicCallback",
    "iostream": "IOStream StreamClosedError",
    "netutil": "bind_sockets bind_unix_socket add_accept_handler is_valid_ip "
    "ssl_options_to_context ssl_wrap_socket",
    "process": "cpu_count fork_processes task_id",
    "tcpserver": "TCPServer",
    "log": "access_log app_log gen_log",
}


def load(name: str) -> ModuleType:
    return importlib.import_module(f"fasthttpserver.{name}".removesuffix(".__init__"))


@pytest.mark.parametrize("name", MODULES)
def test_all_names_what_is_there_and_nothing_private(name: str) -> None:
    module = load(name)
    exported = module.__all__
    assert len(set(exported)) == len(exported)
    for each in exported:
        assert hasattr(module, each), each
        assert not each.startswith("_")


@pytest.mark.parametrize("name", PUBLIC)
def test_all_names_every_public_class_and_function_of_a_public_module(name: str) -> None:
    module = load(name)
    defined = {
        each
        for each, value in vars(module).items()
        if not each.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == module.__name__
        and not getattr(value, "_is_protocol", False)  # those are for type checkers
    }
    assert defined <= set(module.__all__)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_documented_names_are_exported(name: str) -> None:
    assert set(DOCUMENTED[name].split()) <= set(load(name).__all__)


@pytest.mark.parametrize("name", PUBLIC)
def test_star_import(name: str) -> None:
    namespace: dict[str, object] = {}
    exec(f"from fasthttpserver.{name} import *", namespace)
    assert set(load(name).__all__) <= set(namespace)


def test_package_has_the_names_that_most_programs_need() -> None:
    assert {"HTTPServer", "HTTPRequest", "HTTPConnection", "IOLoop"} <= set(fasthttpserver.__all__)
    for name in fasthttpserver.__all__:
        assert getattr(fasthttpserver, name) is not None


def test_same_name_is_the_same_object_everywhere() -> None:
    seen: dict[str, object] = {}
    for name in set(MODULES) - DOORS:
        module = load(name)
        for each in module.__all__:
            assert seen.setdefault(each, getattr(module, each)) is getattr(module, each), each


def test_request_has_its_later_name_too() -> None:
    assert load("httputil").HTTPServerRequest is fasthttpserver.HTTPRequest


def test_parser_is_public() -> None:
    from fasthttpserver.parser import END_OF_MESSAGE, RequestMessage, RequestParser

    assert issubclass(load("httpserver").HTTPRequest, RequestMessage)
    assert RequestParser().next_request() is None
    assert END_OF_MESSAGE is not None


def test_import_makes_neither_a_loop_nor_a_thread() -> None:
    # So that a program may fork after it; and it does not import the other kinds of loop.
    imports = "\n".join(f"import fasthttpserver.{name}" for name in PUBLIC)
    program = f"""
{imports}
import sys, threading
from fasthttpserver.ioloop import loop_exists
assert not loop_exists()
assert threading.active_count() == 1
assert "uvloop" not in sys.modules
assert "hypothesis" not in sys.modules
"""
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, env=environment)
