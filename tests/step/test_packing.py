"""Packed rows are scored and trained in passes as large as a packed row, not as its samples."""

import pytest

import qtuning.signals.scorer as scorer_module

from .. import runs, tiny

ROW = 256


@pytest.fixture
def passes(monkeypatch):
    """Input tokens of each scoring pass."""
    sizes: list[int] = []
    own = scorer_module.projected

    def counting(model, inputs, **options):
        sizes.append(inputs["input_ids"].numel())
        return own(model, inputs, **options)

    monkeypatch.setattr(scorer_module, "projected", counting)
    return sizes


@pytest.mark.parametrize(
    ("changes", "scorings"),
    [({}, 1), ({"sample_pruner": "ifd", "token_pruner": "none"}, 2)],
    ids=["once", "with the prompt and without"],
)
def test_passes_are_as_large_as_a_packed_row(tmp_path, passes, changes, scorings) -> None:
    trainer = runs.pruning(
        tmp_path,
        data=tiny.dataset(400),
        packing=True,
        max_length=ROW,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=4,
        max_steps=1,
        **changes,
    )
    trained: list[int] = []
    own = trainer.compute_loss

    def watched(model, inputs, *args, **kwargs):
        trained.append(inputs["input_ids"].numel())
        return own(model, inputs, *args, **kwargs)

    trainer.compute_loss = watched
    trainer.train()
    rows = trainer.train_dataset
    assert len(rows["seq_lengths"][0]) > 4, "a packed row holds many samples"
    # Four rows of 256 tokens were scored; whole samples do not fill a pass to its last token.
    for sizes, times in ((passes, scorings), (trained, 1)):
        assert all(size <= ROW for size in sizes)
        assert len(sizes) <= -(-sum(sizes) // ROW) + times
    assert sum(passes) >= 0.9 * 4 * ROW


def test_a_row_that_is_not_packed_has_passes_of_its_own_length(tmp_path, passes) -> None:
    runs.pruning(tmp_path, max_steps=1, score_batch_size=1).train()
    assert len(passes) == 8
