"""What pruners ask for beyond NLL and entropy, against models that are asked for all they know."""

import pytest
import torch
from torch import Tensor

from qtuning.core.attention import prompt_attention, raters, received_attention
from qtuning.core.logit_stats import logit_stats
from qtuning.errors import UsageError
from qtuning.examples.example import answer_positions
from qtuning.pruners.protocols import (
    ATTENTION,
    EL2N,
    LOGITS,
    PROMPT_ATTENTION,
    RATER_ATTENTION,
    RECEIVED_ATTENTION,
    SCORES,
)
from qtuning.signals.layer_attention import LastAttention

from .. import tiny
from ..architectures import build, padded
from .test_scorer import EXAMPLES, count_forwards, counted, scorer

pytestmark = pytest.mark.usefixtures("one_thread")

WITH_ATTENTION = ["llama", "qwen3", "gemma2", "gemma3", "granite", "cohere", "phi", "mixtral"]


def whole_attention(model, sample) -> tuple[Tensor, Tensor]:
    """Mean attention and input states of the last layer, by the model's own eager path."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    ids = torch.tensor([sample["input_ids"]])
    seen = []
    layer = model.base_model.layers[-1]
    name = "self_attn" if hasattr(layer, "self_attn") else "attention"
    handle = getattr(layer, name).register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(args[0] if args else kwargs["hidden_states"]),
        with_kwargs=True,
    )
    with torch.no_grad():
        out = model(ids, output_attentions=True)
    handle.remove()
    model.set_attn_implementation(before)
    return out.attentions[-1][0].float().mean(0), seen[0][0]


@pytest.mark.parametrize("name", WITH_ATTENTION)
@pytest.mark.parametrize("side", ["left", "right"])
def test_attention_is_that_of_the_whole_model(name, side):
    model = build(name).eval()
    before = model.config._attn_implementation
    # Nothing predicts the first token, whichever side is padded.
    samples = counted([{**s, "labels": [-100, *s["labels"][1:]]} for s, _ in EXAMPLES])
    needs = frozenset({SCORES, *ATTENTION})
    given = scorer(lambda some: padded(list(some), side), needs=needs, overhead=20)
    scores = given(model, model, samples)
    assert model.config._attn_implementation == before, "the model's own kernel is back"
    for (sample, _), one in zip(samples, scores, strict=True):
        attention, hidden = whole_attention(model, sample)
        answers = answer_positions(sample["labels"])
        expected = {
            PROMPT_ATTENTION: prompt_attention(attention, answers),
            RECEIVED_ATTENTION: received_attention(attention, answers),
            RATER_ATTENTION: received_attention(attention, answers, raters(hidden, answers)),
        }
        assert one.extras.keys() == expected.keys()
        for what, values in expected.items():
            torch.testing.assert_close(one.extras[what], values, rtol=1e-4, atol=1e-5)


def test_padding_free_attention_stays_within_a_sample():
    sft_trainer = pytest.importorskip("trl.trainer.sft_trainer")
    collator = sft_trainer.DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)
    model = tiny.llama().eval()
    needs = frozenset({SCORES, RECEIVED_ATTENTION})
    flat = scorer(collator, needs=needs, overhead=20)(model, model, EXAMPLES)
    rows = scorer(needs=needs)(model, model, EXAMPLES)
    for a, b in zip(flat, rows, strict=True):
        torch.testing.assert_close(a.extras, b.extras, rtol=1e-4, atol=1e-5)


def test_attention_through_an_adapter():
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(tiny.llama(), LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))
    needs = frozenset({SCORES, PROMPT_ATTENTION})
    plain = tiny.llama().eval()
    a = scorer(needs=needs)(model, model, EXAMPLES)  # a fresh adapter changes nothing
    b = scorer(needs=needs)(plain, plain, EXAMPLES)
    for one, other in zip(a, b, strict=True):
        torch.testing.assert_close(one.extras, other.extras, rtol=1e-4, atol=1e-5)


def test_a_model_without_readable_attention_is_refused():
    model = build("gpt2")
    with pytest.raises(UsageError, match="GPT2LMHeadModel's last layer cannot be read"):
        LastAttention(model)


def test_logits_of_each_answer():
    model = build("gemma2").eval()  # with a soft cap
    scores = scorer(needs=frozenset({SCORES, LOGITS}), overhead=20)(model, model, EXAMPLES)
    for (sample, _), one in zip(EXAMPLES, scores, strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([sample["input_ids"]])).logits[0].float()
        rows = logits[answer_positions(sample["labels"]) - 1]
        expected = torch.linalg.svdvals(rows.double()).sum().float()
        torch.testing.assert_close(one.extras[LOGITS][0], expected, rtol=1e-3, atol=1e-2)
        identity = torch.eye(rows.shape[1])
        sketch = logit_stats(rows, identity).sketch
        torch.testing.assert_close(one.extras[LOGITS][1:], sketch, rtol=1e-3, atol=0.5)


def test_error_norm_of_each_answer():
    model = build("gemma2").eval()
    scores = scorer(needs=frozenset({SCORES, EL2N}), overhead=20)(model, model, EXAMPLES)
    for (sample, _), one in zip(EXAMPLES, scores, strict=True):
        with torch.no_grad():
            p = model(torch.tensor([sample["input_ids"]])).logits[0].double().softmax(-1)
        answers = answer_positions(sample["labels"])
        truth = torch.nn.functional.one_hot(torch.tensor(sample["labels"])[answers], p.shape[1])
        expected = (p[answers - 1] - truth).norm(dim=1).mean()[None].float()
        torch.testing.assert_close(one.extras[EL2N], expected, rtol=1e-4, atol=1e-5)


def test_nothing_is_computed_that_nobody_asked_for():
    model = tiny.llama()
    forwards = count_forwards(model.model)
    (plain,) = scorer()(model, model, EXAMPLES[:1])
    assert plain.extras == {}
    made = len(forwards)
    scorer(needs=frozenset({SCORES, PROMPT_ATTENTION, LOGITS}))(model, model, EXAMPLES[:1])
    assert len(forwards) == 2 * made, "extras come from the same forward"


def test_the_gradient_graph_and_the_mode_are_left_alone():
    model = tiny.llama().train()
    scores = scorer(needs=frozenset({SCORES, *ATTENTION, LOGITS}))(model, model, EXAMPLES)
    assert model.training
    assert not any(v.requires_grad for one in scores for v in one.extras.values())
