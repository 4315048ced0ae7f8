"""The registered token weighters by name, and their lookup by name or import path.

A new weighter is one file in this folder and one line in this file; the trainer reads only its
``needs``.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ..arguments import PruningArguments
from ..pruners.lookup import checked_needs, find
from .dft import DynamicFineTuning
from .eaft import EntropyAdaptive
from .none import NoTokenWeights
from .power import Power
from .prift import PriorSupport
from .protocols import ENTROPY, NEEDS, NLL, ReadsByOptions, TokenBatch, TokenWeighter, Weighed
from .stm import SelectiveMasking

TOKEN_WEIGHTERS: dict[str, TokenWeighter] = {
    "none": NoTokenWeights(),
    "dft": DynamicFineTuning(),
    "eaft": EntropyAdaptive(),
    "power": Power(),
    "prift": PriorSupport(),
    "stm": SelectiveMasking(),
}
"""The token weighters by registered name."""


class _OwnWeighter:
    """A user's function with a frozenset ``needs``; without any, it may read NLL and entropy."""

    def __init__(self, function: Callable[..., Any], needs: frozenset[str]) -> None:
        self._function = function
        self.needs = needs

    def __call__(self, tokens: TokenBatch, args: PruningArguments) -> Tensor | Weighed:
        weights: Tensor | Weighed = self._function(tokens, args)
        return weights


def resolve_token_weighter(spec: str | Callable[..., Any]) -> TokenWeighter:
    """The token weighter of a registered name, a ``"package.module:name"``, or a callable.

    Raises:
        UsageError: The name is unknown (the message has similar names), or the weighter cannot be
            imported or called, or its ``needs`` has an unknown name.
    """
    weighter = find(spec, TOKEN_WEIGHTERS, "token_weight")
    needs = getattr(weighter, "needs", None)
    if needs is None:
        return _OwnWeighter(weighter, frozenset({NLL, ENTROPY}))
    known = checked_needs(needs, NEEDS, f"token_weight {spec!r}")
    found: TokenWeighter = weighter if known is needs else _OwnWeighter(weighter, known)
    return found


def weighter_of(args: PruningArguments) -> TokenWeighter | None:
    """The weighter that the arguments name; None where every weight is 1.

    Raises:
        UsageError: The weighter cannot be found, see ``resolve_token_weighter``.
    """
    weighter = resolve_token_weighter(args.token_weight)
    if isinstance(weighter, ReadsByOptions):
        weighter = weighter.reading(args)
    return None if isinstance(weighter, NoTokenWeights) else weighter
