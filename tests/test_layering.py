"""The layers of docs/architecture.md: a module knows only what is above it."""

from __future__ import annotations

import ast
import re
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import fasthttpserver

PACKAGE = Path(fasthttpserver.__file__).parent
NAME = "fasthttpserver"

# From the top. A new module has to be put into one of them.
LAYERS = {
    "values": "errors _limits log",
    "parsing": "_llhttp _parser",
    "HTTP values": "_fields _headers _query _multipart _forms _cookies _forwarded httputil",
    "request": "_request _decompress",
    "loop, sockets, processes": (
        "_loops _callbacks ioloop _accepting _tls _sockets _tls_transport netutil process _shutdown"
    ),
    "stream": "_reader _stream iostream",
    "connection": (
        "_access _replies _framing _deadlines _sweep _ending _responding _serving _connection"
    ),
    "server": "tcpserver _server",
    "façades": "_options _reload httpserver __init__ __main__",
    "test kit": "testing",  # a package, which counts as one
}
DEPTH = {
    module: depth for depth, modules in enumerate(LAYERS.values()) for module in modules.split()
}
MODULES = sorted(
    {path.stem for path in PACKAGE.iterdir() if path.suffix in (".py", ".pyx", ".pxd")}
    | {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
)
# What belongs to the loop and below it.
IO = {
    "asyncio",
    "selectors",
    "select",
    "ssl",
    "threading",
    "subprocess",
    "multiprocessing",
    "signal",
}


def imported_by(module: str) -> set[str]:
    """All modules that a module imports; those of the package by their own name."""
    paths = [*PACKAGE.glob(f"{module}.py"), *PACKAGE.glob(f"{module}/*.py")]
    found: set[str] = set()
    if paths:
        visitor = Imports()
        for path in paths:
            visitor.visit(ast.parse(path.read_text(encoding="utf-8")))
        found = visitor.found
    else:  # Cython, which ast cannot read
        for suffix in ("pyx", "pxd"):
            path = PACKAGE / f"{module}.{suffix}"
            text = path.read_text(encoding="utf-8") if path.exists() else ""
            found |= set(re.findall(r"^(?:from|import|cimport) ([\w.]+)", text, re.MULTILINE))
    return {resolve(name) for name in found} - {module}


class Imports(ast.NodeVisitor):
    """Collects the dotted names that are imported, wherever, but for type checkers."""

    def __init__(self) -> None:
        self.found: set[str] = set()

    def visit_If(self, node: ast.If) -> None:
        if not (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        self.found.update(alias.name for alias in node.names)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        assert node.level == 0, "an import that does not say where from"
        assert node.module is not None
        if node.module == NAME:
            self.found.update(f"{NAME}.{alias.name}" for alias in node.names)
        else:
            self.found.add(node.module)


def resolve(name: str) -> str:
    """``fasthttpserver.x`` as ``x``; a name that the package itself has as ``__init__``."""
    first, _, rest = name.partition(".")
    if first != NAME:
        return name
    module = rest.partition(".")[0]
    return module if module in DEPTH else "__init__"


def test_every_module_has_its_layer() -> None:
    assert sorted(DEPTH) == MODULES


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_only_from_its_layer_and_above(module: str) -> None:
    below = {
        name for name in imported_by(module) if DEPTH.get(name, 0) > DEPTH.get(module, len(LAYERS))
    }
    assert not below, f"{module} imports {below} from below it"


def test_imports_do_not_go_round_in_circles() -> None:
    graph = {module: imported_by(module) & set(MODULES) for module in MODULES}
    tuple(TopologicalSorter(graph).static_order())  # CycleError names the circle


@pytest.mark.parametrize("module", MODULES)
def test_nothing_above_the_loop_does_io(module: str) -> None:
    if DEPTH.get(module, 0) < list(LAYERS).index("loop, sockets, processes"):
        assert not {name.partition(".")[0] for name in imported_by(module)} & IO


@pytest.mark.parametrize("module", LAYERS["parsing"].split())
def test_parser_knows_no_sockets_and_of_the_package_only_limits_and_errors(
    module: str,
) -> None:
    imported = {name.partition(".")[0] for name in imported_by(module)}
    assert not imported & (IO | {"socket"})
    assert imported & set(DEPTH) <= {"_limits", "_llhttp", "errors"}


def test_nothing_but_the_standard_library_is_imported() -> None:
    # uvloop is imported by name, if it is there.
    allowed = sys.stdlib_module_names | {"cython", "cpython", "libc"} | set(DEPTH)
    for module in MODULES:
        foreign = {name.partition(".")[0] for name in imported_by(module)} - allowed
        if module == "testing":
            foreign -= {"hypothesis"}  # when it is asked for: tests/test_testing.py
        assert not foreign, f"{module} imports {foreign}"
