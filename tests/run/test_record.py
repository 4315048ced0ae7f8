"""A checkpoint's counts are read, or refused in one line."""

import pytest

from qtuning import UsageError
from qtuning.run.record import STATE_FILE, RunRecord
from qtuning.step.work import StepCounts


def begin(folder):
    record = RunRecord(folder / "out", {})
    record.begin(3, folder, is_main=False, stores={})
    return record


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[1]",
        '{"steps": "x"}',
        '{"records": 3}',
        '{"pass_limits": 3}',
        '{"pass_limits": ["x"]}',
        "\udcff",
    ],
)
def test_damaged_counts_are_refused_by_name(tmp_path, content) -> None:
    (tmp_path / STATE_FILE).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageError, match=f"{STATE_FILE} cannot be read .*: resume from another"):
        begin(tmp_path)


def test_counts_of_an_older_version_are_read(tmp_path) -> None:
    (tmp_path / STATE_FILE).write_text('{"steps": 2, "samples": 16}')
    assert begin(tmp_path).counts == StepCounts(steps=2, samples=16)
