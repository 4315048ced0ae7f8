"""How full batches are: what packing leaves free, and what padding adds."""

from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset
from transformers.trainer_pt_utils import get_length_grouped_indices
from trl import pack_dataset

from ..core.ratio import share
from ..core.seeds import seed_of, seeded_generator
from .figures import Figures
from .result import Finding
from .tokens import Ints

_WASTE = 0.5
"""Share of padding from which on it is told."""
_FULL = 0.8
"""Share of tokens in packed rows below which it is told."""


def batch_facts(rows: Figures, args: Any) -> tuple[dict[str, Any], list[Finding]]:
    """How full the rows of a batch are, by the options of a run.

    Args:
        rows: Figures of the rows.
        args: TRL's ``SFTConfig``.

    Returns:
        Figures by name, and findings.
    """
    options = vars(args)
    if options["packing"] and options["max_length"] is not None:
        # TRL packs rows without an answer as well, unless it has cut them.
        return _packed(rows.whole, options["max_length"], options["packing_strategy"])
    size = options["per_device_train_batch_size"]
    facts: dict[str, Any] = {"rows of a batch": size}
    if options["padding_free"]:
        return {**facts, "padding": 0.0}, []
    order = _order(options)
    multiple = options["pad_to_multiple_of"] or 1
    waste = _padding(rows.length[rows.trained], size, multiple, order, options["seed"])
    facts |= {"order of rows": order, "padding": round(waste, 4)}
    if waste < _WASTE:
        return facts, []
    what = f"{waste:.0%} of a batch of {size:,} rows are padding"
    do = "set packing or train_sampling_strategy group_by_length, or take smaller batches"
    return facts, [Finding("note", "much-padding", 1, (), what, do)]


def packed_rows(lengths: Ints, max_length: int, strategy: str) -> tuple[int, int]:
    """Number of packed rows, and of tokens in them, by TRL's own packing.

    Args:
        lengths: Tokens of each row before it is cut, ``(R,)``.
        max_length: Tokens of a packed row.
        strategy: TRL's ``packing_strategy``.
    """
    starts = np.concatenate(([0], np.cumsum(lengths)))
    ids = pa.LargeListArray.from_arrays(starts, np.zeros(int(starts[-1]), dtype=np.int8))
    rows = pa.table({"input_ids": ids.cast(pa.list_(pa.int8()))})
    packed = pack_dataset(Dataset(rows), max_length, strategy, {"desc": "Packing lengths"})
    tokens = packed.with_format("arrow").select_columns(["input_ids"])[:]["input_ids"]
    return len(packed), int(sum(len(chunk.flatten()) for chunk in tokens.chunks))


def _packed(lengths: Ints, max_length: int, strategy: str) -> tuple[dict[str, Any], list[Finding]]:
    n, tokens = packed_rows(lengths, max_length, strategy)
    filled = share(tokens, n * max_length)
    facts = {
        "packing": strategy,
        "packed rows": n,
        "tokens of a packed row": max_length,
        "packing efficiency": round(filled, 4),
    }
    if filled >= _FULL:
        return facts, []
    what = f"packed rows are full by {filled:.0%}"
    do = "take a max_length into which several rows fit"
    return facts, [Finding("note", "packing-not-full", n, (), what, do)]


def _order(options: dict[str, Any]) -> str:
    strategy = options.get("train_sampling_strategy", "random")
    return str(getattr(strategy, "value", strategy))


def _padding(lengths: Ints, size: int, multiple: int, order: str, seed: int) -> float:
    """Share of padding in the tokens of all batches."""
    if not len(lengths):
        return 0.0
    if order == "group_by_length":
        generator = seeded_generator(seed, "inspect")
        places = get_length_grouped_indices(lengths.tolist(), size, generator=generator)
        lengths = lengths[np.array(places)]
    elif order != "sequential":
        lengths = np.random.default_rng(seed_of(seed, "inspect")).permutation(lengths)
    firsts = np.arange(0, len(lengths), size)
    widths = np.maximum.reduceat(lengths, firsts)
    widths = -(-widths // multiple) * multiple
    members = np.diff(np.append(firsts, len(lengths)))
    return 1 - share(int(lengths.sum()), int((widths * members).sum()))
