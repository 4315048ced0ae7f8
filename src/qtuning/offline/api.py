"""The functions ``qtuning.score``, ``qtuning.prune`` and ``qtuning.diff``, as the commands."""

import tempfile
from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset
from trl import DatasetMixtureConfig, ScriptArguments

from ..arguments import PruningArguments
from ..errors import UsageError
from ..examples.tokenising import Tokenising
from ..io.checks import check_output, check_sizes
from ..io.data import load_rows
from ..io.formats import Rows
from ..io.models import check_model
from ..precision import use_bf16
from .decided import one_visit, read_decided
from .diff import Agreement, agreement
from .export import export, with_decisions
from .export_images import typed_pictures
from .file_formats import FORMATS, OF_TRAINERS
from .job import ScoreJob, noise_of
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
    alone: bool = False,
    without_images: bool = False,
    entropy_over: str = PruningArguments.entropy_over,
    prune_unit: str = PruningArguments.prune_unit,
    noisy_copies: int = 0,
    noise_alpha: float = 5.0,
    noise_seed: int = 0,
    split: str = "train",
    revision: str | None = None,
    max_length: int = 1024,
    batch_size: int | None = None,
    rows_per_part: int = 2048,
    bf16: bool | None = None,
    dataset_num_proc: int | None = None,
    assistant_only_loss: bool = False,
    text_field: str = "text",
    truncation_mode: str = "keep_start",
    completion_only_loss: bool | None = None,
    eos_token: str | None = None,
    pad_token: str | None = None,
    chat_template_path: Path | str | None = None,
    progress: bool = True,
) -> Dataset:
    """Score every row of a data set, as ``qtuning score`` does and with the same numbers.

    Examples:
        ```python
        scored = qtuning.score(rows, "HuggingFaceTB/SmolLM2-135M-Instruct", per_token=True)
        kept = qtuning.prune(scored, sample_ratio=0.25, token_ratio=0.5)
        ```

    Args:
        data: A ``datasets`` data set or stream; or a file, a folder of ``save_to_disk`` or a Hub
            id. The formats are those of training.
        model: A folder, a Hub id or a GGUF file, with its tokenizer.
        output: A Parquet file to write; what an earlier call finished of it is not scored again.
            Without a file the scores are in memory only. Under ``accelerate launch`` a file is
            needed, and all processes must call this function.
        per_token: Add ``token_nll`` and ``token_entropy``, a list of ``n_tokens`` values in nats
            for each row. Pruning tokens needs them.
        float16: Whether the values of ``per_token`` are float16 rather than float32.
        alone: Add ``nll_alone_sum``, the summed NLL of each answer without its prompt, in nats, and
            ``s_ifd``, its selective IFD: a second pass, over the answers. ``suspects`` and the
            pruners ``ifd``, ``s-ifd``, ``gain-high``, ``gain-random`` and ``q-tuning-gain`` need
            it.
        without_images: Add ``nll_without_images_sum``, the summed NLL of each answer without the
            images of its row, in nats: a second pass, over the text. ``image-gain`` needs it.
        entropy_over: "all" to add ``entropy_all``, the mean entropy over all positions of a row,
            prompt included, in nats, by which ``prune`` decides with ``entropy_over="all"``.
        prune_unit: "turn" to add ``turn_scores``: a list for each row with number, kind, answer
            tokens, perplexity and entropy of each trained turn of the assistant, by which ``prune``
            decides with ``prune_unit="turn"``.
        noisy_copies: Add ``s_ifd_mean`` and ``s_ifd_deviation``, of selective IFD over so many
            copies with noise on their embeddings, each scored with and without its prompt; 0 adds
            none, published are 30. ``s-ifd`` with ``s_ifd_noisy`` needs them.
        noise_alpha: Size of the noise, see ``signals.noisy_copies``.
        noise_seed: Seed of the noise.
        split: The split of data given by name; it may be a slice as ``train[:300]``.
        revision: Branch, tag or commit of the model on the Hub.
        max_length: Tokens at which a row is cut.
        batch_size: Size of a forward pass, in rows as long as the longest of a part; None for 8,
            and on a GPU for as many times 8 as the memory of a training step on 8 rows holds.
        rows_per_part: Rows that are sorted by length and written together.
        bf16: Autocast the forward pass to bfloat16; None does so where the device multiplies
            bfloat16 natively. The precision is on record with the scores.
        dataset_num_proc: Number of processes that tokenise; None for this one alone.
        assistant_only_loss: Whether only the assistant's turns of a conversation are answers.
        text_field: Name of the column of plain text, for data in that format.
        truncation_mode: Which end of a row is kept: "keep_start" or "keep_end".
        completion_only_loss: Whether only the completion is the answer; None where there is one.
        eos_token: Token that ends a row; None is the tokenizer's.
        pad_token: Token that fills rows up; None is the tokenizer's.
        chat_template_path: File of a chat template, or a model whose template is used; None is the
            tokenizer's.
        progress: Show a progress bar.

    Returns:
        The rows with ``sample_id``, ``ppl`` (perplexity of the answer), ``entropy`` (mean over the
        answer, nats), ``nll_sum`` (nats), ``n_tokens`` (answer tokens) and ``turn_ends`` (places
        of those that end a turn, counted from 0). In rows without answer tokens perplexity and
        entropy are null.

    Raises:
        UsageError: Data, model or a value cannot be used, or the output holds scores of another
            origin.
    """
    if output is not None:
        check_output(Path(output))
    check_sizes(max_length=max_length, batch_size=batch_size, rows_per_part=rows_per_part)
    if dataset_num_proc is not None:
        check_sizes(dataset_num_proc=dataset_num_proc)
    if output is None and processes().num_processes > 1:
        raise UsageError("score: several processes need an output that all of them see: give one")
    noise = noise_of(noisy_copies, noise_alpha, noise_seed, alone=alone)
    check_model(str(model), "model")
    where = "the data"
    if isinstance(data, Path | str):
        script_args = ScriptArguments(dataset_name=str(data), dataset_train_split=split)
        data, where = load_rows(script_args, DatasetMixtureConfig(), "train")
    job = ScoreJob(
        model=str(model),
        revision=revision,
        where=where,
        per_token=per_token,
        float16=float16,
        alone=alone,
        without_images=without_images,
        entropy_over=PruningArguments(entropy_over=entropy_over).entropy_over,
        noise=noise,
        by_turn=PruningArguments(prune_unit=prune_unit).prune_unit == "turn",
        batch_size=batch_size,
        rows_a_part=rows_per_part,
        bf16=use_bf16(bf16),
        dataset_num_proc=dataset_num_proc,
        tokenising=Tokenising(
            max_length=max_length,
            text_field=text_field,
            assistant_only_loss=assistant_only_loss,
            truncation_mode=truncation_mode,
            completion_only_loss=completion_only_loss,
            eos_token=eos_token,
            pad_token=pad_token,
            chat_template_path=None if chat_template_path is None else str(chat_template_path),
        ),
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
    """Decide which scored rows and tokens to keep, as ``qtuning prune`` does (arXiv:2509.23873).

    Examples:
        ```python
        kept = qtuning.prune("scores.parquet", sample_ratio=0.125, sample_pruner="longest",
                             token_ratio=1.0)
        qtuning.prune("scores.parquet", sample_ratio=0.25, output="pruned", format="trl")
        ```

    Args:
        scores: The data set that ``score`` returned, or the Parquet file of scores.
        sample_ratio: Share of the samples to keep, in (0, 1].
        token_ratio: Share of the answer tokens to keep in a sample whose tokens are pruned, in
            (0, 1]. Below 1 it needs scores with ``per_token``.
        pool_size: Number of rows that compete with each other, in the order of the data, as the
            candidates of a training step do: the pools are decided as the steps of a run are.
            None makes one pool of all rows, which is decided as the first step is.
        seed: Seed of random pruners, as the run's.
        with_dropped: Return, and write, the rows that are not kept as well.
        output: A path to write to as well: a folder for the formats ``datasets``, ``trl``,
            ``llamafactory`` and ``axolotl``, else a file.
        format: Format of the output: parquet, jsonl, datasets, trl, llamafactory or axolotl.
        **pruning: Other fields of ``PruningArguments``.

    Returns:
        The rows with ``quadrant``, ``quadrant_name``, ``kept``, ``filled`` and ``reason``. If
        tokens were pruned, also with ``token_kept``: a list of ``n_tokens`` bool, null for samples
        that keep all tokens. With ``prune_unit`` turn also with ``turn_decisions``, and a row is
        kept if a turn of it is. Its messages are as they were: of those that were dropped, only
        the format jsonl has flags, and formats of trainers masks.

    Raises:
        UsageError: The scores or a value cannot be used, or the output exists already or cannot be
            written.
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
    decisions = decide_offline(table, args, pool_size=pool_size, seed=seed, where=named(scores))
    rows = with_decisions(table, decisions)
    if output is not None:
        with random_state_kept():
            export(
                table,
                decisions,
                Path(output),
                format,
                origin=origin or {},
                token_mode=args.token_mode,
                with_dropped=with_dropped,
            )
    return _dataset(rows if with_dropped else rows.filter(pa.array(decisions.kept.numpy())), origin)


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
    """Compare two sets of decisions over the same data, as ``qtuning diff`` does.

    Examples:
        ```python
        agreed = qtuning.diff("small.parquet", "large.parquet", sample_ratio=0.25)
        print(agreed.jaccard, agreed.chance_jaccard, agreed.differing[:3])
        ```

    Args:
        a: The first set of decisions: what ``prune(..., with_dropped=True)`` returned or wrote, a
            run's output folder, or scores, which are decided on by the pruning arguments.
        b: The second set of decisions, in the same forms as ``a``.
        epoch: For runs, the epoch whose decisions are compared, counted from 0; None takes the
            last decision on each sample.
        pool_size: For scores, the number of rows that compete with each other; None makes one pool
            of all rows.
        seed: For scores, the seed of random pruners.
        against: For scores, pruning arguments of ``b`` that differ from those of ``a``.
        **pruning: For scores, fields of ``PruningArguments``.

    Returns:
        How far both agree on the samples in both: counts, Jaccard index, Cohen's kappa, and the
        samples that only one of them keeps.

    Raises:
        UsageError: A path is missing or cannot be read, no sample is in both sets, two samples of
            a set have the same id, or a value cannot be used.
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
    """Check that keyword arguments are fields of ``PruningArguments``.

    Raises:
        UsageError: A name is not that of a field.
    """
    names = [one.name for one in fields(PruningArguments)]
    for name in pruning:
        if name not in names:
            matches = get_close_matches(name, names, n=1)
            hint = f", did you mean {matches[0]}?" if matches else "; see qtuning.PruningArguments"
            raise UsageError(f"{function}: unknown argument {name}{hint}")


def _scores(scores: Dataset | Path | str) -> tuple[pa.Table, Origin | None]:
    """Read scores; the origin of a data set may be unknown.

    Raises:
        UsageError: The scores are missing or damaged.
    """
    if isinstance(scores, Dataset):
        table = typed_scores(read_table(scores), named(scores))
        return table, origin_if_any(table.schema, Path(named(scores)))
    path = Path(scores).expanduser()
    table = typed_scores(read_scores(path), str(path))
    return table, read_origin(table.schema, path)


def _dataset(table: pa.Table, origin: Origin | None) -> Dataset:
    """A data set in memory; the origin is in its description, which ``select`` and others keep."""
    return typed_pictures(table, "" if origin is None else description(origin))
