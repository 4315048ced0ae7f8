"""Model cards under each kind of trainer, and the picture of the plane in trackers."""

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from datasets import Dataset
from huggingface_hub import metadata_load
from transformers import DataCollatorForSeq2Seq, Trainer, TrainerCallback, TrainingArguments
from trl import SFTConfig, SFTTrainer

import qtuning
from qtuning import PruningArguments, with_pruning
from qtuning.run.card import PLANE_FILE
from qtuning.training import plane_picture
from qtuning.training.cards import describe_folder

from .. import runs, tiny

pytestmark = pytest.mark.usefixtures("one_thread")
SHORT = {**runs.SETTINGS, "max_steps": 2}


def plain(folder: Path) -> Trainer:
    """transformers' own trainer with pruning, on rows that are tokens already."""
    tokenizer = tiny.tokenizer()
    texts = [row["prompt"] + row["completion"] for row in tiny.rows()]
    ids = tokenizer(texts)["input_ids"]
    rows = Dataset.from_dict({"input_ids": ids, "labels": ids})
    return with_pruning(Trainer, PruningArguments(sample_ratio=0.5))(
        model=tiny.llama(),
        args=TrainingArguments(str(folder), **SHORT),
        train_dataset=rows,
        data_collator=DataCollatorForSeq2Seq(tokenizer),
        processing_class=tokenizer,
    )


def test_trls_card_says_what_was_pruned_from_the_first_checkpoint_on(tmp_path) -> None:
    trainer = runs.pruning(tmp_path, max_steps=3, save_strategy="steps", save_steps=2)
    trainer.train()
    text = (tmp_path / "README.md").read_text()
    assert "In 3 steps it trained on 12 of 24 (50.0%) samples" in text, "the end, not step 2"
    assert text.count("## Pruning") == 1
    assert {"trl", "sft", "q-tuning"} <= set(metadata_load(tmp_path / "README.md")["tags"])


def test_a_class_of_with_pruning_has_the_section_too(tmp_path) -> None:
    trainer = with_pruning(SFTTrainer, PruningArguments(sample_ratio=0.5))(
        tiny.llama(),
        SFTConfig(str(tmp_path), **SHORT),
        train_dataset=tiny.dataset(),
        processing_class=tiny.tokenizer(),
    )
    trainer.train()
    trainer.create_model_card("it")
    assert "8 of 16 (50.0%) samples" in (tmp_path / "README.md").read_text()
    assert "q-tuning" in metadata_load(tmp_path / "README.md")["tags"]


def test_transformers_own_card_has_it(tmp_path) -> None:
    trainer = plain(tmp_path)
    trainer.train()
    trainer.create_model_card(license="mit", tags=["mine"])
    metadata = metadata_load(tmp_path / "README.md")
    assert {"mine", "q-tuning"} <= set(metadata["tags"])
    assert metadata["license"] == "mit"
    assert "## Pruning" in (tmp_path / "README.md").read_text()


def test_a_card_written_past_the_trainer_is_described_by_its_folder(tmp_path) -> None:
    """LLaMA-Factory calls ``Trainer.create_model_card(trainer, ...)``."""
    trainer = plain(tmp_path)
    trainer.train()
    Trainer.create_model_card(trainer, license="other", tags=["llama-factory"])
    assert "Pruning" not in (tmp_path / "README.md").read_text()
    describe_folder(tmp_path)
    by_folder = (tmp_path / "README.md").read_text()
    trainer._record.describe_in(tmp_path / "README.md")
    assert (tmp_path / "README.md").read_text() == by_folder
    assert "8 of 16 (50.0%) samples" in by_folder


def test_a_folder_that_is_no_run_is_left_alone(tmp_path) -> None:
    (tmp_path / "README.md").write_text("# it\n")
    describe_folder(tmp_path)
    assert (tmp_path / "README.md").read_text() == "# it\n"


class Tracker(TrainerCallback):
    """A tracker, which is closed when training ends."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_train_end(self, args, state, control, **kwargs) -> None:
        self.seen.append("closed")


@pytest.fixture
def tracked(monkeypatch):
    """A tracker that counts as one of those that show pictures."""
    tracker = Tracker()
    monkeypatch.setattr(plane_picture, "_TRACKERS", (Tracker,))
    monkeypatch.setattr(
        plane_picture, "_show", lambda one, path, step: one.seen.append((path.name, step))
    )
    return tracker


def test_the_plane_is_shown_before_trackers_close(tmp_path, tracked) -> None:
    trainer = runs.pruning(tmp_path, max_steps=2)
    trainer.add_callback(tracked)
    trainer.train()
    assert tracked.seen == [(PLANE_FILE, 2), "closed"]
    assert (tmp_path / PLANE_FILE).read_bytes().startswith(b"\x89PNG")
    trainer.create_model_card("it")
    assert f"]({PLANE_FILE})" in (tmp_path / "README.md").read_text()


def test_the_picture_has_the_last_decisions(tmp_path, tracked, monkeypatch) -> None:
    drawn = []
    monkeypatch.setattr(plane_picture, "_MOST", 10)
    monkeypatch.setattr(plane_picture, "plot_eu_plane", lambda table, *_: drawn.append(table))
    trainer = runs.pruning(tmp_path, max_steps=3)
    trainer.add_callback(tracked)
    trainer.train()
    assert drawn[0].equals(qtuning.read_ledger(tmp_path).slice(14))


@pytest.mark.parametrize("pruner", ["random", "q-tuning"])
def test_without_scores_or_a_tracker_there_is_no_picture(tmp_path, tracked, pruner) -> None:
    trainer = runs.pruning(tmp_path, max_steps=1, sample_pruner=pruner, token_pruner="none")
    if pruner == "random":
        trainer.add_callback(tracked)
    trainer.train()
    assert tracked.seen in (["closed"], [])
    assert not (tmp_path / PLANE_FILE).exists()


def test_what_is_not_installed_is_not_imported(tmp_path, tracked, monkeypatch) -> None:
    for name in ("matplotlib", "tensorboard", "trackio", "wandb"):
        monkeypatch.setitem(sys.modules, name, None)  # an import of it fails
    trainer = runs.pruning(tmp_path, max_steps=1)
    trainer.add_callback(tracked)
    trainer.train()
    assert tracked.seen == ["closed"]


def test_a_new_run_takes_the_picture_of_an_earlier_one_away(tmp_path) -> None:
    (tmp_path / PLANE_FILE).touch()
    runs.pruning(tmp_path, max_steps=1).train()
    assert not (tmp_path / PLANE_FILE).exists()


def test_tensorboard_has_metrics_and_the_plane(tmp_path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    runs.pruning(tmp_path, max_steps=2, report_to="tensorboard").train()
    (events,) = tmp_path.rglob("events.out.tfevents.*")
    read = EventAccumulator(str(events)).Reload()
    assert "train/pruning/kept_samples" in read.Tags()["scalars"]
    (image,) = read.Images(plane_picture.NAME)
    assert image.step == 2
    assert image.encoded_image_string.startswith(b"\x89PNG")


@pytest.mark.skipif(find_spec("trackio") is None, reason="trackio is not installed")
def test_trackio_has_metrics_and_the_plane(tmp_path, monkeypatch) -> None:
    from trackio.sqlite_storage import SQLiteStorage

    store = tmp_path / "store"  # the package has read its environment already
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == "trackio":
            for constant, path in (("TRACKIO_DIR", store), ("MEDIA_DIR", store / "media")):
                if constant in vars(module):
                    monkeypatch.setattr(module, constant, path)
    runs.pruning(tmp_path / "out", max_steps=2, report_to="trackio", project="pruned").train()
    (name,) = SQLiteStorage.get_runs("pruned")
    logs = SQLiteStorage.get_logs("pruned", name)
    assert [row["train/pruning/kept_samples"] for row in logs if "train/loss" in row] == [4, 4]
    (picture,) = [row[plane_picture.NAME] for row in logs if plane_picture.NAME in row]
    (file,) = (tmp_path / "store" / "media").rglob("*.png")
    assert file.name in str(picture)


@pytest.mark.skipif(find_spec("wandb") is None, reason="wandb is not installed")
def test_wandb_has_the_plane(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    runs.pruning(tmp_path / "out", max_steps=2, report_to="wandb").train()
    (file,) = (tmp_path / "wandb").glob("offline-run-*/files/media/images/pruning/*.png")
    assert file.name.startswith("plane_")
