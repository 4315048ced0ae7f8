"""Compare two sets of decisions, A and B, over the same data."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import torch

from ..core.plane import BAND, Q1, Q2, Q3, Q4, rank_correlation
from ..errors import UsageError
from ..io.json_files import finite

QUADRANTS = (Q1, Q2, Q3, Q4, BAND)
QUADRANT_LABELS = ("Q1", "Q2", "Q3", "Q4", "band")
_READ = ("ppl", "entropy", "n_tokens", "kept", "quadrant", "filled", "tokens_kept")


@dataclass(frozen=True)
class View:
    """The scores of a sample and the decision on it, in A or in B.

    Attributes:
        ppl: Perplexity of the answer; None if not known.
        entropy: Mean entropy of the answer in nats; None if not known.
        n_tokens: Number of answer tokens.
        kept: Whether the sample is trained on.
        quadrant: 1 to 4, 0 for the middle band or none.
        filled: Whether the sample is kept only to fill the budget.
        tokens_kept: Number of answer tokens trained on; None if not known.
    """

    ppl: float | None
    entropy: float | None
    n_tokens: int
    kept: bool
    quadrant: int
    filled: bool
    tokens_kept: int | None = None


@dataclass(frozen=True)
class Difference:
    """A sample that only one of A and B keeps.

    Attributes:
        sample_id: The name of the sample.
        a: The sample in A.
        b: The sample in B.
    """

    sample_id: str
    a: View
    b: View

    @property
    def change(self) -> float:
        """How far apart the perplexities are, ``|log(ppl_b / ppl_a)|``; -1 if not known."""
        before, after = self.a.ppl or math.nan, self.b.ppl or math.nan
        change = abs(math.log(after) - math.log(before)) if min(before, after) > 0 else math.nan
        return change if math.isfinite(change) else -1.0


@dataclass(frozen=True)
class Agreement:
    """How far A and B agree on the samples that both have.

    Attributes:
        only_a: Names of the samples that B does not have, in A's order.
        only_b: Names of the samples that A does not have, in B's order.
        kept_by_both: Number of samples that both keep.
        kept_by_a: Number of samples that A keeps and B drops.
        kept_by_b: Number of samples that B keeps and A drops.
        kept_by_neither: Number of samples that both drop.
        quadrants: Numbers of samples, 5 x 5: a row for each quadrant of A, a column for each of B,
            in the order of ``QUADRANTS``.
        ppl_correlation: Spearman's rho of A's and B's perplexity; NaN where it is undefined.
        entropy_correlation: Spearman's rho of A's and B's entropy; NaN where it is undefined.
        other_length: Number of samples with another number of answer tokens in B, because of
            another text, tokenizer or ``max_length``.
        differing: Samples that only one of A and B keeps, by decreasing ratio of the perplexities;
            samples with the same ratio in A's order.
    """

    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    kept_by_both: int
    kept_by_a: int
    kept_by_b: int
    kept_by_neither: int
    quadrants: tuple[tuple[int, ...], ...]
    ppl_correlation: float
    entropy_correlation: float
    other_length: int
    differing: tuple[Difference, ...]

    @property
    def both(self) -> int:
        """Number of samples that are in A and in B."""
        return self.kept_by_both + self.kept_by_a + self.kept_by_b + self.kept_by_neither

    @property
    def shares(self) -> tuple[float, float]:
        """Shares of the samples in both that A keeps, and that B keeps."""
        return (
            (self.kept_by_both + self.kept_by_a) / self.both,
            (self.kept_by_both + self.kept_by_b) / self.both,
        )

    @property
    def jaccard(self) -> float:
        """Jaccard index: samples kept by both over samples kept by either; NaN if none is kept."""
        either = self.both - self.kept_by_neither
        return self.kept_by_both / either if either else math.nan

    @property
    def chance_jaccard(self) -> float:
        """The Jaccard index expected of two independent random choices with the same shares."""
        a, b = self.shares
        return a * b / (a + b - a * b) if a + b else math.nan

    @property
    def kappa(self) -> float:
        """Cohen's kappa of kept and dropped: 1 agreement, 0 chance; NaN if both keep all or none.

        kappa = (p_o - p_e) / (1 - p_e), where p_o is the share of samples with the same decision,
        and p_e the share expected of independent random choices with the same shares.
        """
        a, b = self.shares
        observed = (self.kept_by_both + self.kept_by_neither) / self.both
        expected = a * b + (1 - a) * (1 - b)
        return (observed - expected) / (1 - expected) if expected < 1.0 else math.nan

    def to_dict(self) -> dict[str, Any]:
        """The agreement as plain data for JSON; NaN is None."""
        return {
            "samples": {
                "both": self.both,
                "only_a": len(self.only_a),
                "only_b": len(self.only_b),
                "only_a_ids": list(self.only_a),
                "only_b_ids": list(self.only_b),
                "other_length": self.other_length,
            },
            "kept": {
                "both": self.kept_by_both,
                "only_a": self.kept_by_a,
                "only_b": self.kept_by_b,
                "neither": self.kept_by_neither,
                "jaccard": finite(self.jaccard),
                "chance_jaccard": finite(self.chance_jaccard),
                "kappa": finite(self.kappa),
            },
            "quadrants": {
                "names": list(QUADRANT_LABELS),
                "counts": [list(row) for row in self.quadrants],
            },
            "rank_correlation": {
                "ppl": finite(self.ppl_correlation),
                "entropy": finite(self.entropy_correlation),
            },
            "differing": [
                {"sample_id": one.sample_id, "a": _side(one.a), "b": _side(one.b)}
                for one in self.differing
            ],
        }


def agreement(a: pa.Table, b: pa.Table) -> Agreement:
    """Compare two tables of decisions with one row for each sample, in any order.

    Args:
        a: A table with ``sample_id``, ``ppl``, ``entropy``, ``n_tokens``, ``kept``, ``quadrant``,
            ``filled``, and ``tokens_kept`` if known, as ``decided.read_decided`` returns it.
        b: A table with the same columns.

    Raises:
        UsageError: No sample is in both tables, or several samples of a table have the same name.
    """
    first, second = _by_name(a, "A"), _by_name(b, "B")
    names = [name for name in first if name in second]
    if not names:
        raise UsageError(
            f"no sample is in both: A names them {_some(first)}, B {_some(second)}; compare "
            "decisions over the same data, by the same sample_id or id column"
        )
    pairs = [(first[name], second[name]) for name in names]
    n_kept = Counter((one.kept, other.kept) for one, other in pairs)
    n_quadrants = Counter((one.quadrant, other.quadrant) for one, other in pairs)
    differences = [
        Difference(name, *pair)
        for name, pair in zip(names, pairs, strict=True)
        if pair[0].kept != pair[1].kept
    ]
    return Agreement(
        only_a=tuple(name for name in first if name not in second),
        only_b=tuple(name for name in second if name not in first),
        kept_by_both=n_kept[True, True],
        kept_by_a=n_kept[True, False],
        kept_by_b=n_kept[False, True],
        kept_by_neither=n_kept[False, False],
        quadrants=tuple(
            tuple(n_quadrants[row, column] for column in QUADRANTS) for row in QUADRANTS
        ),
        ppl_correlation=_correlation([(one.ppl, other.ppl) for one, other in pairs]),
        entropy_correlation=_correlation([(one.entropy, other.entropy) for one, other in pairs]),
        other_length=sum(one.n_tokens != other.n_tokens for one, other in pairs),
        differing=tuple(sorted(differences, key=lambda one: -one.change)),
    )


def _by_name(table: pa.Table, where: str) -> dict[str, View]:
    """The samples of a table by name.

    Raises:
        UsageError: Several samples have the same name.
    """
    columns = [name for name in _READ if name in table.column_names]
    rows = table.select(columns).to_pylist()
    names = table["sample_id"].to_pylist()
    views = {name: View(**row) for name, row in zip(names, rows, strict=True)}
    if len(views) < len(names):
        name, times = Counter(names).most_common(1)[0]
        raise UsageError(
            f"{where}: {times} samples are called {name!r}: give the data a sample_id column whose "
            "values differ, and score again"
        )
    return views


def _correlation(pairs: Sequence[tuple[float | None, float | None]]) -> float:
    """Spearman's rho over the pairs of finite values; NaN for fewer than two such pairs."""
    finite_pairs = [pair for pair in pairs if _is_sound(pair[0]) and _is_sound(pair[1])]
    if len(finite_pairs) < 2:
        return math.nan
    values = torch.tensor(finite_pairs, dtype=torch.float64)
    return rank_correlation(values[:, 0], values[:, 1])


def _is_sound(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _some(names: Mapping[str, View]) -> str:
    return ", ".join(map(repr, list(names)[:2])) + (", ..." if len(names) > 2 else "")


def _side(one: View) -> dict[str, Any]:
    return {key: finite(value) for key, value in asdict(one).items()}
