"""Write and choose checkpoints so that all ranks agree on success or failure."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from shutil import rmtree

import torch
from safetensors import SafetensorError
from transformers import TrainingArguments
from transformers.trainer import TRAINING_ARGS_NAME

from ..errors import UsageError, first_line
from ..ranks import Ranks
from .checkpoints import break_seal, choose, rotate, seal

_TORCH_WRITER = ("inline_container", "PytorchStreamWriter", "iostream error")


@contextmanager
def whole_checkpoint(
    checkpoint: Path, ranks: Ranks, args: TrainingArguments, best: Callable[[], str | None]
) -> Iterator[None]:
    """Make the files written within a whole checkpoint, or delete all of them.

    The checkpoint is sealed when all ranks have written. Old checkpoints are deleted only then:
    the trainer itself would delete them while other ranks may still be writing.

    Args:
        checkpoint: The checkpoint's folder.
        ranks: The data-parallel ranks; every rank must enter.
        args: The training arguments; their ``save_total_limit`` is off within.
        best: Returns the path of the best checkpoint, which stays; None if there is none.

    Raises:
        UsageError: A rank cannot write the checkpoint; the files written so far are deleted.
    """
    limit, args.save_total_limit = args.save_total_limit, None
    try:
        with _written_everywhere(checkpoint, ranks, args):
            if args.should_save:
                break_seal(checkpoint)
            yield
    finally:
        args.save_total_limit = limit
    with _written_everywhere(checkpoint, ranks, args):
        if args.should_save:
            if (checkpoint / TRAINING_ARGS_NAME).exists():  # with the limit that the user set
                torch.save(args, checkpoint / TRAINING_ARGS_NAME)
            seal(checkpoint)
    if args.should_save:
        with room_for(checkpoint.parent):
            rotate(checkpoint, limit, best())


def room_for(what: Path) -> AbstractContextManager[None]:
    """A context that turns errors of the disk into a UsageError of one line.

    Args:
        what: The file or folder written within.

    Raises:
        UsageError: The disk refuses to write.
    """
    return _Room(what)


class _Room(AbstractContextManager[None]):
    """Converts errors of the disk that are raised within; other errors pass."""

    def __init__(self, what: Path) -> None:
        self._what = what

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None and _is_the_disks(error):
            why = first_line(error)
            raise UsageError(f"cannot write {self._what}: {why}; make room or move it") from error


def _is_the_disks(error: BaseException) -> bool:
    """Whether an error says that the disk refuses to write."""
    if isinstance(error, RuntimeError):  # torch.save raises it on a full disk
        return any(name in str(error) for name in _TORCH_WRITER)
    # tokenizers, which is written in Rust, raises Exception itself
    rust = type(error) is Exception and "(os error" in str(error)
    return rust or isinstance(error, OSError | SafetensorError)


def choose_together(asked: str | bool | None, output_dir: Path, ranks: Ranks) -> Path | None:
    """The checkpoint that the first process chooses, the same on all ranks.

    Arguments and errors are those of ``checkpoints.choose``.
    """
    choice: Path | UsageError | None = None
    if ranks.is_main:
        try:
            choice = choose(asked, output_dir)
        except UsageError as error:
            choice = error
    choice = ranks.of_every_process(choice)[0]
    if isinstance(choice, UsageError):
        raise choice
    return choice


@contextmanager
def _written_everywhere(checkpoint: Path, ranks: Ranks, args: TrainingArguments) -> Iterator[None]:
    """Wait until all ranks have left the block.

    Raises:
        UsageError: The disk of some rank refuses to write; the checkpoint is deleted.
    """
    failure: UsageError | None = None
    try:
        with room_for(checkpoint):
            yield
    except UsageError as error:
        failure = error
    messages = ranks.of_every_process(None if failure is None else str(failure))
    why = next(filter(None, messages), None)
    if why is None:
        return
    if args.should_save:  # the disk is full, and a resumed run would not use it
        rmtree(checkpoint, ignore_errors=True)
    raise UsageError(
        f"{why}, then go on with resume_from_checkpoint: older checkpoints are as they were"
    ) from failure
