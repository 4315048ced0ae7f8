"""What an inspection found: figures, findings and some rows, as plain data."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

Level = Literal["error", "warning", "note"]
Table: TypeAlias = list[Mapping[str, Any]]


@dataclass(frozen=True)
class Finding:
    """One kind of thing that was found in the rows.

    Attributes:
        level: "error": what is trained is not what was meant; "warning": it may not be; "note".
        name: Short name for programs, such as "answers-cut".
        count: Number of rows, or of what ``what`` counts.
        rows: Numbers of the first rows, from 1; empty if it is about no row.
        what: One line that says what was found, with the number.
        advice: One line that says what to do.
    """

    level: Level
    name: str
    count: int
    rows: tuple[int, ...]
    what: str
    advice: str


@dataclass(frozen=True)
class ShownRow:
    """A row as its tokens.

    Attributes:
        row: Its number in the data, from 1.
        sample_id: Its name in ledgers and reports.
        tokens: The text of each token, ``(T,)``; joined they are the text that is trained on.
        trained: Whether each token is an answer token, which has a loss, ``(T,)``.
        cut: Number of further tokens that are not shown.
        findings: Names of the findings that name this row.
        weights: The user's weight of each token, ``(T,)``; empty if all are 1.
        widths: How many tokens each of ``tokens`` stands for, ``(T,)``: those of an image are one
            text together. Empty if each is one.
        pictures: The pictures of the row: ``{"alt": mode and size}``, on a page with ``src``, the
            picture drawn small as a data URI; or ``{"said": why it is not shown}``.
    """

    row: int
    sample_id: str
    tokens: tuple[str, ...]
    trained: tuple[bool, ...]
    cut: int = 0
    findings: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    widths: tuple[int, ...] = ()
    pictures: tuple[Mapping[str, str], ...] = ()

    @property
    def n_tokens(self) -> int:
        """Number of the tokens that are shown, those of images counted one by one."""
        return sum(self.widths) if self.widths else len(self.tokens)


@dataclass(frozen=True)
class Inspection:
    """What a run would be trained on.

    Attributes:
        data: Name of the data.
        model: Name of the model whose tokenizer made the tokens.
        facts: Figures by heading and name, numbers or texts, in the order to show them:
            ``{"rows": {"read": 100, ...}, "tokens": {"input, total": 12345, ...}, ...}``.
        tables: Tables by heading, each a list of rows with the same keys: tokens by role, scripts,
            the longest rows.
        findings: What was found, errors first, then warnings, then notes.
        shown: The rows for the terminal: a few.
    """

    data: str
    model: str
    facts: Mapping[str, Mapping[str, Any]]
    tables: Mapping[str, Table]
    findings: tuple[Finding, ...]
    shown: tuple[ShownRow, ...]

    def count(self, level: Level) -> int:
        """Number of findings of a level."""
        return sum(one.level == level for one in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """The inspection as plain data, for JSON."""
        return asdict(self)
