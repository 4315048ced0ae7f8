"""Three gloo processes, and two with sharded weights (FSDP2), decide and train as one."""

import pytest
import torch
from safetensors.torch import load_file

from qtuning import read_ledger

from .test_two_processes import DECISIONS, ROWS, alone, launch

pytestmark = pytest.mark.cpu("several ranks, which talk over gloo")
TINY_SHARE = {"sample_ratio": 0.0625, "token_mode": "drop", "protect_eos": False}
RANDOM = {"sample_pruner": "random", "token_pruner": "random"}
SETTINGS = [
    pytest.param({}, id="pools of the step"),
    pytest.param(TINY_SHARE, id="one rank has nothing to train on"),
    pytest.param({"pool_scope": "micro"}, id="micro pools", marks=pytest.mark.series),
    pytest.param(RANDOM, id="random", marks=pytest.mark.series),
    pytest.param({"score_refresh": 0.25}, id="last scores", marks=pytest.mark.series),
]


def assert_as_one(one, several, scores: bool = True) -> None:
    """Decisions exactly, scores and weights to rounding."""
    first, second = read_ledger(one), read_ledger(several)
    assert first.select(DECISIONS).equals(second.select(DECISIONS))
    assert first.num_rows == 2 * ROWS
    if scores:
        for column in ("ppl", "entropy"):
            a, b = (torch.tensor(t[column].to_pylist()) for t in (first, second))
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4, equal_nan=True)
    weights, others = (load_file(folder / "model.safetensors") for folder in (one, several))
    assert weights.keys() == others.keys()
    for name, weight in weights.items():
        torch.testing.assert_close(weight, others[name], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("settings", SETTINGS)
def test_three_processes_decide_and_train_as_one(tmp_path, settings) -> None:
    # 22 rows are one step of 12 and one of 10: two ranks repeat a row, the last has half its own.
    alone(tmp_path / "one", gradient_accumulation_steps=3, **settings)
    launch(tmp_path / "three", 3, gradient_accumulation_steps=1, **settings)
    assert_as_one(tmp_path / "one", tmp_path / "three", settings is not RANDOM)


@pytest.mark.slow
@pytest.mark.parametrize("settings", SETTINGS)
def test_sharded_weights_decide_and_train_as_one_process(tmp_path, settings) -> None:
    alone(tmp_path / "one", gradient_accumulation_steps=4, **settings)
    launch(tmp_path / "two", 2, gradient_accumulation_steps=2, sharded=True, **settings)
    assert_as_one(tmp_path / "one", tmp_path / "two", settings is not RANDOM)


@pytest.mark.slow
def test_accumulation_and_pool_factor_are_exchangeable(tmp_path) -> None:
    """A pool of 8 of one micro-batch in two, or of two micro-batches: the same candidates."""
    alone(tmp_path / "steps", gradient_accumulation_steps=4)
    launch(tmp_path / "factor", 2, gradient_accumulation_steps=1, pool_factor=2)
    first, second = (read_ledger(tmp_path / name).to_pydict() for name in ("steps", "factor"))
    assert sorted(decided(first)) == sorted(decided(second))


def decided(ledger) -> list[tuple]:
    names = ("step", "sample_id", "kept", "filled", "quadrant", "tokens_kept")
    return list(zip(*(ledger[name] for name in names), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("shards", [1, 2])
def test_a_stream_gives_every_row_once_to_one_of_two_processes(tmp_path, shards) -> None:
    launch(tmp_path, 2, 32, stream_of_shards=shards, max_steps=4, gradient_accumulation_steps=2)
    ledger = read_ledger(tmp_path).to_pydict()
    names = {step: [] for step in ledger["step"]}
    for step, name in zip(ledger["step"], ledger["sample_id"], strict=True):
        names[step].append(name)
    assert sorted(names) == [1, 2, 3, 4]
    assert all(len(set(some)) == len(some) == 16 for some in names.values())
    assert set(names[1] + names[2]) == {f"s{i}" for i in range(32)}
    assert sum(ledger["kept"]) == 4 * 8


@pytest.mark.slow
def test_a_stream_whose_shares_end_apart_is_stopped_with_a_reason(tmp_path) -> None:
    with pytest.raises(AssertionError, match="so their shares end apart"):
        launch(tmp_path, 2, 32, stream_of_shards=3, max_steps=4, gradient_accumulation_steps=2)
    # What was decided until then is on record.
    assert set(read_ledger(tmp_path).to_pydict()["step"]) == {1}
