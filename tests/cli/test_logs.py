"""Where the logs of the command line go, in real processes; and what these are called."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import Client, Process, address_in, eventually, get

from fasthttpserver._cli.options import parse_options

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")

Start = Callable[..., Process]

APPLICATION = """
import logging

def application(request):
    if request.path == "/log":
        logging.getLogger("of.application").warning("told")
    request.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")
    request.finish()
"""
TITLES = """
def setproctitle(title):
    with open("titles", "a") as file:
        file.write(title + "\\n")
"""


@pytest.fixture
def start(start: Start, tmp_path: Path) -> Start:
    """Run the command line with the application above, on any port."""
    (tmp_path / "served.py").write_text(APPLICATION)
    return lambda *arguments, **env: start("served:application", "--port=0", *arguments, **env)


def ask(process: Process, *uris: str) -> tuple[str, int]:
    """Ask on the address that it prints, which is returned."""
    address = address_in(process.line())
    ask_at(address, *uris)
    return address


def ask_at(address: tuple[str, int], *uris: str) -> None:
    with Client(address) as client:
        for uri in uris:
            assert client.ask(get(uri)) == b"ok"


def end(process: Process, status: int = 0, number: int = signal.SIGTERM) -> tuple[str, str]:
    process.send_signal(number)
    ended = process.end()
    assert ended.returncode == status
    return ended.stdout, ended.stderr


# --- The access log -----------------------------------------------------------------------------


def test_lines_of_all_workers_are_in_one_file_that_is_reopened(
    start: Start, tmp_path: Path
) -> None:
    log = tmp_path / "access.log"
    process = start("--processes=2", "--access-log-file=access.log", "--access-log=%(r)s")
    address = ask(process, "/1")
    for _ in range(20):
        ask_at(address, "/1", "/1")
    eventually(lambda: log.read_text().count("\n") == 41)
    log.rename(tmp_path / "old")
    process.send_signal(signal.SIGUSR1)
    eventually(log.exists)
    ask_at(address, "/2")

    def reopened() -> bool:
        ask_at(address, "/2")
        return "/2" in log.read_text()

    eventually(reopened)
    end(process)
    lines = ((tmp_path / "old").read_text() + log.read_text()).splitlines()
    assert set(lines) == {"GET /1 HTTP/1.1", "GET /2 HTTP/1.1"}


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 0), (signal.SIGQUIT, 131)])
def test_no_line_is_lost_at_the_end(start: Start, tmp_path: Path, number: int, status: int) -> None:
    process = start("--access-log-file=access.log", "--drain-timeout=5")
    ask(process, *["/x"] * 50)
    if number == signal.SIGQUIT:  # which kills workers: what was written is what there is
        eventually(lambda: (tmp_path / "access.log").read_text().count("\n") == 50)
    end(process, status, number)
    assert (tmp_path / "access.log").read_text().count("GET /x HTTP/1.1") == 50


def test_dash_is_stdout(start: Start) -> None:
    process = start("--access-log=combined", "--access-log-file=-")
    ask(process, "/x")
    stdout, stderr = end(process)
    assert '"GET /x HTTP/1.1" 200 2 "-" "-"\n' in stdout
    assert "GET /x" not in stderr


def test_access_log_that_cannot_be_opened_is_told_in_a_line(start: Start) -> None:
    ended = start("--access-log-file=no/such/folder").end()
    assert (ended.returncode, ended.stdout) == (1, "")
    (line,) = ended.stderr.splitlines()
    assert "--access-log-file no/such/folder: No such file or directory" in line


def test_lines_are_lost_where_nobody_reads_them_and_serving_goes_on(start: Start) -> None:
    process = start("--access-log-file=/dev/full")
    ask(process, "/1", "/2")
    _, stderr = end(process)
    assert stderr.count("Cannot write the access log, lines are lost") == 1


@pytest.mark.parametrize(
    "words",
    [("--access-log", "%(x)s"), ("--access-log", "served:application"), ("--access-log=",)],
)
def test_format_that_is_none_is_refused(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse_options(words, "0")
    assert "argument --access-log: " in capsys.readouterr().err


def test_file_alone_asks_for_the_common_format() -> None:
    assert parse_options(["--access-log-file", "x"], "0").access_log == "common"
    assert parse_options([], "0").access_log is None


# --- --log-config -------------------------------------------------------------------------------

CONFIG = {
    "formatters": {"short": {"format": "%(levelname).1s %(name)s %(message)s"}},
    "handlers": {"file": {"class": "logging.FileHandler", "filename": "log", "formatter": "short"}},
    "root": {"handlers": ["file"], "level": "WARNING"},
}
TOML = """
[formatters.short]
format = "%(levelname).1s %(name)s %(message)s"
[handlers.file]
class = "logging.FileHandler"
filename = "log"
formatter = "short"
[root]
handlers = ["file"]
level = "WARNING"
"""


@pytest.mark.parametrize("name, text", [("c.json", json.dumps(CONFIG)), ("c.toml", TOML)])
@pytest.mark.parametrize("level", [None, "info"])
def test_log_is_configured_by_a_file(
    start: Start, tmp_path: Path, name: str, text: str, level: str | None
) -> None:
    (tmp_path / name).write_text(text)
    words = [] if level is None else [f"--log-level={level}"]
    process = start(f"--log-config={name}", *words)
    ask(process, "/log")
    assert end(process)[1] == ""
    lines = (tmp_path / "log").read_text().splitlines()
    assert "W of.application told" in lines
    drained = [line for line in lines if line.startswith("I fasthttpserver.general Drained")]
    assert len(drained) == (level is not None)


def test_handler_in_the_file_gets_the_access_log(start: Start, tmp_path: Path) -> None:
    config = CONFIG | {"loggers": {"fasthttpserver.access": {"level": "INFO"}}}
    (tmp_path / "c.json").write_text(json.dumps(config))
    process = start("--log-config=c.json", "--access-log=%(r)s")
    ask(process, "/x")
    assert end(process)[1] == ""
    assert (tmp_path / "log").read_text() == "I fasthttpserver.access GET /x HTTP/1.1\n"


@pytest.mark.parametrize(
    "name, text, what",
    [
        ("c.json", None, "--log-config c.json: No such file or directory"),
        ("c.json", "{", "--log-config c.json: Expecting property name"),
        ("c.json", "[]", "--log-config c.json: it is not a JSON object"),
        ("c.toml", "a", "--log-config c.toml: Expected '=' after a key"),
        ("c.ini", "", "--log-config c.ini: its name has to end with .json or"),
        ("c.json", '{"version": 2}', "--log-config c.json: Unsupported version"),
        (
            "c.json",
            '{"handlers": {"h": {"class": "no.such"}}}',
            "--log-config c.json: Unable to configure handler 'h': ",
        ),
        (
            "c.json",
            '{"root": {"handlers": ["none"]}}',
            "--log-config c.json: Unable to configure root logger",
        ),
    ],
)
def test_what_is_wrong_with_the_file_is_told_in_a_line(
    start: Start, tmp_path: Path, name: str, text: str | None, what: str
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    ended = start(f"--log-config={name}").end()
    assert (ended.returncode, ended.stdout) == (1, "")
    (line,) = ended.stderr.splitlines()
    assert what in line


# --- Titles -------------------------------------------------------------------------------------


def test_processes_have_titles_where_setproctitle_is_installed(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "setproctitle.py").write_text(TITLES)
    process = start("--processes=2")
    ask(process, "/")
    titles = tmp_path / "titles"
    eventually(lambda: titles.read_text().count("\n") == 3)
    end(process)
    assert sorted(titles.read_text().splitlines()) == [
        "fasthttpserver: supervisor [served:application]",
        "fasthttpserver: worker 0 [served:application]",
        "fasthttpserver: worker 1 [served:application]",
    ]
