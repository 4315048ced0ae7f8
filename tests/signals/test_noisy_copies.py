"""Noisy copies: selective IFD against a forward by hand, and what the noise depends on."""

import math
import random

import pytest
import torch

from qtuning.core.seeds import seeded_generator
from qtuning.core.selective_ifd import selective_ifd
from qtuning.examples.names import content_name
from qtuning.signals.noisy_copies import Noise, score_noisy_copies
from qtuning.signals.without_prompt import score_alone

from .. import tiny
from ..architectures import padded
from .test_scorer import scorer
from .test_without_prompt import ALONE, EXAMPLES, with_answers

pytestmark = pytest.mark.usefixtures("one_thread")
# Places in each whole example of what its answer alone has.
PLACES = [[2, 3, 4], [1, 2, 3, 5, 6, 7, 8], [1, 2]]


def noisy_nll(model, ids, noise, places) -> torch.Tensor:
    embeddings = model.get_input_embeddings()(torch.tensor([ids])) + noise[None]
    logits = model(inputs_embeds=embeddings).logits[0].double().log_softmax(-1)
    return torch.stack([-logits[place - 1, ids[place]] for place in places])


def by_hand(model, number: int, noise: Noise, copy: int) -> float:
    ids, labels = EXAMPLES[number]["input_ids"], EXAMPLES[number]["labels"]
    width = model.config.hidden_size
    generator = seeded_generator(noise.seed, "noise", copy, content_name({"input_ids": ids}))
    draw = 2 * torch.rand(len(ids), width, generator=generator) - 1
    values = draw * noise.alpha / math.sqrt(len(ids) * width)
    answers = [i for i, label in enumerate(labels) if label != -100]
    part, counting = ALONE[number]
    with torch.no_grad():
        given = noisy_nll(model, ids, values, answers)
        alone = noisy_nll(model, part, values[PLACES[number]], counting)
    return float(selective_ifd(given, alone))


@pytest.mark.parametrize("side", ["left", "right"])
def test_mean_and_deviation_are_those_of_copies_made_by_hand(side):
    model, noise = tiny.llama().eval(), Noise(3, alpha=5.0, seed=7)
    found = score_noisy_copies(
        scorer(lambda some: padded(some, side)), model, with_answers(), noise
    )
    assert found[-1] is None, "it has no prompt"
    for number, spread in enumerate(found[:-1]):
        values = torch.tensor([by_hand(model, number, noise, copy) for copy in range(3)])
        assert spread.mean == pytest.approx(float(values.mean()), rel=1e-4)
        assert spread.deviation == pytest.approx(float(values.std(correction=0)), rel=1e-3)
        assert spread.deviation > 0


def test_the_noise_depends_on_the_seed_and_the_sample_alone():
    model = tiny.llama().eval()
    noise = Noise(2, seed=1)
    torch.manual_seed(1)
    random.seed(1)
    first = score_noisy_copies(scorer(), model, with_answers(), noise)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    again = [score_noisy_copies(scorer(), model, [one], noise)[0] for one in with_answers()]
    assert torch.equal(torch.get_rng_state(), before)
    for a, b in zip(first[:-1], again[:-1], strict=True):
        assert b == pytest.approx(a, rel=1e-4), "whatever shares the pass"
    other = score_noisy_copies(scorer(), model, with_answers(), Noise(2, seed=2))
    assert other[0].mean != first[0].mean


def test_next_to_no_noise_gives_the_value_without_and_the_model_is_left_as_it_was():
    model = tiny.llama().eval()
    plain = scorer()
    examples = with_answers()
    (spread, *_) = score_noisy_copies(plain, model, examples, Noise(2, alpha=1e-6))
    (given, *_) = plain(model, model, [(e, len(a)) for e, a in examples])
    (alone, *_) = score_alone(plain, model, model, examples)
    assert spread.mean == pytest.approx(float(selective_ifd(given.nll, alone.nll)), rel=1e-4)
    assert spread.deviation == pytest.approx(0.0, abs=1e-4)
    assert not model.get_input_embeddings()._forward_hooks
    (later, *_) = plain(model, model, [(e, len(a)) for e, a in examples])
    assert torch.equal(later.nll, given.nll)
    assert set(EXAMPLES[0]) == {"input_ids", "labels"}, "nor do examples keep a mark"


def test_without_rows_nothing_is_done():
    assert score_noisy_copies(scorer(), tiny.llama().eval(), [], Noise(1)) == []
