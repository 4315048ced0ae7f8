"""Where a PEFT model without its adapters is taken for the model before training, and where not."""

import pytest
import torch
from peft import (
    IA3Config,
    LoHaConfig,
    LoraConfig,
    OFTConfig,
    PeftModel,
    get_peft_model,
)

from qtuning import read_ledger
from qtuning.core.stats import stats_of_one
from qtuning.errors import UsageError
from qtuning.run.record import REFERENCE_FILE
from qtuning.signals.reference_store import ReferenceStore

from .. import runs, tiny

SS_TOKEN = {"sample_pruner": "full", "token_pruner": "ss-token"}
LINEAR = {"task_type": "CAUSAL_LM", "target_modules": ["q_proj", "down_proj"]}
HARMLESS = {
    "LoRA": LoraConfig(**LINEAR),
    "gaussian": LoraConfig(**LINEAR, init_lora_weights="gaussian"),
    "DoRA": LoraConfig(**LINEAR, use_dora=True),
    "copies": LoraConfig(**LINEAR, modules_to_save=["lm_head", "embed_tokens"]),
    "trainable tokens": LoraConfig(**LINEAR, trainable_token_indices=[3, 50]),
    "embeddings": LoraConfig(task_type="CAUSAL_LM", target_modules=["embed_tokens", "v_proj"]),
    "orthogonal": LoraConfig(**LINEAR, init_lora_weights="orthogonal"),
    "IA3": IA3Config(**LINEAR, feedforward_modules=["down_proj"]),
    "OFT": OFTConfig(**LINEAR, oft_block_size=16, r=0),
    "LoHa": LoHaConfig(**LINEAR),
}


PRECISIONS = pytest.mark.parametrize(
    ("dtype", "bf16"),
    [(torch.float32, False), (torch.float32, True), (torch.bfloat16, True)],
    ids=["float32", "autocast", "bfloat16"],
)


@PRECISIONS
@pytest.mark.parametrize("peft", HARMLESS.values(), ids=HARMLESS)
def test_adapters_that_do_nothing_yet_are_taken(tmp_path, peft, dtype, bf16):
    runs.pruning(tmp_path, model=tiny.llama().to(dtype), peft=peft, bf16=bf16, **SS_TOKEN)


@PRECISIONS
@pytest.mark.parametrize("way", ["pissa", "pissa_niter_4", "olora"])
def test_adapters_that_change_the_base_weights_are_refused(tmp_path, way, dtype, bf16):
    peft = LoraConfig(**LINEAR, init_lora_weights=way)
    with pytest.raises(
        UsageError, match=r"name the model before training.* as reference_model_na"
    ) as refused:
        runs.pruning(tmp_path, model=tiny.llama().to(dtype), peft=peft, bf16=bf16, **SS_TOKEN)
    assert "\n" not in str(refused.value)


def test_they_are_taken_with_a_named_reference_and_where_no_pruner_asks(tmp_path):
    peft = LoraConfig(**LINEAR, init_lora_weights="pissa")
    runs.pruning(tmp_path, model=tiny.llama(), peft=peft, token_pruner="q-tuning")
    named = {"reference_model_name_or_path": str(tiny.save_model(tmp_path / "base"))}
    runs.pruning(tmp_path, model=tiny.llama(), peft=peft, **SS_TOKEN, **named)


def test_an_adapter_that_is_trained_already_is_refused(tmp_path):
    first = runs.pruning(tmp_path, model=tiny.llama(), peft=HARMLESS["LoRA"], max_steps=3)
    first.train()
    first.save_model(tmp_path / "adapter")
    trained = PeftModel.from_pretrained(tiny.llama(), tmp_path / "adapter", is_trainable=True)
    with pytest.raises(UsageError, match="they are trained already"):
        runs.pruning(tmp_path / "more", model=trained, **SS_TOKEN)


def test_the_check_leaves_the_model_and_the_random_state_as_they_were(tmp_path):
    model = get_peft_model(tiny.llama(attention_dropout=0.1), HARMLESS["LoRA"])
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with_check = runs.pruning(tmp_path, model=model, **SS_TOKEN)
    after = torch.get_rng_state()
    runs.pruning(tmp_path, model=get_peft_model(tiny.llama(), HARMLESS["LoRA"]))
    assert torch.equal(torch.get_rng_state(), after)
    assert with_check.model.active_adapters == ["default"]
    assert with_check.model.get_model_status().enabled is True
    for name, tensor in with_check.model.state_dict().items():
        assert torch.equal(tensor.cpu(), weights[name])


def test_nothing_is_learnt_before_the_first_step_and_a_run_resumes(tmp_path):
    """The reference's NLL at step 1 is the model's own; later the check would find a difference."""
    settings = {**SS_TOKEN, "save_strategy": "steps", "save_steps": 1, "max_steps": 3}
    settings |= {"learning_rate": 0.05, "model": tiny.llama(), "peft": HARMLESS["LoRA"]}
    runs.pruning(tmp_path, **settings).train()
    store = ReferenceStore()
    store.load(tmp_path / "checkpoint-1" / REFERENCE_FILE)
    first_step = [row for row in read_ledger(tmp_path).to_pylist() if row["step"] == 1]
    assert len(first_step) == 8
    for row in first_step:
        nll = store.of(row["sample_id"], row["n_tokens"])
        assert float(stats_of_one(nll, nll).ppl) == pytest.approx(row["ppl"], rel=1e-4)
    resumed = runs.pruning(tmp_path, **{**settings, "model": tiny.llama()})
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert resumed.state.global_step == 3
