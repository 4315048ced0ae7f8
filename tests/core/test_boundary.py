"""Distance to another decision, against a naive double loop."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qtuning.core.boundary import boundary_distance

VALUES = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 2)), min_size=1, max_size=12
)


def ranks(values: list[float]) -> list[int]:
    order = sorted(range(len(values)), key=lambda i: (values[i], i))
    return [order.index(i) for i in range(len(values))]


def naive(ppl: list[float], entropy: list[float], outcome: list[int]) -> list[float]:
    n = len(ppl)
    x, y = ranks(ppl), ranks(entropy)
    return [
        min(
            (
                math.hypot(x[i] - x[j], y[i] - y[j]) / max(1, n - 1)
                for j in range(n)
                if outcome[i] != outcome[j]
            ),
            default=math.inf,
        )
        for i in range(n)
    ]


def distance(ppl, entropy, outcome) -> torch.Tensor:
    return boundary_distance(
        torch.tensor(ppl, dtype=torch.float64),
        torch.tensor(entropy, dtype=torch.float64),
        torch.tensor(outcome),
    )


@given(values=VALUES)
def test_it_is_the_nearest_sample_decided_otherwise(values):
    ppl, entropy, outcome = map(list, zip(*values, strict=True))
    torch.testing.assert_close(
        distance(ppl, entropy, outcome),
        torch.tensor(naive(ppl, entropy, outcome), dtype=torch.float64),
        rtol=0,
        atol=1e-7,  # cdist goes over squares
    )


def test_more_samples_than_are_computed_at_a_time():
    draw = torch.Generator().manual_seed(0)
    ppl, entropy = torch.rand(2, 1500, generator=draw, dtype=torch.float64)
    kept = torch.rand(1500, generator=draw) < 0.1
    expected = naive(ppl.tolist(), entropy.tolist(), kept.tolist())
    assert boundary_distance(ppl, entropy, kept).tolist() == pytest.approx(expected, abs=1e-7)


def test_scales_do_not_matter_only_ranks():
    ppl, entropy = [1.0, 9.0, 2.0, 4.0], [0.1, 0.5, 0.9, 0.2]
    kept = [True, False, True, False]
    squashed = [math.log(x) for x in ppl]
    assert torch.equal(distance(ppl, entropy, kept), distance(squashed, entropy, kept))


def test_without_another_decision_all_are_infinitely_far():
    assert distance([1.0, 2.0], [1.0, 2.0], [True, True]).tolist() == [math.inf, math.inf]
    assert distance([1.0], [1.0], [False]).tolist() == [math.inf]


def test_shapes_must_fit():
    with pytest.raises(ValueError, match=r"must be \(N,\)"):
        distance([1.0, 2.0], [1.0], [True, True])
