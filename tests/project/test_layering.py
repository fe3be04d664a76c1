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

# From the top; a folder is all that is in it. A new module has to be put into one of them.
LAYERS = {
    "values": "errors limits log",
    "parsing": "_parsing _parser parser",
    "HTTP values": "_http httputil",
    "loops, sockets, streams, processes": "_net ioloop iostream netutil process tcpserver",
    "connections and servers": "_server access httpserver metrics __init__",
    "doors": "tornado wsgi asgi",
    "command line": "_cli __main__",
    "test kit": "testing",
}
DEPTH = {part: depth for depth, parts in enumerate(LAYERS.values()) for part in parts.split()}
FILES = sorted(path for path in PACKAGE.rglob("*") if path.suffix in (".py", ".pyx", ".pxd"))
MODULES = sorted({".".join(path.relative_to(PACKAGE).with_suffix("").parts) for path in FILES})
# To applications of other kinds: modules, and the package that each may import, if any.
DOORS = {"tornado": "tornado", "wsgi": None, "asgi": "websockets"}
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
    """All modules that a module imports; those of the package by their name in it."""
    found: set[str] = set()
    path = PACKAGE / module.replace(".", "/")
    if path.with_suffix(".py").exists():
        visitor = Imports()
        visitor.visit(ast.parse(path.with_suffix(".py").read_text(encoding="utf-8")))
        found = visitor.found
    else:  # Cython, which ast cannot read
        for suffix in (".pyx", ".pxd"):
            if path.with_suffix(suffix).exists():
                text = path.with_suffix(suffix).read_text(encoding="utf-8")
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
        self.found.update(f"{node.module}.{alias.name}" for alias in node.names)


def resolve(name: str) -> str:
    """``fasthttpserver.x.y`` as ``x.y`` or ``x``, whichever is the module; others as they are."""
    first, _, rest = name.partition(".")
    if first != NAME:
        return f"<{name}" if first in DOORS.values() else name  # no door of that name
    while rest and rest not in MODULES and f"{rest}.__init__" not in MODULES:
        rest = rest.rpartition(".")[0]
    return rest or "__init__"


def depth(name: str) -> int | None:
    return DEPTH.get(name.partition(".")[0])


def test_every_module_has_its_layer() -> None:
    assert {module.partition(".")[0] for module in MODULES} == set(DEPTH)


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_only_from_its_layer_and_above(module: str) -> None:
    own = depth(module)
    assert own is not None
    below = {name for name in imported_by(module) if (depth(name) or 0) > own}
    assert not below, f"{module} imports {below} from below it"


@pytest.mark.parametrize("module", [name for name in MODULES if name.partition(".")[0] in DOORS])
def test_doors_are_built_on_public_modules_only(module: str) -> None:
    imported = {name for name in imported_by(module) if name in MODULES}
    assert not {name for name in imported if name.startswith("_")} - {"__init__"}


def test_imports_do_not_go_round_in_circles() -> None:
    graph = {module: imported_by(module) & set(MODULES) for module in MODULES}
    tuple(TopologicalSorter(graph).static_order())  # CycleError names the circle


@pytest.mark.parametrize("module", MODULES)
def test_nothing_above_the_loop_does_io(module: str) -> None:
    own = depth(module)
    assert own is not None
    if own < list(LAYERS).index("loops, sockets, streams, processes"):
        assert not {name.partition(".")[0] for name in imported_by(module)} & IO


@pytest.mark.parametrize(
    "module", [each for each in MODULES if each.lstrip("_").startswith("pars")]
)
def test_parser_knows_no_sockets_and_of_the_package_only_limits_and_errors(
    module: str,
) -> None:
    imported = {name.partition(".")[0] for name in imported_by(module)}
    assert not imported & (IO | {"socket"})
    assert imported & set(DEPTH) <= {"limits", "errors", "_parsing", "_parser"}


@pytest.mark.parametrize("path", sorted((PACKAGE / "_parsing").glob("*.pxd")), ids=lambda p: p.stem)
def test_what_callbacks_are_made_of_cannot_touch_python(path: Path) -> None:
    # Of what is declared so, the compiler proves it.
    text = path.read_text(encoding="utf-8")
    functions = re.findall(r"^cdef inline [^:]*:$", text, re.MULTILINE)
    assert len(functions) == text.count("cdef inline ")
    assert all(function.endswith(") noexcept nogil:") for function in functions)
    assert functions or path.stem == "llhttp"


def test_nothing_but_the_standard_library_is_imported() -> None:
    # uvloop is imported by name, if it is there.
    allowed = sys.stdlib_module_names | {"cython", "cpython", "libc"} | set(DEPTH)
    for module in MODULES:
        foreign = {name.partition(".")[0] for name in imported_by(module)} - allowed
        foreign -= {f"<{DOORS.get(module.partition('.')[0])}"}
        if module.startswith("testing."):
            # When they are asked for (tests/testing/test_testing.py), and by pytest itself.
            foreign -= {"hypothesis", "<websockets", "pytest", "trustme"}
        assert not foreign, f"{module} imports {foreign}"
