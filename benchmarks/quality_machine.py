"""The machine and the versions that a cell ran on."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "transformers", "trl", "accelerate", "peft", "datasets")


def machine() -> dict[str, Any]:
    """Processor, cores, memory and versions; no names of hosts or people."""
    facts: dict[str, Any] = {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
    }
    cpu, memory = Path("/proc/cpuinfo"), Path("/proc/meminfo")
    if cpu.is_file():
        names = [
            line.split(":", 1)[1].strip()
            for line in cpu.read_text().splitlines()
            if line.startswith("model name")
        ]
        facts["processor"] = names[0] if names else facts["processor"]
    if memory.is_file():
        facts["memory_gb"] = round(int(memory.read_text().split()[1]) / 2**20)
    return facts


def load_average() -> float:
    """How many processes want to run: times of a busy machine are not to be trusted."""
    return round(os.getloadavg()[0], 2)


def code_version() -> str:
    """The commit, with ``+`` if sources differ from it; empty outside a checkout."""
    root = Path(__file__).parents[1]
    commit = _git(root, "rev-parse", "--short", "HEAD")
    changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    return commit + ("+" if commit and changed else "")


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
