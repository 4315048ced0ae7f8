"""The parser of all commands: flags and ``--config`` YAML, with errors in one line."""

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
_RENAMED = {"warmup_ratio": "--warmup_steps, which below 1 is a share of the steps"}
"""Options that transformers has taken out, and what stands for them now."""


class OneLineParser(TrlParser):
    """A TrlParser that reports an error in one line instead of printing all options."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """A parser for dataclasses, as TrlParser; a truth value may be given by its flag alone."""
        super().__init__(*args, **kwargs)
        hints = self._hints()
        for action in self._actions:
            # TRL wants a word after the flag of a field that may also be None.
            if hints.get(action.dest) == bool | None and action.nargs is None:
                action.nargs, action.const = "?", True

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see `{self.prog} --help`")

    def parse_in_one_line(self, argv: Sequence[str]) -> tuple[Any, ...]:
        """Parse flags and ``--config`` YAML; flags win.

        Raises:
            UsageError: An option is unknown, a value is invalid, or the config file cannot be read
                or names code to run.
        """
        words = list(argv)
        try:
            if "--config" in words:
                place = words.index("--config")
                if place + 1 == len(words):
                    raise UsageError("--config needs a YAML file")
                self._read_config(Path(words[place + 1]))
                del words[place : place + 2]
            parsed: tuple[Any, ...] = self.parse_args_into_dataclasses(
                args=words, look_for_args_file=False
            )
        except UsageError:
            raise
        except (ValueError, TypeError, AttributeError, OSError, ImportError) as error:
            # raised by __post_init__ of a dataclass for an invalid field
            raise UsageError(_with_suggestions(str(error), self)) from error
        return parsed

    def _read_config(self, path: Path) -> None:
        """Set a file's values as defaults, in the types that the command line would give."""
        config = read_yaml(path, "--config")
        refuse_code(config, path, _ON_THE_COMMAND_LINE)
        actions = {action.dest: action for action in self._actions if action.nargs != 0}
        unknown = [name for name in config if name not in actions]
        if unknown:
            raise UsageError(_with_suggestions(f"not used: {[f'--{n}' for n in unknown]}", self))
        hints = self._hints()
        for name, value in config.items():
            config[name] = self._value(actions[name], value, hints.get(name), path)
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
            # On the command line this is JSON; older TRL declares such options as dict only.
            takes = action.type is str or (isinstance(value, dict) and _takes(hint, dict))
            if takes and action.nargs not in ("+", "*"):
                return value
            kind = "a list of values" if action.nargs in ("+", "*") else "a single value"
            raise UsageError(f"{where} must be {kind}")
        if action.type is str and isinstance(value, bool):
            return value  # options of type str that accept a truth value
        try:
            text = str(value.value if isinstance(value, Enum) else value)
            item = self._get_value(action, text)
            self._check_value(action, item)
        except ArgumentError as error:
            raise UsageError(f"{where}: {error.message}") from error
        return [item] if action.nargs in ("+", "*") else item


def _takes(hint: Any, kind: type) -> bool:
    """Return whether a value of this kind fits a type hint, which may be a union."""
    return kind in {get_origin(one) or one for one in (hint, *get_args(hint))}


def _with_suggestions(message: str, parser: TrlParser) -> str:
    """Add similar option names to TRL's message about unknown options."""
    unknown = re.findall(r"'--?([A-Za-z_-]+)", message)
    if "not used" not in message and "Unknown arguments" not in message:
        return message
    if len(unknown) == 1 and unknown[0] in _RENAMED:
        return f"--{unknown[0]} is gone from transformers: give {_RENAMED[unknown[0]]}"
    options = [action.dest for action in parser._actions]
    suggestions = [m for name in unknown for m in get_close_matches(name, options, n=1)]
    hint = (
        f", did you mean {', '.join(suggestions)}?"
        if suggestions
        else f"; see `{parser.prog} --help`"
    )
    return f"unknown option {', '.join(unknown)}{hint}"
