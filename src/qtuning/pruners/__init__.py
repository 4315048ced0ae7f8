"""The pruners by name, and how a user's own is found.

A new pruner is one file here and one line below; the trainer asks only for ``needs``.
"""

import importlib
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from .base import SCORES, SamplePruner, TokenPruner
from .full import FullSamples, NoTokenPruning
from .q_tuning import QTuningSamples, QTuningTokens
from .random import RandomSamples, RandomTokens

if TYPE_CHECKING:
    from ..config import PruningArguments

SAMPLE_PRUNERS: dict[str, SamplePruner] = {
    "full": FullSamples(),
    "random": RandomSamples(),
    "q-tuning": QTuningSamples(),
}
TOKEN_PRUNERS: dict[str, TokenPruner] = {
    "none": NoTokenPruning(),
    "random": RandomTokens(),
    "q-tuning": QTuningTokens(),
}


class _OwnPruner:
    """A user's plain function; it may read the scores, so a scoring pass is made for it."""

    needs = frozenset({SCORES})

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, pool: Any, args: "PruningArguments") -> Any:
        return self._function(pool, args)


def resolve_sample_pruner(spec: str | Callable[..., Any]) -> SamplePruner:
    """The sample pruner of a registered name, a ``"package.module:name"``, or a callable.

    Raises:
        UsageError: No such name, with the near ones; or it cannot be imported or called.
    """
    found = _resolve(spec, SAMPLE_PRUNERS, "sample_pruner")
    return found if isinstance(found, SamplePruner) else _OwnPruner(found)


def resolve_token_pruner(spec: str | Callable[..., Any]) -> TokenPruner:
    """The token pruner of a registered name, a ``"package.module:name"``, or a callable.

    Raises:
        UsageError: No such name, with the near ones; or it cannot be imported or called.
    """
    found = _resolve(spec, TOKEN_PRUNERS, "token_pruner")
    return found if isinstance(found, TokenPruner) else _OwnPruner(found)


def _resolve(spec: Any, registry: Mapping[str, Any], field: str) -> Any:
    if isinstance(spec, str):
        if spec in registry:
            return registry[spec]
        if ":" not in spec:
            near = get_close_matches(spec, registry, n=2)
            hint = f"did you mean {' or '.join(near)}? " if near else ""
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
    module, _, name = spec.partition(":")
    try:
        return vars(importlib.import_module(module))[name]
    except (ImportError, ValueError, TypeError) as error:  # the latter: not a module's name
        raise UsageError(f"{field} {spec!r}: cannot import {module!r} ({error})") from error
    except KeyError:
        raise UsageError(f"{field} {spec!r}: module {module!r} has no {name!r}") from None
