"""The training runs of the tests are where pytest's option ``--device`` says."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from .. import device

TESTS = Path(__file__).parents[1]
# The option itself, models that stay where they are, text that is not run, other environments.
ITS_OWN = {
    "cases/test_spellings.py",
    "compare/test_made_with.py",
    "device.py",
    "examples/test_prepare.py",
    "fuzz/sound.py",
    "integrations/llamafactory/programs.py",
    "integrations/swift/real_options.py",
    "integrations/swift/real_runs.py",
    "project/test_device.py",
    "project/test_dist.py",
    "project/test_precision.py",
}


def test_no_test_chooses_a_device_by_itself() -> None:
    named = {
        str(file.relative_to(TESTS))
        for file in TESTS.rglob("*.py")
        if "use_cpu" in file.read_text()
    }
    assert named == ITS_OWN


@pytest.mark.cpu
def test_the_cpu_is_the_default(monkeypatch) -> None:
    monkeypatch.delenv(device.VARIABLE)
    assert device.chosen() == "cpu"
    assert device.arguments() == {"use_cpu": True}
    assert device.flags() == ["--use_cpu", "true"]


def test_all_ask_for_the_same(monkeypatch) -> None:
    monkeypatch.setattr(device, "_asked", set())
    monkeypatch.setenv(device.VARIABLE, "cuda")
    assert device.arguments() == {"use_cpu": False}
    assert device.flags() == ["--use_cpu", "false"]
    device.choose("cuda")
    with pytest.raises(pytest.UsageError, match="a module asked for the device before it came"):
        device.choose("cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_machine_without_a_gpu_says_so_in_a_line() -> None:
    """Before anything is collected."""
    words = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "ignore"]
    done = subprocess.run(
        [*words, "--device", "cuda", str(TESTS / "core")], capture_output=True, text=True
    )
    assert done.returncode == 2
    said = (done.stdout + done.stderr).strip().splitlines()
    assert said == [f"Exit: {device.NO_GPU}"]


def test_what_is_for_the_cpu_is_left_out_on_a_gpu(monkeypatch, request) -> None:
    from ..conftest import pytest_runtest_setup

    monkeypatch.setattr(device, "_asked", set())
    request.node.add_marker(pytest.mark.cpu("gloo"))
    monkeypatch.setenv(device.VARIABLE, "cpu")
    pytest_runtest_setup(request.node)
    monkeypatch.setenv(device.VARIABLE, "cuda")
    with pytest.raises(pytest.skip.Exception, match="gloo"):
        pytest_runtest_setup(request.node)
