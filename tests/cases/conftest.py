from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qtuning.commands.main import main
from qtuning.training.trainer import QTuningTrainer

from .. import device, tiny
from .shown import FAST, Shown, shown


class ReadyError(Exception):
    """The rows are ready; training would begin."""


@pytest.fixture(autouse=True)
def _one_thread(one_thread: None) -> None:
    """Scores are compared, and sums depend on how many threads make them."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a model that has no chat template."""
    return tiny.save_model(tmp_path / "model").parent


@pytest.fixture
def model(folder: Path) -> Callable[[str | None], Path]:
    """A function that gives the model a chat template."""

    def with_template(template: str | None) -> Path:
        tokenizer = tiny.tokenizer()
        tokenizer.chat_template = template
        tokenizer.save_pretrained(folder / "model")
        return folder / "model"

    return with_template


@pytest.fixture
def train(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[list[Shown], list[Shown]]]:
    """Runs `qtuning train` up to its first step, and gives the rows to train and evaluate on."""

    def run(data: Path, *options: str) -> tuple[list[Shown], list[Shown]]:
        rows: list[list[Shown]] = []

        def ready(trainer: Any, **_: Any) -> None:
            rows.extend(
                shown(trainer, data) for data in (trainer.train_dataset, trainer.eval_dataset)
            )
            raise ReadyError

        monkeypatch.setattr(QTuningTrainer, "train", ready)
        flags = ["--model_name_or_path", str(folder / "model"), "--dataset_name", str(data)]
        out = ["--output_dir", str(folder / "out"), *device.flags()]
        with pytest.raises(ReadyError):
            main(["train", *FAST, *out, *flags, *options])
        return rows[0], rows[1]

    return run


@pytest.fixture
def refusal(folder: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a verb that must end with exit code 2, and gives its one line."""

    def run(data: Path, *options: str, verb: str = "train") -> str:
        flags = ["--model_name_or_path", str(folder / "model"), "--dataset_name", str(data)]
        more = {
            "train": [*FAST, *device.flags(), "--output_dir", str(folder / "out")],
            "score": ["--bf16", "false", "--output", str(folder / "scores.parquet")],
        }
        capfd.readouterr()
        assert main([verb, *more[verb], *flags, *options]) == 2
        (line,) = [one for one in capfd.readouterr().err.splitlines() if "qtuning: " in one]
        return line

    return run
