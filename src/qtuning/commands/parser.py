"""The parser of all commands: flags and ``--config`` YAML, and one line on what is wrong."""

import re
from argparse import Action, ArgumentError
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from enum import Enum
from pathlib import Path
from types import NoneType
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

from trl import TrlParser

from ..errors import UsageError
from ..io.yaml_files import read_yaml, refuse_code

_ON_THE_COMMAND_LINE = "give it on the command line if you trust it"


class OneLineParser(TrlParser):
    """TrlParser that says in one line what is wrong instead of printing all options."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see `{self.prog} --help`")

    def parse_in_one_line(self, argv: Sequence[str]) -> tuple[Any, ...]:
        """Parse flags and ``--config`` YAML; flags win.

        Raises:
            UsageError: An unknown option, a bad value, an unreadable config file, or one that names
                code to run.
        """
        words = list(argv)
        try:
            if "--config" in words:
                place = words.index("--config")
                if place + 1 == len(words):
                    raise UsageError("--config needs a YAML file")
                self._take(Path(words[place + 1]))
                del words[place : place + 2]
            parsed: tuple[Any, ...] = self.parse_args_into_dataclasses(
                args=words, look_for_args_file=False
            )
        except UsageError:
            raise
        except (ValueError, TypeError, AttributeError, OSError, ImportError) as error:
            # what dataclasses find wrong in their fields
            raise UsageError(_name_the_option(str(error), self)) from error
        return parsed

    def _take(self, path: Path) -> None:
        """Make a file's values the defaults, in the types that the command line would give them."""
        config = read_yaml(path, "--config")
        refuse_code(config, path, _ON_THE_COMMAND_LINE)
        known = {action.dest: action for action in self._actions if action.nargs != 0}
        unknown = [name for name in config if name not in known]
        if unknown:
            raise UsageError(_name_the_option(f"not used: {[f'--{n}' for n in unknown]}", self))
        hints = self._hints()
        for name, value in config.items():
            config[name] = self._value(known[name], value, hints.get(name), path)
        self.set_defaults_with_config(**config)

    def _hints(self) -> Mapping[str, Any]:
        hints: dict[str, Any] = {}
        for kind in self.dataclass_types:
            hints |= get_type_hints(kind)
        return hints

    def _value(self, action: Action, value: Any, hint: Any, path: Path) -> Any:
        where = f"--config {path}: {action.dest}"
        if value is None:
            if NoneType in get_args(hint) or action.default is None:
                return None
            raise UsageError(f"{where} has no value")
        if isinstance(value, list) and action.nargs in ("+", "*"):
            return value
        if isinstance(value, dict | list):
            # JSON on the command line; older TRL declares such options as dictionaries only
            takes = action.type is str or (isinstance(value, dict) and _takes(hint, dict))
            if takes and action.nargs not in ("+", "*"):
                return value
            kind = "a list of values" if action.nargs in ("+", "*") else "a single value"
            raise UsageError(f"{where} must be {kind}")
        if action.type is str and isinstance(value, bool):
            return value  # several of them read a truth value
        try:
            text = str(value.value if isinstance(value, Enum) else value)
            made = self._get_value(action, text)
            self._check_value(action, made)
        except ArgumentError as error:
            raise UsageError(f"{where}: {error.message}") from error
        return [made] if action.nargs in ("+", "*") else made


def _takes(hint: Any, kind: type) -> bool:
    """Whether a value of the kind fits the type, which may be a union."""
    return kind in {get_origin(one) or one for one in (hint, *get_args(hint))}


def _name_the_option(message: str, parser: TrlParser) -> str:
    """Add the near names to TRL's message on unknown options."""
    unknown = re.findall(r"'--?([A-Za-z_-]+)", message)
    if "not used" not in message and "Unknown arguments" not in message:
        return message
    known = [action.dest for action in parser._actions]
    near = [m for name in unknown for m in get_close_matches(name, known, n=1)]
    hint = f", did you mean {', '.join(near)}?" if near else f"; see `{parser.prog} --help`"
    return f"unknown option {', '.join(unknown)}{hint}"
