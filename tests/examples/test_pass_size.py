"""The size of scoring passes follows from the configuration, and from the device's kind."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    Gemma3Config,
    GPT2Config,
    LlamaConfig,
    MixtralConfig,
    PretrainedConfig,
    Qwen3MoeConfig,
)

from qtuning.examples.pass_size import PassSize, Shape, pass_overhead, pass_size, scoring_times

from .. import tiny

SMALL = Shape(30, 576, 1536, 49152)  # SmolLM2-135M
MIDDLE = Shape(24, 2048, 8192, 49152)  # SmolLM2-1.7B
LARGE = Shape(32, 4096, 14336, 128256)  # Llama 3.1 8B
SHAPES = st.builds(
    Shape, st.integers(1, 200), st.integers(1, 30000), st.integers(1, 100000), st.integers(1, 10**6)
)


def trainer(device_type, model=None, fsdp=None, **options):
    options = {"gradient_checkpointing": False, **options}
    return SimpleNamespace(
        args=SimpleNamespace(device=SimpleNamespace(type=device_type), **options),
        model=tiny.llama() if model is None else model,
        is_fsdp_enabled=fsdp is not None,
        accelerator=SimpleNamespace(
            state=SimpleNamespace(fsdp_plugin=SimpleNamespace(activation_checkpointing=fsdp))
        ),
    )


# How many times


def test_on_a_cpu_a_pass_is_a_training_micro_batch() -> None:
    assert scoring_times(MIDDLE, MIDDLE, "cpu") == 1.0
    assert pass_size(trainer("cpu"), 8) == PassSize(8, 64)


@given(trained=st.none() | SHAPES, scoring=st.none() | SHAPES, kind=st.sampled_from(["cuda", "x"]))
def test_a_pass_is_never_smaller_and_never_larger_for_recomputing(trained, scoring, kind) -> None:
    whole = scoring_times(trained, scoring, kind)
    recomputed = scoring_times(trained, scoring, kind, recomputed=True)
    offloaded = scoring_times(trained, scoring, kind, offloaded=True)
    assert 1.0 <= offloaded <= recomputed
    assert recomputed <= whole or trained.layers == 1


def test_a_pass_holds_less_than_the_training_that_was_measured() -> None:
    """1.7B, 8 rows x 1,024: 27.4 GiB, of them 3.4 without activations (benchmarks/gpu-notes.md)."""
    times = scoring_times(MIDDLE, MIDDLE, "cuda")
    assert 11 <= times < 12
    activations = (27.4 - 3.4) * 2**30
    in_float32 = 4 * times * 8 * 1024 * MIDDLE.at_work
    assert in_float32 < 0.75 * activations
    # The sum of what training keeps is below what was measured, 2.9 MiB a token.
    assert 2 * (MIDDLE.layers * MIDDLE.kept_by_layer + MIDDLE.at_work) < 2.9 * 2**20


def test_recomputing_leaves_about_two_times() -> None:
    for shape in (SMALL, MIDDLE, LARGE):
        assert 1.9 < scoring_times(shape, shape, "cuda", recomputed=True) < 2.6


def test_a_larger_model_scores_smaller_passes() -> None:
    assert scoring_times(SMALL, LARGE, "cuda") < scoring_times(SMALL, SMALL, "cuda") / 3
    assert scoring_times(MIDDLE, SMALL, "cuda") > scoring_times(MIDDLE, MIDDLE, "cuda")


# Overhead


def test_the_overheads_are_those_that_were_best() -> None:
    assert pass_overhead("cuda", SMALL) == pytest.approx(17000, rel=0.1)
    assert pass_overhead("cuda", MIDDLE, adapters=True) == pytest.approx(2000, rel=0.1)
    assert 512 < pass_overhead("cuda", LARGE, adapters=True) < 1000


@given(shape=SHAPES, adapters=st.booleans())
def test_overheads_stay_within_limits(shape, adapters) -> None:
    assert 256 <= pass_overhead("cuda", shape, adapters=adapters) <= 32768
    assert pass_overhead("cpu", shape, adapters=adapters) == 64


# What is read of a config


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        (LlamaConfig(hidden_size=64, intermediate_size=96, vocab_size=9), Shape(32, 64, 96, 9)),
        (GPT2Config(n_embd=64, n_layer=3, vocab_size=9), Shape(3, 64, 256, 9)),
        (
            Gemma3Config(text_config={"hidden_size": 64, "num_hidden_layers": 2}),
            Shape(2, 64, 9216, 262208),
        ),
        (
            MixtralConfig(hidden_size=64, intermediate_size=96, num_experts_per_tok=2),
            Shape(32, 64, 192, 32000),
        ),
        (
            Qwen3MoeConfig(moe_intermediate_size=10, num_experts_per_tok=4, intermediate_size=96),
            Shape(24, 2048, 96, 151936),
        ),
        (PretrainedConfig(), None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_shape_is_read_in_any_spelling(config, shape) -> None:
    assert Shape.of(config) == shape


def test_intermediate_sizes_a_layer_count_by_the_largest() -> None:
    sizes = {"num_hidden_layers": 3, "hidden_size": 64, "intermediate_size": [32, 128, 64]}
    config = PretrainedConfig(**sizes)
    assert Shape.of(config).intermediate == 128


# What is read of a trainer


def test_what_the_user_asks_for_is_taken_on_any_device() -> None:
    for device in ("cpu", "cuda"):
        assert pass_size(trainer(device), 8, asked=3).batch_size == 3


def test_a_gpu_scores_more_than_it_trains() -> None:
    size = pass_size(trainer("cuda"), 8)
    model = tiny.llama()
    times = scoring_times(Shape.of(model.config), Shape.of(model.config), "cuda")
    assert times > 1
    assert size == PassSize(int(times * 8), 32768)


@pytest.mark.parametrize(
    "options", [{"gradient_checkpointing": True}, {"activation_offloading": True}, {"fsdp": True}]
)
def test_each_way_to_hold_less_in_training_makes_smaller_passes(options) -> None:
    deep = {"num_hidden_layers": 8}
    less = pass_size(trainer("cuda", tiny.llama(**deep), **options), 8)
    assert less.batch_size < pass_size(trainer("cuda", tiny.llama(**deep)), 8).batch_size


def test_checkpointing_that_only_the_model_knows_counts() -> None:
    model = tiny.llama(num_hidden_layers=8)
    whole = pass_size(trainer("cuda", model), 8)
    model.gradient_checkpointing_enable()
    assert pass_size(trainer("cuda", model), 8).batch_size < whole.batch_size


def test_another_model_has_sizes_of_its_own() -> None:
    other = tiny.llama(hidden_size=512, intermediate_size=4096)
    own, others = (pass_size(trainer("cuda"), 8, other_model=m) for m in (None, other))
    assert others.batch_size < own.batch_size
