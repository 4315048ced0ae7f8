"""Packages that options ask for are missed in one line, before anything is loaded."""

import pytest

from qtuning import UsageError
from qtuning.commands import installed
from qtuning.commands.installed import check_installed

MISSING = [
    (
        {"report_to": ["wandb"]},
        "--report_to wandb: its package is not installed; pip install wandb",
    ),
    ({"report_to": "tensorboard"}, "--report_to tensorboard"),
    ({"optim": "adamw_8bit"}, "--optim adamw_8bit: the package bitsandbytes is not installed"),
    ({"optim": "paged_adamw_32bit"}, "the package bitsandbytes"),
    ({"optim": "galore_adamw_8bit"}, "the package galore_torch"),
    ({"optim": "adamw_torch_4bit"}, "the package torchao"),
    ({"optim": "schedule_free_adamw"}, "pip install schedulefree"),
    ({"liger": True}, "--use_liger_kernel: the package liger_kernel .*pip install liger-kernel"),
]


@pytest.mark.parametrize(("options", "said"), MISSING, ids=[said[:40] for _, said in MISSING])
def test_a_package_that_is_not_there_is_named(monkeypatch, options, said) -> None:
    monkeypatch.setattr(installed, "get_available_reporting_integrations", list)
    monkeypatch.setattr(installed, "find_spec", lambda name: None)
    arguments = {"report_to": "none", "optim": "adamw_torch", "liger": False} | options
    with pytest.raises(UsageError, match=said):
        check_installed(**arguments)


def test_what_is_there_passes(monkeypatch) -> None:
    monkeypatch.setattr(installed, "get_available_reporting_integrations", lambda: ["wandb"])
    monkeypatch.setattr(installed, "find_spec", lambda name: object())
    check_installed(["wandb"], "adamw_8bit", liger=True)
    monkeypatch.setattr(installed, "find_spec", lambda name: None)
    for tracker in ("none", "all", [], ["wandb"]):
        check_installed(tracker, "adamw_torch_fused", liger=False)
