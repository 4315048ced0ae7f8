"""Types of JSON values, and the columns of Arrow that hold them as they are in the file.

Readers that infer types make dates of text, numbers of ids, floats of integers, and fill up objects
of differing keys with nulls. Here a column has a type of Arrow's only if every value fits it
unchanged. Other objects go to columns of ``datasets.Json``, other scalars become text.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import pyarrow as pa
from datasets import Features, Value
from datasets.table import table_cast

DEEPEST = 60
"""Largest depth of nesting; Arrow takes no deeper types than some sixty levels."""

_NULL, _TEXT, _INT, _FLOAT, _BOOL, _LIST, _OBJECT, _LONG, _HUGE = (1 << n for n in range(9))
_KINDS = {
    type(None): _NULL,
    str: _TEXT,
    int: _INT,
    float: _FLOAT,
    bool: _BOOL,
    list: _LIST,
    dict: _OBJECT,
}
_VALUES = {0: "null", _TEXT: "string", _INT: "int64", _FLOAT: "float64", _BOOL: "bool"}
_SCALARS = _TEXT | _INT | _FLOAT | _BOOL | _LONG | _HUGE
# Beyond them a float64 does not hold an integer, int64 does not, JSON columns do not.
_EXACT, _INT64, _UINT64 = 2**53, 2**63, 2**64


class Shape:
    """What the values at one place of all rows look like; also what is in objects and lists."""

    __slots__ = ("count", "fields", "item", "kinds", "n_objects")

    def __init__(self) -> None:
        """Begin without values."""
        self.kinds = 0
        self.count = 0
        self.n_objects = 0
        self.fields: dict[str, Shape] = {}
        self.item: Shape | None = None

    def add(self, value: Any, depth: int = 0) -> None:
        """Take in one more value.

        Args:
            value: The value, as ``json`` reads it.
            depth: Its depth in the row.

        Raises:
            ValueError: It is nested too deep, or a number is too large; the message says which.
        """
        if depth > DEEPEST:
            raise ValueError(f"nested more than {DEEPEST} levels deep")
        kind = _KINDS[type(value)]
        self.kinds |= kind
        self.count += 1
        if kind == _OBJECT:
            self._add_fields(value, depth)
        elif kind == _LIST:
            self._add_items(value, depth)
        elif kind == _INT:
            self._add_size(value)

    def _add_fields(self, value: Mapping[str, Any], depth: int) -> None:
        self.n_objects += 1
        for key, one in value.items():
            field = self.fields.get(key)
            if field is None:
                field = self.fields[key] = Shape()
            field.add(one, depth + 1)

    def _add_items(self, values: list[Any], depth: int) -> None:
        if self.item is None:
            self.item = Shape()
        types = set(map(type, values))
        if dict in types or list in types:
            for one in values:
                self.item.add(one, depth + 1)
            return
        for one in types:  # long lists of tokens: not one by one
            self.item.kinds |= _KINDS[one]
        if int in types:
            numbers = [one for one in values if type(one) is int] if len(types) > 1 else values
            self.item._add_size(min(numbers))
            self.item._add_size(max(numbers))

    def _add_size(self, value: int) -> None:
        if not -_EXACT <= value <= _EXACT:
            self.kinds |= _LONG
            if not -_INT64 <= value < _INT64:
                self.kinds |= _HUGE

    def column(self, *, sampled: bool = False) -> Any:
        """The type of a column, in the terms of ``datasets.Features``, that holds the values.

        Args:
            sampled: There are more values, whose objects may have other keys.

        Raises:
            ValueError: No column of this version of datasets can tell the values apart.
        """
        exact = self._exact(filled=False, inside=False)
        if exact is not None and not (sampled and self._holds(_OBJECT)):
            return exact
        if not self.kinds & ~(_SCALARS | _NULL):
            return Value("string")
        if hasattr(datasets, "Json"):
            item = self.item if self.kinds & ~_NULL == _LIST else None
            of_objects = item is not None and item.kinds & ~_NULL == _OBJECT
            return [datasets.Json()] if of_objects else datasets.Json()
        if self.kinds & _TEXT:
            raise ValueError("mixes text with lists or objects, which needs datasets 4.7 or newer")
        filled = None if sampled else self._exact(filled=True, inside=False)
        return Value("string") if filled is None else filled

    def may_change(self) -> bool:
        """Whether a column of JSON objects may not give back all values, see ``changed``.

        It rounds numbers with a point, and takes text beside objects for JSON.
        """
        return bool(self.kinds & _TEXT) or self._holds(_FLOAT | _HUGE)

    def _holds(self, kinds: int) -> bool:
        """Whether a value of these kinds is there at any depth."""
        below = [*self.fields.values(), *([] if self.item is None else [self.item])]
        return bool(self.kinds & kinds) or any(one._holds(kinds) for one in below)

    def _exact(self, *, filled: bool, inside: bool) -> Any | None:
        """The type of Arrow's that holds the values unchanged; None if there is none.

        Args:
            filled: Objects of differing keys may be filled up with nulls.
            inside: The values are in objects, as arguments of a tool call, where 1 and 1.0 differ.
        """
        kinds = self.kinds & ~_NULL
        if kinds & ~_LONG in _VALUES:
            return Value(_VALUES[kinds & ~_LONG])
        if kinds == _INT | _FLOAT and not inside:
            return Value("float64")
        if kinds == _LIST:
            item = None if self.item is None else self.item._exact(filled=filled, inside=inside)
            return None if item is None else [item]
        if kinds != _OBJECT or not self.fields:
            return None
        if not filled and any(field.count != self.n_objects for field in self.fields.values()):
            return None
        read = {k: one._exact(filled=filled, inside=True) for k, one in self.fields.items()}
        return None if None in read.values() else read


def to_table(rows: Sequence[Mapping[str, Any]], features: Features) -> pa.Table:
    """Rows as a table of the types that ``Shape.column`` found; what a row lacks is null.

    Raises:
        ValueError: A value does not fit its column; among these are errors of pyarrow's.
        OverflowError: A number is too large for its column.
        TypeError: A value is of another type than its column.
    """
    arrays = {}
    for name, kind in features.items():
        values = [row.get(name) for row in rows]
        if _is_json(kind):
            arrays[name] = pa.array([_dumped(value, kind) for value in values], _storage(kind))
        elif kind == Value("string"):
            arrays[name] = pa.array([_text(value) for value in values], pa.string())
        else:
            arrays[name] = pa.array(values, Features({name: kind}).arrow_schema.field(0).type)
    return table_cast(pa.table(arrays), features.arrow_schema)


def changed(row: Mapping[str, Any], features: Features) -> str | None:
    """The first column of JSON objects that does not give back what a row has; None if all do.

    ``datasets`` reads and writes them by a parser that rounds: of 57.9 it makes 57.900000000000006,
    and it cuts numbers after ten decimals.

    Args:
        row: The row.
        features: The columns to look at; those of other types always give back their values.

    Raises:
        ValueError: A column has a number of more than 64 bits, or text that is not Unicode.
    """
    for name, kind in features.items():
        if not _is_json(kind):
            continue
        value, of_json = row.get(name), datasets.Json()
        for one in [value] if isinstance(kind, datasets.Json) else value or []:
            try:
                read = of_json.decode_example(of_json.encode_example(one))
            except UnicodeEncodeError:
                raise
            except (ValueError, OverflowError) as error:
                raise ValueError("a number has more than 64 bits") from error
            if read != one:
                return str(name)
    return None


def _is_json(kind: Any) -> bool:
    """Whether a type is that of JSON objects, or of lists of them."""
    return "Json(" in repr(kind)


def _storage(kind: Any) -> pa.DataType:
    return pa.string() if isinstance(kind, datasets.Json) else pa.list_(pa.string())


def _dumped(value: Any, kind: Any) -> Any:
    """A value as the JSON text that a column stores, or a list of such texts."""
    if value is None:
        return None
    if isinstance(kind, datasets.Json):
        return json.dumps(value, ensure_ascii=False)
    return [None if one is None else json.dumps(one, ensure_ascii=False) for one in value]


def _text(value: Any) -> str | None:
    """A value as text: text as it is, anything else as JSON."""
    return (
        value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    )
