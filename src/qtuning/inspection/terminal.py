"""What an inspection found, on the screen: data are not trusted, and shown as text."""

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ..io.row_text import clean
from .result import Finding, Inspection, Level, ShownRow

_STYLES: dict[Level, str] = {"error": "bold red", "warning": "yellow", "note": "cyan"}
_TRAINED = "black on green"
_OPEN, _CLOSE = "⟦", "⟧"
_LONGEST = 200
_SHARES = frozenset(
    {
        *("trained share", "padding", "packing efficiency"),
        *("share of its tokens", "share of trained tokens", "of all letters"),
    }
)
"""Figures that are shares of a whole."""


def show(console: Console, found: Inspection) -> None:
    """Print an inspection: figures, tables, findings, then a few rows."""
    console.print(_text(f"{found.data}, for {found.model}"), style="bold", soft_wrap=True)
    grid = Table.grid(padding=(0, 2))
    for heading, facts in found.facts.items():
        for line in _facts(heading, facts):
            grid.add_row(*line)
    console.print(grid)
    for heading, rows in found.tables.items():
        if rows:
            console.print()
            console.print(_table(heading, rows))
    console.print()
    counts = [(found.count(level), level) for level in _STYLES]
    words = ", ".join(f"{n:,} {level}{'' if n == 1 else 's'}" for n, level in counts)
    console.print(Text(f"Found: {words}."), style="bold", soft_wrap=True)
    for finding in found.findings:
        _show_finding(console, finding)
    for row in found.shown:
        console.print()
        _show_row(console, row)


def _show_finding(console: Console, finding: Finding) -> None:
    more = ", …" if finding.count > len(finding.rows) else ""
    word = "row" if finding.count == 1 else "rows"
    rows = f" ({word} {', '.join(map(str, finding.rows))}{more})" if finding.rows else ""
    console.print(
        Text.assemble(
            (f"{finding.level} ", _STYLES[finding.level]),
            (f"{finding.name}: ", "bold"),
            _text(finding.what),
            rows,
        ),
        soft_wrap=True,
    )
    console.print(Text.assemble("  ", _text(finding.advice)), style="dim", soft_wrap=True)


def _show_row(console: Console, row: ShownRow) -> None:
    """Print a row, its answer tokens on a ground of their own, or in brackets without colours."""
    head = f"Row {row.row:,}, {clean(row.sample_id, _LONGEST)}: "
    n_trained = sum(row.trained)
    head += f"{n_trained:,} of {row.n_tokens:,} tokens are trained"
    weights = [w for w, trained in zip(row.weights, row.trained, strict=False) if trained]
    if weights:
        low, high = min(weights), max(weights)
        head += f", with weights of {low:g} to {high:g}" if low < high else f", with weight {low:g}"
    console.print(Text(head), style="bold", soft_wrap=True)
    for picture in row.pictures:
        console.print(_text(f"  image: {picture.get('said') or picture['alt']}"), soft_wrap=True)
    plain = console.color_system is None or console.no_color
    text = Text()
    was_trained = False
    for token, is_trained in zip(row.tokens, row.trained, strict=True):
        if plain and is_trained != was_trained:
            text.append(_OPEN if is_trained else _CLOSE)
        text.append(printable(token), _TRAINED if is_trained and not plain else None)
        was_trained = is_trained
    if plain and was_trained:
        text.append(_CLOSE)
    if row.cut:
        text.append(f" … {row.cut:,} more tokens", "dim")
    console.print(text, soft_wrap=True)


def printable(text: str) -> str:
    """A text with its line ends, and without what a terminal would act on."""
    return "".join(
        c if c == "\n" or unicodedata.category(c)[0] != "C" else _instead(c) for c in text
    )


def _instead(character: str) -> str:
    return " " if character == "\t" else "\N{REPLACEMENT CHARACTER}"


def _facts(heading: str, facts: Mapping[str, Any]) -> Iterator[tuple[Text, Text]]:
    """The lines of some figures: names such as "input, total" and "input, median" share one."""
    lines: dict[str, list[str]] = {}
    for name, value in facts.items():
        if value is None:
            continue
        group, _, rest = name.partition(", ")
        several = sum(other.startswith(f"{group}, ") for other in facts) > 1
        words = f"{rest if several else name} {_value(value, name)}"
        lines.setdefault(f"{group}: " if several else "", []).append(words)
    for number, (group, parts) in enumerate(lines.items()):
        yield Text("" if number else heading, "bold"), _text(group + "; ".join(parts), 1000)


def _table(heading: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title=escape(clean(heading, _LONGEST)), title_justify="left")
    for name, value in rows[0].items():
        table.add_column(escape(name), justify="left" if isinstance(value, str) else "right")
    for row in rows:
        table.add_row(*(_text(_value(value, name)) for name, value in row.items()))
    return table


def _value(value: Any, name: str) -> str:
    if isinstance(value, float):
        return f"{value:.1%}" if name in _SHARES else f"{value:,.1f}".removesuffix(".0")
    return f"{value:,}" if isinstance(value, int) else str(value)


def _text(text: str, limit: int = _LONGEST) -> Text:
    return Text(clean(text, limit))
