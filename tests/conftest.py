import os
from collections.abc import Iterator

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import datasets
import pytest
import torch
import transformers
from hypothesis import settings

from . import device, quick

# A deadline would assert a time, which a busy machine breaks.
settings.register_profile("qtuning", deadline=None)
settings.load_profile("qtuning")
quick.ask_once_for_packages()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--device",
        choices=(device.CPU, device.CUDA),
        default=device.CPU,
        help="where the training runs of the tests are",
    )


def pytest_configure(config: pytest.Config) -> None:
    where = config.getoption("--device")
    if where == device.CUDA and not torch.cuda.is_available():
        pytest.exit(device.NO_GPU, returncode=2)
    device.choose(where)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what says that it is for the CPU."""
    marker = item.get_closest_marker("cpu")
    if marker is not None and device.chosen() != device.CPU:
        pytest.skip(*(marker.args or ("its meaning is the CPU's",)))


@pytest.fixture(scope="module", autouse=True)
def _settled() -> None:
    quick.settle()


@pytest.fixture(autouse=True)
def _quiet_and_reproducible() -> Iterator[None]:
    """Hand on neither random numbers nor the log level, which any trainer sets for its process."""
    datasets.disable_progress_bars()
    torch.manual_seed(0)
    level = transformers.logging.get_verbosity()
    yield
    transformers.logging.set_verbosity(level)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Two threads that fight over shared cores make small models several times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
