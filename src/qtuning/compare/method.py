"""The methods of a comparison: what prunes, and how its budget is found."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import UsageError

SAME = "same"
"""The ``data_ratio`` that is the budget's sample ratio."""


@dataclass(frozen=True)
class Method:
    """A way to train, without its budget.

    Attributes:
        name: Name in tables and plots.
        pruning: Fields of ``PruningArguments``, without the two ratios.
        train: Whether to train; False evaluates the untrained model once.
        budgeted: Whether the ratios matter; a method without a budget runs once for all budgets.
        tokens_of: Name of another method whose actual number of answer tokens sets the ratios.
        compute_of: Name of another method whose actual compute, scoring included, sets the sample
            ratio.
        scored_before: Whether the rows are scored once, by the untrained model, and these scores
            decide in all steps: ``initial_scores`` with ``score_refresh`` 0.
        data_ratio: Share of the rows that is kept before training by the sample pruner's rule, or
            "same" for the sample ratio; then samples are drawn at random from every step's
            candidates. None trains on all rows by the sample pruner's rule.
    """

    name: str
    pruning: Mapping[str, Any] = field(default_factory=dict)
    train: bool = True
    budgeted: bool = True
    tokens_of: str | None = None
    compute_of: str | None = None
    scored_before: bool = False
    data_ratio: float | str | None = None

    @property
    def follows(self) -> str | None:
        """Name of the method whose actual tokens or compute set this one's ratios; None if none."""
        return self.tokens_of or self.compute_of


def check_method(method: Method, methods: Mapping[str, Method], where: str) -> None:
    """Check the fields of a method that are not pruning arguments.

    Args:
        method: The method.
        methods: All methods by name.
        where: Place of the method in the YAML file, for messages.

    Raises:
        UsageError: A method that it names does not exist, a value is out of range, or two fields
            exclude each other.
    """
    if method.tokens_of is not None and method.compute_of is not None:
        raise UsageError(f"{where}: tokens_of and compute_of both set the ratios; leave one out")
    follows, seen = method.follows, [method.name]
    while follows is not None:
        if follows not in methods:
            raise UsageError(f"{where}: no method {follows}")
        if follows in seen:
            raise UsageError(f"{where}: {follows} would wait for itself; name another method")
        seen.append(follows)
        follows = methods[follows].follows
    if method.scored_before:
        for name in ("initial_scores", "score_refresh", "scorer_model_name_or_path"):
            if name in method.pruning:
                raise UsageError(f"{where}: scored_before sets the scores; leave out {name}")
    _check_data_ratio(method, where)


def _check_data_ratio(method: Method, where: str) -> None:
    ratio = method.data_ratio
    if ratio is None:
        return
    is_share = isinstance(ratio, int | float) and 0.0 < ratio <= 1.0
    if ratio != SAME and not is_share:
        raise UsageError(f"{where}: data_ratio is {SAME} or a share in (0, 1], got {ratio!r}")
    if method.follows is not None:
        raise UsageError(
            f"{where}: data_ratio needs ratios of its own; leave out tokens_of and compute_of"
        )
    if method.scored_before:
        raise UsageError(
            f"{where}: data_ratio scores the rows before training where its rule reads scores; "
            "leave out scored_before"
        )
    if not method.budgeted or not method.train:
        raise UsageError(f"{where}: data_ratio needs a budget; leave out budgeted and train")


def check_fewer_steps(training: Mapping[str, Any], where: str) -> None:
    """Check that a run on fewer rows has as many fewer steps, as ``data_ratio`` means it.

    Args:
        training: Fields of ``QTuningConfig`` of a data set.
        where: Place of the data set in the YAML file, for messages.

    Raises:
        UsageError: The number of steps is fixed, or rows are packed.
    """
    if (training.get("max_steps") or -1) > 0:
        raise UsageError(
            f"{where}: data_ratio takes fewer steps, and max_steps fixes them; set num_train_epochs"
        )
    if training.get("packing"):
        raise UsageError(
            f"{where}: data_ratio keeps rows, and packing joins them; leave packing out"
        )
