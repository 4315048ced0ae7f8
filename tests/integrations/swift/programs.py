"""ms-swift's own training, with the plug-in and without, on a tiny model, a process a run."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from qtuning.integrations.swift_options import VARIABLE
from qtuning.integrations.swift_plugin import PLUGIN

from ... import processes, tiny

NOTHING_PRUNED = {"sample_ratio": 1.0, "token_ratio": 1.0}
QUARTER = {"sample_ratio": 0.25, "token_ratio": 0.5}
LORA = {"tuner_type": "lora", "lora_rank": 4, "target_modules": "all-linear"}
SFT = ["-m", "swift.cli.sft"]
"""What `swift sft` runs in a process of its own, with flags in place of a file."""


class Workshop:
    """A model, data, and options that ms-swift trains with, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        tiny.save_model(folder / "model", chat=True)
        self.data = folder / "sums.jsonl"
        self.data.write_text("".join(f"{json.dumps(row)}\n" for row in conversations(40)))
        self.config = {
            "model": str(folder / "model"),
            "model_type": "llama",
            "template": "chatml",
            "dataset": str(self.data),
            "tuner_type": "full",
            "torch_dtype": "float32",
            "max_length": 128,
            "split_dataset_ratio": 0,
            "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 2,
            "learning_rate": 1e-3,
            "logging_steps": 1,
            "save_steps": 2,
            "max_steps": 4,
            "report_to": "none",
            "add_version": False,
            "dataloader_num_workers": 0,
            "check_model": False,
            "use_hf": True,
        }

    def command(
        self, name: str, pruning: dict[str, Any] | None = None, **changes: Any
    ) -> tuple[list[str], dict[str, str]]:
        """The command of a run, and its environment; without pruning, that of ms-swift alone."""
        environment = {}
        settings = {**self.config, "output_dir": str(self.folder / name), **changes}
        if pruning is not None:
            file = self.folder / f"{name}-pruning.yaml"
            file.write_text(json.dumps(pruning))  # JSON is YAML
            environment[VARIABLE] = str(file)
            settings.setdefault("external_plugins", str(PLUGIN))
        words = [word for key, value in settings.items() for word in (f"--{key}", str(value))]
        return [sys.executable, *SFT, *words], environment

    def try_run(self, name: str, *pruning: Any, **changes: Any) -> subprocess.CompletedProcess[str]:
        """Run, whatever becomes of it; what it says is its ``stderr``."""
        command, environment = self.command(name, *pruning, **changes)
        return processes.run(command, env=environment)

    def run(self, name: str, *pruning: Any, **changes: Any) -> Path:
        """Run to the end; the output folder."""
        done = self.try_run(name, *pruning, **changes)
        assert done.returncode == 0, done.stderr[-4000:]
        return self.folder / name


def conversations(n: int) -> list[dict[str, Any]]:
    return [
        {
            "messages": [
                {"role": "user", "content": row["prompt"]},
                {"role": "assistant", "content": row["completion"].strip()},
            ]
        }
        for row in tiny.rows(n)
    ]


def last(folder: Path) -> Path:
    """The last checkpoint: ms-swift writes no weights beside them."""
    return max(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """The weights, or those of the adapter."""
    (file,) = last(folder).glob("*model.safetensors")
    return load_file(file)


def same_weights(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def logged(folder: Path, name: str) -> list[float]:
    history = json.loads((last(folder) / "trainer_state.json").read_text())["log_history"]
    return [entry[name] for entry in history if name in entry]
