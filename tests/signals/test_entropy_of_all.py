"""The mean entropy over all positions of a sample, against the model's own logits."""

import pytest
import torch

from qtuning.examples.candidate import ENTROPY_ALL
from qtuning.examples.labels import Labels
from qtuning.pruners.protocols import EL2N, SCORES

from .. import architectures, tiny
from ..architectures import padded
from .test_scorer import EXAMPLES, counted, scorer

pytestmark = pytest.mark.usefixtures("one_thread")
SAMPLES = counted([{**s, "labels": [-100, *s["labels"][1:]]} for s, _ in EXAMPLES])


@torch.no_grad()
def naive(model, example) -> float:
    """Every position of the sample, the prompt's and the last as well, in float64."""
    logp = model(torch.tensor([example["input_ids"]])).logits[0].double().log_softmax(-1)
    assert len(logp) == len(example["input_ids"])
    return float(-(logp.exp() * logp).sum(-1).mean())


@pytest.mark.parametrize("name", ["llama", "gemma2", "granite"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_it_is_that_of_the_whole_sample(name, side):
    model = architectures.build(name).eval()
    given = scorer(lambda some: padded(list(some), side), needs=frozenset({SCORES, ENTROPY_ALL}))
    plain = scorer(lambda some: padded(list(some), side), needs=frozenset({SCORES}))
    gaps = []
    for (example, n), one, other in zip(
        SAMPLES, given(model, model, SAMPLES), plain(model, model, SAMPLES), strict=True
    ):
        assert one.extras[ENTROPY_ALL].shape == (1,)
        assert float(one.extras[ENTROPY_ALL]) == pytest.approx(naive(model, example), abs=1e-5)
        gaps.append(abs(float(one.extras[ENTROPY_ALL]) - float(one.entropy.mean())))
        assert torch.equal(one.nll, other.nll), "what it adds changes nothing else"
        assert torch.equal(one.entropy, other.entropy)
        assert one.nll.dtype == torch.float32
        assert not other.extras, "what is not asked for is not there"
        assert len(one.nll) == n
    assert max(gaps) > 1e-3, "it is another number than that of the answer"


def test_so_it_is_without_padding_and_beside_other_statistics():
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    model = tiny.llama().eval()
    collate = Labels(DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)).collate
    rows = [{"input_ids": s["input_ids"], "labels": s["labels"]} for s, _ in SAMPLES]
    given = scorer(collate, needs=frozenset({SCORES, EL2N, ENTROPY_ALL}), overhead=1000)
    for (example, _), one in zip(SAMPLES, given(model, model, counted(rows)), strict=True):
        assert set(one.extras) == {EL2N, ENTROPY_ALL}
        assert float(one.extras[ENTROPY_ALL]) == pytest.approx(naive(model, example), abs=1e-4)
