"""The head of CUDA, on the CPU where it can be: tiles, reductions and shapes in float64."""

import importlib.util
import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from qtuning import token_stats
from qtuning.core.cuda_head import head_stats, plain_fold

EPSILON = torch.finfo(torch.float32).eps
SHAPED = {"softcap": 5.0, "logit_scale": 0.3}


def exact(hidden: Tensor, weight: Tensor, gold: Tensor, bias: Tensor | None, **shape) -> Tensor:
    """What ``head_stats`` gives, by full logits in float64, ``(5, T)``."""
    logits = hidden.double() @ weight.double().T
    if bias is not None:
        logits = logits + bias.double()
    logits = logits * shape.get("logit_scale", 1.0)
    if "softcap" in shape:
        logits = shape["softcap"] * (logits / shape["softcap"]).tanh()
    logp = logits.log_softmax(1)
    p, gold_logp = logp.exp(), logp.gather(1, gold[:, None])[:, 0]
    return torch.stack(
        [
            -gold_logp,
            -(p * logp).sum(1),
            p.square().sum(1),
            p.amax(1),
            (gold_logp == logp.amax(1)).double(),
        ]
    )


def draw(n: int, d: int, v: int, scale: float, seed: int = 0) -> tuple[Tensor, ...]:
    """Hidden states, weight, gold and bias; whole numbers, so that no product is rounded."""
    g = torch.Generator().manual_seed(seed)
    hidden = (scale * torch.randn(n, d, generator=g)).round()
    weight = torch.randn(v, d, generator=g).round()
    gold, bias = torch.randint(v, (n,), generator=g), torch.randn(v, generator=g).round()
    gold[::2] = (hidden @ weight.T).argmax(1)[::2]
    return hidden, weight, gold, bias


@given(
    n=st.integers(0, 200),
    d=st.integers(1, 9),
    v=st.integers(1, 40),
    tile=st.sampled_from([1, 64, 128, 4096]),
    scale=st.sampled_from([0.0, 1.0, 10.0, 100.0]),
    with_bias=st.booleans(),
    shaped=st.booleans(),
    seed=st.integers(0, 9),
)
@settings(deadline=None, max_examples=60)
def test_any_shape_and_any_tile(n, d, v, tile, scale, with_bias, shaped, seed) -> None:
    hidden, weight, gold, bias = draw(n, d, v, scale, seed)
    bias, shape = bias if with_bias else None, SHAPED if shaped else {}
    got = head_stats(
        hidden,
        weight,
        gold,
        bias=bias,
        more=True,
        tile_bytes=4 * v * tile,
        fold=plain_fold,
        **shape,
    )
    truth = exact(hidden, weight, gold, bias, **shape)
    assert got.dtype == torch.float32
    assert got.shape == (5, n)
    torch.testing.assert_close(got[:4].double(), truth[:4], rtol=4 * EPSILON, atol=2e-5)
    if not shaped:  # a soft cap makes large logits equal in one precision and not in the other
        assert torch.equal(got[4].double(), truth[4])
    few = head_stats(hidden, weight, gold, bias=bias, fold=plain_fold, **shape)
    torch.testing.assert_close(few, got[:2], rtol=4 * EPSILON, atol=1e-6)


def test_it_agrees_with_the_head_of_the_cpu() -> None:
    hidden, weight = torch.randn(2, 70, 24), torch.randn(301, 24)
    labels = torch.randint(301, (2, 70))
    stats = token_stats(hidden, weight, labels)
    got = head_stats(hidden[:, :-1].flatten(0, 1), weight, labels[:, 1:].flatten())
    torch.testing.assert_close(got, torch.stack([stats.nll, stats.entropy]).flatten(1))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halves_are_multiplied_as_they_are_and_summed_in_float32(dtype) -> None:
    hidden, weight = torch.randn(90, 64).to(dtype), torch.randn(301, 64).to(dtype)
    gold = torch.randint(301, (90,))
    got = head_stats(hidden, weight, gold, more=True)
    truth = exact(hidden, weight, gold, None)
    torch.testing.assert_close(got.double(), truth, rtol=1e-5, atol=1e-5)


def test_under_autocast_factors_are_rounded_and_logits_are_not() -> None:
    hidden, weight, gold = torch.randn(90, 64), torch.randn(301, 64), torch.randint(301, (90,))
    with torch.autocast("cpu", torch.bfloat16):
        got = head_stats(hidden, weight, gold, more=True)
    truth = exact(hidden.bfloat16(), weight.bfloat16(), gold, None)
    torch.testing.assert_close(got.double(), truth, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_is_not_finite_stays_in_its_row(bad: float) -> None:
    hidden, weight, gold, _ = draw(5, 4, 30, 1.0)
    hidden[2, 1] = bad
    got = head_stats(hidden, weight, gold)
    assert not got[:, 2].isfinite().any()
    assert got[:, [0, 1, 3, 4]].isfinite().all()


def test_a_token_that_the_bias_rules_out_gives_no_nan() -> None:
    bias = torch.tensor([0.0, -torch.inf, 0.0])
    args = torch.zeros(1, 4), torch.zeros(3, 4), torch.tensor([0])
    got = head_stats(*args, bias=bias, more=True)[:, 0]
    torch.testing.assert_close(got, torch.tensor([0.6931472, 0.6931472, 0.5, 0.5, 1.0]))


def test_no_tile_is_as_large_as_all_logits() -> None:
    seen: list[tuple[int, ...]] = []

    def fold(logits: Tensor, gold: Tensor, out: Tensor) -> None:
        seen.append(tuple(logits.shape))
        plain_fold(logits, gold, out)

    args = torch.randn(300, 4), torch.randn(50, 4), torch.randint(50, (300,))
    head_stats(*args, tile_bytes=4 * 50 * 140, fold=fold)
    assert seen == [(128, 50), (128, 50), (44, 50)]


interpreted = os.environ.get("TRITON_INTERPRET") == "1"


@pytest.mark.skipif(
    importlib.util.find_spec("triton") is None or not (torch.cuda.is_available() or interpreted),
    reason="needs Triton and a GPU, or TRITON_INTERPRET=1",
)
@pytest.mark.parametrize("more", [False, True])
@pytest.mark.parametrize("v", [1, 7, 2048, 5000])
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_the_kernel_gives_what_plain_torch_gives(more: bool, v: int, scale: float) -> None:
    from qtuning.core.cuda_kernel import fold

    device = "cpu" if interpreted else "cuda"
    hidden, weight, gold, bias = (one.to(device) for one in draw(9, 8, v, scale))
    bias[: v // 2] = -torch.inf
    bias[0] = 0.0
    gold[gold < v // 2] = 0
    args = {"bias": bias, "more": more, "tile_bytes": 1}
    got = head_stats(hidden, weight, gold, fold=fold, **args)
    plain = head_stats(hidden, weight, gold, fold=plain_fold, **args)
    torch.testing.assert_close(got, plain, rtol=1e-5, atol=2e-5)
    hidden[3] = torch.nan
    got = head_stats(hidden, weight, gold, fold=fold, **args)
    assert not got[:2, 3].isfinite().any()
    assert got[:2, 4:].isfinite().all()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_a_gpu_gives_what_float64_gives(dtype: torch.dtype) -> None:
    hidden, weight = torch.randn(300, 64).to(dtype), torch.randn(3001, 64).to(dtype)
    gold = torch.randint(3001, (300,))
    on_gpu = (one.cuda() for one in (hidden, weight, gold))
    got = head_stats(*on_gpu, more=True, tile_bytes=4 * 3001 * 128).cpu()
    torch.testing.assert_close(
        got.double(), exact(hidden, weight, gold, None), rtol=1e-4, atol=1e-4
    )
