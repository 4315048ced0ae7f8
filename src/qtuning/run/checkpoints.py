"""Checkpoints with a seal, which separates whole checkpoints from damaged ones.

A seal is written last, and lists the size and checksum of every file of a checkpoint. While a
checkpoint is written, its seal is open. So a folder without a seal is from an older version.
"""

import json
import logging
import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ..errors import UsageError

logger = logging.getLogger(__name__)  # only the first process looks at checkpoints

SEAL_FILE = "pruning_seal.json"
TRAINER_STATE = "trainer_state.json"
_OPEN: dict[str, Any] = {"whole": False, "files": {}}
_BLOCK = 1 << 22
_TORCH = (".pt", ".pth", ".bin")
_NOT_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


def break_seal(checkpoint: Path) -> None:
    """Make a checkpoint's folder with an open seal, so that an older seal does not count.

    Raises:
        OSError: The folder or the seal cannot be written.
    """
    checkpoint.mkdir(parents=True, exist_ok=True)
    _write(checkpoint / SEAL_FILE, _OPEN)


def seal(checkpoint: Path) -> None:
    """Flush a checkpoint's files to disk, then seal it; call it when all ranks have written.

    Raises:
        OSError: A file cannot be read or written.
    """
    files = {}
    for name, path in _files(checkpoint):
        with path.open("rb") as file:
            os.fsync(file.fileno())  # the seal lets older checkpoints be deleted
        files[name] = [path.stat().st_size, _checksum(path)]
    _write(checkpoint / SEAL_FILE, {"whole": True, "files": files})


def damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint, in words; None if it is whole.

    A checkpoint without a seal counts as whole if its files can be read; a warning is logged.
    """
    try:
        content = json.loads((checkpoint / SEAL_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        content = None
    except (OSError, ValueError):
        return f"{SEAL_FILE} cannot be read"
    try:
        if content is not None:
            return _broken_seal(checkpoint, content)
        problem = _unreadable(checkpoint)
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    if problem is None:
        logger.warning(
            f"{checkpoint} has no {SEAL_FILE}, as if an older version had written it: its files "
            "can be read, but nobody knows whether they are as they were written"
        )
    return problem


def is_unfinished(checkpoint: Path) -> bool:
    """Whether a checkpoint is being written, or was when its run ended."""
    try:
        content = json.loads((checkpoint / SEAL_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False  # of an older version
    except (OSError, ValueError):
        return True
    return bool(content == _OPEN)


def choose(asked: str | bool | None, output_dir: Path) -> Path | None:
    """The checkpoint to resume from; None if the run starts from the beginning.

    Args:
        asked: A checkpoint's folder; True for the last whole checkpoint in ``output_dir``, for
            which later, damaged ones are renamed; None or False for no checkpoint.
        output_dir: The run's output folder.

    Raises:
        UsageError: There is no whole checkpoint, or the named one is missing or damaged.
    """
    if asked is True:
        return _last_whole(output_dir)
    if not asked:
        return None
    checkpoint = Path(asked)
    if not checkpoint.is_dir():
        raise UsageError(f"resume_from_checkpoint {checkpoint}: no such folder")
    problem = damage(checkpoint)
    if problem is None:
        return checkpoint
    step = _step(checkpoint)
    older = [c for c in newest_first(checkpoint.parent) if _step(c) < step or step < 0]
    alternative = next((other for other in older if damage(other) is None), None)
    instead = (
        f"resume from {alternative}, the last whole one before it"
        if alternative
        else "no whole one is before it: start anew without resume_from_checkpoint"
    )
    raise UsageError(f"checkpoint {checkpoint} is damaged ({problem}): {instead}")


def rotate(newest: Path, limit: int | None, best: str | None) -> None:
    """Delete the oldest checkpoints, except the newest and the best.

    Args:
        newest: The newest checkpoint, which must be sealed.
        limit: Checkpoints to keep (``save_total_limit``); None or 0 keeps all.
        best: The best checkpoint; None if there is none.

    Raises:
        OSError: A checkpoint cannot be deleted.
    """
    if limit is None or limit <= 0:
        return
    protected = {newest.resolve(), *([Path(best).resolve()] if best else [])}
    others = [c for c in newest_first(newest.parent) if c.resolve() not in protected]
    for checkpoint in others[max(0, limit - len(protected)) :]:
        shutil.rmtree(checkpoint)


def _last_whole(output_dir: Path) -> Path:
    """The last whole checkpoint of a run; later, damaged ones are renamed.

    Raises:
        UsageError: There is no whole checkpoint.
    """
    damaged = []
    for checkpoint in newest_first(output_dir):
        problem = damage(checkpoint)
        if problem is not None:
            damaged.append((checkpoint, problem))
            continue
        for half, why in damaged:
            aside = _set_aside(half)
            logger.warning(
                f"{half} is damaged ({why}): it is now {aside.name}, which nobody needs, and the "
                f"run goes on from {checkpoint}"
            )
        return checkpoint
    if not damaged:
        raise UsageError(f"no checkpoint to resume from in {output_dir}")
    checkpoint, problem = damaged[0]
    raise UsageError(
        f"no whole checkpoint to resume from in {output_dir}: {checkpoint.name} is damaged "
        f"({problem}); start anew without resume_from_checkpoint"
    )


def _set_aside(checkpoint: Path) -> Path:
    """Rename a damaged checkpoint, and return its new path.

    Raises:
        UsageError: The folder cannot be renamed.
    """
    path, n = checkpoint.with_name(f"damaged-{checkpoint.name}"), 1
    while path.exists():
        n += 1
        path = checkpoint.with_name(f"damaged-{checkpoint.name}-{n}")
    try:
        return checkpoint.rename(path)
    except OSError as error:
        raise UsageError(
            f"cannot rename the damaged {checkpoint} ({error.strerror}): move it away"
        ) from error


def newest_first(output_dir: Path) -> list[Path]:
    """The checkpoints of a run, whole or not, by the step in their names."""
    checkpoints = [
        path for path in output_dir.glob(f"{PREFIX_CHECKPOINT_DIR}-*") if _step(path) >= 0
    ]
    return sorted(filter(Path.is_dir, checkpoints), key=_step, reverse=True)


def _step(checkpoint: Path) -> int:
    """The step in a checkpoint's name, -1 if there is none."""
    match = re.fullmatch(rf"{PREFIX_CHECKPOINT_DIR}-([0-9]+)", checkpoint.name)
    return int(match[1]) if match else -1


def _files(checkpoint: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(checkpoint.rglob("*")):
        name = path.relative_to(checkpoint).as_posix()
        if path.is_file() and name != SEAL_FILE:
            yield name, path


def _checksum(path: Path) -> int:
    """CRC-32 of a file; a seal guards against accidents only, not against tampering."""
    crc = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            crc = zlib.crc32(block, crc)
    return crc


def _write(path: Path, content: dict[str, Any]) -> None:
    """Write a seal atomically, so that no reader sees a part of it."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _broken_seal(checkpoint: Path, content: Any) -> str | None:
    """How a checkpoint differs from its seal, in words; None if it does not."""
    match content:
        case {"whole": True, "files": dict(files)}:
            pass
        case {"whole": False}:
            return "the run ended while writing it"
        case _:
            return f"{SEAL_FILE} cannot be read"
    path_of_file = dict(_files(checkpoint))
    for name, entry in files.items():
        if name not in path_of_file:
            return f"{name} is missing"
        if not isinstance(entry, list) or len(entry) != 2:
            return f"{SEAL_FILE} cannot be read"
        size = path_of_file[name].stat().st_size
        if size != entry[0]:
            return f"{name} has {size:,} bytes instead of {entry[0]:,}"
    for name, (_, crc) in files.items():
        if _checksum(path_of_file[name]) != crc:
            return f"{name} is not as it was written"
    return None


def _unreadable(checkpoint: Path) -> str | None:
    """Which file of a checkpoint cannot be read, in words; no objects in files are created."""
    path_of_file = dict(_files(checkpoint))
    if TRAINER_STATE not in path_of_file:
        return f"{TRAINER_STATE} is missing"
    for name, path in path_of_file.items():
        try:
            if path.suffix == ".json":
                json.loads(path.read_text(encoding="utf-8"))
            elif path.suffix == ".safetensors":
                with safe_open(path, "pt"):  # compares the header with the size
                    pass
            elif path.suffix in _TORCH:
                with zipfile.ZipFile(path) as archive:
                    if archive.testzip() is not None:
                        return f"{name} cannot be read"
        except (ValueError, SafetensorError, *_NOT_ZIP):
            return f"{name} cannot be read"
    return None
