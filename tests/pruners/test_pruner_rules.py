"""Each pruner's own rule, against the sentence of its method card in plain Python."""

import math
import statistics
from dataclasses import replace

import pytest
import torch

from qtuning import PruningArguments
from qtuning.pruners import ablations
from qtuning.pruners.protocols import (
    EL2N,
    LOGITS,
    PROMPT_ATTENTION,
    RATER_ATTENTION,
    RECEIVED_ATTENTION,
    REFERENCE,
    STEPS,
    WITHOUT_PROMPT,
    SamplePool,
    TokenPool,
    TokenSample,
)
from qtuning.pruners.registry import SAMPLE_PRUNERS, TOKEN_PRUNERS

NAN = math.nan


def pool(n, ppl=None, entropy=None, n_tokens=None, **more):
    def column(values):
        return torch.tensor(values if values is not None else [1.0] * n, dtype=torch.float64)

    names = [f"s{i}" for i in range(n)]
    lengths = torch.tensor(n_tokens or [3] * n)
    return SamplePool(column(ppl), column(entropy), lengths, names, 1, 0, **more)


def kept(name, candidates, ratio=0.5):
    selection = SAMPLE_PRUNERS[name](candidates, PruningArguments(sample_ratio=ratio))
    return selection.kept.nonzero().squeeze(1).tolist()


def sample(nll, *, protected=(), name="a", entropy=None, **extras):
    guarded = torch.zeros(len(nll), dtype=torch.bool)
    guarded[list(protected)] = True
    entropy = torch.tensor(entropy if entropy is not None else [1.0] * len(nll))
    extras = {what: torch.tensor(values) for what, values in extras.items()}
    return TokenSample(name, torch.tensor(nll), entropy, guarded, 2, False, 0.0, extras)


def keep(name, *samples, ratio=0.5, gather=list):
    token_pool = TokenPool(samples, step=1, seed=0, gather=gather)
    masks = TOKEN_PRUNERS[name](token_pool, PruningArguments(token_ratio=ratio))
    return [mask.nonzero().squeeze(1).tolist() for mask in masks]


# Samples


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("longest", [1, 3]),
        ("shortest", [0, 2]),
        ("entropy", [0, 3]),
        ("ppl-high", [1, 2]),
        ("ppl-low", [0, 3]),
        ("ppl-mid", [2, 3]),
    ],
)
def test_what_ranks_first_is_kept(name, expected):
    candidates = pool(4, [2.0, 40.0, 7.0, 5.0], [3.0, 0.5, 1.0, 2.0], [2, 9, 4, 9])
    assert kept(name, candidates) == expected


@pytest.mark.parametrize("name", ["entropy", "ppl-high", "ppl-low", "ppl-mid"])
def test_a_sample_without_finite_scores_comes_last(name):
    candidates = pool(3, [NAN, 2.0, 3.0], [NAN, 2.0, 3.0])
    assert kept(name, candidates, 0.67) == [1, 2]


def test_el2n_keeps_the_largest_error_vectors():
    assert kept("el2n", pool(3, extras={EL2N: torch.tensor([[0.1], [0.9], [0.5]])}), 0.34) == [1]


def test_ifd_keeps_the_highest_ratio_up_to_one_and_then_the_nearest_to_one():
    without = [2.0, 2.0, 2.0, 2.0, NAN]
    beside = [1.9, 2.2, 0.5, 4.0, NAN]  # ratios 0.95, 1.1, 0.25, 2
    candidates = pool(5, extras={WITHOUT_PROMPT: torch.tensor([without, beside]).T})
    orders = [kept("ifd", candidates, k / 5) for k in (1, 2, 3, 4, 5)]
    assert orders == [[0], [0, 2], [0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3, 4]]


def test_ifd_takes_samples_without_a_prompt_before_those_of_a_bad_loss():
    values = torch.tensor([[NAN, NAN], [NAN, NAN], [2.0, 4.0], [NAN, NAN]])
    candidates = pool(4, ppl=[NAN, 3.0, 3.0, 3.0], extras={WITHOUT_PROMPT: values})
    assert [kept("ifd", candidates, k / 4) for k in (1, 2, 3)] == [[2], [1, 2], [1, 2, 3]]


def uds_pool(utility, sketches, memory):
    rows = [[u, *s, *[0.0] * (1024 - len(s))] for u, s in zip(utility, sketches, strict=True)]
    columns = torch.tensor(rows)
    return pool(len(utility), extras={LOGITS: columns.double()}, memory=memory)


def test_uds_prefers_what_is_unlike_the_samples_kept_before():
    memory = {}
    first = uds_pool([5.0, 1.0], [[1000.0], [0.0]], memory)
    assert kept("uds", first) == [0], "nothing to compare with yet: the nuclear norm decides"
    second = uds_pool([3.0, 2.0], [[1000.0], [0.0]], memory)
    # 3 + 0.0025 * 0 against 2 + 0.0025 * 1000
    assert kept("uds", second) == [1]
    assert memory["uds_queue"][:, 0].tolist() == [1000.0, 0.0]


def test_uds_forgets_the_oldest():
    memory = {"uds_queue": torch.arange(1024.0)[:, None].repeat(1, 1024)}
    kept("uds", uds_pool([3.0, 2.0], [[7.0], [8.0]], memory))
    queue = memory["uds_queue"]
    assert queue.untyped_storage().nbytes() == queue.nbytes, "nor keeps it in memory"
    assert queue.shape == (1024, 1024)
    assert queue[0, 0] == 1.0
    assert queue[-1, 0] in (7.0, 8.0)


def test_infobatch_keeps_the_unknown_and_the_badly_learned_and_weighs_a_draw_of_the_rest():
    ppl = [NAN, 9.0, 8.0, *[1.1] * 400]
    selection = SAMPLE_PRUNERS["infobatch"](pool(403, ppl), PruningArguments(sample_ratio=0.1))
    assert bool(selection.kept[:3].all())
    assert 160 < int(selection.kept[3:].sum()) < 240
    assert selection.weight[:3].tolist() == [1.0, 1.0, 1.0]
    assert selection.weight[3:].tolist() == [2.0] * 400


def test_infobatch_prunes_nothing_near_the_end_nor_at_the_mean():
    candidates = pool(40, [9.0, *[1.1] * 39])
    args = PruningArguments(sample_ratio=0.1)
    at_last = SAMPLE_PRUNERS["infobatch"](replace(candidates, progress=0.9), args)
    assert bool(at_last.kept.all())
    assert bool((at_last.weight == 1).all())
    assert bool(SAMPLE_PRUNERS["infobatch"](pool(8, [2.0] * 8), args).kept.all())


def test_infobatch_draws_anew_in_every_step():
    candidates = pool(64, [9.0, *[1.1] * 63])
    args = PruningArguments()
    draws = [SAMPLE_PRUNERS["infobatch"](replace(candidates, step=i), args).kept for i in (1, 2)]
    assert not torch.equal(*draws)


def test_infobatch_budget_takes_the_unknown_then_the_worst_then_a_weighted_draw():
    ppl = [1.1, NAN, 9.0, 1.2, 30.0, 1.3, NAN, 1.4]
    candidates = pool(8, ppl)
    args = [PruningArguments(sample_ratio=k / 8) for k in range(1, 9)]
    made = [SAMPLE_PRUNERS["infobatch-budget"](candidates, one) for one in args]
    sets = [set(one.kept.nonzero().squeeze(1).tolist()) for one in made]
    assert sets[0] < {1, 6}
    assert sets[1] == {1, 6}
    assert sets[2] == {1, 4, 6}
    assert sets[3] == {1, 2, 4, 6}
    learned = {0, 3, 5, 7}
    for one, chosen in zip(made[4:], sets[4:], strict=True):
        drawn = chosen & learned
        assert one.weight[sorted(drawn)].tolist() == [len(learned) / len(drawn)] * len(drawn)
        assert one.weight[[1, 2, 4, 6]].tolist() == [1.0] * 4


def test_infobatch_budget_is_unbiased():
    """The weighted mean over what is kept estimates the mean over the pool."""
    values = torch.arange(1, 17, dtype=torch.float64)
    ppl = torch.cat([torch.full((12,), 1.1), torch.full((4,), 50.0)]).tolist()
    sums = []
    for step in range(600):
        candidates = replace(pool(16, ppl), step=step)
        one = SAMPLE_PRUNERS["infobatch-budget"](candidates, PruningArguments(sample_ratio=0.5))
        sums.append(float((values * one.weight)[one.kept].sum()))
    error = statistics.stdev(sums) / math.sqrt(len(sums))
    assert abs(statistics.mean(sums) - float(values.sum())) < 4 * error


# Tokens


def test_ppl_prunes_the_most_surprising_token_and_ppl_neighbor_its_neighbours_too():
    one = sample([0.1, 0.2, 5.0, 0.3, 0.1, 0.2])
    assert keep("ppl", one) == [[0, 1, 4]]
    assert keep("ppl", one, ratio=0.84) == [[0, 1, 3, 4, 5]]
    assert 1 not in keep("ppl-neighbor", one)[0]


def test_profit_prunes_improbable_tokens_only_and_the_least_probable_first():
    tau = -math.log(0.1)
    one = sample([0.1, tau + 0.1, 6.0, tau - 0.01, 0.1, 0.2], protected=(2,))
    assert keep("profit", one) == [[0, 2, 3, 4, 5]]
    assert keep("profit", sample([5.0, 4.0, 3.0, 6.0])) == [[1, 2]]


def test_excess_loss_is_ranked_over_the_whole_step():
    easy = sample([1.0, 1.0, 1.0], name="a", **{REFERENCE: [1.0, 1.0, 0.9]})
    hard = sample([5.0, 5.0, 5.0], name="b", **{REFERENCE: [1.0, 2.0, 5.5]})
    assert keep("rho-1", easy, hard) == [[2], [0, 1]]
    guarded = replace(hard, protected=torch.tensor([False, False, True]))
    assert keep("rho-1", easy, guarded, ratio=0.34) == [[], [0, 2]]


def test_excess_loss_decides_on_two_ranks_as_on_one():
    parts = [
        sample([1.0, 2.0, 1.0], name=name, **{REFERENCE: [0.5, 1.5, float(i % 2)]})
        for i, name in enumerate("abcd")
    ]
    together = keep("rho-1", *parts)
    # What the two ranks would gather from each other, call by call.
    calls = [[], []]
    for rank, own in enumerate((parts[:1], parts[1:])):
        keep("rho-1", *own, gather=lambda values, rank=rank: calls[rank].append(values) or values)
    both = [a + b for a, b in zip(*calls, strict=True)]
    apart = []
    for own in (parts[:1], parts[1:]):
        told = iter(both)
        apart += keep("rho-1", *own, gather=lambda values, told=told: next(told))
    assert apart == together


def test_excess_loss_keeps_what_is_finite_first():
    one = sample([1.0, 2.0], **{REFERENCE: [NAN, 1.9]})
    assert keep("token-cleaning", one) == [[1]]


def test_ss_token_weighs_progress_and_attention_alike():
    extras = {REFERENCE: [3.0, 1.0, 2.0, 1.0], PROMPT_ATTENTION: [0.0, 0.8, 0.2, 0.1]}
    one = sample([1.0, 1.0, 1.0, 1.0], **extras)
    # progress 1, 0, 0.5, 0; attention 0, 1, 0.25, 0.125
    assert keep("ss-token", one) == [[0, 1]]
    assert keep("ss-token", one, ratio=0.75) == [[0, 1, 2]]
    flat = sample([1.0, 1.0], **{REFERENCE: [1.0, 1.0], PROMPT_ATTENTION: [0.3, 0.3]})
    assert keep("ss-token", flat) == [[0]], "a tie keeps the earlier token"


@pytest.mark.parametrize(
    ("name", "what"), [("fastv", RECEIVED_ATTENTION), ("sparse-vlm", RATER_ATTENTION)]
)
def test_attention_pruners_keep_what_is_looked_at_most(name, what):
    one = sample([9.0, 1.0, 1.0, 1.0], protected=(3,), **{what: [0.5, 0.1, 0.3, 0.0]})
    assert keep(name, one) == [[0, 3]]


def test_step_entropy_keeps_whole_steps_and_cuts_the_last():
    one = sample([1.0] * 6, entropy=[0.1, 0.1, 2.0, 0.1, 1.0, 1.0], **{STEPS: [0, 0, 1, 1, 2, 2]})
    # steps hold 0.2, 2.1 and 2.0 nats
    assert keep("step-entropy", one, ratio=0.34) == [[2, 3]]
    assert keep("step-entropy", one) == [[2, 3, 4]]
    assert keep("step-entropy", one, ratio=0.67) == [[2, 3, 4, 5]]


# Variants of our own


def test_trimmed_ppl_keeps_the_most_surprising_of_what_is_not_noise():
    ppl = [float(v) for v in range(1, 21)]  # 35% of 20 is 7: 14 to 20 are set aside
    assert kept("trimmed-ppl", pool(20, ppl), 0.15) == [10, 11, 12]
    assert kept("trimmed-ppl", pool(20, ppl), 0.75) == list(range(15)), "the least surprising back"
    assert kept("trimmed-ppl", pool(4, [NAN, 3.0, 2.0, 1.0]), 0.25) == [2]


def test_trimmed_random_draws_from_what_is_not_noise():
    ppl = [float(v) for v in range(1, 21)]
    drawn = [set(kept("trimmed-random", replace(pool(20, ppl), step=i), 0.2)) for i in range(50)]
    assert set.union(*drawn) == set(range(13))
    assert len({frozenset(one) for one in drawn}) > 20


def test_ranks_are_not_squashed_by_an_outlier():
    ppl = [1e6, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    entropy = [4.0, 3.9, 0.1, 2.0, 2.1, 2.2, 2.3, 2.4]
    made = SAMPLE_PRUNERS["q-tuning-ranks"](pool(8, ppl, entropy), PruningArguments())
    assert made.side[2] > 0.1  # raw: 1e-6 less than nothing
    assert float(made.side.abs().max()) <= 1.0


def test_the_residual_axis_has_no_correlation_left():
    draw = torch.Generator().manual_seed(1)
    entropy = 3 * torch.rand(200, generator=draw, dtype=torch.float64)
    noise = torch.randn(200, generator=draw, dtype=torch.float64)
    candidates = pool(200, (entropy + 0.1 * noise).exp().tolist(), entropy.tolist())
    args = PruningArguments(sample_ratio=0.25)
    plain = SAMPLE_PRUNERS["q-tuning"](candidates, args)
    residual = SAMPLE_PRUNERS["q-tuning-residual"](candidates, args)
    assert plain.rank_correlation > 0.9
    assert abs(residual.rank_correlation) < 0.3
    assert int(residual.filled.sum()) < int(plain.filled.sum())


def test_samples_on_a_line_have_no_residual():
    args = PruningArguments(sample_ratio=0.5)
    for ppl in ([2.0, 3.0], [2.0 + 1e-6, 3.0 - 1e-6], [7.1, 1.3]):
        made = SAMPLE_PRUNERS["q-tuning-residual"](pool(2, ppl, [1.1, 2.7]), args)
        assert made.kept.tolist() == [True, False]


@pytest.mark.parametrize("name", ["q-tuning-ranks", "q-tuning-residual"])
def test_a_plane_without_finite_samples_is_taken(name):
    assert len(kept(name, pool(3, [NAN] * 3, [NAN] * 3))) <= 1
    assert len(kept(name, pool(1, [2.0], [1.0]))) == 1


def test_calibrated_keeps_the_lowest_loss_for_its_uncertainty():
    ppl = [math.exp(v) for v in (1.0, 2.0, 0.5, 3.0)]
    assert kept("calibrated", pool(4, ppl, [1.5, 1.0, 0.4, 3.2])) == [0, 3]


def test_confident_error_prunes_what_is_wrong_and_sure():
    one = sample([3.0, 3.0, 0.1, 0.1], entropy=[3.0, 0.1, 0.1, 0.1])
    assert keep("confident-error", one, ratio=0.75) == [[0, 2, 3]]


def test_surprising_keeps_the_highest_nll():
    assert keep("surprising", sample([0.1, 2.0, 0.2, 1.0], protected=(0,))) == [[0, 1]]


@pytest.mark.parametrize("k", [1, 3, 8, 16])
def test_importance_is_unbiased_and_draws_exactly_k(k):
    values = torch.arange(1, 17, dtype=torch.float64)
    ppl = [math.exp(0.1 * i) for i in range(15)] + [math.exp(40.0)]
    sums = []
    for step in range(800):
        candidates = replace(pool(16, ppl), step=step)
        one = SAMPLE_PRUNERS["importance"](candidates, PruningArguments(sample_ratio=k / 16))
        assert int(one.kept.sum()) == k
        assert float(one.weight.min()) >= 1.0 - 1e-9
        assert float(one.weight.max()) <= 2 * 16 / k + 1e-6
        sums.append(float((values * one.weight)[one.kept].sum()))
    error = statistics.stdev(sums) / math.sqrt(len(sums))
    assert abs(statistics.mean(sums) - float(values.sum())) <= 4 * error + 1e-6


# Ablations


def ablation(name, candidates, ratio=0.25):
    made = getattr(ablations, name)()(candidates, PruningArguments(sample_ratio=ratio))
    return made, made.kept.nonzero().squeeze(1).tolist()


def corners():
    """Two samples in each corner: Q1, Q2, Q3, Q4."""
    ppl = [9.0, 8.5, 9.2, 8.8, 1.1, 1.2, 1.3, 1.15]
    entropy = [5.0, 4.8, 0.2, 0.3, 0.1, 0.25, 4.9, 5.1]
    return pool(8, ppl, entropy)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("KeepQ1", [0, 1]), ("KeepQ3", [4, 5]), ("OnlyQ2", [2, 3]), ("OnlyQ4", [6, 7])],
)
def test_an_ablation_keeps_the_corner_that_it_names(name, expected):
    made, chosen = ablation(name, corners())
    assert chosen == expected
    assert made.thresholds is not None


@pytest.mark.parametrize("name", ["KeepQ1", "KeepQ3", "OnlyQ2", "OnlyQ4"])
@pytest.mark.parametrize("ratio", [0.125, 0.5, 0.9])
def test_an_ablation_keeps_exactly_its_share(name, ratio):
    _, chosen = ablation(name, corners(), ratio)
    assert len(chosen) == max(1, math.floor(8 * ratio))


def test_the_reversed_order_keeps_what_q_tuning_prunes():
    one = sample([0.1, 0.2, 5.0, 0.3, 4.0, 0.2])
    token_pool = TokenPool([one], step=1, seed=0)
    (mask,) = ablations.Reversed()(token_pool, PruningArguments(neighbor_lambda=0.0))
    assert mask.nonzero().squeeze(1).tolist() == [2, 3, 4]
    whole = replace(one, quadrant=4)
    (mask,) = ablations.Reversed()(TokenPool([whole], step=1, seed=0), PruningArguments())
    assert bool(mask.all())
