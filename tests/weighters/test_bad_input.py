"""Weights, columns and options that cannot be used end in one line, soon if they can."""

import math

import pytest
import torch
from datasets import Dataset
from transformers import Trainer, TrainingArguments

from qtuning import PruningArguments, QTuningConfig, UsageError, with_pruning
from qtuning.examples.loss_weights import take_weights
from qtuning.pruners.protocols import BASE
from qtuning.weighters.check import other_losses
from qtuning.weighters.protocols import NLL

from .. import device, runs, tiny
from .steps import step, tokenised


def weighter(value, needs):
    def own(tokens, args):
        weights = torch.ones(len(tokens))
        weights[: len(weights) if value == 0 else 1] = value
        return weights

    own.needs = frozenset(needs)
    return own


@pytest.mark.parametrize("needs", [{NLL}, {BASE}, ()], ids=["late", "base", "early"])
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf, 0.0])
def test_weights_that_cannot_be_used_end_the_run_in_one_line_with_the_step(
    tmp_path, needs, value
) -> None:
    why = "every kept token has weight 0" if value == 0 else "negative, NaN or infinite"
    with pytest.raises(UsageError, match=f"^step 1: .*{why}") as told:
        step(tmp_path, token_weight=weighter(value, needs))
    assert "\n" not in str(told.value)
    assert "token_weight" in str(told.value), "what to do"


def test_a_mask_that_leaves_nothing_ends_the_run(tmp_path) -> None:
    with pytest.raises(UsageError, match="step 1: every kept token has weight 0"):
        step(tmp_path, token_weight="stm", stm_threshold=1.0)


def test_a_sample_pruner_of_bad_weights_ends_the_run(tmp_path) -> None:
    from .test_training import Half

    class Negative(Half):
        def __call__(self, pool, args):
            selection = super().__call__(pool, args)
            selection.weight[0] = -1.0
            return selection

    with pytest.raises(UsageError, match="step 1: a weight of the loss is negative"):
        step(tmp_path, sample_pruner=Negative())


@pytest.mark.parametrize(
    ("weights", "why"),
    [
        ([1.0, -1.0, 1.0], "loss_weight has -1.0"),
        ([1.0, math.nan, 1.0], "loss_weight has nan"),
        ([1.0, math.inf, 1.0], "loss_weight has inf"),
        ([1.0, "much", 1.0], "loss_weight has 'much'"),
        ([1.0, 1.0], "loss_weight has 2 weights for 3 tokens"),
        ("heavy", "loss_weight is 'heavy'"),
        (-0.5, "loss_weight is -0.5"),
    ],
)
def test_a_users_weights_that_cannot_be_used_are_refused_by_the_sample(weights, why) -> None:
    example = {"input_ids": [5, 6, 7], "labels": [-100, 6, 7], "loss_weight": weights}
    with pytest.raises(UsageError, match=f"sample s3.*{why}") as told:
        take_weights(example, "s3")
    assert "\n" not in str(told.value)


def test_a_weight_of_0_takes_a_token_out_of_the_answer() -> None:
    example = {"input_ids": [5, 6, 7, 8], "labels": [-100, 6, 7, 8]}
    assert take_weights(example, "a") == (example, None)
    assert take_weights({**example, "loss_weight": None}, "a") == (example, None)
    rest, weights = take_weights({**example, "loss_weight": [0, 2, 0.0, 0.5]}, "a")
    assert rest == {**example, "labels": [-100, 6, -100, 8]}
    assert weights.tolist() == [2.0, 0.5]
    rest, weights = take_weights({**example, "loss_weight": 3}, "a")
    assert rest == example
    assert weights.tolist() == [3.0, 3.0, 3.0]
    rest, weights = take_weights({**example, "loss_weight": 0.0}, "a")
    assert rest["labels"] == [-100] * 4
    assert weights.tolist() == []


def test_bad_weights_of_a_row_end_the_run_in_one_line(tmp_path) -> None:
    rows = tokenised(weights=True).to_list()
    rows[2]["loss_weight"][-1] = -1.0
    with pytest.raises(UsageError, match=r"row 3: loss_weight has -1\.0"):
        step(tmp_path, data=Dataset.from_list(rows))


@pytest.mark.parametrize(
    "option",
    [{"loss_type": "dft"}, {"label_smoothing_factor": 0.1}, {"use_liger_kernel": True}],
    ids=str,
)
def test_other_losses_are_refused_with_the_arguments_alone(tmp_path, option) -> None:
    with pytest.raises(UsageError, match=f"eaft.*{next(iter(option))}") as told:
        QTuningConfig(str(tmp_path), token_weight="eaft", **option, **device.arguments())
    assert "\n" not in str(told.value)
    QTuningConfig(str(tmp_path), **option, **device.arguments())


@pytest.mark.parametrize("loss_type", [None, "nll", "chunked_nll"])
def test_ways_to_compute_the_plain_loss_are_no_other_loss(loss_type) -> None:
    assert list(other_losses({"loss_type": loss_type})) == []
    assert list(other_losses({})) == []


def own_loss(outputs, labels, num_items_in_batch=None):
    return outputs.loss


class OwnLoss(Trainer):
    def compute_loss(self, *args, **kwargs):
        return 2 * super().compute_loss(*args, **kwargs)


def plain(folder, trainer_class=Trainer, *, rows=None, more=None, **pruning):
    args = TrainingArguments(str(folder), **{**runs.SETTINGS, "max_steps": 1, **(more or {})})
    ready = with_pruning(trainer_class, PruningArguments(**pruning))
    return ready(tiny.llama(), args, train_dataset=rows or tokenised())


@pytest.mark.parametrize(
    ("changes", "weight"),
    [({"token_weight": "dft"}, "token_weight"), ({"rows": tokenised(weights=True)}, "loss_weight")],
    ids=["method", "column"],
)
def test_another_loss_of_the_trainer_is_refused(tmp_path, changes, weight) -> None:
    plain(tmp_path, **changes)
    with pytest.raises(UsageError, match=f"{weight} with another loss than the plain NLL"):
        plain(tmp_path, OwnLoss, **changes)
    with pytest.raises(UsageError, match=f"{weight} with another loss"):
        plain(tmp_path, more={"label_smoothing_factor": 0.1}, **changes)


def test_a_weighter_that_checkpoints_cannot_hold_is_refused(tmp_path) -> None:
    with pytest.raises(UsageError, match="token_weight that cannot be pickled"):
        step(tmp_path, token_weight=lambda tokens, args: tokens.nll, save_strategy="steps")
