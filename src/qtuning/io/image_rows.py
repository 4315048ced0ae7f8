"""Rows with images: the columns that TRL reads, and pictures in place of their paths."""

from pathlib import Path
from typing import Any

from datasets import Dataset, Image, List, Value

from ..errors import UsageError
from .formats import Rows, columns_of
from .weights import LOSS_WEIGHT

IMAGE_COLUMNS = ("images", "image")
"""Columns with pictures, of which TRL reads one: a list of them, or a single one."""
_TEXTS = (("messages",), ("prompt", "completion"))
_OTHERS = ("tools", LOSS_WEIGHT, "sample_id", "id")


def has_images(data: Rows) -> bool:
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
        UsageError: The columns are not those that TRL reads beside images.
    """
    names = columns_of(data)
    text = next((one for one in _TEXTS if set(one) <= set(names)), None)
    pictures = [name for name in IMAGE_COLUMNS if name in names]
    if text is None or len(pictures) > 1:
        raise UsageError(
            f"{where}: beside one column image or images, rows need messages, or prompt and "
            f"completion, and they have {', '.join(names)}: rename or remove columns"
        )
    if not isinstance(data, Dataset):
        return data
    kept = [name for name in names if name in (*text, *pictures, *_OTHERS)]
    return _with_pictures(data.select_columns(kept), pictures[0], where)


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
    if inner == Value("string"):
        folder = Path(where.rsplit(" [", 1)[0]).expanduser().parent
        data = data.map(_placed, fn_kwargs={"name": name, "folder": folder})
    picture = Image()
    return data.cast_column(name, List(picture) if is_list else picture)


def _placed(row: dict[str, Any], *, name: str, folder: Path) -> dict[str, Any]:
    """A row whose paths are from the working directory."""
    given = row[name]
    if isinstance(given, list):
        return {name: [_path(one, folder) for one in given]}
    return {name: _path(given, folder)}


def _path(path: str | None, folder: Path) -> str | None:
    if path is None or "://" in path:
        return path
    near = folder / path
    return str(near) if near.exists() else path
