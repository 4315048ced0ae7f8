"""What cells are made with besides their settings, and the refusal to mix it.

Results differ a little between a CPU and a GPU, between precisions, and between versions of the
libraries that compute. Within a table, such a difference would be taken for one of the methods.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from ..errors import UsageError
from ..precision import device_in_use, dtype_name, use_bf16
from .grid import Cell, Data

_LIBRARIES = ("torch", "transformers", "trl", "accelerate", "datasets")


def versions(data: Data) -> dict[str, str]:
    """Return the versions of the libraries with which the cells of a data set are computed."""
    names = [*_LIBRARIES]
    names += [] if data.lora is None else ["peft"]
    names += ["lm-eval"] if data.tasks else []
    return {name: metadata.version(name) for name in names}


def default_use_cpu() -> bool:
    """Return ``use_cpu`` of cells whose settings do not have it."""
    return not torch.cuda.is_available()


def made_with_here(data: Data, training: Mapping[str, Any]) -> dict[str, Any]:
    """Return what cells of a data set would be made with here, as a cell records it.

    Args:
        data: The data set.
        training: Fields of ``QTuningConfig`` for the data set.

    Returns:
        ``device``, the kind of device; ``precision`` of a pass; ``versions`` by library.
    """
    use_cpu = training.get("use_cpu", default_use_cpu())
    fp16 = bool(training.get("fp16"))
    bf16 = use_bf16(training.get("bf16"), use_cpu=use_cpu, fp16=fp16)
    return {
        "device": device_in_use(use_cpu).type,
        "precision": dtype_name(bf16, fp16),
        "versions": versions(data),
    }


def refuse_mixed(
    finished: Sequence[tuple[Cell, Mapping[str, Any]]],
    folder: Path,
    still_to_run: Callable[[Data], Mapping[str, Any]] | None = None,
) -> None:
    """Refuse cells of one data set that are made with another device, precision or library.

    What a record does not say, since an earlier version wrote it, is not compared.

    Args:
        finished: Finished cells with their records.
        folder: The output folder, for messages.
        still_to_run: What further cells of a data set will be made with; None if there are none.

    Raises:
        UsageError: Cells differ; the message names two, what differs, and what to do.
    """
    # What the first cell of a data set that says a thing says, and how that cell is called.
    firsts: dict[str, dict[str, tuple[str, str]]] = {}
    for cell, record in finished:
        first = firsts.setdefault(cell.data.name, {})
        if mixture := _mixture(first, record, f"{cell.name!r} was"):
            raise UsageError(
                f"--output_dir {folder}: {mixture}, and a table must not mix them: move the cells "
                "of one kind to a folder of their own"
            )
    if still_to_run is None:
        return
    for data in {cell.data.name: cell.data for cell, _ in finished}.values():
        here = still_to_run(data)
        if mixture := _mixture(firsts[data.name], here, "the cells still to run would be"):
            raise UsageError(
                f"--output_dir {folder}: {mixture}, and a table must not mix them: name another "
                "--output_dir, or go on with what the first was made with"
            )


def _mixture(
    first: dict[str, tuple[str, str]], made_with: Mapping[str, Any], who: str
) -> str | None:
    """Return how cells differ from the first ones, in words, or add what they say to ``first``."""
    values = {name: str(made_with[name]) for name in ("device", "precision") if name in made_with}
    values |= made_with.get("versions", {})
    differing = [name for name, value in values.items() if first.get(name, (value,))[0] != value]
    if not differing:
        for name, value in values.items():
            first.setdefault(name, (value, who))
        return None
    there = ", ".join(f"{name} {first[name][0]}" for name in differing)
    here = ", ".join(f"{name} {values[name]}" for name in differing)
    return f"{first[differing[0]][1]} made with {there}, {who} with {here}"
