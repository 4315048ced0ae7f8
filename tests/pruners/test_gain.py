"""``gain-high``, ``gain-random`` and ``q-tuning-gain`` against plain Python."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qtuning import PruningArguments
from qtuning.core.plane import BAND, Q1, Q2, select_samples
from qtuning.core.ratio import keep_count
from qtuning.pruners.protocols import WITHOUT_PROMPT, SamplePool, TokenPool, TokenSample
from qtuning.pruners.registry import SAMPLE_PRUNERS, TOKEN_PRUNERS

NAN = math.nan
NAMES = ("gain-high", "gain-random", "q-tuning-gain")
# Mean NLL alone and given the prompt, entropy, answer tokens; None is a sample without a prompt.
NATS = st.floats(0.0, 9.0).map(lambda x: round(x, 3))
SAMPLES = st.lists(
    st.tuples(st.one_of(st.none(), NATS), NATS, NATS, st.integers(1, 30)), min_size=1, max_size=24
)
RATIOS = st.floats(0.01, 1.0)


def pool(samples, *, bad=(), step=1, seed=0) -> SamplePool:
    pairs = [(NAN, NAN) if alone is None else (alone, given) for alone, given, _, _ in samples]
    ppl = [math.exp(given) for _, given, _, _ in samples]
    entropy = [h for _, _, h, _ in samples]
    values = [torch.tensor(v, dtype=torch.float64) for v in (ppl, entropy, pairs)]
    for column in values:
        column[list(bad)] = NAN
    lengths = torch.tensor([n for *_, n in samples])
    names = [f"s{i}" for i in range(len(samples))]
    return SamplePool(
        values[0], values[1], lengths, names, step, seed, extras={WITHOUT_PROMPT: values[2]}
    )


def decided(name, candidates, **changes):
    return SAMPLE_PRUNERS[name](candidates, PruningArguments(**changes))


def kept(name, candidates, **changes) -> set[int]:
    selection = decided(name, candidates, **changes)
    return set(selection.kept.nonzero().squeeze(1).tolist())


def by_gain(samples) -> tuple[list[int], list[int]]:
    """Places of the samples of highest summed gain first, and of those that have none."""
    known = [i for i, (alone, *_) in enumerate(samples) if alone is not None]
    # In the order of the floats that the pool holds.
    gains = {i: (samples[i][0] - samples[i][1]) * samples[i][3] for i in known}
    return sorted(known, key=lambda i: -gains[i]), [
        i for i in range(len(samples)) if samples[i][0] is None
    ]


@given(samples=SAMPLES, ratio=RATIOS)
def test_gain_high_keeps_the_highest_summed_gain_and_those_without_a_prompt_last(samples, ratio):
    first, last = by_gain(samples)
    k = keep_count(len(samples), ratio)
    assert kept("gain-high", pool(samples), sample_ratio=ratio) == set([*first, *last][:k])


@given(samples=SAMPLES, ratio=RATIOS, quantile=st.floats(0, 1), seed=st.integers(0, 9))
def test_gain_random_draws_above_the_quantile_then_fills_from_the_next_highest(
    samples, ratio, quantile, seed
):
    first, last = by_gain(samples)
    n_above = len(first) - math.floor(quantile * len(first) + 1e-9)
    k = keep_count(len(samples), ratio)
    settings = {"sample_ratio": ratio, "gain_quantile": quantile}
    chosen = kept("gain-random", pool(samples, seed=seed), **settings)
    assert len(chosen) == k
    if k <= n_above:
        assert chosen <= set(first[:n_above])
    else:
        assert chosen == set([*first, *last][:k])


def test_gain_random_draws_all_above_the_quantile_about_as_often_and_nothing_else():
    samples = [(5.0, 5.0 - 0.1 * i, 1.0, 3) for i in range(12)]
    times = torch.zeros(12)
    for step in range(600):
        selection = decided(
            "gain-random", pool(samples, step=step), sample_ratio=0.25, gain_quantile=1 / 3
        )
        times += selection.kept
    assert times[:4].tolist() == [0.0] * 4
    assert 160 < float(times[4:].min()) <= float(times[4:].max()) < 290  # 225 expected, sd 12


def test_the_sum_favours_long_answers_and_the_plane_takes_the_mean():
    long, short = (3.0, 2.5, 1.0, 20), (3.0, 1.0, 1.0, 3)  # 10 nats and 6; 0.5 a token and 2
    assert kept("gain-high", pool([short, long]), sample_ratio=0.5) == {1}
    error = decided("q-tuning-gain", pool([short, long]), sample_ratio=0.5).side
    assert float(error[0]) < float(error[1])


@settings(max_examples=60)
@given(samples=SAMPLES, ratio=RATIOS, steps=st.integers(1, 12))
def test_q_tuning_gain_is_the_plane_with_minus_the_gain_a_token(samples, ratio, steps):
    selection = decided("q-tuning-gain", pool(samples), sample_ratio=ratio, bisect_steps=steps)
    k = keep_count(len(samples), ratio)
    assert int(selection.kept.sum()) == k
    known = [i for i, (alone, *_) in enumerate(samples) if alone is not None]
    # The same share of all, for a plane of those that have a prompt.
    error = [given - alone if alone is not None else NAN for alone, given, _, _ in samples]
    entropy = [h for _, _, h, _ in samples]
    axes = (torch.tensor(values, dtype=torch.float64) for values in (error, entropy))
    plane = select_samples(*axes, ratio, bisect_steps=steps)
    for name in ("quadrant", "side"):
        assert torch.equal(getattr(selection, name), getattr(plane, name))
    assert torch.equal(selection.kept[known], plane.kept[known])
    others = [i for i in range(len(samples)) if i not in known]
    missing = k - int(plane.kept.sum())
    assert selection.kept[others].tolist() == [place < missing for place in range(len(others))]
    assert bool(selection.filled[others].eq(selection.kept[others]).all())
    assert bool((selection.quadrant[others] == BAND).all())


def test_of_q_tuning_gain_q1_is_noise():
    """Answers of little gain, of which the model is unsure."""
    noise = [(4.0, 4.1 + 0.01 * i, 3.0 + 0.01 * i, 5) for i in range(8)]
    sound = [(4.0, 1.0 + 0.01 * i, 1.0 - 0.01 * i, 5) for i in range(8)]
    selection = decided("q-tuning-gain", pool([*noise, *sound]), sample_ratio=0.25)
    assert set(selection.quadrant[:8].tolist()) <= {Q1, BAND}
    assert Q1 in selection.quadrant[:8].tolist()
    assert Q1 not in selection.quadrant[8:].tolist()


def test_a_switch_that_scales_perplexity_leaves_q_tuning_gain_as_it_is():
    samples = [(5.0, (7 * i) % 11 / 2, (5 * i) % 7 / 3, 4) for i in range(16)]
    one, other = (
        decided("q-tuning-gain", pool(samples), error_scale=scale) for scale in ("ppl", "log_ppl")
    )
    assert torch.equal(one.side, other.side)
    assert torch.equal(one.kept, other.kept)


@pytest.mark.parametrize("fill_tokens", ["whole", "side"])
def test_the_token_stage_goes_by_the_quadrants_of_the_gain(fill_tokens):
    samples = [(5.0, (7 * i) % 11 / 2, (5 * i) % 7 / 3, 4) for i in range(24)]
    samples[3] = (None, 2.0, 1.0, 4)
    selection = decided("q-tuning-gain", pool(samples), sample_ratio=1.0)
    nll = torch.arange(8.0)
    tokens = [
        TokenSample(
            f"s{i}",
            nll,
            nll,
            torch.zeros(8, dtype=torch.bool),
            int(selection.quadrant[i]),
            bool(selection.filled[i]),
            float(selection.side[i]),
        )
        for i in range(24)
    ]
    args = PruningArguments(token_ratio=0.5, fill_tokens=fill_tokens)
    masks = TOKEN_PRUNERS["q-tuning"](TokenPool(tokens, step=1, seed=0), args)
    pruned = [int(mask.sum()) == 4 for mask in masks]
    assert bool(selection.kept.all())
    assert pruned == [
        fill_tokens == "side" and one.side > 0 if one.filled else one.quadrant == Q2
        for one in tokens
    ]
    assert not pruned[3], "without a prompt it has no side"
    assert any(pruned)


@pytest.mark.parametrize("name", NAMES)
@given(samples=SAMPLES, ratio=RATIOS, data=st.data())
def test_bad_samples_take_no_place_from_others(name, samples, ratio, data):
    bad = data.draw(st.sets(st.integers(0, len(samples) - 1)))
    chosen = kept(name, pool(samples, bad=bad), sample_ratio=ratio)
    sound = set(range(len(samples))) - bad
    assert len(chosen & sound) == min(keep_count(len(samples), ratio), len(sound))


@pytest.mark.parametrize("name", NAMES)
def test_an_infinite_nll_alone_is_no_gain(name):
    samples = [(5.0, 1.0, 1.0, 4), (math.inf, 1.0, 1.0, 4), (5.0, 2.0, 2.0, 4)]
    assert kept(name, pool(samples), sample_ratio=0.67, gain_quantile=0.0) == {0, 2}
    assert kept(name, pool(samples), sample_ratio=1.0) == {0, 1, 2}


def test_only_gain_random_draws():
    candidates = pool([(5.0, 0.1 * i, 1.0, 4) for i in range(16)])
    for name in NAMES:
        differ = kept(name, candidates) != kept(name, replace(candidates, step=2))
        assert differ == (name == "gain-random")
