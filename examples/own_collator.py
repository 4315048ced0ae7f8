"""Prune a plain ``transformers.Trainer`` that has a collator of your own.

    python examples/own_collator.py --model HuggingFaceTB/SmolLM2-135M-Instruct --output out

Two things are asked of it. Rows have ``input_ids``, since they are scored one by one. And the
collator makes a batch with ``input_ids``, ``attention_mask`` and ``labels`` out of any rows: what
has the label -100 is not trained on. A row may be cut short: a micro-batch with nothing to train
on is two tokens of some row, and with ``token_mode="drop"`` pruned tokens are gone. The labels that
count are those that the collator gives to a whole row.
"""

import argparse
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments

from qtuning import PruningArguments, with_pruning

_IGNORED = -100


class AfterSeparator:
    """A collator: answers begin after the last token ``separator`` of a row."""

    def __init__(self, separator: int, padding: int) -> None:
        """Note the token ids."""
        self._separator = separator
        self._padding = padding

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Pad rows on the right, and label what follows the separator; each is ``(B, L)``."""
        shape = (len(rows), max(len(row["input_ids"]) for row in rows))
        batch = {
            "input_ids": torch.full(shape, self._padding),
            "attention_mask": torch.zeros(shape, dtype=torch.long),
            "labels": torch.full(shape, _IGNORED),
        }
        for place, row in enumerate(rows):
            ids = torch.tensor(row["input_ids"])
            places = (ids == self._separator).nonzero()
            begin = int(places.max()) + 1 if len(places) else len(ids)  # of a row cut short
            batch["input_ids"][place, : len(ids)] = ids
            batch["attention_mask"][place, : len(ids)] = 1
            batch["labels"][place, begin : len(ids)] = ids[begin:]
        return batch


class Sums(torch.utils.data.Dataset[dict[str, Any]]):
    """Rows as a data set of one's own has them; ``id`` is what the ledger calls them by."""

    def __init__(self, tokenizer: Any, n: int) -> None:
        """Tokenise ``n`` sums, some with a worked solution."""
        self._rows = []
        for i in range(n):
            a, b = 3 * i % 17, 7 * i % 23
            solution = f" First {a}, then {b} more:" if i % 3 else ""
            text = f"{a} + {b}={solution} {a + b}"
            self._rows.append({"id": f"sum-{i}", "input_ids": tokenizer(text)["input_ids"]})

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._rows)

    def __getitem__(self, number: int) -> dict[str, Any]:
        """One row."""
        return self._rows[number]


def main() -> None:
    """Train on a quarter of the sums at every step, and on half of the tokens of some."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="HuggingFaceTB/SmolLM2-135M-Instruct")
    parser.add_argument("--output", default="out", help="folder to write")
    parser.add_argument("--steps", type=int, default=6)
    options = parser.parse_args()

    tokenizer = AutoTokenizer.from_pretrained(options.model)
    separator = tokenizer("=")["input_ids"][-1]
    pruned_trainer = with_pruning(Trainer, PruningArguments(sample_ratio=0.25, token_ratio=0.5))
    trainer = pruned_trainer(
        AutoModelForCausalLM.from_pretrained(options.model),
        TrainingArguments(
            options.output,
            max_steps=options.steps,
            per_device_train_batch_size=4,
            gradient_accumulation_steps=2,
            logging_steps=2,
            report_to="none",
            remove_unused_columns=False,  # the collator decides what it needs
        ),
        data_collator=AfterSeparator(separator, tokenizer.pad_token_id),
        train_dataset=Sums(tokenizer, 64),
    )
    trainer.train()


if __name__ == "__main__":
    main()
