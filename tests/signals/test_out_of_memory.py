"""Scoring passes that do not fit the memory are made again, smaller; nothing else changes."""

import logging
from dataclasses import replace

import pytest
import torch

from qtuning.pruners.protocols import CONFIDENCE
from qtuning.signals.extras import ExtraStats
from qtuning.signals.pass_limit import PassLimit

from .. import tiny
from .test_scorer import EXAMPLES, Collator, Wrapper, assert_same, one_by_one, scorer

pytestmark = pytest.mark.usefixtures("one_thread")


class Device:
    """A device whose memory holds so many padded tokens; remembers the passes tried."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.tried: list[tuple[int, ...]] = []

    def __call__(self, batch):
        self.tried.append(tuple(batch["input_ids"].shape))
        if batch["input_ids"].numel() > self.tokens:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return batch


def on(device, collate=None, **options):
    given = scorer(collate or Collator(), batch_size=100, overhead=1000, **options)
    given.to_device = device
    return given


@pytest.mark.parametrize("tokens", [26, 60, 100, 181])
def test_the_scores_are_those_of_a_device_that_holds_all(tokens) -> None:
    model, device = tiny.llama().eval(), Device(tokens)
    scores = on(device, limit=PassLimit())(model, model, EXAMPLES)
    assert_same(scores, one_by_one(model))
    assert device.tried[0] == (7, 26)
    assert sum(rows * length > tokens for rows, length in device.tried) >= 1


def test_the_smaller_size_is_kept_and_said_once(caplog) -> None:
    model, device, limit = tiny.llama(), Device(50), PassLimit()
    first = on(device, limit=limit)
    with caplog.at_level(logging.WARNING):
        first(model, model, EXAMPLES)
        assert limit.tokens == 26  # 182 failed, then 2 x 26 of at most 91
        device.tried.clear()
        first(model, model, EXAMPLES)
        replace(first, other_model=tiny.llama(seed=1))(model, model, EXAMPLES)
    assert max(rows * length for rows, length in device.tried) <= 26
    [record] = [r for r in caplog.records if "memory" in r.message]
    assert "at most 26 tokens" in record.message
    assert "score_batch_size" in record.message
    assert "\n" not in record.message


def test_a_pass_that_fails_late_leaves_no_extras_behind(monkeypatch) -> None:
    model, needs = tiny.llama().eval(), frozenset({CONFIDENCE})
    expected = scorer(needs=needs)(model, model, EXAMPLES)

    of_batch = ExtraStats.of_batch

    def scarce(self, projection, places, batch, examples, parts=None):
        made = of_batch(self, projection, places, batch, examples, parts)
        if len(examples) > 2:
            raise torch.OutOfMemoryError
        return made

    monkeypatch.setattr(ExtraStats, "of_batch", scarce)
    scores = on(Device(1000), needs=needs, limit=PassLimit())(model, model, EXAMPLES)
    assert_same(scores, expected)
    for one, other in zip(scores, expected, strict=True):
        torch.testing.assert_close(one.extras[CONFIDENCE], other.extras[CONFIDENCE])


def test_scored_samples_are_not_scored_again() -> None:
    model, device = tiny.llama(), Device(55)
    on(device, limit=PassLimit(tokens=60))(model, model, EXAMPLES)
    assert device.tried == [(2, 26), (5, 12), (2, 12), (3, 7)]  # 60 are too many: at most 30


def test_one_sample_that_does_not_fit_is_an_error() -> None:
    model = tiny.llama()
    with pytest.raises(torch.OutOfMemoryError):
        on(Device(20), limit=PassLimit())(model, model, EXAMPLES)
    assert all(module.training for module in model.modules())


def test_no_pass_is_made_again_that_other_ranks_work_on() -> None:
    model, limit = tiny.llama(), PassLimit()
    for options in ({"limit": None}, {"limit": limit, "highest": lambda own: own}):
        device = Device(60)
        with pytest.raises(torch.OutOfMemoryError):
            on(device, **options)(model, Wrapper(model), EXAMPLES)
        assert len(device.tried) == 1
    assert limit.tokens is None


def test_another_model_whose_weights_are_whole_is_tried_again() -> None:
    model, other = tiny.llama(), tiny.llama(seed=1)
    given = on(Device(60), limit=PassLimit(), highest=lambda own: own, other_model=other)
    assert_same(given(model, Wrapper(model), EXAMPLES), one_by_one(other.eval()))


def test_other_errors_go_on() -> None:
    def broken(batch):
        raise RuntimeError("CUDA error: device-side assert triggered")

    model = tiny.llama()
    with pytest.raises(RuntimeError, match="device-side"):
        on(broken, limit=PassLimit())(model, model, EXAMPLES)


def test_a_resumed_limit_is_that_of_the_rank() -> None:
    limit = PassLimit()
    limit.resume([None, 40, 20], 1)
    assert (limit.tokens, limit.told) == (40, True)
    limit.resume([None, 40, 20], 3)  # of more ranks than before: what fits all
    assert limit.tokens == 20
    limit.resume([], 0)
    assert (limit.tokens, limit.told) == (None, False)
