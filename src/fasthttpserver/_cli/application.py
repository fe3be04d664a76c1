"""What the command line serves: an application that is named, and how it wants to be called."""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import pkgutil
import sys
import traceback
from dataclasses import dataclass
from typing import Any

from fasthttpserver._cli.mistakes import suggestion
from fasthttpserver._server.applications import (
    check_callback,
    count_parameters,
    is_class_of_applications,
)
from fasthttpserver.httpserver import HTTPServer

__all__ = ["INTERFACES", "Application", "load_application"]

# What each is called for people.
INTERFACES = {
    "callback": "callback",
    "tornado": "Tornado",
    "wsgi": "WSGI",
    "asgi": "ASGI",
}

# Positional arguments that an application is called with.
_PARAMETERS = {1: "callback", 2: "wsgi", 3: "asgi"}


# Names in a message.
_MOST_NAMED = 8


@dataclass
class Application:
    """An application that was found, and what its interface is.

    Attributes:
        interface: One of ``INTERFACES``.
        target: The application itself.
        container: What has ``startup`` and ``shutdown`` to be awaited, if it is one of ASGI.
    """

    interface: str
    target: Any
    container: Any = None

    def make_server(self, options: argparse.Namespace, **arguments: Any) -> Any:
        """Make the server of its interface.

        Args:
            options: ``threads``, ``root_path`` and ``lifespan`` count for doors.
            arguments: As for ``HTTPServer``.

        Raises:
            ValueError, OSError: As ``HTTPServer``.
            ImportError: The door's package is not installed.
        """
        if self.interface == "tornado":
            import fasthttpserver.tornado

            return fasthttpserver.tornado.HTTPServer(self.target, **arguments)
        if self.interface == "wsgi":
            from fasthttpserver.wsgi import WSGIContainer

            threads, root_path = options.threads, options.root_path
            return HTTPServer(WSGIContainer(self.target, threads, root_path=root_path), **arguments)
        if self.interface == "asgi":
            from fasthttpserver.asgi import ASGIContainer

            self.container = ASGIContainer(
                self.target, root_path=options.root_path, lifespan=options.lifespan
            )
            return HTTPServer(self.container, **arguments)
        return HTTPServer(self.target, **arguments)


def load_application(name: str, interface: str = "auto", factory: bool = False) -> Application:
    """Import what ``package.module:application`` names.

    Args:
        name: Such a name.
        interface: One of ``INTERFACES``; ``auto`` to tell it by the application itself.
        factory: Whether it is a function that makes the application.

    Raises:
        ValueError: It is not there, or not of that kind, with a message for the person who
            typed it.
    """
    target = _find(name)
    if factory:
        if not callable(target):
            raise ValueError(f"{name!r} is not a function that makes an application")
        if count_parameters(target):
            raise ValueError(f"{name!r} wants arguments, and --factory calls it without")
        try:
            target = target()
        except Exception as error:
            raise ValueError(f"{name!r} has failed to make one: {_told(error)}") from error
        name += "()"
    if is_class_of_applications(target):
        raise ValueError(
            f"{name!r} is a class; name what is made of it, or say --factory, which makes it "
            "without arguments"
        )
    if interface == "auto":
        interface = _interface(name, target)
    elif not (callable(target) or hasattr(target, "start_request")):
        raise ValueError(f"{name!r} is not callable")
    elif interface == "callback":
        try:
            check_callback(target)
        except TypeError as error:
            raise ValueError(f"{name!r} is not a callback: {error}") from error
    return Application(interface, target)


def _find(name: str) -> Any:
    module_name, _, path = name.partition(":")
    if not path or not module_name or module_name.startswith("."):
        raise ValueError(
            f"{name!r} is not of the form package.module:application{_module_of_file(name)}"
        )
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(
            f"{error.name}."
        ):
            here = [each.name for each in pkgutil.iter_modules([os.getcwd()])]
            hint = _module_of_file(name) or suggestion(module_name, here)
            raise ValueError(
                f"cannot import {module_name!r}: there is no module {error.name!r} in "
                f"{os.getcwd()} or among what is installed{hint}"
            ) from error
        raise ValueError(f"cannot import {module_name!r}: {_told(error)}") from error
    for part in path.split("."):
        if not hasattr(found, part):
            names = list(vars(found)) if hasattr(found, "__dict__") else []
            hint = suggestion(part, names) or _candidates(found)
            raise ValueError(f"{module_name!r} has no {path!r}{hint}")
        found = getattr(found, part)
    return found


def _module_of_file(name: str) -> str:
    """Return a hint at the module, if the name is that of a file."""
    file, _, path = name.partition(":")
    if not file.endswith(".py"):
        return ""
    module = file.removesuffix(".py").removeprefix("./").replace(os.sep, ".")
    return f"; did you mean {module}:{path or 'application'}?"


def _candidates(module: Any) -> str:
    """Say what in a module may be meant: what is made there and can be called."""
    if not inspect.ismodule(module):
        return ""
    names = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (callable(value) or hasattr(value, "start_request"))
        and not inspect.isclass(value)
        and (not inspect.isfunction(value) or value.__module__ == module.__name__)
    ]
    return f"; it has {', '.join(names[:_MOST_NAMED])}" if names else ""


def _told(error: Exception) -> str:
    """Say in a line what was raised, and where in the application."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} ({error.filename}, line {error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    where = [
        each for each in frames if each.filename != __file__ and "importlib" not in each.filename
    ]
    text = f"{type(error).__name__}: {error}" if not isinstance(error, ImportError) else str(error)
    return f"{text} ({where[-1].filename}, line {where[-1].lineno})" if where else text


def _interface(name: str, target: Any) -> str:
    if "tornado.httputil" in sys.modules:
        delegate = sys.modules["tornado.httputil"].HTTPServerConnectionDelegate
        if isinstance(target, delegate):
            return "tornado"
    if hasattr(target, "start_request"):
        return "callback"
    if not callable(target):
        kind = type(target).__name__
        raise ValueError(f"{name!r} is not an application: {kind} cannot be called")
    count = count_parameters(target)
    if count == 0:
        raise ValueError(f"{name!r} takes no argument; if it makes an application, say --factory")
    if count not in _PARAMETERS:
        raise ValueError(
            f"cannot tell what kind of application {name!r} is; say --interface callback, wsgi, "
            "asgi or tornado"
        )
    return _PARAMETERS[count]
