"""``python -m tests.fuzz``: break files at random and read them; ``make fuzz`` is the same.

A reader may read a broken file or raise UsageError. Anything else is a finding: another exception,
a crash, more than a minute or than 6 GiB. Each case runs in a forked child.
"""

import contextlib
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from itertools import count
from pathlib import Path

import datasets
import torch

from qtuning.errors import UsageError

from . import sound
from .mutate import mutated
from .targets import TARGETS, broken_table, options

SECONDS = 60
MEMORY = 6 * 2**30
READ, REFUSED, FOUND = 0, 2, 3


def main() -> int:
    """Fuzz, and return 1 if there are findings."""
    asked = options()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "sound"
        datasets.config.HF_DATASETS_CACHE = Path(scratch) / "cache"
        # In a child: this process must not start threads before it forks.
        if _forked(lambda: sound.make(folder), Path(scratch) / "log")[0] != READ:
            sys.exit((Path(scratch) / "log").read_text())
        if asked.case is not None:
            case(folder, Path(scratch) / "case", asked.target, asked.seed, asked.case)
            return 0
        names = [asked.target] if asked.target else list(TARGETS)
        return _fuzz(folder, Path(scratch), names, asked.seed, asked.minutes)


def _fuzz(folder: Path, scratch: Path, names: list[str], seed: int, minutes: float) -> int:
    ended = {READ: "read", REFUSED: "refused"}
    outcomes: Counter[tuple[str, str]] = Counter()
    findings: Counter[str] = Counter()
    until = time.monotonic() + 60 * minutes
    for number in count():
        for name in names:
            if time.monotonic() > until:
                return _tell(outcomes, findings)
            code, log = _forked(
                lambda: case(folder, scratch / "case", name, seed, number),  # noqa: B023
                scratch / "log",
            )
            for left in (scratch / "case", scratch / "cache"):
                shutil.rmtree(left, ignore_errors=True)
            if os.environ.get("FUZZ_LOG"):
                print(name, number, code, log.strip().splitlines()[-1:], flush=True)
            outcomes[name, ended.get(code, "FOUND")] += 1
            if code in ended:
                continue
            why = (log.strip().splitlines() or [""])[-1][:200] if code == FOUND else f"ended {code}"
            findings[f"{name}: {why[:60]}"] += 1
            if findings[f"{name}: {why[:60]}"] == 1:
                print(
                    f"{name}: {why}\n  python -m tests.fuzz --seed {seed} --target {name} "
                    f"--case {number}",
                    flush=True,
                )
    return 0


def case(folder: Path, place: Path, name: str, seed: int, number: int) -> None:
    """Break a file of a target and read it."""
    target = TARGETS[name]
    draw = random.Random(f"{seed} {name} {number}")
    shutil.copytree(folder, place)
    files = sorted(f for p in target.files for f in (place / target.folder).glob(p) if f.is_file())
    file = draw.choice(files)
    if target.tables and draw.random() < 0.7:
        broken_table(file, draw)
    else:
        file.write_bytes(mutated(file.read_bytes(), file.name, draw))
    target.read(file, draw)


def _forked(work: object, log: Path) -> tuple[int, str]:
    """Run in a child; its exit code, negative for a signal, and what it said."""
    child = os.fork()
    if child == 0:
        code = FOUND
        try:
            code = _in_child(work, log)
        finally:  # whatever happens, the child must not clear away its parent's files
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), log.read_text(errors="replace")


def _in_child(work: object, log: Path) -> int:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    signal.alarm(SECONDS)
    with log.open("w") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
        try:
            work()  # type: ignore[operator]
        except UsageError as error:
            print(error, file=sys.stderr, flush=True)  # which takes half a character too
            return REFUSED
        except BaseException:  # noqa: BLE001 - that is what is looked for
            traceback.print_exc()
            with contextlib.suppress(OSError):
                sys.stderr.flush()
            return FOUND
    return READ


def _tell(outcomes: Counter[tuple[str, str]], findings: Counter[str]) -> int:
    for (name, what), n in sorted(outcomes.items()):
        print(f"{name:15} {what:8} {n:7,}")
    print(f"{outcomes.total():,} cases, {findings.total():,} findings, {len(findings)} kinds")
    for why, n in findings.most_common():
        print(f"  {n:5,} {why}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
