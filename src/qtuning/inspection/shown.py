"""Rows as tokens to show, made one by one as they are asked for."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..examples.pieces import Pieces
from .result import Finding, ShownRow
from .tokens import TokenRows


@dataclass(frozen=True)
class Cut:
    """Where rows are cut.

    Attributes:
        longest: Tokens at which a row is cut; None cuts nothing.
        keep_end: Whether the beginning is cut off rather than the end.
    """

    longest: int | None
    keep_end: bool = False

    def kept(self, length: int) -> slice:
        """The places of a row that are left of it."""
        if self.longest is None:
            return slice(0, length)
        if self.keep_end:
            return slice(max(0, length - self.longest), length)
        return slice(0, min(length, self.longest))


def cut_of(args: Any) -> Cut:
    """Where TRL cuts rows by its options; packing by ``bfd`` cuts them as well, others do not."""
    options = vars(args)
    if not options["packing"]:
        return Cut(options["max_length"], options.get("truncation_mode") == "keep_end")
    return Cut(options["max_length"] if options["packing_strategy"] == "bfd" else None)


@dataclass(frozen=True)
class RowsToShow:
    """The rows of an inspection, to be shown.

    Attributes:
        tokens: The rows as tokens, before they are cut.
        names: The name of each row in ledgers.
        cut: Where rows are cut.
        pieces: The texts of tokens.
        findings: Names of the findings that name a row, by its number from 1.
    """

    tokens: TokenRows
    names: Sequence[str]
    cut: Cut
    pieces: Pieces
    findings: Mapping[int, tuple[str, ...]]

    def of(self, numbers: Iterable[int], most_tokens: int | None = None) -> Iterator[ShownRow]:
        """Some rows, made when they are asked for.

        Args:
            numbers: Their numbers, from 1.
            most_tokens: Tokens of a row that are shown at most; None for all.
        """
        for number in numbers:
            yield self._row(number, most_tokens)

    def in_order(self, most_tokens: int | None = None) -> Iterator[ShownRow]:
        """All rows, made when they are asked for: those that findings name first.

        Args:
            most_tokens: Tokens of a row that are shown at most; None for all.
        """
        named = sorted(self.findings)
        rest = (one for one in range(1, len(self.names) + 1) if one not in self.findings)
        yield from self.of(named, most_tokens)
        yield from self.of(rest, most_tokens)

    def _row(self, number: int, most_tokens: int | None) -> ShownRow:
        tokens = self.tokens.batch(number - 1, number)
        ids, trained = tokens.row(0)
        kept = self.cut.kept(len(ids))
        trained = trained[kept].copy()
        trained[:1] = False  # nothing predicts the first token
        weights = tokens.weights
        if weights is not None and (weights == 1).all():
            weights = None
        shown = ids[kept][:most_tokens].tolist()
        return ShownRow(
            row=number,
            sample_id=self.names[number - 1],
            tokens=tuple(self.pieces(shown)),
            trained=tuple(trained[:most_tokens].tolist()),
            cut=len(ids) - len(shown),
            findings=self.findings.get(number, ()),
            weights=() if weights is None else tuple(weights[kept][:most_tokens].tolist()),
        )


def named_rows(findings: Iterable[Finding]) -> dict[int, tuple[str, ...]]:
    """Names of the findings that name a row, by its number."""
    names: dict[int, tuple[str, ...]] = {}
    for finding in findings:
        for row in finding.rows:
            names[row] = (*names.get(row, ()), finding.name)
    return names
