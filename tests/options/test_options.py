"""Every option of TRL's SFTConfig: equal to stock at ratio 1.0, resumed if pruned, or refused."""

import os
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
import trainer_options
from trainer_options import AS_STOCK, Case
from trl import SFTConfig, SFTTrainer

from qtuning import QTuningTrainer, read_ledger

from .. import device, quick, runs
from . import ends

ROOT = Path(__file__).parents[2]
FIELDS = {one.name: one for one in fields(SFTConfig)}
OPTIONS = {option.name: option for option in trainer_options.options()}
CASES = [case for option in OPTIONS.values() for case in option.cases]
ALONE = [case for case in CASES if case.processes == 1]
WORKING = [case for case in ALONE if case.refused is None]
REFUSED = [case for case in ALONE if case.refused is not None]


@pytest.fixture(autouse=True)
def _switches() -> Iterator[None]:
    """Some options turn switches of the process, or import much."""
    quick.settle()
    environment, deterministic = dict(os.environ), torch.are_deterministic_algorithms_enabled()
    yield
    torch.use_deterministic_algorithms(deterministic)
    torch.compiler.reset()
    os.environ.clear()
    os.environ.update(environment)


@pytest.fixture
def tried(request) -> Case:
    if why := ends.lacking(request.param):
        pytest.skip(why)
    return request.param


def test_every_option_has_an_answer() -> None:
    answered = {*OPTIONS, *trainer_options.beyond()}
    missing = sorted(set(FIELDS) - answered)
    assert not missing, f"without an answer in docs/answers: {', '.join(missing)}"
    gone = {name for name, option in OPTIONS.items() if option.only is None} - set(FIELDS)
    assert not gone, f"answered in docs/answers, and no options of SFTConfig: {sorted(gone)}"


def test_the_page_is_that_of_the_answers() -> None:
    page = (ROOT / "docs" / "trainer-options.md").read_text(encoding="utf-8")
    assert page == trainer_options.page(), "run: python docs/generate.py"


def test_every_option_has_one_answer() -> None:
    names = [option.name for option in trainer_options.options()] + trainer_options.beyond()
    assert len(names) == len(set(names))
    for option in OPTIONS.values():
        others = (option.tested_in, option.tested_with, option.not_tested)
        assert sum([bool(option.cases), *(other is not None for other in others)]) == 1, option.name
        if option.tested_with is not None:
            assert all(option.name in case.beside for case in OPTIONS[option.tested_with].cases)
        if option.tested_in is not None:
            assert (ROOT / option.tested_in).exists(), option.tested_in


def test_what_is_tried_is_not_what_all_other_runs_have() -> None:
    usual = {name: one.default for name, one in FIELDS.items()} | runs.SETTINGS
    for case in CASES:
        assert case.option not in usual or case.tried != usual[case.option], case


@pytest.mark.parametrize("tried", WORKING, ids=str, indirect=True)
def test_at_ratio_1_it_is_the_stock_trainer_bit_by_bit(tried, tmp_path) -> None:
    check_full(tried, ends.full(tried, tmp_path))
    if tried.resume == AS_STOCK:
        theirs = ends.stop_and_resume(SFTTrainer, tried, tmp_path / "stock again")
        ours = ends.stop_and_resume(QTuningTrainer, tried, tmp_path / "ours again", **ends.FULL)
        assert ours == theirs


def check_full(case: Case, found: dict[str, Any]) -> None:
    assert found["ours"] == found["theirs"]
    if case.alike is not None and device.chosen() == device.CPU:  # a GPU repeats nothing exactly
        assert (found["theirs"] == found["without"]) == case.alike, "what difference it makes"


@pytest.mark.parametrize("tried", WORKING, ids=str, indirect=True)
def test_pruned_and_resumed_it_ends_as_if_it_had_not_been_stopped(tried, tmp_path) -> None:
    check_half(tried, ends.half(tried, tmp_path), tmp_path)


def check_half(case: Case, found: dict[str, Any], folder: Path) -> None:
    whole, again = read_ledger(folder / "whole"), read_ledger(folder / "again")
    for ledger in (whole, again):
        kept = ledger["kept"].to_pylist()
        assert 0 < sum(kept) < len(kept)
    assert again["step"].unique().equals(whole["step"].unique())
    if case.resume != AS_STOCK:
        assert again.equals(whole)
        assert found["again"] == found["whole"]


@pytest.mark.parametrize("tried", REFUSED, ids=str, indirect=True)
def test_it_is_refused_in_one_line(tried, tmp_path) -> None:
    check_refused(tried, ends.refused(tried, tmp_path))


def check_refused(case: Case, why: str) -> None:
    assert case.refused in why
    assert "\n" not in why
