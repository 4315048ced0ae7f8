"""Axolotl's own training, with the plugin and without, on a tiny model, each in its own process."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from ... import processes, tiny

PLUGIN = {"plugins": ["qtuning.integrations.axolotl.QTuningPlugin"]}
NOTHING_PRUNED = {**PLUGIN, "qtuning": {"sample_ratio": 1.0, "token_ratio": 1.0}}
QUARTER = {**PLUGIN, "qtuning": {"sample_ratio": 0.25, "token_ratio": 0.5}}
PACKED = {"sample_packing": True, "attn_implementation": "sdpa"}
LORA = {
    "adapter": "lora",
    "lora_r": 4,
    "lora_alpha": 8,
    "lora_target_linear": True,
    # Axolotl's kernels for LoRA need a GPU.
    "lora_mlp_kernel": False,
    "lora_qkv_kernel": False,
    "lora_o_kernel": False,
}
ENVIRONMENT = {"AXOLOTL_DO_NOT_TRACK": "1"}
TRAIN = ["-m", "axolotl.cli.train"]


class Workshop:
    """A model, data, and a config that Axolotl trains with, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        tiny.save_model(folder / "model", chat=True, max_position_embeddings=512)
        self.data = folder / "sums.jsonl"
        self.data.write_text(
            "".join(
                json.dumps({"instruction": row["prompt"], "input": "", "output": row["completion"]})
                + "\n"
                for row in tiny.rows(64)
            )
        )
        self.config = {
            "base_model": str(folder / "model"),
            "tokenizer_type": "PreTrainedTokenizerFast",
            "special_tokens": {"pad_token": "<pad>"},
            "datasets": [{"path": str(self.data), "ds_type": "json", "type": "alpaca"}],
            "dataset_prepared_path": str(folder / "prepared"),
            # Else four processes pack a step's bins, and each compiles the code for that anew.
            "dataset_num_proc": 1,
            "sequence_len": 512,
            "micro_batch_size": 2,
            "gradient_accumulation_steps": 1,
            "num_epochs": 4,
            "max_steps": 4,
            "save_steps": 2,
            "logging_steps": 1,
            "learning_rate": 1e-3,
            "lr_scheduler": "constant",
            "optimizer": "adamw_torch",
            "bf16": False,
            "tf32": False,
            "seed": 7,
        }

    def command(self, name: str, **changes: Any) -> list[str]:
        """The command of a run with changes in its file."""
        file = self.folder / f"{name}.yaml"
        changes = {"output_dir": str(self.folder / name), **changes}
        file.write_text(json.dumps({**self.config, **changes}))  # JSON is YAML
        return [sys.executable, *TRAIN, str(file)]

    def try_run(
        self, name: str, *words: str, program: list[str] | None = None, **changes: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run, whatever becomes of it; what it says is its ``stderr``.

        Args:
            name: Of the output folder and the file.
            words: More of the command line.
            program: What is run in place of ``python -m axolotl.cli.train``.
            changes: Of the config.
        """
        command = [*self.command(name, **changes), *words]
        if program is not None:
            command[1 : 1 + len(TRAIN)] = program
        return processes.run(command, env=ENVIRONMENT)

    def run(self, name: str, *words: str, **changes: Any) -> Path:
        """Run to the end; the output folder."""
        done = self.try_run(name, *words, **changes)
        assert done.returncode == 0, done.stderr[-4000:]
        return self.folder / name


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """The weights, or those of the adapter."""
    (file,) = folder.glob("*model.safetensors")
    return load_file(file)


def same_weights(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def history(folder: Path) -> list[dict[str, float]]:
    """What the run logged up to its last checkpoint."""
    last = max(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    log: list[dict[str, float]] = json.loads((last / "trainer_state.json").read_text())[
        "log_history"
    ]
    return log


def losses(folder: Path) -> list[float]:
    return [entry["loss"] for entry in history(folder) if "loss" in entry]
