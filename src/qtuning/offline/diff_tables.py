"""Tables on the screen that compare two sets of decisions, A and B."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..arguments import PruningArguments
from ..io.row_text import clean
from .diff import QUADRANT_LABELS, QUADRANTS, Agreement, Difference, View

RULE = ("sample_pruner", "sample_ratio", "token_pruner", "token_ratio")
_NAMED = 10  # how many of the samples that only one side has are named on the screen


class Side(NamedTuple):
    """One of the two sets of decisions.

    Attributes:
        path: The path that was read.
        rule: The pruning arguments that decided on scores; None if decisions were read.
        all: All rows; for a run there is one for each visit of a sample.
        one: One row for each sample.
    """

    path: Path
    rule: PruningArguments | None
    all: pa.Table
    one: pa.Table

    @property
    def is_run(self) -> bool:
        """Whether the decisions are those of a run, with epochs and steps."""
        return "step" in self.all.column_names and "epoch" in self.all.column_names

    def to_dict(self) -> dict[str, Any]:
        """The side as plain data; what is not known of its tokens is None."""
        by_tokens = "tokens_kept" in self.one.column_names
        rule = None if self.rule is None else {name: vars(self.rule)[name] for name in RULE}
        if rule is not None and not by_tokens:
            rule |= {"token_pruner": None, "token_ratio": None}
        return {
            "path": str(self.path),
            "rows": self.one.num_rows,
            "kept": _sum(self.one["kept"]),
            "answer_tokens": _sum(self.one["n_tokens"]),
            "tokens_kept": _sum(self.one["tokens_kept"]) if by_tokens else None,
            "rule": rule,
        }


def show(
    console: Console,
    a: Side,
    b: Side,
    found: Agreement,
    epochs: Sequence[tuple[int, Agreement]],
    texts: Mapping[str, str],
    limit: int,
) -> None:
    """Print how far A and B agree, and where they differ.

    Args:
        console: The console to print to.
        a: The first set of decisions.
        b: The second set of decisions.
        found: The agreement of both.
        epochs: The agreement of each epoch, if both are runs of several epochs.
        texts: The beginning of prompts, by sample.
        limit: Largest number of differing samples to print.
    """
    for name, side in (("A", a), ("B", b)):
        console.print(Text(f"{name}: {_described(side)}"), soft_wrap=True)
    console.print(_summary(found))
    console.print(_quadrants(found))
    if epochs:
        console.print(_epochs(epochs))
    if limit and found.differing:
        console.print(_differing(found.differing, texts, limit))
    for line in _notes(a, b, found):
        console.print(Text(line), soft_wrap=True)


def _described(side: Side) -> str:
    """One line on a side: its path, what it keeps, and by which pruners."""
    facts = side.to_dict()
    line = f"{clean(facts['path'], 200)}: {facts['kept']:,} of {facts['rows']:,} samples"
    if facts["tokens_kept"] is not None:
        line += f", {facts['tokens_kept']:,} of {facts['answer_tokens']:,} answer tokens"
    line += " kept"
    rule = facts["rule"]
    if rule is None:
        return line
    line += f", by {rule['sample_pruner']} at {rule['sample_ratio']:.1%}"
    if rule["token_pruner"] is None:
        return line
    return f"{line} x {rule['token_pruner']} at {rule['token_ratio']:.1%}"


def _summary(agreement: Agreement) -> Table:
    table = Table(title="Samples in both", title_justify="left")
    table.add_column("")
    table.add_column("kept by B", justify="right")
    table.add_column("dropped by B", justify="right")
    table.add_row("kept by A", f"{agreement.kept_by_both:,}", f"{agreement.kept_by_a:,}")
    table.add_row("dropped by A", f"{agreement.kept_by_b:,}", f"{agreement.kept_by_neither:,}")
    table.add_section()
    chance = f"{_number(agreement.chance_jaccard)} by chance"
    table.add_row("Jaccard index of what is kept", _number(agreement.jaccard), chance)
    table.add_row("Cohen's kappa", _number(agreement.kappa), "0 by chance")
    table.add_row("rank correlation of perplexity", _number(agreement.ppl_correlation), "")
    table.add_row("rank correlation of entropy", _number(agreement.entropy_correlation), "")
    return table


def _quadrants(agreement: Agreement) -> Table:
    table = Table(title="Quadrants, A's in rows", title_justify="left")
    table.add_column("")
    for label in QUADRANT_LABELS:
        table.add_column(label, justify="right")
    for label, counts in zip(QUADRANT_LABELS, agreement.quadrants, strict=True):
        table.add_row(label, *(f"{n:,}" for n in counts))
    return table


def _epochs(epochs: Sequence[tuple[int, Agreement]]) -> Table:
    table = Table(title="Epoch by epoch", title_justify="left")
    for name in ("epoch", "in both", "kept by both", "Jaccard", "by chance", "kappa"):
        table.add_column(name, justify="right")
    for epoch, one in epochs:
        numbers = map(_number, (one.jaccard, one.chance_jaccard, one.kappa))
        table.add_row(f"{epoch}", f"{one.both:,}", f"{one.kept_by_both:,}", *numbers)
    return table


def _differing(differing: Sequence[Difference], texts: Mapping[str, str], limit: int) -> Table:
    n = len(differing)
    extent = f"the first {limit:,} of {n:,}" if limit < n else f"all {n:,}"
    table = Table(
        title=f"Decided differently, largest change of perplexity first: {extent}",
        title_justify="left",
        expand=bool(texts),
    )
    for name in ("sample", "A", "B"):
        table.add_column(name, no_wrap=True)
    for name in ("ppl A", "ppl B"):
        table.add_column(name, justify="right", no_wrap=True)
    if texts:  # the column takes the width that the others leave
        table.add_column("prompt", no_wrap=True, ratio=1)
    for one in differing[:limit]:
        # Text rather than str, in which rich would interpret markup.
        words = [Text(clean(texts.get(one.sample_id, ""), 60))] if texts else []
        cells = [_view(one.a), _view(one.b), _number(one.a.ppl), _number(one.b.ppl)]
        table.add_row(Text(clean(one.sample_id, 40)), *cells, *words)
    return table


def _view(view: View) -> str:
    what = "filled" if view.filled else "kept" if view.kept else "dropped"
    labels = dict(zip(QUADRANTS, QUADRANT_LABELS, strict=True))
    return f"{what} {labels.get(view.quadrant, view.quadrant)}"


def _notes(a: Side, b: Side, agreement: Agreement) -> Iterator[str]:
    for name, names in (("A", agreement.only_a), ("B", agreement.only_b)):
        if names:
            listing = ", ".join(clean(one, 40) for one in names[:_NAMED])
            more = ", ..." if len(names) > _NAMED else ""
            yield f"Only in {name}: {len(names):,} samples ({listing}{more})."
    for name, side in (("A", a), ("B", b)):
        facts = side.to_dict()
        if (
            facts["kept"] == facts["rows"]
            and side.rule is None
            and (agreement.only_a or agreement.only_b)
        ):
            yield (
                f"{name} holds kept samples alone: to see what it drops, write it anew with "
                "`qtuning prune --with_dropped`."
            )
    if agreement.other_length:
        yield (
            f"{agreement.other_length:,} samples have another number of answer tokens in B: "
            "another text, tokenizer or max_length."
        )


def _sum(column: pa.ChunkedArray) -> int:
    return int(pc.sum(column.cast(pa.int64())).as_py() or 0)


def _number(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:,.3f}"
