"""Write kept rows as a data set, or in the formats of other trainers."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, DatasetDict
from torch import Tensor

from ..core.plane import QUADRANT_NAMES
from ..errors import UsageError
from ..examples.candidate import ENTROPY_ALL, ENTROPY_ANSWER
from ..examples.example import Example, answer_positions, prune_tokens
from ..io.arrow_rows import write_jsonl
from ..io.checks import check_new
from ..io.image_rows import has_images, picture_features
from ..io.weights import LOSS_WEIGHT
from .beside_tokens import warn_of_prompts, write_template
from .decisions import TableDecisions
from .export_images import (
    check_pictures,
    typed_pictures,
    with_paths,
    write_llamafactory,
    write_trl,
)
from .file_formats import OF_TRAINERS
from .flags import all_flagged, flagged_rows, warn_of_turns
from .llamafactory import write_for_llamafactory
from .origin import Origin
from .schema import DECISIONS, SCORED, TURN_DECISIONS

logger = logging.getLogger(__name__)

_DATASET = "qtuning"
"""The name of the data set in ``dataset_info.json``."""
_TOKENISED = "tokenized"
_ADDED = tuple(name for name in (*SCORED, ENTROPY_ANSWER, *DECISIONS) if name != TURN_DECISIONS)


def export(
    table: pa.Table,
    found: TableDecisions,
    output: Path,
    to: str,
    *,
    origin: Origin,
    token_mode: str = "mask",
    with_dropped: bool = False,
) -> None:
    """Write scored rows with the decisions on them.

    Args:
        table: The rows with their scores.
        found: The decisions on the rows.
        output: The file or folder to write.
        to: The format, one of ``file_formats.FORMATS``.
        origin: The origin of the scores, which names the tokenizer.
        token_mode: "mask" or "drop", for trainers that read tokens.
        with_dropped: Whether to write the rows that are not kept as well.

    Raises:
        UsageError: The output exists already or cannot be written, or the format cannot hold the
            rows or the decisions.
    """
    check_new(output)
    if with_dropped and to in OF_TRAINERS:
        raise UsageError(
            f"--with_dropped: {to} would train on them; use parquet, jsonl or datasets"
        )
    if has_images(table) and to in OF_TRAINERS:
        check_pictures(to, prunes_tokens=bool(found.token_keeps))
    rows = with_decisions(table, found)
    try:
        # In the output's folder, so that the last step is an atomic rename.
        with TemporaryDirectory(dir=output.parent, prefix=".qtuning-") as scratch:
            _write(rows, found, Path(scratch) / "out", output, to, origin, token_mode, with_dropped)
    except OSError as error:
        raise UsageError(
            f"--output {output}: cannot be written ({error.strerror}); make room or name another"
        ) from error


def how_to_use(output: Path, to: str) -> str | None:
    """What to write in a trainer's config to train on its export; None for other formats."""
    folder = output.absolute()
    if to == "trl":
        return f"To train on it: --dataset_name {folder / 'train.parquet'}"
    if to == "axolotl":
        return f"To train on it with Axolotl: the entry of {folder / 'datasets.yaml'} in its config"
    if to != "llamafactory":
        return None
    tokens = folder / _TOKENISED
    more = f", tokenized_path: {tokens}" if tokens.is_dir() else ""
    return f"To train on it with LLaMA-Factory: dataset_dir: {folder}, dataset: {_DATASET}{more}"


def _write(
    table: pa.Table,
    decisions: TableDecisions,
    temporary: Path,
    output: Path,
    to: str,
    origin: Origin,
    token_mode: str,
    with_dropped: bool,
) -> None:
    """Write to ``temporary``, then rename it to ``output``."""
    if to in ("parquet", "jsonl", "datasets"):
        rows = table if with_dropped else table.filter(pa.array(decisions.kept.numpy()))
        if to != "jsonl" and not with_dropped:
            warn_of_turns(rows, to)
        _WRITERS[to](rows, temporary, origin.get("text_field", "text"))
    else:
        temporary.mkdir()
        emptied = set(decisions.emptied)  # without a label there is nothing to train on
        places = [i for i, keep in enumerate(decisions.kept.tolist()) if keep and i not in emptied]
        rows = table.take(pa.array(places, pa.int64())).drop_columns(
            [n for n in _ADDED if n in table.column_names]
        )
        keeps = {place: decisions.token_keeps.get(i) for place, i in enumerate(places)}
        _TRAINERS[to](rows, keeps, temporary, output, origin, token_mode)
    temporary.replace(output)


def with_decisions(table: pa.Table, found: TableDecisions) -> pa.Table:
    """Add the columns ``DECISIONS`` to a table; ``token_kept`` only if tokens were pruned.

    ``entropy`` is then what decided: with ``entropy_over`` all the mean over all positions, and
    that over the answer is called ``entropy_answer``.

    Raises:
        UsageError: The table has a column with one of these names.
    """
    clashes = [name for name in DECISIONS if name in table.column_names]
    if clashes:
        raise UsageError(
            f"the scored data have a column {', '.join(clashes)} already, which pruning would "
            "replace; rename it and score again"
        )
    if found.entropy_over == "all":
        table = _with_entropy_of_all(table)
    names = [QUADRANT_NAMES[number] for number in found.quadrant.tolist()]
    columns = {
        "quadrant": pa.array(found.quadrant.numpy()),
        "quadrant_name": pa.array(names),
        "kept": pa.array(found.kept.numpy()),
        "filled": pa.array(found.filled.numpy()),
        "reason": pa.array(found.reasons()),
    }
    if found.token_keeps:
        keeps = [found.token_keeps.get(i) for i in range(table.num_rows)]
        lists = [None if keep is None else keep.tolist() for keep in keeps]
        columns["token_kept"] = pa.array(lists, pa.list_(pa.bool_()))
    if found.turns is not None:
        columns[TURN_DECISIONS] = pa.array(found.turns)
    for name, values in columns.items():
        table = table.append_column(name, values)
    return table


def _with_entropy_of_all(table: pa.Table) -> pa.Table:
    """The rows, whose ``entropy`` is the one that decided; that of the answer is renamed.

    Raises:
        UsageError: The table has a column of the new name.
    """
    if ENTROPY_ANSWER in table.column_names:
        raise UsageError(
            f"the scored data have a column {ENTROPY_ANSWER} already, which pruning would replace; "
            "rename it and score again"
        )
    renamed = {"entropy": ENTROPY_ANSWER, ENTROPY_ALL: "entropy"}
    return table.rename_columns([renamed.get(name, name) for name in table.column_names])


def _parquet(rows: pa.Table, path: Path, text_field: str) -> None:
    if has_images(rows):
        typed = picture_features(rows.schema).arrow_schema.metadata
        rows = rows.replace_schema_metadata({**(rows.schema.metadata or {}), **typed})
    pq.write_table(rows, path)


def _jsonl(rows: pa.Table, path: Path, text_field: str) -> None:
    write_jsonl(all_flagged(with_paths(rows), text_field), path)


def _datasets(rows: pa.Table, path: Path, text_field: str) -> None:
    typed_pictures(rows).save_to_disk(str(path))


_WRITERS: dict[str, Callable[[pa.Table, Path, str], None]] = {
    "parquet": _parquet,
    "jsonl": _jsonl,
    "datasets": _datasets,
}

Keeps = dict[int, Tensor | None]


def _examples(
    rows: pa.Table, keeps: Keeps, folder: Path, origin: Origin, mode: str, to: str
) -> list[Example]:
    """Tokenise rows, and mask or drop their pruned tokens; their chat template is in ``folder``.

    Raises:
        UsageError: A row has another number of answer tokens than when it was scored.
    """
    from .retokenise import tokenised

    examples = []
    for place, example in enumerate(tokenised(rows, origin)):
        keep = keeps[place]
        answers = answer_positions(example["labels"])
        if keep is not None:
            if len(keep) != len(answers):
                raise UsageError(
                    f"row {place} has {len(answers)} answer tokens now and had {len(keep)} when it "
                    "was scored: the tokenizer or its chat template has changed; score again"
                )
            example = prune_tokens(example, answers, keep, mode)
        ids = list(example["input_ids"])
        made = {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": example["labels"]}
        weights = {LOSS_WEIGHT: example[LOSS_WEIGHT]} if LOSS_WEIGHT in example else {}
        examples.append({**made, **weights})
    write_template(rows, origin, folder)
    warn_of_prompts(rows, origin, to)
    return examples


def _without_weights(examples: list[Example], trainer: str | None) -> list[Example]:
    """Examples for a trainer that reads labels alone, where weight 0 is no label.

    Args:
        examples: The examples.
        trainer: Its name, for the warning about other weights; None for no warning.
    """
    lost = 0
    for example in examples:
        weights = example.pop(LOSS_WEIGHT, [])
        places = answer_positions(example["labels"]).tolist() if weights else []
        lost += any(weights[place] != 1.0 for place in places)
    if lost and trainer is not None:
        logger.warning(
            f"{lost:,} of {len(examples):,} kept rows have weights other than 0 and 1, which "
            f"{trainer} does not read from tokens: there they weigh 1; the format trl keeps them"
        )
    return examples


def _trl(
    rows: pa.Table, keeps: Keeps, folder: Path, output: Path, origin: Origin, mode: str
) -> None:
    """Write ``train.parquet`` with ids, labels and weights, and ``rows.jsonl`` with the rows.

    Rows with pictures are in ``train.parquet`` as they are.
    """
    if has_images(rows):
        write_trl(rows, folder)
        return
    examples = _examples(rows, keeps, folder, origin, mode, "trl")
    names = ["input_ids", "labels"]
    columns: dict[str, list[list[Any]]] = {name: [one[name] for one in examples] for name in names}
    if any(LOSS_WEIGHT in one for one in examples):
        ones = ([1.0] * len(one["input_ids"]) for one in examples)
        columns[LOSS_WEIGHT] = [
            one.get(LOSS_WEIGHT, other) for one, other in zip(examples, ones, strict=True)
        ]
    table = pa.table(columns)
    pq.write_table(table, folder / "train.parquet")
    told = (row for row, _ in flagged_rows(rows, origin["text_field"]))
    bare = ({name: row[name] for name in row if name != TURN_DECISIONS} for row in told)
    write_jsonl(bare, folder / "rows.jsonl")


def _llamafactory(
    rows: pa.Table, keeps: Keeps, folder: Path, output: Path, origin: Origin, mode: str
) -> None:
    """Write ``data.jsonl``, ``dataset_info.json``, and ``tokenized/`` if it is needed.

    It is if tokens were pruned, or a row does not fit into LLaMA-Factory's format. Pictures are
    files beside it.
    """
    if has_images(rows):
        told = write_llamafactory(rows, folder, origin["text_field"], _DATASET)
        if told is not None:
            logger.warning(told)
        return
    written = write_for_llamafactory(rows, folder / "data.jsonl", origin["text_field"])
    for told in filter(None, (written.misfits, written.lost, written.hint)):
        logger.warning(told)
    if written.misfits or any(keep is not None for keep in keeps.values()):
        examples = _without_weights(
            _examples(rows, keeps, folder, origin, mode, "llamafactory"),
            None if written.lost else "LLaMA-Factory",
        )
        data = DatasetDict({"train": Dataset.from_list(examples)})
        data.save_to_disk(str(folder / _TOKENISED))
    info = {_DATASET: {"file_name": "data.jsonl", **written.entry}}
    (folder / "dataset_info.json").write_text(json.dumps(info, indent=2) + "\n")


def _axolotl(
    rows: pa.Table, keeps: Keeps, folder: Path, output: Path, origin: Origin, mode: str
) -> None:
    """Write ``data.jsonl`` with tokens, and ``datasets.yaml`` with the entry for a config."""
    examples = _examples(rows, keeps, folder, origin, mode, "axolotl")
    examples = _without_weights(examples, "Axolotl")
    write_jsonl(examples, folder / "data.jsonl")
    stanza = (
        "datasets:\n"
        f"  - path: {json.dumps(str(output.absolute() / 'data.jsonl'))}\n"
        "    ds_type: json\n"
        "    type:  # empty: input_ids, attention_mask and labels are in the file\n"
    )
    (folder / "datasets.yaml").write_text(stanza)


_TRAINERS: dict[str, Callable[[pa.Table, Keeps, Path, Path, Origin, str], None]] = {
    "trl": _trl,
    "llamafactory": _llamafactory,
    "axolotl": _axolotl,
}
