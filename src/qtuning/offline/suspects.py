"""Suspects: rows whose answer most likely does not belong to its prompt, by their gain.

The gain of a row is the NLL of its answer alone minus the NLL of its answer after its prompt, each
summed over the answer, in nats: what the prompt tells the model about the answer. An answer to
another prompt has little.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from numpy.typing import NDArray

from ..errors import UsageError
from ..io.arrow_rows import rows_of
from ..io.new_files import write_new
from ..io.row_text import text_columns, text_of
from ..run.ledger import is_ledger
from ..signals.score_columns import ALONE, NLL_SUM
from .read import named, read_table
from .schema import DECISIONS, SCORED, is_decided, typed_scores

_SCORES = ("sample_id", "ppl", "n_tokens")


@dataclass(frozen=True)
class Suspect:
    """A row whose prompt tells little about its answer.

    Attributes:
        rank: Place among the suspects, from 1; the first has the least gain.
        sample_id: Id of the row.
        gain: NLL of the answer alone minus that after the prompt, each summed, in nats.
        gain_per_token: The gain by the number of answer tokens, in nats.
        ppl: Perplexity of the answer after its prompt.
        n_tokens: Number of answer tokens.
        prompt: The text before the answer; cut if long, empty for tokenised rows.
        answer: The text of the answer; likewise.
        visits: Decisions on the row, by a run or by ``prune``; 0 if there are none.
        kept: How many of them keep it.
        row: The row as loaded.
    """

    rank: int
    sample_id: str
    gain: float
    gain_per_token: float
    ppl: float
    n_tokens: int
    prompt: str
    answer: str
    visits: int = 0
    kept: int = 0
    row: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """The suspect as plain data, without the row."""
        content = {name: value for name, value in vars(self).items() if name != "row"}
        return content if self.visits else {**content, "visits": None, "kept": None}


@dataclass(frozen=True)
class Suspects:
    """The rows of least gain.

    Attributes:
        of: Name of the scores.
        suspects: The suspects, least gain first.
        rows: Number of rows.
        without_gain: Number of rows that have no gain, for they have no prompt or no answer tokens,
            or their loss is NaN or infinite.
        negative: Number of rows whose gain is below 0: their prompt makes the answer less likely.
        median: Median of the gain in nats.
    """

    of: str
    suspects: tuple[Suspect, ...]
    rows: int
    without_gain: int
    negative: int
    median: float

    def to_dict(self) -> dict[str, Any]:
        """The suspects as plain data."""
        return {**vars(self), "suspects": [one.to_dict() for one in self.suspects]}

    def write(self, path: Path | str) -> Path:
        """Write the suspects to a JSON Lines file, for review or rewriting, and return its path.

        A line is a row with all its columns as they were loaded, and an object ``suspect`` with
        rank, gain, gain a token, perplexity and number of answer tokens. So the file can be scored
        and trained on again.

        Raises:
            UsageError: The file exists already or cannot be written, or the data have a column
                ``suspect``.
        """
        lines = [json.dumps(_line(one), ensure_ascii=False, default=str) for one in self.suspects]
        return write_new(path, "".join(f"{line}\n" for line in lines))


_OF_A_LINE = ("rank", "gain", "gain_per_token", "ppl", "n_tokens")


def _line(one: Suspect) -> dict[str, Any]:
    """A suspect as a line of JSON.

    Raises:
        UsageError: The row has a column ``suspect`` of its own.
    """
    if "suspect" in one.row:
        raise UsageError("the data have a column suspect already; rename it and score again")
    facts = {name: vars(one)[name] for name in _OF_A_LINE}
    return {"sample_id": one.sample_id, "suspect": facts, **one.row}


def suspects(
    scores: Dataset | Path | str, n: int = 50, *, rows: Dataset | Path | str | None = None
) -> Suspects:
    """Find the rows whose answer most likely does not belong to its prompt, least gain first.

    Examples:
        ```python
        scored = qtuning.score("data.jsonl", "HuggingFaceTB/SmolLM2-135M-Instruct", alone=True)
        found = qtuning.suspects(scored, 50)
        print(found.suspects[0].prompt, found.suspects[0].answer)
        found.write("suspects.jsonl")
        ```

    Args:
        scores: What ``score(..., alone=True)`` returned or wrote, or what ``prune`` made of it; or
            the output folder of a run, with ``rows``.
        n: Largest number of suspects.
        rows: For a run, the scores of its data with ``alone``: only samples of the run are listed,
            with how often it kept them.

    Raises:
        UsageError: The scores cannot be read or have no gain, no row has one, or n is below 1.
    """
    if n < 1:
        raise UsageError(f"the number of suspects must be at least 1, got {n}")
    where = named(scores)
    decided = table = typed_scores(read_table(scores), where)
    if rows is not None:
        where = named(rows)
        table = typed_scores(read_table(rows), where)
        known = pc.is_in(table["sample_id"], value_set=decided["sample_id"].combine_chunks())
        if not pc.any(known).as_py():
            raise UsageError(f"{where}: has none of the samples: give the scores of the run's data")
        table = table.filter(known)
    _check_has_gain(table, where)
    gain = gains(table)
    if np.isnan(gain).all():
        raise UsageError(
            f"{where}: no row has a gain, for none has a prompt; score conversations with "
            "--assistant_only_loss, or data of prompts and answers"
        )
    order = [int(i) for i in np.argsort(gain, kind="stable")[:n] if not np.isnan(gain[i])]
    return Suspects(
        of=where,
        suspects=tuple(_read(table, gain, order, decided)),
        rows=table.num_rows,
        without_gain=int(np.isnan(gain).sum()),
        negative=int((gain < 0).sum()),
        median=float(np.nanmedian(gain)),
    )


def _check_has_gain(table: pa.Table, where: str) -> None:
    """Check that answers were scored without their prompts.

    Raises:
        UsageError: They were not.
    """
    if ALONE in table.column_names:
        return
    if is_ledger(table.column_names):
        raise UsageError(
            f"{where}: a run's ledger does not have the gain: score its data with `qtuning score "
            "--alone`, and give that file as rows"
        )
    raise UsageError(f"{where}: no column {ALONE}: score again with --alone")


def _read(
    table: pa.Table, gain: NDArray[np.float64], order: list[int], decided: pa.Table
) -> list[Suspect]:
    """The suspects at some places of a table, in order.

    Args:
        table: The scores.
        gain: The gain of each of their rows, ``(N,)``.
        order: Places of the suspects.
        decided: A table whose decisions on them are counted, if it has decisions.
    """
    chosen = table.take(pa.array(order, pa.int64()))
    visits, kept = _decisions(decided, set(chosen["sample_id"].to_pylist()))
    added = (*SCORED, *DECISIONS) if is_decided(chosen) else SCORED
    data = chosen.drop_columns([name for name in added if name in chosen.column_names])
    names = text_columns(data.column_names)
    found = []
    for rank, (place, scores, row) in enumerate(
        zip(order, chosen.select(_SCORES).to_pylist(), rows_of(data), strict=True), 1
    ):
        name, n_tokens = scores["sample_id"], scores["n_tokens"]
        text = text_of(row, names)
        found.append(
            Suspect(
                rank=rank,
                sample_id=name,
                gain=float(gain[place]),
                gain_per_token=float(gain[place]) / n_tokens,
                ppl=scores["ppl"],
                n_tokens=n_tokens,
                prompt=text.prompt,
                answer=text.answer,
                visits=visits[name],
                kept=kept[name],
                row=row,
            )
        )
    return found


def _decisions(table: pa.Table, names: set[str]) -> tuple[Counter[str], Counter[str]]:
    """How many decisions there are on samples, and how many keep them, by name."""
    visits: Counter[str] = Counter()
    kept: Counter[str] = Counter()
    if is_decided(table):
        columns = (table["sample_id"].to_pylist(), table["kept"].to_pylist())
        for name, is_kept in zip(*columns, strict=True):
            if name in names:
                visits[name] += 1
                kept[name] += is_kept
    return visits, kept


def gains(table: pa.Table) -> NDArray[np.float64]:
    """The gain of each row in nats, ``(N,)``; NaN where it is not known or not finite.

    Args:
        table: A table of ``typed_scores``; all are NaN without ``nll_alone_sum``.
    """
    if ALONE not in table.column_names:
        return np.full(table.num_rows, np.nan)
    alone, given = (pc.fill_null(table[name], float("nan")).to_numpy() for name in (ALONE, NLL_SUM))
    with np.errstate(invalid="ignore"):
        gain: NDArray[np.float64] = alone - given
    return np.where(np.isfinite(gain), gain, np.nan)
