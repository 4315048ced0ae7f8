"""Rows with images: adapters of LoRA, evaluation while training and after it, weights in shards."""

import pytest
from peft import LoraConfig
from transformers import set_seed
from trl import SFTConfig, SFTTrainer

import qtuning
from qtuning import QTuningConfig, QTuningTrainer, UsageError
from qtuning.commands.main import main

from .. import device, runs, vision
from ..bad_input.test_images import data_with, stored

pytestmark = pytest.mark.usefixtures("one_thread")
SHORT = {"num_train_epochs": 1, "per_device_train_batch_size": 2}
WHOLE = {"sample_ratio": 1.0, "token_ratio": 1.0}


def run(folder, family, *, stock=False, lora=False, evaluated=None, **settings):
    """A run, of which the losses of evaluations are wanted, or those of training."""
    kinds = (SFTTrainer, SFTConfig) if stock else (QTuningTrainer, QTuningConfig)
    model, processor = vision.model_of(family)
    set_seed(42)
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    trainer = kinds[0](
        model,
        kinds[1](str(folder), **{**vision.VISION_SETTINGS, **SHORT, **settings}),
        train_dataset=vision.dataset(8),
        eval_dataset=evaluated,
        processing_class=processor,
        peft_config=config if lora else None,
    )
    trainer.train()
    return trainer


@pytest.mark.parametrize("family", ["smolvlm", "qwen3_vl"])
def test_an_adapter_is_trained_as_by_the_stock_trainer(tmp_path, family) -> None:
    stock = run(tmp_path / "a", family, stock=True, lora=True)
    ours = run(tmp_path / "b", family, lora=True, **WHOLE)
    assert runs.losses(ours) == runs.losses(stock)
    assert runs.same_weights(ours, stock)
    pruned = run(tmp_path / "c", family, lora=True, sample_ratio=0.5, token_mode="drop")
    changed = {
        name
        for (name, one), other in zip(
            pruned.model.named_parameters(), stock.model.parameters(), strict=True
        )
        if not one.equal(other)
    }
    assert changed
    assert all("lora_" in name for name in changed)


def evaluations(trainer) -> list[float]:
    return [one["eval_loss"] for one in trainer.state.log_history if "eval_loss" in one]


def test_evaluation_while_training_is_the_stock_one(tmp_path) -> None:
    settings = {"eval_strategy": "steps", "eval_steps": 1, "evaluated": vision.dataset(4)}
    stock = run(tmp_path / "a", "llava", stock=True, **settings)
    ours = run(tmp_path / "b", "llava", **WHOLE, **settings)
    assert len(evaluations(stock)) == 2
    assert evaluations(ours) == evaluations(stock)
    pruned = run(tmp_path / "c", "llava", sample_ratio=0.5, **settings)
    assert len(evaluations(pruned)) == 2


@pytest.fixture(scope="module")
def adapted(tmp_path_factory):
    """The folder of a model, and that of an adapter that the command has trained."""
    folder = tmp_path_factory.mktemp("adapted")
    vision.save(folder / "model")
    vision.dataset(8).to_parquet(str(folder / "rows.parquet"))
    words = (
        f"train --model_name_or_path {folder / 'model'} --dataset_name {folder / 'rows.parquet'}"
    )
    words += " --max_length null --num_train_epochs 1 --per_device_train_batch_size 2"
    words += " --report_to none --bf16 false --sample_ratio 0.5 --use_peft --lora_r 4"
    words += f" --lora_target_modules q_proj v_proj --output_dir {folder / 'out'}"
    assert main([*words.split(), *device.flags()]) == 0
    return folder


def test_an_adapter_of_the_command_scores_and_is_evaluated(adapted) -> None:
    assert (adapted / "out" / "adapter_config.json").exists()
    for name in ("model", "out"):
        scored = qtuning.score(vision.dataset(8), adapted / name, progress=False, bf16=False)
        held = qtuning.evaluate(adapted / name, vision.dataset(8), bf16=False).held_out
        assert held.rows == 8
        assert held.tokens == sum(scored["n_tokens"])
        assert held.nll_sums == pytest.approx(scored["nll_sum"], rel=1e-5)


def test_a_model_at_hand_brings_its_processor(adapted) -> None:
    model, processor = vision.model_of("llava")
    named = qtuning.evaluate(adapted / "model", vision.dataset(4), bf16=False).held_out
    at_hand = qtuning.evaluate(model, vision.dataset(4), tokenizer=processor, bf16=False).held_out
    assert at_hand.nll == pytest.approx(named.nll, rel=1e-6)


def test_a_bad_image_of_an_evaluation_is_one_line(adapted) -> None:
    with pytest.raises(UsageError, match="sample 2: image 1 cannot be read"):
        qtuning.evaluate(adapted / "model", data_with(images=stored(b"text")))


def test_weights_in_shards_are_loaded(adapted, tmp_path) -> None:
    for part, options in zip(
        vision.model_of("llava"), ({"max_shard_size": "20KB"}, {}), strict=True
    ):
        part.save_pretrained(tmp_path, **options)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    whole, parts = (
        qtuning.score(vision.dataset(2), folder, progress=False, bf16=False)
        for folder in (adapted / "model", tmp_path)
    )
    assert whole["ppl"] == parts["ppl"]
