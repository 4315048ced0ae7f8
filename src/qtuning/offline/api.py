"""``qtuning.score``, ``qtuning.prune`` and ``qtuning.diff``: the commands as functions."""

import tempfile
from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset, DatasetInfo
from trl import DatasetMixtureConfig, ScriptArguments

from ..arguments import PruningArguments
from ..errors import UsageError
from ..examples.prepare import Tokenising
from ..io.checks import check_output, check_sizes
from ..io.data import load_rows
from ..io.formats import Rows
from ..io.models import check_model
from ..precision import use_bf16
from .decided import one_visit, read_decided
from .diff import Agreement, agreement
from .export import FORMATS, OF_TRAINERS, export, with_decisions
from .job import ScoreJob
from .origin import Origin, description, origin_if_any, read_origin
from .prune import decide_offline
from .random_state import random_state_kept
from .read import named, read_scores, read_table
from .schema import typed_scores
from .score import processes, score_with_bar


def score(
    data: Rows | Path | str,
    model: Path | str,
    *,
    output: Path | str | None = None,
    per_token: bool = False,
    float16: bool = False,
    split: str = "train",
    revision: str | None = None,
    max_length: int = 1024,
    batch_size: int = 8,
    rows_per_part: int = 2048,
    bf16: bool | None = None,
    assistant_only_loss: bool = False,
    text_field: str = "text",
    progress: bool = True,
) -> Dataset:
    """Score every row of a data set, as ``qtuning score`` does and with the same numbers.

    Example::

        scored = qtuning.score(rows, "HuggingFaceTB/SmolLM2-135M-Instruct", per_token=True)
        kept = qtuning.prune(scored, sample_ratio=0.25, token_ratio=0.5)

    Args:
        data: A ``datasets`` data set or stream; or a file, a folder of ``save_to_disk`` or a Hub
            id. The formats are those of training.
        model: A folder, a Hub id or a GGUF file, with its tokenizer.
        output: A Parquet file to write. What is finished of it is not scored again. Without it the
            scores are in memory only. Under ``accelerate launch`` it is needed, and all processes
            must call this.
        per_token: Add ``token_nll`` and ``token_entropy``, lists in nats. Pruning tokens needs
            them.
        float16: Those in float16.
        split: Of data given by name; may be a slice as ``train[:300]``.
        revision: Of the model: branch, tag or commit on the Hub.
        max_length: Tokens at which a row is cut.
        batch_size: Size of a forward pass, in rows as long as the longest of a part.
        rows_per_part: Rows that are sorted by length and written together.
        bf16: Autocast the forward pass to bfloat16; None does where the device multiplies it
            natively. It is on record with the scores.
        assistant_only_loss: Of a conversation only assistant turns are answers.
        text_field: Column of plain text, if the data have that.
        progress: Show a progress bar.

    Returns:
        The rows with ``sample_id``, ``ppl``, ``entropy`` (nats), ``nll_sum`` (nats) and
        ``n_tokens``. Rows without answer tokens have no perplexity and entropy.

    Raises:
        UsageError: Unusable data, model or values, or an output of another origin.
    """
    if output is not None:
        check_output(Path(output))
    check_sizes(max_length=max_length, batch_size=batch_size, rows_per_part=rows_per_part)
    if output is None and processes().num_processes > 1:
        raise UsageError("score: several processes need an output that all of them see: give one")
    check_model(str(model), "model")
    where = "the data"
    if isinstance(data, Path | str):
        named = ScriptArguments(dataset_name=str(data), dataset_train_split=split)
        data, where = load_rows(named, DatasetMixtureConfig(), "train")
    job = ScoreJob(
        model=str(model),
        revision=revision,
        where=where,
        per_token=per_token,
        float16=float16,
        batch_size=batch_size,
        rows_a_part=rows_per_part,
        bf16=use_bf16(bf16),
        tokenising=Tokenising(max_length, text_field, assistant_only_loss),
    )
    with tempfile.TemporaryDirectory() as scratch, random_state_kept():
        path = Path(scratch) / "scores.parquet" if output is None else Path(output)
        score_with_bar(data, path, job, progress=progress)
        table = read_scores(path)
    return _dataset(table, read_origin(table.schema, path))


def prune(
    scores: Dataset | Path | str,
    *,
    sample_ratio: float = PruningArguments.sample_ratio,
    token_ratio: float = PruningArguments.token_ratio,
    pool_size: int | None = None,
    seed: int = 42,
    with_dropped: bool = False,
    output: Path | str | None = None,
    format: str = "parquet",
    **pruning: Any,
) -> Dataset:
    """Decide on scored rows, as ``qtuning prune`` does.

    Example::

        kept = qtuning.prune("scores.parquet", sample_ratio=0.125, sample_pruner="longest",
                             token_ratio=1.0)
        qtuning.prune("scores.parquet", sample_ratio=0.25, output="pruned", format="trl")

    Args:
        scores: What ``score`` returned, or the Parquet file of scores.
        sample_ratio: Share of the samples to keep, in (0, 1].
        token_ratio: Share of the answer tokens to keep in a sample whose tokens are pruned, in
            (0, 1]. Below 1 it needs scores with ``per_token``.
        pool_size: Rows that compete with each other, in the order of the data, as the candidates
            of a training step do; None is all.
        seed: Seed of random pruners.
        with_dropped: Return, and write, the rows that are not kept as well.
        output: A file, or a folder for the formats of trainers, to write as well.
        format: Of the output: parquet, jsonl, datasets, trl, llamafactory or axolotl.
        **pruning: Other fields of ``PruningArguments``.

    Returns:
        The rows with ``quadrant``, ``quadrant_name``, ``kept``, ``filled`` and ``reason``; with
        ``token_kept``, a list of bool, where tokens were pruned, and null for samples kept whole.

    Raises:
        UsageError: Unusable scores or values, or an output that is there already.
    """
    _check_names("prune", pruning)
    args = PruningArguments(sample_ratio=sample_ratio, token_ratio=token_ratio, **pruning)
    if pool_size is not None:
        check_sizes(pool_size=pool_size)
    if format not in FORMATS:
        raise UsageError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    table, origin = _scores(scores)
    if output is not None and format in OF_TRAINERS and origin is None:
        raise UsageError(
            f"format {format}: the data set does not say how it was tokenised: give prune the file "
            "that score wrote, or what score returned"
        )
    found = decide_offline(table, args, pool_size=pool_size, seed=seed)
    rows = with_decisions(table, found)
    if output is not None:
        with random_state_kept():
            export(
                table,
                found,
                Path(output),
                format,
                origin=origin or {},
                token_mode=args.token_mode,
                with_dropped=with_dropped,
            )
    return _dataset(rows if with_dropped else rows.filter(pa.array(found.kept.numpy())), origin)


def diff(
    a: Dataset | Path | str,
    b: Dataset | Path | str,
    *,
    epoch: int | None = None,
    pool_size: int | None = None,
    seed: int = 42,
    against: Mapping[str, Any] | None = None,
    **pruning: Any,
) -> Agreement:
    """What two sets of decisions over the same data disagree about, as ``qtuning diff`` does.

    Example::

        agreed = qtuning.diff("small.parquet", "large.parquet", sample_ratio=0.25)
        print(agreed.jaccard, agreed.chance_jaccard, agreed.differing[:3])

    Args:
        a: What ``prune(..., with_dropped=True)`` returned or wrote, a run's output folder, or
            scores, which the pruning arguments decide.
        b: Likewise.
        epoch: Of runs the decisions of this epoch, counted from 0; None is the last decision on
            each sample.
        pool_size: Of scores: rows that compete with each other; None is all.
        seed: Of scores: seed of random pruners.
        against: Pruning arguments of ``b`` that differ.
        **pruning: Fields of ``PruningArguments``, for scores.

    Raises:
        UsageError: Nothing is there, it cannot be read, no sample is in both, or unusable values.
    """
    _check_names("diff", {**pruning, **(against or {})})
    if pool_size is not None:
        check_sizes(pool_size=pool_size)
    rules = (PruningArguments(**pruning), PruningArguments(**{**pruning, **(against or {})}))
    return agreement(
        *(
            one_visit(read_decided(side, rule, pool_size=pool_size, seed=seed), epoch, named(side))
            for side, rule in zip((a, b), rules, strict=True)
        )
    )


def _check_names(function: str, pruning: Mapping[str, Any]) -> None:
    """See that keyword arguments are pruning arguments.

    Raises:
        UsageError: One is not.
    """
    known = [one.name for one in fields(PruningArguments)]
    for name in pruning:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f", did you mean {near[0]}?" if near else "; see qtuning.PruningArguments"
            raise UsageError(f"{function}: unknown argument {name}{hint}")


def _scores(scores: Dataset | Path | str) -> tuple[pa.Table, Origin | None]:
    if isinstance(scores, Dataset):
        table = typed_scores(read_table(scores), named(scores))
        return table, origin_if_any(table.schema, Path(named(scores)))
    path = Path(scores).expanduser()
    table = typed_scores(read_scores(path), str(path))
    return table, read_origin(table.schema, path)


def _dataset(table: pa.Table, origin: Origin | None) -> Dataset:
    """In memory; the origin is in its description, which a data set keeps when rows are chosen."""
    info = DatasetInfo(description="" if origin is None else description(origin))
    return Dataset(table.replace_schema_metadata(), info=info)
