"""Chunked statistics against full logits in float64, and where float32 goes wrong."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from qtuning import sample_stats, token_stats

# Beyond the error of a straightforward float32 computation, as Apple's CCE is tested: two units in
# the last place of the result, and what two orders of summation may differ by.
from .naive_stats import LOWEST, check, draw, one, reference, values

OPTIONS = {
    "plain": {},
    "softcap": {"softcap": 3.0},
    "scale": {"logit_scale": 0.0625},
    "negative scale": {"logit_scale": -2.5},
    "bias": {"bias": True},
    "all": {"softcap": 5.0, "logit_scale": 2.0, "bias": True},
}


# Against the reference


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("options", list(OPTIONS))
@pytest.mark.parametrize(
    ("v", "tiles"),
    [
        (7, {}),
        (7, {"chunk_size": 1, "vocab_chunk_size": 1}),
        (7, {"chunk_size": 4, "vocab_chunk_size": 3}),
        (64, {"chunk_size": 5, "vocab_chunk_size": 64}),
        (64, {"chunk_size": 1000, "vocab_chunk_size": 63}),
        (5000, {}),
        (5000, {"chunk_size": 7, "vocab_chunk_size": 700}),
    ],
)
def test_as_exact_as_float32_with_full_logits(
    dtype: torch.dtype, options: str, v: int, tiles: dict[str, int]
) -> None:
    hidden, weight, labels = draw(3, 11, 16, v, scale=4.0)
    extra: dict[str, Any] = dict(OPTIONS[options])
    if extra.get("bias"):
        g = torch.Generator().manual_seed(1)
        extra["bias"] = torch.randn(v, generator=g).to(dtype)
    check(hidden.to(dtype), weight.to(dtype), labels, tiles, **extra)


@settings(deadline=None, max_examples=60)
@given(
    b=st.integers(1, 3),
    length=st.integers(1, 9),
    d=st.integers(1, 9),
    v=st.integers(1, 40),
    rows=st.integers(1, 12),
    columns=st.integers(1, 45),
    scale=st.sampled_from([0, 1, 10, 100]),
    seed=st.integers(0, 9),
)
def test_any_shape_and_any_tiles(
    b: int, length: int, d: int, v: int, rows: int, columns: int, scale: int, seed: int
) -> None:
    hidden, weight, labels = draw(b, length, d, v, seed, scale=2.0)
    # Whole numbers have exact logits, so that no matrix product blurs the comparison.
    tiles = {"chunk_size": rows, "vocab_chunk_size": columns}
    check((4 * hidden).round(), (scale * weight).round(), labels, tiles)


@pytest.mark.parametrize("label", [0, 1, 9, 10, 19, 20, 22])
def test_the_label_may_lie_in_any_tile(label: int) -> None:
    logits = torch.linspace(-2, 2, 23)
    nll, _ = values(token_stats(*one(logits, label), vocab_chunk_size=10))
    assert nll == pytest.approx(-logits.log_softmax(0)[label].item(), abs=1e-6)


@pytest.mark.parametrize("order", ["rising", "falling"])
def test_the_running_maximum_may_rise_or_fall_from_tile_to_tile(order: str) -> None:
    logits = torch.linspace(-90, 90, 30)
    if order == "falling":
        logits = logits.flip(0)
    check(*one(logits, 3), {"vocab_chunk_size": 4})
    # Two equal peaks far apart in the vocabulary, with nothing between them.
    logits = torch.full((30,), -60.0)
    logits[[0, 29]] = 60.0
    nll, entropy = values(token_stats(*one(logits, 29), vocab_chunk_size=4))
    assert nll == pytest.approx(math.log(2), abs=1e-5)
    assert entropy == pytest.approx(math.log(2), abs=1e-6)


def test_uniform_logits_have_entropy_log_v() -> None:
    nll, entropy = values(token_stats(*one(torch.zeros(5000), 4999), vocab_chunk_size=700))
    assert nll == pytest.approx(math.log(5000), abs=2e-6)
    assert entropy == pytest.approx(math.log(5000), abs=2e-6)


# Alignment


def test_entry_t_describes_the_label_at_t_plus_1() -> None:
    # Position t gives the label at t + 1 the probability 2^-(t+1), the other five share the rest.
    labels = torch.tensor([[2, -100, -100, 4, 5, 1]])
    following = [0, 0, 4, 5, 1, 3]
    probabilities = torch.empty(1, 6, 6)
    for t, label in enumerate(following):
        probabilities[0, t] = (1 - 0.5 ** (t + 1)) / 5
        probabilities[0, t, label] = 0.5 ** (t + 1)
    got = token_stats(probabilities.log(), torch.eye(6), labels)
    assert got.mask.tolist() == [[False, False, True, True, True]]
    assert got.nll.tolist() == [[0, 0, *(pytest.approx(n * math.log(2)) for n in (3, 4, 5))]]
    entropies = []
    for n in (3, 4, 5):
        q = 0.5**n
        entropies.append(-q * math.log(q) - (1 - q) * math.log((1 - q) / 5))
    assert got.entropy.tolist() == [[0, 0, *map(pytest.approx, entropies)]]
    s = sample_stats(got)
    assert s.n_tokens.tolist() == [3]
    assert s.ppl.item() == pytest.approx(16)
    assert s.entropy.item() == pytest.approx(sum(entropies) / 3)


def test_the_first_label_is_never_counted() -> None:
    hidden, weight, labels = draw(2, 6, 4, 9)
    labels[:, 1:] = -100
    labels[:, 0] = 3
    got = token_stats(hidden, weight, labels)
    assert not got.mask.any()
    assert not got.nll.any()
    assert not got.entropy.any()


def test_a_batch_without_labels_is_all_zero() -> None:
    hidden, weight, _ = draw(2, 6, 4, 9)
    got = token_stats(hidden, weight, torch.full((2, 6), -100))
    assert got.nll.shape == got.entropy.shape == got.mask.shape == (2, 5)
    assert got.nll.dtype == got.entropy.dtype == torch.float32
    assert not any(tensor.any() for tensor in got)


def test_a_row_without_labels_is_zero_and_leaves_the_others_alone() -> None:
    hidden, weight, labels = draw(3, 8, 4, 9)
    labels[1] = -100
    assert not token_stats(hidden, weight, labels).nll[1].any()
    check(hidden, weight, labels, {"chunk_size": 3})


@pytest.mark.parametrize(("b", "length"), [(0, 5), (2, 1), (1, 1)])
def test_batches_without_predictions_are_empty(b: int, length: int) -> None:
    got = token_stats(torch.randn(b, length, 4), torch.randn(9, 4), torch.zeros(b, length).long())
    assert got.nll.shape == got.entropy.shape == got.mask.shape == (b, length - 1)


def test_padding_does_not_change_a_sequence() -> None:
    hidden, weight, _ = draw(1, 7, 8, 50)
    labels = torch.tensor([[-100, -100, 3, 4, 49, 0, 8]])
    alone = token_stats(hidden, weight, labels)
    other_hidden, _, other_labels = draw(1, 12, 8, 50, seed=5)
    for left in (0, 5):
        padded = other_hidden.clone()
        padded[:, left : left + 7] = hidden
        padded_labels = torch.full((1, 12), -100)
        padded_labels[:, left : left + 7] = labels
        got = token_stats(
            torch.cat([other_hidden, padded]), weight, torch.cat([other_labels, padded_labels])
        )
        for mine, single in zip(got[:2], alone[:2], strict=True):
            row = mine[1, left : left + 6]
            torch.testing.assert_close(row, single[0], atol=1e-6, rtol=1e-6)
            assert mine[1].count_nonzero() == 5


# Extreme logits


@pytest.mark.parametrize("columns", [1, 3, 2048])
@pytest.mark.parametrize("peak", [0, 4, 9])
@pytest.mark.parametrize("height", [20.0, 100.0, 250.0, 1e4, 1e30])
def test_a_certain_prediction_has_no_entropy(columns: int, peak: int, height: float) -> None:
    logits = [0.0] * 10
    logits[peak] = height
    nll, entropy = values(token_stats(*one(logits, peak), vocab_chunk_size=columns))
    assert 0 <= nll <= 1e-7
    assert -1e-6 <= entropy <= 2e-6
    wrong, _ = values(token_stats(*one(logits, (peak + 1) % 10), vocab_chunk_size=columns))
    assert wrong == pytest.approx(height, rel=1e-7)


@pytest.mark.parametrize("columns", [16, 100, 2048])
@pytest.mark.parametrize("level", [-1e6, -1e4, 1e4, 1e6])
def test_large_logits_cost_no_precision(columns: int, level: float) -> None:
    g = torch.Generator().manual_seed(0)
    logits = level + torch.randint(-12, 1, (100,), generator=g) / 4
    check(*one(logits, 17), {"vocab_chunk_size": columns})
    check(*one(logits, int(logits.argmax())), {"vocab_chunk_size": columns})


@settings(deadline=None, max_examples=100)
@given(
    logits=st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=12),
    columns=st.integers(1, 13),
)
def test_finite_logits_give_finite_statistics_in_their_range(
    logits: list[float], columns: int
) -> None:
    best = max(range(len(logits)), key=logits.__getitem__)
    for label in {0, best, len(logits) - 1}:
        nll, entropy = values(token_stats(*one(logits, label), vocab_chunk_size=columns))
        assert 0 <= nll < math.inf
        assert -1e-6 <= entropy <= math.log(len(logits)) + 1e-6


@pytest.mark.parametrize("masked", [-math.inf, LOWEST, -1e37, -1e9])
@pytest.mark.parametrize("kept", [slice(0, 3), slice(4, 7), slice(9, 12), slice(0, 12, 5)])
@pytest.mark.parametrize("columns", [1, 4, 2048])
def test_masked_vocabulary_counts_for_nothing(masked: float, kept: slice, columns: int) -> None:
    hidden, weight, _ = draw(2, 5, 6, 12)
    bias = torch.full((12,), masked)
    bias[kept] = 0.0
    labels = torch.full((2, 5), kept.start)
    got = token_stats(hidden, weight, labels, bias=bias, vocab_chunk_size=columns)
    alone = reference(hidden, weight[kept], torch.zeros_like(labels))
    for mine, truth in zip(got[:2], alone, strict=True):
        torch.testing.assert_close(mine.double(), truth, atol=2e-6, rtol=0)


def test_a_masked_label_has_infinite_nll_and_finite_entropy() -> None:
    logits = [0.0, 0.0, -math.inf]
    nll, entropy = values(token_stats(*one([0.0] * 3, 2), bias=torch.tensor(logits)))
    assert nll == math.inf
    assert entropy == pytest.approx(math.log(2))


@pytest.mark.parametrize("columns", [3, 2048])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_broken_hidden_states_show(bad: float, columns: int) -> None:
    hidden, weight, _ = draw(1, 6, 4, 9)
    hidden[0, 2, 1] = bad
    got = token_stats(hidden, weight, torch.ones(1, 6).long(), vocab_chunk_size=columns)
    for values_ in got[:2]:
        assert values_[0].isfinite().tolist() == [True, True, False, True, True]


@pytest.mark.parametrize("row", [0, 5, 8])
def test_a_broken_weight_shows(row: int) -> None:
    hidden, weight, labels = draw(1, 6, 4, 9)
    weight[row, 0] = math.nan
    got = token_stats(hidden, weight, labels.clamp(min=0), vocab_chunk_size=4)
    assert got.nll.isnan().all()
    assert got.entropy.isnan().all()


def test_only_positions_that_predict_a_label_are_read() -> None:
    hidden, weight, _ = draw(1, 6, 4, 9)
    labels = torch.tensor([[7, -100, -100, 3, 4, 5]])
    clean = token_stats(hidden, weight, labels)
    hidden[0, [0, 1, 5]] = math.nan
    got = token_stats(hidden, weight, labels)
    assert all(torch.equal(a, b) for a, b in zip(got, clean, strict=True))


# What surrounds the call


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_outer_autocast_changes_nothing(dtype: torch.dtype) -> None:
    hidden, weight, labels = draw(2, 9, 32, 100, scale=5.0)
    hidden, weight = hidden.to(dtype), weight.to(dtype)
    plain = token_stats(hidden, weight, labels)
    with torch.autocast("cpu", torch.bfloat16):
        inside = token_stats(hidden, weight, labels)
        assert (hidden.float() @ weight.float().T[:, :3]).dtype == torch.bfloat16
    assert all(torch.equal(a, b) for a, b in zip(plain, inside, strict=True))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_default_dtype_changes_nothing(dtype: torch.dtype) -> None:
    hidden, weight, labels = draw(2, 9, 8, 30)
    plain = token_stats(hidden, weight, labels, vocab_chunk_size=7)
    try:
        torch.set_default_dtype(dtype)
        inside = token_stats(hidden, weight, labels, vocab_chunk_size=7)
    finally:
        torch.set_default_dtype(torch.float32)
    for mine, usual in zip(inside[:2], plain[:2], strict=True):
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine, usual, atol=1e-6, rtol=1e-6)


def test_no_gradient_graph_is_built() -> None:
    hidden, weight, labels = draw(2, 6, 4, 9)
    got = token_stats(
        hidden.requires_grad_(),
        weight.requires_grad_(),
        labels,
        bias=torch.zeros(9, requires_grad=True),
    )
    assert not got.nll.requires_grad
    assert not got.entropy.requires_grad
    assert torch.is_grad_enabled()


def test_inputs_are_left_as_they_were() -> None:
    hidden, weight, labels = draw(2, 6, 4, 9)
    bias = torch.arange(9.0)
    given_ = hidden, weight, labels, bias
    before = [tensor.clone() for tensor in given_]
    token_stats(hidden, weight, labels, bias=bias, softcap=2.0, logit_scale=3.0)
    assert all(torch.equal(a, b) for a, b in zip(given_, before, strict=True))


class Largest(TorchDispatchMode):
    """The largest tensor that any operation inside returned."""

    numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(tensor, Tensor):
                self.numel = max(self.numel, tensor.numel())
        return out


def test_no_tensor_outgrows_a_tile() -> None:
    hidden, weight, labels = draw(4, 51, 2, 4000)
    with Largest() as seen:
        token_stats(hidden, weight, labels, chunk_size=32, vocab_chunk_size=100)
    # The transposed tile of the weight is a view of it; full logits would be 480,000.
    assert 32 * 100 <= seen.numel <= max(weight.numel(), 32 * 100)


# What does not fit


@pytest.mark.parametrize("label", [9, 1000, -1, -99, -101])
@pytest.mark.parametrize("position", [1, 5])
def test_a_label_outside_the_vocabulary_is_refused(label: int, position: int) -> None:
    hidden, weight, labels = draw(1, 6, 4, 9)
    labels[0, position] = label
    with pytest.raises(ValueError, match=r"labels must be -100 or lie in \[0, 9\)"):
        token_stats(hidden, weight, labels)


@pytest.mark.parametrize(
    ("hidden", "weight", "labels"),
    [
        ((2, 6, 4), (9, 5), (2, 6)),
        ((2, 6, 4), (9, 4), (2, 5)),
        ((2, 6, 4), (9, 4), (3, 6)),
        ((2, 6, 4), (9, 4), (12,)),
        ((2, 6, 4), (4, 9), (2, 6)),
        ((2, 6), (9, 4), (2, 6)),
        ((2, 6, 4, 1), (9, 4), (2, 6)),
        ((2, 6, 4), (9,), (2, 6)),
        ((2, 6, 4), (9, 4, 1), (2, 6)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(
    hidden: tuple[int, ...], weight: tuple[int, ...], labels: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        token_stats(torch.randn(hidden), torch.randn(weight), torch.ones(labels).long())


@pytest.mark.parametrize("shape", [(8,), (10,), (1,), (9, 1)])
def test_a_bias_that_does_not_fit_is_refused(shape: tuple[int, ...]) -> None:
    hidden, weight, labels = draw(1, 6, 4, 9)
    with pytest.raises(ValueError, match="bias"):
        token_stats(hidden, weight, labels, bias=torch.zeros(shape))


@pytest.mark.parametrize("wrong", [{"chunk_size": 0}, {"vocab_chunk_size": -1}, {"softcap": 0.0}])
def test_sizes_and_soft_cap_must_be_positive(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        token_stats(torch.ones(1, 2, 3), torch.ones(4, 3), torch.tensor([[0, 1]]), **wrong)
