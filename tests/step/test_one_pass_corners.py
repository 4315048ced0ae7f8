"""What one pass shares with two: remainders of a stream, precision, progress and memory."""

import pytest
import torch

from .. import runs, tiny
from .test_one_pass import assert_same_run, column, train

REMAINDER = {
    "data": None,
    "gradient_accumulation_steps": 4,
    "max_steps": 4,
    "num_train_epochs": 1,
    # no scores, so that a difference of the gradients is not one of the decisions
    "sample_pruner": "longest",
    "sample_ratio": 0.25,
}


def test_gradients_left_by_the_end_of_a_stream_are_not_corrected_twice(tmp_path) -> None:
    """24 rows are 6 micro-batches an epoch, of which 4 make a step: 2 wait for the next epoch."""
    two, one = (
        train(
            tmp_path,
            one_pass=x,
            **{**REMAINDER, "data": tiny.dataset(24).to_iterable_dataset()},
        )
        for x in (False, True)
    )
    assert_same_run(two, one)
    assert column(one, "grad_norm").tolist() == pytest.approx(
        column(two, "grad_norm").tolist(), rel=1e-4
    )


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_loss_has_the_precision_of_training_whatever_score_dtype_is(
    tmp_path, dtype, capsys
) -> None:
    settings = {"sample_pruner": "longest", "token_pruner": "ppl", "max_steps": 2}
    same = train(tmp_path / "same", one_pass=True, **settings)
    capsys.readouterr()
    other = train(tmp_path / dtype, one_pass=True, score_dtype=dtype, **settings)
    assert "score_dtype has no effect with one_pass" in capsys.readouterr().out
    for name in ("loss", "grad_norm"):
        assert column(other, name).tolist() == column(same, name).tolist()


seen: list[tuple[int, int, float, int]] = []


def counting(pool, args):
    """Keeps two samples a pool, and counts its calls."""
    n = int(pool.memory.get("calls", torch.zeros(())))
    seen.append((pool.step, pool.group, pool.progress, n))
    pool.memory["calls"] = torch.tensor(n + 1)
    return torch.arange(len(pool)) < 2


@pytest.mark.parametrize("resumed", [False, True])
def test_a_pruner_sees_the_progress_and_memory_of_two_passes(tmp_path, resumed) -> None:
    def seen_by(one_pass: bool) -> list[tuple[int, int, float, int]]:
        seen.clear()
        settings = {
            "sample_pruner": counting,
            "max_steps": 4,
            "pool_scope": "micro",
            "save_strategy": "steps",
            "save_steps": 2,
            "one_pass": one_pass,
        }
        folder = tmp_path / str(one_pass)
        runs.pruning(folder, **settings).train()
        if resumed:
            seen.clear()
            runs.pruning(folder, **settings).train(str(folder / "checkpoint-2"))
        return list(seen)

    two = seen_by(False)
    assert seen_by(True) == two
    first = 3 if resumed else 1
    assert [step for step, *_ in two] == [s for s in range(first, 5) for _ in range(2)]
    assert [n for *_, n in two] == list(range(2 * (first - 1), 8))
    assert two[-1][2] == 0.75
