"""Checks that the other arguments fit the token weighter, before anything is loaded."""

from collections.abc import Iterator, Mapping
from typing import Any

from ..arguments import PruningArguments
from ..errors import UsageError
from .protocols import OF_BASE
from .registry import weighter_of

PLAIN_NLL = (None, "nll", "chunked_nll")
"""Values of TRL's ``loss_type`` that are the mean NLL; None, where it is not chosen yet."""


def check_weighter(args: PruningArguments) -> None:
    """Check the token weighter, its options, and the options of TRL that are other losses.

    Raises:
        UsageError: The weighter is unknown, one of its options is out of range, or another option
            sets the loss as well.
    """
    for name, lowest, highest in (
        ("eaft_exponent", 0.0, 10.0),
        ("power_q", 0.0, 100.0),
        ("power_tau", 0.0, 1.0),
        ("stm_threshold", 1.0, 1e9),
    ):
        value = vars(args)[name]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UsageError(f"{name} must be a number, got {value!r}")
        if not lowest <= value <= highest:
            raise UsageError(f"{name} must lie in [{lowest:g}, {highest:g}], got {value}")
    if args.power_side == "below" and args.power_tau == 0.0:
        raise UsageError(
            "power_side below at power_tau 0.0 leaves no token a loss: raise power_tau"
        )
    weighter = weighter_of(args)
    if weighter is None:
        return
    if args.one_pass and not weighter.needs.isdisjoint(OF_BASE):
        raise UsageError(
            f"one_pass has the model being trained alone, and token_weight {args.token_weight} "
            "reads the model before training: turn one_pass off, or choose another token_weight"
        )
    for option in other_losses(vars(args)):
        raise UsageError(
            f"token_weight {args.token_weight} is a loss of its own, and {option} is another: "
            "leave one of them out"
        )


def other_losses(args: Mapping[str, Any]) -> Iterator[str]:
    """The options of TRL and transformers that are set and make another loss, as ``name=value``.

    Args:
        args: The training arguments by name; names may be missing.
    """
    if args.get("loss_type") not in PLAIN_NLL:
        yield f"loss_type={args['loss_type']}"
    if args.get("label_smoothing_factor", 0.0):
        yield f"label_smoothing_factor={args['label_smoothing_factor']}"
    if args.get("use_liger_kernel"):
        yield "use_liger_kernel"
