"""The options that concern several processes, on two of them."""

import json

import pytest

from .. import device, processes, runs
from . import two
from .test_options import check_full, check_half, check_refused

pytestmark = pytest.mark.slow  # all of them together
CASES = two.cases()


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    if device.chosen() != device.CPU:
        pytest.skip("two processes would need two GPUs")
    folder = tmp_path_factory.mktemp("two")
    processes.launch("tests.options.two", 2, [str(folder)], folder)
    return folder


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_is_answered_on_two_processes(ran, case, rank) -> None:
    found = json.loads((ran / f"rank-{rank}.json").read_text())[str(case)]
    if case.refused is not None:
        check_refused(case, found)
        return
    check_full(case, found)
    if runs.RESUMES_TOGETHER:
        check_half(case, found, ran / str(CASES.index(case)))
