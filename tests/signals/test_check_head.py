import os
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch
import transformers
from transformers import LlamaForCausalLM, PreTrainedModel

from qtuning.errors import UsageError
from qtuning.signals.forward import (
    check_head,
    model_token_stats,
)

from .. import tiny
from ..architectures import ARCHITECTURES, VOCABULARY, build
from .naive_forward import (
    IDS,
    Wrapper,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("way", ["float32", "bf16 weights", "autocast"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_check_passes_on_known_architectures(name: str, way: str) -> None:
    model = build(name)
    if way == "bf16 weights":
        model.bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=way == "autocast"):
        check_head(model, IDS[:, :8])


class ScaledLlama(LlamaForCausalLM):
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        out = super().forward(*args, **kwargs)
        out.logits = out.logits * 3
        return out


class CappedLlama(LlamaForCausalLM):
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        out = super().forward(*args, **kwargs)
        out.logits = out.logits.tanh()
        return out


class TransformedLlama(LlamaForCausalLM):
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        out = super().forward(*args, **kwargs)
        out.logits = out.logits.flip(-1)
        return out


@pytest.mark.parametrize("model_class", [ScaledLlama, CappedLlama, TransformedLlama])
def test_check_refuses_a_model_that_shapes_its_logits_unbeknown_to_the_config(
    model_class: type[LlamaForCausalLM],
) -> None:
    model = model_class(tiny.llama().config).eval()
    model.load_state_dict(tiny.llama().state_dict())
    check_head(tiny.llama().eval(), IDS[:, :8])
    with pytest.raises(UsageError, match=f"{model_class.__name__} does something"):
        check_head(model, IDS[:, :8])


def test_check_refuses_a_head_of_several_layers() -> None:
    config = transformers.BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=4,
        is_decoder=True,
        initializer_range=0.3,
    )
    with pytest.raises(UsageError, match="BertLMHeadModel does something"):
        check_head(transformers.BertLMHeadModel(config).eval(), IDS[:, :8])


def test_check_lets_a_diverged_model_pass() -> None:
    model = build("llama")
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    check_head(model, IDS)


# Models that have no such head


def without_head() -> PreTrainedModel:
    return tiny.llama().base_model


def with_another_head() -> PreTrainedModel:
    return transformers.LlamaForSequenceClassification(tiny.llama().config)


def encoder_decoder(family: str) -> PreTrainedModel:
    config = getattr(transformers, f"{family}Config")(
        vocab_size=VOCABULARY,
        d_model=32,
        num_hidden_layers=1,
        **(
            {"num_layers": 1, "num_heads": 4, "d_kv": 8, "d_ff": 32}
            if family == "T5"
            else {
                "encoder_layers": 1,
                "decoder_layers": 1,
                "encoder_attention_heads": 4,
                "decoder_attention_heads": 4,
                "encoder_ffn_dim": 32,
                "decoder_ffn_dim": 32,
            }
        ),
    )
    return getattr(transformers, f"{family}ForConditionalGeneration")(config)


@pytest.mark.parametrize(
    "make",
    [
        without_head,
        with_another_head,
        pytest.param(lambda: encoder_decoder("T5"), id="t5"),
        pytest.param(lambda: encoder_decoder("Bart"), id="bart"),
    ],
)
@pytest.mark.parametrize("through", ["backbone", "wrapped"])
def test_models_without_backbone_or_head_are_refused(make: Any, through: str) -> None:
    model = make().eval()
    wrapped = Wrapper(model) if through == "wrapped" else None
    with pytest.raises(UsageError, match=f"{type(model).__name__} cannot be scored"):
        model_token_stats(model, {"input_ids": IDS, "labels": IDS}, wrapped=wrapped)
