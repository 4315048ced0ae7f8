"""What is switched on for GPUs, as far as a CPU can run it: equal to stock, and pruned as it is."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig
from trainer_options import AS_STOCK, EXACT, Case
from transformers import AutoModelForCausalLM, BitsAndBytesConfig
from trl import SFTTrainer

from qtuning import QTuningConfig, QTuningTrainer, read_ledger

from .. import device, runs, tiny
from . import ends, scenes
from .test_options import check_full, check_half

LORA = LoraConfig(r=4, target_modules="all-linear")


def loaded(folder: Path, **how: Any) -> torch.nn.Module:
    """A model as it is loaded from a folder; its layers are wide enough for blocks of 4 bits."""
    path = folder / "wide"
    if not path.exists():
        tiny.save_model(path, hidden_size=64, intermediate_size=128)
    return AutoModelForCausalLM.from_pretrained(path, **how)


def in_4_bits(folder: Path) -> torch.nn.Module:
    """As on a GPU, where bitsandbytes repacks no weights."""
    how = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32
    )
    model = loaded(folder, quantization_config=how)
    for module in model.modules():
        if "support_avx512bf16_for_cpu" in vars(module):
            module.support_avx512bf16_for_cpu = False
    return model


def in_8_bits(folder: Path) -> torch.nn.Module:
    return loaded(folder, quantization_config=BitsAndBytesConfig(load_in_8bit=True))


@pytest.fixture
def scene(monkeypatch) -> Callable[..., Case]:
    """Makes a case of a model."""

    def case(
        model: Callable[[Path], torch.nn.Module] | None = None,
        option: str | None = None,
        tried: Any = None,
        resume: str = EXACT,
        **more: Any,
    ) -> Case:
        def made(folder: Path) -> scenes.Scene:
            usual = scenes.usual()
            if model is not None:
                usual["model"] = model(folder)
            return {**usual, **more}, {}

        monkeypatch.setitem(scenes.SCENES, "for a GPU", made)
        return Case(option, tried, scene="for a GPU", alike=None, resume=resume)

    return case


def check(case: Case, folder: Path) -> None:
    check_full(case, ends.full(case, folder))
    if case.resume == AS_STOCK:
        theirs = ends.stop_and_resume(SFTTrainer, case, folder / "stock again")
        ours = ends.stop_and_resume(QTuningTrainer, case, folder / "ours again", **ends.FULL)
        assert ours == theirs
    check_half(case, ends.half(case, folder), folder)


@pytest.mark.parametrize("model", [in_4_bits, in_8_bits])
def test_adapters_on_quantised_weights(scene, model, tmp_path) -> None:
    """TRL keeps their adapters in bfloat16; PEFT makes them float32 in a run that goes on."""
    pytest.importorskip("bitsandbytes")
    check(scene(model, peft_config=LORA, resume=AS_STOCK), tmp_path)


def test_4_bits_on_a_cpu_that_would_lose_the_gradients_are_refused(scene, tmp_path) -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes")
    if not bitsandbytes.functional.has_avx512bf16():
        pytest.skip("this processor has no AVX512-BF16")
    how = BitsAndBytesConfig(load_in_4bit=True)
    case = scene(lambda folder: loaded(folder, quantization_config=how), peft_config=LORA)
    assert "no gradient passes them" in ends.refused(case, tmp_path)


def test_an_optimizer_of_8_bits(scene, tmp_path) -> None:
    pytest.importorskip("bitsandbytes")
    check(scene(option="optim", tried="adamw_8bit"), tmp_path)


def test_a_model_that_device_map_has_placed(scene, tmp_path) -> None:
    check(scene(lambda folder: loaded(folder, device_map="auto")), tmp_path)


def test_a_model_that_device_map_has_offloaded_is_refused(scene, tmp_path) -> None:
    def offloaded(folder: Path) -> torch.nn.Module:
        places = {"model": "cpu", "lm_head": "disk"}
        return loaded(folder, device_map=places, offload_folder=str(folder / "offloaded"))

    assert "device_map" in ends.refused(scene(offloaded), tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
def test_compiled_by_inductor(tmp_path) -> None:
    if device.chosen() != device.CPU:
        pytest.skip("compiled for a GPU, stock training does not repeat itself")
    beside = {"torch_compile_backend": "inductor", "pad_to_multiple_of": 32}
    check(Case("torch_compile", True, beside=beside, scene="one layer", alike=None), tmp_path)
    torch.compiler.reset()


@pytest.mark.parametrize("one_pass", [False, True])
def test_scaling_the_loss_changes_no_decision_and_no_weight(one_pass, tmp_path) -> None:
    """By a power of two, by which float32 scales without rounding."""

    def trained(name: str, scaled: bool) -> QTuningTrainer:
        settings = {**runs.SETTINGS, "sample_ratio": 0.5, "token_ratio": 0.5}
        settings["max_grad_norm"] = 0.0  # accelerate would see float32, and clip scaled gradients
        if one_pass:
            settings |= {"one_pass": True, "pool_scope": "micro"}
        trainer = QTuningTrainer(
            model=tiny.llama(),
            args=QTuningConfig(str(tmp_path / name), **settings),
            train_dataset=tiny.dataset(16),
            processing_class=tiny.tokenizer(),
        )
        if scaled:  # what accelerate makes of fp16 on a GPU, but for the half precision
            trainer.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
        trainer.train()
        return trainer

    plain, scaled = trained("plain", False), trained("scaled", True)
    assert scaled.accelerator.scaler.get_scale() == 2.0**10, "it was used, and found no overflow"
    ours, theirs = (dict(one.model.named_parameters()) for one in (scaled, plain))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert read_ledger(tmp_path / "scaled").equals(read_ledger(tmp_path / "plain"))
