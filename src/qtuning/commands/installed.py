"""Packages that options of training need, checked before anything is loaded."""

from collections.abc import Sequence
from importlib.util import find_spec

from transformers.integrations import get_available_reporting_integrations

from ..errors import UsageError

_OF_OPTIMIZERS = {
    "lomo": "lomo_optim",
    "galore": "galore_torch",
    "apollo": "apollo_torch",
    "grokadamw": "grokadamw",
    "torch_4bit": "torchao",
    "torch_8bit": "torchao",
    "8bit": "bitsandbytes",
    "bnb": "bitsandbytes",
    "paged": "bitsandbytes",
    "schedule_free": "schedulefree",
    "stable_adamw": "optimi",
}
"""The package of each optimizer whose name contains the key; the first key that fits counts."""
_TRACKERS = ("none", "all", "azure_ml", "flyte")
"""Values of ``report_to`` that need no package of their name."""


def check_installed(report_to: str | Sequence[str], optim: str, *, liger: bool) -> None:
    """Check that the packages are there that training arguments ask for.

    Args:
        report_to: The trackers.
        optim: The optimizer.
        liger: Whether Liger's kernels are used.

    Raises:
        UsageError: A package is not installed.
    """
    trackers = [report_to] if isinstance(report_to, str) else report_to
    there = get_available_reporting_integrations()
    for tracker in trackers or ():
        if tracker not in (*_TRACKERS, *there):
            raise UsageError(
                f"--report_to {tracker}: its package is not installed; pip install {tracker}, or "
                f"leave the option out"
            )
    package = next((one for key, one in _OF_OPTIMIZERS.items() if key in optim.lower()), None)
    wanted = {f"--optim {optim}": package, "--use_liger_kernel": "liger_kernel" if liger else None}
    for option, name in wanted.items():
        if name is not None and find_spec(name) is None:
            raise UsageError(
                f"{option}: the package {name} is not installed; pip install "
                f"{name.replace('_', '-')}, or leave the option out"
            )
