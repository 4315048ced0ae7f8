"""The routers of a mixture of experts learn as fast as without pruning, whatever is left out."""

from dataclasses import dataclass, fields

import pytest
import torch
from transformers import DataCollatorForSeq2Seq, Trainer, TrainerCallback, TrainingArguments

from qtuning import PruningArguments, QTuningConfig, QTuningTrainer, with_pruning

from .. import architectures, runs, tiny

COEFFICIENT = 0.5
SETTINGS = {
    **runs.SETTINGS,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 4,
    "max_steps": 1,
    "max_grad_norm": 1e9,
    "sample_pruner": "random",
    "token_pruner": "none",
}


OLD = pytest.mark.skipif(
    "router_aux_loss_coef" not in {one.name for one in fields(QTuningConfig)},
    reason="older TRL has no option for it",
)
KINDS = ["plain", pytest.param("sft", marks=OLD)]


@dataclass
class Arguments(PruningArguments, TrainingArguments):
    """Those of a plain trainer."""


class Gradients(TrainerCallback):
    """Keeps the gradients of the last step."""

    def __init__(self) -> None:
        self.of: dict[str, torch.Tensor] = {}

    def on_pre_optimizer_step(self, args, state, control, **kwargs) -> None:
        named = kwargs["model"].named_parameters()
        self.of = {name: p.grad.clone() for name, p in named if p.grad is not None}


def model(coefficient: float = COEFFICIENT):
    return architectures.build(
        "mixtral",
        vocab_size=100,
        eos_token_id=1,
        bos_token_id=None,
        pad_token_id=0,
        router_aux_loss_coef=coefficient,
    ).train()


def plain_rows():
    tokenizer = tiny.tokenizer()

    def encode(row):
        prompt, answer = (tokenizer(row[key])["input_ids"] for key in ("prompt", "completion"))
        ids = [*prompt, *answer, 1]
        labels = [-100] * len(prompt) + ids[len(prompt) :]
        return {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": labels}

    rows = tiny.dataset(32)
    return rows.map(encode, remove_columns=["prompt", "completion"])


def plain(folder, **settings):
    tokenizer = tiny.tokenizer()
    return with_pruning(Trainer)(
        model(),
        Arguments(str(folder), **{**SETTINGS, **settings}),
        train_dataset=plain_rows(),
        data_collator=DataCollatorForSeq2Seq(tokenizer, padding=True),
        processing_class=tokenizer,
    )


def sft(folder, **settings):
    return QTuningTrainer(
        model(),
        QTuningConfig(str(folder), **{**SETTINGS, "router_aux_loss_coef": COEFFICIENT, **settings}),
        train_dataset=tiny.dataset(32),
        processing_class=tiny.tokenizer(),
    )


def step_of(trainer):
    """Loss and gradients of one step, and the micro-batches that went forward."""
    gradients, batches = Gradients(), []
    trainer.add_callback(gradients)
    own = trainer.compute_loss

    def watched(model, inputs, *args, **kwargs):
        batches.append({key: value.clone() for key, value in inputs.items()})
        return own(model, inputs, *args, **kwargs)

    trainer.compute_loss = watched
    trainer.train()
    return trainer.state.log_history[0]["loss"], gradients.of, batches


def by_hand(batches, n_passes: float):
    """Mean NLL of the kept tokens, and ``n_passes`` times the mean auxiliary loss."""
    device = batches[0]["input_ids"].device
    fresh = model().to(device)
    n_tokens = sum(int((batch["labels"][:, 1:] != -100).sum()) for batch in batches)
    loss = torch.zeros((), device=device)
    for batch in batches:
        output = fresh(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            output_router_logits=True,
        )
        labels = batch["labels"][:, 1:]
        nll = torch.nn.functional.cross_entropy(
            output.logits[:, :-1].float().transpose(1, 2), labels, reduction="sum"
        )
        loss = loss + nll / n_tokens
        loss = loss + COEFFICIENT * output.aux_loss * n_passes / len(batches)
    loss.backward()
    grads = {name: p.grad for name, p in fresh.named_parameters() if p.grad is not None}
    return float(loss.detach()), grads


@pytest.mark.parametrize("ratio", [0.125, 0.5, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_the_auxiliary_loss_weighs_as_much_as_in_a_full_step(tmp_path, kind, ratio) -> None:
    """transformers' trainer adds it up over the micro-batches of a step, newer TRL takes the mean.

    Older TRL leaves it to the trainer.
    """
    trainer = {"plain": plain, "sft": sft}[kind](tmp_path, sample_ratio=ratio)
    is_mean = kind == "sft" and "router_aux_loss_coef" in vars(trainer)
    loss, gradients, batches = step_of(trainer)
    assert len(batches) < 4 or ratio == 1.0, "micro-batches were skipped"
    expected, expected_gradients = by_hand(batches, 1 if is_mean else 4)
    assert loss == pytest.approx(expected, rel=1e-3)
    assert gradients.keys() == expected_gradients.keys()
    for name, gradient in expected_gradients.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_pass_for_other_ranks_alone_gives_the_routers_nothing(tmp_path, kind) -> None:
    """As on a rank with a spare row, whose two tokens must teach nobody."""
    from qtuning.examples.example import NothingHere

    trainer = {"plain": plain, "sft": sft}[kind](tmp_path, sample_ratio=0.5)
    own = trainer.get_batch_samples

    def spare(*args):
        batches, n_items = own(*args)
        return [
            NothingHere({k: v[:1, :2] for k, v in b.items()}) for b in batches[-1:] * 4
        ], n_items

    def unlabelled(*args):
        batches, n_items = spare(*args)
        for batch in batches:
            batch["labels"] = torch.full_like(batch["labels"], -100)
        return batches, n_items

    trainer.get_batch_samples = unlabelled
    loss, gradients, batches = step_of(trainer)
    assert len(batches) == 4
    assert loss == 0.0
    assert all(not gradient.any() for gradient in gradients.values())
