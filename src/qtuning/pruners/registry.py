"""The registered pruners by name, and the lookup of a pruner by name or import path.

A new pruner is one file in this folder and one line in this file; the trainer reads only its
``needs``.
"""

import importlib
from collections.abc import Callable, Collection, Mapping
from difflib import get_close_matches
from typing import Any

from ..arguments import PruningArguments
from ..errors import UsageError
from .attention import FastV, SparseVlm
from .calibrated import Calibrated, ConfidentError
from .decorrelated import RankPlane, ResidualPlane
from .el2n import El2n
from .entropy import EntropySamples
from .excess_loss import ExcessLoss
from .full import FullSamples, NoTokenPruning
from .gain import GainHigh, GainRandom, QTuningGain
from .ifd import InstructionFollowingDifficulty
from .importance import Importance
from .infobatch import InfoBatch, InfoBatchBudget
from .length import Longest, Shortest
from .ppl import HighPerplexity, LowPerplexity, MiddlePerplexity
from .profit import ProFit
from .protocols import NEEDS, SCORES, Needing, SamplePruner, TokenPruner
from .q_tuning import QTuningSamples, QTuningTokens
from .random import RandomSamples, RandomTokens
from .selective_ifd import SelectiveIfd
from .ss_token import SelfModulatedSemantic
from .step_entropy import StepEntropy
from .surprising import Surprising
from .tail import Tail
from .token_ppl import NeighborPerplexity, TokenPerplexity
from .trimmed import TrimmedPerplexity, TrimmedRandom
from .uds import UtilityDiversity

SAMPLE_PRUNERS: dict[str, SamplePruner] = {
    "full": FullSamples(),
    "random": RandomSamples(),
    "longest": Longest(),
    "shortest": Shortest(),
    "entropy": EntropySamples(),
    "ppl-high": HighPerplexity(),
    "ppl-low": LowPerplexity(),
    "ppl-mid": MiddlePerplexity(),
    "infobatch": InfoBatch(),
    "infobatch-budget": InfoBatchBudget(),
    "el2n": El2n(),
    "ifd": InstructionFollowingDifficulty(),
    "uds": UtilityDiversity(),
    "q-tuning": QTuningSamples(),
    "q-tuning-ranks": RankPlane(),
    "q-tuning-residual": ResidualPlane(),
    "calibrated": Calibrated(),
    "trimmed-ppl": TrimmedPerplexity(),
    "trimmed-random": TrimmedRandom(),
    "importance": Importance(),
    "gain-high": GainHigh(),
    "gain-random": GainRandom(),
    "q-tuning-gain": QTuningGain(),
    "s-ifd": SelectiveIfd(),
    "tail": Tail(),
}
"""The sample pruners by registered name."""
TOKEN_PRUNERS: dict[str, TokenPruner] = {
    "none": NoTokenPruning(),
    "random": RandomTokens(),
    "ppl": TokenPerplexity(),
    "ppl-neighbor": NeighborPerplexity(),
    "rho-1": ExcessLoss(),
    "token-cleaning": ExcessLoss(),
    "profit": ProFit(),
    "ss-token": SelfModulatedSemantic(),
    "fastv": FastV(),
    "sparse-vlm": SparseVlm(),
    "step-entropy": StepEntropy(),
    "q-tuning": QTuningTokens(),
    "confident-error": ConfidentError(),
    "surprising": Surprising(),
}
"""The token pruners by registered name."""


class _OwnPruner:
    """A user's function with a frozenset ``needs``.

    A function without an attribute ``needs`` may read the scores, so a scoring pass is made for it.
    """

    def __init__(self, function: Callable[..., Any], needs: frozenset[str]) -> None:
        self._function = function
        self.needs = needs

    def __call__(self, pool: Any, args: PruningArguments) -> Any:
        return self._function(pool, args)


def resolve_sample_pruner(spec: str | Callable[..., Any]) -> SamplePruner:
    """The sample pruner of a registered name, a ``"package.module:name"``, or a callable.

    Raises:
        UsageError: The name is unknown (the message has similar names), or the pruner cannot be
            imported or called, or its ``needs`` has an unknown name.
    """
    pruner: SamplePruner = _with_needs(_resolve(spec, SAMPLE_PRUNERS, "sample_pruner"), spec)
    return pruner


def resolve_token_pruner(spec: str | Callable[..., Any]) -> TokenPruner:
    """The token pruner of a registered name, a ``"package.module:name"``, or a callable.

    Raises:
        UsageError: The name is unknown (the message has similar names), or the pruner cannot be
            imported or called, or its ``needs`` has an unknown name.
    """
    pruner: TokenPruner = _with_needs(_resolve(spec, TOKEN_PRUNERS, "token_pruner"), spec)
    return pruner


def _with_needs(pruner: Any, spec: Any) -> Any:
    """The pruner, its ``needs`` checked; a plain function without ``needs`` gets the scores."""
    if not isinstance(pruner, Needing):
        return _OwnPruner(pruner, frozenset({SCORES}))
    needs: Any = pruner.needs
    if isinstance(needs, str) or not isinstance(needs, Collection) or not set(needs) <= NEEDS:
        raise UsageError(
            f"pruner {spec!r}: its needs are {needs!r}, and must be a set of "
            f"{', '.join(sorted(NEEDS))}"
        )
    function: Any = pruner
    return pruner if isinstance(needs, frozenset) else _OwnPruner(function, frozenset(needs))


def _resolve(spec: Any, registry: Mapping[str, Any], field: str) -> Any:
    """The registered pruner, or the user's callable, before its ``needs`` are checked."""
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
