"""The NLL of each token, its entropy and its rivals are the naive ones, however chunks are cut."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from qtuning.core.tail_mass import tail_mass
from qtuning.core.token_loss import token_losses

T, D, V = 9, 5, 31


def case(seed: int = 0, bias: bool = True, n: int = T) -> dict:
    g = torch.Generator().manual_seed(seed)
    return {
        "hidden": torch.randn(n, D, generator=g).requires_grad_(),
        "weight": torch.randn(V, D, generator=g).requires_grad_(),
        "gold": torch.randint(0, V, (n,), generator=g),
        "bias": torch.randn(V, generator=g).requires_grad_() if bias else None,
    }


def naive_logits(hidden, weight, gold, bias, softcap=None, logit_scale=1.0) -> Tensor:
    """All logits, in float64."""
    logits = hidden.double() @ weight.double().T
    logits = logit_scale * (logits if bias is None else logits + bias.double())
    return logits if softcap is None else softcap * torch.tanh(logits / softcap)


shapes = {
    "seed": st.integers(0, 1000),
    "bias": st.booleans(),
    "softcap": st.sampled_from([None, 2.0]),
    "scale": st.sampled_from([1.0, 3.0]),
}


@given(chunk_size=st.integers(1, 20), top=st.sampled_from([0, 1, 20, 100]), **shapes)
def test_losses_and_gradients_are_the_naive_ones(seed, bias, softcap, scale, chunk_size, top):
    inputs, shape = case(seed, bias), {"softcap": softcap, "logit_scale": scale}
    got = token_losses(**inputs, **shape, chunk_size=chunk_size, top=top, entropy=bool(top))
    logits = naive_logits(**inputs, **shape)
    logp = logits.log_softmax(-1)
    nll = -logp.gather(1, inputs["gold"][:, None]).squeeze(1)
    torch.testing.assert_close(got.nll.double(), nll, rtol=1e-5, atol=1e-5)
    if top:
        expected = logits.topk(min(top, V)).values
        torch.testing.assert_close(got.top.double(), expected, rtol=1e-5, atol=1e-5)
        entropy = -(logp.exp() * logp).sum(-1)
        torch.testing.assert_close(got.entropy.double(), entropy, rtol=1e-5, atol=1e-5)
        assert not got.top.requires_grad
        assert not got.entropy.requires_grad
    else:
        assert got.top is None
        assert got.entropy is None
    factors = torch.rand(T, generator=torch.Generator().manual_seed(seed))
    leaves = [leaf for leaf in inputs.values() if leaf is not None and leaf.requires_grad]
    mine = torch.autograd.grad((factors * got.nll).sum(), leaves)
    theirs = torch.autograd.grad((factors.double() * nll).sum(), leaves)
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_no_token_is_an_empty_loss_whose_gradients_reach_all_inputs() -> None:
    inputs = case(n=0)
    got = token_losses(**inputs, top=20, entropy=True)
    assert got.nll.shape == got.entropy.shape == (0,)
    assert got.top.shape == (0, 20)
    gradients = torch.autograd.grad(got.nll.sum(), [inputs["hidden"], inputs["weight"]])
    assert all(not gradient.any() for gradient in gradients)


def test_the_backward_pass_repeats_the_product_and_nothing_after_the_loss(monkeypatch) -> None:
    products, tops = [], []
    linear, topk = nn.functional.linear, Tensor.topk
    monkeypatch.setattr(
        nn.functional, "linear", lambda *a: products.append(len(a[0])) or linear(*a)
    )
    monkeypatch.setattr(Tensor, "topk", lambda *a, **k: tops.append(len(a[0])) or topk(*a, **k))
    loss = token_losses(**case(), chunk_size=4, top=3, entropy=True).nll.sum()
    assert products == tops == [4, 4, 1]
    loss.backward()
    assert products == [4, 4, 1, 1, 4, 4], "logits are not held"
    assert tops == [4, 4, 1]


def test_the_entropy_of_a_certain_prediction_is_zero() -> None:
    weight = torch.tensor([[0.0], [1e4], [-1e4]])
    got = token_losses(torch.ones(1, 1), weight, torch.tensor([1]), entropy=True)
    assert got.entropy.tolist() == [0.0]
    assert got.nll.tolist() == [0.0]


def test_chunks_must_be_positive() -> None:
    with pytest.raises(ValueError, match="chunk_size"):
        token_losses(**case(), chunk_size=0)


@given(chunk_size=st.integers(1, 20), vocab_chunk_size=st.integers(1, 40), **shapes)
def test_tail_mass_is_the_naive_one(seed, bias, softcap, scale, chunk_size, vocab_chunk_size):
    inputs, shape = case(seed, bias), {"softcap": softcap, "logit_scale": scale}
    got = tail_mass(
        **inputs, **shape, chunk_size=chunk_size, vocab_chunk_size=vocab_chunk_size
    ).double()
    p = naive_logits(**inputs, **shape).softmax(-1)
    own = p.gather(1, inputs["gold"][:, None])
    # A soft cap makes rivals all but as probable; rounding may put them on either side.
    least, most = ((p * (p <= own * (1 + slack))).sum(-1) for slack in (-1e-4, 1e-4))
    assert bool((got >= torch.maximum(least, own[:, 0]) - 1e-5).all())
    assert bool((got <= most + 1e-5).all())


def test_tail_mass_by_hand() -> None:
    weight = torch.tensor([0.5, 0.25, 0.125, 0.125]).log()[:, None]
    got = tail_mass(torch.ones(4, 1), weight, torch.arange(4)).tolist()
    assert got == pytest.approx([1.0, 0.5, 0.25, 0.25])
    far = torch.tensor([[0.0], [-300.0]])
    assert tail_mass(torch.ones(2, 1), far, torch.arange(2)).tolist() == [1.0, 0.0]
