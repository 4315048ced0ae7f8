"""The table of suspects on the screen."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..io.row_text import clean
from .suspects import Suspects


def show_suspects(console: Console, found: Suspects, limit: int) -> None:
    """Print the rows of least gain, and what gains there are.

    Args:
        console: The console to print to.
        found: The suspects.
        limit: Largest number of suspects to print.
    """
    shown = found.suspects[:limit]
    decided = any(one.visits for one in shown)
    has_text = any(one.prompt or one.answer for one in shown)
    table = Table(
        title=f"Least gain first: {len(shown):,} of {found.rows - found.without_gain:,} rows",
        title_justify="left",
        expand=has_text,
    )
    table.add_column("sample", no_wrap=True)
    for name in ("gain", "a token", "ppl", "tokens", *(["kept"] if decided else [])):
        table.add_column(name, justify="right", no_wrap=True)
    if has_text:  # these take the width that the others leave
        for name in ("prompt", "answer"):
            table.add_column(name, no_wrap=True, ratio=1)
    for one in shown:
        cells = [f"{one.gain:,.1f}", f"{one.gain_per_token:.2f}", f"{one.ppl:,.1f}"]
        cells.append(f"{one.n_tokens:,}")
        if decided:
            cells.append(f"{one.kept} of {one.visits}" if one.visits else "-")
        # Text rather than str, in which rich would interpret markup.
        texts = [Text(clean(text, 60)) for text in (one.prompt, one.answer)] if has_text else []
        table.add_row(Text(clean(one.sample_id, 40)), *cells, *texts)
    console.print(table)
    for line in _notes(found):
        console.print(Text(line), soft_wrap=True)


def _notes(found: Suspects) -> list[str]:
    lines = [
        "Gain: NLL of the answer alone minus NLL of the answer after its prompt, in nats. Median "
        f"{found.median:,.1f}; below 0 in {found.negative:,} rows, whose prompt makes the answer "
        "less likely."
    ]
    if found.without_gain:
        lines.append(
            f"{found.without_gain:,} rows have no gain: no prompt, no answer tokens, or a NaN or "
            "infinite loss."
        )
    return lines
