"""Turns as units within Axolotl, and the flags of our exports read by it."""

import json

import pyarrow.compute as pc
import pytest
from datasets import load_from_disk

from qtuning import read_ledger
from qtuning.commands.main import main
from qtuning.core.ratio import keep_count

from ... import tiny
from ..talks import talk
from .programs import NOTHING_PRUNED, PACKED, PLUGIN, losses, same_weights

pytest.importorskip("axolotl", reason="in the environment that `make integrations` makes")
HALF = {**PLUGIN, "qtuning": {"prune_unit": "turn", "sample_ratio": 0.5, "token_ratio": 1.0}}
BY_TURN = {**PLUGIN, "qtuning": {**NOTHING_PRUNED["qtuning"], "prune_unit": "turn"}}
N = 16
MARKED = (
    "{% for m in messages %}<u>{{ m['role'] }} {% if m['role'] == 'assistant' %}{% generation %}"
    "{{ m['content'] }}<e>{% endgeneration %}{% else %}{{ m['content'] }}<e>{% endif %}{% endfor %}"
)
"""What the model's template writes, with marks on answers."""


@pytest.fixture(scope="module")
def entry(workshop):
    """The entry of a config for conversations, of which Axolotl trains the answers."""
    path = workshop.folder / "talks.jsonl"
    path.write_text("".join(json.dumps({"messages": talk(i)}) + "\n" for i in range(N)))
    return {
        "path": str(path),
        "ds_type": "json",
        "type": "chat_template",
        "chat_template": "tokenizer_default",
        "field_messages": "messages",
        "message_property_mappings": {"role": "role", "content": "content"},
        "roles_to_train": ["assistant"],
        "train_on_eos": "turn",
    }


def with_data(workshop, entry, name):
    return {"datasets": [entry], "dataset_prepared_path": str(workshop.folder / f"prepared-{name}")}


@pytest.mark.parametrize("packed", [{}, PACKED], ids=["padded", "packed"])
def test_turns_are_kept_or_dropped_by_themselves(workshop, entry, packed):
    data = {**packed, **with_data(workshop, entry, "talks")}
    run = workshop.run(f"half-{len(packed)}", **data, **HALF)
    ledger = read_ledger(run)
    assert set(ledger["kind"].to_pylist()) == {"turn"}
    assert set(ledger["turn"].to_pylist()) == {1, 2, 3}
    for step in set(ledger["step"].to_pylist()):
        rows = ledger.filter(pc.equal(ledger["step"], step))
        assert pc.sum(rows["kept"]).as_py() == keep_count(rows.num_rows, 0.5)
    ours = workshop.run(f"all-{len(packed)}", **data, **BY_TURN)
    stock = workshop.run(f"stock-{len(packed)}", **data)
    assert losses(ours) == losses(stock)
    assert same_weights(ours, stock)


def test_flags_of_dropped_turns_are_read_by_axolotl(workshop, entry):
    """By the key ``train``: each answer's text is trained but where it is false."""
    folder = workshop.folder
    (folder / "marked.jinja").write_text(MARKED)
    options = ["--dataset_name", entry["path"], "--prune_unit", "turn"]
    model = ["--model_name_or_path", str(folder / "model"), "--assistant_only_loss", "true"]
    model += ["--chat_template_path", str(folder / "marked.jinja")]
    scores, kept = str(folder / "turns.parquet"), folder / "kept.jsonl"
    assert main(["score", *model, *options, "--output", scores]) == 0
    ratios = ["--sample_ratio", "0.5", "--token_ratio", "1.0", "--prune_unit", "turn"]
    assert main(["prune", scores, *ratios, "--format", "jsonl", "--output", str(kept)]) == 0
    flagged = {**entry, "path": str(kept), "message_field_training": "train"}
    workshop.run("flagged", **with_data(workshop, flagged, "flagged"), max_steps=1)
    prepared = (folder / "prepared-flagged").rglob("dataset_info.json")
    (read,) = (load_from_disk(str(path.parent)) for path in prepared)
    tokenizer = tiny.tokenizer()
    trained = sorted(
        "".join(tokenizer.convert_ids_to_tokens([y for y in labels if y != -100]))
        for labels in read["labels"]
    )
    lines = [json.loads(line) for line in kept.read_text().splitlines()]
    said = [
        [m["content"] for m in row["messages"] if m["role"] == "assistant" and "train" not in m]
        for row in lines
    ]
    assert any(m.get("train") is False for row in lines for m in row["messages"])
    assert trained == sorted(map("".join, said))
