"""A stream whose rows have no ids: what is remembered of a row is remembered of no other."""

import pytest
from datasets import Dataset

from qtuning import read_ledger
from qtuning.examples.names import content_name

from .. import runs, tiny

# Of equal length, so that the number of tokens does not give another row away.
ROWS = [{"prompt": f"{i:03d} + {i % 7} =", "completion": f" {i + i % 7:03d}"} for i in range(32)]


def stream(shards: int = 4):
    rows = Dataset.from_list(ROWS).to_iterable_dataset(num_shards=shards)
    return rows.shuffle(seed=0, buffer_size=16)


def ppl_of(folder, **settings) -> list[tuple[int, str, float, bool]]:
    runs.pruning(
        folder,
        model=tiny.llama(),
        max_steps=12,
        num_train_epochs=1,
        token_pruner="none",
        **settings,
    ).train()
    columns = ("epoch", "sample_id", "ppl", "scored")
    return [tuple(row[c] for c in columns) for row in read_ledger(folder).to_pylist()]


@pytest.mark.parametrize("workers", [0, 2])
def test_remembered_scores_are_of_the_row_that_they_are_used_for(tmp_path, workers) -> None:
    scorer = {"scorer_model_name_or_path": str(tiny.save_model(tmp_path / "m", seed=1))}
    named = ppl_of(tmp_path / "named", data=Dataset.from_list(ROWS), **scorer)
    exact = {content_name(ROWS[int(name)]): ppl for _, name, ppl, _ in named}
    assert len(exact) == len(ROWS)
    visits = ppl_of(tmp_path / "s", data=stream(), dataloader_num_workers=workers, **scorer)
    remembered = [(name, ppl) for _, name, ppl, scored in visits if not scored]
    assert len(remembered) >= len(ROWS)
    for name, ppl in remembered:
        assert ppl == pytest.approx(exact[name], rel=1e-4)
