"""``qtuning prune``: decide on scored data, and write what is kept."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
from rich.console import Console

from ..arguments import PruningArguments
from ..core.ratio import share
from ..errors import UsageError
from ..io.checks import check_new, check_sizes
from ..io.hub import check_repo
from ..offline.decisions import TableDecisions
from ..offline.export import export, how_to_use
from ..offline.file_formats import FORMATS
from ..offline.hub import dataset_card, push
from ..offline.origin import read_origin
from ..offline.prune import decide_offline
from ..offline.read import read_scores
from ..offline.schema import typed_scores
from .parser import OneLineParser

_RULES = ("pool_size", "seed")
"""Options that a decision depends on, beside those of pruning."""


@dataclass
class PruneArguments:
    """Arguments of ``qtuning prune``: what to read, and what to write."""

    scores: Path | None = field(
        default=None, metadata={"help": "The Parquet file of `qtuning score`; may stand first."}
    )
    output: Path | None = field(
        default=None, metadata={"help": "File, or folder for the formats of trainers."}
    )
    format: str = field(
        default="parquet",
        metadata={
            "help": "parquet, jsonl, datasets (a folder of save_to_disk), or what a trainer reads: "
            "trl, llamafactory, axolotl.",
            "choices": FORMATS,
        },
    )
    pool_size: int | None = field(
        default=None,
        metadata={
            "help": "Rows that compete with each other, in the order of the data, as the "
            "candidates of a training step do; by default all."
        },
    )
    with_dropped: bool = field(
        default=False, metadata={"help": "Write the rows that are not kept as well, marked so."}
    )
    push_to_hub: bool = field(
        default=False,
        metadata={
            "help": "Push what is written to the Hub as the data set repo_id, with a card that "
            "says from what and by which decision."
        },
    )
    repo_id: str | None = field(
        default=None, metadata={"help": "The data set on the Hub to push to, as user/name."}
    )
    hub_private_repo: bool | None = field(
        default=None,
        metadata={
            "help": "Make the data set on the Hub private; by default what its organisation sets."
        },
    )
    seed: int = field(
        default=42, metadata={"help": "Seed of random pruners; a run of the same seed draws alike."}
    )


def run(argv: Sequence[str]) -> None:
    """Decide on scores, write the kept rows, and print a summary.

    Raises:
        UsageError: An argument or the scores are unusable, or the output exists already.
    """
    words = list(argv)
    if words and not words[0].startswith("-"):
        words.insert(0, "--scores")
    parser = OneLineParser((PruneArguments, PruningArguments), prog="qtuning prune")
    options, pruning = parser.parse_in_one_line(words)
    if options.scores is None:
        raise UsageError("no scores: name the Parquet file that `qtuning score` wrote")
    if options.output is None:
        raise UsageError("no output: give --output a file or folder")
    if options.pool_size is not None:
        check_sizes(pool_size=options.pool_size)
    repo_id = options.repo_id if options.push_to_hub else None
    if repo_id is not None:
        check_repo("--repo_id", repo_id)
    elif options.push_to_hub:
        raise UsageError("--push_to_hub: name the data set on the Hub, as --repo_id user/name")
    check_new(options.output)
    table = typed_scores(read_scores(options.scores), str(options.scores))
    decisions = decide_offline(
        table,
        pruning,
        pool_size=options.pool_size,
        seed=options.seed,
        where=str(options.scores),
    )
    origin = read_origin(table.schema, options.scores)
    export(
        table,
        decisions,
        options.output,
        options.format,
        origin=origin,
        token_mode=pruning.token_mode,
        with_dropped=options.with_dropped,
    )
    console = Console(soft_wrap=True, highlight=False, markup=False)
    kept = summary(table, decisions)
    console.print(f"{kept} Written to {options.output}.")
    use = how_to_use(options.output, options.format)
    if use is not None:
        console.print(use)
    if repo_id is not None:
        rules = {name: vars(options)[name] for name in _RULES}
        card = dataset_card(repo_id, kept, pruning, origin, to=options.format, rules=rules)
        url = push(options.output, options.format, repo_id, card, private=options.hub_private_repo)
        console.print(f"Pushed to {url}.")


def summary(table: pa.Table, decisions: TableDecisions) -> str:
    """Summarise in a sentence how many rows and answer tokens are kept."""
    lengths = table["n_tokens"].to_numpy()
    is_kept = decisions.kept.numpy()
    tokens = int(lengths[is_kept].sum())
    n_pruned = sum(int((~token_mask).sum()) for token_mask in decisions.token_keeps.values())
    n_kept, all_tokens = int(is_kept.sum()), int(lengths.sum())
    n_bad = int(decisions.bad.sum())
    left_out = f" {n_bad:,} rows left out: their loss is NaN or infinite." if n_bad else ""
    n_emptied = len(decisions.emptied)
    if n_emptied:
        left_out += (
            f" {n_emptied:,} kept rows lost all their answer tokens; what trainers read is without "
            "them."
        )
    turns = [one for of_row in decisions.turns or () for one in of_row]
    n_turns = sum(one["kept"] for one in turns)
    units = f"{n_turns:,} of {len(turns):,} turns ({share(n_turns, len(turns)):.1%}) of "
    return (
        f"{units if turns else ''}"
        f"{n_kept:,} of {len(is_kept):,} rows ({share(n_kept, len(is_kept)):.1%}), "
        f"{tokens - n_pruned:,} of {all_tokens:,} answer tokens "
        f"({share(tokens - n_pruned, all_tokens):.1%}) kept; "
        f"{int(decisions.filled.sum()):,} rows only to fill the budget.{left_out}"
    )
