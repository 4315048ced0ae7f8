"""Turns as units within ms-swift, and the flags of our exports read by it."""

import json

import pyarrow.compute as pc
import pytest

from qtuning import read_ledger
from qtuning.core.ratio import keep_count
from qtuning.offline.flags import FLAGS

from ..talks import talk
from .programs import NOTHING_PRUNED, logged, same_weights

pytest.importorskip("swift", reason="in the environment that `make integrations` makes")
HALF = {"prune_unit": "turn", "sample_ratio": 0.5, "token_ratio": 1.0}
BY_TURN = {**NOTHING_PRUNED, "prune_unit": "turn"}
N = 16


def written(path, rows):
    path.write_text("".join(f"{json.dumps({'messages': row})}\n" for row in rows))
    return {"dataset": str(path), "max_length": 512}


@pytest.fixture(scope="module")
def data(workshop):
    """Options that name conversations, whose tokens are characters."""
    return written(workshop.folder / "talks.jsonl", map(talk, range(N)))


def test_turns_are_kept_or_dropped_by_themselves(workshop, data):
    ledger = read_ledger(workshop.run("half", HALF, **data))
    assert set(ledger["kind"].to_pylist()) == {"turn"}
    assert set(ledger["turn"].to_pylist()) == {1, 2, 3}
    for step in set(ledger["step"].to_pylist()):
        rows = ledger.filter(pc.equal(ledger["step"], step))
        assert pc.sum(rows["kept"]).as_py() == keep_count(rows.num_rows, 0.5)


def test_with_all_turns_it_is_ms_swifts_run_bit_by_bit(workshop, data):
    ours = workshop.run("all", BY_TURN, **data)
    stock = workshop.run("stock-talks", **data)
    assert logged(ours, "loss") == logged(stock, "loss")
    assert same_weights(ours, stock)


def test_flags_of_dropped_turns_are_read_by_ms_swift(workshop, data):
    """By the key ``loss``."""
    whole = read_ledger(workshop.run("whole", BY_TURN, **data)).to_pylist()
    rows = [talk(i, {i % 3} if i % 3 else (), **FLAGS) for i in range(N)]
    flagged = written(workshop.folder / "flagged.jsonl", rows)
    found = read_ledger(workshop.run("flagged", BY_TURN, **flagged)).to_pylist()
    tokens = {}
    for name, ledger in (("whole", whole), ("flagged", found)):
        for row in ledger:
            if row["epoch"] == 0:
                tokens.setdefault(name, {}).setdefault(row["sample_id"], []).append(row["n_tokens"])
    assert tokens["whole"].keys() == tokens["flagged"].keys()
    for sample, lengths in tokens["whole"].items():
        last = len(lengths) - 1
        expected = [n for place, n in enumerate(lengths) if place + 1 != last]
        assert tokens["flagged"][sample] == expected
