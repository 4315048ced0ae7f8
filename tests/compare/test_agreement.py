"""Agreement in the kept samples, against sets of names."""

import random

import pytest

from qtuning.compare.agreement import agreement_tables, by_chance, jaccard, kept_bits
from qtuning.compare.figures import Line
from qtuning.compare.grid import Budget, Data
from qtuning.compare.statistics import t_interval
from qtuning.compare.tables import number
from qtuning.run.ledger import SCHEMA, LedgerRow

NAMES = [f"s{i}" for i in range(40)]
DATA = Data("d", ("x",))
QUARTER, HALF = Budget(0.25, 0.5), Budget(0.5, 0.5)


def ledger(kept_by_epoch, seed):
    """Of a run that saw all rows in an order of its own in each epoch."""
    draw = random.Random(seed)
    rows = [
        {**dict.fromkeys(LedgerRow._fields, 0), "epoch": epoch, "sample_id": name}
        | {"kept": name in kept, "filled": False, "scored": True}
        for epoch, kept in enumerate(kept_by_epoch)
        for name in draw.sample(NAMES, len(NAMES))
    ]
    return SCHEMA.empty_table().from_pylist(rows, SCHEMA)


def drawn(share, seed, epochs=3):
    draw = random.Random(seed)
    return [set(draw.sample(NAMES, round(share * len(NAMES)))) for _ in range(epochs)]


def line(method, budget, kept_by_seed):
    records = {}
    for seed, kept in kept_by_seed.items():
        share = sum(map(len, kept)) / (len(kept) * len(NAMES))
        cost = {"samples": share, "answer_tokens": share / 2, "compute": share}
        bits = kept_bits(ledger(kept, seed), NAMES)
        records[seed] = {"cost": cost, "kept": bits}
    return Line("m", DATA, method, budget.name, records)


def naive(one, other):
    return len(one & other) / len(one | other)


def test_kept_samples_come_back_whatever_the_order_of_the_run():
    kept = [set(), set(NAMES), {"s0", "s39"}]
    bits = kept_bits(ledger(kept, 1), NAMES)
    assert bits == kept_bits(ledger(kept, 2), NAMES)
    found = [{name for i, name in enumerate(NAMES) if int(one, 16) >> i & 1} for one in bits]
    assert found == kept
    assert max(map(len, bits)) == len(NAMES) / 4, "four rows a digit"


@pytest.mark.parametrize("seed", range(5))
def test_the_index_is_that_of_the_sets(seed):
    a, b = drawn(0.3, seed), drawn(0.6, seed + 100)
    for one, other, x, y in zip(
        a, b, kept_bits(ledger(a, 0), NAMES), kept_bits(ledger(b, 1), NAMES), strict=True
    ):
        assert jaccard(x, y) == jaccard(y, x) == naive(one, other)
    assert jaccard("0", "0") == 1.0


def test_chance_is_what_blind_choices_have_in_common():
    names = range(2000)
    draw = random.Random(0)
    pairs = [(set(draw.sample(names, 250)), set(draw.sample(names, 700))) for _ in range(50)]
    mean = sum(naive(*pair) for pair in pairs) / len(pairs)
    assert by_chance(0.125, 0.35) == pytest.approx(mean, rel=0.03)
    assert by_chance(0.125, 0.125) == pytest.approx(0.0667, abs=1e-4)


def test_methods_are_compared_seed_by_seed_and_epoch_by_epoch():
    exact = {seed: drawn(0.25, seed) for seed in (0, 1, 2)}
    other = {seed: drawn(0.25, 10 + seed) for seed in (0, 1)}  # its third seed is not there yet
    lines = [
        line("q-tuning", QUARTER, exact),
        line("same", QUARTER, exact),
        line("other", QUARTER, other),
        line("other", HALF, {0: drawn(0.5, 3)}),
    ]
    (table,) = agreement_tables(lines, {"q-tuning": None})
    assert table.header == (
        *("budget", "method", "epoch 1", "epoch 2", "epoch 3"),
        *("by chance", "seeds"),
    )
    rows = {row[1]: row[2:] for row in table.rows}
    assert rows.keys() == {"same", "other"}, "at the reference's budget"
    assert rows["same"] == (*["1.00 ± 0.00"] * 3, "0.14", "3")
    expected = [
        number(t_interval([naive(other[seed][e], exact[seed][e]) for seed in (0, 1)]), decimals=2)
        for e in range(3)
    ]
    assert rows["other"] == (*expected, "0.14", "2")

    (across,) = agreement_tables(lines, {"q-tuning": QUARTER})
    last = across.rows[-1]
    assert last[:2] == (HALF.name, "other")
    assert last[2] == f"{naive(drawn(0.5, 3)[0], exact[0][0]):.2f}"
    assert last[5] == "0.20"


def test_cells_without_kept_samples_on_record_are_left_out():
    new = line("q-tuning", QUARTER, {0: drawn(0.25, 0)})
    old = line("other", QUARTER, {0: drawn(0.25, 1)})
    del old.records[0]["kept"]
    assert agreement_tables([new, old], {"q-tuning": None}) == []
    assert agreement_tables([new, old], {}) == []
