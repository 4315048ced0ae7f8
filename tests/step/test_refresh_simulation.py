"""The replay of refresh policies, on ledgers made by hand."""

import json
import math
import random
import sys
from pathlib import Path

import pytest
import refresh_simulation as simulation
import torch
from refresh_simulation import Last, Plan, Pool

from qtuning import select_samples
from qtuning.run.ledger import Ledger, LedgerRow

RATIO = 0.25


def make_pools(epochs: int = 3, drift: float = 0.0, noise: float = 0.3, seed: int = 0):
    """Two pools of 12 an epoch; scores drift by as much a step and jitter between epochs."""
    draw = random.Random(seed)
    base = {f"s{i}": (draw.gauss(2, 1), draw.gauss(2, 0.5)) for i in range(24)}
    pools, step = [], 0
    for epoch in range(epochs):
        order = draw.sample(sorted(base), len(base))
        for ids in (order[:12], order[12:]):
            step += 1
            scores = [
                [
                    base[i][0] - drift * step + noise * draw.gauss(0, 1) * (epoch > 0),
                    max(0.05, base[i][1] - drift * step / 4 + noise * draw.gauss(0, 1)),
                ]
                for i in ids
            ]
            tensor = torch.tensor(scores, dtype=torch.float64)
            kept = select_samples(tensor[:, 0].exp(), tensor[:, 1], RATIO).kept.tolist()
            pools.append(Pool(step, epoch, ids, tensor, kept))
    return pools


def write_ledger(folder: Path, pools: list[Pool]) -> Path:
    with Ledger.start(folder / "ledger") as ledger:
        for pool in pools:
            ledger.append(
                LedgerRow(
                    **{
                        **dict.fromkeys(LedgerRow._fields, 0),
                        "epoch": pool.epoch,
                        "step": pool.step,
                        "sample_id": name,
                        "ppl": math.exp(log_ppl),
                        "entropy": entropy,
                        "kept": kept,
                        "filled": False,
                        "scored": True,
                    }
                )
                for name, (log_ppl, entropy), kept in zip(
                    pool.ids, pool.scores.tolist(), pool.kept, strict=True
                )
            )
    return folder


@pytest.mark.parametrize("policy", simulation.POLICIES)
@pytest.mark.parametrize("drift", simulation.DRIFTS)
def test_refreshing_all_is_exact(policy: str, drift: str) -> None:
    found = simulation.simulate(make_pools(drift=0.1), RATIO, Plan(1.0, policy, drift))
    assert found == {0: 1.0, 1: 1.0, 2: 1.0}


@pytest.mark.parametrize("policy", simulation.POLICIES)
def test_scores_that_stay_need_no_refresh(policy: str) -> None:
    pools = make_pools(epochs=1, noise=0.0)
    again = [pool._replace(step=pool.step + 2, epoch=1) for pool in pools]
    found = simulation.simulate([*pools, *again], RATIO, Plan(0.25, policy, "none"))
    assert found == {0: 1.0, 1: 1.0}


def test_staleness_costs_agreement() -> None:
    """Else the tests above would say nothing."""
    found = simulation.simulate(make_pools(noise=1.0), RATIO, Plan(0.0, "random", "none"))
    assert found[0] == 1.0
    assert found[1] < 1.0


@pytest.mark.parametrize("policy", simulation.POLICIES)
@pytest.mark.parametrize(("share", "wanted"), [(0.5, 6), (0.25, 3), (0.1, 1)])
def test_as_many_are_refreshed_as_asked_for(policy, share, wanted, monkeypatch) -> None:
    seen = []
    whole = simulation.estimate

    def watched(pool, fresh, known, mend):
        seen.append((pool.step, pool.epoch, len(set(fresh))))
        return whole(pool, fresh, known, mend)

    monkeypatch.setattr(simulation, "estimate", watched)
    simulation.simulate(make_pools(), RATIO, Plan(share, policy, "none"))
    last_of_step = {step: (epoch, n) for step, epoch, n in seen}
    for epoch, n in last_of_step.values():
        assert n == (wanted if epoch else 12)


def test_stale_scores_are_used_as_they_were() -> None:
    pool = make_pools(epochs=1)[0]
    old = pool.scores + 5.0
    mean, sd = old.mean(dim=0), old.std(dim=0)
    known = {name: Last(old[i], 1, mean, sd) for i, name in enumerate(pool.ids)}
    found = simulation.estimate(pool, {2, 7}, known, simulation.as_it_was)
    for i in range(len(pool.ids)):
        assert torch.equal(found[i], pool.scores[i] if i in (2, 7) else old[i])


@pytest.mark.parametrize("name", ["shift", "level", "standard"])
def test_menders_undo_a_common_drift(name: str) -> None:
    now = torch.rand(9, 2, generator=torch.Generator().manual_seed(0)).double() + 3
    then = now + torch.tensor([1.5, -2.0]).double()
    mean, sd = then.mean(dim=0), then.std(dim=0, unbiased=False)
    known = [Last(one, 1, mean, sd) for one in then]
    mended = simulation._MENDERS[name](known[4:], known[:4], now[:4])
    assert torch.allclose(mended, now[4:])


@pytest.mark.parametrize("name", simulation.DRIFTS)
def test_menders_without_a_refreshed_sample(name: str) -> None:
    """Then nothing is known of the drift."""
    then = torch.tensor([[1.0, 2.0], [3.0, 1.0]]).double()
    known = [Last(one, 1, then.mean(dim=0), then.std(dim=0)) for one in then]
    assert torch.allclose(simulation._MENDERS[name](known, [], torch.empty(0, 2)), then)


def test_boundary_distance_by_hand() -> None:
    points = torch.tensor([[1.0, 10.0], [2.0, 20.0], [30.0, 30.0], [400.0, 40.0]]).double()
    kept = torch.tensor([True, True, False, False])
    one = math.sqrt(2) / 4  # a rank on either axis, over N
    assert simulation.boundary_distances(points, kept).tolist() == pytest.approx(
        [2 * one, one, one, 2 * one]
    )
    alike = simulation.boundary_distances(points, torch.ones(4, dtype=torch.bool))
    assert alike.isinf().all()


def test_nearest_to_the_boundary_go_first() -> None:
    pool = make_pools(epochs=1)[0]
    known = {
        name: Last(pool.scores[i], 1, pool.scores[0], pool.scores[0])
        for i, name in enumerate(pool.ids)
    }
    order = simulation.by_boundary(pool, list(range(12)), known, RATIO, random.Random(0))
    distance = simulation.boundary_distances(pool.scores, torch.tensor(pool.kept))
    assert sorted(order) == list(range(12))
    assert [float(distance[i]) for i in order] == sorted(distance.tolist())


def test_the_longest_not_scored_go_first() -> None:
    pool = make_pools(epochs=1)[0]
    steps = [5, 3, 9, 3, 1, 7, 7, 2, 8, 8, 8, 4]
    known = {
        name: Last(pool.scores[i], steps[i], pool.scores[0], pool.scores[0])
        for i, name in enumerate(pool.ids)
    }
    order = simulation.by_age(pool, list(range(12)), known, RATIO, random.Random(0))
    assert [steps[i] for i in order] == sorted(steps)


def test_from_a_run_to_the_table(tmp_path, monkeypatch, capsys) -> None:
    pools = make_pools(noise=1.0)
    run = write_ledger(tmp_path / "run", pools)
    for ours, theirs in zip(simulation.read_pools(run), pools, strict=True):
        assert (ours.step, ours.epoch, ours.ids, ours.kept) == (
            theirs.step,
            theirs.epoch,
            theirs.ids,
            theirs.kept,
        )
        assert torch.allclose(ours.scores, theirs.scores)

    monkeypatch.setattr(simulation, "REPEATS", 2)
    monkeypatch.setattr(simulation, "SHARES", (0.5,))
    output = tmp_path / "out" / "simulation.json"
    arguments = [str(run), "--names", "hand-made", "--sample_ratio", "0.25"]
    monkeypatch.setattr(sys, "argv", ["simulation", *arguments, "--output", str(output)])
    assert simulation.main() == 0
    rows = json.loads(output.read_text())
    assert len(rows) == 1 + len(simulation.POLICIES) * len(simulation.DRIFTS)
    assert {row["run"] for row in rows} == {"hand-made"}
    text = output.with_suffix(".md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("| 0.5 | boundary |")]
    row = next(
        r for r in rows if (r["share"], r["policy"], r["drift"]) == (0.5, "boundary", "none")
    )
    expected = f"{row['jaccard']['1']:.2f} {row['jaccard']['2']:.2f}"
    assert lines[0].split("|")[3].strip() == expected
