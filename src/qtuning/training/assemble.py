"""Build the step pruner of a run from the trainer and its arguments."""

import functools
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from accelerate.utils import DistributedType
from transformers import PreTrainedModel, Trainer
from trl import SFTTrainer

from ..arguments import PruningArguments
from ..errors import UsageError
from ..examples.candidate import ENTROPY_ALL
from ..examples.end_of_turn import end_of_turn_ids
from ..examples.labels import Labels
from ..examples.pass_size import PassSize, pass_size
from ..examples.processors import tokenizer_of
from ..pruners.pair import Pruners, remembers_scores
from ..pruners.protocols import SAMPLE_EXTRAS, STEPS
from ..ranks import Ranks
from ..run.initial_scores import check_some_known, read_initial_scores
from ..run.pruner_memory import PrunerMemory
from ..run.record import MEMORY_FILE, REFERENCE_FILE, SCORES_FILE, Store
from ..signals.answer_steps import StepReader
from ..signals.kept_signals import KeptSignals
from ..signals.other_models import SCORER, load_other_model, reference_model, without_adapters
from ..signals.pass_limit import PassLimit
from ..signals.reference_store import ReferenceStore
from ..signals.score_store import Known, ScoreStore
from ..signals.scorer import Scorer
from ..signals.to_device import to_device
from ..step.refresh import Refresh
from ..step.two_pass import StepPruner
from ..step.weighted_loss import WeightedLoss
from ..weighters.protocols import BASE_TAIL, FROM_REFERENCE
from ..weighters.registry import weighter_of


@dataclass(frozen=True)
class Loaded:
    """What is loaded when a trainer is constructed, before accelerate prepares the model.

    Attributes:
        scorer: The model that scores in place of the model being trained; None if there is none.
        reference: The model to compare with, see ``signals.other_models.reference_model``.
        initial_scores: Scores known from the start, by sample id.
    """

    scorer: PreTrainedModel | None
    reference: PreTrainedModel | None
    initial_scores: Mapping[str, Known]

    @classmethod
    def of(cls, trainer: Trainer, pruning: PruningArguments, needs: frozenset[str]) -> "Loaded":
        """Load what the arguments and the pruners' needs ask for.

        Raises:
            UsageError: A model or the initial scores cannot be loaded, or none of the scores is of
                a training sample.
        """
        initial_scores: dict[str, Known] = {}
        if pruning.initial_scores is not None:
            initial_scores = read_initial_scores(
                pruning.initial_scores,
                pruning.entropy_over,
                pruner=pruning.sample_pruner,
                needs=Pruners.of(pruning).sample.needs,
            )
            check_some_known(initial_scores, trainer.train_dataset, pruning.initial_scores)
        return cls(
            scorer=load_other_model(trainer, SCORER, pruning.scorer_model_name_or_path),
            reference=reference_model(trainer, pruning.reference_model_name_or_path, needs),
            initial_scores=initial_scores,
        )


class Assembled(NamedTuple):
    """The step pruner of a run, and what a checkpoint must keep for it.

    Attributes:
        step_pruner: Prunes the candidates of a step.
        weighted_loss: The loss where tokens are weighted.
        own_scorer: Scores with the model being trained.
        limit: The size of passes that all scorers of the run share.
        stores: What the step pruner remembers, by file name within a checkpoint.
        share_anew: Share of the known samples that is scored again.
    """

    step_pruner: StepPruner
    weighted_loss: WeightedLoss
    own_scorer: Scorer
    limit: PassLimit
    stores: Mapping[str, Store]
    share_anew: float


def assemble(
    trainer: Trainer,
    pruning: PruningArguments,
    loaded: Loaded,
    labels: Labels,
    ranks: Ranks,
    pruners: Pruners,
) -> Assembled:
    """Build the step pruner when training begins.

    Args:
        trainer: The trainer, its model prepared.
        pruning: The pruning arguments.
        loaded: What was loaded when the trainer was constructed.
        labels: Reads the labels of examples.
        ranks: The data-parallel ranks.
        pruners: The sample pruner and the token pruner.

    Raises:
        UsageError: The token pruner reads text and the trainer has no tokenizer.
    """
    args, needs = trainer.args, pruners.needs
    batch_size: int = vars(trainer)["_train_batch_size"]  # auto_find_batch_size lowers it
    sharded = trainer.accelerator.distributed_type in (
        DistributedType.FSDP,
        DistributedType.DEEPSPEED,
    )

    def size_for(model: PreTrainedModel | None) -> PassSize:
        return pass_size(trainer, batch_size, asked=pruning.score_batch_size, other_model=model)

    limit, size = PassLimit(), size_for(None)
    own_scorer = Scorer(
        collate=labels.collate,
        to_device=functools.partial(to_device, device=args.device),
        autocast=_precision(trainer, pruning.score_dtype),
        **size._asdict(),
        # Tensor-parallel ranks are in the same pass, and must have the same scores.
        limit=limit if trainer.get_tp_size() == 1 else None,
        device_type=args.device.type,
        highest=ranks.highest if sharded else None,
        needs=needs | ({ENTROPY_ALL} if pruning.entropy_over == "all" else frozenset()),
    )
    scorer = own_scorer
    if loaded.scorer is not None:
        other_size = size_for(loaded.scorer)._asdict()
        scorer = replace(own_scorer, other_model=loaded.scorer, **other_size)
    # A model that is not trained gives a sample the same scores every time.
    share_anew = pruning.score_refresh if loaded.scorer is None else 0.0
    memory, reference = PrunerMemory(), ReferenceStore()
    stores: dict[str, Store] = {MEMORY_FILE: memory}
    refresh = None
    if remembers_scores(pruning, pruners.sample.needs):
        scores = ScoreStore(loaded.initial_scores, pruners.sample.needs & SAMPLE_EXTRAS)
        refresh = Refresh(scores, share_anew)
        stores[SCORES_FILE] = scores
    weighter = weighter_of(pruning)
    kept_needs = needs if weighter is None else needs | weighter.needs
    if kept_needs & FROM_REFERENCE:
        stores[REFERENCE_FILE] = reference
    step_pruner = StepPruner(
        args=pruning,
        seed=args.seed,
        labels=labels,
        scorer=scorer,
        ranks=ranks,
        protected_ids=end_of_turn_ids(trainer.model, trainer.processing_class),
        micro_batch_size=batch_size,
        overhead=size.overhead,
        refresh=refresh,
        more=KeptSignals(
            ranks,
            _reference_scorer(
                own_scorer, kept_needs, loaded.reference, trainer, size_for(loaded.reference)
            ),
            reference,
            _step_reader(needs, trainer),
        ),
        weighter=weighter,
        memory=memory,
        bins=vars(trainer).get("bins"),
    )
    weighted_loss = WeightedLoss(
        weighter, pruning, ranks, own_scorer.check, log_entropy=isinstance(trainer, SFTTrainer)
    )
    return Assembled(step_pruner, weighted_loss, own_scorer, limit, stores, share_anew)


def _precision(trainer: Trainer, dtype: str) -> Callable[[], AbstractContextManager[Any]]:
    """The autocast context of the scoring pass."""
    if dtype == "same":
        autocast: Callable[[], AbstractContextManager[Any]] = trainer.accelerator.autocast
        return autocast
    torch_dtype = {"bfloat16": torch.bfloat16, "float16": torch.float16}[dtype]
    return functools.partial(torch.autocast, trainer.args.device.type, torch_dtype)


def _reference_scorer(
    scorer: Scorer,
    needs: frozenset[str],
    model: PreTrainedModel | None,
    trainer: Trainer,
    size: PassSize,
) -> Scorer | None:
    """The scorer of the reference model, in passes of ``size``; None if none of ``needs`` is it."""
    if not needs & FROM_REFERENCE:
        return None
    autocast = scorer.autocast
    if model is None:
        autocast = functools.partial(without_adapters, trainer.model, scorer.autocast)
    return replace(
        scorer,
        autocast=autocast,
        highest=None,
        other_model=model,
        needs=needs & {BASE_TAIL},
        **size._asdict(),
    )


def _step_reader(needs: frozenset[str], trainer: Trainer) -> StepReader | None:
    """The reader of reasoning steps; None if no pruner reads steps.

    Raises:
        UsageError: A pruner reads steps and the trainer has no tokenizer.
    """
    if STEPS not in needs:
        return None
    tokenizer = tokenizer_of(trainer.processing_class)
    if tokenizer is None:
        raise UsageError(
            "the token pruner reads reasoning steps, which needs a tokenizer: pass one as "
            "processing_class"
        )
    return StepReader(tokenizer.decode)
