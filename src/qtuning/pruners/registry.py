"""The registered pruners by name, and the lookup of a pruner by name or import path.

A new pruner is one file in this folder and one line in this file; the trainer reads only its
``needs``.
"""

from collections.abc import Callable
from typing import Any

from ..arguments import PruningArguments
from .attention import FastV, SparseVlm
from .calibrated import Calibrated, ConfidentError
from .decorrelated import RankPlane, ResidualPlane
from .el2n import El2n
from .entropy import EntropySamples
from .excess_loss import ExcessLoss
from .full import FullSamples, NoTokenPruning
from .gain import GainHigh, GainRandom, QTuningGain
from .ifd import InstructionFollowingDifficulty
from .image_gain import ImageGain
from .importance import Importance
from .infobatch import InfoBatch, InfoBatchBudget
from .length import Longest, Shortest
from .lookup import checked_needs, find
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
    "image-gain": ImageGain(),
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
    pruner: SamplePruner = _with_needs(find(spec, SAMPLE_PRUNERS, "sample_pruner"), spec)
    return pruner


def resolve_token_pruner(spec: str | Callable[..., Any]) -> TokenPruner:
    """The token pruner of a registered name, a ``"package.module:name"``, or a callable.

    Raises:
        UsageError: The name is unknown (the message has similar names), or the pruner cannot be
            imported or called, or its ``needs`` has an unknown name.
    """
    pruner: TokenPruner = _with_needs(find(spec, TOKEN_PRUNERS, "token_pruner"), spec)
    return pruner


def _with_needs(pruner: Any, spec: Any) -> Any:
    """The pruner, its ``needs`` checked; a plain function without ``needs`` gets the scores."""
    if not isinstance(pruner, Needing):
        return _OwnPruner(pruner, frozenset({SCORES}))
    needs = checked_needs(pruner.needs, NEEDS, f"pruner {spec!r}")
    function: Any = pruner
    return pruner if pruner.needs is needs else _OwnPruner(function, needs)
