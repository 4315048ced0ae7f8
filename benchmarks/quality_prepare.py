"""What some methods need before they can run: earlier scores of the data, and a smaller model."""

import json
from pathlib import Path
from typing import Any

from quality_data import Row, test_rows, training_rows
from quality_evaluate import held_out_nll
from quality_study import SETTINGS, Setting
from quality_train import make_trainer
from torch import nn

from qtuning.io.models import load_causal_lm, load_tokenizer

RECIPE: dict[str, Any] = {
    "layers": 10,
    "rows_by_setting": 500,
    "epochs": 2,
    "learning_rate": 5e-4,
    "seed": 0,
}
"""How the smaller model is made; part of the key of all that depends on it."""


def score_once(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Score the setting's rows with the untrained model; the ledger of ``folder/run`` has them.

    One epoch at learning rate 0: the model stays as it is, and next to nothing is trained on.
    """
    setting, data = Setting.of(job["setting"]), Path(job["data"])
    rows, _ = training_rows(data, setting)
    trainer = make_trainer(
        setting,
        job["model"],
        rows,
        {},
        output_dir=str(folder / "run"),
        num_train_epochs=1,
        learning_rate=0.0,
        sample_ratio=1 / (setting.batch * setting.accumulation),
        token_ratio=0.5,
    )
    trainer.train()
    return {"budget": json.loads((folder / "run" / "budget.json").read_text())}


def make_small_model(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Cut the model down to its first layers and fine-tune that on rows outside the study.

    Returns:
        Its size, and its held-out NLL in each setting before and after.
    """
    data, cut = Path(job["data"]), folder / "cut"
    cut_down(job["model"], RECIPE["layers"], cut)
    rows: list[Row] = []
    for setting in SETTINGS:
        _, others = training_rows(data, setting)
        rows += others[: RECIPE["rows_by_setting"]]
    test = {s.name: test_rows(data, s, s.nll_rows) for s in SETTINGS}
    trainer = make_trainer(
        SETTINGS[0],
        str(cut),
        rows,
        test,
        output_dir=str(folder / "run"),
        seed=RECIPE["seed"],
        num_train_epochs=RECIPE["epochs"],
        learning_rate=RECIPE["learning_rate"],
        sample_pruner="full",
        token_pruner="none",
    )
    before = {name: held_out_nll(trainer, name) for name in test}
    trainer.train()
    trainer.save_model(str(folder / "model"))
    return {
        "recipe": RECIPE,
        "parameters": sum(weight.numel() for weight in trainer.model.parameters()),
        "held_out_before": before,
        "held_out": {name: held_out_nll(trainer, name) for name in test},
        "budget": json.loads((folder / "run" / "budget.json").read_text()),
    }


def cut_down(model: str, layers: int, folder: Path) -> None:
    """Save the model's first layers with its embeddings, last norm, head and tokenizer."""
    whole = load_causal_lm(model)
    whole.base_model.layers = nn.ModuleList(list(whole.base_model.layers)[:layers])
    whole.config.num_hidden_layers = layers
    if whole.config.to_dict().get("layer_types"):
        whole.config.layer_types = whole.config.layer_types[:layers]
    whole.save_pretrained(folder)
    load_tokenizer(model).save_pretrained(folder)
