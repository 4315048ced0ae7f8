"""Calibration error against its definition, bin by bin."""

import math

import pytest
import torch

from qtuning.core.calibration import calibration_error, top_prediction


def by_definition(confidence, right, bins):
    n, total = len(confidence), 0.0
    for b in range(bins):
        inside = [b / bins < one <= (b + 1) / bins or (b == one == 0) for one in confidence]
        members = [i for i in range(n) if inside[i]]
        if members:
            mean = sum(confidence[i] for i in members) / len(members)
            accuracy = sum(right[i] for i in members) / len(members)
            total += len(members) / n * abs(mean - accuracy)
    return total


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_the_error_is_the_weighted_gap_of_the_bins(bins):
    draw = torch.Generator().manual_seed(0)
    confidence = torch.rand(500, generator=draw, dtype=torch.float64)
    right = torch.rand(500, generator=draw) < confidence**2
    expected = by_definition(confidence.tolist(), right.tolist(), bins)
    assert calibration_error(confidence, right, bins) == pytest.approx(expected)


def test_the_ends():
    ones = torch.ones(4)
    assert calibration_error(ones, ones > 0) == 0.0
    assert calibration_error(ones, ones < 0) == 1.0
    assert calibration_error(torch.zeros(3), torch.zeros(3) > 0) == 0.0
    assert math.isnan(calibration_error(torch.empty(0), torch.empty(0) > 0))


@pytest.mark.parametrize("shape", [{}, {"softcap": 3.0, "logit_scale": 0.5}])
@pytest.mark.parametrize("chunk", [1, 4, 100])
def test_the_top_prediction_is_that_of_the_softmax(shape, chunk):
    draw = torch.Generator().manual_seed(0)
    hidden, weight = torch.randn(9, 6, generator=draw), torch.randn(31, 6, generator=draw)
    bias = torch.randn(31, generator=draw)
    logits = (hidden @ weight.T + bias) * shape.get("logit_scale", 1.0)
    if "softcap" in shape:
        logits = shape["softcap"] * (logits / shape["softcap"]).tanh()
    best = logits.softmax(1).max(1)
    gold = best.indices.clone()
    gold[::2] = (gold[::2] + 1) % 31
    made = top_prediction(hidden, weight, gold, bias=bias, chunk_size=chunk, **shape)
    torch.testing.assert_close(made.confidence, best.values)
    assert made.right.tolist() == [i % 2 == 1 for i in range(9)]


def test_nothing_to_predict():
    made = top_prediction(torch.empty(0, 4), torch.ones(3, 4), torch.empty(0, dtype=torch.int64))
    assert made.confidence.shape == made.right.shape == (0,)
