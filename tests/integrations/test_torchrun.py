"""The processes that `qtuning llamafactory train` starts, as LLaMA-Factory's launcher would."""

import sys

import pytest

from qtuning.integrations import torchrun

WORDS = ["llamafactory", "train", "config.yaml"]
START = [sys.executable, "-m", "torch.distributed.run"]


@pytest.mark.parametrize(
    ("environment", "n_devices", "wanted"),
    [
        ({}, 0, False),
        ({}, 1, False),
        ({}, 2, True),
        ({"LOCAL_RANK": "0"}, 2, False),
        ({"FORCE_TORCHRUN": "1"}, 0, True),
        ({"FORCE_TORCHRUN": "true", "LOCAL_RANK": "0"}, 0, False),
        ({"FORCE_TORCHRUN": "0"}, 1, False),
        ({"USE_KT": "1"}, 2, False),
    ],
)
def test_when_processes_are_started(environment, n_devices, wanted):
    assert torchrun.is_wanted(environment, n_devices) == wanted


def test_one_machine():
    assert torchrun.command({}, 4, 5000, WORDS) == [
        *START,
        *("--nnodes=1", "--nproc-per-node=4", "--node-rank=0"),
        *("--master-addr=127.0.0.1", "--master-port=5000", "--module", "qtuning", *WORDS),
    ]


def test_several_machines_and_fewer_processes():
    environment = {
        **{"NNODES": "2", "NODE_RANK": "1", "NPROC_PER_NODE": "2"},
        **{"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"},
    }
    assert torchrun.command(environment, 4, 5000, WORDS) == [
        *START,
        *("--nnodes=2", "--nproc-per-node=2", "--node-rank=1"),
        *("--master-addr=10.0.0.1", "--master-port=29500", "--module", "qtuning", *WORDS),
    ]


def test_an_elastic_start():
    environment = {"RDZV_ID": "job", "MIN_NNODES": "1", "MAX_NNODES": "3", "MAX_RESTARTS": "2"}
    made = torchrun.command(environment, 1, 5000, WORDS)
    assert made[3:9] == [
        *("--nnodes=1:3", "--nproc-per-node=1", "--rdzv-id=job", "--rdzv-backend=c10d"),
        *("--rdzv-endpoint=127.0.0.1:5000", "--max-restarts=2"),
    ]
