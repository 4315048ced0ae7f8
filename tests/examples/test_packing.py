"""A packed sample has the name of the row that it comes from, in whatever order TRL packs."""

import random

import pytest
from datasets import Dataset
from trl import pack_dataset

from qtuning.examples.example import unpack
from qtuning.examples.names import sample_names
from qtuning.examples.packing import token_places, with_packed_ids

LENGTH = 16
STRATEGIES = ["bfd"]
if "bfd_split" in (pack_dataset.__doc__ or ""):
    STRATEGIES.append("bfd_split")


def rows(seed: int, n: int = 60) -> Dataset:
    draw = random.Random(seed)
    ids = [[draw.randrange(1000) for _ in range(draw.randrange(1, 40))] for _ in range(n)]
    return Dataset.from_dict({"input_ids": ids, "labels": ids})


def packed(before: Dataset, strategy: str, **how) -> Dataset:
    tokens, places = (
        pack_dataset(one.shuffle(seed=3), LENGTH, strategy, how)
        for one in (before, token_places(before))
    )
    names = [f"row {number}" for number in range(len(before))]
    return with_packed_ids(tokens, places, names, LENGTH)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_names_lead_to_the_tokens(strategy, seed) -> None:
    before = rows(seed)
    found: dict[str, list[int]] = {}
    for row in packed(before, strategy, batch_size=25):
        for sample in unpack(row):
            assert sample["sample_id"] not in found
            found[sample["sample_id"]] = sample["input_ids"]
    for number, tokens in enumerate(before["input_ids"]):
        pieces = [tokens[start : start + LENGTH] for start in range(0, len(tokens), LENGTH)]
        if strategy == "bfd":  # what is too long is cut
            pieces = pieces[:1]
        for place, piece in enumerate(pieces):
            name = f"row {number}" + (f"#{place + 1}" if place else "")
            assert found.pop(name) == piece
    assert not found


def test_samples_of_one_token() -> None:
    before = Dataset.from_dict({"input_ids": [[7], [8], [9]], "labels": [[7], [8], [9]]})
    (row,) = packed(before, "bfd")
    samples = unpack(row)
    assert sorted(one["sample_id"] for one in samples) == ["row 0", "row 1", "row 2"]
    assert {one["sample_id"]: one["input_ids"] for one in samples}["row 2"] == [9]
    assert all(set(one) == {"input_ids", "labels", "sample_id"} for one in samples)
    assert sample_names(packed(before, "bfd")) == [one["sample_id"] for one in samples]


def test_places_are_read_in_batches_and_leave_the_rows_as_they_are() -> None:
    before = rows(0, 2500)
    places = token_places(before)
    assert list(map(len, places["input_ids"])) == list(map(len, before["input_ids"]))
    assert places[2400]["input_ids"][:2] == [2400 << 32, (2400 << 32) + 1]
    assert places[7]["labels"] == places[7]["input_ids"]
