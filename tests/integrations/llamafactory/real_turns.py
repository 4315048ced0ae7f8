"""Turns as units within LLaMA-Factory."""

import json

import pyarrow.compute as pc
import pytest

from qtuning import read_ledger
from qtuning.core.ratio import keep_count

from ..talks import talk
from .programs import NOTHING_PRUNED, OURS, STOCK, losses, same_weights

pytest.importorskip("llamafactory", reason="in the environment that `make integrations` makes")
HALF = {"prune_unit": "turn", "sample_ratio": 0.5, "token_ratio": 1.0}


@pytest.fixture(scope="module")
def data(workshop):
    """Options that name conversations."""
    folder = workshop.folder / "talks"
    folder.mkdir()
    names = {"user": "human", "assistant": "gpt"}
    rows = [
        {"conversations": [{"from": names[m["role"]], "value": m["content"]} for m in talk(i)]}
        for i in range(16)
    ]
    (folder / "talks.json").write_text(json.dumps(rows))
    info = {"talks": {"file_name": "talks.json", "formatting": "sharegpt"}}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return {"dataset_dir": str(folder), "dataset": "talks"}


def test_turns_are_kept_or_dropped_by_themselves(workshop, data):
    run = workshop.run(OURS, "turns-half", **data, **HALF)
    ledger = read_ledger(run)
    assert set(ledger["kind"].to_pylist()) == {"turn"}
    assert set(ledger["turn"].to_pylist()) == {1, 2, 3}
    for step in set(ledger["step"].to_pylist()):
        rows = ledger.filter(pc.equal(ledger["step"], step))
        assert pc.sum(rows["kept"]).as_py() == keep_count(rows.num_rows, 0.5)


def test_with_all_turns_it_is_llamafactorys_run_bit_by_bit(workshop, data):
    ours = workshop.run(OURS, "turns-all", **data, **NOTHING_PRUNED, prune_unit="turn")
    stock = workshop.run(STOCK, "turns-stock", **data)
    assert losses(ours) == losses(stock)
    assert same_weights(ours, stock)
