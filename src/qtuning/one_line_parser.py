"""The parser of all commands: flags and ``--config`` YAML, and one line on what is wrong."""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

from trl import TrlParser

from .errors import UsageError


class OneLineParser(TrlParser):
    """TrlParser that says in one line what is wrong instead of printing all options."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see `{self.prog} --help`")

    def parse_in_one_line(self, argv: Sequence[str]) -> tuple[Any, ...]:
        """Parse flags and ``--config`` YAML; flags win.

        Raises:
            UsageError: An unknown option, a bad value, or an unreadable config file.
        """
        import yaml

        try:
            parsed: tuple[Any, ...] = self.parse_args_and_config(args=list(argv))
        except (OSError, yaml.YAMLError) as error:
            raise UsageError(f"cannot read the config file: {error}") from error
        except (ValueError, ImportError) as error:  # what dataclasses find wrong in their fields
            raise UsageError(_name_the_option(str(error), self)) from error
        return parsed


def _name_the_option(message: str, parser: TrlParser) -> str:
    """Add the near names to TRL's message on unknown options."""
    unknown = re.findall(r"'--?([A-Za-z_-]+)", message)
    if "not used" not in message and "Unknown arguments" not in message:
        return message
    known = [action.dest for action in parser._actions]
    near = [m for name in unknown for m in get_close_matches(name, known, n=1)]
    hint = f", did you mean {', '.join(near)}?" if near else f"; see `{parser.prog} --help`"
    return f"unknown option {', '.join(unknown)}{hint}"
