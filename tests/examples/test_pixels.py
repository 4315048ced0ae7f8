"""Pixels that are kept from reading rows alone: the batches are those of reading them anew."""

import pytest
import torch

from qtuning.examples.images import ImageLabels
from qtuning.examples.pixels import KeptPixels

from .. import runs, vision

pytestmark = pytest.mark.usefixtures("one_thread")
each_family = pytest.mark.parametrize("family", vision.FAMILIES)
SHORT = {"num_train_epochs": 1, "per_device_train_batch_size": 2, "sample_ratio": 0.5}


def pair_of(labels: ImageLabels) -> tuple[ImageLabels, ImageLabels]:
    """One that keeps pixels, and one that does not, of the same collator."""
    made = [
        ImageLabels(labels._collator, labels._image_ids, padding_id=labels._padding_id, kept=kept)
        for kept in (KeptPixels(), None)
    ]
    return made[0], made[1]


@each_family
def test_batches_are_those_that_are_read_anew(tmp_path, family) -> None:
    trainer = vision.trainer(tmp_path, family, data=vision.dataset(12), max_steps=1, **SHORT)
    trainer.train()
    keeping, plain = pair_of(trainer._labels)
    rows = [dict(row) for row in trainer.train_dataset]
    for places in ([0, 3], [1, 4], [0], [6, 9], [1, 7, 10], [0, 1], [2, 3], [2, 5]):
        of_pair = [one.collate([one.of(rows[k]) for k in places]) for one in (keeping, plain)]
        assert of_pair[0].keys() == of_pair[1].keys()
        for key, value in of_pair[1].items():
            assert torch.equal(of_pair[0][key], value), (places, key)


@each_family
def test_a_pruned_run_reads_each_row_once_and_is_the_same(tmp_path, family, monkeypatch) -> None:
    """But for the first batch of several rows, by which joining is checked, and odd shapes."""
    read: list[int] = []
    collated = ImageLabels._collated

    def counting(self, rows, *, whole):
        read.append(len(rows))
        return collated(self, rows, whole=whole)

    data = vision.Dataset.from_list(
        [{**vision.row(k, n_images=1), "images": [vision.picture(k)]} for k in range(8)]
    )
    monkeypatch.setattr(ImageLabels, "_collated", counting)
    ours = vision.trainer(tmp_path / "a", family, data=data, **SHORT)
    ours.train()
    n_read = sum(read)
    read.clear()
    monkeypatch.setattr(KeptPixels, "joined", lambda self, rows: None)
    anew = vision.trainer(tmp_path / "b", family, data=data, **SHORT)
    anew.train()
    assert sum(read) == 8 + 8 + 4
    assert n_read <= 8 + max(read)
    assert runs.losses(ours) == runs.losses(anew)
    assert runs.same_weights(ours, anew)


def rows_of(*sizes: int) -> list[tuple[dict, dict]]:
    return [({"n": k}, {"pixel_values": torch.full((1, n), float(k))}) for k, n in enumerate(sizes)]


def test_rows_of_other_shapes_are_not_joined() -> None:
    kept = KeptPixels()
    made = rows_of(4, 4, 5)
    for row, batch in made:
        kept.keep(row, batch)
    rows = [row for row, _ in made]
    assert kept.joined(rows[:2])["pixel_values"].tolist() == [[0.0] * 4, [1.0] * 4]
    assert kept.joined(rows[1:]) is None
    assert kept.joined([rows[0], dict(rows[1])]) is None, "an equal row is not that row"


def test_a_processor_whose_batches_are_not_joined_rows_is_found_out() -> None:
    kept = KeptPixels()
    made = rows_of(4, 4)
    for row, batch in made:
        kept.keep(row, batch)
    rows = [row for row, _ in made]
    joined = kept.joined(rows)
    assert not kept.is_sure(rows)
    assert kept.is_sure(rows[:1])
    kept.compare(joined, {"pixel_values": joined["pixel_values"].flip(0)})
    assert kept.joined(rows) is None
    assert kept.joined(rows[:1]) is not None


def test_no_more_than_so_many_bytes_are_kept() -> None:
    kept = KeptPixels(most_bytes=3 * 16)
    made = rows_of(4, 4, 4, 4, 40)
    for row, batch in made:
        kept.keep(row, batch)
    known = [kept.joined([row]) is not None for row, _ in made]
    assert known == [False, True, True, True, False]


def test_a_row_that_is_read_again_takes_its_bytes_once() -> None:
    kept = KeptPixels(most_bytes=2 * 16)
    (first, batch), (other, its) = rows_of(4, 4)
    for _ in range(3):
        kept.keep(first, batch)
    kept.keep(other, its)
    assert kept.joined([first]) is not None
    assert kept.joined([other]) is not None
