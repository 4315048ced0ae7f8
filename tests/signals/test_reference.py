"""The NLL of a reference model: whose it is, how often it is asked for, and that it is kept."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from peft import LoraConfig

from qtuning.errors import UsageError
from qtuning.pruners.protocols import BASE, REFERENCE, SCORES
from qtuning.run.pruner_memory import PrunerMemory
from qtuning.run.record import BUDGET_FILE, REFERENCE_FILE
from qtuning.signals.forward import model_token_stats
from qtuning.signals.reference_store import TAIL, ReferenceStore

from .. import runs, sizes, tiny


class Seen:
    """Keeps all tokens, and what it was shown."""

    def __init__(self, need):
        self.needs = frozenset({SCORES, need})
        self.samples = []

    def __call__(self, pool, args):
        self.samples += pool.samples
        return [torch.ones(sample.n_tokens, dtype=torch.bool) for sample in pool.samples]


def nll_of(model, trainer, name):
    row = next(r for r in trainer.train_dataset if r["sample_id"] == name)
    batch = trainer.data_collator([{k: v for k, v in row.items() if k != "sample_id"}])
    stats = model_token_stats(model.eval(), batch)
    return stats.nll[stats.mask]


@pytest.mark.parametrize("peft", [None, LoraConfig(r=2, target_modules=["q_proj"])])
def test_the_base_is_the_model_before_training(tmp_path, peft):
    seen = Seen(BASE)
    settings = {"sample_pruner": "full", "token_pruner": seen, "learning_rate": 0.05}
    trainer = runs.pruning(tmp_path, model=tiny.llama(), peft=peft, **settings)
    trainer.train()
    untrained = tiny.llama()
    assert len(seen.samples) == 48
    for sample in seen.samples:
        expected = nll_of(untrained, trainer, sample.sample_id)
        torch.testing.assert_close(sample.extras[REFERENCE], expected, rtol=1e-4, atol=1e-4)
    last = seen.samples[-1]
    assert not torch.allclose(last.nll, last.extras[REFERENCE], atol=1e-2), "the model has moved on"


def test_a_named_reference_scores_each_kept_sample_once(tmp_path):
    folder = tiny.save_model(tmp_path / "reference", seed=5)
    seen = Seen(REFERENCE)
    trainer = runs.pruning(
        tmp_path / "run",
        model=tiny.llama(),
        sample_pruner="random",
        token_pruner=seen,
        num_train_epochs=3,
        reference_model_name_or_path=str(folder),
    )
    trainer.train()
    other = tiny.llama(seed=5)
    for sample in seen.samples:
        expected = nll_of(other, trainer, sample.sample_id)
        torch.testing.assert_close(sample.extras[REFERENCE], expected, rtol=1e-4, atol=1e-4)
    lengths = {r["sample_id"]: len(r["input_ids"]) for r in trainer.train_dataset}
    kept = [sample.sample_id for sample in seen.samples]
    own = sum(lengths[name] for name in kept)
    reference = sum(lengths[name] for name in set(kept))
    counts = json.loads((tmp_path / "run" / BUDGET_FILE).read_text())
    assert counts["scored_tokens"] == own + reference


def test_a_reference_of_another_tokenizer_is_refused(tmp_path):
    folder = tiny.save_model(tmp_path / "other")
    tokenizer = tiny.tokenizer()
    tokenizer.add_tokens(["<more>"])
    tokenizer.save_pretrained(folder)
    with pytest.raises(
        UsageError, match=r"reference_model_name_or_path .*its tokenizer is another"
    ):
        runs.pruning(
            tmp_path / "run", token_pruner="rho-1", reference_model_name_or_path=str(folder)
        )


def test_checkpoints_hold_what_the_reference_said(tmp_path):
    trainer = runs.pruning(
        tmp_path, token_pruner="ss-token", save_strategy="steps", save_steps=2, num_train_epochs=1
    )
    trainer.train()
    store = ReferenceStore()
    store.load(tmp_path / "checkpoint-2" / REFERENCE_FILE)
    assert 4 <= len(store) <= 8


# The stores


def test_a_store_knows_a_sample_by_name_and_length(tmp_path):
    store = ReferenceStore()
    store.learn([("a", np.float32([1.0, 2.5])), ("b", np.float32([]))])
    store.save(tmp_path / "s.parquet")
    again = ReferenceStore()
    again.learn([("c", np.float32([1.0]))])
    again.load(tmp_path / "s.parquet")
    assert len(again) == 2
    assert torch.equal(again.of("a", 2), torch.tensor([1.0, 2.5]))
    assert again.of("a", 3) is None
    assert again.of("c", 1) is None


def test_a_store_holds_four_bytes_a_token_before_and_after_its_file(tmp_path):
    n, length = 64, 300
    whole = np.random.default_rng(0).random((n, length), np.float32)
    store, again = ReferenceStore(), ReferenceStore()
    store.learn([(f"s{i}", nll.copy()) for i, nll in enumerate(whole)])
    store.save(tmp_path / "s.parquet")
    again.load(tmp_path / "s.parquet")
    for one in (store, again):
        assert sizes.held(one) <= n * (4 * length + 300) + 1000
        assert all(np.array_equal(one.of(f"s{i}", length), nll) for i, nll in enumerate(whole))


def test_a_store_with_nulls_is_read_and_what_is_null_is_unknown(tmp_path):
    """As damage may leave it."""
    kind = pa.list_(pa.float32())
    table = {"sample_id": ["a", "b"], "nll": pa.array([None, [1.0, None]], kind)}
    pq.write_table(pa.table(table), tmp_path / "s.parquet")
    store = ReferenceStore()
    store.load(tmp_path / "s.parquet")
    assert store.of("a", 3) is None
    assert store.of("b", 2).isnan().tolist() == [False, True]


def test_a_store_that_cannot_be_read(tmp_path):
    (tmp_path / "s.parquet").write_text("no")
    with pytest.raises(UsageError, match="cannot be read"):
        ReferenceStore().load(tmp_path / "s.parquet")


def test_memory_comes_back_as_it_was(tmp_path):
    memory = PrunerMemory(queue=torch.arange(6.0).view(2, 3))
    memory.save(tmp_path / "m.safetensors")
    again = PrunerMemory(other=torch.ones(1))
    again.load(tmp_path / "m.safetensors")
    assert again.keys() == {"queue"}
    assert torch.equal(again["queue"], memory["queue"])
    PrunerMemory().save(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_memory_that_cannot_be_read(tmp_path):
    (tmp_path / "m.safetensors").write_text("no")
    with pytest.raises(UsageError, match="must be a safetensors file"):
        PrunerMemory().load(tmp_path / "m.safetensors")


def test_the_tail_mass_is_remembered_beside_the_nll_and_older_files_do_without(tmp_path):
    store, path = ReferenceStore(), tmp_path / "reference.parquet"
    nll = np.array([0.5, 1.5], np.float32)
    store.learn([("a", nll), ("b", nll)])
    store.save(path)
    older = pq.read_table(path)
    assert older.column_names == ["sample_id", "nll"]
    store.learn([("a", nll / 2)], TAIL)
    store.save(path)
    loaded = ReferenceStore()
    loaded.load(path)
    assert loaded.of("a", 2, TAIL).tolist() == [0.25, 0.75]
    assert loaded.of("b", 2).tolist() == [0.5, 1.5]
    assert loaded.of("b", 2, TAIL) is None, "not asked for yet"
    pq.write_table(older, path)
    loaded.load(path)
    assert loaded.of("a", 2, TAIL) is None
    assert loaded.of("a", 2).tolist() == [0.5, 1.5]
