"""Write kept rows with pictures for trainers: with the pictures in the file, or as files beside it.

No tokens are written, since trainers make them anew from the pictures.
"""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset, DatasetInfo
from PIL import Image

from ..errors import UsageError
from ..examples.pictures import UNREADABLE
from ..io.image_marks import MARK, as_turns, in_text
from ..io.image_rows import IMAGE_COLUMNS, has_images, picture_features
from .llamafactory import write_for_llamafactory

_FOLDER = "images"
_TEXTS = ("messages", "prompt", "completion")


def check_pictures(to: str, *, prunes_tokens: bool) -> None:
    """Check that a format for trainers can hold rows with pictures.

    Args:
        to: The format.
        prunes_tokens: Whether tokens were pruned.

    Raises:
        UsageError: It cannot.
    """
    if to not in ("trl", "llamafactory"):
        raise UsageError(
            f"--format {to}: rows with images are not written as tokens, which have no pictures: "
            "use trl, llamafactory or parquet"
        )
    if prunes_tokens:
        raise UsageError(
            f"--format {to}: tokens of rows with images are not written, since trainers make them "
            "anew from the pictures: set token_ratio to 1.0, or prune while training"
        )


def typed_pictures(rows: pa.Table, said: str = "") -> Dataset:
    """Rows as a data set, in which pictures are pictures.

    Args:
        rows: The rows.
        said: The description of the data set.
    """
    features = picture_features(rows.schema) if has_images(rows) else None
    info = DatasetInfo(description=said, features=features)
    return Dataset(rows.replace_schema_metadata(), info=info)


def with_paths(rows: pa.Table) -> pa.Table:
    """Rows with the paths of their pictures in place of bytes and paths, for JSON.

    Raises:
        UsageError: A picture is in the data, and in no file.
    """
    for name in IMAGE_COLUMNS:
        if name not in rows.column_names:
            continue
        values = [_paths(value, number) for number, value in enumerate(rows[name].to_pylist(), 1)]
        rows = rows.set_column(rows.column_names.index(name), name, pa.array(values))
    return rows


def _paths(value: Any, number: int) -> Any:
    if isinstance(value, list):
        return [_paths(one, number) for one in value]
    if not isinstance(value, Mapping):
        return value
    if value.get("bytes") is not None:
        raise UsageError(
            f"--format jsonl: the images of kept row {number} are in the data, and JSON Lines hold "
            "none: use parquet or datasets, or llamafactory, which writes them as files"
        )
    return value.get("path")


def write_trl(rows: pa.Table, folder: Path) -> None:
    """Write ``train.parquet`` with the rows and their pictures, which TRL reads as they are."""
    typed_pictures(rows).to_parquet(str(folder / "train.parquet"))


def write_llamafactory(rows: pa.Table, folder: Path, text_field: str, info: str) -> str | None:
    """Write ``data.jsonl``, ``dataset_info.json``, and pictures as files in ``images``.

    Args:
        rows: The rows.
        folder: The folder, which is there.
        text_field: TRL's ``dataset_text_field`` of the scores.
        info: Name of the data in ``dataset_info.json``.

    Returns:
        What else to set in LLaMA-Factory, or what the file cannot hold; None for nothing.

    Raises:
        UsageError: A row does not fit into its format.
    """
    (folder / _FOLDER).mkdir()
    data = as_turns(Dataset(rows.replace_schema_metadata()), "the scored rows")
    made = [_written(row, number, folder) for number, row in enumerate(data, 1)]
    written = write_for_llamafactory(
        Dataset.from_list(made).data.table, folder / "data.jsonl", text_field
    )
    if written.misfits:
        raise UsageError(f"--format llamafactory: {written.misfits.split('; ')[0]}: use trl")
    entry = {"file_name": "data.jsonl", **written.entry}
    entry["columns"] = {**entry["columns"], "images": "images"}
    (folder / "dataset_info.json").write_text(json.dumps({info: entry}, indent=2) + "\n")
    return " ".join(filter(None, (written.lost, written.hint))) or None


def _written(row: Mapping[str, Any], number: int, folder: Path) -> dict[str, Any]:
    """A row with marks in its texts, and the names of files that its pictures are in.

    Raises:
        UsageError: Its text is no conversation, or has more or fewer marks than it has pictures.
    """
    stored = next(row[name] for name in IMAGE_COLUMNS if name in row)
    pictures = stored if isinstance(stored, list) else [] if stored is None else [stored]
    texts = [name for name in _TEXTS if name in row]
    if not all(isinstance(row[name], list) for name in texts):
        raise UsageError(
            f"--format llamafactory: the texts of kept row {number} are no conversations, and it "
            "has images: use trl"
        )
    turns = in_text([turn for name in texts for turn in row[name]], len(pictures))
    n_marks = sum(turn["content"].count(MARK) for turn in turns)
    if n_marks != len(pictures):
        raise UsageError(
            f"--format llamafactory: kept row {number} has {n_marks} {MARK} in its texts and "
            f"{len(pictures)} images: mend it, or use trl"
        )
    made = {key: value for key, value in row.items() if key not in IMAGE_COLUMNS}
    for name in texts:
        made[name], turns = turns[: len(row[name])], turns[len(row[name]) :]
    names = [_in_file(one, f"{number}-{k}", folder) for k, one in enumerate(pictures, 1)]
    return {**made, "images": names}


def _in_file(stored: Any, name: str, folder: Path) -> str:
    """The name of the file that a picture is in, which is written if its bytes are in the data."""
    content = stored["bytes"] if isinstance(stored, Mapping) else None
    if content is None:
        return str(stored["path"] if isinstance(stored, Mapping) else stored)
    try:
        kind = Image.open(io.BytesIO(content)).format or "png"
    except UNREADABLE:  # scoring has read it; another version of the image library may not
        kind = "png"
    file = f"{_FOLDER}/{name}.{kind.lower()}"
    (folder / file).write_bytes(content)
    return file
