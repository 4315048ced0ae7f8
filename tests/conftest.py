import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import datasets
import pytest
import torch


@pytest.fixture(autouse=True)
def _quiet_and_reproducible() -> None:
    datasets.disable_progress_bars()
    torch.manual_seed(0)
