"""Turns scored without what was said before them, and pruners that read it, as in a run."""

import pytest
import torch
from datasets import Dataset

import qtuning
from qtuning import SAMPLE_PRUNERS, UsageError, read_ledger
from qtuning.core.ratio import keep_count
from qtuning.pruners.protocols import OF_ALONE

from .. import tiny, turned

SCORING = {"assistant_only_loss": True, "prune_unit": "turn", "progress": False, "bf16": False}
PRUNERS = sorted(name for name, pruner in SAMPLE_PRUNERS.items() if pruner.needs & OF_ALONE)
N_TURNS = sum(map(turned.turns_of, turned.rows()))


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tiny.llama().save_pretrained(folder)
    turned.tokenizer().save_pretrained(folder)
    return qtuning.score(Dataset.from_list(turned.rows()), folder, alone=True, **SCORING)


def test_a_turn_alone_is_its_tokens_and_the_one_before(scored, tmp_path) -> None:
    trainer = turned.pruning(tmp_path)  # makes tokens of the rows
    examples = {row["sample_id"]: row for row in trainer.train_dataset}
    model = tiny.llama()
    for row in scored:
        example = examples[row["id"]]
        labels = turned.labels_of(example)
        places = [i for i, y in enumerate(labels) if y != -100 and i]
        for one in row["turn_scores"]:
            own, places = places[: one["n_tokens"]], places[one["n_tokens"] :]
            ids = torch.tensor([example["input_ids"][i] for i in (own[0] - 1, *own)])
            with torch.no_grad():
                logits = model(ids[None]).logits[0].double().log_softmax(-1)
            nll = -logits[:-1].gather(1, ids[1:, None])
            assert one["nll_alone_sum"] == pytest.approx(float(nll.sum()), rel=1e-4)
            mean = one["nll_sum"] / one["n_tokens"]
            assert one["ppl"] == pytest.approx(float(torch.tensor(mean).exp()), rel=1e-5)


@pytest.mark.parametrize("sample", PRUNERS)
def test_decisions_are_those_of_the_first_step_of_a_run(tmp_path, scored, sample) -> None:
    methods = {"sample_pruner": sample, "token_pruner": "none", "sample_ratio": 0.5}
    rows = qtuning.prune(scored, prune_unit="turn", with_dropped=True, **methods)
    kept = {(row["id"], one["turn"]): one["kept"] for row in rows for one in row["turn_decisions"]}
    assert sum(kept.values()) == keep_count(N_TURNS, 0.5)
    if sample == "gain-random":  # drawn in the order of the data, which a run shuffles
        return
    trainer = turned.pruning(
        tmp_path, model=tiny.llama(), gradient_accumulation_steps=6, max_steps=1, **methods
    )
    trainer.train()
    ledger = read_ledger(tmp_path).to_pylist()
    assert {(row["sample_id"], row["turn"]): row["kept"] for row in ledger} == kept


def test_without_that_pass_it_is_asked_for(scored) -> None:
    bare = scored.remove_columns(["nll_alone_sum", "s_ifd"])
    with pytest.raises(UsageError, match="score with --alone"):
        qtuning.prune(bare, prune_unit="turn", sample_pruner="ifd", token_ratio=1.0)


def test_noisy_copies_are_refused(scored) -> None:
    settings = {"sample_pruner": "s-ifd", "s_ifd_noisy": True, "token_ratio": 1.0}
    with pytest.raises(
        UsageError, match=r"^s_ifd_noisy True does not go with prune_unit turn, .*$"
    ):
        qtuning.prune(scored, prune_unit="turn", **settings)
