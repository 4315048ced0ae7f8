"""The trained loss is the naive one, in value and gradient, however it is cut into chunks."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from qtuning.core.head_loss import summed_nll
from qtuning.signals.forward import model_projection

from ..architectures import ARCHITECTURES, build, examples, padded

B, L, D, V = 2, 9, 5, 23


def case(seed: int = 0, share: float = 0.5, bias: bool = True, dtype=torch.float32) -> dict:
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, V, (B, L), generator=g)
    labels[:, :2] = -100
    labels[0, -2:] = -100
    keep = (labels[:, 1:] != -100) & (torch.rand(B, L - 1, generator=g) < share)
    return {
        "hidden": torch.randn(B, L, D, generator=g).to(dtype).requires_grad_(),
        "weight": torch.randn(V, D, generator=g).to(dtype).requires_grad_(),
        "bias": torch.randn(V, generator=g).to(dtype).requires_grad_() if bias else None,
        "labels": labels,
        "keep": keep,
    }


def naive(hidden, weight, labels, keep, bias=None, softcap=None, logit_scale=1.0) -> Tensor:
    """All logits, in float64."""
    logits = hidden.double() @ weight.double().T
    if bias is not None:
        logits = logits + bias.double()
    logits = logit_scale * logits
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    logp = logits[:, :-1].log_softmax(-1)
    nll = -logp.gather(-1, labels[:, 1:].clamp(min=0)[..., None]).squeeze(-1)
    return nll[keep].sum()


def gradients(loss: Tensor, inputs: dict) -> list[Tensor]:
    leaves = [inputs[name] for name in ("hidden", "weight", "bias") if inputs[name] is not None]
    return [loss.detach(), *torch.autograd.grad(loss, leaves)]


def assert_alike(got: list[Tensor], expected: list[Tensor], rtol=1e-5, atol=1e-5) -> None:
    assert len(got) == len(expected)
    for mine, theirs in zip(got, expected, strict=True):
        torch.testing.assert_close(mine.double(), theirs.double(), rtol=rtol, atol=atol)


@given(
    seed=st.integers(0, 1000),
    share=st.floats(0, 1),
    chunk_size=st.integers(1, 40),
    bias=st.booleans(),
    softcap=st.sampled_from([None, 2.0, 30.0]),
    scale=st.sampled_from([1.0, 0.25, 3.0]),
)
def test_value_and_gradients_are_the_naive_ones(seed, share, chunk_size, bias, softcap, scale):
    inputs = case(seed, share, bias)
    shape = {"softcap": softcap, "logit_scale": scale}
    got = gradients(summed_nll(**inputs, chunk_size=chunk_size, **shape), inputs)
    assert got[0].dtype == torch.float32
    assert_alike(got, gradients(naive(**inputs, **shape), inputs), atol=1e-4)


@pytest.mark.parametrize("chunk_size", [1, 3, 512])
def test_nothing_kept_is_a_zero_whose_gradients_reach_all_inputs(chunk_size):
    inputs = case(share=0.0)
    got = gradients(summed_nll(**inputs, chunk_size=chunk_size), inputs)
    assert all(not part.any() for part in got)


def test_what_is_not_kept_changes_nothing():
    inputs = case()
    expected = gradients(summed_nll(**inputs), inputs)
    others = torch.cat([~inputs["keep"], torch.ones(B, 1, dtype=torch.bool)], 1)
    changed = torch.where(others[..., None], 100.0, inputs["hidden"].detach()).requires_grad_()
    moved = {**inputs, "hidden": changed}
    assert all(
        torch.equal(a, b)
        for a, b in zip(gradients(summed_nll(**moved), moved), expected, strict=True)
    )


def test_a_frozen_head_is_none_of_its_business():
    inputs = case(bias=False)
    (expected,) = torch.autograd.grad(summed_nll(**inputs), [inputs["hidden"]])
    frozen = {**inputs, "weight": inputs["weight"].detach()}
    (got,) = torch.autograd.grad(summed_nll(**frozen), [frozen["hidden"]])
    assert torch.equal(got, expected)


def test_no_more_logits_than_a_chunk_are_held(monkeypatch):
    shapes = []
    linear = nn.functional.linear

    def watched(*args):
        out = linear(*args)
        shapes.append(tuple(out.shape))
        return out

    monkeypatch.setattr(nn.functional, "linear", watched)
    inputs = case(share=1.0)
    kept = int(inputs["keep"].sum())
    saved: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda x: saved.append(x.numel()) or x, lambda x: x
    ):
        loss = summed_nll(**inputs, chunk_size=4)
    assert max(saved, default=0) <= max(inputs["hidden"].numel(), inputs["weight"].numel())
    forward = list(shapes)
    loss.backward()
    assert sum(n for n, _ in forward) == kept
    assert max(n for n, _ in shapes) == 4
    assert shapes[len(forward) :] == forward[::-1], "made anew in the backward pass"


def test_in_bfloat16_it_is_as_near_as_the_models_own_head():
    """The product rounds as a bfloat16 head does; the softmax and the sum do not."""
    inputs = case(dtype=torch.bfloat16)
    expected = naive(**inputs)
    logits = nn.functional.linear(inputs["hidden"], inputs["weight"], inputs["bias"])[:, :-1]
    own = nn.functional.cross_entropy(
        logits[inputs["keep"]].float(), inputs["labels"][:, 1:][inputs["keep"]], reduction="sum"
    )
    got = summed_nll(**inputs, chunk_size=3)
    assert abs(got - expected) <= 1.1 * abs(own - expected) + 1e-4
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = summed_nll(**case(), chunk_size=3)
    assert under.dtype == torch.float32
    torch.testing.assert_close(under, summed_nll(**case()), rtol=2e-2, atol=0)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"keep": torch.ones(B, L, dtype=torch.bool)}, "do not fit"),
        ({"labels": torch.zeros(B, L + 1, dtype=torch.long)}, "do not fit"),
        ({"keep": torch.ones(B, L - 1, dtype=torch.bool)}, "label is ignored"),
        ({"chunk_size": 0}, "chunk_size"),
    ],
)
def test_what_does_not_fit_is_refused(changes, why):
    with pytest.raises(ValueError, match=why):
        summed_nll(**{**case(), **changes})


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_it_is_the_models_own_loss_and_gradient(name):
    """Softcap, scales and head bias of every family that is scored."""
    changes = {"output_router_logits": False} if name == "mixtral" else {}
    model = build(name, **changes)
    batch = padded(examples())
    model(**batch, num_items_in_batch=1).loss.backward()
    expected = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()

    made = model_projection(model, model, batch)
    summed_nll(
        made.hidden,
        made.weight,
        batch["labels"],
        batch["labels"][:, 1:] != -100,
        bias=made.bias,
        chunk_size=4,
        softcap=made.shape.softcap,
        logit_scale=made.shape.scale,
    ).backward()
    got = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert got.keys() == expected.keys()
    for parameter, gradient in expected.items():
        assert (got[parameter] - gradient).norm() <= 1e-4 * gradient.norm() + 1e-5
