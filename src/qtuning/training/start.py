"""What a trainer reads off itself when it starts: pruning arguments, costs, and lines to print."""

import sys
from typing import Any

from datasets import Dataset
from transformers import Trainer
from transformers.trainer_pt_utils import get_model_param_count

from ..arguments import PruningArguments
from ..core.ratio import share
from ..errors import UsageError
from ..io.weights import LOSS_WEIGHT
from ..precision import precision_line
from ..pruners.pair import Pruners
from ..pruners.protocols import BASE_MEAN
from ..ranks import Ranks
from ..run.budget import scoring_cost, training_cost
from ..run.messages import method_name, start_lines, tell
from ..weighters.protocols import FORWARD
from ..weighters.registry import weighter_of
from .assemble import Loaded


def find_pruning(trainer: Trainer, own: PruningArguments | None) -> PruningArguments:
    """The pruning arguments of a trainer: its class' own, else those among its training arguments.

    Raises:
        UsageError: No pruning arguments are given, or both places have them.
    """
    args: Any = trainer.args
    inside = isinstance(args, PruningArguments)
    if own is not None and inside:
        raise UsageError(
            "pruning arguments stand in two places, with_pruning(..., pruning=...) and "
            f"{type(args).__name__}: leave one of them out"
        )
    if own is None and not inside:
        raise UsageError(
            f"{type(trainer).__name__} needs pruning arguments: use QTuningConfig, give "
            "with_pruning a pruning=PruningArguments(...), or make a dataclass of your own "
            f"with the bases (PruningArguments, {type(args).__name__})"
        )
    pruning: PruningArguments = args if own is None else own
    return pruning


def weighs_before_forward(rows: Any, pruning: PruningArguments) -> bool:
    """Whether tokens have weights before the training forward: the users', or a weighter's."""
    weighter = weighter_of(pruning)
    has_column = isinstance(rows, Dataset) and LOSS_WEIGHT in rows.column_names
    return has_column or (weighter is not None and weighter.needs.isdisjoint(FORWARD))


def cost_of_token(trainer: Trainer) -> float:
    """Cost of training on a token, in forward passes."""
    trained = share(
        get_model_param_count(trainer.model, trainable_only=True),
        get_model_param_count(trainer.model),
    )
    return training_cost(trained, trainer.args.gradient_checkpointing)


def print_start(
    trainer: Trainer,
    pruning: PruningArguments,
    pruners: Pruners,
    loaded: Loaded,
    ranks: Ranks,
    share_anew: float,
) -> None:
    """Print what will be pruned, the expected speed-up, and the precision.

    Args:
        trainer: The trainer at the beginning of training.
        pruning: The pruning arguments.
        pruners: The sample pruner and the token pruner.
        loaded: What was loaded when the trainer was constructed.
        ranks: The data-parallel ranks.
        share_anew: Share of the known samples that is scored again.
    """
    args = trainer.args
    micro = vars(trainer)["_train_batch_size"] * pruning.pool_factor
    packs = vars(trainer).get("bins") is not None
    if packs:
        batches = len(trainer.callback_handler.train_dataloader) * ranks.size
        micro = max(1, round(len(trainer.train_dataset) / batches))
    candidates = micro * args.gradient_accumulation_steps * ranks.size
    pool = candidates if pruning.pool_scope == "step" else micro
    has_initial_scores = bool(loaded.initial_scores)
    size = get_model_param_count(trainer.model)
    # The copy of the model before training, or itself without adapters, is as large as the model.
    other = size if loaded.reference is None else get_model_param_count(loaded.reference)
    scoring = scoring_cost(
        share_anew,
        trainer.state.num_train_epochs,
        has_initial_scores,
        kept_share=sum(pruners.budget(pruning)) / 2 if pruners.score_kept else 0.0,
        reference=share(other, size) if BASE_MEAN in pruners.sample.needs else 0.0,
    )
    if loaded.scorer is not None:
        scoring *= share(*map(get_model_param_count, (loaded.scorer, trainer.model)))
    lines = start_lines(pruning, pruners, candidates, pool, cost_of_token(trainer), scoring, packs)
    if weighter_of(pruning) is not None:
        lines.append(f"Token weights: {method_name(pruning.token_weight)}.")
    precision = precision_line(args.device, bf16=args.bf16, fp16=args.fp16)
    for line in [*lines, *([precision] if precision else [])]:
        tell(args, line)


def first_repeated(trainer: Trainer, ranks: Ranks, n_rows: int) -> int:
    """Place in an epoch's last micro-batch from which on rows repeat the epoch's first rows.

    accelerate repeats rows at the end of an epoch, so that all ranks have as many.

    Args:
        trainer: The trainer, within an epoch.
        ranks: The data-parallel ranks.
        n_rows: Rows of this rank's micro-batch.
    """
    loader = trainer.callback_handler.train_dataloader
    ends = trainer.accelerator.gradient_state.end_of_dataloader
    repeats = trainer.accelerator.even_batches and not trainer.args.dataloader_drop_last
    if ranks.size == 1 or not ends or not repeats:
        return sys.maxsize
    try:
        rest = len(loader.dataset) % loader.total_batch_size
    except TypeError:  # a stream has no length
        return sys.maxsize
    return max(0, rest - ranks.rank * n_rows) if rest else sys.maxsize
