"""What is measured on a GPU: models of three shapes, rows of real lengths, trainers."""

import gc
import json
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from datasets import Dataset
from sources import data_file
from subjects import IGNORED, placeholder_tokenizer
from training import lora
from transformers import LlamaConfig, LlamaForCausalLM
from trl import SFTConfig, SFTTrainer

from qtuning import QTuningConfig, QTuningTrainer
from qtuning.io.models import load_causal_lm, load_tokenizer

LONGEST = 1024
SPREAD = 6.0
"""Factor on the last norm of random models: logits of about 3 nats, as trained models have."""


class Shape(NamedTuple):
    """The size of a Llama."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    vocab: int
    tied: bool = True


SHAPES = {
    "135M": Shape(576, 1536, 30, 9, 3, 49152),
    "1.7B": Shape(2048, 8192, 24, 32, 32, 49152),
    "8B": Shape(4096, 14336, 32, 32, 8, 128256, tied=False),
    "4 layers": Shape(576, 1536, 4, 9, 3, 49152),
    "tiny": Shape(32, 64, 2, 4, 2, 300),
}
GIVEN = "given model"


class Lengths(NamedTuple):
    """Lognormal lengths in tokens, fitted to a data set: mean and deviation of the logarithm."""

    prompt: tuple[float, float]
    answer: tuple[float, float]


LENGTHS = {
    "gsm8k": Lengths((4.05, 0.34), (4.43, 0.44)),  # 153 tokens on average
    "lima": Lengths((3.33, 1.05), (5.95, 1.0)),  # 520, cut at 1,024
}


@dataclass(frozen=True)
class Place:
    """Where and how long is measured.

    Attributes:
        device: Where models are.
        tiny: Everything in small, to test the script.
        scratch: Folder for what runs write.
        ends: ``time.perf_counter()`` when the time is over.
        model: Folder of a saved model in place of the 135M with random weights.
        data: Folder with ``<name>/train.jsonl``, in place of random tokens for that model.
    """

    device: torch.device
    tiny: bool
    scratch: Path
    ends: float
    model: Path | None = None
    data: Path | None = None

    @property
    def cuda(self) -> bool:
        """Whether this is a GPU."""
        return self.device.type == "cuda"

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.ends - time.perf_counter()

    @property
    def small(self) -> str:
        """The model at hand where any would do: the given one, else the 135M."""
        return "135M" if self.model is None else GIVEN

    def synchronise(self) -> None:
        """Wait for the GPU."""
        if self.cuda:
            torch.cuda.synchronize()

    def free(self) -> None:
        """Give the memory of what is gone back."""
        gc.collect()
        if self.cuda:
            torch.cuda.empty_cache()


def build(place: Place, name: str, dtype: torch.dtype) -> Any:
    """Make the model of a name on the device; random weights are equal in every call."""
    if name == GIVEN:
        return load_causal_lm(str(place.model)).to(place.device, dtype)
    shape = SHAPES["tiny" if place.tiny else name]
    config = LlamaConfig(
        vocab_size=shape.vocab,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=8 * LONGEST,
        tie_word_embeddings=shape.tied,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.random.fork_rng(), place.device:
            torch.manual_seed(0)
            model = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    with torch.no_grad():
        model.model.norm.weight.fill_(SPREAD)
    return model


def rows(place: Place, model: str, data: str, n: int, seed: int, longest: int = LONGEST) -> Dataset:
    """Make rows of token ids: random ones, or those of a file for the given model."""
    file = data_file(data, place.data) if model == GIVEN else None
    longest = min(longest, 48) if place.tiny else longest
    draw = random.Random(f"{data} {seed}")
    made = _real(place, file, n, draw) if file else _random(place, model, data, n, draw)
    return Dataset.from_list(
        [
            {"id": f"r{seed}-{i}", "input_ids": ids[:longest], "labels": labels[:longest]}
            for i, (ids, labels) in enumerate(made)
        ]
    )


def _random(
    place: Place, model: str, data: str, n: int, draw: random.Random
) -> list[tuple[list[int], list[int]]]:
    lengths = LENGTHS[data]
    vocab = load_tokenizer(str(place.model)).vocab_size if model == GIVEN else 0
    vocab = vocab or SHAPES["tiny" if place.tiny else model].vocab
    most = LONGEST - 2
    if place.tiny:
        lengths, most = Lengths((2.0, 0.3), (2.5, 0.4)), 20
    made = []
    for _ in range(n):
        prompt = min(most, max(2, round(draw.lognormvariate(*lengths.prompt))))
        answer = max(2, round(draw.lognormvariate(*lengths.answer)))
        ids = [draw.randrange(2, vocab) for _ in range(prompt + answer)]
        made.append((ids, [IGNORED] * prompt + ids[prompt:]))
    return made


def _real(
    place: Place, file: Path, n: int, draw: random.Random
) -> list[tuple[list[int], list[int]]]:
    tokenizer = load_tokenizer(str(place.model))
    with file.open(encoding="utf-8") as lines:
        chosen = draw.choices([json.loads(line) for line in lines], k=n)
    made = []
    for row in chosen:
        prompt = tokenizer(row["prompt"] + "\n", add_special_tokens=False)["input_ids"]
        prompt = prompt[: LONGEST - 2]
        answer = tokenizer(row["completion"], add_special_tokens=False)["input_ids"]
        answer = [*answer, tokenizer.eos_token_id]
        made.append((prompt + answer, [IGNORED] * len(prompt) + answer))
    return made


def trainer_of(
    place: Place,
    model: Any,
    data: Dataset,
    options: dict[str, Any] | None,
    *,
    adapter: bool = True,
    **settings: Any,
) -> Any:
    """Make a trainer.

    Args:
        place: Where.
        model: The model.
        data: Rows of token ids.
        options: The options of pruning; None for the stock trainer.
        adapter: Train an adapter (LoRA) rather than all weights.
        settings: Settings of the trainer that differ.
    """
    common = {
        "output_dir": str(place.scratch / "run"),
        "per_device_train_batch_size": 2 if place.tiny else 8,
        "gradient_accumulation_steps": 2 if place.tiny else 4,
        "num_train_epochs": 1,
        "learning_rate": 1e-5,
        "max_length": LONGEST,
        "bf16": place.cuda,
        "use_cpu": not place.cuda,
        "gradient_checkpointing": False,
        "train_sampling_strategy": "sequential",  # the rows are in random order
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "log_level": "error",
        "seed": 0,
        **settings,
    }
    kind: Any = SFTTrainer if options is None else QTuningTrainer
    return kind(
        model,
        SFTConfig(**common) if options is None else QTuningConfig(**common, **options),
        train_dataset=data,
        processing_class=placeholder_tokenizer(),
        peft_config=lora() if adapter else None,
    )
