"""A trainer class' compute_loss is known by what it does: hand on the stock loss, or not."""

import pytest
import torch
from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments, Trainer
from trl import SFTConfig, SFTTrainer

from qtuning import PruningArguments, UsageError, read_ledger, with_pruning
from qtuning.training.handed_on import hands_on_loss

from .. import runs, tiny


class Counts(Seq2SeqTrainer):
    """Counts what it is given, beside handing it on."""

    seen = 0

    def compute_loss(self, model, inputs, *args, **kwargs):
        self.seen += int((inputs["labels"] != -100).sum())
        self.state.tokens = self.seen
        if self.accelerator.unwrap_model(model).config.model_type == "gemma4":
            inputs["more"] = inputs["input_ids"]
        return super().compute_loss(model, inputs, *args, **kwargs)


class Chooses(Trainer):
    """Has a loss of its own for an option."""

    own = False

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        if self.own:
            return self.label_smoother(model(**inputs), inputs["labels"])
        return super().compute_loss(
            model, inputs, return_outputs=return_outputs, num_items_in_batch=num_items_in_batch
        )


class ChoosesItsOwn(Chooses):
    own = True


class Below(Counts):
    """Has no method of its own, and one that it inherits."""


class OfTrl(SFTTrainer):
    def compute_loss(self, *args, **kwargs):
        return super().compute_loss(*args, **kwargs)


class Adds(Trainer):
    def compute_loss(self, *args, **kwargs):
        return super().compute_loss(*args, **kwargs) + 0


class AsksTwice(Trainer):
    def compute_loss(self, *args, **kwargs):
        super().compute_loss(*args, **kwargs)
        return super().compute_loss(*args, **kwargs)


class Outputs(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **kwargs)
        return (loss, outputs) if return_outputs else loss


class OtherLabels(Trainer):
    def compute_loss(self, model, inputs, *args, **kwargs):
        inputs["labels"][:, 1] = 5
        return super().compute_loss(model, inputs, *args, **kwargs)


class OtherInputs(Trainer):
    def compute_loss(self, model, inputs, *args, **kwargs):
        inputs = {name: value for name, value in inputs.items() if name != "attention_mask"}
        return super().compute_loss(model, inputs, *args, **kwargs)


class NoCount(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        return super().compute_loss(model, inputs, return_outputs)


class NeedsImages(Trainer):
    def compute_loss(self, model, inputs, *args, **kwargs):
        inputs["pixel_values"].float()
        return super().compute_loss(model, inputs, *args, **kwargs)


def made(kind, tmp_path, **more):
    of_trl = issubclass(kind, SFTTrainer)
    args = (SFTConfig if of_trl else Seq2SeqTrainingArguments)(str(tmp_path), **runs.SETTINGS)
    rows = tiny.dataset() if of_trl else None
    return kind(tiny.llama(), args, train_dataset=rows, processing_class=tiny.tokenizer(), **more)


@pytest.mark.parametrize(
    ("kind", "hands_on"),
    [
        *((kind, True) for kind in (Trainer, Seq2SeqTrainer, SFTTrainer)),
        *((kind, True) for kind in (Counts, Below, Chooses, OfTrl)),
        *((kind, False) for kind in (ChoosesItsOwn, Adds, AsksTwice, Outputs, OtherLabels)),
        *((kind, False) for kind in (OtherInputs, NoCount, NeedsImages)),
    ],
)
def test_what_a_class_does_is_seen(kind, hands_on, tmp_path):
    trainer = made(kind, tmp_path)
    before = dict(vars(trainer))
    draws = torch.get_rng_state()
    assert hands_on_loss(trainer, trainer.compute_loss) == hands_on
    assert vars(trainer) == before
    assert not hasattr(trainer.state, "tokens")
    if hands_on:
        assert torch.equal(torch.get_rng_state(), draws)


def test_a_class_that_hands_on_may_weigh_samples(tmp_path):
    pruning = PruningArguments(sample_pruner="infobatch", token_pruner="none")
    trainer = made(with_pruning(OfTrl, pruning), tmp_path)
    trainer.train()
    assert not all(read_ledger(tmp_path)["kept"].to_pylist())
    with pytest.raises(UsageError, match="another loss than the plain NLL"):
        made(with_pruning(ChoosesItsOwn, pruning), tmp_path)
    made(with_pruning(ChoosesItsOwn, PruningArguments()), tmp_path)  # is not asked
