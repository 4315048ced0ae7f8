"""Ray Data, really, with two workers on this machine."""

import pyarrow.parquet as pq
import pytest

from qtuning.offline.job import ScoreJob
from qtuning.offline.ray_engine import score_on_ray
from qtuning.offline.shards import Shards

from .. import tiny
from .conftest import run_score

ray = pytest.importorskip("ray", reason="the extra `ray` is not installed")

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def two_workers():
    """A local Ray of two processors; its workers are as urgent as other tests, else they starve."""
    urgent = {"worker_niceness": 0}
    for _ in range(10):
        try:
            ray.init(
                num_cpus=2, include_dashboard=False, log_to_driver=False, _system_config=urgent
            )
            break
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
            ray.shutdown()
    yield
    ray.shutdown()


def test_ray_writes_the_same_rows(two_workers, model, rows, scores, tmp_path):
    output = tmp_path / "s.parquet"
    more = ["--per_token", "--engine", "ray", "--ray_workers", "2"]
    assert run_score(model, rows, output, *more) == 0
    assert pq.read_table(output).to_pylist() == pq.read_table(scores).to_pylist()


def test_ray_scores_answers_alone_as_well(two_workers, model, rows, tmp_path):
    outputs = [tmp_path / "here.parquet", tmp_path / "ray.parquet"]
    for output, more in zip(outputs, ([], ["--engine", "ray"]), strict=True):
        assert run_score(model, rows, output, "--alone", *more) == 0
    here, there = (pq.read_table(output).to_pylist() for output in outputs)
    assert there == here
    assert all(row["nll_alone_sum"] > 0 for row in there)


def test_ray_goes_on_where_it_was_killed(two_workers, model, rows, scores, tmp_path, monkeypatch):
    from qtuning.offline.origin import read_origin
    from qtuning.offline.shards import Shards

    output = tmp_path / "s.parquet"
    whole = pq.read_table(scores)
    shards = Shards(output, read_origin(whole.schema, scores))
    shards.write(1, whole.slice(16, 16).replace_schema_metadata())
    more = ["--per_token", "--engine", "ray"]
    before = shards.folder.joinpath("part-000001.parquet").stat().st_mtime_ns
    written = []
    monkeypatch.setattr(
        "qtuning.offline.shards.Shards.merge",
        lambda self, n: written.extend(sorted(self.folder.glob("*.parquet"))),
    )
    assert run_score(model, rows, output, *more) == 0
    assert [path.name for path in written] == [f"part-{i:06d}.parquet" for i in range(3)]
    assert written[1].stat().st_mtime_ns == before, "a finished part is not scored again"
    found = [row for path in written for row in pq.read_table(path).to_pylist()]
    assert found == whole.to_pylist()


class Cluster:
    """A stand-in for Ray Data on machines with GPUs: remembers what is asked of it."""

    def __init__(self, monkeypatch, **resources: float) -> None:
        self.asked: dict = {}
        monkeypatch.setattr(ray, "cluster_resources", lambda: resources)
        monkeypatch.setattr(ray.data, "from_items", lambda items, **how: self)
        monkeypatch.setattr(ray, "is_initialized", lambda: True)

    def map_batches(self, kind, **asked):
        self.asked = asked
        return self

    def iter_rows(self):
        return iter([])


@pytest.mark.parametrize(
    ("gpus", "workers", "models", "gpus_a_model"),
    [(0, None, 2, None), (0, 3, 3, None), (4, None, 4, 1), (4, 2, 2, 1), (1, 2, 1, 1)],
)
def test_a_model_has_a_gpu_of_its_own_where_there_are_any(
    model, rows, tmp_path, monkeypatch, gpus, workers, models, gpus_a_model
):
    data = tiny.dataset(100)
    job = ScoreJob(str(model), rows_a_part=10)
    cluster = Cluster(monkeypatch, CPU=8.0, **({"GPU": float(gpus)} if gpus else {}))
    score_on_ray(data, Shards(tmp_path / "s.parquet", job.origin(data)), job, workers, print)
    assert cluster.asked["concurrency"] == models
    assert cluster.asked["num_gpus"] == gpus_a_model


def test_ray_wants_to_know_the_rows(model, rows, tmp_path, capsys):
    more = ["--engine", "ray", "--dataset_streaming"]
    assert run_score(model, rows, tmp_path / "s.parquet", *more) == 2
    assert "drop --dataset_streaming" in capsys.readouterr().err
