"""The lookup of a method by registered name or import path, and the check of what it reads."""

import importlib
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any

from ..errors import UsageError


def find(spec: Any, registry: Mapping[str, Any], field: str) -> Any:
    """The registered method of a name, or the user's callable, before its ``needs`` are checked.

    Args:
        spec: A registered name, a ``"package.module:name"``, or a callable or its class.
        registry: The registered methods by name.
        field: The option that names the method, for messages.

    Raises:
        UsageError: The name is unknown (the message has similar names), or what it names cannot be
            imported, made or called.
    """
    if isinstance(spec, str):
        if spec in registry:
            return registry[spec]
        if ":" not in spec:
            similar_names = get_close_matches(spec, registry, n=2)
            hint = f"did you mean {' or '.join(similar_names)}? " if similar_names else ""
            raise UsageError(
                f"unknown {field} {spec!r}: {hint}known are {', '.join(sorted(registry))}, "
                "or give 'package.module:name'"
            )
        spec = _import(spec, field)
    if isinstance(spec, type):
        try:
            spec = spec()
        except TypeError as error:
            raise UsageError(f"{field} {spec.__name__}: cannot be made ({error})") from error
    if not callable(spec):
        raise UsageError(f"{field} {spec!r} is neither a name nor callable")
    return spec


def _import(spec: str, field: str) -> Any:
    """The object that ``"package.module:name"`` names."""
    module, _, name = spec.partition(":")
    try:
        return vars(importlib.import_module(module))[name]
    except (ImportError, ValueError, TypeError) as error:  # the last two: no module name
        raise UsageError(f"{field} {spec!r}: cannot import {module!r} ({error})") from error
    except KeyError:
        raise UsageError(f"{field} {spec!r}: module {module!r} has no {name!r}") from None


def checked_needs(needs: Any, known: frozenset[str], who: str) -> frozenset[str]:
    """What a method says that it reads, as a frozenset; that of a method which has one already.

    Args:
        needs: The attribute ``needs`` of the method.
        known: All names that may be in it.
        who: The method, for the message.

    Raises:
        UsageError: The attribute is no set of known names.
    """
    if isinstance(needs, str) or not isinstance(needs, Collection) or not set(needs) <= known:
        raise UsageError(
            f"{who}: its needs are {needs!r}, and must be a set of {', '.join(sorted(known))}"
        )
    return needs if isinstance(needs, frozenset) else frozenset(needs)
