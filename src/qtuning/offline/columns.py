"""The columns that scoring adds to a data set."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from ..core.selective_ifd import selective_ifd
from ..core.stats import stats_of_one
from ..errors import UsageError
from ..examples.candidate import ENTROPY_ALL
from ..examples.turns import Turn
from ..signals.noisy_copies import Spread
from ..signals.score_columns import ALONE, NLL_SUM, NOISY, SELECTIVE, WITHOUT_IMAGES
from ..signals.scorer import Scores
from .schema import MEAN_WEIGHT, SCORES, TOKEN_SCORES, TOKEN_WEIGHTS, TURN_ENDS, TURN_SCORES, TYPES


class ScoredRow(NamedTuple):
    """What scoring found out about a row with answer tokens.

    Attributes:
        scores: The scores of its answer tokens.
        ends_turn: Which of its answer tokens end a turn, ``(T,)`` bool.
        nll_alone: NLL of its answer tokens without the prompt in nats, ``(T,)``; None if it has no
            prompt, or was not scored without.
        weights: Weights of its answer tokens, ``(T,)``; None for 1.
        noisy: Selective IFD over noisy copies; None without a prompt or copies.
        turns: The turns that its answer tokens are of; empty where they are not told.
        turns_alone: NLL of the answer tokens of each turn without what was said before in nats;
            empty where they were not scored so, None for a turn with nothing before it.
        nll_blind: NLL of its answer tokens without its images in nats, ``(T,)``; None if it has
            none, or was not scored without.
    """

    scores: Scores
    ends_turn: Tensor
    nll_alone: Tensor | None = None
    weights: Tensor | None = None
    noisy: Spread | None = None
    turns: tuple[Turn, ...] = ()
    turns_alone: tuple[Tensor | None, ...] = ()
    nll_blind: Tensor | None = None


@dataclass(frozen=True)
class ScoreColumns:
    """Adds the columns of scores to rows.

    Attributes:
        per_token: Whether to add lists of token NLL and entropy, in nats.
        float16: Whether these lists are float16, half the size, with an error of up to 0.05%.
        alone: Whether to add the NLL of answers without their prompts, and selective IFD.
        entropy_of_all: Whether to add the mean entropy over all positions of a row, in nats.
        noisy: Whether to add selective IFD over noisy copies.
        weighted: Whether to add the users' weights.
        by_turn: Whether to add the scores of turns.
        without_images: Whether to add the NLL of answers without the images of their rows.
    """

    per_token: bool
    float16: bool = False
    alone: bool = False
    entropy_of_all: bool = False
    weighted: bool = False
    noisy: bool = False
    by_turn: bool = False
    without_images: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns that are added."""
        names = [*SCORES]
        names += (ALONE, SELECTIVE) if self.alone else ()
        names += [WITHOUT_IMAGES] if self.without_images else []
        names += [ENTROPY_ALL] if self.entropy_of_all else []
        names += NOISY if self.noisy else ()
        names += TOKEN_SCORES if self.per_token else ()
        names += [TURN_SCORES] if self.by_turn else []
        names += [MEAN_WEIGHT] if self.weighted else []
        return (*names, *([TOKEN_WEIGHTS] if self.weighted and self.per_token else []))

    def check(self, columns: Sequence[str], where: str) -> None:
        """Check that none of the columns would replace a column of the user's.

        A column ``sample_id`` may be there; its nulls become the names of their rows.

        Raises:
            UsageError: The data have a column with the name of one that is added.
        """
        clashes = [name for name in self.names[1:] if name in columns]
        if clashes:
            raise UsageError(
                f"{where}: has a column {', '.join(clashes)} already, which scoring would replace; "
                "rename it"
            )

    def add(
        self, rows: pa.Table, names: Sequence[str], scored: Sequence[ScoredRow | None]
    ) -> pa.Table:
        """Add the columns of scores to rows.

        Args:
            rows: The ``N`` rows as loaded.
            names: Sample id of each row.
            scored: What is known of each row; None for a row without answer tokens, which gets
                null perplexity and entropy, and 0 tokens.
        """
        ppl: list[float | None] = []
        entropy: list[float | None] = []
        sums, counts = [], []
        ends: list[list[int]] = []
        for one in scored:
            if one is None:
                ppl.append(None)
                entropy.append(None)
                sums.append(0.0)
                counts.append(0)
                ends.append([])
                continue
            nll = one.scores.nll
            stats = stats_of_one(nll, one.scores.entropy)
            ppl.append(float(stats.ppl))
            entropy.append(float(stats.entropy))
            sums.append(_sum(nll))
            counts.append(len(nll))
            ends.append(one.ends_turn.nonzero().squeeze(1).tolist())
        columns = {
            "sample_id": pa.array(names, pa.string()),
            "ppl": pa.array(ppl, pa.float64()),
            "entropy": pa.array(entropy, pa.float64()),
            NLL_SUM: pa.array(sums, pa.float64()),
            "n_tokens": pa.array(counts, pa.int64()),
            TURN_ENDS: pa.array(ends, pa.list_(pa.int32())),
        }
        if self.alone:
            sums_alone = [None if one is None else _sum_of(one.nll_alone) for one in scored]
            columns[ALONE] = pa.array(sums_alone, pa.float64())
            columns[SELECTIVE] = pa.array([_selective(one) for one in scored], pa.float64())
        if self.without_images:
            blind = [None if one is None else _sum_of(one.nll_blind) for one in scored]
            columns[WITHOUT_IMAGES] = pa.array(blind, pa.float64())
        if self.entropy_of_all:
            means = [None if one is None else one.scores.extras[ENTROPY_ALL] for one in scored]
            values = [None if mean is None else float(mean) for mean in means]
            columns[ENTROPY_ALL] = pa.array(values, pa.float64())
        if self.noisy:
            spreads = [None if one is None else one.noisy for one in scored]
            for place, name in enumerate(NOISY):
                values = [None if spread is None else spread[place] for spread in spreads]
                columns[name] = pa.array(values, pa.float64())
        if self.per_token:
            for place, name in enumerate(TOKEN_SCORES):
                lists = [[] if one is None else one.scores[:2][place].tolist() for one in scored]
                columns[name] = self._lists(lists)
        if self.by_turn:
            turns = [[] if one is None else _turns(one) for one in scored]
            columns[TURN_SCORES] = pa.array(turns, TYPES[TURN_SCORES])
        if self.weighted:
            columns |= self._weights(scored)
        for name, values in columns.items():
            if name not in rows.column_names:
                rows = rows.append_column(name, values)
            elif rows[name].null_count:  # the user's names of some rows only
                rows = rows.set_column(
                    rows.column_names.index(name), name, _filled(rows[name], values)
                )
        return rows

    def _weights(self, scored: Sequence[ScoredRow | None]) -> dict[str, pa.Array]:
        """The columns of weights."""
        lists = [[] if one is None else _weights_of(one) for one in scored]
        means = [sum(one) / len(one) if one else None for one in lists]
        columns = {MEAN_WEIGHT: pa.array(means, pa.float64())}
        if self.per_token:
            columns[TOKEN_WEIGHTS] = pa.array(lists, pa.list_(pa.float32()))
        return columns

    def _lists(self, lists: Sequence[Sequence[float]]) -> pa.Array:
        """A column of lists, in float32 or float16."""
        kind = pa.list_(pa.float32())
        values = pa.array(lists, kind)
        return values.cast(pa.list_(pa.float16())) if self.float16 else values


def _filled(column: pa.ChunkedArray, names: pa.Array) -> pa.ChunkedArray:
    """A column of names with others in the place of its nulls, of its own type."""
    kind = pa.string() if pa.types.is_null(column.type) else column.type
    return pc.coalesce(column.cast(kind), names.cast(kind))


def _weights_of(row: ScoredRow) -> list[float]:
    """The weight of each answer token of a row."""
    weights: list[float] = (
        [1.0] * len(row.scores.nll) if row.weights is None else row.weights.tolist()
    )
    return weights


def _turns(row: ScoredRow) -> list[dict[str, int | float | str | None]]:
    """The scores of the turns of a row; NaN in all of them where one token's is not finite."""
    told: list[dict[str, int | float | str | None]] = []
    is_sound = bool(row.scores.nll.isfinite().all())
    lengths = [turn.n_tokens for turn in row.turns]
    parts = zip(*(values.split(lengths) for values in row.scores[:2]), strict=True)
    alones = row.turns_alone or (None,) * len(row.turns)
    for turn, (nll, entropy), alone in zip(row.turns, parts, alones, strict=True):
        if not is_sound:
            nll, entropy = torch.full_like(nll, torch.nan), torch.full_like(entropy, torch.nan)
        stats = stats_of_one(nll, entropy)
        told.append(
            {
                "turn": turn.number,
                "kind": turn.kind,
                "n_tokens": turn.n_tokens,
                "ppl": float(stats.ppl),
                "entropy": float(stats.entropy),
                NLL_SUM: _sum(nll),
                ALONE: None if alone is None else _sum(alone),
                SELECTIVE: None if alone is None else float(selective_ifd(nll, alone)),
            }
        )
    return told


def _sum_of(nll: Tensor | None) -> float | None:
    return None if nll is None else _sum(nll)


def _selective(row: ScoredRow | None) -> float | None:
    """Selective IFD of a row; None where it has no prompt or no answer tokens."""
    if row is None or row.nll_alone is None:
        return None
    return float(selective_ifd(row.scores.nll, row.nll_alone))


def _sum(nll: Tensor) -> float:
    return float(nll.double().sum())
