"""Material of a report from scores, a pruned data set, or a run's output folder."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from ..arguments import PruningArguments, pruning_fields
from ..core.ratio import share
from ..errors import UsageError
from ..explanation.explain import explanation_of
from ..explanation.kinds import kinds_of, words_of_kind
from ..offline.decided import one_visit, read_decided
from ..offline.decisions import TableDecisions
from ..offline.diff import agreement
from ..offline.export import with_decisions
from ..offline.origin import Origin, origin_if_any
from ..offline.prune import decide_offline
from ..offline.read import named
from ..offline.rows_of_run import read_rows_of_run
from ..offline.schema import is_decided
from ..run.ledger import FOLDER, by_unit, read_ledger
from ..run.probe_rows import PROBE_FOLDER, read_probe
from ..run.record import BUDGET_FILE
from ..run.settings import read_settings
from .material import Material

Source: TypeAlias = Path | str | Dataset


def load(
    source: Source,
    args: PruningArguments,
    *,
    pool_size: int | None = None,
    seed: int = 42,
    rows: Source | None = None,
    against: Source | None = None,
) -> Material:
    """Read the material of a report.

    Args:
        source: Scores, a pruned data set, or a run's output folder.
        args: Arguments that decide on scores, and initial positions of the sliders.
        pool_size: Rows of scores that compete with each other; None for all.
        seed: Seed of random pruners.
        rows: Scores or data with the texts of a run's samples, by ``sample_id`` or ``id``.
        against: Other decisions on the same data, or scores by another model, to compare with.

    Raises:
        UsageError: An input is of another kind than these, or cannot be read.
    """
    material = _load(source, args, pool_size, seed, rows)
    if against is None:
        return material
    other = read_decided(against, args, pool_size=pool_size, seed=seed)
    agreement_with_other = agreement(one_visit(material.table), one_visit(other))
    return replace(material, agreement=agreement_with_other, against=named(against))


def _load(
    source: Source, args: PruningArguments, pool_size: int | None, seed: int, rows: Source | None
) -> Material:
    path = Path(named(source)).expanduser()
    if not isinstance(source, Dataset) and ((path / FOLDER).is_dir() or path.name == FOLDER):
        return _of_run(path, args, rows)
    table = read_decided(source)
    origin = origin_if_any(table.schema, path)
    if is_decided(table):
        return _of_decisions(path, table, args, origin)
    return of_scores(path, table, args, origin, pool_size, seed)


def of_scores(
    path: Path,
    table: pa.Table,
    args: PruningArguments,
    origin: Origin | None,
    pool_size: int | None,
    seed: int,
) -> Material:
    """Decide on scores, and return the decisions as the material of a report.

    Args:
        path: File of the scores, for messages and the title.
        table: The scores.
        args: Arguments that decide.
        origin: Origin of the scores; None if the file does not say.
        pool_size: Rows that compete with each other; None for all.
        seed: Seed of random pruners.

    Raises:
        UsageError: A pruner needs more than scores, or token scores that are missing.
    """
    decisions = decide_offline(
        table, args, pool_size=pool_size, seed=seed, where=str(path), tokens_if_known=True
    )
    notes = []
    if not decisions.tokens_known:
        notes.append("Scored without --per_token: which tokens would be pruned is not known.")
    decision_table = with_decisions(table, decisions)
    decision_table = decision_table.append_column(
        "tokens_kept", pa.array(_tokens_kept(table, decisions))
    )
    if pool_size is not None:
        candidates = np.cumsum(table["n_tokens"].to_numpy() > 0) - 1
        decision_table = decision_table.append_column("step", pa.array(candidates // pool_size))
    pools = "" if pool_size is None else f", in pools of {pool_size:,}"
    rho = [s.rank_correlation for s in decisions.selections if not math.isnan(s.rank_correlation)]
    return Material(
        title=path.name,
        table=decision_table,
        by_id=False,
        how=_how(pruning_fields(args)) + pools,
        sample_ratio=args.sample_ratio,
        token_ratio=args.token_ratio,
        rho=float(np.mean(rho)) if rho else None,
        origin=origin,
        facts=_facts(origin, table),
        notes=notes,
    )


def _of_decisions(
    path: Path, table: pa.Table, args: PruningArguments, origin: Origin | None
) -> Material:
    """Return the material of a file that ``qtuning prune`` wrote."""
    is_kept = table["kept"].to_numpy(zero_copy_only=False)
    all_rows = not bool(is_kept.all())
    notes = (
        []
        if all_rows
        else [
            "It holds the kept rows only, so there is nothing to decide: prune with "
            "--with_dropped to see what was dropped."
        ]
    )
    return Material(
        title=path.name,
        table=table,
        by_id=False,
        how="as it was pruned",
        sample_ratio=share(int(is_kept.sum()), len(is_kept)) if all_rows else args.sample_ratio,
        token_ratio=args.token_ratio,
        redecide=all_rows,
        origin=origin,
        facts=_facts(origin, table),
        notes=notes,
    )


def _of_run(path: Path, args: PruningArguments, rows: Source | None) -> Material:
    folder = path.parent if path.name == FOLDER else path
    table = read_ledger(path)
    facts = {"decisions": f"{table.num_rows:,}", **_turns(table), **_cost(folder / BUDGET_FILE)}
    data, origin = (None, None) if rows is None else read_rows_of_run(rows)
    settings = pruning_fields(args) | (read_settings(folder) or {})
    return Material(
        title="/".join(folder.absolute().parts[-2:]),
        table=by_unit(table),
        by_id=True,
        how=f"as the run decided: {_how(settings)}",
        sample_ratio=settings["sample_ratio"],
        token_ratio=settings["token_ratio"],
        rows=data,
        origin=origin,
        facts=facts,
        notes=[]
        if rows is not None
        else ["Give --rows the data, or their scores, to see the texts."],
        probe=read_probe(folder) if (folder / PROBE_FOLDER).is_dir() else None,
        explanation=explanation_of(folder, table) if table.num_rows else None,
    )


_SWITCHES = (
    ("entropy_over", "all", "entropy over all positions"),
    ("token_budget", "pool", "one token budget a pool"),
    ("token_rule", "and", "tokens by the AND rule"),
)
"""Options that change what the plane or the tokens mean: field, value, and words for it."""


def _how(settings: Mapping[str, Any]) -> str:
    pair = str(settings["sample_pruner"])
    if settings["token_pruner"] != pair:
        pair += f" x {settings['token_pruner']}"
    how = f"{pair} at {100 * settings['sample_ratio']:.4g}% x {100 * settings['token_ratio']:.4g}%"
    switches = [words for name, value, words in _SWITCHES if settings.get(name) == value]
    return ", ".join([how, *switches])


def _tokens_kept(table: pa.Table, decisions: TableDecisions) -> list[int]:
    lengths = table["n_tokens"].to_pylist()
    return [
        (int(decisions.token_keeps[i].sum()) if i in decisions.token_keeps else n) if kept else 0
        for i, (n, kept) in enumerate(zip(lengths, decisions.kept.tolist(), strict=True))
    ]


def _facts(origin: Origin | None, table: pa.Table) -> dict[str, str]:
    empty = int(pc.sum(pc.equal(table["n_tokens"], 0)).as_py() or 0)
    facts = {"rows": f"{table.num_rows:,}"}
    if empty:
        facts["without answer tokens"] = f"{empty:,}"
    if origin is not None:
        facts |= {
            "model": Path(str(origin["model_name"])).name,
            "precision": str(origin["dtype"]),
            "cut at": f"{origin['max_length']:,} tokens",
        }
    return facts


def _turns(ledger: pa.Table) -> dict[str, str]:
    """Return the decisions on each kind of turn, and how many of them were kept."""
    return {
        f"decisions on {words_of_kind(one.kind)}": f"{one.visits:,}, {one.kept_share:.1%} kept"
        for one in kinds_of(ledger)
    }


def _cost(path: Path) -> dict[str, str]:
    """Return the cost of a run from its record file, which is missing while the run goes on."""
    if not path.is_file():
        return {}
    try:
        counts = json.loads(path.read_text(encoding="utf-8"))
        trained, scored = counts["trained_tokens"], counts["scored_tokens"]
        all_tokens = counts["input_tokens"]
        return {
            "scored": f"{share(scored, all_tokens):.1%} of all tokens",
            "trained on": f"{share(trained, all_tokens):.1%} of all tokens",
            "time": f"{counts['total_seconds'] / 60:.1f} min",
        }
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UsageError(f"{path}: is damaged ({error}); remove it") from error
