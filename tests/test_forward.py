"""Statistics out of Hugging Face models: every way gives what the model's own logits give."""

import copy
import importlib.util
import os
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch
import transformers
from torch import Tensor, nn
from transformers import LlamaForCausalLM, PreTrainedModel

from qtuning import TokenStats
from qtuning.errors import UsageError
from qtuning.forward import (
    LogitShape,
    causal_lm_of,
    check_head,
    has_fused_head,
    model_token_stats,
)
from tests import tiny
from tests.architectures import ARCHITECTURES, UNSHAPED, VOCABULARY, build, examples, padded

TOLERANCE = 1e-5  # nats; what is seen is below 2e-6
IDS = torch.arange(3, 19)[None]
# Gemma 2 has no sdpa: its attention has a soft cap too.
WITH_ATTENTION = [
    (name, attention)
    for name in ARCHITECTURES
    for attention in ("eager", "sdpa")
    if (name, attention) != ("gemma2", "sdpa")
]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@torch.no_grad()
def naive(model: nn.Module, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """(nll, entropy), each (B, L-1), by the model's own logits, in float64 from there on."""
    inputs = {key: value for key, value in batch.items() if key != "labels"}
    return from_logits(model(**inputs).logits, batch["labels"])


def from_logits(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    logp = logits[:, :-1].double().log_softmax(-1)
    targets = labels[:, 1:]
    nll = -logp.gather(-1, targets.clamp(min=0)[..., None]).squeeze(-1)
    entropy = -(logp.exp() * logp).sum(-1)
    ignored = targets == -100
    return nll.masked_fill(ignored, 0), entropy.masked_fill(ignored, 0)


def assert_same(
    got: tuple[Tensor, ...], expected: tuple[Tensor, ...], tolerance: float = TOLERANCE
) -> None:
    for mine, theirs in zip(got[:2], expected[:2], strict=True):
        torch.testing.assert_close(mine.double(), theirs.double(), rtol=0, atol=tolerance)


def difference(got: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> float:
    """Mean absolute difference of the NLL, in nats a token."""
    return float((got[0] - other[0]).abs().sum() / (other[0] != 0).sum())


def answers(stats: TokenStats) -> tuple[Tensor, Tensor]:
    """NLL and entropy of the answer tokens alone, in the order of the samples."""
    return stats.nll[stats.mask], stats.entropy[stats.mask]


def one_by_one(model: PreTrainedModel) -> tuple[Tensor, Tensor]:
    singles = [answers(model_token_stats(model, padded([sample]))) for sample in examples()]
    return torch.cat([nll for nll, _ in singles]), torch.cat([h for _, h in singles])


class Wrapper(nn.Module):
    """Stands for FSDP's or DeepSpeed's wrapper; counts its forwards."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module, self.forwards = module, 0

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self.forwards += 1
        return self.module(*args, **kwargs)


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


# TRL's fused head


def add_fused_head(model: PreTrainedModel) -> None:
    utils = pytest.importorskip("trl.trainer.utils")
    if not hasattr(utils, "add_fused_lm_head"):
        pytest.skip("this TRL has no fused head")
    utils.add_fused_lm_head(model, outputs=("log_probs", "entropy"))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_fused_head_gives_the_same(name: str) -> None:
    model, batch = build(name), padded(examples())
    assert not has_fused_head(model)
    ours = model_token_stats(model, batch)
    add_fused_head(model)
    assert has_fused_head(model)
    fused = model_token_stats(model, batch, fused=True)
    assert_same(fused, ours)
    assert torch.equal(fused.mask, ours.mask)
    assert fused.nll.dtype == fused.entropy.dtype == torch.float32


def test_fused_head_under_an_adapter_gives_the_same() -> None:
    base, batch = build("llama"), padded(examples())
    add_fused_head(base)
    model = lora(base)
    assert has_fused_head(causal_lm_of(model))
    wrapper = Wrapper(model)
    fused = model_token_stats(model, batch, fused=True, wrapped=wrapper)
    assert wrapper.forwards == 1
    assert_same(fused, naive(model, batch))


def test_fused_head_is_not_the_default_on_the_cpu() -> None:
    model, batch = build("llama"), padded(examples())
    add_fused_head(model)
    forwards = []
    model.register_forward_hook(lambda *_: forwards.append(1))
    stats = model_token_stats(model, batch)
    assert not forwards  # the backbone and our head only
    assert_same(model_token_stats(model, batch, fused=True), stats)
    assert len(forwards) == 1


def test_wrapped_model_with_a_fused_head_still_computes_one_row_of_logits() -> None:
    model, batch = build("llama"), padded(examples())
    add_fused_head(model)
    rows = []
    model.get_output_embeddings().register_forward_pre_hook(lambda _, a: rows.append(a[0].shape))
    assert_same(model_token_stats(model, batch, wrapped=Wrapper(model)), naive(model, batch))
    assert rows[0] == (4, 1, 32)


# Wrapped models


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_wrapped_model_runs_one_forward_with_one_row_of_logits_a_sequence(name: str) -> None:
    model, batch = build(name), padded(examples())
    plain = model_token_stats(model, batch)
    wrapper, shapes = Wrapper(model), []
    model.get_output_embeddings().register_forward_pre_hook(lambda _, a: shapes.append(a[0].shape))
    stats = model_token_stats(model, batch, wrapped=wrapper)
    assert wrapper.forwards == 1
    assert shapes == [(4, 1, 32)]
    assert_same(stats, plain)
    assert not model.base_model._forward_hooks


def test_wrapped_model_that_raises_keeps_no_hook() -> None:
    class Broken(Wrapper):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            raise RuntimeError("out of memory")

    model = build("llama")
    with pytest.raises(RuntimeError, match="out of memory"):
        model_token_stats(model, padded(examples()), wrapped=Broken(model))
    assert not model.base_model._forward_hooks


def _sharded_worker(rank: int, folder: str) -> None:
    from torch import distributed
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor

    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    try:
        mesh = init_device_mesh("cpu", (2,))
        batch = padded(examples()[2 * rank : 2 * rank + 2])
        results = {}
        for name in ("llama", "phi"):
            for head_alone in (True, False):
                model = build(name)
                for layer in model.base_model.layers:
                    fully_shard(layer, mesh=mesh)
                head = model.get_output_embeddings()
                if head_alone:  # sharded again once it has run; as a part of the root it is not
                    fully_shard(head, mesh=mesh)
                fully_shard(model, mesh=mesh)
                stats = model_token_stats(model, batch, wrapped=model)
                assert isinstance(head.weight, DTensor) == head_alone
                results[f"{name} {head_alone}"] = tuple(stats)
        torch.save(results, f"{folder}/{rank}.pt")
    finally:
        distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="needs torch.distributed")
def test_sharded_model_gives_the_same(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_sharded_worker, (str(tmp_path),), nprocs=2)
    for rank in range(2):
        results = torch.load(tmp_path / f"{rank}.pt")
        assert len(results) == 4
        batch = padded(examples()[2 * rank : 2 * rank + 2])
        for case, stats in results.items():
            assert_same(stats, naive(build(case.split()[0]), batch))


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


# The check against the model's own logits


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
