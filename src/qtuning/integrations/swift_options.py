"""Options of pruning under ms-swift, and what of ms-swift's own options cannot be pruned.

Nothing here needs ms-swift.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ..arguments import PruningArguments
from ..errors import UsageError
from ..io.yaml_files import read_yaml, refuse_code

TRIED = "4.6.0"
"""The version of ms-swift that the plug-in was tried with."""

VARIABLE = "QTUNING_CONFIG"
"""The environment variable that names the YAML file of pruning options."""

TASK = "causal_lm"
"""ms-swift's name of what is pruned."""

_MODULE = f"{__package__}.swift_trainer"
TRAINER = f"{_MODULE}.QTuningSwiftTrainer"
ARGUMENTS = f"{_MODULE}.QTuningSwiftArguments"
NOT_PRUNED = f"{_MODULE}.NotPruned"
"""Classes that ms-swift loads when it needs them, by their dotted names."""

_NAMES = tuple(spec.name for spec in fields(PruningArguments))
_BINARY = {"default", "last_round", "all", "base"}


def _has_weights(loss_scale: str) -> bool:
    return not set(loss_scale.split("+")) <= _BINARY


def _above_one(number: int) -> bool:
    return number > 1


REFUSED: Mapping[str, tuple[Callable[[Any], bool], str, str]] = {
    "packing": (bool, "several samples in a row would be kept as one", "turn it off"),
    "padding_free": (bool, "the samples of a batch become one row", "turn it off"),
    "streaming": (bool, "ms-swift deals batches of a stream to processes itself", "turn it off"),
    "sequence_parallel_size": (_above_one, "a sequence is split over processes", "set it to 1"),
    "loss_scale": (
        _has_weights,
        "weights of tokens are untested with pruning",
        "use default, last_round or all",
    ),
    "loss_type": (bool, "a loss of another kind may be a mean a micro-batch", "leave it out"),
    "label_smoothing_factor": (bool, "its loss is a mean a micro-batch", "set it to 0"),
    "enable_channel_loss": (bool, "it is untested with pruning", "turn it off"),
    "use_flash_ckpt": (bool, "its checkpoints are written after the step", "turn it off"),
    "use_ray": (bool, "Ray starts the trainer outside the main thread", "turn it off"),
}
"""Options of ms-swift: whether a value is refused, why, and what to do instead."""


def options_of(environment: Mapping[str, str]) -> PruningArguments:
    """The pruning arguments of the YAML file that the environment names.

    Args:
        environment: The environment variables.

    Raises:
        UsageError: None is named, the file cannot be read, it names code to run, or an option is
            unknown or its value out of range.
    """
    named = environment.get(VARIABLE)
    if not named:
        raise UsageError(
            f"{VARIABLE} is not set: name a YAML file of pruning options in it, or take qtuning "
            "out of external_plugins"
        )
    path = Path(named)
    options = read_yaml(path, VARIABLE)
    for name in options:
        if name not in _NAMES:
            near = get_close_matches(name, _NAMES, n=1)
            hint = f"did you mean {near[0]}?" if near else "see docs/configuration.md"
            raise UsageError(f"{VARIABLE} {path}: {name} is no option of pruning; {hint}")
    refuse_code(options, path, "name a method of qtuning's own")
    return PruningArguments(**options)


def refuse_options(given: Mapping[str, Any]) -> None:
    """Refuse options of ms-swift under which pruning would train on something else.

    Args:
        given: The values of ms-swift's options by name; those of ``REFUSED`` are looked at.

    Raises:
        UsageError: One of them is set.
    """
    for name, (is_refused, why, instead) in REFUSED.items():
        value = given.get(name)
        if value is not None and is_refused(value):
            raise UsageError(f"pruning does not support {name} ({value!r}): {why}; {instead}")
