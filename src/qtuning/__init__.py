"""Q-Tuning: supervised fine-tuning on the samples and tokens worth training on.

arXiv:2509.23873. The mathematics needs only torch; names that need transformers and TRL are
imported on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .arguments import MORE_CHECKS, PruningArguments
from .core.plane import Selection, Thresholds, rank_correlation, select_samples
from .core.stats import SampleStats, TokenStats, sample_stats, token_stats
from .core.tokens import keep_tokens, token_scores
from .errors import PeerLostError, StoppedError, UsageError
from .pruners.check import check_pruners
from .pruners.protocols import SamplePool, SamplePruner, TokenPool, TokenPruner, TokenSample
from .pruners.registry import SAMPLE_PRUNERS, TOKEN_PRUNERS
from .weighters.check import check_weighter
from .weighters.protocols import TokenBatch, TokenWeighter, Weighed
from .weighters.registry import TOKEN_WEIGHTERS

if TYPE_CHECKING:
    from .evaluation.evaluate import evaluate
    from .explanation.explain import explain
    from .inspection.inspect import inspect
    from .offline.api import diff, prune, score
    from .offline.suspects import suspects
    from .reports.report import report
    from .run.ledger import read_ledger
    from .run.probe_rows import read_probe
    from .run.stopping import stop_on_signals
    from .training.config import QTuningConfig
    from .training.trainer import QTuningTrainer, with_pruning

MORE_CHECKS.extend((check_pruners, check_weighter))

_LAZY = {
    "QTuningConfig": "training.config",
    "QTuningTrainer": "training.trainer",
    "diff": "offline.api",
    "evaluate": "evaluation.evaluate",
    "explain": "explanation.explain",
    "inspect": "inspection.inspect",
    "prune": "offline.api",
    "read_ledger": "run.ledger",
    "read_probe": "run.probe_rows",
    "report": "reports.report",
    "score": "offline.api",
    "stop_on_signals": "run.stopping",
    "suspects": "offline.suspects",
    "with_pruning": "training.trainer",
}

__all__ = [
    "SAMPLE_PRUNERS",
    "TOKEN_PRUNERS",
    "TOKEN_WEIGHTERS",
    "PeerLostError",
    "PruningArguments",
    "QTuningConfig",
    "QTuningTrainer",
    "SamplePool",
    "SamplePruner",
    "SampleStats",
    "Selection",
    "StoppedError",
    "Thresholds",
    "TokenBatch",
    "TokenPool",
    "TokenPruner",
    "TokenSample",
    "TokenStats",
    "TokenWeighter",
    "UsageError",
    "Weighed",
    "diff",
    "evaluate",
    "explain",
    "inspect",
    "keep_tokens",
    "prune",
    "rank_correlation",
    "read_ledger",
    "read_probe",
    "report",
    "sample_stats",
    "score",
    "select_samples",
    "stop_on_signals",
    "suspects",
    "token_scores",
    "token_stats",
    "with_pruning",
]


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return vars(import_module(f".{_LAZY[name]}", __name__))[name]
