"""Writing and choosing checkpoints so that all ranks agree on what became of it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from shutil import rmtree

from safetensors import SafetensorError
from transformers import TrainingArguments

from ..errors import UsageError, first_line
from ..ranks import Ranks
from .checkpoints import break_seal, choose, rotate, seal

_TORCH_WRITER = ("inline_container", "PytorchStreamWriter")


@contextmanager
def whole_checkpoint(
    checkpoint: Path, ranks: Ranks, args: TrainingArguments, best: Callable[[], str | None]
) -> Iterator[None]:
    """What is written within becomes a whole checkpoint, or none at all.

    It is sealed once all ranks have written. Only then old ones are deleted: the trainer itself
    would do so while other ranks may be writing still.

    Args:
        checkpoint: Its folder.
        ranks: All of them; every rank must come here.
        args: Their ``save_total_limit`` does not hold within.
        best: The best checkpoint, which stays, once it is known.

    Raises:
        UsageError: It cannot be written, on any rank. What there is of it is deleted.
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
            seal(checkpoint)
    if args.should_save:
        with room_for(checkpoint.parent):
            rotate(checkpoint, limit, best())


def room_for(what: Path) -> AbstractContextManager[None]:
    """Say in a line that weights or the like cannot be written.

    Args:
        what: What is written within.

    Raises:
        UsageError: The disk refuses it.
    """
    return _Room(what)


class _Room(AbstractContextManager[None]):
    """Looks at what was raised within; what is not the disk's doing goes its way."""

    def __init__(self, what: Path) -> None:
        self._what = what

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None and _is_the_disks(error):
            why = first_line(error)
            raise UsageError(f"cannot write {self._what}: {why}; make room or move it") from error


def _is_the_disks(error: BaseException) -> bool:
    if isinstance(error, RuntimeError):  # what torch.save makes of a full disk
        return any(name in str(error) for name in _TORCH_WRITER)
    # tokenizers, which is Rust, raises Exception itself
    rust = type(error) is Exception and "(os error" in str(error)
    return rust or isinstance(error, OSError | SafetensorError)


def choose_together(asked: str | bool | None, output_dir: Path, ranks: Ranks) -> Path | None:
    """``choose`` on the first process, for all of them."""
    chosen: Path | UsageError | None = None
    if ranks.is_main:
        try:
            chosen = choose(asked, output_dir)
        except UsageError as error:
            chosen = error
    chosen = ranks.of_every_process(chosen)[0]
    if isinstance(chosen, UsageError):
        raise chosen
    return chosen


@contextmanager
def _written_everywhere(checkpoint: Path, ranks: Ranks, args: TrainingArguments) -> Iterator[None]:
    """Go on where all ranks have written; where one has failed, all do."""
    failed: UsageError | None = None
    try:
        with room_for(checkpoint):
            yield
    except UsageError as error:
        failed = error
    told = ranks.of_every_process(None if failed is None else str(failed))
    why = next(filter(None, told), None)
    if why is None:
        return
    if args.should_save:  # it only takes room, and a resume would set it aside
        rmtree(checkpoint, ignore_errors=True)
    raise UsageError(
        f"{why}, then go on with resume_from_checkpoint: older checkpoints are as they were"
    ) from failed
