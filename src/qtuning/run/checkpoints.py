"""Checkpoints that are whole or known not to be.

A seal, written last, lists size and checksum of every file of a checkpoint. While a checkpoint is
written its seal is open, so a folder without any is one that an older version wrote.
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
_TRAINER_STATE = "trainer_state.json"
_OPEN: dict[str, Any] = {"whole": False, "files": {}}
_BLOCK = 1 << 22
_TORCH = (".pt", ".pth", ".bin")
_NOT_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


def break_seal(checkpoint: Path) -> None:
    """Make the folder, and mark it as being written to, so that an older seal does not count.

    Raises:
        OSError: It cannot be written.
    """
    checkpoint.mkdir(parents=True, exist_ok=True)
    _write(checkpoint / SEAL_FILE, _OPEN)


def seal(checkpoint: Path) -> None:
    """Put everything on disk, then say that it is whole; call it when all ranks have written.

    Raises:
        OSError: A file cannot be read or written.
    """
    files = {}
    for name, path in _files(checkpoint):
        with path.open("rb") as file:
            os.fsync(file.fileno())  # older checkpoints are deleted on the strength of the seal
        files[name] = [path.stat().st_size, _checksum(path)]
    _write(checkpoint / SEAL_FILE, {"whole": True, "files": files})


def damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint; None if it is whole.

    One without a seal is whole as far as its files can be read, with a warning.
    """
    try:
        sealed = json.loads((checkpoint / SEAL_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        sealed = None
    except (OSError, ValueError):
        return f"{SEAL_FILE} cannot be read"
    try:
        if sealed is not None:
            return _broken_seal(checkpoint, sealed)
        wrong = _unreadable(checkpoint)
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    if wrong is None:
        logger.warning(
            f"{checkpoint} has no {SEAL_FILE}, as if an older version had written it: its files "
            "can be read, but nobody knows whether they are as they were written"
        )
    return wrong


def choose(asked: str | bool | None, output_dir: Path) -> Path | None:
    """The checkpoint to go on from.

    Args:
        asked: A folder; True for the last whole one in ``output_dir``, for which damaged ones
            after it are renamed; None or False for none.
        output_dir: The run's output folder.

    Raises:
        UsageError: There is none, or the named one is damaged.
    """
    if asked is True:
        return _last_whole(output_dir)
    if not asked:
        return None
    checkpoint = Path(asked)
    if not checkpoint.is_dir():
        raise UsageError(f"resume_from_checkpoint {checkpoint}: no such folder")
    wrong = damage(checkpoint)
    if wrong is None:
        return checkpoint
    step = _step(checkpoint)
    others = [c for c in _newest_first(checkpoint.parent) if _step(c) < step or step < 0]
    whole = next((other for other in others if damage(other) is None), None)
    instead = (
        f"resume from {whole}, the last whole one before it"
        if whole
        else "no whole one is before it: start anew without resume_from_checkpoint"
    )
    raise UsageError(f"checkpoint {checkpoint} is damaged ({wrong}): {instead}")


def rotate(newest: Path, limit: int | None, best: str | None) -> None:
    """Delete the oldest checkpoints beside the newest, which must be sealed, and the best.

    Raises:
        OSError: One cannot be deleted.
    """
    if limit is None or limit <= 0:
        return
    protected = {newest.resolve(), *([Path(best).resolve()] if best else [])}
    others = [c for c in _newest_first(newest.parent) if c.resolve() not in protected]
    for old in others[max(0, limit - len(protected)) :]:
        shutil.rmtree(old)


def _last_whole(output_dir: Path) -> Path:
    damaged = []
    for checkpoint in _newest_first(output_dir):
        wrong = damage(checkpoint)
        if wrong is not None:
            damaged.append((checkpoint, wrong))
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
    checkpoint, wrong = damaged[0]
    raise UsageError(
        f"no whole checkpoint to resume from in {output_dir}: {checkpoint.name} is damaged "
        f"({wrong}); start anew without resume_from_checkpoint"
    )


def _set_aside(checkpoint: Path) -> Path:
    aside, n = checkpoint.with_name(f"damaged-{checkpoint.name}"), 1
    while aside.exists():
        n += 1
        aside = checkpoint.with_name(f"damaged-{checkpoint.name}-{n}")
    try:
        return checkpoint.rename(aside)
    except OSError as error:
        raise UsageError(
            f"cannot rename the damaged {checkpoint} ({error.strerror}): move it away"
        ) from error


def _newest_first(output_dir: Path) -> list[Path]:
    found = [path for path in output_dir.glob(f"{PREFIX_CHECKPOINT_DIR}-*") if _step(path) >= 0]
    return sorted(filter(Path.is_dir, found), key=_step, reverse=True)


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
    """CRC-32: against accidents, which is all that a seal is for."""
    crc = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            crc = zlib.crc32(block, crc)
    return crc


def _write(path: Path, content: dict[str, Any]) -> None:
    """Write a seal so that its name only ever stands for all of it."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _broken_seal(checkpoint: Path, sealed: Any) -> str | None:
    match sealed:
        case {"whole": True, "files": dict(files)}:
            pass
        case {"whole": False}:
            return "the run ended while writing it"
        case _:
            return f"{SEAL_FILE} cannot be read"
    there = dict(_files(checkpoint))
    for name, listed in files.items():
        if name not in there:
            return f"{name} is missing"
        if not isinstance(listed, list) or len(listed) != 2:
            return f"{SEAL_FILE} cannot be read"
        size = there[name].stat().st_size
        if size != listed[0]:
            return f"{name} has {size:,} bytes instead of {listed[0]:,}"
    for name, (_, crc) in files.items():
        if _checksum(there[name]) != crc:
            return f"{name} is not as it was written"
    return None


def _unreadable(checkpoint: Path) -> str | None:
    """Look at the files one by one; objects in them are not made."""
    there = dict(_files(checkpoint))
    if _TRAINER_STATE not in there:
        return f"{_TRAINER_STATE} is missing"
    for name, path in there.items():
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
