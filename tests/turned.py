"""Conversations of several turns, and short runs whose units are turns."""

from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import set_seed

from qtuning import QTuningConfig, QTuningTrainer
from qtuning.examples.token_weights import labels_by_trl

from . import runs, talks, tiny
from .talks import answer, call, result, user

TEMPLATE = talks.TEMPLATE.replace(
    "{% generation %}", "{% generation %}{% if m['thinking'] %}({{ m['thinking'] }}) {% endif %}"
)
"""Prints thoughts as well."""
REWRITES = (
    "{% for m in messages %}<u>{{ m['role'] }} {% if loop.last and m['role'] == 'assistant' %}"
    "<u>{% endif %}{{ m['content'] }}<e>{% endfor %}"
)
"""What an answer begins with depends on whether it is the last one, as with Qwen3's."""


def tokenizer(template: str = TEMPLATE) -> Any:
    made = tiny.tokenizer()
    made.chat_template = template
    return made


def save(folder: Path) -> Path:
    """Save a tiny model whose template marks turns."""
    tiny.llama().save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def rows(n: int = 12) -> list[dict[str, Any]]:
    """Conversations of one to three trained turns, of all kinds."""
    made = []
    for i in range(n):
        messages = [user(f"q{i}"), answer("a" * (i % 5 + 1)), user("r"), answer(f"so {i} {i * i}")]
        if i % 4 == 1:
            messages = [user(f"{i}?"), call("add", a=i), result(f"{i}"), answer(f"is {i}.")]
        if i % 4 == 2:
            messages += [user("z"), {**answer(f"end {i}"), "thinking": "hm" * i}]
        if i % 4 == 3:
            messages = [user(f"only {i}"), answer("one" * (i % 3 + 1))]
        made.append({"id": f"c{i}", "messages": messages})
    return made


def turns_of(row: dict[str, Any]) -> int:
    return sum(message["role"] == "assistant" for message in row["messages"])


def labels_of(row: Any) -> list[int]:
    """The labels of a prepared row, which older TRL gives as a mask."""
    return labels_by_trl(row, completion_only=True)


SETTINGS: dict[str, Any] = {
    **runs.SETTINGS,
    "num_train_epochs": 1,
    "per_device_train_batch_size": 2,
    "sample_ratio": 0.5,
    "prune_unit": "turn",
    "assistant_only_loss": True,
}


def pruning(
    folder: Path,
    *,
    data: Any = None,
    model: Any = None,
    template: str = TEMPLATE,
    **settings: Any,
) -> QTuningTrainer:
    """A trainer whose steps have 4 conversations, of whose turns half are kept."""
    set_seed(42)
    return QTuningTrainer(
        model or tiny.llama(attention_dropout=0.1),
        QTuningConfig(str(folder), **{**SETTINGS, **settings}),
        train_dataset=Dataset.from_list(rows()) if data is None else data,
        processing_class=tokenizer(template),
    )
