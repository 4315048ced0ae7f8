"""What every registered pruner promises, and how a pruner is found."""

import importlib
import random
import re
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from qtuning.arguments import PruningArguments
from qtuning.core.plane import BAND, Q1, Q2, Q3, Q4, Selection
from qtuning.core.ratio import keep_count
from qtuning.core.seeds import seeded_generator
from qtuning.core.tokens import keep_tokens
from qtuning.pruners.protocols import (
    ATTENTION,
    BASE_MEAN,
    EL2N,
    HISTORY,
    LOGITS,
    NEEDS,
    REFERENCE,
    S_IFD,
    SAMPLE_EXTRAS,
    SCORES,
    STEPS,
    WITHOUT_IMAGE,
    WITHOUT_PROMPT,
    SamplePool,
    SamplePruner,
    TokenPool,
    TokenPruner,
    TokenSample,
)
from qtuning.pruners.registry import (
    SAMPLE_PRUNERS,
    TOKEN_PRUNERS,
    resolve_sample_pruner,
    resolve_token_pruner,
)

# Pruners that keep all, whatever the ratio.
WHOLE_SAMPLES, WHOLE_TOKENS = {"full"}, {"none"}
OWN_BUDGET = {"infobatch", "tail"}  # keeps about two thirds; keeps all at the beginning
AT_LEAST = {"profit"}  # never prunes a probable token
STEP_WIDE = {"rho-1", "token-cleaning"}  # rank over all samples, so one may keep more than another
PAIRS = [*SAMPLE_PRUNERS.items(), *TOKEN_PRUNERS.items()]
EVERY = [pruner for _, pruner in PAIRS]
each_sample_pruner = pytest.mark.parametrize("name", SAMPLE_PRUNERS)
each_token_pruner = pytest.mark.parametrize("name", TOKEN_PRUNERS)
RATIOS = st.floats(0.01, 1.0)


def pool(n: int = 16, *, step: int = 3, seed: int = 7, group: int = 0) -> SamplePool:
    draw = seeded_generator("pool", n)
    return SamplePool(
        ppl=1 + 20 * torch.rand(n, generator=draw, dtype=torch.float64),
        entropy=5 * torch.rand(n, generator=draw, dtype=torch.float64),
        n_tokens=torch.randint(1, 40, (n,), generator=draw),
        sample_ids=[f"s{i}" for i in range(n)],
        step=step,
        seed=seed,
        group=group,
        extras={
            EL2N: torch.rand(n, 1, generator=draw, dtype=torch.float64),
            WITHOUT_PROMPT: 0.2 + torch.rand(n, 2, generator=draw, dtype=torch.float64),
            WITHOUT_IMAGE: 0.2 + torch.rand(n, 2, generator=draw, dtype=torch.float64),
            S_IFD: 0.2 + torch.rand(n, 1, generator=draw, dtype=torch.float64),
            BASE_MEAN: 3 * torch.rand(n, 1, generator=draw, dtype=torch.float64),
            LOGITS: 100 * torch.rand(n, 1025, generator=draw, dtype=torch.float64),
        },
    )


def sample(
    n: int = 12,
    name: str = "a",
    *,
    quadrant: int = Q2,
    filled: bool = False,
    side: float = 0.3,
    protected: tuple[int, ...] = (),
) -> TokenSample:
    draw = seeded_generator("sample", n)
    guarded = torch.zeros(n, dtype=torch.bool)
    guarded[list(protected)] = True
    nll, entropy = 4 * torch.rand(2, n, generator=draw)
    extras = {what: torch.rand(n, generator=draw) for what in sorted(ATTENTION)}
    extras[REFERENCE] = 4 * torch.rand(n, generator=draw)
    extras[STEPS] = torch.arange(n) // 4
    return TokenSample(name, nll, entropy, guarded, quadrant, filled, side, extras)


def prune_samples(name: str, candidates: SamplePool, ratio: float = 0.3) -> Selection:
    made = resolve_sample_pruner(name)(candidates, PruningArguments(sample_ratio=ratio))
    return Selection.without_plane(made) if isinstance(made, Tensor) else made


def prune_tokens(
    name: str, *samples: TokenSample, step: int = 3, seed: int = 7, **changes
) -> list[Tensor]:
    args = PruningArguments(**changes)
    return resolve_token_pruner(name)(TokenPool(samples, step=step, seed=seed), args)


def random_states() -> list:
    numpy = np.random.get_state()  # noqa: NPY002 - the global state is what must not change
    return [torch.get_rng_state().tolist(), random.getstate(), numpy[1].tolist(), numpy[2]]


def same_again(prune) -> list[Tensor]:
    """What ``prune`` returns twice, whatever the global random state, which it leaves alone."""
    torch.manual_seed(1)
    first = prune()
    torch.manual_seed(2)
    before = random_states()
    second = prune()
    assert random_states() == before
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    return first


def tensors_of(record) -> list[Tensor]:
    values = [vars(record)[field.name] for field in fields(record)]
    values += list(record.extras.values())
    return [value.clone() for value in values if isinstance(value, Tensor)]


@pytest.mark.parametrize("module", sorted({type(p).__module__ for p in EVERY}))
def test_every_pruner_has_a_card(module):
    card = importlib.import_module(module).__doc__
    names = [n for n, p in PAIRS if type(p).__module__ == module]
    assert all(f"``{name}``" in card.splitlines()[0] for name in names), names
    headings = re.findall(r"^(\w+): ", card, flags=re.MULTILINE)
    assert headings == ["What", "Cost", "When", "Source", "Differs"]


@each_sample_pruner
@settings(max_examples=30)
@given(n=st.integers(1, 40), ratio=RATIOS)
def test_a_sample_pruner_keeps_exactly_its_share(name, n, ratio):
    kept = prune_samples(name, pool(n), ratio).kept
    assert kept.shape == (n,)
    assert kept.dtype == torch.bool
    if name not in OWN_BUDGET:
        assert int(kept.sum()) == (n if name in WHOLE_SAMPLES else keep_count(n, ratio))
    assert bool(kept.any())


@each_sample_pruner
def test_a_sample_pruner_depends_on_its_pool_alone_and_leaves_it_as_it_is(name):
    candidates = pool()
    before = tensors_of(candidates)

    def prune() -> list[Tensor]:
        return [prune_samples(name, replace(candidates, memory={})).kept]

    same_again(prune)
    assert torch.equal(prune_samples(name, pool()).kept, prune()[0])
    after = tensors_of(candidates)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@each_token_pruner
@settings(max_examples=30)
@given(data=st.data(), ratio=RATIOS)
def test_a_token_pruner_keeps_whole_samples_or_exactly_its_share_and_all_protected(
    name, data, ratio
):
    n = data.draw(st.integers(1, 30))
    samples = [
        sample(
            n,
            f"s{i}",
            quadrant=data.draw(st.integers(0, 4)),
            filled=data.draw(st.booleans()),
            protected=tuple(data.draw(st.sets(st.integers(0, n - 1), max_size=3))),
        )
        for i in range(3)
    ]
    masks = prune_tokens(name, *samples, token_ratio=ratio)
    assert len(masks) == 3
    if name in STEP_WIDE:
        protected = sum(int(one.protected.sum()) for one in samples)
        assert sum(int(mask.sum()) for mask in masks) == max(keep_count(3 * n, ratio), protected)
    for mask, one in zip(masks, samples, strict=True):
        assert mask.shape == (n,)
        assert mask.dtype == torch.bool
        assert bool(mask[one.protected].all())
        if name in STEP_WIDE:
            continue
        share = max(keep_count(n, ratio), int(one.protected.sum()))
        if name in AT_LEAST:
            assert int(mask.sum()) >= share
        else:
            assert bool(mask.all()) or int(mask.sum()) == share
        if name in WHOLE_TOKENS:
            assert bool(mask.all())


@each_token_pruner
def test_a_token_pruner_prunes_q2_samples_unless_it_prunes_nothing(name):
    (mask,) = prune_tokens(name, sample(13, protected=(12,)), token_ratio=0.5)
    if name in AT_LEAST:
        assert 6 <= int(mask.sum()) < 13
    else:
        assert int(mask.sum()) == (13 if name in WHOLE_TOKENS else 6)


@each_token_pruner
def test_a_token_pruner_depends_on_its_pool_alone_and_leaves_it_as_it_is(name):
    samples = [sample(12, "a", protected=(11,)), sample(7, "b", quadrant=Q4)]
    before = [tensors_of(one) for one in samples]
    same_again(lambda: prune_tokens(name, *samples))
    for old, one in zip(before, samples, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(old, tensors_of(one), strict=True))


@each_token_pruner
def test_a_rank_without_kept_samples_has_no_masks(name):
    assert prune_tokens(name) == []


@pytest.mark.parametrize("pruner", [*SAMPLE_PRUNERS.values(), *TOKEN_PRUNERS.values()])
def test_a_pruner_says_what_it_needs(pruner):
    assert pruner.needs <= NEEDS
    assert not pruner.needs or pruner.needs & {SCORES, HISTORY}
    assert not pruner.needs & SAMPLE_EXTRAS or SCORES in pruner.needs
    assert isinstance(pruner, SamplePruner)
    assert isinstance(pruner, TokenPruner)


@pytest.mark.parametrize("change", [{"step": 4}, {"seed": 8}, {"group": 1}])
def test_random_samples_differ_between_steps_seeds_and_pools(change):
    kept = prune_samples("random", pool(32)).kept
    assert not torch.equal(prune_samples("random", pool(32, **change)).kept, kept)


def test_random_tokens_differ_between_steps_seeds_and_samples():
    one, other = prune_tokens("random", sample(32, "a"), sample(32, "b"))
    assert not torch.equal(one, other)
    for change in ({"step": 4}, {"seed": 8}):
        (changed,) = prune_tokens("random", sample(32, "a"), **change)
        assert not torch.equal(one, changed)
    (alone,) = prune_tokens("random", sample(32, "a"))
    assert torch.equal(alone, one), "it depends on the sample, not on its place"


def test_random_chooses_every_sample_and_token_about_as_often():
    draws = range(400)
    samples = sum(prune_samples("random", pool(8, step=i), 0.5).kept.long() for i in draws)
    tokens = sum(prune_tokens("random", sample(8), step=i)[0].long() for i in draws)
    for times in (samples, tokens):
        assert int(times.sum()) == 4 * len(draws)
        assert 150 < int(times.min()) <= int(times.max()) < 250  # 200 expected, sd 10


def test_q_tuning_explains_its_samples_and_takes_its_switches():
    candidates = pool(40)
    selection = prune_samples("q-tuning", candidates, 0.5)
    named = (selection.quadrant == Q2) | (selection.quadrant == Q4)
    assert bool((named | selection.filled)[selection.kept].all())
    assert selection.thresholds is not None
    candidates.ppl[0] = 1e6
    by_scale = [
        SAMPLE_PRUNERS["q-tuning"](candidates, PruningArguments(error_scale=scale)).side
        for scale in ("ppl", "log_ppl")
    ]
    assert not torch.equal(*by_scale)
    coarse = SAMPLE_PRUNERS["q-tuning"](candidates, PruningArguments(bisect_steps=1))
    assert coarse.thresholds.alpha == pytest.approx(0.245)


@pytest.mark.parametrize(
    ("quadrant", "filled", "side", "fill_tokens", "pruned"),
    [
        (Q2, False, 0.3, "whole", True),
        (Q4, False, -0.3, "whole", False),
        (Q2, False, 0.3, "side", True),
        (Q4, False, 0.3, "side", False),
        (BAND, False, 0.0, "whole", True),  # chosen without the plane
        *((quadrant, True, 0.3, "whole", False) for quadrant in (BAND, Q1, Q3)),
        *((quadrant, True, 0.3, "side", True) for quadrant in (BAND, Q1, Q3)),
        (Q1, True, -0.3, "side", False),
        (Q3, True, 0.0, "side", False),
    ],
)
def test_q_tuning_prunes_the_tokens_of_misconceptions_only(
    quadrant, filled, side, fill_tokens, pruned
):
    one = sample(12, quadrant=quadrant, filled=filled, side=side)
    (mask,) = prune_tokens("q-tuning", one, fill_tokens=fill_tokens)
    assert int(mask.sum()) == (6 if pruned else 12)


@pytest.mark.parametrize("switches", [{}, {"neighbor_lambda": 0.0}, {"neighbor_mean": True}])
def test_q_tuning_ranks_tokens_by_the_smoothed_score_with_every_switch(switches):
    one = sample(40, protected=(39,))
    (mask,) = prune_tokens("q-tuning", one, token_ratio=0.3, **switches)
    expected = keep_tokens(one.nll, 0.3, protected=one.protected, **switches)
    assert torch.equal(mask, expected)


def test_q_tuning_gives_every_sample_its_own_mask_in_the_order_of_the_pool():
    samples = [
        sample(9, quadrant=Q2),
        sample(5, quadrant=Q4),
        sample(30, quadrant=Q2),
        replace(sample(7, quadrant=Q2), nll=None),
        sample(1, quadrant=Q2),
    ]
    masks = prune_tokens("q-tuning", *samples, token_ratio=0.3)
    for i in (0, 2, 4):
        expected = keep_tokens(samples[i].nll, 0.3, protected=samples[i].protected)
        assert torch.equal(masks[i], expected)
    assert bool(masks[1].all())
    assert [len(mask) for mask in masks] == [9, 5, 30, 7, 1]
    assert bool(masks[3].all())  # nothing to rank by
