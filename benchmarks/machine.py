"""Circumstances of a measurement: machine, versions, source, command."""

import functools
import hashlib
import importlib.metadata
import os
import platform
import shlex
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from qtuning.precision import dtype_name, use_bf16

ROOT = Path(__file__).parents[1]
PACKAGES = ("torch", "transformers", "trl", "accelerate", "peft", "datasets")


def session(arguments: list[str], threads: int, script: str = "speed.py") -> dict[str, Any]:
    """Describe a call of a benchmark: command, date, commit, machine, versions."""
    return {
        "command": command(arguments, script),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "machine": machine(),
        "threads": threads,
        "precision": f"float32 weights, {dtype_name(use_bf16(None, use_cpu=True))}",
        "versions": versions(),
    }


def machine() -> dict[str, Any]:
    """Describe processor, cores and memory, without names of hosts or people."""
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "memory_gib": round(_memory_gib(), 1),
        "system": f"{platform.system()} {platform.machine()}",
        "gpu": "none: CPU only; not yet run on a GPU",
    }


def load_average() -> float:
    """Return the number of runnable processes: times of a busy machine are unreliable."""
    return round(os.getloadavg()[0], 2)


def code_version() -> str:
    """Return the commit, with ``+`` for uncommitted changes; empty outside a checkout."""
    commit = _git("rev-parse", "--short", "HEAD") or ""
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return commit + ("+" if commit and changed else "")


@functools.cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that do the work."""
    return {
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
    }


@functools.cache
def source_hash() -> str:
    """Hash the source of library and benchmark, since other code is another measurement.

    Modules that only plan and report are left out.
    """
    measuring = ("worker", "training", "forward", "subjects", "sources", "process")
    files = sorted((ROOT / "src").rglob("*.py"))
    files += [Path(__file__).with_name(f"{name}.py") for name in measuring]
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def command(arguments: list[str], script: str = "speed.py") -> str:
    """Return the command line without this machine's folders, so that others can use it."""
    words = [Path(a).name if Path(a).is_absolute() else a for a in arguments]
    return shlex.join(["python", f"benchmarks/{script}", *words])


def _git(*arguments: str) -> str | None:
    try:
        process = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return process.stdout.strip() if process.returncode == 0 else None


def _cpu() -> str:
    lines = _lines("/proc/cpuinfo", "model name")
    return lines[0].split(":")[1].strip() if lines else platform.processor() or platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _lines(path: str, start: str) -> list[str]:
    file = Path(path)
    if not file.exists():
        return []
    return [line for line in file.read_text().splitlines() if line.startswith(start)]
