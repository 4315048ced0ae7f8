import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ... import processes, tiny

PROGRAM = ["-m", "tests.integrations.unsloth.program"]


class Workshop:
    """A model in a folder; runs are in interpreters started anew, to import Unsloth first."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        tiny.save_model(folder / "model", chat=True)

    def start(self, *runs: dict[str, Any], words: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        """Start the runs, one after the other in one process; ``words`` follow the interpreter."""
        file = self.folder / f"{runs[0]['name']}.json"
        file.write_text(json.dumps(runs))
        environment = {
            "UNSLOTH_COMPILE_LOCATION": str(self.folder / "compiled"),
            "UNSLOTH_DISABLE_STATISTICS": "1",
            "GLOO_SOCKET_IFNAME": "lo",
        }
        return subprocess.Popen(
            [sys.executable, *words, *PROGRAM[bool(words) :], str(file)],
            env=os.environ | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *runs: dict[str, Any], words: tuple[str, ...] = ()) -> list[Path]:
        """Run to the end; the output folders."""
        process = self.start(*runs, words=words)
        said, _ = process.communicate(timeout=processes.WAIT)
        assert process.returncode == 0, said[-4000:]
        return [self.folder / run["name"] for run in runs]


@pytest.fixture(scope="session")
def workshop(tmp_path_factory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("unsloth"))
