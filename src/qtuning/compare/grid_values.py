"""Checks of the values in a grid's YAML against the types of dataclass fields."""

from collections.abc import Mapping
from dataclasses import fields
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from ..errors import UsageError
from ..evaluation.exact_match import OPTIONS


def mapping(value: Any, where: str) -> Mapping[str, Any]:
    """Return a value that must be a mapping, or an empty mapping for None.

    Raises:
        UsageError: The value is neither a mapping nor None.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UsageError(f"{where}: must be a mapping, got {_short(value)}")
    return value


def check_values(kind: type, given: Mapping[str, Any], where: str) -> None:
    """Check that values have the types of a dataclass's fields.

    Args:
        kind: The dataclass.
        given: Values of some of the dataclass's fields, by name.
        where: Place of the values in the YAML file, for messages.

    Raises:
        UsageError: A value does not have the type of its field.
    """
    hints = get_type_hints(kind)
    for one in fields(kind):
        if one.name in given and not _fits(given[one.name], hints[one.name]):
            raise UsageError(f"{where}: {one.name} cannot be {_short(given[one.name])}")


def check_exact_match(options: Mapping[str, Any], where: str) -> None:
    """Check the options of ``evaluation.exact_match``.

    Args:
        options: The options by name.
        where: Place of the options in the YAML file, for messages.

    Raises:
        UsageError: An option is unknown or too small.
    """
    for name, value in options.items():
        if name not in OPTIONS:
            raise UsageError(f"{where}: unknown {name}; known are {', '.join(OPTIONS)}")
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UsageError(f"{where}: {name} must be an integer of at least 1, got {value!r}")


def _fits(value: Any, hint: Any) -> bool:
    if hint in (Any, NoneType):
        return hint is Any or value is None
    origin = get_origin(hint)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(one, get_args(hint)[0]) for one in value)
    if origin is Mapping:
        return isinstance(value, Mapping)
    if origin is not None:  # a union
        return any(_fits(value, one) for one in get_args(hint))
    if isinstance(value, bool):
        return hint is bool
    return isinstance(value, (int, float) if hint is float else hint)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
