"""Our exports, loaded by Axolotl's own loader and trained on by its own command."""

import json

import pytest
import yaml
from datasets import load_from_disk

from qtuning.commands.main import main

from .programs import PACKED, PLUGIN, losses

pytest.importorskip("axolotl", reason="in the environment that `make integrations` makes")


@pytest.fixture(scope="module")
def exported(workshop):
    """Half of the rows, with half of some rows' tokens."""
    scores, output = workshop.folder / "scores.parquet", workshop.folder / "exported"
    data = ["--dataset_name", str(workshop.data), "--per_token"]
    model = ["--model_name_or_path", str(workshop.folder / "model")]
    assert main(["score", *model, *data, "--output", str(scores)]) == 0
    ratios = ["--sample_ratio", "0.5", "--token_ratio", "0.5"]
    pruned = ["prune", str(scores), *ratios, "--format", "axolotl", "--output", str(output)]
    assert main(pruned) == 0
    return output


@pytest.fixture(scope="module")
def stanza(exported):
    """The part of a config that the export brings."""
    return yaml.safe_load((exported / "datasets.yaml").read_text())


@pytest.mark.parametrize("packed", [{}, PACKED], ids=["padded", "packed"])
def test_its_command_trains_on_the_kept_tokens(workshop, exported, stanza, packed):
    prepared = workshop.folder / f"prepared-export-{len(packed)}"
    changes = {**packed, **stanza, "dataset_prepared_path": str(prepared), "max_steps": 2}
    run = workshop.run(f"on-tokens-{len(packed)}", **changes)
    assert len(losses(run)) == 2
    written = [json.loads(line) for line in (exported / "data.jsonl").read_text().splitlines()]
    (folder,) = (path.parent for path in prepared.rglob("dataset_info.json"))
    read = load_from_disk(str(folder))
    assert sorted(read["labels"]) == sorted(row["labels"] for row in written)
    assert any(-100 in row["labels"][-4:] for row in written)


def test_what_is_exported_can_be_pruned_again(workshop, stanza):
    prepared = str(workshop.folder / "prepared-again")
    run = workshop.run(
        "again", **PACKED, **stanza, **PLUGIN, dataset_prepared_path=prepared, max_steps=2
    )
    assert (run / "budget.json").exists()
