"""``qtuning.inspect``: what a run would be trained on, before a weight is loaded."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from trl import DatasetMixtureConfig, ScriptArguments

from ..examples.pieces import Pieces
from ..examples.prepare import ready_rows
from ..examples.tokenising import Tokenising
from ..io.data import load_rows
from ..io.formats import Rows
from ..io.image_rows import has_images
from ..io.models import check_model
from .batches import batch_facts
from .conversations import conversation_findings
from .duplicates import duplicate_prompts
from .ends import end_facts
from .figures import Figures, figures_of
from .findings import ordered, repeated
from .images import inspect_images
from .lengths import longest_rows, row_facts, token_facts, weight_facts
from .overlap import Known, overlap_findings
from .plain_text import plain_findings
from .prepare import STREAMED, ModelSource, Prepared, first_rows, prepare
from .result import Finding, Inspection, Table
from .roles import RoleCounts, Row, count_roles, plain_table, role_findings
from .scripts import script_findings, script_table
from .shown import Cut, RowsToShow, cut_of, named_rows
from .special_tokens import special_findings
from .text_figures import text_figures
from .texts import is_talk, texts_of
from .token_findings import token_findings

ROLES_OF = 5_000
"""Rows whose tokens are told apart by role; of more rows, so many at equal distances."""

_LONGEST = 5
_ROWS = 1000


@dataclass(frozen=True)
class Evaluation:
    """Data that the model is evaluated on.

    Attributes:
        rows: The rows as loaded.
        where: Their name in messages.
    """

    rows: Rows
    where: str


def inspect(
    data: Rows | Path | str,
    model: Path | str,
    args: Any = None,
    *,
    eval_dataset: Rows | Path | str | None = None,
    split: str = "train",
    revision: str | None = None,
    load_model: bool = False,
    show: int = 3,
) -> Inspection:
    """Look at what a run would be trained on, as ``qtuning inspect`` does.

    Rows are made ready exactly as for training. No weights are loaded.

    Examples:
        ```python
        found = qtuning.inspect(rows, "HuggingFaceTB/SmolLM2-135M-Instruct")
        assert not found.count("error"), found.findings
        ```

    Args:
        data: A ``datasets`` data set or stream, of which the first 10,000 rows are read; or a file,
            a folder of ``save_to_disk`` or a Hub id. The formats are those of training.
        model: A folder, a Hub id or a GGUF file, with its tokenizer.
        args: The options of the run, a ``QTuningConfig`` or TRL's ``SFTConfig``; None for the
            defaults.
        eval_dataset: Data whose rows must not be trained on, in any form that ``data`` has.
        split: The split of data given by name; it may be a slice as ``train[:300]``.
        revision: Branch, tag or commit of the model on the Hub.
        load_model: Load the model, rather than believe its config on how many embeddings it has.
        show: How many rows to show as tokens.

    Returns:
        Figures, findings and some rows. Of rows with images all pictures are looked at, and 200
        rows at equal distances are made ready.

    Raises:
        UsageError: Data or model cannot be read, or a row cannot be trained on.
    """
    check_model(str(model), "model")
    if args is None:
        from ..training.config import QTuningConfig

        args = QTuningConfig()
    rows, where = _loaded(data, split, "the data")
    evaluation = None
    if eval_dataset is not None:
        evaluation = Evaluation(*_loaded(eval_dataset, "train", "the evaluation data"))
    source = ModelSource(str(model), revision=revision, load=load_model)
    if has_images(rows):
        is_evaluated = evaluation is not None
        return inspect_images(rows, where, source, args, is_evaluated=is_evaluated, show=show)[0]
    found, _ = inspect_rows(rows, where, source, args, evaluation=evaluation, show=show)
    return found


def inspect_rows(
    rows: Rows,
    where: str,
    source: ModelSource,
    args: Any,
    *,
    evaluation: Evaluation | None = None,
    show: int = 3,
) -> tuple[Inspection, RowsToShow]:
    """Look at what a run would be trained on.

    Args:
        rows: The rows as loaded.
        where: Their name in messages.
        source: The model.
        args: The options of the run, TRL's ``SFTConfig``.
        evaluation: Data whose rows must not be trained on.
        show: How many rows to show as tokens.

    Returns:
        What is found, and the rows to show on a page.

    Raises:
        UsageError: Data or model cannot be read, or a row cannot be trained on.
    """
    ready = prepare(rows, where, source, args)
    return inspect_prepared(ready, source.name, args, evaluation=evaluation, show=show)


def inspect_prepared(
    ready: Prepared,
    model: str,
    args: Any,
    *,
    evaluation: Evaluation | None = None,
    show: int = 3,
) -> tuple[Inspection, RowsToShow]:
    """Look at rows that are tokens already; see ``inspect_rows``.

    Args:
        ready: The rows.
        model: Name of the model.
        args: The options of the run, TRL's ``SFTConfig``.
        evaluation: Data whose rows must not be trained on.
        show: How many rows to show as tokens.
    """
    known = None if evaluation is None else _known(evaluation, ready, Tokenising.of(args))
    started = time.perf_counter()
    cut = cut_of(args)
    figures = figures_of(ready.tokens.batches(), ready.special, cut.longest, keep_end=cut.keep_end)
    texts = text_figures(ready, known)
    prompts, prompt_findings = duplicate_prompts(texts.prompts, texts.answers, texts.has_prompt)
    batches, batch_findings = batch_facts(figures, args)
    roles, of_roles = _roles(ready, figures, cut)
    facts: dict[str, dict[str, Any]] = {
        "rows": row_facts(figures),
        "tokens": token_facts(figures, cut.longest),
        **({"weights": weights} if (weights := weight_facts(figures)) else {}),
        "ends": end_facts(figures, ready.name_of),
        "batches": batches,
        "repetitions": {"rows of an earlier row": int(repeated(figures.hash).sum()), **prompts},
    }
    if ready.streamed:
        facts["rows"]["only the first of the stream, at most"] = STREAMED
    findings = [
        *token_findings(
            figures,
            ready.tokens,
            ready.tokenizer,
            ready.template,
            ready.special,
            longest=cut.longest,
            may_be_cut=np.zeros(len(figures), dtype=bool),  # ends are looked at before the cut
        ),
        *batch_findings,
        *prompt_findings,
        *of_roles,
        *special_findings(texts.has_special, texts.special, plain=texts.no_prompt),
        *plain_findings(
            texts.no_talk & ~texts.has_special, texts.joined, template=ready.template is not None
        ),
        *conversation_findings(texts.unanswered, texts.no_system, ready.tokenizer, ready.template),
        *script_findings(texts.letters),
    ]
    if evaluation is not None and known is not None:
        facts["evaluation"], found = overlap_findings(texts.known, known, evaluation.where)
        findings += found
    told = ordered(findings)
    to_show = RowsToShow(ready.tokens, ready.names, cut, Pieces(ready.tokenizer), named_rows(told))
    shown = tuple(to_show.of(range(1, min(show, len(figures)) + 1)))
    tables = {
        **roles,
        "scripts": script_table(texts.letters),
        "longest rows": longest_rows(figures, ready.names, _LONGEST),
    }
    facts["seconds"] = {
        "tokenising": round(ready.seconds, 2),
        "inspecting": round(time.perf_counter() - started, 2),
    }
    return Inspection(ready.where, model, facts, tables, told, shown), to_show


def _loaded(data: Rows | Path | str, split: str, where: str) -> tuple[Rows, str]:
    """Rows with their name in messages."""
    if not isinstance(data, Path | str):
        return data, where
    script_args = ScriptArguments(dataset_name=str(data), dataset_train_split=split)
    return load_rows(script_args, DatasetMixtureConfig(), "train")


def _known(evaluation: Evaluation, ready: Prepared, how: Tokenising) -> Known:
    """The rows of the evaluation data, by their texts."""
    rows = first_rows(evaluation.rows, STREAMED)
    texts = ready_rows(rows, evaluation.where, ready.tokenizer, how)
    return Known.of(one for _, one in texts_of(texts, how.text_field, ready.tokenizer))


def _roles(ready: Prepared, figures: Figures, cut: Cut) -> tuple[dict[str, Table], list[Finding]]:
    """The table of tokens by role, by its heading, and findings of it."""
    columns = set(ready.texts.column_names)
    if ready.template is None or "input_ids" in columns or not is_talk(ready.texts):
        return {"tokens by role": plain_table(figures)}, []
    places = figures.trained.nonzero()[0]
    heading = "tokens by role"
    if len(places) > ROLES_OF:
        places = places[np.linspace(0, len(places) - 1, ROLES_OF).astype(int)]
        heading += f", of {ROLES_OF:,} rows at equal distances"
    counts = RoleCounts()
    for first in range(0, len(places), _ROWS):
        part = places[first : first + _ROWS]
        texts = texts_of(ready.texts.select(part), ready.text_field, ready.tokenizer)
        rows = []
        for place, (row, _) in zip(part.tolist(), texts, strict=True):
            ids, trained = ready.tokens.batch(place, place + 1).row(0)
            rows.append(Row(place + 1, row, ids, trained, cut.kept(len(ids))))
        count_roles(rows, ready.tokenizer, ready.template, counts)
    if counts.unknown:
        heading += f"; {counts.unknown:,} rows could not be told apart"
    return {heading: counts.table()}, role_findings(counts, conversations="messages" in columns)
