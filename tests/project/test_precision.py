"""bfloat16 where the device multiplies it itself, float32 elsewhere; what is asked for is done."""

import json

import pyarrow.parquet as pq
import pytest
import torch
from trl import SFTConfig

from qtuning import QTuningConfig, precision
from qtuning.commands.main import main
from qtuning.offline.origin import read_origin
from qtuning.precision import bf16_is_native, dtype_name, precision_line, use_bf16

from .. import runs, tiny

CPU = torch.device("cpu")
each_kind = pytest.mark.parametrize("native", [False, True])


@pytest.fixture
def hardware(native, monkeypatch):
    """A machine of either kind, whatever this one is, without an accelerator."""
    monkeypatch.setattr(precision, "bf16_is_native", lambda device: native)
    monkeypatch.setattr(precision, "device_in_use", lambda use_cpu=False: CPU)
    return native


def test_torch_is_asked(monkeypatch):
    """oneDNN, which multiplies, can be held to older instructions: then nothing is native."""
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    capable = bf16_is_native(CPU)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert not bf16_is_native(CPU)
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")
    assert bf16_is_native(CPU) == capable


@pytest.mark.parametrize("known", [{"avx512_bf16": True}, {"amx_bf16": True}, {"bf16": True}, {}])
def test_the_instructions_are_named_by_torch(monkeypatch, known):
    if "get_capabilities" not in vars(torch.cpu):
        pytest.skip("this torch does not name them")
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: True)
    precision._cpu_has_bf16.cache_clear()
    assert bf16_is_native(CPU) == bool(known)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    precision._cpu_has_bf16.cache_clear()
    assert not bf16_is_native(CPU)
    precision._cpu_has_bf16.cache_clear()


@each_kind
def test_without_a_word_the_hardware_decides(hardware):
    assert use_bf16(None) == hardware
    assert not use_bf16(None, fp16=True)
    assert use_bf16(True)
    assert not use_bf16(False)


@pytest.mark.cpu
@each_kind
def test_a_config_follows_the_hardware_and_obeys_its_user(tmp_path, hardware, monkeypatch):
    monkeypatch.setattr("qtuning.training.config.device_in_use", lambda use_cpu=False: CPU)
    assert QTuningConfig(str(tmp_path)).bf16 == hardware
    for given in (True, False):
        ours = QTuningConfig(str(tmp_path), bf16=given, use_cpu=True).to_dict()
        theirs = SFTConfig(str(tmp_path), bf16=given, use_cpu=True).to_dict()
        assert ours.items() >= theirs.items()


@each_kind
@pytest.mark.parametrize("bf16", [False, True])
def test_what_nobody_expects_is_said_in_a_line(hardware, bf16):
    line = precision_line(CPU, bf16=bf16)
    if bf16 and not hardware:
        assert line.startswith("Warning: bf16")
        assert "7 times slower" in line
        assert "Set bf16 to false" in line
    elif not bf16 and not hardware:
        assert line.startswith("Precision: float32")
    else:
        assert line is None
    assert line is None or "\n" not in line


@pytest.mark.parametrize("native", [False])
@pytest.mark.parametrize(("bf16", "said"), [(None, "Precision: float32"), (True, "Warning: bf16")])
def test_a_run_says_it(tmp_path, hardware, capsys, bf16, said):
    runs.pruning(tmp_path, bf16=bf16, max_steps=1).train()
    assert said in capsys.readouterr().out


@pytest.mark.cpu
@each_kind
def test_scores_and_evaluations_say_what_they_were_made_in(tmp_path, hardware, monkeypatch, capsys):
    monkeypatch.setattr("qtuning.offline.score.device_in_use", lambda use_cpu=False: CPU)
    model = tiny.save_model(tmp_path / "model")
    tiny.dataset(6).to_json(tmp_path / "rows.jsonl")
    where = ["--model_name_or_path", str(model), "--dataset_name", str(tmp_path / "rows.jsonl")]
    assert main(["score", *where, "--output", str(tmp_path / "s.parquet")]) == 0
    origin = read_origin(pq.read_schema(tmp_path / "s.parquet"), tmp_path)
    assert origin["dtype"] == dtype_name(hardware)
    assert ("Precision: float32" in capsys.readouterr().out) == (not hardware)
    figures = tmp_path / "figures.json"
    where += ["--dataset_test_split", "train", "--output", str(figures)]
    assert main(["evaluate", *where]) == 0
    assert json.loads(figures.read_text())["precision"] == dtype_name(hardware)


def test_names_of_precisions():
    assert [dtype_name(True), dtype_name(False), dtype_name(False, fp16=True)] == [
        "bfloat16 autocast",
        "float32",
        "float16 autocast",
    ]
