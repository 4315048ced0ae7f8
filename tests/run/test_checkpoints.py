"""A checkpoint is whole, or known not to be."""

import json
import shutil

import pytest
import torch
from safetensors.torch import save_file

from qtuning import UsageError, read_ledger
from qtuning.run.checkpoints import SEAL_FILE, break_seal, choose, damage, rotate, seal

from .. import runs

FILES = ("model.safetensors", "optimizer.pt", "trainer_state.json", "inner/part.bin")


class Touched:
    """A pickle that leaves a trace when somebody loads it."""

    def __init__(self, path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def write(checkpoint, sealed=True):
    break_seal(checkpoint)
    (checkpoint / "inner").mkdir(exist_ok=True)
    save_file({"a": torch.arange(50.0)}, checkpoint / "model.safetensors")
    torch.save({"b": torch.arange(50.0)}, checkpoint / "optimizer.pt")
    (checkpoint / "trainer_state.json").write_text("{}")
    torch.save([1, 2], checkpoint / "inner" / "part.bin")
    if sealed:
        seal(checkpoint)
    return checkpoint


@pytest.fixture
def checkpoint(tmp_path):
    return write(tmp_path / "checkpoint-7")


def flip(path, place=-30):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def test_a_sealed_checkpoint_is_whole(checkpoint, caplog) -> None:
    assert damage(checkpoint) is None
    (checkpoint / "note.txt").write_text("what a user adds is no damage")
    assert damage(checkpoint) is None
    assert not caplog.records


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("sealed", [True, False])
def test_a_file_that_is_cut_or_missing_is_named(checkpoint, name, sealed) -> None:
    if not sealed:
        (checkpoint / SEAL_FILE).unlink()
    cut(checkpoint / name)
    assert name in str(damage(checkpoint))
    (checkpoint / name).unlink()
    if sealed:
        assert damage(checkpoint) == f"{name} is missing"


@pytest.mark.parametrize("name", FILES)
def test_a_flipped_bit_is_seen(checkpoint, name) -> None:
    flip(checkpoint / name, place=1)
    assert damage(checkpoint) == f"{name} is not as it was written"


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "{}", '{"whole": 1}', '{"whole": true, "files": {"optimizer.pt": 3}}', "\0"],
)
def test_a_broken_seal_is_damage(checkpoint, content) -> None:
    (checkpoint / SEAL_FILE).write_text(content)
    assert damage(checkpoint) == f"{SEAL_FILE} cannot be read"


def test_a_seal_reads_nothing_outside_its_folder(checkpoint) -> None:
    (checkpoint.parent / "secret").write_text("x")
    listed = {"../secret": [1, 0], "/etc/hostname": [1, 0]}
    (checkpoint / SEAL_FILE).write_text(json.dumps({"whole": True, "files": listed}))
    assert damage(checkpoint) == "../secret is missing"


def test_a_checkpoint_being_written_is_not_whole(tmp_path, checkpoint) -> None:
    assert (
        damage(write(tmp_path / "checkpoint-8", sealed=False)) == "the run ended while writing it"
    )
    break_seal(checkpoint)  # written to again
    assert damage(checkpoint) == "the run ended while writing it"


def test_without_a_seal_what_can_be_read_is_taken_with_a_warning(checkpoint, caplog) -> None:
    (checkpoint / SEAL_FILE).unlink()
    assert damage(checkpoint) is None
    assert "older version" in caplog.text
    (checkpoint / "trainer_state.json").unlink()
    assert damage(checkpoint) == "trainer_state.json is missing"


def test_looking_at_a_checkpoint_makes_no_objects(checkpoint, tmp_path) -> None:
    torch.save(Touched(tmp_path / "touched"), checkpoint / "optimizer.pt")
    (checkpoint / SEAL_FILE).unlink()
    assert damage(checkpoint) is None  # loading it is refused later
    assert not (tmp_path / "touched").exists()


def test_true_takes_the_last_whole_one_and_sets_the_others_aside(tmp_path, caplog) -> None:
    for step in (2, 10, 9, 11):
        write(tmp_path / f"checkpoint-{step}", sealed=step != 11)
    cut(tmp_path / "checkpoint-10" / "optimizer.pt")
    cut(tmp_path / "checkpoint-2" / "optimizer.pt")  # older than what is chosen
    (tmp_path / "damaged-checkpoint-11").mkdir()
    assert choose(True, tmp_path) == tmp_path / "checkpoint-9"
    assert {path.name for path in tmp_path.iterdir()} == {
        *("checkpoint-2", "checkpoint-9", "damaged-checkpoint-10"),
        *("damaged-checkpoint-11", "damaged-checkpoint-11-2"),
    }
    assert caplog.text.count("is damaged") == 2


def test_where_none_is_whole_nothing_is_touched(tmp_path) -> None:
    with pytest.raises(UsageError, match="no checkpoint to resume from"):
        choose(True, tmp_path)
    write(tmp_path / "checkpoint-3", sealed=False)
    (tmp_path / "checkpoint-x").mkdir()
    with pytest.raises(UsageError, match=r"checkpoint-3 is damaged.*start anew"):
        choose(True, tmp_path)
    assert (tmp_path / "checkpoint-3").is_dir()


@pytest.mark.parametrize("asked", [None, False])
def test_nothing_asked_nothing_chosen(checkpoint, asked) -> None:
    assert choose(asked, checkpoint.parent) is None


def test_a_named_one_that_is_damaged_offers_the_one_before(tmp_path) -> None:
    for step in (1, 2, 3, 4):
        write(tmp_path / f"checkpoint-{step}")
    cut(tmp_path / "checkpoint-2" / "optimizer.pt")
    cut(tmp_path / "checkpoint-3" / "model.safetensors")
    with pytest.raises(UsageError, match=r"model.safetensors has .* resume from .*checkpoint-1,"):
        choose(str(tmp_path / "checkpoint-3"), tmp_path)
    assert (tmp_path / "checkpoint-3").is_dir()
    shutil.rmtree(tmp_path / "checkpoint-1")
    with pytest.raises(UsageError, match="no whole one is before it"):
        choose(str(tmp_path / "checkpoint-3"), tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        choose(str(tmp_path / "checkpoint-99"), tmp_path)
    assert choose(str(tmp_path / "checkpoint-4"), tmp_path) == tmp_path / "checkpoint-4"


@pytest.mark.parametrize(
    ("limit", "best", "left"),
    [
        (None, None, {1, 2, 10, 11}),
        (0, None, {1, 2, 10, 11}),
        (1, None, {10}),
        (2, None, {10, 11}),
        (1, 1, {1, 10}),
        (2, 1, {1, 10}),
        (3, 1, {1, 10, 11}),
        (2, 10, {10, 11}),
        (9, None, {1, 2, 10, 11}),
    ],
)
def test_rotation(tmp_path, limit, best, left) -> None:
    for step in (1, 2, 10, 11):
        (tmp_path / f"checkpoint-{step}").mkdir()
    named = str(tmp_path / f"checkpoint-{best}") if best else None
    rotate(tmp_path / "checkpoint-10", limit, named)
    assert {int(path.name.split("-")[1]) for path in tmp_path.iterdir()} == left


def saving(folder, **settings):
    return runs.pruning(folder, save_strategy="steps", save_steps=1, **settings)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    trainer = saving(tmp_path_factory.mktemp("whole"))
    trainer.train()
    return trainer


@pytest.fixture
def copied(tmp_path, whole):
    return shutil.copytree(whole.args.output_dir, tmp_path / "run")


def test_a_run_seals_and_rotates(tmp_path) -> None:
    trainer = saving(tmp_path, save_total_limit=2, num_train_epochs=1)
    trainer.train()
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == [
        "checkpoint-2",
        "checkpoint-3",
    ]
    assert damage(tmp_path / "checkpoint-3") is None
    assert trainer.args.save_total_limit == 2


def test_a_run_goes_on_from_the_last_whole_checkpoint(copied, whole, caplog) -> None:
    flip(copied / "checkpoint-6" / "model.safetensors")
    cut(copied / "checkpoint-5" / "optimizer.pt")
    again = saving(copied)
    again.train(resume_from_checkpoint=True)
    assert (copied / "damaged-checkpoint-6").is_dir()
    assert "optimizer.pt has" in caplog.text
    assert runs.same_weights(again, whole)
    assert read_ledger(copied).equals(read_ledger(whole.args.output_dir))


def test_pickled_objects_in_a_checkpoint_are_refused(copied, tmp_path) -> None:
    torch.save(Touched(tmp_path / "touched"), copied / "checkpoint-5" / "optimizer.pt")
    seal(copied / "checkpoint-5")
    with pytest.raises(UsageError, match="pickled objects") as caught:
        saving(copied).train(resume_from_checkpoint=str(copied / "checkpoint-5"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "touched").exists()


def test_a_run_sees_that_its_ledger_is_not_the_checkpoints(copied) -> None:
    first, second, *_ = sorted((copied / "ledger").iterdir())
    cut(second)
    with pytest.raises(UsageError, match=r"resume from an earlier"):
        saving(copied).train(resume_from_checkpoint=True)
    saving(copied).train(resume_from_checkpoint=str(copied / "checkpoint-1"))
    assert read_ledger(copied).num_rows == 48
    first.unlink()
    with pytest.raises(UsageError, match="is not as it was written"):
        saving(copied).train(resume_from_checkpoint=True)
