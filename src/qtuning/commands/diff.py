"""``qtuning diff A B``: what two sets of decisions over the same data disagree about."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.console import Console

from ..arguments import PruningArguments
from ..errors import UsageError
from ..io.arrow_rows import rows_of
from ..io.checks import check_new, check_output, check_sizes
from ..io.row_text import first_words
from ..offline.decided import one_visit, read_decided
from ..offline.diff import Agreement, Difference, agreement
from ..offline.diff_tables import RULE, Side, show
from ..offline.schema import is_decided
from .parser import OneLineParser


@dataclass
class DiffArguments:
    """Arguments of ``qtuning diff``: what to compare, and what to show."""

    a: Path | None = field(
        default=None,
        metadata={
            "help": "What `qtuning prune --with_dropped` wrote, a run's output folder, or a file "
            "of `qtuning score`, which is decided by the pruning options; may stand first."
        },
    )
    b: Path | None = field(default=None, metadata={"help": "Likewise; may stand second."})
    show: int = field(
        default=20, metadata={"help": "How many of the samples decided differently to show."}
    )
    output: Path | None = field(
        default=None, metadata={"help": "A JSON file to write all of it to."}
    )
    epoch: int | None = field(
        default=None,
        metadata={
            "help": "Of runs compare the decisions of this epoch, counted from 0; by default the "
            "last decision on each sample."
        },
    )
    pool_size: int | None = field(
        default=None,
        metadata={"help": "Of scores: rows that compete with each other; by default all."},
    )
    seed: int = field(default=42, metadata={"help": "Of scores: seed of random pruners."})
    against_sample_pruner: str | None = field(
        default=None, metadata={"help": "sample_pruner of B, if it is another one."}
    )
    against_sample_ratio: float | None = field(
        default=None, metadata={"help": "sample_ratio of B, if it is another one."}
    )
    against_token_pruner: str | None = field(
        default=None, metadata={"help": "token_pruner of B, if it is another one."}
    )
    against_token_ratio: float | None = field(
        default=None, metadata={"help": "token_ratio of B, if it is another one."}
    )


def run(argv: Sequence[str]) -> None:
    """Compare two sets of decisions, show the differences, and write them to a file on request.

    Raises:
        UsageError: An argument or an input is unusable, or the inputs have no sample in common.
    """
    words = list(argv)
    for place, option in ((0, "--a"), (2, "--b")):
        if len(words) > place and not words[place].startswith("-"):
            words.insert(place, option)
    parser = OneLineParser((DiffArguments, PruningArguments), prog="qtuning diff")
    options, pruning = parser.parse_in_one_line(words)
    _check(options)
    a, b = _read_both(options, pruning)
    result = agreement(a.one, b.one)
    epochs = list(_by_epoch(a, b)) if options.epoch is None else []
    texts = _texts(result.differing, a.one, b.one)
    if options.output is not None:
        content = _as_dict(a, b, result, epochs, texts)
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
        options.output.write_text(text + "\n", encoding="utf-8")
    show(Console(highlight=False), a, b, result, epochs, texts, options.show)


def _check(options: DiffArguments) -> None:
    if options.a is None or options.b is None:
        raise UsageError("diff compares two: name two files or folders, as in `qtuning diff A B`")
    if options.show < 0:
        raise UsageError(f"--show must be at least 0, got {options.show}")
    if options.pool_size is not None:
        check_sizes(pool_size=options.pool_size)
    output = options.output
    if output is None:
        return
    check_output(output, ".json")
    check_new(output)


def _read_both(options: DiffArguments, pruning: PruningArguments) -> tuple[Side, Side]:
    b_options = {name: vars(options)[f"against_{name}"] for name in RULE}
    b_options = {name: value for name, value in b_options.items() if value is not None}
    assert options.a is not None
    assert options.b is not None
    sides = []
    for path, rule in ((options.a, pruning), (options.b, replace(pruning, **b_options))):
        table = read_decided(path)
        by_rule = not is_decided(table)
        if by_rule:
            table = read_decided(path, rule, pool_size=options.pool_size, seed=options.seed)
        one = one_visit(table, options.epoch, str(path))
        sides.append(Side(path, rule if by_rule else None, table, one))
    a, b = sides
    if b_options and b.rule is None:
        raise UsageError(
            f"--against_{next(iter(b_options))}: {b.path} is decided already; name a file of scores"
        )
    if a.rule is None and b.rule is None and pruning != PruningArguments():
        raise UsageError(
            "both are decided already, so options that decide have no effect: leave them out, or "
            "name files of `qtuning score`"
        )
    if options.epoch is not None and not (a.is_run or b.is_run):
        raise UsageError("--epoch: neither is a run, and only runs have epochs; leave it out")
    return a, b


def _by_epoch(a: Side, b: Side) -> Iterator[tuple[int, Agreement]]:
    """Return the agreement in each epoch, if both are runs with several epochs in common."""
    if not (a.is_run and b.is_run):
        return
    epochs = set(a.all["epoch"].to_pylist()) & set(b.all["epoch"].to_pylist())
    if len(epochs) > 1:
        for epoch in sorted(epochs):
            yield epoch, agreement(one_visit(a.all, epoch), one_visit(b.all, epoch))


def _texts(differing: Sequence[Difference], *tables: pa.Table) -> dict[str, str]:
    """Return the beginning of each sample's prompt, for samples whose text is in a table."""
    names = {one.sample_id for one in differing}
    texts: dict[str, str] = {}
    for table in tables:
        is_wanted = pa.array([name in names for name in table["sample_id"].to_pylist()])
        for row in rows_of(table.filter(is_wanted)):
            text = None if row["sample_id"] in texts else first_words(row, 200)
            if text is not None:
                texts[row["sample_id"]] = text
    return texts


def _as_dict(
    a: Side,
    b: Side,
    result: Agreement,
    epochs: Sequence[tuple[int, Agreement]],
    texts: Mapping[str, str],
) -> dict[str, Any]:
    content = {"format": 1, "a": a.to_dict(), "b": b.to_dict(), **result.to_dict()}
    for one in content["differing"]:
        one["text"] = texts.get(one["sample_id"])
    content["epochs"] = [
        {"epoch": epoch, **{key: one.to_dict()[key] for key in ("kept", "rank_correlation")}}
        for epoch, one in epochs
    ]
    return content
