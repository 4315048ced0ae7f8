"""The mixture of data sets that ``datasets:`` of a YAML names, in TRL's terms."""

from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import numpy as np
from datasets import Dataset, Features

from ..core.seeds import seed_of
from ..errors import UsageError
from .files import Splits, is_local, open_data, opened
from .formats import Rows, columns_of
from .json_types import Shape, to_table
from .splits import take
from .turns import without_nulls


def open_mixture(config: Any) -> Splits:
    """Read all parts, one after the other, as one data set.

    TRL's ``get_dataset`` does this too; but its reader makes dates of text, and it cannot join
    parts whose columns have different types, as messages with calls of tools and without.

    Args:
        config: TRL's ``DatasetMixtureConfig``.

    Returns:
        The rows as "train", and those for testing as "test" if ``test_split_size`` is set.

    Raises:
        UsageError: A part is missing or damaged, or parts do not fit together.
    """
    parts = [_part(part, number, config) for number, part in enumerate(config.datasets, 1)]
    fractions = [vars(part).get("fraction") for part in config.datasets]
    if any(fraction is not None for fraction in fractions):
        parts = _in_proportion(parts, fractions)
    names = [str(part.data_files or part.path) for part in config.datasets]
    rows = datasets.concatenate_datasets(_alike(parts, names))
    if config.test_split_size is None:
        return {"train": rows}
    if not isinstance(rows, Dataset):
        raise UsageError("test_split_size: a stream cannot be split; name test data, or drop it")
    draws = np.random.default_rng(seed_of("test_split_size"))
    return dict(rows.train_test_split(test_size=config.test_split_size, generator=draws))


def _part(part: Any, number: int, config: Any) -> Rows:
    """The rows of a part with the columns that it asks for."""
    if part.data_files is None and part.data_dir is None and is_local(part.path):
        splits = open_data(part.path, config=part.name, streaming=config.streaming)
    else:
        builder = datasets.load_dataset_builder(
            part.path, part.name, data_dir=part.data_dir, data_files=part.data_files
        )
        splits = opened(builder, config.streaming)
    rows = take(splits, part.split, option=f"datasets, part {number}: split")
    missing = sorted(set(part.columns or ()) - set(columns_of(rows)))
    if missing:
        raise UsageError(
            f"datasets, part {number}: columns: no {', '.join(missing)} in {part.path}, which has "
            f"{', '.join(columns_of(rows))}"
        )
    return rows if part.columns is None else rows.select_columns(part.columns)


def _in_proportion(parts: Sequence[Rows], fractions: Sequence[float | None]) -> list[Rows]:
    """The first rows of each part, as many as give the shares that newer TRL knows.

    Raises:
        UsageError: A part has no fraction, or is a stream.
    """
    weights = [fraction for fraction in fractions if fraction is not None]
    if len(weights) < len(parts) or min(weights) < 0 or sum(weights) == 0:
        raise UsageError(
            "datasets: fraction must be set for all parts of a mixture or for none, and none be "
            "below 0"
        )
    if not all(isinstance(part, Dataset) for part in parts):
        raise UsageError("datasets: fraction: a stream has no known length; drop streaming")
    shares = [weight / sum(weights) for weight in weights]
    total = min(len(part) / share for part, share in zip(parts, shares, strict=True) if share > 0)
    return [
        part.select(range(round(share * total))) for part, share in zip(parts, shares, strict=True)
    ]


def _alike(parts: Sequence[Rows], names: Sequence[str]) -> list[Rows]:
    """The parts with each column of one type, in which all of its values are as they were.

    Raises:
        UsageError: A column of a stream differs, or one of values that JSON does not have.
    """
    types: dict[str, Any] = {}
    differing: dict[str, tuple[str, str]] = {}
    for part, name in zip(parts, names, strict=True):
        for column, kind in (part.features or {}).items():
            known, first = types.setdefault(column, (kind, name))
            if kind != known:
                differing.setdefault(column, (first, name))
    for column, (first, other) in differing.items():
        streams = not all(isinstance(part, Dataset) for part in parts)
        refusal = UsageError(
            f"datasets: column {column} is of another type in {other} than in {first}: "
            f"{'drop streaming' if streams else 'write them alike'}, or leave it out by columns"
        )
        if streams:
            raise refusal
        try:
            parts = _with_one_type(parts, column)
        except (KeyError, ValueError) as error:  # as for a date, which JSON does not have
            raise refusal from error
    return list(parts)


def _with_one_type(parts: Sequence[Any], column: str) -> list[Any]:
    shape = Shape()
    values = [_values(part, column) if column in part.column_names else [] for part in parts]
    for of_part in values:
        for value in of_part:
            shape.add(value)
    features = Features({column: shape.column()})
    alike = []
    for part, of_part in zip(parts, values, strict=True):
        if column in part.column_names:
            table = to_table([{column: value} for value in of_part], features)
            rest = part.remove_columns(column)
            part = datasets.concatenate_datasets([rest, Dataset(table)], axis=1)
        alike.append(part)
    return alike


def _values(part: Dataset, column: str) -> list[Any]:
    """The values of a column, without the nulls that Arrow fills objects up with."""
    kind = part.features[column]
    values = list(part.with_format(None)[column])
    is_filled = isinstance(kind, Mapping) or not isinstance(kind, datasets.Value)
    return without_nulls(values) if is_filled and "Json(" not in repr(kind) else values
