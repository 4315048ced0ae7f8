"""Pruning arguments: one flat dataclass with every default, help text and range."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from .errors import UsageError

MORE_CHECKS: "list[Callable[[PruningArguments], None]]" = []
"""Checks that ``check_pruning`` makes after its own. The package adds those of the pruners and
weighters, which this module cannot import, since they import it."""

METHODS = ("sample_pruner", "token_pruner", "token_weight")
"""The fields that name a method, or are one."""
_CHOICES = {
    "token_mode": ("mask", "drop"),
    "error_scale": ("ppl", "log_ppl"),
    "fill_tokens": ("whole", "side"),
    "token_budget": ("sample", "pool"),
    "token_rule": ("score", "and"),
    "entropy_over": ("answer", "all"),
    "pool_scope": ("step", "micro"),
    "prune_unit": ("sample", "turn"),
    "tail_schedule": ("linear", "fixed"),
    "score_dtype": ("same", "bfloat16", "float16"),
    "eaft_form": ("paper", "llamafactory", "axolotl"),
    "power_side": ("above", "below"),
    "prift_form": ("prob", "mass"),
}


@dataclass
class PruningArguments:
    """Arguments of pruning; a mixin for any ``TrainingArguments`` (see ``QTuningConfig``).

    Defaults are the paper's, except ``sample_ratio`` (the middle of the paper's range) and
    ``pool_scope`` (the paper's pool is the micro-batch of one device). In Python the two pruners
    and the token weighter may also be callables.

    Raises:
        UsageError: A value is out of range or unknown.
    """

    sample_pruner: str = field(
        default="q-tuning",
        metadata={
            "help": "Which samples of each step are kept: a registered name (q-tuning, random, "
            "full, longest, ppl-high, infobatch, uds, ...; see docs/pruners.md) or "
            "'package.module:name' of your own."
        },
    )
    sample_ratio: float = field(
        default=0.25,
        metadata={"help": "Share of the samples to keep, in (0, 1]; 1.0 keeps all."},
    )
    token_pruner: str = field(
        default="q-tuning",
        metadata={
            "help": "Which answer tokens of a kept sample are kept: a registered name (q-tuning, "
            "random, none, ppl, rho-1, ss-token, ...; see docs/pruners.md) or "
            "'package.module:name' of your own."
        },
    )
    token_ratio: float = field(
        default=0.5,
        metadata={
            "help": "Share of the answer tokens to keep in a sample whose tokens are pruned, in "
            "(0, 1]; 1.0 keeps all."
        },
    )
    token_mode: str = field(
        default="mask",
        metadata={
            "help": "mask: a pruned token stays in the input and gives no loss; drop: it is "
            "removed from the input as well.",
            "choices": _CHOICES["token_mode"],
        },
    )
    neighbor_lambda: float = field(
        default=0.5,
        metadata={"help": "Weight of the neighbours in a token's score, in [0, 1]."},
    )
    neighbor_mean: bool = field(
        default=False,
        metadata={"help": "Use the mean of a token's two neighbours instead of their sum."},
    )
    error_scale: str = field(
        default="ppl",
        metadata={
            "help": "Error axis when samples are filled up or trimmed to the budget: ppl as in "
            "the paper, or log_ppl, which one outlier cannot squash.",
            "choices": _CHOICES["error_scale"],
        },
    )
    fill_tokens: str = field(
        default="whole",
        metadata={
            "help": "Tokens of samples kept only to fill the budget: whole, or side, which prunes "
            "those on Q2's side of the diagonal.",
            "choices": _CHOICES["fill_tokens"],
        },
    )
    protect_eos: bool = field(
        default=True,
        metadata={"help": "The tokens that end a turn always keep their label, inside the budget."},
    )
    token_budget: str = field(
        default="sample",
        metadata={
            "help": "What token_ratio is a share of, for token_pruner q-tuning: sample, the answer "
            "of each pruned sample; or pool, one budget of sample_ratio x token_ratio of all "
            "answer tokens of the pool, kept or dropped, for which the worst tokens of all pruned "
            "samples give way, at times all of an answer.",
            "choices": _CHOICES["token_budget"],
        },
    )
    token_rule: str = field(
        default="score",
        metadata={
            "help": "Which tokens of a pruned sample may be pruned, for token_pruner q-tuning: "
            "score, all; or and, only those whose own perplexity and whose neighbours' mean both "
            "lie above the median of the answer, so that more than the budget may be kept.",
            "choices": _CHOICES["token_rule"],
        },
    )
    pool_factor: int = field(
        default=1,
        metadata={
            "help": "Candidates a micro-batch, as a multiple of per_device_train_batch_size: "
            "larger pools to choose from, fewer steps an epoch."
        },
    )
    pool_scope: str = field(
        default="step",
        metadata={
            "help": "Samples compared with each other: step, all candidates of an optimizer step "
            "on all ranks, or micro, each micro-batch of each device by itself (the paper).",
            "choices": _CHOICES["pool_scope"],
        },
    )
    prune_unit: str = field(
        default="sample",
        metadata={
            "help": "What is kept or dropped: sample; or turn, each trained turn of the assistant, "
            "which stays in the context without a loss if dropped.",
            "choices": _CHOICES["prune_unit"],
        },
    )
    bisect_steps: int = field(
        default=10, metadata={"help": "Steps of the bisection that cuts the plane."}
    )
    entropy_over: str = field(
        default="answer",
        metadata={
            "help": "Positions whose mean entropy is a sample's uncertainty: answer, those that "
            "predict an answer token; or all, every position of the input, prompt included. "
            "Perplexity is over the answer in both.",
            "choices": _CHOICES["entropy_over"],
        },
    )
    gain_quantile: float = field(
        default=0.5,
        metadata={
            "help": "Share of each pool's samples, those of least gain, that gain-random sets "
            "aside before it draws, in [0, 1]."
        },
    )
    tail_schedule: str = field(
        default="linear",
        metadata={
            "help": "Share of the samples that tail drops: linear, from 0 to 1 - sample_ratio over "
            "the run (published with sample_ratio 0.5), or fixed, 1 - sample_ratio in every step.",
            "choices": _CHOICES["tail_schedule"],
        },
    )
    s_ifd_noisy: bool = field(
        default=False,
        metadata={
            "help": "s-ifd over noisy copies, offline: of the 2k samples of highest mean the k of "
            "least deviation; reads what `qtuning score --alone --noisy_copies 30` writes."
        },
    )
    score_batch_size: int | None = field(
        default=None,
        metadata={
            "help": "Size of a scoring forward pass, in samples as long as the longest candidate; "
            "of shorter ones more go together. By default per_device_train_batch_size on the CPU, "
            "and on a GPU as many times that as the memory of a training step holds, since "
            "scoring needs no gradients. A pass that does not fit is made again in halves."
        },
    )
    score_dtype: str = field(
        default="same",
        metadata={
            "help": "Precision of the scoring pass: same as training, or autocast to bfloat16 or "
            "float16, which is faster and may turn a few decisions.",
            "choices": _CHOICES["score_dtype"],
        },
    )
    score_refresh: float = field(
        default=1.0,
        metadata={
            "help": "Share of each pool's already known samples that is scored anew, in [0, 1]: "
            "those nearest to another decision first. The others keep their last scores; at 0 all "
            "do, for good. Samples never seen are always scored."
        },
    )
    initial_scores: str | None = field(
        default=None,
        metadata={
            "help": "Earlier scores of the data set that count as known from the start: a Parquet "
            "file (sample_id, ppl, entropy, n_tokens; for pruners that read answers without "
            "their prompts that of `qtuning score --alone`) or another run's output folder. Needs "
            "score_refresh below 1, where 0 scores nothing of it again."
        },
    )
    scorer_model_name_or_path: str | None = field(
        default=None,
        metadata={
            "help": "Another model of the same tokenizer, usually a smaller one, that scores in "
            "place of the model being trained. It does not learn, so each sample is scored once."
        },
    )
    reference_model_name_or_path: str | None = field(
        default=None,
        metadata={
            "help": "Model of the same tokenizer that token pruners compare with: rho-1 and "
            "token-cleaning need one, ss-token takes the model as it was before training if none "
            "is named. It scores each kept sample once."
        },
    )
    one_pass: bool = field(
        default=False,
        metadata={
            "help": "Score in the training forward itself and mask what is pruned in its loss: no "
            "second forward, but a backward of everything, so the cost of a full run whatever the "
            "ratio. Faster than two passes above a sample ratio of about 2/3. Needs pool_scope "
            "micro and token_mode mask. Dropout is on in scoring, so in a model that has it "
            "decisions differ a little from those of two passes."
        },
    )
    prune_start: float = field(
        default=0.0,
        metadata={"help": "Share of the training steps before which nothing is pruned."},
    )
    prune_end: float = field(
        default=1.0,
        metadata={"help": "Share of the training steps after which nothing is pruned."},
    )
    token_weight: str = field(
        default="none",
        metadata={
            "help": "How much each kept answer token counts in the loss: a registered name (none, "
            "dft, eaft, power, prift, stm; see docs/token-weights.md) or 'package.module:name' of "
            "your own."
        },
    )
    eaft_form: str = field(
        default="paper",
        metadata={
            "help": "Weight of eaft, H the entropy of the 20 highest logits: paper (H / ln 20)^a, "
            "llamafactory (H / 3)^a, axolotl H^a.",
            "choices": _CHOICES["eaft_form"],
        },
    )
    eaft_exponent: float = field(default=1.0, metadata={"help": "Exponent a of eaft."})
    power_q: float = field(
        default=1.0,
        metadata={"help": "Exponent q of power, whose loss is (1 - p^q) / q; 0 is the NLL."},
    )
    power_tau: float = field(
        default=0.0,
        metadata={"help": "Probability on whose power_side tokens have a loss in power."},
    )
    power_side: str = field(
        default="above",
        metadata={
            "help": "Which tokens have a loss in power: those with a probability of power_tau and "
            "above, or and below.",
            "choices": _CHOICES["power_side"],
        },
    )
    prift_form: str = field(
        default="prob",
        metadata={
            "help": "Weight of prift: prob, the probability before training, or mass, 1 for tokens "
            "of the likelier half of the distribution and 0 for others.",
            "choices": _CHOICES["prift_form"],
        },
    )
    stm_threshold: float = field(
        default=2.5,
        metadata={"help": "Perplexity before training above which stm masks a token."},
    )
    probe_samples: int = field(
        default=0,
        metadata={
            "help": "Samples, drawn once from the training data by the run's seed, whose "
            "perplexity and entropy are followed over the run; 0 turns it off, the paper's figure "
            "8 has 100. Training is the same with and without them."
        },
    )
    probe_steps: int = field(
        default=10,
        metadata={
            "help": "The probe samples are scored before the first step, every so many optimizer "
            "steps, and at the end."
        },
    )

    def __post_init__(self) -> None:
        """Check the values, then call the ``__post_init__`` of the next class, if it has one."""
        self.check_pruning()
        parent: Any = super()
        if hasattr(parent, "__post_init__"):
            parent.__post_init__()

    def check_pruning(self) -> None:
        """Check every field.

        Raises:
            UsageError: A value is out of range or unknown, or two values exclude each other.
        """
        for name in ("sample_ratio", "token_ratio"):
            value = self._number(name)
            if not 0.0 < value <= 1.0:
                raise UsageError(f"{name} must lie in (0, 1], got {value}; 1.0 prunes nothing")
        shares = ("neighbor_lambda", "gain_quantile", "score_refresh", "prune_start", "prune_end")
        for name in shares:
            value = self._number(name)
            if not 0.0 <= value <= 1.0:
                raise UsageError(f"{name} must lie in [0, 1], got {value}")
        if self.prune_start >= self.prune_end:
            raise UsageError(
                f"prune_start ({self.prune_start}) must be below prune_end ({self.prune_end})"
            )
        for name, minimum in (
            ("pool_factor", 1),
            ("bisect_steps", 1),
            ("score_batch_size", 1),
            ("probe_samples", 0),
            ("probe_steps", 1),
        ):
            number = vars(self)[name]
            if number is None and name == "score_batch_size":
                continue
            if isinstance(number, bool) or not isinstance(number, int) or number < minimum:
                raise UsageError(f"{name} must be an integer of at least {minimum}, got {number!r}")
        for name in ("neighbor_mean", "protect_eos", "s_ifd_noisy", "one_pass"):
            if not isinstance(vars(self)[name], bool):
                raise UsageError(f"{name} must be true or false, got {vars(self)[name]!r}")
        for name, choices in _CHOICES.items():
            if vars(self)[name] not in choices:
                raise UsageError(
                    f"{name} must be one of {', '.join(choices)}, got {vars(self)[name]!r}"
                )
        if self.one_pass:
            for name, choice, why in (
                ("pool_scope", "micro", "a larger pool would hold the graphs of all micro-batches"),
                ("token_mode", "mask", "a token that was in the forward cannot be dropped"),
            ):
                if vars(self)[name] != choice:
                    raise UsageError(
                        f"one_pass needs {name}={choice}, got {vars(self)[name]!r}: {why}; set "
                        f"{name} to {choice}"
                    )
            if self.scorer_model_name_or_path is not None or self.score_refresh < 1.0:
                raise UsageError(
                    "one_pass scores all candidates in their training forward: leave out "
                    "score_refresh, initial_scores and scorer_model_name_or_path, or turn it off"
                )
        for check in MORE_CHECKS:
            check(self)

    def to_dict(self) -> dict[str, Any]:
        """The arguments as trackers log them; a method that is a callable becomes its ``repr``."""
        parent: Any = super()
        arguments = dict(parent.to_dict() if hasattr(parent, "to_dict") else asdict(self))
        for name in METHODS:
            if not isinstance(arguments[name], str):
                arguments[name] = repr(arguments[name])
        return arguments

    def _number(self, name: str) -> float:
        value = vars(self)[name]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UsageError(f"{name} must be a number, got {value!r}")
        return float(value)


def pruning_values(args: PruningArguments) -> dict[str, Any]:
    """The fields of ``PruningArguments`` alone, as they are."""
    return {spec.name: vars(args)[spec.name] for spec in fields(PruningArguments)}


def pruning_fields(args: PruningArguments) -> dict[str, Any]:
    """The fields of ``PruningArguments`` alone, as plain data; a callable becomes its ``repr``."""
    values = pruning_values(args)
    return {name: repr(value) if callable(value) else value for name, value in values.items()}
