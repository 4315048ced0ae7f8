"""Which samples of a pool to score anew: policies of ``score_refresh`` replayed on a ledger.

    python benchmarks/refresh_simulation.py RUN [RUN ...] --output refresh_simulation.json

A RUN is the output folder of an exact run of two epochs or more: its ledger holds the perplexity
and entropy of every sample in each epoch. From the second epoch on only a share of each pool gets
its true scores of that step, and the others keep their last known ones. What is then selected is
compared with what the run selected. Weights do not diverge here, so this shows staleness alone.

Policies:

- ``random``: uniform.
- ``oldest``: the longest since last scored first, ties drawn.
- ``boundary``: nearest to the decision boundary first, as far as the last known scores tell. The
  pool is selected from provisionally; a sample's distance is that to the nearest sample with the
  other decision, in the plane of ranks (rank of perplexity, rank of entropy, each over N).
- ``rounds``: a quarter of the share by boundary; then whoever the scores so far would keep, and
  again, until the share is used up. Costs several scoring passes a step.

Stale scores are used as they are (drift ``none``) or mended by what the refreshed samples of the
pool show: ``shift`` adds their mean change; ``level`` does so after setting each sample off
against the mean of the pool it was scored in; ``standard`` fits a line through standard scores of
that pool.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import torch
from quality_numbers import chance_jaccard, jaccard
from torch import Tensor

from qtuning import read_ledger, select_samples

SHARES = (0.5, 0.25, 0.1)
POLICIES = ("random", "oldest", "boundary", "rounds")
DRIFTS = ("none", "shift", "level", "standard")
REPEATS = 20
"""Of policies that draw; each with a generator of its own."""


class Pool(NamedTuple):
    """The candidates of one step with their true scores and what the run kept of them.

    Attributes:
        step: The optimizer step.
        epoch: Counted from 0.
        ids: Sample ids.
        scores: ``(N, 2)`` float64: log perplexity, entropy in nats.
        kept: The run's decisions.
    """

    step: int
    epoch: int
    ids: list[str]
    scores: Tensor
    kept: list[bool]


class Last(NamedTuple):
    """What is known of a sample: its scores ``(2,)``, the step, and that pool's mean and sd."""

    scores: Tensor
    step: int
    mean: Tensor
    sd: Tensor


Known = dict[str, Last]


def read_pools(folder: Path) -> list[Pool]:
    """The steps of a run in order; samples with a bad loss or no score are left out."""
    rows = [
        row
        for row in read_ledger(folder).to_pylist()
        if row["ppl"] is not None and math.isfinite(row["ppl"]) and math.isfinite(row["entropy"])
    ]
    pools = []
    for step, members in groupby(rows, key=lambda row: int(row["step"])):
        one = list(members)
        scores = [[math.log(row["ppl"]), row["entropy"]] for row in one]
        pools.append(
            Pool(
                step=step,
                epoch=one[0]["epoch"],
                ids=[row["sample_id"] for row in one],
                scores=torch.tensor(scores, dtype=torch.float64),
                kept=[row["kept"] for row in one],
            )
        )
    return pools


class Plan(NamedTuple):
    """One way to refresh: how much, what first, and how to mend what is stale."""

    share: float
    policy: str
    drift: str


def simulate(pools: Sequence[Pool], ratio: float, plan: Plan, seed: int = 0) -> dict[int, float]:
    """Jaccard of the kept sets with the run's own, by epoch (counted from 0).

    A sample never scored before is always scored. Kept sets are those of a whole epoch.
    """
    draw = Random(seed)
    known: Known = {}
    mend = _MENDERS[plan.drift]
    ours: dict[int, list[bool]] = {}
    theirs: dict[int, list[bool]] = {}
    for pool in pools:
        n = len(pool.ids)
        fresh = {i for i in range(n) if pool.ids[i] not in known}
        wanted = max(1, math.floor(plan.share * n + 1e-9)) if pool.epoch and plan.share else 0
        if plan.policy == "rounds":
            refresh_in_rounds(pool, fresh, wanted, known, ratio, mend)
        else:
            old = [i for i in range(n) if i not in fresh]
            ranked = _ORDERS[plan.policy](pool, old, known, ratio, draw) if old else []
            fresh |= set(ranked[: max(0, wanted - len(fresh))])
        scores = estimate(pool, fresh, known, mend)
        kept = decide(scores, ratio).tolist()
        mean, sd = scores.mean(dim=0), scores.std(dim=0, unbiased=False)
        for i in fresh:
            known[pool.ids[i]] = Last(pool.scores[i], pool.step, mean, sd)
        ours.setdefault(pool.epoch, []).extend(kept)
        theirs.setdefault(pool.epoch, []).extend(pool.kept)
    return {epoch: jaccard(ours[epoch], theirs[epoch]) for epoch in ours}


def decide(scores: Tensor, ratio: float) -> Tensor:
    """Which of ``(N, 2)`` scores are kept, ``(N,)`` bool."""
    return select_samples(scores[:, 0].exp(), scores[:, 1], ratio).kept


def estimate(pool: Pool, fresh: Collection[int], known: Known, mend: Mender) -> Tensor:
    """Scores ``(N, 2)`` to decide by: true where fresh, last known and mended elsewhere."""
    scores = pool.scores.clone()
    stale = [i for i in range(len(pool.ids)) if i not in fresh]
    both = [i for i in sorted(fresh) if pool.ids[i] in known]
    if stale:
        scores[stale] = mend(
            [known[pool.ids[i]] for i in stale],
            [known[pool.ids[i]] for i in both],
            pool.scores[both],
        )
    scores[:, 1].clamp_(min=0.0)
    return scores


def as_it_was(stale: list[Last], before: list[Last], now: Tensor) -> Tensor:
    """The last known scores ``(M, 2)``."""
    return torch.stack([one.scores for one in stale])


def shifted(stale: list[Last], before: list[Last], now: Tensor) -> Tensor:
    """Moved by the mean change of the refreshed samples."""
    if not before:
        return as_it_was(stale, before, now)
    return as_it_was(stale, before, now) + (now - as_it_was(before, [], now)).mean(dim=0)


def levelled(stale: list[Last], before: list[Last], now: Tensor) -> Tensor:
    """The same, with each value first set off against the mean of the pool it was scored in."""
    last = torch.stack([one.scores - one.mean for one in stale])
    if not before:
        return last + stale[0].mean
    return last + (now - torch.stack([one.scores - one.mean for one in before])).mean(dim=0)


def standardised(stale: list[Last], before: list[Last], now: Tensor) -> Tensor:
    """Standard scores within the pool of scoring, on the scale of the refreshed samples now.

    The line from standard scores to present values is fitted on the refreshed samples; a prior
    worth four samples draws its slope towards the spread at the time of the last scoring.
    """
    last = torch.stack([one.scores for one in stale])
    z = torch.stack([(one.scores - one.mean) / one.sd.clamp(min=1e-9) for one in stale])
    if not before:
        return last
    seen = torch.stack([(one.scores - one.mean) / one.sd.clamp(min=1e-9) for one in before])
    spread = torch.stack([one.sd for one in before]).mean(dim=0)
    centred = seen - seen.mean(dim=0)
    slope = ((centred * (now - now.mean(dim=0))).sum(dim=0) + 4 * spread) / (
        centred.square().sum(dim=0) + 4
    )
    return now.mean(dim=0) + slope.clamp(min=0) * (z - seen.mean(dim=0))


Mender = Callable[[list[Last], list[Last], Tensor], Tensor]
_MENDERS: Mapping[str, Mender] = {
    "none": as_it_was,
    "shift": shifted,
    "level": levelled,
    "standard": standardised,
}


def by_chance(pool: Pool, old: list[int], known: Known, ratio: float, draw: Random) -> list[int]:
    """Uniform."""
    return draw.sample(old, len(old))


def by_age(pool: Pool, old: list[int], known: Known, ratio: float, draw: Random) -> list[int]:
    """The longest since last scored first."""
    return sorted(draw.sample(old, len(old)), key=lambda i: known[pool.ids[i]].step)


def by_boundary(pool: Pool, old: list[int], known: Known, ratio: float, draw: Random) -> list[int]:
    """Nearest to a sample with the other provisional decision first."""
    last = torch.stack([known[pool.ids[i]].scores for i in old])
    distance = boundary_distances(last, decide(last, ratio)).tolist()
    return [i for _, i in sorted(zip(distance, old, strict=True))]


_ORDERS: Mapping[str, Callable[[Pool, list[int], Known, float, Random], list[int]]] = {
    "random": by_chance,
    "oldest": by_age,
    "boundary": by_boundary,
}


def refresh_in_rounds(
    pool: Pool, fresh: set[int], wanted: int, known: Known, ratio: float, mend: Mender
) -> None:
    """Refresh whom the present estimates would keep, look again, until the share is used up.

    The first quarter of the share is what lies nearest to the boundary, to learn the drift from.
    """
    n = len(pool.ids)
    first = wanted - max(1, wanted * 3 // 4)
    while len(fresh) < min(wanted, n):
        scores = estimate(pool, fresh, known, mend)
        kept = decide(scores, ratio)
        distance = boundary_distances(scores, kept)
        if len(fresh) >= first:
            distance[kept] = -1.0
        stale = sorted((float(distance[i]), i) for i in range(n) if i not in fresh)
        room = (first if len(fresh) < first else wanted) - len(fresh)
        candidates = [i for d, i in stale if d < 0] or [i for _, i in stale]
        fresh.update(candidates[:room])


def boundary_distances(points: Tensor, kept: Tensor) -> Tensor:
    """Distance of each of ``(N, 2)`` points to the nearest of the other decision, ``(N,)``.

    Measured in the plane of ranks, each over N, so that outliers do not stretch it; infinite if
    all were decided alike.
    """
    ranks = points.argsort(dim=0, stable=True).argsort(dim=0).double() / len(points)
    apart = torch.cdist(ranks, ranks)
    apart[kept[:, None] == kept[None, :]] = math.inf
    return apart.min(dim=1).values


def rows_of(
    name: str, pools: Sequence[Pool], ratio: float, repeats: int = REPEATS
) -> list[dict[str, Any]]:
    """All plans: ``{"run", "share", "policy", "drift", "jaccard": {epoch: J}}``."""
    plans = [Plan(0.0, "random", drift) for drift in DRIFTS[:1]]
    plans += [Plan(s, p, d) for s in SHARES for p in POLICIES for d in DRIFTS]
    rows = []
    for plan in plans:
        seeds = range(repeats if plan.policy in ("random", "oldest") else 1)
        found = [simulate(pools, ratio, plan, seed) for seed in seeds]
        mean = {e: math.fsum(one[e] for one in found) / len(found) for e in found[0]}
        rows.append({"run": name, **plan._asdict(), "jaccard": mean})
    return rows


def nothing_refreshed(row: Mapping[str, Any]) -> bool:
    """Whether a row is the lower end: every sample decided by its scores in the first epoch."""
    return bool(row["share"] == 0.0)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: for each run and share a row a policy; by drift the Jaccard of each epoch."""
    lines = []
    for name in dict.fromkeys(row["run"] for row in rows):
        own = [row for row in rows if row["run"] == name]
        low = next(row for row in own if nothing_refreshed(row))
        lines += [f"## {name}", "", f"Nothing refreshed: {_later(low)}.", ""]
        lines += ["| share | policy | " + " | ".join(DRIFTS) + " |", "|---" * 6 + "|"]
        for share in SHARES:
            for policy in POLICIES:
                cells = [
                    _later(row)
                    for drift in DRIFTS
                    for row in own
                    if (row["share"], row["policy"], row["drift"]) == (share, policy, drift)
                ]
                lines.append(f"| {share:g} | {policy} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def _later(row: Mapping[str, Any]) -> str:
    return " ".join(f"{value:.2f}" for epoch, value in row["jaccard"].items() if int(epoch))


def main() -> int:
    """Replay all plans on the runs named on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--names", nargs="+", help="what to call the runs; by default their paths")
    parser.add_argument("--sample_ratio", type=float, default=0.125)
    parser.add_argument("--output", type=Path, required=True, help="a .json; a .md goes beside it")
    options = parser.parse_args()
    names = options.names or [str(run) for run in options.runs]
    rows: list[dict[str, Any]] = []
    for name, run in zip(names, options.runs, strict=True):
        rows += rows_of(name, read_pools(run), options.sample_ratio)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(rows, indent=1) + "\n")
    text = (
        f"Jaccard with the exact decisions, later epochs, at sample ratio "
        f"{options.sample_ratio:g}; chance {chance_jaccard(options.sample_ratio):.2f}.\n\n"
        + table(rows)
    )
    options.output.with_suffix(".md").write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
