"""Answer NLL and calibration of a model on held-out rows."""

import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from transformers import Trainer

from ..core.calibration import calibration_error
from ..errors import UsageError
from ..examples.adapter import has_image_data, labels_of
from ..examples.example import Example, answer_positions
from ..examples.names import with_sample_ids
from ..examples.pass_size import pass_size
from ..examples.pictures import as_stored
from ..pruners.protocols import CONFIDENCE, SCORES
from ..signals.pass_limit import PassLimit
from ..signals.scorer import Scorer
from ..signals.to_device import to_device


@dataclass(frozen=True)
class HeldOut:
    """Held-out figures over answer tokens.

    Attributes:
        nll: Mean NLL in nats per token.
        stderr: Standard error of ``nll``, with rows as independent clusters of tokens.
        calibration_error: Expected calibration error of the most likely token, 15 bins.
        accuracy: Share of the tokens to which the model gives the highest probability.
        tokens: Number of answer tokens.
        rows: Number of rows with answer tokens.
        nll_sums: Summed NLL of each row, in nats.
        counts: Number of answer tokens of each row.
    """

    nll: float
    stderr: float
    calibration_error: float
    accuracy: float
    tokens: int
    rows: int
    nll_sums: tuple[float, ...]
    counts: tuple[int, ...]

    def to_dict(self) -> dict[str, object]:
        """Return the figures as plain data, for JSON; summed NLLs with four decimals."""
        figures = asdict(self)
        sums = [round(value, 4) for value in self.nll_sums]
        return {**figures, "nll_sums": sums, "counts": list(self.counts)}


def held_out(
    trainer: Trainer, rows: Sequence[Example], *, batch_size: int | None = None
) -> HeldOut:
    """Score tokenised rows with the trainer's model, collator and precision.

    Args:
        trainer: The trainer, before or after training.
        rows: Rows as the trainer has prepared them, for example its ``eval_dataset``.
        batch_size: Size of a forward pass, in samples as long as the longest one; by default the
            trainer's ``per_device_eval_batch_size``, and on a GPU as many times that as a training
            step's memory holds.

    Raises:
        UsageError: No row has answer tokens.
    """
    labels = labels_of(trainer, trainer.data_collator)
    if has_image_data(trainer):
        rows = as_stored(with_sample_ids(rows))
    examples = [labels.of(row) for row in rows]
    pairs = [(example, len(answer_positions(example["labels"]))) for example in examples]
    pairs = [(example, n) for example, n in pairs if n]
    if not pairs:
        raise UsageError("no held-out row has answer tokens: raise max_length, or name other data")
    size = pass_size(trainer, trainer.args.per_device_eval_batch_size, asked=batch_size)
    scorer = Scorer(
        collate=labels.collate,
        to_device=functools.partial(to_device, device=trainer.args.device),
        autocast=trainer.accelerator.autocast,
        batch_size=size.batch_size,
        overhead=size.overhead,
        limit=PassLimit() if trainer.get_tp_size() == 1 else None,
        device_type=trainer.args.device.type,
        needs=frozenset({SCORES, CONFIDENCE}),
    )
    scores = scorer(trainer.model, trainer.model, pairs)
    sums = [float(row_scores.nll.double().sum()) for row_scores in scores]
    counts = [n for _, n in pairs]
    confidence, hits = torch.cat([row_scores.extras[CONFIDENCE] for row_scores in scores]).unbind(1)
    mean = sum(sums) / sum(counts)
    return HeldOut(
        nll=mean,
        stderr=_cluster_stderr(sums, counts, mean),
        calibration_error=calibration_error(confidence, hits > 0),
        accuracy=float(hits.mean()),
        tokens=sum(counts),
        rows=len(counts),
        nll_sums=tuple(sums),
        counts=tuple(counts),
    )


def _cluster_stderr(sums: Sequence[float], counts: Sequence[int], mean: float) -> float:
    """Return the standard error of a mean over tokens that are dependent within a row, in nats."""
    n = len(sums)
    if n < 2:
        return float("nan")
    squares = sum((s - mean * c) ** 2 for s, c in zip(sums, counts, strict=True))
    return float((squares * n / (n - 1)) ** 0.5 / sum(counts))
