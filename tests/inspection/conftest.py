from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qtuning.inspection.result import Inspection

from .. import talks, tiny
from . import made


@pytest.fixture(scope="session")
def plain(tmp_path_factory) -> Path:
    """A model without a chat template."""
    return tiny.save_model(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="session")
def chat(tmp_path_factory) -> Path:
    """A model with a chat template whose turns end with another token than generation."""
    return tiny.save_model(tmp_path_factory.mktemp("chat"), chat=True)


@pytest.fixture(scope="session")
def calls(tmp_path_factory) -> Path:
    """A model with a chat template that prints calls and marks the assistant's turns."""
    return talks.save_model(tmp_path_factory.mktemp("calls"))


@pytest.fixture
def look(tmp_path) -> Callable[..., Inspection]:
    """Inspects rows with options of training."""

    def inspected(rows: Any, model: Path, *, evaluation: Any = None, **options: Any) -> Inspection:
        return made.inspected(tmp_path, rows, model, evaluation=evaluation, **options)

    return inspected
