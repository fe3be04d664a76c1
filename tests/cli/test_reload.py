"""--reload: what changes in the user's modules is served, whatever is wrong in between."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers import Client, Process, get

pytestmark = pytest.mark.skipif(
    not hasattr(os, "fork"), reason="there it is done in another way, without a supervisor"
)

MODULE = """
def callback(request):
    request.write("HTTP/1.1 200 OK\\r\\nContent-Length: 3\\r\\n\\r\\n" + "VAL")
    request.finish()
"""
RUN = """
import os, sys
os.dup2(1, 2)
{before}
from fasthttpserver.__main__ import main
sys.exit(main())
"""
POLLING = "sys.modules['watchfiles'] = None"  # as if it was not installed
PASSED_BY_SYSTEMD = """
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.dup2({number}, 3)
"""

Start = Callable[..., "Program"]


class Program(Process):
    """The command line, which serves a module ``changing`` and starts again when it changes."""

    def __init__(self, folder: Path, *words: str, before: str = "", **options: object) -> None:
        self.module = folder / "changing.py"
        self._version = 0
        command = ["-c", RUN.format(before=before), "changing:callback", "--reload", *words]
        super().__init__(command, cwd=folder, **options)  # type: ignore[arg-type]

    def expect(self, pattern: str) -> re.Match[str]:
        """Read lines up to one that has this."""
        while not (match := re.search(pattern, self.line())):
            pass
        return match

    def write(self, text: str) -> None:
        """Change the module."""
        write(self.module, text, self._version)
        self._version += 1

    def ask(self) -> str:
        """What is answered where it says now that it serves."""
        match = self.expect(r"http://127\.0\.0\.1:(\d+)/")
        self.expect("Try: ")
        with Client(("127.0.0.1", int(match[1]))) as client:
            return client.ask(get()).decode()

    def end(self) -> None:  # type: ignore[override]
        """End it in good order."""
        self.send_signal(signal.SIGTERM)
        assert super().end().returncode == 0


def write(path: Path, text: str, version: int = 0) -> None:
    """Write a module; its time is another one each time, whatever the clock can tell apart."""
    new = path.with_suffix(".new")
    new.write_text(text)
    os.utime(new, ns=(0, (1 + version) * 1_000_000_000))
    new.replace(path)  # at once, as editors do


# What follows on a change is the same however it is seen; CI looks at all of it twice.
once_in_short = pytest.mark.parametrize(
    "start", [pytest.param("watchfiles", marks=pytest.mark.slow), "polling"], indirect=True
)


@pytest.fixture(params=["watchfiles", "polling"])
def start(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Start]:
    before = POLLING
    if request.param == "watchfiles":
        pytest.importorskip("watchfiles", reason="watchfiles is not installed")
        before = ""
    with contextlib.ExitStack() as stack:

        def start(*words: str, text: str | None = MODULE, **options: object) -> Program:
            if text is not None:
                write(tmp_path / "changing.py", text)
            program = Program(
                tmp_path, *words, before=before + str(options.pop("before", "")), **options
            )
            program._version = 1
            return stack.enter_context(program)

        yield start


def test_what_has_changed_is_served_on_the_same_port(start: Start) -> None:
    program = start("--port=0", text=MODULE.replace("VAL", "one"))
    assert program.ask() == "one"
    program.write(MODULE.replace("VAL", "two"))
    program.expect("A module has changed, starting again")
    assert program.ask() == "two"
    program.end()


def test_mistake_is_told_and_what_works_is_served_until_it_is_mended(start: Start) -> None:
    program = start("--port=0", text=MODULE.replace("VAL", "one"))
    program.ask()
    for mistake in "def (:", "import nosuchmodule", "1 / 0":
        program.write(mistake)
        program.expect(r"^fasthttpserver: cannot import 'changing': .*\w")
    program.write(MODULE.replace("VAL", "two"))
    program.expect("A module has changed")
    assert program.ask() == "two"
    program.end()


@once_in_short
@pytest.mark.parametrize("text", ["def (:", "import nosuchmodule", None])
def test_mistake_at_the_start_is_told_and_waits_for_being_mended(
    start: Start, text: str | None
) -> None:
    program = start("--port=0", text=text)
    program.expect(r"^fasthttpserver: cannot import 'changing'")
    program.write(MODULE.replace("VAL", "two"))
    assert program.ask() == "two"
    program.end()


@once_in_short
def test_program_that_waits_for_a_mistake_to_be_mended_ends_on_a_signal(start: Start) -> None:
    program = start("--port=0", text="def (:")
    program.expect("^fasthttpserver: ")
    program.end()


@once_in_short
@pytest.mark.parametrize("fd", ["number", "systemd"])
def test_inherited_socket_is_kept(start: Start, fd: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number = listener.fileno()
        if fd == "number":
            words, before = f"--fd={number}", ""
        else:
            words, before = "--fd=systemd", PASSED_BY_SYSTEMD.format(number=number)
        text = MODULE.replace("VAL", "one")
        program = start(words, text=text, before="\n" + before, pass_fds=[number])
        assert program.ask() == "one"
        program.write(MODULE.replace("VAL", "two"))
        program.expect("A module has changed")
        assert program.ask() == "two"
        program.end()


def test_other_modules_count_too(start: Start, tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    write(package / "__init__.py", "")
    write(package / "value.py", "VALUE = 'one'")
    text = MODULE.replace('"VAL"', "VALUE")
    program = start("--port=0", text=f"from package.value import VALUE\n{text}")
    assert program.ask() == "one"
    write(package / "value.py", "VALUE = 'two'", version=1)
    program.expect("A module has changed")
    assert program.ask() == "two"
    program.end()
