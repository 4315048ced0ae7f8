"""What a run tells by itself."""

import pytest
import trl
from datasets import Dataset
from packaging.version import Version

from qtuning.inspection.cheap import cheap_findings, tell_findings

from .. import runs
from .made import pair, tokens

GOOD = [pair(f"{i} + 1 =", f" {i} and one") for i in range(8)]
NO_END = [tokens([5, 6, 7], [-100, 6, 7]), tokens([5, 7, 7], [-100, 7, 7])]


def trainer(folder, rows, **options):
    return runs.pruning(folder, data=Dataset.from_list(rows), **options)


def names(made):
    return [one.name for one in cheap_findings(made)]


def test_good_rows_say_nothing(tmp_path, capsys) -> None:
    made = trainer(tmp_path, GOOD)
    capsys.readouterr()
    tell_findings(made)
    assert names(made) == []
    assert capsys.readouterr().out == ""


def test_errors_are_printed_and_warnings_counted(tmp_path, capsys) -> None:
    made = trainer(tmp_path, [*NO_END, NO_END[0]])
    capsys.readouterr()
    tell_findings(made)
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("Error in the data: 3 of 3 rows: no end token is trained")
    assert said[1].startswith("Data: 1 error, 1 warning; run `qtuning inspect`")
    assert len(said) == 2


@pytest.mark.parametrize("options", [{"max_length": 16}, {"packing": True, "max_length": 16}])
def test_ends_that_are_cut_away_are_not_missed(tmp_path, options) -> None:
    made = trainer(tmp_path, [*GOOD, pair("a =", " b" * 40)], **options)
    assert names(made) == []


def test_packed_samples_are_rows(tmp_path) -> None:
    rows = [*GOOD, GOOD[0]]
    assert names(trainer(tmp_path, rows, packing=True, max_length=32)) == ["rows-repeated"]


@pytest.mark.skipif(Version(trl.__version__).major < 1, reason="this TRL does not split rows")
def test_rows_that_packing_has_split_begin_and_end_anywhere(tmp_path) -> None:
    options = {"packing": True, "packing_strategy": "bfd_split", "max_length": 8}
    assert names(trainer(tmp_path, NO_END, **options)) == []
    assert names(trainer(tmp_path, GOOD, **options)) == []


def test_a_stream_is_not_looked_at(tmp_path) -> None:
    data = Dataset.from_list(NO_END).to_iterable_dataset()
    made = runs.pruning(tmp_path, data=data, max_steps=1)
    assert cheap_findings(made) == ()
