"""The columns that scoring adds to a data set."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from ..core.stats import stats_of_one
from ..errors import UsageError
from ..signals.scorer import Scores
from .schema import SCORES, TOKEN_SCORES


@dataclass(frozen=True)
class ScoreColumns:
    """Adds the columns of scores to rows.

    Attributes:
        per_token: Add lists of token NLL and entropy, in nats.
        float16: Those in float16, at half the size: off by up to 0.05% of a value.
    """

    per_token: bool
    float16: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return (*SCORES, *TOKEN_SCORES) if self.per_token else SCORES

    def check(self, columns: Sequence[str], where: str) -> None:
        """See that none of the columns would replace a column of the user's.

        ``sample_id`` may be there: it stays as it is.

        Raises:
            UsageError: One would.
        """
        taken = [name for name in self.names[1:] if name in columns]
        if taken:
            raise UsageError(
                f"{where}: has a column {', '.join(taken)} already, which scoring would replace; "
                "rename it"
            )

    def add(
        self, rows: pa.Table, names: Sequence[str], scores: Sequence[Scores | None]
    ) -> pa.Table:
        """The rows with their scores.

        Args:
            rows: As they were loaded, ``N`` of them.
            names: Id of each.
            scores: Of each; None without answer tokens: null perplexity and entropy, 0 tokens.
        """
        ppl: list[float | None] = []
        entropy: list[float | None] = []
        sums, counts = [], []
        for one in scores:
            if one is None:
                ppl.append(None)
                entropy.append(None)
                sums.append(0.0)
                counts.append(0)
                continue
            stats = stats_of_one(one.nll, one.entropy)
            ppl.append(float(stats.ppl))
            entropy.append(float(stats.entropy))
            sums.append(float(one.nll.double().sum()))
            counts.append(len(one.nll))
        columns = {
            "sample_id": pa.array(names, pa.string()),
            "ppl": pa.array(ppl, pa.float64()),
            "entropy": pa.array(entropy, pa.float64()),
            "nll_sum": pa.array(sums, pa.float64()),
            "n_tokens": pa.array(counts, pa.int64()),
        }
        if self.per_token:
            for place, name in enumerate(TOKEN_SCORES):
                lists = [[] if one is None else one[:2][place].tolist() for one in scores]
                columns[name] = self._lists(lists)
        for name, values in columns.items():
            if name not in rows.column_names:
                rows = rows.append_column(name, values)
        return rows

    def _lists(self, lists: Sequence[Sequence[float]]) -> pa.Array:
        kind = pa.list_(pa.float32())
        values = pa.array(lists, kind)
        return values.cast(pa.list_(pa.float16())) if self.float16 else values
