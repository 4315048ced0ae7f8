"""In a scoring pass the host waits once: for the copy at its end."""

import pytest
import torch
from torch import Tensor

from qtuning.core.cuda_head import head_stats, plain_fold
from qtuning.pruners.protocols import CONFIDENCE, EL2N, SCORES
from qtuning.signals import extras as extras_module

from .. import tiny
from ..architectures import padded
from .test_scorer import EXAMPLES, scorer
from .waits import OnDevice, Waits, on_device

pytestmark = pytest.mark.usefixtures("one_thread")

# Each makes the host wait once, as something may that comes into the pass by mistake.
WAITING = {
    "int": lambda h: int(h.argmax()),
    "item": lambda h: h.sum().item(),
    "bool": lambda h: bool(h.isnan().any()),
    "float": lambda h: float(h[0, 0]),
    "nonzero": lambda h: (h > 0).nonzero(),
    "read by a mask": lambda h: h[h > 0],
    "written by a mask": lambda h: h.clone().__setitem__(h > 0, 0.0),
    "masked_select": lambda h: h.masked_select(h > 0),
    "cpu": lambda h: h.cpu(),
    "to": lambda h: h.to("cpu"),
    "tolist": lambda h: h.tolist(),
}


def waits(needs: frozenset[str] = frozenset({SCORES}), batches: int = 2) -> Waits:
    """Count in a pass over several batches, after a first pass that checks the head."""
    # transformers looks at the mask of every batch, unless attention is eager.
    model = tiny.llama(attn_implementation="eager").eval()
    score = scorer(batch_size=4 // batches, needs=needs)
    score(model, model, EXAMPLES)
    expected = score(model, model, EXAMPLES)
    score.to_device = on_device
    passes: list[int] = []
    model.base_model.register_forward_pre_hook(lambda *_: passes.append(1))
    with Waits() as found:
        made = score(model, model, EXAMPLES)
    assert len(passes) >= batches
    for one, other in zip(made, expected, strict=True):
        assert type(one.nll) is Tensor, "the scores are on the host"
        assert torch.equal(one.nll, other.nll)
        torch.testing.assert_close(one.extras, other.extras)
    return found


@pytest.mark.parametrize("batches", [1, 2, 4])
def test_the_host_waits_once_for_all_batches(batches: int) -> None:
    assert waits(batches=batches).found == {"cpu to the host": 1}


@pytest.mark.parametrize("needs", [{EL2N}, {CONFIDENCE}, {EL2N, CONFIDENCE}])
def test_and_once_with_extras(needs: set[str]) -> None:
    assert waits(frozenset({SCORES, *needs})).found == {"cpu to the host": 1}


@pytest.mark.parametrize("how", WAITING)
def test_one_more_is_seen(how: str, monkeypatch) -> None:
    own = extras_module.answer_stats

    def waiting(hidden: Tensor, *args, **options) -> Tensor:
        WAITING[how](hidden)
        return own(hidden, *args, **options)

    monkeypatch.setattr(extras_module, "answer_stats", waiting)
    assert waits(batches=2).found.total() > 1


def test_the_head_of_cuda_does_not_wait() -> None:
    hidden, weight, gold = torch.randn(70, 8), torch.randn(31, 8), torch.randint(31, (70,))

    def fold(logits: Tensor, gold: Tensor, out: Tensor) -> None:
        assert type(gold) is OnDevice
        plain_fold(on_device(logits), gold, on_device(out))

    args = map(on_device, (hidden, weight, gold))
    with Waits() as found:
        stats = on_device(head_stats(*args, more=True, tile_bytes=1, fold=fold))
        extras = extras_module.extras_of_head(stats, [30, 40], frozenset({EL2N, CONFIDENCE}))
    assert found.found == {}
    assert type(extras[0][EL2N]) is OnDevice


def test_extras_of_the_head_of_cuda_are_those_of_passes_of_their_own() -> None:
    model = tiny.llama().eval()
    needs = frozenset({SCORES, EL2N, CONFIDENCE})
    scores = scorer(needs=needs)(model, model, EXAMPLES)
    for (sample, n), one in zip(EXAMPLES, scores, strict=True):
        batch = padded([sample])
        with torch.no_grad():
            hidden = model.base_model(batch["input_ids"])[0][0]
        labels = batch["labels"][0, 1:]
        answers, gold = hidden[:-1][labels != -100], labels[labels != -100]
        stats = head_stats(answers, model.lm_head.weight, gold, more=True)
        (extras,) = extras_module.extras_of_head(stats, [n], needs)
        assert extras.keys() == one.extras.keys()
        torch.testing.assert_close(extras, one.extras, rtol=1e-4, atol=1e-5)
        assert not extras_module.extras_of_head(stats[:2], [n], frozenset({SCORES}))[0]
