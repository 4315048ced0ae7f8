import os
from collections.abc import Iterator

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import datasets
import pytest
import torch
from hypothesis import settings

from . import quick

# A deadline would assert a time, which a busy machine breaks.
settings.register_profile("qtuning", deadline=None)
settings.load_profile("qtuning")
quick.ask_once_for_packages()


@pytest.fixture(scope="module", autouse=True)
def _settled() -> None:
    quick.settle()


@pytest.fixture(autouse=True)
def _quiet_and_reproducible() -> None:
    datasets.disable_progress_bars()
    torch.manual_seed(0)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Two threads that fight over shared cores make small models several times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
