"""The pictures of a row: kept as they are stored until a batch is made, and read with one error."""

import copy
import struct
from collections.abc import Mapping
from typing import Any

from datasets import Dataset, Image, IterableDataset, LargeList, List
from PIL import Image as Pictures
from PIL import UnidentifiedImageError

from ..errors import UsageError
from ..io.image_rows import IMAGE_COLUMNS
from .example import SAMPLE_ID, Example

UNREADABLE = (
    UnidentifiedImageError,
    Pictures.DecompressionBombError,
    OSError,
    ValueError,
    SyntaxError,
    TypeError,
    LookupError,
    NotImplementedError,
    EOFError,
    struct.error,
)
"""What reading a picture raises if it is broken, missing, or larger than can be meant: the image
library lets through what its readers of formats stumble over."""


def as_stored(rows: Any) -> Any:
    """Rows whose pictures are read as the bytes or the path that are stored.

    So loaders and ranks hand on what a file holds, not all pixels, and a picture that cannot be
    read is met where the sample's name is known. Streams, see ``undecoded``, and columns of other
    types than pictures are left as they are.
    """
    if not isinstance(rows, Dataset):
        return rows
    rows = copy.deepcopy(rows)  # of what is known of the data, not of the data
    features = rows.info.features
    for name in IMAGE_COLUMNS:
        feature = features.get(name)
        inner = _picture_in(feature)
        if inner is not None:  # cast_column would write lists of pictures anew
            inner.decode = False
            features[name] = feature  # which has the rows know that nothing is to be decoded
    return rows


def undecoded(rows: Any) -> Any:
    """A stream whose pictures are read as they are stored, as ``as_stored`` does for data sets.

    It must be the first to read the stream: what a function of the user's has read stays.
    """
    if not isinstance(rows, IterableDataset) or not rows.features:
        return rows
    has_pictures = any(_picture_in(rows.features.get(name)) for name in IMAGE_COLUMNS)
    return rows.decode(False) if has_pictures else rows


def _picture_in(feature: Any) -> Image | None:
    """The type of pictures that a column holds, or lists of; None if it holds none."""
    inner = feature.feature if isinstance(feature, List | LargeList) else feature
    return inner if isinstance(inner, Image) else None


def with_pictures(row: Mapping[str, Any]) -> Example:
    """A copy of a row, which a collator may change, with its pictures read.

    Raises:
        UsageError: A picture is missing, or cannot be read.
    """
    return {
        key: read_pictures(value, row) if key in IMAGE_COLUMNS else value
        for key, value in row.items()
    }


def read_pictures(stored: Any, row: Mapping[str, Any]) -> Any:
    """A picture, or a list of them, as the image library has them.

    Args:
        stored: Bytes and path as ``datasets`` stores them; what is of another type stays.
        row: The row, for its name in messages.

    Raises:
        UsageError: A picture is missing, cannot be read, or has values beyond 8 bits.
    """
    if isinstance(stored, list):
        return [_read(one, row, f"image {place}") for place, one in enumerate(stored, 1)]
    return _read(stored, row, "its image")


def _read(stored: Any, row: Mapping[str, Any], which: str) -> Any:
    if isinstance(stored, str):
        stored = {"path": stored, "bytes": None}
    if stored is None or (isinstance(stored, dict) and not any(stored.values())):
        raise UsageError(f"{row_name(row)}: {which} is missing; add it, or leave the row out")
    try:
        picture = Image().decode_example(stored) if isinstance(stored, dict) else stored
        cut = _cut_values(picture)
    except UNREADABLE as error:
        path = stored.get("path") if isinstance(stored, dict) else None
        where = f" ({path})" if path else ""
        raise UsageError(
            f"{row_name(row)}: {which}{where} cannot be read: {unreadable(error)}; mend it, or "
            "leave the row out"
        ) from error
    if cut:
        raise UsageError(
            f"{row_name(row)}: {which} is of mode {picture.mode} with values from {cut}, which "
            "processors read as 8 bits, so that it turns white or black: save it with 8 bits"
        )
    return picture


def _cut_values(picture: Any) -> str:
    """The range of a picture's values, if it is not that of 8 bits; empty if it is."""
    if not isinstance(picture, Pictures.Image) or picture.mode[0] not in "IF":
        return ""
    extrema: Any = picture.getextrema()  # of one channel
    low, high = extrema
    is_share = picture.mode[0] == "F" and 0 <= low < high <= 1
    return f"{low:,g} to {high:,g}" if is_share or low < 0 or high > 255 else ""


def unreadable(error: Exception) -> str:
    """Why a picture cannot be read, as one line."""
    if isinstance(error, UnidentifiedImageError):  # which names an object in memory
        return "its content is no picture of a known kind"
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def described(row: Mapping[str, Any]) -> str:
    """Number, size and mode of the pictures of a row of ``with_pictures``, for messages."""
    pictures = [
        one
        for name in IMAGE_COLUMNS
        for one in (row[name] if isinstance(row.get(name), list) else [row.get(name)])
        if one is not None
    ]
    kinds = [
        f"{one.mode} {one.width}x{one.height}"
        if isinstance(one, Pictures.Image)
        else type(one).__name__
        for one in pictures
    ]
    return f"{len(kinds)} image{'s' * (len(kinds) != 1)}" + f" ({', '.join(kinds)})" * bool(kinds)


def row_name(row: Mapping[str, Any]) -> str:
    """The name of a row for messages."""
    return f"sample {row[SAMPLE_ID]}" if SAMPLE_ID in row else "a sample"
