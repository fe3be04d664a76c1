"""What the command line says about mistakes: one line that names what has to be mended."""

from __future__ import annotations

import errno
import os
import re
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import Certificates

from fasthttpserver.__main__ import main
from fasthttpserver._cli.application import load_application
from fasthttpserver._cli.mistakes import _FILES, in_words
from fasthttpserver._cli.options import _make_parser, parse_options
from fasthttpserver._cli.serving import NotStarted, Serving
from fasthttpserver.ioloop import IOLoop

PAIR = ["--certfile=server.certfile", "--keyfile=server.keyfile"]
MODULE = """
import functools, os
from fasthttpserver.httputil import HTTPServerConnectionDelegate

def application(environ, start_response): ...
def other(request): ...
def make(config): return application
def nothing(): return None
class Delegate(HTTPServerConnectionDelegate): ...
delegate = Delegate()
number = 5
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "shop.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    yield tmp_path
    for name in "shop", "broken", "package", "package.inner":
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("name", "factory", "said"),
    [
        ("nosuch:application", False, "there is no module 'nosuch' in {here} or among"),
        ("shp:application", False, "or among what is installed; did you mean 'shop'?"),
        ("shop.inner:application", False, "there is no module 'shop.inner' in"),
        ("shop.py:application", False, "did you mean shop:application?"),
        ("./shop.py:application", False, "did you mean shop:application?"),
        ("shop.py", False, "did you mean shop:application?"),
        ("shop", False, "'shop' is not of the form package.module:application"),
        ("shop:aplication", False, "'shop' has no 'aplication'; did you mean 'application'?"),
        ("shop:xyz", False, "it has application, other, make, nothing, delegate"),
        ("shop:number.xyz", False, "'shop' has no 'number.xyz'"),
        ("shop:number", False, "'shop:number' is not an application: int cannot be called"),
        ("shop:make", True, "'shop:make' wants arguments, and --factory calls it without"),
        ("shop:nothing", True, "'shop:nothing()' is not an application: NoneType cannot be called"),
        ("shop:number", True, "'shop:number' is not a function that makes an application"),
    ],
)
def test_application_that_is_not_there(here: Path, name: str, factory: bool, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said.format(here=os.getcwd()))) as raised:
        load_application(name, factory=factory)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import nosuch", "No module named 'nosuch' ({here}/broken.py, line 2)"),
        ("import broken.nosuch", "No module named 'broken.nosuch'; 'broken' is not a package"),
        ("from shop import xyz", "cannot import name 'xyz' from 'shop'"),
        ("from shop import xyz", "({here}/broken.py, line 2)"),
        ("def f(:", "SyntaxError: invalid syntax ({here}/broken.py, line 2)"),
        ("  x", "IndentationError: unexpected indent ({here}/broken.py, line 2)"),
        ("1 / 0", "ZeroDivisionError: division by zero ({here}/broken.py, line 2)"),
    ],
)
def test_application_that_fails_is_told_with_file_and_line(
    here: Path, text: str, said: str
) -> None:
    (here / "broken.py").write_text(f"\n{text}\n")
    with pytest.raises(ValueError, match=r"^cannot import 'broken': ") as raised:
        load_application("broken:application")
    assert said.format(here=os.getcwd()) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_missing_part_of_a_package_is_told_as_such(here: Path) -> None:
    (here / "package").mkdir()
    (here / "package" / "__init__.py").write_text("import nosuch\n")
    with pytest.raises(ValueError, match=r"No module named 'nosuch' \(.*__init__\.py, line 1\)"):
        load_application("package.inner:application")


def test_failure_is_told_without_the_number_of_the_system(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["--port", str(port)]) == 1
    line = capsys.readouterr().err
    assert re.match(rf"fasthttpserver: [A-Z][\w ]+: 127\.0\.0\.1:{port} \(.*:{port}", line)
    assert "Errno" not in line


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file", "s"), "No such file: s"),
        (OSError("AF_UNIX path too long"), "AF_UNIX path too long"),
        (ValueError("wrong"), "wrong"),
    ],
)
def test_exceptions_in_words(error: Exception, said: str) -> None:
    assert in_words(error) == said


@pytest.fixture
def files(here: Path) -> Certificates:
    """A certificate with its key, and in the current folder some files that are neither."""
    (here / "text").write_text("text\n")
    (here / "folder").mkdir()
    return Certificates(here)


MISSING = "No such file or directory"
NO_PEM = "it is not PEM, as there is no '-----BEGIN' in it"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--certfile=none"], f"--certfile none: {MISSING}"),
        (["--certfile=folder"], "--certfile folder: Is a directory"),
        (["--certfile=text"], f"--certfile text: {NO_PEM}"),
        (["--certfile=server.certfile", "--keyfile=none"], f"--keyfile none: {MISSING}"),
        (["--certfile=server.certfile", "--keyfile=text"], f"--keyfile text: {NO_PEM}"),
        (
            ["--certfile=server.certfile"],
            "--certfile server.certfile: it has no private key, and no keyfile is given",
        ),
        ([*PAIR, "--ca-certs=none", "--verify-client=required"], f"--ca-certs none: {MISSING}"),
        ([*PAIR, "--ca-certs=text", "--verify-client=required"], f"--ca-certs text: {NO_PEM}"),
        ([*PAIR, "--sni=a.test=none"], f"--sni a.test=none: {MISSING}"),
        ([*PAIR, "--sni=b.test=server.certfile:text"], f"--sni b.test=text: {NO_PEM}"),
        (["--log-config=none.json"], f"--log-config none.json: {MISSING}"),
        (["--log-config=text"], "--log-config text: its name has to end with .json or .toml"),
        (["--access-log-file=none/a"], f"--access-log-file none/a: {MISSING}"),
        (["--access-log-file=folder"], "--access-log-file folder: Is a directory"),
        (["--unix-socket=none/a"], f"--unix-socket none/a: {MISSING}"),
        (["--unix-socket=text"], "--unix-socket text: file 'text' exists and is not a socket"),
        (["--admin=unix:none/a"], f"--admin unix:none/a: {MISSING}"),
        (["--admin=unix:text"], "--admin unix:text: file 'text' exists and is not a socket"),
    ],
)
@pytest.mark.usefixtures("files")
@pytest.mark.skipif(sys.platform == "win32", reason="there are no Unix sockets")
def test_option_whose_file_cannot_be_used_is_named(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--port=0", *words]) == 1
    assert capsys.readouterr().err == f"fasthttpserver: {said}\n"


def test_every_option_with_a_path_is_among_those_that_are_named() -> None:
    options = _make_parser("0").options()
    names = {each.dest for each in options if each.metavar in ("PATH", "FILE")}
    assert names - {"root_path", "config"} == set(_FILES)  # no file, and told by its reader


def test_config_that_cannot_be_read_is_named(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--config", "none"])
    assert (
        f"fasthttpserver: error: --config: cannot read none: {MISSING}\n" in capsys.readouterr().err
    )


def test_number_that_is_no_socket(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--fd", "9999"]) == 1
    assert "--fd 9999 is not a socket: " in capsys.readouterr().err


def test_uvloop_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    with pytest.raises(NotStarted, match=r"choose the loop asyncio, or install .*\[uvloop\]"):
        Serving(parse_options(["--loop", "uvloop"], "0"))
    IOLoop.configure(None)
