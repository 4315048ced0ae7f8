"""Rows with images: the columns that TRL reads, and pictures in place of their paths."""

from pathlib import Path
from typing import Any

import pyarrow as pa
from datasets import Dataset, Features, Image, List, Value

from ..errors import UsageError
from .formats import UNREAD, Rows, check_unread, columns_of
from .image_marks import as_turns, with_parts
from .weights import LOSS_WEIGHT

IMAGE_COLUMNS = ("images", "image")
"""Columns with pictures, of which TRL reads one: a list of them, or a single one."""
_TEXTS = (("messages",), ("prompt", "completion"))
_OTHERS = ("tools", LOSS_WEIGHT, "sample_id", "id")


def has_images(data: Rows | pa.Table) -> bool:
    """Whether rows have a column of images."""
    names = columns_of(data)
    return any(name in names for name in IMAGE_COLUMNS)


def image_rows(data: Rows, where: str) -> Rows:
    """The columns of rows with images that TRL reads, the pictures as a column of pictures.

    Paths are those of files, from the folder of the data or from the working directory.

    Args:
        data: The rows as loaded.
        where: The name of the data in messages.

    Raises:
        UsageError: The columns are not those that TRL reads beside images, or another one would
            change what is trained.
    """
    if isinstance(data, Dataset):
        data = as_turns(data, where)
    names = columns_of(data)
    text = next((one for one in _TEXTS if set(one) <= set(names)), None)
    pictures = [name for name in IMAGE_COLUMNS if name in names]
    if text is None or len(pictures) > 1:
        raise UsageError(
            f"{where}: beside one column image or images, rows need messages, or prompt and "
            f"completion, conversations, or instruction and output, and they have "
            f"{', '.join(names)}: rename or remove columns"
        )
    data = placed(data, where)
    if not isinstance(data, Dataset):
        return data
    for name in UNREAD:
        if name in names:
            check_unread(data[name], name, where)
    kept = [name for name in names if name in (*text, *pictures, *_OTHERS)]
    data = with_parts(data, text, pictures[0])
    return _with_pictures(data.select_columns(kept), pictures[0], where)


def placed(data: Rows, where: str) -> Rows:
    """Rows whose pictures are found from any folder: paths of files that are there are absolute.

    Args:
        data: The rows as loaded; their paths are from the folder of the data, else from the
            working directory.
        where: The name of the data in messages, which has its folder.
    """
    folder = Path(where.rsplit(" [", 1)[0]).expanduser().parent
    features = data.features or {}
    for name in IMAGE_COLUMNS:
        if features.get(name) in (Value("string"), List(Value("string"))):
            how: dict[str, Any] = {} if isinstance(data, Dataset) else {"features": data.features}
            data = data.map(_placed, fn_kwargs={"name": name, "folder": folder}, **how)
    return data


def picture_features(schema: pa.Schema) -> Features:
    """The types of columns, where pictures are of the type of pictures.

    Args:
        schema: Of rows as they are stored, with bytes and paths.
    """
    features = Features.from_arrow_schema(schema.remove_metadata())
    for name in IMAGE_COLUMNS:
        feature = features.get(name)
        is_list = isinstance(feature, List)
        inner = feature.feature if is_list else feature
        if isinstance(inner, dict) and inner.keys() == {"bytes", "path"}:
            features[name] = List(Image()) if is_list else Image()
    return features


def _with_pictures(data: Dataset, name: str, where: str) -> Dataset:
    """The rows with a column of pictures; paths, or bytes and paths, become pictures."""
    feature = data.features[name]
    is_list = isinstance(feature, List)
    inner = feature.feature if is_list else feature
    if isinstance(inner, Image):
        return data
    kinds = [inner.get(key) for key in ("bytes", "path")] if isinstance(inner, dict) else []
    if inner != Value("string") and not any(kinds):
        raise UsageError(
            f"{where}: {name} holds {inner}, and images are files' paths, or bytes: write the data "
            "with datasets, or with paths"
        )
    picture = Image()
    return data.cast_column(name, List(picture) if is_list else picture)


def _placed(row: dict[str, Any], *, name: str, folder: Path) -> dict[str, Any]:
    """A row whose paths are absolute."""
    given = row[name]
    if isinstance(given, list):
        return {name: [_path(one, folder) for one in given]}
    return {name: _path(given, folder)}


def _path(path: str | None, folder: Path) -> str | None:
    if path is None or "://" in path:
        return path
    found = next((one for one in (folder / path, Path(path)) if one.exists()), None)
    return path if found is None else str(found.absolute())
