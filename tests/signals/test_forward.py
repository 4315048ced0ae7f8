"""Statistics out of Hugging Face models: every way gives what the model's own logits give."""

import copy
import importlib.util
import os
from contextlib import nullcontext
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaForCausalLM, PreTrainedModel

from qtuning.errors import UsageError
from qtuning.signals.forward import (
    LogitShape,
    causal_lm_of,
    check_head,
    model_token_stats,
)

from .. import tiny
from ..architectures import ARCHITECTURES, UNSHAPED, build, examples, padded
from .naive_forward import (
    IDS,
    WITH_ATTENTION,
    Wrapper,
    answers,
    assert_same,
    difference,
    from_logits,
    naive,
    one_by_one,
)

pytestmark = pytest.mark.usefixtures("one_thread")

# Against the model's own logits


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_statistics_are_those_of_the_models_own_logits(name: str) -> None:
    model, batch = build(name), padded(examples())
    stats = model_token_stats(model, batch)
    assert_same(stats, naive(model, batch))
    assert torch.equal(stats.mask, batch["labels"][:, 1:] != -100)
    assert stats.nll.dtype == stats.entropy.dtype == torch.float32
    # A uniform model would agree however its logits were scaled.
    assert stats.nll[stats.mask].std() > 0.3


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name in UNSHAPED])
def test_scale_and_softcap_matter_and_follow_the_config(name: str) -> None:
    shaped, plain = build(name), build(name, **UNSHAPED[name])
    plain.load_state_dict(shaped.state_dict())
    batch = padded(examples())
    assert LogitShape.of(plain) == LogitShape(softcap=None, scale=1.0) != LogitShape.of(shaped)
    stats, without = model_token_stats(shaped, batch), model_token_stats(plain, batch)
    assert_same(without, naive(plain, batch))
    assert difference(stats, without) > 0.1


def test_bias_of_the_head_matters() -> None:
    model, batch = build("phi"), padded(examples())
    stats = model_token_stats(model, batch)
    nn.init.zeros_(model.get_output_embeddings().bias)
    assert difference(stats, model_token_stats(model, batch)) > 0.1


def test_batch_is_left_as_it_is_and_no_graph_is_kept() -> None:
    model, batch = build("llama"), padded(examples())
    before = copy.deepcopy(batch)
    stats = model_token_stats(model, batch)
    assert batch.keys() == before.keys()
    assert all(torch.equal(batch[key], before[key]) for key in batch)
    assert not stats.nll.requires_grad
    assert not stats.entropy.requires_grad


@pytest.mark.parametrize("through", ["backbone", "wrapped"])
def test_what_only_the_loss_takes_does_not_reach_the_model(through: str) -> None:
    model, batch = build("llama"), padded(examples())
    expected, seen = model_token_stats(model, batch), set()
    for module in (model, model.base_model):
        module.register_forward_pre_hook(lambda _, a, kwargs: seen.update(kwargs), with_kwargs=True)
    batch |= {"num_items_in_batch": torch.tensor(7), "shift_labels": batch["labels"]}
    wrapped = Wrapper(model) if through == "wrapped" else None
    assert_same(model_token_stats(model, batch, wrapped=wrapped), expected, 0.0)
    assert seen >= {"input_ids", "attention_mask", "use_cache"}
    assert not any("labels" in key or "num_items" in key for key in seen)


# Layouts


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize(("name", "attention"), WITH_ATTENTION)
def test_padding_does_not_matter(name: str, attention: str, side: str) -> None:
    model, batch = build(name, attention), padded(examples(), side)
    if name == "gpt2":  # positions are absolute
        batch["position_ids"] = (batch["attention_mask"].cumsum(1) - 1).clamp(min=0)
    assert_same(answers(model_token_stats(model, batch)), one_by_one(model))


def test_absolute_positions_are_taken_as_in_training() -> None:
    """Left-padded and without position ids, GPT-2 counts the padding, here and in training."""
    model, batch = build("gpt2"), padded(examples(), "left")
    stats = model_token_stats(model, batch)
    assert_same(stats, naive(model, batch))
    assert (answers(stats)[0] - one_by_one(model)[0]).abs().max() > 0.1


@pytest.mark.parametrize(("name", "attention"), WITH_ATTENTION)
def test_padding_free_does_not_matter(name: str, attention: str) -> None:
    if name == "falcon_h1" and importlib.util.find_spec("causal_conv1d") is None:
        pytest.skip("Mamba layers keep packed samples apart with the causal_conv1d kernel only")
    sft_trainer = pytest.importorskip("trl.trainer.sft_trainer")
    collator = sft_trainer.DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)
    model, batch = build(name, attention), collator(examples())
    assert batch["input_ids"].shape == (1, 29)
    assert_same(answers(model_token_stats(model, batch)), one_by_one(model))


# PEFT


def lora(model: PreTrainedModel, **settings: Any) -> Any:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(
        r=4, init_lora_weights=False, **{"target_modules": ["q_proj", "v_proj"], **settings}
    )
    return peft.get_peft_model(model, config).eval()


def test_adapter_counts() -> None:
    batch = padded(examples())
    model = lora(build("llama"))
    stats = model_token_stats(model, batch)
    assert_same(stats, naive(model, batch))
    with model.disable_adapter():
        without = model_token_stats(model, batch)
        assert_same(without, naive(build("llama"), batch))
    assert difference(stats, without) > 0.1
    check_head(model, IDS)


def test_retrained_head_of_an_adapter_counts() -> None:
    batch = padded(examples())
    model = lora(build("llama"), modules_to_save=["lm_head"])
    head = causal_lm_of(model).get_output_embeddings()
    before = model_token_stats(model, batch)
    with torch.no_grad():
        head.modules_to_save["default"].weight.mul_(2)
    stats = model_token_stats(model, batch)
    assert_same(stats, naive(model, batch))
    assert difference(stats, before) > 0.1
    check_head(model, IDS)


def test_low_rank_adapter_on_the_head_is_noticed_once_it_matters() -> None:
    # The trainer refuses it from the start.
    model = lora(build("llama"), target_modules=["q_proj", "lm_head"])
    nn.init.ones_(model.get_output_embeddings().lora_B["default"].weight[:40])
    with pytest.raises(UsageError, match="not known here"):
        check_head(model, IDS)


def test_adapter_counts_through_the_wrapped_model() -> None:
    model, batch = lora(build("llama")), padded(examples())
    stats = model_token_stats(model, batch, wrapped=Wrapper(model))
    assert_same(stats, naive(model, batch))


# TRL's fused head, which the trainer of TRL adds, is passed by


def add_fused_head(model: PreTrainedModel) -> None:
    utils = pytest.importorskip("trl.trainer.utils")
    if not hasattr(utils, "add_fused_lm_head"):
        pytest.skip("this TRL has no fused head")
    utils.add_fused_lm_head(model, outputs=("log_probs", "entropy"))


def test_a_fused_head_changes_nothing() -> None:
    model, batch = build("llama"), padded(examples())
    stats, forwards = model_token_stats(model, batch), []
    add_fused_head(model)
    model.register_forward_hook(lambda *_: forwards.append(1))
    assert_same(model_token_stats(model, batch), stats, 0.0)
    assert not forwards  # the backbone and our head only


def test_wrapped_model_with_a_fused_head_still_computes_one_row_of_logits() -> None:
    model, batch = build("llama"), padded(examples())
    add_fused_head(model)
    rows = []
    model.get_output_embeddings().register_forward_pre_hook(lambda _, a: rows.append(a[0].shape))
    assert_same(model_token_stats(model, batch, wrapped=Wrapper(model)), naive(model, batch))
    assert rows[0] == (4, 1, 32)


# Half precision


def spread(rows: int = 8, width: int = 32) -> tuple[LlamaForCausalLM, dict[str, Tensor]]:
    """A model with logits of the size that real models have, and enough tokens for a mean."""
    model = tiny.llama(initializer_range=0.1).eval()
    with torch.no_grad():
        model.lm_head.weight.mul_(6)
    ids = torch.randint(3, 99, (rows, width), generator=torch.Generator().manual_seed(0))
    return model, {"input_ids": ids, "labels": ids}


@pytest.mark.parametrize("way", ["bf16 weights", "autocast"])
@pytest.mark.parametrize("through", ["backbone", "wrapped"])
def test_half_precision_is_close_to_float32(way: str, through: str) -> None:
    model, batch = spread()
    exact = naive(model, batch)
    assert exact[0].std() > 1
    if way == "bf16 weights":
        model.bfloat16()
    autocast = torch.autocast("cpu", torch.bfloat16) if way == "autocast" else nullcontext()
    with autocast:
        wrapped = Wrapper(model) if through == "wrapped" else None
        stats = model_token_stats(model, batch, wrapped=wrapped)
    assert stats.nll.dtype == stats.entropy.dtype == torch.float32
    assert 0 < difference(stats, exact) < 0.1
    assert (stats.entropy - exact[1]).abs().mean() < 0.1


@pytest.mark.parametrize("way", ["bf16 weights", "autocast"])
@torch.no_grad()
def test_head_is_computed_in_float32_where_the_model_rounds_its_logits(way: str) -> None:
    model, batch = spread()
    if way == "bf16 weights":
        model.bfloat16()
    with torch.autocast("cpu", torch.bfloat16) if way == "autocast" else nullcontext():
        hidden = model.base_model(**batch | {"labels": None}, use_cache=False)[0]
        rounded = model.lm_head(hidden)
        stats = model_token_stats(model, batch)
    assert rounded.dtype == torch.bfloat16
    exact = from_logits(hidden.double() @ model.lm_head.weight.double().T, batch["labels"])
    theirs = from_logits(rounded, batch["labels"])
    assert_same(stats, exact)
    for mine, others, truth in zip(stats[:2], theirs, exact, strict=True):
        assert (mine - truth).abs().max() < 0.01 * (others - truth).abs().max()
