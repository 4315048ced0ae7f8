import pytest
import torch

from qtuning.commands.main import main

from .. import tiny


@pytest.fixture(scope="package", autouse=True)
def _one_thread_everywhere():
    """Scores are compared to the last bit, and sums depend on how many threads make them."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # for the processes that tests start
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="package")
def model(tmp_path_factory):
    return tiny.save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="package")
def rows(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    tiny.dataset(40).to_json(path)
    return path


@pytest.fixture(scope="package")
def scores(model, rows, tmp_path_factory):
    """Scored with token statistics, in parts of 16."""
    path = tmp_path_factory.mktemp("scores") / "scores.parquet"
    assert run_score(model, rows, path, "--per_token") == 0
    return path


def run_score(model, rows, output, *more):
    command = ["score", "--model_name_or_path", str(model), "--dataset_name", str(rows)]
    command += ["--bf16", "false"]  # as the runs that scores are compared with
    return main([*command, "--output", str(output), "--rows_per_part", "16", *more])
