"""Cases to measure: settings (a model, data, the kind of tuning) and the methods on each.

Everything here is plain data, so that a case can be written as JSON, hashed and handed to a child
process.
"""

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

SMOLLM2 = "smollm2-135m"
HEAD = 49_152


@dataclass(frozen=True)
class Shape:
    """The shape of a Llama with random weights and tied embeddings."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    vocab: int = HEAD


SHAPES = {
    "8m": Shape(128, 384, 8, 4),
    "30m": Shape(384, 1024, 7, 6),
    "100m": Shape(640, 1728, 15, 10),
    "300m": Shape(1024, 2816, 21, 16),
}
"""Shapes by their number of parameters with a vocabulary of 49,152 tokens."""


@dataclass(frozen=True)
class Setting:
    """A model and data to train it on.

    Attributes:
        name: Name in tables and plots.
        model: ``SMOLLM2``, or the shape of a random Llama.
        data: A data set's name, or "tokens" for generated token ids.
        tuning: "lora" (rank 8, alpha 16, all linear layers) or "full".
        rows: Candidates of the counted steps, in one epoch.
        batch: Candidates in a micro-batch.
        accumulation: Micro-batches in an optimizer step (gradient accumulation).
        max_length: Longest sample in tokens.
        epochs: Epochs over the rows.
    """

    name: str
    model: str | Shape
    data: str
    tuning: str
    rows: int = 32
    batch: int = 8
    accumulation: int = 4
    max_length: int = 512
    epochs: int = 1


@dataclass(frozen=True)
class Method:
    """One way to train on a setting.

    Attributes:
        name: Name in tables and plots.
        kind: What the worker does: "stock", "pruning" or "forward" (see worker.py), or
            "peak-scoring", "peak-backbone", "peak-logits" (one forward, for its memory).
        options: Fields of ``QTuningConfig``.
        batch: ``per_device_train_batch_size``; None for the setting's.
        earlier_scores: Whether to score the rows first and pass the scores as ``initial_scores``.
        small_scorer: Whether to pass the model's first layers as ``scorer_model_name_or_path``.
    """

    name: str
    kind: str
    options: dict[str, Any] = field(default_factory=dict)
    batch: int | None = None
    earlier_scores: bool = False
    small_scorer: bool = False


class Case(NamedTuple):
    """A method on a setting; ``repeat``, counted from 0, is the seed of the draw of rows."""

    suite: str
    setting: Setting
    method: Method
    repeat: int

    @property
    def name(self) -> str:
        """Name of the case, with which ``--only`` is matched."""
        return f"{self.suite}/{self.setting.name}/{self.method.name}/{self.repeat}"

    def to_dict(self) -> dict[str, Any]:
        """Return the case as plain data, for JSON."""
        return {
            "suite": self.suite,
            "setting": asdict(self.setting),
            "method": asdict(self.method),
            "repeat": self.repeat,
        }

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> "Case":
        """Make a case from the plain data of ``to_dict``."""
        setting = dict(given["setting"])
        if isinstance(setting["model"], dict):
            setting["model"] = Shape(**setting["model"])
        return cls(given["suite"], Setting(**setting), Method(**given["method"]), given["repeat"])


STOCK = Method("stock", "stock")
FORWARD = Method("forward alone", "forward")
FULL = Method(
    "full",
    "pruning",
    {"sample_pruner": "full", "sample_ratio": 1.0, "token_pruner": "none", "token_ratio": 1.0},
)
RANDOM = Method(
    "random 12.5% x 50%",
    "pruning",
    {
        "sample_pruner": "random",
        "sample_ratio": 0.125,
        "token_pruner": "random",
        "token_ratio": 0.5,
    },
)


def q_tuning(sample_ratio: float, token_ratio: float, **more: Any) -> Method:
    """Make the method Q-Tuning at a budget, named after the budget and the token mode."""
    options = {"sample_ratio": sample_ratio, "token_ratio": token_ratio, "token_mode": "mask"}
    options |= more
    name = f"q-tuning {sample_ratio:.1%} x {token_ratio:.0%} {options['token_mode']}"
    return Method(name.replace(".0%", "%"), "pruning", options)


Q12, Q25, Q50 = q_tuning(0.125, 0.5), q_tuning(0.25, 0.5), q_tuning(0.5, 0.7)


def smollm2() -> Iterator[tuple[Setting, list[Method]]]:
    """Yield SmolLM2 on two data sets, with LoRA and with all weights: every method."""
    q_tunings = [
        q_tuning(samples, tokens, token_mode=mode)
        for samples, tokens in ((0.125, 0.5), (0.25, 0.5), (0.5, 0.7))
        for mode in ("mask", "drop")
    ]
    for data in ("alpaca", "gsm8k"):
        for tuning in ("lora", "full"):
            setting = Setting(f"smollm2-{data}-{tuning}", SMOLLM2, data, tuning)
            yield setting, [STOCK, FORWARD, FULL, RANDOM, *q_tunings]


def pool() -> Iterator[tuple[Setting, list[Method]]]:
    """Yield values of ``pool_factor``: with equal candidates per step, or per micro-batch."""
    setting = Setting("smollm2-alpaca-lora-pool", SMOLLM2, "alpaca", "lora", rows=128)

    def pooled(factor: int, batch: int) -> Method:
        name = f"q-tuning 12.5% x 50%, pool_factor {factor}, batch {batch}"
        return replace(Q12, name=name, batch=batch, options={**Q12.options, "pool_factor": factor})

    methods = [pooled(1, 8), pooled(2, 4), pooled(4, 2), pooled(2, 8), pooled(4, 8)]
    yield setting, [STOCK, FORWARD, *methods]


def models() -> Iterator[tuple[Setting, list[Method]]]:
    """Yield random Llamas, one axis at a time around (30m, 512 tokens, vocabulary of 49,152).

    Quick settings run more optimizer steps.
    """
    axes = [("8m", 512, HEAD, 4), ("30m", 512, HEAD, 2)]
    axes += [("100m", 512, HEAD, 1), ("300m", 512, HEAD, 1)]
    axes += [("30m", 128, HEAD, 4), ("30m", 2048, HEAD, 1)]
    axes += [("30m", 512, 8_192, 3), ("30m", 512, 262_144, 1)]
    for size, length, vocab, steps in axes:
        setting = random_llama(size, length, vocab)
        yield replace(setting, accumulation=2, rows=16 * steps), [STOCK, FORWARD, Q12, Q25]


def random_llama(size: str, length: int, vocab: int) -> Setting:
    """Make a setting with a random Llama, all weights trained on generated tokens."""
    name = f"llama-{size}-seq{length}-v{vocab // 1000}k"
    shape = replace(SHAPES[size], vocab=vocab)
    return Setting(name, shape, "tokens", "full", max_length=length)


def epochs() -> Iterator[tuple[Setting, list[Method]]]:
    """Yield three epochs, in which methods can reuse a sample's statistics of an earlier epoch.

    Also one pass instead of two, for one epoch: it saves the same in every epoch.
    """

    def cheaper(name: str, **options: Any) -> Method:
        return replace(Q12, name=f"{Q12.name}, {name}", options={**Q12.options, **options})

    reuse = cheaper("earlier scores, score_refresh 0.1", score_refresh=0.1)
    small_model = cheaper("smaller scorer")
    methods = [
        STOCK,
        FORWARD,
        RANDOM,
        Q12,
        cheaper("score_refresh 0.25", score_refresh=0.25),
        cheaper("score_refresh 0.1", score_refresh=0.1),
        replace(reuse, earlier_scores=True),
        replace(small_model, small_scorer=True),
    ]
    for data in ("alpaca", "gsm8k"):
        name = f"smollm2-{data}-lora-3-epochs"
        yield Setting(name, SMOLLM2, data, "lora", rows=64, epochs=3), methods
    above_break_even = q_tuning(0.75, 0.7)
    micro = {**above_break_even.options, "pool_scope": "micro"}
    two_passes = replace(
        above_break_even, name=f"{above_break_even.name}, pool_scope micro", options=micro
    )
    single_pass = replace(
        two_passes, name=f"{two_passes.name}, one_pass", options={**micro, "one_pass": True}
    )
    setting = Setting("smollm2-alpaca-lora-one-pass", SMOLLM2, "alpaca", "lora", rows=64)
    yield setting, [STOCK, FORWARD, two_passes, single_pass]


def memory() -> Iterator[tuple[Setting, list[Method]]]:
    """Yield settings for peak memory: of a step, and of scoring with a large vocabulary."""
    for tuning in ("lora", "full"):
        setting = Setting(f"smollm2-alpaca-{tuning}", SMOLLM2, "alpaca", tuning)
        yield setting, [STOCK, FULL, Q12, Q25]
    yield random_llama("30m", 2048, HEAD), [STOCK, FULL, Q12, Q25]
    scoring = replace(random_llama("30m", 256, 262_144), rows=8)
    kinds = ("backbone", "scoring", "logits")
    yield scoring, [Method(f"{kind} alone", f"peak-{kind}") for kind in kinds]


def tiny() -> Iterator[tuple[Setting, list[Method]]]:
    """Yield a setting for tests: a few seconds, a model of about ten thousand parameters."""
    shape = Shape(32, 48, 2, 4, vocab=256)
    sizes = {"rows": 8, "batch": 2, "accumulation": 2, "max_length": 32}
    setting = Setting("llama-tiny", shape, "tokens", "full", **sizes)
    unknown = Method("not there yet", "pruning", {"no_such_field": 1})
    yield setting, [STOCK, FORWARD, q_tuning(0.5, 0.5), unknown]


SUITES = {
    "smollm2": smollm2,
    "pool": pool,
    "models": models,
    "epochs": epochs,
    "memory": memory,
    "tiny": tiny,
}
ALL = ("smollm2", "pool", "models", "epochs", "memory")
ONCE = ("memory",)
"""Suites with a single repeat: memory allocation is the same each time."""


def plan(suites: list[str], repeats: int, only: str = "") -> list[Case]:
    """List all cases, interleaved: each setting's methods once, then the next repeat of all.

    Args:
        suites: Names of ``SUITES``.
        repeats: How often each method is measured.
        only: A regular expression that must match in a case's name.
    """
    cases = [
        Case(suite, setting, method, repeat)
        for suite in suites
        for setting, methods in SUITES[suite]()
        for repeat in range(1 if suite in ONCE else repeats)
        for method in methods
    ]
    return [case for case in cases if re.search(only, case.name)]
