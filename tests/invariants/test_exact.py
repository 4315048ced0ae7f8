"""The exact mode decides as the plain path would, however its scoring is arranged.

The plain path: each sample by itself through the model, in float32; the plane and the tokens as
they were written first (``plain_core``). Weights stand still, so that all steps can be replayed.
"""

import pytest
import torch

from qtuning import read_ledger
from qtuning.core.plane import Q2
from qtuning.examples.end_of_turn import end_of_turn_ids
from qtuning.examples.example import answer_positions
from qtuning.signals.forward import model_token_stats

from .. import runs, tiny
from ..core import plain_core


def scores_one_by_one(trainer) -> dict[str, tuple]:
    """NLL and entropy of each sample's answer tokens, and which of them end a turn."""
    model = trainer.model.eval()
    ending = end_of_turn_ids(trainer.model, trainer.processing_class)
    found = {}
    for row in trainer.train_dataset:
        example = trainer._labels.of(dict(row))
        inputs = {
            key: torch.tensor([example[key]], device=model.device)
            for key in ("input_ids", "labels")
        }
        stats = model_token_stats(model, inputs)
        labels = inputs["labels"][0, answer_positions(example["labels"])].cpu()
        found[example["sample_id"]] = (
            stats.nll[stats.mask].cpu(),
            stats.entropy[stats.mask].cpu(),
            torch.isin(labels, ending),
        )
    return found


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"score_batch_size": 1},
        {"score_batch_size": 64},
        {"padding_free": True, "max_length": None},
        {"pool_scope": "micro"},
        {"pool_factor": 3},
        {"token_mode": "drop"},
        {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 8},
        {"score_refresh": 0.999},
        {"error_scale": "log_ppl", "neighbor_mean": True, "sample_ratio": 0.25},
    ],
    ids=str,
)
def test_every_decision_is_that_of_the_plain_path(tmp_path, settings) -> None:
    trainer = runs.pruning(tmp_path, model=tiny.llama(), learning_rate=0.0, **settings)
    trainer.train()
    scores = scores_one_by_one(trainer)
    args = trainer.args
    micro = args.per_device_train_batch_size * args.pool_factor
    size = micro * (args.gradient_accumulation_steps if args.pool_scope == "step" else 1)
    rows = read_ledger(tmp_path).to_pylist()
    assert len(rows) == 48
    by_step: dict[int, list[dict]] = {}
    for row in rows:
        by_step.setdefault(row["step"], []).append(row)
    for step in by_step.values():
        for start in range(0, len(step), size):
            check_pool(step[start : start + size], scores, args)


def check_pool(pool, scores, args) -> None:
    ppl = torch.stack([scores[row["sample_id"]][0].double().mean().exp() for row in pool])
    entropy = torch.stack([scores[row["sample_id"]][1].double().mean() for row in pool])
    expected = plain_core.plain_select(
        ppl, entropy, args.sample_ratio, error_scale=args.error_scale
    )
    assert [row["kept"] for row in pool] == expected.kept.tolist()
    assert [row["quadrant"] for row in pool] == expected.quadrant.tolist()
    assert [row["filled"] for row in pool] == expected.filled.tolist()
    for row, value in zip(pool, ppl.tolist(), strict=True):
        assert row["ppl"] == pytest.approx(value, rel=1e-5)
        nll, _, protected = scores[row["sample_id"]]
        tokens = len(nll) if row["kept"] else 0
        if row["kept"] and row["quadrant"] == Q2 and not row["filled"]:
            keep = plain_core.plain_keep_tokens(
                nll, args.token_ratio, args.neighbor_lambda, args.neighbor_mean, protected
            )
            tokens = int(keep.sum())
        assert row["tokens_kept"] == tokens
