"""Nuclear norm and sketch of logits against the whole matrix."""

import pytest
import torch

from qtuning.core.logit_stats import COLUMNS, ROWS, logit_stats

D, V = 12, 301


def parts(n, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(n, D, generator=draw), torch.randn(V, D, generator=draw)


@pytest.mark.parametrize("n", [1, 5, 30])
@pytest.mark.parametrize("chunk", [7, 2048])
@pytest.mark.parametrize("shape", [{}, {"softcap": 3.0, "logit_scale": 0.5}])
@pytest.mark.parametrize("with_bias", [False, True])
def test_nuclear_norm_is_the_sum_of_singular_values(n, chunk, shape, with_bias):
    hidden, weight = parts(n)
    bias = torch.linspace(-1, 1, V) if with_bias else None
    logits = hidden.double() @ weight.double().T
    if bias is not None:
        logits = logits + bias.double()
    logits = logits * shape.get("logit_scale", 1.0)
    if "softcap" in shape:
        logits = shape["softcap"] * (logits / shape["softcap"]).tanh()
    made = logit_stats(hidden, weight, bias=bias, vocab_chunk_size=chunk, **shape)
    expected = torch.linalg.svdvals(logits).sum()
    torch.testing.assert_close(made.nuclear_norm, expected, rtol=1e-4, atol=1e-3)


def test_a_sketch_is_linear_and_the_same_in_any_chunks():
    hidden, weight = parts(9)
    whole = logit_stats(hidden, weight).sketch
    assert whole.shape == (ROWS * COLUMNS,)
    chunked = logit_stats(hidden, weight, vocab_chunk_size=10).sketch
    torch.testing.assert_close(chunked, whole, rtol=1e-4, atol=1e-2)
    twice = logit_stats(2 * hidden, weight).sketch
    torch.testing.assert_close(twice, 2 * whole, rtol=1e-4, atol=1e-2)


def test_an_answer_that_begins_alike_is_sketched_alike_but_for_the_rest():
    hidden, weight = parts(9)
    padded = torch.cat([hidden[:5], torch.zeros(4, D)])
    short, long = (logit_stats(h, weight).sketch for h in (hidden[:5], padded))
    torch.testing.assert_close(short, long, rtol=1e-5, atol=1e-3)


def test_distances_are_kept_on_average_up_to_the_published_scale():
    """E |R_l X R_r|^2 is (8 * 128) |X|^2 before scaling."""
    ratios = []
    for seed in range(60):
        hidden, weight = parts(20, seed)
        sketch = logit_stats(hidden, weight).sketch / (512 / ROWS * V / COLUMNS) ** 0.5
        ratios.append(float(sketch.norm() / (hidden @ weight.T).norm()) ** 2 / (ROWS * COLUMNS))
    assert 0.8 < sum(ratios) / len(ratios) < 1.2


def test_nan_gives_nan():
    hidden, weight = parts(3)
    hidden[1, 2] = torch.nan
    assert bool(logit_stats(hidden, weight).nuclear_norm.isnan())
