"""Which data sets have prompts that could be left out."""

import pytest
from datasets import Dataset

from qtuning.examples.prompts import has_prompts


@pytest.mark.parametrize(
    ("columns", "completion_only", "found"),
    [
        ({}, True, False),
        ({"labels": [[4, 5, 6], [7, 8, 9]]}, True, False),
        ({"labels": [[4, 5, 6], [-100, 8, 9]]}, True, False),  # the first is not predicted anyhow
        ({"labels": [[4, 5, 6], [-100, -100, 9]]}, True, True),
        ({"labels": [[-100] * 3, [-100] * 3]}, True, False),  # nor is there an answer
        ({"completion_mask": [[0, 0, 1], [1, 1, 1]]}, True, True),
        ({"completion_mask": [[0, 0, 1], [1, 1, 1]]}, False, False),
        ({"assistant_masks": [[0, 0, 1], [1, 1, 1]]}, False, True),
        ({"completion_mask": [[1] * 3] * 2, "assistant_masks": [[0, 0, 1]] * 2}, True, True),
    ],
    ids=str,
)
def test_prompts_are_found_where_something_could_be_left_out(columns, completion_only, found):
    rows = Dataset.from_dict({"input_ids": [[4, 5, 6], [7, 8, 9]], **columns})
    assert has_prompts(rows, completion_only) == found
