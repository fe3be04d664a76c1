"""Sphinx's settings; `make docs` builds with -n and -W, so a dead reference is an error."""

import importlib
import importlib.metadata
import re
import sys
import types
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

from sphinx.util import logging

logger = logging.getLogger(__name__)

project = "fasthttpserver"
version = release = importlib.metadata.version("fasthttpserver-llhttp")
author = copyright = "the fasthttpserver authors"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["colon_fence", "fieldlist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_title = f"fasthttpserver {version}"
highlight_language = "none"  # a block says what it is, or is not coloured

# The signature says which types, the docstring what they mean.
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False

# Nobody needs the network to build: other projects' names are not looked up. What is left out
# here is names of the standard library, type variables and, by their underscore, our own insides.
nitpick_ignore_regex = [
    ("py:.*", r"(asyncio|collections|datetime|http|ipaddress|logging|os|socket|ssl)\..*"),
    ("py:.*", r"(time|types|typing)\..*"),
    ("py:.*", r"(.*\.)?_\w+(\..*)?"),
    ("py:(class|obj|exc)", r"[A-Z]|AbstractEventLoop|Any|Awaitable|Callable|Generic|Morsel|Self"),
    ("py:(class|exc)", r"[a-z]+|[A-Z]\w+Error|Exception|FrameType|TimerHandle|optional"),
    ("py:exc", r"websockets\..*"),
    ("py:class", r"hypothesis\..*|list\[tuple\[str|Fields"),
    ("py:class", r"(IPv[46](Address|Network)|Iterable|Iterator|Mapping|Sequence|HasFileno)"),
    ("py:class", "RequestCallback|WSGIApplication"),  # in signatures they have no module
    ("py:class", "Access|Delegate|Parts|Tally"),  # of our own insides too
]


def _see_stub(name: str, facade: str) -> None:
    """Let autodoc take a compiled module for its stub, which has signatures and docstrings.

    `facade` is the module that passes its names on.
    """
    compiled = importlib.import_module(name)
    path = Path(str(compiled.__file__)).with_name(name.rpartition(".")[2] + ".pyi")
    stub = types.ModuleType(name)
    loader = SourceFileLoader(name, str(path))
    stub.__dict__.update(vars(compiled), __file__=str(path), __loader__=loader)
    source = "from __future__ import annotations\n" + path.read_text()
    exec(compile(source, path, "exec", dont_inherit=True), stub.__dict__)
    sys.modules[name] = stub
    public = importlib.import_module(facade)
    for each in public.__all__:
        setattr(public, each, getattr(stub, each))


_see_stub("fasthttpserver._parser", "fasthttpserver.parser")


def setup(app: Any) -> None:
    app.connect("source-read", _unlink)
    app.connect("autodoc-process-docstring", _keep_colon, priority=400)  # napoleon has 500
    app.connect("autodoc-process-docstring", _show_public_types, priority=600)
    app.connect("autodoc-process-signature", _show_public_names)


def _unlink(app: Any, docname: str, source: list[str]) -> None:
    """Show links to files outside of docs/, which work in the repository, as names."""
    if "/" not in docname:
        source[0] = re.sub(r"\[`?([^\]`]+)`?\]\(\.\./[^)]+\)", r"`\1`", source[0])


PRIVATE_MODULE = r"~?fasthttpserver(\.\w+)*\._\w+(\.\w+)*\.(?=[A-Z])"


def _show_public_types(
    app: Any, what: str, name: str, obj: object, options: Any, lines: list[str]
) -> None:
    """Show types that napoleon found in annotations as their users call them."""
    lines[:] = [re.sub(PRIVATE_MODULE, "", line) for line in lines]


def _show_public_names(
    app: Any,
    what: str,
    name: str,
    obj: object,
    options: Any,
    signature: str | None,
    returns: str | None,
) -> tuple[str | None, str | None]:
    """Show private constants by their values, and types as their users call them."""
    constants = vars(sys.modules[obj.__module__]) if hasattr(obj, "__module__") else {}

    def value(match: re.Match[str]) -> str:
        constant = constants.get(match[0])
        return f"{constant:_}" if isinstance(constant, int) else "..."

    def public(text: str | None) -> str | None:
        if not text:
            return None
        text = re.sub(r"\b_[A-Z_]{2,}\b", value, text).replace("<factory>", "[]")
        text = re.sub(r"\b_M\b", "RequestMessage", text)
        text = re.sub(PRIVATE_MODULE, "", text)
        if re.search(r"(?<![\w.~])_[A-Za-z]", text):
            logger.warning("a private name in the signature of %s: %s", name, text)
        return text

    return public(signature), public(returns)


def _keep_colon(
    app: Any, what: str, name: str, obj: object, options: Any, lines: list[str]
) -> None:
    """Keep napoleon from taking what stands before an attribute's first colon for its type."""
    if what in ("attribute", "property") and lines:
        parts = lines[0].split("``")  # each second one is code
        parts[::2] = [part.replace(": ", " \N{EN DASH} ", 1) for part in parts[::2]]
        lines[0] = "``".join(parts)


def _document_inherited() -> None:
    """Give HTTPRequest what it has from its base class as the stub has it, with docstrings."""
    stub = sys.modules["fasthttpserver._parser"]
    request = importlib.import_module("fasthttpserver.httpserver").HTTPRequest
    for name, value in vars(stub.RequestMessage).items():
        if isinstance(value, property) or name in ("write", "finish"):
            setattr(request, name, value)


_document_inherited()
