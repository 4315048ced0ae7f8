"""DeepSpeed's ZeRO-2 and ZeRO-3 over gloo decide and train as one process: `make deepspeed`."""

import importlib.util

import pytest

from .test_more_processes import RANDOM, TINY_SHARE, assert_as_one
from .test_two_processes import alone, launch

pytestmark = [
    pytest.mark.cpu("several ranks, which talk over gloo"),
    pytest.mark.slow,
    pytest.mark.series,
    pytest.mark.skipif(
        importlib.util.find_spec("deepspeed") is None,
        reason="needs deepspeed, which `make deepspeed` installs",
    ),
]


@pytest.mark.parametrize("stage", [2, 3])
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({}, id="pools of the step"),
        pytest.param({"pool_scope": "micro"}, id="micro pools"),
        pytest.param(TINY_SHARE, id="one rank has nothing to train on"),
        pytest.param(RANDOM, id="random"),
        pytest.param({"score_refresh": 0.25}, id="last scores"),
        pytest.param({"sample_pruner": "el2n"}, id="squared probabilities"),
    ],
)
def test_two_processes_with_zero_are_as_one(tmp_path, settings, stage) -> None:
    alone(tmp_path / "one", gradient_accumulation_steps=4, **settings)
    launch(tmp_path / "two", 2, gradient_accumulation_steps=2, zero=stage, **settings)
    assert_as_one(tmp_path / "one", tmp_path / "two", settings is not RANDOM)
