"""All ranks agree on what became of a checkpoint."""

from types import SimpleNamespace

import pytest
from safetensors import SafetensorError

from qtuning import UsageError
from qtuning.run.checkpoints import damage
from qtuning.run.saving import choose_together, room_for, whole_checkpoint


class Ranks:
    """This rank and another one, which has something to say each time that they meet."""

    is_main = True

    def __init__(self, *said: str | None, met=lambda: None) -> None:
        self._said, self._met = list(said), met

    def of_every_process(self, item):
        self._met()
        return [item, self._said.pop(0) if self._said else None]


@pytest.fixture
def args():
    return SimpleNamespace(save_total_limit=1, should_save=True)


def save(checkpoint, ranks, args, error=None):
    with whole_checkpoint(checkpoint, ranks, args, lambda: None):
        assert args.save_total_limit is None  # the trainer deletes nothing by itself
        (checkpoint / "weights").write_text("1")
        if error:
            raise error


def test_old_ones_go_once_all_ranks_have_written_and_it_is_sealed(tmp_path, args) -> None:
    old, new, seen = tmp_path / "checkpoint-1", tmp_path / "checkpoint-2", []
    old.mkdir()
    ranks = Ranks(met=lambda: seen.append((old.is_dir(), damage(new) is None)))
    save(new, ranks, args)
    assert seen == [(True, False), (True, True)]
    assert not old.exists()
    assert args.save_total_limit == 1


@pytest.mark.parametrize("said", [["no room"], [None, "no room"]], ids=["writing", "sealing"])
def test_where_another_rank_fails_all_do(tmp_path, args, said) -> None:
    old, new = tmp_path / "checkpoint-1", tmp_path / "checkpoint-2"
    old.mkdir()
    with pytest.raises(UsageError, match="no room, then go on with resume_from_checkpoint"):
        save(new, Ranks(*said), args)
    assert old.is_dir()
    assert not new.exists()
    assert args.save_total_limit == 1


FULL = [
    OSError(28, "No space left on device"),
    SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
    RuntimeError("[enforce fail at inline_container.cc:668] . unexpected pos 64 vs 0\nmore"),
    RuntimeError("basic_ios::clear: iostream error"),
]


@pytest.mark.parametrize("error", FULL, ids=lambda error: type(error).__name__)
def test_what_a_full_disk_says_becomes_a_line(tmp_path, args, error) -> None:
    with pytest.raises(UsageError, match=r"cannot write .*checkpoint-2: .*make room") as caught:
        save(tmp_path / "checkpoint-2", Ranks(), args, error)
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="cannot write"), room_for(tmp_path):
        raise error


def test_an_old_one_that_cannot_be_deleted_is_told_in_a_line(tmp_path, args, monkeypatch) -> None:
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "checkpoint-1").mkdir()
    monkeypatch.setattr("qtuning.run.checkpoints.shutil.rmtree", refuse)
    with pytest.raises(UsageError, match="Permission denied"):
        save(tmp_path / "checkpoint-2", Ranks(), args)
    assert damage(tmp_path / "checkpoint-2") is None


def test_other_errors_are_themselves(tmp_path, args) -> None:
    with pytest.raises(RuntimeError, match="of another kind"):
        save(tmp_path / "checkpoint-2", Ranks(), args, RuntimeError("of another kind"))
    assert args.save_total_limit == 1


def test_a_rank_that_writes_no_shared_files_seals_and_deletes_none(tmp_path, args) -> None:
    args.should_save, old = False, tmp_path / "checkpoint-1"
    old.mkdir()
    new = tmp_path / "checkpoint-2"
    new.mkdir()
    save(new, Ranks(), args)
    assert [path.name for path in new.iterdir()] == ["weights"]
    assert old.is_dir()


def test_the_first_process_chooses_for_all(tmp_path) -> None:
    with pytest.raises(UsageError, match="no checkpoint to resume from"):
        choose_together(True, tmp_path, Ranks())
    assert choose_together(None, tmp_path, Ranks()) is None
    told = Ranks()
    told.is_main = False
    told.of_every_process = lambda item: [tmp_path / "checkpoint-4", item]
    assert choose_together(True, tmp_path, told) == tmp_path / "checkpoint-4"
