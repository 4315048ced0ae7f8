"""A run goes on with the data that it began with."""

import pytest
from datasets import Dataset

from qtuning import UsageError
from qtuning.run.data_mark import data_mark

from .. import runs, tiny, vision

ROWS = {"sample_id": ["a", "b", "c"], "input_ids": [[1, 2], [3], [4, 5]]}


def test_data_have_a_mark_of_their_names_and_tokens() -> None:
    mark = data_mark(Dataset.from_dict(ROWS))
    assert mark == data_mark(Dataset.from_dict({**ROWS, "other": [1, 2, 3]}))
    longer = Dataset.from_dict({k: [*v, v[0]] for k, v in ROWS.items()})
    assert mark == data_mark(longer.select(range(3)))
    others = [
        {**ROWS, "sample_id": ["a", "b", "d"]},
        {**ROWS, "input_ids": [[1, 2], [3], [4, 6]]},
        {**ROWS, "input_ids": [[1], [2, 3], [4, 5]]},
    ]
    assert len({mark, data_mark(longer), *(data_mark(Dataset.from_dict(o)) for o in others)}) == 5
    assert data_mark(Dataset.from_dict(ROWS).to_iterable_dataset()) is None


def test_a_checkpoint_of_other_data_is_refused_with_both_marks(tmp_path) -> None:
    settings = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4}
    runs.pruning(tmp_path, **settings).train()
    again = runs.pruning(tmp_path, data=tiny.dataset(24, seed=1), **settings)
    with pytest.raises(UsageError, match=r"other training data \(then \w{16}, now \w{16}\)"):
        again.train(str(tmp_path / "checkpoint-2"))
    runs.pruning(tmp_path, **settings).train(str(tmp_path / "checkpoint-2"))


def test_rows_with_images_are_marked_by_their_texts() -> None:
    data = vision.dataset(4)
    assert data_mark(data) == data_mark(vision.dataset(4))
    assert data_mark(data) != data_mark(data.select([1, 0, 2, 3]))
    other = data.map(lambda row: {"completion": [{"role": "assistant", "content": "no"}]})
    assert data_mark(data) != data_mark(other)
