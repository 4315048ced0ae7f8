"""`qtuning.score` and `qtuning.prune` are the commands, and leave the program as it was."""

import json
import random
import runpy
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset, IterableDataset, load_from_disk

import qtuning
from qtuning import UsageError
from qtuning.commands.main import main
from qtuning.offline.origin import described, description

from .. import tiny

pytestmark = pytest.mark.usefixtures("one_thread")
EXAMPLES = Path(__file__).parents[2] / "examples"
QUIET = {"progress": False, "bf16": False}
PARTS = {**QUIET, "per_token": True, "rows_per_part": 16}  # as the fixture of the command


@pytest.fixture(scope="module")
def scored(model):
    return qtuning.score(tiny.dataset(40), model, **PARTS)


def test_scores_are_those_of_the_command(scored, scores):
    assert scored.to_list() == pq.read_table(scores).to_pylist()
    assert isinstance(scored, Dataset)


def test_data_may_be_named_or_streamed(rows, model, scored):
    named = qtuning.score(rows, model, **PARTS)
    assert named.to_list() == scored.to_list()
    some = qtuning.score(str(rows), str(model), split="train[:3]", **QUIET)
    assert some["ppl"] == pytest.approx(scored["ppl"][:3], rel=1e-6)
    stream = IterableDataset.from_generator(tiny.rows, gen_kwargs={"n": 40})
    streamed = qtuning.score(stream, model, **QUIET)
    assert streamed["sample_id"] == scored["sample_id"]
    assert streamed["ppl"] == pytest.approx(scored["ppl"], rel=1e-6)


def test_an_output_is_the_commands_file_and_is_not_made_twice(model, scored, tmp_path):
    output = tmp_path / "s.parquet"
    first = qtuning.score(tiny.dataset(40), model, output=output, **PARTS)
    written = output.stat().st_mtime_ns
    again = qtuning.score(tiny.dataset(40), model, output=str(output), **PARTS)
    assert first.to_list() == again.to_list() == scored.to_list()
    assert output.stat().st_mtime_ns == written
    assert main(["prune", str(output), "--output", str(tmp_path / "p.parquet")]) == 0


def test_without_an_output_nothing_stays_on_disk(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    kept = qtuning.score(tiny.dataset(4), model, **QUIET)
    assert not list(tmp_path.iterdir())
    assert len(kept["ppl"]) == 4


def test_random_states_of_the_program_are_left_alone(model, scored, tmp_path):
    def drawn():
        return random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002

    def seed():
        random.seed(7)
        np.random.seed(7)  # noqa: NPY002
        torch.manual_seed(7)

    seed()
    expected = drawn()
    seed()
    qtuning.score(tiny.dataset(4), model, **QUIET)
    qtuning.prune(scored, output=tmp_path / "o", format="trl")
    assert drawn() == expected


def test_the_progress_bar_can_be_turned_off(model, capsys):
    qtuning.score(tiny.dataset(4), model)
    assert "scoring" in capsys.readouterr().out
    qtuning.score(tiny.dataset(4), model, progress=False)
    assert "scoring" not in capsys.readouterr().out


def prune_by_command(scores, output, *more):
    command = ["prune", str(scores), "--output", str(output), "--sample_ratio", "0.25"]
    assert main([*command, *more]) == 0
    return output


@pytest.mark.parametrize("with_dropped", [False, True])
def test_decisions_are_those_of_the_command(scored, scores, tmp_path, with_dropped):
    more = ["--with_dropped"] if with_dropped else []
    by_command = pq.read_table(prune_by_command(scores, tmp_path / "p.parquet", *more))
    for source in (scored, scores, str(scores)):
        kept = qtuning.prune(source, sample_ratio=0.25, with_dropped=with_dropped)
        assert kept.to_list() == by_command.to_pylist()


def test_pruners_pools_and_seeds_are_taken(scored):
    def ids(**settings):
        return qtuning.prune(scored, token_ratio=1.0, **settings)["sample_id"]

    longest = ids(sample_pruner="longest", sample_ratio=0.1)
    by_length = sorted(scored["n_tokens"], reverse=True)[:4]
    lengths = dict(zip(scored["sample_id"], scored["n_tokens"], strict=True))
    assert sorted((lengths[name] for name in longest), reverse=True) == by_length
    assert len(ids(sample_ratio=0.25, pool_size=8)) == 10
    assert ids(pool_size=8) != ids()
    draws = [ids(sample_pruner="random", seed=seed) for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


@pytest.mark.parametrize("format", ["parquet", "jsonl", "datasets", "trl", "axolotl"])
def test_an_output_is_written_as_by_the_command(scored, scores, tmp_path, format):
    """Also where the format needs to know the tokenizer, which the data set remembers."""
    theirs = prune_by_command(scores, tmp_path / "theirs", "--format", format)
    ours = tmp_path / "ours"
    qtuning.prune(scored, sample_ratio=0.25, output=ours, format=format)
    if format == "parquet":
        assert pq.read_table(ours).to_pylist() == pq.read_table(theirs).to_pylist()
    elif format == "jsonl":
        assert ours.read_text() == theirs.read_text()
    elif format == "datasets":
        assert load_from_disk(str(ours)).to_list() == load_from_disk(str(theirs)).to_list()
    else:
        name = "train.parquet" if format == "trl" else "data.jsonl"
        assert (ours / name).read_bytes() == (theirs / name).read_bytes()


def test_chosen_rows_still_know_their_origin(scored, tmp_path):
    some = scored.filter(lambda row: row["n_tokens"] > 6).select(range(8))
    qtuning.prune(some, sample_ratio=0.5, output=tmp_path / "o", format="trl")
    assert pq.read_table(tmp_path / "o" / "train.parquet").num_rows == 4


def test_a_data_set_without_origin_is_decided_but_not_tokenised(scored, tmp_path):
    bare = Dataset.from_list(scored.to_list())
    assert len(qtuning.prune(bare, sample_ratio=0.25)) == 10
    with pytest.raises(UsageError, match="does not say how it was tokenised"):
        qtuning.prune(bare, output=tmp_path / "o", format="trl")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", [None, "", "A data set.", "[1]", '{"qtuning": 3}', "{}"])
def test_other_descriptions_are_no_origin(text):
    assert described(text) is None
    assert described(description({"model": "m"})) == {"model": "m"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sample_ratio": 0.0}, r"sample_ratio must lie in \(0, 1\]"),
        ({"sample_prunner": "random"}, "did you mean sample_pruner"),
        ({"sample_pruner": "uds"}, "needs more than scores"),
        ({"pool_size": 0}, "pool_size must be at least 1"),
        ({"format": "csv"}, "format must be one of parquet"),
    ],
)
def test_mistakes_in_pruning(scored, settings, said):
    with pytest.raises(UsageError, match=said):
        qtuning.prune(scored, **settings)


def test_mistakes_in_what_is_pruned(scored, tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        qtuning.prune(tmp_path / "none.parquet")
    with pytest.raises(UsageError, match="no column sample_id"):
        qtuning.prune(Dataset.from_list([{"a": 1}]))
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(UsageError, match="is there already"):
        qtuning.prune(scored, output=tmp_path / "mine")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    with pytest.raises(UsageError, match="no column sample_id"):
        qtuning.prune(tmp_path / "other.parquet")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"model": "no/such/folder/x"}, "neither a folder or file"),
        ({"output": "x.csv"}, "must end in .parquet"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"data": "no_such.jsonl"}, "no_such.jsonl"),
        ({"data": Dataset.from_list([{"question": "a"}])}, "no column to train on"),
    ],
)
def test_mistakes_in_scoring(model, settings, said):
    with pytest.raises(UsageError, match=said):
        qtuning.score(**{"data": tiny.dataset(2), "model": model, **QUIET, **settings})


@pytest.mark.slow
def test_the_examples_run(model, tmp_path, monkeypatch, capsys):
    def run(name, *more):
        monkeypatch.setattr(sys, "argv", [name, "--model", str(model), *more])
        monkeypatch.syspath_prepend(EXAMPLES)
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out

    page = tmp_path / "r.html"
    run("offline_report", "--output", str(page))
    assert "Cheese trains" not in page.read_text(), "packed"
    assert page.stat().st_size > 50_000
    for name, more in (("offline_score", []), ("offline_prune", ["--output", str(tmp_path / "o")])):
        said = run(name, *more)
        assert "12 rows" in said if more else "axolotl" in said
    assert pq.read_table(tmp_path / "o" / "train.parquet").num_rows == 12
    assert len((tmp_path / "o" / "rows.jsonl").read_text().splitlines()) == 12
    assert json.loads((tmp_path / "o" / "rows.jsonl").read_text().splitlines()[0]).keys() == {
        "prompt",
        "completion",
    }


def test_differences_are_those_of_the_command(scored, scores, tmp_path):
    agreed = qtuning.diff(scored, scores, sample_ratio=0.25, against={"sample_ratio": 0.5})
    command = ["diff", str(scores), str(scores), "--sample_ratio", "0.25"]
    command += ["--against_sample_ratio", "0.5", "--output", str(tmp_path / "d.json")]
    assert main(command) == 0
    told = json.loads((tmp_path / "d.json").read_text())
    assert agreed.jaccard == told["kept"]["jaccard"]
    assert [one.sample_id for one in agreed.differing] == [
        one["sample_id"] for one in told["differing"]
    ]
    assert agreed.kept_by_both + agreed.kept_by_a == 10


def test_mistakes_in_differences(scored):
    with pytest.raises(UsageError, match="diff: unknown argument sample_rato, did you mean"):
        qtuning.diff(scored, scored, sample_rato=0.5)
    with pytest.raises(UsageError, match="diff: unknown argument rato"):
        qtuning.diff(scored, scored, against={"rato": 0.5})
    with pytest.raises(UsageError, match="pool_size must be at least 1"):
        qtuning.diff(scored, scored, pool_size=0)
