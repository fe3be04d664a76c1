"""Options in TOML files: which count, what is wrong with them, and printing them."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import Client, Process, address_in

from fasthttpserver._cli import options as declared
from fasthttpserver._cli.options import parse_options
from fasthttpserver._cli.sources import Parser
from fasthttpserver._cli.toml import Number, flag_of, is_repeated


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder of its own, without options in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("FASTHTTPSERVER_")]:
        monkeypatch.delenv(name)
    return tmp_path


def read(text: str, *words: str, **environ: str) -> argparse.Namespace:
    """The options of a file and others."""
    Path("serve.toml").write_text(text, encoding="utf-8")
    variables = {f"FASTHTTPSERVER_{name}": value for name, value in environ.items()}
    return parse_options(["--config", "serve.toml", *words], "0", variables)


def mistake(capsys: pytest.CaptureFixture[str], text: str, *words: str) -> str:
    """What is said of a file that is wrong, without the usage."""
    with pytest.raises(SystemExit) as ended:
        read(text, *words)
    assert ended.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


# --- Reading ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("port = 8080", "port", 8080),
        ("drain-timeout = 5", "drain_timeout", 5.0),
        ("drain_timeout = 1.5", "drain_timeout", 1.5),
        ('address = ""', "address", ""),
        ('application = "shop:app"', "application", "shop:app"),
        ("no-keep-alive = true", "no_keep_alive", True),
        ("no-keep-alive = false", "no_keep_alive", False),
        ("no-check-responses = true", "check_responses", False),
        ("access-log = true", "access_log", "common"),
        ("access-log = false", "access_log", None),
        ('access-log = "json"', "access_log", "json"),
        ('trusted-downstream = ["::1", "10.0.0.0/8"]', "trusted_downstream", ["::1", "10.0.0.0/8"]),
        ("max-rss = 1000", "max_rss", 1000),
        ('max-rss = "512M"', "max_rss", 512 << 20),
        ("header-timeout = 2.5", "header_timeout", 2.5),
        ('header-timeout = "off"', "header_timeout", None),
        ('idle_connection_timeout = "off"', "idle_connection_timeout", math.inf),
        ('loop = "asyncio"', "loop", "asyncio"),
    ],
)
def test_values_are_those_of_toml(here: Path, text: str, name: str, value: Any) -> None:
    found = getattr(read(text), name)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('port = "80"', 'serve.toml: port: must be an integer, not "80"'),
        ("port = 80.0", "serve.toml: port: must be an integer, not 80.0"),
        ("port = true", "serve.toml: port: must be an integer, not true"),
        ("port = [80]", "serve.toml: port: must be an integer, not [80]"),
        ("address = 1", "serve.toml: address: must be a string, not 1"),
        ('reload = "yes"', 'serve.toml: reload: must be true or false, not "yes"'),
        ("loop = 1", 'must be "asyncio" or "uvloop" or "auto", not 1'),
        ('loop = "trio"', "serve.toml: loop: invalid choice: 'trio'"),
        ('trusted-downstream = "::1"', 'must be an array, each of it a string, not "::1"'),
        ("trusted-downstream = [1]", "must be an array, each of it a string, not [1]"),
        ('max-rss = "512"', 'must be an integer or a string such as "512M", not "512"'),
        ('max-rss = "1T"', "serve.toml: max-rss: invalid size value: '1T'"),
        ('header-timeout = "60"', 'must be a number or "off", not "60"'),
        ('max-body-size = "off"', "must be an integer, not"),
        ("max-body-size = 1.5", "must be an integer, not 1.5"),
        ("when = 2026-01-01", "serve.toml: when: there is no such option"),
        ("address = 2026-01-01", 'must be a string, not "2026-01-01"'),
        ("prot = 80", "serve.toml: prot: there is no such option; did you mean 'port'?"),
        ("[limits]\nmax-body-size = 1", "serve.toml: limits: there is no such option"),
        ("max_rss = 1\nmax-rss = 2", "serve.toml: max-rss: stands there twice"),
        ('config = "other.toml"', "serve.toml: config: there is no such option"),
        ("print-config = true", "serve.toml: print-config: there is no such option"),
        ("port = ", "serve.toml is not TOML: Invalid value"),
        ("port = 1\nport = 2", "serve.toml is not TOML"),
        ('keyfile = "k"', "--keyfile needs --certfile"),
    ],
)
def test_mistake_names_file_key_and_what_is_expected(
    here: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    assert said in mistake(capsys, text)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--config", "nosuch.toml"], "cannot read nosuch.toml: No such file"),
        (["--config", "."], "cannot read .: "),
        (["--prot", "80"], "unrecognized arguments: --prot; did you mean '--port'?"),
        (["--max-body-sise=1"], "did you mean '--max-body-size'?"),
    ],
)
def test_mistake_on_the_command_line(
    here: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    with pytest.raises(SystemExit):
        parse_options(words, "0")
    assert said in capsys.readouterr().err


def test_file_that_is_no_text_is_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("serve.toml").write_bytes(b"\xff")
    with pytest.raises(SystemExit):
        parse_options(["--config", "serve.toml"], "0")
    assert "serve.toml is not TOML: " in capsys.readouterr().err


# --- Which source counts --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "variable", "in_file", "in_project", "port"),
    [
        (["--port=1"], "2", "port = 3", "port = 4", 1),
        ([], "2", "port = 3", "port = 4", 2),
        ([], None, "port = 3", "port = 4", 3),
        ([], None, "", "port = 4", 4),
        ([], None, "", "", 8888),
    ],
)
def test_precedence(
    here: Path, words: list[str], variable: str | None, in_file: str, in_project: str, port: int
) -> None:
    Path("pyproject.toml").write_text(f"[tool.fasthttpserver]\n{in_project}\n")
    environ = {} if variable is None else {"PORT": variable}
    assert read(in_file, *words, **environ).port == port


@pytest.mark.parametrize(
    ("text", "environ", "name", "value"),
    [
        ("reload = true", {"RELOAD": "no"}, "reload", False),
        ("no-check-responses = true", {"NO_CHECK_RESPONSES": "0"}, "check_responses", True),
        (
            'trusted-downstream = ["::1"]',
            {"TRUSTED_DOWNSTREAM": "::2"},
            "trusted_downstream",
            "::2",
        ),
    ],
)
def test_stronger_source_takes_the_place_of_the_weaker_one(
    here: Path, text: str, environ: dict[str, str], name: str, value: Any
) -> None:
    expected = [value] if name == "trusted_downstream" else value
    assert getattr(read(text, **environ), name) == expected


def test_file_may_switch_off_what_the_project_switches_on(here: Path) -> None:
    Path("pyproject.toml").write_text("[tool.fasthttpserver]\nxheaders = true\naccess-log = true\n")
    options = read("xheaders = false\naccess-log = false")
    assert (options.xheaders, options.access_log) == (False, None)


def test_file_may_be_named_in_the_environment(here: Path) -> None:
    Path("a.toml").write_text("port = 5")
    options = parse_options([], "0", {"FASTHTTPSERVER_CONFIG": "a.toml"})
    assert (options.port, options.config_files) == (5, ["a.toml"])


def test_file_that_is_a_project_has_a_table_there(here: Path) -> None:
    (here / "below").mkdir()
    Path("below/pyproject.toml").write_text(
        "[project]\nname = 'x'\n[tool.fasthttpserver]\nport = 6\n"
    )
    assert parse_options(["--config", "below/pyproject.toml"], "0", {}).port == 6


@pytest.mark.parametrize(
    "text", ["", "[project]\nname = 'x'\n", "[tool.other]\nport = 'x'\n", "[tool.fasthttpserver]\n"]
)
def test_project_without_options_changes_nothing(here: Path, text: str) -> None:
    before = parse_options([], "0", {})
    Path("pyproject.toml").write_text(text)
    assert parse_options([], "0", {}) == before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tool.fasthttpserver]\nprot = 1\n", "pyproject.toml: prot: there is no such option"),
        ("tool = 1", "pyproject.toml: 'tool' must be a table"),
        ("[tool]\nfasthttpserver = 1", "pyproject.toml: 'fasthttpserver' must be a table"),
        ("[tool", "pyproject.toml is not TOML"),
    ],
)
def test_mistake_in_the_project_is_told(
    here: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    Path("pyproject.toml").write_text(text)
    with pytest.raises(SystemExit):
        parse_options([], "0", {})
    assert said in capsys.readouterr().err


# --- Every option ---------------------------------------------------------------------------


def parser() -> Parser:
    return declared._make_parser("0")


FILE_OPTIONS = [action for action in parser().options() if action.dest != "config"]


def sample(action: argparse.Action) -> tuple[str, Any]:
    """A word for an option that is not its default, and the same in TOML."""
    if action.choices is not None:
        word = next(str(each) for each in action.choices if each != action.default)
        return word, word
    if isinstance(action.type, Number) or action.type in (int, float):
        return "7", 7
    for word in "640", "host=path", "127.0.0.1:9000", "%(h)s":
        with contextlib.suppress(ValueError, argparse.ArgumentTypeError):
            if callable(action.type):
                action.type(word)
            return word, word
    raise AssertionError(f"which value may {flag_of(action)} have?")


@pytest.mark.parametrize("action", FILE_OPTIONS, ids=flag_of)
def test_every_option_may_stand_in_each_source_and_is_printed_back(
    here: Path, capsys: pytest.CaptureFixture[str], action: argparse.Action
) -> None:
    # Not checked against the others: what one option needs is not of interest here.
    flag = flag_of(action)
    key = flag.removeprefix("--")
    variable = f"FASTHTTPSERVER_{key.replace('-', '_').upper()}"
    word, value = sample(action)
    if action.nargs == 0:
        words, text, literal = [flag], "1", "true"
    elif is_repeated(action):
        words, text, literal = [f"{flag}={word}"] * 2, f"{word},{word}", json.dumps([value] * 2)
    else:
        words, text, literal = [f"{flag}={word}"], word, json.dumps(value)
        if not action.option_strings:
            words = [word]
    Path("serve.toml").write_text(f"{key} = {literal}\n")
    default = parser().read([], {}).options
    found = [
        parser().read(words, {}),
        parser().read([], {variable: text}),
        parser().read(["--config", "serve.toml"], {}),
    ]
    for values, origin in zip(found, ("command line", variable, "serve.toml"), strict=True):
        got = getattr(values.options, action.dest)
        assert got == getattr(found[0].options, action.dest)
        assert got != getattr(default, action.dest, None)
        printed = values.to_toml({})
        assert re.search(rf"^{key} = .*  # {re.escape(origin)}$", printed, re.MULTILINE)
        Path("printed.toml").write_text(printed)
        again = parser().read(["--config", "printed.toml"], {}).options
        assert getattr(again, action.dest) == got


def test_what_is_printed_is_taken_back_and_says_where_from(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("pyproject.toml").write_text(
        '[tool.fasthttpserver]\naddress = "::1"\nbody-timeout = "off"\nno-keep-alive = true\n'
    )
    words = [
        "shop:app",
        "--port=0",
        "--max-rss=1G",
        "--trusted-downstream=::1",
        "--root-path=/\xe9",
    ]
    environ = {"FASTHTTPSERVER_ACCESS_LOG": "json", "FASTHTTPSERVER_XHEADERS": "off"}
    before = parse_options(words, "0", environ)
    with pytest.raises(SystemExit) as ended:
        parse_options([*words, "--print-config"], "0", environ)
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    for line in (
        'application = "shop:app"  # command line',
        "port = 0  # command line",
        'max-rss = "1G"  # command line',
        'trusted-downstream = ["::1"]  # command line',
        'access-log = "json"  # FASTHTTPSERVER_ACCESS_LOG',
        "xheaders = false  # FASTHTTPSERVER_XHEADERS",
        'address = "::1"  # pyproject.toml',
        'body-timeout = "off"  # pyproject.toml',
        "no-keep-alive = true  # pyproject.toml",
        "# max-header-size = 65536",
        "# drain-timeout = 30.0",
        "# certfile =",
        "# reload = false",
    ):
        assert line in lines
    Path("pyproject.toml").unlink()
    after = read(printed)
    for name in "config", "config_files":
        delattr(before, name)
        delattr(after, name)
    assert after == before


def test_text_of_any_kind_survives_printing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = 'a "b" \\ \x7f \x01 \t # \U0001f600'
    with pytest.raises(SystemExit):
        parse_options(["--root-path", path, "--print-config"], "0", {})
    assert read(capsys.readouterr().out).root_path == path


def test_files_in_the_page_are_right(here: Path) -> None:
    page = Path(__file__).parents[2] / "docs" / "howto" / "configuration.md"
    file, project = re.findall(r"```toml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    options = read(file)
    assert (options.max_rss, options.write_timeout) == (512 << 20, None)
    Path("pyproject.toml").write_text(project)
    assert parse_options([], "0", {}).application == "shop:app"


# --- In processes ---------------------------------------------------------------------------


Start = Callable[..., Process]


def test_project_is_read_without_being_asked_for_and_the_banner_says_so(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.fasthttpserver]\nport = 0\nmax-body-size = 1\n")
    process = start()
    with Client(address_in(process.line())) as client:
        process.line()
        assert "pyproject.toml" in process.line()
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n")
        assert client.read_response().status == 413
