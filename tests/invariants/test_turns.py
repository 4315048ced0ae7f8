"""Every pruner with turns as units: exact budgets, the same again, and resumed alike."""

import pyarrow.compute as pc
import pytest
from datasets import Dataset
from transformers import set_seed

from qtuning import SAMPLE_PRUNERS, TOKEN_PRUNERS, read_ledger
from qtuning.core.ratio import keep_count
from qtuning.pruners.protocols import ChangingBudget, OwnBudget

from .. import runs, tiny, turned

PAIRS = sorted(
    {
        *((sample, "q-tuning") for sample in runs.TEXT_PRUNERS),
        *(("q-tuning", token) for token in TOKEN_PRUNERS),
        ("random", "q-tuning"),
        ("infobatch", "random"),
    }
)
DATA = Dataset.from_list(turned.rows(8))


def saving(folder, **settings):
    settings = {"data": DATA, "num_train_epochs": 2, "save_strategy": "steps", **settings}
    return turned.pruning(folder, save_steps=1, **settings)


def names_of(folder, sample, token):
    names = {"sample_pruner": sample, "token_pruner": token}
    if token in runs.COMPARING:
        reference = tiny.save_model(folder / "reference", seed=3)
        names["reference_model_name_or_path"] = str(reference)
    return names


@pytest.mark.slow
@pytest.mark.parametrize(("sample", "token"), PAIRS)
def test_every_pruner_keeps_its_budget_and_resumes(tmp_path, sample, token) -> None:
    names = names_of(tmp_path, sample, token)
    whole = saving(tmp_path / "whole", **names)
    whole.train()
    ledger = read_ledger(tmp_path / "whole")
    pruner = SAMPLE_PRUNERS[sample]
    assert ledger.num_rows == 2 * sum(map(turned.turns_of, turned.rows(8)))
    if sample != "full" and not isinstance(pruner, OwnBudget | ChangingBudget):
        for step in range(1, 5):
            rows = ledger.filter(pc.equal(ledger["step"], step))
            assert pc.sum(rows["kept"]).as_py() == keep_count(rows.num_rows, 0.5), step
    stopped = saving(tmp_path / "again", **names)
    stopped.add_callback(runs.StopAfter(2))
    with pytest.raises(runs.Stop):
        stopped.train()
    set_seed(12345)
    resumed = saving(tmp_path / "again", **names)
    resumed.train(resume_from_checkpoint=True)
    assert runs.losses(resumed) == runs.losses(whole)
    assert runs.same_weights(resumed, whole)
    assert read_ledger(tmp_path / "again").equals(ledger)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_last_scores_are_remembered_by_turn(tmp_path, share) -> None:
    trainer = saving(tmp_path, score_refresh=share, save_strategy="no", token_pruner="none")
    trainer.train()
    ledger = read_ledger(tmp_path)
    first, second = (ledger.filter(pc.equal(ledger["epoch"], epoch)) for epoch in (0, 1))
    assert pc.all(first["scored"]).as_py()
    scored = pc.sum(second["scored"]).as_py()
    assert scored == 0 if share == 0.0 else scored > 0
    known = {(row["sample_id"], row["turn"]): row["ppl"] for row in first.to_pylist()}
    for row in second.to_pylist():
        if not row["scored"]:
            assert row["ppl"] == known[row["sample_id"], row["turn"]]


@pytest.mark.parametrize("scope", ["step", "micro"])
def test_pools_are_of_turns(tmp_path, scope) -> None:
    trainer = turned.pruning(tmp_path, data=DATA, pool_scope=scope, sample_pruner="longest")
    trainer.train()
    ledger = read_ledger(tmp_path)
    n = {row["id"]: turned.turns_of(row) for row in turned.rows(8)}
    names = list(dict.fromkeys(ledger["sample_id"].to_pylist()))
    pool = 4 if scope == "step" else 2
    kept = [
        keep_count(sum(n[name] for name in names[i : i + pool]), 0.5) for i in range(0, 8, pool)
    ]
    assert pc.sum(ledger["kept"]).as_py() == sum(kept)
