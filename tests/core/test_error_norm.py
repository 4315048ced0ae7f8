"""The norm of the error vector against full probabilities in float64."""

import pytest
import torch

from qtuning.core.error_norm import error_norm

D, V = 8, 53


@pytest.mark.parametrize("chunk", [1, 7, 53, 2048])
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
@pytest.mark.parametrize("shape", [{}, {"softcap": 5.0, "logit_scale": 0.3}])
@pytest.mark.parametrize("with_bias", [False, True])
def test_it_is_the_distance_from_the_truth(chunk, scale, shape, with_bias):
    draw = torch.Generator().manual_seed(0)
    hidden = scale * torch.randn(20, D, generator=draw)
    weight, bias = torch.randn(V, D, generator=draw), torch.randn(V, generator=draw)
    gold = torch.randint(V, (20,), generator=draw)
    bias = bias if with_bias else None
    logits = hidden.double() @ weight.double().T + (0 if bias is None else bias.double())
    logits = logits * shape.get("logit_scale", 1.0)
    if "softcap" in shape:
        logits = shape["softcap"] * (logits / shape["softcap"]).tanh()
    p = logits.softmax(1)
    expected = (p - torch.nn.functional.one_hot(gold, V)).norm(dim=1)
    made = error_norm(hidden, weight, gold, bias=bias, vocab_chunk_size=chunk, **shape)
    torch.testing.assert_close(made.double(), expected, rtol=1e-4, atol=1e-3)


def test_a_sure_and_right_prediction_has_no_error_and_a_sure_and_wrong_one_has_the_most():
    weight = torch.eye(3) * 200
    made = error_norm(torch.eye(3)[:2], weight, torch.tensor([0, 2]))
    torch.testing.assert_close(made, torch.tensor([0.0, 2**0.5]))
