"""Two processes score as one: nothing is missing, nothing is mixed, nobody waits for ever."""

import pyarrow.parquet as pq
import pytest

from qtuning.commands.main import main

from .. import tiny
from .test_two_processes import forked, launched

pytestmark = pytest.mark.cpu("several ranks, which talk over gloo")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    tiny.save_model(folder / "model")
    tiny.dataset(40).to_json(folder / "rows.jsonl")
    return folder


def words(folder, output, rows_per_part):
    named = {"model_name_or_path": folder / "model", "dataset_name": folder / "rows.jsonl"}
    named |= {"output": output, "rows_per_part": rows_per_part}
    flags = [f"--{name}={value}" for name, value in named.items()]
    return ["score", "--per_token", "--alone", *flags]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows_per_part", "start"),
    [
        pytest.param(16, launched, id="shared out"),
        pytest.param(100, forked, id="one has no part"),
    ],
)
def test_two_processes_score_as_one(folder, tmp_path, rows_per_part, start) -> None:
    one, two = tmp_path / "one.parquet", tmp_path / "two.parquet"
    assert main(words(folder, one, rows_per_part)) == 0
    start("qtuning", 2, *words(folder, two, rows_per_part))
    assert pq.read_table(two).equals(pq.read_table(one))
    assert pq.read_table(one).num_rows == 40
    assert not (tmp_path / "two.parquet.parts").exists()


@pytest.mark.slow
def test_the_function_needs_an_output_that_all_of_them_see(folder, tmp_path) -> None:
    forked("tests.distributed.score_worker", 2, str(folder), str(tmp_path))
    for rank in range(2):
        said = (tmp_path / f"rank{rank}.txt").read_text()
        assert said == "score: several processes need an output that all of them see: give one\n40"
