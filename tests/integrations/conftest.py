"""LLaMA-Factory's names without LLaMA-Factory, for tests that need no environment of their own."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from .. import device, runs, tiny

STAND_IN = Path(__file__).parent / "stand_in"


def forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "llamafactory"]:
        del sys.modules[name]


@pytest.fixture
def version_found(tmp_path, monkeypatch):
    """Make a version of LLaMA-Factory appear as installed, with the stand-in's code."""

    def appear(version: str) -> None:
        about = tmp_path / "site" / f"llamafactory-{version}.dist-info"
        about.mkdir(parents=True)
        (about / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: llamafactory\nVersion: {version}\n"
        )
        monkeypatch.syspath_prepend(STAND_IN)
        monkeypatch.syspath_prepend(tmp_path / "site")

    forget()
    yield appear
    forget()


@pytest.fixture
def config(tmp_path, version_found) -> dict[str, Any]:
    """A config of the stand-in, which is there."""
    version_found("0.9.5")
    settings = {name: value for name, value in runs.SETTINGS.items() if name != "save_strategy"}
    return {
        **settings,
        **device.arguments(),
        "model_name_or_path": str(tiny.save_model(tmp_path / "model")),
        "dataset": "sums",
        "output_dir": str(tmp_path / "out"),
        "max_steps": 3,
        "save_steps": 1,
        "stage": "sft",
    }


@pytest.fixture
def command(tmp_path, config):
    """The words of ``qtuning llamafactory train`` for the config with changes in its file."""

    def words(*more: str, **changes: Any) -> list[str]:
        file = tmp_path / "config.yaml"
        file.write_text(json.dumps({**config, **changes}))
        return ["llamafactory", "train", str(file), *more]

    return words
