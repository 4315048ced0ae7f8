"""examples/as_released.yaml runs, and sets what docs/as-released.md says that it sets."""

import json
import math
from pathlib import Path

import pytest
import torch
import yaml

from qtuning import PruningArguments, read_ledger
from qtuning.commands.main import main
from qtuning.core.plane import Q2
from qtuning.run.record import BUDGET_FILE

from .. import device, tiny

ROOT = Path(__file__).parents[2]
PRESET = ROOT / "examples" / "as_released.yaml"
PAGE = (ROOT / "docs" / "as-released.md").read_text(encoding="utf-8")
SET = yaml.safe_load(PRESET.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of the preset over 64 rows: two steps of 4 micro-batches of 8."""
    folder = tmp_path_factory.mktemp("released")
    model, data = tiny.save_model(folder / "model"), folder / "rows.jsonl"
    tiny.dataset(64).to_json(data)
    command = ["train", "--config", str(PRESET), "--model_name_or_path", str(model)]
    command += ["--dataset_name", str(data), "--output_dir", str(folder / "out")]
    command += ["--num_train_epochs", "1", "--report_to", "none", "--save_strategy", "no"]
    command += ["--bf16", "false", "--gradient_checkpointing", "false", "--learning_rate", "1e-3"]
    assert main([*command, *device.flags()]) == 0
    return folder / "out"


def test_it_trains_on_one_sample_of_each_micro_batch(run) -> None:
    rows = read_ledger(run).to_pylist()
    assert len(rows) == 64
    assert all(row["scored"] and math.isfinite(row["entropy"]) for row in rows)
    for start in range(0, 64, 8):
        pool = rows[start : start + 8]
        assert sum(row["kept"] for row in pool) == 1
        (kept,) = [row for row in pool if row["kept"]]
        assert kept["tokens_kept"] <= kept["n_tokens"]
        budget = max(1, int(0.0625 * sum(row["n_tokens"] for row in pool) + 1e-9))
        if kept["quadrant"] == Q2 and not kept["filled"]:
            assert kept["tokens_kept"] == min(kept["n_tokens"], budget)
    counts = json.loads((run / BUDGET_FILE).read_text())
    assert counts["scored_tokens"] == 0, "no pass but that of training"
    emptied = sum(row["kept"] and not row["tokens_kept"] for row in rows)
    assert counts["emptied_samples"] == emptied


def test_the_entropies_are_of_whole_samples(run) -> None:
    """Those of the first step, which the untrained model scored."""
    model, tokenizer = tiny.llama().eval(), tiny.tokenizer()
    by_id = {row["id"]: row for row in tiny.rows(64)}
    for row in read_ledger(run).to_pylist()[:32]:
        text = by_id[row["sample_id"]]
        ids = tokenizer(text["prompt"] + text["completion"])["input_ids"] + [1]
        with torch.no_grad():
            logp = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
        entropy = float(-(logp.exp() * logp).sum(-1).mean())
        assert row["entropy"] == pytest.approx(entropy, rel=1e-4)


def test_the_record_has_the_switches(run) -> None:
    settings = json.loads((run / "pruning_settings.json").read_text())
    fields = set(vars(PruningArguments()))
    for name, value in SET.items():
        assert name not in fields or settings[name] == value


def test_the_page_names_every_switch_that_differs_from_the_default() -> None:
    default = vars(PruningArguments())
    for name, value in SET.items():
        if name in default and default[name] != value and name != "sample_ratio":
            shown = str(value).lower() if isinstance(value, bool) else value
            assert f"`{name}: {shown}`" in PAGE, name
    assert "it is not known that the paper's tables came from it" in PAGE
    assert PRESET.name in PAGE
