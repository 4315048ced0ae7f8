"""Options of ``qtuning llamafactory``: ours are told from LLaMA-Factory's, by name alone.

Nothing here needs LLaMA-Factory, whose own names are given.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, NoReturn

from transformers import HfArgumentParser

from ..arguments import PruningArguments
from ..errors import UsageError
from ..io.yaml_files import names_own_code

Given = dict[str, Any] | list[str]
"""What LLaMA-Factory reads of a command line: a config file's mapping, or flags."""

PRUNING = tuple(spec.name for spec in fields(PruningArguments))
"""The names of the pruning options."""

VARIABLES = {
    "USE_RAY": "trains on Ray's workers",
    "USE_MCA": "trains by Megatron",
    "USE_V1": "has a training loop of its own",
}
"""Environment variables under which LLaMA-Factory does not train by the class that prunes, and why.
"""

_OPTIONS = {
    "packing": "puts several samples into one row without their bounds, which would be scored and "
    "kept as one sample",
    "neat_packing": "puts several samples into one row, which would be scored and kept as one "
    "sample",
    "use_asft_loss": "divides its loss by the tokens of a micro-batch, not by those of the step",
    "use_hyper_parallel": "has a trainer of its own",
    "use_mca": "trains by Megatron",
}


class _Parser(HfArgumentParser):
    """A parser of flags that tells an error in one line."""

    def __call__(self, words: list[str]) -> Any:
        """The dataclasses that flags stand for."""
        return self.parse_args_into_dataclasses(words, look_for_args_file=False)

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def divided(given: Given, known: Collection[str], *, lenient: bool) -> tuple[Given, Given]:
    """The pruning options, and what is left for LLaMA-Factory, each in the form it came in.

    Args:
        given: The options as LLaMA-Factory reads them.
        known: The names of LLaMA-Factory's options.
        lenient: Whether LLaMA-Factory was told to pass over unknown options; then only those are
            refused that look like one of ours.

    Raises:
        UsageError: An option is neither ours nor LLaMA-Factory's.
    """
    names = _flags(given) if isinstance(given, list) else map(str, given)
    for name in names:
        if name in PRUNING or name in known:
            continue
        near = get_close_matches(name.lstrip("-"), PRUNING if lenient else [*PRUNING, *known], n=1)
        if near or not lenient:
            hint = f"did you mean {near[0]}?" if near else "see docs/llamafactory.md for ours"
            raise UsageError(
                f"unknown option {name}: neither qtuning nor LLaMA-Factory has it, {hint}"
            )
    if isinstance(given, dict):
        own = {name: value for name, value in given.items() if name in PRUNING}
        return own, {name: value for name, value in given.items() if name not in own}
    own_words: list[str] = []
    rest: list[str] = []
    words = rest
    for word in given:
        if word.startswith("--"):
            words = own_words if next(_flags([word])) in PRUNING else rest
        words.append(word)
    return own_words, rest


def _flags(words: Sequence[str]) -> Iterator[str]:
    """The options that flags name; ``--no_x`` is ``x`` turned off."""
    for word in words:
        if word.startswith("--"):
            name = word[2:].partition("=")[0].replace("-", "_")
            yield name.removeprefix("no_")


def gives(given: Given, name: str) -> bool:
    """Whether an option is given a value that is not null or false."""
    return name in _flags(given) if isinstance(given, list) else bool(given.get(name))


def pruning_of(own: Given, words: Sequence[str]) -> PruningArguments:
    """The pruning arguments that options stand for.

    Args:
        own: The pruning options.
        words: The words of the command line. A file alone may not name code to run.

    Raises:
        UsageError: A value is out of range or of another kind, or a file names code to run.
    """
    if isinstance(own, list):
        made: PruningArguments
        (made,) = _Parser(PruningArguments, prog="qtuning llamafactory", allow_abbrev=False)(own)
        return made
    for name, value in own.items():
        if names_own_code(name, value) and not any(word.startswith(f"{name}=") for word in words):
            raise UsageError(
                f"{name}: {value} would run code that a file names; give {name}={value} on the "
                "command line if you trust it"
            )
    return PruningArguments(**own)


def refuse_variables(environment: Mapping[str, str]) -> None:
    """Refuse environment variables with which LLaMA-Factory trains by another class.

    Raises:
        UsageError: One of them is set.
    """
    for name, why in VARIABLES.items():
        if is_on(environment, name):
            raise UsageError(f"{name}: LLaMA-Factory then {why}, which cannot be pruned; unset it")


def is_on(environment: Mapping[str, str], name: str) -> bool:
    """Whether a variable is set to what LLaMA-Factory takes for true."""
    return environment.get(name, "0").lower() in ("true", "y", "1")


def refuse_options(parsed: Mapping[str, Any]) -> None:
    """Refuse options of LLaMA-Factory under which pruning would train on something else.

    Args:
        parsed: The values of its options by name.

    Raises:
        UsageError: One of them is set.
    """
    stage = parsed["stage"]
    if stage != "sft":
        raise UsageError(
            f"stage: {stage} is not pruned, only sft is; run `llamafactory-cli train` for it"
        )
    for name, why in _OPTIONS.items():
        if parsed[name]:
            raise UsageError(f"{name}: pruning does not support it, since it {why}; turn it off")
