"""Every block of Python in README.md and docs/ runs.

A block runs in this process, in a module of its own; functions in it that are called
``test_...`` are called. HTML comments on the lines above a block say what else there is to it:

=============================  ===========================================================
``<!-- skip: why -->``         It cannot run.
``<!-- program: name -->``     It is run, and spoken to, by ``test_docs_programs.py``.
``<!-- serve: /path -->``      It serves on port 8888 until it is ended: a process does, on
                               a free port, and answers a GET for that path with 200 and what
                               the page shows below the block, after a line with curl.
``<!-- name: words -->``       What the test is called, instead of the number of its line.
``<!-- before: code -->``      One line to run first, for what a reader has already.
``<!-- continues -->``         It goes on in the module of the block before.
``<!-- fixture: name -->``     The value of a fixture of pytest is there by its name.
``<!-- raises: Name: text -->``  It, or a test in it, raises that with such a message.
=============================  ===========================================================
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest
from helpers import Process, connect_when_up, end_by_ctrl_c, free_port, get
from hypothesis import Phase, settings

from fasthttpserver.log import access_log, app_log, gen_log

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

# Comments, then a block of Python; a block that is indented stands in a list.
BLOCK = re.compile(
    r"(?P<marks>(?:^ *<!-- [^\n]* -->\n+)*)"
    r"^(?P<indent> *)```python\n(?P<code>.*?)^(?P=indent)```$",
    re.DOTALL | re.MULTILINE,
)
MARK = re.compile(r"<!-- (?P<word>[a-z]+)(?:: (?P<text>[^\n]*?))? -->")
WORDS = {"skip", "program", "serve", "name", "before", "continues", "fixture", "raises"}


@dataclass
class Block:
    """One block: where it is, what it says, what is said of it."""

    path: Path
    line: int
    code: str
    marks: dict[str, str] = field(default_factory=dict)
    before: Block | None = None

    @property
    def id(self) -> str:
        page = self.path.relative_to(ROOT).as_posix()
        return f"{page}:{self.marks.get('name', self.line)}"

    def run_in(self, module: ModuleType, request: pytest.FixtureRequest) -> None:
        """Run it, and those that it continues first."""
        if self.before is not None:
            self.before.run_in(module, request)
        namespace = vars(module)
        if "fixture" in self.marks:
            namespace[self.marks["fixture"]] = request.getfixturevalue(self.marks["fixture"])
        exec(self.marks.get("before", ""), namespace)
        # The lines before are empty, so that tracebacks show those of the page.
        exec(compile("\n" * (self.line - 1) + self.code, self.path, "exec"), namespace)
        for name in [name for name in namespace if name.startswith("test_")]:
            namespace.pop(name)()


def blocks_of(path: Path) -> list[Block]:
    """The blocks of one page, in their order."""
    text = path.read_text(encoding="utf-8")
    found: list[Block] = []
    for match in BLOCK.finditer(text):
        indent = match["indent"]
        code = (
            re.sub(f"^{indent}", "", match["code"], flags=re.MULTILINE) if indent else match["code"]
        )
        line = text.count("\n", 0, match.start("code")) + 1
        block = Block(path, line, code)
        for mark in MARK.finditer(match["marks"]):
            assert mark["word"] in WORDS, f"{block.id}: {mark[0]} means nothing"
            block.marks[mark["word"]] = mark["text"] or ""
        if "continues" in block.marks:
            block.before = found[-1]
        found.append(block)
    return found


BLOCKS = [block for path in PAGES for block in blocks_of(path)]
RUN_HERE = [block for block in BLOCKS if not block.marks.keys() & {"program", "serve"}]
SERVE = [block for block in BLOCKS if "serve" in block.marks]


def test_no_block_is_overlooked() -> None:
    for path in PAGES:
        written = re.findall(r"^ *```python", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert len(written) == len(blocks_of(path)), path


def test_there_are_blocks() -> None:
    assert RUN_HERE and SERVE
    assert len({block.id for block in BLOCKS}) == len(BLOCKS)


SHOWN = [(block.id, block.code) for block in BLOCKS] + [
    (f"examples/{path.name}", path.read_text(encoding="utf-8"))
    for path in sorted((ROOT / "examples").glob("*.py"))
]


@pytest.mark.parametrize("code", [pytest.param(code, id=name) for name, code in SHOWN])
def test_nothing_that_readers_copy_imports_a_private_name(code: str) -> None:
    imported = []
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            imported += [f"{node.module}.{alias.name}" for alias in node.names]
    ours = [name for name in imported if name.partition(".")[0] == "fasthttpserver"]
    assert not [name for name in ours if "._" in name]


# What begins to serve.
SERVES = re.compile(r"\b(HTTPServer|listen|bind|bind_sockets|fork_processes|start|run)\(")
# The documented example, which does so when it is imported.
DOCUMENTED = 'message = "You requested %s\\n" % request.uri'


@pytest.mark.parametrize("code", [pytest.param(code, id=name) for name, code in SHOWN])
def test_program_that_readers_copy_can_be_imported(code: str) -> None:
    if DOCUMENTED in code or not (".start()" in code or "asyncio.run(" in code):
        return
    kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for node in ast.parse(code).body:
        text = ast.unparse(node)
        if not isinstance(node, kinds) and not text.startswith("if __name__ == '__main__':"):
            assert not SERVES.search(text), text


def test_the_reference_names_no_private_module() -> None:
    reference = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    modules = re.findall(r"^\.\. (?:auto)?module:: (\S+)$", reference, re.MULTILINE)
    assert "fasthttpserver.parser" in modules
    assert not [name for name in modules if "._" in name]


@pytest.fixture
def few_examples() -> Iterator[None]:
    """That a block runs is to be seen; what it looks for, other tests look for."""
    before = settings.get_current_profile_name()
    settings.register_profile(
        "docs",
        max_examples=20,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
    )
    settings.load_profile("docs")
    yield
    settings.load_profile(before)


@pytest.fixture
def same_filters() -> Iterator[None]:
    """A block may add a filter to a logger."""
    before = {logger: logger.filters[:] for logger in (access_log, app_log, gen_log)}
    yield
    for logger, filters in before.items():
        logger.filters[:] = filters


@pytest.mark.parametrize("block", RUN_HERE, ids=lambda block: block.id)
@pytest.mark.usefixtures("logs", "nothing_left", "few_examples", "same_filters")
def test_block_runs(
    block: Block, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "skip" in block.marks:
        assert block.marks["skip"], "a reason is needed"
        pytest.skip(block.marks["skip"])
    module = ModuleType("docs_" + re.sub(r"\W", "_", block.id))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    name, _, text = block.marks.get("raises", "").partition(": ")
    if not name:
        block.run_in(module, request)
        return
    with pytest.raises(Exception) as raised:
        block.run_in(module, request)
    assert raised.type.__name__ == name
    assert text in str(raised.value)


def shown_answer(block: Block) -> bytes:
    """What a page shows below a block as the answer to curl."""
    path = re.escape(block.marks["serve"])
    rest = block.path.read_text(encoding="utf-8").partition(block.code)[2]
    found = re.match(rf"```\n+```\n\$ curl (.*)http://\S+{path}\n([^`]*)```", rest)
    assert found, f"{block.id}: the page does not show what it answers"
    # JSON does not end with a line feed, and curl adds one there.
    return found[2].removesuffix("\n" if found[1] else "").encode()


@pytest.mark.parametrize("block", SERVE, ids=lambda block: block.id)
@pytest.mark.usefixtures("nothing_left")
def test_block_serves(block: Block) -> None:
    port = free_port()
    assert "8888" in block.code
    program = block.code.replace("8888", str(port))
    with Process(["-W", "error", "-c", program]) as process:
        with connect_when_up(port) as client:
            client.send(get(block.marks["serve"]))
            response = client.read_response()
            assert (response.status, response.body) == (200, shown_answer(block))
        if DOCUMENTED not in block.code:
            end_by_ctrl_c(process)


# What begins a program's end, where that is not left to Ctrl-C alone; processes that were forked
# are told by the first one.
ENDS_WELL = re.compile(r"suppress\(KeyboardInterrupt\)|signal\.SIGINT|fork_processes\(|\.bind\(")


@pytest.mark.parametrize("code", [pytest.param(code, id=name) for name, code in SHOWN])
def test_program_that_readers_copy_ends_without_a_traceback(code: str) -> None:
    if DOCUMENTED not in code and (".start()\n" in code or "asyncio.run(" in code):
        assert ENDS_WELL.search(code)
