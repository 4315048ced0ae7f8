"""LLaMA-Factory's own training and ours, on a tiny model, each in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from ... import processes, tiny

STOCK = ["-m", "llamafactory.cli", "train"]
OURS = ["-m", "qtuning", "llamafactory", "train"]
NOTHING_PRUNED = {"sample_ratio": 1.0, "token_ratio": 1.0}
QUARTER = {"sample_ratio": 0.25, "token_ratio": 0.5}


class Workshop:
    """A model, data, and a config that LLaMA-Factory trains with, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        tiny.save_model(folder / "model", chat=True)
        rows = [
            {"instruction": row["prompt"], "input": "", "output": row["completion"]}
            for row in tiny.rows(40)
        ]
        (folder / "sums.json").write_text(json.dumps(rows))
        (folder / "dataset_info.json").write_text(json.dumps({"sums": {"file_name": "sums.json"}}))
        self.config = {
            "model_name_or_path": str(folder / "model"),
            "stage": "sft",
            "do_train": True,
            "finetuning_type": "full",
            "dataset": "sums",
            "dataset_dir": str(folder),
            "template": "default",
            "cutoff_len": 128,
            "overwrite_cache": True,
            "logging_steps": 1,
            "save_steps": 2,
            "max_steps": 4,
            "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 2,
            "learning_rate": 1e-3,
            "report_to": "none",
            "use_cpu": True,
            "disable_tqdm": True,
        }

    def command(self, program: list[str], name: str, **changes: Any) -> list[str]:
        """The command of a run; every change is a ``key=value`` beside the file."""
        file = self.folder / "config.yaml"
        file.write_text(json.dumps(self.config))  # JSON is YAML
        changes = {"output_dir": str(self.folder / name), **changes}
        words = [f"{key}={json.dumps(value)}" for key, value in changes.items()]
        return [sys.executable, *program, str(file), *words]

    def try_run(
        self, program: list[str], name: str, *, env: Any = None, **changes: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run, whatever becomes of it."""
        return processes.run(self.command(program, name, **changes), env=env)

    def run(self, program: list[str], name: str, *, env: Any = None, **changes: Any) -> Path:
        """Run to the end; the output folder."""
        done = self.try_run(program, name, env=env, **changes)
        assert done.returncode == 0, done.stderr[-4000:]
        return self.folder / name


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """The weights, or those of the adapter."""
    (file,) = folder.glob("*model.safetensors")
    return load_file(file)


def same_weights(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def losses(folder: Path) -> list[float]:
    history = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    return [entry["loss"] for entry in history if "loss" in entry]
