"""What may be a callback, and what is an application of another kind."""

from __future__ import annotations

import inspect
import sys
from typing import Any

__all__ = ["check_callback", "count_parameters", "is_class_of_applications"]

# What serves an application that is called with so many arguments.
_DOORS = {
    2: "; one of WSGI is served by HTTPServer(fasthttpserver.wsgi.WSGIContainer(application))",
    3: "; one of ASGI is served by HTTPServer(fasthttpserver.asgi.ASGIContainer(application))",
}


def check_callback(callback: Any) -> None:
    """Refuse what cannot answer requests as a callback or a delegate of ``HTTPServer``.

    Raises:
        TypeError: It is none, with a message that says what serves it, if anything does.
    """
    if is_class_of_applications(callback):
        name = callback.__qualname__
        raise TypeError(
            f"request_callback is the class {callback.__module__}.{name}, of which an application "
            f"has to be made first, by {name}(...)"
        )
    if hasattr(callback, "start_request"):
        web = sys.modules.get("tornado.web")  # since Tornado 4; one of Tornado 3 is a callback
        if web is not None and isinstance(callback, web.Application):
            raise TypeError(
                "request_callback is an application of Tornado; serve it by "
                "fasthttpserver.tornado.HTTPServer"
            )
        return
    if not callable(callback):
        raise TypeError(f"request_callback must be callable, not {callback!r}")
    count = count_parameters(callback)
    if count is not None and count > 1:
        raise TypeError(
            f"request_callback is called with the request alone, and {callback!r} takes {count} "
            f"arguments{_DOORS.get(count, '')}"
        )


def is_class_of_applications(target: Any) -> bool:
    """Whether it is a class, and what is made of it answers requests.

    A class may be a callback itself: what is made of it for each request answers that one.
    """
    return inspect.isclass(target) and (
        hasattr(target, "start_request")
        or any("__call__" in vars(each) for each in target.__mro__)  # not that of all classes
    )


def count_parameters(target: Any) -> int | None:
    """Return how many positional arguments it has to be called with; None if that is not told."""
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):
        return None
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in parameters):
        return None
    return sum(
        each.kind in positional and each.default is inspect.Parameter.empty for each in parameters
    )
