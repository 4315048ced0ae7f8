"""The configurations of examples/accelerate are read by accelerate as they are meant."""

from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "accelerate").glob("*.yaml"))


def test_all_kinds_are_there():
    names = [file.stem for file in EXAMPLES]
    assert names == ["ddp", "deepspeed_zero2", "deepspeed_zero3", "fsdp2"]


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_accelerate_reads_it(file):
    config = load_config_from_file(str(file))  # refuses keys that it does not know
    assert config.num_processes == 2
    kinds = {"ddp": "MULTI_GPU", "fsdp2": "FSDP"}
    assert config.distributed_type.value == kinds.get(file.stem, "DEEPSPEED")
    if file.stem == "fsdp2":
        assert config.fsdp_config["fsdp_version"] == 2
    if file.stem.startswith("deepspeed"):
        assert config.deepspeed_config["zero_stage"] == int(file.stem[-1])
    assert f"--config_file examples/accelerate/{file.name}" in file.read_text()
