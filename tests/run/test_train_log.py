"""The losses that a run logged."""

import json
import math

import numpy as np
import pytest

from qtuning import UsageError
from qtuning.run.checkpoints import break_seal, seal
from qtuning.run.train_log import read_losses

STEPS = np.arange(1, 41)
KEPT = 10 + STEPS % 7


def save(folder, entries, place="checkpoint-40", **more) -> None:
    (folder / place).mkdir(parents=True, exist_ok=True)
    state = {"log_history": entries, **more}
    (folder / place / "trainer_state.json").write_text(json.dumps(state))


def entries(every, upto=40, kept=KEPT, factor=1.0):
    return [
        {
            "step": step,
            "loss": factor / step,
            "pruning/kept_tokens": float(np.mean(kept[step - every : step])),
        }
        for step in range(every, upto + 1, every)
    ]


def read(folder, steps=STEPS, kept=KEPT):
    return read_losses(folder, steps, kept)


def test_a_run_without_a_log_has_none(tmp_path) -> None:
    assert read(tmp_path) == []
    (tmp_path / "checkpoint-3").mkdir()
    assert read(tmp_path) == []


@pytest.mark.parametrize("every", [1, 4, 10])
def test_each_loss_is_of_the_steps_since_the_one_before(tmp_path, every) -> None:
    others = [{"step": 4, "eval_loss": 3.0}, {"step": 40, "train_loss": 1.0}, {"step": 8}]
    save(tmp_path, [*others, *reversed(entries(every))])
    found = read(tmp_path)
    assert [one.step for one in found] == list(range(every, 41, every))
    assert [one.first_step for one in found] == list(range(1, 41, every))
    assert [one.loss for one in found] == [1 / step for step in range(every, 41, every)]


def test_the_log_that_goes_furthest_is_taken(tmp_path) -> None:
    save(tmp_path, entries(4, 12), ".")
    assert read(tmp_path)[-1].step == 12
    save(tmp_path, entries(4, 20), "checkpoint-20")
    assert read(tmp_path)[-1].step == 20
    save(tmp_path, entries(4, 36), "checkpoint-36")
    save(tmp_path, entries(4, 8), "checkpoint-8")
    assert read(tmp_path)[-1].step == 36
    save(tmp_path, entries(4), ".")
    assert read(tmp_path)[-1].step == 40


def test_the_log_of_another_run_is_left_out(tmp_path) -> None:
    save(tmp_path, entries(4, 20), "checkpoint-20")
    save(tmp_path, entries(4, 100, kept=np.arange(100), factor=9.0), "checkpoint-100")
    save(tmp_path, entries(4, kept=KEPT + 1, factor=9.0), ".")
    found = read(tmp_path)
    assert found[-1].step == 20
    assert found[0].loss == 1 / 4


def test_a_checkpoint_that_is_being_written_is_left_out(tmp_path) -> None:
    save(tmp_path, entries(4, 20), "checkpoint-20")
    break_seal(tmp_path / "checkpoint-40")
    (tmp_path / "checkpoint-40" / "trainer_state.json").write_text('{"log_hist')
    assert read(tmp_path)[-1].step == 20
    save(tmp_path, entries(4))
    seal(tmp_path / "checkpoint-40")
    assert read(tmp_path)[-1].step == 40
    (tmp_path / "checkpoint-40" / "pruning_seal.json").write_text("{")
    assert read(tmp_path)[-1].step == 20


def test_a_resume_within_a_window_does_not_make_it_another_run(tmp_path) -> None:
    history = entries(4)
    history[5]["pruning/kept_tokens"] = float(np.mean(KEPT[22:24]))
    save(tmp_path, history)
    assert len(read(tmp_path)) == 10


def test_nan_stays_and_what_is_no_number_is_left_out(tmp_path) -> None:
    history = entries(4)
    history[3]["loss"] = math.nan
    odd = [{"step": s, "loss": loss} for s, loss in ((2, "x"), ("3", 1.0), (True, 1.0), (-1, 1.0))]
    odd += [{"step": 5, "loss": 10**400}, {"step": 6, "loss": None}, {"loss": 1.0}]
    save(tmp_path, [*odd, "text", None, *history])
    found = read(tmp_path)
    assert len(found) == 10
    assert math.isnan(found[3].loss)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\0", "[" * 5000])
def test_a_damaged_file_is_named(tmp_path, text) -> None:
    (tmp_path / "trainer_state.json").write_text(text)
    with pytest.raises(UsageError, match=r"trainer_state\.json: .*; move it away"):
        read(tmp_path)


@pytest.mark.parametrize("history", [None, 1, {}, "x"])
def test_a_history_that_is_no_list_is_none(tmp_path, history) -> None:
    save(tmp_path, history)
    assert read(tmp_path) == []
