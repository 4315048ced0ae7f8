"""Seconds of a step, stock and ours in turns, and the bound beside them."""

import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import process
import torch
from forward import arithmetic, padded
from gpu_subjects import Place, build, rows, trainer_of
from peft import get_peft_model
from subjects import IGNORED
from torch.nn.attention import SDPBackend, sdpa_kernel
from training import lora
from transformers import TrainerCallback

from qtuning import QTuningTrainer
from qtuning.signals.forward import causal_lm_of

Q125 = {"sample_ratio": 0.125, "token_ratio": 0.5}
RANDOM = {"sample_pruner": "random", "token_pruner": "random"}
STOCK = "stock"
WAYS: dict[str, dict[str, Any] | None] = {
    STOCK: None,
    "q-tuning 12.5% x 50%": Q125,
    "q-tuning 25% x 50%": {**Q125, "sample_ratio": 0.25},
    "ratio 1.0": {"sample_ratio": 1.0, "token_ratio": 1.0},
    "random 12.5% x 50%": {**Q125, **RANDOM},
}
SHARES = ("scoring", "selection", "collation", "training")
WARM, ROUNDS = 2, 3
FASTEST = (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)
"""Without cuDNN's attention, which plans anew for every shape."""


class Setting(NamedTuple):
    """A model and a data set, and what is measured of them."""

    model: str
    data: str
    ways: tuple[str, ...]
    rounds: int = ROUNDS

    @property
    def name(self) -> str:
        """The name in the tables."""
        return f"{self.model}, {self.data}"


def settings(place: Place) -> list[Setting]:
    """Return what is measured, the most important first."""
    every = tuple(WAYS)
    small = Setting(place.small, "gsm8k", every, 2)
    if place.tiny:
        return [Setting("1.7B", "lima", every[:2], 1), small._replace(ways=every[:1], rounds=1)]
    return [Setting("1.7B", "lima", every), small, Setting("8B", "lima", every[:2], 2)]


class Watch(TrainerCallback):
    """The ends of the steps of a run, its passes, and its memory."""

    def __init__(self, place: Place, backbone: torch.nn.Module, steps: int) -> None:
        """Watch some warm steps, and so many more, as long as there is time.

        Args:
            place: Where.
            backbone: The backbone, whose forward passes are counted.
            steps: Number of steps that count.
        """
        self.place, self.warm = place, 1 if place.tiny else WARM
        self.last = self.warm + steps
        self.trainer: Any = None
        self._marks: list[Any] = []
        self._forget()
        backbone.register_forward_pre_hook(self._pass, with_kwargs=True)

    def _forget(self) -> None:
        self.passes = {"scoring": 0, "training": 0}
        self.tokens = dict(self.passes)
        self._before = self._spent()
        if self.place.cuda:
            torch.cuda.reset_peak_memory_stats()
        else:
            process.forget_peak()

    def _pass(self, module: torch.nn.Module, args: tuple[Any, ...], more: dict[str, Any]) -> None:
        ids = more.get("input_ids", args[0] if args else None)
        kind = "training" if torch.is_grad_enabled() else "scoring"
        self.passes[kind] += 1
        self.tokens[kind] += 0 if ids is None else ids.numel()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin."""
        self._mark()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Note the end of the step; forget what the warm ones took."""
        self._mark()
        if state.global_step == self.warm:
            self._forget()
        if state.global_step >= self.last or self.place.left < 0:
            control.should_training_stop = True

    def _mark(self) -> None:
        if not self.place.cuda:
            self._marks.append(time.perf_counter())
            return
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        self._marks.append(event)

    def _spent(self) -> dict[str, float]:
        """Seconds by what they were spent on, so far, in a run of ours."""
        if not isinstance(self.trainer, QTuningTrainer):
            return {}
        counts = self.trainer._record.counts.state_dict()
        return {name: counts[f"{name}_seconds"] for name in SHARES}

    def result(self) -> dict[str, Any]:
        """Return the seconds of the steps after the warm ones, and what they took."""
        self.place.synchronise()
        pairs = list(pairwise(self._marks))
        if self.place.cuda:
            seconds = [a.elapsed_time(b) / 1000 for a, b in pairs]
            peak = torch.cuda.max_memory_allocated() / 2**30
        else:
            seconds, peak = [b - a for a, b in pairs], process.peak() / 1024
        counted = seconds[self.warm :]
        n = max(1, len(counted))
        return {
            "warm_seconds": seconds[: self.warm],
            "seconds": counted,
            "shares": {
                name: (spent - self._before.get(name, 0.0)) / sum(counted)
                for name, spent in self._spent().items()
                if counted
            },
            "passes": {kind: count / n for kind, count in self.passes.items()},
            "padded_tokens": {kind: count / n for kind, count in self.tokens.items()},
            "peak_gib": peak,
        }


def steps_of(place: Place) -> int:
    """Return the number of steps counted in a round."""
    return 2 if place.tiny else 6


def measure(place: Place, setting: Setting, way: str, number: int) -> dict[str, Any]:
    """Train one way in one round; the rows are other ones in each round, the same for all ways."""
    model = build(place, setting.model, torch.bfloat16 if place.cuda else torch.float32)
    watch = Watch(place, model.base_model, steps_of(place))
    data = rows(place, setting.model, setting.data, candidates(place) * watch.last, number)
    trainer = trainer_of(place, model, data, WAYS[way])
    watch.trainer = trainer
    trainer.add_callback(watch)
    trainer.train()
    return {"setting": setting.name, "way": way, "round": number, **watch.result()}


def candidates(place: Place) -> int:
    """Return the number of candidates of a step."""
    return 4 if place.tiny else 32


def bound(place: Place, setting: Setting, ratio: float) -> Iterator[dict[str, Any]]:
    """Measure the arithmetic of a step alone: score all candidates, train on the kept ones.

    The head is a bare product at answer positions. The candidates are sorted by length and scored
    in one, two or four passes, since fewer passes pad more; one pass trains.
    """
    causal_lm = build(place, setting.model, torch.bfloat16 if place.cuda else torch.float32)
    model = get_peft_model(causal_lm, lora())
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=1e-5, fused=place.cuda)
    n, warm = candidates(place), 1 if place.tiny else WARM
    data = rows(place, setting.model, setting.data, n * (warm + steps_of(place)), 0)
    steps = [list(data.select(range(i, i + n))) for i in range(0, len(data), n)]
    with (
        sdpa_kernel(list(FASTEST)),
        torch.autocast(place.device.type, torch.bfloat16, enabled=place.cuda),
    ):
        for passes in (1, 2, 4):
            seconds = []
            for step in steps:
                if place.left < 0:
                    return
                place.synchronise()
                began = time.perf_counter()
                _arithmetic_of_step(place, model, optimizer, weights, step, passes, ratio)
                place.synchronise()
                seconds.append(time.perf_counter() - began)
            yield {
                "setting": setting.name,
                "ratio": ratio,
                "scoring_passes": passes,
                "seconds": seconds[warm:],
            }


def _arithmetic_of_step(
    place: Place,
    model: Any,
    optimizer: torch.optim.Optimizer,
    weights: list[torch.nn.Parameter],
    step: list[dict[str, Any]],
    passes: int,
    ratio: float,
) -> None:
    ordered = sorted(step, key=lambda row: -len(row["input_ids"]))
    size = -(-len(ordered) // passes)
    model.eval()
    with torch.no_grad():
        for start in range(0, len(ordered), size):
            arithmetic(model, to_device(place, padded(ordered[start : start + size])))
    every = round(1 / ratio)
    batch = to_device(place, padded(ordered[every // 2 :: every] or ordered[:1]))
    model.train()
    hidden = causal_lm_of(model).base_model(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False
    )[0]
    labels = batch["labels"][:, 1:].flatten()
    where = (labels != IGNORED).nonzero()[:, 0]
    answers = hidden[:, :-1].flatten(0, 1).index_select(0, where)
    logits = causal_lm_of(model).get_output_embeddings()(answers).float()
    torch.nn.functional.cross_entropy(logits, labels.index_select(0, where)).backward()
    torch.nn.utils.clip_grad_norm_(weights, 1.0)
    optimizer.step()
    optimizer.zero_grad()


def to_device(place: Place, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copy a batch to the device."""
    return {
        name: (tensor.pin_memory() if place.cuda else tensor).to(place.device, non_blocking=True)
        for name, tensor in batch.items()
    }
