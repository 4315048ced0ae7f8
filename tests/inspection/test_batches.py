"""How full batches are, against TRL's own packing and plain padding."""

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from trl import pack_dataset

from qtuning.inspection.batches import packed_rows

from .made import pair


@settings(max_examples=20)
@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=12),
    st.sampled_from(["bfd", "wrapped"]),
)
def test_packing_is_trls(lengths, strategy) -> None:
    rows = Dataset.from_dict({"input_ids": [[7] * n for n in lengths]})
    packed = pack_dataset(rows, 16, strategy)
    expected = (len(packed), sum(map(len, packed["input_ids"])))
    assert packed_rows(np.array(lengths), 16, strategy) == expected


def test_facts_of_packing(look, plain) -> None:
    rows = [pair("a" * 7, "b" * 7)] * 4  # and an end: 15 tokens
    facts = look(rows, plain, packing=True, max_length=32).facts["batches"]
    assert facts["packed rows"] == 2
    assert facts["packing efficiency"] == round(60 / 64, 4)


@pytest.mark.parametrize(
    ("options", "padding"),
    [
        ({"train_sampling_strategy": "sequential"}, 1 - 40 / (2 * 12 + 2 * 8)),
        ({"train_sampling_strategy": "sequential", "per_device_train_batch_size": 1}, 0),
        ({"train_sampling_strategy": "sequential", "per_device_train_batch_size": 4}, 1 - 40 / 48),
        ({"train_sampling_strategy": "sequential", "pad_to_multiple_of": 8}, 1 - 40 / 48),
    ],
)
def test_padding(look, plain, options, padding) -> None:
    rows = [pair("a" * 6, "b" * n) for n in (5, 5, 1, 1)]  # and an end: 12, 12, 8, 8 tokens
    options = {"per_device_train_batch_size": 2, **options}
    assert look(rows, plain, **options).facts["batches"]["padding"] == round(padding, 4)


def test_padding_of_shuffled_rows_is_the_same_each_time(look, plain) -> None:
    rows = [pair("a", "b" * (i % 9)) for i in range(160)]
    size = {"per_device_train_batch_size": 2}
    first, second = (look(rows, plain, **size).facts["batches"] for _ in range(2))
    assert first == second
    assert first["order of rows"] == "random"
    grouped = look(rows, plain, train_sampling_strategy="group_by_length", **size).facts["batches"]
    assert 0 < grouped["padding"] < first["padding"] / 2
