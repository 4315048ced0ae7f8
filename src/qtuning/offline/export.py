"""Write what is kept: as a data set, or as other trainers read it."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset, DatasetDict
from torch import Tensor

from ..core.plane import QUADRANT_NAMES
from ..errors import UsageError
from ..examples.example import Example, answer_positions, prune_tokens
from ..io.checks import check_new
from .origin import Origin
from .prune import TableDecisions
from .schema import DECISIONS, SCORES, TOKEN_SCORES

OF_TRAINERS = ("trl", "llamafactory", "axolotl")
FORMATS = ("parquet", "jsonl", "datasets", *OF_TRAINERS)
_ADDED = (*SCORES, *TOKEN_SCORES, *DECISIONS)


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
    """Write the decisions.

    Args:
        table: The scores, with the rows.
        found: The decisions on them.
        output: File or folder.
        to: One of ``FORMATS``.
        origin: Where the scores are from: names the tokenizer.
        token_mode: "mask" or "drop", for trainers that read tokens.
        with_dropped: Write the rows that are not kept as well.

    Raises:
        UsageError: The output is there already or cannot be written, or the format cannot hold
            what was decided.
    """
    check_new(output)
    if with_dropped and to in OF_TRAINERS:
        raise UsageError(
            f"--with_dropped: {to} would train on them; use parquet, jsonl or datasets"
        )
    decided = with_decisions(table, found)
    try:
        # Beside the output, so that it is moved in one step; gone whatever happens.
        with TemporaryDirectory(dir=output.parent, prefix=".qtuning-") as scratch:
            _write(
                decided, found, Path(scratch) / "out", output, to, origin, token_mode, with_dropped
            )
    except OSError as error:
        raise UsageError(
            f"--output {output}: cannot be written ({error.strerror}); make room or name another"
        ) from error


def _write(
    decided: pa.Table,
    found: TableDecisions,
    temporary: Path,
    output: Path,
    to: str,
    origin: Origin,
    token_mode: str,
    with_dropped: bool,
) -> None:
    if to in ("parquet", "jsonl", "datasets"):
        rows = decided if with_dropped else decided.filter(pa.array(found.kept.numpy()))
        _WRITERS[to](rows, temporary)
    else:
        temporary.mkdir()
        kept = [i for i, keep in enumerate(found.kept.tolist()) if keep]
        rows = decided.take(pa.array(kept, pa.int64())).drop_columns(
            [n for n in _ADDED if n in decided.column_names]
        )
        keeps = {place: found.token_keeps.get(i) for place, i in enumerate(kept)}
        _TRAINERS[to](rows, keeps, temporary, output, origin, token_mode)
    temporary.replace(output)


def with_decisions(table: pa.Table, found: TableDecisions) -> pa.Table:
    """The table with ``DECISIONS``; ``token_kept`` only if tokens were pruned.

    Raises:
        UsageError: The data have a column of such a name.
    """
    taken = [name for name in DECISIONS if name in table.column_names]
    if taken:
        raise UsageError(
            f"the scored data have a column {', '.join(taken)} already, which pruning would "
            "replace; rename it and score again"
        )
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
    for name, values in columns.items():
        table = table.append_column(name, values)
    return table


def _parquet(rows: pa.Table, path: Path) -> None:
    pq.write_table(rows, path)


def _jsonl(rows: pa.Table, path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        for batch in rows.to_batches(max_chunksize=1024):
            for row in batch.to_pylist():
                file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")


def _datasets(rows: pa.Table, path: Path) -> None:
    Dataset(rows.replace_schema_metadata()).save_to_disk(str(path))


_WRITERS: dict[str, Callable[[pa.Table, Path], None]] = {
    "parquet": _parquet,
    "jsonl": _jsonl,
    "datasets": _datasets,
}

Keeps = dict[int, Tensor | None]


def _examples(rows: pa.Table, keeps: Keeps, origin: Origin, mode: str) -> list[Example]:
    """Tokenised rows, their pruned tokens masked or dropped."""
    from .retokenise import tokenised

    made = []
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
        made.append(
            {"input_ids": ids, "attention_mask": [1] * len(ids), "labels": list(example["labels"])}
        )
    return made


def _trl(
    rows: pa.Table, keeps: Keeps, folder: Path, output: Path, origin: Origin, mode: str
) -> None:
    """``train.parquet``: input_ids and labels; ``rows.jsonl``: the rows as they were."""
    examples = _examples(rows, keeps, origin, mode)
    names = ("input_ids", "labels")
    table = pa.table({name: [one[name] for one in examples] for name in names})
    pq.write_table(table, folder / "train.parquet")
    _jsonl(rows, folder / "rows.jsonl")


def _llamafactory(
    rows: pa.Table, keeps: Keeps, folder: Path, output: Path, origin: Origin, mode: str
) -> None:
    """``data.jsonl`` and ``dataset_info.json``; ``tokenized/`` for ``tokenized_path``."""
    if any(keep is not None for keep in keeps.values()):
        examples = _examples(rows, keeps, origin, mode)
        data = DatasetDict({"train": Dataset.from_list(examples)})
        data.save_to_disk(str(folder / "tokenized"))
    _jsonl(rows, folder / "data.jsonl")
    info = {"qtuning": {"file_name": "data.jsonl", **_columns(rows.column_names)}}
    (folder / "dataset_info.json").write_text(json.dumps(info, indent=2) + "\n")


def _columns(names: Sequence[str]) -> dict[str, Any]:
    """How LLaMA-Factory is told the columns."""
    if "messages" in names:
        tags = {"role_tag": "role", "content_tag": "content"}
        tags |= {"user_tag": "user", "assistant_tag": "assistant", "system_tag": "system"}
        return {"formatting": "sharegpt", "columns": {"messages": "messages"}, "tags": tags}
    if "conversations" in names:
        return {"formatting": "sharegpt", "columns": {"messages": "conversations"}}
    if "prompt" in names and "completion" in names:
        return {"columns": {"prompt": "prompt", "response": "completion"}}
    if "instruction" in names and "output" in names:
        columns = {"prompt": "instruction", "response": "output"}
        return {"columns": {**columns, **({"query": "input"} if "input" in names else {})}}
    raise UsageError(
        "--format llamafactory: the rows are neither conversations nor prompts and answers"
    )


def _axolotl(
    rows: pa.Table, keeps: Keeps, folder: Path, output: Path, origin: Origin, mode: str
) -> None:
    """``data.jsonl``: pre-tokenised; ``datasets.yaml``: the stanza that names it."""
    examples = _examples(rows, keeps, origin, mode)
    with (folder / "data.jsonl").open("w", encoding="utf-8") as file:
        for example in examples:
            file.write(json.dumps(example) + "\n")
    stanza = (
        "datasets:\n"
        f"  - path: {json.dumps(str(output / 'data.jsonl'))}\n"
        "    ds_type: json\n"
        "    type:  # empty: input_ids, attention_mask and labels are in the file\n"
    )
    (folder / "datasets.yaml").write_text(stanza)


_TRAINERS: dict[str, Callable[[pa.Table, Keeps, Path, Path, Origin, str], None]] = {
    "trl": _trl,
    "llamafactory": _llamafactory,
    "axolotl": _axolotl,
}
