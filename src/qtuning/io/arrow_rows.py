"""Rows of Arrow tables as the JSON that they came from, and tables of such rows.

Arrow holds objects in one of two ways. A struct has the keys of all rows, and null where a row does
not have a key. Columns of the type ``Json`` of datasets (``arrow.json`` of Arrow) hold JSON text.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa

from ..errors import UsageError, first_line

_JSON = "arrow.json"


def rows_of(table: pa.Table) -> Iterator[dict[str, Any]]:
    """The rows of a table with their objects as objects, without the nulls that structs add.

    Columns stay, also where they are null.
    """
    schema = table.schema
    with_objects = {field.name: field.type for field in schema if holds_objects(field.type)}
    for batch in table.to_batches(max_chunksize=1024):
        for row in batch.to_pylist():
            for name, kind in with_objects.items():
                row[name] = _as_json(row[name], kind)
            yield row


def write_jsonl(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Write rows as JSON Lines; what JSON has no type for, as a time, is written as text."""
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")


def holds_objects(kind: pa.DataType) -> bool:
    """Whether values of a type are objects, or lists of them."""
    if _is_list(kind):
        return holds_objects(kind.value_type)
    return _is_json(kind) or bool(pa.types.is_struct(kind))


def table_of(rows: Sequence[Mapping[str, Any]], schema: pa.Schema | None) -> pa.Table:
    """A table of rows.

    Args:
        rows: The rows; a key that a row does not have is null.
        schema: The columns and their types. If None, the columns are the keys of all rows; those
            with objects get one type whatever the keys of the objects, where datasets has it.

    Raises:
        UsageError: The values of a column are not of its type, or not of one type.
    """
    names = schema.names if schema else list(dict.fromkeys(name for row in rows for name in row))
    columns = {}
    for name in names:
        values = [row.get(name) for row in rows]
        try:
            if schema is not None:
                columns[name] = _of_type(values, schema.field(name).type)
            else:
                columns[name] = _of_any_keys(values)
        except pa.ArrowException as error:
            raise UsageError(
                f"column {name}: its values differ in type ({first_line(error)}); mend the rows"
            ) from error
    return pa.table(columns, schema=schema)


def _of_any_keys(values: Sequence[Any]) -> pa.Array:
    """A column of the type that its values have, whatever the keys of its objects."""
    if hasattr(datasets, "Json") and any(map(has_objects, values)):
        try:
            return json_array(values)
        except TypeError:  # bytes of an image, or a time
            pass
    return pa.array(values)


def json_array(values: Sequence[Any]) -> pa.Array:
    """Values of any kind as a column of JSON, which is text where datasets has no such type."""
    texts = pa.array([None if v is None else _dumped(v) for v in values], pa.string())
    return texts.cast(pa.json_()) if hasattr(datasets, "Json") else texts


def has_objects(value: Any) -> bool:
    """Whether a value is an object, or has one in its lists."""
    return isinstance(value, Mapping) or (isinstance(value, list) and any(map(has_objects, value)))


def _dumped(value: Any) -> str:
    """JSON as datasets writes it, which keeps no more than ten decimals of a number, though."""
    return json.dumps(value, separators=(",", ":"))


def _is_json(kind: pa.DataType) -> bool:
    return isinstance(kind, pa.BaseExtensionType) and kind.extension_name == _JSON


def _is_list(kind: pa.DataType) -> bool:
    types = pa.types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _as_json(value: Any, kind: pa.DataType) -> Any:
    """A value of Arrow as the JSON that it came from."""
    if value is None:
        return None
    if _is_json(kind):
        return json.loads(value)
    if _is_list(kind):
        return [_as_json(one, kind.value_type) for one in value]
    if pa.types.is_struct(kind):
        fields = [field for field in kind if value[field.name] is not None]
        return {field.name: _as_json(value[field.name], field.type) for field in fields}
    return value


def _of_type(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """A column of a type that may hold JSON, which Arrow makes of text only."""
    stored = _stored_type(kind)
    if stored == kind:
        return pa.array(values, kind)
    return pa.array([_stored(value, kind) for value in values], stored).cast(kind)


def _stored_type(kind: pa.DataType) -> pa.DataType:
    """A type with text in the place of JSON."""
    if _is_json(kind):
        return pa.string()
    if _is_list(kind):
        return pa.list_(_stored_type(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_stored_type(field.type)) for field in kind])
    return kind


def _stored(value: Any, kind: pa.DataType) -> Any:
    """A value with text in the place of JSON."""
    if value is None:
        return None
    if _is_json(kind):
        return _dumped(value)
    if _is_list(kind):
        return [_stored(one, kind.value_type) for one in value]
    if pa.types.is_struct(kind):
        return {field.name: _stored(value.get(field.name), field.type) for field in kind}
    return value
