"""The folder of an adapter as ``--model_name_or_path`` of the verbs."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from peft import AutoPeftModelForCausalLM
from safetensors.torch import load_file

import qtuning
from qtuning.commands import main as cli
from qtuning.io.models import load_causal_lm

from .. import adapters, device, tiny

FAST = [*device.flags(), "--bf16", "false", "--report_to", "none", "--disable_tqdm", "true"]
FAST += ["--per_device_train_batch_size", "4", "--max_steps", "2", "--save_strategy", "no"]


@pytest.fixture
def data(tmp_path) -> Path:
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in tiny.rows(12)))
    return path


@pytest.fixture
def base(tmp_path) -> Path:
    return tiny.save_model(tmp_path / "base")


@pytest.fixture
def adapter(tmp_path, base) -> Path:
    adapters.save(tmp_path / "adapter", base)
    return tmp_path / "adapter"


@pytest.fixture
def whole(tmp_path, base) -> Path:
    """The adapter merged by peft, as users do it by hand."""
    model = adapters.save(tmp_path / "other", base).merge_and_unload()
    model.save_pretrained(tmp_path / "whole")
    tiny.tokenizer().save_pretrained(tmp_path / "whole")
    return tmp_path / "whole"


def train(model: Path, data: Path, out: Path, *flags: str) -> int:
    names = ["--model_name_or_path", str(model), "--dataset_name", str(data)]
    return cli.main(["train", *FAST, *names, "--output_dir", str(out), *flags])


def perplexities(model: Path, data: Path) -> list[float]:
    return qtuning.score(data, model, bf16=False, progress=False)["ppl"][:]


def test_scores_are_those_of_the_merged_model(tmp_path, data, base, adapter, whole) -> None:
    out = tmp_path / "scores.parquet"
    flags = ["--model_name_or_path", str(adapter), "--dataset_name", str(data), "--bf16", "false"]
    assert cli.main(["score", *flags, "--output", str(out)]) == 0
    found = pq.read_table(out)["ppl"].to_pylist()
    assert found == pytest.approx(perplexities(whole, data), rel=1e-6)
    assert found == perplexities(adapter, data)
    assert found != pytest.approx(perplexities(base, data), rel=0.1)
    evaluated = [qtuning.evaluate(name, str(data), split="train") for name in (adapter, whole)]
    assert evaluated[0].held_out.nll == pytest.approx(evaluated[1].held_out.nll, rel=1e-6)


def test_scores_of_another_base_or_scale_are_not_mixed(tmp_path, data, base, adapter) -> None:
    out = tmp_path / "scores.parquet"
    flags = ["--model_name_or_path", str(adapter), "--dataset_name", str(data)]
    assert cli.main(["score", *flags, "--output", str(out)]) == 0
    assert cli.main(["score", *flags, "--output", str(out)]) == 0
    tiny.save_model(base, seed=1)
    assert cli.main(["score", *flags, "--output", str(out)]) == 2
    tiny.save_model(base)
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "lora_alpha": 1}))
    assert cli.main(["score", *flags, "--output", str(out)]) == 2


def test_training_begins_with_the_merged_model(tmp_path, data, base, adapter, whole, capfd) -> None:
    outs = [tmp_path / f"out-{model.name}" for model in (adapter, whole, base)]
    for model, out in zip((adapter, whole, base), outs, strict=True):
        assert train(model, data, out) == 0
        told = f"{adapter} is merged into its base {base}; the whole model is trained"
        assert (told in capfd.readouterr().out) == (model == adapter)
    of_adapter, of_whole, of_base = (load_file(out / "model.safetensors") for out in outs)
    for name, weight in of_adapter.items():
        torch.testing.assert_close(weight, of_whole[name], rtol=0.0, atol=1e-3)
    query = "model.layers.0.self_attn.q_proj.weight"
    assert (of_adapter[query] - of_base[query]).abs().max() > 0.01
    first = [qtuning.read_ledger(out)["ppl"][0].as_py() for out in outs]
    assert first[0] == pytest.approx(first[1], rel=1e-5)
    assert first[0] != pytest.approx(first[2], rel=0.01)


def test_a_new_adapter_on_top_is_saved_with_its_base(tmp_path, data, adapter, whole) -> None:
    out = tmp_path / "out"
    flags = ["--use_peft", "--lora_r", "2", "--lora_target_modules", "q_proj", "v_proj"]
    assert train(adapter, data, out, *flags, "--learning_rate", "0.01") == 0
    saved = json.loads((out / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert Path(saved) == out / "base_model"
    merged, by_hand = (load_file(f / "model.safetensors") for f in (out / "base_model", whole))
    for name, weight in merged.items():
        torch.testing.assert_close(weight, by_hand[name])
    # The new one is loaded by peft, by us, and by us once the first adapter is away.
    tokens = torch.arange(4, 40)[None]
    wanted = AutoPeftModelForCausalLM.from_pretrained(out).eval()(input_ids=tokens).logits
    shutil.rmtree(adapter)
    found = load_causal_lm(str(out)).eval()(input_ids=tokens).logits
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    plain = load_causal_lm(str(whole)).eval()(input_ids=tokens).logits
    assert (found - plain).abs().max() > 1e-3


def test_adapters_score_and_are_compared_with(tmp_path, data, base, adapter, whole) -> None:
    ledgers = []
    for other in (adapter, whole):
        flags = ["--scorer_model_name_or_path", str(other), "--token_pruner", "rho-1"]
        out = tmp_path / f"out-{other.name}"
        assert train(base, data, out, *flags, "--reference_model_name_or_path", str(other)) == 0
        ledgers.append(qtuning.read_ledger(out)["ppl"].to_pylist())
    assert ledgers[0] == pytest.approx(ledgers[1], rel=1e-6)


def test_a_run_does_not_write_over_what_it_begins_with(data, base, adapter, capfd) -> None:
    for out, held in ((adapter, adapter), (base.parent, adapter), (base, base)):
        assert train(adapter, data, out) == 2
        assert f"holds {held}, with which the run begins" in capfd.readouterr().err
    assert not (adapter / "config.json").exists()


@pytest.mark.parametrize("verb", ["train", "score", "evaluate"])
def test_a_missing_base_is_one_line(tmp_path, data, base, adapter, capfd, verb) -> None:
    shutil.rmtree(base)
    out = {"train": ["--output_dir", "out"], "score": ["--output", "s.parquet"]}.get(verb, [])
    out = [str(tmp_path / one) if "." in one or one == "out" else one for one in out]
    flags = ["--model_name_or_path", str(adapter), "--dataset_name", str(data), *out]
    assert cli.main([verb, *flags, *(device.flags() if verb == "train" else [])]) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if "qtuning: " in line]
    assert len(lines) == 1
    assert f"{base}: no such file or folder; write where the base is into {adapter}" in lines[0]
