"""Our exports, loaded by LLaMA-Factory's own loader and trained on by its own command."""

import json

import pytest
from datasets import load_from_disk

from qtuning.commands.main import main

from .programs import STOCK, losses

pytest.importorskip("llamafactory", reason="in the environment that `make integrations` makes")


@pytest.fixture(scope="module")
def exported(workshop):
    """Half of the rows, with half of some rows' tokens."""
    scores, output = workshop.folder / "scores.parquet", workshop.folder / "exported"
    data = ["--dataset_name", str(workshop.folder / "sums.json"), "--per_token"]
    model = ["--model_name_or_path", str(workshop.folder / "model")]
    assert main(["score", *model, *data, "--output", str(scores)]) == 0
    ratios = ["--sample_ratio", "0.5", "--token_ratio", "0.5"]
    pruned = ["prune", str(scores), *ratios, "--format", "llamafactory", "--output", str(output)]
    assert main(pruned) == 0
    return output


def test_its_command_trains_on_the_kept_rows(workshop, exported):
    (name,) = json.loads((exported / "dataset_info.json").read_text())
    changes = {"dataset": name, "dataset_dir": str(exported), "max_steps": 3}
    run = workshop.run(STOCK, "on-rows", **changes)
    assert len(losses(run)) == 3


def test_its_command_trains_on_the_kept_tokens(workshop, exported):
    path = exported / "tokenized"
    rows = load_from_disk(str(path))["train"]
    assert len(rows) == 20
    changes = {"dataset": "sums", "tokenized_path": str(path), "max_steps": 3}
    run = workshop.run(STOCK, "on-tokens", **changes)
    assert len(losses(run)) == 3


def test_its_loader_reads_the_labels_as_they_were_written(workshop, exported):
    from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
    from llamafactory.hparams import get_train_args
    from llamafactory.model import load_tokenizer

    path = exported / "tokenized"
    config = {**workshop.config, "tokenized_path": str(path), "output_dir": str(exported / "none")}
    model_args, data_args, training_args, *_ = get_train_args(config)
    tokenizers = load_tokenizer(model_args)
    template = get_template_and_fix_tokenizer(tokenizers["tokenizer"], data_args)
    read = get_dataset(template, model_args, data_args, training_args, stage="sft", **tokenizers)
    written = load_from_disk(str(path))["train"]
    assert read["train_dataset"]["labels"][:] == written["labels"][:]
    assert any(-100 in labels[-4:] or labels.count(-100) for labels in written["labels"])
