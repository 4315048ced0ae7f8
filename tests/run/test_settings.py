"""The pruning options of a run on record."""

import json

import pytest

from qtuning import PruningArguments, UsageError
from qtuning.arguments import pruning_fields
from qtuning.run.settings import read_settings

SETTINGS = pruning_fields(PruningArguments(sample_ratio=0.125))


def test_they_are_what_the_run_wrote(tmp_path) -> None:
    assert read_settings(tmp_path) is None
    (tmp_path / "pruning_settings.json").write_text(json.dumps(SETTINGS))
    assert read_settings(tmp_path) == SETTINGS


def test_a_run_of_another_version_lacks_some_and_has_others(tmp_path) -> None:
    record = {**SETTINGS, "option_of_tomorrow": 1}
    del record["probe_steps"], record["score_refresh"]
    (tmp_path / "pruning_settings.json").write_text(json.dumps(record))
    found = read_settings(tmp_path)
    assert found.keys() == SETTINGS.keys() - {"probe_steps", "score_refresh"}


@pytest.mark.parametrize(
    "change", [{"sample_ratio": 2}, {"token_ratio": "x"}, {"sample_pruner": None}, None]
)
def test_damaged_ones_are_refused(tmp_path, change) -> None:
    text = "[]" if change is None else json.dumps({**SETTINGS, **change})
    (tmp_path / "pruning_settings.json").write_text(text)
    with pytest.raises(UsageError, match=r"pruning_settings\.json: is damaged .*; remove it$"):
        read_settings(tmp_path)
