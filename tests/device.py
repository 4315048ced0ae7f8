"""The device of the training runs of the tests: pytest's option ``--device``.

Forked processes and workers of pytest read it as well, hence a variable of the environment.
"""

import os

import pytest

VARIABLE = "QTUNING_TESTS_DEVICE"
CPU, CUDA = "cpu", "cuda"
NO_GPU = "--device cuda: torch finds no GPU on this machine"

_asked: set[str] = set()
"""What has been said to those who asked."""


def choose(device: str) -> None:
    """Choose the device, before any module asks for it.

    Raises:
        pytest.UsageError: A module has asked already: one that a conftest.py imports must not ask
            while it is imported.
    """
    if _asked - {device}:
        raise pytest.UsageError(f"--device {device}: a module asked for the device before it came")
    os.environ[VARIABLE] = device


def chosen() -> str:
    _asked.add(os.environ.get(VARIABLE, CPU))
    return os.environ.get(VARIABLE, CPU)


def arguments() -> dict[str, bool]:
    """What the arguments of a trainer say of the device."""
    return {"use_cpu": chosen() == CPU}


def rounding() -> dict[str, float]:
    """How far sums may be off that the CPU makes in one order and a GPU in another."""
    return {"rtol": 0.0, "atol": 0.0} if chosen() == CPU else {"rtol": 1e-6, "atol": 1e-6}


def flags() -> list[str]:
    """The same on a command line."""
    return ["--use_cpu", str(chosen() == CPU).lower()]
