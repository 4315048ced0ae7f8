"""Rows as a run would train on them, as text."""

from typing import Any, NamedTuple

FAST = ["--bf16", "false", "--report_to", "none", "--disable_tqdm", "true"]
FAST += ["--per_device_train_batch_size", "4", "--save_strategy", "no", "--max_steps", "2"]
FAST += ["--gradient_checkpointing", "false"]


class Shown(NamedTuple):
    """A row.

    Attributes:
        name: The id of the sample.
        text: Its tokens, those that are trained between ⟦ and ⟧.
    """

    name: str
    text: str


def shown(trainer: Any, data: Any) -> list[Shown]:
    """The rows that a trainer has, with the labels that its collator makes."""
    return [_row(trainer, dict(row)) for row in ([] if data is None else data)]


def marked(tokenizer: Any, ids: list[int], labels: list[int]) -> str:
    """Tokens as text, those that are trained between ⟦ and ⟧; the first never is."""
    text, inside = "", False
    for place, (token, label) in enumerate(zip(ids, labels, strict=True)):
        if (label != -100 and place > 0) != inside:
            inside = not inside
            text += "⟦" if inside else "⟧"
        text += tokenizer.decode([token])
    return text + ("⟧" if inside else "")


def _row(trainer: Any, row: dict[str, Any]) -> Shown:
    name = str(row.pop("sample_id", None))
    batch = trainer.data_collator([row])
    ids, labels = (batch[key][0].tolist() for key in ("input_ids", "labels"))
    return Shown(name, marked(trainer.processing_class, ids, labels))
