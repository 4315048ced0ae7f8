"""The data and the model that an option needs to do anything: keyword arguments of a trainer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import EarlyStoppingCallback

from .. import architectures, tiny

ROWS = 10  # an epoch is a step of 8 and one of 2
EVALUATION = {"eval_strategy": "steps", "eval_steps": 2, "per_device_eval_batch_size": 2}
# Templates that TRL knows how to cut: what is between the marks is the assistant's.
TURNS_TEMPLATE = (
    "{% for m in messages %}<u>{{ m['role'] }} {% if m['role'] == 'assistant' %}"
    "{% generation %}{{ m['content'] }}<e>{% endgeneration %}"
    "{% else %}{{ m['content'] }}<e>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<u>assistant {% endif %}"
)
Scene = tuple[dict[str, Any], dict[str, Any]]
"""Keyword arguments of the trainer, and settings."""


def usual() -> dict[str, Any]:
    return {
        "model": tiny.llama(attention_dropout=0.1),
        "train_dataset": tiny.dataset(ROWS),
        "processing_class": tiny.tokenizer(),
    }


def evaluation(folder: Path) -> Scene:
    return {**usual(), "eval_dataset": tiny.dataset(3, seed=1)}, EVALUATION


def metrics(folder: Path) -> Scene:
    made, settings = evaluation(folder)
    return {**made, "compute_metrics": Measured()}, settings


class Measured:
    """Metrics of whatever is given: predictions of all batches, joined or not, or of one batch."""

    def __init__(self) -> None:
        self._sums = [0.0, 0.0]

    def __call__(self, given: Any, compute_result: bool = True) -> dict[str, float]:
        for place, values in enumerate((given.predictions, given.label_ids)):
            parts = values if isinstance(values, list) else [values]
            self._sums[place] += sum(float(torch.as_tensor(part).double().sum()) for part in parts)
        if not compute_result:
            return {}
        sums, self._sums = self._sums, [0.0, 0.0]
        found = {"predicted": sums[0], "labelled": sums[1]}
        if given.inputs is not None:
            found["given"] = float(torch.as_tensor(given.inputs).double().sum())
        if given.losses is not None:
            found["lost"] = float(torch.as_tensor(given.losses).double().sum())
        return found


def words(folder: Path) -> Scene:
    """A column of lengths that are not those of the tokens."""
    made = usual()
    lengths = [
        len(row["prompt"].split()) * (3 + place % 5) for place, row in enumerate(tiny.rows(ROWS))
    ]
    made["train_dataset"] = made["train_dataset"].add_column("words", lengths)
    return made, {}


def text(folder: Path) -> Scene:
    rows = [
        {"story": row["prompt"] + row["completion"], "text": row["prompt"] * 2}
        for row in tiny.rows(ROWS)
    ]
    return {**usual(), "train_dataset": Dataset.from_list(rows)}, {}


def tokens(folder: Path) -> Scene:
    """Rows that are tokens and labels already."""
    ids = tiny.tokenizer()
    rows = []
    for row in tiny.rows(ROWS):
        prompt, completion = ids(row["prompt"])["input_ids"], ids(row["completion"])["input_ids"]
        labels = [-100] * len(prompt) + completion
        rows.append({"input_ids": prompt + completion, "labels": labels})
    return {**usual(), "train_dataset": Dataset.from_list(rows)}, {}


def turns(folder: Path) -> Scene:
    rows = []
    for row, after in zip(tiny.rows(ROWS), tiny.rows(ROWS, seed=1), strict=True):
        messages = [
            {"role": role, "content": content.strip()}
            for one in (row, after)
            for role, content in (("user", one["prompt"]), ("assistant", one["completion"]))
        ]
        rows.append({"messages": messages})
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = TURNS_TEMPLATE
    (folder / "template.jinja").write_text(TURNS_TEMPLATE.replace("<u>", "<u><u>"))
    made = {**usual(), "train_dataset": Dataset.from_list(rows), "processing_class": tokenizer}
    return made, {}


def folder(folder: Path) -> Scene:
    """A model by its name."""
    path = folder / "model"
    if not path.exists():
        tiny.save_model(path)
    return {**usual(), "model": str(path)}, {}


def experts(folder: Path) -> Scene:
    model = architectures.build("mixtral", vocab_size=100, eos_token_id=1, bos_token_id=None)
    return {**usual(), "model": model.train()}, {}


def one_layer(folder: Path) -> Scene:
    """A model that is compiled soon, and batches of one shape, for which it is compiled once."""
    made = {**usual(), "model": tiny.llama(num_hidden_layers=1)}
    return made, {"per_device_train_batch_size": 5, "num_train_epochs": 4}


def little_memory(folder: Path) -> Scene:
    """A model that finds no room for more than two rows that it is to be trained on."""
    made = usual()

    def look(embedding: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        if embedding.training and len(given[0]) > 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate more than there is.")

    made["model"].get_input_embeddings().register_forward_pre_hook(look)
    return made, {}


def early_stopping(folder: Path) -> Scene:
    made, settings = evaluation(folder)
    return {**made, "callbacks": [EarlyStoppingCallback(early_stopping_patience=100)]}, settings


SCENES: dict[str | None, Callable[[Path], Scene]] = {
    None: lambda folder: (usual(), {}),
    "evaluation": evaluation,
    "metrics": metrics,
    "words": words,
    "text": text,
    "tokens": tokens,
    "turns": turns,
    "folder": folder,
    "experts": experts,
    "little memory": little_memory,
    "one layer": one_layer,
    "early stopping": early_stopping,
}
