"""Where the values of options come from: the command line, the environment, TOML files."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from fasthttpserver._cli.mistakes import suggestion
from fasthttpserver._cli.toml import (
    find_project,
    flag_of,
    is_repeated,
    line_of,
    read_file,
    with_flag,
    words_of,
)

__all__ = ["Mistake", "Parser", "Values"]

# An option --some-name is FASTHTTPSERVER_SOME_NAME in the environment.
_PREFIX = "FASTHTTPSERVER_"
_TRUE = ("1", "true", "yes", "on")
_FALSE = ("0", "false", "no", "off", "")
# For a person at a command line only.
_NOT_ELSEWHERE = ("help", "version", "print_config")

_NOT_GIVEN: Any = object()


class Mistake(ValueError):
    """An option is wrong; the message is for the person who has written it."""


@dataclass
class Given:
    """One option that some source has.

    Attributes:
        value: Of it.
        words: Those that it was given with.
        origin: Which source.
    """

    value: Any
    words: list[str]
    origin: str


class Values:
    """The values of all options, and where each comes from.

    Args:
        parser: Declares them.
        given: Those that some source has, by the name in the namespace.
        are_wanted: Whether they are to be printed, and that is all.
    """

    def __init__(self, parser: Parser, given: Mapping[str, Given], are_wanted: bool) -> None:
        self.are_wanted = are_wanted
        self._parser = parser
        self._given = given
        self.options = argparse.Namespace()
        for action in parser.options():
            if action.default is not argparse.SUPPRESS:
                setattr(self.options, action.dest, action.default)
        for name, each in given.items():
            setattr(self.options, name, each.value)

    def to_toml(self, defaults: Mapping[str, Any]) -> str:
        """Return a file that ``--config`` takes back.

        Args:
            defaults: Of options that have none in the parser.
        """
        lines = ["# What is not commented out was given; the others are defaults."]
        for title, actions in self._parser.groups():
            lines += ["", f"# {title[:1].upper()}{title[1:]}"]
            for action in actions:
                given = self._given.get(action.dest)
                if given is not None:
                    line = line_of(action, given.value, given.words)
                    lines.append(f"{line}  # {given.origin}")
                else:
                    default = defaults.get(action.dest, getattr(self.options, action.dest, None))
                    lines.append(f"# {line_of(action, default)}")
        return "\n".join(lines) + "\n"


class Parser(argparse.ArgumentParser):
    """Takes options from files and the environment, too.

    Its ``error`` raises ``Mistake`` instead of ending the process.
    """

    _origin = ""  # of what is being parsed, if that is not the command line
    _words: dict[str, list[str]]  # what is being parsed, by the name in the namespace

    def read(self, arguments: Sequence[str] | None, environ: Mapping[str, str]) -> Values:
        """Read all sources; of those that have an option the first in this order counts.

        The command line, the environment, the file that ``--config`` names, and the table
        ``tool.fasthttpserver`` of ``pyproject.toml`` in the current folder.

        Args:
            arguments: The words after the program's name; None for those of this process.
            environ: Where ``FASTHTTPSERVER_...`` stands.

        Raises:
            Mistake: Something in one of them is wrong.
        """
        given = self._parse(arguments, "command line")
        given = self._of_environment(environ) | given
        files = [find_project(), given["config"].value if "config" in given else None]
        for path in filter(None, reversed(files)):
            given = self._of_file(path) | given
        printed = given.pop("print_config", None) is not None
        values = Values(self, given, printed)
        origins = {each.origin for each in given.values()}
        values.options.config_files = [path for path in dict.fromkeys(files) if path in origins]
        return values

    def options(self) -> Iterator[argparse.Action]:
        """Yield all that may stand in any source."""
        for action in self._actions:
            if action.dest not in _NOT_ELSEWHERE:
                yield action

    def groups(self) -> Iterator[tuple[str, list[argparse.Action]]]:
        """Yield titles with what may stand in a file, in the order of their declaration."""
        for group in self._action_groups:
            actions = [each for each in group._group_actions if each in self._of_files()]
            if actions:
                yield group.title or "", actions

    def _of_files(self) -> list[argparse.Action]:
        return [action for action in self.options() if action.dest != "config"]

    def _of_environment(self, environ: Mapping[str, str]) -> dict[str, Given]:
        given: dict[str, Given] = {}
        for action in self.options():
            variable = _PREFIX + flag_of(action).removeprefix("--").replace("-", "_").upper()
            if variable in environ:
                self._origin = variable
                words = self._words_of_variable(action, environ[variable])
                given |= self._parse_one(action, words, variable)
                self._origin = ""
        return given

    def _words_of_variable(self, action: argparse.Action, value: str) -> list[str]:
        if action.nargs == 0:
            if value.lower() not in _TRUE + _FALSE:
                self.error(f"{value!r} is neither {', '.join(_TRUE)} nor {', '.join(_FALSE[:-1])}")
            return [flag_of(action)] if value.lower() in _TRUE else []
        if is_repeated(action):
            return with_flag(action, [item.strip() for item in value.split(",")])
        return with_flag(action, [value])

    def _of_file(self, path: str) -> dict[str, Given]:
        try:
            table = read_file(path)
        except ValueError as error:
            raise Mistake(error if path == find_project() else f"--config: {error}") from None
        actions = {flag_of(action).removeprefix("--"): action for action in self._of_files()}
        given: dict[str, Given] = {}
        for key, value in table.items():
            self._origin = f"{path}: {key}"
            action = actions.get(key.replace("_", "-"))
            if action is None:
                self.error(f"there is no such option{suggestion(key.replace('_', '-'), actions)}")
            if action.dest in given:
                self.error("stands there twice")
            try:
                words = words_of(action, value)
            except ValueError as error:
                self.error(str(error))
            given |= self._parse_one(action, words, path)
            self._origin = ""
        return given

    def _parse_one(
        self, action: argparse.Action, words: list[str], origin: str
    ) -> dict[str, Given]:
        """Parse one option; without words it is switched off, whatever other sources say."""
        if not words:
            return {action.dest: Given(action.default, [], origin)}
        return self._parse(words, origin)

    def _parse(self, words: Sequence[str] | None, origin: str) -> dict[str, Given]:
        """Parse a part of a command line; return what stands in it."""
        nothing = {action.dest: _NOT_GIVEN for action in self._actions}
        nothing |= {action.dest: None for action in self._actions if is_repeated(action)}
        self._words = {}
        options, unknown = self.parse_known_args(words, argparse.Namespace(**nothing))
        if unknown:
            flags = [each for each in self._option_string_actions if each.startswith("--")]
            hint = suggestion(unknown[0].partition("=")[0], flags)
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return {
            name: Given(value, self._words.get(name, []), origin)
            for name, value in vars(options).items()
            if value is not nothing[name] and not (name == "application" and value is None)
        }

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        value = super()._get_value(action, arg_string)
        if is_repeated(action):
            self._words.setdefault(action.dest, []).append(arg_string)
        else:
            self._words[action.dest] = [arg_string]
        return value

    def error(self, message: str) -> NoReturn:
        if self._origin:
            message = f"{self._origin}: {re.sub('^argument [^:]+: ', '', message)}"
            self._origin = ""
        raise Mistake(message)

    def end(self, mistake: Mistake) -> NoReturn:
        """End the process as argparse does."""
        super().error(str(mistake))
