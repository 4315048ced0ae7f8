"""What every token weighter promises, and how one is found."""

import importlib
import re
import sys
from dataclasses import fields
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from qtuning import TOKEN_WEIGHTERS, PruningArguments, TokenBatch, UsageError, Weighed
from qtuning.core.token_loss import token_losses
from qtuning.pruners.protocols import BASE
from qtuning.weighters.checked import checked_weights
from qtuning.weighters.protocols import BASE_TAIL, ENTROPY, NEEDS, NLL, TOP
from qtuning.weighters.registry import resolve_token_weighter, weighter_of

from ..pruners.test_pruners import same_again
from .naive import IDS, OPTIONS, rule

V = 50
every = pytest.mark.parametrize(("name", "options"), OPTIONS, ids=IDS)
each = pytest.mark.parametrize("name", TOKEN_WEIGHTERS)


def logits(n: int, seed: int, spread: float = 2.0) -> Tensor:
    return spread * torch.randn(n, V, generator=torch.Generator().manual_seed(seed))


def batch_of(now: Tensor, base: Tensor, gold: Tensor, needs=NEEDS) -> TokenBatch:
    """What a weighter is given of tokens with these logits."""
    logp, base_logp = now.log_softmax(-1), base.log_softmax(-1)
    own = base_logp.gather(1, gold[:, None])
    values = {
        NLL: ("nll", -logp.gather(1, gold[:, None])[:, 0]),
        ENTROPY: ("entropy", -(logp.exp() * logp).sum(-1)),
        TOP: ("top", now.topk(20).values),
        BASE: ("base_nll", -own[:, 0]),
        BASE_TAIL: ("base_tail", (base_logp.exp() * (base_logp <= own)).sum(-1)),
    }
    n = len(gold)
    lengths = [n - n // 2, n // 2]
    read = {field: value for need, (field, value) in values.items() if need in needs}
    return TokenBatch(gold, lengths, ["a", "b"], 3, 0.5, **read)


def case(n: int = 40, seed: int = 0):
    gold = torch.randint(0, V, (n,), generator=torch.Generator().manual_seed(seed))
    return logits(n, seed + 1), logits(n, seed + 2), gold


def weigh(name, options, now, base, gold) -> Weighed:
    args = PruningArguments(token_weight=name, **options)
    weighter = resolve_token_weighter(name)
    needs = (weighter_of(args) or weighter).needs
    return checked(weighter, args, batch_of(now, base, gold, needs))


def checked(weighter, args, tokens) -> Weighed:
    made = weighter(tokens, args)
    is_before = isinstance(made, Weighed) and made.masks
    return checked_weights(made, len(tokens), 1, before=is_before)


@every
def test_a_weighter_follows_its_publication(name, options) -> None:
    made = weigh(name, options, *case())
    args = PruningArguments(token_weight=name, **options)
    now, base, gold = case()
    weights, losses, masks = rule(name, args, now, base, gold)
    torch.testing.assert_close(made.weights.double(), weights, rtol=1e-4, atol=1e-6)
    nll = -now.double().log_softmax(-1).gather(1, gold[:, None])[:, 0]
    mine = made.weights * nll if made.losses is None else made.losses.double()
    torch.testing.assert_close(mine, losses, rtol=1e-4, atol=1e-6)
    assert made.masks == masks
    assert name == "none" or options == {"power_q": 0.0} or len(set(weights.tolist())) > 1, (
        "the case tells tokens apart"
    )


@every
def test_a_weighter_depends_on_its_tokens_alone_and_leaves_them_as_they_are(name, options) -> None:
    now, base, gold = case()
    tokens = batch_of(now, base, gold)
    parts = [vars(tokens)[one.name] for one in fields(tokens)]
    before = [part.clone() for part in parts if isinstance(part, Tensor)]
    args = PruningArguments(token_weight=name, **options)
    weighter = resolve_token_weighter(name)
    same_again(lambda: [checked(weighter, args, tokens).weights])
    parts = [part for part in parts if isinstance(part, Tensor)]
    assert all(torch.equal(a, b) for a, b in zip(parts, before, strict=True))


@every
def test_a_token_weighs_the_same_whoever_is_beside_it(name, options) -> None:
    now, base, gold = case()
    whole = weigh(name, options, now, base, gold).weights
    places = [0, 7, 16, 40]
    parts = [
        weigh(name, options, now[a:b], base[a:b], gold[a:b]).weights for a, b in pairwise(places)
    ]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-6, atol=1e-7)


@every
@pytest.mark.parametrize("spread", [0.0, 1e3])
def test_weights_are_finite_and_not_negative_however_sure_the_model_is(name, options, spread):
    n = 40
    gold = torch.arange(n)
    weights = weigh(name, options, logits(n, 1, spread), logits(n, 2, spread), gold).weights
    assert weights.shape == (n,)
    assert bool(weights.isfinite().all())
    assert bool((weights >= 0).all())


@every
def test_no_token_has_no_weight(name, options) -> None:
    now, base, gold = case()
    assert weigh(name, options, now[:0], base[:0], gold[:0]).weights.shape == (0,)


def test_a_bad_loss_is_seen_in_the_weights_of_what_reads_it() -> None:
    now, base, gold = case()
    now[3, 4] = float("nan")
    for name in ("dft", "eaft", "power"):
        assert not bool(weigh(name, {"power_tau": 0.5}, now, base, gold).weights.isfinite().all())


@every
def test_what_is_not_needed_is_not_read(name, options) -> None:
    now, base, gold = case()
    everything = batch_of(now, base, gold)
    args = PruningArguments(token_weight=name, **options)
    weighter = resolve_token_weighter(name)
    mine = weigh(name, options, now, base, gold).weights  # given no more than it needs
    assert torch.equal(mine, checked(weighter, args, everything).weights)


def test_power_reads_as_dft_in_its_gradient_and_as_the_nll_at_0() -> None:
    made, dft = weigh("power", {}, *case()), weigh("dft", {}, *case())
    torch.testing.assert_close(made.weights, dft.weights)
    small = weigh("power", {"power_q": 1e-6}, *case())
    zero = weigh("power", {"power_q": 0.0}, *case())
    torch.testing.assert_close(small.losses, zero.losses, rtol=1e-4, atol=1e-5)


def test_eaft_by_hand() -> None:
    """Logits whose 20 highest have known entropies, as each program weighs them.

    Four of 20 equal, the others out of reach: ln 4 nats. Two of them: ln 2. One: 0.
    """
    gone = -1e4
    rows = torch.full((4, 30), gone)
    rows[0, :20] = 0.0
    rows[1, :4] = 1.0
    rows[2, 3:5] = -2.0
    rows[3, 7] = 5.0
    gold = torch.zeros(4, dtype=torch.long)
    top = token_losses(rows, torch.eye(30), gold, top=20).top
    tokens = TokenBatch(gold, [4], ["a"], 1, top=top)

    def weights(**options):
        args = PruningArguments(token_weight="eaft", **options)
        return TOKEN_WEIGHTERS["eaft"](tokens, args).tolist()

    paper = [1.0, 0.46275643, 0.23137821, 0.0]  # over ln 20 = 2.99573227
    assert weights() == pytest.approx(paper, abs=1e-6)
    llamafactory = [0.99857742, 0.46209812, 0.23104906, 0.0]  # over 3
    assert weights(eaft_form="llamafactory") == pytest.approx(llamafactory, abs=1e-6)
    squared = [0.99715687, 0.21353467, 0.05338367, 0.0]
    squares = weights(eaft_form="llamafactory", eaft_exponent=2.0)
    assert squares == pytest.approx(squared, abs=1e-6)
    axolotl = [2.99573227, 1.38629436, 0.69314718, 0.0]
    assert weights(eaft_form="axolotl") == pytest.approx(axolotl, abs=1e-6)
    assert weights(eaft_exponent=0.0) == [1.0] * 4


def test_prift_and_stm_by_hand() -> None:
    p = torch.tensor([0.5, 0.25, 0.125, 0.125])
    tails = torch.tensor([1.0, 0.5, 0.25, 0.25])
    tokens = TokenBatch(torch.arange(4), [4], ["a"], 1, base_nll=-p.log(), base_tail=tails)
    args = PruningArguments
    prob = TOKEN_WEIGHTERS["prift"](tokens, args())
    assert prob.tolist() == pytest.approx([0.5, 0.25, 0.125, 0.125])
    mass = TOKEN_WEIGHTERS["prift"](tokens, args(prift_form="mass"))
    assert mass.weights.tolist() == [1.0, 1.0, 0.0, 0.0]
    perplexities = [2.0, 4.0, 8.0, 8.0]
    for threshold in (2.5, 5.0, 10.0):
        masked = TOKEN_WEIGHTERS["stm"](tokens, args(stm_threshold=threshold))
        assert masked.weights.tolist() == [float(one <= threshold) for one in perplexities]


def test_prift_reads_no_more_than_its_form_asks_for() -> None:
    for form, needs in (("prob", {BASE}), ("mass", {BASE_TAIL})):
        assert weighter_of(PruningArguments(token_weight="prift", prift_form=form)).needs == needs


# How one is found


@each
def test_every_weighter_has_a_card_that_says_what_the_loss_is_divided_by(name) -> None:
    card = importlib.import_module(type(TOKEN_WEIGHTERS[name]).__module__).__doc__
    assert card.startswith(f"Token weighter ``{name}``.")
    headings = re.findall(r"^(\w+): ", card, flags=re.MULTILINE)
    assert headings == ["What", "Cost", "When", "Source", "Differs"]
    assert re.search("divided\\s+by\\s+the\\s+number", card, flags=re.IGNORECASE)


@each
def test_a_registered_name_is_found_and_needs_what_can_be_met(name) -> None:
    assert resolve_token_weighter(name) is TOKEN_WEIGHTERS[name]
    assert TOKEN_WEIGHTERS[name].needs <= NEEDS
    assert (weighter_of(PruningArguments(token_weight=name)) is None) == (name == "none")


def test_an_unknown_name_is_refused_with_similar_ones() -> None:
    with pytest.raises(UsageError, match="unknown token_weight 'etaf': did you mean eaft"):
        PruningArguments(token_weight="etaf")


def own(tokens, args):
    return torch.ones(len(tokens))


def test_an_own_weighter_is_a_function_a_class_or_an_import_path(tmp_path, monkeypatch) -> None:
    (tmp_path / "my_weighters.py").write_text("def ones(tokens, args):\n    return tokens\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_weighters", raising=False)
    assert resolve_token_weighter(own).needs == {NLL, ENTROPY}
    assert resolve_token_weighter("my_weighters:ones")("tokens", None) == "tokens"
    with pytest.raises(UsageError, match=r"token_weight.*cannot import 'no_such'"):
        resolve_token_weighter("no_such:one")
    with pytest.raises(UsageError, match="token_weight 3 is neither"):
        resolve_token_weighter(3)
    arguments = PruningArguments(token_weight=own)
    assert arguments.to_dict()["token_weight"] == repr(own)


@pytest.mark.parametrize("needs", [{"scores"}, "nll", 3])
def test_needs_that_nobody_can_meet_are_refused(needs) -> None:
    def demanding(tokens, args):
        return tokens

    demanding.needs = needs
    with pytest.raises(UsageError, match="its needs are"):
        PruningArguments(token_weight=demanding)


@pytest.mark.parametrize(
    ("made", "before", "why"),
    [
        (torch.ones(2), False, r"shape \(3,\)"),
        (torch.ones(3, 1), True, r"shape \(3,\)"),
        ([1.0, 1.0, 1.0], True, r"shape \(3,\)"),
        (None, False, r"step 7: token_weight must return"),
        (Weighed(torch.ones(3), torch.ones(2)), False, r"shape \(3,\)"),
        (Weighed(torch.ones(3), torch.ones(3)), True, "add nll to its needs"),
        (Weighed(torch.ones(3), masks=True), False, "leave masks out"),
    ],
)
def test_what_a_weighter_must_not_return_is_refused_in_one_line(made, before, why) -> None:
    with pytest.raises(UsageError, match=why) as told:
        checked_weights(made, 3, 7, before=before)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"eaft_form": "third"}, "eaft_form must be one of paper, llamafactory, axolotl"),
        ({"power_side": "under"}, "power_side must be one of"),
        ({"prift_form": "rank"}, "prift_form must be one of"),
        ({"eaft_exponent": -1.0}, "eaft_exponent must lie in"),
        ({"eaft_exponent": float("nan")}, "eaft_exponent must lie in"),
        ({"power_q": float("inf")}, "power_q must lie in"),
        ({"power_q": "1"}, "power_q must be a number"),
        ({"power_tau": 1.5}, "power_tau must lie in"),
        ({"power_side": "below"}, "raise power_tau"),
        ({"stm_threshold": 0.5}, "stm_threshold must lie in"),
        ({"stm_threshold": True}, "stm_threshold must be a number"),
        ({"token_weight": "stm", "one_pass": True, "pool_scope": "micro"}, "turn one_pass off"),
    ],
    ids=str,
)
def test_options_out_of_range_are_refused(options, why) -> None:
    with pytest.raises(UsageError, match=why) as told:
        PruningArguments(**options)
    assert "\n" not in str(told.value)
